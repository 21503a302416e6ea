"""`janus rules`: the demo's rules checked, and explained on the demo's data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from janus_memory.cli.demo_settings import demo_market
from janus_memory.cli.main import run
from janus_memory.cli.transition_files import read_transitions
from janus_memory.config import LogicSettings, MarketSettings, RuleSettings, Settings
from janus_memory.settings import dump_settings
from janus_memory.simulate.bars import shipped_bars
from janus_memory.simulate.sessions import sessions_of
from janus_memory.simulate.trading import Costs, Market
from janus_memory.transition import MarketSpec, Transitions
from streams.codec import encode_frame
from tests.unit.sleep_rows import MARKET, rows_of, settings_for
from tests.unit.slept_folder import remember
from tests.unit.wire_rows import VECTOR, make_rows

SPEC = demo_market().spec("eurusd")


@pytest.fixture(scope="module")
def week() -> Transitions:
    """The first 600 rows of a simulated week of the demo."""
    bars, market = shipped_bars(), demo_market()
    trading = Market(SPEC, bars, Costs(), seed=0)
    session = next(s for s in sessions_of(bars, market.calendar, market.session) if trading.is_ready(s))
    days = list(trading.episodes(session))
    return Transitions.concatenate([episode for day in days[2:4] for episode in day[:15]]).sorted()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, week: Transitions) -> Path:
    """The demo's settings as janus.toml, beside its data as a frame."""
    monkeypatch.chdir(tmp_path)
    write_rules(*demo_market().rules)
    Path("week.bin").write_bytes(encode_frame(week, SPEC))
    return tmp_path


def write_rules(*rules: RuleSettings) -> None:
    market = msgspec.structs.replace(demo_market(), rules=rules)
    Path("janus.toml").write_text(dump_settings(Settings(data_dir="data", markets={"eurusd": market})))


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["rules", "explain", *arguments, "--json"]) == 0
    facts: dict[str, Any] = said(capsys)
    return facts


def json_line(row: int, rows: Transitions, **changed: Any) -> str:
    fields = {
        "v": 1,
        "market": "eurusd",
        "feature_set_id": SPEC.feature_set_id,
        "state": rows.state[row].tolist(),
        "action": int(rows.action[row]),
        "reward": float(rows.reward[row]),
        "next_state": rows.next_state[row].tolist(),
        "done": bool(rows.done[row]),
        "timestamp": int(rows.timestamp[row]),
    }
    ids = ("transition_id", "instrument", "agent_id", "episode_id")
    fields |= {name: bytes(getattr(rows, name)[row]).decode() for name in ids}
    return json.dumps(fields | changed)


def table_of(rows: Transitions, spec: MarketSpec) -> pd.DataFrame:
    ids = ("transition_id", "instrument", "agent_id", "episode_id")
    columns: dict[str, Any] = {name: getattr(rows, name).astype(str) for name in ids}
    columns |= {name: rows.state[:, k] for k, name in enumerate(spec.features)}
    columns |= {f"next.{name}": rows.next_state[:, k] for k, name in enumerate(spec.features)}
    columns["action"] = [spec.action_names[a] if spec.action_names else a for a in rows.action]
    return pd.DataFrame(columns | {"timestamp": rows.timestamp, "reward": rows.reward, "done": rows.done})


