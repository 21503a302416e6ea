"""A real Apache Kafka broker without Docker."""
