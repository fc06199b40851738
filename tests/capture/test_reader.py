"""carpproto.capture.reader: real recordings, both formats in all their variants, damaged files.

dpkt's pcap reader, editcap and tshark are the judges where they can be.
"""

from __future__ import annotations

import gc
import io
import os
import subprocess
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from struct import pack
from typing import BinaryIO, cast

import dpkt.pcap
import pytest

from carpproto.capture.reader import (
    MAX_BLOCK,
    MAX_CAPTURED,
    Capture,
    Record,
    open_capture,
)
from carpproto.core.errors import DecodeError, Reason

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("*/*.pcap"))
EACH_RECORDING = pytest.mark.parametrize(
    "path", RECORDINGS, ids=[f"{path.parent.name}-{path.stem}" for path in RECORDINGS]
)
EACH_ORDER = pytest.mark.parametrize("order", "<>", ids=["little-endian", "big-endian"])

MICRO, NANO, MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
GIBIBYTE = 1 << 30


# Writing, as little as is needed.


def pcap_header(
    order: str = "<",
    magic: int = MICRO,
    *,
    version: tuple[int, int] = (2, 4),
    linktype: int = 1,
    snaplen: int = 65535,
) -> bytes:
    return pack(f"{order}IHHiIII", magic, *version, 0, 0, snaplen, linktype)


def pcap_record(
    data: bytes, time: tuple[int, int] = (0, 0), *, original: int | None = None, order: str = "<"
) -> bytes:
    return pack(f"{order}IIII", *time, len(data), original or len(data)) + data


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = pack(f"{order}I", 12 + len(body))
    return pack(f"{order}I", kind) + length + body + length


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<", *, version: tuple[int, int] = (1, 0), options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, pack(f"{order}IHHq", 0x1A2B3C4D, *version, -1) + options, order)


def interface(
    linktype: int = 1, *, snaplen: int = 0, options: bytes = b"", order: str = "<"
) -> bytes:
    return block(1, pack(f"{order}HHI", linktype, 0, snaplen) + options, order)


def enhanced_packet(
    data: bytes,
    time: int = 0,
    *,
    number: int = 0,
    original: int | None = None,
    options: bytes = b"",
    order: str = "<",
) -> bytes:
    length = len(data)
    fields = (number, time >> 32, time & 0xFFFFFFFF, length, original or length)
    padding = bytes(-length % 4)
    return block(6, pack(f"{order}IIIII", *fields) + data + padding + options, order)


def obsolete_packet(data: bytes, time: int = 0, *, number: int = 0, order: str = "<") -> bytes:
    fields = (number, 0xFFFF, time >> 32, time & 0xFFFFFFFF, len(data), len(data))
    return block(2, pack(f"{order}HHIIII", *fields) + data, order)


def simple_packet(data: bytes, *, original: int | None = None, order: str = "<") -> bytes:
    return block(3, pack(f"{order}I", original or len(data)) + data, order)


def as_pcapng(records: Iterable[Record], order: str) -> bytes:
    """Each record from an interface of its link type, nanoseconds, with a comment."""
    nanoseconds = option(9, b"\x09", order) + option(0, b"", order)
    comment = option(1, b"Sch\xf6n", order) + option(0, b"", order)  # Latin-1, as it happens
    linktypes: list[int] = []
    blocks = [section(order, options=comment)]
    for _, time, linktype, data, original in records:
        if linktype not in linktypes:
            linktypes.append(linktype)
            blocks.append(interface(linktype, options=nanoseconds, order=order))
        number = linktypes.index(linktype)
        blocks.append(
            enhanced_packet(
                data, time, number=number, original=original, options=comment, order=order
            )
        )
    return b"".join(blocks)


# Reading.


def read(content: bytes | Path) -> list[Record]:
    """All records of a file that ends well."""
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    with open_capture(source) as capture:
        records = list(capture)
    assert capture.warning is None
    return records


