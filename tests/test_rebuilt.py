"""Every advertisement that a recorded node sent, made again from what the node was told.

Nothing of a recorded frame goes into its copy but the vhid and the family, which say what it
is an advertisement of, the counter, and the IPv4 id where the system draws it at random. All
else follows from the node's configuration at that moment and from its system's profile, by
way of a `VirtualHost` that is MASTER; and the copy is the recorded frame, byte for byte.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any, NamedTuple

import pytest

from carpproto import (
    Authenticator,
    DecodeError,
    InterfaceChanged,
    Profile,
    Reason,
    SendAdvertisement,
    VirtualHost,
    VirtualHostConfig,
    decode,
    encode,
)
from carpproto.capture.recording import RecordedEvent, RecordedFrame, RecordedNode, Recording, load
from carpproto.capture.replay import profile_of
from carpproto.core.addresses import parse_mac
from carpproto.core.advertisement import pseudo_header
from carpproto.core.events import DemotionAdjusted, SettingChanged, TimerExpired
from carpproto.core.frame import ETHERTYPE_IPV4, build, peel_ethernet
from carpproto.core.profile import Identification
from tests.helpers import RECORDINGS, carries_carp, recorded

FOLDERS = ["freebsd", "netbsd", "ucarp"]
BROADCAST = "ff:ff:ff:ff:ff:ff"

LISTED = {
    f"{folder}/{entry['name']}": entry["adverts"]
    for folder in FOLDERS
    for entry in json.loads((RECORDINGS / folder / "INDEX.json").read_text())
}
"""How many frames of protocol 112 the capture beside a recording shows, by INDEX.json."""

LABORATORY = {
    "freebsd/injected": 30,
    "freebsd/injected-10-4": 30,
    "ucarp/inject-backup-nopreempt": 9,
    "ucarp/inject-burst": 200,  # one after the other, and not among the events
    "ucarp/inject-going-to-time-out": 1,
    "ucarp/inject-latency": 12,
    "ucarp/inject-malformed": 30,
    "ucarp/inject-master-worse-equal": 3,
    "ucarp/inject-replay": 11,
}
"""How many of those no node sent. What has fewer than 36 bytes is not among them: see `CUT`."""

CUT = {"freebsd/injected": 1, "freebsd/injected-10-4": 1, "ucarp/inject-malformed": 3}
"""How many the laboratory sent besides that are too short to be listed."""

BEHIND_THE_CUT = {
    "freebsd/split-equal": 9,
    "freebsd/split-equal-10-4": 9,
    "ucarp/splitbrain-equal-trunk": 5,
    "ucarp/tiebreak-octets": 3,
}
"""How many only the second capture shows, from the side of a node that was cut off."""

FORK = "ucarp/fork-v6"
STALE = ("netbsd/stale-hmac-79929", "netbsd/stale-hmac-79934")
ARTEFACTS = (FORK, *STALE)


class Told:
    """What a node was told since it booted."""

    def __init__(self, node: RecordedNode, profile: Profile, addresses: list[Any]) -> None:
        self.node = node
        self.profile = profile
        self.addresses = addresses
        self.settings: dict[str, Any] = {}
        self.groups: dict[int, dict[str, Any]] = {}
        self.demotion = 0
        self.taken_down: set[int] = set()

    def tell(self, event: RecordedEvent) -> None:
        values = event.values
        vhid = values.get("vhid")
        if event.kind == "setting":
            self.settings[values["name"]] = values.get("value")
            if values["name"] == "demotion":
                self.demotion = values["value"]
        elif event.kind == "virtual_host":
            group = self.groups.setdefault(vhid, {"addresses": []})
            group |= {name: values[name] for name in ("advbase", "advskew")}
            group["key"] = bytes.fromhex(values["key"])
        elif event.kind == "address_added" and vhid is not None:
            self.groups[vhid]["addresses"].append(values["address"])
        elif event.kind == "address_removed" and vhid is not None:
            self.groups[vhid]["addresses"].remove(values["address"])
        elif event.kind == "address_added" and "interface" not in values:
            self.addresses.append(values["address"])
        elif event.kind == "interface" and vhid is not None:
            # NetBSD's carp interface of a vhid.
            (self.taken_down.discard if values["up"] else self.taken_down.add)(vhid)
        elif event.kind == "interface" and values.get("interface") in self.node.other_interfaces:
            # NetBSD: 240 while the parent of any carp interface is down.
            self.demotion = 0 if values["up"] else 240
        elif event.kind == "sending" and values["fails"]:
            # UCarp: 240 after three errors. The one it demoted did not send three more.
            self.demotion = 240

    def config(self, vhid: int) -> VirtualHostConfig:
        peer = self.settings.get("multicast_address")
        return VirtualHostConfig(vhid=vhid, peer=peer, **self.groups[vhid])


class Sent(NamedTuple):
    """An advertisement, its sender as it was told to be, and the sender's packets so far.

    ``packet`` is 1 for the first IPv4 packet that the capture shows of its sender.
    """

    frame: RecordedFrame
    told: Told
    packet: int

    @property
    def config(self) -> VirtualHostConfig:
        return self.told.config(self.frame.packet.payload[1])

    @property
    def pseudo_header(self) -> bytes:
        packet = self.frame.packet
        if self.told.profile.pseudo_header and packet.family == 6:
            return pseudo_header(packet.source, packet.destination)
        return b""


def at_boot(recording: Recording, node: RecordedNode) -> list[Any]:
    """The addresses of its own that a node has before it is told of any."""
    if recording.profile == "ucarp":
        return list(node.advertises_from.values())  # --srcip
    if recording.profile == "netbsd":
        return []
    # FreeBSD makes a link-local address of the MAC (RFC 4291, appendix A).
    octets = parse_mac(node.mac)
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return [IPv6Address(b"\xfe\x80" + bytes(6) + identifier)]


def packets(name: str, recording: Recording, frames: list[RecordedFrame]) -> dict[int, int]:
    """For each frame of a capture, by its number, the how-many-eth IPv4 packet of its sender."""
    senders = {frame.number: frame.sender for frame in frames}
    macs = {node.mac: node.name for node in recording.nodes.values()}
    sent: Counter[str] = Counter()
    found: dict[int, int] = {}
    for number, frame in enumerate(recorded(name), 1):
        ethernet = peel_ethernet(frame)
        sender = senders.get(number, macs.get(ethernet.source))
        if sender and ethernet.ethertype == ETHERTYPE_IPV4:
            sent[sender] += 1
            found[number] = sent[sender]
    return found


def sent(name: str) -> Iterator[Sent]:
    """What the nodes of a recording sent, each from the capture that shows all that it sent."""
    recording = load(RECORDINGS / f"{name}.json")
    steps: list[Any] = [(event.t, 0, event, 0) for event in recording.events if event.node]
    for far in (False, True) if recording.pcap_far else (False,):
        frames = list(recording.frames(far=far))
        numbers = packets(f"{name}.far" if far else name, recording, frames)
        steps += [
            (frame.t, 1, frame, numbers.get(frame.number, 0))
            for frame in frames
            if frame.sender and (frame.sender in recording.far_nodes) is far
        ]
    told: dict[str, Told] = {}
    # A command acts some milliseconds after it was given: see the README beside the captures.
    for _, is_frame, step, number in sorted(steps, key=lambda step: step[:2]):
        if is_frame:
            yield Sent(step, told[step.sender], number)
        elif step.kind == "boot":
            node = recording.nodes[step.node]
            addresses = at_boot(recording, node)
            told[step.node] = Told(node, profile_of(recording, node), addresses)
        elif step.node in told:
            told[step.node].tell(step)


def authenticator(sent: Sent, addresses: list[str] | None = None) -> Authenticator:
    """What verifies for the group of an advertisement, as it was configured at that moment."""
    vhid = sent.frame.packet.payload[1]
    group = sent.told.groups[vhid]
    return Authenticator(
        vhid=vhid,
        key=group["key"],
        addresses=group["addresses"] if addresses is None else addresses,
        profile=sent.told.profile,
    )


def advertised(sent: Sent, addresses: list[str] | None = None) -> SendAdvertisement:
    """What a virtual host in the sender's place puts on the wire."""
    told, config, family = sent.told, sent.config, sent.frame.packet.family
    interface = told.node.interface
    counter = int.from_bytes(sent.frame.packet.payload[8:16], "big")
    host = VirtualHost(
        config if addresses is None else config.replace(addresses=addresses),
        profile=told.profile,
        interface=interface,
        mac=told.node.mac,
        addresses=told.addresses,
        counter=lambda: counter,
    )
    host.handle(SettingChanged("dscp", told.settings.get("dscp", 56)), 0.0)
    host.handle(DemotionAdjusted(told.demotion), 0.0)
    host.handle(InterfaceChanged(interface, True), 0.0)
    actions = host.handle(TimerExpired(), host.deadline)
    if config.vhid in told.taken_down:
        actions = host.handle(InterfaceChanged(interface, False, config.vhid), host.deadline)
    (action,) = (
        action
        for action in actions
        if isinstance(action, SendAdvertisement) and action.family == family
    )
    return action


