"""``carpproto simulate``: an offline cluster with faults, once or often, or random ones."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from carpproto.cli.text import print_json, printable, warn
from carpproto.core.errors import ConfigError
from carpproto.simulation.campaign import (
    STEP,
    Tally,
    load_tally,
    run_campaign,
    run_scenario,
    task_name,
)
from carpproto.simulation.random_scenario import (
    MIXED,
    PROFILES,
    Variety,
    random_scenario,
)
from carpproto.simulation.scenario import Expectation, Scenario
from carpproto.simulation.scenario_file import load_scenario
from carpproto.simulation.scenario_text import describe_scenario, to_toml
from carpproto.simulation.shrink import shrink
from carpproto.simulation.verdict import Result

HELP = "run a cluster with faults offline"
DESCRIPTION = (
    "Runs the nodes and faults of a TOML file on a virtual clock, and says who was MASTER when "
    "and what did not hold; or, with --random, clusters and faults made from each seed. Exit "
    "status 1 if a property was violated."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="SCENARIO.toml", nargs="?", help="what to run")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first seed: 0")
    parser.add_argument(
        "--runs", type=int, default=1, metavar="N", help="how many seeds to run: 1"
    )
    parser.add_argument("--random", action="store_true", help="run random scenarios instead")
    parser.add_argument(
        "--profile",
        action="append",
        choices=[*PROFILES, MIXED],
        help="with --random: clusters of this system; may be given several times "
        "(freebsd, netbsd, openbsd, ucarp)",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="as many as processors")
    parser.add_argument(
        "--resume", metavar="FILE", help="note there what was run, and do not run it again"
    )
    parser.add_argument(
        "--shrink", type=int, default=1, metavar="N", help="shrink so many failing runs: 1"
    )
    parser.add_argument(
        "--write",
        metavar="FILE.toml",
        help="write the first failing run's scenario there, shrunk; with its passphrases",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    if arguments.random is (arguments.file is not None):
        raise ConfigError("give either a SCENARIO.toml or --random")
    if arguments.profile and not arguments.random:
        raise ConfigError("--profile goes with --random; a scenario names its nodes' profiles")
    if arguments.runs < 1 or arguments.shrink < 0:
        raise ConfigError("--runs is 1 or more, --shrink 0 or more")
    if arguments.processes is not None and not 1 <= arguments.processes <= 1024:
        raise ConfigError("--processes is 1 to 1024")
    if arguments.write is not None and not arguments.shrink:
        raise ConfigError("--write writes what a run shrinks to; it needs --shrink 1 or more")
    seeds = range(arguments.seed, arguments.seed + arguments.runs)
    variety = Variety(profiles=tuple(dict.fromkeys(arguments.profile or Variety().profiles)))
    again = ["carpproto", "simulate"]
    scenario = None
    if arguments.random:
        again += ["--random"]
        for profile in arguments.profile or ():
            again += ["--profile", profile]
    else:
        scenario = load_scenario(arguments.file)
        again += [arguments.file]
    if len(seeds) == 1 and arguments.resume is None:
        seed = seeds.start
        made = random_scenario(seed, variety) if scenario is None else scenario
        result = made.run(seed)
        _print_result(made, result, arguments.json)
        failing = [seed] if result.violations else []
    else:
        task = None if scenario is None else run_scenario(scenario)
        try:
            tally = run_campaign(
                seeds,
                variety,
                task=task,
                processes=arguments.processes,
                resume=arguments.resume,
            )
        except KeyboardInterrupt:
            _print_interrupted(arguments.resume, task_name(task, variety))
            return 130
        _print_tally(tally, arguments.json, arguments.resume)
        failing = [seed for seed, _ in tally.failing]
    for seed in failing[: arguments.shrink]:
        made = random_scenario(seed, variety) if scenario is None else scenario
        write = arguments.write if seed == failing[0] else None
        _print_shrunk(made, seed, [*again, "--seed", str(seed)], write, arguments.json)
    if arguments.write is not None and not failing:
        warn(f"no run failed, so {arguments.write} was not written")
    return 1 if failing else 0


def _count(number: int, what: str) -> str:
    """Such as ``1 run`` and ``2 runs``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _print_scenario(scenario: Scenario) -> None:
    for lines in describe_scenario(scenario).values():
        for line in lines:
            print(f"  {printable(line)}")


