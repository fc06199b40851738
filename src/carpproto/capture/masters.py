"""Findings about who was MASTER: two at a time and why, split brains, flapping, intervals.

Must not know of keys, nor of single frames: it judges a finished `Timeline`, with what was
announced, who accepts whom, and which advertisements of a source receivers refuse.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from carpproto.capture.finding import EVIDENCE, Fault, Finding, Severity
from carpproto.capture.happenings import Happening
from carpproto.capture.hearing import Ears, Hearing
from carpproto.capture.observation import Group
from carpproto.capture.reigns import NEAR, SECOND, Began, Ended, Overlap, Reign
from carpproto.capture.timeline import Lane, Timeline
from carpproto.core.addresses import Address

_SETTLES = 1.2  # seconds in which UCarp, which listens once a second, settles who is MASTER
_SHORT_REIGNS = 3  # so many MASTERs that did not last are no election any more
_FAILOVERS = 20  # that are told one by one
_LONG_WITHOUT = 3  # master-down times without a MASTER that somebody took over after all
_SLOWER = 2 * SECOND  # an advskew of 255, and the second in which UCarp listens
_LISTED = 16  # addresses in a sentence
_CROWD = 6  # pairs of MASTERs of one group that are told one by one
_ALL_DEMOTED = 240  # what a demoted host advertises at the most

Member = tuple[Group, Address]


class Circumstances(NamedTuple):
    """What is known besides the timeline.

    ``announced`` are the virtual addresses that a source announced; ``crafted`` sources of frames
    that no host sends; ``strange`` those whose frames fit no implementation; ``doubled`` own
    addresses that two hosts have; ``refused`` what receivers refuse of a source, in words;
    ``authentic`` whether a source's HMACs are right, where a key was given.
    """

    ears: Ears
    announced: Mapping[Member, Set[Address]]
    crafted: Set[Member]
    strange: Set[Member]
    doubled: Set[Member]
    refused: Mapping[Member, str]
    authentic: Mapping[Member, bool]


def about_masters(timeline: Timeline, known: Circumstances) -> list[Finding]:
    """Every finding that follows from who was MASTER when."""
    return [
        *_two_masters(timeline, known),
        *_out_of_sight(timeline, known),
        *_without_master(timeline, known),
        *_flapping(timeline),
        *_intervals(timeline, known),
        *_demotions(timeline, known),
        *_failovers(timeline),
    ]


# -- two MASTERs ------------------------------------------------------------------------------


def lasting(overlap: Overlap) -> bool:
    """Whether two MASTERs lasted longer than it takes to settle who it is."""
    slower = max(overlap.one.interval, overlap.other.interval) / 256
    return overlap.seconds > max(_SETTLES, 2 * slower)


def _two_masters(timeline: Timeline, known: Circumstances) -> Iterable[Finding]:
    pairs: dict[tuple[Group, Address, Address], list[Overlap]] = defaultdict(list)
    for overlap in (*timeline.overlaps, *timeline.beside):
        one, other = sorted((overlap.one.source, overlap.other.source), key=int)
        group = overlap.one.group
        # Forged frames are a finding of their own.
        if lasting(overlap) and not {(group, one), (group, other)} & known.crafted:
            pairs[group, one, other].append(overlap)
    crowded = {
        key
        for key, count in Counter((group, one.version) for group, one, _ in pairs).items()
        if count > _CROWD
    }
    for group, family in crowded:
        yield _crowd(
            group,
            [key[1:] for key in pairs if (key[0], key[1].version) == (group, family)],
            timeline,
        )
    for (group, one, other), overlaps in pairs.items():
        if (group, one.version) in crowded:
            continue
        total = sum(overlap.seconds for overlap in overlaps)
        cause, change = _why(group, overlaps[-1], known)
        again = f", {len(overlaps)} times" if len(overlaps) > 1 else ""
        yield Finding(
            Severity.BAD,
            Fault.TWO_MASTERS,
            group,
            (one, other),
            f"two MASTERs: {one} and {other} both advertised {group} for {total:.1f} s{again}. "
            f"{cause}",
            change,
            tuple(
                frame
                for overlap in overlaps[:4]
                for frame in (overlap.first_frame, overlap.last_frame)
            ),
            2 * len(overlaps),
        )


def _crowd(group: Group, pairs: Iterable[tuple[Address, Address]], timeline: Timeline) -> Finding:
    """More MASTERs at a time than hosts that do not hear each other would be."""
    sources = {source for pair in pairs for source in pair}
    lanes = [lane for lane in timeline.lanes if lane.group == group and lane.source in sources]
    return Finding(
        Severity.BAD,
        Fault.TWO_MASTERS,
        group,
        tuple(lane.source for lane in lanes[:EVIDENCE]),
        f"{len(lanes)} sources advertised {group} at the same time as others: "
        f"{', '.join(str(lane.source) for lane in lanes[:4])}, ...",
        "Either somebody forges advertisements under many addresses, or nothing at all gets "
        "through between the hosts: see what they send (carpproto timeline) and whether these "
        "hosts exist.",
        tuple(lane.first_frame for lane in lanes[:EVIDENCE]),
        len(lanes),
    )


def _why(group: Group, overlap: Overlap, known: Circumstances) -> tuple[str, str]:
    """Why neither steps down, and what to change."""
    better, worse = sorted(
        (overlap.one, overlap.other), key=lambda reign: (reign.interval, reign.start)
    )
    one, other = better.source, worse.source
    mine, theirs = (known.announced.get((group, source), set()) for source in (one, other))
    lists = f"{one} announces {_list(mine)}; {other} announces {_list(theirs)}"
    if mine and theirs and not mine & theirs:
        return (
            f"They have no virtual address in common ({lists}): these are two groups with the "
            "same vhid on one segment, or one has mistyped addresses.",
            "Give one of the groups another vhid; hosts of one group, the same addresses.",
        )
    verdicts = {source: known.authentic.get((group, source)) for source in (one, other)}
    wrong = [source for source, verdict in verdicts.items() if verdict is False]
    if len(wrong) == 1:
        return (
            f"The HMAC of {wrong[0]} is not that of this passphrase and these addresses, so each "
            "drops what the other sends.",
            f"Give {wrong[0]} the passphrase and the virtual addresses of the group.",
        )
    if len(wrong) == 2:
        return (
            "Neither HMAC is that of this passphrase and these addresses.",
            "See the findings about their HMACs; if they name the same cause, what this command "
            "was told is wrong.",
        )
    if mine and theirs and mine != theirs:
        return (
            f"Their virtual addresses differ ({lists}); the HMAC covers them, so each drops what "
            "the other sends.",
            "Configure the same virtual addresses on both.",
        )
    for source in (one, other):
        if (group, source) in known.strange:
            return (
                f"What {source} sends fits no implementation.",
                "See the finding about that: whether it is a host of this group at all.",
            )
        if (group, source) in known.refused:
            return (
                f"What {source} sends is refused: {known.refused[group, source]}.",
                "See the finding about that.",
            )
    for source, of in ((one, other), (other, one)):
        if known.ears.echoes(group, source, of):
            return (
                f"{source} sends, byte for byte, what {of} has sent before: somebody sends "
                f"it again under another address; or both counted on from the same MASTER, with "
                "one passphrase and one advskew, and nothing gets through between them.",
                f"See whether there is a host at {source} that is of this group; if there is, "
                "what keeps their multicast apart: a firewall rule, a switch's IGMP snooping.",
            )
    worse_hears = known.ears.hears(group, other, one)
    better_hears = known.ears.hears(group, one, other)
    equal = better.interval == worse.interval
    if worse_hears is Hearing.YES and better_hears is Hearing.YES:
        text = "Each accepts what the other sends (its counters follow), and neither yields"
        if equal:
            text += "; their intervals are equal"
        return text + ".", "Give them different advskews, and see that they run the same system."
    if Hearing.YES in (worse_hears, better_hears):
        deaf, loud = (other, one) if better_hears is Hearing.YES else (one, other)
        return (
            f"{loud} accepts what {deaf} sends (its counters follow), {deaf} nothing of {loud}'s: "
            f"it is deaf in this direction.",
            f"See what keeps the multicast of {loud} from {deaf}: a firewall rule, a switch's "
            "IGMP snooping, a hypervisor's filter.",
        )
    if all(verdicts.values()):
        return (
            "Both have the right HMAC, so neither hears the other.",
            "See what keeps their multicast apart: a firewall rule, a switch's IGMP snooping.",
        )
    text = "Neither accepts what the other sends"
    if worse_hears is better_hears is Hearing.NO:
        text += " (no counter follows the other's)"
    return (
        f"{text}: their passphrases or virtual addresses differ, or something keeps their "
        'multicast apart, a firewall rule or a switch. A host that logs "incorrect hash", or '
        "whose badauth counter rises, hears the other.",
        "Compare passphrases and virtual addresses. With --passphrase-file and --address this "
        "command says which of the two is wrong, and how.",
    )


def _list(addresses: Set[Address]) -> str:
    ordered = sorted(addresses, key=lambda a: (a.version, int(a)))
    said = ", ".join(str(address) for address in ordered[:_LISTED])
    more = len(ordered) - _LISTED
    return f"{said} and {more} more" if more > 0 else said


# -- split brain ------------------------------------------------------------------------------


def _out_of_sight(timeline: Timeline, known: Circumstances) -> Iterable[Finding]:
    """Who turned up as MASTER without having become it here: a cut that has healed."""
    announcing = {
        group
        for (group, _), addresses in known.announced.items()
        if any(address.version == 4 for address in addresses)
    }
    for reign in timeline.reigns:
        beside = reign.began in (Began.TIE, Began.DESPITE, Began.PREEMPTED)
        member = reign.group, reign.source
        if not beside or reign.announced or reign.source.version != 4 or member in known.crafted:
            continue
        begin, end = timeline.begin or 0, timeline.end or 0
        silence = max(3 * reign.interval * SECOND // 256, NEAR)
        if end - reign.start < NEAR or reign.start - begin < silence:
            continue  # the announcement may be beyond the end, or what led to this before it
        if reign.group not in announcing:
            continue  # a link layer, or a capture, without announcements
        if reign.predecessor is None or (reign.group, reign.predecessor) in known.crafted:
            continue
        yield Finding(
            Severity.BAD,
            Fault.SPLIT_BRAIN,
            reign.group,
            (reign.source, reign.predecessor),
            f"split brain: {reign.source} turned up as MASTER of {reign.group} beside "
            f"{reign.predecessor} without announcing the addresses, so it was MASTER before, "
            "where this capture does not reach. The network between them was cut, or what it "
            f"sent got lost, and that has healed{_settled(reign)}. (An announcement that is "
            "missing here, or a frame forged in its name, looks the same.)",
            "Find what was cut; let neighbours refresh their ARP caches, as the MASTER that "
            "stays announces nothing on the BSDs.",
            (reign.first_frame,),
            1,
        )


def _settled(reign: Reign) -> str:
    if reign.successor is not None:
        return f"; {reign.source} stepped down"
    return ""


# -- no MASTER --------------------------------------------------------------------------------


def _without_master(timeline: Timeline, known: Circumstances) -> Iterable[Finding]:
    """Times in which nobody took over, over either family, from a MASTER that was gone."""
    lanes = {(lane.group, lane.source): lane for lane in timeline.lanes}
    begin, end = timeline.begin or 0, timeline.end or 0
    by_group: dict[Group, list[Reign]] = defaultdict(list)
    for reign in timeline.reigns:
        if reign.group.vhid:
            by_group[reign.group].append(reign)
    for group, reigns in by_group.items():
        last = reigns[0]
        following: list[Reign | None] = [*reigns[1:], None]
        for after in following:
            down = _master_down(lanes[group, last.source])
            frames: tuple[int, ...]
            if after is None:
                # Another one may be slower, and the capture end before it has begun.
                without, allowed = end - last.last, down + _SLOWER
                frames = (last.last_frame,)
            else:
                without, allowed = after.start - last.last, _LONG_WITHOUT * down
                frames = (last.last_frame, after.first_frame)
            if without > allowed and (group, last.source) not in known.crafted:
                since = (last.last - begin) / SECOND
                until = "to the end" if after is None else f"for {without / SECOND:.1f} s"
                how = "bowed out" if last.ended is Ended.BOWED_OUT else "fell silent"
                empty = after is not None and after.first_frame == last.last_frame + 1
                yield Finding(
                    Severity.BAD,
                    Fault.NO_MASTER,
                    group,
                    (last.source,),
                    f"{group} had no MASTER from {since:.2f} s {until}: {last.source} {how}, and "
                    + ("nobody took over." if after is None else f"{after.source} was next.")
                    + f" Another member takes over after {down / SECOND:.1f} s, somewhat later "
                    "with an advskew."
                    + (" No frame of any kind is in this capture from then." if empty else ""),
                    "See whether the group has another member that is up, in BACKUP, and on this "
                    "segment.",
                    frames,
                    len(frames),
                )
            if after is not None and after.last >= last.last:
                last = after


def _master_down(lane: Lane) -> int:
    """Nanoseconds after which a BACKUP with the same interval takes over, but at least one second.

    Intervals below a second are beyond what a capture's clock and a busy host keep to.
    """
    advbase, advskew = lane.latest or (1, 0)
    return max(SECOND, (3 * 256 * advbase + advskew) * SECOND // 256)


# -- changes that do not settle ---------------------------------------------------------------


def _flapping(timeline: Timeline) -> Iterable[Finding]:
    lanes: dict[Group, list[Lane]] = defaultdict(list)
    for lane in timeline.lanes:
        lanes[lane.group].append(lane)
    by_family: dict[tuple[Group, int], list[Reign]] = defaultdict(list)
    for reign in timeline.reigns:
        by_family[reign.group, reign.source.version].append(reign)
    for (group, family), reigns in by_family.items():
        end = timeline.end or 0
        # Several may be MASTER for a moment until they know who it is.
        elected = reigns[0].start + max(_master_down(lane) for lane in lanes[group])
        brief = [
            reign
            for reign in reigns
            if reign.last - reign.start < 3 * reign.interval * SECOND / 256
            and elected < reign.start
            and reign.gone_by < end
        ]
        if len(brief) < _SHORT_REIGNS:
            continue
        sources = tuple(dict.fromkeys(reign.source for reign in brief))
        yield Finding(
            Severity.BAD,
            Fault.FLAPPING,
            group,
            sources,
            f"{group}, IPv{family}: MASTER changed {len(reigns) - 1} times, and "
            f"{len(brief)} times it did not last three intervals "
            f"({', '.join(str(source) for source in sources[:4])})",
            "Look for a host that does not hear all of another's advertisements, for a dual-"
            "stack group whose MASTER advertises over one family only, for an advbase that is "
            "too short, and for forged advertisements.",
            tuple(reign.first_frame for reign in brief[:8]),
            len(brief),
        )


def _intervals(timeline: Timeline, known: Circumstances) -> Iterable[Finding]:
    """advbase and advskew that do not go together."""
    members: dict[tuple[Group, int], list[Lane]] = defaultdict(list)
    for lane in timeline.lanes:
        if lane.latest is not None and (lane.group, lane.source) not in known.crafted:
            members[lane.group, lane.source.version].append(lane)
    for (group, _), lanes in members.items():
        terms = {lane.source: lane.latest or (0, 0) for lane in lanes}
        slow = max(lanes, key=lambda lane: terms[lane.source][0])
        fast = min(lanes, key=lambda lane: terms[lane.source][0])
        base, less = terms[slow.source][0], terms[fast.source][0]
        if base != less:
            hurts = base > 3 * less
            yield Finding(
                Severity.BAD if hurts else Severity.WARNING,
                Fault.INTERVALS,
                group,
                (slow.source, fast.source),
                f"advbase differs in {group}: {slow.source} has {base} s, {fast.source} {less} s. "
                + (
                    f"{fast.source} takes so slow a master for one that will time out, and takes "
                    "over."
                    if hurts
                    else "Their advskews do not decide between them, and they notice a dead "
                    "MASTER after different times."
                ),
                "Give all members of the group the same advbase.",
                (slow.first_frame, fast.first_frame),
                2,
            )
            continue
        alike: dict[tuple[int, int], list[Lane]] = defaultdict(list)
        for lane in lanes:
            alike[terms[lane.source]].append(lane)
        for same in alike.values():
            if len(same) < 2:
                continue
            yield Finding(
                Severity.WARNING,
                Fault.INTERVALS,
                group,
                tuple(lane.source for lane in same),
                f"{_list({lane.source for lane in same})} advertise {group} at the same interval: "
                "which of them is MASTER is left to chance (among ucarps to the addresses), and "
                "after a cut a kernel steps down for whomever it hears first.",
                "Give each member its own advskew, if one of them is to be preferred.",
                tuple(lane.first_frame for lane in same[:8]),
                len(same),
            )


def _still_demoted(lane: Lane, last: tuple[Happening, int, str]) -> bool:
    """Whether it ended with more than it began with; the demote byte is in the words only."""
    if lane.latest is None or lane.latest[0] != lane.terms[0][0]:
        return False
    if lane.latest[1] == lane.terms[0][1]:
        return last[0] is Happening.DEMOTED and last[2].startswith("demote")
    return lane.latest[1] > lane.terms[0][1]


def _demotions(timeline: Timeline, known: Circumstances) -> Iterable[Finding]:
    lanes = {(lane.group, lane.source): lane for lane in timeline.lanes}
    changes: dict[Member, list[tuple[Happening, int, str]]] = defaultdict(list)
    for event in timeline.events:
        if event.what in (Happening.DEMOTED, Happening.RESTORED) and event.source is not None:
            changes[event.group, event.source].append((event.what, event.frame, event.text))
    for (group, source), steps in changes.items():
        if all(what is Happening.RESTORED for what, _, _ in steps):
            continue
        if (group, source) in known.crafted | known.doubled:
            continue
        lane = lanes[group, source]
        stuck = _still_demoted(lane, steps[-1])
        ceased = (timeline.end or 0) - lane.last > _master_down(lane)
        if stuck and ceased:
            how = "and then ceased to advertise: whether it still is cannot be seen here."
        else:
            how = "and still is at the end: stuck." if stuck else "and recovered."
        said = "; ".join(f"{text} in frame {frame}" for _, frame, text in steps[:4])
        yield Finding(
            Severity.BAD if stuck and not ceased else Severity.NOTE,
            Fault.DEMOTION,
            group,
            (source,),
            f"{source} demoted itself in {group} ({said}"
            f"{'; ...' if len(steps) > 4 else ''}), {how}",
            "On that host: is another interface with CARP down or without carrier, do its "
            "advertisements fail to leave, did somebody set the demotion? FreeBSD: sysctl "
            "net.inet.carp.demotion (12.1 keeps 240 for ever after three send errors: subtract "
            "it); OpenBSD: ifconfig -g carp.",
            tuple(frame for _, frame, _ in steps[:8]),
            len(steps),
        )
    for lane in timeline.lanes:
        if {advskew for _, advskew in lane.terms} == {_ALL_DEMOTED}:
            yield Finding(
                Severity.WARNING,
                Fault.DEMOTION,
                lane.group,
                (lane.source,),
                f"{lane.source} advertises advskew {_ALL_DEMOTED} in {lane.group} all the time: "
                "that is what a demoted host sends",
                "If it was not configured so, see why it is demoted: sysctl "
                "net.inet.carp.demotion, interfaces that are down.",
                (),
                lane.advertisements,
            )


def _failovers(timeline: Timeline) -> Iterable[Finding]:
    told = 0
    for event in timeline.events:
        if event.what is not Happening.MASTER or event.seconds is None or told >= _FAILOVERS:
            continue
        told += 1
        yield Finding(
            Severity.NOTE,
            Fault.FAILOVER,
            event.group,
            tuple(a for a in (event.source, event.other) if a is not None),
            f"{event.group}: {event.source} {event.text}",
            "",
            (event.frame,),
            1,
        )
