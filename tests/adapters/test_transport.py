"""The age of a datagram, whatever the clocks do; and what cannot be opened."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address

import pytest

from carpproto.adapters import packet, raw, transport
from carpproto.adapters.transport import Stamps, groups_of, open_transport, seconds_of
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError
from carpproto.core.node import Node


class Clocks:
    """A wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ahead = 1.7e9

    def wall(self) -> float:
        return self.now + self.ahead

    def clock(self) -> float:
        return self.now

    def stamps(self) -> Stamps:
        return Stamps(self.wall, self.clock)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def close(value: float) -> object:
    return pytest.approx(value, abs=1e-5)


def test_an_age_is_how_long_ago_the_kernel_took_it(clocks: Clocks) -> None:
    stamps = clocks.stamps()
    clocks.now += 30
    stamp = clocks.wall() - 29.5
    stamps.begin()
    assert stamps.age(stamp) == close(29.5)
    assert stamps.age(clocks.wall()) == 0
    assert not stamps.is_later(stamp)


def test_what_arrives_while_the_batch_lasts_is_later_and_has_no_age(clocks: Clocks) -> None:
    stamps = clocks.stamps()
    clocks.now += 1
    stamps.begin()
    clocks.now += 0.1
    assert stamps.is_later(clocks.wall())
    assert stamps.age(clocks.wall()) == 0


@pytest.mark.parametrize("step", [3600.0, -3600.0, 10.0, -10.0, 86400.0 * 365])
def test_a_step_of_the_wall_clock_moves_no_datagram(clocks: Clocks, step: float) -> None:
    stamps = clocks.stamps()
    clocks.now += 30
    before = clocks.wall() - 1.0
    clocks.ahead += step
    after = clocks.wall() - 0.25
    stamps.begin()
    assert stamps.age(before) == close(1.0)
    assert stamps.age(after) == close(0.25)
    # Which of them came while the batch lasted cannot be told; so neither ends it.
    assert not stamps.is_later(before)
    assert not stamps.is_later(after)
    # And the next batch is as if nothing had been.
    clocks.now += 1
    stamps.begin()
    assert stamps.age(clocks.wall() - 0.5) == close(0.5)
    assert stamps.is_later(clocks.wall() + 0.1)


def test_of_two_ages_that_are_possible_the_lesser_counts(clocks: Clocks) -> None:
    stamps = clocks.stamps()
    clocks.now += 30
    before = clocks.wall() - 1.0
    clocks.ahead += 2.0
    stamps.begin()
    assert stamps.age(before) == close(1.0)  # and not 3.0
    # Taken after the step, it is as old as 3 s or as 1 s. To wait too long does no harm.
    assert stamps.age(clocks.wall() - 3.0) == close(1.0)


def test_no_age_is_negative_or_reaches_back_before_the_last_batch(clocks: Clocks) -> None:
    stamps = clocks.stamps()
    clocks.now += 5
    stamps.begin()
    clocks.now += 2
    stamps.begin()
    assert stamps.age(clocks.wall() - 100) == 2
    assert stamps.age(clocks.wall() + 100) == 0


def test_the_clocks_are_read_again_where_the_process_stood_still_in_between() -> None:
    # The monotonic clock before the wall clock, the wall clock, and after it.
    times = iter([0.0, 100.0, 30.0, 30.0, 130.0, 30.0, 31.0, 131.0, 31.0])
    stamps = Stamps(lambda: next(times), lambda: next(times))
    stamps.begin()
    assert stamps.age(130.5) == close(0.5)
    assert not next(times, None)


def test_time_stamps_of_every_layout() -> None:
    assert seconds_of(struct.pack("=qq", 5, 500_000_000), 1e-9) == 5.5
    assert seconds_of(struct.pack("=ii", 5, 250_000), 1e-6) == 5.25
    assert seconds_of(struct.pack("=qi", 5, 250_000), 1e-6) == 5.25
    assert seconds_of(b"123", 1e-9) is None
    stamp = (socket.SOL_SOCKET, raw._SCM_TIMESTAMP, struct.pack("=qq", 7, 0))
    assert raw.time_stamp([(0, 2, b"\0\0\0\1"), stamp]) == 7
    assert raw.time_stamp([]) is None


def test_the_groups_are_where_the_virtual_hosts_send_to() -> None:
    node = Node()
    node.add_interface("em0", mac="52:54:00:00:00:0a", addresses=["192.0.2.1/24"])
    assert groups_of(node, "em0") == ()
    for vhid, peer in ((1, None), (2, "224.0.0.99"), (3, "192.0.2.2")):
        config = VirtualHostConfig(vhid=vhid, addresses=[f"192.0.2.{50 + vhid}"], peer=peer)
        node.add_virtual_host("em0", config)
    assert groups_of(node, "em0") == (
        IPv4Address("224.0.0.18"),
        IPv6Address("ff02::12"),
        IPv4Address("224.0.0.99"),
    )


def refuse(error: OSError) -> type:
    class Refused:
        def __init__(self, *_: object, **__: object) -> None:
            raise error

    return Refused


def test_without_the_privilege_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(errno.EPERM, "Operation not permitted")
    for module, name, kind in (
        (packet, "PacketTransport", "packet"),
        (raw, "RawTransport", "raw"),
    ):
        monkeypatch.setattr(module, name, refuse(denied))
        with pytest.raises(ConfigError) as caught:
            open_transport("em0", kind=kind)  # type: ignore[arg-type]
        text = str(caught.value)
        assert "\n" not in text
        for word in ("CAP_NET_RAW", "root", "setcap", "AmbientCapabilities=CAP_NET_RAW"):
            assert word in text
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert "root" in transport.missing_privilege()


def test_what_cannot_be_opened_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "RawTransport", refuse(OSError(errno.ENODEV, "No such device")))
    with pytest.raises(ConfigError, match=r"em9.*No such device"):
        open_transport("em9", kind="raw")
    with pytest.raises(ConfigError, match="auto, raw or packet"):
        open_transport("em9", kind="udp")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="packet transport"):
        open_transport("em9", kind="raw", broadcast=True)
    monkeypatch.setattr(sys, "platform", "freebsd14")
    with pytest.raises(ConfigError, match="Linux's"):
        open_transport("em9", kind="packet")


def test_groups_are_text_or_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[dict[str, object]] = []
    monkeypatch.setattr(raw, "RawTransport", lambda _name, **given: opened.append(given))
    open_transport("em0", kind="raw", groups=["224.0.0.99", IPv6Address("ff02::12")])
    assert opened == [{"groups": (IPv4Address("224.0.0.99"), IPv6Address("ff02::12"))}]
    for wrong in (["192.0.2.1"], ["em0"], [7], "224.0.0.18", None):
        with pytest.raises(ConfigError):
            open_transport("em0", kind="raw", groups=wrong)  # type: ignore[arg-type]
    assert len(opened) == 1


@pytest.mark.live
def test_a_process_without_the_capability_gets_that_line() -> None:
    from tests.live.net import skip_unless_live

    skip_unless_live("setpriv")
    code = """
from carpproto.adapters.transport import open_transport
for kind in ("packet", "raw"):
    try:
        open_transport("lo", kind=kind)
    except ValueError as error:
        print(error)
"""
    drop = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
    done = subprocess.run(
        [*drop, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("CAP_NET_RAW is missing") == 2
    assert len(done.stdout.splitlines()) == 2
    assert not done.stderr
