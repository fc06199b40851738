"""OpenBSD, of which there is no recording: vectors worked out by hand, and its rules in a row.

The digests and frames below were computed from the description of the message alone, with
`hmac`, `hashlib` and `struct`; `digest`, `checksum` and the two headers do it again here, and
nothing of the library's own goes into them. The rules are those of ``sys/netinet/ip_carp.c``
(1.370, 2025).

Unless a test says otherwise the host is vhid 7 on em0, 192.168.1.50 its virtual address,
advbase 1 and advskew 100, so its interval is 356 (in 1/256 s), and it came up at t = 0: its
master is dead after three such intervals, at 4.171875 s.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET6, inet_aton, inet_pton
from typing import Any

import pytest

from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    DemotionChanged,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.addresses import Address
from carpproto.core.advertisement import Advertisement, decode, encode
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, Reason
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    AdvertisementReceived,
    DatagramReceived,
    DemotionAdjusted,
    InterfaceChanged,
    LinkChanged,
    Reconfigured,
    SendFailed,
    SendSucceeded,
    SettingChanged,
    Shutdown,
    State,
    StateRequested,
    TimerExpired,
)
from carpproto.core.frame import build, peel
from carpproto.core.node import Node
from carpproto.core.profile import OPENBSD, Profile
from carpproto.core.virtual_host import VirtualHost

INIT, BACKUP, MASTER = State.INIT, State.BACKUP, State.MASTER

VIP, VIP6 = IPv4Address("192.168.1.50"), IPv6Address("2001:db8:1::50")
OWN, OWN6 = IPv4Address("192.168.1.157"), IPv6Address("fe80::5054:ff:fe00:a")
PEER, PEER6 = IPv4Address("192.168.1.158"), IPv6Address("fe80::5054:ff:fe00:b")
GROUP, GROUP6 = IPv4Address("224.0.0.18"), IPv6Address("ff02::12")
MAC, PEERS_MAC = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
VIRTUAL_MAC = "00:00:5e:00:01:07"

COUNTER = 0x6F70656E62736421  # "openbsd!", this host's constant
PEERS_COUNTER = 0xB
SILENCE = 3 * 356 / 256

UP, DOWN = InterfaceChanged("em0", True), InterfaceChanged("em0", False)
CARP_UP, CARP_DOWN = InterfaceChanged("em0", True, 7), InterfaceChanged("em0", False, 7)
PREEMPT = SettingChanged("preempt", 1)

OLDER = OPENBSD.replace(name="OpenBSD, older", demote_raises_advskew=True)
OF_2015 = OPENBSD.replace(name="OpenBSD of 2015", master_down_multiplies_advskew=False)


# -- computed without the library --------------------------------------------------------


def digest(
    key: bytes,
    vhid: int,
    counter: int,
    *,
    ipv4: tuple[str, ...] = (),
    ipv6: tuple[str, ...] = (),
    mac: str = "",
) -> bytes:
    """HMAC-SHA1 over version, type, the MAC set by hand, vhid, the addresses as they stand here
    (``carp_hmac_prepare_ctx`` sorts them), counter."""
    message = bytes([2, 1]) + bytes.fromhex(mac.replace(":", "")) + bytes([vhid])
    message += b"".join(inet_aton(address) for address in ipv4)
    message += b"".join(inet_pton(AF_INET6, address) for address in ipv6)
    message += struct.pack(">Q", counter)
    return hmac.new(key.ljust(20, b"\0"), message, hashlib.sha1).digest()


def checksum(octets: bytes) -> int:
    """RFC 1071: 0 for what carries its own, right checksum."""
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def computed(
    digest: bytes, *, advskew: int = 100, advbase: int = 1, demote: int = 0, vhid: int = 7
) -> bytes:
    """The 36 bytes of an advertisement with this host's constant."""
    fields = (0x21, vhid, advskew, 7, demote, advbase)
    header = struct.pack(">6BHQ", *fields, 0, COUNTER) + digest
    return header[:6] + struct.pack(">H", checksum(header)) + header[8:]


def computed_ipv4(payload: bytes, *, identification: int, destination: str) -> bytes:
    """In an IPv4 packet from this host: TOS 0x10 (low delay), DF, TTL 255, protocol 112."""
    ends = inet_aton(str(OWN)) + inet_aton(destination)
    header = struct.pack(">BBHHHBBH", 0x45, 0x10, 56, identification, 0x4000, 255, 112, 0) + ends
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def computed_ipv6(payload: bytes) -> bytes:
    """In an IPv6 packet to the group: traffic class 0, hop limit 255, next header 112."""
    ends = inet_pton(AF_INET6, str(OWN6)) + inet_pton(AF_INET6, str(GROUP6))
    return struct.pack(">IHBB", 0x60000000, 36, 112, 255) + ends + payload


# -- digests ------------------------------------------------------------------------------

BY_HAND = "52:54:00:6f:62:73"  # `ifconfig carp0 lladdr 52:54:00:6f:62:73`
IPV4 = ("10.9.8.7", "192.168.1.50")
IPV6 = ("2001:db8:1::50", "2001:db8:1::60", "fd00::5")
LINK_LOCAL = "fe80::50"

