"""Findings about senders and the capture itself: gaps, jitter, who runs what, addresses, limits.

Must not know of keys, nor of who was MASTER.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set
from statistics import median

from carpproto.capture.finding import EVIDENCE, Fault, Finding, Severity
from carpproto.capture.happenings import Event, Happening
from carpproto.capture.observation import Group, Observer
from carpproto.capture.reigns import SECOND, Gap
from carpproto.capture.senders import ENOUGH, Guess, Kind
from carpproto.capture.timeline import Timeline
from carpproto.core.addresses import Address

_GAPS = 3  # gaps in what a source sends from which on it is bad
_OUT_OF_ORDER = 10_000_000  # nanoseconds: beyond what queues of one capturing host mix up
_MOST = 0.7  # of a source's advertisements that come late: it is no loss, it is slow
_EVEN = 1.2  # times the shortest of even intervals
_NOT_WORTH_MENTION = 1_000_000  # nanoseconds out of order
_UNEVEN = 0.25  # intervals by which the lateness of advertisements may vary


def about_gaps(timeline: Timeline, crafted: Set[tuple[Group, Address]]) -> Iterable[Finding]:
    """Advertisements that are missing; those of ``crafted`` sources never had an interval."""
    sent = {(lane.group, lane.source): lane.advertisements for lane in timeline.lanes}
    by_member: dict[tuple[Group, Address], list[Gap]] = defaultdict(list)
    for gap in timeline.gaps:
        member = gap.group, gap.source
        if member not in crafted:
            by_member[member].append(gap)
    for (group, source), gaps in by_member.items():
        frames = tuple(gap.after_frame for gap in gaps[:EVIDENCE])
        seconds = [(gap.after - gap.before) / SECOND for gap in gaps]
        slow = len(gaps) > sent[group, source] * _MOST and all(gap.sent == 1 for gap in gaps)
        if slow and len(gaps) >= _GAPS and max(seconds) < _EVEN * min(seconds):
            yield Finding(
                Severity.WARNING,
                Fault.JITTER,
                group,
                (source,),
                f"{source} advertises {group} every {median(seconds):.2f} s, though it says every "
                f"{gaps[0].interval / 256:.2f} s; by its counter it sent none in between",
                "See why its timers run slow: a virtual machine that gets too little time, a "
                "clock that is wrong. After three of its intervals without one the BACKUPs take "
                "over.",
                frames,
                len(gaps),
            )
            continue
        known = sum((gap.sent or 1) - 1 for gap in gaps)
        yield Finding(
            Severity.BAD if len(gaps) >= _GAPS else Severity.WARNING,
            Fault.LOSS,
            group,
            (source,),
            f"{len(gaps)} gap{'s' if len(gaps) > 1 else ''} in the advertisements of {source} in "
            f"{group}"
            + (f"; by their counters {known} were sent and did not arrive here" if known else ""),
            "Look for loss on the way (or in this capture) and for a host that stalls; more than "
            "two in a row make the BACKUPs take over.",
            frames,
            len(gaps),
        )


def about_senders(guesses: Iterable[Guess]) -> Iterable[Finding]:
    """Who probably runs what, who is none of the known systems, and who advertises unevenly."""
    kinds: dict[Group, set[Kind]] = defaultdict(set)
    for guess in guesses:
        crafted = not guess.kinds and guess.advertisements >= ENOUGH
        reasons = "; ".join(guess.reasons)
        if crafted:
            text = (
                f"forged or made by a script: what {guess.source} sends in {guess.group} fits no "
                f"implementation ({reasons})"
            )
            change = "See who sends these: anyone who knows the key, or replays, can take over."
        else:
            text = f"{guess.source} in {guess.group} is probably {guess}: {reasons}"
            change = ""
        yield Finding(
            Severity.BAD if crafted else Severity.NOTE,
            Fault.FORGED if crafted else Fault.SENDER,
            guess.group,
            (guess.source,),
            text,
            change,
            guess.frames,
            guess.advertisements,
        )
        if guess.certain:
            kinds[guess.group].add(guess.kinds[0])
        if not crafted and guess.spread is not None and guess.spread > _UNEVEN:
            yield Finding(
                Severity.WARNING,
                Fault.JITTER,
                guess.group,
                (guess.source,),
                f"the advertisements of {guess.source} in {guess.group} come unevenly: their "
                f"lateness varies by {guess.spread * 100:.0f} % of the interval",
                "See whether the host stalls, or the network between it and this capture.",
                guess.frames,
                guess.advertisements,
            )
    for group, found in kinds.items():
        if len(found - {Kind.CARPPROTO}) > 1 and Kind.UCARP in found:
            yield Finding(
                Severity.WARNING,
                Fault.SENDER,
                group,
                (),
                f"{group} mixes UCarp with a kernel's CARP: UCarp has one virtual address, so the "
                "others must have this one only; its tie-break is another, too",
                "Give the group one virtual address, and each member its own advskew.",
                (),
                len(found),
            )


def about_limits(timeline: Timeline, observer: Observer, senders: int) -> Iterable[Finding]:
    """What this program could not follow; ``senders`` counts what `Senders` left out."""
    said: list[str] = []
    if timeline.unfollowed or senders:
        said.append(
            f"{max(timeline.unfollowed, senders)} advertisements of more groups or sources than "
            "can be followed: a scan, a flood, or a file made to exhaust this program"
        )
    if timeline.left_out:
        said.append(f"{timeline.left_out} events beyond those that are kept")
    if said:
        yield Finding(
            Severity.BAD,
            Fault.LIMITS,
            None,
            (),
            "; ".join(said),
            "Cut the capture to one group, or to the hosts that you know (editcap, or tcpdump -r "
            "with a filter), and look at that; see where the others come from.",
            (),
            1,
        )
    if observer.backwards:
        far = observer.furthest_back > _OUT_OF_ORDER
        yield Finding(
            Severity.BAD
            if far
            else Severity.WARNING
            if observer.furthest_back > _NOT_WORTH_MENTION
            else Severity.NOTE,
            Fault.LIMITS,
            None,
            (),
            f"{observer.backwards} frame{'s are' if observer.backwards > 1 else ' is'} stamped "
            f"earlier than one before, by up to {observer.furthest_back / 1e9:.6f} s: several "
            "processors or capture points, or a clock that was set. "
            + (
                "What is said of who was MASTER when, and of anything else that rests on the "
                "order of frames, is unsafe."
                if far
                else "Durations may be wrong by so much."
            ),
            "Sort it by time (reordercap IN OUT) if its files were joined; else capture at one "
            "place, with one clock.",
            (),
            observer.backwards,
        )
    if observer.copies:
        yield Finding(
            Severity.NOTE,
            Fault.COPIES,
            None,
            (),
            f"{observer.copies} frame{'s are copies' if observer.copies > 1 else ' is a copy'} of "
            "one at most 10 ms before, byte for byte, and left out: a capture of several "
            "interfaces (tcpdump -i any) or of a mirror port, or a switch that reflects",
            "",
            tuple(observer.copy_frames),
            observer.copies,
        )
    if timeline.lanes and not observer.neighbors:
        yield Finding(
            Severity.NOTE,
            Fault.ANNOUNCEMENTS,
            None,
            (),
            "no announcement is in this capture (was it filtered for protocol 112?): healed "
            "splits and clashes of groups may not be seen",
            "",
            (),
            1,
        )


def about_announcements(timeline: Timeline) -> Iterable[Finding]:
    """One address in two groups, or in two VLANs."""
    yield from _in_several_vlans(timeline)
    owners: dict[tuple[tuple[int, ...], Address], dict[Group, int]] = defaultdict(dict)
    for event in timeline.events:
        if event.what is Happening.ANNOUNCED:
            for address in event.addresses:
                owners[event.group.vlans, address].setdefault(event.group, event.frame)
    told: dict[tuple[Group, ...], list[tuple[Address, tuple[int, ...]]]] = defaultdict(list)
    for (_, address), groups in owners.items():
        if len(groups) > 1:
            told[tuple(sorted(groups))].append((address, tuple(groups.values())))
    for groups_of, entries in told.items():
        said = ", ".join(str(address) for address, _ in entries[:8])
        yield Finding(
            Severity.BAD,
            Fault.VHID_CLASH,
            groups_of[0],
            (),
            f"{said} belongs to {' and to '.join(str(group) for group in groups_of)}: each "
            "has a MASTER of its own, so two hosts have the address at the same time.",
            "Give all members of a group the same vhid.",
            entries[0][1],
            len(entries[0][1]),
        )


def _in_several_vlans(timeline: Timeline) -> Iterable[Finding]:
    """One vhid with one address in two VLANs, announced by different hosts in each."""
    owners: dict[tuple[int, Address], dict[Group, Event]] = defaultdict(dict)
    for event in timeline.events:
        if event.what is Happening.ANNOUNCED and event.source is not None:
            for address in event.addresses:
                owners[event.group.vhid, address].setdefault(event.group, event)
    told: set[tuple[Group, ...]] = set()
    for (vhid, address), groups in owners.items():
        sources = {event.source for event in groups.values() if event.source is not None}
        where = tuple(sorted(groups))
        if len(groups) < 2 or len(sources) < len(groups) or where in told:
            continue
        told.add(where)
        said = ", ".join(f"{event.source} in {_vlan(group)}" for group, event in groups.items())
        yield Finding(
            Severity.WARNING,
            Fault.VHID_CLASH,
            where[0],
            tuple(sources),
            f"{address} of vhid {vhid} is announced in several VLANs ({said}): hosts of one group "
            "in different VLANs do not hear each other, and each is MASTER",
            "Put the hosts of the group into one VLAN. Nothing is wrong if these are networks of "
            "their own that use the same addresses.",
            tuple(event.frame for event in groups.values()),
            len(groups),
        )


def _vlan(group: Group) -> str:
    return f"VLAN {'.'.join(str(vlan) for vlan in group.vlans)}" if group.vlans else "no VLAN"