@pytest.mark.usefixtures("folder")
def test_the_demos_rules_are_explained_on_its_data(
    capsys: pytest.CaptureFixture[str], week: Transitions
) -> None:
    """Counts against a plain loop over the rows, with the thresholds of docs/rules.md."""
    facts = explained(capsys, "--on", "week.bin", "--worst", "3")
    assert (facts["rows"], facts["episodes"]) == (len(week), len(set(week.episode_id.tolist())))
    drawdown, volatility, loser = facts["rules"]
    column = {name: week.state[:, k].astype(float) for k, name in enumerate(SPEC.features)}
    in_market = week.action != SPEC.action_names.index("flat")
    assert drawdown["support"] == (column["drawdown"] <= -0.01).sum() > 0
    assert drawdown["broken"] == ((column["drawdown"] < -0.01) & in_market).sum() > 0
    scaled = np.abs(column["position"]) * column["volatility_24h"]
    assert volatility["support"] == (scaled >= 0.0016).sum() > 0
    assert volatility["violation_rate"] == pytest.approx(((scaled > 0.0016) & in_market).mean())
    held = np.sign(column["position"]) == week.action - 1
    assert 0 < loser["broken"] <= (held & in_market & (column["position_pnl"] < -0.004)).sum()
    worst = drawdown["worst"]
    assert [row["truth"] for row in worst] == sorted(row["truth"] for row in worst)
    number = week.transition_id.tolist().index(worst[0]["transition_id"].encode())
    assert column["drawdown"][number] == column["drawdown"][in_market].min()
    assert worst[0]["mentioned"] == {"drawdown": pytest.approx(column["drawdown"][number])}
    assert worst[0]["action"] in {"short", "long"}
    assert worst[0]["reward"] == pytest.approx(float(week.reward[number]))
    for rule in facts["rules"]:
        spread = rule["satisfaction"]
        assert 0 < spread["min"] <= spread["q05"] <= spread["q25"] <= spread["median"] <= 1
        assert rule["trains_policy"] is True


@pytest.mark.usefixtures("folder")
def test_episodes_that_stay_out_of_long_term_memory_are_counted(
    capsys: pytest.CaptureFixture[str], week: Transitions
) -> None:
    """Satisfaction 1 - sqrt(share of rows that break the only rule) at or below 0.7: a share of 0.09 or more."""
    write_rules(RuleSettings(name="rest", text="action == flat"))
    busy = [
        (week.action[week.episode_id == one] != 1).mean() for one in sorted(set(week.episode_id.tolist()))
    ]
    facts = explained(capsys, "--on", "week.bin")
    assert facts["episodes_kept_out"] == sum(share >= 0.09 for share in busy)
    assert 0 < facts["episodes_kept_out"] != facts["episodes"] / 2


@pytest.mark.usefixtures("folder")
def test_people_read_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """One over all rules, one of the worst rows for each, and what it means for the memory."""
    write_rules(*demo_market().rules, RuleSettings(name="never", text="drawdown > 1 implies reward > 0"))
    assert run(["rules", "explain", "janus.toml", "--on", "week.bin"]) == 0
    shown = capsys.readouterr().out
    assert "drawdown limit: the rows that keep it worst" in shown
    assert "never applies to no row: it is true whatever was done" in shown
    assert "too badly for long-term memory" in shown


@pytest.mark.usefixtures("folder")
def test_one_rule_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    facts = explained(capsys, "--on", "week.bin", "--rule", "no adding to a loser", "--worst", "0")
    (rule,) = facts["rules"]
    assert (rule["rule"], rule["worst"]) == ("no adding to a loser", [])
    assert run(["rules", "explain", "--on", "week.bin", "--rule", "drawdwn limit"]) == 2
    assert "unknown rule 'drawdwn limit' (did you mean 'drawdown limit'?)" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_every_kind_of_file_says_the_same(capsys: pytest.CaptureFixture[str], week: Transitions) -> None:
    """A frame, JSON lines in any order, CSV with names of actions, Parquet."""
    wanted = explained(capsys, "--on", "week.bin")
    lines = [json_line(row, week) for row in range(len(week))]
    Path("week.jsonl").write_text("\n\n".join(reversed(lines)))
    table = table_of(week, SPEC)
    table.to_csv("week.csv", index=False)
    table.assign(timestamp=pd.to_datetime(table["timestamp"]), done=table["done"] == 1).to_parquet("week.pq")
    table.assign(action=week.action, timestamp=pd.to_datetime(table["timestamp"])).to_csv("iso.csv")
    for name in ("week.jsonl", "week.csv", "week.pq", "iso.csv"):
        assert explained(capsys, "--on", name) == wanted | {"data": name}
        assert read_transitions(Path(name), SPEC).canonical_bytes() == week.canonical_bytes()


