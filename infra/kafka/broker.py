"""One Apache Kafka broker (KRaft, no ZooKeeper) on a loopback port with a data folder of its own.

    python infra/kafka/broker.py --data build/kafka [--port 9092]

prints `bootstrap 127.0.0.1:PORT` once the broker answers, and stops it on SIGINT or SIGTERM. Needs Java 17
or newer; the first start also needs Maven, which copies the 45 jars named by `pom.xml` into `target/libs`.
A folder that has been used before keeps its topics and its ports. Nothing but the standard library is used.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Broker", "BrokerStartError", "jars"]

HERE = Path(__file__).resolve().parent
LIBS = HERE / "target" / "libs"
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 20.0

_PROPERTIES = """\
node.id=1
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={data}/log
auto.create.topics.enable=false
delete.topic.enable=true
message.max.bytes=4000000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""

_LOGGING = """\
status=error
appender.file.type=File
appender.file.name=file
appender.file.fileName={data}/broker.log
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %c: %m%n
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
"""


class BrokerStartError(RuntimeError):
    """The broker could not be started; the message says what to install or where to look."""


def jars() -> Path:
    """The folder with the broker's jars; copied by Maven when missing or when the pom has changed.

    Raises:
        BrokerStartError: Maven is missing or failed.
    """
    pom = HERE / "pom.xml"
    pinned = hashlib.sha256(pom.read_bytes()).hexdigest()
    stamp = LIBS / ".pom-sha256"
    LIBS.parent.mkdir(parents=True, exist_ok=True)
    with (LIBS.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == pinned:
            return LIBS
        maven = shutil.which("mvn")
        if maven is None:
            raise BrokerStartError(
                "Maven (`mvn`) is not on the PATH and the broker's jars are not there yet; install Maven 3, "
                "or set KAFKA_BOOTSTRAP to a broker that runs already"
            )
        shutil.rmtree(LIBS, ignore_errors=True)
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={LIBS}"]
        done = subprocess.run(  # noqa: S603  (fixed arguments, a tool found on the PATH)
            [maven, "-q", "-B", "-f", str(pom), *goal], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BrokerStartError(f"Maven could not fetch the broker's jars:\n{done.stdout}{done.stderr}")
        stamp.write_text(pinned)
    return LIBS


class Broker:
    """A broker process; `with Broker(folder) as broker: broker.bootstrap`.

    Args:
        data: its folder; made if missing. Holds the log, the configuration and `broker.log`.
        port: the loopback port; 0 takes the port used before, or a free one.
    """

    def __init__(self, data: Path, port: int = 0) -> None:
        self.data = Path(data).resolve()
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of the running broker."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start the broker, wait until it answers requests, and return its address.

        Raises:
            BrokerStartError: no Java, no jars, the port is taken, or the broker ended or did not answer.
        """
        java = shutil.which("java")
        if java is None:
            raise BrokerStartError(
                "Java (`java`) is not on the PATH; install a JDK or JRE of version 17 or newer, "
                "or set KAFKA_BOOTSTRAP to a broker that runs already"
            )
        command = [java, "-Xms128m", "-Xmx768m", "-XX:+UseSerialGC", "-cp", f"{jars()}/*"]
        configuration = self._configure()
        command.append(f"-Dlog4j2.configurationFile={self.data / 'log4j2.properties'}")
        if not (self.data / "log" / "meta.properties").is_file():
            self._format([*command, "kafka.tools.StorageTool", "format", "--standalone"], configuration)
        with (self.data / "console.log").open("ab") as console:
            self._process = subprocess.Popen(  # noqa: S603  (fixed arguments, a tool found on the PATH)
                [*command, "kafka.Kafka", str(configuration)], stdout=console, stderr=console
            )
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.stop()
            raise
        return self.bootstrap

    def stop(self) -> None:
        """End exactly this broker's process; its folder stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _configure(self) -> Path:
        self.data.mkdir(parents=True, exist_ok=True)
        known, controller_port = _ports(self.data / "ports")
        self.port = self.port or known or _free_port()
        if not _is_free(self.port):
            raise BrokerStartError(
                f"port {self.port} is taken; stop what listens there, choose another with --port, "
                f"or remove {self.data / 'ports'} to take a free one"
            )
        controller_port = controller_port or _free_port(self.port)
        (self.data / "ports").write_text(f"{self.port} {controller_port}\n")
        (self.data / "log4j2.properties").write_text(_LOGGING.format(data=self.data))
        configuration = self.data / "server.properties"
        configuration.write_text(
            _PROPERTIES.format(port=self.port, controller_port=controller_port, data=self.data)
        )
        return configuration

    def _format(self, command: list[str], configuration: Path) -> None:
        # Sixteen bytes, the first ones given: an id that began with a dash would be read as an option.
        cluster = base64.urlsafe_b64encode(b"janus" + os.urandom(11)).decode().rstrip("=")
        done = subprocess.run(  # noqa: S603  (fixed arguments, a tool found on the PATH)
            [*command, "-t", cluster, "-c", str(configuration)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BrokerStartError(f"Kafka could not format {self.data}:\n{done.stdout}{done.stderr}")

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(int(START_TIMEOUT_S / 0.1)):
            if _answers(self.port):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(0.1)
                raise BrokerStartError(f"the broker ended with code {code}:\n{self._last_lines()}")
        raise BrokerStartError(
            f"the broker did not answer on {self.bootstrap} within {START_TIMEOUT_S:.0f} s:\n{self._last_lines()}"
        )

    def _last_lines(self) -> str:
        parts = [self.data / "console.log", self.data / "broker.log"]
        text = "".join(p.read_text(errors="replace") for p in parts if p.is_file())
        return "\n".join(text.splitlines()[-15:])


def _answers(port: int) -> bool:
    """Whether a Kafka broker answers an ApiVersions request (key 18, version 0) on the port."""
    request = struct.pack(">ihhih", 10, 18, 0, 7, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.sendall(request)
            answer = connection.recv(8)
    except OSError:
        return False
    return len(answer) == 8 and answer[4:] == struct.pack(">i", 7)


def _ports(file: Path) -> tuple[int, int]:
    if not file.is_file():
        return 0, 0
    port, controller_port = file.read_text().split()
    return int(port), int(controller_port)


def _free_port(other: int = 0) -> int:
    """A port that is free now, is not `other`, and is below those that the kernel gives to others by itself."""
    while True:
        port = 20_000 + secrets.randbelow(12_768)
        if port != other and _is_free(port):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main() -> int:
    """Run a broker until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the broker's folder")
    parser.add_argument(
        "--port", type=int, default=0, help="loopback port (default: as before, or a free one)"
    )
    options = parser.parse_args()
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    broker = Broker(options.data, options.port)
    try:
        print(f"bootstrap {broker.start()}", flush=True)
    except BrokerStartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 5
    asked.wait()
    broker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
