"""``carpproto replay``: predicted against recorded."""

from __future__ import annotations

import argparse
from typing import Any

from carpproto.capture.recording import load
from carpproto.capture.replay import profile_of
from carpproto.capture.replay import replay as replay_recording
from carpproto.capture.report import TOLERANCES, Report, Tolerance
from carpproto.cli.text import print_json, printable, refuse
from carpproto.core.errors import ConfigError, DecodeError

HELP = "compare what the state machine predicts with a recording"
DESCRIPTION = (
    "Puts each recorded node's configuration, local events and received frames through the "
    "state machine, and compares the transitions and advertisements that it predicts with those "
    "the real system made. Exit status 1 if they differ anywhere, also where the recording's "
    "notes say that it does not replay exactly."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("recordings", metavar="RECORDING.json", nargs="+")
    parser.add_argument(
        "--late-percent",
        type=float,
        metavar="P",
        help="how late a timer may be, in percent of its length (freebsd: 7)",
    )
    parser.add_argument(
        "--late-ms",
        type=float,
        metavar="MS",
        help="and in milliseconds besides (freebsd: 30)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    status = 0
    for name in arguments.recordings:
        try:
            recording = load(name)
            for node in recording.nodes.values():
                profile_of(recording, node)
            report = replay_recording(
                recording, tolerance=_tolerance(arguments, recording.profile)
            )
        except (OSError, DecodeError, ConfigError) as error:
            # The others are replayed all the same.
            refuse(error, name)
            status = 2
            continue
        if arguments.json:
            print_json(as_json(report))
        else:
            print("\n".join(describe(report)))
        if not report.agrees:
            status = max(status, 1)
    return status


def _tolerance(arguments: argparse.Namespace, system: str) -> Tolerance:
    allowed = TOLERANCES[system]
    for name, given, factor in (
        ("relative", arguments.late_percent, 100),
        ("absolute", arguments.late_ms, 1000),
    ):
        if given is not None:
            if not 0 <= given <= 1e6:
                raise ConfigError(f"a lateness of {given!r} is out of range; it is 0 to 1000000")
            allowed = allowed._replace(**{name: given / factor})
    return allowed


def describe(report: Report) -> list[str]:
    """A report as lines for people."""
    recording = report.recording
    systems = dict.fromkeys(node.implementation for node in recording.nodes.values())
    lines = [f"{printable(recording.path)} ({printable(', '.join(systems))})"]
    for predicted in report.transitions:
        change = predicted.change
        lines.append(
            f"  {predicted.recorded:10.6f} {printable(predicted.node)}: vhid {change.vhid} "
            f"{change.previous} -> {change.current} ({predicted.words or 'no reason logged'}), "
            f"predicted for {predicted.t:.6f}"
        )
    lines += [f"  DIFFERS: {printable(found)}" for found in report.disagreements]
    verdict = "as predicted" if report.agrees else "differs"
    if not report.agrees and report.explained:
        verdict = "differs, and its notes say why"
    lines += [f"  {printable(note)}" for note in recording.artefacts]
    lines.append(
        f"  {verdict}: {len(report.transitions)} transitions, "
        f"{report.advertisements} advertisements byte for byte, {_latest(report)}"
    )
    return lines


def _latest(report: Report) -> str:
    if not report.timers:
        return "no timer went off"
    latest = max(report.timers, key=lambda timer: timer.late - timer.allowed)
    allowed = latest.allowed
    return (
        f"{len(report.timers)} timers, the latest {latest.late * 1000:.0f} ms late on "
        f"{latest.length:.3f} s ({allowed * 1000:.0f} ms are allowed)"
    )


def as_json(report: Report) -> dict[str, Any]:
    """A report as an object."""
    recording = report.recording
    return {
        "recording": recording.name,
        "file": str(recording.path),
        "agrees": report.agrees,
        "explained": report.explained,
        "notes": list(recording.artefacts),
        "transitions": [
            {
                "node": predicted.node,
                "vhid": predicted.change.vhid,
                "from": predicted.change.previous.value,
                "to": predicted.change.current.value,
                "reason": predicted.words,
                "own": predicted.change.own,
                "theirs": predicted.change.theirs,
                "predicted": round(predicted.t, 6),
                "recorded": predicted.recorded,
            }
            for predicted in report.transitions
        ],
        "advertisements": report.advertisements,
        "timers": [
            {
                "node": timer.node,
                "vhid": timer.vhid,
                "armed": round(timer.armed, 6),
                "length": timer.length,
                "late": round(timer.late, 6),
            }
            for timer in report.timers
        ],
        "counters": report.counters,
        "disagreements": [found._asdict() for found in report.disagreements],
    }