def test_markets_of_vectors_are_explained_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a frame and from a table with a column for each component."""
    monkeypatch.chdir(tmp_path)
    rows = make_rows([f"t{k}" for k in range(40)], VECTOR)
    rule = RuleSettings(name="small", text="abs(action[1]) < 1 ~ 0.1")
    market = MarketSettings(features=VECTOR.features, action_dim=2, rules=(rule,))
    Path("janus.toml").write_text(dump_settings(Settings(markets={VECTOR.name: market})))
    Path("rows.bin").write_bytes(encode_frame(rows, VECTOR))
    table = table_of(dataclasses.replace(rows, action=np.zeros(40, np.int32)), VECTOR).drop(
        columns=["action"]
    )
    table.assign(**{f"action[{k}]": rows.action[:, k] for k in (0, 1)}).to_csv("rows.csv")
    facts = explained(capsys, "--on", "rows.bin")
    (found,) = facts["rules"]
    assert found["broken"] == (np.abs(rows.action[:, 1]) > 1).sum() > 0
    assert found["worst"][0]["action"][1] == pytest.approx(float(max(rows.action[:, 1], key=abs)))
    assert explained(capsys, "--on", "rows.csv") == facts | {"data": "rows.csv"}
    assert run(["rules", "explain", "--on", "rows.bin"]) == 0
    assert "small: the rows that keep it worst" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"state": [1.0]}, "line 2: wrong dimension: state has 1 values, 12 expected"),
        ({"action": 3}, "line 2: action is out of range 0..2"),
        (
            {"reward": "much"},
            "line 2: undecodable JSON transition: Expected `float`, got `str` - at `$.reward`",
        ),
        ({"state": [1e39] * 12}, "line 2: state is NaN or infinite at feature 'return_1h'"),
        ({"market": "other"}, "line 2: market 'other'"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_bad_line_is_named(
    capsys: pytest.CaptureFixture[str], week: Transitions, changed: dict[str, Any], told: str
) -> None:
    Path("bad.jsonl").write_text(json_line(0, week) + "\n" + json_line(1, week, **changed))
    assert run(["rules", "explain", "--on", "bad.jsonl"]) == 3
    assert f"bad.jsonl, {told}" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_a_malformed_place_is_named(capsys: pytest.CaptureFixture[str], week: Transitions) -> None:
    """Line and column of JSON, row of a frame, row and column of a table, and files that are nothing of it."""
    Path("bad.jsonl").write_text(json_line(0, week) + '\n{"v": 1, "market": eurusd}')
    assert run(["rules", "explain", "--on", "bad.jsonl"]) == 3
    assert "bad.jsonl, line 2, column 20: " in capsys.readouterr().err
    broken = week.take(slice(0, 5))
    state = broken.state.copy()
    state[3, 1] = np.nan
    Path("bad.bin").write_bytes(encode_frame(dataclasses.replace(broken, state=state), SPEC))
    assert run(["rules", "explain", "--on", "bad.bin"]) == 3
    assert "bad.bin, row 4: state is NaN or infinite at feature 'return_4h'" in capsys.readouterr().err
    table = table_of(broken, SPEC).astype(object)
    for column, value, told in (
        ("drawdown", "deep", "'deep' is no finite number"),
        ("action", "hold", "'hold' is no action; there are 0, 1, 2, short, flat, long"),
        ("done", "perhaps", "'perhaps' is neither 0 nor 1"),
    ):
        wrong = table.copy()
        wrong.loc[2, column] = value
        wrong.to_csv("bad.csv", index=False)
        assert run(["rules", "explain", "--on", "bad.csv"]) == 3
        assert f"bad.csv, row 3 (line 4 of a CSV), column {column}: {told}" in capsys.readouterr().err
    wrong = table.assign(timestamp=["2017-01-11T08:00", "2017-01-11", "noon", "2017-01-12", "2017-01-13"])
    wrong.to_csv("bad.csv", index=False)
    assert run(["rules", "explain", "--on", "bad.csv"]) == 3
    assert "bad.csv, row 3 (line 4 of a CSV), column timestamp: 'noon' is no time" in capsys.readouterr().err
    table.drop(columns=["reward", "next.drawdown"]).to_csv("bad.csv", index=False)
    assert run(["rules", "explain", "--on", "bad.csv"]) == 3
    assert "bad.csv: no column next.drawdown, reward; found transition_id" in capsys.readouterr().err
    Path("bad.csv").write_bytes(b"")
    assert run(["rules", "explain", "--on", "bad.csv"]) == 2
    assert "bad.csv is empty" in capsys.readouterr().err
    assert run(["rules", "explain", "--on", "absent.csv"]) == 2
    assert "cannot read absent.csv: No such file" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_without_a_night_there_is_no_memory_to_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "explain", "--on", "memory"]) == 9
    assert "market eurusd has no committed night in data/state/eurusd" in capsys.readouterr().err


def test_the_memory_is_explained_by_name_or_by_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`memory`, the data folder and the state folder are the same buffer; another market's is refused."""
    monkeypatch.chdir(tmp_path)
    rule = RuleSettings(name="calm", text="calm > 3 ~ 0.5 implies not action == long")
    settings = settings_for(tmp_path / "data", rules=(rule,))
    rows = rows_of(settings, 1)
    remember(settings, rows)
    markets = {MARKET: settings.market(MARKET), "twin": settings.market(MARKET)}
    Path("janus.toml").write_text(dump_settings(msgspec.structs.replace(settings, markets=markets)))
    facts = explained(capsys, "--market", MARKET, "--on", "memory")
    assert (facts["rows"], facts["episodes"]) == (len(rows), 2)
    assert facts["rules"][0]["broken"] == ((rows.state[:, 0] > 3) & (rows.action == 2)).sum() > 0
    for folder in ("data", f"data/state/{MARKET}"):
        assert explained(capsys, "--market", MARKET, "--on", folder) == facts | {"data": folder}
    assert run(["rules", "explain", "--market", "twin", "--on", f"data/state/{MARKET}"]) == 9
    assert f"holds the memory of market {MARKET}, not of twin" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_check_prints_what_holds_and_what_trains(capsys: pytest.CaptureFixture[str]) -> None:
    """Presets as texts; the reason beside each rule that is left out of L_logic."""
    write_rules(
        RuleSettings(preset="drawdown limit", limit=0.02, warning=0.01, weight=2.0),
        RuleSettings(name="paid", text="exists: reward > 0 and next.drawdown > -0.01"),
        RuleSettings(name="calm", text="volatility_24h < 0.01 ~ 0.001"),
        RuleSettings(name="off", text="action == flat", weight=0.0),
        RuleSettings(name="some", text="exists: action == flat"),
    )
    assert run(["rules", "check", "--json"]) == 0
    rows = {row["rule"]: row for row in said(capsys)}
    assert rows["drawdown limit"]["text"] == "forall: drawdown < -0.02 ~ 0.004 implies action == flat"
    assert rows["drawdown limit: warning"]["weight"] == 2.0
    assert {name: row["trains_policy"] for name, row in rows.items()} == {
        "drawdown limit": True,
        "drawdown limit: warning": True,
        "paid": False,
        "calm": False,
        "off": False,
        "some": True,
    }
    assert rows["paid"]["reason"] == "mentions reward, next.drawdown, not known when the action is chosen"
    assert "same truth whatever is done" in rows["calm"]["reason"]
    assert rows["off"]["reason"] == "has weight 0"
    assert run(["rules", "check", "janus.toml"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "6 rules can be read" in shown
    assert "eurusd: paid does not train the policy: it mentions reward, next.drawdown" in shown


@pytest.mark.usefixtures("folder")
def test_check_refuses_by_name_column_and_nearest_word(capsys: pytest.CaptureFixture[str]) -> None:
    write_rules(RuleSettings(name="r", text="abs(postion) > 1 implies action == flat"))
    assert run(["rules", "check", "janus.toml"]) == 2
    told = "rule 'r', column 5: unknown feature 'postion' (did you mean 'position'?)"
    assert told in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_check_refuses_a_p_that_the_night_would_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where no rule of the market needs that p."""
    settings = Settings(markets={"eurusd": demo_market()}, logic=LogicSettings(p_exists=0.5))
    Path("janus.toml").write_text(dump_settings(settings))
    assert run(["rules", "check", "janus.toml"]) == 2
    assert "logic.p_exists = 0.5; nothing was loaded" in capsys.readouterr().err
