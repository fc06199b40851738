"""``carpproto verify``: which advertisements of a capture carry the right HMAC."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from getpass import getpass
from pathlib import Path

from carpproto.capture.packets import packets
from carpproto.cli.decode import open_file
from carpproto.cli.text import as_json, describe, not_there, print_json, warn
from carpproto.core.authentication import Authenticator
from carpproto.core.errors import ConfigError
from carpproto.core.profile import FREEBSD, NETBSD, OPENBSD, UCARP

HELP = "check the HMAC of a capture's advertisements"
DESCRIPTION = (
    "Says of each advertisement of a vhid whether its HMAC is right under a passphrase and the "
    "virtual addresses. Without --passphrase-file or --key-file the passphrase comes from the "
    "environment, CARPPROTO_PASSPHRASE, or a prompt. Exit status 0 if there are advertisements "
    "of the vhid and all are authentic, else 1."
)

_LONGEST = 4096  # bytes of a line with a passphrase or a key

ENVIRONMENT = "CARPPROTO_PASSPHRASE"
PROFILES = {"freebsd": FREEBSD, "netbsd": NETBSD, "openbsd": OPENBSD, "ucarp": UCARP}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = (
        "carpproto verify FILE --vhid N --address A [A ...] [--passphrase-file F | --key-file F]"
        " [--profile P] [--json]"
    )
    parser.add_argument("file", metavar="FILE", help="pcap or pcapng; - reads standard input")
    parser.add_argument("--vhid", metavar="N", required=True, help="the group, 1 to 255")
    parser.add_argument(
        "--address",
        metavar="A",
        required=True,
        action="extend",
        nargs="+",
        help="a virtual address; name all of the group, in any order",
    )
    add_secret(parser)


def add_secret(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say what the key is."""
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument(
        "--passphrase-file", metavar="F", help="its first line, only the line feed removed"
    )
    secret.add_argument("--key-file", metavar="F", help="up to 40 hexadecimal digits")
    parser.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        default="freebsd",
        help="whose tools made the key of the passphrase (default: freebsd)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    authenticator = _authenticator(arguments)
    authentic = wrong = unreadable = 0
    others: Counter[int] = Counter()
    with open_file(arguments.file) as capture:
        for seen in packets(capture):
            advertisement = seen.advertisement
            if advertisement is None:
                unreadable += 1
                verdict = None
            elif advertisement.vhid != authenticator.vhid:
                others[advertisement.vhid] += 1
                continue
            else:
                verdict = authenticator.verify(advertisement)
                authentic += verdict
                wrong += not verdict
            if arguments.json:
                print_json({**as_json(seen), "authentic": verdict})
            elif verdict is None:
                print(describe(seen))
            else:
                print(describe(seen), "authentic" if verdict else "NOT AUTHENTIC")
        if capture.warning is not None:
            warn(capture.warning)
    if not arguments.json:
        print(
            f"vhid {authenticator.vhid}: {authentic} authentic, {wrong} not authentic; "
            f"{unreadable} unreadable, {sum(others.values())} of other vhids"
        )
    if not authentic and not wrong:
        warn(not_there(authenticator.vhid, sorted(others)))
    return 0 if authentic and not wrong and not unreadable else 1


def _authenticator(arguments: argparse.Namespace) -> Authenticator:
    try:
        vhid = int(arguments.vhid)
    except ValueError:
        raise ConfigError(f"vhid {arguments.vhid!r} is no number; it is 1 to 255") from None
    passphrase, key = read_secret(arguments)
    return Authenticator(
        vhid=vhid,
        addresses=arguments.address,
        passphrase=passphrase,
        key=key,
        profile=PROFILES[arguments.profile],
    )


def read_secret(arguments: argparse.Namespace) -> tuple[str | None, bytes | None]:
    """The passphrase as `read_passphrase` gets it, or --key-file's key; the other is None."""
    if arguments.key_file is None:
        return read_passphrase(arguments), None
    digits = _first_line(arguments.key_file).strip()
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if not key:
        raise ConfigError(
            f"{arguments.key_file} has no key; it is an even number of hexadecimal digits, "
            "40 at the most"
        )
    return None, key


def read_passphrase(arguments: argparse.Namespace) -> str:
    """From --passphrase-file, the environment, or a prompt; `ConfigError` if there is none."""
    if arguments.passphrase_file is not None:
        passphrase = passphrase_in(arguments.passphrase_file)
        if not passphrase:
            warn(f"the passphrase in {arguments.passphrase_file}, its first line, is empty")
        return passphrase
    if ENVIRONMENT in os.environ:
        return os.environ[ENVIRONMENT]
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError(
            f"no passphrase: give --passphrase-file, or {ENVIRONMENT} in the environment"
        )
    return getpass("passphrase: ")


def passphrase_in(name: str) -> str:
    """The first line of a file as ucarp reads it: only the line feed is removed."""
    passphrase = _first_line(name)
    if passphrase.endswith("\r"):
        warn(
            f"the passphrase in {name} ends with a carriage return, which is part of it; "
            "save the file with Unix line ends if that is not meant"
        )
    return passphrase


def _first_line(name: str) -> str:
    with Path(name).open("rb") as file:
        line = file.readline(_LONGEST + 1)
    if len(line) > _LONGEST:
        raise ConfigError(f"the first line of {name} has more than {_LONGEST} bytes")
    return line.removesuffix(b"\n").decode("utf-8", "surrogateescape")
