"""``carpproto simulate``: an offline cluster with faults, once or often, or random ones."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from carpproto.cli.text import print_json, printable
from carpproto.core.errors import ConfigError
from carpproto.simulation.campaign import STEP, Tally, run_campaign, run_scenario
from carpproto.simulation.faults import describe_fault
from carpproto.simulation.random_scenario import (
    MIXED,
    PROFILES,
    Variety,
    random_scenario,
)
from carpproto.simulation.scenario import Scenario, describe_node
from carpproto.simulation.scenario_file import load_scenario
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


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    if arguments.random is (arguments.file is not None):
        raise ConfigError("give either a SCENARIO.toml or --random")
    if arguments.profile and not arguments.random:
        raise ConfigError("--profile goes with --random; a scenario names its nodes' profiles")
    if arguments.runs < 1 or arguments.shrink < 0:
        raise ConfigError("--runs is 1 or more, --shrink 0 or more")
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
        tally = run_campaign(
            seeds,
            variety,
            task=None if scenario is None else run_scenario(scenario),
            processes=arguments.processes,
            resume=arguments.resume,
        )
        _print_tally(tally, arguments.json)
        failing = [seed for seed, _ in tally.failing]
    for seed in failing[: arguments.shrink]:
        made = random_scenario(seed, variety) if scenario is None else scenario
        _print_shrunk(made, seed, shlex.join([*again, "--seed", str(seed)]), arguments.json)
    return 1 if failing else 0


def _print_result(scenario: Scenario, result: Result, as_json: bool) -> None:
    if as_json:
        print_json({"part": "result", **result.as_json()})
        return
    print(
        f"{printable(scenario.name)}: seed {result.seed}, {result.lasted:.1f} s, "
        f"{len(scenario.nodes)} nodes, {len(scenario.faults)} faults"
    )
    for node in scenario.nodes:
        print(f"  {printable(describe_node(node))}")
    for fault in scenario.faults:
        print(f"  {printable(describe_fault(fault))}")
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
    print(f"{result.advertisements} advertisements, {result.delivered} frames delivered")
    for parts in result.divided:
        print(f"divided at the end: {printable(parts)}")
    for reason in result.unjudged:
        print(f"not judged: {printable(reason)}")
    for violation in result.violations:
        print(f"VIOLATED: {printable(violation)}")
    if not result.violations:
        print("as expected")


def _print_tally(tally: Tally, as_json: bool) -> None:
    if as_json:
        print_json({"part": "campaign", **tally.as_json()})
        return
    print(
        f"{tally.runs} runs, {tally.simulated / 1e6:.0f} simulated seconds, "
        f"{tally.faults} faults, {tally.advertisements} advertisements, "
        f"{tally.delivered} frames delivered"
    )
    if tally.runs:
        slowest = max((bar for bar, _ in tally.settled), default=0)
        print(
            f"{sum(count for _, count in tally.failovers)} failovers; every run had its last "
            f"MASTER {(slowest + 1) * STEP:g} s after the last fault, half of them "
            f"{_median(tally.settled):g} s after it"
        )
    if tally.unjudged:
        print(f"{tally.unjudged} groups could not be judged")
    for kind, count in tally.violations:
        print(f"VIOLATED in {count} runs: {kind}")
    if tally.failing:
        seeds = ", ".join(str(seed) for seed, _ in tally.failing[:20])
        print(f"{tally.failed} runs failed; the first seeds: {seeds}")
    else:
        print("no violation")


def _median(bars: tuple[tuple[int, int], ...]) -> float:
    """The upper end of the bar that the middle one is in, in seconds."""
    left = sum(count for _, count in bars) / 2
    for bar, count in bars:
        left -= count
        if left <= 0:
            return (bar + 1) * STEP
    return 0.0


def _print_shrunk(scenario: Scenario, seed: int, again: str, as_json: bool) -> None:
    smaller = shrink(scenario, seed)
    result = smaller.run(seed)
    if as_json:
        found: dict[str, Any] = {
            "part": "shrunk",
            "seed": seed,
            "again": again,
            "nodes": [describe_node(node) for node in smaller.nodes],
            "faults": [describe_fault(fault) for fault in smaller.faults],
            "violations": [violation._asdict() for violation in result.violations],
        }
        print_json(found)
        return
    print(f"seed {seed} shrunk to {len(smaller.nodes)} nodes and {len(smaller.faults)} faults:")
    for node in smaller.nodes:
        print(f"  {printable(describe_node(node))}")
    for fault in smaller.faults:
        print(f"  {printable(describe_fault(fault))}")
    for violation in result.violations:
        print(f"  VIOLATED: {printable(violation)}")
    print(f"run it again: {again}")
