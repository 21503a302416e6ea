"""Which sessions can run: the cuts that have been announced, and the chain they form in each partition.

Knows neither Kafka nor files: cuts, what was consumed and the time are arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_memory.errors import CutMismatchError
from janus_memory.sleep.sessions import NightPlan

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from janus_memory.events import Cut

__all__ = ["CutBook"]


class CutBook:
    """All cuts of one market. Single writer; the first cut of a key counts.

    Args:
        market: the market.
        n_partitions: partitions of its transitions topic.
    """

    def __init__(self, market: str, n_partitions: int) -> None:
        self.market = market
        self.n_partitions = n_partitions
        self._cuts: dict[tuple[str, int], Cut] = {}
        self._closed_at: dict[str, int] = {}
        self._seen_at: dict[str, float] = {}

    def add(self, cut: Cut, now: float) -> bool:
        """Note a cut; False if it was known.

        Args:
            cut: of this market.
            now: monotonic seconds; the deadline of its session runs from its first cut.

        Raises:
            CutMismatchError: a different cut of the same market, session and partition was announced before.
        """
        key = (cut.session_id, cut.partition)
        known = self._cuts.get(key)
        if known == cut:
            return False
        if known is not None:
            raise CutMismatchError(
                f"cut {cut.key} was announced twice and differently: first {_summary(known)}, then {_summary(cut)}; "
                "the first one counts; find out who else writes to janus.cuts, then "
                f"`janus sleep --retry {cut.session_id}`"
            )
        self._cuts[key] = cut
        self._closed_at.setdefault(cut.session_id, cut.as_of)
        self._seen_at.setdefault(cut.session_id, now)
        return True

    def sessions(self) -> list[tuple[str, int]]:
        """(session id, close) of every known session, in the order of the closes."""
        return sorted(self._closed_at.items(), key=lambda item: (item[1], item[0]))

    def missing(self, session_id: str, consumed: Mapping[int, Cut]) -> list[int]:
        """Partitions that the session still waits for."""
        chains = self._chains(session_id, consumed)
        return [p for p in range(self.n_partitions) if p not in chains]

    def next_plan(
        self, begun: Collection[str], consumed: Mapping[int, Cut], now: float, deadline_s: float
    ) -> NightPlan | None:
        """The night that can start now: that of the earliest session that has not begun.

        Args:
            begun: sessions that have begun or are over.
            consumed: for each partition the last cut that a finished session consumed.
            now: monotonic seconds.
            deadline_s: how long a session waits for its partitions after its first cut was seen.

        Returns:
            Its plan, with the partitions that were not waited for any longer in `missing`; None to wait.
        """
        waiting = [(name, closed_at) for name, closed_at in self.sessions() if name not in begun]
        if not waiting:
            return None
        session_id, closed_at = waiting[0]
        missing = self.missing(session_id, consumed)
        if missing and now - self._seen_at[session_id] < deadline_s:
            return None
        chains = self._chains(session_id, consumed)
        return NightPlan(
            market=self.market,
            session_id=session_id,
            closed_at=closed_at,
            cuts=tuple(cut for partition in sorted(chains) for cut in chains[partition]),
            after={p: consumed[p] for p in sorted(chains) if p in consumed},
            missing=tuple(missing),
        )

    def deadline(self, session_id: str, deadline_s: float) -> float:
        """Monotonic seconds at which a session stops waiting."""
        return self._seen_at[session_id] + deadline_s

    def _chains(self, session_id: str, consumed: Mapping[int, Cut]) -> dict[int, list[Cut]]:
        """For each partition whose cut of this session is in: the unbroken cuts from the last consumed one to it."""
        ours = (self._cuts.get((session_id, p)) for p in range(self.n_partitions))
        chains = {cut.partition: self._chain(cut, consumed.get(cut.partition)) for cut in ours if cut}
        return {partition: chain for partition, chain in chains.items() if chain}

    def _chain(self, last: Cut, after: Cut | None) -> list[Cut]:
        """Empty if a cut in between is not known yet."""
        begin = -1 if after is None else after.to_offset
        chain = [c for c in self._of_partition(last.partition) if begin < c.to_offset <= last.to_offset]
        starts = [c.from_offset for c in chain]
        ends = [c.to_offset + 1 for c in chain]
        expected = [starts[0] if after is None else begin + 1, *ends[:-1]] if chain else []
        return chain if starts == expected else []

    def _of_partition(self, partition: int) -> Iterable[Cut]:
        cuts = (cut for (_, p), cut in self._cuts.items() if p == partition)
        return sorted(cuts, key=lambda cut: cut.to_offset)


def _summary(cut: Cut) -> str:
    return f"offsets {cut.from_offset}..{cut.to_offset}, {cut.rows} rows, sha256 {cut.sha256[:12]}"
