"""`ClusterUnderTest`: what an operator does, what a test asserts, and what a failure says."""

from __future__ import annotations

import pytest

from carpproto import FREEBSD, NETBSD, OPENBSD, UCARP, Reason, State
from carpproto.core.errors import ConfigError
from carpproto.testing.cluster import ClusterUnderTest, log_line, make_cluster


def running(*args: object, **values: object) -> ClusterUnderTest:
    """A cluster that has run for 10 s; of two nodes a is MASTER."""
    cluster = make_cluster(*args, **values)  # type: ignore[arg-type]
    cluster.run(10)
    return cluster


def test_times_are_exact_where_a_frame_takes_none() -> None:
    cluster = running()
    cluster.crash("a")
    assert cluster.assert_takes_over("b", within=3 + 100 / 256) == 3 + 100 / 256
    assert [transition.at for transition in cluster.transitions] == [0, 0, 3, 10 + 3 + 100 / 256]


def test_nodes_are_described() -> None:
    cluster = make_cluster(
        [5, 6, 7],
        profile=[FREEBSD, NETBSD, UCARP],
        addresses=["2001:db8::50"],
        vhid=9,
        advbase=2,
        settings={"preempt": 1},
        seed=3,
        delay=0.25,
        loss=0.5,
    )
    assert list(cluster.nodes) == ["a", "b", "c"]
    assert [member.profile for member in cluster.nodes.values()] == [FREEBSD, NETBSD, UCARP]
    host = cluster.node("c").virtual_host("em0", 9)
    assert (host.config.advbase, host.config.advskew) == (2, 7)
    assert cluster.node("b").setting("preempt") == 1
    assert (cluster.seed, cluster.segments["lan"].delay, cluster.segments["lan"].loss) == (
        *(3, 0.25, 0.5),
    )
    assert list(make_cluster([0] * 28).nodes)[24:] == ["y", "z", "n27", "n28"]
    assert not make_cluster([]).nodes


def test_what_cannot_be_described() -> None:
    with pytest.raises(ConfigError, match="1 profiles were given for 2 nodes"):
        make_cluster(profile=[FREEBSD])
    with pytest.raises(ConfigError, match="unicast is for two nodes, and 3 are described"):
        make_cluster([0, 1, 2], unicast=True)
    for values, text in (
        ({"advskews": 5}, "advskews 5 is no list; give such as \\[0, 100\\]"),
        ({"profile": "freebsd"}, "profile 'freebsd' is no Profile; give FREEBSD"),
        ({"profile": ["freebsd", "netbsd"]}, "profile 'freebsd' is no Profile; give FREEBSD"),
        ({"addresses": "192.0.2.1"}, "addresses '192.0.2.1' is no list"),
        ({"settings": ["preempt"]}, "settings \\['preempt'\\] are none"),
    ):
        with pytest.raises(ConfigError, match=text):
            make_cluster(**values)


def test_all_systems_share_the_key_unless_a_passphrase_is_given() -> None:
    profiles = [FREEBSD, NETBSD, OPENBSD, UCARP]
    cluster = running([0, 50, 100, 150], profile=profiles, settings={"preempt": 1})
    cluster.assert_master("a")
    assert "refused" not in cluster.report()
    cluster = running(profile=[FREEBSD, NETBSD], passphrase="a secret")
    cluster.assert_masters("a", "b")
    assert cluster.report().splitlines()[-4:] == [
        "a refused badauth=5",
        "b refused badauth=8",
        "NetBSD's ifconfig drops the last character of a passphrase: one passphrase makes two "
        'keys; see "The key" in the docs',
        "seed 0",
    ]


def test_time_that_cannot_pass_is_refused() -> None:
    cluster = running()
    for call in (
        lambda: cluster.run("20"),  # type: ignore[arg-type]
        lambda: cluster.assert_stable(-1),
        lambda: cluster.assert_takes_over("a", within=-1),
        lambda: cluster.assert_takes_over("a", within=float("nan")),
    ):
        with pytest.raises(ConfigError, match="the clock is at 10 s"):
            call()


def test_states_may_be_given_in_lower_case() -> None:
    cluster = running()
    cluster.assert_state("a", "master")
    cluster.request("a", "backup")
    cluster.assert_state("a", "Backup")
    for call in (cluster.request, cluster.assert_state):
        for wrong in ("slave", None, 3):
            with pytest.raises(ConfigError, match="there are INIT, BACKUP, MASTER"):
                call("a", wrong)  # type: ignore[arg-type]


def test_an_operator_s_commands() -> None:
    cluster = running()
    cluster.set("b", preempt=1, dscp=46)
    assert cluster.node("b").setting("dscp") == 46
    cluster.demote("a", 150)
    assert cluster.node("a").demotion == 150
    cluster.run_for(1)
    cluster.assert_master("b")
    cluster.demote("a", -150)
    cluster.set("b", preempt=0)
    cluster.request("a", "MASTER")
    cluster.run_for(1)
    cluster.assert_master("a")
    cluster.request("a", State.BACKUP)
    cluster.assert_state("a", "BACKUP")
    cluster.assert_no_master()
    cluster.interface_down("a")
    cluster.assert_state("a", State.INIT)
    cluster.assert_takes_over("b", within=4)
    cluster.interface_up("a")
    cluster.assert_state("a", State.BACKUP)
    cluster.crash("a")
    assert cluster.state("a") is State.INIT
    with pytest.raises(ConfigError, match="node 'a' does not run"):
        cluster.node("a")


