"""The fuzzer: nothing is found in the library, and what is planted is found, small and written."""

from __future__ import annotations

import errno
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from time import perf_counter, sleep

import pytest

from carpproto import FREEBSD, Authenticator, ConfigError, DecodeError, VirtualHostConfig
from carpproto.capture.reader import Record, open_capture
from carpproto.cli import main
from carpproto.core.advertisement import decode
from carpproto.core.errors import Reason
from carpproto.simulation.campaign import run_campaign
from carpproto.simulation.faults import Inject
from carpproto.testing import fuzz_cluster, fuzz_tshark, fuzzing
from carpproto.testing.fuzz_campaign import cases, frames_to_mutate, make_spec, task
from carpproto.testing.fuzz_cluster import check_injected, fuzz_runs, scenario, shrunk
from carpproto.testing.fuzz_report import Case, fewest, minimise, pytest_source, write_case
from carpproto.testing.fuzz_tshark import differences
from carpproto.testing.fuzzing import (
    BLOCK,
    CONFIG,
    Finding,
    Machines,
    Spec,
    block,
    check_frame,
    fuzz_block,
)
from carpproto.testing.mutators import write_field
from tests.helpers import RECORDINGS, captures, recorded

pytest_plugins = ["pytester"]

CAPTURE = str(RECORDINGS / "freebsd" / "single-v4.pcap")


@cache
def spec() -> Spec:
    """Frames of every recording, FreeBSD's first."""
    found: dict[bytes, None] = {}
    for path in (*captures("freebsd"), *captures("netbsd"), *captures("ucarp")):
        with open_capture(path) as capture:
            found.update(dict.fromkeys(frames_to_mutate(capture)))
    return make_spec(tuple(found), None, 0, True)


