"""The library beside the recordings of real systems: what it predicts, counts and refuses."""

from __future__ import annotations

import pytest

from carpproto import (
    FREEBSD,
    DatagramReceived,
    DecodeError,
    InterfaceChanged,
    Node,
    VirtualHostConfig,
    decode,
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
