"""Scenarios from TOML files; everything that cannot be is refused, with file and line.

Must not know how a scenario runs. docs/simulation.rst describes the file. A passphrase or a key
never shows in an error.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    DemotionAdjusted,
    InterfaceChanged,
    Reconfigured,
    SettingChanged,
    State,
    StateRequested,
    VirtualHostAdded,
    VirtualHostRemoved,
)
from carpproto.core.virtual_host import SETTINGS, check_setting
from carpproto.simulation.cluster import QUALITIES, Cluster
from carpproto.simulation.faults import (
    Boot,
    Carrier,
    Crash,
    Cut,
    Fault,
    Heal,
    LocalEvent,
    Partition,
    Resume,
    SegmentChange,
    SendErrors,
    Stall,
    Stop,
)
from carpproto.simulation.random_scenario import PROFILES
from carpproto.simulation.scenario import (
    Expectation,
    FaultError,
    NodeDescription,
    Scenario,
    SegmentDescription,
)
from carpproto.simulation.toml_lines import Key, Lines
from carpproto.simulation.toml_values import (
    as_address,
    as_addresses,
    as_addresses_by_name,
    as_flag,
    as_groups,
    as_key,
    as_mapping,
    as_mappings,
    as_number,
    as_quality,
    as_secret,
    as_text,
    as_texts_by_name,
    as_whole,
    as_whole_or_flag,
    one_of,
)

_REQUIRED: Any = object()


def load_scenario(path: str | Path) -> Scenario:
    """The scenario in a TOML file.

    Raises `OSError` if it cannot be read, and `ConfigError` for anything in it that cannot be,
    beginning with the file's name and the line.
    """
    text = Path(path).read_bytes()
    try:
        return parse_scenario(text.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: this is no UTF-8 text") from None


def parse_scenario(text: str, file: str = "scenario") -> Scenario:
    """The scenario in the text of a TOML file; ``file`` is its name in errors."""
    toml = _toml()
    try:
        values = toml.loads(text)
    except RecursionError:
        raise ConfigError(f"{file}:1: it is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{file}:{_line_of(error, text)}: {error}") from None
    return _Reader(file, Lines(text)).scenario(_Table(values, ()))


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


def _line_of(error: ValueError, text: str) -> int:
    """The line that a TOML error names in its text: ``... (at line 3, column 5)``."""
    words = str(error).rpartition("line ")[2].partition(",")[0]
    return int(words) if words.isdecimal() else text.count("\n") + 1


class _Table:
    """A table of the file, where it is, and which of its keys were asked for."""

    def __init__(self, values: Mapping[str, Any], key: Key) -> None:
        self.values = values
        self.key = key
        self.known: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self.values


class _Reader:
    """Turns tables into descriptions; knows where to point when it cannot."""

    def __init__(self, file: str, lines: Lines) -> None:
        self.file = file
        self.lines = lines

    def refuse(self, key: Key, text: object) -> NoReturn:
        raise ConfigError(f"{self.file}:{self.lines.of(key)}: {text}")

    # -- values --------------------------------------------------------------------------------

    def take(
        self, table: _Table, name: str, convert: Callable[[object], Any], default: Any = _REQUIRED
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
            self.refuse((*table.key, name), f"{name}: {error}")

    def table(self, table: _Table, name: str) -> _Table:
        """A table in a table, empty where there is none."""
        values = self.take(table, name, as_mapping, {})
        return _Table(values, (*table.key, name))

    def end(self, table: _Table) -> None:
        """Refuse the keys that nobody asked for."""
        for name in table.values:
            if name not in table.known:
                known = ", ".join(table.known)
                self.refuse((*table.key, name), f"there is no key {name!r} here; keys are {known}")

    def make(self, table: _Table, make: Callable[[], Any]) -> Any:
        """Make something of a table's values; an error points to the key that it names."""
        try:
            return make()
        except ConfigError as error:
            self.point(table, str(error))

    def point(self, table: _Table, text: str) -> NoReturn:
        """Refuse a table; an error that names a key of it points there."""
        named = next((word for word in re.findall(r"\w+", text) if word in table), None)
        self.refuse(table.key if named is None else (*table.key, named), text)

    # -- the scenario --------------------------------------------------------------------------

    def scenario(self, top: _Table) -> Scenario:
        name = self.take(top, "name", as_text, Path(self.file).stem)
        duration = self.take(top, "duration", as_number, None)
        segments = self.segments(self.table(top, "segments"))
        groups = self.table(top, "vhids")
        nodes = self.nodes(self.table(top, "nodes"), groups, segments)
        faults = self.take(top, "faults", as_mappings, [])
        found = tuple(
            self.fault(_Table(values, ("faults", number)), nodes)
            for number, values in enumerate(faults)
        )
        expected = self.table(top, "expect")
        scenario = Scenario(name, nodes, found, segments, duration, self.expectation(expected))
        self.end(top)
        if not nodes:
            self.refuse((), "a scenario needs a node: [nodes.NAME]")
        try:
            scenario.check()
        except FaultError as error:
            number = error.number - 1
            self.point(_Table(faults[number], ("faults", number)), error.text)
        except ConfigError as error:
            self.point(top if str(error).startswith("duration") else expected, str(error))
        return scenario

    def segments(self, table: _Table) -> tuple[SegmentDescription, ...]:
        found: list[SegmentDescription] = []
        for name in table.values:
            one = self.table(table, name)
            qualities = self.qualities(one)
            self.end(one)
            self.make(one, partial(Cluster().add_segment, name, **dict(qualities)))
            found.append(SegmentDescription(name, qualities))
        return tuple(found)

    def qualities(self, table: _Table) -> tuple[tuple[str, float | bool], ...]:
        values = {name: self.take(table, name, as_quality, None) for name in QUALITIES}
        return tuple((name, value) for name, value in values.items() if value is not None)

    def nodes(
        self, table: _Table, groups: _Table, segments: tuple[SegmentDescription, ...]
    ) -> tuple[NodeDescription, ...]:
        common = {vhid: self.config_values(self.table(groups, vhid)) for vhid in groups.values}
        nodes: list[NodeDescription] = []
        for name in table.values:
            one = self.table(table, name)
            node = self.node(one, name, groups, common)
            self.make(one, Scenario(name, (node,), (), segments).check)
            nodes.append(node)
        return tuple(nodes)

    def node(
        self, table: _Table, name: str, groups: _Table, common: dict[str, dict[str, Any]]
    ) -> NodeDescription:
        interfaces = self.take(table, "interfaces", as_texts_by_name, {"em0": "lan"})
        if not interfaces:
            self.refuse((*table.key, "interfaces"), "a node needs an interface")
        own = self.take(table, "vhids", as_mapping, None)
        hosts: list[tuple[str, VirtualHostConfig]] = []
        # Without vhids of its own a node has all that are described for everybody.
        for vhid in groups.values if own is None else own:
            where = (*table.key, "vhids", vhid) if own is not None else (*groups.key, vhid)
            one = _Table({}, where)
            if own is not None:
                one = self.table(_Table(own, where[:-1]), vhid)
            values = {**common.get(vhid, {}), **self.config_values(one)}
            interface = values.pop("interface", next(iter(interfaces)))
            if interface not in interfaces:
                self.refuse(where, f"interface {interface!r} is none of {', '.join(interfaces)}")
            if not values.get("addresses"):
                self.refuse(where, f"vhid {vhid} has no addresses")
            config = self.make(one, partial(VirtualHostConfig, vhid=int(vhid), **values))
            hosts.append((interface, config))
        settings = self.settings(self.table(table, "settings"), SETTINGS)
        settings |= self.settings(table, ("preempt",))
        node = NodeDescription(
            name,
            tuple(hosts),
            PROFILES[self.take(table, "profile", _profile, "freebsd")],
            tuple(interfaces.items()),
            tuple(self.take(table, "addresses", as_addresses_by_name, {}).items()),
            tuple(settings.items()),
            self.take(table, "clock_rate", as_number, 1.0),
            self.take(table, "late", as_number, 0.0),
            self.take(table, "late_share", as_number, 0.0),
            self.take(table, "takes_up", as_number, 0.0),
            self.take(table, "boots", as_flag, True),
        )
        self.end(table)
        return node

    def settings(self, table: _Table, names: Iterable[str]) -> dict[str, int]:
        """The settings among a table's keys."""
        found: dict[str, int] = {}
        for name in names:
            value = self.take(table, name, as_whole_or_flag, None)
            if value is not None:
                found[name] = self.make(table, partial(check_setting, SettingChanged(name, value)))
        if table.key[-1:] == ("settings",):
            self.end(table)
        return found

    def config_values(self, table: _Table) -> dict[str, Any]:
        """What a virtual host is configured with, as far as it is said here."""
        values: dict[str, Any] = {}
        for name, convert in _CONFIG.items():
            value = self.take(table, name, convert, None)
            if value is not None:
                values[name] = value
        self.end(table)
        vhid = str(table.key[-1])
        if not (vhid.isdecimal() and vhid.isascii() and 1 <= len(vhid) <= 3):
            self.refuse(table.key, f"vhid {vhid!r} is no number of 1 to 255")
        given = {name: value for name, value in values.items() if name != "interface"}
        self.make(table, partial(VirtualHostConfig, vhid=int(vhid), **given))
        return values

    def expectation(self, table: _Table) -> Expectation:
        masters = self.table(table, "masters")
        for vhid in masters.values:
            if not vhid.isdecimal():
                self.refuse((*masters.key, vhid), f"vhid {vhid!r} is no number of 1 to 255")
        found = Expectation(
            self.take(table, "settled", as_flag, True),
            tuple((int(vhid), self.take(masters, vhid, as_text)) for vhid in masters.values),
            self.take(table, "without_master", as_number, None),
            self.take(table, "several_masters", as_number, None),
            self.take(table, "failover", as_number, None),
        )
        self.end(table)
        return found

    # -- faults --------------------------------------------------------------------------------

    def fault(self, table: _Table, nodes: tuple[NodeDescription, ...]) -> Fault:
        kind = self.take(table, "fault", _fault)
        at = self.take(table, "at", as_number)
        if kind == "segment":
            segment = self.take(table, "segment", as_text, "lan")
            fault: Fault = SegmentChange(at, segment, self.qualities(table))
        else:
            make, fields = _FAULTS[kind]
            values = {
                name: self.take(table, name, convert, *default)
                for name, (convert, *default) in fields.items()
            }
            if "interface" in values and values["interface"] is None:
                values["interface"] = next(
                    (node.interfaces[0][0] for node in nodes if node.name == values.get("node")),
                    "em0",
                )
            fault = self.make(table, lambda: make(at, **values))
        self.end(table)
        return fault


