"""The dpkt class: registered only on request, and nothing is lost. Its page's examples run."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path

import dpkt
import pytest

from carpproto import Advertisement, DecodeError, Reason, decode, encode, peel
from carpproto.capture import dpkt_carp
from carpproto.testing.golden import golden_frames
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