# What an operator configured; the key; what is hashed of it, in this order; the digest.
DIGESTS: dict[str, tuple[dict[str, Any], bytes, int, dict[str, Any], str]] = {
    # With IPv4 alone OpenBSD's message is FreeBSD's: the known answer in the FreeBSD Journal,
    # September/October 2022, "Introduction to CARP", figure 5.
    "one IPv4 address": (
        {"vhid": 1, "passphrase": "randompass", "addresses": ["192.168.1.50"]},
        b"randompass",
        10009968722567644910,
        {"ipv4": ["192.168.1.50"]},
        "fb7f7879a6498338bee8bdf427c2b3c3a3c23fd0",
    ),
    "IPv4 addresses in numeric order, 19 bytes of the passphrase": (
        {
            "vhid": 7,
            "passphrase": "correct-horse-battery-staple-and-more",
            "addresses": [
                "192.168.1.200/24",
                "10.0.0.9/8",
                "192.168.1.50/24",
                "172.16.5.5/16",
                "9.255.255.254/8",
                "10.0.0.9/32",
            ],
        },
        b"correct-horse-batte",
        0x0123456789ABCDEF,
        {"ipv4": ["9.255.255.254", "10.0.0.9", "172.16.5.5", "192.168.1.50", "192.168.1.200"]},
        "107aaaa239329704d971f3c7409b2ffe87a48023",
    ),
    "IPv6 alone": (
        {"vhid": 3, "passphrase": "sixpass", "addresses": [*reversed(IPV6)]},
        b"sixpass",
        1,
        {"ipv6": IPV6},
        "0b840584a5e008979740556b88e867797f11d751",
    ),
    "dual stack, every IPv4 address before every IPv6 one": (
        {"vhid": 5, "passphrase": "dualpass", "addresses": [*reversed(IPV6), *reversed(IPV4)]},
        b"dualpass",
        2**64 - 1,
        {"ipv4": IPV4, "ipv6": IPV6},
        "b5e6bb545a3963cea8bb371fa46dfb109cd8cd67",
    ),
    "a link-local virtual address is not sent": (
        {"vhid": 5, "passphrase": "dualpass", "addresses": [LINK_LOCAL, *IPV6, *IPV4]},
        b"dualpass",
        2**64 - 1,
        {"ipv4": IPV4, "ipv6": IPV6},
        "b5e6bb545a3963cea8bb371fa46dfb109cd8cd67",
    ),
    "nothing but a link-local virtual address": (
        {"vhid": 9, "passphrase": "randompass", "addresses": ["fe80::50%em0"]},
        b"randompass",
        42,
        {},
        "5a1d729feb1db95a386d38a041b3007928392d2c",
    ),
    "no passphrase": (
        {"vhid": 255, "addresses": ["192.168.1.50"]},
        b"",
        0,
        {"ipv4": ["192.168.1.50"]},
        "d2b04b8566d1e7df75397c95e47f7fc42cbc6f01",
    ),
    "a key of 20 bytes": (
        {"vhid": 7, "key": b"abcdefghijklmnopqrst", "addresses": ["10.0.0.9"]},
        b"abcdefghijklmnopqrst",
        0,
        {"ipv4": ["10.0.0.9"]},
        "746a7841c04dd5cb4920c1fd1149852f18b5e623",
    ),
    "a MAC set by hand, between type and vhid": (
        {"vhid": 1, "passphrase": "randompass", "addresses": ["192.168.1.50"], "mac": BY_HAND},
        b"randompass",
        10009968722567644910,
        {"ipv4": ["192.168.1.50"], "mac": BY_HAND},
        "4ef09dce3acdfbb3b9bdeb1afcfac6f3998f6145",
    ),
    "a MAC set by hand, dual stack with a link-local virtual address": (
        {
            "vhid": 5,
            "passphrase": "dualpass",
            "addresses": [*IPV4, *IPV6, LINK_LOCAL],
            "mac": BY_HAND,
        },
        b"dualpass",
        2**64 - 1,
        {"ipv4": IPV4, "ipv6": IPV6, "mac": BY_HAND},
        "6b159f2e1aa7835ca8e4f2bdd86d359db0f66cf3",
    ),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_digest_that_is_sent(name: str) -> None:
    configured, key, counter, hashed, expected = DIGESTS[name]
    assert digest(key, configured["vhid"], counter, **hashed).hex() == expected
    ours = Authenticator(**configured, profile=OPENBSD)
    assert ours.digest(counter).hex() == expected
    advertisement = Advertisement(configured["vhid"], counter=counter)
    assert ours.sign(advertisement).digest.hex() == expected
    assert ours.verify(advertisement._replace(digest=bytes.fromhex(expected)))


# What a system that hashes link-local virtual addresses too sends for the same group.
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "a link-local virtual address is not sent": (
        {"ipv4": IPV4, "ipv6": [*IPV6, LINK_LOCAL]},
        "eba27f4f203a01ee3699de60c135a884b3692600",
    ),
    "nothing but a link-local virtual address": (
        {"ipv6": [LINK_LOCAL]},
        "9ba5c135c81c63e46a42689e58afb6e2101543e6",
    ),
    "a MAC set by hand, dual stack with a link-local virtual address": (
        {"ipv4": IPV4, "ipv6": [*IPV6, LINK_LOCAL], "mac": BY_HAND},
        "59d3347e7b50ee5e9d03d3454d4b3eabfd99a437",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_digest_with_link_local_addresses_is_accepted_too(name: str) -> None:
    configured, key, counter, _, sent = DIGESTS[name]
    hashed, expected = OTHERS[name]
    assert digest(key, configured["vhid"], counter, **hashed).hex() == expected != sent
    advertisement = Advertisement(configured["vhid"], counter=counter)
    theirs = advertisement._replace(digest=bytes.fromhex(expected))
    ours = Authenticator(**configured, profile=OPENBSD)
    assert ours.verify(theirs)
    assert ours.sign(theirs).digest.hex() == sent
    # Both messages carry the counter, and neither lacks another address.
    assert not ours.verify(theirs._replace(counter=counter ^ 1))
    fewer = {**configured, "addresses": configured["addresses"][:-1] or ["fe80::51"]}
    assert not Authenticator(**fewer, profile=OPENBSD).verify(theirs)


def test_a_mac_set_by_hand_makes_another_group_of_it() -> None:
    plain, by_hand = (
        Authenticator(
            vhid=1, passphrase="randompass", addresses=["192.168.1.50"], profile=OPENBSD, mac=mac
        )
        for mac in (None, BY_HAND)
    )
    advertisement = Advertisement(1, counter=1)
    assert not plain.verify(by_hand.sign(advertisement))
    assert not by_hand.verify(plain.sign(advertisement))


# -- a host -------------------------------------------------------------------------------


def a_host(
    profile: Profile = OPENBSD,
    *,
    addresses: tuple[Address, ...] = (VIP,),
    counter: int = COUNTER,
    own: tuple[Address, ...] = (OWN, OWN6),
    mac: str = MAC,
    **values: Any,
) -> VirtualHost:
    values = {"advskew": 100, **values}
    config = VirtualHostConfig(vhid=7, addresses=addresses, passphrase="randompass", **values)
    return VirtualHost(
        config, profile=profile, interface="em0", mac=mac, addresses=own, counter=counter
    )


def a_backup(profile: Profile = OPENBSD, **values: Any) -> VirtualHost:
    """One that came up at 0."""
    host = a_host(profile, **values)
    assert host.handle(UP, 0.0) == (changed(INIT, BACKUP, Reason.INITIALIZATION_COMPLETE),)
    return host


def a_master(profile: Profile = OPENBSD, **values: Any) -> VirtualHost:
    """One that came up at 0 and whose master was silent."""
    host = a_backup(profile, **values)
    fire(host)
    assert host.state is MASTER
    return host


def fire(host: VirtualHost) -> tuple[Action, ...]:
    """Say TimerExpired exactly when the host asked for it, and not a moment earlier."""
    assert host.deadline is not None
    assert host.handle(TimerExpired(), host.deadline - 1 / 1024) == ()
    return host.handle(TimerExpired(), host.deadline)


def changed(previous: State, current: State, reason: Reason, *details: Any) -> StateChanged:
    return StateChanged("em0", 7, previous, current, reason, *details)


def sent(
    host: VirtualHost, family: int = 4, *, counter: int = COUNTER, **differing: Any
) -> SendAdvertisement:
    """What the host sends, as it is configured and demoted."""
    config = host.config
    advertisement = Advertisement(7, config.advbase, config.advskew, host.demote, counter)
    advertisement = advertisement._replace(**differing)
    return SendAdvertisement(
        interface="em0",
        vhid=7,
        family=family,
        source=OWN if family == 4 else OWN6,
        destination=GROUP if family == 4 else GROUP6,
        source_mac=VIRTUAL_MAC,
        traffic_class=0x10 if family == 4 else 0,
        advertisement=config.authenticator(OPENBSD).sign(advertisement),
    )


def announced(*addresses: Address) -> AnnounceAddresses:
    return AnnounceAddresses("em0", 7, addresses or (VIP,), VIRTUAL_MAC)


def heard(
    host: VirtualHost, advbase: int = 1, advskew: int = 100, demote: int = 0, family: int = 4
) -> AdvertisementReceived:
    """An advertisement of a peer with the same passphrase and virtual addresses."""
    advertisement = Advertisement(7, advbase, advskew, demote, PEERS_COUNTER)
    signed = host.config.authenticator(OPENBSD).sign(advertisement)
    return AdvertisementReceived("em0", family, PEER if family == 4 else PEER6, signed)


def demote(host: VirtualHost, by: int, now: float) -> tuple[Action, ...]:
    """As by ``ifconfig -g carp carpdemote``, or by what demotes a host by itself."""
    return host.handle(DemotionAdjusted(by), now)


# -- frames -------------------------------------------------------------------------------


def both_families(profile: Profile = OPENBSD, **values: Any) -> VirtualHost:
    return a_master(profile, addresses=(VIP, VIP6), **values)


def wire(action: Action, *, identification: int = 0, destination_mac: str | None = None) -> bytes:
    """The frame that whoever performs the action sends."""
    assert isinstance(action, SendAdvertisement)
    return build(
        encode(action.advertisement),
        source=action.source,
        destination=action.destination,
        source_mac=action.source_mac,
        destination_mac=destination_mac,
        traffic_class=action.traffic_class,
        identification=identification,
    )


def hexadecimal(*lines: str) -> bytes:
    return bytes.fromhex("".join(lines))


DIGEST = "5b6b2371c9ddab2c27ebebf38924e2050448cc5c"
ETHERNET_IPV4 = "01005e000012 00005e000107 0800"
ETHERNET_IPV6 = "333300000012 00005e000107 86dd"
IPV6_HEADER = (
    "60000000 0024 70 ff fe800000000000005054 00fffe00000a ff020000000000000000000000000012"
)

FRAMES = {
    "IPv4": hexadecimal(
        ETHERNET_IPV4,
        "45 10 0038 4f42 4000 ff 70 89ab c0a8019d e0000012",  # TOS 0x10, id 0x4f42, DF, TTL 255
        "21 07 64 07 00 01 9be7 6f70656e62736421",  # advskew 100, demote 0, advbase 1
        DIGEST,
    ),
    "IPv4, demoted": hexadecimal(
        ETHERNET_IPV4,
        "45 10 0038 0001 4000 ff 70 d8ec c0a8019d e0000012",
        "21 07 64 07 03 01 98e7 6f70656e62736421",  # advskew 100, demote 3
        DIGEST,
    ),
    "IPv4, demoted, older": hexadecimal(
        ETHERNET_IPV4,
        "45 10 0038 4f42 4000 ff 70 89ab c0a8019d e0000012",
        "21 07 f0 07 03 01 0ce7 6f70656e62736421",  # advskew 240, demote 3
        DIGEST,
    ),
    "IPv6, demoted": hexadecimal(
        ETHERNET_IPV6,
        IPV6_HEADER,
        "21 07 64 07 03 01 98e7 6f70656e62736421",
        DIGEST,
    ),
    "IPv4, bowing out": hexadecimal(
        ETHERNET_IPV4,
        "45 10 0038 ffff 4000 ff 70 d8ed c0a8019d e0000012",
        "21 07 ff 07 03 ff fce8 6f70656e62736421",  # advskew 255, demote 3, advbase 255
        DIGEST,
    ),
    "IPv6, bowing out": hexadecimal(
        ETHERNET_IPV6,
        IPV6_HEADER,
        "21 07 ff 07 03 ff fce8 6f70656e62736421",
        DIGEST,
    ),
    "IPv4, to a unicast peer": hexadecimal(
        "52540000000b 52540000000a 0800",
        "45 10 0038 beef 4000 ff 70 37ca c0a8019d c0a8019e",
        "21 07 64 07 00 01 9be7 6f70656e62736421",
        DIGEST,
    ),
}


def test_the_frames_are_those_that_were_worked_out() -> None:
    whole = digest(b"randompass", 7, COUNTER, ipv4=(str(VIP),), ipv6=(str(VIP6),))
    assert whole.hex() == DIGEST
    plain, demoted = computed(whole), computed(whole, demote=3)
    older = computed(whole, demote=3, advskew=240)
    farewell = computed(whole, demote=3, advskew=255, advbase=255)
    group = str(GROUP)
    packets = {
        "IPv4": computed_ipv4(plain, identification=0x4F42, destination=group),
        "IPv4, demoted": computed_ipv4(demoted, identification=1, destination=group),
        "IPv4, demoted, older": computed_ipv4(older, identification=0x4F42, destination=group),
        "IPv6, demoted": computed_ipv6(demoted),
        "IPv4, bowing out": computed_ipv4(farewell, identification=0xFFFF, destination=group),
        "IPv6, bowing out": computed_ipv6(farewell),
        "IPv4, to a unicast peer": computed_ipv4(
            plain, identification=0xBEEF, destination=str(PEER)
        ),
    }
    assert {name: frame[14:] for name, frame in FRAMES.items()} == packets
    for name, frame in FRAMES.items():
        assert checksum(frame[-36:]) == 0, name
        assert len(frame) == (70 if name.startswith("IPv4") else 90), name
        if name.startswith("IPv4"):
            assert checksum(frame[14:34]) == 0, name


def test_an_advertisement_over_ipv4_to_the_byte() -> None:
    over_ipv4, _ = fire(both_families())
    assert wire(over_ipv4, identification=0x4F42) == FRAMES["IPv4"]


def test_the_demote_byte_is_sent_in_both_families_and_advskew_stays() -> None:
    over_ipv4, over_ipv6 = demote(both_families(), 3, 4.5)
    assert wire(over_ipv4, identification=1) == FRAMES["IPv4, demoted"]
    assert wire(over_ipv6) == FRAMES["IPv6, demoted"]


def test_older_releases_send_advskew_240_beside_the_demote_byte() -> None:
    over_ipv4, _ = demote(both_families(OLDER), 3, 4.5)
    assert wire(over_ipv4, identification=0x4F42) == FRAMES["IPv4, demoted, older"]


def test_the_bow_out_is_255_255_and_carries_the_demote_byte() -> None:
    host = both_families()
    demote(host, 3, 4.5)
    over_ipv4, over_ipv6, _ = host.handle(CARP_DOWN, 5.0)
    assert wire(over_ipv4, identification=0xFFFF) == FRAMES["IPv4, bowing out"]
    assert wire(over_ipv6) == FRAMES["IPv6, bowing out"]


def test_an_advertisement_to_a_unicast_peer_leaves_from_the_interfaces_own_mac() -> None:
    over_ipv4, over_ipv6 = fire(both_families(peer=str(PEER)))
    frame = wire(over_ipv4, identification=0xBEEF, destination_mac=PEERS_MAC)
    assert frame == FRAMES["IPv4, to a unicast peer"]
    # There is a peer for IPv4 only.
    assert isinstance(over_ipv6, SendAdvertisement)
    assert (over_ipv6.destination, over_ipv6.source_mac) == (GROUP6, VIRTUAL_MAC)


@pytest.mark.parametrize("name", FRAMES)
def test_a_peer_takes_the_frame(name: str) -> None:
    packet = peel(FRAMES[name])
    assert packet is not None
    advertisement = decode(packet.payload)
    peer = a_host(addresses=(VIP, VIP6), counter=PEERS_COUNTER, own=(PEER, PEER6), mac=PEERS_MAC)
    assert peer.config.authenticator(OPENBSD).verify(advertisement)
    assert advertisement.counter == COUNTER
    assert packet.hop_limit == 255
    assert packet.dont_fragment is (packet.family == 4)


# -- one constant counter -----------------------------------------------------------------


def test_every_advertisement_carries_the_same_counter() -> None:
    host = both_families()
    actions: list[Action] = []
    actions += fire(host)
    assert host.handle(heard(host, advskew=200), 6.0) == ()  # nothing is learnt of it
    actions += fire(host)
    actions += demote(host, 1, 7.5)
    actions += host.handle(heard(host, advskew=0), 7.6)  # a BACKUP for a while
    assert host.state is BACKUP
    actions += fire(host)
    actions += host.handle(CARP_DOWN, 13.0)
    actions += host.handle(CARP_UP, 14.0)
    actions += fire(host)
    actions += host.handle(Shutdown(), 20.0)
    advertisements = [
        action.advertisement for action in actions if isinstance(action, SendAdvertisement)
    ]
    assert len(advertisements) == 2 * 7
    assert {advertisement.counter for advertisement in advertisements} == {COUNTER}
    assert {advertisement.digest for advertisement in advertisements} == {bytes.fromhex(DIGEST)}


@pytest.mark.parametrize("source", [OWN, PEER])
def test_whoever_sends_the_own_constant_is_taken_for_an_echo(source: Address) -> None:
    for host in (a_backup(), a_master()):
        state, deadline = host.state, host.deadline
        echo = sent(host, advskew=0).advertisement  # the HMAC does not cover advskew
        event = AdvertisementReceived("em0", 4, source, echo)
        assert host.handle(event, 4.0) == (PacketDropped("em0", Reason.LOOP, 4, source, 7),)
        assert (host.state, host.deadline) == (state, deadline)


def test_what_is_not_authentic_is_no_echo() -> None:
    host = a_master()
    forged = sent(host).advertisement._replace(digest=bytes(20))
    event = AdvertisementReceived("em0", 4, OWN, forged)
    assert host.handle(event, 4.5) == (PacketDropped("em0", Reason.BADAUTH, 4, OWN, 7),)


def test_the_same_advertisement_may_be_heard_again_and_again() -> None:
    """Only the own constant is refused: there is no protection against replay."""
    host = a_backup()
    for number in range(1, 4):
        assert host.handle(heard(host), float(number)) == ()
        assert host.deadline == number + SILENCE


def test_a_node_without_a_counter_of_its_own_is_refused() -> None:
    config = VirtualHostConfig(vhid=7, addresses=[VIP], passphrase="randompass")
    with pytest.raises(ConfigError, match="OpenBSD needs counter=: a random 64-bit number"):
        VirtualHost(config, profile=OPENBSD)
    node = Node(profile=OPENBSD)
    node.add_interface("em0", mac=MAC, addresses=[OWN])
    with pytest.raises(ConfigError, match="two nodes with the same one take each other for"):
        node.add_virtual_host("em0", config)


# -- time ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advbase", "advskew", "seconds", "seconds_of_2015"),
    [
        (1, 0, 3.0, 3.0),
        (1, 100, 4.171875, 3.390625),
        (1, 254, 5.9765625, 3.9921875),
        (3, 10, 9.1171875, 9.0390625),
        (0, 10, 0.1171875, None),
        (254, 254, 764.9765625, 762.9921875),
    ],
)
def test_a_master_is_dead_after_three_whole_intervals(
    advbase: int, advskew: int, seconds: float, seconds_of_2015: float | None
) -> None:
    host = a_backup(advbase=advbase, advskew=advskew)
    assert host.deadline == seconds == 3 * (advbase + advskew / 256)
    assert fire(host) == (
        changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, round(seconds * 256), None, 4),
        sent(host),
        announced(),
    )
    assert host.deadline == seconds + advbase + advskew / 256
    if seconds_of_2015 is not None:
        assert a_backup(OF_2015, advbase=advbase, advskew=advskew).deadline == seconds_of_2015


