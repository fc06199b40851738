"""``carpproto simulate``: what it prints, its exit status, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carpproto.cli import main, simulate
from carpproto.simulation.random_scenario import random_scenario
from carpproto.simulation.scenario_file import load_scenario
from carpproto.simulation.shrink import shrink

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
GOOD = str(EXAMPLES / "failover.toml")
BAD = str(EXAMPLES / "negative-demotion.toml")


def test_a_scenario_once(capsys) -> None:
    assert main(["simulate", GOOD]) == 0
    printed = capsys.readouterr().out
    assert "   12.390825 to  20.734975 s: MASTER b\n" in printed
    assert "  failovers, in seconds: 2.391\n" in printed
    assert "  at 10 s: crash node=a\n" in printed
    assert printed.endswith("as expected\n")
    assert "a secret" not in printed


def test_a_scenario_as_json(capsys) -> None:
    assert main(["simulate", GOOD, "--seed", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["part"], result["seed"], result["violations"]) == ("result", 3, [])
    assert result["groups"][0]["masters"][0] == {"node": "a", "start": 3.0, "end": 10.0}


def test_a_violation_is_shown_shrunk_with_how_to_run_it_again(capsys) -> None:
    assert main(["simulate", BAD, "--seed", "4"]) == 1
    printed = capsys.readouterr().out
    assert "VIOLATED: vhid 1 on lan: several MASTERs: a and b are MASTER at the end" in printed
    assert "seed 4 shrunk to 2 nodes and 1 fault:\n" in printed
    assert printed.endswith(f"run it again: carpproto simulate {BAD} --seed 4\n")
    again = printed.rpartition("run it again: carpproto ")[2].split()
    assert main(again) == 1
    assert capsys.readouterr().out == printed


def test_a_violation_as_json(capsys) -> None:
    assert main(["simulate", BAD, "--json"]) == 1
    result, shrunk = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert result["violations"][0]["kind"] == "several MASTERs"
    assert shrunk["part"] == "shrunk"
    assert shrunk["faults"] == ["at 10 s: demote node=a delta=-30"]
    assert shrunk["violations"][0]["kind"] == "several MASTERs"


def test_many_seeds_of_a_scenario(capsys) -> None:
    assert main(["simulate", GOOD, "--runs", "5", "--processes", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("5 runs, 280 simulated seconds, 20 faults, ")
    assert printed.out.endswith("no violation\n")
    assert printed.err == ""
    assert main(["simulate", BAD, "--runs", "3", "--processes", "1", "--shrink", "0"]) == 1
    printed = capsys.readouterr()
    assert "VIOLATED in 3 runs: several MASTERs\n3 runs failed" in printed.out
    assert printed.out.endswith("the first seeds: 0, 1, 2\n")


def test_random_scenarios(capsys, tmp_path: Path) -> None:
    assert main(["simulate", "--random", "--seed", "7"]) == 0
    assert capsys.readouterr().out.startswith(f"{random_scenario(7).name}: seed 7, ")
    file = str(tmp_path / "campaign.json")
    command = ["simulate", "--random", "--profile", "ucarp", "--profile", "freebsd"]
    command += ["--processes", "1", "--resume", file, "--json"]
    assert main([*command, "--runs", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == [[0, 3]]
    assert main([*command, "--runs", "5"]) == 0
    tally = json.loads(capsys.readouterr().out)
    assert (tally["part"], tally["seeds"], tally["runs"]) == ("campaign", [[0, 5]], 5)
    # The file is of these profiles only.
    assert main(["simulate", "--random", "--runs", "5", "--resume", file]) == 2
    assert "of another campaign" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give either a SCENARIO.toml or --random"),
        ([GOOD, "--random"], "give either a SCENARIO.toml or --random"),
        ([GOOD, "--profile", "ucarp"], "--profile goes with --random"),
        ([GOOD, "--runs", "0"], "--runs is 1 or more"),
        ([GOOD, "--processes", "0"], "--processes is 1 to 1024"),
        ([GOOD, "--runs", "2", "--processes", "-3"], "--processes is 1 to 1024"),
        ([BAD, "--write", "x.toml", "--shrink", "0"], "--write writes what a run shrinks to"),
        ([BAD, "--write", "/nowhere/file"], "cannot write /nowhere/file"),
        (["/dev/full"], "'/dev/full' is no regular file; give the name of a scenario file"),
        ([""], "'' is no regular file; give the name of a scenario file"),
        (["none.toml"], "cannot read none.toml: No such file or directory"),
        ([GOOD, "--resume", "/nowhere/file"], "cannot write /nowhere/file"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(capsys, arguments: list[str], text: str) -> None:
    assert main(["simulate", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" or "--write" in arguments
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("carpproto: ")
    assert text in printed.err


def test_a_bad_file_is_refused_with_its_line(capsys, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[vhids.1]\naddresses = ["192.0.2.1"]\n\n[nodes.a]\nprofil = "ucarp"\n')
    assert main(["simulate", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"carpproto: {file}:5: there is no key 'profil' here; keys are ")


def scenario_file(path: Path, text: str) -> str:
    file = path / "scenario.toml"
    file.write_text('[vhids.1]\naddresses = ["192.0.2.1"]\npassphrase = "hush"\n' + text)
    return str(file)


def test_two_passphrases_are_a_violation_that_says_so(capsys, tmp_path: Path) -> None:
    file = scenario_file(tmp_path, '[nodes.a]\n[nodes.b.vhids.1]\npassphrase = "other"\n')
    assert main(["simulate", file]) == 1
    printed = capsys.readouterr().out
    assert (
        "VIOLATED: vhid 1 on lan: several MASTERs: a and b are MASTER at the end: their HMACs "
        "differ: another passphrase or key on a than on b\n"
    ) in printed
    assert "\na refused badauth=" in printed
    assert "as expected" not in printed
    assert "hush" not in printed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[nodes.a]\nboots = false\n",
            "note: a is the only node with vhid 1 on lan\n"
            "not judged: vhid 1 on lan: nobody takes part at the end: a does not run\n"
            "nothing could be judged\n",
        ),
        (
            "[nodes.a]\n[nodes.b.interfaces]\nem0 = 'lna'\n[segments.dmz]\n",
            "note: nobody is on segment dmz\n"
            "note: a is the only node with vhid 1 on lan; others have it on lna\n"
            "note: b is the only node with vhid 1 on lna; others have it on lan\n"
            "as expected\n",
        ),
        ("[nodes.a]\n[nodes.b]\n[expect]\nsettled = false\n", "nothing was expected\n"),
    ],
)  # fmt: skip
def test_what_is_not_judged_is_not_as_expected(
    capsys, tmp_path: Path, text: str, says: str
) -> None:
    assert main(["simulate", scenario_file(tmp_path, text)]) == 0
    assert capsys.readouterr().out.endswith(says)


def test_everything_that_matters_is_printed(capsys, tmp_path: Path) -> None:
    text = """[segments.lan]
