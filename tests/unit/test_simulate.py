"""The simulated trading day: bars, sessions, episodes, rewards and their publication."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from janus_memory.errors import ConfigError
from janus_memory.simulate.bars import Bars, read_bars, shipped_bars
from janus_memory.simulate.behaviour import ACTION_NAMES, agents, decide
from janus_memory.simulate.features import DEFAULT_FEATURES
from janus_memory.simulate.publish import frames, publish_session
from janus_memory.simulate.sessions import Session, sessions_of
from janus_memory.simulate.trading import Costs, Market
from janus_memory.transition import MarketSpec, Transitions, fill_next_actions

SPEC = MarketSpec("eurusd", DEFAULT_FEATURES, "discrete", 3, ACTION_NAMES)
HEAD = "time,open,high,low,close,volume\n"
GOOD = "2017-01-02 00:00,1.0,1.2,0.9,1.1,10\n2017-01-02 01:00,1.1,1.2,1.0,1.1,20\n"


@pytest.fixture(scope="module")
def bars() -> Bars:
    return shipped_bars()


@pytest.fixture(scope="module")
def weeks(bars: Bars) -> list[Session]:
    return sessions_of(bars, "CMES", "week")


@pytest.fixture(scope="module")
def market(bars: Bars) -> Market:
    return Market(SPEC, bars, Costs(), seed=0)


def _rows(market: Market, session: Session) -> Transitions:
    return Transitions.concatenate([rows for day in market.episodes(session) for rows in day])


def test_shipped_bars_are_the_hourly_euro_of_2017(bars: Bars) -> None:
    assert len(bars) == 6225
    assert bars.interval == 3_600_000_000_000
    assert pd.Timestamp(int(bars.start[0])) == pd.Timestamp("2017-01-01 22:00")
    assert bars.close[0] == 1.05227


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_users_own_file_gives_the_same_bars(tmp_path: Path, bars: Bars, kind: str) -> None:
    table = pd.DataFrame(
        {
            "Timestamp": pd.to_datetime(bars.start, utc=True),
            **{name.upper(): getattr(bars, name) for name in ("open", "high", "low", "close", "volume")},
            "note": "ignored",
        }
    )
    path = tmp_path / f"own.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    own = read_bars(path, "EURUSD")
    for field in dataclasses.fields(Bars):
        np.testing.assert_array_equal(getattr(own, field.name), getattr(bars, field.name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no table of bars"),
        ("time,open,high,low\n1,2,3,4\n", "no column close; found time, open, high, low"),
        (HEAD + GOOD.splitlines()[0], "1 bars; at least 2"),
        (HEAD + GOOD + "yesterday,1,1,1,1,1\n", "row 3 (line 4), column time: 'yesterday' is not a time"),
        (
            HEAD + GOOD + "2017-01-02 02:00,1,1,x,1,1\n",
            "row 3 (line 4), column low: 'x' is not a finite number",
        ),
        (
            HEAD + GOOD + "2017-01-02 02:00,1,inf,1,1,1\n",
            "row 3 (line 4), column high: 'inf' is not a finite number",
        ),
        (
            HEAD + GOOD + "2017-01-02 02:00,1,1,1,,1\n",
            "row 3 (line 4), column close: '' is not a finite number",
        ),
        (HEAD + GOOD + "2017-01-02 01:00,1,1,1,1,1\n", "row 3 (line 4), column time: the value is not later"),
        (HEAD + GOOD + "2017-01-02 02:00,2,1,1,1,1\n", "row 3 (line 4), column high: the value is below"),
        (
            HEAD + GOOD + "2017-01-02 02:00,1,1,1,1,-1\n",
            "row 3 (line 4), column volume: the value is negative",
        ),
        (
            HEAD + GOOD + "2017-01-02 02:00,1,1,-1,1,1\n",
            "row 3 (line 4), column low: the value is not positive",
        ),
    ],
)
def test_a_malformed_file_is_refused_by_row_and_column(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_bars(path, "X")
    assert said in str(caught.value)
    assert "nothing was sent" in str(caught.value)


def test_a_file_that_is_no_parquet_or_absent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ConfigError, match=r"bad\.parquet is no table of bars"):
        read_bars(tmp_path / "bad.parquet", "X")
    with pytest.raises(ConfigError, match="No such file"):
        read_bars(tmp_path / "absent.csv", "X")


@pytest.mark.parametrize(
    ("calendar", "kind"), [("CMES", "week"), ("CMES", "day"), ("24/5", "day"), ("XNYS", "week"), ("", "week")]
)
def test_every_bar_lies_in_exactly_one_session(bars: Bars, calendar: str, kind: str) -> None:
    sessions = sessions_of(bars, calendar, kind)  # type: ignore[arg-type]  # the parameters hold just these two words
    covered = np.concatenate([np.arange(d.first, d.last) for s in sessions for d in s.days])
    np.testing.assert_array_equal(covered, np.arange(len(bars)))
    closes = [s.closes_at for s in sessions]
    assert closes == sorted(set(closes))
    assert len({s.session_id for s in sessions}) == len(sessions)
    for previous, session in zip([None, *sessions], sessions, strict=False):
        ends = session.bar_ends(bars)
        assert ends.max() <= session.closes_at
        assert previous is None or ends.min() > previous.closes_at
        assert session.opens_at <= bars.start[session.days[0].first]


def test_a_currency_week_closes_on_friday_evening(weeks: list[Session]) -> None:
    second = weeks[1]
    assert second.session_id == "2017-01-13.1"
    assert second.n_bars == 120
    assert pd.Timestamp(second.closes_at) == pd.Timestamp("2017-01-13 23:00")


def test_an_exchange_holiday_moves_its_bars_to_the_next_session(bars: Bars, weeks: list[Session]) -> None:
    """Good Friday 2017: the exchange closed on Thursday, spot currencies traded on."""
    friday = int(np.searchsorted(bars.start, pd.Timestamp("2017-04-14 12:00").value))
    (owner,) = [s for s in weeks if s.days[0].first <= friday < s.days[-1].last]
    assert owner.session_id == "2017-04-21.1"


def test_daily_bars_make_weeks_of_one_episode(bars: Bars) -> None:
    days = pd.bdate_range("2024-01-08", "2024-02-02")
    n = len(days)
    daily = Bars("X", days.to_numpy("datetime64[ns]").astype(np.int64), 86_400_000_000_000,
                 *(column[:n] for column in (bars.open, bars.high, bars.low, bars.close, bars.volume)))  # fmt: skip
    with pytest.raises(ConfigError, match=r"set `session = \"week\"`"):
        sessions_of(daily, "XNYS", "day")
    sessions = sessions_of(daily, "XNYS", "week")
    assert [s.n_bars for s in sessions] == [5, 5, 5, 5]
    assert sessions[1].session_id == "2024-01-19.1"
    spec = MarketSpec("x", ("return_1d", "position"), "discrete", 3)
    rows = _rows(Market(spec, daily, Costs(), seed=0, n_agents=2), sessions[1])
    assert len(rows) == 2 * 4
    assert (rows.timestamp <= sessions[1].closes_at).all()


def test_an_unknown_calendar_is_named(bars: Bars) -> None:
    with pytest.raises(ConfigError, match="unknown exchange calendar 'MOON'"):
        sessions_of(bars, "MOON", "week")


def test_the_first_week_only_feeds_the_features(market: Market, weeks: list[Session]) -> None:
    assert [market.is_ready(s) for s in weeks[:3]] == [False, True, True]


def test_a_week_gives_over_two_thousand_transitions_with_distinct_paths(
    market: Market, weeks: list[Session]
) -> None:
    rows = _rows(market, weeks[1])
    assert len(rows) == 2300
    assert len(np.unique(rows.transition_id)) == 2300
    assert np.isfinite(rows.state).all()
    paths = {rows.action[rows.agent_id == a].tobytes() for a in np.unique(rows.agent_id)}
    assert len(paths) == 20
    assert set(np.unique(rows.action)) == {0, 1, 2}


def test_inside_an_episode_the_next_state_is_the_next_rows_state_bit_for_bit(
    market: Market, weeks: list[Session]
) -> None:
    for day in market.episodes(weeks[2]):
        for rows in day:
            assert rows.next_state[:-1].tobytes() == rows.state[1:].tobytes()
            assert rows.done.tolist() == [0] * (len(rows) - 1) + [1]
            assert (np.diff(rows.timestamp) > 0).all()
            position = rows.next_state[:, DEFAULT_FEATURES.index("position")]
            np.testing.assert_array_equal(position, rows.action - 1)


def test_rewards_and_account_of_a_worked_day(bars: Bars) -> None:
    """Long at 100, flat at 110, short at 104 until 101 ends the day; 10 a point, 1 a change."""
    close = np.array([100.0, 110.0, 104.0, 101.0])
    small = dataclasses.replace(
        bars, start=bars.start[:4], open=close, high=close, low=close, close=close, volume=close
    )
    spec = MarketSpec("m", ("position", "position_pnl", "drawdown"), "discrete", 3)
    one = Market(spec, small, Costs(notional=10.0, spread=0.1, commission=0.5), seed=0, n_agents=1)
    states, reward = one._account(np.array([1.0, 0.0, -1.0]), 0, 4)
    np.testing.assert_allclose(reward, [100 - 1, -1, 30 - 2])
    np.testing.assert_allclose(states[:, 0], [0, 1, 0, -1])
    np.testing.assert_allclose(states[:, 1], [0, 0.1, 0, 3 / 104], rtol=1e-6)
    np.testing.assert_allclose(states[:, 2], [0, 0, -0.1, 0], atol=1e-7)


def test_a_trader_of_ones_own_is_paid_as_an_agent_is(market: Market, weeks: list[Session]) -> None:
    """Who repeats an agent's actions at the states it is shown gets that agent's rows; a day starts flat."""
    for agent in (0, 7):
        whole = Transitions.concatenate([day[agent] for day in market.episodes(weeks[3])])
        shown: list[np.typing.NDArray[np.float32]] = []

        def repeat(
            state: np.typing.NDArray[np.float32],
            whole: Transitions = whole,
            shown: list[np.typing.NDArray[np.float32]] = shown,
        ) -> int:
            shown.append(state.copy())
            return int(whole.action[len(shown) - 1])

        own = Transitions.concatenate(list(market.play(weeks[3], market.agents[agent].name, repeat)))
        assert own.canonical_bytes() == whole.canonical_bytes()
        np.testing.assert_array_equal(shown, whole.state)


def test_the_seed_decides_everything(bars: Bars, weeks: list[Session], market: Market) -> None:
    rows = _rows(market, weeks[3]).canonical_bytes()
    assert _rows(Market(SPEC, bars, Costs(), seed=0), weeks[3]).canonical_bytes() == rows
    assert _rows(Market(SPEC, bars, Costs(), seed=1), weeks[3]).canonical_bytes() != rows


def test_agents_do_not_see_the_future(bars: Bars) -> None:
    shaken = bars.close.copy()
    shaken[430:] *= 2
    for agent in agents(20, 0, "m"):
        full = decide(agent, bars.close, 400, 450, 7)
        np.testing.assert_array_equal(decide(agent, shaken, 400, 450, 7)[:30], full[:30])


def test_a_market_with_other_actions_is_refused(bars: Bars) -> None:
    with pytest.raises(ConfigError, match="short, flat and long"):
        Market(dataclasses.replace(SPEC, action_size=2), bars, Costs(), seed=0)


@pytest.mark.parametrize("frame_bars", [1, 6, 1000])
def test_frames_hold_every_row_once_and_know_the_next_action_inside(
    market: Market, weeks: list[Session], frame_bars: int
) -> None:
    day = next(market.episodes(weeks[1]))
    cut = list(frames(day, frame_bars))
    assert sum(n for n, _ in cut) == len(day[0])
    for rows in day:
        mine = [due.take(due.episode_id == rows.episode_id[0]) for _, due in cut]
        for part in mine:
            np.testing.assert_array_equal(part.next_action[:-1], part.action[1:])
            assert part.next_action[-1] == -1
        whole = fill_next_actions(Transitions.concatenate(mine))
        assert whole.canonical_bytes() == fill_next_actions(rows).canonical_bytes()


class _Record:
    """A sink that keeps what it is given, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []
        self.rows: list[Transitions] = []

    async def open_market(self, session_id: str, at: int) -> None:
        self.events.append(("open", session_id, at))

    async def send(self, rows: Transitions) -> None:
        self.events.append(("send", "", len(rows)))
        self.rows.append(rows)

    async def close_market(self, session_id: str, at: int) -> None:
        self.events.append(("close", session_id, at))


def test_a_session_is_published_open_frames_acknowledged_close(market: Market, weeks: list[Session]) -> None:
    sink = _Record()
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    session = weeks[1]
    sent = asyncio.run(publish_session(market, session, sink, bars_per_second=10.0, sleep=wait))
    assert sink.events[0] == ("open", "2017-01-13.1", session.opens_at)
    assert sink.events[-1] == ("close", "2017-01-13.1", session.closes_at)
    assert {kind for kind, _, _ in sink.events[1:-1]} == {"send"}
    assert sum(waits) == pytest.approx(11.5)
    assert sent == 2300
    sent_rows = fill_next_actions(Transitions.concatenate(sink.rows).sorted())
    assert sent_rows.canonical_bytes() == fill_next_actions(_rows(market, session).sorted()).canonical_bytes()
