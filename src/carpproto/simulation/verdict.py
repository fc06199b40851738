"""What a run of a scenario showed: measures, and what was violated.

Must not change anything in the cluster. A group is the virtual hosts of one vhid on one segment.

The properties. At the end of a run, the members of a group that take part are those whose node
runs and is not stalled, whose interface is up with carrier, that have a virtual address, and
that are allowed to. Two of them hear each other if no cut is between them, their configurations
have the same HMAC, and they have the same families of addresses. Where that divides the group
into parts that all hear each other, each part, once it had its time to settle (`Settling`), has

- exactly one MASTER, and the same one until the end;
- the right one, if every member of it has preempt on: one that no other member is better than.
  Better is the smaller demote byte where every profile lets that decide, then the smaller
  interval, demotion applied. Of equal ones each is right.

A group is not judged, and `Result.unjudged` says why, where a fault lasts until the end that
leaves no clear answer: a one-way cut, cuts that leave a chain, a node that cannot send, one that
sends but is not allowed to listen, a unicast peer, a segment that loses, holds back, corrupts,
eats or echoes, or takes longer than `SLOW` for a frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from carpproto.core.events import State
from carpproto.core.profile import Tie
from carpproto.core.virtual_host import VirtualHost
from carpproto.simulation.cluster import Cluster, Member, Port, Segment

if TYPE_CHECKING:
    from carpproto.simulation.scenario import Scenario

SLOW = 0.1
"""Seconds, delay and jitter together, up to which a segment's groups are judged."""


class Settling(NamedTuple):
    """How long a cluster may take after its last fault, in seconds of the simulation's clock.

    ``master_down`` is the longest master-down time M of any host, by the slowest clock and with
    all lateness. Let L be how late a frame may reach a host, and A the longest advertisement
    interval. ``without_ties`` is 2 (M + L): a frame that was held back may start a timer again
    at L; by M + L after the last fault each host has heard a MASTER, or become one; what it
    advertises at once reaches the others by M + 2 L; who is better takes over there and then if
    preempt is on, who is worse yields to the better one's next advertisement, by M + A + 2 L,
    and A is less than M. On top come the longest hold of a request for BACKUP; 3 (A + L) where
    sending fails, as a MASTER's demotion for that ends with its third success; and A + L for
    each node where a host that yields says farewell (ucarp), since a better BACKUP takes that for
    a living master, and takes over until the next advertisement of the best one.

    ``with_ties`` is for parts of a group with equal members: where the receiver of an equal
    advertisement yields, two that cross make both yield, and all is as before, a time of M + L
    later. Only lateness ends that, and not surely, so that the violation has a kind of its own,
    "equal hosts cross". Six such rounds are allowed.
    """

    master_down: float
    without_ties: float
    with_ties: float


class Mastered(NamedTuple):
    """A node was MASTER from ``start`` to ``end``, in seconds; to the end of the run if last."""

    node: str
    start: float
    end: float


class Measures(NamedTuple):
    """What one vhid did on one segment; times are in seconds.

    ``first`` is when it first had a MASTER, None if never. ``without`` and ``several`` are how
    long it had none, and more than one, since then; ``without_after`` and ``several_after`` those
    after the last fault. ``failovers`` are the times between the loss of the last MASTER and the
    next one; one that lasts to the end is not among them.
    """

    segment: str
    vhid: int
    masters: tuple[Mastered, ...]
    first: float | None
    without: float
    several: float
    without_after: float
    several_after: float
    failovers: tuple[float, ...]


class Violation(NamedTuple):
    """A property that did not hold, in a group, and what was found."""

    kind: str
    segment: str
    vhid: int
    text: str

    def __str__(self) -> str:
        return f"vhid {self.vhid} on {self.segment}: {self.kind}: {self.text}"


