"""Random texts for the rule reader: well-formed ones, broken ones, and anything at all. Seeded by the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_memory.config import MembershipSettings

if TYPE_CHECKING:
    from random import Random

__all__ = ["ACTIONS", "FEATURES", "MEMBERSHIPS", "PREDICATES", "rule_text"]

FEATURES = ("drawdown", "volatility_24h", "position", "next", "return-1h", "é")
ACTIONS = ("short", "flat", "long")
# One of each shape, the thinnest and the widest among them.
MEMBERSHIPS = {
    "calm": MembershipSettings(shape="below", from_=-1e30, to=1e30),
    "wild": MembershipSettings(shape="above", from_=0.0, to=1e-30),
    "near": MembershipSettings(shape="triangle", from_=0.0, centre=0.5, to=7.0),
    "usual": MembershipSettings(shape="trapezoid", from_=-1.0, full_from=0.0, full_to=0.0, to=1e-30),
    "about": MembershipSettings(shape="bell", centre=0.5, width=1e-30),
    "large": MembershipSettings(shape="sigmoid", centre=-1e30, width=1e30),
}
# Learned ones, whose layers the fuzzer makes: of one feature and no hidden unit, and of all features.
PREDICATES = ("risky", "quiet")

_WORDS = (
    *(
        "forall",
        "exists",
        ":",
        "and",
        "or",
        "not",
        "implies",
        "is",
        "state",
        "action",
        "next",
        ".",
        "reward",
        "abs",
        "(",
        ")",
        "[",
        "]",
    ),
    *(
        "<",
        "<=",
        ">",
        ">=",
        "==",
        "!=",
        "~",
        "+",
        "-",
        "*",
        "0",
        "1.5",
        ".5",
        "1e9",
        "1e308",
        "1e-320",
        "1e999",
        '"',
    ),
    *(
        "9" * 30,
        "drawdown",
        "position",
        "long",
        "flat",
        "calm",
        "risky",
        '"return-1h"',
        "nonsense",
        "__import__",
        "None",
        "\n",
        "%",
        "\0",
    ),
    *("=>", "->", "&&", "≤", "é", "\u2028", "\ud800", "'", ";", "//", "{0}", "$END"),
)


def rule_text(rng: Random, *, vector: bool) -> str:
    """One text: of the grammar, of the grammar and then damaged, a soup of its words, or random characters."""
    kind = rng.random()
    if kind < 0.5:
        return _rule(rng, vector=vector)
    if kind < 0.85:
        return _damaged(rng, _rule(rng, vector=vector), _rule(rng, vector=vector))
    if kind < 0.92:
        return rng.choice((" ", "")).join(rng.choices(_WORDS, k=rng.randrange(40)))
    if kind < 0.96:
        return rng.randbytes(rng.randrange(80)).decode(rng.choice(("latin-1", "utf-8", "utf-16")), "replace")
    return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(60)))


def _rule(rng: Random, *, vector: bool) -> str:
    front = rng.choice(("", "", "forall: ", "exists:"))
    return front + _formula(rng, rng.choice((0, 0, 1, 1, 2, 2, 3, 5)), vector=vector)


def _formula(rng: Random, depth: int, *, vector: bool) -> str:
    if depth <= 0 or rng.random() < 0.2:
        return _comparison(rng, vector=vector)
    inner = [_formula(rng, depth - 1, vector=vector) for _ in range(rng.choice((1, 2, 2, 3)))]
    if len(inner) == 1:
        return f"{rng.choice(('not ', 'not', ''))}({inner[0]})"
    return f" {rng.choice(('and', 'or', 'implies'))} ".join(
        f"({one})" if rng.random() < 0.5 else one for one in inner
    )


def _comparison(rng: Random, *, vector: bool) -> str:
    if not vector and rng.random() < 0.3:
        return f"action {rng.choice(('==', '!='))} {rng.choice((*ACTIONS, '0', '2'))}"
    if rng.random() < 0.1:
        of = rng.choice(("state", "next", "next", "position"))
        return (
            f"{of} is {rng.choice(('', '', 'not '))}{rng.choice((*PREDICATES, *PREDICATES, 'rsky', 'calm'))}"
        )
    if rng.random() < 0.25:
        word = rng.choice((*MEMBERSHIPS, *MEMBERSHIPS, "clam", "position"))
        return f"{_term(rng, 2, vector=vector)} is {rng.choice(('', '', 'not '))}{word}"
    operator = rng.choice(("<", "<=", ">", ">=", "==", "!="))
    soft = f" ~ {_number(rng)}" if rng.random() < 0.5 else ""
    return f"{_term(rng, 2, vector=vector)} {operator} {_term(rng, 2, vector=vector)}{soft}"


def _term(rng: Random, depth: int, *, vector: bool) -> str:
    kind = rng.random()
    if depth <= 0 or kind < 0.5:
        return _name(rng, vector=vector)
    if kind < 0.7:
        return _number(rng)
    inner = _term(rng, depth - 1, vector=vector)
    if kind < 0.85:
        return rng.choice(("abs({})", "-{}", "+{}", "({})")).format(inner)
    return f"{inner} {rng.choice('+-*')} {_term(rng, depth - 1, vector=vector)}"


def _name(rng: Random, *, vector: bool) -> str:
    names = [
        "drawdown",
        "position",
        "volatility_24h",
        "next.drawdown",
        "reward",
        '"return-1h"',
        'next."next"',
    ]
    return rng.choice([*names, "action[0]", "action[1]", "action[7]"] if vector else names)


def _number(rng: Random) -> str:
    return rng.choice(("0", "1", "0.5", ".001", "3e-4", "1e200", "1e308", "1e-320", str(rng.random())))


def _damaged(rng: Random, text: str, other: str) -> str:
    """The text after a few edits: characters, words, spans taken out, doubled, piled up, or of another text."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        a, b = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        match rng.randrange(8):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:b] + text[a:]
            case 2:
                text = text[:a] + rng.choice(_WORDS) + text[a:]
            case 3:
                text = text[:a] + chr(rng.randrange(1, 0x3000)) + text[a + 1 :]
            case 4:
                text = text[:a] + other[rng.randrange(len(other)) :]
            case 5:
                text = text[:a] + text[a:b][:40] * rng.choice((2, 2, 30, 300)) + text[b:]
            case 6:
                piled = rng.choice((("(", ")"), ("not ", ""), ("abs(", ")"), ("-", "")))
                text = (
                    text[:a]
                    + piled[0] * rng.choice((2, 5, 40, 40, 700))
                    + text[a:b]
                    + piled[1] * 40
                    + text[b:]
                )
            case _:
                text = text.swapcase() if rng.random() < 0.2 else text[:a] + text[a:b][::-1] + text[b:]
    return text
