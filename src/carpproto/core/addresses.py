"""Addresses as CARP uses them: groups, virtual MACs, and the order that the HMAC needs.

Must not know of packets, keys or hosts. Everything here takes text or `ipaddress` objects
and gives `ipaddress` objects; MAC addresses are lower-case text, ``00:00:5e:00:01:01``.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address

from carpproto.core.errors import ConfigError, shown

Address = IPv4Address | IPv6Address
AddressLike = str | IPv4Address | IPv6Address | IPv4Interface | IPv6Interface

GROUP_IPV4 = IPv4Address("224.0.0.18")
"""The IPv4 multicast group of advertisements, shared with VRRP (IANA)."""

GROUP_IPV6 = IPv6Address("ff02::12")
"""The IPv6 multicast group of advertisements, shared with VRRP (IANA)."""

GROUPS: dict[int, Address] = {4: GROUP_IPV4, 6: GROUP_IPV6}

ALL_NODES = IPv6Address("ff02::1")

_NEVER_HASHED = {
    IPv4Address("0.0.0.0"),
    IPv4Address("255.255.255.255"),
    IPv6Address("::"),
    IPv6Address((1 << 128) - 1),
}


def parse_address(value: AddressLike) -> Address:
    """An address without its prefix length and scope: ``fe80::1%em0/64`` gives ``fe80::1``.

    Raises `ConfigError` for anything that is neither an IPv4 nor an IPv6 address.
    """
    if type(value) is IPv4Address:
        return value
    if isinstance(value, (IPv4Interface, IPv6Interface)):
        return parse_address(value.ip)
    if isinstance(value, IPv6Address):
        return IPv6Address(int(value)) if value.scope_id else value
    if isinstance(value, str):
        host, slash, prefix = value.strip().partition("/")
        host = host.partition("%")[0]
        try:
            address = ip_address(host)
        except ValueError:
            address = None
        if address is not None and (not slash or _is_prefix_length(prefix, address)):
            return address
    raise ConfigError(
        f"{shown(value)} is not an address; "
        "give one such as 192.0.2.1, 192.0.2.1/24 or 2001:db8::1"
    )


def _is_prefix_length(text: str, address: Address) -> bool:
    if not (text.isdecimal() and text.isascii() and len(text) <= 3):
        return False
    return int(text) <= address.max_prefixlen


def canonical_order(addresses: Iterable[AddressLike]) -> tuple[Address, ...]:
    """The addresses as every implementation hashes them.

    IPv4 in ascending numeric order, then IPv6 in ascending byte order; duplicates once;
    the unspecified and all-ones addresses never; bytes 2 and 3 of link-local addresses,
    where BSD kernels keep the scope, zeroed. (FreeBSD ``carp_hmac_prepare``.)
    """
    if isinstance(addresses, (str, bytes)) or not isinstance(addresses, Iterable):
        raise ConfigError(f"addresses is {shown(addresses)}; give a list of addresses")
    distinct = {_without_embedded_scope(parse_address(address)) for address in addresses}
    return tuple(sorted(distinct - _NEVER_HASHED, key=lambda a: (a.version, int(a))))


def parse_host_address(value: AddressLike) -> Address:
    """As `parse_address`, for an address that a host can have."""
    address = parse_address(value)
    if address.is_unspecified or address.is_multicast or address in _NEVER_HASHED:
        raise ConfigError(f"{address} is not a host's address; give a unicast one")
    return address


def parse_host_addresses(values: Iterable[AddressLike]) -> tuple[Address, ...]:
    """A list of them, duplicates once."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ConfigError(f"addresses is {shown(values)}; give a list of addresses")
    return tuple(dict.fromkeys(parse_host_address(value) for value in values))


def _without_embedded_scope(address: Address) -> Address:
    if address.version == 6 and address.is_link_local:
        return IPv6Address(int(address) & ~(0xFFFF << 96))
    return address


def virtual_mac(vhid: int) -> str:
    """The virtual MAC of a group, ``00:00:5e:00:01:`` and the vhid."""
    return f"00:00:5e:00:01:{vhid:02x}"


def group_mac(group: Address) -> str:
    """The Ethernet multicast address of an IP multicast group (RFC 1112, RFC 2464)."""
    number = int(group)
    if group.version == 4:
        return format_mac(b"\x01\x00\x5e" + (number & 0x7FFFFF).to_bytes(3, "big"))
    return format_mac(b"\x33\x33" + (number & 0xFFFFFFFF).to_bytes(4, "big"))


def format_mac(octets: bytes) -> str:
    """Six bytes as lower-case text with colons."""
    return octets.hex(":")


def parse_mac(text: str) -> bytes:
    """The six bytes of a MAC address; `ConfigError` for anything else."""
    try:
        # int() alone would take a sign, spaces and the digits of other scripts.
        octets = bytes(
            int(part, 16)
            for part in text.split(":")
            if len(part) <= 2 and part.isalnum() and part.isascii()
        )
    except (ValueError, AttributeError, TypeError):
        octets = b""
    if len(octets) != 6 or text.count(":") != 5:
        raise ConfigError(
            f"{shown(text)} is not a MAC address; give one such as 52:54:00:00:00:0a"
        )
    return octets
