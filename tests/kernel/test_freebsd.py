"""What the FreeBSD kernel's own tests of CARP look at, looked at here with `carp_cluster`.

The facts are those of ``tests/sys/netinet/carp.sh``: over either family, to the group and to a
unicast peer, exactly one of two hosts is MASTER and the other takes over; a negative demotion
makes no second MASTER; frames come from the virtual MAC; an operator can ask for a state.
"""

from __future__ import annotations

import pytest

from carpproto import FREEBSD, FREEBSD_12, FREEBSD_14
from carpproto.core.addresses import group_mac
from carpproto.core.frame import ETHERTYPE_ARP, ETHERTYPE_IPV6

IPV4, IPV6 = "192.0.2.50", "2001:db8::50"
BOTH = [IPV4, IPV6]
VIRTUAL_MAC = "00:00:5e:00:01:01"

either_family = pytest.mark.parametrize("address", BOTH, ids=["IPv4", "IPv6"])


@either_family
def test_one_is_master_and_the_other_takes_over(carp_cluster, address: str) -> None:
    cluster = carp_cluster(advskews=[0, 100], addresses=[address])
    cluster.assert_no_master()
    cluster.assert_takes_over("a", within=3)
    cluster.assert_stable(60)
    assert cluster.node("a").answers(address) == VIRTUAL_MAC
    assert cluster.node("b").answers(address) is None

    cluster.crash("a")
    cluster.assert_takes_over("b", within=3 + 100 / 256)
    assert cluster.node("b").answers(address) == VIRTUAL_MAC


@either_family
def test_so_it_is_with_unicast_peers(carp_cluster, address: str) -> None:
    cluster = carp_cluster(
        advskews=[0, 100], addresses=[address], profile=FREEBSD_14, unicast=True
    )
    captured = cluster.capture()
    cluster.run(10)
    cluster.assert_master("a")

    # To the peer's address and MAC, from the interface's own MAC.
    advertised = [sent for sent in captured if sent.packet]
    family = advertised[0].packet.family
    own, peer = (
        next(a for a in cluster.node(name).addresses("em0") if a.version == family)
        for name in "ab"
    )
    assert {(sent.packet.source, sent.packet.destination) for sent in advertised} == {(own, peer)}
    assert {(sent.ethernet.source, sent.ethernet.destination) for sent in advertised} == {
        (cluster.node("a").mac("em0"), cluster.node("b").mac("em0"))
    }

    cluster.crash("a")
    cluster.assert_takes_over("b", within=3 + 100 / 256)
    cluster.boot("a")
    cluster.assert_stable(60)  # b stays: preempt is off


@pytest.mark.parametrize("demotion", [-1, -100, -240, -1000])
def test_a_negative_demotion_makes_no_second_master(carp_cluster, demotion: int) -> None:
    cluster = carp_cluster(advskews=[0, 100], profile=FREEBSD, settings={"preempt": 1})
    cluster.run(10)
    cluster.demote("a", demotion)
    cluster.run_for(10)
    cluster.assert_master("a")
    # advskew 0 at the least, for b as well: which of the two it is may be open, that it is one
    # is not.
    cluster.demote("b", demotion)
    cluster.run_for(10)
    cluster.assert_one_master()
    cluster.assert_stable(60)


def test_before_that_was_mended_it_did(carp_cluster) -> None:
    """PR 259528: 12.1 compares as -50 what it advertises as 206, so that neither yields."""
    cluster = carp_cluster(advskews=[0, 100], profile=FREEBSD_12, settings={"preempt": 1})
    cluster.run(10)
    cluster.demote("a", -50)
    cluster.run_for(10)
    cluster.assert_masters("a", "b")


def test_advertisements_come_from_the_virtual_mac(carp_cluster) -> None:
    cluster = carp_cluster(addresses=BOTH)
    captured = cluster.capture()
    cluster.run(10)
    advertised = [sent for sent in captured if sent.packet]
    assert len(advertised) == 2 * 8
    assert {sent.ethernet.source for sent in advertised} == {VIRTUAL_MAC}
    assert all(
        sent.ethernet.destination == group_mac(sent.packet.destination) for sent in advertised
    )


def test_neighbors_are_told_the_virtual_mac(carp_cluster) -> None:
    cluster = carp_cluster(addresses=BOTH)
    captured = cluster.capture()
    cluster.run(10)
    cluster.crash("a")
    cluster.run_for(10)
    for name in "ab":
        arp, neighbor = (sent for sent in captured if sent.sender == name and sent.packet is None)
        # The ARP request comes from the interface's own MAC and names the virtual one.
        assert arp.ethernet.ethertype == ETHERTYPE_ARP
        assert arp.ethernet.source == f"52:54:00:00:00:0{'ab'.index(name) + 1}"
        assert arp.frame[22:28].hex(":") == VIRTUAL_MAC
        # What is said by ND comes from the virtual one, and names it.
        assert neighbor.ethernet.ethertype == ETHERTYPE_IPV6
        assert neighbor.ethernet.source == VIRTUAL_MAC
        assert neighbor.frame[-6:].hex(":") == VIRTUAL_MAC


def test_who_is_asked_for_an_own_address_answers_with_the_own_mac(carp_cluster) -> None:
    cluster = carp_cluster(addresses=BOTH)
    cluster.run(10)
    for name in "ab":
        node = cluster.node(name)
        for address in node.addresses("em0"):
            assert node.answers(address) == node.mac("em0")
    assert [cluster.node(name).owns_mac(VIRTUAL_MAC) for name in "ab"] == [True, False]


def test_an_operator_switches_the_roles(carp_cluster) -> None:
    cluster = carp_cluster(advskews=[0, 0])
    cluster.crash("b")
    cluster.run(5)
    cluster.boot("b")
    cluster.run_for(5)
    cluster.assert_master("a")

    cluster.request("b", "MASTER")
    cluster.run_for(1)
    cluster.assert_master("b")
    cluster.assert_state("a", "BACKUP")
    cluster.request("a", "MASTER")
    cluster.run_for(1)
    cluster.assert_master("a")
    cluster.run_for(0.5)  # so that b's master-down timer ends before a's
    cluster.request("a", "BACKUP")
    cluster.assert_takes_over("b", within=3)
    cluster.assert_stable(60)
