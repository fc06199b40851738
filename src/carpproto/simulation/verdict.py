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

That a group is divided is no violation if a fault made it so that lasts until the end: a cut, or
a key that was changed; `Result.divided` says why. It is one if the nodes were described so, with
another passphrase or other addresses.

A group has no clear answer where there is a one-way cut, cuts that leave a chain, a node that
cannot send, one that sends but is not allowed to listen, a unicast peer, a segment that loses,
holds back, corrupts, eats or echoes frames, or takes longer than 0.1 s for one. If it was
described so, and has several MASTERs or none, at the end and most of the time after it had to be
settled, that is a violation. Otherwise it is not judged, and `Result.unjudged` says why; nor is
a group of which nobody takes part at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from carpproto.core.events import State, VirtualHostAdded
from carpproto.core.profile import Tie
from carpproto.simulation.cluster import Cluster
from carpproto.simulation.division import (
    Obstacle,
    Participant,
    divisions,
    participants,
    parts_of,
)
from carpproto.simulation.faults import LocalEvent
from carpproto.simulation.refusals import refusals

if TYPE_CHECKING:
    from carpproto.simulation.scenario import Scenario


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
    judged and why, ``divided`` which ones faults have left in parts that do not hear each other.
    ``judged`` counts the groups, or parts of them, that were; ``remarks`` are what looks like a
    mistake in the scenario; ``refused`` is what the nodes refused, by their counters.
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
    judged: int
    remarks: tuple[str, ...]
    refused: tuple[str, ...]

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
    verdict = _Verdict([], [], [], [])
    if scenario.expects.settled:
        settling = scenario.settling()
        for segment, vhid in cluster.groups():
            _judge_group(scenario, cluster, segment, vhid, settling, verdict)
    verdict.violations.extend(_judge_expectation(scenario, measured))
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
        tuple(verdict.violations),
        tuple(verdict.unjudged),
        tuple(verdict.divided),
        len(verdict.judged),
        _remarks(scenario, cluster),
        refusals(cluster),
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


class _Verdict(NamedTuple):
    """What is found, while it is being looked for; as in `Result`."""

    violations: list[Violation]
    unjudged: list[str]
    divided: list[str]
    judged: list[str]


def _judge_group(
    scenario: Scenario,
    cluster: Cluster,
    segment: str,
    vhid: int,
    settling: Settling,
    verdict: _Verdict,
) -> None:
    name, where = f"vhid {vhid} on {segment}", cluster.segments[segment]
    hosts = participants(scenario, cluster, segment, vhid)
    parts = hosts if isinstance(hosts, Obstacle) else parts_of(hosts, where)
    settled = scenario.last_fault + settling.without_ties
    if isinstance(parts, Obstacle):
        found = _disunited(cluster, segment, vhid, settled) if parts.described else None
        if found is None:
            verdict.unjudged.append(f"{name}: {parts.reason}")
        else:
            kind, who = found
            verdict.judged.append(name)
            verdict.violations.append(
                Violation(kind, segment, vhid, f"{who} at the end: {parts.reason}")
            )
        return
    if len(parts) > 1:
        names = " from ".join(", ".join(host.name for host in part) for part in parts)
        reasons = divisions(scenario, parts, where)
        masters = [host.name for part in parts for host in part if _is_master(host)]
        mistakes = "; ".join(reason.reason for reason in reasons if reason.described)
        if mistakes and len(masters) > 1:
            text = f"{' and '.join(masters)} are MASTER at the end: {mistakes}"
            verdict.violations.append(Violation("several MASTERs", segment, vhid, text))
        else:
            verdict.divided.append(f"{name}: {names}: {'; '.join(r.reason for r in reasons)}")
    for part in parts:
        since = scenario.last_fault + settling.with_ties if _tied(part) else settled
        if since > cluster.now:
            verdict.unjudged.append(f"{name}: equal hosts have until {since:.1f} s to settle")
        else:
            verdict.judged.append(name)
            verdict.violations.extend(_judge_part(cluster, segment, vhid, part, since))


def _disunited(cluster: Cluster, segment: str, vhid: int, since: float) -> tuple[str, str] | None:
    """The kind of violation, and who is MASTER, where a group has not one for the most part."""
    moments = [m for m in cluster.masterships if (m.segment, m.vhid) == (segment, vhid)]
    masters = moments[-1].masters if moments else ()
    if len(masters) == 1 or since >= cluster.now:
        return None
    ends = [moment.at for moment in moments[1:]] + [cluster.now]
    alone = sum(
        max(0.0, end - max(moment.at, since))
        for moment, end in zip(moments, ends, strict=False)
        if len(moment.masters) == 1
    )
    if 2 * alone > cluster.now - since:
        return None
    if masters:
        return "several MASTERs", f"{' and '.join(masters)} are MASTER"
    return "no MASTER", "nobody is MASTER"


def _is_master(host: Participant) -> bool:
    return host.host.state is State.MASTER


def _tied(part: list[Participant]) -> bool:
    """Whether equal hosts may cross: one of them yields to whoever is equal."""
    yielding = [h.rank for h in part if h.member.profile.tie is Tie.RECEIVER_YIELDS]
    ranks = [host.rank for host in part]
    return any(ranks.count(rank) > 1 for rank in yielding)


def _judge_part(
    cluster: Cluster, segment: str, vhid: int, part: list[Participant], since: float
) -> list[Violation]:
    """What was violated among hosts that all hear each other."""
    names = [host.name for host in part]
    masters = [host for host in part if _is_master(host)]
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


def _best(part: list[Participant]) -> list[Participant]:
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
        if group.first is None and (expects.without_master, expects.failover) != (None, None):
            text = "nobody was MASTER at any time"
            violations.append(Violation("never a MASTER", *group[:2], text))
        wanted = expected.get(group.vhid)
        if wanted is not None:
            final = [master.node for master in group.masters if master.end == scenario.lasts]
            if final != [wanted]:
                found = " and ".join(final) or "nobody"
                are = "are" if len(final) > 1 else "is"
                text = f"{found} {are} MASTER at the end, expected is {wanted}"
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


def _remarks(scenario: Scenario, cluster: Cluster) -> tuple[str, ...]:
    """What looks like a mistake: a segment that nobody is on, a group that is one node."""
    remarks = [
        f"nobody is on segment {segment.name}"
        for segment in cluster.segments.values()
        if not segment.ports
    ]
    members: dict[tuple[str, int], list[str]] = {group: [] for group in cluster.groups()}
    for member in cluster.nodes.values():
        for interface, config in member.virtual_hosts:
            members[member.ports[interface].segment.name, config.vhid].append(member.name)
    added = {
        fault.event.config.vhid
        for fault in scenario.faults
        if isinstance(fault, LocalEvent) and isinstance(fault.event, VirtualHostAdded)
    }
    for (segment, vhid), names in members.items():
        if len(names) == 1 and vhid not in added:
            text = f"{names[0]} is the only node with vhid {vhid} on {segment}"
            elsewhere = [where for where, number in members if number == vhid and where != segment]
            if elsewhere:
                text += f"; others have it on {' and '.join(elsewhere)}"
            remarks.append(text)
    return tuple(remarks)
