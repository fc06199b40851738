"""The words of a scenario file: the keys of its tables, and the kinds of faults, both ways.

Must not know of files or lines. docs/simulation.rst explains the words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carpproto.core.config import VirtualHostConfig
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    DemotionAdjusted,
    Event,
    InterfaceChanged,
    Reconfigured,
    SettingChanged,
    State,
    StateRequested,
    VirtualHostAdded,
    VirtualHostRemoved,
)
from carpproto.core.virtual_host import SETTINGS
from carpproto.simulation.faults import (
    Boot,
    Carrier,
    Crash,
    Cut,
    Fault,
    Heal,
    Inject,
    LocalEvent,
    Partition,
    Resume,
    SegmentChange,
    SendErrors,
    Stall,
    Stop,
)
from carpproto.simulation.parts import CLOCKS, QUALITIES
from carpproto.simulation.toml_values import (
    as_address,
    as_addresses,
    as_flag,
    as_frame,
    as_groups,
    as_key,
    as_number,
    as_secret,
    as_text,
    as_whole,
    as_whole_or_flag,
    one_of,
)

# -- kinds of faults ---------------------------------------------------------------------------

_setting = one_of("setting", SETTINGS)
_state = one_of("state to ask for", ("MASTER", "BACKUP"))

CONFIG: dict[str, Callable[[object], Any]] = {
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
NEW_VALUES: dict[str, tuple[Any, ...]] = {
    name: (convert, None)
    for name, convert in CONFIG.items()
    if name not in ("interface", "addresses")
}
# Each kind of fault: what makes it, and its keys, with what they can be and, but for those that
# are required, their default.
FAULTS: dict[str, tuple[Callable[..., Fault], dict[str, tuple[Any, ...]]]] = {
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
    "reconfigure": (_local(Reconfigured), {**_OF_VHID, **NEW_VALUES}),
    "add-address": (_local(AddressAdded), {**_OF_VHID, "address": (as_address,)}),
    "remove-address": (_local(AddressRemoved), {**_OF_VHID, "address": (as_address,)}),
    "add-vhid": (
        _local(_added),
        {**_OF_VHID, "addresses": (as_addresses,), **NEW_VALUES},
    ),
    "remove-vhid": (_local(VirtualHostRemoved), _OF_VHID),
    "inject": (Inject, {"segment": (as_text, "lan"), "frame": (as_frame,)}),
}

# -- keys --------------------------------------------------------------------------------------

KEYS: dict[str, tuple[str, ...]] = {
    "top": ("name", "duration", "segments", "vhids", "nodes", "faults", "expect"),
    "segments": tuple(QUALITIES),
    "vhids": tuple(CONFIG),
    "nodes": (
        "profile",
        "preempt",
        "settings",
        "interfaces",
        "addresses",
        "vhids",
        *CLOCKS,
        "boots",
    ),
    "settings": tuple(SETTINGS),
    "expect": ("settled", "masters", "without_master", "several_masters", "failover"),
}
"""The keys of each table."""

FAULT_KEYS: dict[str, tuple[str, ...]] = {
    **{kind: ("fault", "at", *fields) for kind, (_, fields) in FAULTS.items()},
    "segment": ("fault", "at", "segment", *QUALITIES),
}
"""The keys of each kind of fault."""


# -- the other way -----------------------------------------------------------------------------


def in_words(fault: Fault) -> tuple[str, dict[str, Any]] | None:
    """A fault's kind and its other keys, but for ``at``; None for what a file cannot say.

    What a key would be without it is left out, but for a vhid.
    """
    if isinstance(fault, SegmentChange):
        return "segment", {"segment": fault.segment, **dict(fault.qualities)}
    if isinstance(fault, LocalEvent):
        found = _event_in_words(fault.event)
        return found and (found[0], {"node": fault.node, **found[1]})
    kind = next(kind for kind, (make, _) in FAULTS.items() if make is type(fault))
    values = fault._asdict()
    del values["at"]
    return kind, _unusual(kind, values)


def config_in_words(config: VirtualHostConfig) -> dict[str, Any]:
    """What a virtual host is configured with, but for its vhid; secrets, too."""
    values = config._values()  # pyright: ignore[reportPrivateUsage]
    values["addresses"] = tuple(map(str, config.addresses))
    del values["vhid"]
    for name in ("peer", "peer6"):
        values[name] = values[name] and str(values[name])
    return {name: value for name, value in values.items() if value is not None}


def _event_in_words(event: Event) -> tuple[str, dict[str, Any]] | None:
    values: dict[str, Any] = event._asdict()
    match event:
        case InterfaceChanged(vhid=None):
            del values["vhid"]
            return "interface", values
        case DemotionAdjusted():
            return "demote", values
        case SettingChanged():
            return "set", values
        case StateRequested():
            return "request", _unusual("request", {**values, "state": str(event.state)})
        case Reconfigured():
            peers = {name: str(values[name]) for name in ("peer", "peer6") if values[name]}
            where = {"interface": event.interface, "vhid": event.vhid}
            return "reconfigure", {**where, **event.changes(), **peers}
        case AddressAdded(vhid=int()):
            return "add-address", {**values, "address": str(event.address)}
        case AddressRemoved(vhid=int()):
            return "remove-address", {**values, "address": str(event.address)}
        case VirtualHostAdded():
            where = {"interface": event.interface, "vhid": event.config.vhid}
            return "add-vhid", {**where, **config_in_words(event.config)}
        case VirtualHostRemoved():
            return "remove-vhid", values
        case _:
            return None


def _unusual(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    fields = FAULTS[kind][1]
    return {
        name: value
        for name, value in values.items()
        if name == "vhid" or fields[name][1:] != (value,)
    }
