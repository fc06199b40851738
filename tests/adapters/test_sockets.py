"""Both transports on sockets of the test's own: what they read, send and give back."""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar

import pytest

from carpproto.adapters import packet, raw
from carpproto.adapters.packet import PacketTransport
from carpproto.adapters.raw import RawTransport
from carpproto.core.actions import AnnounceAddresses, SendAdvertisement
from carpproto.core.addresses import GROUP_IPV4, GROUP_IPV6
from carpproto.core.advertisement import PROTOCOL, Advertisement, encode
from carpproto.core.errors import ConfigError
from carpproto.core.frame import build, build_ip, peel, peel_ethernet
from carpproto.core.profile import Identification

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fakes speak as Linux does")

OWN = "52:54:00:00:00:0a"
ADVERTISEMENT = Advertisement(1, counter=7)
PAYLOAD = encode(ADVERTISEMENT)
ENDS = {"source": "192.0.2.9", "destination": "224.0.0.18"}
V4, V6 = IPv4Address("192.0.2.1"), IPv6Address("fe80::1")


class FakeSocket:
    """Remembers what it was told; gives what the test puts into ``queue``."""

    made: ClassVar[list[FakeSocket]] = []

    def __init__(self, family: int, kind: int, protocol: int = 0) -> None:
        self.family, self.protocol = family, protocol
        self.options: list[tuple[int, int, Any]] = []
        self.queue: list[Any] = []
        self.sent: list[Any] = []
        self.bound: Any = None
        self.closed = False
        self.mac = bytes.fromhex(OWN.replace(":", ""))
        self.hardware = 1
        self.error: OSError | None = None
        FakeSocket.made.append(self)

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self.options.append((level, option, value))
        if (level, option) == (socket.SOL_SOCKET, raw._SO_RCVBUFFORCE):
            raise PermissionError(errno.EPERM, "CAP_NET_ADMIN")

    def bind(self, address: Any) -> None:
        self.bound = address

    def getsockname(self) -> tuple[str, int, int, int, bytes]:
        return ("em0", 3, 0, self.hardware, self.mac)

    def recvmsg(self, size: int, ancillary: int) -> Any:
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        found = self.queue.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    def send(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(data)

    def sendto(self, data: bytes, address: Any) -> None:
        self.send(data)
        self.sent[-1] = (data, address)

    def fileno(self) -> int:
        return 100 + FakeSocket.made.index(self)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[FakeSocket]:
    FakeSocket.made = []
    monkeypatch.setattr(socket, "socket", FakeSocket)
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 4)
    return FakeSocket.made


def stamp(age: float = 0.0) -> tuple[int, int, bytes]:
    whole, part = divmod(int((time.time() - age) * 1e9), 10**9)
    return (socket.SOL_SOCKET, 35, struct.pack("=qq", whole, part))


def ttl(value: int) -> tuple[int, int, bytes]:
    return (socket.IPPROTO_IP, 2, struct.pack("=i", value))


def came_in(index: int) -> tuple[int, int, bytes]:
    return (socket.IPPROTO_IP, 8, struct.pack("=i4s4s", index, bytes(4), bytes(4)))


def info6(address: str, index: int) -> tuple[int, int, bytes]:
    packed = IPv6Address(address).packed + struct.pack("=I", index)
    return (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)


