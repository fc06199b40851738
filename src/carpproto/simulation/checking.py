"""Every way a small group of hosts can go, up to bounds, and whether each ends well.

Must not know what a virtual host does: `check` lets real `VirtualHost` machines play, one for
each host of the group, and only decides what happens next. All that can is tried:

- a timer fires, at its deadline or up to ``late`` after it;
- an advertisement reaches one receiver, up to ``delay`` after it was sent, before or after
  anything else that happens in that time, also before one that was sent earlier;
- a fault, while there are faults left to spend: an advertisement does not reach one receiver; a
  node crashes; a crashed one boots again; a node hears nothing of one family any more.

A state is what each host is in and how long its timers have to run, what is on its way to whom
since when, and the faults left. Counters are left out of it (no one of them changes what a host
does: OpenBSD's constants differ), and so is the time of day. That makes the states finite in
number, so there is no bound on time: what was found holds for a group that runs for years. Times
are whole multiples of 1/256 s, which every interval is.

The properties. Let faults end in any of the states. Then whatever happens next, there is exactly
one MASTER within a bound, the right one, and that stays so. A MASTER is right unless another
host that runs would take over from it: with preempt, one that is less demoted or, if equally
demoted, advertises more often; without it, on OpenBSD, one that is less demoted. If every host
has preempt, so the best ones are right; if none has, any one is.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

from carpproto.core.config import check_range
from carpproto.core.errors import ConfigError, shown
from carpproto.core.virtual_host import TICKS, VirtualHost
from carpproto.simulation.checking_group import TICK, Group, World
from carpproto.simulation.checking_report import (
    Checked,
    Host,
    Kind,
    Step,
    Verdict,
    joined,
    named_hosts,
)

LIMIT = 2_000_000
"""States after which a check gives up, unless told otherwise; each takes about 1 kB."""


class _Graph:
    """Every state that can be, and what follows on it."""

    def __init__(self, group: Group, start: World, limit: int) -> None:
        self.group = group
        self.worlds: list[World] = [start]
        self.free: list[tuple[int, ...]] = []
        self.passing = array("i")  # the time that the last of free takes; all others take none
        self.parents = array("q", [-1])
        self.complete = True
        numbers: dict[World, int] = {start: 0}
        for number, world in enumerate(self.worlds):  # which grows
            if len(self.worlds) > limit:
                self.complete = False
                break
            free, faults = group.moves(world)
            following: list[int] = []
            for moves in (free, faults):
                for move in moves:
                    then = move[4]
                    found = numbers.get(then)
                    if found is None:
                        found = numbers[then] = len(self.worlds)
                        self.worlds.append(then)
                        self.parents.append(number)
                    following.append(found)
            self.free.append(tuple(following[: len(free)]))
            self.passing.append(free[-1][3] if free else 0)
        self.good = bytearray(map(group.good, self.worlds))

    def way_to(self, number: int) -> list[int]:
        """The fewest moves from the start to a state: the states on the way, both included."""
        way = [number]
        while self.parents[way[-1]] >= 0:
            way.append(self.parents[way[-1]])
        return way[::-1]

    def shortest(self, number: int, aims: Callable[[int], bool]) -> list[int]:
        """The fewest moves without a fault, one at least, from a state to one that is aimed at."""
        before: dict[int, int] = {}
        queue = deque([number])
        while queue:
            here = queue.popleft()
            for there in self.free[here]:
                if aims(there):
                    way = [there, here]
                    while way[-1] != number:
                        way.append(before[way[-1]])
                    return way[::-1]
                if there not in before and there != number:
                    before[there] = here
                    queue.append(there)
        return [number]

    def steps(self, way: Sequence[int], at: int = 0) -> tuple[list[Step], int]:
        """A way, told, and when it ends; it begins at a time, in 1/256 s."""
        told: list[Step] = []
        for here, there in pairwise(way):
            world, aim = self.worlds[here], self.worlds[there]
            free, faults = self.group.moves(world)
            move = next(move for move in (*free, *faults) if move[4] == aim)
            at += move[3]
            if move[0] != TICK:
                told.append(self.group.step(world, move, at))
        return told, at


class _Judgement:
    """Which states end well, when no fault comes any more, and after how long."""

    def __init__(self, graph: _Graph) -> None:
        self.graph = graph
        count = len(graph.worlds)
        self._before: list[list[int]] = [[] for _ in range(count)]
        for here, following in enumerate(graph.free):
            for there in following:
                self._before[there].append(here)
        # Settled: it is good, and so is everything that can follow.
        unsettled = self._leads_to(number for number in range(count) if not graph.good[number])
        self.unsettled = unsettled
        # Lost: no way is good from some time on.
        can_be_good = self._leads_to(self._good_for_ever())
        self.lost = bytearray(not can for can in can_be_good)
        self.circles: list[int] = []
        """The states, not settled, that a way without a fault can come back to, or never leave."""
        self.component = array("q", [-1]) * count
        self.longest = array("q", [0]) * count
        """The longest time until it is settled, in 1/256 s, where there are no circles."""
        self._search()

    def _leads_to(self, numbers: Iterable[int]) -> bytearray:
        """Marks these states, and those that something can lead from to one of them."""
        marks = bytearray(len(self.graph.worlds))
        stack = list(numbers)
        for number in stack:
            marks[number] = 1
        while stack:
            for before in self._before[stack.pop()]:
                if not marks[before]:
                    marks[before] = 1
                    stack.append(before)
        return marks

    def _good_for_ever(self) -> Iterable[int]:
        """The states from which some way has none but good states."""
        graph = self.graph
        kept = bytearray(graph.good)
        ways = array("i", [sum(map(kept.__getitem__, following)) for following in graph.free])
        gone = [n for n in range(len(kept)) if kept[n] and not ways[n] and graph.free[n]]
        for number in gone:
            kept[number] = 0
        while gone:
            for before in self._before[gone.pop()]:
                ways[before] -= 1
                if kept[before] and not ways[before]:
                    kept[before] = 0
                    gone.append(before)
        return (number for number in range(len(kept)) if kept[number])

    def _search(self) -> None:
        """Find the strongly connected components of what is not settled (Tarjan's algorithm)."""
        graph, unsettled = self.graph, self.unsettled
        count = len(graph.worlds)
        order = array("q", [-1]) * count
        low = array("q", [0]) * count
        on_stack = bytearray(count)
        stack: list[int] = []
        found = components = 0
        for root in range(count):
            if not unsettled[root] or order[root] >= 0:
                continue
            work = [(root, 0)]
            while work:
                here, tried = work.pop()
                if not tried:
                    order[here] = low[here] = found
                    found += 1
                    stack.append(here)
                    on_stack[here] = 1
                following = graph.free[here]
                deeper = False
                for position in range(tried, len(following)):
                    there = following[position]
                    if not unsettled[there]:
                        continue
                    if order[there] < 0:
                        work += [(here, position + 1), (there, 0)]
                        deeper = True
                        break
                    if on_stack[there]:
                        low[here] = min(low[here], order[there])
                if deeper:
                    continue
                if low[here] == order[here]:
                    members: list[int] = []
                    while not members or members[-1] != here:
                        members.append(stack.pop())
                        on_stack[members[-1]] = 0
                        self.component[members[-1]] = components
                    components += 1
                    if len(members) > 1 or here in following or not following:
                        self.circles += members
                    else:
                        self.longest[here] = self._longest_from(here)
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[here])

    def _longest_from(self, here: int) -> int:
        """The longest time from a state whose successors are known."""
        following = self.graph.free[here]
        passing = self.graph.passing[here]
        last = len(following) - 1
        return max(
            self.longest[there] + (passing if position == last else 0)
            for position, there in enumerate(following)
        )

    def slowest_way(self, here: int) -> list[int]:
        """The way from a state that takes longest until it is settled."""
        way = [here]
        while self.unsettled[here]:
            following, passing = self.graph.free[here], self.graph.passing[here]
            times = [self.longest[there] for there in following]
            times[-1] += passing
            here = following[times.index(max(times))]
            way.append(here)
        return way


