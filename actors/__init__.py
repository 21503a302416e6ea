"""The night on Ray: actors, the driver of one night and the sleeper that starts it."""
