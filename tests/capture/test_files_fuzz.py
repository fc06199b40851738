"""Arbitrary and damaged files: the reader and the link layer answer with `DecodeError` or not
at all, and what is undamaged comes out.

The examples are the same in each run; a failure prints the file that caused it.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import BinaryIO, TypeVar, cast

import dpkt.pcap
from hypothesis import given, settings
from hypothesis import strategies as st

from carpproto.capture.link import LINK_TYPES, payload_of, peel_record
from carpproto.capture.reader import MAX_CAPTURED, Record, open_capture
from carpproto.core.errors import DecodeError, Reason

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("*/*.pcap"))
repeatable = settings(derandomize=True, deadline=None, max_examples=300, database=None)

T = TypeVar("T")
Outcome = tuple[list[Record], str | None, DecodeError | None]


def outcome(file: BinaryIO) -> Outcome:
    """Records, warning, error. Whatever else is raised fails the test."""
    records: list[Record] = []
    try:
        capture = open_capture(file)
    except DecodeError as error:
        return records, None, error
    try:
        for record in capture:
            records.append(record)  # noqa: PERF402 - they count although an error follows
    except DecodeError as error:
        assert list(capture) == []
        return records, capture.warning, error
    return records, capture.warning, None


def check(content: bytes) -> Outcome:
    """What holds for any file."""
    records, warning, error = found = outcome(io.BytesIO(content))
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    for record in records:
        assert record.data in content
        assert len(record.data) <= MAX_CAPTURED
        assert isinstance(record.time, float)
        check_link(record)
    assert error is None or warning is None
    if error is not None:
        assert error.reason in (Reason.UNKNOWN_FORMAT, Reason.TRUNCATED, Reason.MALFORMED)
        assert 0 <= error.offset <= len(content)
        assert str(error)
    return found


def check_link(record: Record) -> None:
    """Both ways to a payload agree, on the error too."""
    packet = answer(peel_record, record)
    payload = answer(payload_of, record)
    if isinstance(packet, DecodeError):
        assert isinstance(payload, DecodeError)
        assert payload.args == packet.args
        assert 0 <= packet.offset <= len(record.data)
    else:
        assert payload == (None if packet is None else packet.payload)


def answer(find: Callable[[Record], T], record: Record) -> T | DecodeError:
    try:
        return find(record)
    except DecodeError as error:
        return error


# Files to damage: the first records of recordings, in each format.


def as_pcap(records: list[Record], order: str, magic: int) -> bytes:
    content = pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, 65535, 1)
    for _, time, _, data, original in records:
        seconds, rest = divmod(time, 10**9)
        content += pack(f"{order}IIII", seconds, rest // 1000, len(data), original) + data
    return content


def as_pcapng(records: list[Record], order: str) -> bytes:
    """All types of packet blocks, in turn, with an interface before each."""
    content = pack(f"{order}IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    options = pack(f"{order}HHB3xHHqHH", 9, 1, 6, 14, 8, 0, 0, 0)
    for number, _, linktype, data, original in records:
        content += pack(f"{order}IIHHI", 1, 44, linktype, 0, 0) + options
        content += pack(f"{order}I", 44)
        kind = (6, 2, 3)[number % 3]
        length = len(data)
        fields = {
            6: pack(f"{order}IIIII", number - 1, 0, number, length, original),
            2: pack(f"{order}HHIIII", number - 1, 0, 0, number, length, original),
            3: pack(f"{order}I", length),
        }[kind]
        body = fields + data + bytes(-length % 4)
        total = 12 + len(body)
        content += pack(f"{order}II", kind, total) + body + pack(f"{order}I", total)
    return content


def samples() -> list[bytes]:
    contents: list[bytes] = []
    for number, path in enumerate(RECORDINGS[::9]):
        with open_capture(path) as capture:
            records = list(capture)[:8]
        order = "<>"[number % 2]
        contents.append(as_pcap(records, order, 0xA1B2C3D4))
        contents.append(as_pcapng(records, order))
    return contents


SAMPLES = samples()
MAGICS = sorted({content[:4] for content in SAMPLES} | {b"\xa1\xb2\x3c\x4d", b"\x34\xcd\xb2\xa1"})


def flip(content: bytearray, at: int, value: int) -> None:
    content[at] ^= value & 0xFF or 1


def insert(content: bytearray, at: int, value: int) -> None:
    content[at:at] = value.to_bytes(4, "little")[: 1 + value % 4]


def delete(content: bytearray, at: int, value: int) -> None:
    del content[at : at + 1 + value % 64]


def overwrite(content: bytearray, at: int, value: int) -> None:
    content[at : at + 4] = value.to_bytes(4, "little")


EDITS: list[Callable[[bytearray, int, int], None]] = [flip, insert, delete, overwrite]
VALUES = st.integers(0, 0xFFFFFFFF) | st.sampled_from(
    [0, 1, 4, 12, 0xFF, 0xFFFF, 0x01000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        # The first bytes matter most: headers are there, and the first records.
        limit = draw(st.sampled_from([200, len(content)]))
        at = draw(st.integers(0, min(limit, len(content) - 1)))
        draw(st.sampled_from(EDITS))(content, at, draw(VALUES))
    return bytes(content)


def test_the_samples_are_sound() -> None:
    kinds: set[bytes] = set()
    for content in SAMPLES:
        records, warning, error = check(content)
        assert (warning, error) == (None, None)
        assert records
        kinds.add(content[:4] + content[8:9])
    assert len(kinds) == 4


@repeatable
@given(st.binary(max_size=400))
def test_arbitrary_bytes_as_a_file(content: bytes) -> None:
    check(content)


@repeatable
@given(st.sampled_from(MAGICS), st.binary(max_size=400))
def test_arbitrary_bytes_after_a_magic_number(magic: bytes, content: bytes) -> None:
    check(magic + content)


@repeatable
@given(st.sampled_from(SAMPLES), st.binary(max_size=400))
def test_arbitrary_bytes_after_a_sound_file(content: bytes, rest: bytes) -> None:
    whole, _, _ = outcome(io.BytesIO(content))
    records, _, _ = check(content + rest)
    assert records[: len(whole)] == whole


@repeatable
@given(damaged())
def test_a_damaged_recording(content: bytes) -> None:
    check(content)


@repeatable
@given(damaged(), st.data())
def test_a_cut_loses_nothing_before_it(content: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(content)))
    whole, _, _ = outcome(io.BytesIO(content))
    records, _, _ = check(content[:cut])
    assert records == whole[: len(records)]


@repeatable
@given(damaged(), st.randoms(use_true_random=False))
def test_it_does_not_matter_in_which_pieces_a_file_comes(
    content: bytes, choice: random.Random
) -> None:
    class Dribble(io.RawIOBase):
        """A file like a pipe: gives what it likes."""

        position = 0

        def read(self, size: int = -1) -> bytes:
            piece = content[self.position : self.position + choice.randint(1, 40)]
            self.position += len(piece)
            return piece

    whole, warning, error = outcome(io.BytesIO(content))
    records, other_warning, other_error = outcome(cast("BinaryIO", Dribble()))
    assert (records, other_warning) == (whole, warning)
    assert (error and error.args) == (other_error and other_error.args)


@repeatable
@given(damaged().filter(lambda content: content[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4")))
def test_a_damaged_pcap_reads_as_dpkt_reads_it_as_long_as_it_is_sound(content: bytes) -> None:
    """dpkt goes on where the reader stops, and not the other way round."""
    records, _, error = check(content)
    if error is not None and not records:
        return
    expected = iter(dpkt.pcap.Reader(io.BytesIO(content)))
    for record in records:
        time, data = next(expected)
        assert abs(time - record.time) < 1e-6
        assert data == record.data


@repeatable
@given(st.sampled_from([*LINK_TYPES, 2, 105]), st.binary(max_size=120))
def test_arbitrary_bytes_of_each_link_type(linktype: int, data: bytes) -> None:
    check_link(Record(1, 0, linktype, data, len(data)))


@repeatable
@given(
    st.sampled_from([*LINK_TYPES]),
    st.sampled_from(["4500", "6000"]),
    st.integers(0, 24),
    st.binary(max_size=100),
)
def test_something_like_ip_at_each_place(
    linktype: int, version: str, before: int, data: bytes
) -> None:
    ethertype = bytes.fromhex({"4500": "0800", "6000": "86dd"}[version])
    header = (bytes(before) + ethertype)[-before:] if before else b""
    content = header + bytes.fromhex(version) + data
    check_link(Record(1, 0, linktype, content, len(content)))
