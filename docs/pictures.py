"""Draw the pictures of the pages "Timeline" and "Diagnosis" from recordings.

    python docs/pictures.py            write docs/pictures/*.svg
    python docs/pictures.py --check    write nothing; exit 1 and name those that are stale

Nothing in a picture depends on time, chance or the machine, but another release of matplotlib
draws other bytes: those that another one made are only looked for, not compared.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from carpproto import UCARP, Authenticator
from carpproto.capture.observation import Observer
from carpproto.capture.picture import draw
from carpproto.capture.reader import open_capture
from carpproto.capture.timeline import timeline

DOCS = Path(__file__).parent
RECORDINGS = DOCS.parent / "tests" / "recordings"
COMMAND = "python docs/pictures.py"

PICTURES = {
    "failover": ("freebsd/failover-preempt1", "FreeBSD 12.1: a failover, and the return"),
    "demotion": ("freebsd/demotion-preempt1", "FreeBSD 12.1: demotion moves the role"),
    "bow-out": ("netbsd/graceful-down-bow-out", "NetBSD: a MASTER that is taken down says so"),
    "two-masters": ("freebsd/wrong-password", "FreeBSD 12.1: another passphrase for 6 seconds"),
    "five-hosts": ("ucarp/passfile", "ucarp: five hosts, of which two have other passphrases"),
    "refused": ("ucarp/passfile", "ucarp: the same, and the right passphrase is known"),
}
"""The name of a picture -> the recording, and the title."""

KEYS = {
    "refused": Authenticator(
        vhid=1, addresses=["10.66.0.100"], passphrase="filesecret", profile=UCARP
    )
}
"""For a picture of which the key is known."""


def generated() -> dict[str, bytes]:
    """Every picture, by its path below docs/."""
    files = {}
    with TemporaryDirectory() as folder:
        for name, (recording, title) in PICTURES.items():
            key = {1: KEYS[name]} if name in KEYS else {}
            with open_capture(RECORDINGS / f"{recording}.pcap") as capture:
                found = timeline(Observer(capture, key))
            path = Path(folder) / f"{name}.svg"
            draw(found, path, title=title)
            files[f"pictures/{name}.svg"] = path.read_bytes()
    return files


def made_with(picture: bytes) -> bytes | None:
    """The release of matplotlib that drew it."""
    found = re.search(rb"<dc:title>(Matplotlib v[^,<]*)", picture)
    return None if found is None else found[1]


def stale(files: dict[str, bytes]) -> list[str]:
    """Which of the pictures are missing, differ, or are left over."""
    wrong = []
    for name, content in files.items():
        there = (DOCS / name).read_bytes() if (DOCS / name).is_file() else b""
        if there != content and made_with(there) in (None, made_with(content)):
            wrong.append(name)
    found = {f"pictures/{path.name}" for path in DOCS.glob("pictures/*")}
    return wrong + sorted(found - set(files))


def main(arguments: list[str]) -> int:
    """Write the pictures, or check them."""
    if arguments not in ([], ["--check"]):
        print(f"usage: {COMMAND} [--check]", file=sys.stderr)
        return 2
    files = generated()
    if arguments:
        wrong = stale(files)
        for name in wrong:
            print(f"docs/{name} is stale; run: {COMMAND}")
        return 1 if wrong else 0
    for name, content in files.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
