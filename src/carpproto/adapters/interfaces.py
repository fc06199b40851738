"""What interfaces this machine has, and their addresses.

Must not know of nodes or sockets of CARP. The only module that imports netifaces, and only
``interfaces()`` and ``ifaddresses()`` of it, so that its forks fit. Without it, Linux is asked
by netlink, with the same answers.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Protocol, cast

from carpproto.adapters import netlink
from carpproto.core.errors import ConfigError, shown

_SIOCGIFFLAGS = 0x8913 if sys.platform == "linux" else 0xC0206911
_REQUEST = 40  # bytes of a struct ifreq, or more

InterfaceAddress = IPv4Interface | IPv6Interface


@dataclass(frozen=True)
class InterfaceState:
    """An interface as it is now.

    ``index`` is another one if it was deleted and made again. ``mac`` is "" where it has none.
    ``up`` is what the operator set; ``running`` whether it has carrier (IFF_RUNNING; on a BSD
    that says only that its driver runs). ``addresses`` are in the system's order, IPv4 before
    IPv6, of IPv6 the link-local ones first: a CARP advertisement comes from the first.
    """

    name: str
    index: int
    mac: str
    up: bool
    running: bool
    addresses: tuple[InterfaceAddress, ...]


@dataclass(frozen=True)
class Gone:
    """There is no interface of this name."""

    name: str


class _Netifaces(Protocol):
    """The part of netifaces that is used."""

    def interfaces(self) -> Sequence[str]: ...
    def ifaddresses(self, name: str, /) -> Mapping[int, Sequence[Mapping[str, str]]]: ...


def names() -> tuple[str, ...]:
    """The names of all interfaces; `ConfigError` where nothing here can tell."""
    library = _netifaces()
    if library is None:
        return tuple(link.name for link in netlink.links())
    # Linux's labels of IPv4 addresses, em0:1, are no interfaces.
    return tuple(dict.fromkeys(name.partition(":")[0] for name in library.interfaces()))


def read(name: str) -> InterfaceState:
    """An interface as it is now.

    Raises `ConfigError` for one that is not there, naming those that are, and where neither
    netifaces nor the system's own interface can be asked.
    """
    state = look(name)
    if isinstance(state, Gone):
        known = ", ".join(names()) or "none"
        raise ConfigError(f"there is no interface {shown(name)}; there are: {known}")
    return state


def look(name: str) -> InterfaceState | Gone:
    """As `read`, for who expects that it may be gone."""
    library = _netifaces()
    if library is None:
        return from_netlink(name)
    return _from_netifaces(library, name)


def from_netlink(name: str) -> InterfaceState | Gone:
    """As `look`, by netlink and nothing else; `OSError` where that does not answer."""
    link = next((link for link in netlink.links() if link.name == name), None)
    if link is None:
        return Gone(name)
    return of_link(link, [a.address for a in netlink.addresses() if a.index == link.index])


def of_link(link: netlink.Link, addresses: Sequence[InterfaceAddress]) -> InterfaceState:
    """An interface of which netlink has told, with these addresses."""
    up, running = bool(link.flags & netlink.IFF_UP), bool(link.flags & netlink.IFF_RUNNING)
    return InterfaceState(link.name, link.index, link.mac, up, running, in_order(addresses))


def _netifaces() -> _Netifaces | None:
    """The library; None where Linux can do without it."""
    try:
        return cast(_Netifaces, import_module("netifaces"))
    except ImportError:
        if sys.platform == "linux":
            return None
    raise ConfigError(
        "no library here can list the interfaces: pip install 'carpproto[live]', which brings "
        "netifaces, or one of its forks that is imported by that name (netifaces2, "
        "netifaces-plus)"
    )


def _from_netifaces(library: _Netifaces, name: str) -> InterfaceState | Gone:
    mac, found = "", list[InterfaceAddress]()
    try:
        index = socket.if_nametoindex(name)
        flags = _flags(name)
        for label in library.interfaces():
            if label.partition(":")[0] == name:
                for family, entries in library.ifaddresses(label).items():
                    if family in (socket.AF_INET, socket.AF_INET6):
                        found.extend(_address(entry) for entry in entries)
                    elif family == _LINK_LAYER and not mac:
                        mac = entries[0].get("addr", "").lower()
    except (OSError, ValueError):
        return Gone(name)  # netifaces raises ValueError for an unknown one
    up, running = bool(flags & netlink.IFF_UP), bool(flags & netlink.IFF_RUNNING)
    return InterfaceState(name, index, mac, up, running, in_order(found))


_LINK_LAYER = int(getattr(socket, "AF_PACKET", getattr(socket, "AF_LINK", 18)))


def _address(entry: Mapping[str, str]) -> InterfaceAddress:
    """netifaces gives ``fe80::1%em0`` with ``ffff:ffff:ffff:ffff::/64``, or without the length."""
    address = entry["addr"].partition("%")[0]
    mask = entry.get("netmask", "")
    if ":" not in address:
        return IPv4Interface(f"{address}/{mask}" if mask else address)
    bits, _, length = mask.partition("/")
    if not length:
        length = "128" if not bits else str(int.from_bytes(_packed(bits), "big").bit_count())
    return IPv6Interface(f"{address}/{length}")


def _packed(address: str) -> bytes:
    return ip_interface(address).packed


def in_order(addresses: Sequence[InterfaceAddress]) -> tuple[InterfaceAddress, ...]:
    """IPv4 before IPv6, of which the link-local ones come first; else in the order given."""

    def rank(address: InterfaceAddress) -> tuple[int, bool]:
        return address.version, address.version == 6 and not address.is_link_local

    return tuple(sorted(dict.fromkeys(addresses), key=rank))


def _flags(name: str) -> int:
    """The flags of netdevice(7), by ioctl: 16 bits, unsigned."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = name.encode()[:15].ljust(_REQUEST, b"\0")
        answer = fcntl.ioctl(asked.fileno(), _SIOCGIFFLAGS, request)
    (flags,) = struct.unpack_from("=H", answer, 16)
    return int(flags)