def read_some(content: bytes) -> tuple[list[Record], str | DecodeError | None]:
    """The records that come out, and the warning or the error at the end."""
    records: list[Record] = []
    try:
        capture = open_capture(io.BytesIO(content))
        # One by one: what came before an error counts.
        for record in capture:
            records.append(record)  # noqa: PERF402
    except DecodeError as error:
        return records, error
    return records, capture.warning


def refused(content: bytes) -> DecodeError:
    """Why a file is refused at once, before its first record."""
    with pytest.raises(DecodeError) as caught:
        open_capture(io.BytesIO(content))
    return caught.value


def fields_by_tshark(path: Path, *names: str) -> list[list[str]]:
    command = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    for name in names:
        command += ["-e", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def as_tshark_shows(records: Iterable[Record]) -> list[list[str]]:
    """frame.number, frame.time_epoch, frame.cap_len and frame.len."""
    return [
        [
            str(record.number),
            "{}.{:09d}".format(*divmod(record.nanoseconds, 10**9)),
            str(len(record.data)),
            str(record.original_length),
        ]
        for record in records
    ]


AS_TSHARK_SHOWS = ("frame.number", "frame.time_epoch", "frame.cap_len", "frame.len")


# Real recordings.


def test_there_are_recordings() -> None:
    assert {path.parent.name for path in RECORDINGS} == {"freebsd", "netbsd", "ucarp"}


@EACH_RECORDING
def test_a_recording_reads_as_dpkt_reads_it(path: Path) -> None:
    with path.open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        expected = [(round(time * 10**6) * 1000, data) for time, data in reader]
        linktype = reader.datalink()
    records = read(path)
    assert [(record.nanoseconds, record.data) for record in records] == expected
    assert [record.number for record in records] == list(range(1, len(expected) + 1))
    assert {record.linktype for record in records} == {linktype}
    assert all(record.original_length == len(record.data) for record in records)


@EACH_ORDER
@EACH_RECORDING
def test_a_recording_reads_the_same_as_pcapng(path: Path, order: str) -> None:
    records = read(path)
    assert read(as_pcapng(records, order)) == records


@pytest.mark.parametrize("kind", ["pcapng", "pcap", "nsecpcap", "modpcap"])
def test_a_recording_reads_the_same_as_editcap_converts_it(kind: str, tmp_path: Path) -> None:
    for path in (RECORDINGS[0], RECORDINGS[-1]):
        converted = tmp_path / f"{path.stem}.{kind}"
        subprocess.run(
            ["editcap", "-F", kind, str(path), str(converted)], check=True, capture_output=True
        )
        assert converted.read_bytes()[:4] != path.read_bytes()[:4] or kind == "pcap"
        assert read(converted) == read(path)


def test_what_editcap_cut_keeps_its_original_length(tmp_path: Path) -> None:
    path = RECORDINGS[0]
    for kind in ("pcap", "pcapng"):
        cut = tmp_path / f"cut.{kind}"
        command = ["editcap", "-F", kind, "-s", "40", str(path), str(cut)]
        subprocess.run(command, check=True, capture_output=True)
        assert read(cut) == [record._replace(data=record.data[:40]) for record in read(path)]


# Opening.


def test_path_string_and_open_file_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap_header() + pcap_record(b"abc"))
    with path.open("rb") as file, open_capture(file) as one, open_capture(str(path)) as other:
        assert list(one) == list(other) == read(path) == [Record(1, 0, 1, b"abc", 3)]


def test_a_path_is_closed_and_a_file_given_open_is_not() -> None:
    path = RECORDINGS[0]
    with open_capture(path) as capture:
        next(capture)
    with pytest.raises(ValueError, match="closed"):
        list(capture)
    with path.open("rb") as file:
        with open_capture(file):
            pass
        assert not file.closed


