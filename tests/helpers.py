"""What several test files share: the recordings, and the frames in them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from carpproto.capture.reader import open_capture

RECORDINGS = Path(__file__).parent / "recordings"


def captures(folder: str = "*") -> list[Path]:
    """The capture files of an implementation, or of all."""
    return sorted(RECORDINGS.glob(f"{folder}/*.pcap"))


@cache
def frames(path: Path) -> tuple[bytes, ...]:
    """The frames of a capture file; Wireshark's frame 1 is the first one."""
    with open_capture(path) as capture:
        return tuple(record.data for record in capture)


def recorded(name: str) -> tuple[bytes, ...]:
    """The frames of a recording, ``freebsd/dual`` for one."""
    return frames(RECORDINGS / f"{name}.pcap")


def description(path: Path) -> dict[str, Any]:
    """The JSON file beside a capture file."""
    content = (path.parent / (path.name.split(".")[0] + ".json")).read_text()
    found: dict[str, Any] = json.loads(content)
    return found


def descriptions(folder: str = "*") -> dict[str, dict[str, Any]]:
    """All JSON files, by name: ``freebsd/dual`` for one."""
    paths = [path for path in captures(folder) if not path.name.endswith(".far.pcap")]
    return {f"{path.parent.name}/{path.stem}": description(path) for path in paths}


def carries_carp(frame: bytes) -> bool:
    """Whether it is of IP protocol 112. In the recordings no frame has more than one tag."""
    start = 18 if frame[12:14] == b"\x81\x00" else 14
    ethertype = frame[start - 2 : start]
    if ethertype == b"\x08\x00":
        return frame[start + 9] == 112
    return ethertype == b"\x86\xdd" and frame[start + 6] == 112


@cache
def carp_frames(folder: str = "*") -> tuple[bytes, ...]:
    """Every recorded frame of IP protocol 112, those made to be refused too."""
    return tuple(
        frame for path in captures(folder) for frame in frames(path) if carries_carp(frame)
    )