def frame_of(
    sent: Sent,
    action: SendAdvertisement,
    *,
    checksum: int | None = None,
    destination_mac: str | None = None,
) -> bytes:
    """An advertisement in its IP packet and Ethernet frame."""
    told = sent.told
    advertisement = action.advertisement
    if checksum is not None:
        advertisement = advertisement._replace(checksum=checksum)
    if told.settings.get("no_multicast"):
        destination_mac = BROADCAST
    identification = {
        Identification.ZERO: 0,
        Identification.COUNTING: sent.packet,
        Identification.RANDOM: sent.frame.packet.identification,
    }[told.profile.identification]
    return build(
        encode(advertisement),
        source=action.source,
        destination=action.destination,
        source_mac=action.source_mac,
        destination_mac=destination_mac,
        traffic_class=action.traffic_class,
        identification=identification,
        tags=() if told.node.vlan is None else (told.node.vlan,),
    )


def made_again(name: str) -> int:
    """Make every advertisement of a recording again; how many there were."""
    count = 0
    for one in sent(name):
        count += 1
        where = f"{name}, frame {one.frame.number}"
        advertisement = decode(one.frame.packet.payload, pseudo_header=one.pseudo_header)
        assert authenticator(one).verify(advertisement), where
        assert frame_of(one, advertised(one)) == one.frame.packet.frame, where
    return count


