"""Whether what ``carpproto run`` is told fits the interfaces; no interface is asked here."""

from __future__ import annotations

import sys
from ipaddress import ip_interface

import pytest

from carpproto.adapters.interfaces import InterfaceState
from carpproto.cli.run_check import check_interfaces, own_mac
from carpproto.cli.run_setup import (
    Member,
    Scripts,
    Setup,
    default_profile,
    parse_virtual_addresses,
)
from carpproto.core.addresses import parse_address
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError

PLACES = tuple(
    (name, f"--{name}: ") for name in ("interface", "addresses", "srcip", "peer", "peer6")
)
UP = Scripts(up="/etc/carpproto/up.sh")


def state(
    name: str, *addresses: str, up: bool = True, mac: str = "52:54:00:00:00:0a"
) -> InterfaceState:
    return InterfaceState(name, 2, mac, up, up, tuple(map(ip_interface, addresses)))


ETH0 = state("eth0", "192.0.2.13/24", "fe80::13/64")
LO = state("lo", "127.0.0.1/8", "::1/128", mac="00:00:00:00:00:00")


def check(
    *virtual: str,
    found: tuple[InterfaceState, ...] = (LO, ETH0),
    interface: str = "eth0",
    sources: tuple[str, ...] = (),
    scripts: Scripts = UP,
    peer: str | None = None,
    transport: str = "packet",
) -> tuple[str, ...]:
    shared = parse_virtual_addresses(virtual or ("192.0.2.1",))
    config = VirtualHostConfig(vhid=1, addresses=[one.address for one in shared], peer=peer)
    own = tuple(parse_address(source) for source in sources)
    member = Member(interface, config, shared, own, scripts, PLACES)
    setup = Setup((member,), default_profile([config]), transport=transport)
    return check_interfaces(setup, {one.name: one for one in found})


def refused(*virtual: str, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        check(*virtual, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_nothing_is_said_of_what_is_well() -> None:
    assert check("192.0.2.1", "[2001:db8::1]/64") == ()
    assert check("198.51.100.1", peer="192.0.2.12") == ()
    assert check(sources=("192.0.2.13",)) == ()


def test_an_own_address_is_no_virtual_one() -> None:
    own = "--addresses: 192.0.2.13 is eth0's own address; a virtual address is one that no host"
    assert refused("192.0.2.13").startswith(own)
    assert refused("192.0.2.13/24").startswith(own)
    eth1 = state("eth1", "192.0.2.14/24")
    assert "is eth1's own address" in refused("192.0.2.14", found=(ETH0, eth1), scripts=Scripts())
    only = state("eth0", "192.0.2.13/24", "2001:db8::13/64")
    assert "is eth0's own address" in refused("2001:db8::13", found=(only,))


@pytest.mark.parametrize("left", ["192.0.2.1/24", "192.0.2.1/32", "2001:db8::1/64"])
def test_what_a_killed_run_left_behind_is_warned_of(left: str) -> None:
    found = state("eth0", "192.0.2.13/24", "fe80::13/64", left)
    [warning] = check(left.partition("/")[0], found=(found,))
    assert "is on eth0 already; if no earlier run left it there" in warning
    macvlan = state("vlan1", left)
    [warning] = check(left.partition("/")[0], found=(ETH0, macvlan))
    assert "is on vlan1 already" in warning


def test_the_network_and_the_broadcast_address_of_the_interface() -> None:
    assert "--addresses: 192.0.2.0 is the network 192.0.2.0/24" in refused("192.0.2.0")
    assert "192.0.2.255 is the broadcast address of 192.0.2.0/24" in refused("192.0.2.255")
    assert check("192.0.2.0", found=(state("eth0", "192.0.2.1/31"),)) == ()


def test_without_an_own_address() -> None:
    """As ucarp refuses it; an interface that is down may get one, and is warned of."""
    text = (
        "eth0 has no IPv4 address of its own: advertises from 192.0.2.1, which equal hosts "
        "cannot tell from their own; give it one, or -s"
    )
    bare = state("eth0", "fe80::13/64", "192.0.2.1/24")
    assert refused("192.0.2.1", found=(state("eth0", "fe80::13/64"),)) == f"--interface: {text}"
    assert check("2001:db8::1", found=(bare,)) == ()
    assert check(found=(state("eth0", up=False),)) == (text,)
    [warning] = check(found=(state("eth0"),), sources=("192.0.2.13",))
    assert warning == "--srcip: 192.0.2.13 is on no interface of this host"


def test_a_peer_that_is_this_host() -> None:
    text = refused("198.51.100.1", peer="192.0.2.13")
    assert text == "--peer: 192.0.2.13 is eth0's own address; give that of the other host"


def test_what_is_no_interface_or_no_ethernet(monkeypatch) -> None:
    said = refused(interface="eth9")
    assert said == "--interface: there is no interface 'eth9'; there are: lo, eth0"
    text = "--interface: lo is no Ethernet interface; for such the transport is to be raw"
    assert refused(interface="lo") == text
    tunnel = state("tun0", "192.0.2.13/24", mac="")
    monkeypatch.setattr(sys, "platform", "linux")
    assert "tun0 is no Ethernet" in refused(interface="tun0", found=(tunnel,), transport="auto")
    assert check(interface="tun0", found=(tunnel,), transport="raw") == ()
    assert own_mac(tunnel) == own_mac(state("gre0", mac="0a:00:00:01")) == "00:00:00:00:00:00"
