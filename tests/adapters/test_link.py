"""What becomes of an interface: netlink's messages, and looking again."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from ipaddress import ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpproto.adapters import interfaces, link, netlink
from carpproto.adapters.interfaces import Gone, InterfaceState
from carpproto.adapters.link import NetlinkWatch, PollingWatch

linux = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")

MAC = "52:54:00:00:00:0a"
UP, RUNNING = netlink.IFF_UP, netlink.IFF_RUNNING
NEWLINK, DELLINK, NEWADDR, DELADDR, ERROR, DONE = 16, 17, 20, 21, 2, 3


def attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def link_message(kind: int, index: int, flags: int, name: str = "em0", mac: str = MAC) -> bytes:
    body = struct.pack("=BxHiII", 0, 1, index, flags, 0)
    body += attribute(3, name.encode() + b"\0") + attribute(1, bytes.fromhex(mac.replace(":", "")))
    return message(kind, body)


def address_message(kind: int, index: int, address: str) -> bytes:
    parsed = ip_interface(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, parsed.network.prefixlen, 0, 0, index)
    return message(kind, body + attribute(1, parsed.packed))


class Told:
    """A watch whose netlink socket is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)
        self.there: dict[str, InterfaceState] = {}
        monkeypatch.setattr(netlink, "open_netlink", lambda groups: self.near)
        monkeypatch.setattr(
            interfaces, "from_netlink", lambda name: self.there.get(name, Gone(name))
        )
        self.watch = NetlinkWatch(names or ["em0"])

    def tell(self, *messages: bytes) -> tuple[InterfaceState | Gone, ...]:
        self.far.send(b"".join(messages))
        return self.watch.read()

    def close(self) -> None:
        self.watch.close()
        self.far.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch):
    made = Told(monkeypatch)
    yield made
    made.close()


def state(*addresses: str, index: int = 2, up: bool = True, running: bool = True, mac: str = MAC):
    return InterfaceState("em0", index, mac, up, running, tuple(map(ip_interface, addresses)))


def test_each_step_is_told(told: Told) -> None:
    told.there["em0"] = state()
    assert told.watch.state("em0") == state()
    assert told.watch.read() == ()
    changes = told.tell(
        link_message(NEWLINK, 2, UP),
        link_message(NEWLINK, 2, UP | RUNNING),
        link_message(NEWLINK, 2, UP | RUNNING),
        link_message(NEWLINK, 2, 0),
    )
    assert changes == (state(running=False), state(), state(up=False, running=False))


def test_deletion_and_return(told: Told) -> None:
    told.there["em0"] = state("192.0.2.1/24")
    told.watch.state("em0")
    changes = told.tell(
        link_message(DELLINK, 2, 0),
        link_message(NEWLINK, 9, UP | RUNNING, mac="52:54:00:00:00:0b"),
        address_message(NEWADDR, 9, "192.0.2.7/24"),
    )
    returned = state(index=9, mac="52:54:00:00:00:0b")
    with_address = state("192.0.2.7/24", index=9, mac="52:54:00:00:00:0b")
    assert changes == (Gone("em0"), returned, with_address)


def test_another_name_is_gone_too_and_may_come_from_another(told: Told) -> None:
    told.there["em0"] = state()
    told.watch.state("em0")
    assert told.tell(link_message(NEWLINK, 2, UP, name="old0")) == (Gone("em0"),)
    assert told.tell(link_message(NEWLINK, 2, UP | RUNNING)) == (state(),)


def test_addresses_come_and_go(told: Told) -> None:
    told.there["em0"] = state("192.0.2.1/24")
    told.watch.state("em0")
    assert told.tell(address_message(NEWADDR, 2, "2001:db8::1/64")) == (
        state("192.0.2.1/24", "2001:db8::1/64"),
    )
    # The same once more, with another lifetime; and another interface's.
    again = address_message(NEWADDR, 2, "192.0.2.1/24")
    assert told.tell(again, address_message(NEWADDR, 3, "10.0.0.1/8")) == ()
    assert told.tell(address_message(NEWADDR, 2, "fe80::1/64")) == (
        state("192.0.2.1/24", "fe80::1/64", "2001:db8::1/64"),
    )
    assert told.tell(address_message(DELADDR, 2, "192.0.2.1/24")) == (
        state("fe80::1/64", "2001:db8::1/64"),
    )


def test_other_interfaces_are_passed_over(told: Told) -> None:
    assert told.tell(link_message(NEWLINK, 3, UP, name="em1")) == ()


