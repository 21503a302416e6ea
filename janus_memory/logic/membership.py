"""Membership functions: how far a number belongs to a word such as `calm`, by a shape that a risk desk draws.

A shape is a function of one number in the user's own units with values in [0, 1], in numpy or, traced and
differentiable, in jax.numpy. A ramp has a slope between its ends and none beyond; a bell and a sigmoid have one
everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from janus_memory.errors import RuleError
from janus_memory.logic import curves
from janus_memory.logic.refusals import check_word, did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from janus_memory.config import MembershipSettings
    from janus_memory.logic.connectives import Truth
    from janus_memory.logic.formulas import Values

__all__ = ["LARGEST", "MAX_MEMBERSHIPS", "SHAPES", "Bell", "Ramps", "Shape", "Sigmoid", "read_memberships"]

MAX_MEMBERSHIPS = 100
# The sides of a shape must be told apart in float32, and their differences must not overflow there.
LARGEST, SMALLEST = 1e30, 1e-30


class Shape(Protocol):
    """A membership function."""

    def degree(self, values: Values, xp: Any) -> Truth:
        """How far each value belongs; in [0, 1], in the namespace `xp` of the values."""

    def words(self) -> str:
        """The function in words, for a table."""


@dataclass(frozen=True, slots=True)
class Ramps:
    """0 up to the first end of `rise`, 1 from its second on; 1 up to the first of `fall`, 0 from its second on."""

    rise: tuple[float, float] | None
    fall: tuple[float, float] | None

    def degree(self, values: Values, xp: Any) -> Truth:
        """The lower of both ramps."""
        degree = 1.0 if self.rise is None else curves.ramp(values, *self.rise, xp)
        return degree if self.fall is None else xp.minimum(degree, 1.0 - curves.ramp(values, *self.fall, xp))

    def words(self) -> str:
        """Where it is 0 and 1."""
        rise = [] if self.rise is None else [f"0 up to {self.rise[0]:g}", f"1 from {self.rise[1]:g}"]
        fall = [] if self.fall is None else [f"1 up to {self.fall[0]:g}", f"0 from {self.fall[1]:g} on"]
        if rise and fall:
            fall[0] = f"to {fall[0].rpartition(' ')[2]}"
        return (
            f"{', '.join([*rise, *fall])}, straight between"
            if fall
            else f"{', '.join(rise)} on, straight between"
        )


@dataclass(frozen=True, slots=True)
class Bell:
    """exp(-((x - centre) / width)^2 / 2)."""

    centre: float
    width: float

    def degree(self, values: Values, xp: Any) -> Truth:
        """1 at the centre, 0.61 a width away."""
        return curves.bell(curves.widths(values - self.centre, self.width, xp), xp)

    def words(self) -> str:
        """Its centre and a place on its side."""
        return f"1 at {self.centre:g}, 0.61 at {self.width:g} above or below, a bell"


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """1 / (1 + exp(-(x - centre) / width)), which rises; `is not` falls."""

    centre: float
    width: float

    def degree(self, values: Values, xp: Any) -> Truth:
        """1/2 at the centre, 0.73 a width above."""
        return curves.sigmoid(curves.widths(values - self.centre, self.width, xp), xp)

    def words(self) -> str:
        """Its centre and a place above."""
        return f"0.5 at {self.centre:g}, 0.73 at {self.width:g} above, 0.27 below, a sigmoid"


# The numbers that each shape needs, in ascending order where they are places.
SHAPES: Mapping[str, tuple[str, ...]] = {
    "below": ("from", "to"),
    "above": ("from", "to"),
    "triangle": ("from", "centre", "to"),
    "trapezoid": ("from", "full_from", "full_to", "to"),
    "bell": ("centre", "width"),
    "sigmoid": ("centre", "width"),
}


def read_memberships(settings: Mapping[str, MembershipSettings]) -> dict[str, Shape]:
    """The market's membership functions by name.

    Raises:
        RuleError: a name that no rule could say, a shape that does not exist, a number that it lacks, does not have
            or cannot use, or more than `MAX_MEMBERSHIPS`.
    """
    if len(settings) > MAX_MEMBERSHIPS:
        raise RuleError(
            f"{len(settings)} memberships, more than {MAX_MEMBERSHIPS} for one market; nothing was loaded; remove some"
        )
    return {name: _read(name, one) for name, one in settings.items()}


def _read(name: str, one: MembershipSettings) -> Shape:
    check_word("membership", name)
    if one.shape not in SHAPES:
        _fail(
            name,
            f"unknown shape {shown(one.shape)}{did_you_mean(one.shape, SHAPES)}; known: {', '.join(SHAPES)}",
        )
    given = one.numbers()
    for key in SHAPES[one.shape]:
        if key not in given:
            _fail(name, f"the shape {one.shape} needs `{key}`; it takes {', '.join(SHAPES[one.shape])}")
    for key, number in given.items():
        if key not in SHAPES[one.shape]:
            _fail(name, f"the shape {one.shape} has no `{key}`; it takes {', '.join(SHAPES[one.shape])}")
        # Written so that NaN, which compares false with everything, is caught too.
        if not -LARGEST <= number <= LARGEST:
            _fail(name, f"{key} = {number}; use a number between -{LARGEST:g} and {LARGEST:g}")
    return _bell_or_sigmoid(name, one.shape, given) if "width" in given else _ramps(name, one.shape, given)


def _bell_or_sigmoid(name: str, shape: str, given: Mapping[str, float]) -> Shape:
    if given["width"] < SMALLEST:
        _fail(name, f"width = {given['width']}; use a number above {SMALLEST:g}")
    return (Bell if shape == "bell" else Sigmoid)(given["centre"], given["width"])


def _ramps(name: str, shape: str, given: Mapping[str, float]) -> Shape:
    keys = SHAPES[shape]
    places = [given[key] for key in keys]
    for low, high in pairwise(keys):
        if low == "full_from":
            if given[low] > given[high]:
                _fail(
                    name, f"{low} = {given[low]} lies above {high} = {given[high]}; write the lower one first"
                )
        elif not given[high] - given[low] >= SMALLEST:
            _fail(
                name, f"{low} = {given[low]} must lie below {high} = {given[high]}; write the lower one first"
            )
    match shape:
        case "above":
            return Ramps((places[0], places[1]), None)
        case "below":
            return Ramps(None, (places[0], places[1]))
        case _:
            return Ramps((places[0], places[1]), (places[-2], places[-1]))


def _fail(name: str, what: str) -> NoReturn:
    raise RuleError(f"membership {shown(name)}: {what}; nothing was loaded")
