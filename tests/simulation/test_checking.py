"""carpproto.simulation.checking: what can happen to a small group, and what must not.

The results for each pair of profiles and each weakness are those of docs/checking.rst, whose
generator is used here, so that nothing is checked twice.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from carpproto import (
    FREEBSD,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
    ConfigError,
    Event,
    Profile,
    Tie,
    TimerExpired,
    VirtualHost,
    VirtualHostConfig,
)
from carpproto.simulation import checking
from carpproto.simulation.checking import check
from carpproto.simulation.checking_group import Group
from carpproto.simulation.checking_report import (
    Checked,
    Host,
    Kind,
    Replay,
    ReplayError,
    Verdict,
    named_hosts,
)

GENERATOR = Path(__file__).parents[2] / "docs" / "checking.py"
PROFILES = (FREEBSD, FREEBSD_12, FREEBSD_14, NETBSD, OPENBSD, UCARP)
PAIRS = [
    pytest.param(first, second, id=f"{first.name} and {second.name}")
    for first in PROFILES
    for second in PROFILES
]
PREEMPT = {"preempt": 1}
DUAL = ["192.0.2.50", "2001:db8::50"]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("checking_page", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DOCS = _generator()


def config(advskew: int = 0, **values: Any) -> VirtualHostConfig:
    values = {"addresses": ["192.0.2.50"], **values}
    return VirtualHostConfig(vhid=1, key=b"key", advskew=advskew, **values)


def two(profile: Profile = FREEBSD, advskew: int = 100) -> list[tuple[Any, ...]]:
    """The first one of advskew 0 and of the lower address; both preempt."""
    return [(profile, config(), PREEMPT), (profile, config(advskew), PREEMPT)]


# -- what the library's profiles do ---------------------------------------------------------


def test_the_page_says_what_the_checks_find() -> None:
    assert DOCS.PAGE.read_text() == DOCS.page(), f"stale; run: {DOCS.COMMAND}"


@pytest.mark.parametrize("preempt", [False, True], ids=["preempt 0", "preempt 1"])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_hosts_of_different_advskew_end_with_one_right_master(
    first: Profile, second: Profile, preempt: bool
) -> None:
    found = DOCS.pair(first, second, preempt, 100)
    assert found.holds, str(found)
    # The slower one's master-down time, and what is on its way or late.
    slower = VirtualHost(config(100), profile=second, counter=1)
    late = (DOCS.DEFAULTS["delay"] + DOCS.DEFAULTS["late"]) / 256
    assert found.settles <= slower.master_down_interval / 256 + late


@pytest.mark.parametrize("preempt", [False, True], ids=["preempt 0", "preempt 1"])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_equal_hosts_may_cross_for_ever_unless_the_address_decides(
    first: Profile, second: Profile, preempt: bool
) -> None:
    found = DOCS.pair(first, second, preempt, 0)
    if first is UCARP:
        assert found.holds, str(found)
    else:
        assert found.verdict is Verdict.RECURRENT
        assert found.what == "now none, one and two MASTER"
        assert found.period == 3.0
        found.replay()


@pytest.mark.parametrize("preempt", [False, True], ids=["preempt 0", "preempt 1"])
def test_three_hosts_of_freebsd_end_with_one_right_master(preempt: bool) -> None:
    assert DOCS.trio((FREEBSD, FREEBSD, FREEBSD), preempt, (0, 100, 200)).holds


@pytest.mark.parametrize("preempts", [(0, 1), (1, 0)])
@pytest.mark.parametrize("profile", [FREEBSD, OPENBSD, UCARP], ids=lambda profile: profile.name)
def test_one_of_two_may_preempt(profile: Profile, preempts: tuple[int, int]) -> None:
    hosts = [
        (profile, config(advskew), {"preempt": preempt})
        for advskew, preempt in zip((0, 100), preempts, strict=True)
    ]
    assert check(hosts).holds


def test_what_holds_has_nothing_to_do_again() -> None:
    found = check([(FREEBSD, config())])
    assert found.script() == "# holds: there is nothing to do again\n"
    assert found.replay().states == ("BACKUP",)


@pytest.mark.parametrize(
    ("hosts", "more", "says"),
    [
        (Host(FREEBSD, config()), {}, "no hosts"),
        (5, {}, "no hosts"),
        ([(FREEBSD,)], {}, "no host; give Host"),
        ([5], {}, "no host; give Host"),
        (["freebsd"], {}, "no host; give Host"),
        ([("freebsd", config())], {}, "no Profile"),
        ([(FREEBSD, config())], {"within": "1"}, "within '1' is out of range"),
        ([(FREEBSD, config())], {"within": -1}, "within -1 is out of range"),
        ([(FREEBSD, config())], {"within": float("nan")}, "within nan is out of range"),
    ],
    ids=str,
)
def test_what_cannot_be_checked_is_refused(hosts: Any, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check(hosts, **more)


def test_one_host_alone_and_a_host_of_both_families() -> None:
    assert check([(FREEBSD, config())]).holds
    dual = [(FREEBSD, config(0, addresses=DUAL)), (NETBSD, config(100, addresses=DUAL))]
    assert check(dual, boots=0).holds


@pytest.mark.parametrize("weakness", DOCS.WEAKNESSES, ids=lambda weakness: weakness.title)
def test_each_weakness_is_there_and_happens_in_a_cluster(weakness: Any) -> None:
    found = weakness.checked()
    assert found.verdict is weakness.verdict
    replay = found.replay()
    assert replay.states == found.steps[-1].states
    names: dict[str, Any] = {"hosts": weakness.hosts}
    exec(found.script(), names)
    assert names["replay"].states == replay.states


def test_what_the_page_says_beside_the_weaknesses() -> None:
    negative = [(FREEBSD_12, config(), {"demotion": -10}), (FREEBSD_12, config(100))]
    found = check(negative, boots=0)
    assert found.verdict is Verdict.PERMANENT
    assert sum(step.kind is Kind.LOSE for step in found.steps) == 1
    assert check(negative, losses=0, boots=0).holds

    reverse = [
        Host(UCARP, config(), addresses=("10.66.1.2",)),
        Host(UCARP.replace(tie=Tie.SOURCE_NUMERIC), config(), addresses=("10.66.2.1",)),
    ]
    assert check(reverse, boots=0).verdict is Verdict.RECURRENT

    assert check([(FREEBSD, config()), (FREEBSD, config(advbase=4))]).holds

    soon = [(UCARP, config(), {"dead_ratio": 1})] * 2
    assert check(soon, boots=0).what == "now one and two MASTER"


def test_a_circle_in_a_cluster_ends_in_the_states_that_it_began_with() -> None:
    found = check(two(advskew=0))
    assert found.repeats is not None
    before, again = found.steps[: found.repeats], found.steps[found.repeats :]
    replay = Replay(found.hosts)
    for step in before:
        replay.step(step)
    for turn in range(5):
        for step in again:
            later = step.ticks + round(turn * found.period * 256)
            replay.step(step._replace(ticks=later))


def test_a_kernel_yields_to_the_farewell_of_a_ucarp_that_yields_to_it() -> None:
    replay = Replay([(FREEBSD, config()), (UCARP, config())])
    replay.fire(3.0, "a")
    replay.lose(3.0, "b", "a")
    replay.fire(3.25, "b")
    replay.lose(3.25, "a", "b")
    assert replay.states == ("MASTER", "MASTER")
    replay.fire(4.0, "a")
    replay.deliver(4.0, "b", "a")
    replay.deliver(4.0, "a", "b")  # the farewell: nothing else is on its way
    assert replay.states == ("BACKUP", "BACKUP")


def test_openbsd_inherits_later_than_a_worse_host_of_freebsd() -> None:
    replay = Replay([(OPENBSD, config(100)), (FREEBSD, config(200))])
    with pytest.raises(ReplayError, match="no timer of a is due"):
        replay.fire(3 + 200 / 256, "a")
    replay.fire(3 + 200 / 256, "b")
    replay.deliver(4.0, "a", "b")
    assert replay.states == ("BACKUP", "MASTER")


# -- that it finds what is wrong ----------------------------------------------------------------


class NeverYields(VirtualHost):
    """It stays MASTER beside an equal one."""

    __slots__ = ()

    def _loses_tie(self, family: int, source: Any) -> bool:
        return False


class NeverFires(VirtualHost):
    """It does nothing when its timer expires."""

    __slots__ = ()

    def handle(self, event: Event, now: float) -> tuple[Any, ...]:
        return () if isinstance(event, TimerExpired) else super().handle(event, now)


class HasNoTimer(VirtualHost):
    """It never says that a timer runs."""

    __slots__ = ()
    deadline = None


class NeverPreempts(VirtualHost):
    """It takes no notice of preempt."""

    __slots__ = ()

    def hear(self, *arguments: Any) -> None:
        self._preempt = False
        super().hear(*arguments)


def only_second(broken: type[VirtualHost]) -> Callable[..., VirtualHost]:
    """The host of advskew 100 is a broken one."""

    def machine(config: VirtualHostConfig, **values: Any) -> VirtualHost:
        return (broken if config.advskew == 100 else VirtualHost)(config, **values)

    return machine


def test_equal_masters_that_never_yield_are_two_for_ever() -> None:
    found = check(two(advskew=0), boots=0, machine=NeverYields)
    assert found.verdict is Verdict.PERMANENT
    assert found.what == "two MASTERs or more, a and b"
    # Both timers, nothing more: no fault is needed.
    assert [step.kind for step in found.steps[:3]] == [Kind.START, Kind.FIRE, Kind.FIRE]


def test_equal_addresses_tie_for_ever() -> None:
    numeric = UCARP.replace(tie=Tie.SOURCE_NUMERIC)
    hosts = [Host(numeric, config(), name=name, addresses=("192.0.2.9",)) for name in "ab"]
    assert check(hosts, boots=0).verdict is Verdict.PERMANENT


@pytest.mark.parametrize("broken", [NeverFires, HasNoTimer])
def test_a_backup_that_never_takes_over_leaves_none(broken: type[VirtualHost]) -> None:
    found = check(two(), machine=only_second(broken))
    assert found.verdict is Verdict.PERMANENT
    assert found.what == "no MASTER"
    assert found.steps[-1].states == ("crashed", "BACKUP")
    assert sum(step.kind is Kind.CRASH for step in found.steps) == 1


def test_where_nothing_happens_any_more_the_text_says_so() -> None:
    found = check([(FREEBSD, config())], machine=HasNoTimer)
    assert str(found).endswith("and nothing happens any more")


def test_who_ignores_preempt_leaves_the_wrong_master() -> None:
    found = check(two(), machine=NeverPreempts)
    assert (found.verdict, found.what) == (Verdict.PERMANENT, "the wrong MASTER, b")
    assert check([host[:2] for host in two()], machine=NeverPreempts).holds


def test_the_bound_is_kept() -> None:
    holds = check(two())
    assert holds.settles is not None
    assert check(two(), within=holds.settles).holds
    late = check(two(), within=holds.settles - 1 / 256)
    assert (late.verdict, late.settles) == (Verdict.LATE, holds.settles)
    last = max(step.ticks for step in late.steps if step.kind in (Kind.CRASH, Kind.LOSE))
    assert (late.steps[-1].ticks - last) / 256 >= holds.settles - 1 / 256
    late.replay()
    assert "longer than the bound" in str(late)


def test_without_the_fault_there_is_nothing_to_find() -> None:
    assert check(two(), machine=only_second(NeverFires), crashes=0, losses=0).holds


def test_it_gives_up_after_so_many_states() -> None:
    found = check(two(), limit=100)
    assert not found.holds
    assert found.verdict is Verdict.UNDECIDED
    assert str(found).startswith("not decided: more states than the limit")


# -- that it can be relied on -------------------------------------------------------------------


@pytest.mark.parametrize("advskew", [0, 100])
def test_the_same_question_has_the_same_answer(advskew: int) -> None:
    one, other = check(two(advskew=advskew)), check(two(advskew=advskew))
    assert one == other
    assert str(one) == str(other)


def test_larger_bounds_find_no_fewer_states() -> None:
    small = check(two(), losses=1, boots=0, delay=1, late=0).states
    for more in ({"losses": 2}, {"boots": 1}, {"delay": 2}, {"late": 1}, {"crashes": 2}):
        bounds = {"losses": 1, "boots": 0, "delay": 1, "late": 0, **more}
        assert check(two(), **bounds).states > small
    assert check(two(), crashes=0, boots=0).states < small * 10


@pytest.mark.parametrize(
    "hosts",
    [
        [(OPENBSD, config(), PREEMPT), (FREEBSD, config(100), PREEMPT), (UCARP, config(100), {})],
        [(NETBSD, config(0, addresses=DUAL)), (FREEBSD_12, config(0, addresses=DUAL), PREEMPT)],
        [(UCARP, config()), (FREEBSD, config(7)), (OPENBSD, config(7), {"demotion": 1})],
    ],
    ids=["three", "dual", "demoted"],
)
def test_nodes_in_a_cluster_go_every_way_that_the_check_found(hosts: list[Any]) -> None:
    named = named_hosts(hosts)
    group = Group(named, 2, 1, 64, VirtualHost)
    start = tuple(player.start for player in group.players)
    deafenings = int(len(hosts[0][1].families) == 2)
    graph = checking._Graph(group, (start, (), (), (2, 1, 1, deafenings)), 20_000)
    random = Random(1)
    for number in random.sample(range(len(graph.worlds)), 60):
        steps, _ = graph.steps(graph.way_to(number))
        replay = Replay(named)
        for step in steps:
            replay.step(step)


def test_the_judgement_is_what_the_definitions_say() -> None:
    for seed in range(300):
        random = Random(seed)
        count = random.randint(1, 8)
        free = [
            tuple(random.choices(range(count), k=random.choice([0, 1, 1, 2, 3])))
            for _ in range(count)
        ]
        if seed % 2:  # without circles
            free = [
                tuple(there for there in following if there > here)
                for here, following in enumerate(free)
            ]
        passing = [random.randint(0, 3) for _ in range(count)]
        good = bytearray(random.random() < 0.6 for _ in range(count))
        graph: Any = SimpleNamespace(worlds=[None] * count, free=free, passing=passing, good=good)
        judgement = checking._Judgement(graph)
        after = [reachable(free, here) for here in range(count)]
        settled = [all(good[there] for there in {here, *after[here]}) for here in range(count)]
        assert [not value for value in judgement.unsettled] == settled, seed
        # Once round a circle of good states, or to where nothing follows.
        within = [
            tuple(there for there in following if good[there] and good[here])
            for here, following in enumerate(free)
        ]
        rests = [
            bool(good[here]) and (not free[here] or here in reachable(within, here))
            for here in range(count)
        ]
        lost = [not any(rests[there] for there in {here, *after[here]}) for here in range(count)]
        assert list(map(bool, judgement.lost)) == lost, seed
        circles = {
            here
            for here in range(count)
            if not settled[here] and (here in after[here] or not free[here])
        }
        assert set(judgement.circles) == circles, seed
        if not circles:
            for here in range(count):
                assert judgement.longest[here] == longest(graph, settled, here), seed


def reachable(free: list[tuple[int, ...]], here: int) -> set[int]:
    """The states that some way of one move or more leads to."""
    found: set[int] = set()
    stack = [here]
    while stack:
        for there in free[stack.pop()]:
            if there not in found:
                found.add(there)
                stack.append(there)
    return found


def longest(graph: Any, settled: list[bool], here: int) -> int:
    """The longest time until it is settled."""
    if settled[here]:
        return 0
    last = len(graph.free[here]) - 1
    return max(
        longest(graph, settled, there) + (graph.passing[here] if move == last else 0)
        for move, there in enumerate(graph.free[here])
    )


# -- what is asked and answered ------------------------------------------------------------------


def test_what_holds_says_so_in_a_line() -> None:
    assert str(check(two(), losses=1, boots=0, delay=1, late=0)) == (
        "holds, 83 states (one right MASTER 3.395 s after the last fault; "
        "1 loss, 1 crash; delay 1/256 s, timers 0/256 s late)"
    )


def test_a_counterexample_is_told_step_by_step() -> None:
    found = check(two(advskew=0), losses=0, boots=0, delay=0, late=0)
    assert str(found).splitlines()[1:5] == [
        "   seconds  a        b",
        "    0.0000  BACKUP   BACKUP   all boot",
        "            and from here on again and again, every 3 s:",
        "    3.0000  MASTER   BACKUP   a's timer: BACKUP -> MASTER (master timed out), advertises",
    ]
    assert found.steps[1].at == 3.0
    assert "replay.fire(3.0, 'a')\nreplay.fire(3.0, 'b')\n" in found.script()


def test_a_long_circle_is_cut_short() -> None:
    hosts = [(FREEBSD, config()), (FREEBSD, config(100, addresses=["192.0.2.51"]))]
    found = check(hosts, losses=0, crashes=0, boots=0, delay=1, late=0)
    assert found.what == "two MASTERs or more, a and b"
    assert str(found).splitlines()[-1].endswith("steps more")


def test_a_check_that_cannot_be_is_refused() -> None:
    for bounds, match in (
        ({"losses": -1}, "losses -1 is out of range"),
        ({"delay": 0.5}, "delay 0.5 is out of range"),
        ({"boot_every": 0}, "boot_every 0 is out of range"),
    ):
        with pytest.raises(ConfigError, match=match):
            check(two(), **bounds)
    with pytest.raises(ConfigError, match="give one host or more"):
        check([])
    with pytest.raises(ConfigError, match="named each"):
        check([Host(FREEBSD, config(), name="a"), Host(FREEBSD, config(), name="a")])
    with pytest.raises(ConfigError, match="unicast peer"):
        check([(FREEBSD, config(peer="192.0.2.2"))])
    with pytest.raises(ConfigError, match="is no VirtualHostConfig"):
        check([(FREEBSD, None)])
    with pytest.raises(ConfigError, match="advbase 0"):
        check([(FREEBSD, config(advbase=0))])


def test_a_replay_refuses_what_cannot_be() -> None:
    replay = Replay(two())
    with pytest.raises(ReplayError, match="no timer of a is due"):
        replay.fire(2.0, "a")
    replay.fire(3.0, "a")
    with pytest.raises(ReplayError, match="1 advertisements are on their way from a to b"):
        replay.deliver(3.0, "b", "a", nth=1)
    step = check(two(advskew=0)).steps[1]
    with pytest.raises(ReplayError, match="the replay has"):
        Replay(two()).step(step._replace(states=("BACKUP", "BACKUP")))


# -- deeper -----------------------------------------------------------------------------------


def deeper(hosts: list[Any], **bounds: int) -> Checked:
    found = check(hosts, **bounds)
    if found.steps:
        found.replay()
    return found


@pytest.mark.deep
@pytest.mark.parametrize("settings", [{}, PREEMPT], ids=["preempt 0", "preempt 1"])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_deep_pairs(first: Profile, second: Profile, settings: dict[str, int]) -> None:
    for advskew in (1, 100):
        hosts = [(first, config(), settings), (second, config(advskew), settings)]
        found = deeper(hosts, losses=3, delay=3, late=2, boot_every=1)
        assert found.holds, str(found)
        found = deeper(hosts, losses=4, crashes=2, boots=2, delay=1, late=1)
        assert found.holds, str(found)
    equal = [(first, config(), settings), (second, config(), settings)]
    assert deeper(equal, losses=3, boot_every=8).holds is (first is UCARP)


@pytest.mark.deep
@pytest.mark.parametrize("settings", [{}, PREEMPT], ids=["preempt 0", "preempt 1"])
@pytest.mark.parametrize(
    "profiles",
    [
        (FREEBSD, FREEBSD, FREEBSD),
        (FREEBSD, OPENBSD, UCARP),
        (UCARP, UCARP, UCARP),
        (OPENBSD, NETBSD_1120, FREEBSD_12),
    ],
    ids=lambda profiles: ", ".join(profile.name for profile in profiles),
)
def test_deep_trios(profiles: tuple[Profile, ...], settings: dict[str, int]) -> None:
    for advskews in ((0, 100, 200), (200, 1, 0), (0, 239, 254)):
        hosts = [
            (profile, config(advskew), settings)
            for profile, advskew in zip(profiles, advskews, strict=True)
        ]
        found = deeper(hosts, losses=2, delay=1, late=1, boot_every=32)
        assert found.holds, str(found)
        found = deeper(hosts, losses=3, crashes=2, boots=0, delay=2, late=1)
        assert found.holds, str(found)
