"""Who hears whom, read off the counters.

Must not know of findings. A FreeBSD, NetBSD or UCarp host that accepts an advertisement counts
on from its counter: what it sends next has that counter plus one. So of two MASTERs the one
whose counters follow the other's hears and accepts it, and the one that keeps to its own, or
goes on with random ones, accepts nothing. (Two 64-bit counters that began apart do not meet by
chance.) OpenBSD's counters are constant and say nothing.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

from carpproto.capture.observation import Group, Heard
from carpproto.core.addresses import Address

_COUNTERS = 1 << 64
_SOURCES = 64  # of one group and family


class Hearing(Enum):
    """Whether a source accepts what another one sends."""

    YES = "it accepts them"
    NO = "it does not accept them"
    UNKNOWN = "its counters do not tell"


class _Memory:
    def __init__(self) -> None:
        self.last: dict[Address, tuple[int, int]] = {}  # source -> counter, order
        self.order = 0
        self.followed: Counter[tuple[Address, Address]] = Counter()
        self.ignored: Counter[tuple[Address, Address]] = Counter()
        self.constant: Counter[Address] = Counter()


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
        mine = memory.last.get(source)
        if mine is not None:
            for other, (theirs, order) in memory.last.items():
                if other == source or order < mine[1]:
                    continue
                if (theirs + 1) % _COUNTERS == counter:
                    memory.followed[source, other] += 1
                elif counter == mine[0]:
                    memory.constant[source] += 1
                else:
                    memory.ignored[source, other] += 1
        elif len(memory.last) >= _SOURCES:
            return
        memory.last[source] = counter, memory.order

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
