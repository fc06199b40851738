"""What a capture shows of CARP and of what stands around it, one observation after the other.

Must not know what follows from an observation. One pass, front to back, nothing kept: every
packet of IP protocol 112 with the layers around it, VRRP told apart from CARP, and ARP and
neighbor advertisements, with which a new MASTER announces its addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from carpproto.capture.link import ETHERNET, LINK_TYPES, as_ethernet, peel_record
from carpproto.capture.packets import Seen, decoded
from carpproto.capture.reader import Record
from carpproto.core.addresses import Address, format_mac
from carpproto.core.advertisement import LENGTH, Advertisement, decode
from carpproto.core.authentication import Authenticator
from carpproto.core.errors import DecodeError, Reason
from carpproto.core.frame import ETHERTYPE_ARP, ETHERTYPE_IPV6, TAGS, Packet, peel_ethernet

_ICMPV6, _NEIGHBOR_ADVERTISEMENT = 58, 136
_TARGET_LINK_LAYER_ADDRESS = 2
_COPIED_WITHIN = 10_000_000  # nanoseconds between a frame and its copy
_LONGEST_COPY = 2048  # bytes
_RECENT = 256  # frames among which copies are looked for
_ETHERNET_IPV4 = b"\x00\x01\x08\x00\x06\x04"  # ARP: hardware, protocol, lengths of both


CARP_MACS = "00:00:5e:00:01:"
"""How the virtual MACs of CARP, and of VRRP, begin."""


class Checksum(Enum):
    """What the checksum of an advertisement is."""

    PLAIN = "over the 36 bytes"
    PSEUDO_HEADER = "with the IPv6 pseudo-header"
    ZERO = "0"
    WRONG = "wrong"


class Group(NamedTuple):
    """A redundancy group: the VLAN ids around it, outermost first, and the vhid."""

    vlans: tuple[int, ...]
    vhid: int

    def __str__(self) -> str:
        vlan = "".join(f" vlan {vlan}" for vlan in self.vlans)
        return f"vhid {self.vhid}{vlan}"


class Heard(NamedTuple):
    """An advertisement on the wire, also one that receivers refuse.

    ``nanoseconds`` since 1970, never less than those of the observation before. ``problem`` is
    what a receiver refuses it for, None where it takes it (a checksum with pseudo-header is
    taken by NetBSD since 1.120 only, and is no problem here). ``authentic`` is None where no
    key was given for the vhid. The MACs are None on a link layer without.
    """

    frame: int
    nanoseconds: int
    group: Group
    source: Address
    destination: Address
    advertisement: Advertisement
    checksum: Checksum
    problem: DecodeError | None
    authentic: bool | None
    source_mac: str | None
    destination_mac: str | None
    traffic_class: int
    identification: int
    dont_fragment: bool
    hop_limit: int

    @property
    def counts(self) -> bool:
        """Whether some member of the group may take it for a MASTER's.

        The IPv6 advertisements of UCarp's fork have a checksum of 0, and only it takes them.
        """
        if self.authentic is False:
            return False
        return self.problem is None or (
            self.checksum is Checksum.ZERO
            and self.problem.reason is Reason.BADSUM
            and self.source.version == 6
        )


class Announced(NamedTuple):
    """A gratuitous ARP, request or reply, or an unsolicited neighbor advertisement.

    ``mac`` is what neighbors are to remember for ``address``, ``source_mac`` the Ethernet
    source. ``target_mac`` is ARP's target hardware address, None for a neighbor advertisement.
    """

    frame: int
    nanoseconds: int
    vlans: tuple[int, ...]
    address: Address
    mac: str
    source_mac: str
    target_mac: str | None

    @property
    def vhid(self) -> int | None:
        """Whose virtual MAC it announces; None for a MAC that is not CARP's (or VRRP's)."""
        if not self.mac.startswith(CARP_MACS):
            return None
        return int(self.mac[-2:], 16)


class Neighbor(NamedTuple):
    """An ARP packet or a neighbor advertisement that announces nothing: who has ``address``."""

    frame: int
    nanoseconds: int
    vlans: tuple[int, ...]
    address: Address
    mac: str


class Vrrp(NamedTuple):
    """A VRRP advertisement (RFC 3768, RFC 9568): the same protocol number, group and MACs."""

    frame: int
    nanoseconds: int
    vlans: tuple[int, ...]
    version: int
    router: int
    priority: int
    source: Address


class Unreadable(NamedTuple):
    """A packet of protocol 112, or a frame that may have been one, that is no advertisement.

    ``source`` and ``vhid`` are None where they could not be read.
    """

    frame: int
    nanoseconds: int
    vlans: tuple[int, ...]
    source: Address | None
    vhid: int | None
    hop_limit: int | None
    problem: DecodeError


Observation = Heard | Announced | Neighbor | Vrrp | Unreadable


class Observer:
    """Observes the records of a capture, in its order.

    ``authenticators`` by vhid say which advertisements are authentic. After the iteration
    ``first`` and ``last`` are the times of the first and the last record in nanoseconds since
    1970 (None: there was none), ``records`` their number and ``backwards`` how many were
    stamped earlier than one before them, by ``furthest_back`` nanoseconds at the most; those count
    as simultaneous with it. ``copies`` counts frames that were identical to one at most 10 ms
    before, as captures of several interfaces or of a mirror port have them: they are left out,
    and ``copy_frames`` are the first of them. ``neighbors`` is whether there was any ARP or
    neighbor advertisement.
    """

    def __init__(
        self, records: Iterable[Record], authenticators: Mapping[int, Authenticator] | None = None
    ) -> None:
        self._records = records
        self._authenticators = dict(authenticators or {})
        self.first: int | None = None
        self.last: int | None = None
        self.records: int = 0
        self.backwards: int = 0
        self.furthest_back: int = 0
        self.copies: int = 0
        self.copy_frames: list[int] = []
        self.neighbors: bool = False
        self._recent: dict[tuple[bytes, bytes], int] = {}

    def __iter__(self) -> Iterator[Observation]:
        """The observations. Raises `DecodeError` (``unknown format``) for a link type unknown."""
        for record in self._records:
            if record.linktype not in LINK_TYPES:
                peel_record(record)
            now = record.nanoseconds
            self.records += 1
            if self.first is None or self.last is None:
                self.first = self.last = now
            elif now < self.last:
                self.backwards += 1
                self.furthest_back = max(self.furthest_back, self.last - now)
                now = self.last
            else:
                self.last = now
            try:
                packet = peel_record(record)
            except DecodeError as error:
                yield Unreadable(record.number, now, (), None, None, None, error)
                continue
            if packet is not None:
                if self._copied(record, packet, now):
                    continue
                yield self._protocol_112(record, packet, now)
                continue
            frame = as_ethernet(record)
            if frame is not None:
                seen = _of_neighbors(record.number, now, frame)
                if seen is not None:
                    self.neighbors = True
                    yield seen

    def _copied(self, record: Record, packet: Packet, now: int) -> bool:
        """Whether this is one more copy of a frame that was here just now."""
        if len(record.data) > _LONGEST_COPY:
            return False
        # A cooked header names the interface, which differs between copies.
        link = record.data[: packet.ip_offset] if record.linktype == ETHERNET else b""
        key = link, record.data[packet.ip_offset :]
        before = self._recent.pop(key, None)
        self._recent[key] = now
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        if before is None or now - before > _COPIED_WITHIN:
            return False
        self.copies += 1
        if len(self.copy_frames) < 8:
            self.copy_frames.append(record.number)
        return True

    def _protocol_112(self, record: Record, packet: Packet, now: int) -> Observation:
        frame = as_ethernet(record)
        source_mac = destination_mac = None
        vlans: tuple[int, ...] = ()
        if frame is not None:
            if record.linktype == ETHERNET:
                destination_mac, source_mac = _mac(frame[:6]), _mac(frame[6:12])
            elif any(frame[6:12]):
                source_mac = _mac(frame[6:12])
            if int.from_bytes(frame[12:14], "big") in TAGS:
                vlans = peel_ethernet(frame).vlans
        vrrp = vrrp_version(packet.payload, packet.family)
        if vrrp:
            router, priority = packet.payload[1], packet.payload[2]
            return Vrrp(record.number, now, vlans, vrrp, router, priority, packet.source)
        seen = decoded(record, packet)
        advertisement, checksum = _despite(seen)
        if advertisement is None:
            assert seen.problem is not None
            vhid = packet.payload[1] if len(packet.payload) > 1 else None
            return Unreadable(
                record.number, now, vlans, packet.source, vhid, packet.hop_limit, seen.problem
            )
        authenticator = self._authenticators.get(advertisement.vhid)
        return Heard(
            record.number,
            now,
            Group(vlans, advertisement.vhid),
            packet.source,
            packet.destination,
            advertisement,
            checksum,
            seen.problem,
            None if authenticator is None else authenticator.verify(advertisement),
            source_mac,
            destination_mac,
            packet.traffic_class,
            packet.identification,
            packet.dont_fragment,
            packet.hop_limit,
        )


_mac = lru_cache(maxsize=1024)(format_mac)


def _despite(seen: Seen) -> tuple[Advertisement | None, Checksum]:
    """The advertisement also where only its checksum is wrong."""
    if seen.advertisement is not None:
        return seen.advertisement, Checksum.PSEUDO_HEADER if seen.pseudo_header else Checksum.PLAIN
    assert seen.packet is not None
    payload = seen.packet.payload[:LENGTH]
    if seen.problem is None or seen.problem.reason is not Reason.BADSUM:
        return None, Checksum.WRONG
    given = int.from_bytes(payload[6:8], "big")
    rest = int.from_bytes(payload[:6] + b"\0\0" + payload[8:], "big")
    mended = payload[:6] + (-rest % 0xFFFF).to_bytes(2, "big") + payload[8:]
    try:
        advertisement = decode(mended)
    except DecodeError:
        return None, Checksum.WRONG  # its version is wrong, too
    return advertisement._replace(checksum=given), Checksum.WRONG if given else Checksum.ZERO


def vrrp_version(payload: bytes, family: int) -> int:
    """The version of VRRP that a packet of protocol 112 is, 2 or 3; 0 where it is none.

    RFC 3768, section 5.1: version 2 and type 1 as CARP has; byte 3 counts the addresses, which
    are between 8 bytes and 8 more, and the checksum covers all of it. CARP has 36 bytes and 7
    in byte 3; VRRP of that length has 5. RFC 9568, section 5.2: version 3, no bytes after the
    addresses, and a checksum that covers the pseudo-header, too.
    """
    if len(payload) < 8 or payload[0] & 15 != 1:
        return 0
    version, count = payload[0] >> 4, payload[3]
    size = 8 + count * (4 if family == 4 else 16)
    if version == 3 and count and len(payload) >= size:
        carp = count == 7 and len(payload) == LENGTH and _sums_up(payload)
        return 0 if carp else 3
    if version == 2 and family == 4 and count and len(payload) == size + 8:
        return 2 if _sums_up(payload) else 0
    return 0


def _sums_up(payload: bytes) -> bool:
    return int.from_bytes(payload, "big") % 0xFFFF == 0


def _of_neighbors(number: int, now: int, frame: bytes) -> Announced | Neighbor | None:
    """What an Ethernet frame says of an address and its MAC by ARP or neighbor advertisement."""
    ethertype = int.from_bytes(frame[12:14], "big")
    offset = 14
    vlans: tuple[int, ...] = ()
    if ethertype in TAGS:
        try:
            ethernet = peel_ethernet(frame)
        except DecodeError:
            return None
        ethertype, offset, vlans = ethernet.ethertype, ethernet.length, ethernet.vlans
    body = frame[offset:]
    source_mac = _mac(frame[6:12])
    # Not an announcement if to one host: a FreeBSD BACKUP answers the new MASTER's ARP so.
    to_all = bool(frame[0] & 1)
    address: Address
    target_mac = None
    if ethertype == ETHERTYPE_ARP:
        if body[:6] != _ETHERNET_IPV4 or len(body) < 28:
            return None
        address, mac, target_mac = IPv4Address(body[14:18]), _mac(body[8:14]), _mac(body[18:24])
        announces = to_all and body[14:18] == body[24:28] != bytes(4)
    elif ethertype == ETHERTYPE_IPV6 and len(body) >= 64 and body[6] == _ICMPV6:
        if body[40] != _NEIGHBOR_ADVERTISEMENT:
            return None
        option = body[64:72]
        given = option[:2] == bytes((_TARGET_LINK_LAYER_ADDRESS, 1)) and len(option) == 8
        address, mac = IPv6Address(body[48:64]), _mac(option[2:8]) if given else source_mac
        announces = to_all  # UCarp's fork sets the solicited flag, wrongly
    else:
        return None
    if announces:
        return Announced(number, now, vlans, address, mac, source_mac, target_mac)
    return Neighbor(number, now, vlans, address, mac)