def test_a_demoted_host_waits_no_longer() -> None:
    for profile in (OPENBSD, OLDER):
        host = a_host(profile)
        demote(host, 5, 0.0)
        host.handle(UP, 0.0)
        assert host.deadline == SILENCE


def test_each_family_has_its_own_master_down_timer() -> None:
    host = a_backup(addresses=(VIP, VIP6))
    host.handle(heard(host), 1.0)
    assert host.deadline == SILENCE  # IPv6 has been silent
    host.handle(heard(host, family=6), 2.0)
    assert host.deadline == 1 + SILENCE
    host.handle(heard(host), 3.0)
    assert host.deadline == 2 + SILENCE
    (change, *_) = fire(host)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, 3 * 356, None, 6)


def test_advbase_0_with_advskew_0_advertises_each_256th_of_a_second() -> None:
    """And a BACKUP waits three of them."""
    host = a_backup(advbase=0, advskew=0)
    assert host.deadline == 3 / 256
    host.handle(StateRequested("em0", 7, MASTER), 0.0)
    assert host.deadline == 1 / 256
    assert fire(host) == (sent(host),)
    assert host.deadline == 2 / 256
    assert sent(host).advertisement.interval == 0


def test_with_advbase_0_no_master_is_so_slow_that_it_will_time_out() -> None:
    host = a_backup(advbase=0, advskew=10)
    assert host.handle(heard(host, 255, 255), 0.0625) == ()
    assert (host.state, host.deadline) == (BACKUP, 0.0625 + 30 / 256)