class Result(NamedTuple):
    """What one run showed.

    ``settled`` is when the last change of a MASTER was, ``unjudged`` which groups could not be
    judged and why, ``divided`` which ones ended in parts that do not hear each other.
    """

    name: str
    seed: int
    lasted: float
    last_fault: float
    settled: float
    groups: tuple[Measures, ...]
    advertisements: int
    delivered: int
    transitions: int
    violations: tuple[Violation, ...]
    unjudged: tuple[str, ...]
    divided: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as an object of plain values."""
        return {
            **self._asdict(),
            "groups": [
                {**group._asdict(), "masters": [master._asdict() for master in group.masters]}
                for group in self.groups
            ],
            "violations": [violation._asdict() for violation in self.violations],
        }


def judge(scenario: Scenario, cluster: Cluster) -> Result:
    """Measure and judge a cluster that has run a scenario to its end."""
    last_fault = scenario.last_fault
    measured = tuple(_measure(cluster, *group, last_fault) for group in cluster.groups())
    violations: list[Violation] = []
    unjudged: list[str] = []
    divided: list[str] = []
    if scenario.expects.settled:
        settling = scenario.settling()
        for segment, vhid in cluster.groups():
            parts = _parts_of(cluster, segment, vhid)
            if isinstance(parts, str):
                unjudged.append(f"vhid {vhid} on {segment}: {parts}")
                continue
            if len(parts) > 1:
                names = " from ".join(", ".join(host.name for host in part) for part in parts)
                divided.append(f"vhid {vhid} on {segment}: {names}")
            for part in parts:
                since = last_fault + (settling.with_ties if _tied(part) else settling.without_ties)
                if since > cluster.now:
                    where = f"vhid {vhid} on {segment}"
                    unjudged.append(f"{where}: equal hosts have until {since:.1f} s to settle")
                else:
                    violations += _judge_part(cluster, segment, vhid, part, since)
    violations += _judge_expectation(scenario, measured)
    changes = [moment.at for moment in cluster.masterships]
    return Result(
        scenario.name,
        cluster.seed,
        cluster.now,
        last_fault,
        max(changes, default=0.0),
        measured,
        cluster.sent,
        cluster.delivered,
        len(cluster.transitions),
        tuple(violations),
        tuple(unjudged),
        tuple(divided),
    )


# -- measures ----------------------------------------------------------------------------------


def _measure(cluster: Cluster, segment: str, vhid: int, last_fault: float) -> Measures:
    moments = [m for m in cluster.masterships if (m.segment, m.vhid) == (segment, vhid)]
    since: dict[str, float] = {}
    masters: list[Mastered] = []
    without = several = without_after = several_after = 0.0
    failovers: list[float] = []
    for number, (at, _, _, names) in enumerate(moments):
        end = moments[number + 1].at if number + 1 < len(moments) else cluster.now
        gone = [name for name in since if name not in names]
        masters += [Mastered(name, since.pop(name), at) for name in gone]
        for name in names:
            since.setdefault(name, at)
        after = max(0.0, end - max(at, last_fault))
        if not names:
            without += end - at
            without_after += after
            if number + 1 < len(moments):
                failovers.append(end - at)
        elif len(names) > 1:
            several += end - at
            several_after += after
    masters += [Mastered(name, start, cluster.now) for name, start in since.items()]
    masters.sort(key=lambda master: (master.start, master.end, master.node))
    return Measures(
        segment,
        vhid,
        tuple(masters),
        moments[0].at if moments else None,
        without,
        several,
        without_after,
        several_after,
        tuple(failovers),
    )


# -- properties --------------------------------------------------------------------------------


class _Host(NamedTuple):
    """A virtual host that takes part; ``digest`` is its configuration's HMAC."""

    member: Member
    host: VirtualHost
    digest: bytes

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def rank(self) -> tuple[int, int]:
        return (self.host.demote, self.host.own_interval)


def _parts_of(cluster: Cluster, segment: str, vhid: int) -> list[list[_Host]] | str:
    """The parts of a group that hear each other, or why it cannot be judged."""
    where = cluster.segments[segment]
    if where.loss or where.hold or where.corrupt or where.eats_multicast or where.echoes:
        return f"{segment} loses, holds back, corrupts, eats or echoes frames"
    if where.delay + where.jitter > SLOW:
        return f"a frame takes more than {SLOW} s on {segment}"
    hosts: list[_Host] = []
    for port in where.ports:
        host = _part(port, vhid)
        if host is None:
            continue
        assert port.member.node is not None
        if port.member.sending_fails:
            return f"{port.member.name} cannot send"
        if not port.member.node.setting("allow"):
            return f"{port.member.name} is not allowed to listen"
        if host.config.peer is not None or host.config.peer6 is not None:
            return f"{port.member.name} has a unicast peer"
        digest = host.config.authenticator(port.member.profile).digest(0)
        hosts.append(_Host(port.member, host, digest))
    parts = _parts(hosts, where)
    if parts is None:
        return "some hear others that do not hear them, or not all of those that these hear"
    return parts


