"""Durable state: checkpoints and the vector store."""
