"""The ingest worker: from the transitions topic to buffers, cuts, dead letters and anomaly flags.

log_reader   reads the log outside any consumer group
cuts         the newest cut of each partition
tail         what one partition's log says so far: verdicts, ring, counts
loading      rebuilds a tail from the log
publisher    awaited and unawaited sends
ingestor     what happens to a record, a close, an assignment
app          the Faust application around the ingestor
models       the anomaly model that the last night named
flagging     live anomalies and risk; anomaly_windows counts them
watchdog     ends a process that has stopped consuming
health       the loopback endpoint; metrics for it
afresh       forgets the read position of a topic that was made anew
worker       the process: `python -m streams.ingest.worker --config FILE`
"""