def test_advbase_is_254_at_the_most_but_a_peer_may_say_255() -> None:
    host = a_backup(advbase=254, advskew=254)
    for advbase in (255, 256):
        with pytest.raises(ConfigError, match=f"advbase {advbase} is out of range"):
            a_host(advbase=advbase)
        with pytest.raises(ConfigError, match=f"advbase {advbase} is out of range"):
            host.handle(Reconfigured("em0", 7, advbase=advbase), 0.5)
    with pytest.raises(ConfigError, match="advskew 255 is out of range; it is 0 to 254"):
        a_host(advskew=255)
    # Even 255/255 is less than 3 * 254 + 254/256, so such a host waits for its timer.
    assert host.handle(heard(host, 255, 255), 1.0) == ()
    assert host.deadline == 1 + 764.9765625


# -- elections: the demote byte before the interval ---------------------------------------

OWN_DEMOTE = 2


@pytest.mark.parametrize("preempt", [0, 1])
@pytest.mark.parametrize(
    ("theirs", "slower_by", "takes_over"),
    [
        # More demoted than this host: it takes over, preempt or not, however fast they are.
        (3, -1, "always"),
        (3, 0, "always"),
        (3, 1, "always"),
        (255, -100, "always"),
        # As demoted: preempt takes over from a slower one.
        (2, -1, "never"),
        (2, 0, "never"),
        (2, 1, "preempt"),
        # Less demoted: their demote is lower than the own, and preempt has no say.
        (1, -1, "never"),
        (1, 0, "never"),
        (1, 1, "never"),
        (0, 155, "never"),
    ],
)
def test_a_backup_takes_over_from_the_more_demoted_and_by_preempt_from_the_slower(
    preempt: int, theirs: int, slower_by: int, takes_over: str
) -> None:
    host = a_backup()
    demote(host, OWN_DEMOTE, 0.0)
    host.handle(SettingChanged("preempt", preempt), 0.0)
    actions = host.handle(heard(host, 1, 100 + slower_by, theirs), 2.0)
    if takes_over == "never" or (takes_over == "preempt" and not preempt):
        assert actions == ()
        assert (host.state, host.deadline) == (BACKUP, 2 + SILENCE)
        return
    reason, numbers = Reason.PREEMPTING, (356, 356 + slower_by)
    if takes_over == "always":
        reason, numbers = Reason.MORE_DEMOTED, (OWN_DEMOTE, theirs)
    assert actions == (
        changed(BACKUP, MASTER, reason, *numbers, 4, PEER),
        sent(host),
        announced(),
    )
    assert (host.state, host.deadline) == (MASTER, 2 + 356 / 256)


