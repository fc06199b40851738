"""Who advertised when: reigns, elections, failovers, gaps, demotions, two MASTERs, announcements.

Must not know of causes and cures, nor how a timeline is printed or drawn. `TimelineBuilder`
takes observations in the order of the capture; what it keeps has a limit, and `Timeline` says
what it left out. `carpproto.capture.reigns` says what a capture can show of a reign.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from carpproto.capture.happenings import (
    Event,
    Happening,
    ceasing,
    mastery,
    missing,
    two_masters,
    unheeded,
)
from carpproto.capture.observation import (
    Announced,
    Checksum,
    Group,
    Heard,
    Observation,
    Observer,
    Unreadable,
    Vrrp,
)
from carpproto.capture.reigns import (
    NEAR,
    SECOND,
    Gap,
    GroupReigns,
    Overlap,
    Reign,
    crossings,
)
from carpproto.core.addresses import Address

MAX_GROUPS = 512
"""Groups (a vhid in a VLAN) that are followed; what others advertise is only counted."""

MAX_SOURCES = 64
"""Sources of one group and family that are followed at a time, and four times as many in all."""

MAX_EVENTS = 20_000
"""Events, and reigns, that are kept; what comes after them is only counted."""

_TOGETHER = SECOND // 10  # announcements of several addresses are one event
_AT_ONCE = SECOND // 200  # UCarp announces so soon before its first, after its third
_UCARP_MAC = "00:00:5e:00:00:"


_Kept = TypeVar("_Kept")


class Lane(NamedTuple):
    """What a source sent in a group: how much, and the intervals, as (advbase, advskew).

    ``terms`` are all of them, up to 16, ``latest`` the last one, None where receivers took
    nothing of it. ``refused`` counts by the name of the counter that rises in a receiver;
    ``authentic`` and ``not_authentic`` are 0 where no key was given.
    """

    group: Group
    source: Address
    advertisements: int
    first: int
    first_frame: int
    last: int
    terms: tuple[tuple[int, int], ...]
    latest: tuple[int, int] | None
    refused: Mapping[str, int]
    authentic: int
    not_authentic: int


class Timeline(NamedTuple):
    """A capture's timeline. Times in nanoseconds since 1970, None in a capture without records.

    ``refused`` are times in which a source advertised what receivers refuse, as a MASTER with
    another key does: nobody takes it for one. ``beside`` are the overlaps of such a time with
    somebody's time as MASTER, ``overlaps`` those of two whom receivers take for MASTERs.
    ``unreadable`` counts the frames that may have been advertisements and could not be read, of
    the first of which ``unreadable_text`` says why; ``unfollowed`` the advertisements of groups
    and sources that there was no room for, ``left_out`` the events and reigns.
    """

    begin: int | None
    end: int | None
    lanes: tuple[Lane, ...]
    reigns: tuple[Reign, ...]
    refused: tuple[Reign, ...]
    overlaps: tuple[Overlap, ...]
    beside: tuple[Overlap, ...]
    gaps: tuple[Gap, ...]
    events: tuple[Event, ...]
    vrrp: int
    unreadable: int
    unreadable_text: str
    unfollowed: int
    left_out: int

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups, by VLAN and vhid."""
        return tuple(sorted({lane.group for lane in self.lanes}))


class _Lane:
    def __init__(self, heard: Heard) -> None:
        self.count = self.authentic = self.not_authentic = 0
        self.first = self.last = heard.nanoseconds
        self.first_frame = heard.frame
        self.refused: dict[str, int] = {}
        self.terms: dict[tuple[int, int], None] = {}
        self.shown: tuple[int, int, int] | None = None  # advbase, advskew, demote of the last


class _Track:
    """Reigns of all groups, of what receivers take or of what they refuse."""

    def __init__(self) -> None:
        self.families: dict[tuple[Group, int], GroupReigns] = {}
        self.reigns: list[Reign] = []
        self.overlaps: list[Overlap] = []
        self.gaps: list[Gap] = []


