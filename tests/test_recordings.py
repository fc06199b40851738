"""The library beside the recordings of real systems: authenticity, bytes, counters."""

from __future__ import annotations

import json

import pytest

from carpproto import (
    FREEBSD,
    Authenticator,
    DatagramReceived,
    DecodeError,
    InterfaceChanged,
    Node,
    VirtualHostConfig,
    decode,
    encode,
)
from carpproto.capture.recording import Recording, load
from carpproto.capture.replay import replay
from tests.helpers import RECORDINGS

FREEBSD_RECORDINGS = sorted(
    path for path in (RECORDINGS / "freebsd").glob("*.json") if path.name != "INDEX.json"
)

# What does not replay exactly, and why. Everything else has to.
ARTEFACTS = {
    # The virtual NIC kept a frame while its interface was down and delivered it afterwards.
    "if-down": (7, "nothing", "preempting a slower master"),
    # Leaving the multicast group took effect late: one more frame counted (badvhid).
    "vip-removed": (2, "badvhid = 0", "badvhid = 1"),
    # The one timer of 868 later than 7 % and 30 ms: 102 ms on 1 s.
    "single-v4-10-4": (1, "a timer of 1.000000 s", "0.101950 s late"),
}


NETBSD_RECORDINGS = sorted(
    path for path in (RECORDINGS / "netbsd").glob("*.json") if path.name != "INDEX.json"
)

# What of NetBSD's does not replay exactly: how many disagreements, and what all are about.
NETBSD_ARTEFACTS = {
    # The unmodified kernel of 2016 makes IPv6 advertisements but cannot send them.
    "dual-stack-linklocal-stock": (11, "an advertisement of vhid 1 IPv6"),
    "dual-stack-stock": (11, "an advertisement of vhid 1 IPv6"),
    "ipv6-only-stock": (11, "an advertisement of vhid 1 IPv6"),
    # The HMAC covers the addresses as they were when something last asked the interface.
    "stale-hmac-79929": (5, "70 bytes, from byte 40 on"),
    "stale-hmac-79934": (9, "70 bytes, from byte 40 on"),
}


UCARP_RECORDINGS = sorted(
    path for path in (RECORDINGS / "ucarp").glob("*.json") if path.name != "INDEX.json"
)

# What of UCarp's does not replay exactly, and the first disagreement.
UCARP_ARTEFACTS = {
    # An advertisement each 3 ms, a few of them up to 1 ms early.
    "advbase0-skew1": "predicted nothing, recorded frame",
    # The fork's IPv6 advertisements carry the checksum 0.
    "fork-v6": "vhid 2 IPv6 advbase 1 advskew 0, recorded nothing",
    # It was killed while it wrote its last line.
    "inject-latency": "recorded vhid 1 MASTER -> BACKUP (None)",
    # It reads raw frames, and takes a fragment for a packet.
    "inject-malformed": "recorded frame 92",
    # Killed while its up script ran, it still sends two advertisements when that ends.
    "term-during-upscript": "an advertisement of vhid 1 IPv4 advbase 1 advskew 0",
    # Each signal restarts the wait after which it looks at its timer.
    "usr1-starves-failover": "a timer of 3.000000 s armed at t = 0.418759",
}


def recordings() -> list[Recording]:
    return [load(path) for path in FREEBSD_RECORDINGS]


def test_there_are_as_many_recordings_as_the_index_lists() -> None:
    index = json.loads((RECORDINGS / "freebsd" / "INDEX.json").read_text())
    assert sorted(path.stem for path in FREEBSD_RECORDINGS) == sorted(e["name"] for e in index)


class Group:
    """A virtual host's key and addresses as they change in the course of a recording."""

    def __init__(self) -> None:
        self.key = bytes(20)
        self.addresses: list[str] = []

    def authenticator(self, vhid: int) -> Authenticator:
        return Authenticator(vhid=vhid, key=self.key, addresses=self.addresses, profile=FREEBSD)


def sent(recording: Recording):
    """Each advertisement that a node sent, with its configuration at that moment."""
    frames = list(recording.frames())
    if recording.pcap_far:
        # The near side does not show what those behind the cut send.
        frames = [frame for frame in frames if frame.sender not in recording.far_nodes]
        far = recording.frames(far=True)
        frames += [frame for frame in far if frame.sender in recording.far_nodes]
    steps = [(event.t, 0, event) for event in recording.events]
    # A command acts some milliseconds after it was given: see the README beside the captures.
    steps += [(frame.t, 1, frame) for frame in frames if frame.sender]
    groups: dict[tuple[str, int], Group] = {}
    for _, is_frame, step in sorted(steps, key=lambda step: step[:2]):
        if is_frame:
            vhid = step.packet.payload[1]
            yield step, groups[step.sender, vhid].authenticator(vhid)
        elif step.kind == "boot":
            groups = {key: group for key, group in groups.items() if key[0] != step.node}
        elif step.kind == "virtual_host":
            group = groups.setdefault((step.node, step.values["vhid"]), Group())
            group.key = bytes.fromhex(step.values["key"])
        elif step.kind.startswith("address_") and step.values["vhid"] is not None:
            addresses = groups[step.node, step.values["vhid"]].addresses
            if step.kind == "address_added":
                addresses.append(step.values["address"])
            else:
                addresses.remove(step.values["address"])


