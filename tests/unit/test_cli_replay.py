"""`janus replay` on the memory of a real night and an embedded broker, over the real wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from janus_memory.cli.main import run
from janus_memory.cli.replay_lines import duration
from janus_memory.config import KafkaSettings, Settings
from janus_memory.settings import dump_settings
from janus_memory.transition import Transitions
from streams.codec import decode_frame
from streams.embedded import EmbeddedBroker
from streams.topics import CONTENT_TYPE, FRAME_TYPE
from tests.integration.harness import read_topic
from tests.unit.sleep_rows import MARKET, rows_of, settings_for
from tests.unit.slept_folder import remember, warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator

EPISODE = "EURUSD/agent-0/agent-0-1"
MINUTE = 60 * 10**9


@pytest.fixture(scope="module")
def slept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder after a night that remembers 250 rows of two agents, a bar a minute."""
    settings = settings_for(tmp_path_factory.mktemp("slept"))
    remember(settings, rows_of(settings, 1))
    return Path(settings.data_dir)


@pytest.fixture
def settings(slept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings as ./janus.toml: fx has slept, live has the same shape, toy too and is simulated, wide has another."""
    monkeypatch.chdir(tmp_path)
    base = settings_for(slept)
    fx = base.market(MARKET)
    return write(
        msgspec.structs.replace(
            base,
            kafka=KafkaSettings(bootstrap="127.0.0.1:1", connect_timeout_s=0.1),
            markets={
                MARKET: fx,
                "live": fx,
                "toy": msgspec.structs.replace(fx, simulated=True),
                "wide": msgspec.structs.replace(fx, features=("position", "calm"), simulated=True),
            },
        )
    )


@pytest.fixture
def broker(settings: Settings) -> Iterator[str]:
    """An embedded broker with the topics that a replay may write to."""
    with EmbeddedBroker({f"janus.replay.{MARKET}": 1, "janus.transitions.toy": 4}) as cluster:
        write(msgspec.structs.replace(settings, kafka=KafkaSettings(bootstrap=cluster.bootstrap)))
        yield cluster.bootstrap


def write(settings: Settings) -> Settings:
    Path("janus.toml").write_text(dump_settings(settings))
    return settings


def episode(settings: Settings) -> Transitions:
    """The rows that were sent into the night, of the episode that is replayed."""
    rows = rows_of(settings, 1)
    return rows.take(rows.episode_id == EPISODE.rpartition("/")[2].encode())


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_rows_arrive_with_their_ids_and_compressed_times(
    broker: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frame a bar, in order, read back by a plain consumer; every line is one row, the last one the sum."""
    assert run(["replay", MARKET, EPISODE, "--compression", "6e5", "--json"]) == 0
    records = read_topic(broker, f"janus.replay.{MARKET}")
    rows = Transitions.concatenate(
        [decode_frame(r.value, settings.market(MARKET).spec(MARKET)) for r in records]
    )
    given = episode(settings)
    t0 = int(given.timestamp[0])
    assert rows.transition_id.tolist() == given.transition_id.tolist()
    assert (rows.timestamp - t0).tolist() == [round((t - t0) / 6e5) for t in given.timestamp.tolist()]
    for name in ("state", "action", "reward", "next_state", "done", "agent_id", "instrument", "episode_id"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(given, name))
    assert {r.key for r in records} == {EPISODE.encode()}
    assert {dict(r.headers)[CONTENT_TYPE] for r in records} == {FRAME_TYPE.encode()}
    *lines, end = said(capsys)
    assert [line["transition_id"].encode() for line in lines] == given.transition_id.tolist()
    assert [line["timestamp"] for line in lines] == rows.timestamp.tolist()
    assert [line["happened"] for line in lines] == given.timestamp.tolist()
    assert [line["action"] for line in lines] == [("short", "flat", "long")[a] for a in given.action]
    assert [(line["row"], line["of"]) for line in lines] == [(i + 1, 125) for i in range(125)]
    assert lines[10]["after_s"] == pytest.approx(10 * 60 / 6e5)
    assert [line["done"] for line in lines] == [False] * 124 + [True]
    assert (end["end"], end["sent"], end["of"], end["topic"]) == ("done", 125, 125, f"janus.replay.{MARKET}")


def test_people_read_when_what_was_done_and_how_far_it_is(
    broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text lines on stdout; what it takes and that C is unusual on stderr; only the first rows with --limit."""
    assert run(["replay", MARKET, "agent-0-1", "--compression", "60000", "--limit", "3"]) == 0
    shown = capsys.readouterr()
    *lines, end = shown.out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["+0.00", "s", "1/3"],
        ["+0.00", "s", "2/3"],
        ["+0.00", "s", "3/3"],
    ]
    assert "1970-01-02 00:02:00 UTC" in lines[1]
    assert end.startswith(f"done: 3 of 3 rows are on janus.replay.{MARKET}, in ")
    assert "3 rows over 2 min of 1970-01-02 00:01:00 UTC take 0.002 s at C = 60000" in shown.err
    assert "C = 60000 is outside 10 to 20" in shown.err
    assert len(read_topic(broker, f"janus.replay.{MARKET}")) == 3


def test_a_simulated_market_takes_a_replay_as_its_own_rows(
    broker: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its name or its topic; the frames name it, else its ingest would refuse them."""
    for to in ("toy", "janus.transitions.toy"):
        assert (
            run(["replay", MARKET, EPISODE, "--compression", "1e9", "--limit", "5", "--to", to, "--json"])
            == 0
        )
        assert said(capsys)[-1]["topic"] == "janus.transitions.toy"
    records = read_topic(broker, "janus.transitions.toy", range(4))
    spec = settings.market("toy").spec("toy")
    assert sum(len(decode_frame(r.value, spec)) for r in records) == 10
    assert len({r.partition for r in records}) == 1


def test_the_usual_compression_is_the_settings_own(
    broker: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --compression replay.compression decides; within 10 to 20 nothing is said of it."""
    assert run(["replay", MARKET, EPISODE, "--limit", "1"]) == 0
    assert "at C = 15, onto" in (shown := capsys.readouterr().err)
    assert "note" not in shown
    assert run(["--set", "replay.compression=12", "replay", MARKET, EPISODE, "--limit", "1"]) == 0
    assert "at C = 12, onto" in capsys.readouterr().err
    assert len(read_topic(broker, f"janus.replay.{MARKET}")) == 2
    assert settings.replay.compression == 15


@pytest.mark.usefixtures("settings")
def test_the_list_shows_what_can_be_replayed_without_a_broker(capsys: pytest.CaptureFixture[str]) -> None:
    """Both agents' episodes, by their first row; as JSON with everything, with --limit the newest."""
    assert run(["replay", MARKET, "--list", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    rows = rows_of(settings_for(Path()), 1)
    rewards = rows.reward[rows.episode_id == b"agent-0-1"].astype(np.float64)
    assert (first["name"], first["rows"], first["first"]) == (EPISODE, 125, int(rows.timestamp[0]))
    assert (first["duration_s"], first["done"]) == (124 * 60.0, True)
    assert first["reward_sum"] == pytest.approx(rewards.sum(), rel=1e-9)
    # Priorities 0, 1, 2, ...: this agent's rows are those of the even numbers up to 248.
    assert first["mean_priority"] == 124.0
    assert (second["episode"], second["agent"], second["instrument"]) == ("agent-1-1", "agent-1", "EURUSD")
    assert run(["replay", MARKET, "--list", "--limit", "1"]) == 0
    shown = capsys.readouterr().out
    assert "agent-1-1" in shown
    assert "2 h 4 min" in shown
    assert "agent-0-1" not in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([MARKET], 2, "name an episode of market fx; nothing was sent; `janus replay fx --list`"),
        (
            [MARKET, "agent-0-2"],
            2,
            "no episode 'agent-0-2'; nothing was replayed; the nearest are agent-0-1, ",
        ),
        ([MARKET, EPISODE, "--compression", "0"], 2, "compression 0.0 is not a positive number"),
        ([MARKET, EPISODE, "--compression", "nan"], 2, "compression nan is not a positive number"),
        ([MARKET, EPISODE, "--to", "live"], 2, "market live is not simulated; nothing was sent"),
        ([MARKET, EPISODE, "--to", MARKET], 2, "market fx is not simulated"),
        ([MARKET, EPISODE, "--to", "janus.transitions.live"], 2, "market live is not simulated"),
        ([MARKET, EPISODE, "--to", "wide"], 2, "rows of market fx do not fit market wide"),
        ([MARKET, EPISODE, "--to", "janus.schema-updates"], 2, "neither janus.replay.MARKET nor a market"),
        (["nowhere", EPISODE], 2, "unknown market 'nowhere'"),
        (["live", "--list"], 9, "market live has no committed night"),
        ([MARKET, EPISODE], 5, "no Kafka broker answered at 127.0.0.1:1"),
    ],
)
@pytest.mark.usefixtures("settings")
def test_what_cannot_be_replayed_is_said_in_a_line(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", *arguments]) == code
    assert words in capsys.readouterr().err


@pytest.mark.usefixtures("settings")
def test_a_market_that_only_warms_up_has_nothing_to_replay(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its nights leave a memory without a replay buffer."""
    warming = write(msgspec.structs.replace(settings, data_dir=str(tmp_path / "warming")))
    warm_up(warming)
    assert run(["replay", MARKET, "--list"]) == 9
    assert "has no committed night" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (4.123, "4.12 s"), (59.9, "59.9 s"), (60, "1 min"), (125, "2 min 5 s"), (7440, "2 h 4 min"),
     (3_600, "1 h"), (93_600, "1 d 2 h"), (86_400 * 400, "400 d")],
)  # fmt: skip
def test_a_span_of_time_has_at_most_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
