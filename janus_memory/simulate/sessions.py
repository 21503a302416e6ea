"""Sessions of an exchange: which bars belong to which trading day, and which days to which session.

The rule that makes every bar lie in exactly one session: a bar belongs to the first session that closes
at or after the bar's end. Bars outside the exchange's hours (currencies trade on while a futures
exchange has a holiday) therefore go to the session that comes next.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from janus_memory.errors import ConfigError
from janus_memory.simulate.bars import DAY_NS

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar
    from numpy.typing import NDArray

    from janus_memory.simulate.bars import Bars

__all__ = ["DEFAULT_CALENDAR", "Day", "Session", "calendar_zone", "sessions_of"]

DEFAULT_CALENDAR = "CMES"


@dataclass(frozen=True, slots=True)
class Day:
    """A trading day: its exchange-local date, its bars [first, last) and its close, UTC nanoseconds."""

    date: str
    first: int
    last: int
    closes_at: int


@dataclass(frozen=True, slots=True)
class Session:
    """What is traded between two closes of the market.

    Attributes:
        session_id: exchange-local date of the close and ordinal, such as 2017-01-06.1.
        opens_at, closes_at: UTC nanoseconds.
        days: its trading days; together they hold the session's bars [days[0].first, days[-1].last).
    """

    session_id: str
    opens_at: int
    closes_at: int
    days: tuple[Day, ...]

    def bar_ends(self, bars: Bars) -> NDArray[np.int64]:
        """When each bar of the session ends, UTC nanoseconds; a daily bar ends when its day closes."""
        return np.concatenate(
            [np.minimum(bars.start[d.first : d.last] + bars.interval, d.closes_at) for d in self.days]
        )

    @property
    def n_bars(self) -> int:
        """How many bars lie in the session."""
        return self.days[-1].last - self.days[0].first


def sessions_of(bars: Bars, calendar: str, session: Literal["day", "week"]) -> list[Session]:
    """Group the bars into sessions, oldest first; each bar is in exactly one.

    Args:
        bars: bars of one instrument.
        calendar: a name known to exchange_calendars, such as CMES, XNYS or 24/5.
        session: "day" for a market that closes daily, "week" for one that closes once a week.

    Raises:
        ConfigError: no such calendar, or the bars are a day apart while a session is a day.
    """
    days = _days(_calendar(calendar or DEFAULT_CALENDAR, bars), bars)
    if session == "day" and bars.is_daily:
        raise ConfigError(
            f"{bars.instrument}: bars a day apart and sessions of one day leave one bar a session, so no transition; "
            'nothing was sent; set `session = "week"` for this market'
        )
    groups: dict[str, list[tuple[int, Day]]] = {}
    for opens_at, day in days:
        year, week, _ = dt.date.fromisoformat(day.date).isocalendar()
        groups.setdefault(f"{year}-{week}" if session == "week" else day.date, []).append((opens_at, day))
    return [
        Session(
            session_id=f"{group[-1][1].date}.1",
            opens_at=group[0][0],
            closes_at=group[-1][1].closes_at,
            days=tuple(day for _, day in group),
        )
        for group in groups.values()
    ]


def calendar_zone(name: str) -> dt.tzinfo:
    """The exchange's time zone.

    Raises:
        ConfigError: no such calendar.
    """
    now = pd.Timestamp("2020-01-06")
    zone: dt.tzinfo = _cached_calendar(name, now, now + pd.Timedelta(days=7)).tz
    return zone


def _ends(bars: Bars, calendar: ExchangeCalendar) -> NDArray[np.int64]:
    """When each bar ends, UTC nanoseconds: the session's close for daily bars, else start + interval."""
    if not bars.is_daily:
        return bars.start + bars.interval
    closes = calendar.closes
    dates = closes.index.to_numpy("datetime64[ns]").astype(np.int64)
    at = np.searchsorted(dates, bars.start // DAY_NS * DAY_NS)
    return _ns(closes)[np.minimum(at, len(closes) - 1)]


def _days(calendar: ExchangeCalendar, bars: Bars) -> list[tuple[int, Day]]:
    """Trading days that hold bars, each with its opening time."""
    opens, closes = _ns(calendar.opens), _ns(calendar.closes)
    dates = [str(stamp.date()) for stamp in calendar.closes.index]
    of_bar = np.searchsorted(closes, _ends(bars, calendar), side="left")
    first = np.flatnonzero(np.concatenate([[True], np.diff(of_bar) > 0]))
    last = np.append(first[1:], len(bars))
    return [
        (
            int(min(opens[of_bar[a]], bars.start[a])),
            Day(dates[of_bar[a]], int(a), int(b), int(closes[of_bar[a]])),
        )
        for a, b in zip(first, last, strict=True)
    ]


def _ns(times: pd.Series) -> NDArray[np.int64]:
    stamps: NDArray[np.datetime64] = times.dt.tz_convert(None).to_numpy("datetime64[ns]")
    return stamps.astype(np.int64)


def _calendar(name: str, bars: Bars) -> ExchangeCalendar:
    """The calendar from the month before the bars to the month after them."""
    first = pd.Timestamp(int(bars.start[0])).normalize() - pd.Timedelta(days=31)
    last = pd.Timestamp(int(bars.start[-1])).normalize() + pd.Timedelta(days=31)
    return _cached_calendar(name, first, last)


@lru_cache(maxsize=8)
def _cached_calendar(name: str, first: pd.Timestamp, last: pd.Timestamp) -> ExchangeCalendar:
    import exchange_calendars  # noqa: PLC0415  (0.3 s that only the simulator needs)

    try:
        return exchange_calendars.get_calendar(name, start=first, end=last)
    except exchange_calendars.errors.InvalidCalendarName:
        known = ", ".join(sorted(exchange_calendars.get_calendar_names(include_aliases=False))[:200])
        raise ConfigError(
            f"unknown exchange calendar {name!r}; nothing was sent; set the market's `calendar` to one of {known}"
        ) from None
