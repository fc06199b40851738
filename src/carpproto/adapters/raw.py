"""The raw IP socket transport: IPv4 and IPv6 datagrams of protocol 112, on Linux and the BSDs.

Must not know of states or timers. See raw(7), ip(7), ipv6(7) and RFC 3542. The kernel fills in
the Ethernet header, so the source MAC is the interface's own, whatever the node would like.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from carpproto.adapters.transport import (
    BATCH,
    RECEIVE_BUFFER,
    SIZE,
    Received,
    Stamps,
    seconds_of,
)
from carpproto.core.actions import AnnounceAddresses, SendAdvertisement
from carpproto.core.addresses import ALL_NODES, GROUPS, Address
from carpproto.core.advertisement import HOP_LIMIT, PROTOCOL, encode
from carpproto.core.announcement import gratuitous_arp, neighbor_advertisement
from carpproto.core.errors import DecodeError
from carpproto.core.events import DatagramReceived
from carpproto.core.frame import peel_ip

LINUX = sys.platform == "linux"

# What the socket module does not name on every system: linux/in.h, linux/in6.h,
# asm-generic/socket.h; netinet/in.h and sys/socket.h of the BSDs.
_SYSTEM = sys.platform.rstrip("0123456789")
_IP_RECVTTL = {"linux": 12, "freebsd": 65, "netbsd": 23, "openbsd": 31, "darwin": 24}.get(_SYSTEM)
_IP_RECVIF = {"freebsd": 20, "netbsd": 20, "openbsd": 30, "darwin": 20}.get(_SYSTEM)
_TTL_CONTROL = 2 if LINUX else _IP_RECVTTL
_IP_PKTINFO = 8  # Linux
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # Linux
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2  # Linux
_IP_DONTFRAG = 67  # FreeBSD
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75  # Linux
_SO_TIMESTAMP = 35 if LINUX else 0x0400  # SO_TIMESTAMPNS; SO_TIMESTAMP
_SCM_TIMESTAMP = 35 if LINUX else 0x02
_STAMP_FRACTION = 1e-9 if LINUX else 1e-6  # struct timespec; struct timeval
_SO_RCVBUFFORCE = 33  # Linux
_ICMPV6 = 58
_NEIGHBOR_ADVERTISEMENT_OFFSET = 14 + 40

_ANCILLARY = 256
_SMALLEST = 1  # a receive buffer that nobody reads; the kernel makes it its least

_Ancillary = list[tuple[int, int, bytes]]


class RawTransport:
    """Advertisements as IP datagrams on one interface.

    ``groups`` are the multicast groups to join; unicast datagrams are taken of both families.
    An advertisement's source is the node's, also where the interface does not have that
    address (on Linux). Gratuitous ARP is sent by a packet socket on Linux; elsewhere the
    kernel sends it for the address that an up script configures.

    Raises `OSError` for an unknown interface, `PermissionError` without the privilege.
    """

    def __init__(
        self, interface: str, *, groups: Iterable[Address] = tuple(GROUPS.values())
    ) -> None:
        self._interface = interface
        self._groups = tuple(groups)
        self._index = 0
        self._sockets: list[tuple[int, socket.socket]] = []
        self._sender = Sender(interface)
        self._stamps = Stamps()
        self._open()

    @property
    def interface(self) -> str:
        """The interface's name."""
        return self._interface

    def filenos(self) -> tuple[int, ...]:
        """A descriptor for each family; none while it is closed."""
        return tuple(opened.fileno() for _, opened in self._sockets)

    def receive(self) -> Iterator[Received]:
        """What has arrived, IPv4 before IPv6."""
        stamps = self._stamps
        stamps.begin()
        for family, opened in tuple(self._sockets):
            for _ in range(BATCH):
                try:
                    data, ancillary, _, sender = opened.recvmsg(SIZE, _ANCILLARY)
                except OSError:
                    break  # nothing there, or what the link watch will tell
                found = (
                    self._datagram4(data, ancillary)
                    if family == 4
                    else self._datagram6(data, ancillary, sender)
                )
                stamp = time_stamp(ancillary)
                if found is not None:
                    yield Received(found, 0.0 if stamp is None else stamps.age(stamp))
                if stamp is not None and stamps.is_later(stamp):
                    break

    def send(self, action: SendAdvertisement) -> None:
        """One datagram, from a socket that is bound to the source."""
        if not self._sockets:
            raise OSError(errno.ENODEV, f"{self._interface} is gone")
        self._sender.send(action)

    def announce(self, action: AnnounceAddresses, source: Address | None = None) -> None:
        """Gratuitous ARPs on Linux; neighbor advertisements everywhere."""
        if not self._sockets:
            raise OSError(errno.ENODEV, f"{self._interface} is gone")
        for address in action.addresses:
            if address.version == 4:
                self._announce4(address, action.mac)
            else:
                frame = neighbor_advertisement(address, mac=action.mac, source=source or address)
                message = frame[_NEIGHBOR_ADVERTISEMENT_OFFSET:]
                self._sender.send_message(_ICMPV6, source or address, ALL_NODES, 0, message)

    def _announce4(self, address: Address, mac: str) -> None:
        if sys.platform != "linux":
            return
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
            opened.bind((self._interface, 0))
            own = opened.getsockname()
            if own[3] == 1:  # ARPHRD_ETHER; no other has ARP of this kind
                source_mac = bytes(own[4]).hex(":")
                opened.send(gratuitous_arp(address, mac=mac, source_mac=source_mac))

    def close(self) -> None:
        """Close the sockets; the groups are left with them."""
        for _, opened in self._sockets:
            opened.close()
        self._sockets = []
        self._sender.close()

    def reopen(self) -> None:
        """Open it again; an interface that was made anew has another index."""
        self.close()
        self._open()

    def _open(self) -> None:
        self._index = socket.if_nametoindex(self._interface)
        needed = {group.version for group in self._groups}
        try:
            for family in (4, 6):
                try:
                    self._sockets.append((family, self._listen(family)))
                except OSError as error:
                    # A kernel without IPv6 will do for who has no group of it.
                    if family in needed or error.errno != errno.EAFNOSUPPORT:
                        raise
            for group in self._groups:
                join_group(dict(self._sockets)[group.version], group, self._index)
        except BaseException:
            self.close()
            raise

    def _listen(self, family: int) -> socket.socket:
        opened = open_raw(family, PROTOCOL)
        try:
            opened.setblocking(False)
            enlarge(opened)
            ask_for_time_stamps(opened)
            if family == 4:
                for option in (_IP_RECVTTL, _IP_PKTINFO if LINUX else _IP_RECVIF):
                    if option is not None:
                        opened.setsockopt(socket.IPPROTO_IP, option, 1)
            else:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            bind_to_device(opened, self._interface)
        except BaseException:
            opened.close()
            raise
        return opened

    def _datagram4(self, data: bytes, ancillary: _Ancillary) -> DatagramReceived | None:
        index, hop_limit = self._index, None
        for level, kind, value in ancillary:
            if level != socket.IPPROTO_IP:
                continue
            if kind == _TTL_CONTROL:
                hop_limit = _number(value)
            elif LINUX and kind == _IP_PKTINFO:
                index = struct.unpack_from("=i", value)[0]
            elif kind == _IP_RECVIF:
                index = struct.unpack_from("=H", value, 2)[0]  # struct sockaddr_dl
        if index != self._index or len(data) < 20:
            return None
        # The BSDs change the length in the header; where the datagram ends is known anyway.
        whole = data[:2] + len(data).to_bytes(2, "big") + data[4:6] + b"\0\0" + data[8:]
        try:
            packet = peel_ip(whole, family=4)
        except DecodeError:
            return None
        if packet is None:
            return None
        if hop_limit is None:
            hop_limit = packet.hop_limit
        ends = packet.source, packet.destination
        return DatagramReceived(self._interface, *ends, hop_limit, packet.payload)

    def _datagram6(
        self, data: bytes, ancillary: _Ancillary, sender: tuple[str, int, int, int]
    ) -> DatagramReceived | None:
        index, destination, hop_limit = 0, None, None
        for level, kind, value in ancillary:
            if level != socket.IPPROTO_IPV6:
                continue
            if kind == socket.IPV6_HOPLIMIT:
                hop_limit = _number(value)
            elif kind == socket.IPV6_PKTINFO:
                destination = IPv6Address(value[:16])
                (index,) = struct.unpack_from("=I", value, 16)
        if index != self._index or destination is None or hop_limit is None:
            return None
        source = IPv6Address(sender[0].partition("%")[0])
        return DatagramReceived(self._interface, source, destination, hop_limit, data)


