"""Scenarios from TOML files; everything that cannot be is refused, with file and line.

Must not know how a scenario runs. docs/simulation.rst describes the file. A passphrase or a key
never shows in an error.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError
from carpproto.core.virtual_host import SETTINGS
from carpproto.simulation.cluster import Cluster
from carpproto.simulation.faults import Fault, SegmentChange
from carpproto.simulation.parts import QUALITIES
from carpproto.simulation.random_scenario import PROFILES
from carpproto.simulation.scenario import (
    Expectation,
    FaultError,
    NodeDescription,
    Scenario,
    SegmentDescription,
)
from carpproto.simulation.toml_reader import Reader, Table, decoded, parse_toml
from carpproto.simulation.toml_values import (
    as_addresses,
    as_flag,
    as_mapping,
    as_mappings,
    as_number,
    as_quality,
    as_text,
    one_of,
)
from carpproto.simulation.toml_words import CONFIG, FAULT_KEYS, FAULTS, KEYS, NEW_VALUES

_profile = one_of("profile", PROFILES)
_fault = one_of("fault", FAULT_KEYS)


def load_scenario(path: str | Path) -> Scenario:
    """The scenario in a TOML file.

    Raises `OSError` if it cannot be read, and `ConfigError` for anything in it that cannot be,
    beginning with the file's name and the line.
    """
    file = Path(path)
    if not str(path) or (file.exists() and not file.is_file()):  # a device may never end
        raise ConfigError(f"{str(path)!r} is no regular file; give the name of a scenario file")
    return parse_scenario(decoded(file.read_bytes(), str(path)), str(path))


def parse_scenario(text: str, file: str = "scenario") -> Scenario:
    """The scenario in the text of a TOML file; ``file`` is its name in errors."""
    values, lines = parse_toml(text, file)
    return _Reader(file, lines).scenario(Table(values, ()))


class _Reader(Reader):
    """Turns tables into descriptions."""

    # -- the scenario --------------------------------------------------------------------------

    def scenario(self, top: Table) -> Scenario:
        self.check_keys(top, KEYS["top"])
        name = self.take(top, "name", as_text, Path(self.file).stem)
        duration = self.take(top, "duration", as_number, None)
        segments = self.segments(self.table(top, "segments"))
        groups = self.table(top, "vhids")
        nodes = self.nodes(self.table(top, "nodes"), groups, segments)
        faults = self.take(top, "faults", as_mappings, [])
        found = tuple(
            self.fault(Table(values, ("faults", number)), nodes)
            for number, values in enumerate(faults)
        )
        expected = self.table(top, "expect")
        scenario = Scenario(name, nodes, found, segments, duration, self.expectation(expected))
        if not nodes:
            self.refuse((), "a scenario needs a node: [nodes.NAME]")
        try:
            scenario.check()
        except FaultError as error:
            number = error.number - 1
            self.point(Table(faults[number], ("faults", number)), error.text)
        except ConfigError as error:
            if str(error).startswith("duration"):
                self.point(top, str(error))
            self.point(self.table(expected, "masters"), str(error), expected)
        return scenario

    def segments(self, table: Table) -> tuple[SegmentDescription, ...]:
        found: list[SegmentDescription] = []
        for name in table.values:
            one = self.table(table, name)
            self.check_keys(one, KEYS["segments"])
            qualities = self.qualities(one)
            self.make(one, partial(Cluster().add_segment, name, **dict(qualities)))
            found.append(SegmentDescription(name, qualities))
        return tuple(found)

    def qualities(self, table: Table) -> tuple[tuple[str, float | bool], ...]:
        return tuple(
            (name, self.take(table, name, as_quality))
            for name in table.values
            if name in QUALITIES
        )

    def nodes(
        self, table: Table, groups: Table, segments: tuple[SegmentDescription, ...]
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
        self, table: Table, name: str, groups: Table, common: dict[str, dict[str, Any]]
    ) -> NodeDescription:
        self.check_keys(table, KEYS["nodes"])
        profile = PROFILES[self.take(table, "profile", _profile, "freebsd")]
        interfaces = self.by_name(table, "interfaces", as_text)
        if not interfaces:
            if "interfaces" in table.values:
                self.refuse((*table.key, "interfaces"), "a node needs an interface")
            interfaces = {"em0": "lan"}
        addresses = self.by_name(table, "addresses", as_addresses)
        for interface in addresses:
            if interface not in interfaces:
                text = f"{name!r} has no {interface!r}; it has: {', '.join(interfaces)}"
                self.refuse((*table.key, "addresses", interface), text)
        own = self.take(table, "vhids", as_mapping, None)
        hosts: list[tuple[str, VirtualHostConfig]] = []
        # Without vhids of its own a node has all that are described for everybody.
        for vhid in groups.values if own is None else own:
            tables = [self.table(groups, vhid)]
            if own is not None:
                tables.insert(0, self.table(Table(own, (*table.key, "vhids")), vhid))
            values = {**common.get(vhid, {}), **self.config_values(tables[0])}
            interface = values.pop("interface", next(iter(interfaces)))
            if interface not in interfaces:
                text = f"interface {interface!r} is none of {', '.join(interfaces)}"
                self.point(tables[0], text, *tables[1:])
            if not values.get("addresses"):
                self.refuse(tables[0].key, f"vhid {vhid} has no addresses")
            make = partial(VirtualHostConfig, vhid=int(vhid), **values)
            config = self.make(tables[0], make, *tables[1:])
            self.make(tables[0], partial(config.require, profile), *tables[1:])
            hosts.append((interface, config))
        settings = self.settings(self.table(table, "settings"), SETTINGS)
        settings |= self.settings(table, ("preempt",))
        return NodeDescription(
            name,
            tuple(hosts),
            profile,
            tuple(interfaces.items()),
            tuple(addresses.items()),
            tuple(settings.items()),
            self.take(table, "clock_rate", as_number, 1.0),
            self.take(table, "late", as_number, 0.0),
            self.take(table, "late_share", as_number, 0.0),
            self.take(table, "takes_up", as_number, 0.0),
            self.take(table, "boots", as_flag, True),
        )

    def config_values(self, table: Table) -> dict[str, Any]:
        """What a virtual host is configured with, as far as it is said here."""
        self.check_keys(table, KEYS["vhids"])
        values = {name: self.take(table, name, CONFIG[name]) for name in table.values}
        vhid = str(table.key[-1])
        if not (vhid.isdecimal() and vhid.isascii() and 1 <= len(vhid) <= 3):
            self.refuse(table.key, f"vhid {vhid!r} is no number of 1 to 255")
        given = {name: value for name, value in values.items() if name != "interface"}
        self.make(table, partial(VirtualHostConfig, vhid=int(vhid), **given))
        return values

    def expectation(self, table: Table) -> Expectation:
        self.check_keys(table, KEYS["expect"])
        masters = self.by_name(table, "masters", as_text)
        for vhid in masters:
            if not (vhid.isdecimal() and vhid.isascii() and len(vhid) <= 3):
                text = f"vhid {vhid!r} is no number of 1 to 255"
                self.refuse((*table.key, "masters", vhid), text)
        return Expectation(
            self.take(table, "settled", as_flag, True),
            tuple((int(vhid), name) for vhid, name in masters.items()),
            self.take(table, "without_master", as_number, None),
            self.take(table, "several_masters", as_number, None),
            self.take(table, "failover", as_number, None),
        )

    # -- faults --------------------------------------------------------------------------------

    def fault(self, table: Table, nodes: tuple[NodeDescription, ...]) -> Fault:
        self.check_keys(table, dict.fromkeys(key for keys in FAULT_KEYS.values() for key in keys))
        kind = self.take(table, "fault", _fault)
        self.check_keys(table, FAULT_KEYS[kind])
        at = self.take(table, "at", as_number)
        for empty, changes in (("segment", KEYS["segments"]), ("reconfigure", tuple(NEW_VALUES))):
            if kind == empty and not any(name in table.values for name in changes):
                self.refuse(
                    (*table.key, "fault"), f"it changes nothing; give one of {', '.join(changes)}"
                )
        if kind == "segment":
            segment = self.take(table, "segment", as_text, "lan")
            return SegmentChange(at, segment, self.qualities(table))
        make, fields = FAULTS[kind]
        values = {
            name: self.take(table, name, convert, *default)
            for name, (convert, *default) in fields.items()
        }
        if "interface" in values and values["interface"] is None:
            values["interface"] = next(
                (node.interfaces[0][0] for node in nodes if node.name == values.get("node")),
                "em0",
            )
        fault: Fault = self.make(table, lambda: make(at, **values))
        return fault
