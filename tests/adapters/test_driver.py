"""What both runners do, with a transport and a clock of the test's own."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any

import pytest

from carpproto.adapters.driver import Driver
from carpproto.adapters.interfaces import Gone, InterfaceState
from carpproto.adapters.transport import Received
from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    DemotionChanged,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.addresses import Address
from carpproto.core.advertisement import Advertisement, encode
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError
from carpproto.core.events import DatagramReceived, DemotionAdjusted, Shutdown, State
from carpproto.core.node import Node

MAC = "52:54:00:00:00:0a"
CONFIG = VirtualHostConfig(vhid=1, addresses=["192.0.2.50"], passphrase="x")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeTransport:
    """Gives what the test puts into ``arrived``, keeps what it is to send."""

    interface = "em0"

    def __init__(self) -> None:
        self.arrived: list[Received] = []
        self.sent: list[SendAdvertisement] = []
        self.announced: list[tuple[AnnounceAddresses, Address | None]] = []
        self.error: OSError | None = None
        self.open = True
        self.calls: list[str] = []

    def filenos(self) -> tuple[int, ...]:
        return (77,) if self.open else ()

    def receive(self) -> Iterator[Received]:
        while self.arrived:
            yield self.arrived.pop(0)

    def send(self, action: SendAdvertisement) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(action)

    def announce(self, action: AnnounceAddresses, source: Address | None = None) -> None:
        if self.error is not None:
            raise self.error
        self.announced.append((action, source))

    def close(self) -> None:
        self.open = False
        self.calls.append("close")

    def reopen(self) -> None:
        self.calls.append("reopen")
        if self.error is not None:
            raise self.error
        self.open = True


class FakeLinks:
    interval: float | None = None

    def __init__(self, state: InterfaceState | Gone) -> None:
        self.now = state
        self.changes: list[InterfaceState | Gone] = []

    def fileno(self) -> int | None:
        return None

    def state(self, name: str) -> InterfaceState | Gone:
        return self.now

    def read(self) -> tuple[InterfaceState | Gone, ...]:
        changes, self.changes = tuple(self.changes), []
        return changes

    def close(self) -> None:
        pass


def state(*addresses: str, index: int = 2, up: bool = True, running: bool = True, mac: str = MAC):
    return InterfaceState("em0", index, mac, up, running, tuple(map(ip_interface, addresses)))


def advertisement(advskew: int = 0, counter: int = 1) -> DatagramReceived:
    from carpproto.core.profile import FREEBSD

    signed = CONFIG.authenticator(FREEBSD).sign(Advertisement(1, 1, advskew, counter=counter))
    return DatagramReceived("em0", "192.0.2.9", "224.0.0.18", 255, encode(signed))


class World:
    """A driver with everything around it."""

    def __init__(self, links: FakeLinks | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.transport = FakeTransport()
        self.actions: list[Action] = []
        node = Node()
        node.add_interface("em0", mac=MAC, addresses=["192.0.2.1", "fe80::1"])
        node.add_virtual_host("em0", CONFIG)
        options.setdefault("on_action", lambda action, now: self.actions.append(action))
        self.driver = Driver(node, [self.transport], links=links, clock=self.clock, **options)
        self.node = node

    @property
    def state(self) -> State:
        return self.node.virtual_host("em0", 1).state

    def become_master(self) -> None:
        self.driver.start()
        self.clock.now += 3
        self.driver.turn()
        assert self.state is State.MASTER
        self.actions.clear()
        self.transport.sent.clear()


def test_a_backup_that_hears_nobody_becomes_master_in_time() -> None:
    world = World()
    world.driver.start()
    assert world.state is State.BACKUP
    assert world.driver.patience() == 3
    world.clock.now += 2.999
    world.driver.turn()
    assert world.state is State.BACKUP
    world.clock.now += 0.001
    world.driver.turn()
    assert world.state is State.MASTER
    assert [type(action) for action in world.actions[1:]] == [
        StateChanged,
        SendAdvertisement,
        AnnounceAddresses,
    ]
    assert len(world.transport.sent) == 1
    announced, source = world.transport.announced[0]
    assert announced.addresses == (IPv4Address("192.0.2.50"),)
    assert source == IPv6Address("fe80::1")
    assert world.driver.patience() == 1


def test_after_a_stall_what_had_arrived_comes_before_the_timers() -> None:
    world = World()
    world.driver.start()
    world.clock.now += 30
    world.transport.arrived = [Received(advertisement(), age) for age in (2.5, 1.5, 0.5)]
    world.driver.turn()
    assert world.state is State.BACKUP
    # Counted from when the kernel took the last one.
    assert world.driver.patience() == 2.5


def test_a_master_that_went_silent_during_the_stall_is_dead() -> None:
    world = World()
    world.driver.start()
    world.clock.now += 30
    world.transport.arrived = [Received(advertisement(), 25.0)]
    world.driver.turn()
    assert world.state is State.MASTER


def test_a_stall_while_it_drains_is_no_reason_either() -> None:
    world = World()
    world.driver.start()
    world.clock.now += 2.9
    later = [Received(advertisement(), 0.2)]

    def receive() -> Iterator[Received]:
        # Stopped for 30 s, before anything was read.
        world.clock.now += 30
        world.transport.receive = type(world.transport).receive.__get__(world.transport)
        world.transport.arrived = later
        return iter(())

    world.transport.receive = receive  # type: ignore[method-assign]
    world.driver.turn()
    assert world.state is State.BACKUP
    assert not later


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EPERM, errno.ENETDOWN])
def test_what_cannot_be_sent_reaches_the_node(number: int) -> None:
    complaints: list[tuple[int | None, Action]] = []
    world = World(on_error=lambda error, action: complaints.append((error.errno, action)))
    world.become_master()
    world.transport.error = OSError(number, "no")
    for _ in range(3):
        world.clock.now += 1
        world.driver.turn()
    assert world.node.demotion == 240
    demoted = [action for action in world.actions if isinstance(action, DemotionChanged)]
    assert [action.delta for action in demoted] == [240]
    assert {number for number, _ in complaints} == {number}
    world.transport.error = None
    for _ in range(4):
        world.clock.now += 2
        world.driver.turn()
    assert world.node.demotion == 0


def test_many_that_fail_at_once_do_not_advertise_each_others_demotion() -> None:
    clock, transport, tried = Clock(), FakeTransport(), []
    node = Node()
    node.add_interface("em0", mac=MAC, addresses=["192.0.2.1"])
    for vhid in range(1, 41):
        config = VirtualHostConfig(vhid=vhid, addresses=[f"198.51.100.{vhid}"], passphrase="x")
        node.add_virtual_host("em0", config)
    driver = Driver(
        node, [transport], clock=clock, on_error=lambda _, action: tried.append(action)
    )
    driver.start()
    clock.now += 3
    driver.turn()
    assert len(transport.sent) == 40
    transport.error = OSError(errno.ENOBUFS, "no")
    for _ in range(3):
        clock.now += 1
        driver.turn()
    assert node.demotion == 40 * 240
    # Three times by the timer, and once for all the demotion together: 160, and not 40 * 40.
    assert len(tried) == 160
    skews = [action.advertisement.advskew for action in tried if type(action) is SendAdvertisement]
    assert skews == [0] * 120 + [240] * 40


def test_an_announcement_that_fails_is_reported_and_no_more() -> None:
    complaints: list[Action] = []
    world = World(on_error=lambda error, action: complaints.append(action))
    world.driver.start()
    world.transport.error = OSError(errno.EPERM, "no")
    world.clock.now += 3
    world.driver.turn()
    assert [type(action) for action in complaints] == [SendAdvertisement, AnnounceAddresses]
    assert world.state is State.MASTER


def test_who_is_called_back_may_hand_over_events() -> None:
    handed: list[tuple[Action, ...]] = []

    def on_action(action: Action, now: float) -> None:
        world.actions.append(action)
        if isinstance(action, StateChanged) and action.current is State.MASTER:
            handed.append(world.driver.handle(DemotionAdjusted(10)))

    world = World(on_action=on_action)
    world.driver.start()
    world.clock.now += 3
    world.driver.turn()
    # First the answer to what went on, then that to the event handed over.
    assert [type(action) for action in world.actions[1:]] == [
        StateChanged,
        SendAdvertisement,
        AnnounceAddresses,
        DemotionChanged,
        SendAdvertisement,
    ]
    assert [sent.advertisement.advskew for sent in world.transport.sent] == [0, 10]
    assert len(handed[0]) == 2


def test_a_callback_that_fails_leaves_the_driver_usable() -> None:
    def on_action(action: Action, now: float) -> None:
        if not world.actions:
            world.actions.append(action)
            raise RuntimeError("mine")

    world = World(on_action=on_action)
    with pytest.raises(RuntimeError, match="mine"):
        world.driver.start()
    world.clock.now += 3
    world.driver.turn()
    assert world.state is State.MASTER


def test_a_transport_needs_an_interface_of_the_node() -> None:
    node = Node()
    node.add_interface("em1", mac=MAC)
    with pytest.raises(ConfigError, match=r"em0.*em1"):
        Driver(node, [FakeTransport()])


def test_shutting_down_says_goodbye_at_once() -> None:
    world = World()
    world.become_master()
    world.driver.handle(Shutdown(bow_out=True))
    assert world.transport.sent[-1].advertisement.advbase == 255
    assert world.driver.patience() is None


# -- links


def test_it_starts_as_the_interface_is() -> None:
    world = World(FakeLinks(state(up=False)))
    world.driver.start()
    assert world.state is State.INIT
    assert world.driver.patience() is None
    world = World(FakeLinks(state(running=False)))
    world.driver.start()
    assert world.state is State.INIT
    world = World(FakeLinks(Gone("em0")))
    world.driver.start()
    assert world.state is State.INIT
    assert not world.transport.open


def test_the_node_follows_the_link() -> None:
    links = FakeLinks(state("192.0.2.1/24"))
    world = World(links)
    world.become_master()
    for change, expected in (
        (state(running=False), State.INIT),
        (state(), State.BACKUP),
        (state(up=False, running=False), State.INIT),
        (state(), State.BACKUP),
    ):
        links.changes = [change]
        world.driver.turn()
        assert world.state is expected
    assert world.transport.calls == []


def test_an_interface_that_comes_back_is_opened_again() -> None:
    links = FakeLinks(state())
    world = World(links)
    world.become_master()
    links.changes = [Gone("em0")]
    world.driver.turn()
    assert world.state is State.INIT
    assert world.transport.calls == ["close"]
    # There, but not yet to be opened.
    world.transport.error = OSError(errno.ENODEV, "no")
    links.changes = [state(index=9, up=False)]
    world.driver.turn()
    assert world.transport.calls == ["close", "reopen", "close"]
    world.transport.error = None
    links.changes = [state(index=9)]
    world.driver.turn()
    assert world.transport.open
    assert world.state is State.BACKUP
    # Another MAC, another header.
    links.changes = [state(index=9, mac="52:54:00:00:00:0b")]
    world.driver.turn()
    assert world.transport.calls[-1] == "reopen"


def test_own_addresses_are_followed_in_their_order_and_virtual_ones_are_not() -> None:
    links = FakeLinks(state("192.0.2.1/24", "fe80::1/64"))
    world = World(links)
    world.driver.start()
    links.changes = [state("192.0.2.2/24", "192.0.2.50/32", "fe80::2/64", "2001:db8::1/64")]
    world.driver.turn()
    assert [str(a) for a in world.node.addresses("em0")] == [
        "192.0.2.2",
        "fe80::2",
        "2001:db8::1",
    ]
    world = World(links, follow_addresses=False)
    world.driver.start()
    links.changes = [state("192.0.2.2/24")]
    world.driver.turn()
    assert [str(a) for a in world.node.addresses("em0")] == ["192.0.2.1", "fe80::1"]


def test_a_watch_that_polls_sets_the_longest_wait() -> None:
    links = FakeLinks(state(up=False))
    links.interval = 0.5
    world = World(links)
    world.driver.start()
    assert world.driver.patience() == 0.5
    links.changes = [state()]
    world.driver.turn()
    assert world.driver.patience() == 0.5
    world.clock.now += 2.75
    assert world.driver.patience() == 0.25
