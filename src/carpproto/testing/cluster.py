"""A cluster to test with: a `Cluster` whose assertions say what happened instead.

Must not know of pytest. What a test asserts is raised as `AssertionError`, with who is MASTER,
the last transitions as FreeBSD logs them, what was refused, and the seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from carpproto.core.actions import StateChanged
from carpproto.core.addresses import AddressLike, parse_address
from carpproto.core.advertisement import Advertisement, decode
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, DecodeError, shown
from carpproto.core.events import (
    DemotionAdjusted,
    InterfaceChanged,
    SettingChanged,
    State,
    StateRequested,
)
from carpproto.core.frame import Ethernet, Packet, peel, peel_ethernet
from carpproto.core.node import Node
from carpproto.core.profile import FREEBSD, Profile, check_profile
from carpproto.simulation.cluster import Cluster, Transition
from carpproto.simulation.refusals import refusals

T = TypeVar("T")

INTERFACE, SEGMENT = "em0", "lan"
KEY = b"randompass"
"""What all nodes share unless a passphrase is given: no system makes another key of it."""

ADDRESSES = ("192.0.2.50",)
SHOWN_TRANSITIONS = 8
"""How many of the last transitions a failed assertion shows."""


class Sent(NamedTuple):
    """A frame that was put on a segment: when, in seconds, by which node, and its bytes."""

    at: float
    sender: str
    frame: bytes

    @property
    def ethernet(self) -> Ethernet:
        """The Ethernet header."""
        return peel_ethernet(self.frame)

    @property
    def packet(self) -> Packet | None:
        """What is of IP protocol 112 in it; None in an announcement, by ARP or ND."""
        return peel(self.frame)

    @property
    def advertisement(self) -> Advertisement | None:
        """The advertisement in it, or None where it carries none that `decode` takes."""
        packet = self.packet
        try:
            return None if packet is None else decode(packet.payload)
        except DecodeError:
            return None


def log_line(transition: Transition) -> str:
    """A transition as FreeBSD logs it, after the time and the node's name."""
    at, node, interface, vhid, previous, current, reason = transition
    changed = StateChanged(interface, vhid, previous, current, reason)
    return f"{at:12.6f}  {node}  {changed.log_line()}"


