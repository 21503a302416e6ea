"""An embedded Kafka cluster: librdkafka's in-process mock broker, which speaks the real wire protocol.

For the demo and the fast tests, never for production: it keeps records in memory only, drops a
partition's oldest records beyond about 5 MB, and has no admin requests, so topics are made through its
C functions (confluent-kafka bundles the library). Clients connect to it over loopback like to any broker.

    python -m streams.embedded --topic NAME:PARTITIONS [--topic ...]

prints `bootstrap 127.0.0.1:PORT` and serves until SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from confluent_kafka import cimpl

from janus_memory.errors import BrokerError, ConfigError, JanusError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

__all__ = ["EmbeddedBroker"]

_PRODUCER = 0
_LOG_LEVEL = b"2"
_REBALANCE_DELAY_MS = 100


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka has loaded; its symbols are found through the extension module."""
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class EmbeddedBroker:
    """A one-broker cluster inside this process, from construction until `close`.

    Args:
        topics: partitions of each topic to create at once.

    Raises:
        BrokerError: librdkafka could not make the cluster or a topic.
    """

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        library = _library()
        why = ctypes.create_string_buffer(512)
        configuration = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(configuration, b"log_level", _LOG_LEVEL, why, len(why))
        self._handle = library.rd_kafka_new(_PRODUCER, configuration, why, len(why))
        if not self._handle:
            raise BrokerError(f"librdkafka gave no client for the embedded cluster: {why.value.decode()}")
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not self._cluster:
            library.rd_kafka_destroy(self._handle)
            raise BrokerError("librdkafka could not open a loopback port for the embedded cluster")
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, _REBALANCE_DELAY_MS)
        self.create_topics(topics or {})

    @property
    def bootstrap(self) -> str:
        """The address for clients, `127.0.0.1:PORT`."""
        return str(_library().rd_kafka_mock_cluster_bootstraps(self._alive()).decode())

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create topics with their number of partitions.

        Raises:
            BrokerError: a topic exists already or the cluster is closed.
        """
        for name, partitions in topics.items():
            code = _library().rd_kafka_mock_topic_create(self._alive(), name.encode(), partitions, 1)
            if code != 0:
                raise BrokerError(
                    f"the embedded cluster refused topic {name!r} with {partitions} partitions (code {code}); "
                    "it may exist already; topics made before it stay"
                )

    def close(self) -> None:
        """End the cluster; every record in it is gone."""
        if self._cluster:
            _library().rd_kafka_mock_cluster_destroy(self._cluster)
            _library().rd_kafka_destroy(self._handle)
            self._cluster = self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _alive(self) -> int:
        if not self._cluster:
            raise BrokerError("the embedded cluster is closed and its records are gone; make a new one")
        return int(self._cluster)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve an embedded cluster until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m streams.embedded", description=__doc__.splitlines()[0])
    parser.add_argument("--topic", action="append", default=[], metavar="NAME:PARTITIONS")
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    try:
        topics = dict(_topic(text) for text in parser.parse_args(arguments).topic)
        with EmbeddedBroker(topics) as broker:
            print(f"bootstrap {broker.bootstrap}", flush=True)
            asked.wait()
    except JanusError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _topic(text: str) -> tuple[str, int]:
    name, _, partitions = text.rpartition(":")
    if not name or not partitions.isdecimal() or int(partitions) < 1:
        raise ConfigError(f"--topic {text!r} is not NAME:PARTITIONS, for example janus.cuts:1")
    return name, int(partitions)


if __name__ == "__main__":
    sys.exit(main())
