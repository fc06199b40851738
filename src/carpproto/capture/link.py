"""Find the IP packet in a capture record, whatever link layer it was captured on.

Must not know of capture files beyond `Record`, nor of what an IP header contains: that is
`carpproto.core.frame`'s. The link types are those of https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from carpproto.capture.reader import Record
from carpproto.core.errors import DecodeError, Reason
from carpproto.core.frame import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    TAGS,
    Packet,
    peel,
    peel_ip,
    peel_payload,
)

ETHERNET = 1

# Where the last byte of the packet type, of the address length, the address and the ethertype
# are, and the size: LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2.
_COOKED = {113: (1, 5, 6, 14, 16), 276: (10, 11, 12, 0, 20)}

_FAMILIES = {ETHERTYPE_IPV4: 4, ETHERTYPE_IPV6: 6}
# AF_INET; AF_INET6 of NetBSD and OpenBSD, FreeBSD, macOS, and Linux.
_BSD_FAMILIES = {2: 4, 24: 6, 28: 6, 30: 6, 10: 6}


def peel_record(record: Record) -> Packet | None:
    """The packet of IP protocol 112 in a record, or None if it carries another.

    As `carpproto.core.frame.peel`, for each link type in `LINK_TYPES`. Raises `DecodeError`:
    ``unknown format`` for another link type, else what `peel` raises.
    """
    try:
        _, find = LINK_TYPES[record.linktype]
    except KeyError:
        raise _unknown(record.linktype) from None
    return find(record.data)


def payload_of(record: Record) -> bytes | None:
    """``peel_record(record).payload``, or None where that gives None.

    On Ethernet by the shorter way of `carpproto.core.frame.peel_payload`.
    """
    if record.linktype == ETHERNET:
        return peel_payload(record.data)
    packet = peel_record(record)
    return None if packet is None else packet.payload


def as_ethernet(record: Record) -> bytes | None:
    """The frame of an Ethernet record, or of a Linux cooked one as it was on Ethernet.

    None on other link layers. A cooked header has no destination: it is the broadcast address
    here where the packet was for several, or was sent by this host, else 00:00:00:00:00:00. The
    source is zero, too, where the header has no address of six bytes.
    """
    data = record.data
    if record.linktype == ETHERNET:
        return data
    if record.linktype not in _COOKED:
        return None
    type_at, length_at, address_at, ethertype_at, size = _COOKED[record.linktype]
    if len(data) < size:
        return None
    to_several = data[type_at] in (1, 2, 4)  # PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OUTGOING
    six = data[length_at] == 6
    return (
        (b"\xff" if to_several else b"\0") * 6
        + (data[address_at : address_at + 6] if six else bytes(6))
        + data[ethertype_at : ethertype_at + 2]
        + data[size:]
    )


def _raw(family: int | None, data: bytes) -> Packet | None:
    return peel_ip(data, 0, family)


def _cooked(ethertype_at: int, size: int, data: bytes) -> Packet | None:
    """Linux's "any" interface: a header of ``size`` bytes with the ethertype somewhere in it.

    The kernel may leave VLAN tags in front of the packet; the ethertype is then the first
    tag's, and each tag ends with the ethertype of what follows it.
    """
    end = size
    if len(data) >= end:
        ethertype = int.from_bytes(data[ethertype_at : ethertype_at + 2], "big")
        while ethertype in TAGS and len(data) >= end + 4:
            ethertype = int.from_bytes(data[end + 2 : end + 4], "big")
            end += 4
        if ethertype not in TAGS:
            family = _FAMILIES.get(ethertype)
            return None if family is None else peel_ip(data, end, family)
    raise _cut_off(data, "the Linux cooked header")


def _bsd_loopback(any_order: bool, data: bytes) -> Packet | None:
    """A BSD loopback: four bytes of address family, of whatever host's byte order or big."""
    if len(data) < 4:
        raise _cut_off(data, "the address family")
    family = _BSD_FAMILIES.get(int.from_bytes(data[:4], "big"))
    if family is None and any_order:
        family = _BSD_FAMILIES.get(int.from_bytes(data[:4], "little"))
    return None if family is None else peel_ip(data, 4, family)


def _cut_off(data: bytes, where: str) -> DecodeError:
    text = f"the record ends after {len(data)} bytes, within {where}"
    return DecodeError(Reason.TRUNCATED, len(data), text)


def _unknown(linktype: int) -> DecodeError:
    known = ", ".join(f"{number} ({name})" for number, (name, _) in LINK_TYPES.items())
    text = (
        f"link type {linktype} cannot be read; those that can: {known}. "
        "https://www.tcpdump.org/linktypes.html names all"
    )
    return DecodeError(Reason.UNKNOWN_FORMAT, 0, text)


LINK_TYPES: dict[int, tuple[str, Callable[[bytes], Packet | None]]] = {
    ETHERNET: ("Ethernet", peel),
    0: ("BSD loopback", partial(_bsd_loopback, True)),
    108: ("OpenBSD loopback", partial(_bsd_loopback, False)),
    12: ("raw IP", partial(_raw, None)),
    14: ("raw IP", partial(_raw, None)),
    101: ("raw IP", partial(_raw, None)),
    228: ("raw IPv4", partial(_raw, 4)),
    229: ("raw IPv6", partial(_raw, 6)),
    113: ("Linux cooked", partial(_cooked, 14, 16)),
    276: ("Linux cooked v2", partial(_cooked, 0, 20)),
}
"""Link type -> its name, and what finds the packet in a record's data."""
