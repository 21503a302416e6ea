"""The life of a schema: as events tell it and the bank confirms it, and as the command line prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from janus_memory.cli.main import run
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.lineage import LifeEvent, lineage_of
from janus_memory.neocortex.merging import merge_night
from janus_memory.neocortex.pruning import prune_night
from janus_memory.settings import dump_settings
from janus_memory.sleep.memory import Memory
from janus_memory.sleep.sessions import COMMIT_FILE
from tests.unit.schema_rows import DAY, ROBUST, fitted, night, planted, times
from tests.unit.sleep_rows import MARKET, night_of, rows_of, settings_for, sleep


def _bank() -> SchemaBank:
    x, _ = planted(400, 4, 4)
    bank, background = fitted(x)
    night(bank, background, x)
    assert len(bank.ids) >= 3
    return bank


def _event(schema: str, kind: str, at: int, into: str | None = None) -> LifeEvent:
    return LifeEvent(
        schema_id=schema,
        kind=kind,  # type: ignore[arg-type]  # a literal in each call
        merged_into=into,
        session_id=f"day-{at}",
        at=at,
        num_points=10 * at,
        profile="rising",
    )


def _history(memory: Memory) -> tuple[LifeEvent, ...]:
    return memory.knowledge.history if memory.knowledge else ()


def test_a_life_by_hand() -> None:
    """B was born, archived and revived; A was merged into it; C is unknown to the events but lives."""
    bank = _bank()
    a, b, c = (i.decode() for i in bank.ids.tolist()[:3])
    bank.alias(0, 1)
    bank.remove([0])
    history = (
        _event(a, "created", 1),
        _event(b, "created", 2),
        _event(b, "archived", 3),
        _event(b, "revived", 4),
        _event(a, "merged", 5, b),
    )
    gone, kept, quiet = (lineage_of(history, bank, name) for name in (a, b, c))
    assert gone
    assert kept
    assert quiet
    assert (gone.lives_as, gone.state, [e.kind for e in gone.events]) == (b, "living", ["created", "merged"])
    assert (kept.lives_as, kept.merged_from) == (b, (a,))
    assert [(e.kind, e.at) for e in kept.events] == [("created", 2), ("archived", 3), ("revived", 4)]
    assert (quiet.lives_as, quiet.events) == (c, ())
    assert lineage_of(history, bank, "0" * 16) is None


def test_the_archive_and_the_end_are_told_apart() -> None:
    """An archived schema still lives, under its id; a pruned one is only remembered."""
    bank = _bank()
    a, b = (i.decode() for i in bank.ids.tolist()[:2])
    bank.columns.archived[0] = 1
    bank.remove([1])
    history = (_event(a, "created", 1), _event(b, "created", 1), _event(b, "pruned", 2))
    slept, ended = lineage_of(history, bank, a), lineage_of(history, bank, b)
    assert slept
    assert ended
    assert (slept.state, slept.lives_as) == ("archived", a)
    assert (ended.state, ended.lives_as) == ("pruned", None)


def test_ids_survive_nights_restarts_and_merges() -> None:
    """Five nights of one stream, the bank read back after each: every id ever given leads to a schema or was pruned."""
    x, _ = planted(2000, 6, 5, run=3)
    bank, background = fitted(x)
    given: set[str] = set()
    for number in range(5):
        part = slice(400 * number, 400 * (number + 1))
        result = night(bank, background, x[part], time=times(2000)[part] + number * DAY)
        given |= {i.decode() for i in result.ids.tolist()}
        before = {i.decode() for i in bank.ids.tolist()}
        merge_night(bank, background, ROBUST)
        assert all(bank.resolve(name) for name in before)
        prune_night(bank, (number + 1) * DAY, small_night=False, settings=ROBUST)
        bank = SchemaBank.restore(bank.snapshot())
    assert bank.aliases
    living = {i.decode() for i in bank.ids.tolist()}
    assert {bank.resolve(name) for name in given} - {None} == living


def test_the_commands_print_a_committed_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`schemas list` names the living ones, `show` one of them with its birth, and refuses an id it never had."""
    settings = settings_for(tmp_path / "data")
    done = sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1)))
    assert {f"pass_rate_schema_{e.schema_id}" for e in _history(done.memory)} <= done.report.metrics.keys()
    state = tmp_path / "data" / "state" / MARKET
    (state / "memory").mkdir()
    (state / "sessions" / "day-1" / COMMIT_FILE).rename(state / "memory" / "000001-day-1.npz")
    config = tmp_path / "janus.toml"
    config.write_text(dump_settings(settings))
    assert run(["--config", str(config), "schemas", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert rows == sorted(rows, key=lambda row: -row["points"])
    name = rows[0]["schema"]
    assert run(["--config", str(config), "schemas", "show", name]) == 0
    printed = capsys.readouterr().out
    assert f"{name}: living" in printed
    assert "created with" in printed
    assert rows[0]["profile"] in printed
    assert run(["--config", str(config), "schemas", "show", "0" * 16]) == 2
    assert "never had a schema" in capsys.readouterr().err