def _part(port: Port, vhid: int) -> VirtualHost | None:
    """The virtual host of a port, if it takes part."""
    member = port.member
    if member.node is None or member.stalled or not port.hears:
        return None
    for host in member.node.virtual_hosts(port.interface):
        if host.config.vhid == vhid and host.config.addresses:
            stopped = member.profile.allow_stops and not member.node.setting("allow")
            return None if stopped else host
    return None


def _parts(hosts: list[_Host], segment: Segment) -> list[list[_Host]] | None:
    """Those who hear each other, together; None where that is not clear."""
    heard_by = {host.name: [o.name for o in hosts if _hears(o, host, segment)] for host in hosts}
    parts: list[list[_Host]] = []
    for host in hosts:
        if any(heard_by[other] != heard_by[host.name] for other in heard_by[host.name]):
            return None
        if not any(host in part for part in parts):
            parts.append([other for other in hosts if other.name in heard_by[host.name]])
    return parts


def _tied(part: list[_Host]) -> bool:
    """Whether equal hosts may cross: one of them yields to whoever is equal."""
    yielding = [h.rank for h in part if h.member.profile.tie is Tie.RECEIVER_YIELDS]
    ranks = [host.rank for host in part]
    return any(ranks.count(rank) > 1 for rank in yielding)


def _hears(receiver: _Host, sender: _Host, segment: Segment) -> bool:
    if receiver is sender:
        return True
    if (sender.name, receiver.name) in segment.cuts:
        return False
    same = receiver.host.config.families == sender.host.config.families
    return same and receiver.digest == sender.digest


def _judge_part(
    cluster: Cluster, segment: str, vhid: int, part: list[_Host], since: float
) -> list[Violation]:
    """What was violated among hosts that all hear each other."""
    names = [host.name for host in part]
    masters = [host for host in part if host.host.state is State.MASTER]
    changes = [
        change
        for change in cluster.transitions
        if change.at > since
        and change.vhid == vhid
        and change.node in names
        and State.MASTER in (change.previous, change.current)
        and cluster.nodes[change.node].ports[change.interface].segment.name == segment
    ]

    def violated(kind: str, text: str) -> list[Violation]:
        return [Violation(kind, segment, vhid, f"{text} among {', '.join(names)}")]

    if changes:
        return violated(
            "equal hosts cross" if _tied(part) else "not settled",
            f"{len(changes)} changes after {since:.3f} s, by when it has to be settled,",
        )
    if not masters:
        return violated("no MASTER", "nobody is MASTER at the end")
    if len(masters) > 1:
        who = " and ".join(host.name for host in masters)
        return violated("several MASTERs", f"{who} are MASTER at the end")
    if all(host.member.node and host.member.node.setting("preempt") for host in part):
        best = _best(part)
        if best and masters[0] not in best:
            who = " or ".join(host.name for host in best)
            return violated(
                "wrong MASTER", f"{masters[0].name} is MASTER at the end, not {who}, the best"
            )
    return []


def _best(part: list[_Host]) -> list[_Host]:
    """Those that no other is better than; none where profiles do not agree on what better is."""
    if any(host.host.demote for host in part):
        if not all(host.member.profile.demote_decides for host in part):
            return []
    best = min(host.rank for host in part)
    return [host for host in part if host.rank == best]


def _judge_expectation(scenario: Scenario, measured: Iterable[Measures]) -> list[Violation]:
    """What the scenario's own expectations found."""
    expects = scenario.expects
    expected = dict(expects.masters)
    violations: list[Violation] = []
    for group in measured:
        ends = [master.end for master in group.masters]
        # The wait for a next MASTER that did not come counts, too.
        waited = scenario.lasts - max(ends) if ends else 0.0
        wanted = expected.get(group.vhid)
        if wanted is not None:
            final = [master.node for master in group.masters if master.end == scenario.lasts]
            if final != [wanted]:
                found = " and ".join(final) or "nobody"
                text = f"{found} is MASTER at the end, expected is {wanted}"
                violations.append(Violation("unexpected MASTER", *group[:2], text))
        for kind, seconds, limit in (
            ("too long without a MASTER", group.without, expects.without_master),
            ("too long with several MASTERs", group.several, expects.several_masters),
            ("too slow a failover", max((*group.failovers, waited)), expects.failover),
        ):
            if limit is not None and seconds > limit:
                text = f"{seconds:.6f} s, expected are {limit:g} at the most"
                violations.append(Violation(kind, *group[:2], text))
    return violations
