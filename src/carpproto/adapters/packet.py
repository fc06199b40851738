"""The packet socket transport, Linux's: whole Ethernet frames, from whichever MAC the node says.

Must not know of states or timers. See packet(7). The filter is in `carpproto.adapters.filter`.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from random import getrandbits

from carpproto.adapters.filter import NOTHING, attach, program
from carpproto.adapters.raw import (
    Sender,
    ask_for_time_stamps,
    bind_to_device,
    enlarge,
    join_group,
    open_raw,
    time_stamp,
)
from carpproto.adapters.transport import BATCH, SIZE, Received, Stamps
from carpproto.core.actions import AnnounceAddresses, SendAdvertisement
from carpproto.core.addresses import GROUPS, Address, format_mac, group_mac, parse_mac
from carpproto.core.advertisement import LENGTH, PROTOCOL, encode
from carpproto.core.announcement import gratuitous_arp, neighbor_advertisement
from carpproto.core.errors import ConfigError, DecodeError, shown
from carpproto.core.events import DatagramReceived
from carpproto.core.frame import build, peel_datagram
from carpproto.core.profile import Identification

_ETH_P_ALL = 3
_SOL_PACKET = 263
_ADD_MEMBERSHIP = 1
_MULTICAST, _PROMISCUOUS = 0, 1
_ETHERNET = 1  # ARPHRD_ETHER
_ANCILLARY = 64
_BROADCAST = "ff:ff:ff:ff:ff:ff"


class PacketTransport:
    """Advertisements as Ethernet frames on one interface.

    ``groups`` are the multicast groups whose frames the network card is to take; with
    ``promiscuous`` it takes all. ``broadcast`` sends to the Ethernet broadcast address instead
    of the group's. ``identification`` is what the IPv4 ids do: 0, as a packet that is not to be
    fragmented may have it (RFC 6864), or as the systems do it that differ, see `Profile`. To a
    unicast peer the kernel sends, which knows its MAC.

    Raises `OSError` for an unknown interface, `PermissionError` without CAP_NET_RAW, and
    `ConfigError` where the interface is no Ethernet.
    """

    def __init__(
        self,
        interface: str,
        *,
        groups: Iterable[Address] = tuple(GROUPS.values()),
        broadcast: bool = False,
        promiscuous: bool = False,
        identification: Identification = Identification.ZERO,
    ) -> None:
        self._interface = interface
        self._groups = tuple(groups)
        self._broadcast = broadcast
        self._promiscuous = promiscuous
        self._identification = identification
        self._id = 0
        self._socket: socket.socket | None = None
        self._others: list[socket.socket] = []
        self._sender = Sender(interface)
        self._headers: dict[tuple[int, int], tuple[Address, Address, str, int, bytes]] = {}
        self._stamps = Stamps()
        self._mac = ""
        self._open()
        self._first_mac = self._mac

    @property
    def interface(self) -> str:
        """The interface's name."""
        return self._interface

    @property
    def mac(self) -> str:
        """The interface's own MAC, as it was when the socket was opened."""
        return self._mac

    def filenos(self) -> tuple[int, ...]:
        """The packet socket's descriptor; none while it is closed."""
        return () if self._socket is None else (self._socket.fileno(),)

    def receive(self) -> Iterator[Received]:
        """What has arrived; frames that hold no advertisement are passed over."""
        receiving, stamps = self._socket, self._stamps
        stamps.begin()
        if receiving is None:
            return
        for _ in range(BATCH):
            try:
                frame, ancillary, _, _ = receiving.recvmsg(SIZE, _ANCILLARY)
            except OSError:
                return  # nothing there, or ENETDOWN once: the link watch says what it means
            stamp = time_stamp(ancillary)
            try:
                found = peel_datagram(frame) if _is_intact(frame) else None
            except DecodeError:
                found = None
            if found is not None:
                age = 0.0 if stamp is None else stamps.age(stamp)
                yield Received(DatagramReceived(self._interface, *found), age)
            if stamp is not None and stamps.is_later(stamp):
                return

    def send(self, action: SendAdvertisement) -> None:
        """One frame to the group; by the kernel to a unicast peer."""
        if self._socket is None:
            raise OSError(errno.ENODEV, f"{self._interface} is gone")
        if not action.destination.is_multicast:
            self._sender.send(action)
            return
        key = (action.vhid, action.family)
        known = self._headers.get(key)
        if (
            known is None
            or known[0] is not action.source
            or known[1] is not action.destination
            or known[2:4] != (action.source_mac, action.traffic_class)
        ):
            known = self._headers[key] = self._header(action)
        header = known[4]
        if action.family == 4 and self._identification is not Identification.ZERO:
            header = self._header(action, self._next_id())[4]
        self._socket.send(header + encode(action.advertisement))

    def _next_id(self) -> int:
        counting = self._identification is Identification.COUNTING
        self._id = (self._id + 1) & 0xFFFF if counting else getrandbits(16)
        return self._id

    def _header(
        self, action: SendAdvertisement, identification: int = 0
    ) -> tuple[Address, Address, str, int, bytes]:
        """What is before the advertisement, and what it depends on."""
        frame = build(
            bytes(LENGTH),
            source=action.source,
            destination=action.destination,
            source_mac=self._present(action.source_mac),
            destination_mac=_BROADCAST if self._broadcast else None,
            traffic_class=action.traffic_class,
            identification=identification,
        )
        ends = action.source, action.destination
        return (*ends, action.source_mac, action.traffic_class, frame[:-LENGTH])

    def announce(self, action: AnnounceAddresses, source: Address | None = None) -> None:
        """Gratuitous ARPs from the interface's MAC; neighbor advertisements from the MAC named."""
        if self._socket is None:
            raise OSError(errno.ENODEV, f"{self._interface} is gone")
        mac = self._present(action.mac)
        for address in action.addresses:
            if address.version == 4:
                frame = gratuitous_arp(address, mac=mac, source_mac=self._mac)
            else:
                frame = neighbor_advertisement(address, mac=mac, source=source or address)
            self._socket.send(frame)

    def close(self) -> None:
        """Close the sockets; the groups are left with them."""
        for opened in (self._socket, *self._others):
            if opened is not None:
                opened.close()
        self._socket = None
        self._others = []
        self._sender.close()
        self._headers = {}

    def reopen(self) -> None:
        """Open it again; an interface that was made anew may have another MAC."""
        self.close()
        self._open()

    def _open(self) -> None:
        if sys.platform != "linux":
            raise OSError(errno.EAFNOSUPPORT, "a packet socket is Linux's")
        # Of no protocol at first: nothing arrives before the filter is there.
        opened = self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            opened.setblocking(False)
            attach(opened, program())
            enlarge(opened)
            ask_for_time_stamps(opened)
            opened.bind((self._interface, _ETH_P_ALL))
            _, _, _, hardware, mac = opened.getsockname()
            if hardware != _ETHERNET:
                raise ConfigError(
                    f"{shown(self._interface)} is no Ethernet interface; use the raw transport"
                )
            self._mac = format_mac(mac)
            self._join(opened)
            self._pretend(4)
            with suppress(OSError):  # no IPv6 here
                self._pretend(6)
        except BaseException:
            self.close()
            raise

    def _join(self, opened: socket.socket) -> None:
        index = socket.if_nametoindex(self._interface)
        for group in self._groups:
            member = struct.pack("=iHH8s", index, _MULTICAST, 6, parse_mac(group_mac(group)))
            opened.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
            # The kernel joins too, so that switches which listen for IGMP and MLD know.
            family = socket.AF_INET if group.version == 4 else socket.AF_INET6
            with suppress(OSError):  # no IPv6 here: then no switch has to know
                asking = socket.socket(family, socket.SOCK_DGRAM)
                self._others.append(asking)
                join_group(asking, group, index)
        if self._promiscuous:
            member = struct.pack("=iHH8s", index, _PROMISCUOUS, 0, b"")
            opened.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)

    def _pretend(self, family: int) -> None:
        """Have the kernel know that protocol 112 is spoken here.

        Or it would tell unicast peers that it is not (ICMP protocol unreachable, ICMPv6
        parameter problem), as no raw socket takes what they send.
        """
        opened = open_raw(family, PROTOCOL)
        self._others.append(opened)
        attach(opened, NOTHING)
        bind_to_device(opened, self._interface)

    def _present(self, mac: str) -> str:
        """The interface's MAC as it is now, where the node names the one that it began with."""
        return self._mac if mac == self._first_mac else mac


def _is_intact(frame: bytes) -> bool:
    """Whether the checksum of an IPv4 header is right: no kernel has looked at it yet."""
    if frame[12:14] != b"\x08\x00":
        return True
    header = frame[14 : 14 + (frame[14] & 15) * 4] if len(frame) > 14 else b""
    return int.from_bytes(header, "big") % 0xFFFF == 0