# -- kinds of faults ---------------------------------------------------------------------------

_profile = one_of("profile", PROFILES)
_setting = one_of("setting", SETTINGS)
_state = one_of("state to ask for", ("MASTER", "BACKUP"))

_CONFIG: dict[str, Callable[[object], Any]] = {
    "interface": as_text,
    "addresses": as_addresses,
    "passphrase": as_secret,
    "key": as_key,
    "advbase": as_whole,
    "advskew": as_whole,
    "peer": as_address,
    "peer6": as_address,
}


def _local(event: Callable[..., Any]) -> Callable[..., LocalEvent]:
    """What makes a fault of an event's values and its node."""

    def make(at: float, node: str, **values: Any) -> LocalEvent:
        return LocalEvent(at, node, event(**values))

    return make


def _added(interface: str, vhid: int, **values: Any) -> VirtualHostAdded:
    given = {name: value for name, value in values.items() if value is not None}
    return VirtualHostAdded(interface, VirtualHostConfig(vhid=vhid, **given))


def _requested(interface: str, vhid: int, state: str, hold: float) -> StateRequested:
    return StateRequested(interface, vhid, State(state), hold)


_NODE: dict[str, tuple[Any, ...]] = {"node": (as_text,)}
_ON_INTERFACE: dict[str, tuple[Any, ...]] = {**_NODE, "interface": (as_text, None)}
_OF_VHID: dict[str, tuple[Any, ...]] = {**_ON_INTERFACE, "vhid": (as_whole, 1)}
_NEW_VALUES: dict[str, tuple[Any, ...]] = {
    name: (convert, None)
    for name, convert in _CONFIG.items()
    if name not in ("interface", "addresses")
}
# Each kind of fault: what makes it, and its keys, with what they can be and, but for those that
# are required, their default.
_FAULTS: dict[str, tuple[Callable[..., Fault], dict[str, tuple[Any, ...]]]] = {
    "crash": (Crash, _NODE),
    "boot": (Boot, _NODE),
    "stop": (Stop, {**_NODE, "bow_out": (as_flag, None)}),
    "stall": (Stall, _NODE),
    "resume": (Resume, _NODE),
    "cut": (Cut, {"sender": (as_text,), "receiver": (as_text,), "both": (as_flag, True)}),
    "partition": (Partition, {"groups": (as_groups,)}),
    "heal": (Heal, {}),
    "carrier": (Carrier, {**_ON_INTERFACE, "up": (as_flag,)}),
    "send-errors": (SendErrors, {**_NODE, "fails": (as_flag, True)}),
    "interface": (_local(InterfaceChanged), {**_ON_INTERFACE, "up": (as_flag,)}),
    "demote": (_local(DemotionAdjusted), {**_NODE, "delta": (as_whole,)}),
    "set": (
        _local(SettingChanged),
        {**_NODE, "name": (_setting,), "value": (as_whole_or_flag,)},
    ),
    "request": (
        _local(_requested),
        {**_OF_VHID, "state": (_state,), "hold": (as_number, 0.0)},
    ),
    "reconfigure": (_local(Reconfigured), {**_OF_VHID, **_NEW_VALUES}),
    "add-address": (_local(AddressAdded), {**_OF_VHID, "address": (as_address,)}),
    "remove-address": (_local(AddressRemoved), {**_OF_VHID, "address": (as_address,)}),
    "add-vhid": (
        _local(_added),
        {**_OF_VHID, "addresses": (as_addresses,), **_NEW_VALUES},
    ),
    "remove-vhid": (_local(VirtualHostRemoved), _OF_VHID),
}
_fault = one_of("fault", [*_FAULTS, "segment"])