def test_a_path_is_closed_when_it_is_no_capture(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("nothing of the kind")
    with pytest.raises(DecodeError):
        open_capture(path)
    gc.collect()  # an open file would now be a ResourceWarning, which is an error


def test_a_pipe_is_read() -> None:
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb") as file, os.fdopen(writable, "wb") as pipe:
        pipe.write(pcap_header() + pcap_record(b"first") + pcap_record(b"second"))
        pipe.close()
        assert not file.seekable()
        assert [record.data for record in open_capture(file)] == [b"first", b"second"]


def test_a_live_capture_is_read_as_it_comes() -> None:
    """A record comes out when it is there, and not when the next one is."""
    second = pcap_record(b"second")
    pieces = [pcap_header()[:5], pcap_header()[5:] + pcap_record(b"first")]

    class Live(io.BufferedIOBase):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("waits until a buffer is full")

        def read1(self, size: int = -1) -> bytes:
            assert pieces, "waits for more than it needs"
            return pieces.pop(0)

    capture = open_capture(cast("BinaryIO", Live()))
    assert next(capture).data == b"first"
    pieces += [second[:3], second[3:20], second[20:]]
    assert next(capture).data == b"second"
    pieces.append(b"")
    assert list(capture) == []
    assert capture.warning is None


def test_iteration_goes_on_where_it_was_left() -> None:
    content = pcap_header() + b"".join(pcap_record(bytes([n])) for n in range(1, 6))
    capture = open_capture(io.BytesIO(content))
    assert next(capture).number == 1
    assert next(iter(capture)).number == 2
    assert [record.number for record in capture] == [3, 4, 5]
    assert list(capture) == []


def test_what_cannot_be_opened_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_capture(tmp_path / "missing.pcap")
    with pytest.raises(IsADirectoryError):
        open_capture(tmp_path)


def test_an_error_while_reading_is_passed_on() -> None:
    class Failing(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        open_capture(cast("BinaryIO", Failing()))


# What is refused at once.


def test_an_empty_file() -> None:
    error = refused(b"")
    assert (error.reason, error.offset) == (Reason.TRUNCATED, 0)
    assert "empty" in str(error)


@pytest.mark.parametrize(
    "content",
    [b"x", b"\xd4\xc3\xb2", bytes(100), b"#!/bin/sh\n", b"\n\r\r\n" + bytes(24), bytes(24)],
)
def test_what_is_no_capture(content: bytes) -> None:
    assert refused(content).reason == Reason.UNKNOWN_FORMAT


def test_a_gzipped_capture_is_named() -> None:
    assert "gzip" in str(refused(b"\x1f\x8b\x08\x00" + bytes(30)))


@EACH_ORDER
@pytest.mark.parametrize("version", [(1, 4), (2, 3), (2, 5), (4, 2), (0x200, 0x400)])
def test_another_version_of_pcap(order: str, version: tuple[int, int]) -> None:
    error = refused(pcap_header(order, version=version))
    assert (error.reason, error.offset) == (Reason.UNKNOWN_FORMAT, 4)
    assert "{}.{}".format(*version) in str(error)


def test_another_version_of_pcapng() -> None:
    error = refused(section(version=(2, 0)))
    assert (error.reason, error.offset) == (Reason.UNKNOWN_FORMAT, 12)
    assert "2.0" in str(error)
    assert read(section(version=(1, 2))) == []  # what some wrote for 1.0, says the draft
    first = section() + interface() + enhanced_packet(b"abc")
    records, later = read_some(first + section(version=(2, 0)))
    assert len(records) == 1
    assert isinstance(later, DecodeError)
    assert later.offset == len(first) + 12


@pytest.mark.parametrize("bits", [1 << 27, 1 << 25, 1 << 16])
def test_reserved_bits_in_the_link_type_of_pcap(bits: int) -> None:
    error = refused(pcap_header(linktype=1 | bits))
    assert (error.reason, error.offset) == (Reason.UNKNOWN_FORMAT, 20)


def test_the_length_of_a_frame_check_sequence_is_not_the_link_type() -> None:
    # FCS length 2 (16-bit words), and the P bit that says so.
    (record,) = read(pcap_header(linktype=2 << 28 | 1 << 26 | 1) + pcap_record(b"abc"))
    assert record.linktype == 1


@pytest.mark.parametrize("header", [pcap_header(), pcap_header(">", NANO), section()])
def test_a_header_cut_anywhere(header: bytes) -> None:
    assert read(header) == []
    for length in range(4, len(header)):
        error = refused(header[:length])
        assert error.reason == Reason.TRUNCATED
        assert error.offset == length


# pcap.


@EACH_ORDER
def test_the_fraction_of_a_second_is_micro_or_nanoseconds(order: str) -> None:
    record = pcap_record(b"abc", (1_700_000_000, 999_999), order=order)
    (micro,) = read(pcap_header(order, MICRO) + record)
    (nano,) = read(pcap_header(order, NANO) + record)
    assert micro.nanoseconds == 1_700_000_000_999_999_000
    assert nano.nanoseconds == 1_700_000_000_000_999_999
    assert micro.time == 1_700_000_000.999999


@EACH_ORDER
def test_modified_pcap_has_longer_record_headers(order: str) -> None:
    record = pack(f"{order}IIIIIHBB", 7, 8, 3, 60, 2, 0x0800, 4, 0) + b"abc"
    content = pcap_header(order, MODIFIED, linktype=1) + record * 2
    assert read(content) == [Record(number, 7_000_008_000, 1, b"abc", 60) for number in (1, 2)]


def test_a_pcap_of_this_century_ends_in_2106() -> None:
    (record,) = read(pcap_header() + pcap_record(b"", (0xFFFFFFFF, 999_999), original=60))
    assert record == Record(1, 4_294_967_295_999_999_000, 1, b"", 60)


def test_records_longer_than_the_snap_length_are_read_whole() -> None:
    (record,) = read(pcap_header(snaplen=4) + pcap_record(b"longer than that"))
    assert record.data == b"longer than that"


def test_files_that_were_joined_with_cat() -> None:
    first = pcap_header() + pcap_record(b"a packet") * 3
    records, error = read_some(first + pcap_header() + pcap_record(b"another", (1_700_000_000, 0)))
    assert len(records) == 4  # a file header looks like an empty record
    assert isinstance(error, DecodeError)
    assert error.offset == len(first)
    assert "another capture file begins where record 4 should; join files with merge" in str(error)


def test_the_longest_record_and_one_that_claims_more() -> None:
    longest = pcap_record(bytes(range(256)) * 1024)
    assert len(longest) == 16 + MAX_CAPTURED
    first, second = read(pcap_header() + longest * 2)
    assert first.data == second.data == longest[16:]
    too_long = pack("<IIII", 0, 0, MAX_CAPTURED + 1, MAX_CAPTURED + 1)
    for rest in (b"", bytes(MAX_CAPTURED + 1)):
        records, error = read_some(pcap_header() + longest + too_long + rest)
        assert len(records) == 1
        assert isinstance(error, DecodeError)
        assert (error.reason, error.offset) == (Reason.MALFORMED, 24 + len(longest) + 8)
        assert "record 2 claims 262145 bytes" in str(error)


def test_a_record_of_no_bytes_is_a_record() -> None:
    content = pcap_header() + pcap_record(b"", (1, 0)) + pcap_record(b"") + pcap_record(b"abc")
    assert [record.data for record in read(content)] == [b"", b"", b"abc"]


# pcapng.


@EACH_ORDER
def test_each_interface_has_its_own_link_type_resolution_and_offset(order: str) -> None:
    def described(linktype: int, *options: tuple[int, bytes]) -> bytes:
        written = b"".join(option(code, value, order) for code, value in options)
        return interface(linktype, options=written, order=order)

    name = (2, b"em0")
    end = (0, b"")
    offset = pack(f"{order}q", -3600)
    interfaces = [
        (described(1), 1, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (described(101, name, (9, b"\x09"), end), 101, 10**18 + 1, 10**18 + 1),
        (described(113, (9, b"\x03"), name), 113, 1_700_000_000_123, 1_700_000_000_123_000_000),
        (described(0, (9, b"\x00"), end, (9, b"\x07")), 0, 1_700_000_000, 17 * 10**17),
        (described(276, (9, b"\x0c")), 276, 1_000_000_001_999, 1_000_000_001),
        (described(228, (9, b"\x8a")), 228, 1024 + 512, 1_500_000_000),
        (described(229, (9, b"\xa0")), 229, (5 << 32) + 1, 5_000_000_000),
        (described(1, (14, offset), end), 1, 10**6, 1_000_000_000 - 3600 * 10**9),
    ]
    content = section(order) + b"".join(written for written, *_ in interfaces)
    for number, (_, _, time, _) in reversed([*enumerate(interfaces)]):
        content += enhanced_packet(b"abcde", time, number=number, order=order)
    assert [(record.linktype, record.nanoseconds) for record in read(content)] == [
        (linktype, nanoseconds) for _, linktype, _, nanoseconds in reversed(interfaces)
    ]


def test_the_finest_resolution_and_the_largest_numbers() -> None:
    finest = interface(options=option(9, b"\x7f"))  # 10 ** -127
    coarsest = interface(options=option(9, b"\x00") + option(14, pack("<q", 2**63 - 1)))
    content = section() + finest + coarsest
    content += enhanced_packet(b"", 2**64 - 1, number=0, original=1)
    content += enhanced_packet(b"", 2**64 - 1, number=1, original=1)
    first, second = read(content)
    assert first.nanoseconds == 0
    assert second.nanoseconds == (2**64 - 1 + 2**63 - 1) * 10**9
    assert second.time == pytest.approx(2.77e19, rel=0.01)


def test_a_simple_packet_has_the_time_of_the_packet_before() -> None:
    content = section() + interface(101, snaplen=4) + interface(1)
    content += simple_packet(b"abcd", original=60)
    content += enhanced_packet(b"fghijk", 5, number=1)
    content += simple_packet(b"lmn")
    assert read(content) == [
        Record(1, 0, 101, b"abcd", 60),
        Record(2, 5000, 1, b"fghijk", 6),
        Record(3, 5000, 101, b"lmn", 3),
    ]


def test_a_simple_packet_of_an_interface_without_limit_is_whole() -> None:
    (record,) = read(section() + interface(snaplen=0) + simple_packet(b"abcdefghi"))
    assert record.data == b"abcdefghi"
    _, error = read_some(section() + interface(snaplen=0) + simple_packet(b"abcd", original=60))
    assert isinstance(error, DecodeError)
    assert error.reason == Reason.MALFORMED


@EACH_ORDER
def test_an_obsolete_packet_block_is_read(order: str) -> None:
    content = section(order) + interface(order=order) + interface(101, order=order)
    content += obsolete_packet(b"abcde", 2**32 + 7, number=1, order=order)
    assert read(content) == [Record(1, (2**32 + 7) * 1000, 101, b"abcde", 5)]


def test_each_section_has_its_own_byte_order_and_interfaces() -> None:
    content = b""
    for order, linktype in (("<", 1), (">", 101), (">", 113), ("<", 0)):
        content += section(order) + interface(linktype, order=order)
        content += enhanced_packet(b"abc", linktype, order=order)
    assert read(content) == [
        Record(number, linktype * 1000, linktype, b"abc", 3)
        for number, linktype in enumerate((1, 101, 113, 0), start=1)
    ]


def test_interfaces_of_the_section_before_are_forgotten() -> None:
    records, error = read_some(
        section() + interface() + enhanced_packet(b"abc") + section() + enhanced_packet(b"abc")
    )
    assert len(records) == 1
    assert isinstance(error, DecodeError)
    assert "record 2 is from interface 0" in str(error)


def test_blocks_of_no_interest_are_passed_over() -> None:
    content = section()
    content += block(0x80000BAD, b"")
    content += interface() + block(5, bytes(100)) + block(4, b"\xff" * 1_000_000)
    content += enhanced_packet(b"abc") + block(0xFFFFFFFF, b"abcd")
    assert [record.data for record in read(content)] == [b"abc"]


@pytest.mark.parametrize("kind", [6, 2, 3])
def test_a_packet_of_an_interface_that_was_not_described(kind: int) -> None:
    packet = {
        6: enhanced_packet(b"abc", number=1),
        2: obsolete_packet(b"abc", number=1),
        3: simple_packet(b"abc"),
    }[kind]
    described = b"" if kind == 3 else interface()
    records, error = read_some(section() + described + packet)
    assert records == []
    assert isinstance(error, DecodeError)
    assert error.reason == Reason.MALFORMED
    assert f"interface {0 if kind == 3 else 1}, counted from 0" in str(error)


@pytest.mark.parametrize("length", [0, 1, 4, 8, 11, 14, 28, 33, MAX_BLOCK + 4, 0xFFFFFFFC])
def test_a_length_that_no_enhanced_packet_block_can_have(length: int) -> None:
    good = section() + interface() + enhanced_packet(b"abc")
    bad = bytearray(enhanced_packet(b"abc"))
    bad[4:8] = pack("<I", length)
    records, error = read_some(good + bytes(bad))
    assert [record.data for record in records] == [b"abc"]
    assert isinstance(error, DecodeError)
    assert (error.reason, error.offset) == (Reason.MALFORMED, len(good) + 4)
    assert str(length) in str(error)


@pytest.mark.parametrize("kind", [0x0A0D0D0A, 1, 2, 3, 6, 5])
def test_a_block_too_short_for_its_type(kind: int) -> None:
    shortest = {0x0A0D0D0A: 28, 1: 20, 2: 32, 3: 16, 6: 32}.get(kind, 12)
    body = pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)[: shortest - 16]
    records, error = read_some(section() + interface() + block(kind, body))
    if kind == 5:
        assert (records, error) == ([], None)
    else:
        assert isinstance(error, DecodeError)
        assert error.reason == Reason.MALFORMED


def test_two_lengths_of_a_block_that_differ() -> None:
    content = section() + interface()
    bad = enhanced_packet(b"abc")[:-4] + pack("<I", 12)
    records, error = read_some(content + enhanced_packet(b"abc") + bad)
    assert len(records) == 1
    assert isinstance(error, DecodeError)
    assert error.reason == Reason.MALFORMED
    assert "36 bytes" in str(error)
    assert "12" in str(error)


@pytest.mark.parametrize("captured", [5, 8, 0xFFFFFFFF])
def test_packet_data_longer_than_its_block(captured: int) -> None:
    bad = bytearray(enhanced_packet(b"abcd"))
    bad[20:24] = pack("<I", captured)
    records, error = read_some(section() + interface() + bytes(bad))
    assert records == []
    assert isinstance(error, DecodeError)
    assert f"claims {captured} bytes" in str(error)


def test_the_longest_packet_of_a_block_and_one_that_is_longer() -> None:
    content = section() + interface()
    assert len(read(content + enhanced_packet(bytes(MAX_CAPTURED)))[0].data) == MAX_CAPTURED
    _, error = read_some(content + enhanced_packet(bytes(MAX_CAPTURED + 1)))
    assert isinstance(error, DecodeError)
    assert "262144" in str(error)


def test_an_unknown_byte_order_in_a_later_section() -> None:
    content = section() + interface() + enhanced_packet(b"abc")
    bad = section().replace(b"\x4d\x3c\x2b\x1a", b"\x4d\x3c\x1a\x2b")
    records, error = read_some(content + bad)
    assert len(records) == 1
    assert isinstance(error, DecodeError)
    assert (error.reason, error.offset) == (Reason.UNKNOWN_FORMAT, len(content) + 8)


@pytest.mark.parametrize(
    "options",
    [
        option(9, b""),
        option(9, b"\x06\x00"),
        option(14, bytes(4)),
        pack("<HH", 2, 60_000) + bytes(8),
        option(2, b"em0") + pack("<HH", 9, 1),
    ],
)
def test_options_of_an_interface_that_cannot_be(options: bytes) -> None:
    _, error = read_some(section() + interface(options=options))
    assert isinstance(error, DecodeError)
    assert error.reason == Reason.MALFORMED
    assert "option" in str(error)


def test_options_that_nobody_needs_may_be_nonsense() -> None:
    nonsense = pack("<HH", 4, 60_000) + b"\xff" * 8
    content = section(options=nonsense) + interface(options=option(1, b"\xff\xfe"))
    content += enhanced_packet(b"abc", options=nonsense)
    assert [record.data for record in read(content)] == [b"abc"]


def test_interfaces_without_end() -> None:
    content = section() + interface() * 65_536
    assert read(content + enhanced_packet(b"abc", number=65_535))[0].data == b"abc"
    _, error = read_some(content + interface())
    assert isinstance(error, DecodeError)
    assert "65536 interfaces" in str(error)


def test_tshark_reads_all_of_it_the_same(tmp_path: Path) -> None:
    path = tmp_path / "all.pcapng"
    content = b""
    for order in "<>":
        offset = pack(f"{order}q", 100)
        options = option(9, b"\x09", order) + option(14, offset, order) + option(0, b"", order)
        content += section(order) + interface(1, order=order)
        content += interface(101, options=options, order=order)
        content += block(5, pack(f"{order}III", 0, 0, 0), order)
        content += interface(229, options=option(9, b"\x94", order), order=order)
        content += enhanced_packet(bytes(61), 1_700_000_000_123_456, original=99, order=order)
        content += enhanced_packet(bytes(62), 1_700_000_000_123_456_789, number=1, order=order)
        content += enhanced_packet(bytes(63), 1_700_000_000 << 20 | 3, number=2, order=order)
        content += obsolete_packet(bytes(65), 1_700_000_001_000_000, number=0, order=order)
    path.write_bytes(content)
    records = read(path)
    assert len(records) == 8
    assert fields_by_tshark(path, *AS_TSHARK_SHOWS) == as_tshark_shows(records)


# Files that end too early.


@pytest.mark.parametrize(("order", "magic"), [("<", MICRO), (">", NANO)])
def test_a_pcap_cut_at_each_byte(order: str, magic: int) -> None:
    header = pcap_header(order, magic)
    content = header
    ends = [len(content)]
    for length in (0, 1, 36, 60):
        content += pcap_record(b"\x45" * length, (1, 2), original=60, order=order)
        ends.append(len(content))
    whole = read(content)
    for cut in range(len(content) + 1):
        records, end = read_some(content[:cut])
        assert records == whole[: sum(cut >= end for end in ends[1:])]
        if cut < len(header):
            assert isinstance(end, DecodeError)
        elif cut in ends:
            assert end is None
        else:
            assert isinstance(end, str)
            assert f"within record {len(records) + 1}" in end
            assert f"begins at byte {ends[len(records)]}" in end


@EACH_ORDER
def test_a_pcapng_cut_at_each_byte(order: str) -> None:
    blocks = [
        section(order),
        interface(order=order),
        block(5, bytes(12), order),
        *(enhanced_packet(b"\x45" * n, 7, original=60, order=order) for n in (0, 1, 36, 60)),
        section(order),
        interface(order=order),
        simple_packet(b"abcde", order=order),
    ]
    content = b"".join(blocks)
    ends = [sum(map(len, blocks[: count + 1])) for count in range(len(blocks))]
    whole = read(content)
    packets = [3, 4, 5, 6, 9]
    for cut in range(len(content) + 1):
        records, end = read_some(content[:cut])
        assert records == whole[: sum(cut >= ends[index] for index in packets)]
        if cut < ends[0]:
            assert isinstance(end, DecodeError)
        elif cut in ends:
            assert end is None
        else:
            assert isinstance(end, str)
            assert "the file ends within a block" in end


def test_a_recording_cut_in_its_last_record() -> None:
    content = RECORDINGS[0].read_bytes()
    records, warning = read_some(content[:-1])
    assert records == read(content)[:-1]
    assert isinstance(warning, str)


def test_zeros_in_place_of_records_end_the_file() -> None:
    content = pcap_header() + pcap_record(b"abc", (1, 0))
    for zeros in (16, 4095, 4096, 1_000_000):
        records, warning = read_some(content + bytes(zeros))
        assert len(records) == 1
        assert isinstance(warning, str)
        assert f"only zeros from byte {len(content)} on" in warning
    # Fewer zeros, then a record: so many records without a byte, of 1970.
    records, warning = read_some(content + bytes(160) + pcap_record(b"abc"))
    assert len(records) == 12
    assert warning is None


def test_zeros_in_place_of_a_block_end_the_file() -> None:
    content = section() + interface() + enhanced_packet(b"abc")
    records, warning = read_some(content + bytes(5000))
    assert len(records) == 1
    assert isinstance(warning, str)
    assert f"only zeros from byte {len(content)} on" in warning


# Memory.


class Stream(io.RawIOBase):
    """A file that is nowhere as a whole: what is read is made."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def read(self, size: int = -1) -> bytes:
        return next(self.pieces, b"")


def open_stream(header: bytes, piece: bytes, count: int) -> Capture:
    return open_capture(cast("BinaryIO", Stream(chain([header], repeat(piece, count)))))


def peak(capture: Capture) -> tuple[int, int]:
    """How many records there are, and how many bytes were in use at most to read them."""
    tracemalloc.start()
    try:
        count = sum(1 for _ in capture)
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("header", "record"),
    [
        (pcap_header(), pcap_record(bytes(1000))),
        (section() + interface(), enhanced_packet(bytes(1000))),
    ],
    ids=["pcap", "pcapng"],
)
def test_memory_does_not_grow_with_the_file(header: bytes, record: bytes) -> None:
    count, used = peak(open_stream(header, record * 100, 500))  # 50 MB
    assert count == 50_000
    assert used < 2_000_000


def test_memory_does_not_grow_with_a_length_that_lies() -> None:
    claims = pack("<IIII", 0, 0, 0xFFFFFFF0, 0xFFFFFFF0)
    capture = open_stream(pcap_header() + claims, bytes(100_000), 10_000)
    tracemalloc.start()
    with pytest.raises(DecodeError):
        next(capture)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 2_000_000


def test_a_block_of_the_greatest_length_takes_no_more_than_it_must() -> None:
    header = section() + pack("<II", 5, MAX_BLOCK)
    capture = open_stream(header, b"\1" * 100_000, 200)
    tracemalloc.start()
    with pytest.raises(DecodeError, match="says at its end"):
        next(capture)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 3 * MAX_BLOCK


@pytest.mark.parametrize(
    "begin",
    [
        pcap_header(),
        pcap_header(">", MODIFIED),
        pcap_header() + pcap_record(b"abc", (1, 0)),
        pcap_header() + pack("<IIII", 0, 0, MAX_CAPTURED, MAX_CAPTURED),
        section() + interface(),
        section() + interface() + enhanced_packet(b"abc"),
    ],
)
def test_two_gibibytes_of_nothing_come_to_an_end(begin: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(2 * GIBIBYTE)
    with open_capture(path) as capture:
        count, used = peak(capture)
    assert count <= 1
    assert used < 2_000_000
    assert capture.warning is not None
    assert "only zeros" in capture.warning


def test_two_gibibytes_without_a_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2 * GIBIBYTE)
    with pytest.raises(DecodeError) as caught:
        open_capture(path)
    assert caught.value.reason == Reason.UNKNOWN_FORMAT