def test_split_brain_has_two_masters() -> None:
    cluster = running()
    cluster.cut("a", "b")
    cluster.run_for(5)
    cluster.assert_masters("b", "a")
    with pytest.raises(AssertionError, match="MASTER is a and b of vhid 1, not exactly one node"):
        cluster.assert_one_master()
    cluster.heal()
    cluster.run_for(2)
    cluster.assert_one_master()
    cluster.assert_stable(60)


def test_frames_are_captured() -> None:
    cluster = make_cluster(addresses=["192.0.2.50", "2001:db8::50"])
    captured = cluster.capture()
    cluster.run(3)
    assert [sent.sender for sent in captured] == ["a"] * 4
    assert [sent.at for sent in captured] == [3.0] * 4
    four, six, arp, neighbor = captured
    assert four.advertisement is not None
    assert six.advertisement is not None
    assert six.packet is not None
    assert (four.advertisement.vhid, six.packet.family) == (1, 6)
    assert arp.packet is neighbor.packet is neighbor.advertisement is None
    assert arp.ethernet.destination == "ff:ff:ff:ff:ff:ff"
    assert arp._replace(frame=four.frame[:50]).advertisement is None
    with pytest.raises(ConfigError, match="there is no segment 'wan'"):
        cluster.capture("wan")


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda c: c.assert_master("b"), "at 10 s: MASTER is a of vhid 1, not b"),
        (lambda c: c.assert_masters("a", "b"), "MASTER is a of vhid 1, not a and b"),
        (lambda c: c.assert_masters(), "MASTER is a of vhid 1, not nobody"),
        (lambda c: c.assert_no_master(), "MASTER is a of vhid 1, not nobody"),
        (lambda c: c.assert_state("b", "MASTER"), "vhid 1 on em0 of b is BACKUP, not MASTER"),
        (lambda c: c.assert_takes_over("b", 2), "at 12 s: b did not take over within 2 s"),
        (
            lambda c: (c.crash("a"), c.assert_one_master()),
            "MASTER is nobody of vhid 1, not exactly one node",
        ),
        (
            lambda c: (c.crash("a"), c.assert_stable(4)),
            "at 14 s: states changed once within 4 s that were to be quiet",
        ),
        (
            lambda c: (c.interface_down("a"), c.interface_up("a"), c.assert_stable(9)),
            "states changed once within 9 s",
        ),
        (
            lambda c: (c.at(11, lambda: c.interface_down("a")), c.assert_stable(9)),
            "states changed 2 times within 9 s",
        ),
    ],
)
def test_a_failed_assertion_says_what_is(check, says: str) -> None:
    cluster = running(seed=42)
    with pytest.raises(AssertionError) as caught:
        check(cluster)
    assert says in str(caught.value)
    assert cluster.failed
    assert str(caught.value).endswith("\nseed 42")


def test_the_report() -> None:
    assert make_cluster(seed=9).report() == (
        "vhid 1 on lan: MASTER is nobody\n"
        "so far:\n"
        "    0.000000  a  carp: 1@em0: INIT -> BACKUP (initialization complete)\n"
        "    0.000000  b  carp: 1@em0: INIT -> BACKUP (initialization complete)\n"
        "seed 9"
    )
    assert make_cluster([]).report() == "so far:\n  no transition\nseed 0"
    cluster = running()
    for _ in range(4):
        cluster.request("a", "BACKUP")
        cluster.request("a", "MASTER")
    cluster.crash("b")
    lines = cluster.report().splitlines()
    assert lines[:3] == [
        "vhid 1 on lan: MASTER is a",
        "b does not run",
        "the last transitions, 3 more before:",
    ]
    assert len(lines) == 3 + 8 + 1
    last = cluster.transitions[-1]
    assert last.reason is Reason.USER_REQUESTED
    assert log_line(last) in lines


def test_a_group_can_be_named() -> None:
    cluster = running()
    cluster.assert_master("a", vhid=1, segment="lan")
    for group in ({"vhid": 2}, {"segment": "wan"}):
        with pytest.raises(ConfigError, match="no such group; there are: vhid 1 on lan"):
            cluster.assert_one_master(**group)
    with pytest.raises(ConfigError, match="no such group; there are: none"):
        make_cluster([]).assert_no_master()
    for call in (cluster.assert_master, cluster.state):
        with pytest.raises(ConfigError, match="there is no node 'z'; there are: a, b"):
            call("z")
    with pytest.raises(ConfigError, match="there is no node 'z'; there are: a, b"):
        cluster.assert_takes_over("z", within=1)
