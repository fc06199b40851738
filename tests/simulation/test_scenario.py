"""Scenarios: what faults do, what is measured, what is judged, how files are refused."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from carpproto import (
    FREEBSD,
    NETBSD,
    OPENBSD,
    UCARP,
    ConfigError,
    DemotionAdjusted,
    InterfaceChanged,
    Reconfigured,
    SettingChanged,
    Shutdown,
    State,
    StateRequested,
    VirtualHostAdded,
    VirtualHostConfig,
    VirtualHostRemoved,
)
from carpproto.simulation.faults import (
    Boot,
    Carrier,
    Crash,
    Cut,
    Fault,
    Heal,
    Inject,
    LocalEvent,
    Partition,
    Resume,
    SegmentChange,
    SendErrors,
    Stall,
    Stop,
)
from carpproto.simulation.parts import CLOCKS, QUALITIES
from carpproto.simulation.random_scenario import (
    MIXED,
    PROFILES,
    Variety,
    random_scenario,
)
from carpproto.simulation.scenario import (
    Expectation,
    NodeDescription,
    Scenario,
    SegmentDescription,
)
from carpproto.simulation.scenario_file import load_scenario, parse_scenario
from carpproto.simulation.scenario_text import (
    describe_fault,
    describe_node,
    describe_scenario,
    describe_segment,
    to_toml,
)
from carpproto.simulation.shrink import shrink
from carpproto.simulation.toml_lines import Lines
from carpproto.simulation.toml_words import FAULT_KEYS, KEYS
from carpproto.simulation.verdict import Mastered, judge
from carpproto.testing import strategies
from carpproto.testing.golden import golden_frame

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def config(advskew: int = 0, **values) -> VirtualHostConfig:
    given = {"vhid": 1, "passphrase": "a secret", "addresses": ["192.0.2.1"], **values}
    return VirtualHostConfig(advskew=advskew, **given)


def node(name: str, advskew: int = 0, *, preempt: int = 1, **values) -> NodeDescription:
    return NodeDescription(
        name, (("em0", config(advskew)),), settings=(("preempt", preempt),), **values
    )


def scenario(*faults: Fault, **values) -> Scenario:
    """Nodes a, b and c of advskew 0, 100 and 200, with preempt."""
    nodes = (node("a", 0), node("b", 100), node("c", 200))
    return Scenario("test", nodes, faults, **values)


def masters(result) -> list[tuple[str, float, float]]:
    return [tuple(master) for master in result.groups[0].masters]


# -- faults and measures -------------------------------------------------------------------------


def test_a_crash_is_measured() -> None:
    result = scenario(Crash(10.0, "a")).run()
    (group,) = result.groups
    # a's last advertisement came at 9 s: at 10 s it crashes first.
    takes_over = 9.0 + 0.0002 + 3 + 100 / 256
    assert group.masters == (
        Mastered("a", 3.0, 10.0),
        Mastered("b", takes_over, result.lasted),
    )
    assert group.failovers == (pytest.approx(takes_over - 10.0),)
    assert (group.first, group.without, group.several) == (3.0, group.failovers[0], 0.0)
    assert group.without_after == group.without
    assert result.settled == takes_over
    assert (result.violations, result.unjudged, result.divided) == ((), (), ())


def test_two_masters_are_measured() -> None:
    result = scenario(Cut(10.0, "a", "b"), Cut(10.0, "a", "c"), Heal(20.0)).run()
    (group,) = result.groups
    assert group.masters[1].start == 9.0002 + 3 + 100 / 256
    assert group.masters[1].end == 20.0002
    assert group.several == pytest.approx(20.0002 - group.masters[1].start)
    assert group.several_after == pytest.approx(0.0002)
    assert group.without == 0.0
    assert result.violations == ()


@pytest.mark.parametrize(
    ("faults", "at", "expected"),
    [
        ((Stop(10.0, "a"),), 13.0, ("b",)),
        # It says goodbye, and b preempts at once.
        ((Stop(10.0, "a", True),), 10.1, ("b",)),
        ((Stall(10.0, "a"),), 15.0, ("a", "b")),
        ((Stall(10.0, "a"), Resume(15.0, "a")), 17.0, ("a",)),
        ((Partition(10.0, (("a",), ("b", "c"))),), 15.0, ("a", "b")),
        ((Partition(10.0, (("a",), ("b", "c"))), Heal(15.0)), 17.0, ("a",)),
        ((Carrier(10.0, "a", False),), 15.0, ("b",)),
        ((Carrier(10.0, "a", False), Carrier(15.0, "a", True)), 25.0, ("a",)),
        ((SendErrors(10.0, "a"),), 15.0, ("b",)),
        ((SegmentChange(10.0, "lan", (("eats_multicast", True),)),), 15.0, ("a", "b", "c")),
        ((LocalEvent(10.0, "a", DemotionAdjusted(150)),), 12.0, ("b",)),
        ((LocalEvent(10.0, "b", Reconfigured("em0", 1, passphrase="x")),), 15.0, ("a", "b")),
        ((Crash(10.0, "a"), Boot(15.0, "a")), 25.0, ("a",)),
    ],
)
def test_what_faults_do(faults: tuple[Fault, ...], at: float, expected: tuple[str, ...]) -> None:
    made = scenario(*faults)
    made.check()
    cluster = made.cluster(0)
    cluster.run(at)
    assert cluster.masters() == expected


def test_faults_that_mean_nothing_do_nothing() -> None:
    faults = (
        Boot(1.0, "a"),
        Resume(1.0, "a"),
        Crash(10.0, "b"),
        Crash(11.0, "b"),
        Stop(11.0, "b"),
        Stall(11.0, "b"),
        Resume(11.0, "b"),
        LocalEvent(11.0, "b", DemotionAdjusted(5)),
    )
    made = scenario(*faults)
    made.check()
    assert masters(made.run()) == [("a", 3.0, made.lasts)]


def test_faults_and_nodes_are_described_without_their_secrets() -> None:
    secret = LocalEvent(1.0, "a", Reconfigured("em0", 1, passphrase="hush", advskew=3))
    assert describe_fault(secret) == (
        "at 1 s: reconfigure node=a interface=em0 vhid=1 advskew=3 passphrase=..."
    )
    added = LocalEvent(1.0, "a", VirtualHostAdded("em0", config(3)))
    assert describe_fault(added) == (
        "at 1 s: add-vhid node=a interface=em0 vhid=1 addresses=[192.0.2.1] passphrase=... "
        "advbase=1 advskew=3"
    )
    for fault, words in (
        (Cut(2.5, "a", "b", False), "at 2.5 s: cut sender=a receiver=b both=false"),
        (Partition(1.0, (("a",), ("b", "c"))), "at 1 s: partition groups=[[a], [b, c]]"),
        (
            SegmentChange(1.0, "lan", (("loss", 0.5), ("echoes", True))),
            "at 1 s: segment segment=lan loss=0.5 echoes=true",
        ),
        (Stop(100000.25, "a"), "at 100000.25 s: stop node=a"),
        (LocalEvent(1.0, "a", DemotionAdjusted(-9)), "at 1 s: demote node=a delta=-9"),
        (
            LocalEvent(1.0, "a", StateRequested("em0", 1, State.BACKUP, 3.0)),
            "at 1 s: request node=a interface=em0 vhid=1 state=BACKUP hold=3",
        ),
        (LocalEvent(1.0, "a", Shutdown()), "at 1 s: on a Shutdown(bow_out=None)"),
    ):
        assert describe_fault(fault) == words
    assert describe_node(node("a", 7, late=0.02)) == (
        "a: FreeBSD 12, vhid 1 on em0 addresses 192.0.2.1 advbase 1 advskew 7, preempt 1, "
        "late 0.02"
    )
    unusual = NodeDescription(
        "b",
        (("em1", config(peer="198.18.0.7", peer6="fe80::7")),),
        interfaces=(("em0", "lan"), ("em1", "dmz")),
        addresses=(("em1", ("198.18.0.9", "fe80::9")),),
        boots=False,
    )
    assert describe_node(unusual) == (
        "b: FreeBSD 12, em0 on lan, em1 on dmz, em1 has 198.18.0.9 and fe80::9, vhid 1 on em1 "
        "addresses 192.0.2.1 advbase 1 advskew 0 peer 198.18.0.7 peer6 fe80::7, boots false"
    )
    lan = SegmentDescription("lan", (("loss", 0.5), ("delay", 0.0002), ("echoes", True)))
    assert describe_segment(lan) == "lan: loss 0.5, echoes true"
    late_first = scenario(Heal(9.0), Cut(8.0, "a", "b"), segments=(lan, SegmentDescription("dmz")))
    described = describe_scenario(late_first)
    assert described["faults"] == ["at 8 s: cut sender=a receiver=b", "at 9 s: heal"]
    assert described["segments"] == ["lan: loss 0.5, echoes true"]


# -- the time to settle ---------------------------------------------------------------------------


def test_the_bound_is_twice_the_longest_master_down_time() -> None:
    made = scenario(Crash(10.0, "a"))
    longest = 3 + 200 / 256
    settling = made.settling()
    assert settling.master_down == longest
    assert settling.without_ties == pytest.approx(2 * (longest + 0.0002))
    assert settling.with_ties == pytest.approx(8 * (longest + 0.0002))
    assert made.lasts == pytest.approx(10.0 + settling.without_ties + longest)


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"nodes": (node("a", 200, clock_rate=0.5),)}, 2 * (3 + 200 / 256)),
        ({"nodes": (node("a", 200, late=0.5),)}, 2 * 0.5),
        ({"nodes": (node("a", 200, late_share=1.0),)}, 2 * (3 + 200 / 256)),
        ({"nodes": (node("a", 200, takes_up=0.5),)}, 2 * 0.5),
        ({"nodes": (node("a", 200, profile=OPENBSD),)}, 2 * (400 / 256)),
        ({"nodes": (node("a", 200, profile=UCARP),)}, 1 + 240 / 256 + 0.0002),
        ({"segments": (SegmentDescription("lan", (("delay", 0.5),)),)}, 2 * (0.5 - 0.0002)),
        ({"faults": (SegmentChange(0.0, "lan", (("hold", 0.5), ("jitter", 0.5))),)}, 2 * 1.5),
        ({"faults": (LocalEvent(0.0, "a", SettingChanged("dead_ratio", 5)),)}, 2 * 2),
        ({"faults": (LocalEvent(0.0, "a", StateRequested("em0", 1, State.BACKUP, 3.0)),)}, 3.0),
        ({"faults": (LocalEvent(0.0, "a", Reconfigured("em0", 1, advbase=2)),)}, 2 * 3),
        ({"faults": (SendErrors(0.0, "a"),)}, 3 * (1 + 240 / 256 + 0.0002)),
    ],
)
def test_what_the_bound_depends_on(change: dict, more: float) -> None:
    plain = Scenario("plain", (node("a", 200),))
    changed = plain._replace(**change)
    difference = changed.settling().without_ties - plain.settling().without_ties
    assert difference == pytest.approx(more)


# -- the properties -------------------------------------------------------------------------------


def kinds(result) -> list[str]:
    return [violation.kind for violation in result.violations]


def meddled(made: Scenario, before_the_end: float, *events: tuple[str, object]):
    """A run in which something else happens, too, shortly before its end."""
    cluster = made.cluster(0)
    cluster.run(made.lasts - before_the_end)
    for name, event in events:
        cluster.handle(name, event)
    cluster.run(made.lasts)
    return judge(made, cluster)


def test_a_late_change_and_the_wrong_master_are_violations() -> None:
    made = scenario()
    asked = [(name, StateRequested("em0", 1, State.BACKUP)) for name in "abc"]
    assert kinds(meddled(made, 0.0001, *asked)) == ["not settled"]
    assert kinds(meddled(made, 0.0001, ("b", StateRequested("em0", 1, State.MASTER)))) == [
        "not settled"
    ]
    # b is MASTER while nobody preempts; then everybody would, but heard nothing since.
    quiet = Scenario("quiet", (node("a", 0, preempt=0, boots=False), node("b", 9, preempt=0)))
    quiet = quiet._replace(faults=(Boot(10.0, "a"),))
    assert quiet.run().violations == ()
    settings = [(name, SettingChanged("preempt", 1)) for name in "ab"]
    assert kinds(meddled(quiet, 0.0001, *settings)) == ["wrong MASTER"]


def test_states_at_the_end_are_judged_even_if_nothing_changed_lately() -> None:
    for example, kind in (("negative-demotion", "several MASTERs"),):
        assert kinds(load_scenario(EXAMPLES / f"{example}.toml").run()) == [kind]
    made = scenario(Crash(10.0, "a"))
    cluster = made.cluster(0)
    cluster.run(made.lasts)
    cluster.stall("b")
    assert kinds(judge(made, cluster)) == ["no MASTER"]


def test_parts_that_do_not_hear_each_other_have_a_master_each() -> None:
    result = scenario(Partition(10.0, (("a",), ("b", "c")))).run()
    assert result.violations == ()
    assert result.divided == ("vhid 1 on lan: a from b, c: they are cut from each other",)
    strangers = scenario(LocalEvent(10.0, "c", Reconfigured("em0", 1, passphrase="x"))).run()
    assert strangers.violations == ()
    assert strangers.divided == (
        "vhid 1 on lan: a, b from c: their HMACs differ: another passphrase or key on a than on c",
    )
    moved = scenario(LocalEvent(10.0, "c", VirtualHostRemoved("em0", 1)))
    moved = moved._replace(
        faults=(
            *moved.faults,
            LocalEvent(11.0, "c", VirtualHostAdded("em0", config(200, addresses=["192.0.2.9"]))),
        )
    )
    assert moved.run().violations == ()


def pair_of(a: VirtualHostConfig, b: VirtualHostConfig, *faults: Fault, **values) -> Scenario:
    """Nodes a and b, each with a configuration of its own."""
    nodes = tuple(NodeDescription(name, (("em0", c),)) for name, c in (("a", a), ("b", b)))
    return Scenario("pair", nodes, faults, **values)


LAN_EATS = {"segments": (SegmentDescription("lan", (("eats_multicast", True),)),)}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            pair_of(config(), config(100, passphrase="a sekret")),
            "a and b are MASTER at the end: their HMACs differ: "
            "another passphrase or key on a than on b",
        ),
        (
            pair_of(config(), config(100, addresses=["192.0.2.2"])),
            "a and b are MASTER at the end: their HMACs differ: "
            "other virtual addresses on a (192.0.2.1) than on b (192.0.2.2)",
        ),
        (
            pair_of(config(), config(100), **LAN_EATS),
            "a and b are MASTER at the end: multicast does not arrive on lan",
        ),
        (
            pair_of(
                config(),
                config(100),
                segments=(SegmentDescription("lan", (("loss", 1.0), ("corrupt", 0.1))),),
            ),
            "a and b are MASTER at the end: lan loses frames, lan corrupts frames",
        ),
        (
            pair_of(
                config(), config(100), segments=(SegmentDescription("lan", (("echoes", True),)),)
            ),
            "nobody is MASTER at the end: lan sends frames back to their sender",
        ),
        (
            pair_of(config(peer="198.18.0.7"), config(100)),
            "a and b are MASTER at the end: a has a unicast peer, 198.18.0.7",
        ),
        # What no fault has brought, none takes back either.
        (
            pair_of(
                config(), config(9, passphrase="b"), Cut(5.0, "a", "b"), Heal(9.0),
                Crash(12.0, "b"), Boot(20.0, "b"),
            ),
            "a and b are MASTER at the end: their HMACs differ: "
            "another passphrase or key on a than on b",
        ),
    ],
)  # fmt: skip
def test_a_division_that_no_fault_made_is_a_violation(made: Scenario, reason: str) -> None:
    [violation] = made.run().violations
    assert violation.text == reason
    assert violation.kind == ("no MASTER" if reason.startswith("nobody") else "several MASTERs")


def test_a_vhid_that_a_fault_brought_divides_by_that_fault() -> None:
    bare = NodeDescription("b", ())
    other = LocalEvent(10.0, "b", VirtualHostAdded("em0", config(9, passphrase="other")))
    result = Scenario("later", (node("a"), bare), (other,)).run()
    assert result.violations == ()
    assert result.divided[0].endswith("another passphrase or key on a than on b")


def test_a_node_is_left_out_with_a_partition_that_was_of_nobody_else() -> None:
    nodes = (node("a", 0), node("b", 100))
    stranger = NodeDescription("c", (("em0", config(200, passphrase="x")),))
    made = Scenario("shrinks", (*nodes, stranger), (Partition(5.0, (("b",),)), Heal(9.0)))
    smaller = shrink(made, 0)
    assert len(smaller.nodes) == 2
    assert smaller.faults == ()


def test_a_lossy_segment_on_which_the_group_holds_together_is_not_judged() -> None:
    lossy = (SegmentDescription("lan", (("loss", 0.2),)),)
    result = scenario(segments=lossy).run()
    assert (result.violations, result.judged) == ((), 0)
    assert result.unjudged == ("vhid 1 on lan: lan loses frames",)
    faulty = scenario(SegmentChange(5.0, "lan", (("eats_multicast", True),)))
    assert faulty.run().violations == ()
    assert faulty.run().unjudged == ("vhid 1 on lan: multicast does not arrive on lan",)


def test_netbsd_s_ifconfig_is_named_where_it_makes_another_key() -> None:
    nodes = (node("a", profile=FREEBSD), node("b", 100, profile=NETBSD))
    result = Scenario("mixed", nodes).run()
    [violation] = result.violations
    assert violation.text.endswith(
        "another passphrase or key on a than on b "
        "(NetBSD's ifconfig drops the last character of a passphrase)"
    )
    assert result.refused[0].startswith("a refused badauth=")
    assert result.refused[1].startswith("b refused badauth=")
    assert result.refused[2].startswith("NetBSD's ifconfig drops the last character")
    assert scenario().run().refused == ()


def test_where_nobody_takes_part_nothing_is_judged() -> None:
    asleep = tuple(node(name, boots=False) for name in "ab")
    result = Scenario("asleep", asleep).run()
    assert (result.violations, result.judged) == ((), 0)
    assert result.unjudged == (
        "vhid 1 on lan: nobody takes part at the end: a does not run, b does not run",
    )
    expects = Expectation(failover=5.0)
    assert kinds(Scenario("asleep", asleep, expects=expects).run()) == ["never a MASTER"]
    stopped = scenario(
        Stall(10.0, "a"),
        Carrier(10.0, "b", False),
        LocalEvent(10.0, "c", SettingChanged("allow", 0)),
    )
    assert stopped.run().unjudged[0].endswith("a is stalled, b has no carrier, c has allow = 0")
    gone = scenario(
        LocalEvent(10.0, "a", InterfaceChanged("em0", False)),
        LocalEvent(10.0, "b", VirtualHostRemoved("em0", 1)),
        Crash(10.0, "c"),
    )
    assert (
        gone.run()
        .unjudged[0]
        .endswith("a has em0 down, b has lost its vhid or its addresses, c does not run")
    )


def test_what_looks_like_a_mistake_is_remarked() -> None:
    nodes = (node("a"), node("b", 9, interfaces=(("em0", "lna"),)))
    made = Scenario("typo", nodes, segments=(SegmentDescription("dmz"),))
    assert made.run().remarks == (
        "nobody is on segment dmz",
        "a is the only node with vhid 1 on lan; others have it on lna",
        "b is the only node with vhid 1 on lna; others have it on lan",
    )
    assert scenario().run().remarks == ()
    alone = Scenario("alone", (node("a"),)).run()
    assert alone.remarks == ("a is the only node with vhid 1 on lan",)
    assert alone.judged == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Cut(10.0, "a", "b", False), "hear others that do not hear them"),
        (Cut(10.0, "a", "b"), "not all of those that these hear"),
        (SendErrors(10.0, "b"), "b cannot send"),
        (SegmentChange(10.0, "lan", (("loss", 0.1),)), "lan loses"),
        (SegmentChange(10.0, "lan", (("delay", 0.2),)), "takes more than 0.1 s"),
        (LocalEvent(10.0, "b", Reconfigured("em0", 1, peer="198.18.0.1")), "unicast peer"),
    ],
)
def test_what_cannot_be_judged_is_not(fault: Fault, reason: str) -> None:
    (found,) = scenario(fault).run().unjudged
    assert reason in found


def test_a_system_that_is_not_allowed_to_listen_but_sends_is_not_judged() -> None:
    nodes = (node("a", profile=NETBSD), node("b", 9, profile=NETBSD))
    made = Scenario("test", nodes, (LocalEvent(10.0, "a", SettingChanged("allow", 0)),))
    assert "not allowed" in made.run().unjudged[0]
    stopped = scenario(LocalEvent(10.0, "a", SettingChanged("allow", 0))).run()
    assert (stopped.unjudged, stopped.violations) == ((), ())


def test_expectations() -> None:
    expects = Expectation(
        masters=((1, "b"),), without_master=1.0, several_masters=0.0, failover=2.0
    )
    found = kinds(scenario(Crash(10.0, "a"), Boot(20.0, "a"), expects=expects).run())
    assert found == [
        "unexpected MASTER",
        "too long without a MASTER",
        "too long with several MASTERs",
        "too slow a failover",
    ]
    # A failover that does not end is too slow, too.
    gone = scenario(*(Crash(10.0, name) for name in "abc"), expects=Expectation(failover=2.0))
    assert kinds(gone.run()) == ["too slow a failover"]


@pytest.mark.parametrize(
    ("example", "kind"),
    [
        ("failover", None),
        ("equal-hosts", "equal hosts cross"),
        ("exact-clocks", "equal hosts cross"),
        ("negative-demotion", "several MASTERs"),
        ("stale-hmac", "several MASTERs"),
        ("byte-orders", "several MASTERs"),
        ("ipv6-checksums", "not settled"),
        ("demotion-that-stays", "unexpected MASTER"),
        ("echo", "too long without a MASTER"),
    ],
)
def test_the_examples_of_the_documentation(example: str, kind: str | None) -> None:
    assert kinds(load_scenario(EXAMPLES / f"{example}.toml").run()) == ([kind] if kind else [])


def test_every_example_is_tested() -> None:
    marks = test_the_examples_of_the_documentation.pytestmark
    tested = {example for example, _ in marks[0].args[1]}
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == tested


# -- random scenarios -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PROFILES, MIXED])
def test_random_scenarios_settle(name: str) -> None:
    variety = Variety(profiles=(name,))
    for seed in range(12):
        made = random_scenario(seed, variety)
        assert made.lasts >= 60.0
        assert len(made.nodes) >= 3
        assert len(made.faults) >= 3
        result = made.run(seed)
        assert (result.violations, result.unjudged) == ((), ()), f"{name}, seed {seed}"


def test_random_scenarios_can_be_checked_and_show_everything() -> None:
    seen: set[str] = set()
    for seed in range(150):
        made = random_scenario(seed)
        if seed < 20:
            made.check()
        seen |= {type(fault).__name__ for fault in made.faults}
    # Frames are injected by the fuzzer: see carpproto.testing.fuzz_cluster.
    assert seen == {kind.__name__ for kind in Fault.__args__ if kind is not Inject}


def test_a_random_scenario_never_changes() -> None:
    """Seeds in reports and in docs mean the same as long as this holds."""
    told = "".join(repr(random_scenario(seed)) for seed in range(30))
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "c0ef0b3e2cc37b24"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"profiles": ("linux",)}, "no profile 'linux'"),
        ({"profiles": ()}, "no profile was given"),
        ({"nodes": (1, 3)}, "nodes 1 to 3"),
        ({"nodes": (4, 3)}, "nodes 4 to 3"),
        ({"incidents": (-1, 3)}, "incidents -1 to 3"),
        ({"faults_until": (1.0, 3.0)}, "faults_until 1 to 3"),
    ],
)
def test_a_variety_that_cannot_be_is_refused(values: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Variety(**values).check()


RUN = """
import hashlib
from carpproto.simulation.random_scenario import MIXED, Variety, random_scenario
total = hashlib.sha256()
for seed in range(5):
    made = random_scenario(seed, Variety(profiles=("freebsd", MIXED, "ucarp")))
    cluster = made.cluster(seed)
    for segment in cluster.segments.values():
        segment.taps.append(lambda *frame: total.update(repr(frame).encode()))
    cluster.run(made.lasts)
    total.update(repr((cluster.transitions, cluster.masterships)).encode())
    total.update(repr(made.run(seed)).encode())
