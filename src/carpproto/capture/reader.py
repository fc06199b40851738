"""Read capture files, pcap and pcapng, one packet record after the other.

Must not know what a packet contains: a `Record` is a time, a link type and bytes, and
`carpproto.capture.link` makes something of them. A file is read once, front to back and in
pieces: a pipe will do, and the memory it takes has a bound (some 1 MB for pcap, three
times `MAX_BLOCK` for pcapng), however long it is and whatever its length fields claim.

pcap (draft-ietf-opsawg-pcap) goes around dpkt 1.9.8: its reader takes three times as long,
hands out a record that was cut off as if it were whole, and allocates whatever a length
field says.

pcapng (draft-ietf-opsawg-pcapng) goes through dpkt's block classes for the fixed fields of
the rare blocks: section header, interface description, obsolete packet. It goes around dpkt
for the rest. dpkt's reader uses the first interface's link type and timestamp resolution and
the first section's byte order for all, computes times in floats, passes over simple packet
blocks and believes every length. Its options parser gives up on a comment that is not UTF-8.
Its enhanced packet block takes twenty times as long as the five fields need, and goes past
the end of the data where the captured length does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import gcd
from os import PathLike
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from carpproto.core.errors import DecodeError, Reason

MAX_CAPTURED = 262_144
"""The most bytes of a packet: libpcap's MAXIMUM_SNAPLEN, Wireshark's
WTAP_MAX_PACKET_SIZE_STANDARD. A record that claims more is damaged."""

MAX_BLOCK = 16 * 1024 * 1024
"""The most bytes of a pcapng block, as in libpcap and Wireshark: blocks that are no packets
may be longer than one."""

_CHUNK = 262_144  # bytes asked of the file at a time
_ZEROS = 4096  # so many zeros in place of records, or fewer up to the end, are no records
_MAX_INTERFACES = 65_536  # of a section; each takes memory, so there has to be an end
_SECOND = 1_000_000_000  # nanoseconds

_FILE_HEADER = 24  # bytes
# Magic number -> byte order, nanoseconds in a unit of the fraction, bytes of a record header.
_PCAP_MAGICS = {
    Struct(f"{order}I").pack(magic): (order, scale, size)
    for order in "<>"
    for magic, scale, size in (
        (0xA1B2C3D4, 1000, 16),
        (0xA1B23C4D, 1, 16),
        (0xA1B2CD34, 1000, 24),  # "modified": the interface and more follow the lengths
    )
}
_RESERVED = 0x0BFF0000  # bits of the link type field that a reader should treat as an error

_SECTION_HEADER = 0x0A0D0D0A  # the same in either byte order
_INTERFACE, _OBSOLETE_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
# Type -> bytes of the shortest, where that is more than the 12 of any block.
_SHORTEST = {_SECTION_HEADER: 28, 1: 20, 2: 32, 3: 16, 6: 32}
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_END_OF_OPTIONS, _TSRESOL, _TSOFFSET = 0, 9, 14  # options of an interface description
_OPTION_LENGTHS = {_TSRESOL: 1, _TSOFFSET: 8}


class Record(NamedTuple):
    """One packet of a capture file.

    ``number`` counts the packets of the file from 1, as Wireshark does. ``nanoseconds`` since
    1970-01-01 00:00 UTC are exact; what is finer is rounded down. (A pcapng file can say any
    64-bit number of seconds, before or after 1970.) ``linktype`` is a link type number
    (https://www.tcpdump.org/linktypes.html). ``data`` is what was captured of a packet of
    ``original_length`` bytes, from its link layer header on.

    A simple packet block has no time: it gets that of the packet before it, or 0.
    """

    number: int
    nanoseconds: int
    linktype: int
    data: bytes
    original_length: int

    @property
    def time(self) -> float:
        """Seconds since 1970-01-01 00:00 UTC."""
        return self.nanoseconds / _SECOND


# Record(...) would go through a function of Python's, and take half as long again to read a file.
_record: Callable[[tuple[Any, ...]], Record] = partial(cast(Any, tuple.__new__), Record)


def open_capture(path: str | PathLike[str] | BinaryIO) -> Capture:
    """Open a capture file: a path, or a binary file that is open already, such as stdin.

    A file that is given open is read from where it stands, without seeking, and left open.
    Raises `DecodeError` for what is no capture file (``unknown format``) or ends within its
    header (``truncated``), and `OSError` for what cannot be opened or read.
    """
    if not isinstance(path, (str, PathLike)):
        return Capture(path)
    file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - the Capture closes it
    try:
        return Capture(file, close=True)
    except BaseException:
        file.close()
        raise


class Capture:
    """The records of a capture file, to be iterated over once. `open_capture` makes it.

    The iteration raises `DecodeError` where the file contradicts itself, after the records
    before that place. ``warning`` says, in the end, why something was left unread: the file
    ends within a record, or a long run of zeros took the place of the records, as a crash or
    a full disk leaves them. It is None if all is well.
    """

    warning: str | None

    def __init__(self, file: BinaryIO, *, close: bool = False) -> None:
        self.warning = None
        self._close = file.close if close else None
        self._window = _Window(file)
        self._window.slide(0, _FILE_HEADER)
        magic = self._window.data[:4]
        if magic in _PCAP_MAGICS:
            self._records = self._pcap(*_PCAP_MAGICS[magic])
        elif magic == b"\n\r\r\n":
            self._records = self._pcapng()
        elif not magic:
            raise DecodeError(Reason.TRUNCATED, 0, "the file is empty")
        else:
            hint = "; it looks gzipped, unpack it first" if magic[:2] == b"\x1f\x8b" else ""
            text = f"the file begins with {magic.hex(' ')}, neither pcap nor pcapng{hint}"
            raise DecodeError(Reason.UNKNOWN_FORMAT, 0, text)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Record]:
        return self._records

    def __next__(self) -> Record:
        return next(self._records)

    def close(self) -> None:
        """Close the file, unless it was given open."""
        if self._close is not None:
            self._close()

    def _pcap(self, order: str, scale: int, size: int) -> Iterator[Record]:
        """Check the file header; what reads the records."""
        window = self._window
        if len(window.data) < _FILE_HEADER:
            raise _cut_off("the file header", window, _FILE_HEADER)
        major, minor, linktype = Struct(f"{order}4xHH12xI").unpack_from(window.data)
        if (major, minor) != (2, 4):
            text = f"a pcap file of version {major}.{minor}, expected 2.4"
            raise DecodeError(Reason.UNKNOWN_FORMAT, 4, text)
        if linktype & _RESERVED:
            text = f"the link type {linktype:#010x} has bits set that are reserved"
            raise DecodeError(Reason.UNKNOWN_FORMAT, 20, text)
        header = Struct(f"{order}IIII{size - 16}x")
        return self._pcap_records(linktype & 0xFFFF, scale, header)

    def _pcap_records(self, linktype: int, scale: int, header: Struct) -> Iterator[Record]:
        window = self._window
        size = header.size
        unpack = header.unpack_from
        number = 0
        position = _FILE_HEADER
        needed = size
        while window.slide(position, needed):
            data = window.data
            end = len(data)
            position = 0
            needed = size
            while (begin := position + size) <= end:
                seconds, fraction, captured, original = unpack(data, position)
                if captured > MAX_CAPTURED:
                    # The header of a file that was appended looks like an empty record.
                    if data[max(position - size, 0) :][:4] in _PCAP_MAGICS:
                        raise _joined(number, window.start + position - size)
                    raise _too_long(number + 1, captured, window.start + position + 8)
                following = begin + captured
                if following > end:
                    needed = following - position
                    break
                if not (captured or original or seconds or fraction) and window.zeros(position):
                    self.warning = _zeros(window.start + position)
                    return
                number += 1
                time = seconds * _SECOND + fraction * scale
                values = (number, time, linktype, data[begin:following], original)
                yield _record(values)
                position = following
        if window.data:
            self.warning = _cut_off(f"record {number + 1}", window, needed).text

    def _pcapng(self) -> Iterator[Record]:
        """Check the first section header; what reads the records."""
        window = self._window
        section = _Section()
        if len(window.data) < 12:
            raise _cut_off("the section header", window, _SHORTEST[_SECTION_HEADER])
        length = section.begin(window.data, 0, 0)
        if not window.slide(0, length):
            raise _cut_off("the section header", window, length)
        section.check_version(window.data, 0)
        return self._pcapng_records(section)

    def _pcapng_records(self, section: _Section) -> Iterator[Record]:
        number = time = 0
        for kind, start, block in self._blocks(section):
            if kind == _ENHANCED_PACKET:
                interface, high, low, captured, original = section.enhanced_packet(block, 8)
            elif kind == _OBSOLETE_PACKET:
                interface, high, low, captured, original = section.obsolete_packet(block)
            elif kind == _SIMPLE_PACKET:
                (original,) = section.word(block, 8)
                interface = high = low = captured = 0
            else:
                if kind == _INTERFACE:
                    section.add_interface(block, start)
                elif kind == _SECTION_HEADER:
                    section.check_version(block, start)
                continue
            number += 1
            if interface >= len(section.interfaces):
                text = (
                    f"record {number} is from interface {interface}, counted from 0, and only "
                    f"{len(section.interfaces)} have been described"
                )
                raise DecodeError(Reason.MALFORMED, start + 8, text)
            linktype, snaplen, multiplier, divisor, offset = section.interfaces[interface]
            if kind == _SIMPLE_PACKET:
                captured = min(original, snaplen or original)
                begin = 12
            else:
                time = (high << 32 | low) * multiplier // divisor + offset
                begin = 28
            if captured > MAX_CAPTURED:
                raise _too_long(number, captured, start + 8)
            if begin + captured > len(block) - 4:
                text = f"record {number} claims {captured} bytes, more than its block has"
                raise DecodeError(Reason.MALFORMED, start + 8, text)
            values = (number, time, linktype, block[begin : begin + captured], original)
            yield _record(values)

    def _blocks(self, section: _Section) -> Iterator[tuple[int, int, bytes]]:
        """Each block: its type, where in the file it begins, and its bytes, all of them."""
        window = self._window
        position = 0
        needed = 12
        while window.slide(position, needed):
            data = window.data
            end = len(data)
            position = 0
            needed = 12
            while position + 12 <= end:
                start = window.start + position
                kind, length = section.block_header(data, position)
                if kind == length == 0:
                    self.warning = _zeros(start)
                    return
                if kind == _SECTION_HEADER:
                    length = section.begin(data, position, start)
                following = position + _checked_length(kind, length, start)
                if following > end:
                    needed = length
                    break
                (repeated,) = section.word(data, following - 4)
                if repeated != length:
                    text = f"a block of {length} bytes that says at its end it has {repeated}"
                    raise DecodeError(Reason.MALFORMED, start + length - 4, text)
                yield kind, start, data[position:following]
                position = following
        if window.data:
            self.warning = _cut_off("a block", window, needed).text


class _Section:
    """What a pcapng section header settles for the blocks after it: byte order, interfaces.

    Of an interface it keeps the link type, the snap length (0: none), and the multiplier,
    divisor and addend that make nanoseconds of a timestamp.
    """

    interfaces: list[tuple[int, int, int, int, int]]

    def begin(self, data: bytes, position: int, start: int) -> int:
        """Take the byte order from the section header at ``position``; the header's length."""
        from dpkt import pcapng

        magic = data[position + 8 : position + 12]
        if magic not in _BYTE_ORDERS:
            text = f"a pcapng section with {magic.hex(' ')} for a byte-order magic, 1a 2b 3c 4d"
            raise DecodeError(Reason.UNKNOWN_FORMAT, start + 8, text)
        order = _BYTE_ORDERS[magic]
        suffix = "LE" if order == "<" else ""
        self._section_header: Any = getattr(pcapng, f"SectionHeaderBlock{suffix}")
        self._interface_description: Any = getattr(pcapng, f"InterfaceDescriptionBlock{suffix}")
        self._obsolete_packet: Any = getattr(pcapng, f"PacketBlock{suffix}")
        self.word = Struct(f"{order}I").unpack_from
        self.block_header = Struct(f"{order}II").unpack_from
        self.enhanced_packet = Struct(f"{order}IIIII").unpack_from
        self._order: Literal["little", "big"] = "little" if order == "<" else "big"
        self.interfaces = []
        (length,) = self.word(data, position + 4)
        return _checked_length(_SECTION_HEADER, length, start)

    def check_version(self, block: bytes, start: int) -> None:
        header = self._section_header()
        header.unpack_hdr(block)
        if header.v_major != 1:
            text = f"a pcapng section of version {header.v_major}.{header.v_minor}, expected 1.0"
            raise DecodeError(Reason.UNKNOWN_FORMAT, start + 12, text)

    def obsolete_packet(self, block: bytes) -> tuple[int, int, int, int, int]:
        """The same five fields as of an enhanced packet block."""
        packet = self._obsolete_packet()
        packet.unpack_hdr(block)
        return packet.iface_id, packet.ts_high, packet.ts_low, packet.caplen, packet.pkt_len

    def add_interface(self, block: bytes, start: int) -> None:
        """Read an interface description, with the options that say what a timestamp means."""
        if len(self.interfaces) == _MAX_INTERFACES:
            text = f"a section with more than {_MAX_INTERFACES} interfaces"
            raise DecodeError(Reason.MALFORMED, start, text)
        interface = self._interface_description()
        interface.unpack_hdr(block)
        units = 1_000_000  # in a second
        offset = 0
        position, end = 16, len(block) - 4
        while position < end:
            code = int.from_bytes(block[position : position + 2], self._order)
            length = int.from_bytes(block[position + 2 : position + 4], self._order)
            if code == _END_OF_OPTIONS:
                break
            value = block[position + 4 : min(position + 4 + length, end)]
            if len(value) < length or length != _OPTION_LENGTHS.get(code, length):
                text = f"option {code} of an interface cannot have {length} bytes here"
                raise DecodeError(Reason.MALFORMED, start + position, text)
            if code == _TSRESOL:
                units = (2 if value[0] & 0x80 else 10) ** (value[0] & 0x7F)
            elif code == _TSOFFSET:
                offset = int.from_bytes(value, self._order, signed=True) * _SECOND
            position += 4 + length + -length % 4
        common = gcd(units, _SECOND)
        self.interfaces.append(
            (interface.linktype, interface.snaplen, _SECOND // common, units // common, offset)
        )


class _Window:
    """The part of a file that is in memory: ``data``, which begins at byte ``start``."""

    def __init__(self, file: BinaryIO) -> None:
        # read1 takes what a pipe has, instead of waiting for a whole chunk.
        self._read = getattr(file, "read1", file.read)
        self.data = b""
        self.start = 0

    def slide(self, position: int, needed: int) -> bool:
        """Forget what is before ``position``, and read on until ``needed`` bytes are there.

        False if the file ends first: ``data`` is then all that is left of it.
        """
        pieces = [self.data[position:]]
        self.start += position
        available = len(pieces[0])
        while available < needed and (piece := self._read(_CHUNK)):
            pieces.append(piece)
            available += len(piece)
        self.data = b"".join(pieces)
        return available >= needed

    def zeros(self, position: int) -> bool:
        """Whether only zeros follow ``position``, `_ZEROS` of them or up to the end."""
        self.slide(0, position + _ZEROS)
        return not self.data[position : position + _ZEROS].strip(b"\0")


def _checked_length(kind: int, length: int, start: int) -> int:
    shortest = _SHORTEST.get(kind, 12)
    if length % 4 or not shortest <= length <= MAX_BLOCK:
        text = (
            f"a block of type {kind:#x} with {length} bytes; "
            f"expected a multiple of 4, {shortest} to {MAX_BLOCK}"
        )
        raise DecodeError(Reason.MALFORMED, start + 4, text)
    return length


def _joined(number: int, offset: int) -> DecodeError:
    text = f"another capture file begins where record {number} should; join files with mergecap"
    return DecodeError(Reason.MALFORMED, offset, text)


def _too_long(number: int, captured: int, offset: int) -> DecodeError:
    text = f"record {number} claims {captured} bytes; a packet has at most {MAX_CAPTURED}"
    return DecodeError(Reason.MALFORMED, offset, text)


def _cut_off(what: str, window: _Window, needed: int) -> DecodeError:
    text = (
        f"the file ends within {what}, which begins at byte {window.start}: "
        f"{len(window.data)} of {needed} bytes are there"
    )
    return DecodeError(Reason.TRUNCATED, window.start + len(window.data), text)


def _zeros(start: int) -> str:
    return f"only zeros from byte {start} on; what may come after them was not read"
