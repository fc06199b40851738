"""Every packet of IP protocol 112 in a capture, decoded, or why it cannot be.

Must not know of keys, or of how anything is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from carpproto.capture.link import ETHERNET, LINK_TYPES, peel_record
from carpproto.capture.reader import Record
from carpproto.core.advertisement import HOP_LIMIT, Advertisement, decode, pseudo_header
from carpproto.core.errors import DecodeError, Reason
from carpproto.core.frame import Ethernet, Packet, peel_ethernet


class Seen(NamedTuple):
    """A packet of a capture.

    ``packet`` is None where not even the IP header could be read, ``advertisement`` where the
    payload is none; ``problem`` says what is wrong, also of one that could be decoded (its
    TTL), with its offset counted from the frame's first byte. ``pseudo_header`` is what its
    checksum covers besides, as NetBSD's does on IPv6.
    """

    record: Record
    packet: Packet | None
    advertisement: Advertisement | None
    problem: DecodeError | None
    pseudo_header: bytes = b""

    @property
    def ethernet(self) -> Ethernet | None:
        """The Ethernet header, None on another link layer or where it is cut off."""
        if self.record.linktype != ETHERNET or self.packet is None:
            return None
        return peel_ethernet(self.record.data)


def packets(records: Iterable[Record]) -> Iterator[Seen]:
    """The packets of protocol 112 among records, and the frames that cannot be read.

    Raises `DecodeError` (``unknown format``) for a link type that is not known.
    """
    for record in records:
        if record.linktype not in LINK_TYPES:
            peel_record(record)
        try:
            packet = peel_record(record)
        except DecodeError as error:
            yield Seen(record, None, None, error)
            continue
        if packet is not None:
            yield decoded(record, packet)


def decoded(record: Record, packet: Packet) -> Seen:
    """What a record's packet of protocol 112 is; what is wrong with it is in the result."""
    payload, covered = packet.payload, b""
    problem = advertisement = None
    try:
        advertisement = decode(payload)
    except DecodeError as error:
        problem = _in_frame(error, packet.offset)
        if packet.truncated and record.original_length > len(record.data):
            problem = DecodeError(
                Reason.TRUNCATED,
                len(record.data),
                f"the capture kept {len(record.data)} of {record.original_length} bytes: capture "
                "with a larger snap length",
            )
        elif packet.family == 6 and error.reason is Reason.BADSUM:
            covered = pseudo_header(packet.source, packet.destination)
            try:
                advertisement = decode(payload, pseudo_header=covered)
                problem = None
            except DecodeError:
                covered = b""  # wrong either way: the plain checksum is what is reported
    if problem is None and packet.hop_limit != HOP_LIMIT:
        problem = DecodeError(
            Reason.BADTTL,
            packet.ip_offset + (8 if packet.family == 4 else 7),
            f"TTL {packet.hop_limit}, an advertisement has {HOP_LIMIT}",
        )
    return Seen(record, packet, advertisement, problem, covered)


def _in_frame(error: DecodeError, offset: int) -> DecodeError:
    """The same error, its place counted from the beginning of the frame."""
    return DecodeError(error.reason, offset + error.offset, error.text)
