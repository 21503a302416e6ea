"""A session starts when all partitions' cuts are in, or after the deadline with the missing ones named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cut_book import CutBook
from janus_memory.errors import CutMismatchError
from janus_memory.events import Cut

DEADLINE_S = 60.0


def a_cut(session: int, partition: int, start: int, stop: int, sha256: str = "") -> Cut:
    return Cut(
        event_id=f"{session}/{partition}",
        market="fx",
        as_of=session * 10,
        session_id=f"d{session}",
        partition=partition,
        from_offset=start,
        to_offset=stop,
        rows=0,
        early=0,
        late=0,
        sha256=sha256,
        settings_version="",
    )


def a_book(*cuts: Cut, now: float = 0.0) -> CutBook:
    book = CutBook("fx", 2)
    for cut in cuts:
        book.add(cut, now)
    return book


def test_a_session_waits_for_all_partitions() -> None:
    """One of two is not enough before the deadline."""
    book = a_book(a_cut(1, 0, 0, 5))
    assert book.next_plan((), {}, 59.0, DEADLINE_S) is None
    book.add(a_cut(1, 1, 0, 3), 59.0)
    plan = book.next_plan((), {}, 59.0, DEADLINE_S)
    assert plan is not None
    assert (plan.session_id, plan.missing) == ("d1", ())
    assert [c.partition for c in plan.cuts] == [0, 1]


def test_after_the_deadline_the_missing_partition_is_named() -> None:
    """The deadline runs from the session's first cut."""
    plan = a_book(a_cut(1, 0, 0, 5), now=100.0).next_plan((), {}, 160.0, DEADLINE_S)
    assert plan is not None
    assert plan.missing == (1,)
    assert [c.partition for c in plan.cuts] == [0]


def test_a_missing_partitions_day_comes_a_night_later() -> None:
    """Its late cut is read together with the next one, from its last consumed barrier on."""
    book = a_book(a_cut(1, 0, 0, 5), a_cut(1, 1, 0, 4), a_cut(2, 0, 6, 9), a_cut(2, 1, 5, 8))
    plan = book.next_plan(("d1",), {0: a_cut(1, 0, 0, 5)}, 0.0, DEADLINE_S)
    assert plan is not None
    assert [(c.session_id, c.partition) for c in plan.cuts] == [("d2", 0), ("d1", 1), ("d2", 1)]
    assert set(plan.after) == {0}


def test_a_gap_in_a_partitions_chain_is_waited_for() -> None:
    """A cut that does not begin behind the last consumed one shows that another is on its way."""
    consumed = {0: a_cut(1, 0, 0, 5), 1: a_cut(1, 1, 0, 5)}
    book = a_book(a_cut(3, 0, 6, 9), a_cut(3, 1, 8, 9))
    assert book.next_plan(("d1",), consumed, 0.0, DEADLINE_S) is None
    assert book.missing("d3", consumed) == [1]
    book.add(a_cut(2, 1, 6, 7), 0.0)
    assert book.missing("d3", consumed) == []


def test_the_first_cut_counts_and_a_different_second_is_loud() -> None:
    """The message shows both; an equal second one is nothing new."""
    book = a_book(a_cut(1, 0, 0, 5, "aaa"))
    assert book.add(a_cut(1, 0, 0, 5, "aaa"), 1.0) is False
    with pytest.raises(CutMismatchError, match=r"fx/d1/0 .*sha256 aaa, then .*sha256 bbb"):
        book.add(a_cut(1, 0, 0, 5, "bbb"), 1.0)
    plan = book.next_plan((), {}, 60.0, DEADLINE_S)
    assert plan is not None
    assert plan.cuts[0].sha256 == "aaa"


def test_nothing_is_planned_without_a_waiting_session() -> None:
    """Also when all known ones have begun."""
    assert a_book().next_plan((), {}, 0.0, DEADLINE_S) is None
    assert a_book(a_cut(1, 0, 0, 5), a_cut(1, 1, 0, 5)).next_plan(("d1",), {}, 0.0, DEADLINE_S) is None


@given(st.permutations([a_cut(s, p, 10 * s, 10 * s + 9) for s in (1, 2, 3) for p in (0, 1)]))
def test_plans_do_not_depend_on_the_order_of_arrival(cuts: list[Cut]) -> None:
    """Sessions come in the order of their closes, each with exactly its own cuts."""
    book = a_book(*cuts)
    begun: list[str] = []
    consumed: dict[int, Cut] = {}
    for session in ("d1", "d2", "d3"):
        plan = book.next_plan(begun, consumed, 0.0, DEADLINE_S)
        assert plan is not None
        assert plan.session_id == session
        assert [(c.session_id, c.partition) for c in plan.cuts] == [(session, 0), (session, 1)]
        begun.append(session)
        consumed |= {c.partition: c for c in plan.cuts}
    assert book.next_plan(begun, consumed, 0.0, DEADLINE_S) is None
