"""How many of the last states of one agent on one instrument were anomalous (SPEC section 7)."""

from __future__ import annotations

from collections import OrderedDict, deque

__all__ = ["AnomalyWindows"]

_MAX_AGENTS = 10_000


class AnomalyWindows:
    """The last `size` verdicts of each (market, instrument, agent). Single writer.

    At most 10 000 agents are remembered; the one seen longest ago is forgotten first.

    Args:
        size: `persist_window`.
        alert_from: `persist_n`, the number of anomalous ones from which it is an alert.
    """

    def __init__(self, size: int, alert_from: int) -> None:
        self.size = size
        self._alert_from = alert_from
        self._verdicts: OrderedDict[tuple[str, bytes, bytes], deque[bool]] = OrderedDict()

    def push(self, market: str, instrument: bytes, agent: bytes, *, anomalous: bool) -> tuple[int, bool]:
        """Add a verdict; the number of anomalous ones in the window, and whether that is an alert."""
        key = (market, instrument, agent)
        window = self._verdicts.get(key)
        if window is None:
            window = self._verdicts[key] = deque(maxlen=self.size)
            if len(self._verdicts) > _MAX_AGENTS:
                self._verdicts.popitem(last=False)
        else:
            self._verdicts.move_to_end(key)
        window.append(anomalous)
        n_anomalous = sum(window)
        return n_anomalous, n_anomalous >= self._alert_from
