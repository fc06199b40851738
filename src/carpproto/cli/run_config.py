"""The file of ``carpproto run --config``: several virtual hosts for one process.

Must not know of sockets or signals. Everything that cannot be is refused, with file and line.
docs/run.rst describes the file. A passphrase or a key never shows in an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from carpproto.cli.run_setup import (
    EMPTY,
    FACILITIES,
    SCRIPT_FORMS,
    TIMEOUT,
    TRANSPORTS,
    Member,
    Scripts,
    Setup,
    control_path,
    default_profile,
    named_profile,
    one_for_each_family,
    parse_destination,
    parse_virtual_addresses,
    program,
    public,
    read_passphrase,
    seconds,
)
from carpproto.core.addresses import Address
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError
from carpproto.core.profile import Profile
from carpproto.core.virtual_host import SETTINGS
from carpproto.simulation.toml_lines import Lines
from carpproto.simulation.toml_reader import Reader, Table, decoded, parse_toml
from carpproto.simulation.toml_values import (
    as_flag,
    as_key,
    as_mappings,
    as_number,
    as_secret,
    as_text,
    as_texts,
    as_whole,
    one_of,
)

_SECRETS = ("passphrase", "key", "passfile")


def load(path: str) -> Setup:
    """What a file says; raises `OSError` if it cannot be read, `ConfigError` with its line."""
    return parse(decoded(Path(path).read_bytes(), path), path)


def parse(text: str, file: str = "run.toml") -> Setup:
    """What the text of a file says; other files are looked for beside ``file``."""
    values, lines = parse_toml(text, file)
    return _SetupReader(file, lines).setup(Table(values, ()))


class _SetupReader(Reader):
    """Turns the tables of a file into a `Setup`."""

    def __init__(self, file: str, lines: Lines) -> None:
        super().__init__(file, lines)
        self.base = Path(file).absolute().parent
        self.warnings: list[str] = []

    def setup(self, top: Table) -> Setup:
        """The whole file."""
        shared = self.common(self.table(top, "common"))
        tables = [
            Table(values, ("vhids", number))
            for number, values in enumerate(self.take(top, "vhids", as_mappings, []))
        ]
        if not tables:
            self.refuse((), "there is no virtual host: [[vhids]]")
        members = tuple(
            self.member(table, shared, Table(top.values.get("common", {}), ("common",)))
            for table in tables
        )
        profile = self.take(top, "profile", _as_profile, None)
        setup = Setup(
            members,
            profile or default_profile(member.config for member in members),
            self.node_settings(top),
            transport=self.take(top, "transport", one_of("transport", TRANSPORTS), "auto"),
            broadcast=self.take(top, "nomcast", as_flag, False),
            ignore_link=self.take(top, "ignoreifstate", as_flag, False),
            script_form=self.take(top, "script_form", _as_form, "1.5"),
            script_timeout=self.take(top, "script_timeout", _as_seconds, TIMEOUT),
            neutral=self.take(top, "neutral", as_flag, False),
            shutdown=self.take(top, "shutdown", as_flag, False),
            bow_out=not self.take(top, "silent", as_flag, False),
            facility=self.take(top, "facility", one_of("facility", FACILITIES), "daemon"),
            control=self.take(top, "control", self.as_control, None),
            control_place=self.place(top, "control") if "control" in top else "",
        )
        self.end(top)
        for table, member in zip(tables, members, strict=True):
            self.make(table, partial(member.config.require, setup.profile))
        try:
            setup.check()
        except ConfigError:
            # What it has in common with an earlier one shows at the first that is too many.
            for number, table in enumerate(tables, start=1):
                self.make(table, setup._replace(members=members[:number]).check)
            raise
        if any(name in table for table in tables for name in _SECRETS[:2]) and public(self.file):
            self.warnings.append(
                f"every user of this machine can read the passphrases in {self.file}: chmod o-r"
            )
        return setup._replace(warnings=tuple(dict.fromkeys(self.warnings)))

    def node_settings(self, top: Table) -> tuple[tuple[str, int], ...]:
        """The settings of the node, those that ucarp has also without their table."""
        found = self.settings(self.table(top, "settings"), SETTINGS)
        for name in ("preempt", "dead_ratio"):
            if name in found and name in top:
                self.refuse(("settings", name), f"{name} is given at the top, too; give it once")
        found |= self.settings(top, ("preempt", "dead_ratio"))
        return tuple(found.items())

    def common(self, table: Table) -> dict[str, Any]:
        """What all virtual hosts have in common."""
        for name in ("vhid", "addresses"):
            if name in table:
                self.refuse((*table.key, name), f"{name} is for each of the [[vhids]] to say")
        found = self.values(table)
        self.config(table, {**found, "vhid": 1})
        return found

    def place(self, *tables: Table | str) -> str:
        """Where a key is, to begin an error with: in the first table that has it."""
        *where, name = tables
        for table in where:
            if isinstance(table, Table) and name in table.values:
                return f"{self.file}:{self.lines.of((*table.key, str(name)))}: "
        return f"{self.file}: "

    def as_control(self, value: object) -> str:
        """A path; a relative one is beside the file."""
        return control_path(str(self.base / as_text(value)))

    def member(self, table: Table, common: dict[str, Any], shared: Table) -> Member:
        """One of the ``[[vhids]]``."""
        vhid = self.take(table, "vhid", as_whole)
        addresses = self.take(table, "addresses", _as_virtual_addresses)
        own = self.values(table)
        if any(name in own for name in _SECRETS):
            common = {name: value for name, value in common.items() if name not in _SECRETS}
        values: dict[str, Any] = {"vhid": vhid, **common, **own}
        if "interface" not in values:
            self.refuse(table.key, "interface is missing")
        if not any(name in values for name in _SECRETS):
            self.refuse(table.key, f"one of {', '.join(_SECRETS)} is missing")
        config = self.config(table, {**values, "addresses": [one.address for one in addresses]})
        for family, name in ((4, "peer"), (6, "peer6")):
            if name in own and family not in config.families:
                self.refuse((*table.key, name), f"{name}: there is no IPv{family} address")
        for source in own.get("srcip", ()):
            if source.version not in config.families:
                text = f"srcip: {source} is IPv{source.version}, and there is no such address"
                self.refuse((*table.key, "srcip"), text)
        if "" in (values.get("passphrase"), values.get("passfile")):
            self.warnings.append(EMPTY)
        places = tuple((name, self.place(table, shared, name)) for name in _PLACES)
        scripts = Scripts(*(values.get(name) for name in (*_PROGRAMS, "xparam")))
        sources = values.get("srcip", ())
        return Member(values["interface"], config, addresses, sources, scripts, places)

    def values(self, table: Table) -> dict[str, Any]:
        """The keys that both tables have."""
        found = {
            name: self.take(table, name, convert, None)
            for name, convert in _keys(self.base, self.warnings).items()
        }
        self.end(table)
        found = {name: value for name, value in found.items() if value is not None}
        given = [name for name in _SECRETS if name in found]
        if len(given) > 1:
            self.refuse((*table.key, given[1]), f"{' and '.join(given)}: give one of them")
        return found

    def config(self, table: Table, values: dict[str, Any]) -> VirtualHostConfig:
        """A virtual host's configuration; what is wrong with it points to its key."""
        given = {name: values[name] for name in _CONFIG if name in values}
        if "passfile" in values:
            given["passphrase"] = values["passfile"]
        config: VirtualHostConfig = self.make(table, partial(VirtualHostConfig, **given))
        return config


