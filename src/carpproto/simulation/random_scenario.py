"""Random scenarios, each from a seed: clusters and faults that are all taken back in time.

Must not know how scenarios are run. The same seed and `Variety` give the same scenario on every
Python: everything is drawn with `random.Random.random`, whose numbers never change.

A fault comes with what takes it back, and a node has one at a time, so that after the last one
every cluster is as it was described, but for demotion, which may stay. How its members are
described is meant to be hard on them: equal intervals, no preempt, clocks that are wrong by up
to 1 %, timers as late as the systems' own, switches that lose a third of all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from carpproto.core.addresses import AddressLike
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, shown
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
    VirtualHostRemoved,
)
from carpproto.core.profile import (
    FREEBSD,
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
    Profile,
    Tie,
)
from carpproto.simulation.faults import (
    Boot,
    Carrier,
    Crash,
    Cut,
    Fault,
    Heal,
    LocalEvent,
    Partition,
    Resume,
    SegmentChange,
    SendErrors,
    Stall,
    Stop,
)
from carpproto.simulation.parts import DELAY
from carpproto.simulation.scenario import NodeDescription, Scenario, SegmentDescription

T = TypeVar("T")

PROFILES: dict[str, Profile] = {
    "freebsd": FREEBSD,
    "netbsd": NETBSD,
    "openbsd": OPENBSD,
    "ucarp": UCARP,
    "freebsd-10": FREEBSD_10,
    "freebsd-12": FREEBSD_12,
    "freebsd-14": FREEBSD_14,
    "netbsd-1120": NETBSD_1120,
    "ucarp-big-endian": UCARP.replace(name="UCarp, big-endian", tie=Tie.SOURCE_NUMERIC),
}
"""Profiles by the names that files and commands use."""

MIXED = "mixed"
"""In place of a profile's name: another profile for each node."""

MIXTURE = tuple(name for name in PROFILES if name not in ("netbsd-1120", "ucarp-big-endian"))
"""What is mixed. Not what never gets on with the others, see docs/simulation.rst."""

_KEY = b"a key for random run"
_WRONG_KEY = b"another, by mistake."
_WELL: tuple[tuple[str, float | bool], ...] = (
    ("delay", DELAY),
    ("jitter", 0.0),
    ("loss", 0.0),
    ("duplicate", 0.0),
    ("corrupt", 0.0),
    ("hold", 0.0),
    ("eats_multicast", False),
    ("echoes", False),
)


class Variety(NamedTuple):
    """What random scenarios may be.

    ``profiles`` are names of `PROFILES`, or `MIXED`; each scenario has one of them. Nodes and
    incidents (a fault and what takes it back) are from the first to the second number, and so
    is the time, in seconds, by which all of them are over. What comes after it is for settling; a
    scenario lasts ``least`` seconds or more.
    """

    profiles: tuple[str, ...] = ("freebsd", "netbsd", "openbsd", "ucarp")
    nodes: tuple[int, int] = (3, 6)
    incidents: tuple[int, int] = (3, 10)
    faults_until: tuple[float, float] = (20.0, 40.0)
    least: float = 60.0

    def check(self) -> None:
        """Raise `ConfigError` for what cannot be."""
        for name in self.profiles:
            if name != MIXED and name not in PROFILES:
                known = ", ".join([*PROFILES, MIXED])
                raise ConfigError(f"there is no profile {shown(name)}; there are {known}")
        if not self.profiles:
            raise ConfigError("no profile was given")
        for what, (low, high), least, most in (
            ("nodes", self.nodes, 2, 200),
            ("incidents", self.incidents, 0, 1000),
            ("faults_until", self.faults_until, 10.0, 1e6),
            ("least", (self.least, self.least), 0.0, 1e6),
        ):
            if not least <= low <= high <= most:
                raise ConfigError(
                    f"{what} {low:g} to {high:g} is no range within {least:g} to {most:g}"
                )


EVERYTHING = Variety()
"""The default: the four homogeneous profiles."""


def random_scenario(seed: int, variety: Variety = EVERYTHING) -> Scenario:
    """The scenario of a seed; ``Scenario.run(seed)`` with the same seed runs it."""
    return _Maker(seed, variety).make()


