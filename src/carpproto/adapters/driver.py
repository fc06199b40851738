"""What both runners do with a node: receive, hand over, perform, in this order.

Must not know how one waits. A `Driver` gives its node everything that its transports and the
link watch have, then says what time it is; whoever calls `turn` decides when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

from carpproto.adapters.interfaces import Gone, InterfaceState
from carpproto.adapters.link import LinkWatch
from carpproto.adapters.transport import Transport
from carpproto.core.actions import Action, AnnounceAddresses, SendAdvertisement
from carpproto.core.addresses import parse_address
from carpproto.core.errors import ConfigError, shown
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    Event,
    InterfaceChanged,
    LinkChanged,
    SendFailed,
    SendSucceeded,
    TimerExpired,
)
from carpproto.core.node import Node

OnAction = Callable[[Action, float], None]
OnError = Callable[[OSError, Action], None]

_STALLED = 0.02  # seconds; draining takes far less, so the process did not run
_LOOKS = 3


class Driver:
    """A node, the transports of its interfaces, and what watches their links.

    ``on_action(action, now)`` is called for every action, in order, once all that came with it
    were performed; ``now`` is on ``clock``, as everything here, in seconds. What it raises ends
    the runner; it may call `handle`. ``on_error(error, action)`` hears of advertisements and
    announcements that the system refused; the node is told of the former anyway. With
    ``follow_addresses`` the node hears of the own addresses that an interface gets and loses;
    leave it off where an operator names the source to use. Without ``links`` each interface
    counts as up, with carrier.

    Raises `ConfigError` where a transport's interface is not the node's.
    """

    def __init__(
        self,
        node: Node,
        transports: Iterable[Transport],
        *,
        links: LinkWatch | None = None,
        on_action: OnAction | None = None,
        on_error: OnError | None = None,
        follow_addresses: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node: Node = node
        self.transports: dict[str, Transport] = {t.interface: t for t in transports}
        for name in self.transports:
            if name not in node.interfaces:
                known = ", ".join(node.interfaces) or "none yet"
                raise ConfigError(f"the node has no interface {shown(name)}; it has: {known}")
        self.links: LinkWatch | None = links
        self.clock: Callable[[], float] = clock
        self._on_action = on_action
        self._on_error = on_error
        self._follow_addresses = follow_addresses
        self._opened: dict[str, tuple[int, str]] = {}
        self._pending: list[Action] = []
        self._performing = False
        self._prepare()
        for fileno in self._watched():
            self._watch(fileno)

    def add_reader(self, fileno: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever a descriptor is readable, while and where the runner runs.

        It may call `handle` and `stop`; it must not wait.
        """
        self._watch(fileno, callback)

    def remove_reader(self, fileno: int) -> None:
        """No longer; one that is not known is passed over."""
        self._unwatch(fileno)

    # -- what a runner calls -----------------------------------------------------------------

    def start(self) -> None:
        """Tell the node what its interfaces are like now; from then on its timers run."""
        for name in self.transports:
            if self.links is None:
                self.handle(InterfaceChanged(name, True))
            else:
                state = self.links.state(name)
                if isinstance(state, InterfaceState):
                    self._opened[name] = (state.index, state.mac)
                self._link_moved(state)

    def handle(self, event: Event) -> tuple[Action, ...]:
        """Hand an event to the node now and perform what it answers, which is returned.

        From within ``on_action`` the answer is performed once what goes on has been.
        """
        actions = self.node.handle(event, self.clock())
        self._perform(actions)
        self._rearm()
        return actions

    def turn(self) -> None:
        """Everything that has arrived, then the links, then the timers that are due.

        Timers are looked at as of before the datagrams were: whatever had arrived by then, the
        node has heard. Where the process was stopped while it drained, it drains once more.
        """
        now = self.clock()
        for _ in range(_LOOKS):
            now = self.clock()
            for transport in self.transports.values():
                for event, age in transport.receive():
                    actions = self.node.handle(event, self.clock() - age)
                    if actions:
                        self._perform(actions)
            if self.clock() - now < _STALLED:
                break
        if self.links is not None:
            for state in self.links.read():
                self._link_moved(state)
        deadline = self.node.deadline
        if deadline is not None and deadline <= now:
            self._perform(self.node.handle(TimerExpired(), now))
        self._rearm()

    def patience(self) -> float | None:
        """Seconds until `turn` has to be called, 0 or more; None: until something arrives."""
        deadline = self.node.deadline
        wait = None if deadline is None else max(deadline - self.clock(), 0.0)
        interval = None if self.links is None else self.links.interval
        if interval is not None:
            return interval if wait is None else min(wait, interval)
        return wait

    # -- what a runner fills in ----------------------------------------------------------------

    def _prepare(self) -> None:
        """Make what it waits with; the last thing before descriptors are watched."""

    def _rearm(self) -> None:
        """The node's deadline may be another."""

    def _watch(self, fileno: int, callback: Callable[[], None] | None = None) -> None:
        """Call ``callback``, without one `turn`, whenever the descriptor is readable."""

    def _unwatch(self, fileno: int) -> None:
        """No longer."""

    def _watched(self) -> list[int]:
        """The descriptors that wake the driver up."""
        found = [fileno for t in self.transports.values() for fileno in t.filenos()]
        fileno = None if self.links is None else self.links.fileno()
        return found if fileno is None else [*found, fileno]

    # -- performing --------------------------------------------------------------------------

    def _perform(self, actions: tuple[Action, ...]) -> None:
        """Perform actions in order, then tell the node which advertisements could be sent."""
        self._pending.extend(actions)
        if self._performing:
            return
        self._performing = True
        try:
            while self._pending:
                batch, self._pending = self._pending, []
                # First what the wire waits for, then what the caller makes of it.
                outcomes = [self._do(action) for action in batch]
                now = self.clock()
                if self._on_action is not None:
                    for action in batch:
                        self._on_action(action, now)
                for outcome in outcomes:
                    if outcome is not None:
                        self._pending.extend(self.node.handle(outcome, now))
                self._pending = _without_superseded(self._pending)
        finally:
            self._performing = False

    def _do(self, action: Action) -> SendSucceeded | SendFailed | None:
        if isinstance(action, AnnounceAddresses):
            self.announce(action)
        if not isinstance(action, SendAdvertisement) or action.interface not in self.transports:
            return None
        try:
            self.transports[action.interface].send(action)
        except OSError as error:
            self._complain(error, action)
            return SendFailed(action.interface, action.vhid, error.errno or 0)
        return SendSucceeded(action.interface, action.vhid)

    def announce(self, action: AnnounceAddresses) -> None:
        """Tell the neighbors of addresses; what the system refuses is ``on_error``'s."""
        transport = self.transports.get(action.interface)
        if transport is None:
            return
        own = self.node.addresses(action.interface)
        source = next((a for a in own if isinstance(a, IPv6Address)), None)
        try:
            transport.announce(action, source)
        except OSError as error:
            self._complain(error, action)

    def _complain(self, error: OSError, action: Action) -> None:
        if self._on_error is not None:
            self._on_error(error, action)

    # -- links -------------------------------------------------------------------------------

    def _link_moved(self, state: InterfaceState | Gone) -> None:
        """Tell the node, and open the transport again where the interface is another one."""
        name = state.name
        transport = self.transports.get(name)
        if transport is None:
            return
        if isinstance(state, Gone):
            self.handle(InterfaceChanged(name, False))
            self._opened.pop(name, None)
            self._replace(transport, transport.close)
            return
        identity = (state.index, state.mac)
        if self._opened.get(name) != identity or not transport.filenos():
            self._replace(transport, transport.reopen)
            if not transport.filenos():
                return
            self._opened[name] = identity
        if self._follow_addresses:
            self._follow(state)
        if not state.up:
            self.handle(InterfaceChanged(name, False))
        else:
            # An interface that is down says nothing of its carrier.
            self.handle(LinkChanged(name, state.running))
            self.handle(InterfaceChanged(name, True))

    def _replace(self, transport: Transport, change: Callable[[], None]) -> None:
        for fileno in transport.filenos():
            self._unwatch(fileno)
        try:
            change()
        except OSError:
            transport.close()  # gone again; the link watch will say when it is back
        for fileno in transport.filenos():
            self._watch(fileno)

    def _follow(self, state: InterfaceState) -> None:
        """Give the node the interface's own addresses, in the order of the interface."""
        name = state.name
        hosts = self.node.virtual_hosts(name)
        virtual = {address for host in hosts for address in host.config.addresses}
        found = dict.fromkeys(parse_address(address) for address in state.addresses)
        wanted = [address for address in found if address not in virtual]
        known = self.node.addresses(name)
        if list(known) == wanted:
            return
        for address in known:
            self.handle(AddressRemoved(name, address))
        for address in wanted:
            self.handle(AddressAdded(name, address))


def _without_superseded(actions: list[Action]) -> list[Action]:
    """Without advertisements that a later one of the same virtual host makes needless.

    When many virtual hosts fail to send at once, each failure demotes all of them, and all
    advertise that. FreeBSD puts it off and does it once (``carp_demote_adj``, a task).
    """
    last = {
        (action.interface, action.vhid, action.family): action
        for action in actions
        if isinstance(action, SendAdvertisement)
    }
    return [
        action
        for action in actions
        if not isinstance(action, SendAdvertisement)
        or action is last[action.interface, action.vhid, action.family]
    ]
