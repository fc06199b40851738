"""A recording: what a capture shows, with who was configured how and what was done when.

Must not know of the state machine. `load` reads ``NAME.json`` and checks it as far as a replay
relies on it; `Recording.advertisements` reads the frames beside it and says who sent each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, cast

from carpproto.capture.link import peel_record
from carpproto.capture.reader import open_capture
from carpproto.core.addresses import Address, parse_address
from carpproto.core.errors import CarpError, DecodeError, Reason
from carpproto.core.frame import Ethernet, Packet, peel_ethernet

SCHEMA = 1
_LONGEST = 1e6  # seconds of a recording
_AROUND = 60.0  # seconds before and after it that a capture may show
_LARGEST = 64 * 1024 * 1024  # bytes of a recording's JSON; real ones have some thousand
_INJECTED_WITHIN = 0.25  # seconds from the command to the frame on the wire; 0.1 is usual
_NUMBERS = ("preempt", "allow", "dscp", "demotion", "dead_ratio")
_KNOWN_EVENTS: dict[str, dict[str, type]] = {
    "boot": {},
    "halt": {},
    "shutdown": {},
    "interface": {"up": bool},
    "link": {"up": bool},
    "wire": {"up": bool},
    "sending": {"fails": bool},
    "queried": {"vhid": int},
    "setting": {"name": str},
    "virtual_host": {"vhid": int, "advbase": int, "advskew": int, "key": str},
    "address_added": {"address": str},
    "address_removed": {"address": str},
    "state_requested": {"vhid": int, "state": str},
    "signal": {"signal": str},
    "inject": {"frame": str},
}


class RecordedEvent(NamedTuple):
    """What was done: ``t`` in seconds, the node (None: the laboratory), the kind, the rest."""

    t: float
    node: str | None
    kind: str
    values: dict[str, Any]


class RecordedTransition(NamedTuple):
    """What an implementation reported of itself."""

    t: float
    node: str
    vhid: int
    previous: str
    current: str
    reason: str | None


class RecordedNode(NamedTuple):
    """A machine of the recording.

    ``advertises_from`` is by family, 4 and 6; ``other_interfaces``, which the captured wire
    does not show, have their MACs.
    """

    name: str
    interface: str
    mac: str
    advertises_from: dict[int, Any]
    vlan: int | None
    implementation: str
    other_interfaces: dict[str, str]


class RecordedFrame(NamedTuple):
    """A packet of protocol 112 on the wire.

    ``sender`` is a node's name, or None; ``injected`` the event that put it there, or None;
    ``number`` counts the frames of its file from 1.
    """

    t: float
    number: int
    ethernet: Ethernet
    packet: Packet
    sender: str | None
    injected: RecordedEvent | None


class Recording(NamedTuple):
    """A recording as its JSON tells it. See the README beside the captures for the schema."""

    path: Path
    name: str
    description: str
    profile: str
    notes: tuple[str, ...]
    pcap: Path
    pcap_far: Path | None
    far_nodes: tuple[str, ...]
    t0: float
    duration: float
    polled_every: float | None
    nodes: dict[str, RecordedNode]
    events: tuple[RecordedEvent, ...]
    transitions: tuple[RecordedTransition, ...]
    counters: dict[str, dict[str, int]]
    heard: dict[str, tuple[float, ...]]

    @property
    def artefacts(self) -> tuple[str, ...]:
        """The notes that say why the recording does not replay exactly."""
        return tuple(note for note in self.notes if note.startswith("Replay:"))

    def frames(self, *, far: bool = False) -> Iterator[RecordedFrame]:
        """The packets of protocol 112, in the order of the capture.

        ``far`` reads the second capture, from behind a cut. Raises `DecodeError` for a capture
        that cannot be read to its end.
        """
        path = self.pcap_far if far and self.pcap_far is not None else self.pcap
        waiting = [event for event in self.events if event.kind == "inject"]
        senders = {
            address: node.name
            for node in self.nodes.values()
            for address in node.advertises_from.values()
        }
        t0 = round(self.t0 * 1_000_000_000)
        try:
            yield from self._frames(path, t0, waiting, senders)
        except DecodeError as error:
            raise DecodeError(error.reason, error.offset, f"{path.name}: {error.text}") from None

    def check_time(self, t: float, what: str) -> None:
        """Raise `DecodeError` for what happened neither in the recording nor near it."""
        if not -_AROUND <= t <= self.duration + _AROUND:
            raise _malformed(
                f"{what} is at t = {t:.6f}, but the recording lasts from 0 to {self.duration} s: "
                "t0, the duration or the capture is another's"
            )

    def _frames(
        self, path: Path, t0: int, waiting: list[RecordedEvent], senders: dict[Address, str]
    ) -> Iterator[RecordedFrame]:
        with open_capture(path) as capture:
            for record in capture:
                try:
                    packet = peel_record(record)
                except DecodeError:
                    continue  # a broken frame is nobody's advertisement
                if packet is None:
                    continue
                t = (record.nanoseconds - t0) / 1e9
                self.check_time(t, f"frame {record.number}")
                injected = _take_injected(waiting, record.data, t)
                sender = None if injected else senders.get(packet.source)
                ethernet = peel_ethernet(record.data)
                yield RecordedFrame(t, record.number, ethernet, packet, sender, injected)
            if capture.warning is not None:
                raise DecodeError(Reason.TRUNCATED, 0, capture.warning)


def _take_injected(waiting: list[RecordedEvent], frame: bytes, t: float) -> RecordedEvent | None:
    """The event that injected this frame: the first with these bytes, shortly before."""
    for event in waiting:
        if event.t - _INJECTED_WITHIN > t:
            break
        if bytes.fromhex(event.values["frame"]) == frame and t <= event.t + _INJECTED_WITHIN:
            waiting.remove(event)
            return event
    return None


def load(path: str | PathLike[str]) -> Recording:
    """Read a recording's JSON.

    Raises `OSError` when the file cannot be read, and `DecodeError` (``malformed``) when it is
    no recording or lacks what a replay needs, saying which.
    """
    where = Path(path)
    with where.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise _malformed(f"{where} is no recording: it has more than {_LARGEST} bytes")
    try:
        content = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{where} is not JSON: {error}") from None
    try:
        return _recording(where, content)
    except CarpError:
        raise
    except KeyError as error:
        raise _malformed(f"{where} has no {error.args[0]!r} where a recording has one") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise _malformed(f"{where} is not laid out as a recording: {error}") from None


def _malformed(text: str) -> DecodeError:
    return DecodeError(Reason.MALFORMED, 0, text)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} stands where a text is expected")
    return value


def _whole(value: Any, low: int = -(1 << 31), high: int = 1 << 31) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise TypeError(f"{value!r} stands where a whole number, {low} to {high}, is expected")
    return int(value)


def _seconds(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e11:
        raise TypeError(f"{value!r} stands where a number of seconds is expected")
    return float(value)


def _recording(path: Path, parsed: Any) -> Recording:
    content = cast(dict[str, Any], parsed) if isinstance(parsed, dict) else {}
    if content.get("recording") != SCHEMA:
        found = content.get("recording")
        raise _malformed(
            f"{path} is no recording of schema {SCHEMA}: its 'recording' is {found!r}"
        )
    implementation = _text(content["implementation"])
    nodes = {
        name: RecordedNode(
            name,
            _text(node["interface"]),
            _text(node["mac"]),
            {
                _whole(int(family), 4, 6): parse_address(address)
                for family, address in node.get("advertises_from", {}).items()
            },
            None if node.get("vlan") is None else _whole(node["vlan"], 0, 4095),
            _text(node.get("implementation", implementation)),
            {
                other: _text(described["mac"])
                for other, described in node.get("other_interfaces", {}).items()
            },
        )
        for name, node in content["nodes"].items()
    }
    far: dict[str, Any] | None = content.get("pcap_far")
    for name in ("events", "transitions"):
        if not isinstance(content[name], list):
            raise TypeError(f"{name} is no list")
    if not nodes:
        raise ValueError("it has no nodes")
    duration = _seconds(content["duration"])
    if not 0 < duration <= _LONGEST:
        raise ValueError(f"duration {duration} s is out of range, 0 to {_LONGEST:.0f}")
    counters: dict[str, dict[str, int]] = content.get("counters") or {}
    heard: dict[str, list[float]] = content.get("heard") or {}
    polled = content.get("polled_every")
    recording = Recording(
        path=path,
        name=_text(content["name"]),
        description=_text(content.get("description", "")),
        profile=_text(content["profile"]),
        notes=tuple(_text(note) for note in content.get("notes", ())),
        pcap=_beside(path, content["pcap"]),
        pcap_far=None if far is None else _beside(path, far["file"]),
        far_nodes=() if far is None else tuple(_known_node(path, nodes, n) for n in far["nodes"]),
        t0=_seconds(content["t0"]),
        duration=duration,
        polled_every=None if polled is None else _seconds(polled),
        nodes=nodes,
        events=tuple(_event(path, nodes, event) for event in content["events"]),
        transitions=tuple(
            RecordedTransition(
                _seconds(entry["t"]),
                _known_node(path, nodes, entry["node"]),
                _whole(entry["vhid"], 0, 255),
                _text(entry["from"]),
                _text(entry["to"]),
                None if entry["reason"] is None else _text(entry["reason"]),
            )
            for entry in content["transitions"]
        ),
        counters={
            name: {counter: _whole(value, 0, 1 << 64) for counter, value in values.items()}
            for name, values in counters.items()
        },
        heard={name: tuple(_seconds(t) for t in times) for name, times in heard.items()},
    )
    for event in recording.events:
        recording.check_time(event.t, f"{path}: the event {event.kind!r}")
    for seen in recording.transitions:
        recording.check_time(seen.t, f"{path}: a transition")
    return recording


def _beside(path: Path, name: Any) -> Path:
    if not isinstance(name, str) or not name.isprintable() or Path(name).name != name:
        raise _malformed(f"{path} names the capture {name!r}; it is a file name beside it")
    return path.parent / name


def _known_node(path: Path, nodes: dict[str, RecordedNode], name: Any) -> str:
    if not isinstance(name, str) or name not in nodes:
        raise _malformed(f"{path} speaks of node {name!r}; it has {', '.join(nodes)}")
    return name


def _event(path: Path, nodes: dict[str, RecordedNode], entry: dict[str, Any]) -> RecordedEvent:
    values = dict(entry)
    t, kind, node = _seconds(values.pop("t")), _text(values.pop("event")), values.pop("node")
    if kind not in _KNOWN_EVENTS:
        raise _malformed(
            f"{path} has an event {kind!r} at t = {t}; schema {SCHEMA} has "
            f"{', '.join(_KNOWN_EVENTS)}"
        )
    for name, expected in _KNOWN_EVENTS[kind].items():
        if not isinstance(values.get(name), expected):
            found = "another value" if name == "key" else repr(values.get(name))
            raise _malformed(
                f"{path}: the event {kind!r} at t = {t} has {name} = {found}; "
                f"it is of type {expected.__name__}"
            )
    if values.get("vhid") is not None:
        _whole(values["vhid"], 0, 255)
    if "interface" in values:
        _text(values["interface"])
    if kind == "setting" and values["name"] in _NUMBERS:
        _whole(values.get("value"))
    if kind == "setting" and values["name"].endswith("_seconds"):
        _seconds(values.get("value"))
    if kind == "state_requested" and values["state"] not in ("MASTER", "BACKUP"):
        raise ValueError(f"{values['state']!r} cannot be requested; MASTER and BACKUP can")
    for name in ("key", "frame"):
        if name in values:
            bytes.fromhex(_text(values[name]))
    who = None if kind == "inject" else _known_node(path, nodes, node)
    return RecordedEvent(t, who, kind, values)
