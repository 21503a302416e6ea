"""The one form of all benchmark results: measured medians, their ratio to a named peer, and whether a target holds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Report", "Row", "machine", "measured", "versions"]


class Row(msgspec.Struct, kw_only=True):
    """One comparison.

    Attributes:
        ours, peer: medians in `unit`; a peer that cannot be measured is None and `peer_name` says why.
        ours_spread, peer_spread: lowest and highest of the repetitions.
        ratio: ours / peer, or ours / target where the target is an absolute figure.
        target: what is aimed at, for the ratio or the figure, as `target_of` says.
        better: which direction is good.
        holds: whether the target is met.
    """

    case: str
    unit: str
    ours: float
    ours_spread: tuple[float, float] | None = None
    peer: float | None
    peer_spread: tuple[float, float] | None = None
    peer_name: str
    ratio: float | None
    target: float | None
    target_of: Literal["ratio", "ours"] = "ratio"
    better: Literal["higher", "lower"]
    holds: bool | None


class Report(msgspec.Struct, kw_only=True):
    """What one run of a benchmark prints and writes."""

    machine: str
    versions: dict[str, str]
    rows: list[Row]

    def show(self) -> None:
        """Print the rows as a Markdown table."""
        print(f"{self.machine}; " + ", ".join(f"{k} {v}" for k, v in self.versions.items()))
        print("| case | unit | ours | peer | peer's name | ratio | target | holds |")
        print("|---|---|---|---|---|---|---|---|")
        for row in self.rows:
            cells = (
                row.case,
                row.unit,
                _number(row.ours),
                _number(row.peer),
                row.peer_name,
                _number(row.ratio),
            )
            target = "" if row.target is None else f"{row.better} than {row.target:g} ({row.target_of})"
            verdict = {True: "yes", False: "no", None: ""}[row.holds]
            print("| " + " | ".join((*cells, target, verdict)) + " |")

    def write(self, path: str | None) -> None:
        """Write the rows as JSON, where a path is given."""
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def measured(
    case: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float] | None,
    peer_name: str,
    *,
    better: Literal["higher", "lower"],
    target: float | None = None,
    target_of: Literal["ratio", "ours"] = "ratio",
) -> Row:
    """A row from the repetitions of both sides, which ran in turn."""
    median = statistics.median(ours)
    other = statistics.median(peer) if peer else None
    ratio = median / other if other else None
    judged = ratio if target_of == "ratio" else median
    holds = None
    if target is not None and judged is not None:
        holds = judged >= target if better == "higher" else judged <= target
    return Row(
        case=case,
        unit=unit,
        ours=median,
        ours_spread=(min(ours), max(ours)),
        peer=other,
        peer_spread=(min(peer), max(peer)) if peer else None,
        peer_name=peer_name,
        ratio=ratio,
        target=target,
        target_of=target_of,
        better=better,
        holds=holds,
    )


def machine() -> str:
    """Processor, cores and memory in words."""
    model = platform.processor() or platform.machine()
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def versions(*names: str) -> dict[str, str]:
    """Installed versions of the named distributions."""
    return {name: importlib.metadata.version(name) for name in names}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
