"""``carpproto diagnose``: what is wrong in a capture, worst first, and what to change."""

from __future__ import annotations

import argparse
import sys
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

from carpproto.capture.diagnosis import Report, by_vhid, diagnose
from carpproto.capture.finding import Fault, Finding, Severity
from carpproto.capture.observation import Observer
from carpproto.capture.senders import Guess
from carpproto.cli.progress import open_with_progress
from carpproto.cli.text import print_json, printable, warn
from carpproto.cli.timeline import add_meant, meant, missing_group

HELP = "what is wrong in a capture, and what to change"
DESCRIPTION = (
    "Says what is wrong with the CARP in a capture, worst first, each with the frames that show "
    "it and what to change. Told what is meant to be configured (--vhid, --address and the "
    "passphrase) it says which HMACs are wrong, and which other addresses or passphrase explain "
    "them. Exit status 1 if it found something bad."
)

_WORDS = {Severity.BAD: "BAD", Severity.WARNING: "look at this", Severity.NOTE: "note"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="pcap or pcapng; - reads standard input")
    add_meant(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    known = meant(arguments)
    with open_with_progress(arguments.file) as capture:
        report = diagnose(Observer(capture, by_vhid(known)), known)
    missing = missing_group(known, report.timeline)
    if arguments.json:
        for found in report.findings:
            print_json(_as_json(found))
        for guess in report.guesses:
            print_json(_guess_as_json(guess))
        if not report.timeline.lanes:
            print_json({"part": "nothing", "text": nothing(report)})
        elif missing is not None:
            print_json({"part": "nothing", "text": missing})
    else:
        width = get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(describe(report, width, missing=missing is not None)))
    if capture.warning is not None:
        warn(capture.warning)
    if not report.timeline.lanes:
        return 1
    if missing is not None:
        warn(missing)
        return 1
    return 0 if report.healthy else 1


def nothing(report: Report) -> str:
    """Why a capture without advertisements says nothing."""
    why = "there is no CARP advertisement in this capture"
    if any(found.fault is Fault.NOT_AN_ADVERTISEMENT for found in report.findings):
        why += " that could be read"
    return f"nothing could be diagnosed: {why}"


def describe(report: Report, width: int | None = None, *, missing: bool = False) -> list[str]:
    """A diagnosis as lines for people, broken to fit ``width`` columns if that is given.

    ``missing``: the group that was asked for is not in the capture.
    """
    lines: list[str] = []
    for found in report.findings:
        lines.append(printable(f"{_WORDS[found.severity]}: {found.text}"))
        if found.frames:
            more = ", ..." if found.times > len(found.frames) else ""
            some = ", ".join(str(frame) for frame in found.frames)
            lines.append(f"    frame{'' if len(found.frames) == 1 else 's'} {some}{more}")
        if found.change:
            lines.append(printable(f"    {found.change}"))
    bad = sum(found.severity is Severity.BAD for found in report.findings)
    if bad or not report.timeline.lanes:
        lines += [f"{bad} bad finding{'' if bad == 1 else 's'}"] if bad else []
        lines += [] if report.timeline.lanes else [nothing(report)]
    else:
        lines.append(f"nothing bad was found{' in the other groups' if missing else ''}")
    if width is None:
        return lines
    return [
        part for line in lines for part in wrap(line, max(width, 40), subsequent_indent="    ")
    ]


def _as_json(found: Finding) -> dict[str, Any]:
    group = found.group
    return {
        "part": "finding",
        "severity": found.severity.name.lower(),
        "fault": found.fault.value,
        "vhid": None if group is None else group.vhid,
        "vlans": None if group is None else list(group.vlans),
        "sources": [str(source) for source in found.sources],
        "text": found.text,
        "change": found.change,
        "frames": list(found.frames),
        "count": found.times,
    }


def _guess_as_json(guess: Guess) -> dict[str, Any]:
    return {
        "part": "sender",
        "vhid": guess.group.vhid,
        "vlans": list(guess.group.vlans),
        "source": str(guess.source),
        "advertisements": guess.advertisements,
        "kinds": [kind.value for kind in guess.kinds],
        "reasons": list(guess.reasons),
        "late": guess.late,
        "twin": None if guess.twin is None else str(guess.twin),
    }