def _print_result(scenario: Scenario, result: Result, as_json: bool) -> None:
    if as_json:
        print_json({"part": "result", **result.as_json(), **describe_scenario(scenario)})
        return
    print(
        f"{printable(scenario.name)}: seed {result.seed}, {result.lasted:.1f} s, "
        f"{_count(len(scenario.nodes), 'node')}, {_count(len(scenario.faults), 'fault')}"
    )
    _print_scenario(scenario)
    for group in result.groups:
        print(f"vhid {group.vhid} on {printable(group.segment)}")
        for master in group.masters:
            print(
                f"  {master.start:10.6f} to {master.end:10.6f} s: MASTER {printable(master.node)}"
            )
        print(
            f"  without a MASTER {group.without:.3f} s, with several {group.several:.3f} s; "
            f"after the last fault {group.without_after:.3f} s and {group.several_after:.3f} s"
        )
        times = ", ".join(f"{time:.3f}" for time in group.failovers)
        print(f"  failovers, in seconds: {times or 'none'}")
    advertisements = _count(result.advertisements, "advertisement")
    print(f"{advertisements}, {_count(result.delivered, 'frame')} delivered")
    for line in result.refused:
        print(printable(line))
    for remark in result.remarks:
        print(f"note: {printable(remark)}")
    for parts in result.divided:
        print(f"divided at the end: {printable(parts)}")
    for reason in result.unjudged:
        print(f"not judged: {printable(reason)}")
    for violation in result.violations:
        print(f"VIOLATED: {printable(violation)}")
    if not result.violations:
        print(_conclusion(scenario, result))


def _conclusion(scenario: Scenario, result: Result) -> str:
    """What a run without a violation is worth."""
    if result.judged or scenario.expects._replace(settled=True) != Expectation():
        return "as expected"
    return "nothing could be judged" if scenario.expects.settled else "nothing was expected"


def _print_tally(tally: Tally, as_json: bool, resume: str | None) -> None:
    if as_json:
        print_json({"part": "campaign", **tally.as_json()})
        return
    if resume is not None:
        print(f"of all that is noted in {printable(resume)}:")
    print(
        f"{_count(tally.runs, 'run')}, {tally.simulated / 1e6:.0f} simulated seconds, "
        f"{_count(tally.faults, 'fault')}, {_count(tally.advertisements, 'advertisement')}, "
        f"{_count(tally.delivered, 'frame')} delivered"
    )
    if tally.runs:
        slowest = max((bar for bar, _ in tally.settled), default=0)
        failovers = _count(sum(count for _, count in tally.failovers), "failover")
        print(
            f"{failovers}; every run had its last MASTER within {(slowest + 1) * STEP:g} s of the "
            f"last fault, half of them within {_median(tally.settled):g} s"
        )
    if tally.unjudged:
        print(f"{_count(tally.unjudged, 'group')} could not be judged")
    for kind, count in tally.violations:
        print(f"VIOLATED in {_count(count, 'run')}: {kind}")
    if tally.failing:
        seeds = ", ".join(str(seed) for seed, _ in tally.failing[:20])
        print(f"{_count(tally.failed, 'run')} failed; the first seeds: {seeds}")
    else:
        print("no violation")


def _print_interrupted(resume: str | None, campaign: str) -> None:
    """Say on stderr what is left of a campaign that was interrupted."""
    if resume is None:
        warn("interrupted, nothing was noted; --resume FILE would have let it go on")
        return
    noted = _count(load_tally(resume, campaign).runs, "run")
    warn(f"interrupted, {noted} noted in {resume}; the same command goes on from there")


def _median(bars: tuple[tuple[int, int], ...]) -> float:
    """The upper end of the bar that the middle one is in, in seconds."""
    left = sum(count for _, count in bars) / 2
    for bar, count in bars:
        left -= count
        if left <= 0:
            return (bar + 1) * STEP
    return 0.0


def _print_shrunk(
    scenario: Scenario, seed: int, command: list[str], write: str | None, as_json: bool
) -> None:
    smaller = shrink(scenario, seed)
    result = smaller.run(seed)
    if write is not None:
        try:
            Path(write).write_text(to_toml(smaller), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {write}: {error.strerror}") from None
        command = ["carpproto", "simulate", write, "--seed", str(seed)]
    again = shlex.join(command)
    if as_json:
        found: dict[str, Any] = {
            "part": "shrunk",
            "seed": seed,
            "again": again,
            **describe_scenario(smaller),
            "violations": [violation._asdict() for violation in result.violations],
        }
        print_json(found)
        return
    nodes, faults = _count(len(smaller.nodes), "node"), _count(len(smaller.faults), "fault")
    print(f"seed {seed} shrunk to {nodes} and {faults}:")
    _print_scenario(smaller)
    for violation in result.violations:
        print(f"  VIOLATED: {printable(violation)}")
    print(f"run it again: {again}")