@pytest.mark.parametrize("preempt", [0, 1])
@pytest.mark.parametrize(
    ("theirs", "slower_by", "reason"),
    [
        # Less demoted than this host: it yields outright, however slow they are.
        (1, -1, Reason.LESS_DEMOTED),
        (1, 0, Reason.LESS_DEMOTED),
        (1, 1, Reason.LESS_DEMOTED),
        (0, 155, Reason.LESS_DEMOTED),
        # As demoted: it yields to one that is faster, or as fast.
        (2, -1, Reason.MORE_FREQUENT),
        (2, 0, Reason.MORE_FREQUENT),
        (2, 1, None),
        # More demoted: it does not, however fast they are.
        (3, -1, None),
        (3, -100, None),
        (3, 0, None),
        (3, 1, None),
        (255, 0, None),
    ],
)
def test_a_master_yields_to_the_less_demoted_and_to_the_faster_of_the_others(
    preempt: int, theirs: int, slower_by: int, reason: Reason | None
) -> None:
    host = a_master()
    demote(host, OWN_DEMOTE, 5.0)
    host.handle(SettingChanged("preempt", preempt), 5.0)
    deadline = host.deadline
    actions = host.handle(heard(host, 1, 100 + slower_by, theirs), 5.25)
    if reason is None:
        assert actions == ()
        assert (host.state, host.deadline) == (MASTER, deadline)
        return
    numbers = (OWN_DEMOTE, theirs) if theirs < OWN_DEMOTE else (356, 356 + slower_by)
    assert actions == (changed(MASTER, BACKUP, reason, *numbers, 4, PEER),)
    assert (host.state, host.deadline) == (BACKUP, 5.25 + SILENCE)