def check(
    hosts: Sequence[Host | tuple[Any, ...]],
    *,
    losses: int = 2,
    crashes: int = 1,
    boots: int = 1,
    deafenings: int = 0,
    delay: int = 2,
    late: int = 1,
    boot_every: int = 64,
    within: float | None = None,
    limit: int = LIMIT,
    machine: Callable[..., VirtualHost] = VirtualHost,
) -> Checked:
    """Let a group of hosts go every way that it can, and tell whether each ends well.

    ``hosts`` are `Host`, or tuples of its first values: profile, configuration, settings. All
    boot at once. ``losses`` advertisements at the most do not reach a receiver, ``crashes`` nodes
    crash and ``boots`` of these boot again, ``deafenings`` times a node hears nothing of one
    family any more. A crash comes just after anything else that happens, which is as good as any
    time before the next thing; a boot does, too, or a multiple of ``boot_every`` later.

    ``delay``, ``late`` and ``boot_every`` are in 1/256 s: how long an advertisement may be on its
    way, how late a timer may fire, how far apart the moments of a boot are. ``within`` is the
    bound for a group to settle after the last fault, in seconds; None is three of the longest
    master-down times. The larger the bounds, the more states, and after ``limit`` of them it
    gives up; it takes about 1/30000 s and 1 kB for each.

    ``machine`` is what plays a host, for who wants to see a broken one found out. The same
    arguments give the same answer. Raises `ConfigError` for hosts that cannot be, and for bounds
    that are no whole numbers from 0 on, ``boot_every`` and ``limit`` from 1 on.
    """
    faults = {"losses": losses, "crashes": crashes, "boots": boots, "deafenings": deafenings}
    others = {"delay": delay, "late": late, "boot_every": boot_every, "limit": limit}
    for name, value in {**faults, **others}.items():
        check_range(name, value, int(name in ("boot_every", "limit")), 1 << 31)
    if within is not None and not (isinstance(cast(object, within), (int, float)) and within > 0):
        raise ConfigError(f"within {shown(within)} is out of range; it is more than 0 seconds")
    named = named_hosts(hosts)
    group = Group(named, delay, late, boot_every, machine)
    if within is None:
        within = 3 * max(player.master_down for player in group.players) / TICKS
    text = ", ".join(_counted(value, name) for name, value in faults.items() if value)
    text = f"{text or 'no fault'}; delay {delay}/256 s, timers {late}/256 s late"
    start: World = (
        tuple(player.start for player in group.players),
        (),
        (),
        (losses, crashes, boots, deafenings),
    )
    graph = _Graph(group, start, limit)
    answer = Checked(Verdict.UNDECIDED, named, text, len(graph.worlds))
    if not graph.complete:
        return answer
    judgement = _Judgement(graph)
    if judgement.circles:
        return _circle(answer, judgement)
    longest = max(judgement.longest)
    if longest <= within * TICKS:
        return answer._replace(verdict=Verdict.HOLDS, settles=longest / TICKS)
    worst = next(n for n in range(len(graph.worlds)) if judgement.longest[n] > within * TICKS)
    way = [*graph.way_to(worst), *judgement.slowest_way(worst)[1:]]
    took = judgement.longest[worst] / TICKS
    return answer._replace(
        verdict=Verdict.LATE,
        settles=longest / TICKS,
        what=f"{took:.4g} s until one right MASTER is there to stay",
        steps=(_start(group, start), *graph.steps(way)[0]),
    )