_CONFIG = ("vhid", "addresses", "passphrase", "key", "advbase", "advskew", "peer", "peer6")
_PLACES = ("interface", "addresses", "srcip", "peer", "peer6")
_PROGRAMS = {"upscript": "up script", "downscript": "down script", "hook": "hook"}


def _keys(base: Path, warnings: list[str]) -> dict[str, Callable[[object], Any]]:
    """The keys of a virtual host, and what makes values of them; files are beside ``base``."""

    def passfile(value: object) -> str:
        try:
            return read_passphrase(str(base / as_text(value)), warnings)
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from None

    def runs(what: str, value: object) -> str:
        return program(what, str(base / as_text(value)))

    return {
        "interface": as_text,
        "srcip": _as_sources,
        "passphrase": as_secret,
        "key": as_key,
        "passfile": passfile,
        "advbase": as_whole,
        "advskew": as_whole,
        "peer": _as_destination,
        "peer6": _as_destination,
        **{name: partial(runs, what) for name, what in _PROGRAMS.items()},
        "xparam": as_text,
    }


def _as_profile(value: object) -> Profile:
    return named_profile(as_text(value))


def _as_seconds(value: object) -> float:
    return seconds(as_number(value))


def _as_form(value: object) -> str:
    """Also as a number, since it looks like one."""
    form = str(value) if isinstance(value, float) else value
    return one_of("form", SCRIPT_FORMS)(form)


def _as_destination(value: object) -> Address:
    return parse_destination(as_text(value))


def _as_virtual_addresses(value: object) -> Any:
    found = parse_virtual_addresses(as_texts(value))
    if not found:
        raise ConfigError("an address is expected, the list is empty")
    return found


def _as_sources(value: object) -> tuple[Address, ...]:
    texts = (value,) if isinstance(value, str) else as_texts(value)
    return tuple(one_for_each_family("the own address", texts).values())
