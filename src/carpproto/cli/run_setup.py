"""What ``carpproto run`` was told to do, as values, wherever it was told.

Must not know of options, files, sockets or signals: options and the configuration file both
end here, and the service begins here.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple, TypeVar

from carpproto.cli.verify import passphrase_in
from carpproto.core.addresses import Address, parse_address, parse_host_address
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, shown
from carpproto.core.events import SettingChanged
from carpproto.core.node import Node
from carpproto.core.profile import Profile
from carpproto.simulation.random_scenario import PROFILES

TRANSPORTS = ("auto", "packet", "raw")
SCRIPT_FORMS = ("1.5", "1.6")
FACILITIES = (
    *("none", "auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news"),
    *("syslog", "user", "uucp"),
    *(f"local{number}" for number in range(8)),
)
TIMEOUT = 30.0
"""Seconds that a script may take, unless it is said otherwise."""


class VirtualAddress(NamedTuple):
    """A virtual address, and the prefix length it was given with, if any."""

    address: Address
    prefix_length: int | None


class Scripts(NamedTuple):
    """What is run when the state of a virtual host changes; absolute paths.

    ``up`` and ``down`` get ucarp's arguments, ``hook`` gets ``vhid@interface STATE``.
    """

    up: str | None = None
    down: str | None = None
    hook: str | None = None
    extra: str | None = None


class Member(NamedTuple):
    """One virtual host on an interface, with what is run for it.

    ``places`` are where its values were given, to begin an error with.
    """

    interface: str
    config: VirtualHostConfig
    addresses: tuple[VirtualAddress, ...]
    sources: tuple[Address, ...] = ()
    scripts: Scripts = Scripts()
    places: tuple[tuple[str, str], ...] = ()

    def place(self, name: str) -> str:
        """Where a value was given: ``--addr: ``, or ``run.toml:7: ``."""
        return dict(self.places).get(name, "")


class Setup(NamedTuple):
    """All of it. ``settings`` are the node's, as `SettingChanged` names them.

    ``warnings`` are of what is allowed and hardly meant; they are said once all else is well.
    """

    members: tuple[Member, ...]
    profile: Profile
    settings: tuple[tuple[str, int], ...] = ()
    transport: str = "auto"
    broadcast: bool = False
    ignore_link: bool = False
    script_form: str = "1.5"
    script_timeout: float = TIMEOUT
    neutral: bool = False
    shutdown: bool = False
    bow_out: bool = True
    facility: str = "daemon"
    control: str | None = None
    debug: bool = False
    json: bool = False
    daemonize: bool = False
    control_place: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The names of the interfaces, each once."""
        return tuple(dict.fromkeys(member.interface for member in self.members))

    def check(self) -> None:
        """Raise `ConfigError` for what the profile's system refuses, all of it together."""
        make_node(self, dict.fromkeys(self.interfaces, ("02:00:00:00:00:01", ())))


def make_node(setup: Setup, interfaces: Mapping[str, tuple[str, Iterable[Address]]]) -> Node:
    """The node, given each interface's MAC and addresses.

    The up scripts put the addresses on the interface, which answers with its own MAC. So whoever
    prevails after a split has to announce again: with a virtual MAC nobody would have to.
    """
    node = Node(
        profile=setup.profile.replace(real_mac_answers=True, announces_to_slower=True),
        counter=partial(secrets.randbits, 64),
    )
    virtual = {shared.address for member in setup.members for shared in member.addresses}
    for name, (mac, addresses) in interfaces.items():
        chosen = [a for m in setup.members if m.interface == name for a in m.sources]
        own = dict.fromkeys([*chosen, *addresses])
        # A virtual address that was left behind on the interface is nobody's own.
        node.add_interface(name, mac=mac, addresses=[a for a in own if a not in virtual])
    for member in setup.members:
        node.add_virtual_host(member.interface, member.config)
    for name, value in setup.settings:
        node.handle(SettingChanged(name, value), 0.0)
    return node


def default_profile(configs: Iterable[VirtualHostConfig]) -> Profile:
    """The profile of a group of which nothing else is said.

    UCarp's, which has one address in a vhid and speaks multicast; FreeBSD's where there are
    more, and FreeBSD 14's where a peer is unicast.
    """
    hosts = tuple(configs)
    peers = [peer for host in hosts for peer in (host.peer, host.peer6)]
    if any(peer is not None and not peer.is_multicast for peer in peers):
        return PROFILES["freebsd-14"]
    if any(len(host.addresses) > 1 for host in hosts):
        return PROFILES["freebsd"]
    # UCarp breaks ties in the byte order of its machine, and a group is as a rule of one kind.
    return PROFILES["ucarp" if sys.byteorder == "little" else "ucarp-big-endian"]


# -- what single values can be -----------------------------------------------------------------


_T = TypeVar("_T")


def at(place: str, make: Callable[[], _T]) -> _T:
    """Make something; an error begins with the place, such as ``--addr: ``."""
    try:
        return make()
    except ConfigError as error:
        raise ConfigError(f"{place}{error}") from None


