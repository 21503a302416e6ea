"""All arrays of a store as one argument of a compiled call.

Numba takes 0.1 us to unpack an array: forty of them, handed over one by one, cost more than drawing a batch. This
struct is packed once, and again where an array is replaced by a larger one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit, types
from numba.experimental import structref

from janus_memory.replay.law.sum_tree import Tree
from janus_memory.replay.store.passes import Judged, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Held", "held"]

_FIELDS = tuple(
    dict.fromkeys(
        (*Tree._fields, "recency", *Source._fields, *Judged._fields, "replay_count", "last_replayed")
    )
)


@structref.register
class _Type(types.StructRef):  # type: ignore[misc]  # numba ships no types
    """The struct as compiled code knows it."""


class Held(structref.StructRefProxy):  # type: ignore[misc]  # numba ships no types
    """What Python holds of the struct: fields by the names of `Tree`, `Source` and `Judged`, recency and both stamps."""


structref.define_proxy(Held, _Type, _FIELDS)


@njit(cache=True)  # type: ignore[untyped-decorator]  # numba ships no types
def _packed(*arrays: Any) -> Any:
    return Held(*arrays)


def held(
    tree: Tree,
    recency: NDArray[np.float64],
    source: Source,
    judged: Judged,
    stamps: tuple[NDArray[np.int32], NDArray[np.int64]],
) -> Held:
    """The arrays themselves, not copies, in one struct."""
    named: dict[str, Any] = tree._asdict() | source._asdict() | judged._asdict()
    named |= {"replay_count": stamps[0], "last_replayed": stamps[1], "recency": recency}
    struct: Held = _packed(*(named[name] for name in _FIELDS))
    return struct
