"""What NetBSD's own tests of CARP look at, looked at here with `carp_cluster`.

The facts are those of ``tests/net/carp``: over either family a MASTER that halts, or whose
interface is taken down, is followed by the BACKUP, which then answers for the address.
"""

from __future__ import annotations

import pytest

from carpproto import NETBSD, NETBSD_1120, InterfaceChanged, Reason, State
from carpproto.testing.cluster import ClusterUnderTest

IPV4, IPV6 = "192.0.2.50", "2001:db8::50"
VIRTUAL_MAC = "00:00:5e:00:01:01"

either_family = pytest.mark.parametrize("address", [IPV4, IPV6], ids=["IPv4", "IPv6"])
either_version = pytest.mark.parametrize(
    "profile", [NETBSD, NETBSD_1120], ids=lambda profile: profile.name
)


@pytest.fixture
def cluster(carp_cluster, address: str, profile) -> ClusterUnderTest:
    """Two nodes; a is MASTER, and answers."""
    cluster = carp_cluster(advskews=[0, 200], addresses=[address], profile=profile)
    cluster.run(10)
    cluster.assert_master("a")
    assert cluster.node("a").answers(address) == VIRTUAL_MAC
    assert cluster.node("b").answers(address) is None
    return cluster


@either_family
@either_version
def test_handover_when_the_master_halts(cluster: ClusterUnderTest, address: str) -> None:
    cluster.crash("a")
    cluster.run_for(3)
    cluster.assert_no_master()  # not before its time
    cluster.run_for(200 / 256)
    cluster.assert_master("b")
    assert cluster.node("b").answers(address) == VIRTUAL_MAC
    cluster.assert_stable(60)


@either_family
@either_version
def test_handover_when_the_masters_interface_is_taken_down(
    cluster: ClusterUnderTest, address: str
) -> None:
    captured = cluster.capture()
    cluster.interface_down("a")
    cluster.assert_state("a", State.INIT)
    assert cluster.node("a").answers(address) is None
    # Nothing can leave by an interface that is down: b waits for its master-down timer.
    assert cluster.assert_takes_over("b", within=4) == 3 + 200 / 256
    assert captured[0].sender == "b"
    assert cluster.node("b").answers(address) == VIRTUAL_MAC
    cluster.assert_stable(60)


@either_family
@either_version
def test_handover_at_once_when_the_carp_interface_is_taken_down(
    cluster: ClusterUnderTest, address: str
) -> None:
    captured = cluster.capture()
    cluster.handle("a", InterfaceChanged("em0", False, vhid=1))
    # It says goodbye first, with the longest interval there is.
    assert cluster.assert_takes_over("b", within=1) == 0
    assert captured[0].sender == "a"
    assert captured[0].frame[-36 + 5] == captured[0].frame[-36 + 2] == 255
    assert cluster.transitions[-1].reason is Reason.MASTER_WILL_TIME_OUT
    assert cluster.node("b").answers(address) == VIRTUAL_MAC
    cluster.assert_stable(60)