class ClusterUnderTest(Cluster):
    """A `Cluster`, with names for what an operator does and with assertions.

    Where a ``vhid`` or a ``segment`` can be given, None stands for each there is. An assertion
    that fails raises `AssertionError`; a name that is unknown, as everywhere, `ConfigError`.
    ``failed`` says whether one has.
    """

    failed: bool = False

    # -- what an operator does ---------------------------------------------------------------

    def set(self, name: str, **settings: int) -> None:
        """Change settings of a node, such as ``preempt=1``; see `SettingChanged`."""
        for setting, value in settings.items():
            self.handle(name, SettingChanged(setting, value))

    def demote(self, name: str, delta: int) -> None:
        """Add ``delta`` to a node's demotion; it may be negative."""
        self.handle(name, DemotionAdjusted(delta))

    def interface_down(self, name: str, interface: str = INTERFACE) -> None:
        """Take an interface down, as ``ifconfig em0 down`` does."""
        self.handle(name, InterfaceChanged(interface, False))

    def interface_up(self, name: str, interface: str = INTERFACE) -> None:
        """Set an interface up again."""
        self.handle(name, InterfaceChanged(interface, True))

    def request(
        self, name: str, state: State | str, vhid: int = 1, interface: str = INTERFACE
    ) -> None:
        """Ask a node for MASTER or BACKUP, as ``ifconfig em0 vhid 1 state master`` does."""
        self.handle(name, StateRequested(interface, vhid, _state(state)))

    # -- what a test looks at ----------------------------------------------------------------

    def node(self, name: str) -> Node:
        """The `Node` of a name, with its counters and its demotion; it must run."""
        node = self._running(name).node
        assert node is not None
        return node

    def state(self, name: str, vhid: int = 1, interface: str = INTERFACE) -> State:
        """A virtual host's state; INIT while its node does not run."""
        node = self._member(name).node
        return State.INIT if node is None else node.virtual_host(interface, vhid).state

    def capture(self, segment: str = SEGMENT) -> list[Sent]:
        """A list to which every frame on a segment is added from now on."""
        captured: list[Sent] = []
        self.change_segment(segment)  # says which there are

        def tap(at: float, sender: str, frame: bytes) -> None:
            captured.append(Sent(at, sender, frame))

        self.segments[segment].taps.append(tap)
        return captured

    def report(self) -> str:
        """Who is MASTER now, the last transitions, what was refused, and the seed."""
        lines = [
            f"vhid {vhid} on {where}: {_masters(self.masters(vhid, where))}"
            for where, vhid in self.groups()
        ]
        lines += [f"{name} does not run" for name in self.nodes if self.nodes[name].node is None]
        last = self.transitions[-SHOWN_TRANSITIONS:]
        left_out = len(self.transitions) - len(last)
        lines.append(f"the last transitions, {left_out} more before:" if left_out else "so far:")
        lines += [log_line(transition) for transition in last] or ["  no transition"]
        return "\n".join([*lines, *refusals(self), f"seed {self.seed}"])

    # -- what a test asserts -----------------------------------------------------------------

    def assert_masters(
        self, *names: str, vhid: int | None = None, segment: str | None = None
    ) -> None:
        """These nodes, in any order, are MASTER of a group, and no others; no names: nobody."""
        __tracebackhide__ = True
        for name in names:
            self._member(name)
        for where, number in self._groups(vhid, segment):
            found = self.masters(number, where)
            if set(found) != set(names):
                wanted = " and ".join(names) or "nobody"
                self._fail(f"{_masters(found)} of vhid {number}, not {wanted}")

    def assert_master(
        self, name: str, vhid: int | None = None, segment: str | None = None
    ) -> None:
        """This node is MASTER of a group, and no other one."""
        __tracebackhide__ = True
        self.assert_masters(name, vhid=vhid, segment=segment)

    def assert_one_master(self, vhid: int | None = None, segment: str | None = None) -> None:
        """Exactly one node is MASTER of a group, whichever; of each group where none is named."""
        __tracebackhide__ = True
        for where, number in self._groups(vhid, segment):
            found = self.masters(number, where)
            if len(found) != 1:
                self._fail(f"{_masters(found)} of vhid {number}, not exactly one node")

    def assert_no_master(self, vhid: int | None = None, segment: str | None = None) -> None:
        """Nobody is MASTER of a group."""
        __tracebackhide__ = True
        for where, number in self._groups(vhid, segment):
            found = self.masters(number, where)
            if found:
                self._fail(f"{_masters(found)} of vhid {number}, not nobody")

    def assert_state(
        self, name: str, state: State | str, vhid: int = 1, interface: str = INTERFACE
    ) -> None:
        """A virtual host is in a state."""
        __tracebackhide__ = True
        found, expected = self.state(name, vhid, interface), _state(state)
        if found is not expected:
            self._fail(f"vhid {vhid} on {interface} of {name} is {found}, not {expected}")

    def assert_takes_over(
        self, name: str, within: float, vhid: int | None = None, segment: str | None = None
    ) -> float:
        """Within so many seconds a node becomes the only MASTER of a group; after how many?

        Time passes until it is so.
        """
        __tracebackhide__ = True
        self._member(name)
        groups, began = self._groups(vhid, segment), self.now

        def took_over() -> bool:
            return all(self.masters(number, where) == (name,) for where, number in groups)

        if not self.run_until(took_over, within):
            self._fail(f"{name} did not take over within {within:g} s")
        return self.now - began

    def assert_stable(self, seconds: float) -> None:
        """No virtual host changes its state for so many seconds; they pass."""
        __tracebackhide__ = True
        before = len(self.transitions)
        self.run_for(seconds)
        changes = len(self.transitions) - before
        if changes:
            times = "once" if changes == 1 else f"{changes} times"
            self._fail(f"states changed {times} within {seconds:g} s that were to be quiet")

    # -- how it works ------------------------------------------------------------------------

    def _fail(self, what: str) -> None:
        __tracebackhide__ = True
        self.failed = True
        raise AssertionError(f"at {self.now:g} s: {what}\n{self.report()}")

    def _groups(self, vhid: int | None, segment: str | None) -> list[tuple[str, int]]:
        found = [
            (where, number)
            for where, number in self.groups()
            if vhid in (None, number) and segment in (None, where)
        ]
        if not found:
            known = ", ".join(f"vhid {number} on {where}" for where, number in self.groups())
            raise ConfigError(f"there is no such group; there are: {known or 'none'}")
        return found


