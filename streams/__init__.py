"""Kafka in and out: the wire formats, delivery rules, the ingest worker and the brokers."""
