"""The coverage-guided fuzz targets: bytes in, an exception out where something is wrong.

Each is a plain function of bytes, so that tests run it on the seed corpus without a fuzzer.
`fuzz_decode.py` and the others beside this file hand one each to atheris.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

from carpproto.capture.link import payload_of, peel_record
from carpproto.capture.packets import packets
from carpproto.capture.reader import open_capture
from carpproto.core.addresses import GROUPS, parse_address
from carpproto.core.advertisement import LENGTH, decode, encode, pseudo_header
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import DecodeError
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    DatagramReceived,
    DemotionAdjusted,
    Event,
    InterfaceChanged,
    LinkChanged,
    Reconfigured,
    SendFailed,
    SendSucceeded,
    SettingChanged,
    Shutdown,
    State,
    StateRequested,
    TimerExpired,
)
from carpproto.core.node import Node
from carpproto.core.profile import FREEBSD, NETBSD, OPENBSD, UCARP, Profile
from carpproto.testing.fuzzing import CONFIG, check_frame

PROFILES = (FREEBSD, NETBSD, OPENBSD, UCARP)
_COVERED = pseudo_header(parse_address("fe80::1"), GROUPS[6])
_AUTHENTICATOR = CONFIG.authenticator(FREEBSD)
_SPARE = ("192.168.1.60", "2001:db8::60")
_SETTINGS = ("allow", "preempt", "dscp")
_PEERS = {0: ("198.18.0.2", "224.0.0.18"), 1: ("fe80::2", "ff02::12")}


def decode_target(data: bytes) -> None:
    """An IP payload: what `decode` takes comes back from `encode`; verifying it raises nothing."""
    for covered in (b"", _COVERED):
        try:
            advertisement = decode(data, pseudo_header=covered)
        except DecodeError as error:
            assert 0 <= error.offset <= len(data) + len(covered), error
            continue
        assert encode(advertisement) == data[:LENGTH]
        _AUTHENTICATOR.verify(advertisement)


def frames_target(data: bytes) -> None:
    """An Ethernet frame, by all that `carpproto.testing.fuzzing.check_frame` looks at."""
    finding = check_frame(data)
    assert finding is None, finding


def files_target(data: bytes) -> None:
    """A capture file: records come in order, out of the file, and what is in them is peeled."""
    records = []
    try:
        for record in open_capture(io.BytesIO(data)):
            records.append(record)  # noqa: PERF402 - they count although an error may follow
    except DecodeError as error:
        assert 0 <= error.offset <= len(data), error
    for number, record in enumerate(records, 1):
        assert record.number == number
        assert record.data in data
        try:
            found = peel_record(record)
        except DecodeError:
            continue
        assert payload_of(record) == (None if found is None else found.payload)
        list(packets([record]))


def events_target(data: bytes) -> None:
    """What happens to a node, one event after the other: see `events_of` for the format.

    A node takes each; a timer that went off is armed for later; who is MASTER says so.
    """
    profile = PROFILES[data[0] % len(PROFILES)] if data else FREEBSD
    node = make_node(profile)
    now = 0.0
    for after, event in events_of(data[1:], profile):
        now += after
        actions = node.handle(event, now)
        assert isinstance(actions, tuple)
        if isinstance(event, TimerExpired):
            assert node.deadline is None or node.deadline > now
        for host in node.virtual_hosts("em0"):
            assert isinstance(host.state, State)
            if host.state is State.INIT:
                assert host.deadline is None
    node.describe()


def make_node(profile: Profile) -> Node:
    """A node of a profile with the group that the frames are of, and its interface up."""
    config: VirtualHostConfig = CONFIG
    if profile.single_address:
        config = config.replace(addresses=config.addresses[:1])
    node = Node(profile=profile, counter=1)
    node.add_interface("em0", mac="52:54:00:00:00:01", addresses=["198.18.0.1", "fe80::1"])
    node.add_virtual_host("em0", config)
    node.handle(InterfaceChanged("em0", True), 0.0)
    return node


def events_of(data: bytes, profile: Profile) -> Iterator[tuple[float, Event]]:
    """Events and the seconds before each: a byte for the kind, one for 1/16 s, one for a value.

    A datagram has a fourth byte, its length, and so many bytes of payload; a value that is odd
    makes it an IPv6 one, and one of 128 or more makes its HMAC and checksum right.
    """
    position = 0
    vhid = CONFIG.vhid
    while position + 3 <= len(data):
        kind, ticks, value = data[position : position + 3]
        position += 3
        after = ticks / 16
        event: Event
        match kind % 14:
            case 0 | 1 | 2:
                length = data[position] if position < len(data) else 0
                payload = data[position + 1 : position + 1 + length]
                position += 1 + length
                yield after, _datagram(payload, value)
                continue
            case 3 | 4:
                event = TimerExpired()
            case 5:
                event = InterfaceChanged("em0", bool(value & 1), vhid if value & 2 else None)
            case 6:
                event = LinkChanged("em0", bool(value & 1), vhid if value & 2 else None)
            case 7:
                event = SendSucceeded("em0", vhid)
            case 8:
                event = SendFailed("em0", vhid, value)
            case 9:
                name = _SETTINGS[value % len(_SETTINGS)]
                event = SettingChanged(name, value >> 2 if name == "dscp" else value >> 7)
            case 10:
                event = DemotionAdjusted((value - 128) * 2)
            case 11:
                event = Reconfigured("em0", vhid, advbase=max(value, 1), advskew=None)
                if value & 1:
                    event = Reconfigured("em0", vhid, advskew=min(value, 254))
                elif profile.advbase_maximum < value:
                    event = TimerExpired()
            case 12:
                state = State.MASTER if value & 1 else State.BACKUP
                event = StateRequested("em0", vhid, state, float(value >> 4))
            case _:
                if value == 255:
                    event = Shutdown(bool(ticks & 1))
                elif profile.single_address:
                    event = TimerExpired()
                elif value & 1:
                    event = AddressAdded("em0", _SPARE[value >> 1 & 1], vhid)
                else:
                    event = AddressRemoved("em0", _SPARE[value >> 1 & 1], vhid)
        yield after, event


def _datagram(payload: bytes, value: int) -> DatagramReceived:
    if value >= 128 and len(payload) >= LENGTH:
        counter = int.from_bytes(payload[8:16], "big")
        payload = payload[:16] + _AUTHENTICATOR.digest(counter) + payload[LENGTH:]
        covered = payload[:6] + b"\0\0" + payload[8:LENGTH]
        checksum = -int.from_bytes(covered, "big") % 0xFFFF
        payload = payload[:6] + checksum.to_bytes(2, "big") + payload[8:]
    source, destination = _PEERS[value & 1]
    return DatagramReceived("em0", source, destination, 255, payload)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "decode": decode_target,
    "frames": frames_target,
    "files": files_target,
    "events": events_target,
}
"""Name -> target; ``fuzz_NAME.py`` runs it."""
