"""Every error the project raises on purpose.

JanusError
├── ConfigError             settings that cannot be used; nothing was started
├── WireError               bytes that are not what the wire format says
├── RuleError               a logic rule that cannot be parsed or grounded
├── InsufficientData        a night with too few rows; they wait for the next one
├── ReplayError             rows that replay cannot learn from, or training that diverged
├── PolicyError             a user's own policy that cannot be made, failed, or answered nonsense
├── SchemaUpdateError       the schema bank refused an update; the bank is unchanged
├── MapError                the map could not be drawn; the old one stays
├── VectorStoreError        the vector store is away or refused; the sync is retried
├── LinalgError             a matrix that should be positive definite is not
├── BrokerError             the Kafka broker is away, or a topic is not as it should be
├── LogTruncatedError       retention ate rows that were still needed
├── CutMismatchError        the records of a cut do not hash to what was announced
├── SessionError            a session cannot run now (order, lock, failed predecessor)
└── CheckpointError         a checkpoint is unreadable or belongs to other settings

A message says what failed, on which input, what was kept safe and what to do next.
"""


class JanusError(Exception):
    """Base of all errors of this project; the command line prints it without a traceback."""

    exit_code = 1


class ConfigError(JanusError):
    """Settings cannot be used."""

    exit_code = 2


class WireError(JanusError):
    """Bytes do not follow the wire format."""

    exit_code = 3


class RuleError(JanusError):
    """A logic rule cannot be parsed or grounded."""

    exit_code = 2


class InsufficientData(JanusError):  # noqa: N818  (the field's and SPEC's own name)
    """Too few rows for a night; they are carried to the next session."""

    exit_code = 4


class ReplayError(JanusError):
    """Replay refused its rows, or training diverged; the learner is unchanged."""


class PolicyError(JanusError):
    """A user's own policy cannot be made, failed, or answered nonsense; nothing was consolidated."""


class SchemaUpdateError(JanusError):
    """The schema bank refused an update and is unchanged."""


class MapError(JanusError):
    """The map could not be drawn."""


class VectorStoreError(JanusError):
    """The vector store is away or refused a request."""

    exit_code = 6


class LinalgError(JanusError):
    """A matrix is not positive definite where it must be."""


class BrokerError(JanusError):
    """The broker is away, or a topic is not as the settings say."""

    exit_code = 5


class LogTruncatedError(JanusError):
    """The topic no longer holds records that were still needed."""

    exit_code = 7


class CutMismatchError(JanusError):
    """The records of a cut do not match the cut."""

    exit_code = 8


class SessionError(JanusError):
    """A session cannot run now."""

    exit_code = 9


class CheckpointError(JanusError):
    """A checkpoint is unreadable or belongs to other settings."""

    exit_code = 10
