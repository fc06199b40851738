"""Hostile input: text from outside cannot move the cursor, and memory has a bound."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from random import Random
from struct import pack

import pytest

from carpproto.capture.writer import write_pcap
from carpproto.cli import main
from carpproto.testing.mutators import mutations
from tests.helpers import RECORDINGS, carp_frames

MEGABYTE = 1 << 20
GIGABYTE = 1 << 30
PCAP = pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
SECTION = pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
EVIL = "\x1b[2J\x1b[1;1H\x9b31m\r\x07\u202e"
ALLOWED = re.compile(r"[\n\x20-\x7e]*")

CODE = """
import re, sys
from carpproto.cli import main
status = main(sys.argv[1:])
with open("/proc/self/status") as file:
    print("PEAK", status, re.search(r"VmHWM:\\s+(\\d+) kB", file.read())[1], file=sys.stderr)
"""


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text("randompass\n")
    return str(file)


def commands(file: Path | str, secret: str) -> dict[str, list[str]]:
    """Each command that reads a capture, on one."""
    name = str(file)
    group = ["--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", secret]
    return {
        "decode": ["decode", name],
        "decode as JSON": ["decode", name, "--json"],
        "verify": ["verify", name, *group],
        "audit": [
            *("audit", name, "--wordlist", secret, "--address", "192.168.1.50"),
            *("--processes", "1"),
        ],
        "fuzz": ["fuzz", name, "--frames", "1000", "--processes", "1"],
    }


NAMES = list(commands("", ""))


def peak(arguments: list[str], timeout: float = 120) -> tuple[int, float, str]:
    """Exit status, the most memory in MB, and what was said on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=timeout,
    )
    said, _, last = done.stderr.rstrip("\n").rpartition("\n")
    _, status, kilobytes = last.split()
    return int(status), int(kilobytes) / 1024, said


