"""``carpproto run``: takes part in CARP on real interfaces, with ucarp's options.

Turns the command line into a `Setup`. What the options mean to the protocol is the state
machine's business; what they mean to this machine that of `carpproto.cli.run_service`.
"""

from __future__ import annotations

import argparse
import os
from functools import partial

from carpproto.cli.run_setup import (
    EMPTY,
    FACILITIES,
    SCRIPT_FORMS,
    TIMEOUT,
    TRANSPORTS,
    Member,
    Scripts,
    Setup,
    at,
    choice,
    control_path,
    default_profile,
    named_profile,
    one_for_each_family,
    parse_destination,
    parse_virtual_addresses,
    program,
    read_passphrase,
    seconds,
)
from carpproto.cli.verify import ENVIRONMENT
from carpproto.core.addresses import Address
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, shown
from carpproto.core.events import SettingChanged
from carpproto.core.virtual_host import check_setting

HELP = "take part in CARP on real interfaces, with ucarp's options"
DESCRIPTION = (
    "Takes part in CARP on Linux: one virtual host by ucarp's options, or several by --config "
    "FILE.toml. Configures no address by itself, that is for the scripts. USR1 logs the state; "
    "USR2 makes a MASTER step down, keep out of it for 3 s, and then listen as at the start; "
    "TERM, INT, QUIT and HUP end it with a good-bye, upon which a BACKUP takes over at once (HUP "
    "not where it is ignored, as with nohup). Needs CAP_NET_RAW. Exit status 0 if it was told to "
    "end, 1 if it could not go on, 2 for bad usage."
)
USAGE = (
    "carpproto run -i IF -v VHID -a ADDRESS [-a ...] -o FILE [ucarp's other options]"
    " | --config FILE.toml [-D] [--json] | --status PATH"
)

