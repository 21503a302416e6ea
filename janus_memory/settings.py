"""Where settings come from: flag, environment, TOML file, default, in that order.

A key is a dotted path into `janus_memory.config.Settings`, such as `kafka.bootstrap` or
`markets.eurusd.partitions`. Its environment variable is `JANUS_KAFKA__BOOTSTRAP`; its flag is
`--set kafka.bootstrap=HOST:PORT`. Every value carries its provenance. A key that does not exist is
refused with the nearest one that does; `JANUS_CONFIG` alone names a file instead of a key.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from janus_memory.config import MarketSettings, MembershipSettings, PredicateSettings, Settings
from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "PREFIX",
    "SECRETS",
    "dump_settings",
    "flatten",
    "load_settings",
    "settings_from",
]

PREFIX = "JANUS_"
CONFIG_VARIABLE = "JANUS_CONFIG"
DEFAULT_FILE = "janus.toml"
SECRETS = frozenset({"kafka.sasl_password", "qdrant.api_key"})

_Path = tuple[str, ...]

# Tables whose keys the user chooses, and what each holds.
_TABLES: dict[Any, Any] = {
    dict[str, MarketSettings]: MarketSettings,
    dict[str, MembershipSettings]: MembershipSettings,
    dict[str, PredicateSettings]: PredicateSettings,
}


def load_settings(path: str | Path | None) -> Settings:
    """The settings of a service: its file under the environment's variables.

    Raises:
        ConfigError: the file or a value cannot be used.
    """
    return settings_from(path, os.environ, ())[0]


def settings_from(
    path: str | Path | None, env: Mapping[str, str], overrides: Sequence[str]
) -> tuple[Settings, dict[str, str]]:
    """Merge the layers.

    Args:
        path: a TOML file, or None for none.
        env: environment variables; only those that start with `JANUS_` are read.
        overrides: flags of the form "a.b=c", the strongest layer.

    Returns:
        The settings, and for each key its source: "flag", "environment NAME", "file PATH" or "default".

    Raises:
        ConfigError: a key is unknown, a value has the wrong type, or the file cannot be read.
    """
    tree: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for layer in (_from_file(path), _from_environment(env), _from_flags(overrides)):
        for spelled, value, source in layer:
            keys = _market_as_spelled(spelled, tree)
            _put(tree, keys, _typed(keys, value, source))
            provenance[".".join(keys)] = source
    try:
        settings = msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"settings: {error}; nothing was started; complete the file {path}") from error
    for name, market in settings.markets.items():
        _check_market(name, market)
    return settings, {key: provenance.get(key, "default") for key in flatten(settings)}


def flatten(settings: Settings) -> dict[str, Any]:
    """Every leaf of the settings as builtin values, by dotted key."""
    return {".".join(keys): value for keys, value in _leaves(msgspec.to_builtins(settings))}


def dump_settings(settings: Settings, *, secrets: bool = True) -> str:
    """The settings as a complete TOML file; `settings_from` reads it back to equal settings.

    With secrets, write it where only its owner can read it; without, they are empty.
    """
    lines: list[str] = []
    tree = msgspec.to_builtins(settings)
    if not secrets:
        for key in SECRETS:
            _put(tree, tuple(key.split(".")), "")
    _write_table(tree, (), lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _from_file(path: str | Path | None) -> Iterator[tuple[_Path, Any, str]]:
    if path is None:
        return
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the settings file {path}: {error.strerror}; nothing was started"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}; nothing was started; correct that place") from error
    for keys, value in _leaves(tree):
        yield keys, value, f"file {path}"


def _from_environment(env: Mapping[str, str]) -> Iterator[tuple[_Path, str, str]]:
    for name in sorted(env):
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            yield tuple(name[len(PREFIX) :].lower().split("__")), env[name], f"environment {name}"


def _from_flags(overrides: Sequence[str]) -> Iterator[tuple[_Path, str, str]]:
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(
                f"flag {text!r}: expected KEY=VALUE, such as --set kafka.bootstrap=127.0.0.1:9092"
            )
        yield tuple(key.strip().split(".")), value.strip(), "flag"


def _market_as_spelled(keys: _Path, tree: Mapping[str, Any]) -> _Path:
    """An environment variable has lost the case of a market's name: take the name that the file spells."""
    if len(keys) < 2 or keys[0] != "markets":
        return keys
    spelled = {name.lower(): name for name in tree.get("markets", {})}
    return (keys[0], spelled.get(keys[1].lower(), keys[1]), *keys[2:])


def _put(tree: dict[str, Any], keys: _Path, value: Any) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def _typed(keys: _Path, value: Any, source: str) -> Any:
    """The value as the field's type (as builtins); text from the environment or a flag is parsed."""
    kind = _type_of(keys, source)
    text = isinstance(value, str) and not source.startswith("file")
    try:
        typed = _convert_text(value, kind) if text else msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        key = ".".join(keys)
        shown = "(hidden)" if key in SECRETS else repr(value)
        raise ConfigError(
            f"{key} = {shown} from {source}: {error}; nothing was started; correct it"
        ) from error
    return msgspec.to_builtins(typed)


def _type_of(keys: _Path, source: str) -> Any:
    """Walk the records down to the type of one field."""
    kind: Any = Settings
    for depth, key in enumerate(keys):
        if kind in _TABLES:
            kind = _TABLES[kind]
            continue
        known = {f.encode_name: f.type for f in msgspec.structs.fields(kind)} if _is_record(kind) else {}
        if key not in known:
            _refuse(keys, source, [".".join((*keys[:depth], name)) for name in known])
        kind = known[key]
    if _is_record(kind) or kind in _TABLES:
        raise ConfigError(
            f"{'.'.join(keys)} from {source}: this is a table, not a value; nothing was started"
        )
    return kind


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _refuse(keys: _Path, source: str, siblings: list[str]) -> NoReturn:
    key = ".".join(keys)
    near = difflib.get_close_matches(key, [*siblings, *flatten(Settings())], n=1, cutoff=0.4)
    hint = f"the nearest one is {near[0]}" if near else "see docs/settings.md"
    raise ConfigError(f"unknown setting {key} from {source}; nothing was started; {hint}")


def _convert_text(text: str, kind: Any) -> Any:
    """Text that fits as it stands (a password of digits stays text), else read as a TOML value."""
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError:
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text
        return msgspec.convert(value, kind)


def _check_market(name: str, market: MarketSettings) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ConfigError(
            f"market {name!r}: a market's name is part of its topic: 1 to 64 letters, digits, - and _; rename it"
        )
    if market.partitions < 1:
        raise ConfigError(f"market {name}: partitions = {market.partitions}; at least 1 is needed")
    market.spec(name)


def _leaves(tree: Mapping[str, Any], prefix: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _write_table(table: Mapping[str, Any], path: _Path, lines: list[str]) -> None:
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if path and values:
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(key)} = {_toml(value)}" for key, value in values.items() if value is not None]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, (*path, key), lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