def _circle(answer: Checked, judgement: _Judgement) -> Checked:
    """The answer where a way without a fault goes in circles."""
    graph = judgement.graph
    start = _start(graph.group, graph.worlds[0])
    bad = [number for number in judgement.circles if not graph.good[number]]
    lost = [number for number in bad if judgement.lost[number]]
    number = min(lost or bad or judgement.circles)
    before, at = graph.steps(graph.way_to(number))
    if not bad:
        # A circle of good states that something can lead out of, at any time: once round, and out.
        way = graph.shortest(number, lambda there: there == number)
        way += graph.shortest(number, lambda there: not graph.good[there])[1:]
        again, _ = graph.steps(way, at)
        return answer._replace(
            verdict=Verdict.UNSTABLE,
            what="one MASTER that may be lost again at any time",
            steps=(start, *before, *again),
        )
    circle = graph.shortest(number, lambda there: there == number)
    again, end = graph.steps(circle, at)
    return answer._replace(
        verdict=Verdict.PERMANENT if lost else Verdict.RECURRENT,
        what=_what(graph.group, [graph.worlds[here] for here in circle]),
        steps=(start, *before, *again),
        repeats=1 + len(before),
        period=(end - at) / TICKS,
    )


def _counted(number: int, what: str) -> str:
    """So many of them: 2 losses, 1 crash."""
    return f"{number} {_ONE[what] if number == 1 else what}"


_ONE = {"losses": "loss", "crashes": "crash", "boots": "boot", "deafenings": "deafening"}


def _start(group: Group, start: World) -> Step:
    """What everything begins with."""
    return Step(0, Kind.START, "", "", 0, 0, "all boot", group.states(start))


def _what(group: Group, worlds: Sequence[World]) -> str:
    """What is wrong with states that repeat themselves, in a few words."""
    masters = [group.masters(world) for world in worlds]
    counts = set(map(len, masters))
    names = [player.name for player in group.players]
    if counts == {0}:
        return "no MASTER"
    if counts == {1}:
        who = sorted({names[one] for (one,) in masters})
        return f"the wrong MASTER, {who[0]}" if len(who) == 1 else "one MASTER after another"
    if min(counts) > 1:
        always = set(masters[0]).intersection(*masters)
        return f"two MASTERs or more, {joined(names[one] for one in sorted(always))}"
    found = {0: "none", 1: "one", 2: "two"}
    return f"now {joined(found.get(n, str(n)) for n in sorted(counts))} MASTER"