def test_what_was_told_before_the_question_is_older_than_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch, "em0", "em1")
    told.there["em0"] = state()
    told.far.send(link_message(NEWLINK, 2, 0) + link_message(NEWLINK, 3, UP, name="em1"))
    assert told.watch.state("em0") == state()
    told.there["em1"] = InterfaceState("em1", 3, MAC, True, False, ())
    # Of the other interface there may have been news; so that is asked for.
    assert told.watch.read() == (told.there["em1"],)
    told.close()


def test_what_was_lost_is_asked_for(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    class Overrun:
        def __init__(self) -> None:
            self.answers = [OSError(errno.ENOBUFS, "lost"), BlockingIOError()]

        def recv(self, size: int) -> bytes:
            raise self.answers.pop(0)

        def close(self) -> None:
            told.near.close()

    told.there["em0"] = state(running=False)
    monkeypatch.setattr(told.watch, "_socket", Overrun())
    assert told.watch.read() == (state(running=False),)


def test_a_socket_that_fails_says_so(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    told.near.close()
    assert told.watch.fileno() is None
    with pytest.raises(OSError, match="descriptor"):
        told.watch.read()


@linux
def test_the_real_one_tells_of_the_loopback_interface() -> None:
    watching = link.watch(["lo", "nosuch0"])
    assert isinstance(watching, NetlinkWatch)
    assert watching.fileno() is not None
    assert watching.interval is None
    assert watching.state("lo") == interfaces.read("lo")
    assert watching.state("nosuch0") == Gone("nosuch0")
    assert watching.read() == ()
    watching.close()
    watching.close()


def test_elsewhere_it_looks_every_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert isinstance(link.watch(["em0"]), PollingWatch)
    now, there = 0.0, {"em0": state()}

    def look(name: str) -> InterfaceState | Gone:
        return there.get(name, Gone(name))

    watching = PollingWatch(["em0"], interval=0.5, look=look, clock=lambda: now)
    assert watching.fileno() is None
    assert watching.interval == 0.5
    assert watching.state("em0") == state()
    there["em0"] = state(up=False)
    now = 0.4
    assert watching.read() == ()
    now = 0.5
    assert watching.read() == (state(up=False),)
    assert watching.read() == ()
    now = 1.0
    assert watching.read() == ()
    del there["em0"]
    now = 1.5
    assert watching.read() == (Gone("em0"),)
    watching.close()


# -- messages


def test_links_and_addresses_are_read() -> None:
    data = link_message(NEWLINK, 2, UP) + address_message(NEWADDR, 2, "192.0.2.1/24")
    data += address_message(DELADDR, 2, "2001:db8::1/64") + link_message(DELLINK, 2, 0)
    assert list(netlink.parse(data)) == [
        netlink.Link(2, "em0", MAC, UP),
        netlink.LinkAddress(2, ip_interface("192.0.2.1/24")),
        netlink.LinkAddress(2, ip_interface("2001:db8::1/64"), gone=True),
        netlink.Link(2, "em0", MAC, 0, gone=True),
    ]


def test_of_a_point_to_point_link_the_local_address_counts() -> None:
    body = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 5)
    body += attribute(1, bytes([10, 0, 0, 2])) + attribute(2, bytes([10, 0, 0, 1]))
    found = list(netlink.parse(message(NEWADDR, body)))
    assert found == [netlink.LinkAddress(5, ip_interface("10.0.0.1/32"))]


def test_a_bridge_speaking_of_its_ports_is_passed_over() -> None:
    body = struct.pack("=BxHiII", 7, 1, 2, UP, 0) + attribute(3, b"em0\0")
    assert list(netlink.parse(message(DELLINK, body))) == []


@given(st.binary(max_size=200))
def test_whatever_bytes_come_nothing_is_raised(data: bytes) -> None:
    list(netlink.parse(data))
    for kind in (NEWLINK, NEWADDR):
        list(netlink.parse(message(kind, data)))


def test_an_error_of_the_kernel_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.send(message(ERROR, struct.pack("=i", -errno.EPERM)))
    monkeypatch.setattr(netlink, "open_netlink", lambda: near)
    with pytest.raises(OSError, match="1") as caught:
        netlink.links()
    assert caught.value.errno == errno.EPERM
    far.close()


def test_a_dump_may_take_several_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.send(link_message(NEWLINK, 1, UP, "a"))
    far.send(link_message(NEWLINK, 2, UP, "b") + message(DONE, bytes(4)))
    monkeypatch.setattr(netlink, "open_netlink", lambda: near)
    found: Any = netlink.links()
    assert [entry.name for entry in found] == ["a", "b"]
    far.close()
