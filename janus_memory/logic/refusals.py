"""What a refused rule text is told: the column, the word that is not known, and the nearest one that is."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from lark import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from janus_memory.errors import RuleError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["WORDS", "check_word", "did_you_mean", "known_names", "shown", "syntax_refusal"]

WORDS = ("forall", "exists", "and", "or", "not", "implies", "is", "state", "action", "next", "reward", "abs")

# Longer words are no misspelling, and comparing them would take time that grows with their square.
_MAX_WORD = 64
_N_NAMES = 12

# What people write who know another language.
_FOREIGN = {
    "=>": "implies",
    "->": "implies",
    "=<": "<=",
    "=": "==",
    "&": "and",
    "|": "or",
    "!": "not or !=",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "\u2212": "-",
    "\u00d7": "*",
    "→": "implies",
    "/": "* on the other side: there is no division",
    "'": '"',
}

_EXPECTED = {
    "COMPARISON": "a comparison (<, <=, >, >=, ==, !=)",
    "SIGN": "+ or -",
    "NUMBER": "a number",
    "NAME": "a name",
    "QUOTED": 'a name in "..."',
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
    "DOT": ".",
    "STAR": "*",
    "COLON": ":",
    "TILDE": "~",
    "$END": "the end of the rule",
}
_LAST_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def shown(word: str) -> str:
    """The word in quotes; of a very long one its beginning."""
    return repr(word) if len(word) <= _MAX_WORD else f"{word[:_MAX_WORD]!r}..."


def check_word(kind: str, name: str) -> None:
    """Refuse a name of the market's own that no rule could say.

    Raises:
        RuleError: names what is allowed.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) or name in WORDS:
        raise RuleError(
            f"{kind} {shown(name)}: a name is up to 64 letters, digits and _, begins with no digit, and is no word of "
            "the language; nothing was loaded; rename it"
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'flat'?)` with the nearest known word, whatever the case of its letters, or nothing."""
    if len(word) > _MAX_WORD:
        return ""
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1)
    return f" (did you mean {lowered[near[0]]!r}?)" if near and lowered[near[0]] != word else ""


def known_names(known: Collection[str]) -> str:
    """The first dozen names, and how many more there are."""
    more = f" and {len(known) - _N_NAMES} more" if len(known) > _N_NAMES else ""
    return (", ".join(list(known)[:_N_NAMES]) or "none") + more


def syntax_refusal(text: str, error: UnexpectedInput, names: Collection[str]) -> tuple[int, str]:
    """Where a text stops being a rule, and why.

    Args:
        text: the rule.
        error: what the parser said.
        names: the market's features and actions, which are no misspelt words of the language.

    Returns:
        The column, from 1, and a clause.
    """
    place, found, hint = _found(text, error)
    if not hint:
        head = text[:place].rstrip()
        before = _LAST_NAME.search(head)
        if before and before[0] not in names:
            hint = did_you_mean(before[0], WORDS)
            if hint:
                return before.start() + 1, f"unknown word {shown(before[0])}{hint}"
    expected = ", ".join(sorted({_EXPECTED.get(word, word.lower()) for word in _allowed(error)}))
    return place + 1, f"did not expect {found}{hint}; expected {expected}"


def _found(text: str, error: UnexpectedInput) -> tuple[int, str, str]:
    """Place, what stands there, and a better spelling of it where there is one."""
    if isinstance(error, UnexpectedCharacters):
        place = error.pos_in_stream or 0
        return place, repr(text[place]), _foreign(text[place : place + 2])
    token = error.token if isinstance(error, UnexpectedToken) else None
    if token is None or token.type == "$END":
        return len(text), "the end of the rule", ""
    place = token.start_pos or 0
    hint = _foreign("->") if text[max(place - 1, 0) : place + 1] == "->" else did_you_mean(str(token), WORDS)
    return place, shown(str(token)), hint


def _foreign(signs: str) -> str:
    meant = _FOREIGN.get(signs) or _FOREIGN.get(signs[:1])
    return f" (write {meant})" if meant else ""


def _allowed(error: UnexpectedInput) -> Iterable[str]:
    if isinstance(error, UnexpectedCharacters):
        return error.allowed or ()
    return error.expected if isinstance(error, UnexpectedToken) else ()
