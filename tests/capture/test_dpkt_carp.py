"""The dpkt class: registered only on request, and nothing is lost. Its page's examples run."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path

import dpkt
import pytest

from carpproto import Advertisement, DecodeError, Reason, decode, encode, peel
from carpproto.capture import dpkt_carp
from carpproto.capture.observation import Observer, Vrrp
from carpproto.capture.reader import Record
from carpproto.core.frame import build
from carpproto.testing.golden import golden_frame, golden_frames
from tests.helpers import carp_frames

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dpkt-scapy.rst"


@pytest.fixture
def registered() -> Iterator[None]:
    dpkt_carp.register()
    yield
    dpkt_carp.unregister()


def test_without_a_request_dpkt_stays_as_it_is() -> None:
    [frame] = [golden.frame for golden in golden_frames() if golden.name == "freebsd-12"]
    assert type(dpkt.ethernet.Ethernet(frame).data.data) is dpkt.vrrp.VRRP


@pytest.mark.usefixtures("registered")
def test_what_dpkt_packs_is_what_it_was_given() -> None:
    seen = 0
    for frame in carp_frames():
        try:
            packet = peel(frame)
        except DecodeError:
            continue  # a fragment
        ethernet = dpkt.ethernet.Ethernet(frame)
        carp = getattr(ethernet.data, "carp", None)
        if carp is None or packet is None:
            continue
        seen += 1
        assert bytes(carp) == packet.payload
        try:
            expected: Advertisement | Reason = decode(packet.payload)
        except DecodeError as error:
            expected = error.reason
        try:
            found: Advertisement | Reason = carp.advertisement
        except DecodeError as error:
            found = error.reason
        assert found == expected
    assert seen > 2000


def vrrp_frame(version: int, addresses: int, *, behind: int) -> bytes:
    body = bytes((version << 4 | 1, 7, 100, addresses, 0, 1, 0, 0))
    body += bytes(range(4 * addresses)) + bytes(behind)
    checksum = -int.from_bytes(body, "big") % 0xFFFF
    return build(
        body[:6] + checksum.to_bytes(2, "big") + body[8:],
        source="192.0.2.1",
        destination="224.0.0.18",
        source_mac="00:00:5e:00:01:07",
    )


@pytest.mark.usefixtures("registered")
def test_vrrp_is_told_apart_as_the_library_does_and_stays_dpkts() -> None:
    made = [
        vrrp_frame(version, addresses, behind=behind)
        for version in (2, 3)
        for addresses in (0, 1, 5, 7)
        for behind in (0, 8)
    ]
    vrrp = 0
    for number, frame in enumerate([*carp_frames(), *made, golden_frame("vrrp").frame], 1):
        read = list(Observer([Record(number, 0, 1, frame, len(frame))]))
        ethernet = dpkt.ethernet.Ethernet(frame)
        is_vrrp = type(getattr(ethernet.data, "data", None)) is dpkt.vrrp.VRRP
        vrrp += is_vrrp
        assert is_vrrp == any(type(one) is Vrrp for one in read)
    assert vrrp >= 8


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["version-3", "truncated"])
def test_what_is_neither_keeps_its_bytes_and_is_no_carp(name: str) -> None:
    packet = dpkt.ethernet.Ethernet(golden_frame(name).frame).ip
    assert type(packet.data) is bytes
    assert not hasattr(packet, "carp")


def test_one_made_by_hand_gets_its_checksum_and_keeps_one_that_it_has() -> None:
    carp = dpkt_carp.CARP(vhid=3, advbase=2, advskew=9, demote=1, counter=2**64 - 1)
    expected = Advertisement(vhid=3, advbase=2, advskew=9, demote=1, counter=2**64 - 1)
    assert bytes(carp) == encode(expected)
    assert (carp.version, carp.type) == (2, 1)
    carp = dpkt_carp.CARP(sum=0x1234)
    assert bytes(carp)[6:8] == b"\x12\x34"
    with pytest.raises(DecodeError, match="badsum"):
        _ = carp.advertisement
    with pytest.raises(dpkt.NeedData):
        dpkt_carp.CARP(bytes(35))


def test_the_pages_examples_run() -> None:
    done = doctest.testfile(str(PAGE), module_relative=False)
    assert done.attempted >= 20
    assert done.failed == 0
