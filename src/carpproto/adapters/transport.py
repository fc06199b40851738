"""What both transports have in common: their interface, the age of a datagram, the opening.

Must not know of states or timers. A transport takes advertisements from one interface and puts
them there; which socket it uses for that is its own matter.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

from carpproto.core.actions import AnnounceAddresses, SendAdvertisement
from carpproto.core.addresses import GROUPS, Address, AddressLike, parse_address
from carpproto.core.errors import ConfigError, shown
from carpproto.core.events import DatagramReceived
from carpproto.core.node import Node
from carpproto.core.profile import Identification

Kind = Literal["auto", "raw", "packet"]

BATCH = 16384
"""Datagrams of one socket that are read at the most before the timers have their turn: more
than its receive buffer holds."""

RECEIVE_BUFFER = 2 << 20
"""Bytes asked for as a receive buffer; 30 s of silence of this process fit with many peers."""

SIZE = 2048
"""Bytes of a datagram that are read; an advertisement has 36, and what follows is ignored."""


class Received(NamedTuple):
    """A datagram, and how many seconds ago the kernel took it."""

    event: DatagramReceived
    age: float


class Transport(Protocol):
    """What takes advertisements from an interface, and puts them there."""

    @property
    def interface(self) -> str:
        """The interface's name."""
        ...

    def filenos(self) -> tuple[int, ...]:
        """The file descriptors to wait on; none while it is closed."""
        ...

    def receive(self) -> Iterator[Received]:
        """What has arrived, oldest first for each family; never waits.

        Ends where the queue is empty, and with the first that arrived after the call began.
        """
        ...

    def send(self, action: SendAdvertisement) -> None:
        """Put an advertisement on the wire; `OSError` where the system refuses it."""
        ...

    def announce(self, action: AnnounceAddresses, source: Address | None = None) -> None:
        """Tell the neighbors of the addresses: gratuitous ARP, unsolicited neighbor advertisement.

        ``source`` is the own IPv6 address to send from, without it the announced one. `OSError`
        where the system refuses it.
        """
        ...

    def close(self) -> None:
        """Give the sockets back; closing twice does nothing."""
        ...

    def reopen(self) -> None:
        """Open it again, after the interface was deleted and is back; `OSError` if it is not."""
        ...


class Stamps:
    """Turns the kernel's receive time stamps, of the wall clock, into ages.

    An age is a difference of wall clock times that were read at one moment, `begin`. Where the
    wall clock was set since the last batch, which shows in its distance from the monotonic
    clock, a stamp may be of before or after that; the age that is possible counts, of two the
    lesser. None is negative, and none reaches back to before the last batch began, because that
    batch took everything there was. So a step of the clock moves no datagram by more.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_wall = wall
        self._read_clock = clock
        self._wall, self._last = self._read()
        self._since = 0.0
        self._step = 0.0

    def begin(self) -> None:
        """A batch begins: everything until the next call is measured from now."""
        before = self._wall - self._last
        wall, now = self._read()
        self._step = wall - now - before
        self._since = now - self._last
        self._wall, self._last = wall, now

    def age(self, stamp: float) -> float:
        """Seconds from a time stamp to the beginning of the batch."""
        age, longest = self._wall - stamp, self._since
        if self._stepped:
            possible = [a for a in (age, age - self._step) if 0.0 <= a <= longest]
            age = min(possible, default=age)
        return min(max(age, 0.0), longest)

    def is_later(self, stamp: float) -> bool:
        """Whether it was taken after the batch began; no step of the clock makes it seem so."""
        return stamp > self._wall and not self._stepped

    @property
    def _stepped(self) -> bool:
        return abs(self._step) > _UNSTEPPED

    def _read(self) -> tuple[float, float]:
        """Both clocks at one moment: again if the process was stopped in between."""
        tries = 3
        while True:
            before = self._read_clock()
            wall = self._read_wall()
            after = self._read_clock()
            tries -= 1
            if after - before < _UNSTEPPED or not tries:
                return wall, after


_UNSTEPPED = 0.002  # seconds; adjtime(2) moves a clock by less between two batches, as a rule


def seconds_of(data: bytes, fraction: float) -> float | None:
    """The seconds in a time stamp: a struct timespec or timeval as this machine lays it out.

    ``fraction`` is what its second number counts, in seconds.
    """
    layout = {16: "=qq", 8: "=ii", 12: "=qi"}.get(len(data))
    if layout is None:
        return None
    whole, part = struct.unpack(layout, data)
    return float(whole) + float(part) * fraction


def groups_of(node: Node, interface: str) -> tuple[Address, ...]:
    """The multicast groups that an interface's virtual hosts send to and listen on."""
    hosts = node.virtual_hosts(interface)
    found = [host.config.destination(family) for host in hosts for family in (4, 6)]
    return tuple(dict.fromkeys(group for group in found if group.is_multicast))