print(total.hexdigest())
"""


def test_the_same_seed_gives_the_same_run_whatever_the_hashes() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", RUN],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("0", "1", "4711")
    }
    assert len(printed) == 1


def test_another_seed_gives_another_run() -> None:
    made = scenario(SegmentChange(5.0, "lan", (("loss", 0.5),)))
    assert made.run(1) == made.run(1)
    assert made.run(1)._replace(seed=2) != made.run(2)


# -- files ----------------------------------------------------------------------------------------

FILE = """\
name = "two"

[vhids.1]
addresses = [
    "192.0.2.1",   # the firewall
]
passphrase = "a secret"

[nodes.a]
preempt = true
vhids.1.advskew = 0

[nodes.b]
profile = "ucarp"
settings = { preempt = true }

[[faults]]
at = 10
fault = "crash"
node = "a"

[[faults]]
at = 20.5
fault = "boot"
node = "a"

[expect]
failover = 5
"""


def test_a_file_is_read() -> None:
    made = parse_scenario(FILE)
    assert made.name == "two"
    assert [one.name for one in made.nodes] == ["a", "b"]
    assert made.nodes[0].virtual_hosts == (("em0", config(0)),)
    assert made.nodes[1].profile is UCARP
    assert made.nodes[1].settings == (("preempt", 1),)
    assert made.faults == (Crash(10.0, "a"), Boot(20.5, "a"))
    assert made.expects == Expectation(failover=5.0)
    assert made.run().violations == ()


def every_fault() -> str:
    more = """