def deliver(actions: tuple[Action, ...], receiver: VirtualHost, now: float) -> tuple[Action, ...]:
    """Carry what one host sent to another, over the wire."""
    answers: tuple[Action, ...] = ()
    for action in actions:
        if isinstance(action, SendAdvertisement):
            packet = peel(wire(action))
            assert packet is not None
            advertisement = decode(packet.payload)
            event = AdvertisementReceived("em0", packet.family, packet.source, advertisement)
            answers += receiver.handle(event, now)
    return answers


def two_hosts() -> tuple[VirtualHost, VirtualHost]:
    """The MASTER of advskew 0 since t = 3, and a BACKUP of advskew 100."""
    first = a_backup(advskew=0)
    second = a_backup(counter=PEERS_COUNTER, own=(PEER, PEER6), mac=PEERS_MAC)
    assert first.deadline == 3.0
    assert deliver(fire(first), second, 3.0) == ()
    assert second.deadline == 3 + SILENCE
    return first, second


def test_a_demoted_master_hands_over_and_without_preempt_does_not_come_back() -> None:
    first, second = two_hosts()
    said = demote(first, 1, 3.5)
    assert said == (sent(first, demote=1),)
    answer = deliver(said, second, 3.5)
    assert answer[0] == changed(BACKUP, MASTER, Reason.MORE_DEMOTED, 0, 1, 4, OWN)
    assert deliver(answer, first, 3.5) == (
        changed(MASTER, BACKUP, Reason.LESS_DEMOTED, 1, 0, 4, PEER),
    )
    assert (first.state, second.state) == (BACKUP, MASTER)

    demote(first, -1, 4.0)
    assert second.deadline == 3.5 + 356 / 256
    assert deliver(fire(second), first, 3.5 + 356 / 256) == ()
    assert (first.state, second.state) == (BACKUP, MASTER)


def test_with_preempt_it_comes_back_at_the_next_advertisement_once_it_is_not_demoted() -> None:
    first, second = two_hosts()
    first.handle(PREEMPT, 3.0)
    deliver(deliver(demote(first, 1, 3.5), second, 3.5), first, 3.5)
    # Slower than this host, but less demoted.
    assert deliver(fire(second), first, 3.5 + 356 / 256) == ()

    demote(first, -1, 5.0)
    answer = deliver(fire(second), first, 3.5 + 2 * 356 / 256)
    assert answer == (
        changed(BACKUP, MASTER, Reason.PREEMPTING, 256, 356, 4, PEER),
        sent(first),
        announced(),
    )
    assert deliver(answer, second, 3.5 + 2 * 356 / 256) == (
        changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 356, 256, 4, OWN),
    )


def test_two_that_share_a_constant_are_both_master_for_ever() -> None:
    """Why each needs a random one."""
    first = a_backup(advskew=0)
    second = a_backup(own=(PEER, PEER6), mac=PEERS_MAC)
    assert deliver(fire(first), second, 3.0) == (PacketDropped("em0", Reason.LOOP, 4, OWN, 7),)
    fire(second)
    assert deliver(fire(first), second, 4.5) == (PacketDropped("em0", Reason.LOOP, 4, OWN, 7),)
    assert (first.state, second.state) == (MASTER, MASTER)


# -- demotion -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demotion", "octet"), [(0, 0), (1, 1), (255, 255), (256, 255), (1000, 255), (-1, 0)]
)
def test_demotion_goes_into_byte_4_and_leaves_advskew_alone(demotion: int, octet: int) -> None:
    host = a_host()
    demote(host, demotion, 0.0)
    host.handle(UP, 0.0)
    _, advertisement, _ = fire(host)
    assert isinstance(advertisement, SendAdvertisement)
    payload = encode(advertisement.advertisement)
    assert (payload[2], payload[4], payload[5]) == (100, octet, 1)
    assert (host.own_interval, host.master_down_interval) == (356, 3 * 356)


@pytest.mark.parametrize(("demotion", "advskew"), [(0, 100), (1, 240), (255, 240)])
def test_older_releases_compare_the_240_too(demotion: int, advskew: int) -> None:
    host = a_host(OLDER)
    demote(host, demotion, 0.0)
    host.handle(UP, 0.0)
    _, advertisement, _ = fire(host)
    assert isinstance(advertisement, SendAdvertisement)
    payload = encode(advertisement.advertisement)
    assert (payload[2], payload[4]) == (advskew, demotion)
    assert host.own_interval == 256 + advskew


def test_older_releases_keep_an_advskew_above_240() -> None:
    host = a_host(OLDER, advskew=254)
    demote(host, 1, 0.0)
    assert (host.demoted_advskew, host.demote) == (254, 1)


def a_node(**interfaces: VirtualHostConfig) -> Node:
    """A node whose virtual hosts, one on each interface, are MASTER since 3 s."""
    node = Node(profile=OPENBSD, counter=COUNTER)
    for number, (name, config) in enumerate(interfaces.items()):
        node.add_interface(name, mac=f"52:54:00:00:00:{0x0A + number:02x}", addresses=[OWN, OWN6])
        node.add_virtual_host(name, config)
    for name in interfaces:
        node.handle(InterfaceChanged(name, True), 0.0)
    node.handle(TimerExpired(), 3.0)
    assert {host.state for host in node.virtual_hosts()} == {MASTER}
    return node


