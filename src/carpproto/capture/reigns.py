"""Who was MASTER from when to when, as far as the wire shows it.

Must not know of reports or pictures. A reign is the time in which one source advertises: only a
MASTER does. What a capture cannot show: a change between INIT and BACKUP, a reign without an
advertisement on this wire, and one that ends and begins again before the next advertisement
was due, unless the addresses are announced anew. The two families of a group have their own
reigns, as their sources differ and each has a master-down timer of its own.

`GroupReigns` follows one group and one family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from enum import Enum
from typing import NamedTuple

from carpproto.capture.observation import Group, Heard
from carpproto.core.addresses import Address

SECOND = 1_000_000_000  # nanoseconds
TICK = SECOND // 256  # nanoseconds of a unit of advskew
_LATE = 1.5  # intervals after which an advertisement is overdue; loss aside, 1.07 is usual
_FAREWELL = SECOND  # UCarp takes up what it hears so late, and sends one more when it yields
_SHORTEST_SILENCE = SECOND // 5  # less is not taken for the end of a reign (advbase 0)
_IN_FLIGHT = SECOND // 10  # a host that became MASTER may not have heard what is so recent
NEAR = SECOND // 5
"""Nanoseconds within which a new MASTER announces its addresses."""

_ADDRESSES = 256  # announced together that are remembered
_CROSSED = 1000  # reigns within one other that are remembered
_COUNTERS = 1 << 64


class Began(Enum):
    """How a source became MASTER."""

    SEEN = "was MASTER when the capture began"
    ELECTED = "elected"
    TOOK_OVER = "took over"
    AFTER_BOW_OUT = "took over after a bow-out"
    PREEMPTED = "preempted a slower master"
    TIE = "advertised beside an equal master"
    DESPITE = "advertised beside a better master"
    RETURNED = "back after its own silence"
    AGAIN = "announced its addresses again"


class Ended(Enum):
    """How a source ceased to be MASTER."""

    OPEN = "still MASTER when the capture ended"
    SILENT = "fell silent"
    YIELDED = "stepped down for a better or equal master"
    BOWED_OUT = "bowed out"
    AGAIN = "became MASTER anew"


class Reign(NamedTuple):
    """A source's time as MASTER. All times in nanoseconds since 1970.

    ``start`` and ``last`` are its first and last advertisement, ``first_frame`` and
    ``last_frame`` where they are. ``until`` is when it ceased, as near as can be told, and
    ``gone_by`` the latest: by then its next advertisement was overdue. ``predecessor`` is whom
    it followed or stood against, ``waited`` the nanoseconds since that one's last
    advertisement; ``successor`` to whom it yielded. ``interval`` is the last one sent, in
    1/256 s. ``announced`` is whether announcements of addresses came with its beginning.
    """

    group: Group
    source: Address
    start: int
    first_frame: int
    last: int
    last_frame: int
    until: int
    until_frame: int
    gone_by: int
    advertisements: int
    interval: int
    began: Began
    predecessor: Address | None
    waited: int | None
    ended: Ended
    successor: Address | None
    announced: bool


class Overlap(NamedTuple):
    """Two sources that were MASTER at the same time: both advertised while the other did.

    ``start`` and ``end`` in nanoseconds since 1970; ``one`` began first. ``first_frame`` is the
    later one's first advertisement, ``last_frame`` the last of whoever stopped first.
    """

    one: Reign
    other: Reign
    start: int
    end: int
    first_frame: int
    last_frame: int

    @property
    def seconds(self) -> float:
        """How long there were two."""
        return (self.end - self.start) / SECOND


class Gap(NamedTuple):
    """Advertisements that are missing within a reign.

    Times in nanoseconds since 1970, ``interval`` in 1/256 s. ``sent`` is how many the sender sent
    in that time by its counter, the one that ended the gap included; None where its counter does
    not tell.
    """

    group: Group
    source: Address
    before: int
    before_frame: int
    after: int
    after_frame: int
    interval: int
    sent: int | None


class _Open:
    """A reign that goes on."""

    def __init__(self, heard: Heard, began: Began, predecessor: Address | None) -> None:
        self.source = heard.source
        self.start = self.last = self.previous = heard.nanoseconds
        self.first_frame = self.last_frame = self.previous_frame = heard.frame
        self.count = 1
        self.began = began
        self.predecessor = predecessor
        self.waited: int | None = None
        self.announced = False
        self.announcing: set[Address] = set()  # with its first advertisement
        self.announced_at = 0  # which advertisement the last announcement came with
        self.interval = heard.advertisement.interval
        self.rank = _rank(heard)
        self.silence = _silence(heard)
        self.bowed_out = False
        self.counter = heard.advertisement.counter
        self.constant = True  # one counter for all, as OpenBSD has it
        # The better or equal ones that were heard since, and before, its last advertisement.
        self.rival: tuple[int, Address, int] | None = None
        self.earlier_rival: tuple[int, Address, int] | None = None
        self.unmoved = 0  # how often it went on after one of these
        self.crossed: list[Reign] = []

    def take(self, heard: Heard) -> None:
        self.previous, self.previous_frame = self.last, self.last_frame
        self.last, self.last_frame = heard.nanoseconds, heard.frame
        self.count += 1
        self.constant = self.constant and heard.advertisement.counter == self.counter
        self.counter = heard.advertisement.counter
        # One that is configured so from its first advertisement on does not mean it.
        self.bowed_out = _says_goodbye(heard) and self.interval != heard.advertisement.interval
        if not self.bowed_out:
            self.interval = heard.advertisement.interval
            self.rank, self.silence = _rank(heard), _silence(heard)
        self.unmoved += self.rival is not None
        self.earlier_rival = self.rival or self.earlier_rival
        self.rival = None

    def said_farewell(self) -> bool:
        """Whether its last one came so soon after a better one that it was UCarp's farewell."""
        return self.earlier_rival is not None and self.last - self.earlier_rival[0] <= _FAREWELL

    def overdue(self, now: int) -> bool:
        return now - self.last > self.interval * TICK * _LATE

    def late(self, now: int) -> bool:
        """As overdue, counted from the last advertisement but one."""
        return now - self.previous > self.interval * TICK * _LATE

    def over(self, now: int) -> bool:
        return now - self.last >= self.silence


