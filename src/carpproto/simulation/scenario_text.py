"""A scenario as text: a line for each part of it, and all of it as a TOML file.

Must not know how a scenario runs. The lines show no passphrase and no key; the file must have
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from carpproto.core.errors import ConfigError
from carpproto.core.profile import Profile
from carpproto.simulation.faults import Carrier, Fault, LocalEvent
from carpproto.simulation.parts import USUAL
from carpproto.simulation.random_scenario import PROFILES
from carpproto.simulation.scenario import NodeDescription, Scenario, SegmentDescription
from carpproto.simulation.scenario_file import parse_scenario
from carpproto.simulation.toml_words import config_in_words, in_words

_OPTIONS = ("clock_rate", "late", "late_share", "takes_up", "boots")
_SECRETS = ("passphrase", "key")

# -- lines ---------------------------------------------------------------------------------------


def describe_scenario(scenario: Scenario) -> dict[str, list[str]]:
    """Lines for its segments, as far as they are unusual, its nodes, and its faults in order."""
    segments = [describe_segment(segment) for segment in scenario.segments]
    return {
        "segments": [line for line in segments if line],
        "nodes": [describe_node(node) for node in scenario.nodes],
        "faults": [describe_fault(f) for f in sorted(scenario.faults, key=lambda f: f.at)],
    }


def describe_segment(segment: SegmentDescription) -> str:
    """A segment's unusual qualities, such as ``lan: loss 0.2``; nothing where there is none."""
    words = [f"{name} {_shown(v)}" for name, v in segment.qualities if v != USUAL.get(name)]
    return f"{segment.name}: {', '.join(words)}" if words else ""


def describe_node(node: NodeDescription) -> str:
    """A node in a line: its profile, its virtual hosts, and what is unusual about it."""
    words = [f"{node.name}: {node.profile.name}"]
    if node.interfaces != node._field_defaults["interfaces"]:
        words += [f"{interface} on {segment}" for interface, segment in node.interfaces]
    for interface, addresses in node.addresses:
        words.append(f"{interface} has {' and '.join(map(str, addresses))}")
    for interface, config in node.virtual_hosts:
        line = (
            f"vhid {config.vhid} on {interface} "
            f"addresses {' '.join(map(str, config.addresses)) or 'none'} "
            f"advbase {config.advbase} advskew {config.advskew}"
        )
        if config.peer is not None:
            line += f" peer {config.peer}"
        if config.peer6 is not None:
            line += f" peer6 {config.peer6}"
        words.append(line)
    words += [f"{name} {value}" for name, value in node.settings]
    for name in _OPTIONS:
        value = getattr(node, name)
        if value != node._field_defaults[name]:
            words.append(f"{name} {_shown(value)}")
    return ", ".join(words)


def describe_fault(fault: Fault) -> str:
    """A fault in a line, in the words of a file, such as ``at 12 s: crash node=a``."""
    at = f"at {fault.at:.10g} s:"
    found = in_words(fault)
    if found is None:
        what = fault.event if isinstance(fault, LocalEvent) else fault
        return f"{at} on {getattr(fault, 'node', '')} {what!r}"
    kind, values = found
    words = [f"{k}={'...' if k in _SECRETS else _shown(v)}" for k, v in values.items()]
    return " ".join([at, kind, *words])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_shown, cast(Iterable[object], value)))}]"
    return str(value)


# -- a file --------------------------------------------------------------------------------------


def to_toml(scenario: Scenario) -> str:
    """The text of a TOML file that `parse_scenario` reads to an equal scenario.

    It has the passphrases and keys. `ConfigError` for what a file cannot say: a profile that is
    none of those with a name there, an event that is no fault in a file, a vhid on two
    interfaces of a node.
    """
    text = _file(scenario)
    try:
        again = _file(parse_scenario(text))
    except ConfigError as error:
        raise ConfigError(f"a file cannot say this: {error}") from None
    if again != text:
        raise ConfigError("a file cannot say all that is in this scenario")
    return text


def _file(scenario: Scenario) -> str:
    lines = [f"name = {_toml(scenario.name)}"]
    if scenario.duration is not None:
        lines.append(f"duration = {_toml(float(scenario.duration))}")
    for segment in scenario.segments:
        qualities = {name: _quality(value) for name, value in segment.qualities}
        lines += _table(f"segments.{_key(segment.name)}", qualities)
    for node in scenario.nodes:
        lines += _node(node)
    for fault in scenario.faults:
        for one in _single(fault, scenario.nodes):
            lines += _fault(one)
    expects = scenario.expects
    expected = {name: value for name, value in expects._asdict().items() if value is not None}
    if expects.settled:
        del expected["settled"]
    for name in ("without_master", "several_masters", "failover"):
        if name in expected:
            expected[name] = float(expected[name])
    expected["masters"] = {str(vhid): name for vhid, name in expects.masters}
    if not expects.masters:
        del expected["masters"]
    if expected:
        lines += _table("expect", expected)
    return "\n".join(lines) + "\n"


def _node(node: NodeDescription) -> list[str]:
    values: dict[str, Any] = {
        "profile": _profile_name(node.profile),
        "interfaces": dict(node.interfaces),
    }
    if node.addresses:
        values["addresses"] = {one: tuple(map(str, own)) for one, own in node.addresses}
    if node.settings:
        values["settings"] = dict(node.settings)
    for name in _OPTIONS:
        value = getattr(node, name)
        if value != node._field_defaults[name]:
            values[name] = value if isinstance(value, bool) else float(value)
    if not node.virtual_hosts:
        values["vhids"] = {}
    where = f"nodes.{_key(node.name)}"
    lines = _table(where, values)
    for interface, config in node.virtual_hosts:
        words = {"interface": interface, **config_in_words(config)}
        lines += _table(f"{where}.vhids.{config.vhid}", words)
    return lines


def _single(fault: Fault, nodes: Iterable[NodeDescription]) -> list[Fault]:
    """A fault; those of each interface where it is of all of them, which a file does not say."""
    if isinstance(fault, Carrier) and fault.interface is None:
        interfaces = next((n.interfaces for n in nodes if n.name == fault.node), ())
        return [fault._replace(interface=interface) for interface, _ in interfaces]
    return [fault]


def _fault(fault: Fault) -> list[str]:
    found = in_words(fault)
    if found is None:
        raise ConfigError(f"a file cannot say this: {describe_fault(fault)}")
    kind, values = found
    # A hold is one of a request, too.
    exact = {k: _quality(value) if k in USUAL else value for k, value in values.items()}
    return _table("[faults]", {"at": float(fault.at), "fault": kind, **exact})


def _quality(value: float | bool) -> float | bool:
    return value if isinstance(value, bool) else float(value)


def _profile_name(profile: Profile) -> str:
    for name, known in PROFILES.items():
        if profile == known:
            return name
    raise ConfigError(f"a file cannot say this: profile {profile.name!r} has no name there")


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f'"{value.hex()}"'
    if isinstance(value, dict):
        pairs = cast(dict[str, object], value).items()
        return f"{{ {', '.join(f'{_key(key)} = {_toml(one)}' for key, one in pairs)} }}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_toml, cast(Iterable[object], value)))}]"
    if isinstance(value, str):
        # JSON has the same escapes; but TOML wants one for DEL, too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