def hops(value: int) -> tuple[int, int, bytes]:
    return (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", value))


def sending(**changes: Any) -> SendAdvertisement:
    action = SendAdvertisement(
        "em0", 1, 4, V4, GROUP_IPV4, "00:00:5e:00:01:01", 0xE0, ADVERTISEMENT
    )
    return action._replace(**changes)


ANNOUNCED = AnnounceAddresses(
    "em0", 1, (IPv4Address("192.0.2.50"), IPv6Address("2001:db8::50")), OWN
)

# -- the packet socket


def packets(**options: Any) -> tuple[PacketTransport, FakeSocket]:
    transport = PacketTransport("em0", **options)
    return transport, FakeSocket.made[0]


def test_a_frame_becomes_an_event() -> None:
    transport, near = packets()
    frame = build(PAYLOAD, **ENDS, source_mac=OWN, hop_limit=254)
    near.queue = [(frame, [stamp(0.0)], 0, ())]
    ((event, age),) = transport.receive()
    assert event[:4] == ("em0", IPv4Address("192.0.2.9"), GROUP_IPV4, 254)
    assert event.payload == PAYLOAD
    assert age == pytest.approx(0, abs=0.01)


def test_what_is_no_advertisement_is_passed_over() -> None:
    transport, near = packets()
    good = build(PAYLOAD, **ENDS, source_mac=OWN)
    wrong = good[:24] + b"\0\0" + good[26:]
    body = bytearray(build_ip(PAYLOAD, **ENDS))
    body[6:8], body[10:12] = b"\x20\x00", b"\0\0"
    body[10:12] = (-int.from_bytes(body[:20], "big") % 0xFFFF).to_bytes(2, "big")
    fragment = good[:14] + bytes(body)
    bad = [wrong, fragment, good[:14], good[:20], b"", good[:12] + b"\x86\xdd\x60"]
    near.queue = [(frame, [], 0, ()) for frame in [*bad, good]]
    assert [received.event.payload for received in transport.receive()] == [PAYLOAD]


def test_the_queue_is_read_until_it_is_empty_or_something_newer_comes() -> None:
    transport, near = packets()
    frame = build(PAYLOAD, **ENDS, source_mac=OWN)
    near.queue = [(frame, [stamp()], 0, ()) for _ in range(3)]
    near.queue.insert(2, (frame, [stamp(-60)], 0, ()))
    assert len(list(transport.receive())) == 3
    assert len(list(transport.receive())) == 1
    near.queue = [OSError(errno.ENETDOWN, "down"), (frame, [], 0, ())]
    assert list(transport.receive()) == []
    assert len(list(transport.receive())) == 1


def test_one_frame_for_each_advertisement_with_its_header_kept() -> None:
    transport, near = packets()
    for _ in range(2):
        transport.send(sending())
    transport.send(sending(traffic_class=0x10))
    transport.send(sending(family=6, source=V6, destination=GROUP_IPV6, traffic_class=0))
    first, second, third, fourth = near.sent
    assert first == second
    assert peel_ethernet(first).source == "00:00:5e:00:01:01"
    assert peel_ethernet(first).destination == "01:00:5e:00:00:12"
    found = peel(first)
    assert found is not None
    assert (found.hop_limit, found.traffic_class, found.payload) == (255, 0xE0, PAYLOAD)
    assert peel(third).traffic_class == 0x10  # type: ignore[union-attr]
    assert peel(fourth).source == V6  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", Identification)
def test_ids_as_the_profile_has_them(kind: Identification) -> None:
    transport, near = packets(identification=kind)
    for _ in range(12):
        transport.send(sending())
    seen = [peel(frame) for frame in near.sent]
    ids = [packet.identification for packet in seen if packet is not None]
    if kind is Identification.ZERO:
        assert ids == [0] * 12
    elif kind is Identification.COUNTING:
        assert ids == list(range(1, 13))
    else:
        assert len(set(ids)) > 6
        assert ids != sorted(ids)
    transport.send(sending(family=6, source=V6, destination=GROUP_IPV6, traffic_class=0))
    assert peel(near.sent[-1]).payload == PAYLOAD  # type: ignore[union-attr]


def test_broadcast_goes_to_everybody() -> None:
    transport, near = packets(broadcast=True, promiscuous=True)
    transport.send(sending())
    assert peel_ethernet(near.sent[0]).destination == "ff:ff:ff:ff:ff:ff"
    memberships = [value for level, option, value in near.options if (level, option) == (263, 1)]
    assert memberships[-1] == struct.pack("=iHH8s", 4, 1, 0, b"")


def test_the_kernel_sends_to_a_peer_and_keeps_quiet_towards_it(fakes: list[FakeSocket]) -> None:
    transport, near = packets()
    quiet = [made for made in fakes if made.protocol == PROTOCOL]
    assert len(quiet) == 2
    before = len(fakes)
    transport.send(sending(destination=IPv4Address("192.0.2.2"), source_mac=OWN))
    assert near.sent == []
    assert fakes[before].sent == [(PAYLOAD, ("192.0.2.2", 0))]
    assert fakes[before].bound == ("192.0.2.1", 0)


def test_announcements_name_the_mac_that_answers() -> None:
    transport, near = packets()
    transport.announce(ANNOUNCED, V6)
    arp, advertisement = near.sent
    assert arp[12:14] == b"\x08\x06"
    assert arp[22:28].hex(":") == OWN
    assert advertisement[22:38] == V6.packed
    transport.announce(ANNOUNCED._replace(addresses=ANNOUNCED.addresses[1:]))
    assert near.sent[-1][22:38] == ANNOUNCED.addresses[1].packed


def test_an_interface_that_came_back_has_its_new_mac_in_the_place_of_the_old(
    fakes: list[FakeSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, _ = packets()
    old = len(fakes)
    transport.close()
    transport.close()
    assert all(made.closed for made in fakes)
    assert transport.filenos() == ()
    assert list(transport.receive()) == []
    with pytest.raises(OSError, match="em0 is gone"):
        transport.send(sending())
    with pytest.raises(OSError, match="em0 is gone"):
        transport.announce(ANNOUNCED)

    class Another(FakeSocket):
        def getsockname(self) -> tuple[str, int, int, int, bytes]:
            return ("em0", 3, 0, 1, bytes.fromhex("525400000077"))

    monkeypatch.setattr(socket, "socket", Another)
    transport.reopen()
    near = fakes[old]
    assert transport.filenos() == (near.fileno(),)
    assert transport.mac == "52:54:00:00:00:77"
    transport.send(sending(source_mac=OWN))
    transport.announce(ANNOUNCED)
    assert [peel_ethernet(sent).source for sent in near.sent[:2]] == ["52:54:00:00:00:77"] * 2
    assert near.sent[1][22:28].hex(":") == "52:54:00:00:00:77"


def test_another_kind_of_interface_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSocket, "getsockname", lambda self: ("tun0", 3, 0, 65534, b""))
    with pytest.raises(ConfigError, match=r"tun0.*raw transport"):
        PacketTransport("tun0")
    assert all(made.closed for made in FakeSocket.made)


def test_an_ipv4_header_is_verified() -> None:
    frame = build(PAYLOAD, **ENDS, source_mac=OWN)
    assert packet._is_intact(frame)
    assert not packet._is_intact(frame[:30] + b"\1" + frame[31:])
    assert packet._is_intact(
        build(PAYLOAD, source="fe80::1", destination="ff02::12", source_mac=OWN)
    )


# -- the raw socket


def raws(**options: Any) -> tuple[RawTransport, FakeSocket, FakeSocket]:
    transport = RawTransport("em0", **options)
    return transport, FakeSocket.made[0], FakeSocket.made[1]


def test_datagrams_of_both_families_become_events() -> None:
    transport, four, six = raws()
    whole = build_ip(PAYLOAD, **ENDS, hop_limit=3)
    four.queue = [(whole, [stamp(), ttl(254), came_in(4)], 0, ("192.0.2.9", 0))]
    link_local = ("fe80::9%em0", 0, 0, 4)
    six.queue = [(PAYLOAD, [stamp(), hops(255), info6("ff02::12", 4)], 0, link_local)]
    first, second = (received.event for received in transport.receive())
    # By ancillary data, and not as the header says.
    assert first == type(first)("em0", IPv4Address("192.0.2.9"), GROUP_IPV4, 254, PAYLOAD)
    assert second == type(first)("em0", IPv6Address("fe80::9"), GROUP_IPV6, 255, PAYLOAD)


def test_without_ancillary_data_the_header_tells_the_ttl() -> None:
    transport, four, _ = raws()
    # As a BSD changes it: the length without the header, in the order of the machine.
    whole = bytearray(build_ip(PAYLOAD, **ENDS, hop_limit=253))
    whole[2:4] = struct.pack("=H", 36)
    four.queue = [(bytes(whole), [], 0, ("192.0.2.9", 0))]
    ((event, age),) = transport.receive()
    assert (event.hop_limit, event.payload, age) == (253, PAYLOAD, 0.0)


def test_other_interfaces_and_what_cannot_be_told_are_passed_over() -> None:
    transport, four, six = raws()
    whole = build_ip(PAYLOAD, **ENDS)
    four.queue = [(whole, [came_in(5)], 0, ()), (b"E", [came_in(4)], 0, ())]
    four.queue.append((b"\x65" + whole[1:], [came_in(4)], 0, ()))
    four.queue.append((whole[:9] + b"\x11" + whole[10:], [came_in(4)], 0, ()))
    sender = ("fe80::9", 0, 0, 4)
    six.queue = [
        (PAYLOAD, [hops(255), info6("ff02::12", 5)], 0, sender),
        (PAYLOAD, [info6("ff02::12", 4)], 0, sender),
        (PAYLOAD, [hops(255)], 0, sender),
    ]
    assert list(transport.receive()) == []


def test_a_socket_for_each_source_sends(fakes: list[FakeSocket]) -> None:
    transport, _, _ = raws()
    for _ in range(2):
        transport.send(sending())
    six = sending(family=6, source=V6, destination=GROUP_IPV6, traffic_class=0)
    transport.send(six)
    transport.send(six._replace(destination=IPv6Address("2001:db8::2")))
    first, second, third = fakes[2:]
    assert first.sent == [(PAYLOAD, ("224.0.0.18", 0))] * 2
    assert first.bound == ("192.0.2.1", 0)
    assert (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255) in first.options
    assert (socket.IPPROTO_IP, socket.IP_TOS, 0xE0) in first.options
    assert (socket.IPPROTO_IP, 11, 1) in first.options  # IP_RECVERR: a full queue is told
    assert second.sent == [(PAYLOAD, ("ff02::12", 0, 0, 4))]
    assert second.bound == ("fe80::1", 0, 0, 4)
    assert third.sent == [(PAYLOAD, ("2001:db8::2", 0, 0, 0))]
    # To a peer it is not asked for: that the peer is down is no failure to send.
    assert (socket.IPPROTO_IPV6, 25, 1) in second.options
    assert (socket.IPPROTO_IPV6, 25, 1) not in third.options
    transport.close()
    assert all(made.closed for made in fakes)
    with pytest.raises(OSError, match="em0 is gone"):
        transport.send(six)
    with pytest.raises(OSError, match="em0 is gone"):
        transport.announce(ANNOUNCED)
    transport.reopen()
    assert len(transport.filenos()) == 2


def test_it_announces_too(fakes: list[FakeSocket], monkeypatch: pytest.MonkeyPatch) -> None:
    transport, _, _ = raws()
    transport.announce(ANNOUNCED, V6)
    arp, advertisement = fakes[2:]
    assert arp.family == socket.AF_PACKET
    assert arp.sent[0][12:14] == b"\x08\x06"
    assert arp.closed
    ((message, address),) = advertisement.sent
    assert message[0] == 136
    assert message[-6:].hex(":") == OWN
    assert address == ("ff02::1", 0, 0, 4)
    monkeypatch.setattr(FakeSocket, "getsockname", lambda self: ("tun0", 3, 0, 65534, b""))
    transport.announce(ANNOUNCED._replace(addresses=ANNOUNCED.addresses[:1]))
    assert fakes[-1].sent == []
    monkeypatch.setattr(sys, "platform", "freebsd14")
    before = len(fakes)
    transport.announce(ANNOUNCED._replace(addresses=ANNOUNCED.addresses[:1]))
    assert len(fakes) == before


def test_unicast_datagrams_are_taken_of_both_families(
    fakes: list[FakeSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    for groups in ([], [GROUP_IPV4], [GROUP_IPV6]):
        assert len(RawTransport("em0", groups=groups).filenos()) == 2

    def without_ipv6(family: int, kind: int, protocol: int = 0) -> FakeSocket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6 here")
        return FakeSocket(family, kind, protocol)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    for groups in ([], [GROUP_IPV4]):
        assert len(RawTransport("em0", groups=groups).filenos()) == 1
    with pytest.raises(OSError, match="no IPv6 here"):
        RawTransport("em0", groups=[GROUP_IPV6])
    assert all(fake.closed for fake in fakes[-1:])


def test_what_fails_half_way_leaves_nothing_open(
    fakes: list[FakeSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(opened: FakeSocket, group: object, index: int) -> None:
        raise OSError(errno.ENODEV, "no")

    monkeypatch.setattr(raw, "join_group", refuse)
    with pytest.raises(OSError, match="no"):
        RawTransport("em0")
    assert all(made.closed for made in fakes)
    monkeypatch.setattr(packet, "attach", lambda opened, program: refuse(opened, None, 0))
    with pytest.raises(OSError, match="no"):
        PacketTransport("em0")
    assert all(made.closed for made in fakes)
    with monkeypatch.context() as patched:
        patched.setattr(raw, "ask_for_time_stamps", lambda opened: refuse(opened, None, 0))
        with pytest.raises(OSError, match="no"):
            RawTransport("em0")
    monkeypatch.undo()
    assert all(made.closed for made in fakes)
