"""``carpproto simulate``: what it prints, its exit status, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carpproto.cli import main
from carpproto.simulation.random_scenario import random_scenario

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
GOOD = str(EXAMPLES / "failover.toml")
BAD = str(EXAMPLES / "negative-demotion.toml")


def test_a_scenario_once(capsys) -> None:
    assert main(["simulate", GOOD]) == 0
    printed = capsys.readouterr().out
    assert "   12.390825 to  20.734975 s: MASTER b\n" in printed
    assert "  failovers, in seconds: 2.391\n" in printed
    assert "  at 10 s: Crash node=a\n" in printed
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
    assert "seed 4 shrunk to 2 nodes and 1 faults:\n" in printed
    assert printed.endswith(f"run it again: carpproto simulate {BAD} --seed 4\n")
    again = printed.rpartition("run it again: carpproto ")[2].split()
    assert main(again) == 1
    assert capsys.readouterr().out == printed


def test_a_violation_as_json(capsys) -> None:
    assert main(["simulate", BAD, "--json"]) == 1
    result, shrunk = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert result["violations"][0]["kind"] == "several MASTERs"
    assert shrunk["part"] == "shrunk"
    assert shrunk["faults"] == ["at 10 s: on a DemotionAdjusted(delta=-30)"]
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
        ([GOOD, "--runs", "2", "--processes", "0"], "processes 0 is out of range"),
        (["none.toml"], "cannot read none.toml: No such file or directory"),
        ([GOOD, "--resume", "/nowhere/file"], "cannot write /nowhere/file"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(capsys, arguments: list[str], text: str) -> None:
    assert main(["simulate", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("carpproto: ")
    assert text in printed.err


def test_a_bad_file_is_refused_with_its_line(capsys, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[vhids.1]\naddresses = ["192.0.2.1"]\n\n[nodes.a]\nprofil = "ucarp"\n')
    assert main(["simulate", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"carpproto: {file}:5: there is no key 'profil' here; keys are ")
