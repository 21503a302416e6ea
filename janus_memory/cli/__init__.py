"""The command line `janus`: the composition root, where the core, streams and actors meet.

streams and actors are imported inside command bodies only, so that `janus --help` needs neither Kafka nor Ray.
"""
