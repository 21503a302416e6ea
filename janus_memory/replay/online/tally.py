"""What an online learner has seen and how well it predicted it, in total and by domain (SPEC 2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from janus_memory.transition import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays

__all__ = ["DomainStats", "OnlineStats", "Tally"]

# A mean over about the last hundred updates.
_KEPT = 0.99


@dataclass(frozen=True, slots=True)
class DomainStats:
    """One domain's numbers, as in `OnlineStats`."""

    seen: int
    trained: int
    mean_loss: float


@dataclass(frozen=True, slots=True)
class OnlineStats:
    """An online learner's numbers.

    Attributes:
        seen: rows observed.
        trained: rows that have been trained as new ones; the others wait for their successor or for company.
        updates: updates of the policy, those on replayed rows alone included.
        mean_loss: the policy's loss of new rows just before it was first trained on them, an average over about
            the last hundred updates; NaN before the first.
        by_domain: the same by domain; its average is over the last hundred updates that brought the domain new rows.
    """

    seen: int
    trained: int
    updates: int
    mean_loss: float
    by_domain: dict[str, DomainStats]


class Tally:
    """Counts and decaying sums of losses, by domain. Single writer."""

    def __init__(self) -> None:
        # Row 0 is the total; counts hold rows seen and trained, losses a sum and its weight.
        self._row: dict[bytes, int] = {}
        self._counts = np.zeros((1, 2), np.int64)
        self._losses = np.zeros((1, 2), np.float64)

    def saw(self, domain: NDArray[np.bytes_]) -> None:
        """Rows of these domains were observed."""
        names, counts = np.unique(domain, return_counts=True)
        rows = self._rows(names)
        self._counts[rows, 0] += counts
        self._counts[0, 0] += len(domain)

    def trained(self, domain: NDArray[np.bytes_], loss: NDArray[np.float32]) -> None:
        """New rows of these domains were trained, and had these losses before it; both [n]."""
        names, group, counts = np.unique(domain, return_inverse=True, return_counts=True)
        rows = self._rows(names)
        sums = np.bincount(group, loss.astype(np.float64), len(names))
        self._counts[rows, 1] += counts
        self._losses[rows] = _KEPT * self._losses[rows] + np.column_stack((sums, counts))
        self._counts[0, 1] += len(domain)
        self._losses[0] = _KEPT * self._losses[0] + (sums.sum(), len(domain))

    def stats(self, updates: int) -> OnlineStats:
        """The numbers of now."""
        total = self._of(0)
        by_domain = {name.decode(errors="replace"): self._of(row) for name, row in sorted(self._row.items())}
        return OnlineStats(total.seen, total.trained, updates, total.mean_loss, by_domain)

    def snapshot(self) -> Arrays:
        """The names in their order, counts and losses with the total before them; whoever came first does not show."""
        names = sorted(self._row)
        rows = [0, *(self._row[name] for name in names)]
        return {
            "names": np.array(names, f"S{ID_BYTES}"),
            "counts": self._counts[rows],
            "losses": self._losses[rows],
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Tally:
        """The inverse of `snapshot`."""
        tally = cls()
        names = cast("list[bytes]", arrays["names"].tolist())
        tally._row = {name: row for row, name in enumerate(names, start=1)}
        tally._counts = arrays["counts"].astype(np.int64)
        tally._losses = arrays["losses"].astype(np.float64)
        return tally

    def _rows(self, names: NDArray[np.bytes_]) -> NDArray[np.intp]:
        """The row of each name; new names get the next ones."""
        rows = np.array([self._row.setdefault(name, len(self._row) + 1) for name in names.tolist()], np.intp)
        grown = len(self._row) + 1 - len(self._counts)
        self._counts = np.pad(self._counts, ((0, grown), (0, 0)))
        self._losses = np.pad(self._losses, ((0, grown), (0, 0)))
        return rows

    def _of(self, row: int) -> DomainStats:
        seen, trained = self._counts[row].tolist()
        total, weight = self._losses[row].tolist()
        return DomainStats(seen, trained, total / weight if weight else float("nan"))