class _Maker:
    """One scenario in the making."""

    def __init__(self, seed: int, variety: Variety) -> None:
        self.seed = seed
        self.variety = variety
        self.random = Random(f"carpproto/scenario/{seed}")
        self.faults: list[Fault] = []
        self.busy: dict[str, list[tuple[float, float]]] = {}  # a node has one fault at a time

    # Only random() is the same on every Python.

    def number(self, low: int, high: int) -> int:
        return low + int(self.random.random() * (high - low + 1))

    def between(self, low: float, high: float) -> float:
        return round(low + self.random.random() * (high - low), 3)

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[int(self.random.random() * len(choices))]

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def make(self) -> Scenario:
        system = self.one_of(self.variety.profiles)
        self.until = self.between(*self.variety.faults_until)
        # The smaller of two numbers: small clusters are more frequent, here as elsewhere.
        count = min(self.number(*self.variety.nodes), self.number(*self.variety.nodes))
        if system == MIXED:
            profiles = [PROFILES[self.one_of(MIXTURE)] for _ in range(count)]
        else:
            profiles = [PROFILES[system]] * count
        segments = ("lan", "dmz") if self.chance(0.2) else ("lan",)
        self.nodes = self._nodes(profiles, segments)
        self.segments = segments
        incidents = (
            self._crash,
            self._crash,
            self._stop,
            self._stall,
            self._cut,
            self._cut,
            self._partition,
            self._carrier,
            self._send_errors,
            self._bad_segment,
            self._bad_segment,
            self._bad_segment,
            self._switch,
            self._misconfigured,
            self._misconfigured,
            self._operator,
            self._operator,
        )
        wanted = self.number(*self.variety.incidents)
        for _ in range(20 * wanted):
            if wanted and self.one_of(incidents)():
                wanted -= 1
        self.faults.sort(key=lambda fault: fault.at)
        scenario = Scenario(
            f"random-{system}-{self.seed}",
            tuple(self.nodes),
            tuple(self.faults),
            tuple(SegmentDescription(name, _WELL) for name in segments),
        )
        least = self.variety.least
        return scenario if scenario.lasts >= least else scenario._replace(duration=least)

    # -- the cluster ---------------------------------------------------------------------------

    def _nodes(
        self, profiles: Sequence[Profile], segments: tuple[str, ...]
    ) -> list[NodeDescription]:
        single = any(profile.single_address for profile in profiles)
        interfaces = tuple((f"em{number}", name) for number, name in enumerate(segments))
        preempt = self.one_of((0, 0, 0, 0, 0.5, 1, 1, 1, 1))  # how probable it is
        equal = self.chance(0.25)
        advbases = (1, 2) if self.chance(0.1) else (2,) if self.chance(0.1) else (1,)
        vhids = self.one_of((1, 1, 1, 1, 1, 2, 2, 3))
        dual_stack = not single and self.chance(0.15)
        nodes: list[NodeDescription] = []
        for position, profile in enumerate(profiles):
            hosts: list[tuple[str, VirtualHostConfig]] = []
            for vhid in range(1, vhids + 1):
                interface = interfaces[vhid % len(interfaces)][0]
                addresses = [f"192.0.2.{vhid}"] + ([f"2001:db8::{vhid}"] if dual_stack else [])
                # Another order of preference for each vhid, as with balanced load.
                place = (position + vhid) % len(profiles)
                advskew = 100 if equal else min(place * self.one_of((1, 20, 40, 50)), 240)
                hosts.append(
                    (
                        interface,
                        VirtualHostConfig(
                            vhid=vhid,
                            key=_KEY,
                            addresses=addresses,
                            advbase=self.one_of(advbases),
                            advskew=advskew,
                        ),
                    )
                )
            slow = profile.single_address and self.chance(0.3)
            nodes.append(
                NodeDescription(
                    "abcdefghijklmnopqrstuvwxyz"[position] if position < 26 else f"n{position}",
                    tuple(hosts),
                    profile,
                    interfaces,
                    settings=(("preempt", int(self.chance(preempt))),),
                    clock_rate=self.between(0.99, 1.01) if self.chance(0.5) else 1.0,
                    late=0.02,
                    late_share=0.0625 if profile.name.startswith("FreeBSD") else 0.0,
                    takes_up=self.between(0.0, 0.5) if slow else 0.0,
                )
            )
        return nodes

    # -- faults: each makes one, unless the nodes it draws are busy ----------------------------

    def _times(self) -> tuple[float, float]:
        """When a fault begins, and when it is taken back."""
        start = self.between(0.0, self.until - 2.0)
        return start, self.between(start + 0.001, self.until)

    def _on_a_node(
        self, faults: Callable[[NodeDescription, float, float], Sequence[Fault]]
    ) -> bool:
        """Faults of one node, which has no other one meanwhile."""
        start, end = self._times()
        node = self.one_of(self.nodes)
        busy = self.busy.setdefault(node.name, [])
        if any(start <= until and since <= end for since, until in busy):
            return False
        made = faults(node, start, end)
        busy.append((start, end))
        self.faults += made
        return bool(made)

    def _crash(self) -> bool:
        return self._on_a_node(
            lambda node, start, end: (Crash(start, node.name), Boot(end, node.name))
        )

    def _stop(self) -> bool:
        bow_out = self.one_of((None, True, False))
        return self._on_a_node(
            lambda node, start, end: (Stop(start, node.name, bow_out), Boot(end, node.name))
        )

    def _stall(self) -> bool:
        return self._on_a_node(
            lambda node, start, end: (Stall(start, node.name), Resume(end, node.name))
        )

    def _carrier(self) -> bool:
        return self._on_a_node(
            lambda node, start, end: (
                Carrier(start, node.name, False, node.interfaces[0][0]),
                Carrier(end, node.name, True, node.interfaces[0][0]),
            )
        )

    def _send_errors(self) -> bool:
        return self._on_a_node(
            lambda node, start, end: (
                SendErrors(start, node.name),
                SendErrors(end, node.name, False),
            )
        )

    def _cut(self) -> bool:
        start, end = self._times()
        sender, receiver = self.one_of(self.nodes), self.one_of(self.nodes)
        if sender is receiver:
            return False
        self.faults += [Cut(start, sender.name, receiver.name, self.chance(0.5)), Heal(end)]
        return True

    def _partition(self) -> bool:
        start, end = self._times()
        groups: tuple[list[str], list[str]] = ([], [])
        for node in self.nodes:
            self.one_of(groups).append(node.name)
        self.faults += [Partition(start, tuple(tuple(group) for group in groups)), Heal(end)]
        return True

    def _bad_segment(self) -> bool:
        start, end = self._times()
        qualities: dict[str, float | bool] = {}
        if self.chance(0.6):
            qualities["loss"] = self.between(0.0, 0.4)
        if self.chance(0.3):
            qualities["delay"] = self.between(0.0, 1.5)
        if self.chance(0.3):
            qualities["jitter"] = self.between(0.0, 1.0)
        if self.chance(0.3):
            qualities["duplicate"] = self.between(0.0, 0.5)
        if self.chance(0.3):
            qualities["corrupt"] = self.between(0.0, 0.5)
        if self.chance(0.3):
            qualities["hold"] = self.between(0.0, 0.5)
        return self._segment(start, end, qualities)

    def _switch(self) -> bool:
        start, end = self._times()
        return self._segment(start, end, {self.one_of(("eats_multicast", "echoes")): True})

    def _segment(self, start: float, end: float, qualities: dict[str, float | bool]) -> bool:
        if not qualities:
            return False
        segment = self.one_of(self.segments)
        well = dict(_WELL)
        back = tuple((name, well[name]) for name in qualities)
        self.faults += [
            SegmentChange(start, segment, tuple(qualities.items())),
            SegmentChange(end, segment, back),
        ]
        return True

    def _misconfigured(self) -> bool:
        """Another key, one more address, another vhid; and then mended."""
        kind = self.one_of(("key", "address", "vhid", "advskew"))

        def make(node: NodeDescription, start: float, end: float) -> Sequence[Fault]:
            interface, config = self.one_of(node.virtual_hosts)
            vhid = config.vhid
            wrong: list[Event]
            right: list[Event]
            if kind == "key":
                wrong = [Reconfigured(interface, vhid, key=_WRONG_KEY)]
                right = [Reconfigured(interface, vhid, key=_KEY)]
            elif kind == "advskew":
                wrong = [Reconfigured(interface, vhid, advskew=self.number(1, 240))]
                right = [Reconfigured(interface, vhid, advskew=config.advskew)]
            elif kind == "address" and not node.profile.single_address:
                address: AddressLike = f"192.0.2.{100 + vhid}"
                wrong = [AddressAdded(interface, address, vhid)]
                # NetBSD hashes a removed address until something else is configured.
                right = [
                    AddressRemoved(interface, address, vhid),
                    Reconfigured(interface, vhid, advskew=config.advskew),
                ]
            else:
                other = config.replace(vhid=100 + vhid)
                wrong = [
                    VirtualHostRemoved(interface, vhid),
                    VirtualHostAdded(interface, other),
                ]
                right = [
                    VirtualHostRemoved(interface, other.vhid),
                    VirtualHostAdded(interface, config),
                ]
            return [
                *(LocalEvent(start, node.name, event) for event in wrong),
                *(LocalEvent(end, node.name, event) for event in right),
            ]

        return self._on_a_node(make)

    def _operator(self) -> bool:
        """What an operator does to a node."""
        kind = self.one_of(("demotion", "demotion", "state", "allow", "interface"))

        def make(node: NodeDescription, start: float, end: float) -> Sequence[Fault]:
            interface, config = self.one_of(node.virtual_hosts)
            done: Event
            undone: Event | None
            if kind == "demotion":
                delta = self.one_of((1, 50, 240, -30))
                done, undone = DemotionAdjusted(delta), DemotionAdjusted(-delta)
                if self.chance(0.3):
                    undone = None  # it never goes away
            elif kind == "state":
                state = self.one_of((State.MASTER, State.BACKUP))
                hold = 3.0 if node.profile.single_address and state is State.BACKUP else 0.0
                done, undone = StateRequested(interface, config.vhid, state, hold), None
            elif kind == "allow":
                done, undone = SettingChanged("allow", 0), SettingChanged("allow", 1)
            else:
                done, undone = (
                    InterfaceChanged(interface, False),
                    InterfaceChanged(interface, True),
                )
            made = [LocalEvent(start, node.name, done)]
            return made if undone is None else [*made, LocalEvent(end, node.name, undone)]

        return self._on_a_node(make)