class GroupReigns:
    """Follows the reigns of one group over one family.

    ``limit`` is how many sources are followed at a time; the others are not, and `take` says so.
    ``ended`` is called with each reign that has ended, ``overlapped`` with each pair, ``gap``
    with each gap. ``began`` is called with the source's first advertisement and how it began.
    """

    def __init__(
        self,
        group: Group,
        *,
        limit: int,
        first: int,
        ended: Callable[[Reign], None],
        overlapped: Callable[[Overlap], None],
        gap: Callable[[Gap], None],
    ) -> None:
        self.group = group
        self._limit = limit
        self._first = first
        self._ended, self._overlapped, self._gap = ended, overlapped, gap
        self._open: dict[Address, _Open] = {}
        self._previous: tuple[Address, int, bool] | None = None  # source, last, bowed out

    def take(self, heard: Heard, *, announced_first: bool = False) -> bool:
        """Take a MASTER's advertisement; False where there is no room for its source.

        ``announced_first``: it announced its addresses just before, as UCarp does when it
        becomes MASTER.
        """
        now, source = heard.nanoseconds, heard.source
        mine = self._open.get(source)
        if mine is not None:
            anew = announced_first and (mine.rival is not None or mine.said_farewell())
            # On time after a good-bye, it did not go, or somebody else said that.
            anew = anew or (mine.bowed_out and mine.late(now))
            if anew or (mine.over(now) and not self._lost(mine, heard)):
                self._close(mine, now)
                mine = None
        for other in tuple(self._open.values()):
            if other is not mine and other.over(now):
                self._close(other, now)
        if mine is None:
            if len(self._open) >= self._limit:
                return False
            self._begin(heard, announced_first)
        else:
            self._note_gap(mine, heard)
            mine.take(heard)
        rank, interval = _rank(heard), heard.advertisement.interval
        for other in self._open.values():
            # Only OpenBSD looks at demote, and who runs what is not known here.
            better = interval <= other.interval or rank <= other.rank
            if better and other.rival is None and other.source != source:
                other.rival = now, source, heard.frame
        return True

    def is_new(self, source: Address) -> bool:
        """Whether its last advertisement was the first of its reign."""
        mine = self._open.get(source)
        return mine is not None and mine.count == 1

    def announce(self, now: int, source: Address, address: Address, *, repeats: bool) -> None:
        """Its sender announced an address as it does when it becomes MASTER.

        ``repeats``: it is of a kind that announces at other times, too (UCarp), so this says
        nothing about a reign that goes on. (OpenBSD announces with its third advertisement
        again; it is known by its constant counter.)
        """
        mine = self._open.get(source)
        if mine is None:
            return
        if mine.count == 1 and len(mine.announcing) < _ADDRESSES:
            mine.announcing.add(address)
        if mine.announced_at == mine.count:
            return
        mine.announced_at = mine.count
        if mine.count == 1:
            if now - mine.start <= NEAR:
                mine.announced = True
                if mine.began is Began.SEEN:
                    mine.began = Began.ELECTED
        elif not repeats and not (mine.constant and mine.count == 3):
            self._split(mine, now)

    def source_near(self, now: int, within: int, address: Address) -> Address | None:
        """Who probably announces: of those that advertised at most ``within`` nanoseconds ago.

        The last of them; if that one has announced this already with its first advertisement,
        another one that has not.
        """
        near = [reign for reign in self._open.values() if now - reign.last <= within]
        near.sort(key=lambda reign: -reign.last_frame)
        waiting = [r for r in near if r.count == 1 and address not in r.announcing]
        if near and near[0].count == 1 and near[0] not in waiting:
            near = waiting + near
        return near[0].source if near else None

    def close(self, now: int) -> None:
        """The capture has ended."""
        for reign in sorted(self._open.values(), key=lambda reign: reign.last):
            self._close(reign, now, at_end=True)

    def _begin(self, heard: Heard, announced: bool) -> None:
        now, source, rank = heard.nanoseconds, heard.source, _rank(heard)
        alive = [o for o in self._open.values() if not o.overdue(now) and not o.bowed_out]
        gone = max(
            (
                (o.source, o.last, o.bowed_out)
                for o in self._open.values()
                if o.overdue(now) or o.bowed_out
            ),
            key=lambda entry: entry[1],
            default=None,
        )
        if gone is None or (self._previous is not None and self._previous[1] > gone[1]):
            gone = self._previous
        began, predecessor, waited = Began.ELECTED, None, None
        if alive:
            against = min(alive, key=lambda other: other.rank)
            predecessor, waited = against.source, now - against.last
            if rank < against.rank:
                began = Began.PREEMPTED
            else:
                began = Began.TIE if rank == against.rank else Began.DESPITE
        elif gone is not None:
            predecessor, waited = gone[0], now - gone[1]
            if gone[2]:
                began = Began.AFTER_BOW_OUT
            else:
                began = Began.RETURNED if predecessor == source else Began.TOOK_OVER
        elif now - self._first < _silence(heard) and not announced:
            began = Began.SEEN
        self._open[source] = reign = _Open(heard, began, predecessor)
        reign.waited, reign.announced = waited, announced
        beside = began in (Began.TIE, Began.DESPITE)
        if beside and predecessor and waited is not None and waited <= _IN_FLIGHT:
            # Both became MASTER at once: what it will yield to was on the wire already.
            reign.earlier_rival = now, predecessor, heard.frame

    def _split(self, mine: _Open, now: int) -> None:
        """Its last advertisement was the first of a new reign."""
        new = copy(mine)
        mine.last, mine.last_frame, mine.count = (
            mine.previous,
            mine.previous_frame,
            mine.count - 1,
        )
        self._close(mine, now, Ended.AGAIN)
        new.start = new.previous = new.last
        new.first_frame = new.previous_frame = new.last_frame
        new.count = new.announced_at = 1
        new.began, new.predecessor, new.waited = Began.AGAIN, mine.source, new.last - mine.last
        new.announced, new.crossed, new.announcing = True, [], set()
        self._open[mine.source] = new

    def _note_gap(self, mine: _Open, heard: Heard) -> None:
        if mine.bowed_out or not mine.overdue(heard.nanoseconds):
            return
        if heard.nanoseconds - mine.last < _SHORTEST_SILENCE:
            return
        step = (heard.advertisement.counter - mine.counter) % _COUNTERS
        sent = step if 1 <= step <= 1 << 16 else None
        self._gap(
            Gap(
                self.group,
                mine.source,
                mine.last,
                mine.last_frame,
                heard.nanoseconds,
                heard.frame,
                mine.interval,
                sent,
            )
        )

    def _lost(self, mine: _Open, heard: Heard) -> bool:
        """Whether the silence is the capture's: the counter says that it went on sending."""
        step = (heard.advertisement.counter - mine.counter) % _COUNTERS
        if not 2 <= step <= 1 << 16 or len(self._open) > 1 or mine.bowed_out:
            return False
        expected = (heard.nanoseconds - mine.last) / (max(mine.interval, 1) * TICK)
        return expected * 0.9 - 1 <= step <= expected * 1.1 + 1

    def _close(
        self, mine: _Open, now: int, how: Ended | None = None, *, at_end: bool = False
    ) -> None:
        overdue_at = mine.last + round(mine.interval * TICK * _LATE)
        until, until_frame, successor = mine.last, mine.last_frame, None
        gone_by = min(overdue_at, now)
        if how is not None:
            ended, gone_by = how, now
        elif mine.bowed_out:
            ended, gone_by = Ended.BOWED_OUT, mine.last
        elif at_end and now <= overdue_at and (mine.rival is None or mine.unmoved > 1):
            ended, until, gone_by = Ended.OPEN, now, now
        elif mine.rival is not None and mine.rival[0] <= overdue_at:
            ended = Ended.YIELDED
            until, successor, until_frame = mine.rival
        elif mine.earlier_rival is not None and mine.said_farewell():
            ended, successor = Ended.YIELDED, mine.earlier_rival[1]
        else:
            ended = Ended.SILENT
        reign = Reign(
            self.group,
            mine.source,
            mine.start,
            mine.first_frame,
            mine.last,
            mine.last_frame,
            until,
            until_frame,
            gone_by,
            mine.count,
            mine.interval,
            mine.began,
            mine.predecessor,
            mine.waited,
            ended,
            successor,
            mine.announced,
        )
        del self._open[mine.source]
        if self._previous is None or self._previous[1] <= mine.last:
            self._previous = mine.source, mine.last, mine.bowed_out
        for crossed in mine.crossed:
            self._compare(crossed, reign)
        for other in self._open.values():
            if other.start < reign.last and len(other.crossed) < _CROSSED:
                other.crossed.append(reign)
        self._ended(reign)

    def _compare(self, one: Reign, other: Reign) -> None:
        if other.start < one.start:
            one, other = other, one
        overlap = _overlap(one, other)
        if overlap.end > overlap.start:
            self._overlapped(overlap)