jitter = 0.01
[nodes.a]
interfaces = { em0 = "lan", em1 = "dmz" }
addresses.em0 = ["198.18.0.9"]
[nodes.b]
vhids.1.peer = "198.18.0.9"
clock_rate = 1.01
[[faults]]
at = 30
fault = "boot"
node = "a"
[[faults]]
at = 20
fault = "crash"
node = "a"
"""
    lines = {
        "segments": ["lan: jitter 0.01"],
        "nodes": [
            "a: FreeBSD 12, em0 on lan, em1 on dmz, em0 has 198.18.0.9, "
            "vhid 1 on em0 addresses 192.0.2.1 advbase 1 advskew 0",
            "b: FreeBSD 12, vhid 1 on em0 addresses 192.0.2.1 advbase 1 advskew 0 "
            "peer 198.18.0.9, clock_rate 1.01",
        ],
        "faults": ["at 20 s: crash node=a", "at 30 s: boot node=a"],
    }
    file = scenario_file(tmp_path, text)
    main(["simulate", file])
    shown = "".join(f"  {line}\n" for part in lines.values() for line in part)
    assert shown in capsys.readouterr().out
    main(["simulate", file, "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[0])
    assert {part: result[part] for part in lines} == lines


def test_what_a_failure_shrinks_to_is_written_and_fails_again(capsys, tmp_path: Path) -> None:
    written = str(tmp_path / "shrunk.toml")
    assert main(["simulate", BAD, "--seed", "4", "--write", written]) == 1
    first = capsys.readouterr().out
    assert first.endswith(f"run it again: carpproto simulate {written} --seed 4\n")
    assert main(["simulate", written, "--seed", "4"]) == 1
    again = capsys.readouterr().out
    assert again.partition("VIOLATED")[2].splitlines()[0] in first
    assert load_scenario(written) == shrink(load_scenario(BAD), 4)


def test_where_nothing_fails_nothing_is_written(capsys, tmp_path: Path) -> None:
    written = tmp_path / "shrunk.toml"
    assert main(["simulate", GOOD, "--write", str(written)]) == 0
    assert capsys.readouterr().err == (
        f"carpproto: warning: no run failed, so {written} was not written\n"
    )
    assert not written.exists()


def test_the_summary_of_a_campaign_counts_in_english(capsys, tmp_path: Path) -> None:
    file = str(tmp_path / "campaign.json")
    command = ["simulate", BAD, "--processes", "1", "--resume", file, "--shrink", "0"]
    assert main(command) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"of all that is noted in {file}:"
    assert printed[1].startswith("1 run, ")
    assert printed[2].startswith("0 failovers; every run had its last MASTER within ")
    assert printed[-1] == "1 run failed; the first seeds: 0"
    assert "VIOLATED in 1 run: several MASTERs" in printed
    assert main([*command[:2], "--seed", "1", *command[2:]]) == 1
    assert capsys.readouterr().out.splitlines()[1].startswith("2 runs, ")


def test_an_interrupted_campaign_says_in_a_line_how_to_go_on(
    capsys, tmp_path: Path, monkeypatch
) -> None:
    file = str(tmp_path / "campaign.json")
    command = ["simulate", GOOD, "--processes", "1", "--runs", "3"]
    assert main([*command, "--resume", file]) == 0
    capsys.readouterr()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate, "run_campaign", interrupted)
    assert main([*command, "--resume", file]) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"carpproto: warning: interrupted, 3 runs noted in {file}; the same command goes on "
        "from there\n"
    )
    assert main(command) == 130
    assert capsys.readouterr().err.startswith("carpproto: warning: interrupted, nothing was noted")
