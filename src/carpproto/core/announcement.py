"""What a new MASTER tells its neighbors: gratuitous ARP and unsolicited neighbor advertisement.

Must not know of advertisements, keys or states. Frames as FreeBSD sends them
(``carp_send_arp``, ``carp_send_na``): the ARP request comes from the interface's own MAC and
names the virtual one; the neighbor advertisement comes from the virtual MAC.
"""

from __future__ import annotations

from collections.abc import Sequence

from carpproto.core.addresses import (
    ALL_NODES,
    Address,
    AddressLike,
    group_mac,
    parse_address,
    parse_mac,
)
from carpproto.core.errors import ConfigError
from carpproto.core.frame import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV6,
    build_ethernet,
    build_ip,
)

_BROADCAST = "ff:ff:ff:ff:ff:ff"
_ICMPV6 = 58
_NEIGHBOR_ADVERTISEMENT = 136
_OVERRIDE = 0x20
_TARGET_LINK_LAYER_ADDRESS = 2


def gratuitous_arp(
    address: AddressLike,
    *,
    mac: str,
    source_mac: str,
    target_mac: str = "00:00:00:00:00:00",
    tags: Sequence[int] = (),
) -> bytes:
    """An ARP request for ``address`` by itself, 42 bytes and 4 for each VLAN tag.

    ``mac`` is what neighbors are to remember, ``source_mac`` the Ethernet source (the
    interface's own), ``target_mac`` the target hardware address: zero as all BSDs send it,
    the same as ``mac`` as ucarp does (RFC 5227, section 3).
    """
    address = _of_family(address, 4)
    request = bytes.fromhex("0001080006040001")
    body = parse_mac(mac) + address.packed + parse_mac(target_mac) + address.packed
    return build_ethernet(
        request + body,
        ethertype=ETHERTYPE_ARP,
        source=source_mac,
        destination=_BROADCAST,
        tags=tags,
    )


def neighbor_advertisement(
    address: AddressLike,
    *,
    mac: str,
    source: AddressLike,
    source_mac: str | None = None,
    tags: Sequence[int] = (),
) -> bytes:
    """An unsolicited neighbor advertisement to all nodes (RFC 4861, section 7.2.6), 86 bytes.

    ``mac`` is what neighbors are to remember: override set, solicited clear. ``source`` is
    the sender's address, as a rule its link-local one. ``source_mac`` is the Ethernet source,
    without it ``mac``.
    """
    address, source = _of_family(address, 6), _of_family(source, 6)
    option = bytes((_TARGET_LINK_LAYER_ADDRESS, 1)) + parse_mac(mac)
    flags = bytes((_OVERRIDE, 0, 0, 0))
    start = bytes((_NEIGHBOR_ADVERTISEMENT, 0))
    rest = flags + address.packed + option
    pseudo_header = (
        source.packed
        + ALL_NODES.packed
        + (len(start) + 2 + len(rest)).to_bytes(4, "big")
        + bytes((0, 0, 0, _ICMPV6))
    )
    checksum = -int.from_bytes(pseudo_header + start + b"\0\0" + rest, "big") % 0xFFFF
    packet = build_ip(
        start + checksum.to_bytes(2, "big") + rest,
        source=source,
        destination=ALL_NODES,
        protocol=_ICMPV6,
    )
    return build_ethernet(
        packet,
        ethertype=ETHERTYPE_IPV6,
        source=source_mac or mac,
        destination=group_mac(ALL_NODES),
        tags=tags,
    )


def _of_family(value: AddressLike, family: int) -> Address:
    address = parse_address(value)
    if address.version != family:
        raise ConfigError(f"{address} is no IPv{family} address")
    return address
