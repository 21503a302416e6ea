"""The command line: help with examples, exit codes, and errors as lines."""

from __future__ import annotations

import datetime as dt
import json
import stat
from pathlib import Path

import click
import pytest

from janus_memory.cli.demo import MARKER, fresh_folder
from janus_memory.cli.demo_settings import demo_market, demo_settings
from janus_memory.cli.feed import Feed
from janus_memory.cli.main import cli, run
from janus_memory.cli.market import next_session_id
from janus_memory.cli.up import service_children, write_settings
from janus_memory.config import KafkaSettings, Settings
from janus_memory.errors import ConfigError
from janus_memory.events import PackedArray, SchemaUpdate, encode, event_id
from janus_memory.settings import load_settings
from janus_memory.sleep.sessions import MarketState
from janus_memory.topics import SCHEMA_UPDATES


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = command.commands if isinstance(command, click.Group) else {}
    return [path] + [found for name, sub in inner.items() for found in _commands(sub, (*path, name))]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings with one simulated market, in a folder of their own; no broker answers."""
    monkeypatch.chdir(tmp_path)
    kafka = KafkaSettings(
        bootstrap="127.0.0.1:1",
        connect_timeout_s=0.1,
        sasl_password="hush",  # noqa: S106  (a made-up one, to be hidden)
        sasl_username="me",
    )
    settings = Settings(kafka=kafka, data_dir=str(tmp_path / "data"), markets={"eurusd": demo_market()})
    path = tmp_path / "janus.toml"
    write_settings(settings, path)
    return path


@pytest.mark.parametrize("path", _commands(cli), ids=" ".join)
def test_every_command_explains_itself_with_an_example(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert shown.count("janus ") >= 1


def test_the_commands_are_those_that_are_documented() -> None:
    assert set(cli.commands) == {
        "close", "config", "dead-letters", "demo", "replay", "rules", "schemas", "simulate", "sleep", "status", "topics", "up",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense"], 2, "No such command"),
        (["--set", "kafka.bootsrap=x", "config", "show"], 2, "nearest one is kafka.bootstrap"),
        (["-c", "absent.toml", "config", "show"], 2, "cannot read the settings file absent.toml"),
        (["close", "gbpusd"], 2, "unknown market 'gbpusd'; known: eurusd"),
        (["close", "eurusd", "--at", "noon"], 2, "not an ISO 8601 time"),
        (["simulate", "--bars", "absent.csv"], 2, "cannot read absent.csv"),
        (["simulate", "--speed", "fast"], 2, "--speed 'fast'"),
        (["simulate", "--speed", "nan"], 2, "--speed 'nan'"),
        (["simulate", "--dry-run", "--from", "2018-06-01"], 2, "no session closes on or after 2018-06-01"),
        (["sleep", "--retry", "2017-01-13.1"], 9, "has no session 2017-01-13.1"),
        (["sleep", "--retry", "a", "--skip", "b"], 2, "choose one"),
        (["close", "eurusd"], 5, "no Kafka broker answered at 127.0.0.1:1"),
        (["topics", "check"], 5, "no Kafka broker answered"),
        (["dead-letters", "list"], 5, "no Kafka broker answered"),
        (["status"], 5, "no Kafka broker answered"),
    ],
)
@pytest.mark.usefixtures("config")
def test_errors_are_lines_with_exit_codes(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


@pytest.mark.usefixtures("config")
def test_an_unreadable_session_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = config.parent / "data" / "state" / "eurusd" / "sessions" / "x" / "session.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    assert run(["status", "--no-broker"]) == 10
    assert f"cannot read {record}" in capsys.readouterr().err


def test_an_unforeseen_error_is_a_line_unless_debug_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setitem(cli.commands, "broken", click.Command("broken", callback=broken))
    assert run(["broken"]) == 70
    assert "unforeseen ZeroDivisionError: a slip" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        run(["--debug", "broken"])


def test_an_interrupt_ends_with_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.commands, "interrupted", click.Command("interrupted", callback=interrupted))
    assert run(["interrupted"]) == 130


def test_config_show_tells_sources_and_hides_secrets(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JANUS_SEED", "4")
    assert run(["--set", "ingest.capacity=12", "config", "show", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "hush" not in shown
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(shown)}
    assert rows["seed"] == (4, "environment JANUS_SEED")
    assert rows["ingest.capacity"] == (12, "flag")
    assert rows["kafka.sasl_username"] == ("me", "file janus.toml")
    assert rows["kafka.sasl_password"] == ("(hidden)", "file janus.toml")
    assert rows["qdrant.api_key"] == ("", "file janus.toml")
    assert run(["config", "show", "--toml"]) == 0
    shown = capsys.readouterr().out
    assert "hush" not in shown
    (config.parent / "again.toml").write_text(shown)
    assert load_settings(config.parent / "again.toml").markets == load_settings(config).markets


def test_simulate_refuses_a_market_that_is_not_simulated(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text().replace("simulated = true", "simulated = false"))
    for arguments in (["simulate"], ["simulate", "--dry-run"]):
        assert run(arguments) == 2
        assert "market eurusd is not simulated; nothing was sent" in capsys.readouterr().err


@pytest.mark.usefixtures("config")
def test_simulate_says_what_it_would_send(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--dry-run", "--sessions", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["session"], row["bars"]) for row in rows] == [("2017-01-13.1", 120), ("2017-01-20.1", 120)]


def test_a_malformed_file_of_ones_own_is_refused_by_place(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "own.csv").write_text(
        "time,open,high,low,close\n2017-01-02,1,1,1,one\n2017-01-03,1,1,1,1\n"
    )
    assert run(["simulate", "--bars", "own.csv"]) == 2
    assert "own.csv, row 1 (line 2), column close: 'one' is not a finite number" in capsys.readouterr().err


@pytest.mark.usefixtures("config")
def test_status_shows_sessions_and_fails_where_one_has_failed(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = MarketState.acquire(config.parent / "data", "eurusd")
    state.register("2017-01-13.1", 1_484_348_400_000_000_000)
    assert run(["status", "--no-broker", "--json"]) == 0
    (session,) = json.loads(capsys.readouterr().out)["markets"]["eurusd"]["sessions"]
    assert (session["session"], session["state"]) == ("2017-01-13.1", "pending")
    state.fail("2017-01-13.1", "the night broke")
    state.release()
    assert run(["status", "--no-broker"]) == 9
    assert "the night broke" in capsys.readouterr().out
    assert run(["sleep", "--skip", "2017-01-13.1"]) == 0
    assert "given up" in capsys.readouterr().out
    assert run(["status", "--no-broker"]) == 0


def test_a_close_by_hand_takes_the_exchanges_date_and_the_next_ordinal(config: Path) -> None:
    settings = load_settings(config)
    late = dt.datetime(2017, 1, 14, 3, 0, tzinfo=dt.UTC)  # still Friday in Chicago
    assert next_session_id(settings, "eurusd", late) == "2017-01-13.1"
    state = MarketState.acquire(Path(settings.data_dir), "eurusd")
    state.register("2017-01-13.1", 0)
    state.release()
    assert next_session_id(settings, "eurusd", late) == "2017-01-13.2"


def test_services_get_complete_files_of_their_own_that_only_the_owner_reads(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path, "127.0.0.1:9", dashboard=False, port=9000)
    children = service_children(settings, 2)
    assert [child.name for child in children] == ["ingest-0", "ingest-1", "sleeper"]
    files = [tmp_path / "run" / f"{child.name}.toml" for child in children]
    assert [load_settings(file).ingest.port for file in files] == [9000, 9001, 9000]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert all(load_settings(file).markets == settings.markets for file in files)


def test_up_without_a_market_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["up"]) == 2
    assert "name no market; nothing was started" in capsys.readouterr().err


def test_the_demo_removes_only_what_a_demo_has_written(tmp_path: Path) -> None:
    folder = tmp_path / "demo-data"
    assert fresh_folder(folder, keep=False) == folder
    (folder / "old").write_text("")
    assert fresh_folder(folder, keep=False) == folder
    assert [path.name for path in folder.iterdir()] == [MARKER]
    assert fresh_folder(folder, keep=True) == tmp_path / "demo-data-2"
    assert fresh_folder(folder, keep=True) == tmp_path / "demo-data-3"
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="no demo has written"):
        fresh_folder(own, keep=False)
    assert (own / "thesis.tex").read_text() == "mine"


def test_the_feed_counts_an_event_once_and_forgets_what_is_gone() -> None:
    def event(kind: str, schema: str) -> bytes:
        none = PackedArray([0], "")
        return encode(
            SchemaUpdate(
                event_id=event_id(kind, schema), market="m", as_of=1, kind=kind,  # type: ignore[arg-type]  # one of the kinds below
                cycle_id="c", bank_version=1, schema_id=schema, num_points=1, avg_reward=0.0, created_at=1,
                last_updated=1, profile="calm", mean=none, covariance=none, feature_mean=none, feature_deviation=none,
            )
        )  # fmt: skip

    feed = Feed()
    for kind, schema in [("created", "a"), ("created", "b"), ("created", "a"), ("merged", "b")]:
        feed.take(SCHEMA_UPDATES, event(kind, schema))
    assert feed.changes == {"created": 2, "merged": 1}
    assert set(feed.schemas) == {"a"}
