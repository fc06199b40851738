"""carpproto.core.announcement: what a new MASTER tells its neighbors, as the systems sent it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from struct import unpack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpproto.core.addresses import format_mac, parse_mac, virtual_mac
from carpproto.core.announcement import gratuitous_arp, neighbor_advertisement
from carpproto.core.errors import ConfigError
from carpproto.core.frame import ETHERTYPE_ARP, ETHERTYPE_IPV6, peel_ethernet
from tests.helpers import captures, description, frames, recorded

MACS = st.binary(min_size=6, max_size=6).map(format_mac)


def virtual_addresses(recording: dict[str, Any]) -> dict[str, int]:
    """Each virtual IPv4 address that a recording names, and its vhid."""
    return {
        event["address"].split("/")[0]: event["vhid"]
        for event in recording["events"]
        if event["event"] == "address_added" and event["vhid"] and ":" not in event["address"]
    }


def recorded_gratuitous(path: Path, addresses: dict[str, int]) -> list[bytes]:
    """The broadcast ARP requests for a virtual address from that very address."""
    found = []
    for frame in frames(path):
        header = peel_ethernet(frame)
        body = frame[header.length :]
        if header.ethertype == ETHERTYPE_ARP and body[:8].hex() == "0001080006040001":
            if body[14:18] == body[24:28] and str(IPv4Address(body[14:18])) in addresses:
                found.append(frame)
    return found


@pytest.mark.parametrize(
    ("folder", "real_mac", "number"),
    [("freebsd", False, 92), ("netbsd", False, 60), ("ucarp", True, 264)],
)
def test_every_recorded_gratuitous_arp(folder: str, real_mac: bool, number: int) -> None:
    """The BSDs give the virtual MAC and leave the target zero; ucarp gives the real one twice."""
    reproduced = 0
    for path in captures(folder):
        recording = description(path)
        addresses = virtual_addresses(recording)
        possible = set()
        for address, vhid in addresses.items():
            for node in recording["nodes"].values():
                mac = node["mac"] if real_mac else virtual_mac(vhid)
                target = {"target_mac": mac} if real_mac else {}
                vlan = node.get("vlan")
                possible.add(
                    gratuitous_arp(
                        IPv4Address(address),
                        mac=mac,
                        source_mac=node["mac"],
                        tags=() if vlan is None else (vlan,),
                        **target,
                    )
                )
        sent = recorded_gratuitous(path, addresses)
        for frame in sent:
            assert frame in possible
        reproduced += len(sent)
    assert reproduced == number


def test_the_recorded_neighbor_advertisements() -> None:
    """Frames 62 and 64 of failover-dual, the only two to all nodes that a kernel let out."""
    sent = recorded("freebsd/failover-dual")
    for number, address in ((62, "2001:db8:1::50"), (64, "fe80::50")):
        assert (
            neighbor_advertisement(
                IPv6Address(address),
                mac="00:00:5e:00:01:01",
                source=IPv6Address("fe80::5054:ff:fec1:b"),
            )
            == sent[number - 1]
        )


def test_a_gratuitous_arp_byte_for_byte() -> None:
    """RFC 826, and RFC 5227 for a sender that asks for itself."""
    frame = gratuitous_arp(
        IPv4Address("192.168.1.50"), mac="00:00:5e:00:01:01", source_mac="52:54:00:c1:00:0a"
    )
    assert frame.hex(" ", 2) == (
        "ffff ffff ffff 5254 00c1 000a 0806 "
        "0001 0800 0604 0001 0000 5e00 0101 c0a8 0132 0000 0000 0000 c0a8 0132"
    )
    assert len(frame) == 42


def test_a_gratuitous_arp_on_vlans() -> None:
    frame = gratuitous_arp(
        IPv4Address("192.168.1.50"),
        mac="00:00:5e:00:01:01",
        source_mac="52:54:00:c1:00:0a",
        tags=[100, 10],
    )
    assert len(frame) == 42 + 8
    assert peel_ethernet(frame).tags == (100, 10)
    assert peel_ethernet(frame).ethertype == ETHERTYPE_ARP


@given(st.ip_addresses(v=4), MACS, MACS, MACS)
def test_a_gratuitous_arp_carries_what_it_is_given(
    address: IPv4Address, mac: str, source_mac: str, target_mac: str
) -> None:
    frame = gratuitous_arp(address, mac=mac, source_mac=source_mac, target_mac=target_mac)
    assert len(frame) == 42
    assert frame[:6] == b"\xff" * 6
    assert frame[6:12] == parse_mac(source_mac)
    assert frame[22:28] == parse_mac(mac)
    assert frame[28:32] == frame[38:42] == address.packed
    assert frame[32:38] == parse_mac(target_mac)


def test_a_neighbor_advertisement_byte_for_byte() -> None:
    """RFC 4861, section 4.4: override set, router and solicited clear."""
    frame = neighbor_advertisement(
        IPv6Address("2001:db8::50"), mac="00:00:5e:00:01:07", source=IPv6Address("fe80::1")
    )
    assert frame.hex(" ", 2) == (
        "3333 0000 0001 0000 5e00 0107 86dd 6000 0000 0020 3aff "
        "fe80 0000 0000 0000 0000 0000 0000 0001 ff02 0000 0000 0000 0000 0000 0000 0001 "
        "8800 cb0d 2000 0000 2001 0db8 0000 0000 0000 0000 0000 0050 0201 0000 5e00 0107"
    )
    assert len(frame) == 86


def test_the_mac_that_a_neighbor_advertisement_comes_from() -> None:
    told: dict[str, Any] = {"mac": "00:00:5e:00:01:07", "source": IPv6Address("fe80::1")}
    frame = neighbor_advertisement(
        IPv6Address("2001:db8::50"),
        source_mac="52:54:00:00:00:0a",
        tags=[10],
        **told,
    )
    header = peel_ethernet(frame)
    assert header.source == "52:54:00:00:00:0a"
    assert header.destination == "33:33:00:00:00:01"
    assert header.tags == (10,)
    assert header.ethertype == ETHERTYPE_IPV6
    without = neighbor_advertisement(IPv6Address("2001:db8::50"), **told)
    assert peel_ethernet(without).source == "00:00:5e:00:01:07"
    assert frame[18:] == without[14:]


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), MACS)
def test_the_checksum_of_a_neighbor_advertisement(
    address: IPv6Address, source: IPv6Address, mac: str
) -> None:
    frame = neighbor_advertisement(address, mac=mac, source=source)
    message = frame[54:]
    assert message[8:24] == address.packed
    assert message[24:] == b"\x02\x01" + parse_mac(mac)
    covered = frame[22:54] + b"\0\0\0\x20\0\0\0\x3a" + message
    total = sum(unpack(f">{len(covered) // 2}H", covered))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_a_mac_that_is_none() -> None:
    for name in ("mac", "source_mac", "target_mac"):
        macs: dict[str, Any] = {
            "mac": "00:00:5e:00:01:01",
            "source_mac": "52:54:00:00:00:0a",
            name: "em0",
        }
        with pytest.raises(ConfigError, match="'em0' is not a MAC address"):
            gratuitous_arp(IPv4Address("192.168.1.50"), **macs)
    with pytest.raises(ConfigError, match="'em0' is not a MAC address"):
        neighbor_advertisement(IPv6Address("::1"), mac="em0", source=IPv6Address("::1"))


def test_a_tag_that_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="VLAN tag 65536 is out of range"):
        gratuitous_arp(
            IPv4Address("192.168.1.50"),
            mac="00:00:5e:00:01:01",
            source_mac="52:54:00:00:00:0a",
            tags=[65536],
        )


def test_an_address_of_the_other_family_is_refused() -> None:
    fourth, sixth, mac = IPv4Address("192.0.2.1"), IPv6Address("fe80::1"), virtual_mac(1)
    with pytest.raises(ConfigError, match="fe80::1 is no IPv4 address"):
        gratuitous_arp(sixth, mac=mac, source_mac=mac)
    with pytest.raises(ConfigError, match="is no IPv6 address"):
        neighbor_advertisement(fourth, mac=mac, source=sixth)
    with pytest.raises(ConfigError, match="is no IPv6 address"):
        neighbor_advertisement(sixth, mac=mac, source=fourth)


def test_an_address_may_be_text() -> None:
    mac = virtual_mac(1)
    assert gratuitous_arp("192.0.2.1/24", mac=mac, source_mac=mac) == (
        gratuitous_arp(IPv4Address("192.0.2.1"), mac=mac, source_mac=mac)
    )
    assert neighbor_advertisement("2001:db8::1", mac=mac, source="fe80::1%em0") == (
        neighbor_advertisement(IPv6Address("2001:db8::1"), mac=mac, source=IPv6Address("fe80::1"))
    )
