"""Findings from what single frames show: refused, replayed, addressed to somebody else, VRRP.

Must not know of reigns: `carpproto.capture.masters` judges those.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

from carpproto.capture.finding import Fault, Finding, Severity, Tally
from carpproto.capture.masters import Member
from carpproto.capture.observation import Checksum, Group, Heard
from carpproto.core.addresses import Address
from carpproto.core.errors import Reason
from carpproto.core.replay_guard import Doubt

PSEUDO = "pseudo"
"""The kind of tally of right checksums with pseudo-header."""

SAME_SEGMENT = "same segment"
"""The kind of tally of wrong TTLs that no router made."""

STOOD_STILL = "stood still"
"""The kind of tally of counters used before, by a source that had been silent."""

VHID_0 = "vhid"
"""The kind of tally of advertisements with vhid 0."""

Tallies = Mapping[tuple[Fault, Member, str], Tally]
Destinations = Mapping[Member, Mapping[Address, int]]


def refusal(heard: Heard) -> tuple[str, Fault]:
    """Why receivers refuse an advertisement, and which fault that is."""
    assert heard.problem is not None
    if heard.problem.reason is Reason.BADTTL:
        return heard.problem.text, Fault.WRONG_TTL
    if heard.checksum is Checksum.ZERO and heard.source.version == 6:
        return "its checksum is 0", Fault.WRONG_CHECKSUM
    return heard.problem.text, Fault.WRONG_CHECKSUM


def about_tallies(tallies: Tallies, destinations: Destinations) -> Iterable[Finding]:
    """What was refused, replayed or otherwise wrong, frame by frame."""
    for (fault, (group, source), kind), tally in tallies.items():
        if fault is Fault.WRONG_HMAC or kind == PSEUDO:
            continue
        text, change = _in_words(fault, kind, group, source, tally)
        yield Finding(
            Severity.WARNING if kind == STOOD_STILL else Severity.BAD,
            fault,
            group,
            (source,),
            text,
            change,
            tuple(tally.frames),
            tally.count,
        )
    yield from _about_pseudo_headers(tallies, destinations)


def _in_words(
    fault: Fault, kind: str, group: Group, source: Address, tally: Tally
) -> tuple[str, str]:
    """What a tally says, and what to change."""
    times = "1 advertisement" if tally.count == 1 else f"{tally.count} advertisements"
    if fault is Fault.WRONG_TTL:
        if kind == SAME_SEGMENT:
            return (
                f"{times} of {source} in {group} did not have TTL 255 ({tally.text}): the sender "
                "does not set it, as the Ethernet source is this segment's, and a router would "
                "have put its own there. Receivers drop it.",
                f"See what {source} runs, or what on this segment rewrites its packets or sends "
                "in its name.",
            )
        return (
            f"{times} of {source} in {group} did not have TTL 255 ({tally.text}): it came "
            "through a router, or was forged from elsewhere. Receivers drop it.",
            "Advertisements must not be routed; filter protocol 112 at the router.",
        )
    if fault is Fault.WRONG_CHECKSUM:
        if tally.text == "its checksum is 0":
            return (
                f"{times} of {source} in {group} carry the checksum 0: UCarp's fork 1.6.0 does "
                "that over IPv6. The kernels drop them, and hosts of the fork change roles "
                "every second.",
                "Do not use the fork's IPv6; UCarp 1.5.2 has none.",
            )
        return (
            f"{times} of {source} in {group} with a wrong checksum ({tally.text}). Receivers "
            "drop them.",
            "A network adapter or a forwarder damages frames, or somebody forges them.",
        )
    if kind == STOOD_STILL:
        return (
            f"{times} of {source} in {group}, after a silence, with a counter used before: "
            f"{tally.text}. A host that stood still works off what it heard meanwhile; a replay "
            "in its name looks the same.",
            "Was the machine paused, migrated, or out of processor time then? If not, keep "
            "strangers off this segment.",
        )
    if fault is Fault.REPLAY:
        altered = kind == Doubt.ALTERED.value
        what = {
            Doubt.REPEATED.value: "repeated: a counter came again",
            Doubt.ALTERED.value: "altered and sent again",
            Doubt.JUMPED.value: "out of order: a counter jumped",
        }[kind]
        return (
            f"{times} of {source} in {group} {what}: {tally.text}. No honest host counts so: "
            "somebody replays or forges advertisements, or a loop or a reflecting switch sends "
            "them back.",
            "The HMAC protects no advskew: keep strangers off this segment."
            if altered
            else "Is this capture of several interfaces, so that it has each frame twice (tcpdump "
            "-i any)? Then look for a loop and a switch port that mirrors; else keep strangers "
            "off this segment.",
        )
    if kind == VHID_0:
        return f"{times} of {source} with vhid 0, which no group can have", "See who sends them."
    return (
        f"{times} of {source} that receivers refuse ({kind}): {tally.text}",
        "See who sends them: it is none of CARP's implementations, or frames are damaged.",
    )


def _about_pseudo_headers(tallies: Tallies, destinations: Destinations) -> Iterable[Finding]:
    """IPv6 checksums as NetBSD's since 1.120, alone or beside others."""
    families: dict[Group, list[tuple[Address, Tally]]] = defaultdict(list)
    for (_, (group, source), kind), tally in tallies.items():
        if kind == PSEUDO:
            families[group].append((source, tally))
    for group, members in families.items():
        with_header = {source for source, _ in members}
        others = {
            source
            for (other, source) in destinations
            if other == group and source.version == 6 and source not in with_header
        }
        sources = ", ".join(str(source) for source in sorted(with_header, key=int))
        text = (
            f"IPv6 checksum with pseudo-header in {group} from {sources}: NetBSD since "
            "ip_carp.c 1.120. "
        )
        if others:
            text += (
                f"{', '.join(str(source) for source in sorted(others, key=int))} sends it "
                "without, so each drops what the other sends over IPv6."
            )
        else:
            text += "Every other system, and an older NetBSD, would drop these."
        yield Finding(
            Severity.BAD if others else Severity.NOTE,
            Fault.WRONG_CHECKSUM,
            group,
            (*with_header, *others),
            text,
            "Run one system, or one release, in a group with IPv6 addresses." if others else "",
            tuple(members[0][1].frames),
            sum(tally.count for _, tally in members),
        )


