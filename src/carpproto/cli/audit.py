"""``carpproto audit``: how long the passphrases of a capture would withstand guessing."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from carpproto.capture.packets import packets
from carpproto.cli.decode import open_file
from carpproto.cli.progress import progress_bar
from carpproto.cli.text import name_groups, not_there, print_json, printable, warn
from carpproto.cli.verify import PROFILES
from carpproto.core.addresses import Address, parse_address
from carpproto.core.advertisement import Advertisement
from carpproto.core.errors import ConfigError
from carpproto.testing.audit import (
    GRAPHICS_CARD,
    Found,
    Guessed,
    Target,
    audit,
    measured,
    target,
)

HELP = "how long a passphrase would withstand guessing"
DESCRIPTION = (
    "Guesses the passphrase of each group in a capture with the words of a list, and says how "
    "fast that went, how strong what was found is, and how long others would last. The "
    "passphrase itself is printed only with --show. Exit status 1 if one was found."
)

_SPACES = (
    ("8 random small letters", 26**8),
    ("8 random letters and digits", 62**8),
    ("12 random letters and digits", 62**12),
    ("19 random letters and digits", 62**19),
)
_NOT_FOUND = (
    "where an address of a group is wrong, missing or one too many, every guess at it fails, the "
    "right one, too: compare --address with the hosts' own"
)
_UNITS = (("years", 31_557_600), ("days", 86_400), ("hours", 3600), ("minutes", 60))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = (
        "carpproto audit FILE --wordlist F --address [N=]A [[N=]A ...] [--vhid N] [--profile P]"
        " [--vary] [--show] [--processes N] [--json]"
    )
    parser.add_argument("file", metavar="FILE", help="pcap or pcapng; - reads standard input")
    parser.add_argument("--wordlist", metavar="F", required=True, help="a guess on each line")
    parser.add_argument(
        "--address",
        metavar="[N=]A",
        required=True,
        action="extend",
        nargs="+",
        help="a virtual address of every group, or of vhid N; name all of a group",
    )
    parser.add_argument("--vhid", metavar="N", type=int, help="guess at this group only")
    parser.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        default="freebsd",
        help="whose tools made the key of the passphrase (default: freebsd)",
    )
    parser.add_argument(
        "--vary", action="store_true", help="also capitals, and digits and signs at the end"
    )
    parser.add_argument("--show", action="store_true", help="print the passphrases found")
    parser.add_argument("--processes", type=int, metavar="N", help="as many as processors")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    common, of_vhid = _addresses(arguments.address)
    size = Path(arguments.wordlist).stat().st_size
    samples = _samples(arguments.file)
    if arguments.vhid is not None:
        if arguments.vhid not in samples:
            raise ConfigError(not_there(arguments.vhid, sorted(samples)))
        samples = {arguments.vhid: samples[arguments.vhid]}
    if not samples:
        raise ConfigError("there is no CARP advertisement in this capture")
    addresses = {vhid: (*common, *of_vhid.get(vhid, ())) for vhid in sorted(samples)}
    targets = [target(samples[vhid], addresses[vhid]) for vhid in addresses if addresses[vhid]]
    left_out = [vhid for vhid in addresses if not addresses[vhid]]
    if not targets:
        raise ConfigError(f"no --address is given for {name_groups(left_out)}")
    if left_out:
        warn(f"left out, since no --address is given for it: {name_groups(left_out)}")
    with progress_bar(size, "B") as advance:
        guessed = audit(
            targets,
            arguments.wordlist,
            profile=PROFILES[arguments.profile],
            vary=arguments.vary,
            processes=arguments.processes,
            progress=advance,
        )
    workers = arguments.processes or os.cpu_count() or 1
    rate = measured(targets, profile=PROFILES[arguments.profile], processes=workers)
    _print(targets, guessed, rate, workers, arguments)
    return 1 if guessed.found else 0


def _addresses(given: list[str]) -> tuple[list[Address], dict[int, list[Address]]]:
    common: list[Address] = []
    of_vhid: dict[int, list[Address]] = {}
    for word in given:
        number, equals, address = word.partition("=")
        if not equals:
            common.append(parse_address(word))
        elif number.isascii() and number.isdecimal() and 0 < int(number[:4]) <= 255:
            of_vhid.setdefault(int(number), []).append(parse_address(address))
        else:
            raise ConfigError(f"vhid {number!r} is out of range; it is 1 to 255")
    return common, of_vhid


def _samples(file: str) -> dict[int, Advertisement]:
    """The first advertisement of each vhid."""
    samples: dict[int, Advertisement] = {}
    with open_file(file) as capture:
        for seen in packets(capture):
            advertisement = seen.advertisement
            if advertisement is not None and seen.problem is None:
                samples.setdefault(advertisement.vhid, advertisement)
        if capture.warning is not None:
            warn(capture.warning)
    return samples


def _print(
    targets: list[Target],
    guessed: Guessed,
    rate: float,
    workers: int,
    arguments: argparse.Namespace,
) -> None:
    found = {one.vhid: one for one in guessed.found}
    kept = PROFILES[arguments.profile].passphrase_kept
    if arguments.json:
        print_json(
            {
                "part": "rate",
                "guesses": guessed.guesses,
                "a_second": round(rate),
                "processes": workers,
            }
        )
    else:
        print(
            f"{guessed.guesses:,} {'guess' if guessed.guesses == 1 else 'guesses'}; {rate:,.0f} "
            f"a second with {workers} {'process' if workers == 1 else 'processes'}"
        )
    for one in targets:
        hit = found.get(one.vhid)
        if arguments.json:
            print_json({"part": "group", "vhid": one.vhid, **_as_json(hit, kept, arguments.show)})
        else:
            print(f"vhid {one.vhid}: {_words(hit, kept, arguments.show)}")
    if len(found) < len(targets):
        warn(_NOT_FOUND)
    if arguments.json:
        spaces = {
            what: {"here": space / 2 / rate, "card": space / 2 / GRAPHICS_CARD}
            for what, space in _SPACES
        }
        print_json({"part": "estimates", "seconds": spaces, "card_a_second": GRAPHICS_CARD})
        return
    print(f"how long others last on average, here and at {GRAPHICS_CARD:,} guesses a second:")
    for what, space in _SPACES:
        print(f"  {what}: {duration(space / 2 / rate)}; {duration(space / 2 / GRAPHICS_CARD)}")


def _words(found: Found | None, kept: int, show: bool) -> str:
    if found is None:
        return "not found with this list"
    if not found.line:
        return "FOUND: it has no passphrase; anybody can advertise"
    length, kinds, space = strength(found.passphrase[:kept])
    cut = f" of {len(found.passphrase)}" if len(found.passphrase) > kept else ""
    text = (
        f"FOUND by line {found.line} of the list: {length}{cut} bytes, {kinds}; even without a "
        f"list {duration(space / 2 / GRAPHICS_CARD)} on a graphics card; change it on every host"
    )
    if show:
        text += f"; it is {printable(found.passphrase.decode('utf-8', 'backslashreplace'))}"
    return text


def _as_json(found: Found | None, kept: int, show: bool) -> dict[str, Any]:
    if found is None:
        return {"found": False, "note": _NOT_FOUND}
    length, kinds, space = strength(found.passphrase[:kept])
    answer: dict[str, Any] = {
        "found": True,
        "line": found.line,
        "bytes": length,
        "kinds": kinds,
        "seconds_card": space / 2 / GRAPHICS_CARD,
    }
    if show:
        answer["passphrase"] = found.passphrase.decode("utf-8", "backslashreplace")
    return answer


def strength(passphrase: bytes) -> tuple[int, str, int]:
    """Its bytes, the kinds of characters in it, and how many like it there are."""
    kinds: list[str] = []
    size = 0
    for name, count, has in (
        ("small letters", 26, any(97 <= byte <= 122 for byte in passphrase)),
        ("capitals", 26, any(65 <= byte <= 90 for byte in passphrase)),
        ("digits", 10, any(48 <= byte <= 57 for byte in passphrase)),
        ("signs", 33, any(byte < 128 and not chr(byte).isalnum() for byte in passphrase)),
        ("bytes beyond ASCII", 128, any(byte > 127 for byte in passphrase)),
    ):
        if has:
            kinds.append(name)
            size += count
    return len(passphrase), " and ".join(kinds) or "nothing", int(size ** len(passphrase))


def duration(seconds: float) -> str:
    """So long, in the unit that fits: at once, 12 minutes, 3 million years."""
    if seconds < 1:
        return "less than a second"
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            count = seconds / length
            if count >= 1e9:
                return f"{count:.0e} {unit}"
            return f"{count / 1e6:,.0f} million {unit}" if count >= 2e6 else f"{count:,.0f} {unit}"
    return f"{seconds:.0f} seconds"