def open_transport(
    interface: str,
    *,
    groups: Iterable[AddressLike] = tuple(GROUPS.values()),
    kind: Kind = "auto",
    broadcast: bool = False,
    promiscuous: bool = False,
    identification: Identification = Identification.ZERO,
) -> Transport:
    """Open a transport on an interface.

    ``groups`` are the multicast groups to join, as text or addresses. ``kind`` "packet" is Linux's
    packet socket, which alone can send from the virtual MAC; "raw" is a raw IP socket; "auto"
    takes the first that this system has. ``broadcast`` sends to the Ethernet broadcast address, as
    ucarp's ``--nomcast``; ``promiscuous`` takes every frame from the interface, for a network card
    that has no room for another multicast address. Both need a packet socket, and only that heeds
    ``identification``, what the IPv4 ids do: give it the profile's, to look like that system.

    Raises `ConfigError` for an unknown interface, for a group that is none, for what the system
    cannot do, and, as `PrivilegeError` in one line that says how to grant it, without privilege.
    """
    if kind not in ("auto", "raw", "packet"):
        raise ConfigError(f"transport {shown(kind)} is none; it is auto, raw or packet")
    joined = _as_groups(groups)
    packet = kind == "packet" or (kind == "auto" and sys.platform == "linux")
    if packet and sys.platform != "linux":
        raise ConfigError("a packet socket is Linux's; here use the raw transport")
    if (broadcast or promiscuous) and not packet:
        raise ConfigError("broadcast and promiscuous need the packet transport, which is Linux's")
    try:
        if packet:
            from carpproto.adapters.packet import PacketTransport

            return PacketTransport(
                interface,
                groups=joined,
                broadcast=broadcast,
                promiscuous=promiscuous,
                identification=identification,
            )
        from carpproto.adapters.raw import RawTransport

        return RawTransport(interface, groups=joined)
    except PermissionError:
        raise PrivilegeError(missing_privilege()) from None
    except OSError as error:
        raise ConfigError(f"cannot listen on {shown(interface)}: {error}") from error


def _as_groups(groups: Iterable[AddressLike]) -> tuple[Address, ...]:
    given: object = groups
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ConfigError(f"groups is {shown(given)}; give a list of multicast addresses")
    found = tuple(parse_address(group) for group in groups)
    for group in found:
        if not group.is_multicast:
            raise ConfigError(f"{group} is no multicast group; give those to join")
    return found


class PrivilegeError(ConfigError):
    """This process may not open a raw or a packet socket."""


def missing_privilege() -> str:
    """The line for who may not open a raw or a packet socket."""
    if sys.platform != "linux":
        return "only root may open a raw socket here; run it as root"
    program = os.path.realpath(sys.executable)  # setcap(8) takes no symbolic link
    return (
        "CAP_NET_RAW is missing, so no raw or packet socket can be opened: run it as root, or put "
        "AmbientCapabilities=CAP_NET_RAW into the systemd unit, or setcap cap_net_raw+ep "
        f"{program}, which gives raw sockets to every user of that Python"
    )
