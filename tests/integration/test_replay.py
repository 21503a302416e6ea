"""`janus replay` after a real night, on a real broker: what an independent consumer finds, and Ctrl-C."""

from __future__ import annotations

import dataclasses
import functools
import json
import signal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pytest

from janus_memory.cli.main import run
from janus_memory.config import KafkaSettings
from janus_memory.settings import dump_settings
from janus_memory.sleep.sessions import memory_files
from janus_memory.transition import Transitions
from streams.codec import decode_frame
from streams.embedded import EmbeddedBroker
from streams.topics import replay
from tests.integration.harness import read_topic
from tests.integration.night_folder import FrozenNight, NightRun, day_rows, freeze_night

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from janus_memory.config import Settings
    from tests.integration.harness import Process

pytestmark = pytest.mark.integration

EPISODE = "EURUSD/agent-1/agent-1-1"
TOPIC = replay("fx")


class Slept(NamedTuple):
    """A market after its first night, and the rows of one episode as they were before it."""

    settings: Settings
    folder: Path
    rows: Transitions

    def config(self, bootstrap: str, file: Path) -> str:
        """A settings file that points to a broker."""
        kafka = KafkaSettings(bootstrap=bootstrap, connect_timeout_s=120.0)
        file.write_text(dump_settings(msgspec.structs.replace(self.settings, kafka=kafka)))
        return str(file)

    def decoded(self, records: list[Any]) -> Transitions:
        """The rows of frames, in the order of the records."""
        spec = self.settings.market("fx").spec("fx")
        return Transitions.concatenate([decode_frame(record.value, spec) for record in records])


@pytest.fixture(scope="module")
def slept(tmp_path_factory: pytest.TempPathFactory) -> Slept:
    """One night of its own process, committed by the market's owner, which keeps its lock."""
    night: FrozenNight = freeze_night(tmp_path_factory.mktemp("night"))
    assert NightRun(night, {}).end() == 0
    night.state.commit("d1")
    rows = day_rows(night.settings.market("fx").spec("fx"), 1)
    return Slept(night.settings, night.state.folder, rows.take(rows.episode_id == b"agent-1-1"))


def test_a_consumer_finds_the_episode_with_its_ids_at_compressed_times(
    broker: str, slept: Slept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The topic is made where it is missing; records come one after the other; the memory stays as it was."""
    config = slept.config(broker, tmp_path / "janus.toml")
    memory = memory_files(slept.folder)[-1].read_bytes()
    arguments = ["--config", config, "replay", "fx", EPISODE, "--compression", "6000", "--json"]
    assert run(arguments) == 0
    *lines, end = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    records = read_topic(broker, TOPIC)[-len(slept.rows) :]
    found, given = slept.decoded(records), slept.rows
    t0 = int(given.timestamp[0])
    assert (found.timestamp - t0).tolist() == ((given.timestamp - t0) // 6000).tolist()
    as_given = dataclasses.replace(found, timestamp=given.timestamp, next_action=given.next_action)
    assert as_given.canonical_bytes() == given.canonical_bytes()
    np.testing.assert_array_equal(found.next_action[:-1], given.action[1:])
    assert all(record.timestamp_type == 1 for record in records)
    assert all(before.timestamp <= after.timestamp for before, after in pairwise(records))
    assert {record.key for record in records} == {EPISODE.encode()}
    assert [line["timestamp"] for line in lines] == found.timestamp.tolist()
    assert (end["end"], end["sent"]) == ("done", 150)
    assert end["seconds"] >= lines[-1]["after_s"]
    assert memory_files(slept.folder)[-1].read_bytes() == memory


def test_the_list_tells_how_urgent_the_night_found_each_episode(
    slept: Slept, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row has the priority that the night's end gave it, at least the floor (E7)."""
    assert (
        run(
            [
                "--config",
                slept.config("127.0.0.1:1", slept.folder / "list.toml"),
                "replay",
                "fx",
                "--list",
                "--json",
            ]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["rows"]) for one in found] == [
        ("EURUSD/agent-0/agent-0-1", 150),
        (EPISODE, 150),
    ]
    assert all(one["mean_priority"] >= slept.settings.replay.priority_floor for one in found)


def test_ctrl_c_ends_it_with_what_was_sent_so_far(
    slept: Slept, tmp_path: Path, process: Callable[..., Process]
) -> None:
    """At a row a second it is interrupted after the second: two rows are said, and two are there."""
    with EmbeddedBroker({TOPIC: 1}) as cluster:
        config = slept.config(cluster.bootstrap, tmp_path / "janus.toml")
        child = process(
            *("-m", "janus_memory.cli.main", "--config", config),
            *("replay", "fx", EPISODE, "--compression", "60", "--json"),
            # A suite in a shell's background would hand SIGINT down as ignored.
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        child.wait_for('"row":2,')
        child.signal(signal.SIGINT)
        assert child.exit_code() == 130
        rows = [json.loads(line) for line in child.lines if line.startswith('{"row"')]
        (end,) = [json.loads(line) for line in child.lines if line.startswith('{"end"')]
        assert (end["end"], end["sent"], end["of"]) == ("interrupted", len(rows), 150)
        found = slept.decoded(read_topic(cluster.bootstrap, TOPIC))
        assert 2 <= len(rows) <= len(found) <= len(rows) + 1
        assert found.transition_id.tolist() == slept.rows.transition_id[: len(found)].tolist()
        assert "Traceback" not in child.output
