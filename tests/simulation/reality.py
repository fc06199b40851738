"""A recording acted again: the recorded configurations and commands, and nothing else.

A `Reenactment` builds a `Cluster` of the recorded nodes, gives each what its operator gave it at
that time, puts the frames that the laboratory sent on the segment, and lets time pass. Nothing
that a recorded node sent or reported goes into it; `differences` compares what comes out with
what the real systems reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache, partial
from math import ceil
from typing import Any, NamedTuple

from carpproto import VirtualHostConfig
from carpproto.capture.recording import RecordedEvent, RecordedNode, Recording, load
from carpproto.capture.replay import profile_of
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    DemotionAdjusted,
    Event,
    InterfaceChanged,
    Reconfigured,
    SettingChanged,
    State,
    StateRequested,
    VirtualHostAdded,
)
from carpproto.simulation.cluster import Cluster
from tests.helpers import RECORDINGS, carries_carp

HOLD = 3.0
"""Seconds that ucarp stays out of it upon USR2, unless another signal comes."""

AWAKE = 0.001
"""Seconds that are left of them when another signal comes."""

NOTHING = DemotionAdjusted(0)
"""An event that changes nothing; but who waits for a frame begins to wait anew."""

RETURN = 10.0
"""How often ucarp looks for its carrier once it has lost it, in seconds."""


class Lateness(NamedTuple):
    """How late a system is: ``late``, ``takes_up`` and ``polls`` as of `Cluster.add_node`.

    ``opens`` is how many seconds it takes a process from the command that starts it until it
    opens its interface, ``listens`` until it is BACKUP, ``waits`` until it waits for a frame.
    """

    late: float
    takes_up: float = 0.0
    polls: bool = False
    opens: float = 0.0
    listens: float = 0.0
    waits: float = 0.0


class Change(NamedTuple):
    """A change of state that was reported, or would have been."""

    t: float
    node: str
    vhid: int
    previous: str
    current: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.t:.2f} {self.node} {self.vhid} {self.previous} -> {self.current}"

    @property
    def what(self) -> tuple[str, str, str | None]:
        """What is reported, but for when and of whom."""
        return self.previous, self.current, self.reason


class Reenactment:
    """A recording's cluster; ``cluster`` is run up to the recording's end by `run`.

    ``sent`` is when each node advertised. All timers are equally late, by ``lateness``, or each
    up to twice that much if it is not ``steady``.
    """

    def __init__(
        self, name: str, lateness: Lateness, *, seed: int = 0, steady: bool = True
    ) -> None:
        self.recording = recording = described(name)
        self.lateness = lateness
        self.process = recording.profile == "ucarp"
        self.cluster = Cluster(seed)
        self.settings: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self.lost: dict[str, float] = {}
        self.sent: defaultdict[str, list[float]] = defaultdict(list)
        self.cluster.add_segment("lan").taps.append(self._note)
        for node in recording.nodes.values():
            self._add(node, steady)
        for event in recording.events:
            if event.node is not None:
                self.cluster.at(event.t, partial(self._apply, event))
        for t, frame in laboratory(name):
            self.cluster.at(t, partial(self.cluster.inject, frame))

    def run(self) -> Reenactment:
        """Let everything happen up to the recording's end; returns itself."""
        self.cluster.run(self.recording.duration)
        return self

    def changes(self) -> list[Change]:
        """The changes of state as the recorded systems would have reported them."""
        found: list[Change] = []
        for seen in self.cluster.transitions:
            profile = self.cluster.nodes[seen.node].profile
            if seen.reason not in profile.unlogged:
                reason = dict(profile.words).get(seen.reason, str(seen.reason))
                at = seen.at
                if self.process and seen.previous is State.INIT:
                    at -= self._script(seen.node)  # it is reported before the script is run
                change = at, seen.node, seen.vhid, str(seen.previous), str(seen.current)
                found.append(Change(*change, reason))
        if self.recording.polled_every is not None:
            return list(polled(found, self.recording.polled_every))
        return found

    def _note(self, now: float, sender: str, frame: bytes) -> None:
        if sender and carries_carp(frame):
            self.sent[sender].append(now)

    # -- setting it up ---------------------------------------------------------------------

    def _add(self, node: RecordedNode, steady: bool) -> None:
        others = set(node.other_interfaces)
        others.update(
            event.values["interface"]
            for event in self.recording.events
            if event.node == node.name and event.values.get("interface")
        )
        others.discard(node.interface)
        segments = {node.interface: "lan"}
        segments.update((other, f"{node.name}/{other}") for other in sorted(others))
        # A kernel gives an interface its link-local address when it comes up; a process finds
        # its interface up, with all addresses.
        own = [
            address
            for address in node.advertises_from.values()
            if self.process or address.is_link_local
        ]
        self.cluster.add_node(
            node.name,
            profile=profile_of(self.recording, node),
            interfaces=segments,
            addresses={**dict.fromkeys(others, ()), node.interface: own},
            macs={**node.other_interfaces, node.interface: node.mac},
            late=self.lateness.late if steady else 2 * self.lateness.late,
            takes_up=self.lateness.takes_up,
            polls=self.lateness.polls,
            steady=steady,
            boots=False,
        )

    # -- what was done to it -----------------------------------------------------------------

    def _apply(self, event: RecordedEvent) -> None:
        """Do to a node what was done to the recorded one."""
        cluster, name, values = self.cluster, event.node, event.values
        assert name is not None
        runs = cluster.nodes[name].node is not None
        if event.kind == "boot":
            if runs:
                cluster.crash(name)
            self.settings[name] = {}
            if not self.process:
                cluster.boot(name)
                for interface in cluster.nodes[name].ports:
                    cluster.handle(name, InterfaceChanged(interface, False))
        elif event.kind == "wire":
            self._reach(name, values["up"])
        elif event.kind == "sending":
            cluster.fail_sending(name, values["fails"])
        elif event.kind == "link" and self.process:
            self._reach(name, values["up"])
            if runs and not self.settings[name].get("ignore_interface_state"):
                self._notice(name, values["up"])
        elif event.kind == "link":
            cluster.carrier(name, values["up"])
        elif event.kind == "setting":
            self._set(name, values["name"], values.get("value"))
        elif self.process and event.kind == "virtual_host":
            self.settings[name]["virtual_host"] = values
        elif self.process and event.kind == "address_added":
            # The last thing that the command line of a process says.
            late, script = self.lateness, self._script(name)
            for at, step in (
                (late.opens, partial(cluster.boot, name)),
                (late.listens + script, partial(self._listen, name, values["address"])),
                (late.waits + script, partial(cluster.handle, name, NOTHING)),
            ):
                cluster.at(event.t + at, step)
        elif event.kind == "halt" and runs:
            cluster.crash(name)
        elif event.kind == "shutdown" and runs:
            cluster.shutdown(name)
        elif runs:
            for told in self._events(name, event):
                cluster.handle(name, told)

    def _reach(self, name: str, up: bool) -> None:
        """Cut a node off from all others, or undo that."""
        self.cluster.heal()
        if not up:
            for other in self.cluster.nodes:
                if other != name:
                    self.cluster.cut(name, other)

    def _notice(self, name: str, up: bool) -> None:
        """Let a process notice its carrier: lost, when it looks next; back, every 10 s."""
        if up:
            lost = self.lost[name]
            at = lost + ceil((self.cluster.now - lost) / RETURN) * RETURN
        else:
            node = self.cluster.nodes[name].node
            assert node is not None
            assert node.deadline is not None
            at = self.lost[name] = node.deadline
        self.cluster.at(at, partial(self._tell_carrier, name, up))

    def _tell_carrier(self, name: str, up: bool) -> None:
        if self.cluster.nodes[name].node is not None:
            self.cluster.carrier(name, up)

    def _script(self, name: str) -> float:
        """How long the script runs with which a process begins."""
        return float(self.settings[name].get("down_script_seconds", 0.0))

    def _set(self, name: str, setting: str, value: Any) -> None:
        self.settings[name][setting] = value
        node = self.cluster.nodes[name].node
        if node is None:
            return  # a process, which is started with it
        if setting == "demotion":
            self.cluster.handle(name, DemotionAdjusted(value - node.demotion))
        elif setting in ("preempt", "allow", "dscp"):
            self.cluster.handle(name, SettingChanged(setting, value))

    def _listen(self, name: str, address: str) -> None:
        """Let a process begin to take part, with what its command line says."""
        settings = self.settings[name]
        told = settings["virtual_host"]
        config = VirtualHostConfig(
            vhid=told["vhid"],
            addresses=[address],
            key=bytes.fromhex(told["key"]),
            advbase=told["advbase"],
            advskew=told["advskew"],
            peer=settings.get("multicast_address"),
        )
        interface = self.recording.nodes[name].interface
        for setting in ("preempt", "dead_ratio"):
            self.cluster.handle(name, SettingChanged(setting, settings[setting]))
        self.cluster.handle(name, VirtualHostAdded(interface, config))

    def _events(self, name: str, event: RecordedEvent) -> Iterator[Event]:
        """What happened to a node that runs, in the words of its state machine."""
        kind, values = event.kind, event.values
        node = self.cluster.nodes[name].node
        assert node is not None
        vhid: Any = values.get("vhid")
        known = {host.config.vhid: host for host in node.virtual_hosts()}
        interface = self.recording.nodes[name].interface
        interface = known[vhid].interface if vhid in known else interface
        interface = values.get("interface", interface)
        if kind == "interface":
            yield InterfaceChanged(interface, values["up"], vhid)
        elif kind == "virtual_host":
            said = {name: values[name] for name in ("advbase", "advskew")}
            key = bytes.fromhex(values["key"])
            if vhid in known:
                yield Reconfigured(interface, vhid, key=key, **said)
            else:
                config = VirtualHostConfig(vhid=vhid, key=key, **said)
                yield VirtualHostAdded(interface, config)
        elif kind == "address_added":
            yield AddressAdded(interface, values["address"], vhid)
        elif kind == "address_removed":
            yield AddressRemoved(interface, values["address"], vhid)
        elif kind == "state_requested":
            yield StateRequested(interface, vhid, State(values["state"]))
        elif kind == "signal":
            (host,) = known.values()
            if values["signal"] == "USR2" and host.state is State.MASTER:
                yield StateRequested(interface, host.config.vhid, State.BACKUP, HOLD)
            elif host.holding:
                yield StateRequested(interface, host.config.vhid, State.BACKUP, AWAKE)
            else:
                yield NOTHING


