"""Ethernet, VLAN tags, IPv4 and IPv6 around an advertisement: peel them off, or build them.

Must not know of keys, states or capture files. `peel` finds the payload of IP protocol 112
in an Ethernet frame, `peel_ip` where the IP header's place is known already; the rest of a
frame is decoded only when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Any, NamedTuple, cast

from carpproto.core.addresses import (
    Address,
    AddressLike,
    format_mac,
    group_mac,
    parse_address,
    parse_mac,
)
from carpproto.core.advertisement import HOP_LIMIT, PROTOCOL
from carpproto.core.errors import ConfigError, DecodeError, Reason, shown

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
_VLAN_TAG = 0x8100  # IEEE 802.1Q
_SERVICE_TAG = 0x88A8  # IEEE 802.1ad, the outer tags
TAGS = frozenset({_VLAN_TAG, _SERVICE_TAG, 0x9100})
"""Ethertypes of VLAN tags: 802.1Q, 802.1ad, and 0x9100, which came before that."""

_IP = (b"\x08\x00", b"\x86\xdd")  # the ethertypes, as they are on the wire
_IPV4 = Struct(">BBHHHBBH4s4s")
_IPV6 = Struct(">IHBB16s16s")
_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS_OR_OFFSET = 0x3FFF

_FRAGMENT_HEADER = 44
_AUTHENTICATION_HEADER = 51
# Hop-by-hop, routing, destination, mobility, HIP, shim6: RFC 8200, section 4, and the
# registry of IPv6 extension header types.
_EXTENSION_HEADERS = {0, 43, 60, 135, 139, 140, _FRAGMENT_HEADER, _AUTHENTICATION_HEADER}

_BEFORE_PROTOCOL = {*_EXTENSION_HEADERS, PROTOCOL}

_ipv4_address = lru_cache(maxsize=4096)(IPv4Address)
_ipv6_address = lru_cache(maxsize=4096)(IPv6Address)


@lru_cache(maxsize=4096)
def _ipv4_addresses(both: bytes) -> tuple[IPv4Address, IPv4Address]:
    return _ipv4_address(both[:4]), _ipv4_address(both[4:])


class Packet(NamedTuple):
    """What IP protocol 112 carried, and what was around it.

    ``family`` is 4 or 6; ``hop_limit`` the TTL or hop limit; ``traffic_class`` the TOS or
    traffic class byte. ``payload`` ends where the IP header says, so it has no Ethernet
    padding; bytes after the 36 of an advertisement are still there. ``offset`` is where in
    ``frame`` the payload begins, ``ip_offset`` where the IP header does.
    """

    family: int
    source: Address
    destination: Address
    hop_limit: int
    traffic_class: int
    payload: bytes
    offset: int
    ip_offset: int
    frame: bytes

    @property
    def truncated(self) -> bool:
        """Whether the capture holds fewer bytes than the IP header announces."""
        start = self.ip_offset
        if self.family == 4:
            announced = int.from_bytes(self.frame[start + 2 : start + 4], "big")
        else:
            announced = 40 + int.from_bytes(self.frame[start + 4 : start + 6], "big")
        return len(self.frame) < start + announced

    @property
    def identification(self) -> int:
        """The IPv4 id; 0 for IPv6."""
        if self.family == 6:
            return 0
        return int.from_bytes(self.frame[self.ip_offset + 4 : self.ip_offset + 6], "big")

    @property
    def dont_fragment(self) -> bool:
        """The IPv4 DF bit; False for IPv6."""
        return self.family == 4 and bool(self.frame[self.ip_offset + 6] & 0x40)


# What Packet._make does, without a Python frame.
_new: Callable[[type[Packet], tuple[Any, ...]], Packet] = cast(Any, tuple.__new__)


class Ethernet(NamedTuple):
    """The Ethernet header: MACs as text, 16-bit tag control words outermost first.

    The low 12 bits of a tag are the VLAN id. ``length`` counts the header's bytes, tags
    included, so what it carries begins at ``frame[length:]``.
    """

    destination: str
    source: str
    tags: tuple[int, ...]
    ethertype: int
    length: int

    @property
    def vlans(self) -> tuple[int, ...]:
        """The VLAN ids, outermost first."""
        return tuple(tag & 0xFFF for tag in self.tags)


def peel_ethernet(frame: bytes) -> Ethernet:
    """Read an Ethernet header with any number of 802.1Q and 802.1ad tags.

    Raises `DecodeError` when the frame ends within it.
    """
    tags: list[int] = []
    offset = 12
    while True:
        if len(frame) < offset + 2:
            raise _cut_off(frame, "the Ethernet header")
        ethertype = int.from_bytes(frame[offset : offset + 2], "big")
        offset += 2
        if ethertype not in TAGS:
            break
        tags.append(int.from_bytes(frame[offset : offset + 2], "big"))
        offset += 2
    return Ethernet(format_mac(frame[:6]), format_mac(frame[6:12]), tuple(tags), ethertype, offset)


def peel(frame: bytes) -> Packet | None:
    """The packet of IP protocol 112 in an Ethernet frame, or None if it carries another.

    VLAN tags (802.1Q, 802.1ad, nested) are passed over, IPv4 options and IPv6 extension
    headers too, and padding after the IP packet is left out. Raises `DecodeError`, and
    nothing else: ``truncated`` where the frame ends within a header, ``malformed`` where a
    header contradicts itself, ``fragment`` for a piece of a fragmented packet of protocol 112.
    """
    # The common case first, without an Ethernet object.
    kind = frame[12:14]
    if kind == b"\x08\x00":
        return _peel_ipv4(frame, 14)
    if kind == b"\x86\xdd":
        return _peel_ipv6(frame, 14)
    header = peel_ethernet(frame)
    if header.ethertype == ETHERTYPE_IPV4:
        return peel_ip(frame, header.length, 4)
    if header.ethertype == ETHERTYPE_IPV6:
        return peel_ip(frame, header.length, 6)
    return None


def peel_payload(frame: bytes) -> bytes | None:
    """``peel(frame).payload``, or None where `peel` gives None, two to three times as fast.

    For who wants to decode and verify many frames and asks nothing of the layers around.
    """
    # Untagged IPv4 with a plain header and no fragment needs no more than this.
    if frame[12:15] == b"\x08\x00\x45" and len(frame) >= 34 and frame[23] == PROTOCOL:
        end = 14 + (frame[16] << 8 | frame[17])
        if end >= 34 and not (frame[20] & 0x3F or frame[21]):
            return frame[34:end]
    # And untagged IPv6 without extension headers.
    elif frame[12:14] == b"\x86\xdd" and len(frame) >= 54 and frame[20] == PROTOCOL:
        if frame[14] >> 4 == 6:
            return frame[54 : 54 + (frame[18] << 8 | frame[19])]
    # One tag may as well not be there, except that errors count from the frame's first byte.
    elif frame[12:14] == b"\x81\x00" and frame[16:18] in _IP:
        try:
            return peel_payload(frame[4:])
        except DecodeError:
            pass
    packet = peel(frame)
    return None if packet is None else packet.payload


def peel_datagram(frame: bytes) -> tuple[Address, Address, int, bytes] | None:
    """Source, destination, hop limit and payload of ``peel(frame)``, or None, in less time.

    They are what `DatagramReceived` takes besides the interface's name.
    """
    if frame[12:15] == b"\x08\x00\x45" and len(frame) >= 34 and frame[23] == PROTOCOL:
        end = 14 + (frame[16] << 8 | frame[17])
        if end >= 34 and not (frame[20] & 0x3F or frame[21]):
            source, destination = _ipv4_addresses(frame[26:34])
            return source, destination, frame[22], frame[34:end]
    packet = peel(frame)
    if packet is None:
        return None
    return packet.source, packet.destination, packet.hop_limit, packet.payload


def peel_ip(frame: bytes, offset: int = 0, family: int | None = None) -> Packet | None:
    """As `peel`, for an IP header at ``offset``.

    ``family`` is what the layer before says, 4 or 6; None takes it from the version nibble.
    """
    if family is None:
        if len(frame) <= offset:
            raise _cut_off(frame, "the IP header")
        family = frame[offset] >> 4
    if family == 4:
        return _peel_ipv4(frame, offset)
    if family == 6:
        return _peel_ipv6(frame, offset)
    raise DecodeError(Reason.MALFORMED, offset, f"IP version {family}, expected 4 or 6")


def _peel_ipv4(frame: bytes, start: int) -> Packet | None:
    if len(frame) < start + 20:
        if frame[start + 9 : start + 10] not in (b"", b"\x70"):
            return None
        raise _cut_off(frame, "the IPv4 header")
    (first, traffic_class, total, _, fragment, hop_limit, protocol, _, source, destination) = (
        _IPV4.unpack_from(frame, start)
    )
    header = (first & 15) * 4
    if first >> 4 != 4:
        raise DecodeError(Reason.MALFORMED, start, f"IP version {first >> 4}, expected 4")
    if protocol != PROTOCOL:
        return None
    if header < 20 or total < header:
        raise DecodeError(
            Reason.MALFORMED,
            start,
            f"an IPv4 header of {header} bytes in a packet of {total}; a header has 20 or more",
        )
    if fragment & _MORE_FRAGMENTS_OR_OFFSET:
        raise _fragment(start + 6, (fragment & 0x1FFF) * 8)
    offset = start + header
    if len(frame) < offset:
        raise _cut_off(frame, "the IPv4 options")
    payload = frame[offset : start + total]
    ends = _ipv4_address(source), _ipv4_address(destination)
    return _new(Packet, (4, *ends, hop_limit, traffic_class, payload, offset, start, frame))


def _peel_ipv6(frame: bytes, start: int) -> Packet | None:
    offset = start + 40
    if len(frame) < offset:
        if len(frame) > start + 6 and frame[start + 6] not in _BEFORE_PROTOCOL:
            return None
        raise _cut_off(frame, "the IPv6 header")
    first, length, following, hop_limit, source, destination = _IPV6.unpack_from(frame, start)
    if first >> 28 != 6:
        raise DecodeError(Reason.MALFORMED, start, f"IP version {first >> 28}, expected 6")
    end = offset + length
    if following != PROTOCOL:
        following, offset = _pass_extension_headers(frame, following, offset, end)
        if following != PROTOCOL:
            return None
    ends = _ipv6_address(source), _ipv6_address(destination)
    traffic_class = first >> 20 & 0xFF
    payload = frame[offset:end]
    return _new(Packet, (6, *ends, hop_limit, traffic_class, payload, offset, start, frame))


def _pass_extension_headers(
    frame: bytes, following: int, offset: int, end: int
) -> tuple[int, int]:
    """The first next-header value that is no extension header, and where it begins."""
    first_fragment = None
    while following in _EXTENSION_HEADERS:
        header = frame[offset : offset + 8]
        if header and len(header) < 8 and header[0] not in _BEFORE_PROTOCOL:
            return header[0], offset  # cut, but it says already that it is none of ours
        if len(header) < 8:
            raise _cut_off(frame, "an IPv6 extension header")
        if following == _FRAGMENT_HEADER:
            size = 8
            position = int.from_bytes(header[2:4], "big") & 0xFFF8
            if position:
                # Only the first fragment has the headers that follow this one.
                if header[0] == PROTOCOL:
                    raise _fragment(offset, position)
                return -1, offset
            if header[3] & 1:
                first_fragment = offset
        elif following == _AUTHENTICATION_HEADER:
            size = (header[1] + 2) * 4
        else:
            size = (header[1] + 1) * 8
        following = header[0]
        offset += size
        # A jumbogram has a length of 0, too; what it carries is not of protocol 112.
        if offset > end and (following == PROTOCOL or following in _EXTENSION_HEADERS):
            raise DecodeError(
                Reason.MALFORMED, offset - size, "an IPv6 extension header longer than its packet"
            )
    if following == PROTOCOL:
        if first_fragment is not None:
            raise _fragment(first_fragment, 0)
        if len(frame) < offset:
            raise _cut_off(frame, "an IPv6 extension header")
    return following, offset


def _fragment(offset: int, position: int) -> DecodeError:
    return DecodeError(
        Reason.FRAGMENT,
        offset,
        f"a fragment at {position} of a packet of protocol {PROTOCOL}; "
        "an advertisement is never fragmented",
    )


def _cut_off(frame: bytes, where: str) -> DecodeError:
    return DecodeError(
        Reason.TRUNCATED, len(frame), f"the frame ends after {len(frame)} bytes, within {where}"
    )


def build_ethernet(
    payload: bytes, *, ethertype: int, source: str, destination: str, tags: Sequence[int] = ()
) -> bytes:
    """An Ethernet frame; ``tags`` are 16-bit tag control words (plain VLAN ids will do).

    The last tag is 802.1Q's, those before it 802.1ad's. Nothing is padded to 60 bytes: the
    driver does that.
    """
    header = parse_mac(destination) + parse_mac(source)
    for position, tag in enumerate(tags):
        if not 0 <= tag <= 0xFFFF:
            raise ConfigError(f"VLAN tag {shown(tag)} is out of range; it is 0 to 65535")
        kind = _VLAN_TAG if position == len(tags) - 1 else _SERVICE_TAG
        header += kind.to_bytes(2, "big") + tag.to_bytes(2, "big")
    return header + ethertype.to_bytes(2, "big") + payload


def build_ip(
    payload: bytes,
    *,
    source: AddressLike,
    destination: AddressLike,
    hop_limit: int = HOP_LIMIT,
    traffic_class: int = 0,
    protocol: int = PROTOCOL,
    identification: int = 0,
    dont_fragment: bool = True,
) -> bytes:
    """An IPv4 or IPv6 packet, by the family of its addresses.

    ``identification`` and ``dont_fragment`` matter to IPv4 only. Raises `ConfigError` when the
    families differ or a number does not fit.
    """
    source, destination = parse_address(source), parse_address(destination)
    longest = 0xFFFF if source.version == 6 else 0xFFFF - 20
    for name, value, limit in (
        ("the length of the payload", len(payload), longest),
        ("protocol", protocol, 0xFF),
        ("hop_limit", hop_limit, 0xFF),
        ("traffic_class", traffic_class, 0xFF),
        ("identification", identification, 0xFFFF),
    ):
        if not isinstance(value, int) or not 0 <= value <= limit:
            raise ConfigError(f"{name} {shown(value)} is out of range; it is 0 to {limit}")
    if source.version != destination.version:
        raise ConfigError(f"source {source} and destination {destination} differ in family")
    if source.version == 6:
        return (
            _IPV6.pack(
                6 << 28 | traffic_class << 20,
                len(payload),
                protocol,
                hop_limit,
                source.packed,
                destination.packed,
            )
            + payload
        )
    flags = _DONT_FRAGMENT if dont_fragment else 0
    fields = (0x45, traffic_class, 20 + len(payload), identification, flags, hop_limit, protocol)
    ends = (source.packed, destination.packed)
    checksum = -int.from_bytes(_IPV4.pack(*fields, 0, *ends), "big") % 0xFFFF
    return _IPV4.pack(*fields, checksum, *ends) + payload


def build(
    payload: bytes,
    *,
    source: AddressLike,
    destination: AddressLike,
    source_mac: str,
    destination_mac: str | None = None,
    tags: Sequence[int] = (),
    hop_limit: int = HOP_LIMIT,
    traffic_class: int = 0,
    identification: int = 0,
    dont_fragment: bool = True,
) -> bytes:
    """The Ethernet frame of an advertisement, the inverse of `peel`.

    ``destination_mac`` follows from a multicast destination; a unicast peer's must be given.
    """
    destination = parse_address(destination)
    if destination_mac is None:
        if not destination.is_multicast:
            raise ConfigError(
                f"{destination} is a unicast address; give destination_mac, the MAC to send to"
            )
        destination_mac = group_mac(destination)
    packet = build_ip(
        payload,
        source=source,
        destination=destination,
        hop_limit=hop_limit,
        traffic_class=traffic_class,
        identification=identification,
        dont_fragment=dont_fragment,
    )
    return build_ethernet(
        packet,
        ethertype=ETHERTYPE_IPV4 if destination.version == 4 else ETHERTYPE_IPV6,
        source=source_mac,
        destination=destination_mac,
        tags=tags,
    )