def make_cluster(
    advskews: Iterable[int] = (0, 100),
    *,
    profile: Profile | Sequence[Profile] = FREEBSD,
    addresses: Iterable[AddressLike] = ADDRESSES,
    vhid: int = 1,
    advbase: int = 1,
    passphrase: str | None = None,
    unicast: bool = False,
    settings: Mapping[str, int] | None = None,
    seed: int = 0,
    delay: float = 0.0,
    **qualities: float | bool,
) -> ClusterUnderTest:
    """A cluster on one segment, lan, with a node for each advskew: a, b, c and so on.

    All share the virtual ``addresses`` as one ``vhid`` on their interface em0, and `KEY` or a
    ``passphrase``, of which NetBSD makes another key. ``profile`` is theirs, or a list has one
    for each. ``unicast`` is for two nodes, which advertise to each
    other's address and not to the group. ``settings``, such as ``{"preempt": 1}``, are every
    node's, see `SettingChanged`. A frame takes ``delay`` seconds, none unless told, so that times
    are exact; ``qualities`` are the segment's others, see `Segment`. Without advskews there is
    only the segment, for nodes to be added with `Cluster.add_node`.
    """
    cluster = ClusterUnderTest(seed)
    cluster.add_segment(SEGMENT, delay=delay, **qualities)
    skews = _listed("advskews", advskews, "[0, 100]")
    virtual = [parse_address(one) for one in _listed("addresses", addresses, "['192.0.2.50']")]
    if isinstance(profile, (Profile, str)):
        profiles = [check_profile(profile)] * len(skews)
    else:
        profiles = [check_profile(one) for one in _listed("profile", profile, "FREEBSD")]
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f'settings {shown(settings)} are none; give such as {{"preempt": 1}}')
    if len(profiles) != len(skews):
        raise ConfigError(f"{len(profiles)} profiles were given for {len(skews)} nodes")
    if unicast and len(skews) != 2:
        raise ConfigError(f"unicast is for two nodes, and {len(skews)} are described")
    for number, (advskew, own) in enumerate(zip(skews, profiles, strict=True), 1):
        peer, peer6 = _own_addresses(3 - number) if unicast else (None, None)
        config = VirtualHostConfig(
            vhid=vhid,
            passphrase=passphrase,
            key=KEY if passphrase is None else None,
            addresses=virtual,
            advbase=advbase,
            advskew=advskew,
            peer=peer,
            peer6=peer6,
        )
        cluster.add_node(
            _name(number),
            config,
            profile=own,
            addresses={INTERFACE: _own_addresses(number)},
            settings=settings,
        )
    return cluster


def _name(number: int) -> str:
    """The name of a node by its number from 1: a to z, then n27 and so on."""
    return chr(ord("a") + number - 1) if number <= 26 else f"n{number}"


def _own_addresses(number: int) -> tuple[str, str]:
    return f"198.18.{number >> 8}.{number & 255}", f"fe80::{number:x}"


def _listed(what: str, values: Iterable[T], example: str) -> list[T]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"{what} {shown(values)} is no list; give such as {example}")
    return list(values)


def _state(value: State | str) -> State:
    try:
        return State(value.upper() if isinstance(value, str) else value)
    except ValueError:
        known = ", ".join(State)
        raise ConfigError(f"there is no state {shown(value)}; there are {known}") from None


def _masters(names: Sequence[str]) -> str:
    """Such as: MASTER is a."""
    return f"MASTER is {' and '.join(names) or 'nobody'}"
