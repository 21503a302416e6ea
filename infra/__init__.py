"""What the system runs on: broker, images and compose files; imported by tests and benchmarks only."""