def group(**values: Any) -> VirtualHostConfig:
    return VirtualHostConfig(
        **{"vhid": 7, "addresses": [VIP], "passphrase": "randompass", **values}
    )


def demotes_in(actions: tuple[Action, ...]) -> list[int]:
    return [
        action.advertisement.demote for action in actions if isinstance(action, SendAdvertisement)
    ]


@pytest.mark.parametrize(
    "lost", [InterfaceChanged("em1", False), LinkChanged("em1", False)], ids=["down", "carrier"]
)
def test_an_interface_that_goes_down_demotes_the_whole_node_by_one(lost: Any) -> None:
    node = a_node(em0=group(), em1=group(vhid=8, addresses=["198.51.100.50"]))
    actions = node.handle(lost, 3.5)
    assert actions[:2] == (
        StateChanged("em1", 8, MASTER, INIT, Reason.HARDWARE_DOWN),
        DemotionChanged(1, 1, Reason.INTERFACE_DOWN, "em1", 8),
    )
    (advertisement,) = actions[2:]
    assert isinstance(advertisement, SendAdvertisement)
    assert (advertisement.interface, advertisement.vhid) == ("em0", 7)
    assert demotes_in(actions) == [1]
    assert advertisement.advertisement.interval == 256
    assert node.handle(lost._replace(up=True), 4.0) == (
        StateChanged("em1", 8, INIT, BACKUP, Reason.INITIALIZATION_COMPLETE),
        DemotionChanged(-1, 0, Reason.INTERFACE_UP, "em1", 8),
    )


def test_demotion_is_advertised_at_once_when_it_begins_and_not_when_it_ends() -> None:
    host = a_master()
    assert demote(host, 1, 4.5) == (sent(host, demote=1),)
    assert host.deadline == 4.5 + 356 / 256
    assert demote(host, -1, 5.0) == ()
    assert host.deadline == 4.5 + 356 / 256
    assert fire(host)[0] == sent(host, demote=0)


def test_three_advertisements_in_a_row_that_could_not_be_sent_demote_by_one() -> None:
    node = a_node(em0=group())
    for _ in range(2):
        assert node.handle(SendFailed("em0", 7, 55), 3.5) == ()
    (change, *_) = actions = node.handle(SendFailed("em0", 7, 55), 3.5)
    assert change == DemotionChanged(1, 1, Reason.SEND_ERROR, "em0", 7)
    assert demotes_in(actions) == [1]
    for _ in range(2):
        assert node.handle(SendSucceeded("em0", 7), 4.0) == ()
    assert node.handle(SendSucceeded("em0", 7), 4.0) == (
        DemotionChanged(-1, 0, Reason.SEND_OK, "em0", 7),
    )


# -- announcements --------------------------------------------------------------------------


def test_the_arps_are_sent_again_with_the_third_advertisement() -> None:
    virtual = (VIP, IPv4Address("192.168.1.49"))
    host = a_backup(addresses=virtual)
    interval = 356 / 256
    assert fire(host)[1:] == (sent(host), announced(*virtual))
    assert host.deadline == SILENCE + interval
    assert fire(host) == (sent(host),)
    assert host.deadline == SILENCE + 2 * interval
    assert fire(host) == (sent(host), announced(*virtual))
    for _ in range(5):
        assert fire(host) == (sent(host),)


def test_only_the_arps_are_sent_again() -> None:
    host = a_backup(addresses=(VIP6, VIP))
    assert fire(host)[3:] == (announced(VIP, VIP6),)
    assert fire(host) == (sent(host), sent(host, 6))
    assert fire(host) == (sent(host), sent(host, 6), announced(VIP))
    host = a_backup(addresses=(VIP6,))
    assert fire(host)[2:] == (announced(VIP6),)
    for _ in range(4):
        assert fire(host) == (sent(host, 6),)


def test_an_advertisement_out_of_turn_counts() -> None:
    host = a_master()
    assert demote(host, 1, 4.5) == (sent(host, demote=1),)
    assert fire(host) == (sent(host, demote=1), announced())


def test_a_backup_owes_no_arps() -> None:
    host = a_master()
    fire(host)
    host.handle(heard(host, advskew=0), 6.0)
    assert fire(host)[1:] == (sent(host), announced())
    assert fire(host) == (sent(host),)
    assert fire(host) == (sent(host), announced())


# -- goodbye --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "reason"),
    [(Shutdown(), Reason.SHUTDOWN), (CARP_DOWN, Reason.HARDWARE_DOWN)],
    ids=["shutdown", "carp interface down"],
)
def test_a_master_that_goes_bows_out_with_255_255(event: Any, reason: Reason) -> None:
    host = both_families()
    demote(host, 1, 4.5)
    assert host.handle(event, 5.0) == (
        sent(host, advbase=255, advskew=255),
        sent(host, 6, advbase=255, advskew=255),
        changed(MASTER, INIT, reason),
    )
    assert (host.state, host.deadline) == (INIT, None)


def test_a_backup_and_a_host_whose_parent_goes_down_say_nothing() -> None:
    assert a_backup().handle(CARP_DOWN, 1.0) == (changed(BACKUP, INIT, Reason.HARDWARE_DOWN),)
    assert a_backup().handle(Shutdown(), 1.0) == (changed(BACKUP, INIT, Reason.SHUTDOWN),)
    assert a_master().handle(DOWN, 5.0) == (changed(MASTER, INIT, Reason.HARDWARE_DOWN),)


def test_upon_a_bow_out_a_backup_takes_over_at_once() -> None:
    first, second = two_hosts()
    answer = deliver(first.handle(CARP_DOWN, 3.25), second, 3.25)
    assert answer == (
        changed(BACKUP, MASTER, Reason.MASTER_WILL_TIME_OUT, 868, 65535, 4, OWN),
        sent(second, counter=PEERS_COUNTER)._replace(source=PEER),
        announced(),
    )
    assert second.deadline == 3.25 + 356 / 256


def test_of_several_backups_even_the_more_demoted_takes_over_upon_a_bow_out() -> None:
    first, second = two_hosts()
    demote(second, 1, 3.0)
    (change, *_) = deliver(first.handle(Shutdown(), 3.25), second, 3.25)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_WILL_TIME_OUT, 868, 65535, 4, OWN)