# With --config, everything else is said in the file.
_WITH_CONFIG = frozenset({"config", "debug", "daemonize", "json", "run"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = USAGE
    parser.allow_abbrev = True  # as getopt_long(3), and so ucarp, takes them

    host = parser.add_argument_group("the virtual host, as ucarp has it")
    host.add_argument("-i", "--interface", metavar="IF", help="default: the first usable one")
    host.add_argument("-v", "--vhid", metavar="N", help="the group, 1 to 255")
    host.add_argument(
        "-a",
        "--addr",
        metavar="A",
        action="append",
        help="a virtual address, may be given several times: 192.0.2.10, 192.0.2.10/24, "
        "[2001:db8::10]/64",
    )
    host.add_argument(
        "-s",
        "--srcip",
        metavar="A",
        action="append",
        help="the own address, one for each family; default: the interface's first",
    )
    host.add_argument(
        "-o",
        "--passfile",
        metavar="F",
        help="the passphrase: its first line, only the line feed removed",
    )
    host.add_argument(
        "-p",
        "--pass",
        dest="passphrase",
        metavar="P",
        help="seen by every user: use -o",
    )
    host.add_argument("-b", "--advbase", metavar="S", default="1", help="seconds: 1")
    host.add_argument("-k", "--advskew", metavar="N", default="0", help="1/256 seconds: 0")
    host.add_argument("-r", "--deadratio", metavar="N", help="intervals until a master is dead: 3")
    host.add_argument(
        "-P", "--preempt", action="store_true", help="take over from a slower master"
    )
    host.add_argument(
        "-m",
        "--mcastip",
        "--mcast",
        dest="mcast",
        metavar="A",
        action="append",
        help="another multicast group, one for each family",
    )
    # What getopt_long takes for it: more than one long name begins so.
    abbreviated = ("--m", "--mc", "--mca", "--mcas", "--mcasti")
    host.add_argument(*abbreviated, dest="mcast", action="append", help=argparse.SUPPRESS)
    host.add_argument(
        "-M", "--nomcast", action="store_true", help="advertise to the Ethernet broadcast address"
    )
    host.add_argument(
        "-S",
        "--ignoreifstate",
        action="store_true",
        help="act as if the interface was up with carrier",
    )

    scripts = parser.add_argument_group("scripts")
    scripts.add_argument("-u", "--upscript", metavar="F", help="run upon becoming MASTER")
    scripts.add_argument("-d", "--downscript", metavar="F", help="run upon no longer being it")
    scripts.add_argument("-x", "--xparam", metavar="X", help="a further argument for both")
    scripts.add_argument(
        "-n", "--neutral", action="store_true", help="no down script at the start"
    )
    scripts.add_argument(
        "-z", "--shutdown", action="store_true", help="down script at the end, if MASTER"
    )
    scripts.add_argument(
        "--script-form",
        metavar="FORM",
        default="1.5",
        help="1.5 (default): interface, address, X; 1.6: interface, address, family, X",
    )
    scripts.add_argument("--hook", metavar="F", help="run upon every change: vhid@interface STATE")
    scripts.add_argument(
        "--script-timeout",
        metavar="S",
        default=str(TIMEOUT),
        help="seconds after which a script is ended: 30",
    )

    process = parser.add_argument_group("the process")
    process.add_argument(
        "-B",
        "--daemonize",
        action="store_true",
        help="run in the background, and print its process id",
    )
    process.add_argument(
        "-f",
        "--facility",
        metavar="NAME",
        default="daemon",
        help="of syslog: daemon; or none",
    )
    process.add_argument(
        "-D", "--debug", action="store_true", help="log every advertisement and packet refused"
    )
    process.add_argument("--silent", action="store_true", help="say no good-bye at the end")
    process.add_argument("--control", metavar="PATH", help="a socket that answers with the state")
    process.add_argument(
        "--status", metavar="PATH", help="print the state from such a socket, as JSON"
    )

    more = parser.add_argument_group("beyond ucarp")
    more.add_argument(
        "--config", metavar="FILE.toml", help="one or more virtual hosts, from a file"
    )
    more.add_argument(
        "--profile",
        metavar="P",
        help="whose behaviour: ucarp (default with one -a), freebsd (with several), "
        "freebsd-14 (with a unicast peer), netbsd, openbsd, ...",
    )
    more.add_argument(
        "--peer",
        metavar="A",
        action="append",
        help="advertise to this host, without multicast; one for each family",
    )
    more.add_argument("--transport", metavar="T", default="auto", help=", ".join(TRANSPORTS))


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    if arguments.status is not None:
        other = _given(arguments, frozenset({"status", "json", "run"}))
        if other is not None:
            raise ConfigError(f"{other} does not go with --status, which only asks")
        if not arguments.status:
            raise ConfigError("--status: no path is named")
        from carpproto.cli.run_state import print_status

        return print_status(arguments.status)
    setup = describe(arguments)
    from carpproto.cli.run_service import serve

    return serve(setup)


def describe(arguments: argparse.Namespace) -> Setup:
    """What the options say; raises `ConfigError`, and `OSError` for a file."""
    if arguments.json and arguments.daemonize:
        raise ConfigError("--json prints to standard output, which -B leaves; use --control")
    if arguments.config is not None:
        setup = _from_file(arguments)
    else:
        setup = _from_options(arguments)
    os.environ.pop(ENVIRONMENT, None)  # not for the scripts
    return setup._replace(
        debug=arguments.debug, json=arguments.json, daemonize=arguments.daemonize
    )


def _from_file(arguments: argparse.Namespace) -> Setup:
    other = _given(arguments, _WITH_CONFIG)
    if other is not None:
        raise ConfigError(f"{other} does not go with --config: say it in the file")
    if not arguments.config:
        raise ConfigError("--config: no file is named")
    from carpproto.cli.run_config import load

    return load(arguments.config)


def _given(arguments: argparse.Namespace, allowed: frozenset[str]) -> str | None:
    """An option that was given although it is not among those that may be."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    for name, value in vars(arguments).items():
        if name not in allowed and value != parser.get_default(name):
            return _OPTIONS.get(name, f"--{name}")
    return None


_OPTIONS = {
    "mcast": "--mcastip",
    "passphrase": "--pass",
    "script_form": "--script-form",
    "script_timeout": "--script-timeout",
}


def _from_options(arguments: argparse.Namespace) -> Setup:
    for option, value in (("-v VHID", arguments.vhid), ("-a ADDRESS", arguments.addr)):
        if value is None:
            raise ConfigError(f"{option} is missing; see carpproto run --help")
    addresses = at("--addr: ", partial(parse_virtual_addresses, arguments.addr))
    destinations = _destinations(arguments)
    sources = at(
        "--srcip: ", partial(one_for_each_family, "the own address", arguments.srcip or ())
    )
    families = {shared.address.version for shared in addresses}
    for option, given in (("--mcastip or --peer", destinations), ("--srcip", sources)):
        for family, address in given.items():
            if family not in families:
                raise ConfigError(
                    f"{option}: {address} is IPv{family}, "
                    f"but there is no IPv{family} address in -a"
                )
    timeout = at("--script-timeout: ", partial(_seconds, arguments.script_timeout))
    control = None
    if arguments.control is not None:
        control = at("--control: ", partial(control_path, arguments.control))
    warnings: list[str] = []
    config = VirtualHostConfig(
        vhid=whole("vhid", arguments.vhid, "1 to 255"),
        addresses=[shared.address for shared in addresses],
        passphrase=_passphrase(arguments, warnings),
        advbase=whole("advbase", arguments.advbase, "0 to 255"),
        advskew=whole("advskew", arguments.advskew, "0 to 255"),
        peer=destinations.get(4),
        peer6=destinations.get(6),
    )
    profile = default_profile([config])
    if arguments.profile is not None:
        profile = named_profile(arguments.profile)
    settings = [("preempt", 1)] if arguments.preempt else []
    if arguments.deadratio is not None:
        ratio = whole("deadratio", arguments.deadratio, "1 to 65535")
        settings.append(("dead_ratio", check_setting(SettingChanged("dead_ratio", ratio))))
    scripts = Scripts(
        _program("up script", arguments.upscript),
        _program("down script", arguments.downscript),
        _program("hook", arguments.hook),
        arguments.xparam,
    )
    interface = arguments.interface
    if interface is None:
        from carpproto.cli.run_service import first_usable_interface

        interface = first_usable_interface()
    setup = Setup(
        (Member(interface, config, addresses, tuple(sources.values()), scripts, _PLACES),),
        profile,
        tuple(settings),
        transport=choice("transport", arguments.transport, TRANSPORTS),
        broadcast=arguments.nomcast,
        ignore_link=arguments.ignoreifstate,
        script_form=choice("form of script arguments", arguments.script_form, SCRIPT_FORMS),
        script_timeout=timeout,
        neutral=arguments.neutral,
        shutdown=arguments.shutdown,
        bow_out=not arguments.silent,
        facility=choice("syslog facility", arguments.facility, FACILITIES),
        control=control,
        control_place="" if control is None else "--control: ",
        warnings=tuple(warnings),
    )
    setup.check()
    return setup


_PLACES = tuple(
    (name, f"--{option}: ")
    for name, option in (
        ("interface", "interface"),
        ("addresses", "addr"),
        ("srcip", "srcip"),
        ("peer", "peer"),
        ("peer6", "peer"),
    )
)


def _destinations(arguments: argparse.Namespace) -> dict[int, Address]:
    """Where advertisements go instead of to the usual groups, by family."""
    groups = at(
        "--mcastip: ",
        partial(one_for_each_family, "the group", arguments.mcast or (), parse_destination),
    )
    peers = at(
        "--peer: ",
        partial(one_for_each_family, "the peer", arguments.peer or (), parse_destination),
    )
    for group in groups.values():
        if not group.is_multicast:
            raise ConfigError(
                f"--mcastip: {group} is no multicast group; for a unicast peer there is --peer"
            )
        if group.version in peers:
            raise ConfigError(f"both --mcastip and --peer are given for IPv{group.version}")
    for peer in peers.values():
        if peer.is_multicast:
            raise ConfigError(f"--peer: {peer} is a multicast group; for those there is --mcastip")
    if peers and arguments.nomcast:
        raise ConfigError("--nomcast broadcasts what is for all; it does not go with --peer")
    return {**groups, **peers}


def _passphrase(arguments: argparse.Namespace, warnings: list[str]) -> str:
    found = _given_passphrase(arguments, warnings)
    if not found:
        warnings.append(EMPTY)
    return found


def _given_passphrase(arguments: argparse.Namespace, warnings: list[str]) -> str:
    if arguments.passphrase is not None and arguments.passfile is not None:
        raise ConfigError("both --pass and --passfile are given; give one of them")
    if arguments.passphrase is not None:
        warnings.append(
            "every user of this machine can see a passphrase on the command line; use --passfile"
        )
        return str(arguments.passphrase)
    if arguments.passfile is not None:
        return at("--passfile: ", partial(read_passphrase, arguments.passfile, warnings))
    if ENVIRONMENT in os.environ:
        return os.environ[ENVIRONMENT]
    raise ConfigError(
        f"no passphrase: give -o FILE (--passfile), or {ENVIRONMENT} in the environment"
    )


def whole(what: str, text: str, limits: str) -> int:
    """A whole number, as digits; the range is for who uses it to check."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        given = text if len(text) < 40 else f"{text[:40]}..."
        raise ConfigError(f"{what} {shown(given)} is no whole number of {limits}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{shown(text)} is no number of seconds") from None
    return seconds(value)


def _program(what: str, name: str | None) -> str | None:
    return None if name is None else program(what, name)