def plain(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that was printed can move a cursor."""
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert ALLOWED.fullmatch(text), repr(text)[:500]


# -- the terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_frames_of_any_bytes(name: str, tmp_path: Path, secret: str, capsys) -> None:
    evil = EVIL.encode()
    mutated = [m.frame for m in islice(mutations(carp_frames(), Random(1)), 500)]
    headers = [frame[:34] for frame in carp_frames()[:10]]
    mutated += [header + (evil * 3)[:36] for header in headers]
    mutated += [evil * 4, b"\x1b" * 60, headers[0][:14] + b"\x45" + b"\x1b" * 8 + b"\x70" + evil]
    capture = tmp_path / "mutated.pcap"
    write_pcap(capture, enumerate([*mutated, *carp_frames()[:50]]))
    assert main(commands(capture, secret)[name]) in (0, 1)
    plain(capsys)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_file_that_moves_the_cursor(
    name: str, tmp_path: Path, secret: str, capsys
) -> None:
    for content in (b"", b"\x1b[2J" * 20, PCAP + b"\x1b" * 10):
        path = tmp_path / EVIL.replace("\0", "")
        path.write_bytes(content)
        assert main(commands(path, secret)[name]) in (0, 1, 2)
    path.unlink()
    assert main(commands(path, secret)[name]) == 2
    plain(capsys)


def test_a_recording_whose_words_move_the_cursor(tmp_path: Path, capsys) -> None:
    source = RECORDINGS / "freebsd" / "failover-preempt1"
    text = source.with_suffix(".json").read_text()
    pcap = source.with_suffix(".pcap").read_bytes()
    found = json.loads(text)
    (tmp_path / found["pcap"]).write_bytes(pcap)
    words = {found["name"], found["description"], found["implementation"], *found["nodes"]}
    words |= {change["reason"] for change in found["transitions"]}
    for number, word in enumerate(sorted(words)):
        changed = text.replace(json.dumps(word), json.dumps(EVIL + word))
        assert changed != text
        path = tmp_path / f"{number}.json"
        path.write_text(changed)
        assert main(["replay", str(path)]) in (0, 1, 2)
    plain(capsys)


# -- memory --------------------------------------------------------------------------------------


def sparse(path: Path, start: bytes, size: int = 2 * GIGABYTE) -> Path:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    return path


FRAME = carp_frames()[0]
RECORD = pack("<IIII", 1, 0, len(FRAME), len(FRAME)) + FRAME
ENDINGS = {
    "a pcap that goes on with zeros": PCAP + RECORD,
    "zeros only": b"",
    "a record that claims 4 GB": PCAP + RECORD + pack("<IIII", 2, 0, 0xFFFFFFFF, 0xFFFFFFFF),
    "a record of 2 GB": PCAP + RECORD + pack("<IIII", 2, 0, 0x7FFFFFFF, 60),
    "a section that goes on with zeros": SECTION,
    "a block that claims 2 GB": SECTION + pack("<II", 6, 0x7FFFFFFC),
    "a section of 2 GB": pack("<III", 0x0A0D0D0A, 0x7FFFFFFC, 0x1A2B3C4D),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_two_sparse_gigabytes_end_at_once(
    ending: str, tmp_path: Path, secret: str, capsys
) -> None:
    path = sparse(tmp_path / "sparse", ENDINGS[ending])
    for name, command in commands(path, secret).items():
        status = main(command)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert status == 2 or "only zeros" in printed.err, name
        assert printed.err.count("\n") <= 2
    status, megabytes, said = peak(["decode", str(path)])
    assert megabytes < 60, said


def test_large_records_take_the_memory_of_one(tmp_path: Path, secret: str) -> None:
    path = tmp_path / "large.pcap"
    size = 262_144
    with path.open("wb") as file:
        file.write(PCAP)
        for number in range(1024):  # 256 MB, sparse
            file.write(pack("<IIII", number, 0, size, size) + FRAME)
            file.seek(size - len(FRAME), 1)
        file.truncate(file.tell())
    for name, command in commands(path, secret).items():
        if name != "fuzz":  # takes no frame of that size: see test_fuzz_takes_no_giant_frames
            _, megabytes, said = peak(command)
            assert megabytes < 60, (name, said)


def test_fuzz_takes_no_giant_frames(tmp_path: Path, secret: str, capsys) -> None:
    path = tmp_path / "giant.pcap"
    write_pcap(path, [(0, FRAME + bytes(200_000))])
    assert main(commands(path, secret)["fuzz"]) == 2
    assert "no Ethernet frame of protocol 112" in capsys.readouterr().err


def test_a_word_list_without_an_end_of_line(tmp_path: Path) -> None:
    words = sparse(tmp_path / "words", b"first\n", 256 * MEGABYTE)
    capture = RECORDINGS / "freebsd" / "single-v4.pcap"
    arguments = ["audit", str(capture), "--wordlist", str(words), "--address", "192.168.1.50"]
    status, megabytes, said = peak([*arguments, "--processes", "1"])
    assert status == 0
    assert "every guess at it fails" in said
    assert said.count("\n") == 0
    assert megabytes < 60


def pairs(path: Path, count: int) -> Path:
    """A capture with as many pairs of vhid and source."""
    ethernet = bytes.fromhex("01005e00001200005e0001010800")
    header = pack(">BBHHHBBH", 0x45, 0xE0, 56, 0, 0, 255, 112, 0)
    payload = bytes.fromhex("2101000700010000") + bytes(28)
    with path.open("wb") as file:
        file.write(PCAP)
        for number in range(count):
            source = (0x0A000000 + number // 255).to_bytes(4, "big")
            vhid = bytes((number % 255 + 1,))
            body = payload[:1] + vhid + payload[2:]
            checksum = -int.from_bytes(body, "big") % 0xFFFF
            body = body[:6] + checksum.to_bytes(2, "big") + body[8:]
            frame = ethernet + header + source + b"\xe0\0\0\x12" + body
            file.write(pack("<IIII", number, 0, len(frame), len(frame)) + frame)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_many_pairs_of_vhid_and_source(name: str, tmp_path: Path, secret: str) -> None:
    path = pairs(tmp_path / "pairs.pcap", 30_000)
    _, megabytes, said = peak(commands(path, secret)[name])
    assert megabytes < 60, said


@pytest.mark.deep
@pytest.mark.parametrize("name", NAMES)
def test_a_million_pairs_of_vhid_and_source(name: str, tmp_path: Path, secret: str) -> None:
    path = pairs(tmp_path / "pairs.pcap", 1_000_000)
    _, megabytes, said = peak(commands(path, secret)[name], timeout=600)
    assert megabytes < 60, said