def about_unreadable(seen: Mapping[str, Tally]) -> Iterable[Finding]:
    """Frames of which not enough is there, or which are no packet of their own."""
    for kind, tally in seen.items():
        cut = kind == str(Reason.TRUNCATED)
        yield Finding(
            Severity.WARNING if cut else Severity.BAD,
            Fault.NOT_AN_ADVERTISEMENT,
            None,
            (),
            f"{tally.count} frames could not be read ({kind}): {tally.text}",
            "Capture with a larger snap length (tcpdump -s 0)."
            if cut
            else "See who sends them: no implementation does.",
            tuple(tally.frames),
            tally.count,
        )


def about_vrrp(
    heard: Mapping[tuple[tuple[int, ...], int], Tally], groups: Set[Group]
) -> Iterable[Finding]:
    """VRRP beside CARP: it has the same protocol number, groups and MACs."""
    for (vlans, router), tally in heard.items():
        clash = Group(vlans, router) in groups
        yield Finding(
            Severity.BAD if clash else Severity.NOTE,
            Fault.VRRP,
            Group(vlans, router),
            (),
            f"{tally.text} uses {router} as its virtual router id"
            + (
                f", and CARP uses it as a vhid: both claim the MAC 00:00:5e:00:01:{router:02x}"
                if clash
                else "; VRRP has CARP's protocol number, group and MACs, but another number"
            ),
            "Give one of them another number." if clash else "",
            tuple(tally.frames),
            tally.count,
        )


def about_destinations(seen: Destinations) -> Iterable[Finding]:
    """One group that is advertised to several multicast groups."""
    groups: dict[tuple[Group, int], dict[Address, tuple[Address, int]]] = defaultdict(dict)
    for (group, source), to in seen.items():
        for destination, frame in to.items():
            if destination.is_multicast:
                groups[group, source.version].setdefault(destination, (source, frame))
    for (group, _), destinations in groups.items():
        if len(destinations) > 1:
            said = ", ".join(
                f"{source} to {destination}" for destination, (source, _) in destinations.items()
            )
            yield Finding(
                Severity.BAD,
                Fault.GROUP,
                group,
                tuple(source for source, _ in destinations.values()),
                f"{group} is advertised to several multicast groups: {said}. Who listens to "
                "one does not hear the other.",
                "Give all members the same multicast group (ucarp --mcast, FreeBSD mcast).",
                tuple(frame for _, frame in destinations.values()),
                len(destinations),
            )
