"""The online learner: the replay memory as one object, without Kafka (SPEC 2.5)."""