class Sender:
    """Raw sockets that send, opened when they are needed: one for each protocol, source, traffic
    class, and whether to a group.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._index = 0
        self._sockets: dict[tuple[int, Address, int, bool], socket.socket] = {}

    def send(self, action: SendAdvertisement) -> None:
        """One datagram with hop limit 255; `OSError` where the system refuses it."""
        self.send_message(
            PROTOCOL,
            action.source,
            action.destination,
            action.traffic_class,
            encode(action.advertisement),
        )

    def send_message(
        self,
        protocol: int,
        source: Address,
        destination: Address,
        traffic_class: int,
        message: bytes,
    ) -> None:
        """As `send`, for what any IP protocol carries."""
        key = (protocol, source, traffic_class, destination.is_multicast)
        opened = self._sockets.get(key)
        if opened is None:
            opened = self._sockets[key] = self._open(*key)
        if destination.version == 4:
            opened.sendto(message, (str(destination), 0))
        else:
            scope = self._index if destination.is_multicast or destination.is_link_local else 0
            opened.sendto(message, (str(destination), 0, 0, scope))

    def close(self) -> None:
        """Close all of them."""
        for opened in self._sockets.values():
            opened.close()
        self._sockets = {}

    def _open(
        self, protocol: int, source: Address, traffic_class: int, to_group: bool
    ) -> socket.socket:
        opened = open_raw(source.version, protocol)
        try:
            index = self._index = socket.if_nametoindex(self._interface)
            opened.setblocking(False)
            # It receives too, and nobody reads that.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALLEST)
            bind_to_device(opened, self._interface)
            if isinstance(source, IPv4Address):
                self._prepare4(opened, source, index, traffic_class)
            else:
                self._prepare6(opened, source, index, traffic_class)
            if LINUX and to_group:
                # Without it Linux keeps to itself that a queue was full. To a peer it would
                # also report that the peer is down, which is no failure to send.
                level = socket.IPPROTO_IP if source.version == 4 else socket.IPPROTO_IPV6
                opened.setsockopt(level, _IP_RECVERR if source.version == 4 else _IPV6_RECVERR, 1)
        except BaseException:
            opened.close()
            raise
        return opened

    def _prepare4(
        self, opened: socket.socket, source: IPv4Address, index: int, traffic_class: int
    ) -> None:
        level = socket.IPPROTO_IP
        outgoing = struct.pack("=4s4si", bytes(4), source.packed, index)
        if not LINUX and not sys.platform.startswith("freebsd"):
            outgoing = source.packed  # the others know a struct in_addr only
        opened.setsockopt(level, socket.IP_MULTICAST_IF, outgoing)
        opened.setsockopt(level, socket.IP_MULTICAST_TTL, HOP_LIMIT)
        opened.setsockopt(level, socket.IP_MULTICAST_LOOP, 0)
        opened.setsockopt(level, socket.IP_TTL, HOP_LIMIT)
        opened.setsockopt(level, socket.IP_TOS, traffic_class)
        if LINUX:
            opened.setsockopt(level, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)  # DF
            opened.setsockopt(level, _IP_TRANSPARENT, 1)  # a source that is not configured
        elif sys.platform.startswith("freebsd"):
            with suppress(OSError):
                opened.setsockopt(level, _IP_DONTFRAG, 1)
        opened.bind((str(source), 0))

    def _prepare6(
        self, opened: socket.socket, source: IPv6Address, index: int, traffic_class: int
    ) -> None:
        level = socket.IPPROTO_IPV6
        opened.setsockopt(level, socket.IPV6_MULTICAST_IF, index)
        opened.setsockopt(level, socket.IPV6_MULTICAST_HOPS, HOP_LIMIT)
        opened.setsockopt(level, socket.IPV6_MULTICAST_LOOP, 0)
        opened.setsockopt(level, socket.IPV6_UNICAST_HOPS, HOP_LIMIT)
        opened.setsockopt(level, socket.IPV6_TCLASS, traffic_class)
        if LINUX:
            opened.setsockopt(level, _IPV6_TRANSPARENT, 1)
        opened.bind((str(source), 0, 0, index if source.is_link_local else 0))


def open_raw(family: int, protocol: int) -> socket.socket:
    """A raw IP socket for family 4 or 6; `PermissionError` without the privilege."""
    domain = socket.AF_INET if family == 4 else socket.AF_INET6
    return socket.socket(domain, socket.SOCK_RAW, protocol)


def bind_to_device(opened: socket.socket, interface: str) -> None:
    """Hear and send on this interface only, where a system knows that (Linux)."""
    if sys.platform == "linux":
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")


def join_group(opened: socket.socket, group: Address, index: int) -> None:
    """Become a member of a multicast group on an interface; `OSError` where that fails."""
    if group.version == 6:
        member = group.packed + struct.pack("=I", index)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        return
    if LINUX or _SYSTEM == "freebsd":
        member = struct.pack("=4s4si", group.packed, bytes(4), index)  # struct ip_mreqn
    else:
        # struct ip_mreq; an index in the place of the address, as in RFC 1724, section 3.3.
        member = group.packed + struct.pack(">I", index)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)


def enlarge(opened: socket.socket) -> None:
    """A larger receive buffer: beyond the system's limit where this process may do that."""
    if sys.platform == "linux":
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
            return
        except PermissionError:
            pass  # that takes CAP_NET_ADMIN
    with suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def ask_for_time_stamps(opened: socket.socket) -> None:
    """Have the kernel say when it took a datagram, on the wall clock (socket(7))."""
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)


def time_stamp(ancillary: _Ancillary) -> float | None:
    """When the kernel took it, in seconds of the wall clock."""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SCM_TIMESTAMP:
            return seconds_of(value, _STAMP_FRACTION)
    return None


def _number(value: bytes) -> int:
    """A TTL or hop limit: an int on Linux, a byte on some BSD for IPv4."""
    return value[0] if len(value) < 4 else int(struct.unpack_from("=i", value)[0])