@cache
def described(name: str) -> Recording:
    """A recording, ``freebsd/dual`` for one."""
    return load(RECORDINGS / f"{name}.json")


@cache
def laboratory(name: str) -> tuple[tuple[float, bytes], ...]:
    """What no node of a recording sent, and when it was on the wire."""
    return tuple(_laboratory(described(name)))


def _laboratory(recording: Recording) -> Iterator[tuple[float, bytes]]:
    waiting = [event for event in recording.events if event.kind == "inject"]
    for frame in recording.frames():
        if frame.sender is None:
            if frame.injected is not None:
                waiting.remove(frame.injected)
            yield frame.t, frame.packet.frame
    for event in waiting:  # what is no packet that a capture would list
        yield event.t, bytes.fromhex(event.values["frame"])


def polled(changes: list[Change], every: float) -> Iterator[Change]:
    """Changes as who asks now and then sees them: the sum of what happened in between."""
    last: dict[tuple[str, int], Change] = {}
    order: list[tuple[str, int]] = []
    for change in changes:
        key = change.node, change.vhid
        before = last.get(key)
        if before is not None and change.t - before.t <= every:
            last[key] = before._replace(current=change.current)
            continue
        if before is not None:
            yield from _seen(before)
        else:
            order.append(key)
        last[key] = change
    for key in order:
        yield from _seen(last[key])


