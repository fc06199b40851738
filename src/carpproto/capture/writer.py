"""Write a pcap file of Ethernet frames.

Must not know what they contain. Classic pcap (draft-ietf-opsawg-pcap), little-endian, with
nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from struct import Struct

from carpproto.core.errors import ConfigError, shown

_HEADER = Struct("<IHHiIII")
_RECORD = Struct("<IIII")
_SECOND = 1_000_000_000  # nanoseconds


def pcap(frames: Iterable[tuple[int, bytes]]) -> bytes:
    """The file's bytes; each frame with its time in nanoseconds since 1970, below 2**32 s.

    Raises `ConfigError` for another time.
    """
    pieces = [_HEADER.pack(0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)]
    for nanoseconds, frame in frames:
        seconds, rest = divmod(nanoseconds, _SECOND)
        if not 0 <= seconds < 1 << 32:
            raise ConfigError(
                f"time {shown(nanoseconds)} ns is out of range; it is 0 to below 2**32 s"
            )
        pieces += _RECORD.pack(seconds, rest, len(frame), len(frame)), frame
    return b"".join(pieces)


def write_pcap(path: str | PathLike[str], frames: Iterable[tuple[int, bytes]]) -> None:
    """Write them to a file, which is replaced if it is there; `OSError` if that fails."""
    Path(path).write_bytes(pcap(frames))
