"""Reads the tables of a TOML file one by one; every refusal names the file and the line.

Must not know what a file is about: `carpproto.simulation.scenario_file` does, and the command
that takes part in CARP. No value shows in an error unless whoever makes something of it says so.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NoReturn

from carpproto.core.errors import ConfigError, shown
from carpproto.core.events import SettingChanged
from carpproto.core.virtual_host import check_setting
from carpproto.simulation.toml_lines import Key, Lines
from carpproto.simulation.toml_values import as_mapping, as_whole_or_flag

_REQUIRED: Any = object()
_BY_NAME = ("interfaces", "addresses", "masters", "vhids", "nodes", "segments")


def parse_toml(text: str, file: str) -> tuple[dict[str, Any], Lines]:
    """The values of a TOML file, and their lines; ``file`` is its name in errors."""
    if not isinstance(text, str):
        raise ConfigError(f"{file}: text is expected, not of type {type(text).__name__}")
    text = text.removeprefix("\ufeff")  # as some editors begin a file
    toml = _toml()
    try:
        return toml.loads(text), Lines(text)
    except RecursionError:
        raise ConfigError(f"{file}:1: it is nested too deeply") from None
    except ValueError as error:
        line, words = _explained(error, text)
        raise ConfigError(f"{file}:{line}: {words}") from None


def decoded(content: bytes, file: str) -> str:
    """The text of a TOML file; ``file`` is its name in errors."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: this is no UTF-8 text") from None


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    try:
        import tomli  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            "scenario files need tomli on Python 3.10: pip install 'carpproto[simulate]'"
        ) from None
    return tomli


def _explained(error: ValueError, text: str) -> tuple[int, str]:
    """The line of an error of the parser's, and its words without ``(at line 3, column 5)``."""
    long = _LONG.search(text)
    if str(error).startswith("Exceeds the limit") and long is not None:
        return text.count("\n", 0, long.start()) + 1, "a number has too many digits"
    words, _, where = str(error).rpartition(" (at ")
    found = re.match(r"line (\d+)", where)
    return int(found[1]) if found else text.count("\n") + 1, words or str(error)


_LONG = re.compile(r"\d[\d_]{4299,}")


class Table:
    """A table of the file, where it is, and which of its keys were asked for."""

    def __init__(self, values: Mapping[str, Any], key: Key) -> None:
        self.values = values
        self.key = key
        self.known: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self.values


class Reader:
    """Turns tables into descriptions; knows where to point when it cannot."""

    def __init__(self, file: str, lines: Lines) -> None:
        self.file = file
        self.lines = lines

    def refuse(self, key: Key, text: object) -> NoReturn:
        raise ConfigError(f"{self.file}:{self.lines.of(key)}: {text}")

    # -- values --------------------------------------------------------------------------------

    def take(
        self, table: Table, name: str, convert: Callable[[object], Any], default: Any = _REQUIRED
    ) -> Any:
        """The value of a key; ``convert`` raises `ConfigError` for what it cannot be."""
        table.known.append(name)
        if name not in table:
            if default is _REQUIRED:
                self.refuse(table.key, f"{name} is missing")
            return default
        try:
            return convert(table.values[name])
        except ConfigError as error:
            inner = table.key and table.key[-1] in _BY_NAME
            label = f"{table.key[-1]}.{name}" if inner else name
            self.refuse((*table.key, name), f"{label}: {error}")

    def table(self, table: Table, name: str) -> Table:
        """A table in a table, empty where there is none."""
        values = self.take(table, name, as_mapping, {})
        return Table(values, (*table.key, name))

    def check_keys(self, table: Table, known: Iterable[str]) -> None:
        """Refuse a key that is none: before one is missed that may be meant by it."""
        known = tuple(known)
        for name in table.values:
            if name not in known:
                text = f"there is no key {name!r} here; keys are {', '.join(known)}"
                self.refuse((*table.key, name), text)

    def end(self, table: Table) -> None:
        """Refuse the keys that nobody asked for."""
        self.check_keys(table, table.known)

    def make(self, table: Table, make: Callable[[], Any], *more: Table) -> Any:
        """Make something of tables' values; an error points to what it names."""
        try:
            return make()
        except ConfigError as error:
            self.point(table, str(error), *more)

    def point(self, table: Table, text: str, *more: Table) -> NoReturn:
        """Refuse what tables say: at the key that the error names, or else the value."""
        clause = text.partition(";")[0]
        for one in (table, *more):
            for word in re.findall(r"\w+", clause):
                if word in one:
                    self.refuse((*one.key, word), text)
            found = {name: _last_shown(value, clause) for name, value in one.values.items()}
            named = max(found, key=lambda name: found[name], default="")
            if found and found[named] >= 0:
                self.refuse((*one.key, named), text)
        self.refuse(table.key, text)

    def settings(self, table: Table, names: Iterable[str]) -> dict[str, int]:
        """The settings among a table's keys; a table of settings has no others."""
        if table.key[-1:] == ("settings",):
            self.check_keys(table, names)
        found: dict[str, int] = {}
        for name in [name for name in table.values if name in names]:
            setting = SettingChanged(name, self.take(table, name, as_whole_or_flag))
            found[name] = self.make(table, partial(check_setting, setting))
        table.known += names
        return found

    def by_name(self, table: Table, name: str, convert: Callable[[object], Any]) -> dict[str, Any]:
        """What a table in a table has for each name."""
        inner = self.table(table, name)
        return {one: self.take(inner, one, convert) for one in inner.values}


def _last_shown(value: object, text: str) -> int:
    """Where a text shows a value, or one of a list's, last; -1 if it does not."""
    if isinstance(value, list):
        inner: list[object] = value  # pyright: ignore[reportUnknownVariableType]
        return max((_last_shown(one, text) for one in inner), default=-1)
    return -1 if isinstance(value, (bool, dict)) else text.rfind(shown(value))