def crossings(accepted: Sequence[Reign], refused: Sequence[Reign], limit: int) -> list[Overlap]:
    """Where a source advertised what receivers refuse while another one was MASTER.

    By the later one's start; no more than ``limit``.
    """
    of_both = [(reign, False) for reign in accepted] + [(reign, True) for reign in refused]
    of_both = [(reign, kind) for reign, kind in of_both if reign.last > reign.start]
    of_both.sort(key=lambda entry: entry[0].start)
    open_ones: dict[tuple[Group, int], list[tuple[Reign, bool]]] = {}
    found: list[Overlap] = []
    for reign, kind in of_both:
        key = reign.group, reign.source.version
        going_on = [entry for entry in open_ones.get(key, ()) if entry[0].last > reign.start]
        for other, its_kind in going_on:
            if its_kind is not kind and other.source != reign.source and len(found) < limit:
                found.append(_overlap(other, reign))
        open_ones[key] = [*going_on, (reign, kind)]
    return found


def _overlap(one: Reign, other: Reign) -> Overlap:
    """That of two reigns, the first of which began first."""
    stopped = min(one, other, key=lambda reign: reign.last)
    return Overlap(one, other, other.start, stopped.last, other.first_frame, stopped.last_frame)


def _rank(heard: Heard) -> tuple[int, int]:
    """What an election compares, lower is better; demote is 0 but on OpenBSD."""
    advertisement = heard.advertisement
    return advertisement.demote, advertisement.interval


def _silence(heard: Heard) -> int:
    """Nanoseconds after which nobody takes it for MASTER any more."""
    advertisement = heard.advertisement
    ticks = max(
        3 * 256 * advertisement.advbase + advertisement.advskew, 2 * advertisement.interval
    )
    return max(ticks * TICK, _SHORTEST_SILENCE)


def _says_goodbye(heard: Heard) -> bool:
    return heard.advertisement.advbase == heard.advertisement.advskew == 255