def test_200_000_mutated_frames_without_a_finding() -> None:
    began = perf_counter()
    for number in range(200_000 // BLOCK):
        found = fuzz_block(spec(), number)
        assert not found, (number, found[0])
    assert perf_counter() - began < 60  # 10 s where nothing else runs


def test_the_same_seed_gives_the_same_frames_and_another_others() -> None:
    assert list(block(spec(), 3)) == list(block(spec(), 3))
    assert list(block(spec(), 3)) != list(block(spec(), 4))
    assert list(block(spec()._replace(seed=1), 3)) != list(block(spec(), 3))
    unsigned = spec()._replace(signs=False)
    assert not any("signed again" in what for what, _ in block(unsigned, 3))
    assert any("signed again" in what for what, _ in block(spec(), 3))
    assert len(list(block(spec(), 3))) == BLOCK


def test_frames_to_mutate_are_of_protocol_112_and_few_of_a_kind() -> None:
    frames = recorded("freebsd/injected")
    records = [Record(n, 0, 1, frame, len(frame)) for n, frame in enumerate(frames, 1)]
    kept = frames_to_mutate(records)
    assert len(set(kept)) == len(kept) < len([f for f in frames if f[23] == 112])
    assert any(len(frame) < 70 for frame in kept)  # a damaged one
    assert frames_to_mutate([Record(1, 0, 113, frames[0], 60)]) == ()
    with pytest.raises(ConfigError, match="no Ethernet frame of protocol 112"):
        make_spec((), None, 0, True)


# -- what is planted is found --------------------------------------------------------------------


def planted(payload: bytes, *, pseudo_header: bytes = b"") -> object:
    """A decoder that takes offence at an advskew of 255."""
    if payload[2:3] == b"\xff":
        raise ValueError("planted")
    return decode(payload, pseudo_header=pseudo_header)


def found_of(number: int) -> list[fuzzing.Found]:
    return fuzz_block(spec(), number)


def test_an_exception_is_found_and_made_small(monkeypatch) -> None:
    monkeypatch.setattr(fuzzing, "decode", planted)
    [case, *others] = cases(spec(), "library", False, [0])
    assert case.finding.kind == "exception"
    assert case.finding.text.startswith("ValueError in test_fuzzing.py, planted:")
    assert not others
    ((at, frame),) = case.frames
    assert at == 0.0
    assert len(frame) <= 37  # an IPv4 header, up to the advskew
    assert set(frame[34:]) <= {0, 255}
    assert "seed 0, block 0:" in case.origin


@pytest.mark.parametrize(
    ("name", "broken", "kind"),
    [
        ("peel_payload", lambda frame: b"x", "ways differ"),
        ("encode", lambda advertisement: b"", "round trip"),
        ("peel_datagram", lambda frame: None, "ways differ"),
    ],
)
def test_what_does_not_agree_is_found(monkeypatch, name: str, broken, kind: str) -> None:
    frame = recorded("freebsd/single-v4")[6]
    assert check_frame(frame) is None
    monkeypatch.setattr(fuzzing, name, broken)
    finding = check_frame(frame)
    assert finding is not None
    assert finding.kind == kind


def test_a_decoder_that_takes_too_much_or_too_little_is_found(monkeypatch) -> None:
    frame = recorded("freebsd/single-v4")[6]
    advertisement = decode(frame[34:])
    monkeypatch.setattr(fuzzing, "decode", lambda payload: advertisement)
    wrong = frame[:40] + b"\x12\x34" + frame[42:]
    assert check_frame(wrong).kind == "accepted"

    def refuse(payload: bytes) -> None:
        raise DecodeError(Reason.BADSUM, 6, "no")

    monkeypatch.setattr(fuzzing, "decode", refuse)
    assert check_frame(frame).kind == "refused"


def test_a_node_that_believes_anybody_is_found(monkeypatch) -> None:
    monkeypatch.setattr(Authenticator, "verify", lambda self, advertisement: True)
    monkeypatch.setattr(fuzzing, "_authentic", lambda *given: False)
    frame = recorded("freebsd/single-v4")[6]
    bow_out = write_field(frame, "carp.advbase", 255)
    assert check_frame(frame) is None  # a BACKUP stays one
    finding = Finding("state", "FreeBSD 12 changes its state for what is not authentic")
    assert check_frame(bow_out) == finding


# -- what becomes of it --------------------------------------------------------------------------


def test_the_smallest_frame_and_the_fewest_frames() -> None:
    frame = bytes(range(1, 80))
    assert minimise(frame, lambda f: f[40:42] == frame[40:42]) == bytes(40) + frame[40:42]
    assert minimise(frame, lambda f: False) == frame
    frames = tuple(bytes([n]) for n in range(50))
    assert fewest(frames, lambda left: b"\x07" in left and b"\x2a" in left) == (b"\x07", b"\x2a")


def test_a_finding_becomes_a_pcap_and_a_test_that_fails_until_it_is_mended(
    monkeypatch, pytester: pytest.Pytester
) -> None:
    monkeypatch.setattr(fuzzing, "decode", planted)
    [case] = cases(spec(), "library", False, [0])
    capture, test = write_case(pytester.path, "finding_1", case)
    with open_capture(capture) as records:
        assert [record.data for record in records] == [case.frames[0][1]]
    result = pytester.runpytest_inprocess(str(test), "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    monkeypatch.undo()
    result = pytester.runpytest_inprocess(str(test), "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_no_passphrase_gets_into_a_test(monkeypatch) -> None:
    config = VirtualHostConfig(vhid=1, passphrase="swordfish", addresses=["192.0.2.5"])
    monkeypatch.setattr(fuzzing, "decode", planted)
    mine = make_spec(spec().frames, config, 0, True)
    for target, name in (("library", None), ("cluster", "FREEBSD")):
        case = next(iter(cases(spec(), "library", False, [0])))
        case = case._replace(target=name or target)
        source = pytest_source("x", case, mine.config)
        assert "swordfish" not in source
        assert 'os.environ.get("CARPPROTO_PASSPHRASE"' in source
        compile(source, "x", "exec")


def test_text_in_a_test_file_cannot_end_its_docstring() -> None:
    source = pytest_source("x", a_case("exception", '"""\nimport os\x1b[2J\\', "library"))
    compile(source, "x", "exec")
    assert "\x1b" not in source
    assert '"""\nimport os' not in source
    for target in ("tshark", "peer", "UCARP"):
        compile(pytest_source("x", a_case("a", "b", target)), "x", "exec")


def a_case(kind: str, text: str, target: str) -> Case:
    return Case(Finding(kind, text), target, "seed 0", ((0.0, b"\x00\x01"),))


# -- a cluster -----------------------------------------------------------------------------------


def test_clusters_settle_whatever_is_injected() -> None:
    tally = fuzz_runs(spec(), 0, 40)
    assert tally.failing == ()
    assert (tally.runs, tally.faults) == (40, 2000)
    assert tally == fuzz_runs(spec(), 0, 40)


def test_a_cluster_that_believes_anybody_is_found_and_made_small(
    monkeypatch, pytester: pytest.Pytester
) -> None:
    right = Authenticator.verify

    def gullible(self: Authenticator, advertisement) -> bool:
        return right(self, advertisement) or advertisement.advskew == 0

    monkeypatch.setattr(Authenticator, "verify", gullible)
    monkeypatch.setattr(fuzz_cluster, "_may_be_authentic", lambda frame, authenticator: False)
    number = 4  # a cluster of FreeBSD's
    unsigned = spec()._replace(signs=False)
    while (found := shrunk(scenario(unsigned, number), number)) is None:
        number += 4
        assert number < 200
    finding, smaller = found
    assert finding.kind == "state"
    assert len(smaller.faults) <= 3
    frames = tuple((fault.at, fault.frame) for fault in smaller.faults if type(fault) is Inject)
    assert check_injected(frames, profile=FREEBSD, seed=number) == finding
    [case] = cases(unsigned, "cluster", False, [number])
    assert case.target == "FREEBSD"
    _, test = write_case(pytester.path, "finding_2", case)
    result = pytester.runpytest_inprocess(str(test), "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    monkeypatch.undo()
    result = pytester.runpytest_inprocess(str(test), "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


# -- tshark --------------------------------------------------------------------------------------


def test_tshark_reads_mutated_frames_as_the_library_does() -> None:
    if shutil.which("tshark") is None:
        pytest.fail("tshark is missing; install it with the system's package manager")
    for number in range(3):
        mutated = list(block(spec(), number))
        found = differences([mutation.frame for mutation in mutated])
        assert not found, [(mutated[at].what, finding) for at, finding in found][:5]


def test_a_difference_from_tshark_is_found(monkeypatch) -> None:
    def swapped(payload: bytes):
        advertisement = decode(payload)
        return advertisement._replace(advbase=advertisement.advskew)

    monkeypatch.setattr(fuzz_tshark, "decode", swapped)
    frame = recorded("freebsd/single-v4")[6]
    assert differences([frame]) == [
        (0, ("tshark differs", "fields differ: adver_int is 1 in tshark, 0 here"))
    ]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="tshark is missing"):
        differences([frame])


def test_a_long_passphrase_leaves_out_who_refuses_it() -> None:
    config = CONFIG.replace(passphrase="as long as FreeBSD cuts it off")
    machines = Machines(config)
    assert machines.hear(recorded("freebsd/single-v4")[6]) is None
    assert [profile.name for _, _, profile in machines._nodes] == [
        "FreeBSD 12",
        "NetBSD",
        "OpenBSD",
    ]


def test_who_ends_the_process_is_a_finding(monkeypatch) -> None:
    def leave(payload: bytes, pseudo_header: bytes = b"") -> None:
        raise SystemExit(0)

    monkeypatch.setattr(fuzzing, "decode", leave)
    finding = check_frame(recorded("freebsd/single-v4")[6])
    assert finding is not None
    assert finding.text.startswith("SystemExit in test_fuzzing.py, leave")


# -- campaigns and the command -------------------------------------------------------------------


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path) -> None:
    file = tmp_path / "fuzz.json"
    work = task(spec(), "library", False)
    first = run_campaign(range(2), task=work, processes=1, resume=file)
    both = run_campaign(range(4), task=work, processes=1, resume=file)
    assert (first.faults, both.faults) == (2000, 4000)
    assert both.seeds == ((0, 4),)
    with pytest.raises(ConfigError, match="another campaign"):
        run_campaign(range(2), task=task(spec(), "cluster", False), processes=1, resume=file)


def test_the_command(capsys) -> None:
    command = ["fuzz", CAPTURE, "--frames", "2000", "--processes", "1"]
    assert main(command) == 0
    assert capsys.readouterr().out == (
        "2000 frames, made of 4 recorded ones with seed 0: no finding\n"
    )
    assert main([*command, "--json", "--target", "cluster", "--seed", "5"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "part": "fuzz",
        "target": "cluster",
        "recorded": 4,
        "frames": 2000,
        "seed": 5,
        "failed": 0,
    }


def frames_run(capsys, *more: str) -> int:
    """How many frames the command says that it ran."""
    assert main(["fuzz", CAPTURE, "--processes", "1", *more]) == 0
    return int(capsys.readouterr().out.split()[0])


def test_the_command_runs_as_many_frames_as_it_is_told(capsys) -> None:
    assert [frames_run(capsys, "--frames", n) for n in ("10", "1000", "2010")] == [10, 1000, 2010]
    assert frames_run(capsys, "--frames", "10", "--tshark") == 10
    assert frames_run(capsys, "--frames", "60", "--target", "cluster") == 100


def test_only_whole_blocks_are_noted(tmp_path: Path, capsys) -> None:
    file = tmp_path / "fuzz.json"
    noted = ("--resume", str(file))
    assert frames_run(capsys, "--frames", "1010", *noted) == 1010
    assert json.loads(file.read_text())["tally"]["seeds"] == [[0, 1]]
    assert frames_run(capsys, "--frames", "2000", *noted) == 2000
    assert json.loads(file.read_text())["tally"]["seeds"] == [[0, 2]]
    # The second block is noted whole, and counts so.
    assert frames_run(capsys, "--frames", "1010", *noted) == 2000


def test_a_finding_is_of_the_frames_that_were_run(monkeypatch, capsys) -> None:
    monkeypatch.setattr(fuzzing, "decode", planted)
    with open_capture(CAPTURE) as capture:
        mine = make_spec(frames_to_mutate(capture), None, 0, True)
    first, second = fuzz_block(mine, 0)[:2]
    assert first.finding == second.finding
    place = list(block(mine, 0)).index((first.what, first.frame))
    command = ["fuzz", CAPTURE, "--json", "--processes", "1", "--frames"]
    assert main([*command, str(place)]) == 0
    capsys.readouterr()
    assert main([*command, str(place + 1)]) == 1
    ran, finding = map(json.loads, capsys.readouterr().out.splitlines())
    assert (ran["frames"], ran["failed"]) == (place + 1, 1)
    assert finding["origin"] == f"seed 0, block 0: {first.what}"


def test_of_a_block_that_was_begun_only_its_frames_are_looked_at(monkeypatch) -> None:
    monkeypatch.setattr(fuzzing, "decode", planted)
    place = [frame for _, frame in block(spec(), 0)].index(found_of(0)[0].frame)
    assert not list(cases(spec(), "library", False, [0], {0: place}))
    assert len(list(cases(spec(), "library", False, [0], {0: place + 1}))) == 1


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_output_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    output = str(tmp_path / "file" / "out")
    assert main(["fuzz", CAPTURE, "--frames", "1000", "--output", output]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"carpproto: cannot write {output}: Not a directory\n"
    output = str(tmp_path / "file")
    assert main(["fuzz", CAPTURE, "--frames", "1000", "--output", output]) == 2
    said = f"carpproto: {output} is no directory; give one, or a name that is free\n"
    assert capsys.readouterr() == ("", said)


def test_an_error_names_the_file_among_several(tmp_path: Path, capsys) -> None:
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(b"no capture at all, this is")
    for name in (str(bad), str(tmp_path / "missing.pcap")):
        assert main(["fuzz", CAPTURE, name, "--frames", "1000"]) == 2
        assert name in capsys.readouterr().err


def test_an_interrupt_ends_it_soon_and_says_what_is_noted(tmp_path: Path) -> None:
    noted = tmp_path / "fuzz.json"
    command = [sys.executable, "-m", "carpproto", "fuzz", CAPTURE, "--frames", "10000000"]
    command += ["--processes", "1", "--resume", str(noted)]

    def heed() -> None:  # whoever started the tests in the background had it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed,  # noqa: PLW1509 - no thread runs here
    ) as running:
        try:
            for _ in range(600):
                if noted.exists() and json.loads(noted.read_text())["tally"]["faults"]:
                    break
                sleep(0.1)
            running.send_signal(signal.SIGINT)
            began = perf_counter()
            _, printed = running.communicate(timeout=30)
            assert perf_counter() - began < 8  # 1 s where nothing else runs
        finally:
            running.kill()
    assert running.returncode == 130
    frames = json.loads(noted.read_text())["tally"]["faults"]
    assert frames > 0
    assert printed == (
        f"carpproto: interrupted; {frames} frames are noted in {noted}; "
        "the same command goes on there\n"
    )


def test_the_command_prints_and_writes_a_finding(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(fuzzing, "decode", planted)  # workers are forked with it
    if multiprocessing.get_start_method() != "fork":
        pytest.skip("workers do not inherit what is planted")
    command = ["fuzz", CAPTURE, "--frames", "1000", "--processes", "1"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("FOUND exception: ValueError in test_fuzzing.py")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "finding_1.pcap",
        "test_finding_1.py",
    ]
    before = (tmp_path / "out" / "finding_1.pcap").stat().st_mtime_ns
    assert main([*command, "--output", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "finding_1.pcap").stat().st_mtime_ns == before
    assert (tmp_path / "out" / "test_finding_2.py").exists()
    monkeypatch.setattr("carpproto.cli.fuzz.write_case", no_space)
    capsys.readouterr()
    assert main([*command, "--output", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "FOUND exception" in printed.out
    assert printed.err.startswith("carpproto: warning: cannot write finding 1 to ")
    monkeypatch.undo()
    monkeypatch.setattr(fuzzing, "decode", planted)
    assert main([*command, "--json"]) == 1
    _, finding = map(json.loads, capsys.readouterr().out.splitlines())
    assert finding["kind"] == "exception"
    assert bytes.fromhex(finding["frames"][0]["frame"])


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--frames", "0"], "--frames is 1 to 1000000000000"),
        (["--vhid", "1"], "--vhid and --address go together"),
        (["--passphrase-file", "f"], "--passphrase-file goes with --vhid and --address"),
        (["--target", "cluster", "--tshark"], "--tshark goes with --target library"),
        (["--rate", "5"], "--rate goes with --target peer"),
        (["--target", "peer"], "--target peer goes with --interface and --peer"),
        (["--target", "peer", "--resume", "f"], "--resume does not go with --target peer"),
        (
            ["--target", "peer", "--interface", "nosuch0", "--peer", "192.0.2.1", "--rate", "0"],
            "--rate is 1 to 100000 frames a second",
        ),
    ],
)
def test_the_command_refuses(more: list[str], text: str, capsys) -> None:
    assert main(["fuzz", CAPTURE, *more]) == 2
    assert capsys.readouterr().err == f"carpproto: {text}\n"


def test_a_group_of_ones_own_signs(tmp_path: Path, capsys) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish\n")
    command = ["fuzz", CAPTURE, "--frames", "1000", "--processes", "1", "--vhid", "1"]
    assert main([*command, "--address", "192.0.2.9", "--passphrase-file", str(secret)]) == 0
    assert "swordfish" not in capsys.readouterr().out
