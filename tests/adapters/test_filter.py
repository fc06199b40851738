"""Which frames the kernel's filter lets through: run here, and by the kernel itself."""

from __future__ import annotations

import socket
import struct
import sys

import pytest

from carpproto.adapters import filter as packet_filter
from carpproto.core.announcement import gratuitous_arp, neighbor_advertisement
from carpproto.core.frame import build, build_ethernet
from tests.helpers import RECORDINGS, carp_frames, carries_carp, frames

MACS = {"source_mac": "52:54:00:00:00:0a"}
ADVERTISEMENT = build(bytes(36), source="192.0.2.1", destination="224.0.0.18", **MACS)
HOST, BROADCAST, MULTICAST, OTHER_HOST, OUTGOING = range(5)


def run(frame: bytes, packet_type: int = MULTICAST, vlan: int = 0) -> int:
    """What the program returns for a frame: an interpreter of the instructions it uses."""
    steps = list(struct.iter_unpack("=HBBI", packet_filter.program()))
    accumulator = position = 0
    while True:
        code, true, false, operand = steps[position]
        position += 1
        if code == 0x06:
            return operand
        if code == 0x15:
            position += true if accumulator == operand else false
        elif code == 0x54:
            accumulator &= operand
        else:
            size = {0x28: 2, 0x30: 1}[code]
            if operand >= 0xFFFFF000:
                accumulator = {4: packet_type, 44: vlan}[operand - 0xFFFFF000]
            elif operand + size > len(frame):
                return 0
            else:
                accumulator = int.from_bytes(frame[operand : operand + size], "big")


def untagged(frame: bytes) -> bool:
    return frame[12:14] != b"\x81\x00"


def test_every_recorded_advertisement_passes() -> None:
    assert all(run(frame) for frame in carp_frames() if untagged(frame))


def test_of_the_other_recorded_frames_hardly_any_does() -> None:
    for path in sorted(RECORDINGS.glob("freebsd/*.pcap")):
        others = [frame for frame in frames(path) if not carries_carp(frame)]
        # IPv6 with a hop-by-hop header, as the reports of multicast membership have it.
        passed = [frame for frame in others if run(frame)]
        assert {frame[12:14] + frame[20:21] for frame in passed} <= {b"\x86\xdd\x00"}


@pytest.mark.parametrize("packet_type", [OTHER_HOST, OUTGOING])
def test_own_frames_and_those_for_others_do_not(packet_type: int) -> None:
    assert not run(ADVERTISEMENT, packet_type)


@pytest.mark.parametrize("packet_type", [HOST, BROADCAST, MULTICAST])
def test_whatever_is_for_this_host_does(packet_type: int) -> None:
    assert run(ADVERTISEMENT, packet_type) == 0xFFFF


def test_a_frame_of_another_vlan_does_not_and_one_with_a_priority_only_does() -> None:
    assert not run(ADVERTISEMENT, vlan=10)
    assert not run(ADVERTISEMENT, vlan=0x6000 | 10)
    assert run(ADVERTISEMENT, vlan=0x6000)


@pytest.mark.parametrize("length", range(24))
def test_a_short_frame_does_not(length: int) -> None:
    assert not run(ADVERTISEMENT[:length][:23])


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_the_kernel_takes_the_program_and_finds_the_same() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    packet_filter.attach(near, packet_filter.program())
    near.setblocking(False)
    mac = "00:00:5e:00:01:01"
    tried = [
        ADVERTISEMENT,
        build(bytes(36), source="fe80::1", destination="ff02::12", **MACS),
        build_ethernet(bytes(60), ethertype=0x88CC, source=mac, destination="01:80:c2:00:00:0e"),
        gratuitous_arp("192.0.2.50", mac=mac, source_mac=mac),
        neighbor_advertisement("2001:db8::50", mac=mac, source="fe80::1"),
        ADVERTISEMENT[:20],
    ]
    for frame in tried:
        far.send(frame)
        try:
            passed = near.recv(2048)
        except BlockingIOError:
            passed = b""
        assert passed == (frame if run(frame, HOST) else b"")
    near.close()
    far.close()
