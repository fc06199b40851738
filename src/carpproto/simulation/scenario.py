"""A scenario: what a simulated cluster consists of, what happens to it when, what is expected.

Must not know where scenarios come from (a file, a generator, a test), nor how results are added
up. Everything here is immutable data; `Scenario.run` makes a `Cluster` of it, lets each fault
happen at its time, and hands the cluster to `carpproto.simulation.verdict`, which measures and
judges.

Any fault may be left out of a scenario: what is left is a scenario, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import isfinite
from typing import NamedTuple

from carpproto.core.addresses import AddressLike
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, shown
from carpproto.core.events import (
    Reconfigured,
    SettingChanged,
    StateRequested,
    VirtualHostAdded,
)
from carpproto.core.profile import FREEBSD, Profile, Tie
from carpproto.core.virtual_host import MAX_DEMOTED_ADVSKEW, TICKS
from carpproto.simulation.cluster import Cluster
from carpproto.simulation.faults import Carrier, Fault, LocalEvent, SegmentChange, SendErrors
from carpproto.simulation.parts import DELAY
from carpproto.simulation.verdict import Result, Settling, judge

TIE_ROUNDS = 6
"""How often equal hosts may cross before it counts as a failure to settle, see `Settling`."""

LONGEST = 1e7
"""The longest scenario, in seconds."""


class SegmentDescription(NamedTuple):
    """A network; ``qualities`` are pairs of name and value, as for `Segment`."""

    name: str = "lan"
    qualities: tuple[tuple[str, float | bool], ...] = ()


class NodeDescription(NamedTuple):
    """A node, as for `Cluster.add_node`; mappings are pairs here.

    ``virtual_hosts`` are pairs of interface and configuration; ``interfaces`` pairs of interface
    and segment; ``addresses`` pairs of interface and own addresses, made up where there is none;
    ``settings`` pairs as in `SettingChanged`.
    """

    name: str
    virtual_hosts: tuple[tuple[str, VirtualHostConfig], ...]
    profile: Profile = FREEBSD
    interfaces: tuple[tuple[str, str], ...] = (("em0", "lan"),)
    addresses: tuple[tuple[str, tuple[AddressLike, ...]], ...] = ()
    settings: tuple[tuple[str, int], ...] = ()
    clock_rate: float = 1.0
    late: float = 0.0
    late_share: float = 0.0
    takes_up: float = 0.0
    boots: bool = True


class Expectation(NamedTuple):
    """What a run is judged by.

    ``settled``: after the last fault the properties of `carpproto.simulation.verdict` hold.
    ``masters``: pairs of vhid and the node that is its only MASTER at the end. The others are the
    most that a vhid may show on a segment, in seconds: without a MASTER and with more than one
    (each from when it first had one), and between the loss of a MASTER and the next.
    """

    settled: bool = True
    masters: tuple[tuple[int, str], ...] = ()
    without_master: float | None = None
    several_masters: float | None = None
    failover: float | None = None


class Scenario(NamedTuple):
    """A cluster, its faults, how long it is watched, and what is expected of it.

    ``duration`` is in seconds; None: as long as it takes to judge it, see `lasts`. Segments
    that a node names and ``segments`` does not are made.
    """

    name: str
    nodes: tuple[NodeDescription, ...]
    faults: tuple[Fault, ...] = ()
    segments: tuple[SegmentDescription, ...] = ()
    duration: float | None = None
    expects: Expectation = Expectation()

    @property
    def last_fault(self) -> float:
        """When the last fault happens, in seconds; 0.0 where there is none."""
        return max((fault.at for fault in self.faults), default=0.0)

    @property
    def lasts(self) -> float:
        """How long it is watched, in seconds.

        Unless ``duration`` says it: until every group has to be settled, and the longest
        master-down time on top, in which it has to stay as it is.
        """
        if self.duration is not None:
            return self.duration
        settling = self.settling()
        settled = settling.with_ties if self._ties_possible() else settling.without_ties
        return self.last_fault + settled + settling.master_down

    def settling(self) -> Settling:
        """How long the cluster may take to settle after the last fault; see `Settling`."""
        master_down = advertising = late = hold = 0.0
        for node in self.nodes:
            stretch = (1 + node.late_share) / node.clock_rate
            dead_ratio = dict(node.settings).get("dead_ratio", node.profile.dead_ratio)
            for fault in self.faults:
                if isinstance(fault, LocalEvent) and fault.node == node.name:
                    if isinstance(fault.event, SettingChanged) and (
                        fault.event.name == "dead_ratio"
                    ):
                        dead_ratio = max(dead_ratio, fault.event.value)
                    elif isinstance(fault.event, StateRequested):
                        hold = max(hold, fault.event.hold / node.clock_rate)
            for config in self._configs(node):
                multiplied = node.profile.master_down_multiplies_advskew
                down = dead_ratio * config.advbase * TICKS + config.advskew * (
                    dead_ratio if multiplied else 1
                )
                demoted = max(config.advskew, MAX_DEMOTED_ADVSKEW)
                master_down = max(master_down, max(down, 1) / TICKS * stretch + node.late)
                interval = (config.advbase * TICKS + demoted) / TICKS
                advertising = max(advertising, interval * stretch + node.late)
            late = max(late, node.takes_up)
        late += max((_latest(qualities) for qualities in self._qualities()), default=0.0)
        farewells = any(node.profile.farewell for node in self.nodes)
        send_errors = any(isinstance(fault, SendErrors) for fault in self.faults)
        turns = (len(self.nodes) if farewells else 0) + (3 if send_errors else 0)
        without_ties = hold + 2 * (master_down + late) + turns * (advertising + late)
        return Settling(
            master_down, without_ties, without_ties + TIE_ROUNDS * (master_down + late)
        )

    def check(self) -> None:
        """Raise `ConfigError` for what cannot be: an unknown name, a value out of range.

        An error in a fault names it by its number in ``faults``, counted from 1.
        """
        for what, value in (("duration", self.duration), *self._limits()):
            if value is not None and not _is_time(value):
                raise ConfigError(f"{what} {shown(value)} is out of range; it is 0 to {LONGEST:g}")
        if not self.nodes:
            raise ConfigError("a scenario needs a node")
        cluster = self._cluster(0)
        numbered = list(enumerate(self.faults, 1))
        for number, fault in sorted(numbered, key=lambda pair: _sort_time(pair[1])):
            try:
                self._try(fault, cluster)
            except ConfigError as error:
                raise FaultError(number, str(error)) from None
        self._check_masters(cluster)
        if self.expects.settled and self.duration is not None:
            settling = self.settling()
            settled = settling.with_ties if self._ties_possible() else settling.without_ties
            least = self.last_fault + settled + settling.master_down
            if self.duration < least:
                raise ConfigError(
                    f"duration {self.duration:g} is too short to see it settle after the last "
                    f"fault, which is at {self.last_fault:g}; give {least:.1f} or more, or no "
                    "duration, or expect settled = false"
                )

    def _check_masters(self, cluster: Cluster) -> None:
        """Refuse to expect a MASTER where it cannot be one."""
        has: dict[int, set[str]] = {}
        for node in self.nodes:
            for config in self._configs(node):
                has.setdefault(config.vhid, set()).add(node.name)
        for vhid, name in self.expects.masters:
            if name not in cluster.nodes:
                raise ConfigError(f"masters: there is no node {shown(name)}")
            segments = [segment for segment, number in cluster.groups() if number == vhid]
            if not segments:
                raise ConfigError(f"masters: nobody has vhid {shown(vhid)}")
            if len(segments) > 1:
                raise ConfigError(
                    f"masters: vhid {vhid} is on {' and '.join(segments)}, so that {shown(name)} "
                    "does not say which is meant; give the groups different vhids"
                )
            if name not in has[vhid]:
                raise ConfigError(
                    f"masters: {shown(name)} has no vhid {vhid} and cannot be its MASTER; "
                    f"there are: {', '.join(node for node in cluster.nodes if node in has[vhid])}"
                )

    def cluster(self, seed: int) -> Cluster:
        """The cluster of a seed, its faults to come: tap it, then let it run until `lasts`."""
        cluster = self._cluster(seed)
        for fault in self.faults:
            cluster.at(fault.at, partial(fault.apply, cluster))
        return cluster

    def run(self, seed: int = 0) -> Result:
        """Run it once, measure and judge it. `ConfigError` as for `check`."""
        cluster = self.cluster(seed)
        cluster.run(self.lasts)
        return judge(self, cluster)

    def _cluster(self, seed: int) -> Cluster:
        cluster = Cluster(seed)
        for segment in self.segments:
            cluster.add_segment(segment.name, **dict(segment.qualities))
        for node in self.nodes:
            cluster.add_node(
                node.name,
                *node.virtual_hosts,
                profile=node.profile,
                interfaces=dict(node.interfaces),
                addresses=dict(node.addresses),
                settings=dict(node.settings),
                clock_rate=node.clock_rate,
                late=node.late,
                late_share=node.late_share,
                takes_up=node.takes_up,
                boots=node.boots,
            )
        return cluster

    def _try(self, fault: Fault, cluster: Cluster) -> None:
        """Let a fault happen in a cluster where no time passes, to see whether it can."""
        if not _is_time(fault.at):
            raise ConfigError(f"at {shown(fault.at)} is out of range; it is 0 to {LONGEST:g}")
        if self.duration is not None and fault.at > self.duration:
            raise ConfigError(f"at {fault.at:g} is after the end, {self.duration:g}")
        name = getattr(fault, "node", None)
        if name is not None:
            cluster._member(name)  # pyright: ignore[reportPrivateUsage]
            if isinstance(fault, LocalEvent) and cluster.nodes[name].node is None:
                cluster.boot(name)  # what a node that runs refuses is an error all the same
        fault.apply(cluster)

    def _limits(self) -> Iterator[tuple[str, float | None]]:
        for name in ("without_master", "several_masters", "failover"):
            yield name, getattr(self.expects, name)

    def _configs(self, node: NodeDescription) -> Iterator[VirtualHostConfig]:
        """Every configuration that a node may have at some time."""
        for _, config in node.virtual_hosts:
            yield config
        for fault in self.faults:
            if isinstance(fault, LocalEvent) and fault.node == node.name:
                event = fault.event
                if isinstance(event, VirtualHostAdded):
                    yield event.config
                elif isinstance(event, Reconfigured):
                    for interface, config in node.virtual_hosts:
                        if (interface, config.vhid) == (event.interface, event.vhid):
                            yield config.replace(
                                advbase=config.advbase if event.advbase is None else event.advbase,
                                advskew=config.advskew if event.advskew is None else event.advskew,
                            )

    def _qualities(self) -> Iterator[dict[str, float | bool]]:
        """The qualities that a segment has at some time."""
        described = {segment.name: dict(segment.qualities) for segment in self.segments}
        for node in self.nodes:
            for _, segment in node.interfaces:
                described.setdefault(segment, {})
        yield from (dict(qualities) for qualities in described.values())
        for fault in sorted(self.faults, key=_sort_time):
            if isinstance(fault, SegmentChange) and fault.segment in described:
                described[fault.segment].update(fault.qualities)
                yield dict(described[fault.segment])

    def _ties_possible(self) -> bool:
        """Whether hosts of a group may be equal, where that takes time to resolve."""
        if all(node.profile.tie is not Tie.RECEIVER_YIELDS for node in self.nodes):
            return False
        if any(isinstance(fault, (LocalEvent, SendErrors, Carrier)) for fault in self.faults):
            return True  # demotion may make them so
        seen: set[tuple[str, int, int, int]] = set()
        for node in self.nodes:
            segment_of = dict(node.interfaces)
            for interface, config in node.virtual_hosts:
                # Above 240, an advskew counts as 240 on some systems.
                advskew = min(config.advskew, MAX_DEMOTED_ADVSKEW)
                key = (segment_of.get(interface, ""), config.vhid, config.advbase, advskew)
                if key in seen:
                    return True
                seen.add(key)
        return False


class FaultError(ConfigError):
    """A fault of a scenario that cannot happen; ``number`` counts from 1."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"fault {number}: {text}")
        self.number = number
        self.text = text

    def __reduce__(self) -> tuple[type[FaultError], tuple[int, str]]:
        return FaultError, (self.number, self.text)


def _sort_time(fault: Fault) -> float:
    return fault.at if _is_time(fault.at) else LONGEST


def _is_time(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and isfinite(value)
        and 0 <= value <= LONGEST
    )


def _latest(qualities: dict[str, float | bool]) -> float:
    """How late a frame may arrive on a segment."""
    held = qualities.get("hold_time", 1.0) if qualities.get("hold") else 0.0
    return float(qualities.get("delay", DELAY)) + float(qualities.get("jitter", 0.0)) + float(held)
