"""Guessing passphrases: what is found, on any executor, and that no secret is shown unasked."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from carpproto import FREEBSD, NETBSD, UCARP, Advertisement, Authenticator, ConfigError
from carpproto.cli import audit as command
from carpproto.cli import main
from carpproto.cli.audit import duration, strength
from carpproto.testing import audit as module
from carpproto.testing.audit import LONGEST, Guessed, audit, measured, target
from tests.helpers import RECORDINGS

ADDRESSES = ["192.0.2.50", "2001:db8::50"]
CAPTURE = str(RECORDINGS / "freebsd" / "single-v4.pcap")


def sent(passphrase: str, vhid: int = 1, profile=FREEBSD) -> Advertisement:
    authenticator = Authenticator(
        vhid=vhid, passphrase=passphrase, addresses=ADDRESSES, profile=profile
    )
    return authenticator.sign(Advertisement(vhid=vhid, counter=99))


def wordlist(tmp_path: Path, *words: str | bytes) -> Path:
    path = tmp_path / "words"
    path.write_bytes(b"".join(w.encode() + b"\n" if isinstance(w, str) else w for w in words))
    return path


def guessed(path: Path, *passphrases: str, **how) -> Guessed:
    profile = how.get("profile", FREEBSD)
    targets = [
        target(sent(passphrase, vhid, profile), ADDRESSES)
        for vhid, passphrase in enumerate(passphrases, 1)
    ]
    with ThreadPoolExecutor(2) as executor:
        return audit(targets, path, executor=executor, **how)


def test_each_group_is_found_by_its_line(tmp_path: Path) -> None:
    path = wordlist(tmp_path, *(f"word{n}" for n in range(60_000)), "swordfish", "xyzzy")
    found = guessed(path, "xyzzy", "swordfish", "word7", "not there")
    assert [(one.vhid, one.line) for one in found.found] == [(1, 60_002), (2, 60_001), (3, 8)]
    assert found.rate > 10_000
    assert "xyzzy" not in repr(found)


def test_no_passphrase_at_all_is_line_0(tmp_path: Path) -> None:
    [found] = guessed(wordlist(tmp_path), "").found
    assert (found.line, found.passphrase) == (0, b"")


@pytest.mark.parametrize(
    ("word", "passphrase", "profile"),
    [
        ("a passphrase of more than 19 bytes", "a passphrase of more than 19 bytes", FREEBSD),
        ("a passphrase of more", "a passphrase of mor", FREEBSD),
        ("secret", "secret", NETBSD),
        ("0x73656372657400", "0x73656372657400", NETBSD),
        ("Zürich", "Zürich", UCARP),
        ("dos\r", "dos", FREEBSD),
    ],
)
def test_words_become_keys_as_each_system_makes_them(
    tmp_path: Path, word: str, passphrase: str, profile
) -> None:
    path = wordlist(tmp_path, "0xno", "nul\0", word, "x" * 40)
    [found] = guessed(path, passphrase, profile=profile).found
    assert found.line == 3


def test_variations_of_words(tmp_path: Path) -> None:
    path = wordlist(tmp_path, "summer", "winter")
    assert guessed(path, "Summer2024", "WINTER!").found == ()
    found = guessed(path, "Summer2024", "WINTER!", vary=True).found
    assert [one.passphrase for one in found] == [b"Summer2024", b"WINTER!"]


def test_lines_of_any_length_and_no_last_newline(tmp_path: Path) -> None:
    long = b"x" * (LONGEST + 1) + b"\n"
    endless = b"y" * 600_000 + b"\n"
    path = wordlist(tmp_path, long, endless, "one", endless, b"last")
    found = guessed(path, "one", "last").found
    assert [(one.vhid, one.line) for one in found] == [(1, 3), (2, 5)]


def test_it_runs_in_processes_of_its_own(tmp_path: Path) -> None:
    targets = [target(sent("b"), ADDRESSES)]
    seen: list[int] = []
    path = wordlist(tmp_path, "a", "b")
    done = audit(targets, path, processes=1, progress=seen.append)
    assert done.found[0].line == 2
    assert sum(seen) == done.size == 4
    with pytest.raises(ConfigError):
        audit(targets, path, processes=0)


def test_the_rate_is_that_of_all_processes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [target(sent("00000007"), ADDRESSES)]
    assert measured(targets, processes=1, seconds=0.02) > 10_000
    pools: list[int] = []

    def pool(workers: int) -> ThreadPoolExecutor:
        pools.append(workers)
        return ThreadPoolExecutor(workers)

    def sample(targets, profile, seconds: float) -> Guessed:
        met.wait()  # breaks if they are not at work at once
        return Guessed(100, seconds)

    met = Barrier(3, timeout=10)
    monkeypatch.setattr(module, "worker_pool", pool)
    monkeypatch.setattr(module, "_sample", sample)
    assert measured(targets, processes=3, seconds=0.5) == 600
    assert pools == [3]


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quickly_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def quickly(targets, profile, processes: int) -> float:
        return measured(targets, profile=profile, processes=processes, seconds=0.01)

    monkeypatch.setattr(command, "measured", quickly)


def test_the_rate_is_what_was_measured(tmp_path: Path, capsys, monkeypatch) -> None:
    assert run(tmp_path, words=()) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 guess; ")
    rate = printed.split("; ", 1)[1].split(" ")[0]
    assert int(rate.replace(",", "")) > 10_000

    def slow(targets, profile, processes: int) -> float:
        return 1000.0 + processes

    monkeypatch.setattr(command, "measured", slow)
    assert run(tmp_path, "--processes", "2", words=("a", "b")) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("3 guesses; 1,002 a second with 2 processes\n")
    assert f"  8 random small letters: {duration(26**8 / 2 / 1002)}; 10 seconds\n" in printed


def test_addresses_that_may_be_wrong_are_said_where_nothing_is_found(
    tmp_path: Path, capsys
) -> None:
    path = wordlist(tmp_path, "randompass")
    arguments = ["audit", CAPTURE, "--wordlist", str(path), "--processes", "1", "--address"]
    assert main([*arguments, "192.168.1.51"]) == 0
    assert "wrong, missing or one too many, every guess at it fails" in capsys.readouterr().err
    assert main([*arguments, "192.168.1.50"]) == 1
    assert capsys.readouterr().err == ""
    assert main([*arguments, "192.168.1.51", "--json"]) == 0
    group = json.loads(capsys.readouterr().out.splitlines()[1])
    assert group["found"] is False
    assert "wrong, missing or one too many, every guess at it fails" in group["note"]


def run(tmp_path: Path, *more: str, words: tuple[str, ...] = ("a", "randompass")) -> int:
    path = wordlist(tmp_path, *words)
    arguments = ["audit", CAPTURE, "--wordlist", str(path), "--processes", "1"]
    return main([*arguments, "--address", "192.168.1.50", *more])


def test_the_passphrase_is_printed_only_when_told(tmp_path: Path, capsys) -> None:
    assert run(tmp_path) == 1
    printed = capsys.readouterr()
    assert "vhid 1: FOUND by line 2 of the list: 10 bytes, small letters" in printed.out
    assert "randompass" not in printed.out + printed.err
    assert run(tmp_path, "--show") == 1
    assert "; it is randompass\n" in capsys.readouterr().out


def test_as_json(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, "--json") == 1
    rate, group, estimates = map(json.loads, capsys.readouterr().out.splitlines())
    assert (rate["part"], rate["guesses"], rate["processes"]) == ("rate", 3, 1)
    assert rate["a_second"] > 10_000
    assert (group["vhid"], group["line"], group["bytes"]) == (1, 2, 10)
    assert "passphrase" not in group
    assert estimates["seconds"]["8 random small letters"]["card"] == pytest.approx(10.4, abs=0.1)
    assert "note" not in group
    assert run(tmp_path, "--json", "--show") == 1
    assert '"passphrase": "randompass"' in capsys.readouterr().out


def test_what_is_not_found_and_addresses_of_a_vhid(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, words=("b",)) == 0
    assert "vhid 1: not found with this list" in capsys.readouterr().out
    path = wordlist(tmp_path, "randompass")
    arguments = ["audit", CAPTURE, "--wordlist", str(path), "--processes", "1", "--address"]
    assert main([*arguments, "1=192.168.1.50", "2=192.0.2.9"]) == 1
    capsys.readouterr()
    for refused, text in (
        (["2=192.168.1.50"], "no --address is given for vhid 1"),
        (["999=192.0.2.1"], "vhid '999' is out of range; it is 1 to 255"),
        (
            ["192.168.1.50", "--vhid", "9"],
            "there is no advertisement of vhid 9 in this capture; there are: vhid 1",
        ),
    ):
        assert main([*arguments, *refused]) == 2
        assert capsys.readouterr().err == f"carpproto: {text}\n"


def test_groups_without_an_address_are_left_out_in_one_line(tmp_path: Path, capsys) -> None:
    capture = str(RECORDINGS / "freebsd" / "many-vhids.pcap")
    arguments = ["audit", capture, "--wordlist", str(wordlist(tmp_path)), "--processes", "1"]
    assert main([*arguments, "--address", "1=192.168.1.1"]) == 0
    left_out, not_found = capsys.readouterr().err.splitlines()
    assert left_out == (
        "carpproto: warning: left out, since no --address is given for it: vhid 2, vhid 100, "
        "vhid 254, vhid 255"
    )
    assert "compare --address" in not_found


def test_a_capture_without_an_advertisement_is_refused(tmp_path: Path, capsys) -> None:
    capture = tmp_path / "empty.pcap"
    capture.write_bytes(Path(CAPTURE).read_bytes()[:24])
    arguments = ["audit", str(capture), "--wordlist", str(wordlist(tmp_path))]
    assert main([*arguments, "--address", "192.0.2.1"]) == 2
    said = "carpproto: there is no CARP advertisement in this capture\n"
    assert capsys.readouterr().err == said
    assert main([*arguments, "--address", "192.0.2.1", "--vhid", "1"]) == 2
    said = "carpproto: there is no advertisement of vhid 1 in this capture\n"
    assert capsys.readouterr().err == said


def test_a_found_passphrase_cannot_move_the_cursor(tmp_path: Path, capsys) -> None:
    from carpproto.capture.writer import write_pcap
    from carpproto.core.advertisement import encode
    from carpproto.core.frame import build

    evil = "\x1b[2J\x1b[1;1Hroot"
    frame = build(
        encode(sent(evil)),
        source="192.0.2.1",
        destination="224.0.0.18",
        source_mac="00:00:5e:00:01:01",
    )
    capture = tmp_path / "evil.pcap"
    write_pcap(capture, [(0, frame)])
    path = wordlist(tmp_path, evil)
    arguments = ["audit", str(capture), "--wordlist", str(path), "--processes", "1", "--show"]
    assert main([*arguments, "--address", *ADDRESSES]) == 1
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[2J" in printed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1, "less than a second"),
        (70, "70 seconds"),
        (121, "2 minutes"),
        (8000, "2 hours"),
        (200_000, "2 days"),
        (1e8, "3 years"),
        (1e14, "3 million years"),
        (1e20, "3e+12 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_strength() -> None:
    assert strength(b"abc") == (3, "small letters", 26**3)
    assert strength(b"Ab1 ") == (4, "small letters and capitals and digits and signs", 95**4)
    assert strength("é".encode())[1] == "bytes beyond ASCII"