def test_every_advertisement_that_a_freebsd_node_sent_is_authentic() -> None:
    count = 0
    for recording in recordings():
        for frame, authenticator in sent(recording):
            advertisement = decode(frame.packet.payload)
            assert authenticator.verify(advertisement), (recording.name, frame.number)
            assert encode(authenticator.sign(advertisement)) == frame.packet.payload
            count += 1
    # 659 are listed, 60 of them were injected; 18 more only the far captures show.
    index = json.loads((RECORDINGS / "freebsd" / "INDEX.json").read_text())
    assert count == sum(entry["adverts"] for entry in index) - 60 + 18


@pytest.mark.parametrize("name", ["single-v4", "dual", "v6only", "many-vhids", "rawkey20"])
def test_with_one_bit_flipped_no_advertisement_is_authentic(name: str) -> None:
    recording = load(RECORDINGS / "freebsd" / f"{name}.json")
    frame, authenticator = next(sent(recording))
    advertisement = decode(frame.packet.payload)
    assert authenticator.verify(advertisement)
    for bit in range(8):
        assert not authenticator.verify(advertisement._replace(vhid=advertisement.vhid ^ 1 << bit))
    for bit in range(64):
        counter = advertisement.counter ^ 1 << bit
        assert not authenticator.verify(advertisement._replace(counter=counter))
    for bit in range(160):
        digest = (int.from_bytes(advertisement.digest, "big") ^ 1 << bit).to_bytes(20, "big")
        assert not authenticator.verify(advertisement._replace(digest=digest))
    configured = next(event for event in recording.events if event.kind == "virtual_host")
    key = int(configured.values["key"], 16)
    for bit in range(160):
        other = Authenticator(
            vhid=advertisement.vhid,
            key=(key ^ 1 << bit).to_bytes(20, "big"),
            addresses=authenticator.addresses,
        )
        assert not other.verify(advertisement)
    for position, address in enumerate(authenticator.addresses):
        for bit in range(address.max_prefixlen):
            if address.is_link_local and 96 <= bit < 112:
                continue  # the scope, which is not hashed
            addresses = list(authenticator.addresses)
            addresses[position] = type(address)(int(address) ^ 1 << bit)
            other = Authenticator(
                vhid=advertisement.vhid, key=key.to_bytes(20, "big"), addresses=addresses
            )
            assert not other.verify(advertisement)


@pytest.mark.parametrize("name", ["injected", "injected-10-4"])
def test_every_injected_frame_is_dropped_for_its_recorded_reason_or_taken(name: str) -> None:
    recording = load(RECORDINGS / "freebsd" / f"{name}.json")
    injected = [frame for frame in recording.frames() if frame.injected]
    assert len(injected) == sum(event.kind == "inject" for event in recording.events) == 31
    for frame in injected:
        node = Node(profile=FREEBSD)
        node.add_interface("em0", mac="52:54:00:c1:00:0a", addresses=["192.168.1.157"])
        config = VirtualHostConfig(
            vhid=1, advskew=10, passphrase="randompass", addresses=["192.168.1.50"]
        )
        node.add_virtual_host("em0", config)
        node.handle(InterfaceChanged("em0", True), 0.0)
        packet = frame.packet
        datagram = DatagramReceived(
            "em0", packet.source, packet.destination, packet.hop_limit, packet.payload
        )
        node.handle(datagram, 0.0)
        assert frame.injected is not None
        dropped = frame.injected.values.get("dropped")
        assert frame.injected.values["valid"] is (dropped is None)
        risen = {name: value for name, value in node.counters.items() if value}
        risen.pop("opackets", None)  # a will-time-out advertisement makes A MASTER
        assert risen == {"ipackets": 1, **({dropped: 1} if dropped else {})}


@pytest.mark.parametrize("path", FREEBSD_RECORDINGS, ids=lambda path: path.stem)
def test_a_freebsd_recording_is_predicted(path) -> None:
    recording = load(path)
    report = replay(recording)
    if path.stem in ARTEFACTS:
        count, predicted, recorded = ARTEFACTS[path.stem]
        found = report.disagreements
        assert len(found) == count, found
        assert any(
            predicted in str(one.predicted or "nothing") and recorded in str(one.recorded)
            for one in found
        ), found
    else:
        assert report.disagreements == ()
        assert len(report.transitions) == len(recording.transitions)
        own = [frame for frame in recording.frames() if frame.sender]
        if recording.pcap_far is None:
            assert report.advertisements == len(own)


@pytest.mark.parametrize("path", NETBSD_RECORDINGS, ids=lambda path: path.stem)
def test_a_netbsd_recording_is_predicted(path) -> None:
    report = replay(load(path))
    count, predicted = NETBSD_ARTEFACTS.get(path.stem, (0, ""))
    assert len(report.disagreements) == count, report.disagreements
    assert all(predicted in str(found.predicted) for found in report.disagreements)


@pytest.mark.parametrize("path", UCARP_RECORDINGS, ids=lambda path: path.stem)
def test_a_ucarp_recording_is_predicted(path) -> None:
    report = replay(load(path))
    if path.stem in UCARP_ARTEFACTS:
        about = UCARP_ARTEFACTS[path.stem]
        assert report.disagreements
        assert about in str(report.disagreements[0])
    else:
        assert report.disagreements == ()
        assert report.transitions or path.stem == "daemonize"


def test_frames_that_cannot_be_decoded_are_only_the_injected_ones() -> None:
    bad = 0
    for recording in recordings():
        for frame in recording.frames():
            try:
                decode(frame.packet.payload)
            except DecodeError:
                assert frame.injected is not None
                bad += 1
    assert bad == 6
