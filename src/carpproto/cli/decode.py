"""``carpproto decode``: one line for each packet of protocol 112 in a capture."""

from __future__ import annotations

import argparse
import sys

from carpproto.capture.packets import packets
from carpproto.capture.reader import Capture, open_capture
from carpproto.cli.text import as_json, describe, print_json, warn
from carpproto.core.errors import ConfigError

HELP = "print the CARP packets of a capture"
DESCRIPTION = (
    "Prints a line for each CARP packet of a pcap or pcapng file, with what is wrong with a bad "
    "one. Exit status 1 if any is bad."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="pcap or pcapng; - reads standard input")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    seen_any = bad = False
    with open_file(arguments.file) as capture:
        for seen in packets(capture):
            seen_any = True
            bad = bad or seen.problem is not None
            if arguments.json:
                print_json(as_json(seen))
            else:
                print(describe(seen))
        if capture.warning is not None:
            warn(capture.warning)
    if not seen_any:
        warn("there is no CARP packet in this capture")
    return 1 if bad else 0


def open_file(name: str) -> Capture:
    """A capture by name, ``-`` being standard input."""
    if not name:
        raise ConfigError("no file is named; - reads standard input")
    if name != "-":
        return open_capture(name)
    if sys.stdin is None:
        raise ConfigError("standard input is closed; name a file")
    return open_capture(sys.stdin.buffer)
