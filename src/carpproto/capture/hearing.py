"""Who hears whom, and who is two, read off the counters.

Must not know of findings. A FreeBSD, NetBSD or UCarp host that accepts an advertisement counts
on from its counter: what it sends next has that counter plus one. So of two MASTERs the one
whose counters follow the other's hears and accepts it, and the one that keeps to its own, or
goes on with random ones, accepts nothing. (Two 64-bit counters that began apart do not meet by
chance. Two that began alike stay so, which says nothing.) One address with two rows of counters,
or with twice as many advertisements as one host sends, is that of two. OpenBSD's counters are
constant and say nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import Enum

from carpproto.capture.finding import EVIDENCE
from carpproto.capture.observation import Group, Heard
from carpproto.capture.reigns import SECOND
from carpproto.core.addresses import Address
from carpproto.core.advertisement import Advertisement

_COUNTERS = 1 << 64
_SOURCES = 64  # of one group and family
_CROWDED, _CROWDS = 1.4, 6  # intervals in which three came, and how much more often
_STEP = 8  # by how many a counter may go on that follows another's meanwhile
_OFTEN = 3  # what happened so often is no chance
_ROWS = 3  # that one source may count in
_RECENT = 256  # advertisements of a group that another source may repeat


class Hearing(Enum):
    """Whether a source accepts what another one sends."""

    YES = "it accepts them"
    NO = "it does not accept them"
    UNKNOWN = "its counters do not tell"


class _Source:
    def __init__(self) -> None:
        self.counter = -1
        self.order = 0
        self.rows: list[int] = []  # the last counters of rows that it counts in, latest last
        self.changed_rows = 0
        self.changed_in: list[int] = []
        self.times: list[int] = []  # of the last two
        self.interval = 0
        self.crowded = 0  # how much more often three came within the time of two than not

    def take(self, heard: Heard, order: int) -> None:
        counter = heard.advertisement.counter
        self._look_at_time(heard)
        before = (counter - 1) % _COUNTERS
        if counter not in self.rows:
            if before in self.rows[:-1]:
                self.changed_rows += 1
                if len(self.changed_in) < EVIDENCE:
                    self.changed_in.append(heard.frame)
            self.rows = [*[row for row in self.rows if row != before][-_ROWS + 1 :], counter]
        self.counter, self.order = counter, order

    def _look_at_time(self, heard: Heard) -> None:
        """Two hosts send twice as many as one; but one may send one more, as UCarp does.

        One that counts on is one, however fast.
        """
        now, interval = heard.nanoseconds, heard.advertisement.interval * SECOND // 256
        one_row = 0 < (heard.advertisement.counter - self.counter) % _COUNTERS <= _STEP
        close = _CROWDED * min(interval, self.interval)
        if len(self.times) == 2 and now - self.times[0] < close and not one_row:
            self.crowded += 1
            if self.crowded == _CROWDS:
                self.changed_rows = max(self.changed_rows, _OFTEN)
            if self.crowded >= _CROWDS and len(self.changed_in) < EVIDENCE:
                self.changed_in.append(heard.frame)
        else:
            self.crowded = max(self.crowded - 1, 0)
        self.times = [*self.times[-1:], now]
        self.interval = interval


class _Memory:
    def __init__(self) -> None:
        self.sources: dict[Address, _Source] = {}
        self.order = 0
        self.recent: dict[Advertisement, Address] = {}  # who sent it first, latest last
        self.followed: Counter[tuple[Address, Address]] = Counter()
        self.ignored: Counter[tuple[Address, Address]] = Counter()
        self.echoed: Counter[tuple[Address, Address]] = Counter()


class Ears:
    """Follows the counters of every group."""

    def __init__(self) -> None:
        self._memory: dict[tuple[Group, int], _Memory] = {}

    def take(self, heard: Heard) -> None:
        """Take the next advertisement of a MASTER."""
        key = heard.group, heard.source.version
        memory = self._memory.get(key)
        if memory is None:
            if len(self._memory) >= 1024:
                return
            memory = self._memory[key] = _Memory()
        source, counter = heard.source, heard.advertisement.counter
        memory.order += 1
        mine = memory.sources.get(source)
        if mine is None:
            if len(memory.sources) >= _SOURCES:
                return
            mine = memory.sources[source] = _Source()
        for other, its in memory.sources.items():
            if its.order < mine.order or other == source or mine.counter in (-1, its.counter):
                continue
            if (its.counter + 1) % _COUNTERS == counter:
                memory.followed[source, other] += 1
            elif counter != mine.counter:
                memory.ignored[source, other] += 1
        mine.take(heard, memory.order)
        first = memory.recent.setdefault(heard.advertisement, source)
        if first != source:
            memory.echoed[source, first] += 1
        elif len(memory.recent) > _RECENT:
            del memory.recent[next(iter(memory.recent))]

    def hears(self, group: Group, listener: Address, speaker: Address) -> Hearing:
        """Whether ``listener`` accepted advertisements of ``speaker`` while both advertised."""
        memory = self._memory.get((group, listener.version))
        if memory is None:
            return Hearing.UNKNOWN
        followed = memory.followed[listener, speaker]
        ignored = memory.ignored[listener, speaker]
        if followed >= 2 and followed >= ignored / 2:
            return Hearing.YES
        if ignored >= 2 and not followed:
            return Hearing.NO
        return Hearing.UNKNOWN

    def echoes(self, group: Group, source: Address, other: Address) -> bool:
        """Whether ``source`` sends, byte for byte, what ``other`` has sent before."""
        memory = self._memory.get((group, source.version))
        return memory is not None and memory.echoed[source, other] >= _OFTEN

    def doubled(self) -> Iterator[tuple[Group, Address, tuple[int, ...], int]]:
        """Sources that two hosts advertise from: group, source, frames, how often it showed."""
        for (group, _), memory in self._memory.items():
            for source, seen in memory.sources.items():
                if seen.changed_rows >= _OFTEN:
                    yield group, source, tuple(seen.changed_in), seen.changed_rows
