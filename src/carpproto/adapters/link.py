"""What becomes of interfaces while a node runs: netlink on Linux, looking again elsewhere.

Must not know what follows from it. A watch tells how an interface is, every time that differs
from what it told before.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from carpproto.adapters import interfaces, netlink
from carpproto.adapters.interfaces import Gone, InterfaceState

POLLING_INTERVAL = 1.0
"""Seconds between two looks where the system does not tell."""

_GROUPS = netlink.RTMGRP_LINK | netlink.RTMGRP_IPV4_IFADDR | netlink.RTMGRP_IPV6_IFADDR
_LARGEST = 1 << 16
_BATCH = 1024


class LinkWatch(Protocol):
    """What tells of changes of interfaces."""

    @property
    def interval(self) -> float | None:
        """Seconds after which to `read` again at the latest; None: when `fileno` is readable."""
        ...

    def fileno(self) -> int | None:
        """The descriptor that is readable when there is something to read."""
        ...

    def state(self, name: str) -> InterfaceState | Gone:
        """How an interface is now; `read` tells what is different from this."""
        ...

    def read(self) -> tuple[InterfaceState | Gone, ...]:
        """Changes since the last call, in order; never waits."""
        ...

    def close(self) -> None:
        """Give back what was opened; closing twice does nothing."""
        ...


def watch(names: Iterable[str]) -> LinkWatch:
    """A watch of these interfaces, which need not be there; netlink where there is one."""
    if sys.platform == "linux":
        return NetlinkWatch(names)
    return PollingWatch(names)


class NetlinkWatch:
    """Linux tells of every change; `OSError` where it gives no netlink socket.

    What it tells is put together here. To ask it again would take a lock that whoever makes or
    removes interfaces holds, for seconds on a machine full of containers; that is done at the
    start, and where some of what was told was lost.
    """

    interval: float | None = None

    def __init__(self, names: Iterable[str]) -> None:
        self._socket = netlink.open_netlink(_GROUPS)
        self._told: dict[str, InterfaceState | Gone] = {name: Gone(name) for name in names}
        self._lost = False

    def fileno(self) -> int | None:
        """The netlink socket's; None once it is closed."""
        number = self._socket.fileno()
        return None if number < 0 else number

    def state(self, name: str) -> InterfaceState | Gone:
        """How an interface is now."""
        # What has been told until now is older than the answer; of others it may be news.
        if any(True for _ in self._messages()) and len(self._told) > 1:
            self._lost = True
        self._told[name] = state = interfaces.from_netlink(name)
        return state

    def read(self) -> tuple[InterfaceState | Gone, ...]:
        """Changes since the last call, each step of each."""
        changes: list[InterfaceState | Gone] = []
        for message in self._messages():
            if isinstance(message, netlink.Link):
                self._on_link(message, changes)
            else:
                self._on_address(message, changes)
        if self._lost:
            self._lost = False
            for name in self._told:
                self._tell(interfaces.from_netlink(name), changes)
        return tuple(changes)

    def close(self) -> None:
        """Close the netlink socket."""
        self._socket.close()

    def _messages(self) -> Iterator[netlink.Link | netlink.LinkAddress]:
        for _ in range(_BATCH):
            try:
                data = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lost = True
            else:
                yield from netlink.parse(data)

    def _on_link(self, link: netlink.Link, changes: list[InterfaceState | Gone]) -> None:
        for name, told in tuple(self._told.items()):
            if isinstance(told, InterfaceState) and told.index == link.index:
                if link.gone or link.name != name:
                    self._tell(Gone(name), changes)
        if link.gone or link.name not in self._told:
            return
        before = self._told[link.name]
        same = isinstance(before, InterfaceState) and before.index == link.index
        known = before.addresses if same and isinstance(before, InterfaceState) else ()
        self._tell(interfaces.of_link(link, known), changes)

    def _on_address(
        self, message: netlink.LinkAddress, changes: list[InterfaceState | Gone]
    ) -> None:
        for told in tuple(self._told.values()):
            if isinstance(told, InterfaceState) and told.index == message.index:
                kept = [address for address in told.addresses if address != message.address]
                if not message.gone:
                    if len(kept) < len(told.addresses):
                        return  # it is there already; its lifetime changed, or the like
                    kept.append(message.address)
                self._tell(replace(told, addresses=interfaces.in_order(kept)), changes)

    def _tell(self, state: InterfaceState | Gone, changes: list[InterfaceState | Gone]) -> None:
        if state != self._told[state.name]:
            self._told[state.name] = state
            changes.append(state)


class PollingWatch:
    """Looks at the interfaces every now and then, ``interval`` seconds apart."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        interval: float = POLLING_INTERVAL,
        look: Callable[[str], InterfaceState | Gone] = interfaces.look,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval: float | None = interval
        self._every = interval
        self._look = look
        self._clock = clock
        self._next = clock() + interval
        self._told: dict[str, InterfaceState | Gone] = {name: Gone(name) for name in names}

    def fileno(self) -> int | None:
        """None: there is nothing to wait for."""
        return None

    def state(self, name: str) -> InterfaceState | Gone:
        """How an interface is now."""
        self._told[name] = state = self._look(name)
        return state

    def read(self) -> tuple[InterfaceState | Gone, ...]:
        """What is different, once the interval is over."""
        now = self._clock()
        if now < self._next:
            return ()
        self._next = now + self._every
        before = dict(self._told)
        return tuple(state for name in before if (state := self.state(name)) != before[name])

    def close(self) -> None:
        """Nothing was opened."""