[nodes.c]
interfaces = { em0 = "lan", em1 = "dmz" }
addresses.em1 = ["10.0.0.3"]
clock_rate = 1.01
late = 0.02
late_share = 0.0625
takes_up = 0.1
boots = false
vhids.1.interface = "em1"
[segments.dmz]
loss = 0.1
echoes = true
"""
    faults = {
        "stop": 'node = "a"\nbow_out = true',
        "stall": 'node = "a"',
        "resume": 'node = "a"',
        "cut": 'sender = "a"\nreceiver = "b"\nboth = false',
        "partition": 'groups = [["a"], ["b", "c"]]',
        "heal": "",
        "carrier": 'node = "c"\ninterface = "em1"\nup = false',
        "send-errors": 'node = "a"',
        "interface": 'node = "c"\nup = false',
        "demote": 'node = "a"\ndelta = 5',
        "set": 'node = "a"\nname = "preempt"\nvalue = false',
        "request": 'node = "a"\nstate = "BACKUP"\nhold = 3',
        "reconfigure": 'node = "a"\nkey = "00ff"\nadvskew = 3',
        "add-address": 'node = "a"\naddress = "192.0.2.9"',
        "remove-address": 'node = "a"\naddress = "192.0.2.9"',
        "remove-vhid": 'node = "a"\nvhid = 1',
        "inject": 'segment = "dmz"\nframe = "01005e000012 00005e000101 0800"',
        "add-vhid": 'node = "a"\nvhid = 1\naddresses = ["192.0.2.1"]\npassphrase = "a secret"',
        "segment": 'segment = "dmz"\nloss = 0.2\neats_multicast = true',
    }
    text = FILE + more
    for kind, values in faults.items():
        text += f'[[faults]]\nat = 30\nfault = "{kind}"\n{values}\n'
    return text


EVERY_FAULT = every_fault()


def test_every_kind_of_fault_is_read() -> None:
    made = parse_scenario(EVERY_FAULT)
    assert len(made.faults) == 2 + len(FAULT_KEYS) - 2
    assert {type(fault) for fault in made.faults} == set(Fault.__args__)
    assert made.faults[-1] == SegmentChange(30.0, "dmz", (("loss", 0.2), ("eats_multicast", True)))
    assert made.nodes[2].virtual_hosts[0][0] == "em1"
    made.run()


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("advskew = 0", "advskew = 300", 11, "advskew 300 is out of range"),
        ("advskew = 0", "advskw = 0", 11, "no key 'advskw'"),
        ("preempt = true\nvhids", "preempted = true\nvhids", 10, "no key 'preempted'"),
        ("preempt = true }", "preempt = 7 }", 15, "preempt 7 is out of range"),
        ("preempt = true }", "premt = 1 }", 15, "no key 'premt'"),
        ('"ucarp"', '"linux"', 14, "no profile 'linux'"),
        ("[nodes.b]", "[nodes.b]\nclock_rate = 9", 14, "clock_rate 9.0 is out of range"),
        ("[nodes.b]", "[nodes.b]\nlate = '1'", 14, "a number is expected, not text"),
        ("[nodes.b]", "[nodes.b]\ninterfaces = {}", 14, "needs an interface"),
        ("[nodes.b]", '[nodes.b]\nvhids.1.interface = "em1"', 14, "interface 'em1' is none of"),
        ("[nodes.b]", "[nodes.b]\nvhids.1 = 3", 14, "a table is expected"),
        ("[nodes.b]", "[nodes.b]\nvhids.2.advskew = 3", 14, "vhid 2 has no addresses"),
        ("[nodes.b]", '[nodes.b]\naddresses.em0 = ["x"]', 14, "'x' is not an address"),
        ("[vhids.1]", "[vhids.x]", 3, "vhid 'x' is no number"),
        ("[vhids.1]", "[vhids.300]", 3, "vhid 300 is out of range"),
        ('"192.0.2.1", ', '"192.0.2", ', 4, "'192.0.2' is not an address"),
        ('passphrase = "a secret"', "passphrase = 7", 7, "text is expected"),
        ('passphrase = "a secret"', 'key = "hush"', 7, "hexadecimal digits are expected"),
        ("at = 20.5", "at = -1", 23, "at -1.0 is out of range"),
        ("at = 20.5", "at = nan", 23, "at nan is out of range"),
        ("at = 20.5", "at = 1" + "0" * 400, 23, "too large"),
        ("at = 20.5", "at = 1970-01-01", 23, "a number is expected, not a date"),
        ("at = 20.5\n", "", 22, "at is missing"),
        ('"boot"', '"root"', 24, "no fault 'root'"),
        ('"boot"', '"demote"', 22, "delta is missing"),
        ('"boot"', '"reconfigure"\nadvskew = 400', 25, "advskew 400 is out of range"),
        ('"boot"', '"reconfigure"\nadvskew = 4\nvhid = 4', 26, "no vhid 4"),
        ('"boot"', '"set"\nname = "x"\nvalue = 1', 25, "no setting 'x'"),
        ('"boot"\nnode = "a"', '"boot"\nnode = "z"', 25, "no node 'z'"),
        ('"boot"\nnode = "a"', '"segment"\nloss = 0.1\nsegment = "x"', 26, "no segment 'x'"),
        ("failover = 5", "failover = -5", 28, "failover -5.0 is out of range"),
        ("failover = 5", 'masters = { 1 = "z" }', 28, "no node 'z'"),
        ("failover = 5", 'masters = { 7 = "a" }', 28, "nobody has vhid 7"),
        ("failover = 5", 'masters = { x = "a" }', 28, "vhid 'x' is no number"),
        ("failover = 5", "fail = 5", 28, "no key 'fail'"),
        ('name = "two"', "duration = 21", 1, "duration 21 is too short"),
        ('name = "two"', "duration = 20", 23, "at 20.5 is after the end"),
        ('name = "two"', "durations = 21", 1, "no key 'durations'"),
        ('name = "two"', "name = 3", 1, "text is expected"),
        ('name = "two"', "segments.lan.loss = 3", 1, "loss 3.0 is out of range"),
        ('name = "two"', "segments.lan.los = 3", 1, "no key 'los'"),
        ('name = "two"', "[segments.lan", 1, "Expected ']'"),
        # The line of the value, not of its table.
        ("[vhids.1]", "[nodes.c]\n[vhids.1]\nadvskew = 255", 5, "advskew 255 is out of range"),
        ("advskew = 0", "advskew = 255", 11, "advskew 255 is out of range"),
        ("[nodes.b]", '[nodes.b]\naddresses.em9 = ["1.2.3.4"]', 14, "'b' has no 'em9'"),
        ("[nodes.b]", "[nodes.b.interfaces]\nem0 = 3", 14, "interfaces.em0: text is expected"),
        ('"boot"\nnode = "a"', '"cut"\nsender = "a"\nreceiver = "z"', 26, "no node 'z'"),
        ('"boot"\nnode = "a"', '"cut"\nsender = "a"\nreceiver = "a"', 25, "cut from itself"),
        ('"boot"\nnode = "a"', '"partition"\ngroups = [["a"], ["z"]]', 25, "no node 'z'"),
        ('"boot"\nnode = "a"', '"partition"\ngroups = [["a"], ["a"]]', 25, "in two groups"),
        ('"boot"\nnode = "a"', '"partition"\ngroups = [[]]', 25, "groups of nobody"),
        ('"boot"', '"demote"\ndelta = 1' + "0" * 20, 25, "demotion 1000"),
        ('"boot"', '"carrier"\nup = false\ninterface = "em9"', 26, "'a' has no 'em9'"),
        ('"boot"', '"interface"\nup = false\ninterface = "em9"', 26, "no interface 'em9'"),
        ('"boot"', '"set"\nname = "preempt"\nvalue = 7', 26, "preempt 7 is out of range"),
        ("failover = 5", "failover = 5\n[expect.masters]\n1 = 3", 30, "masters.1: text is"),
        ("failover = 5", 'failover = 5\n[expect.masters]\n1 = "z"', 30, "no node 'z'"),
        ("at = 20.5", "at = 1" + "0" * 5000, 23, "a number has too many digits"),
        # What is misspelt comes before what is missing for that.
        ('"boot"\nnode = "a"', '"boot"\nnod = "a"', 25, "no key 'nod'"),
        ('fault = "boot"', 'falt = "boot"', 24, "no key 'falt'"),
        ("at = 20.5", "att = 20.5", 23, "no key 'att'"),
        ("addresses = [", "adresses = [", 4, "no key 'adresses'"),
        # What changes nothing.
        ('"boot"\nnode = "a"', '"segment"', 24, "it changes nothing; give one of delay, "),
        ('"boot"', '"reconfigure"', 24, "it changes nothing; give one of passphrase, "),
        # Who cannot be the MASTER.
        ("[nodes.b]", "[nodes.c]\nvhids = {}\n[nodes.b]", 30, "'c' has no vhid 1"),
        ("[nodes.b]", '[nodes.b]\ninterfaces.em0 = "dmz"', 29, "vhid 1 is on lan and dmz, so"),
        ('name = "two"', 'name = "two"\nname = "two"', 2, "Cannot overwrite"),
    ],
)
def test_what_is_wrong_in_a_file_is_refused_with_its_line(
    old: str, new: str, line: int, text: str, tmp_path: Path
) -> None:
    assert old in FILE
    file = tmp_path / "scenario.toml"
    written = FILE.replace(old, new, 1)
    if "'c' has" in text or "is on lan" in text:
        name = "c" if "'c' has" in text else "a"
        written = written.replace("failover = 5", f'masters = {{ 1 = "{name}" }}')
    file.write_text(written)
    with pytest.raises(ConfigError) as caught:
        load_scenario(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert text in str(caught.value)
    assert "a secret" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "(at line" not in str(caught.value)
    assert "set_int_max" not in str(caught.value)


def test_the_files_that_are_no_scenario_at_all(tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    for content, text in (
        (b"", "1: a scenario needs a node"),
        (b"[nodes.a]\n\xff", "2: this is no UTF-8 text"),
        (b"nodes = " + b"[" * 100_000, "1: "),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=text):
            load_scenario(file)
    with pytest.raises(FileNotFoundError):
        load_scenario(tmp_path / "none.toml")
    for name in ("", "/dev/full", str(tmp_path)):
        with pytest.raises(ConfigError, match="is no regular file; give the name of a scenario"):
            load_scenario(name)
    with pytest.raises(ConfigError, match="scenario: text is expected, not of type bytes"):
        parse_scenario(b"x")  # type: ignore[arg-type]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "two.toml"
    file.write_text(FILE, encoding="utf-8-sig")
    assert load_scenario(file) == parse_scenario(FILE)


def test_a_node_that_gets_its_vhid_later_may_be_expected_as_master() -> None:
    nodes = (node("a"), NodeDescription("b", (), settings=(("preempt", 1),)))
    later = (Crash(10.0, "a"), LocalEvent(11.0, "b", VirtualHostAdded("em0", config(9))))
    made = Scenario("later", nodes, later, expects=Expectation(masters=((1, "b"),)))
    made.check()
    assert made.run().violations == ()
    assert made.run().remarks == ()


def test_python_3_10_without_tomli_is_told_which_extra(monkeypatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(ConfigError, match=r"^scenario files need .*carpproto\[simulate\]"):
        parse_scenario(FILE)


@pytest.mark.parametrize("profiles", [("freebsd", "netbsd", "openbsd", "ucarp"), (MIXED,)])
def test_a_scenario_that_is_written_is_read_again(profiles: tuple[str, ...]) -> None:
    for seed in range(60):
        made = random_scenario(seed, Variety(profiles=profiles))
        again = parse_scenario(to_toml(made))
        assert again == made, seed
        if seed < 10:
            assert repr(again.run(seed)) == repr(made.run(seed))


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_an_example_is_written_and_read_again(example: Path) -> None:
    made = load_scenario(example)
    assert parse_scenario(to_toml(made)) == made


@settings(max_examples=50, deadline=None)
@given(strategies.scenarios())
def test_whatever_is_drawn_can_be_written(made: Scenario) -> None:
    again = parse_scenario(to_toml(made))
    assert again.run(1) == made.run(1)


def test_carrier_of_all_interfaces_is_written_for_each() -> None:
    ports = (("em0", "lan"), ("em1", "dmz"))
    made = Scenario("all", (node("a", interfaces=ports),), (Carrier(5.0, "a", False),))
    assert parse_scenario(to_toml(made)).faults == (
        Carrier(5.0, "a", False, "em0"),
        Carrier(5.0, "a", False, "em1"),
    )


def test_every_kind_of_fault_is_written_and_read_again() -> None:
    made = parse_scenario(EVERY_FAULT)
    assert parse_scenario(to_toml(made)) == made
    strange = Scenario('a "name"\\ \x7f\t\N{SNOWMAN}', (node('"a b" \x01.c', boots=False),))
    strange = strange._replace(expects=Expectation(False, ((1, strange.nodes[0].name),), 1, 2))
    assert parse_scenario(to_toml(strange)) == strange
    nothing = Scenario("nothing", (NodeDescription("a", ()),))
    assert parse_scenario(to_toml(nothing)) == nothing


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (scenario(LocalEvent(1.0, "a", Shutdown())), "Shutdown"),
        (Scenario("own", (node("a", profile=FREEBSD.replace(name="own")),)), "profile 'own'"),
        (Scenario("two", (NodeDescription("a", (("em0", config()), ("em1", config(vhid=1))),
            interfaces=(("em0", "lan"), ("em1", "dmz"))),)), "a file cannot say"),
        (Scenario("none", (NodeDescription("a", (("em0", config(addresses=[])),)),)), "addresses"),
    ],
)  # fmt: skip
def test_what_a_file_cannot_say_is_not_written(made: Scenario, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        to_toml(made)


def test_every_key_is_in_the_documentation() -> None:
    page = (EXAMPLES.parent / "simulation.rst").read_text(encoding="utf-8")
    said = set(re.findall(r"``\[*([a-z0-9_]+)(?:\.N|\.NAME| = false)?\]*``", page))
    kinds = re.findall(r"^([a-z, -]+?)  +\S", page.partition("\nFault  ")[2], re.MULTILINE)
    said |= {kind for found in kinds for kind in found.strip(",").split(", ")} | {"remove-address"}
    keys = {key for keys in (*KEYS.values(), *FAULT_KEYS.values()) for key in keys}
    assert {*keys, *FAULT_KEYS} - said == set()
    for name, (low, high) in CLOCKS.items():
        assert re.search(rf"``{name}``.* {low:g} to {high:g} ", page)
    for name, high in QUALITIES.items():
        limits = "true or false" if name in ("eats_multicast", "echoes") else f"0 to {high:g} "
        assert re.search(rf"``{name}``.*  {limits}", page)


def test_lines_of_keys() -> None:
    lines = Lines(
        'a = """\n[x]\nb = 1\n"""\n'
        "c = [ # [y]\n  1,\n  { d = 2 },\n]\n"
        "[e.'f.g']\n\"h\".i = ''\n"
        "[[j]]\nk = 1\n[[j]]\nk = 2\n[j.l]\nm = '''\n'''\n[[j.n]]\no = 1\n"
    )
    assert lines.of(("a",)) == 1
    assert lines.of(("x",)) == 1  # there is none
    assert lines.of(("c",)) == 5
    assert lines.of(("e",)) == lines.of(("e", "f.g")) == 9
    assert lines.of(("e", "f.g", "h", "i")) == 10
    assert lines.of(("j", 0)) == 11
    assert lines.of(("j", 1, "k")) == 14
    assert lines.of(("j", 1, "l", "m")) == 16
    assert lines.of(("j", 1, "n", 0, "o")) == 19
    assert lines.of(("j", 1, "z")) == 13


def test_a_scenario_is_checked_without_a_file() -> None:
    for made, text in (
        (Scenario("none", ()), "needs a node"),
        (scenario(Crash(1.0, "z")), "fault 1: there is no node 'z'"),
        (scenario(Crash(True, "a")), "fault 1: at True"),
        (scenario(duration=float("inf")), "duration inf"),
        (scenario(Crash(10.0, "a"), duration=12.0), "too short"),
    ):
        with pytest.raises(ConfigError, match=text):
            made.check()
    scenario(Crash(10.0, "a"), duration=12.0, expects=Expectation(settled=False)).check()
    assert FREEBSD in {one.profile for one in scenario().nodes}


def test_an_injected_frame_reaches_the_nodes_and_a_stump_nobody() -> None:
    golden = golden_frame("netbsd-bow-out")
    # The group of that frame, which takes no notice of a frame that is not whole.
    config = golden.config.replace(advskew=100)
    nodes = tuple(
        NodeDescription(name, (("em0", config.replace(advskew=skew)),), NETBSD)
        for name, skew in (("a", 0), ("b", 100))
    )
    stump = Inject(10.0, "lan", golden.frame[:13])
    result = Scenario("stump", nodes, (stump,)).run()
    assert result.transitions == 3
    whole = Inject(10.25, "lan", golden.frame)
    scenario = Scenario("bow-out", nodes, (stump, whole))
    scenario.check()
    # b takes over because of it, and yields to a's next advertisement.
    assert scenario.run().transitions == 5
    assert describe_fault(stump) == f"at 10 s: inject frame={golden.frame[:13].hex()}"