def named_profile(name: str) -> Profile:
    """A profile by the name that files and commands use."""
    if name not in PROFILES:
        raise ConfigError(f"there is no profile {shown(name)}; there are {', '.join(PROFILES)}")
    return PROFILES[name]


_BRACKETS = re.compile(r"\s*\[([^\[\]/]*)\]((?:/[^\[\]]*)?)\s*")


def _without_brackets(text: str) -> str:
    """``[2001:db8::10]/64`` as ``2001:db8::10/64``; brackets are for IPv6."""
    brackets = _BRACKETS.fullmatch(text)
    return brackets[1] + brackets[2] if brackets and ":" in brackets[1] else text


def parse_virtual_address(text: str) -> VirtualAddress:
    """``192.0.2.10``, ``192.0.2.10/24``, ``2001:db8::10/64`` or ``[2001:db8::10]/64``."""
    plain = _without_brackets(text)
    address = parse_host_address(plain)
    prefix = plain.partition("/")[2].strip()
    if address.is_loopback:
        raise ConfigError(f"{address} is a loopback address, which every host has for itself")
    if prefix:
        not_for_all(address, f"{address}/{prefix}")
    return VirtualAddress(address, int(prefix) if prefix else None)


def not_for_all(address: Address, subnet: str) -> None:
    """Raise `ConfigError` for the network or broadcast address of a subnet."""
    network = ip_network(subnet, strict=False)
    if network.version != address.version or network.max_prefixlen - network.prefixlen < 2:
        return
    if address == network.network_address:
        raise ConfigError(f"{address} is the network {network} itself; give a host's address")
    if address.version == 4 and address == network.broadcast_address:
        raise ConfigError(f"{address} is the broadcast address of {network}")


def parse_destination(text: str) -> Address:
    """Where advertisements go instead of to the usual group: another one, or a peer."""
    address = parse_address(_without_brackets(text))
    if address.is_loopback or address.is_unspecified:
        raise ConfigError(f"{address} is no other host; give the peer's address")
    return address


def parse_virtual_addresses(texts: Iterable[str]) -> tuple[VirtualAddress, ...]:
    """A list of them; the same one twice is refused."""
    found: dict[Address, VirtualAddress] = {}
    for text in texts:
        one = parse_virtual_address(text)
        if one.address in found:
            raise ConfigError(f"{one.address} is given twice")
        found[one.address] = one
    return tuple(found.values())


def one_for_each_family(
    what: str, texts: Iterable[str], parse: Callable[[str], Address] | None = None
) -> dict[int, Address]:
    """At most one address of each family, by family."""
    found: dict[int, Address] = {}
    for text in texts:
        address = parse(text) if parse else parse_host_address(_without_brackets(text))
        if address.version in found:
            raise ConfigError(f"{what} is given twice for IPv{address.version}")
        found[address.version] = address
    return found


def program(what: str, name: str) -> str:
    """The absolute path of a program to run; `ConfigError` unless it is there and executable.

    The PATH is not searched, as ucarp does not.
    """
    if not name:
        raise ConfigError(f"{what}: no file is named")
    path = os.path.abspath(name)  # noqa: PTH100 - links stay
    if not os.path.isfile(path):  # noqa: PTH113 - a path without further meaning
        raise ConfigError(f"{what} {shown(name)} is no file: there is no {path}")
    if not os.access(path, os.X_OK):
        raise ConfigError(f"{what} {shown(name)} is not executable: chmod +x {path}")
    return path


def choice(what: str, value: str, known: Iterable[str]) -> str:
    """A word that is among the known ones."""
    words = tuple(known)
    if value not in words:
        raise ConfigError(f"there is no {what} {shown(value)}; there are {', '.join(words)}")
    return value


def seconds(value: float) -> float:
    """A number of seconds that a script may take."""
    if not 0 < value <= 86400:
        raise ConfigError(f"{shown(value)} s is out of range; it is more than 0, to 86400 s")
    return float(value)


_LONGEST_PATH = 100  # of sockaddr_un, less on some systems


def control_path(name: str) -> str:
    """The absolute path of a control socket; the kernel takes a short one only."""
    if not name:
        raise ConfigError("no path is named")
    path = os.path.abspath(name)  # noqa: PTH100 - links stay
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(f"the path of a control socket has {_LONGEST_PATH} bytes at the most")
    return path


def public(file: str) -> bool:
    """Whether every user can read a file."""
    try:
        return bool(Path(file).stat().st_mode & 0o004)
    except OSError:
        return False


def read_passphrase(file: str, warnings: list[str]) -> str:
    """The first line of a file; a warning if everybody can read it."""
    if not file:
        raise ConfigError("no file is named")
    passphrase = passphrase_in(file)
    if public(file):
        warnings.append(f"every user of this machine can read the passphrase in {file}: chmod o-r")
    return passphrase


EMPTY = "the passphrase is empty: whoever can send here can become MASTER"