# -- what the recordings hold -----------------------------------------------------------


def test_there_are_as_many_recordings_as_the_indexes_list() -> None:
    found = [
        f"{folder}/{path.stem}"
        for folder in FOLDERS
        for path in (RECORDINGS / folder).glob("*.json")
        if path.name != "INDEX.json"
    ]
    assert sorted(found) == sorted(LISTED)
    assert len(found) == 33 + 22 + 49


@pytest.mark.parametrize("name", LISTED)
def test_each_listed_frame_is_a_nodes_or_the_laboratorys(name: str) -> None:
    shown = sum(carries_carp(frame) for frame in recorded(name))
    assert shown == LISTED[name] + CUT.get(name, 0)
    recording = load(RECORDINGS / f"{name}.json")
    own = sum(frame.sender is not None for frame in recording.frames())
    injected = sum(event.kind == "inject" for event in recording.events)
    if name == "ucarp/inject-burst":
        injected = 200
    assert injected == LABORATORY.get(name, 0) + CUT.get(name, 0)
    assert shown == own + injected


@pytest.mark.parametrize("name", BEHIND_THE_CUT)
def test_what_crosses_to_the_other_side_is_the_same_there(name: str) -> None:
    recording = load(RECORDINGS / f"{name}.json")
    near = {frame.packet.frame: frame.sender for frame in recording.frames()}
    far = {frame.packet.frame: frame.sender for frame in recording.frames(far=True)}
    (node,) = recording.far_nodes
    hidden = {frame for frame, sender in far.items() if sender == node} - set(near)
    assert len(hidden) == BEHIND_THE_CUT[name]
    assert set(far) - set(near) == hidden
    assert all(sender != node for frame, sender in near.items() if frame not in far)


# -- every advertisement ----------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in LISTED if name not in ARTEFACTS])
def test_every_advertisement_is_authentic_and_made_again_byte_for_byte(name: str) -> None:
    own = LISTED[name] - LABORATORY.get(name, 0) + BEHIND_THE_CUT.get(name, 0)
    assert made_again(name) == own