# -- a unicast peer -------------------------------------------------------------------------


def test_with_a_peer_advertisements_go_to_it_and_not_to_the_group() -> None:
    host = a_master(peer="192.168.1.158")
    assert fire(host) == (sent(host)._replace(destination=PEER, source_mac=MAC),)


@pytest.mark.parametrize("hop_limit", [0, 1, 64, 254])
def test_the_ttl_is_255_from_a_unicast_peer_too(hop_limit: int) -> None:
    node = a_node(em0=group(peer="192.168.1.158"))
    advertisement = Advertisement(7, 1, 0, 0, PEERS_COUNTER)
    payload = encode(group().authenticator(OPENBSD).sign(advertisement))
    datagram = DatagramReceived("em0", PEER, OWN, hop_limit, payload)
    assert node.handle(datagram, 3.5) == (
        PacketDropped("em0", Reason.BADTTL, 4, PEER, 7, hop_limit, 255),
    )
    assert node.counters.badttl == 1
    assert node.handle(datagram._replace(hop_limit=255), 3.5) == (
        changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 256, 256, 4, PEER),
    )
    assert node.counters.ipackets == 2


# -- the order in which a packet is refused -------------------------------------------------


def test_the_own_counter_is_looked_at_after_everything_else() -> None:
    """Up to the vhid as on FreeBSD; then version, HMAC, own counter."""
    node = a_node(em0=group())
    own = group().authenticator(OPENBSD).sign(Advertisement(7, 1, 0, 0, COUNTER))
    faults = {
        Reason.LOOP: encode(own),
        Reason.BADAUTH: encode(own._replace(digest=bytes(20))),
        Reason.BADVER: encode(own._replace(version=3)),
        Reason.BADVHID: encode(own._replace(vhid=8, version=3)),
        Reason.BADSUM: encode(own._replace(vhid=8, version=3, checksum=1)),
        Reason.BADLEN: encode(own._replace(vhid=8, version=3, checksum=1))[:35],
    }
    for reason, payload in faults.items():
        (action,) = node.handle(DatagramReceived("em0", PEER, GROUP, 255, payload), 3.5)
        assert isinstance(action, PacketDropped)
        assert action.reason is reason
        assert node.counters[reason.value] == 1
    short = DatagramReceived("em0", PEER, GROUP, 254, faults[Reason.BADLEN])
    (action,) = node.handle(short, 3.5)
    assert isinstance(action, PacketDropped)
    assert action.reason is Reason.BADTTL


# -- what an operator changes ---------------------------------------------------------------


@pytest.mark.parametrize("state", [BACKUP, MASTER])
def test_allow_0_drops_input_only(state: State) -> None:
    host = a_backup() if state is BACKUP else a_master()
    deadline = host.deadline
    assert host.handle(SettingChanged("allow", 0), 4.0) == ()
    assert (host.state, host.deadline) == (state, deadline)

    node = a_node(em0=group())
    assert node.handle(SettingChanged("allow", 0), 3.5) == ()
    payload = encode(group().authenticator(OPENBSD).sign(Advertisement(7, 0, 1, 0, 1)))
    datagram = DatagramReceived("em0", PEER, GROUP, 255, payload)
    assert node.handle(datagram, 3.5) == (PacketDropped("em0", Reason.NOTALLOWED, 4, PEER, 7),)
    assert (node.demotion, demotes_in(node.handle(TimerExpired(), 4.0))) == (0, [0])


def test_new_values_leave_the_state_and_start_the_timers_again() -> None:
    host = a_backup(addresses=(VIP, VIP6))
    assert host.handle(Reconfigured("em0", 7, advskew=0), 1.0) == ()
    assert (host.state, host.deadline) == (BACKUP, 1 + 3.0)
    host = a_master()
    assert host.handle(Reconfigured("em0", 7, advskew=0), 5.0) == ()
    assert (host.state, host.deadline) == (MASTER, 5 + 1.0)


def test_removing_one_of_several_addresses_does_so_too_and_changes_the_message() -> None:
    virtual = (VIP, IPv4Address("192.168.1.51"))
    removed = AddressRemoved("em0", "192.168.1.51", 7)
    host = a_backup(addresses=virtual)
    assert host.handle(removed, 1.0) == ()
    assert (host.state, host.deadline) == (BACKUP, 1 + SILENCE)
    host = a_master(addresses=virtual)
    assert host.handle(removed, 5.0) == ()
    assert (host.state, host.deadline) == (MASTER, 5 + 356 / 256)
    assert fire(host) == (sent(host),)
    assert host.config.addresses == (VIP,)


def test_adding_an_address_goes_through_init() -> None:
    host = a_master()
    assert host.handle(AddressAdded("em0", "192.168.1.51", 7), 5.0) == (
        changed(MASTER, INIT, Reason.HARDWARE_UP),
        changed(INIT, BACKUP, Reason.INITIALIZATION_COMPLETE),
    )
    assert host.deadline == 5 + SILENCE


# -- where the library is not OpenBSD yet ---------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "destination"), [("192.168.1.158", GROUP), (None, OWN)], ids=["peer", "no peer"]
)
def test_unicast_is_for_who_has_a_peer_and_multicast_for_who_has_none(
    peer: str | None, destination: Address
) -> None:
    node = a_node(em0=group(peer=peer))
    payload = encode(group().authenticator(OPENBSD).sign(Advertisement(7, 1, 0, 0, 1)))
    (action,) = node.handle(DatagramReceived("em0", PEER, destination, 255, payload), 3.5)
    assert isinstance(action, PacketDropped)
    assert action.reason is Reason.BADVHID


def test_a_vhid_in_init_is_unknown() -> None:
    node = a_node(em0=group())
    node.handle(CARP_DOWN, 3.5)
    payload = encode(group().authenticator(OPENBSD).sign(Advertisement(7, 1, 0, 0, 1)))
    (action,) = node.handle(DatagramReceived("em0", PEER, GROUP, 255, payload), 4.0)
    assert isinstance(action, PacketDropped)
    assert action.reason is Reason.BADVHID
