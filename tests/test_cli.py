"""The commands: what they print, their exit status, and how they refuse."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from carpproto.capture.observation import Group
from carpproto.capture.recording import load
from carpproto.cli import main
from carpproto.cli.text import name_groups, not_there, printable, timestamp
from tests.helpers import RECORDINGS

FREEBSD = RECORDINGS / "freebsd"


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    file = tmp_path / "passphrase"
    file.write_text("randompass\n")
    return str(file)


def refused(capsys, *arguments: str) -> str:
    """The one line with which a command refuses."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("carpproto: ")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    assert "Traceback" not in printed.err
    return printed.err.removeprefix("carpproto: ").strip()


def objects(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# -- demo ----------------------------------------------------------------------------------------


def test_demo_shows_all_three_parts(capsys) -> None:
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert "22 are, 0 are not" in printed
    assert "as predicted: 7 transitions, 22 advertisements byte for byte" in printed
    assert printed.endswith(
        "8.390625 B: vhid 1 on em0 went from BACKUP to MASTER: no authentic advertisement over "
        "IPv4 was heard for 3 s + 100/256 s.\n"
    )


def test_demo_as_json(capsys) -> None:
    assert main(["demo", "--json"]) == 0
    verified, replayed, failed_over = objects(capsys)
    assert verified == {"part": "verify", "authentic": 22, "not_authentic": 0}
    assert replayed["part"] == "replay"
    assert replayed["agrees"] is True
    assert failed_over["transitions"][-1] == {
        "t": 8.390625,
        "node": "B",
        "from": "BACKUP",
        "to": "MASTER",
        "reason": "master timed out",
    }


def test_the_bundled_recording_is_the_recorded_one() -> None:
    import carpproto.cli.demo

    for suffix in (".json", ".pcap"):
        bundled = carpproto.cli.demo.RECORDING.with_suffix(suffix)
        assert bundled.read_bytes() == (FREEBSD / f"failover-preempt1{suffix}").read_bytes()


def test_python_m_carpproto_is_the_same() -> None:
    command = [sys.executable, "-m", "carpproto", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("1. A FreeBSD 12.1 recording")


# -- decode --------------------------------------------------------------------------------------


def test_decode_prints_a_line_for_each_packet(capsys) -> None:
    assert main(["decode", str(FREEBSD / "single-v4.pcap")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 14
    assert lines[0] == (
        "7 2026-11-20T09:07:18.752708Z 192.168.1.157 > 224.0.0.18 vhid 1 advbase 1 advskew 0 "
        "demote 0 counter 2081992067567404959"
    )


def test_decode_says_why_a_packet_is_bad(capsys) -> None:
    assert main(["decode", str(FREEBSD / "injected.pcap")]) == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if "BAD" in line]
    assert [line.partition("BAD ")[2] for line in bad] == [
        "badttl at byte 22: TTL 254, an advertisement has 255",
        "badsum at byte 40: checksum 0x3606, the bytes need 0x3707",
        "badver at byte 34: version 3, CARP is version 2",
        "badlen at byte 64: 30 bytes, an advertisement has 36",
    ]


def test_decode_as_json_has_every_field(capsys) -> None:
    assert main(["decode", "--json", str(FREEBSD / "vlan.pcap")]) == 0
    first, second = objects(capsys)[:2]
    assert first["frame"] == 14
    assert first["vlans"] == [10]
    assert first["hop_limit"] == 255
    assert first["source"] == "192.168.10.157"
    assert first["source_mac"] == "00:00:5e:00:01:0a"
    assert first["advertisement"] == {
        "vhid": 10,
        "advbase": 1,
        "advskew": 5,
        "demote": 0,
        "counter": 17909508570078789885,
        "digest": "0683d6771c049858094f6bef2b4ffa4a9967d414",
        "version": 2,
        "type": 1,
        "authlen": 7,
        "checksum": 50739,
    }
    assert first["problem"] is None
    assert second["family"] == 6
    assert second["destination"] == "ff02::12"


def test_decode_as_json_says_what_is_wrong(capsys) -> None:
    assert main(["decode", "--json", str(FREEBSD / "injected.pcap")]) == 1
    [bad] = [found for found in objects(capsys) if found["advertisement"] is None][:1]
    assert bad["problem"] == {
        "reason": "badsum",
        "offset": 40,
        "text": "checksum 0x3606, the bytes need 0x3707",
    }


def test_decode_takes_netbsds_checksum_with_the_pseudo_header(capsys) -> None:
    path = RECORDINGS / "netbsd" / "dual-stack-bp1120.pcap"
    assert main(["decode", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("(checksum with pseudo-header)") for line in lines)


def test_decode_reports_a_frame_that_the_capture_cut(capsys, tmp_path: Path) -> None:
    data = (FREEBSD / "single-v4.pcap").read_bytes()
    frame = next(load(FREEBSD / "single-v4.json").frames()).packet.frame
    path = tmp_path / "cut.pcap"
    record = struct.pack("<IIII", 0, 0, 54, len(frame)) + frame[:54]
    whole = struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    path.write_bytes(data[:24] + record + whole)
    assert main(["decode", str(path)]) == 1
    cut, good = capsys.readouterr().out.splitlines()
    assert "BAD truncated at byte 54: the capture kept 54 of 70 bytes" in cut
    assert "snap length" in cut
    assert good.startswith("2 1970-01-01T00:00:00.000000Z 192.168.1.157 > 224.0.0.18 vhid 1")


def test_decode_shows_a_frame_that_ends_within_a_header(capsys, tmp_path: Path) -> None:
    header = (FREEBSD / "single-v4.pcap").read_bytes()[:24]
    path = tmp_path / "short.pcap"
    path.write_bytes(header + struct.pack("<IIII", 0, 0, 5, 5) + b"12345")
    assert main(["decode", "--json", str(path)]) == 1
    [found] = objects(capsys)
    assert found["problem"]["reason"] == "truncated"
    assert found["source"] is None


def test_decode_warns_of_a_cut_last_record_and_loses_nothing_before_it(
    capsys, tmp_path: Path
) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes((FREEBSD / "single-v4.pcap").read_bytes()[:-10])
    assert main(["decode", str(path)]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 13
    assert printed.err.startswith("carpproto: warning: ")
    assert printed.err.count("\n") == 1


def test_decode_warns_when_there_is_nothing_to_see(capsys, tmp_path: Path) -> None:
    path = tmp_path / "empty.pcap"
    path.write_bytes((FREEBSD / "single-v4.pcap").read_bytes()[:24])
    assert main(["decode", str(path)]) == 0
    assert "no CARP packet" in capsys.readouterr().err


def test_decode_reads_standard_input() -> None:
    command = [sys.executable, "-m", "carpproto", "decode", "-"]
    data = (FREEBSD / "single-v4.pcap").read_bytes()
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 14


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m carpproto decode {FREEBSD}/many-vhids.pcap | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


# -- verify --------------------------------------------------------------------------------------


def verify(name: str, *arguments: str) -> int:
    return main(["verify", str(FREEBSD / f"{name}.pcap"), *arguments])


def test_verify_says_which_are_authentic(capsys, passphrase: str) -> None:
    address = ("--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", passphrase)
    assert verify("failover-preempt1", *address) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "vhid 1: 22 authentic, 0 not authentic; 0 unreadable, 0 of other vhids"
    assert all(line.endswith(" authentic") for line in printed[:-1])


def test_verify_finds_what_another_passphrase_signed(capsys, passphrase: str) -> None:
    address = ("--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", passphrase)
    assert verify("wrong-password", *address) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith("vhid 1: 12 authentic, 4 not authentic;")
    wrong = [line for line in printed if line.endswith(" NOT AUTHENTIC")]
    assert len(wrong) == 4
    assert all("192.168.1.158 >" in line for line in wrong)


def test_verify_as_json(capsys, passphrase: str) -> None:
    address = ("--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", passphrase)
    assert verify("injected", "--json", *address) == 1
    found = objects(capsys)
    # 76 packets: vhids 99 and 0 are others', three cannot be decoded, one is forged.
    assert [sum(one["authentic"] is verdict for one in found) for verdict in (True, False, None)] \
        == [70, 1, 3]  # fmt: skip


def test_verify_takes_all_addresses_of_both_families(capsys, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("dualpass")
    addresses = (
        "192.168.1.60", "192.168.1.50", "10.9.8.7",
        "2001:db8:1::60/64", "fe80::50%em0", "2001:db8:1::50", "fd00::5",
    )  # fmt: skip
    secret = ("--passphrase-file", str(file), "--vhid", "5")
    assert verify("dual", *secret, "--address", *addresses) == 0
    assert verify("dual", *secret, "--address", *addresses[:-1]) == 1
    assert "vhid 5: 0 authentic, 16 not authentic" in capsys.readouterr().out


def test_verify_takes_a_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(b"abcdefghijklmnopqrst".hex() + "\n")
    group = ("--vhid", "7", "--address", "192.168.1.200", "10.0.0.9", "192.168.1.51")
    assert verify("rawkey20", *group, "--key-file", str(file)) == 0


def test_verify_takes_the_passphrase_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("CARPPROTO_PASSPHRASE", "randompass")
    assert verify("single-v4", "--vhid", "1", "--address", "192.168.1.50") == 0


def test_verify_asks_for_the_passphrase_at_a_terminal(monkeypatch) -> None:
    monkeypatch.delenv("CARPPROTO_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("carpproto.cli.verify.getpass", lambda prompt: "randompass")
    assert verify("single-v4", "--vhid", "1", "--address", "192.168.1.50") == 0


def test_verify_without_any_passphrase_is_refused(capsys, monkeypatch) -> None:
    monkeypatch.delenv("CARPPROTO_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    path = str(FREEBSD / "single-v4.pcap")
    text = refused(capsys, "verify", path, "--vhid", "1", "--address", "192.168.1.50")
    assert "--passphrase-file" in text
    assert "CARPPROTO_PASSPHRASE" in text


def test_verify_warns_of_a_carriage_return(capsys, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(b"randompass\r\n")
    group = ("--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", str(file))
    assert verify("single-v4", *group) == 1
    assert "carriage return" in capsys.readouterr().err


def test_verify_warns_of_an_empty_passphrase(capsys, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(b"\nrandompass\n")
    group = ("--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", str(file))
    assert verify("single-v4", *group) == 1
    text = f"carpproto: warning: the passphrase in {file}, its first line, is empty\n"
    assert capsys.readouterr().err == text


def test_a_key_may_end_with_a_carriage_return(capsys, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"abcdefghijklmnopqrst".hex().encode() + b"\r\n")
    group = ("--vhid", "7", "--address", "192.168.1.200", "10.0.0.9", "192.168.1.51")
    assert verify("rawkey20", *group, "--key-file", str(file)) == 0
    assert capsys.readouterr().err == ""


def test_verify_of_a_vhid_that_is_not_there_is_no_success(capsys, passphrase: str) -> None:
    group = ("--vhid", "2", "--address", "192.168.1.50", "--passphrase-file", passphrase)
    assert verify("single-v4", *group) == 1
    printed = capsys.readouterr()
    assert printed.out == (
        "vhid 2: 0 authentic, 0 not authentic; 0 unreadable, 14 of other vhids\n"
    )
    text = "there is no advertisement of vhid 2 in this capture; there are: vhid 1"
    assert printed.err == f"carpproto: warning: {text}\n"
    assert verify("single-v4", *group, "--json") == 1
    assert capsys.readouterr() == ("", f"carpproto: warning: {text}\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--vhid", "0"), "vhid 0 is out of range; it is 1 to 255"),
        (("--vhid", "256"), "vhid 256 is out of range; it is 1 to 255"),
        (("--vhid", "one"), "vhid 'one' is no number; it is 1 to 255"),
        (("--vhid", "1", "--address", "192.168.1"), "'192.168.1' is not an address; give"),
    ],
)
def test_verify_refuses_bad_values(capsys, passphrase: str, arguments, expected: str) -> None:
    path = str(FREEBSD / "single-v4.pcap")
    rest = ("--address", "192.168.1.50", "--passphrase-file", passphrase)
    assert expected in refused(capsys, "verify", path, *rest, *arguments)


def test_a_bad_key_file_is_refused_without_showing_it(capsys, tmp_path: Path) -> None:
    file = tmp_path / "key"
    path = str(FREEBSD / "single-v4.pcap")
    rest = ("--vhid", "1", "--address", "192.168.1.50", "--key-file", str(file))
    for content in ("not hexadecimal", "", "\n00"):
        file.write_text(content)
        text = refused(capsys, "verify", path, *rest)
        assert "hexadecimal digits, 40 at the most" in text
        assert "not hexadecimal" not in text


def test_a_passphrase_never_shows(capsys, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("s3cret-s3cret-s3cret-s3cret")
    path = str(FREEBSD / "single-v4.pcap")
    rest = ("--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", str(file))
    assert main(["verify", path, *rest, "--profile", "ucarp"]) == 2
    assert main(["verify", path, *rest, "--json"]) == 1
    printed = capsys.readouterr()
    assert "s3cret" not in printed.out + printed.err


# -- replay --------------------------------------------------------------------------------------


def test_replay_prints_transitions_and_a_verdict(capsys) -> None:
    assert main(["replay", str(FREEBSD / "carrier-loss.json")]) == 0
    printed = capsys.readouterr().out
    assert "A: vhid 1 MASTER -> INIT (hardware interface down)" in printed
    assert "as predicted: 8 transitions, 17 advertisements byte for byte" in printed


def test_replay_reports_a_recording_whose_notes_say_why_it_differs(capsys) -> None:
    assert main(["replay", str(FREEBSD / "if-down.json")]) == 1
    printed = capsys.readouterr().out
    assert "DIFFERS: A at t = 15.677864: predicted nothing, recorded vhid 1 BACKUP -> MASTER" in (
        printed
    )
    assert "Replay: when A's interface comes up again" in printed
    assert "differs, and its notes say why" in printed


def test_replay_prints_both_sides_numbers_of_a_difference(capsys) -> None:
    path = str(FREEBSD / "single-v4-10-4.json")
    assert main(["replay", path]) == 1
    assert (
        "predicted a timer of 1.000000 s armed at t = 10.849217, up to 0.100 s late, "
        "recorded frame 16: vhid 1 IPv4 advbase 1 advskew 0, 0.101950 s late"
    ) in capsys.readouterr().out
    assert main(["replay", path, "--late-ms", "35"]) == 0
    assert main(["replay", path, "--late-percent", "7.5"]) == 0
    assert main(["replay", path, "--late-percent", "5", "--late-ms", "30"]) == 1


def test_replay_as_json(capsys) -> None:
    assert main(["replay", "--json", str(FREEBSD / "if-down.json")]) == 1
    [report] = objects(capsys)
    assert report["agrees"] is False
    assert report["explained"] is True
    assert report["disagreements"][0]["predicted"] is None
    assert report["transitions"][0]["reason"] == "initialization complete"
    assert report["counters"]["B"]["ipackets"] == 12
    assert all(timer["late"] < 0.13 for timer in report["timers"])


def test_replay_takes_several_recordings(capsys) -> None:
    names = ("single-v4", "v6only", "dual")
    assert main(["replay", "--json", *(str(FREEBSD / f"{name}.json") for name in names)]) == 0
    assert [report["recording"] for report in objects(capsys)] == list(names)


def test_replay_goes_on_after_a_file_that_is_no_recording(capsys) -> None:
    files = ("INDEX.json", "none.json", "single-v4-10-4.json", "single-v4.json")
    assert main(["replay", "--json", *(str(FREEBSD / name) for name in files)]) == 2
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    index, none = printed.err.splitlines()
    assert index.startswith(f"carpproto: {FREEBSD / 'INDEX.json'} is no recording of schema 1")
    assert none == f"carpproto: cannot read {FREEBSD / 'none.json'}: No such file or directory"


def test_replay_finds_a_changed_recording(capsys, tmp_path: Path) -> None:
    content = json.loads((FREEBSD / "single-v4.json").read_text())
    (tmp_path / "single-v4.pcap").write_bytes((FREEBSD / "single-v4.pcap").read_bytes())
    for event in content["events"]:
        if event["event"] == "virtual_host":
            event["advskew"] = 1
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    assert main(["replay", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "predicted advbase 1 advskew 1, recorded frame 7" in printed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content.pop("nodes"), "has no 'nodes' where a recording has one"),
        (lambda content: content.update(recording=2), "no recording of schema 1"),
        (lambda content: content.update(pcap="../x.pcap"), "it is a file name beside it"),
        (lambda content: content.update(profile="plan9"), "names the profile 'plan9'"),
        (lambda content: content["events"].append({"t": 1}), "has no 'event'"),
        (
            lambda content: content["events"].append({"t": 1, "node": "A", "event": "dance"}),
            "has an event 'dance'",
        ),
        (
            lambda content: content["events"].append({"t": 1, "node": "Z", "event": "halt"}),
            "speaks of node 'Z'",
        ),
        (
            lambda content: content["events"].append({"t": 1, "node": "A", "event": "link"}),
            "has up = None; it is of type bool",
        ),
        (lambda content: content.update(pcap="missing.pcap"), "missing.pcap"),
        (lambda content: content.update(nodes=[]), "not laid out as a recording"),
        (lambda content: content.update(t0=10**400), "where a number of seconds is expected"),
        (lambda content: content.update(t0=float("nan")), "NaN is no number"),
        (lambda content: content.update(t0=float("inf")), "Infinity is no number"),
        (lambda content: content.update(duration="9"), "where a number of seconds is expected"),
        (lambda content: content.update(duration=0), "duration 0.0 s is out of range, 0 to"),
        (lambda content: content.update(duration=10**9), "is out of range, 0 to 1000000"),
        (
            lambda content: content.update(t0=content["t0"] - 86400),
            "the recording lasts from 0 to",
        ),
        (lambda content: content.update(t0=0), "t0, the duration or the capture is another's"),
        (lambda content: content["events"][3].update(t=500), "the event"),
        (lambda content: content["transitions"][0].update(t=-500), "a transition is at t = -500"),
        (lambda content: content.update(transitions={}), "transitions is no list"),
        (lambda content: content.update(nodes={}), "it has no nodes"),
        (lambda content: content.update(pcap_far={}), "has no 'file'"),
        (lambda content: content.update(pcap="a\0b"), "it is a file name beside it"),
        (lambda content: content.update(pcap="\ud800"), "it is a file name beside it"),
        (lambda content: content["nodes"]["A"].update(interface=["x"]), "a text is expected"),
        (lambda content: content["nodes"]["A"].update(vlan=4096), "a whole number, 0 to 4095"),
        (lambda content: content["events"][-1].update(vhid={}), "a whole number, 0 to 255"),
        (lambda content: content["events"][-1].update(t=True), "a number of seconds"),
        (lambda content: content["transitions"][0].update(vhid=10**400), "0 to 255, is expected"),
        (lambda content: content["transitions"][0].update(reason=5), "a text is expected"),
        (
            lambda content: content["events"].append(
                {"t": 1, "node": "A", "event": "setting", "name": "preempt"}
            ),
            "None stands where a whole number",
        ),
        (
            lambda content: content["events"].append(
                {"t": 1, "node": "A", "event": "setting", "name": "up_script_seconds"}
            ),
            "None stands where a number of seconds",
        ),
        (
            lambda content: content["events"].append(
                {"t": 1, "node": "A", "event": "state_requested", "vhid": 1, "state": "INIT"}
            ),
            "'INIT' cannot be requested",
        ),
        (
            lambda content: content["events"].append(
                {"t": 1, "node": "A", "event": "link", "up": True, "interface": 5}
            ),
            "a text is expected",
        ),
    ],
)
def test_replay_refuses_what_is_no_recording(capsys, tmp_path: Path, change, expected) -> None:
    content = json.loads((FREEBSD / "single-v4.json").read_text())
    (tmp_path / "single-v4.pcap").write_bytes((FREEBSD / "single-v4.pcap").read_bytes())
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    assert expected in refused(capsys, "replay", str(path))


def test_replay_refuses_a_file_that_is_not_json(capsys, tmp_path: Path) -> None:
    path = tmp_path / "not.json"
    for content in (b"", b"\xff\xfe", b"[" * 100_000, b"[]"):
        path.write_bytes(content)
        assert "not.json" in refused(capsys, "replay", str(path))


def test_replay_refuses_a_negative_lateness(capsys) -> None:
    path = str(FREEBSD / "single-v4.json")
    assert "-1.0 is out of range" in refused(capsys, "replay", path, "--late-ms", "-1")


# -- refusals that all commands share -----------------------------------------------------------


def each_command(file: str, passphrase: str) -> list[tuple[str, ...]]:
    verify = ("--vhid", "1", "--address", "192.0.2.1", "--passphrase-file", passphrase)
    return [("decode", file), ("verify", file, *verify), ("replay", file)]


def test_a_missing_file_is_one_line(capsys, tmp_path: Path, passphrase: str) -> None:
    for command in each_command(str(tmp_path / "none"), passphrase):
        assert refused(capsys, *command).endswith("none: No such file or directory")


def test_a_directory_is_one_line(capsys, tmp_path: Path, passphrase: str) -> None:
    for command in each_command(str(tmp_path), passphrase):
        assert refused(capsys, *command) == f"cannot read {tmp_path}: Is a directory"


def test_a_name_that_is_empty_is_one_line(capsys) -> None:
    for command in ("decode", "timeline", "diagnose"):
        assert refused(capsys, command, "") == "no file is named; - reads standard input"


def test_a_file_without_permission_is_one_line(
    capsys, monkeypatch, tmp_path: Path, passphrase: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"")
    path.chmod(0)
    if os.geteuid() == 0:
        # Root may read anything, so the refusal is the system's only in name.
        def denied(*arguments: object, **keywords: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", denied)
        monkeypatch.setattr("builtins.open", denied)
    for command in each_command(str(path), str(path)):
        assert refused(capsys, *command) == f"cannot read {path}: Permission denied"


def test_an_empty_file_and_one_that_is_no_capture_are_one_line(
    capsys, tmp_path: Path, passphrase: str
) -> None:
    path = tmp_path / "file"
    for content, expected in ((b"", "empty"), (b"root:x:0:0:", "neither pcap nor pcapng")):
        path.write_bytes(content)
        for command in each_command(str(path), passphrase)[:2]:
            text = refused(capsys, *command)
            assert text.startswith(f"{path}: ")
            assert expected in text


def test_an_unknown_link_type_is_one_line(capsys, tmp_path: Path) -> None:
    data = bytearray((FREEBSD / "single-v4.pcap").read_bytes())
    data[20] = 105
    path = tmp_path / "wifi.pcap"
    path.write_bytes(data)
    assert "link type 105 cannot be read" in refused(capsys, "decode", str(path))


def test_an_endless_file_is_refused(capsys, passphrase: str) -> None:
    assert "more than" in refused(capsys, "replay", "/dev/zero")
    path = str(FREEBSD / "single-v4.pcap")
    rest = ("--vhid", "1", "--address", "192.168.1.50")
    for option in ("--passphrase-file", "--key-file"):
        text = refused(capsys, "verify", path, *rest, option, "/dev/zero")
        assert text == "the first line of /dev/zero has more than 4096 bytes"


def test_closed_and_full_streams_are_no_traceback() -> None:
    command = f"{sys.executable} -m carpproto decode {FREEBSD}/single-v4.pcap"
    for redirection, status, said in (
        (">&-", 2, "carpproto: cannot write the output: standard output is closed\n"),
        ("2>&-", 0, ""),
        (">&- 2>&-", 2, ""),
        (">/dev/full", 2, "carpproto: cannot write the output: No space left on device\n"),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{command} {redirection}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (status, said), redirection
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m carpproto decode - <&-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "carpproto: standard input is closed; name a file\n",
    )


def test_what_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    content = json.loads((FREEBSD / "single-v4.json").read_text())
    content["nodes"]["A"]["implementation"] = "\u0424"
    (tmp_path / "single-v4.pcap").write_bytes((FREEBSD / "single-v4.pcap").read_bytes())
    path = tmp_path / "named.json"
    path.write_text(json.dumps(content))
    done = subprocess.run(
        [sys.executable, "-m", "carpproto", "replay", str(path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "\\u0424" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_version_is_told(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("carpproto 0.")


def test_help_is_on_standard_output(capsys) -> None:
    assert main(["--help"]) == 0
    assert "decode" in capsys.readouterr().out
    assert main(["decode", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: carpproto decode")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "missing: COMMAND (see carpproto --help)"),
        ("decode", "decode: missing: FILE (see carpproto decode --help)"),
        ("decode f --foo", "decode: no such option: --foo (see carpproto decode --help)"),
        ("decode f g", "decode: too many arguments (see carpproto decode --help)"),
        ("--json demo", "no such option: --json (see carpproto --help)"),
        ("decode f --jso", "decode: no such option: --jso (see carpproto decode --help)"),
        ("verify f", "verify: missing: --vhid, --address (see carpproto verify --help)"),
        (
            "fuzz f --frames many",
            "fuzz: argument --frames: expected a whole number (see carpproto fuzz --help)",
        ),
        (
            "replay f --late-ms soon",
            "replay: argument --late-ms: expected a number (see carpproto replay --help)",
        ),
        (
            "verify f --vhid 1 --address a --passphrase-file f --key-file k",
            "verify: argument --key-file: not allowed with argument --passphrase-file "
            "(see carpproto verify --help)",
        ),
    ],
)
def test_a_mistake_is_one_line_of_the_command(capsys, line: str, expected: str) -> None:
    assert refused(capsys, *line.split()) == expected


def test_what_there_is_to_choose_from_is_named(capsys) -> None:
    text = refused(capsys, "dance")
    assert text.startswith("argument COMMAND: choose from ")
    assert all(command in text for command in ("demo", "decode", "run", "fuzz"))
    text = refused(capsys, "verify", "f", "--profile", "plan9")
    assert text.startswith("verify: argument --profile: choose from ")
    assert "netbsd" in text


@pytest.mark.parametrize(
    "line",
    [
        "s3cret",
        "-ps3cret",
        "decode f s3cret",
        "decode f --foo=s3cret",
        "decode f --foo -s3cret",
        "decode f -s3cret",
        "decode f --json=s3cret",
        "verify f --profile s3cret",
        "fuzz f --frames s3cret",
        "replay f --late-ms s3cret",
        "run --pas=s3cret",
        "run --preempt=s3cret",
        "run -Ps3cret",
    ],
)
@pytest.mark.parametrize(
    "more", ["", "\nmore", " (choose from 's3cret', x)", " could match -s3cret"]
)
def test_a_mistake_repeats_no_value(capsys, line: str, more: str) -> None:
    *words, last = line.split()
    assert "s3cret" not in refused(capsys, *words, last + more)


def test_a_file_behind_the_addresses_is_missed_with_an_explanation(capsys) -> None:
    hint = "; --address takes all words after it, so put FILE before it"
    group = ("--vhid", "1", "--address", "192.0.2.1", "f.pcap")
    assert refused(capsys, "verify", *group).startswith(f"verify: missing: FILE{hint} (see ")
    assert refused(capsys, "audit", *group).startswith(
        f"audit: missing: FILE, --wordlist{hint} (see "
    )
    for command in ("timeline", "diagnose", "fuzz"):
        assert refused(capsys, command, *group).startswith(f"{command}: missing: FILE{hint} (see ")
    assert hint not in refused(capsys, "verify", "--vhid", "1", "--address=192.0.2.1")
    assert hint not in refused(capsys, "verify", "f", "--address", "192.0.2.1")


def test_an_interrupt_while_a_command_is_loaded_is_no_traceback(capsys, monkeypatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("carpproto.cli.import_module", interrupted)
    assert main(["decode", "f"]) == 130
    assert capsys.readouterr() == ("", "")


# -- text ----------------------------------------------------------------------------------------


def test_text_from_a_file_cannot_move_the_cursor(capsys, tmp_path: Path) -> None:
    assert printable("a\x1b[2Jb\nc\u202e") == "a\\x1b[2Jb\\nc\\u202e"
    content = json.loads((FREEBSD / "single-v4.json").read_text())
    content["name"] = content["nodes"]["A"]["implementation"] = "\x1b[2J"
    content["notes"] = ["Replay: \x1b]0;title\x07"]
    (tmp_path / "single-v4.pcap").write_bytes((FREEBSD / "single-v4.pcap").read_bytes())
    path = tmp_path / "escaped.json"
    path.write_text(json.dumps(content))
    assert main(["replay", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    name = str(tmp_path / "\x1b[2J.pcap")
    assert "\x1b" not in refused(capsys, "decode", name)


def test_of_many_groups_the_first_are_named() -> None:
    assert name_groups([1, Group((10,), 2)]) == "vhid 1, vhid 2 vlan 10"
    assert name_groups(range(1, 9)).endswith("vhid 7, vhid 8")
    assert name_groups(range(1, 10)).endswith("vhid 7, vhid 8, ...")
    assert not_there(1, []) == "there is no advertisement of vhid 1 in this capture"


def test_a_time_beyond_the_calendar_is_in_seconds() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000000Z"
    assert timestamp(-1000) == "1969-12-31T23:59:59.999999Z"
    assert timestamp(10**28) == "10000000000000000000.000000"


def test_a_command_loads_what_it_needs_and_not_the_others() -> None:
    code = (
        "import sys; from carpproto.cli import main; main(['decode', '--help']); "
        "print([name for name in sys.modules if name.startswith('carpproto.simulation')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")