@pytest.mark.parametrize(
    ("folder", "listed", "laboratory", "behind", "artefacts", "again"),
    [
        ("freebsd", 659, 60, 18, 0, 617),
        ("netbsd", 326, 0, 0, 34, 292),
        ("ucarp", 1359, 266, 8, 33, 1068),
    ],
)
def test_none_is_left_out(
    folder: str, listed: int, laboratory: int, behind: int, artefacts: int, again: int
) -> None:
    names = [name for name in LISTED if name.startswith(folder)]
    assert sum(LISTED[name] for name in names) == listed
    assert sum(LABORATORY.get(name, 0) for name in names) == laboratory
    assert sum(BEHIND_THE_CUT.get(name, 0) for name in names) == behind
    assert sum(LISTED[name] for name in names if name in ARTEFACTS) == artefacts
    assert sum(1 for name in names for _ in sent(name)) == again + artefacts
    assert again == listed - laboratory + behind - artefacts


def test_what_else_than_the_configured_numbers_was_advertised() -> None:
    """Demoted ones, and NetBSD's farewell: as many as are known, and no more."""
    found: Counter[tuple[str, int, int]] = Counter()
    for name in LISTED:
        for one in sent(name):
            payload = one.frame.packet.payload
            advskew, advbase = payload[2], payload[5]
            if (advbase, advskew) != (one.config.advbase, one.config.advskew):
                found[name, advbase, advskew] += 1
    assert found == {
        ("freebsd/demotion-preempt1", 1, 50): 5,
        ("freebsd/demotion-preempt1", 1, 150): 1,
        ("freebsd/demotion-preempt1", 1, 240): 6,
        ("netbsd/demotion-skew240", 1, 240): 1,
        ("netbsd/failover-ipv6-preempt1-v6out", 255, 255): 1,
        ("netbsd/graceful-down-bow-out", 255, 255): 1,
        ("ucarp/send-errors-tc", 1, 240): 1,
    }


def test_what_else_than_the_group_they_were_sent_to() -> None:
    """To another group with ``--mcastip``, to the broadcast address with ``--nomcast``."""
    found: Counter[tuple[str, str, str]] = Counter()
    for name in LISTED:
        for one in sent(name):
            group = str(one.frame.packet.destination)
            mac = one.frame.ethernet.destination
            if (group, mac) not in (
                ("224.0.0.18", "01:00:5e:00:00:12"),
                ("ff02::12", "33:33:00:00:00:12"),
            ):
                found[name, group, mac] += 1
    assert found == {
        ("ucarp/mcastip", "239.192.0.77", "01:00:5e:40:00:4d"): 5,
        ("ucarp/nomcast", "224.0.0.18", BROADCAST): 8,
        ("ucarp/srcip-unassigned", "224.0.0.18", BROADCAST): 4,
        (FORK, "ff02::12", "01:00:5e:00:01:02"): 33,
    }


# -- artefacts: as they are -------------------------------------------------------------


def test_the_forks_ipv6_advertisements_lack_a_checksum_and_go_astray() -> None:
    """Their checksum is 0 and their Ethernet destination no group's; all else is as UCarp's."""
    count = 0
    for one in sent(FORK):
        count += 1
        payload = one.frame.packet.payload
        with pytest.raises(DecodeError, match="checksum 0x0000") as caught:
            decode(payload)
        assert caught.value.reason is Reason.BADSUM

        action = advertised(one)
        right = encode(action.advertisement)
        assert payload == right[:6] + bytes(2) + right[8:]
        assert authenticator(one).verify(decode(right))
        assert frame_of(one, action) != one.frame.packet.frame
        assert (
            frame_of(one, action, checksum=0, destination_mac="01:00:5e:00:01:02")
            == one.frame.packet.frame
        )
    assert count == LISTED[FORK] == 33


TWO = ["192.0.2.200", "192.0.2.100"]
THREE = [*TWO, "192.0.2.5"]
OTHER_THREE = [*TWO, "192.0.2.6"]