class TimelineBuilder:
    """Makes a `Timeline` of the observations that it is given, which are an observer's."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._taken, self._refused = _Track(), _Track()
        self._groups: set[Group] = set()
        self._lanes: dict[tuple[Group, Address], _Lane] = {}
        self._events: list[Event] = []
        self._recent: dict[Group, deque[Heard]] = {}
        self._pending: deque[Announced] = deque(maxlen=16)
        # The last one of each family that an announcement at its sender's own MAC may come with.
        self._own_mac: dict[int, Heard] = {}
        self._latest: Announced | None = None
        # Hosts' own MACs, with an address that they have there as MASTER of a group.
        self._macs: dict[tuple[str, Address], tuple[Group, Address]] = {}
        self._announced: list[tuple[int, int, Group, Address | None, list[Address], str]] = []
        self.vrrp: int = 0
        self.unreadable: int = 0
        self.unreadable_text: str = ""
        self.unfollowed: int = 0
        self.left_out: int = 0

    def take(self, observation: Observation) -> None:
        """Take the next observation."""
        if isinstance(observation, Heard):
            self._heard(observation)
        elif isinstance(observation, Announced):
            self._announcement(observation)
        elif isinstance(observation, Vrrp):
            self.vrrp += 1
        elif isinstance(observation, Unreadable):
            self.unreadable += 1
            self.unreadable_text = self.unreadable_text or observation.problem.text

    def finish(self) -> Timeline:
        """The timeline, when the observer has come to its end."""
        observer = self._observer
        end = observer.last if observer.last is not None else 0
        for reigns in (*self._taken.families.values(), *self._refused.families.values()):
            reigns.close(end)
        beside = crossings(self._taken.reigns, self._refused.reigns, MAX_EVENTS)
        masters: dict[int, list[Address]] = {}
        for overlap in beside:
            masters.setdefault(id(overlap.one), []).append(overlap.other.source)
            masters.setdefault(id(overlap.other), []).append(overlap.one.source)
        events = [*self._events, *self._of_reigns(), *self._of_announcements()]
        events += [two_masters(overlap) for overlap in self._taken.overlaps]
        events += [
            unheeded(reign, masters.get(id(reign), ()))
            for reign in self._refused.reigns
            if reign.advertisements > 1
        ]
        events += [missing(gap) for gap in self._taken.gaps]
        events.sort(key=lambda event: (event.nanoseconds, event.frame))
        return Timeline(
            observer.first,
            observer.last,
            tuple(_lane(key, lane) for key, lane in self._lanes.items()),
            _by_start(self._taken.reigns),
            _by_start(self._refused.reigns),
            tuple(sorted(self._taken.overlaps, key=lambda overlap: overlap.start)),
            tuple(beside),
            tuple(self._taken.gaps),
            tuple(events),
            self.vrrp,
            self.unreadable,
            self.unreadable_text,
            self.unfollowed,
            self.left_out,
        )

    # -- advertisements ---------------------------------------------------------------------

    def _heard(self, heard: Heard) -> None:
        group = heard.group
        lane = self._lanes.get((group, heard.source))
        if lane is None:
            if group not in self._groups and len(self._groups) >= MAX_GROUPS:
                self.unfollowed += 1
                return
            if len(self._lanes) >= 4 * MAX_GROUPS + 4 * MAX_SOURCES:
                self.unfollowed += 1
                return
            self._groups.add(group)
            lane = self._lanes[group, heard.source] = _Lane(heard)
        lane.count += 1
        lane.last = heard.nanoseconds
        if heard.problem is not None:
            reason = str(heard.problem.reason)
            if reason not in lane.refused:
                self._note(heard, Happening.REFUSED, f"refused by receivers: {heard.problem.text}")
            lane.refused[reason] = lane.refused.get(reason, 0) + 1
        if heard.authentic is not None:
            lane.authentic += heard.authentic
            if not heard.authentic and not lane.not_authentic:
                self._note(heard, Happening.NOT_AUTHENTIC, "the first one with a wrong HMAC")
            lane.not_authentic += not heard.authentic
        if heard.counts:
            self._terms(lane, heard)
        ucarp = heard.source_mac is not None and heard.source_mac.startswith(_UCARP_MAC)
        first = (ucarp or heard.checksum is Checksum.ZERO) and self._just_announced(heard)
        reigns = self._of_family(heard)
        if not reigns.take(heard, announced_first=first):
            self.unfollowed += 1
            return
        if ucarp or reigns.is_new(heard.source):
            self._own_mac[heard.source.version] = heard
        if ucarp:
            for announced in reversed(self._pending):
                near = heard.nanoseconds - announced.nanoseconds <= _TOGETHER
                near = near and heard.source.version == announced.address.version
                if near and self._learn(announced, heard):
                    self._pending.remove(announced)
                    break

    def _of_family(self, heard: Heard) -> GroupReigns:
        """The reigns that this one is of."""
        track = self._taken if heard.counts else self._refused
        key = heard.group, heard.source.version
        if key not in track.families:
            track.families[key] = GroupReigns(
                heard.group,
                limit=MAX_SOURCES,
                first=self._observer.first or 0,
                ended=lambda reign: self._keep(track.reigns, reign),
                overlapped=lambda overlap: self._keep(track.overlaps, overlap),
                gap=lambda gap: self._keep(track.gaps, gap),
            )
        return track.families[key]

    def _yields(self, heard: Heard) -> bool:
        """Whether it is slower by one than one of another that it has just heard.

        So carpproto yields, over both families at once; it says nothing about its terms.
        """
        recent = self._recent.setdefault(heard.group, deque(maxlen=4))
        interval = heard.advertisement.interval
        found = any(
            interval - other.advertisement.interval == 1
            and other.source != heard.source
            and heard.nanoseconds - other.nanoseconds <= _TOGETHER
            for other in recent
        )
        recent.append(heard)
        return found

    def _terms(self, lane: _Lane, heard: Heard) -> None:
        """Note what changed in what it advertises, and call it what it probably is."""
        advertisement = heard.advertisement
        now = (advertisement.advbase, advertisement.advskew, advertisement.demote)
        if self._yields(heard):
            return
        before, lane.shown = lane.shown, now
        if len(lane.terms) < 16:
            lane.terms[now[:2]] = None
        if before is None or before == now:
            return
        change = f"advskew {before[1]} -> {now[1]}"
        if now[:2] == (255, 255):
            text = "bowed out (advbase 255, advskew 255)"
            self._note(heard, Happening.BOWED_OUT, text)
            lane.shown = before  # what it says after this is compared with what it said before
        elif now[0] != before[0]:
            text = f"advbase {before[0]} -> {now[0]}, {change}"
            self._note(heard, Happening.RECONFIGURED, text)
        elif now[2] != before[2]:
            what = Happening.DEMOTED if now[2] > before[2] else Happening.RESTORED
            self._note(heard, what, f"demote {before[2]} -> {now[2]}, {change}")
        elif now[1] > before[1]:
            self._note(heard, Happening.DEMOTED, change)
        else:
            self._note(heard, Happening.RESTORED, change)

    # -- announcements ----------------------------------------------------------------------

    def _just_announced(self, heard: Heard) -> bool:
        """Whether this source, or one whose MAC is not known, announced at the same time."""
        announced = self._latest
        if announced is None or heard.nanoseconds - announced.nanoseconds > _AT_ONCE:
            return False
        if announced.vhid is not None:
            return announced.vhid == heard.group.vhid
        known = self._macs.get((announced.mac, announced.address))
        return known is None or known == (heard.group, heard.source)

    def _announcement(self, announced: Announced) -> None:
        self._latest = announced
        if announced.vhid is not None:
            group = Group(announced.vlans, announced.vhid)
            reigns = self._taken.families.get((group, announced.address.version))
            source = None
            if reigns is not None:
                source = reigns.source_near(announced.nanoseconds, NEAR, announced.address)
            self._attribute(announced, group, source, repeats=False)
        elif (announced.mac, announced.address) in self._macs:
            member = self._macs[announced.mac, announced.address]
            self._attribute(announced, *member, repeats=True)
        else:
            near = self._own_mac.get(announced.address.version)
            if (
                near is None
                or announced.nanoseconds - near.nanoseconds > _AT_ONCE
                or not self._learn(announced, near)
            ):
                self._pending.append(announced)

    def _learn(self, announced: Announced, heard: Heard) -> bool:
        """Whether an announcement at a MAC that is not CARP's is this sender's; known from now on.

        A group of UCarp's has one address. A host may have several groups, at one MAC.
        """
        member = heard.group, heard.source
        single = (heard.source_mac or "").startswith(_UCARP_MAC)
        for (mac, address), known in self._macs.items():
            if known == member and (single or mac != announced.mac):
                return False
            same_family = address.version == announced.address.version
            if mac == announced.mac and same_family and known[1] != heard.source:
                return False
        if len(self._macs) < MAX_SOURCES:
            self._macs[announced.mac, announced.address] = member
        self._attribute(announced, *member, repeats=True)
        return True

    def _attribute(
        self, announced: Announced, group: Group, source: Address | None, *, repeats: bool
    ) -> None:
        now, address = announced.nanoseconds, announced.address
        if source is not None:
            for track in (self._taken, self._refused):
                reigns = track.families.get((group, source.version))
                if reigns is not None:
                    reigns.announce(now, source, address, repeats=repeats)
        for last in self._announced[-2:]:  # one host announces in both families
            if (
                last[2:4] == (group, source)
                and now - last[0] <= _TOGETHER
                and last[5] == (announced.mac)
            ):
                if address not in last[4] and len(last[4]) < 1000:
                    last[4].append(address)
                return
        self._keep(
            self._announced, (now, announced.frame, group, source, [address], announced.mac)
        )

    # -- what is kept -----------------------------------------------------------------------

    def _note(self, heard: Heard, what: Happening, text: str) -> None:
        event = Event(
            heard.nanoseconds, heard.frame, what, heard.group, heard.source, None, None, text
        )
        self._keep(self._events, event)

    def _keep(self, kept: list[_Kept], one: _Kept) -> None:
        if len(kept) < MAX_EVENTS:
            kept.append(one)
        else:
            self.left_out += 1

    def _of_reigns(self) -> list[Event]:
        return [
            event for reign in self._taken.reigns for event in (mastery(reign), ceasing(reign))
        ]

    def _of_announcements(self) -> list[Event]:
        return [
            Event(
                now,
                frame,
                Happening.ANNOUNCED,
                group,
                source,
                None,
                None,
                f"announced {', '.join(str(address) for address in addresses)} at {mac}",
                tuple(addresses),
            )
            for now, frame, group, source, addresses, mac in self._announced
        ]


def _by_start(reigns: list[Reign]) -> tuple[Reign, ...]:
    return tuple(sorted(reigns, key=lambda reign: (reign.start, reign.first_frame)))


def _lane(key: tuple[Group, Address], lane: _Lane) -> Lane:
    return Lane(
        *key,
        lane.count,
        lane.first,
        lane.first_frame,
        lane.last,
        tuple(lane.terms),
        None if lane.shown is None else lane.shown[:2],
        lane.refused,
        lane.authentic,
        lane.not_authentic,
    )


def timeline(observer: Observer) -> Timeline:
    """The timeline of all that an observer observes."""
    builder = TimelineBuilder(observer)
    for observation in observer:
        builder.take(observation)
    return builder.finish()
