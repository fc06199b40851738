"""Linux's routing netlink: what interfaces and addresses there are, and what becomes of them.

Must not know what anybody wants with them. Messages as rtnetlink(7) and the kernel's
``linux/rtnetlink.h``, ``linux/if_link.h`` and ``linux/if_addr.h`` lay them out, in the byte
order of the machine.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100

IFF_UP = 0x1
IFF_RUNNING = 0x40

_NETLINK_ROUTE = 0
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NLM_F_REQUEST_DUMP = 0x301

_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_LARGEST = 1 << 16
_MESSAGES = 4096  # of one dump, at the most

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True)
class Link:
    """An interface: its flags as netdevice(7) names them; ``gone`` where it was deleted."""

    index: int
    name: str
    mac: str
    flags: int
    gone: bool = False


@dataclass(frozen=True)
class LinkAddress:
    """An address that an interface has got; ``gone`` where it was taken from it."""

    index: int
    address: IPv4Interface | IPv6Interface
    gone: bool = False


def open_netlink(groups: int = 0) -> socket.socket:
    """A routing socket, non-blocking where it is subscribed to ``groups``; `OSError` if none."""
    if sys.platform != "linux":
        raise OSError(errno.EAFNOSUPPORT, "netlink is Linux's")
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    if groups:
        opened.setblocking(False)
    else:
        opened.settimeout(2.0)  # the kernel answers while it is asked
    return opened


def links() -> tuple[Link, ...]:
    """All interfaces of this network namespace; `OSError` where the kernel does not answer."""
    return tuple(found for found in _dump(_GETLINK) if isinstance(found, Link))


def addresses() -> tuple[LinkAddress, ...]:
    """All IPv4 and IPv6 addresses, in the kernel's order; `OSError` as `links`."""
    return tuple(found for found in _dump(_GETADDR) if isinstance(found, LinkAddress))


def _dump(kind: int) -> Iterator[Link | LinkAddress]:
    request = struct.pack("=Bxxx", socket.AF_UNSPEC)
    with open_netlink() as asked:
        header = _HEADER.pack(16 + len(request), kind, _NLM_F_REQUEST_DUMP, 1, 0)
        asked.send(header + request)
        for _ in range(_MESSAGES):
            data = asked.recv(_LARGEST)
            yield from parse(data)
            if _is_last(data):
                return


def _is_last(data: bytes) -> bool:
    for kind, body in _messages(data):
        if kind == _NLMSG_ERROR and len(body) >= 4:
            number = -int(struct.unpack_from("=i", body)[0])
            raise OSError(number, f"netlink: error {number}")
        if kind == _NLMSG_DONE:
            return True
    return False


def parse(data: bytes) -> Iterator[Link | LinkAddress]:
    """The links and addresses in what a routing socket gave; everything else is passed over."""
    for kind, body in _messages(data):
        if kind in (_NEWLINK, _DELLINK) and len(body) >= _LINK.size:
            family, _, index, flags, _ = _LINK.unpack_from(body)
            if family != socket.AF_UNSPEC:
                continue  # a bridge tells of its ports in the same words
            found = dict(_attributes(body, _LINK.size))
            name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")
            mac = found.get(_IFLA_ADDRESS, b"").hex(":")
            yield Link(index, name, mac, flags, kind == _DELLINK)
        elif kind in (_NEWADDR, _DELADDR) and len(body) >= _ADDRESS.size:
            family, prefix, _, _, index = _ADDRESS.unpack_from(body)
            found = dict(_attributes(body, _ADDRESS.size))
            # Of a point-to-point link IFA_ADDRESS is the other end.
            packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
            if family in _FAMILIES and len(packed) in (4, 16):
                address = ip_interface((packed, prefix))
                yield LinkAddress(index, address, kind == _DELADDR)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while len(data) - offset >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += length + 3 & ~3


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while len(body) - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, body[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3
