"""One file a phase; each takes the results of the earlier ones and returns its own, snapshot and all."""
