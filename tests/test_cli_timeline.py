"""``carpproto timeline`` and ``carpproto diagnose``: what they print, their exit status."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from carpproto.capture import diagnosis
from carpproto.capture import timeline as capture_timeline
from carpproto.capture.observation import Observer
from carpproto.capture.reader import open_capture
from carpproto.cli import diagnose, main, progress
from tests.helpers import RECORDINGS

FREEBSD = RECORDINGS / "freebsd"
HEALTHY = str(FREEBSD / "failover-preempt1.pcap")
WRONG = str(FREEBSD / "wrong-password.pcap")


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    file = tmp_path / "passphrase"
    file.write_text("randompass\n")
    return str(file)


def objects(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def pcap(path: Path, frames: list[bytes]) -> str:
    """A capture of these frames, a second apart."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, frame in enumerate(frames):
            file.write(struct.pack("<IIII", number, 0, len(frame), len(frame)) + frame)
    return str(path)


# -- timeline ---------------------------------------------------------------------------------


def test_timeline_in_text(capsys) -> None:
    assert main(["timeline", HEALTHY]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("; times below count from there")
    assert lines[2:4] == [
        "vhid 1",
        "  192.168.1.157: 14 advertisements; advbase/advskew 1/0",
    ]
    assert (
        "     12.323825     21  192.168.1.158 MASTER: took over from 192.168.1.157, 3.477 s after "
        "its last advertisement"
    ) in lines


def test_timeline_as_json(capsys) -> None:
    assert main(["timeline", HEALTHY, "--json"]) == 0
    parts = objects(capsys)
    assert [part["part"] for part in parts[:4]] == ["capture", "source", "source", "reign"]
    reigns = [part for part in parts if part["part"] == "reign"]
    assert [reign["began"] for reign in reigns] == [
        "elected",
        "took over",
        "preempted a slower master",
    ]
    assert reigns[1]["waited"] == pytest.approx(3.477, abs=1e-3)
    demoted = [part for part in parts if part["part"] == "event"]
    assert {"master", "ceased", "still master", "announced"} == {
        event["what"] for event in demoted
    }


def test_timeline_knows_what_is_authentic(capsys, passphrase: str) -> None:
    arguments = ["--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", passphrase]
    assert main(["timeline", WRONG, *arguments]) == 0
    printed = capsys.readouterr().out
    assert "192.168.1.158: 5 advertisements; advbase/advskew 1/100; 1 authentic, 4 not" in printed
    assert "two MASTERs" not in printed
    assert main(["timeline", WRONG]) == 0
    assert "two MASTERs, beside 192.168.1.157, for 5.715 s" in capsys.readouterr().out


def test_timeline_tells_what_it_left_out(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(capture_timeline, "MAX_EVENTS", 1)
    monkeypatch.setattr(capture_timeline, "MAX_SOURCES", 1)
    assert main(["timeline", WRONG]) == 0
    printed = capsys.readouterr().out
    assert "5 advertisements of more sources than can be followed" in printed
    assert "1 events more are left out" in printed


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_timeline_draws(capsys, tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"picture{suffix}"
    assert main(["timeline", HEALTHY, "-o", str(picture)]) == 0
    start = picture.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if suffix == ".png" else b"<?xml" in start


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("picture.gif", "picture.gif: a picture's name ends in .svg or .png"),
        ("none/picture.svg", "none/picture.svg: No such file or directory"),
        ("file/picture.svg", "file/picture.svg: Not a directory"),
        ("directory.svg", "directory.svg: Is a directory"),
    ],
)
def test_a_picture_that_cannot_be_is_refused_before_anything_is_read(
    capsys, tmp_path: Path, name: str, expected: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory.svg").mkdir()
    before = sorted(tmp_path.iterdir())
    for capture in (HEALTHY, "no such capture"):
        assert main(["timeline", capture, "-o", str(tmp_path / name)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert expected in printed.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_picture_that_is_there_stays_until_another_is_drawn(capsys, tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    picture.write_text("an old one")
    assert main(["timeline", "no such capture", "-o", str(picture)]) == 2
    assert picture.read_text() == "an old one"
    assert main(["timeline", HEALTHY, "-o", str(picture)]) == 0
    assert picture.read_text().startswith("<?xml")


def test_without_matplotlib_a_picture_says_what_to_install(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["timeline", HEALTHY, "-o", str(tmp_path / "picture.svg")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "pip install 'carpproto[plot]'" in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["timeline", "diagnose"])
def test_half_of_what_is_meant_is_refused(capsys, command: str) -> None:
    assert main([command, HEALTHY, "--vhid", "1"]) == 2
    assert "go together" in capsys.readouterr().err


def test_a_capture_without_carp(capsys, tmp_path: Path) -> None:
    empty = pcap(tmp_path / "empty.pcap", [])
    assert main(["timeline", empty]) == 1
    assert "there is no CARP advertisement" in capsys.readouterr().err
    assert main(["timeline", empty, "--json"]) == 1
    none = "there is no CARP advertisement in this capture"
    assert objects(capsys)[-1] == {"part": "nothing", "text": none}
    assert main(["diagnose", empty]) == 1
    nothing = "nothing could be diagnosed: there is no CARP advertisement in this capture"
    assert capsys.readouterr().out == nothing + "\n"
    assert main(["diagnose", empty, "--json"]) == 1
    assert objects(capsys) == [{"part": "nothing", "text": nothing}]


def test_a_capture_of_which_nothing_could_be_read(capsys, tmp_path: Path) -> None:
    with open_capture(HEALTHY) as opened:
        frames = [record.data[:30] for record in opened]
    assert main(["diagnose", pcap(tmp_path / "cut.pcap", frames)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("nothing could be diagnosed: ")
    assert last.endswith(" that could be read")


@pytest.mark.parametrize("command", ["timeline", "diagnose"])
def test_a_group_that_is_not_in_the_capture(capsys, command: str, passphrase: str) -> None:
    arguments = ["--vhid", "9", "--address", "192.168.1.50", "--passphrase-file", passphrase]
    text = "there is no advertisement of vhid 9 in this capture; there are: vhid 1"
    assert main([command, HEALTHY, *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"carpproto: warning: {text}\n"
    assert "nothing bad was found\n" not in printed.out
    assert main([command, HEALTHY, *arguments, "--json"]) == 1
    assert objects(capsys)[-1] == {"part": "nothing", "text": text}
    assert main([command, HEALTHY, "--json"]) == 0
    assert all(part["part"] != "nothing" for part in objects(capsys))


def test_timeline_tells_of_copies_and_leaves_them_out(capsys, tmp_path: Path) -> None:
    with open_capture(HEALTHY) as opened:
        frames = [record.data for record in opened]
    path = tmp_path / "twice.pcap"
    pcap(path, [])
    with path.open("ab") as file:
        for number, frame in enumerate(frames):
            for _ in range(2):
                file.write(struct.pack("<IIII", number, 0, len(frame), len(frame)) + frame)
    assert main(["timeline", str(path)]) == 0
    printed = capsys.readouterr()
    assert "are copies of one at most 10 ms before, and left out" in printed.err
    assert "192.168.1.157: 14 advertisements" in printed.out


@pytest.mark.parametrize("command", ["timeline", "diagnose"])
def test_what_is_no_capture_is_refused(capsys, tmp_path: Path, command: str) -> None:
    path = tmp_path / "no.pcap"
    path.write_bytes(b"something else, longer than a header")
    assert main([command, str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "neither pcap nor pcapng" in printed.err


# -- diagnose ---------------------------------------------------------------------------------


def test_diagnose_a_healthy_capture(capsys) -> None:
    assert main(["diagnose", HEALTHY]) == 0
    printed = capsys.readouterr().out
    assert "BAD" not in printed
    assert printed.endswith("nothing bad was found\n")


def test_diagnose_says_what_is_wrong_and_what_to_change(capsys, passphrase: str) -> None:
    arguments = ["--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", passphrase]
    assert main(["diagnose", WRONG, *arguments]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("BAD: two MASTERs: 192.168.1.157 and 192.168.1.158")
    assert lines[1:3] == [
        "    frames 16, 26",
        "    Give 192.168.1.158 the passphrase and the virtual addresses of the group.",
    ]
    assert lines[-1] == "2 bad findings"
    assert not any("randompass" in line for line in lines)


def test_diagnose_breaks_its_lines_on_a_terminal() -> None:
    with open_capture(WRONG) as opened:
        report = diagnosis.diagnose(Observer(opened))
    assert max(len(line) for line in diagnose.describe(report)) > 150
    broken = diagnose.describe(report, 80)
    assert max(len(line) for line in broken) <= 80
    assert broken[0].startswith("BAD: two MASTERs")
    assert broken[1].startswith("    ")


def test_diagnose_as_json(capsys) -> None:
    assert main(["diagnose", WRONG, "--json"]) == 1
    first, *_, last = objects(capsys)
    assert (first["part"], first["severity"], first["fault"]) == ("finding", "bad", "two masters")
    assert first["frames"] == [16, 26]
    assert last["part"] == "sender"
    assert last["kinds"] == ["FreeBSD 11 or later"]
    assert "certain" not in last


# -- hostile captures -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["timeline", "diagnose"])
def test_a_sparse_file_of_two_gigabytes_ends_clearly(capsys, tmp_path, command: str) -> None:
    path = tmp_path / "sparse.pcap"
    path.write_bytes((FREEBSD / "single-v4.pcap").read_bytes())
    os.truncate(path, 2 << 30)
    assert main([command, str(path)]) == 0
    printed = capsys.readouterr()
    assert "192.168.1.157" in printed.out
    assert "only zeros from byte" in printed.err


@pytest.mark.parametrize("command", ["timeline", "diagnose"])
def test_a_length_that_lies_is_one_line(capsys, tmp_path: Path, command: str) -> None:
    path = tmp_path / "liar.pcap"
    data = bytearray((FREEBSD / "single-v4.pcap").read_bytes())
    data[32:36] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)
    assert main([command, str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "claims 2147483647 bytes" in printed.err


@pytest.mark.parametrize("command", ["timeline", "diagnose"])
def test_nothing_from_the_network_reaches_the_terminal_unescaped(
    capsys, tmp_path, command
) -> None:
    frame = bytes.fromhex("01005e000012") + b"\x1b[2J\x1b]" + b"\x08\x00"
    frame += bytes.fromhex("45e0003800004000ff7000001b5b324ae0000012") + b"\x21\x1b\x07\x07" * 9
    main([command, pcap(tmp_path / "escape.pcap", [frame] * 5)])
    printed = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in printed.out + printed.err)


# -- progress ---------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_file_shows_progress_on_a_terminal(monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "_LONG", 100)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.open_with_progress(HEALTHY) as capture:
        assert sum(1 for _ in capture) == 45
    assert "/3.74k" in terminal.getvalue()


def test_there_is_no_progress_elsewhere(monkeypatch) -> None:
    monkeypatch.setattr(progress, "_LONG", 100)
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    with progress.open_with_progress(HEALTHY) as capture:
        assert sum(1 for _ in capture) == 45
    assert errors.getvalue() == ""


def test_timeline_with_a_key_that_fits_nobody(capsys, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("randompas\n")
    arguments = ["--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", str(wrong)]
    assert main(["timeline", HEALTHY, *arguments]) == 1
    printed = capsys.readouterr()
    assert "advertises for 5.24" in printed.out
    assert "no advertisement of vhid 1 fits the passphrase and the addresses" in printed.err
    assert main(["timeline", HEALTHY, "--json", *arguments]) == 1
    parts = objects(capsys)
    assert [part["part"] for part in parts if part["part"] in ("reign", "refused")] == [
        "refused"
    ] * 3
    assert parts[-1]["part"] == "nothing"


def test_timeline_says_what_it_could_not_read(capsys, tmp_path: Path) -> None:
    short = tmp_path / "short.pcap"
    content = bytearray(Path(HEALTHY).read_bytes()[:24])
    with open_capture(HEALTHY) as opened:
        for record in opened:
            cut = record.data[:60]
            seconds, rest = divmod(record.nanoseconds // 1000, 1_000_000)
            content += struct.pack("<IIII", seconds, rest, len(cut), len(record.data)) + cut
    short.write_bytes(content)
    assert main(["timeline", str(short)]) == 1
    error = capsys.readouterr().err
    assert "no CARP advertisement in this capture that could be read; of 22 frames" in error
    assert "larger snap length" in error
    assert main(["timeline", str(short), "--json"]) == 1
    capture, *_, nothing = objects(capsys)
    assert (capture["unreadable"], capture["backwards"], capture["copies"]) == (22, 0, 0)
    assert nothing["part"] == "nothing"


def test_who_reads_the_first_line_only_gets_the_picture(tmp_path: Path) -> None:
    picture = tmp_path / "x.svg"
    command = f"{sys.executable} -m carpproto timeline {HEALTHY} -o {picture} | head -n 1"
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert picture.exists()
