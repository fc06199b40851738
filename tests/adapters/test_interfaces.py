"""Interfaces and addresses: netifaces and netlink give the same; where there is neither."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_interface
from types import SimpleNamespace
from typing import Any

import pytest

from carpproto.adapters import interfaces, netlink
from carpproto.adapters.interfaces import Gone, InterfaceState
from carpproto.core.errors import ConfigError

linux = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")

LOOPBACK = "lo" if sys.platform == "linux" else "lo0"


@pytest.fixture
def without_netifaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netifaces", None)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[int, list[dict[str, str]]]]:
    """A library as netifaces, which knows what the test says."""
    known: dict[str, dict[int, list[dict[str, str]]]] = {}
    library = SimpleNamespace(interfaces=lambda: list(known), ifaddresses=known.__getitem__)
    monkeypatch.setitem(sys.modules, "netifaces", library)
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 7)
    monkeypatch.setattr(interfaces, "_flags", lambda name: 0x1043)
    return known


@linux
def test_both_ways_give_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("netifaces")
    names = interfaces.names()
    with_library = [interfaces.read(name) for name in names]
    monkeypatch.setitem(sys.modules, "netifaces", None)
    assert interfaces.names() == names
    assert [interfaces.read(name) for name in names] == with_library


@linux
@pytest.mark.usefixtures("without_netifaces")
def test_linux_does_without_a_library() -> None:
    assert LOOPBACK in interfaces.names()
    state = interfaces.read(LOOPBACK)
    assert state.index == socket.if_nametoindex(LOOPBACK)
    assert ip_interface("127.0.0.1/8") in state.addresses


@linux
@pytest.mark.usefixtures("without_netifaces")
def test_an_unknown_interface_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=rf"'nosuch0'.*{LOOPBACK}"):
        interfaces.read("nosuch0")
    assert interfaces.look("nosuch0") == Gone("nosuch0")


@pytest.mark.usefixtures("without_netifaces")
def test_elsewhere_the_error_names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    for ask in (interfaces.names, lambda: interfaces.read("em0")):
        with pytest.raises(ConfigError, match=r"carpproto\[live\].*netifaces.*netifaces2"):
            ask()


def test_what_netifaces_says_is_understood(fake: dict[str, Any]) -> None:
    family6 = int(socket.AF_INET6)
    fake["em0"] = {
        interfaces._LINK_LAYER: [{"addr": "52:54:00:00:00:0A"}],
        int(socket.AF_INET): [
            {"addr": "192.0.2.1", "netmask": "255.255.255.0", "broadcast": "192.0.2.255"}
        ],
        family6: [
            {"addr": "2001:db8::1", "netmask": "ffff:ffff:ffff:ffff::/64"},
            {"addr": "2001:db8::2", "netmask": "ffff:ffff:ffff::"},
            {"addr": "fe80::1%em0", "netmask": "ffff:ffff:ffff:ffff::/64"},
            {"addr": "2001:db8::3"},
        ],
    }
    fake["em0:1"] = {int(socket.AF_INET): [{"addr": "192.0.2.50", "netmask": "255.255.255.255"}]}
    fake["tun0"] = {}
    assert interfaces.names() == ("em0", "tun0")
    assert interfaces.read("em0") == InterfaceState(
        "em0",
        7,
        "52:54:00:00:00:0a",
        True,
        True,
        tuple(
            ip_interface(text)
            for text in (
                "192.0.2.1/24",
                "192.0.2.50/32",
                "fe80::1/64",
                "2001:db8::1/64",
                "2001:db8::2/48",
                "2001:db8::3/128",
            )
        ),
    )
    assert interfaces.read("tun0").mac == ""


def test_an_interface_that_vanishes_meanwhile_is_gone(
    fake: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> int:
        raise OSError("no such device")

    fake["em0"] = {}
    monkeypatch.setattr(interfaces, "_flags", fail)
    assert interfaces.look("em0") == Gone("em0")
    with pytest.raises(ConfigError, match="em0"):
        interfaces.read("em0")


def test_the_order_of_addresses() -> None:
    texts = ["2001:db8::1/64", "10.0.0.1/8", "fe80::1/64", "169.254.0.1/16", "10.0.0.1/8"]
    ordered = interfaces.in_order([ip_interface(text) for text in texts])
    assert [str(address) for address in ordered] == [
        "10.0.0.1/8",
        "169.254.0.1/16",
        "fe80::1/64",
        "2001:db8::1/64",
    ]


@linux
def test_the_flags_are_the_same_by_ioctl() -> None:
    link = next(link for link in netlink.links() if link.name == "lo")
    assert interfaces._flags("lo") == link.flags & 0xFFFF