def _seen(change: Change) -> Iterator[Change]:
    if change.previous != change.current:
        yield change._replace(reason=None)


def by_host(changes: Iterable[Change]) -> defaultdict[tuple[str, int], list[Change]]:
    """The changes of each virtual host, by node and vhid."""
    found: defaultdict[tuple[str, int], list[Change]] = defaultdict(list)
    for change in changes:
        found[change.node, change.vhid].append(change)
    return found


def in_order(changes: Iterable[Change]) -> dict[tuple[str, int], list[Any]]:
    """What each virtual host did, one after the other, whenever that was."""
    return {host: [change.what for change in found] for host, found in by_host(changes).items()}


def recorded(recording: Recording) -> list[Change]:
    """The changes that the real systems reported."""
    return [Change(*seen) for seen in recording.transitions]


def differences(
    recorded: Iterable[Change],
    simulated: Iterable[Change],
    tolerance: float,
    *,
    apart: float = 2.0,
) -> list[str]:
    """What was recorded only, what was simulated only, and what came at another time.

    A change is the same one up to ``apart`` seconds earlier or later.
    """
    ours, theirs = by_host(simulated), by_host(recorded)
    found: list[str] = []
    for host in sorted({*ours, *theirs}):
        left, right = theirs[host][::-1], ours[host][::-1]
        while left or right:
            if left and right and left[-1].what == right[-1].what:
                late = right[-1].t - left[-1].t
                if abs(late) <= apart:
                    change = left.pop()
                    right.pop()
                    if abs(late) > tolerance:
                        when = "later" if late > 0 else "earlier"
                        found.append(f"simulated {abs(late):.2f} s {when}: {change}")
                    continue
            if not right or (left and left[-1].t <= right[-1].t):
                found.append(f"recorded only: {left.pop()}")
            else:
                found.append(f"simulated only: {right.pop()}")
    return found
