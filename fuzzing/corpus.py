"""Makes the seed corpora of recordings: ``python corpus.py RECORDINGS DIRECTORY [--zip]``.

A folder for each target, or with ``--zip`` the archive that OSS-Fuzz wants, has a file for each
seed, named by its hash. Nothing in it is secret: recordings are public, their keys are not used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

from carpproto.capture.reader import open_capture
from carpproto.core.errors import DecodeError
from carpproto.core.frame import peel_payload
from carpproto.testing.fuzz_campaign import frames_to_mutate

FILE_RECORDS = 6
"""Records of a capture file in the corpus: a small file is mutated faster."""

_DATAGRAM, _TIMER = 0, 3  # kinds of events, see targets.events_of
_SIGNED = 0x80
_HEADER, _RECORD = 24, 16  # bytes of pcap's headers


def seeds(recordings: Path) -> Iterator[tuple[str, bytes]]:
    """The name of a target and a seed for it."""
    for path in sorted(recordings.glob("*/*.pcap")):
        with open_capture(path) as capture:
            frames = frames_to_mutate(capture)
        content = path.read_bytes()
        end = _HEADER
        for _ in range(FILE_RECORDS):
            end += _RECORD + int.from_bytes(content[end + 8 : end + 12], "little")
        yield "files", content[: min(end, len(content))]
        events = [b"\0"]
        for frame in frames:
            yield "frames", frame
            try:
                payload = peel_payload(frame)
            except DecodeError:
                continue
            if payload is not None:
                yield "decode", payload
                value = _SIGNED | (frame[12:14] == b"\x86\xdd")
                events.append(bytes((_DATAGRAM, 16, value, len(payload) & 0xFF)) + payload[:255])
                events.append(bytes((_TIMER, 8, 0)))
        for profile in range(4):
            yield "events", bytes((profile,)) + b"".join(events[1:9])


def main() -> int:
    """Write the corpora; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--zip", action="store_true", help="fuzz_NAME_seed_corpus.zip for each")
    arguments = parser.parse_args()
    found: dict[str, dict[str, bytes]] = {}
    for target, seed in seeds(arguments.recordings):
        found.setdefault(target, {})[sha256(seed).hexdigest()[:16]] = seed
    for target, contents in found.items():
        if arguments.zip:
            arguments.directory.mkdir(parents=True, exist_ok=True)
            name = arguments.directory / f"fuzz_{target}_seed_corpus.zip"
            with ZipFile(name, "w") as archive:
                for digest, seed in contents.items():
                    archive.writestr(digest, seed)
        else:
            folder = arguments.directory / target
            folder.mkdir(parents=True, exist_ok=True)
            for digest, seed in contents.items():
                (folder / digest).write_bytes(seed)
        print(f"{target}: {len(contents)} seeds")
    if not found:
        print(f"there is no recording below {arguments.recordings}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
