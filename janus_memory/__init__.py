"""The core of JANUS memory: mathematics and state, free of Kafka, Faust and Ray."""