# The addresses that were hashed, and those that were configured; how many advertisements.
HASHED = {
    # 7.99.29: an address that is removed (at 6.5 s) is hashed until the query (11.1 s).
    STALE[0]: [
        (THREE, THREE, 4),
        (THREE, TWO, 5),
        (TWO, TWO, 3),
        (OTHER_THREE, OTHER_THREE, 5),
    ],
    # 7.99.34: adding or removing one hashes them as they were before; so .5 is missing until it
    # is removed, then there until the query (11.1 s), and .6 is missing until the next (19.1 s).
    STALE[1]: [
        (TWO, THREE, 4),
        (THREE, TWO, 4),
        (TWO, TWO, 4),
        (TWO, OTHER_THREE, 1),
        (OTHER_THREE, OTHER_THREE, 4),
    ],
}


@pytest.mark.parametrize(("name", "stale"), [(STALE[0], 5), (STALE[1], 9)])
def test_netbsd_hashes_the_addresses_as_they_were_at_the_last_ioctl(name: str, stale: int) -> None:
    phases = [
        (hashed, configured) for hashed, configured, count in HASHED[name] for _ in range(count)
    ]
    found = 0
    for one, (hashed, configured) in zip(sent(name), phases, strict=True):
        where = f"{name}, frame {one.frame.number}"
        assert one.config.addresses == VirtualHostConfig(vhid=1, addresses=configured).addresses
        advertisement = decode(one.frame.packet.payload)
        assert authenticator(one, hashed).verify(advertisement), where
        assert frame_of(one, advertised(one, hashed)) == one.frame.packet.frame, where
        if hashed != configured:
            found += 1
            assert not authenticator(one).verify(advertisement), where
            ours = frame_of(one, advertised(one))
            # What differs is the header checksum and the digest, nothing else.
            assert ours[:40] == one.frame.packet.frame[:40]
            assert ours[42:50] == one.frame.packet.frame[42:50]
            assert ours[50:] != one.frame.packet.frame[50:]
    assert len(phases) == LISTED[name] == 17
    assert found == stale


def test_netbsd_1_120_alone_sums_the_pseudo_header() -> None:
    """FreeBSD, OpenBSD and older NetBSDs drop its IPv6 advertisements: badsum."""
    refused = 0
    for one in sent("netbsd/dual-stack-bp1120"):
        if one.frame.packet.family == 6:
            with pytest.raises(DecodeError) as caught:
                decode(one.frame.packet.payload)
            assert caught.value.reason is Reason.BADSUM
            refused += 1
    assert refused == 11


# -- nothing else is authentic ----------------------------------------------------------


@pytest.mark.parametrize("name", ["single-v4", "dual", "v6only", "many-vhids", "rawkey20"])
def test_with_one_bit_flipped_no_advertisement_is_authentic(name: str) -> None:
    one = next(sent(f"freebsd/{name}"))
    advertisement, ours = decode(one.frame.packet.payload), authenticator(one)
    vhid, profile = ours.vhid, one.told.profile
    key = one.told.groups[vhid]["key"]
    assert ours.verify(advertisement)
    for bit in range(8):
        assert not ours.verify(advertisement._replace(vhid=advertisement.vhid ^ 1 << bit))
    for bit in range(64):
        counter = advertisement.counter ^ 1 << bit
        assert not ours.verify(advertisement._replace(counter=counter))
    for bit in range(160):
        flipped = int.from_bytes(advertisement.digest, "big") ^ 1 << bit
        digest = flipped.to_bytes(20, "big")
        assert not ours.verify(advertisement._replace(digest=digest))
    for bit in range(160):
        other_key = (int.from_bytes(key, "big") ^ 1 << bit).to_bytes(20, "big")
        other = Authenticator(vhid=vhid, key=other_key, addresses=ours.addresses, profile=profile)
        assert not other.verify(advertisement)
    for position, address in enumerate(ours.addresses):
        for bit in range(address.max_prefixlen):
            if address.is_link_local and 96 <= bit < 112:
                continue  # the scope, which is not hashed
            addresses = list(ours.addresses)
            addresses[position] = type(address)(int(address) ^ 1 << bit)
            other = Authenticator(vhid=vhid, key=key, addresses=addresses, profile=profile)
            assert not other.verify(advertisement)
