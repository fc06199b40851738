"""The demo's commands. Thin: each one reads, calls the library, and prints.

Exit status 0: fine. 1: it ran and found a difference or a failure. 2: bad usage or unreadable
input, with one line on stderr. Text that came from a file is escaped before it is printed.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import cast

from carpproto.cli.parser import Parser
from carpproto.cli.text import refuse
from carpproto.core.errors import ConfigError, DecodeError

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_COMMANDS = (
    *("demo", "decode", "verify", "replay", "timeline", "diagnose", "simulate", "run", "audit"),
    "fuzz",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return 130


def _main(argv: Sequence[str]) -> int:
    closed = cast(object, sys.stdout) is None
    _mend_streams()
    try:
        arguments = _parser(argv).parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    try:
        # What `run` prints is not what it is for; of the others it is.
        if closed and argv[0] != "run":
            raise ConfigError("cannot write the output: standard output is closed")
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left, as head(1) does; what is still buffered must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, DecodeError, ConfigError) as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            error = ConfigError(f"cannot write the output: {error.strerror}")
        refuse(error, "" if isinstance(error, ConfigError) else getattr(arguments, "file", ""))
        return 2
    return status


def _parser(argv: Sequence[str]) -> Parser:
    parser = Parser(
        prog="carpproto",
        description="CARP, the Common Address Redundancy Protocol: look at it, check it, "
        "predict it. A demo of the library of the same name.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    # The one that is asked for, since each loads what it needs; for help and mistakes all.
    for name in [name for name in _COMMANDS if [name] == list(argv[:1])] or _COMMANDS:
        module = import_module(f"carpproto.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.DESCRIPTION)
        command.add_argument("--json", action="store_true", help="print JSON, one object a line")
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    parser.add_argument("--version", action="version", version=f"carpproto {_version()}")
    return parser


def _version() -> str:
    from importlib.metadata import version

    return version("carpproto")


def _mend_streams() -> None:
    """Closed standard streams take what is printed; what an encoding lacks is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - for good
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
