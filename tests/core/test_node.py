"""carpproto.core.node: one machine, what it refuses, counts, adds up and hands on.

Unless a test says otherwise the node has em0 with vhid 1, 192.168.1.50, advbase 1, advskew 0;
em0 comes up at t = 0, so vhid 1 would be MASTER at t = 3. Intervals are in 1/256 s.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from copy import copy, deepcopy
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import combinations
from math import inf, nan
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    DemotionChanged,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.addresses import Address
from carpproto.core.advertisement import Advertisement, encode, pseudo_header
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, Reason
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    AdvertisementReceived,
    DatagramReceived,
    DemotionAdjusted,
    Event,
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
    VirtualHostAdded,
    VirtualHostRemoved,
)
from carpproto.core.node import CARPSTATS, Node
from carpproto.core.profile import (
    FREEBSD,
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
    Profile,
)
from carpproto.core.virtual_host import VirtualHost

INIT, BACKUP, MASTER = State.INIT, State.BACKUP, State.MASTER

VIP, VIP6 = IPv4Address("192.168.1.50"), IPv6Address("2001:db8::50")
OWN, OWN6 = IPv4Address("192.168.1.157"), IPv6Address("fe80::a")
PEERS: dict[int, Address] = {4: IPv4Address("192.168.1.158"), 6: IPv6Address("fe80::b")}
GROUPS: dict[int, Address] = {4: IPv4Address("224.0.0.18"), 6: IPv6Address("ff02::12")}
MACS = {"em0": "52:54:00:00:00:0a", "em1": "52:54:00:00:00:1a"}

UP, DOWN = InterfaceChanged("em0", True), InterfaceChanged("em0", False)
CARRIER, NO_CARRIER = LinkChanged("em0", True), LinkChanged("em0", False)
FORBID, ALLOW = SettingChanged("allow", 0), SettingChanged("allow", 1)
FAILED, SUCCEEDED = SendFailed("em0", 1, 55), SendSucceeded("em0", 1)

NETBSDS = [NETBSD, NETBSD_1120]
PROFILES = [FREEBSD, FREEBSD_10, FREEBSD_12, FREEBSD_14, *NETBSDS, OPENBSD, UCARP]


def each(profiles: list[Profile]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("profile", profiles, ids=[p.name for p in profiles])


def config(vhid: int = 1, *addresses: Any, **values: Any) -> VirtualHostConfig:
    """A virtual host with 192.168.1.50 for vhid 1, .51 for vhid 2, and so on."""
    return VirtualHostConfig(
        vhid=vhid, addresses=addresses or (VIP + vhid - 1,), passphrase="randompass", **values
    )


def a_node(
    profile: Profile = FREEBSD, *configs: VirtualHostConfig, em1: Iterable[Any] = ()
) -> Node:
    """A node with em0 and em1, both down; without configs, vhid 1 is on em0."""
    node = Node(profile=profile, counter=99 if profile.counter_constant else None)
    node.add_interface("em0", mac=MACS["em0"], addresses=["192.168.1.157/24", "fe80::a%em0/64"])
    node.add_interface("em1", mac=MACS["em1"], addresses=["10.0.0.157/8"])
    for host in configs or [config()]:
        node.add_virtual_host("em0", host)
    for host in em1:
        node.add_virtual_host("em1", host)
    return node


def a_backup(profile: Profile = FREEBSD, *configs: VirtualHostConfig, **more: Any) -> Node:
    node = a_node(profile, *configs, **more)
    node.handle(InterfaceChanged("em1", True), 0.0)
    node.handle(UP, 0.0)
    return node


def a_master(profile: Profile = FREEBSD, *configs: VirtualHostConfig, **more: Any) -> Node:
    """MASTER of everything since t = 5 at the latest: nothing was heard."""
    node = a_backup(profile, *configs, **more)
    while node.deadline is not None and node.deadline < 5:
        if all(host.state is MASTER for host in node.virtual_hosts()):
            break
        fire(node)
    assert all(host.state is MASTER for host in node.virtual_hosts())
    return node


def fire(node: Node) -> tuple[Action, ...]:
    """Say TimerExpired exactly when the node asked for it."""
    assert node.deadline is not None
    return node.handle(TimerExpired(), node.deadline)


def state(node: Node, vhid: int = 1, interface: str = "em0") -> State:
    return node.virtual_host(interface, vhid).state


def signer(node: Node, vhid: int = 1, interface: str = "em0") -> Authenticator:
    return node.virtual_host(interface, vhid).config.authenticator(node.profile)


def heard(
    node: Node,
    advbase: int = 1,
    advskew: int = 0,
    *,
    vhid: int = 1,
    family: int = 4,
    interface: str = "em0",
    counter: int = 7000,
    **differing: Any,
) -> DatagramReceived:
    """A peer's datagram; ``differing`` fields are other than a receiver expects."""
    advertisement = Advertisement(vhid, advbase, advskew, counter=counter)
    payload = encode(signer(node, vhid, interface).sign(advertisement))
    event = DatagramReceived(interface, PEERS[family], GROUPS[family], 255, payload)
    return event._replace(**differing)


def sent(
    node: Node,
    advbase: int = 1,
    advskew: int = 0,
    *,
    counter: int,
    vhid: int = 1,
    family: int = 4,
    interface: str = "em0",
) -> SendAdvertisement:
    """What a FreeBSD node puts on the wire."""
    own: dict[str, dict[int, Address]] = {
        "em0": {4: OWN, 6: OWN6},
        "em1": {4: IPv4Address("10.0.0.157")},
    }
    return SendAdvertisement(
        interface=interface,
        vhid=vhid,
        family=family,
        source=own[interface][family],
        destination=GROUPS[family],
        source_mac=f"00:00:5e:00:01:{vhid:02x}",
        traffic_class=0xE0,
        advertisement=signer(node, vhid, interface).sign(
            Advertisement(vhid, advbase, advskew, counter=counter)
        ),
    )


def changed(
    previous: State,
    current: State,
    reason: Reason,
    own: int | None = None,
    theirs: int | None = None,
    family: int | None = None,
    source: Address | None = None,
    *,
    vhid: int = 1,
    interface: str = "em0",
) -> StateChanged:
    return StateChanged(interface, vhid, previous, current, reason, own, theirs, family, source)


def dropped(
    reason: Reason,
    found: int | None = None,
    expected: int | None = None,
    *,
    family: int = 4,
    vhid: int | None = 1,
    source: Address | None = None,
    interface: str = "em0",
) -> PacketDropped:
    return PacketDropped(interface, reason, family, source or PEERS[family], vhid, found, expected)


def demoted(
    delta: int, total: int, reason: Reason, vhid: int | None = 1, interface: str | None = "em0"
) -> DemotionChanged:
    return DemotionChanged(delta, total, reason, interface, vhid)


def by_sysctl(delta: int, total: int) -> DemotionChanged:
    return demoted(delta, total, Reason.SYSCTL, vhid=None, interface=None)


def counted(node: Node) -> dict[str, int]:
    """The counters that are not 0."""
    return {name: value for name, value in node.counters.items() if value}


READY = changed(INIT, BACKUP, Reason.INITIALIZATION_COMPLETE)
TIMED_OUT = changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=4)


# -- describing it ----------------------------------------------------------------------


def test_a_node_without_anything() -> None:
    node = Node()
    assert (node.deadline, node.demotion, node.interfaces) == (None, 0, ())
    assert node.virtual_hosts() == ()
    assert repr(node) == "<Node FreeBSD 12: no interfaces>"
    assert node.handle(TimerExpired(), 0.0) == ()
    assert node.handle(Shutdown(), 0.0) == ()
    assert node.answers(VIP) is None
    assert not node.owns_mac(MACS["em0"])


def test_a_node_lists_what_it_was_told_in_that_order() -> None:
    node = a_node(FREEBSD, config(2), config(1), em1=[config(3)])
    assert node.interfaces == ("em0", "em1")
    assert repr(node) == "<Node FreeBSD 12: em0, em1>"
    assert [host.config.vhid for host in node.virtual_hosts()] == [2, 1, 3]
    assert [host.config.vhid for host in node.virtual_hosts("em0")] == [2, 1]
    host = node.virtual_host("em1", 3)
    assert type(host) is VirtualHost
    assert (host.interface, host.mac, host.state) == ("em1", MACS["em1"], INIT)


@pytest.mark.parametrize(
    ("name", "mac", "addresses", "text"),
    [
        ("em0", MACS["em1"], [], "interface 'em0' is there already; give each another name"),
        ("", MACS["em1"], [], "interface '' is no name; give text such as em0"),
        (None, MACS["em1"], [], "interface None is no name"),
        ("em2", "52:54", [], "'52:54' is not a MAC address"),
        ("em2", MACS["em1"], ["here"], "'here' is not an address"),
    ],
)
def test_refuses_an_interface(name: Any, mac: str, addresses: list[str], text: str) -> None:
    node = a_node()
    with pytest.raises(ConfigError, match=text):
        node.add_interface(name, mac=mac, addresses=addresses)
    assert node.interfaces == ("em0", "em1")


@pytest.mark.parametrize(
    ("interface", "settings", "text"),
    [
        ("em9", config(2), "there is no interface 'em9'; there are: em0, em1"),
        (None, config(2), "there is no interface None"),
        ([], config(2), r"there is no interface \[\]"),
        (
            "em0",
            config(1, "192.168.1.99"),
            "vhid 1 is on 'em0' already; each virtual host of an interface has its own, 1 to 255",
        ),
        (
            "em0",
            config(2, "192.168.1.99", VIP),
            "192.168.1.50 is a virtual address of vhid 1 on 'em0' already; "
            "take it from there before vhid 2 gets it",
        ),
        ("em0", config(2, advskew=255), "advskew 255 is out of range; it is 0 to 254 on FreeBSD"),
        ("em0", None, "None is no VirtualHostConfig"),
        ("em0", {"vhid": 2}, "is no VirtualHostConfig"),
    ],
)
def test_refuses_a_virtual_host_before_and_while_it_runs(
    interface: Any, settings: Any, text: str
) -> None:
    node = a_node()
    with pytest.raises(ConfigError, match=text):
        node.add_virtual_host(interface, settings)
    with pytest.raises(ConfigError, match=text):
        node.handle(VirtualHostAdded(interface, settings), 0.0)
    assert len(node.virtual_hosts()) == 1


def test_a_node_without_interfaces_says_so() -> None:
    with pytest.raises(ConfigError, match="there is no interface 'em0'; there are: none yet"):
        Node().add_virtual_host("em0", config())


def test_another_interface_may_have_the_same_vhid_and_address() -> None:
    node = a_master(FREEBSD, em1=[config()])
    assert state(node, 1, "em0") is state(node, 1, "em1") is MASTER


def test_openbsd_needs_a_counter_of_its_own() -> None:
    node = Node(profile=OPENBSD)
    node.add_interface("em0", mac=MACS["em0"])
    with pytest.raises(ConfigError, match="OpenBSD needs counter="):
        node.add_virtual_host("em0", config())


def test_counters_are_drawn_from_one_callable_by_every_virtual_host() -> None:
    drawn = iter(range(100, 200))
    node = Node(counter=lambda: next(drawn))
    node.add_interface("em0", mac=MACS["em0"], addresses=[OWN])
    for vhid in (1, 2):
        node.add_virtual_host("em0", config(vhid))
    node.handle(UP, 0.0)
    advertisements = [a for a in fire(node) if isinstance(a, SendAdvertisement)]
    assert [action.advertisement.counter for action in advertisements] == [100, 101]


# -- what every event may get wrong -----------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        InterfaceChanged("em9", True),
        LinkChanged("em9", True),
        DatagramReceived("em9", PEERS[4], GROUPS[4], 255, b""),
        AdvertisementReceived("em9", 4, PEERS[4], Advertisement(1)),
        TimerExpired("em9", 1),
        SendSucceeded("em9", 1),
        SendFailed("em9", 1, 55),
        AddressAdded("em9", VIP),
        AddressRemoved("em9", VIP),
        AddressAdded("em9", VIP, 1),
        AddressRemoved("em9", VIP, 1),
        VirtualHostAdded("em9", config()),
        VirtualHostRemoved("em9", 1),
        Reconfigured("em9", 1),
        StateRequested("em9", 1, MASTER),
    ],
    ids=repr,
)
def test_names_the_interface_that_is_not_there_and_those_that_are(event: Event) -> None:
    with pytest.raises(ConfigError, match="there is no interface 'em9'; there are: em0, em1"):
        a_node().handle(event, 0.0)


@pytest.mark.parametrize(
    "event",
    [
        InterfaceChanged("em0", True, 9),
        LinkChanged("em0", True, 9),
        TimerExpired("em0", 9),
        SendSucceeded("em0", 9),
        SendFailed("em0", 9, 55),
        AddressAdded("em0", "192.168.1.99", 9),
        AddressRemoved("em0", VIP, 9),
        VirtualHostRemoved("em0", 9),
        Reconfigured("em0", 9),
        StateRequested("em0", 9, MASTER),
    ],
    ids=repr,
)
def test_names_the_vhid_that_is_not_there_and_those_that_are(event: Event) -> None:
    node = a_node(FREEBSD, config(1), config(2))
    with pytest.raises(ConfigError, match="there is no vhid 9 on 'em0'; it has: 1, 2"):
        node.handle(event, 0.0)


def test_names_the_vhid_that_is_not_there_when_none_is() -> None:
    node = a_node()
    with pytest.raises(ConfigError, match="there is no vhid 1 on 'em1'; it has: none"):
        node.virtual_host("em1", 1)
    nothing: Any = []
    with pytest.raises(ConfigError, match=r"there is no vhid \[\] on 'em0'; it has: 1"):
        node.virtual_host("em0", nothing)


def test_a_timer_is_named_by_interface_and_vhid_or_not_at_all() -> None:
    node = a_backup()
    for event in (TimerExpired("em0"), TimerExpired(vhid=1)):
        with pytest.raises(ConfigError, match="names half a timer; give interface and vhid"):
            node.handle(event, 3.0)
    assert state(node) is BACKUP


@pytest.mark.parametrize(
    "event", [None, "UP", UP._replace, UP._asdict()], ids=["0", "1", "2", "3"]
)
def test_refuses_what_is_no_event(event: Any) -> None:
    with pytest.raises(ConfigError, match=r"is no event; see carpproto\.core\.events"):
        a_node().handle(event, 0.0)


@pytest.mark.parametrize("now", [nan, inf, -inf, 1e300, None, "1", True, 10**400], ids=str)
def test_refuses_what_is_no_time(now: Any) -> None:
    node = a_backup()
    with pytest.raises(ConfigError, match=r"time .*; give seconds"):
        node.handle(TimerExpired(), now)
    assert node.deadline == 3.0


# -- what a peer sent: the first fault counts -------------------------------------------


ORDER = {
    FREEBSD.name: ["notallowed", "badif", "badttl", "badlen", "badsum", "badvhid", "badver"],
    NETBSD.name: ["badif", "notallowed", "badttl", "badlen", "badsum", "badvhid", "badver"],
    UCARP.name: [
        "notallowed",
        "loop",
        "badlen",
        "badttl",
        "badver",
        "badvhid",
        "badif",
        "badsum",
    ],
}
"""In which order each system looks for faults. The HMAC comes last with all."""
for _profile in (FREEBSD_10, FREEBSD_12, FREEBSD_14, OPENBSD):
    ORDER[_profile.name] = ORDER[FREEBSD.name]
ORDER[NETBSD_1120.name] = ORDER[NETBSD.name]

DESCRIPTIONS = {
    "notallowed": (None, None),
    "loop": (None, None),
    "badif": (None, None),
    "badttl": (254, 255),
    "badlen": (35, 36),
    "badvhid": (9, None),
    "badver": (3, 2),
}


def faulty(node: Node, faults: set[str]) -> DatagramReceived:
    """A datagram with these faults, and with no others."""
    advertisement = signer(node).sign(Advertisement(1))
    if "badauth" in faults:
        advertisement = advertisement._replace(digest=bytes(20))
    if "badvhid" in faults:
        advertisement = advertisement._replace(vhid=9)
    if "badver" in faults:
        advertisement = advertisement._replace(version=3)
    payload = bytearray(encode(advertisement))
    if "badsum" in faults:
        payload[6] ^= 0xFF
    event = DatagramReceived("em0", PEERS[4], GROUPS[4], 255, bytes(payload))
    if "badlen" in faults:
        event = event._replace(payload=event.payload[:35])
    if "badttl" in faults:
        event = event._replace(hop_limit=254)
    if "loop" in faults:
        event = event._replace(source=OWN)
    if "badif" in faults:
        if node.profile is UCARP:  # another group
            event = event._replace(destination=IPv4Address("224.0.0.99"))
        elif node.profile in NETBSDS:  # no group
            event = event._replace(destination=OWN)
        else:  # IPv6 where there is no vhid at all
            event = event._replace(interface="em1", source=PEERS[6], destination=GROUPS[6])
    return event


@each(PROFILES)
def test_of_several_faults_the_first_in_its_systems_order_counts(profile: Profile) -> None:
    order = [*ORDER[profile.name], "badauth"]
    for number in range(1, len(order) + 1):
        for chosen in combinations(order, number):
            node = a_backup(profile)
            if "notallowed" in chosen:
                node.handle(FORBID, 1.0)
            event = faulty(node, set(chosen))
            first = chosen[0]
            (drop,) = node.handle(event, 1.0)
            assert isinstance(drop, PacketDropped)
            source = ip_address(str(event.source))
            found, expected = DESCRIPTIONS.get(first, (None, None))
            if first == "badsum":
                found = event.payload[6] << 8 | event.payload[7]
            vhid = 9 if "badvhid" in chosen else 1
            assert drop == PacketDropped(
                event.interface, Reason(first), source.version, source, vhid, found, expected
            ), chosen
            family = "ipackets" if source.version == 4 else "ipackets6"
            assert counted(node) == {family: 1, first: 1}, chosen


@each(PROFILES)
def test_a_datagram_without_a_fault_is_taken(profile: Profile) -> None:
    node = a_backup(profile)
    assert node.handle(faulty(node, set()), 1.0) == ()
    assert counted(node) == {"ipackets": 1}
    assert node.deadline == 4.0


@pytest.mark.parametrize("length", [0, 1, 2, 35])
def test_a_short_datagram_is_badlen(length: int) -> None:
    node = a_backup()
    event = heard(node)
    assert node.handle(event._replace(payload=event.payload[:length]), 1.0) == (
        dropped(Reason.BADLEN, length, 36, vhid=1 if length > 1 else None),
    )
    assert counted(node) == {"ipackets": 1, "badlen": 1}


def test_bytes_after_the_36_are_ignored() -> None:
    node = a_backup()
    event = heard(node)
    assert node.handle(event._replace(payload=event.payload + b"anything"), 1.0) == ()
    assert node.deadline == 4.0


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_payload_may_be_any_bytes(kind: Any) -> None:
    node = a_backup()
    event = heard(node)
    assert node.handle(event._replace(payload=kind(event.payload)), 1.0) == ()
    assert node.deadline == 4.0


def test_addresses_may_be_text() -> None:
    node = a_backup()
    event = heard(node, 255, 255, source="192.168.1.158", destination="224.0.0.18")
    (change, *_) = node.handle(event, 1.0)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_WILL_TIME_OUT, 768, 65535, 4, PEERS[4])


@pytest.mark.parametrize("hop_limit", [-1, 256, None, 64.0])
def test_what_is_no_ttl_is_refused(hop_limit: Any) -> None:
    node = a_backup()
    with pytest.raises(ConfigError, match=r"hop_limit .* is out of range; it is 0 to 255"):
        node.handle(heard(node, hop_limit=hop_limit), 1.0)
    assert counted(node) == {}


@pytest.mark.parametrize("hop_limit", [0, 1, 64, 254])
def test_a_ttl_other_than_255_is_badttl(hop_limit: int) -> None:
    node = a_backup()
    assert node.handle(heard(node, hop_limit=hop_limit), 1.0) == (
        dropped(Reason.BADTTL, hop_limit, 255),
    )


def test_ipv6_is_badif_where_there_is_no_vhid_and_ipv4_is_badvhid() -> None:
    node = a_backup()
    elsewhere = heard(node, family=6)._replace(interface="em1")
    assert node.handle(elsewhere, 1.0) == (dropped(Reason.BADIF, family=6, interface="em1"),)
    elsewhere = heard(node, family=4)._replace(interface="em1")
    assert node.handle(elsewhere, 1.0) == (dropped(Reason.BADVHID, 1, interface="em1"),)
    assert counted(node) == {"ipackets": 1, "ipackets6": 1, "badif": 1, "badvhid": 1}


@pytest.mark.parametrize(("virtual", "family"), [(VIP, 6), (VIP6, 4)])
def test_a_vhid_without_an_address_of_the_family_is_badvhid(virtual: Any, family: int) -> None:
    node = a_backup(FREEBSD, config(1, virtual))
    assert node.handle(heard(node, family=family), 1.0) == (
        dropped(Reason.BADVHID, 1, family=family),
    )


def test_vhid_0_from_an_own_virtual_address_is_a_loop() -> None:
    node = a_backup(FREEBSD, config(1), config(2))
    echo = DatagramReceived("em0", VIP + 1, GROUPS[4], 255, encode(Advertisement(0)))
    assert node.handle(echo, 1.0) == (dropped(Reason.BADIF, vhid=0, source=VIP + 1),)
    for source in (OWN, PEERS[4]):
        other = echo._replace(source=source)
        assert node.handle(other, 1.0) == (dropped(Reason.BADVHID, 0, vhid=0, source=source),)
    unknown = echo._replace(payload=encode(Advertisement(9)))
    assert node.handle(unknown, 1.0) == (dropped(Reason.BADVHID, 9, vhid=9, source=VIP + 1),)
    assert counted(node) == {"ipackets": 4, "badif": 1, "badvhid": 3}


def test_none_of_type_authlen_and_byte_4_is_checked() -> None:
    node = a_backup()
    odd = signer(node).sign(Advertisement(1, type=2, authlen=0, demote=77))
    assert node.handle(heard(node, payload=encode(odd)), 1.0) == ()
    assert node.deadline == 4.0


@each([FREEBSD, FREEBSD_10, FREEBSD_14])
def test_a_unicast_destination_is_taken(profile: Profile) -> None:
    node = a_backup(profile)
    assert node.handle(heard(node, destination=OWN), 1.0) == ()
    assert node.deadline == 4.0


def test_openbsd_takes_unicast_where_there_is_a_peer_and_multicast_where_there_is_none() -> None:
    for peer in (None, PEERS[4]):
        for destination in (OWN, GROUPS[4]):
            node = a_backup(OPENBSD, config(peer=peer))
            taken = destination.is_multicast is (peer is None)
            actions = node.handle(heard(node, destination=destination), 1.0)
            assert actions == (() if taken else (dropped(Reason.BADVHID, 1),))
    # Of IPv6 it takes both.
    node = a_backup(OPENBSD, config(1, VIP6))
    assert node.handle(heard(node, family=6, destination=OWN6), 1.0) == ()


def test_only_freebsd_14_takes_any_ttl_from_a_unicast_peer() -> None:
    for profile in (FREEBSD_14, FREEBSD):
        node = a_backup(profile, config(1, VIP, VIP6, peer=PEERS[4]))
        event = heard(node, 255, 255, hop_limit=64, destination=OWN)
        actions = node.handle(event, 1.0)
        if profile is FREEBSD_14:
            assert state(node) is MASTER
            assert node.handle(heard(node, family=6, hop_limit=64), 1.0) == (
                dropped(Reason.BADTTL, 64, 255, family=6),
            )
        else:
            assert actions == (dropped(Reason.BADTTL, 64, 255),)


def test_netbsd_refuses_a_vhid_that_is_in_init() -> None:
    node = a_node(NETBSD)
    assert node.handle(heard(node, counter=41), 1.0) == (dropped(Reason.BADVHID, 1),)
    left = AdvertisementReceived("em0", 4, PEERS[4], signer(node).sign(Advertisement(1)))
    assert node.handle(left, 1.0) == (dropped(Reason.BADVHID, 1),)
    assert counted(node) == {"ipackets": 2, "badvhid": 2}


def test_freebsd_learns_the_counter_in_init() -> None:
    node = a_node()
    assert node.handle(heard(node, 255, 255, counter=41), 0.0) == ()
    assert counted(node) == {"ipackets": 1}
    node.handle(UP, 0.0)
    assert fire(node)[1] == sent(node, counter=42)


def test_ucarp_takes_the_group_that_it_was_told_and_no_other() -> None:
    node = a_backup(UCARP, config(1, VIP, peer="224.0.0.99"))
    assert node.handle(heard(node), 1.0) == (dropped(Reason.BADIF),)
    assert node.handle(heard(node, destination="224.0.0.99"), 1.0) == ()
    assert node.handle(heard(node, destination=OWN), 2.0) == (dropped(Reason.BADIF),)
    assert node.deadline == 4.0


def test_netbsd_of_1_120_sums_the_pseudo_header_of_ipv6_in_both_directions() -> None:
    node = a_backup(NETBSD_1120, config(1, VIP, VIP6))
    assert node.handle(heard(node, family=4), 1.0) == ()
    plain = heard(node, family=6)
    found = int.from_bytes(plain.payload[6:8], "big")
    assert node.handle(plain, 1.0) == (dropped(Reason.BADSUM, found, family=6),)
    advertisement = signer(node).sign(Advertisement(1, counter=7000))
    covered = encode(advertisement, pseudo_header=pseudo_header(PEERS[6], GROUPS[6]))
    assert node.handle(plain._replace(payload=covered), 1.0) == ()
    assert node.deadline == 4.0
    (_, _, sixth, _) = fire(node)
    assert isinstance(sixth, SendAdvertisement)
    assert node.handle(
        DatagramReceived("em0", OWN6, GROUPS[6], 255, encode(sixth.advertisement)), 4.5
    ) == (changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 256, 256, 6, OWN6),)


def test_openbsd_drops_its_own_counter_as_a_loop() -> None:
    node = a_master(OPENBSD)
    assert node.handle(heard(node, 0, 1, counter=99), 3.5) == (dropped(Reason.LOOP),)
    assert counted(node) == {"ipackets": 1, "opackets": 1, "loop": 1}


def test_a_bsd_takes_a_packet_from_its_own_address() -> None:
    """As recorded in freebsd/injected."""
    node = a_backup()
    assert node.handle(heard(node, source=OWN), 1.0) == ()
    assert node.deadline == 4.0


def test_a_wrong_hmac_is_badauth() -> None:
    node = a_backup()
    wrong = Authenticator(vhid=1, passphrase="wrong", addresses=[VIP])
    payload = encode(wrong.sign(Advertisement(1)))
    assert node.handle(heard(node, payload=payload), 1.0) == (dropped(Reason.BADAUTH),)
    assert counted(node) == {"ipackets": 1, "badauth": 1}


@pytest.mark.parametrize(
    ("differing", "text"),
    [
        ({"payload": "text"}, "the payload is of type str; give bytes"),
        ({"payload": None}, "the payload is of type NoneType; give bytes"),
        ({"source": "here"}, "'here' is not an address"),
        ({"destination": None}, "None is not an address"),
    ],
)
def test_refuses_a_datagram_that_no_socket_gives(differing: dict[str, Any], text: str) -> None:
    node = a_backup()
    with pytest.raises(ConfigError, match=text):
        node.handle(heard(node, **differing), 1.0)
    assert counted(node) == {}


# -- what is left of a packet -----------------------------------------------------------


def test_an_advertisement_may_come_without_its_datagram() -> None:
    node = a_backup(FREEBSD, config(1, VIP, VIP6))
    advertisement = signer(node).sign(Advertisement(1, 1, 100))
    assert node.handle(AdvertisementReceived("em0", 4, "192.168.1.158", advertisement), 1.0) == ()
    assert node.handle(AdvertisementReceived("em0", 6, "fe80::b%em0", advertisement), 2.0) == ()
    assert node.deadline == 4.0
    node.handle(SettingChanged("preempt", 1), 2.0)
    (change, *_) = node.handle(AdvertisementReceived("em0", 6, PEERS[6], advertisement), 2.0)
    assert change == changed(BACKUP, MASTER, Reason.PREEMPTING, 256, 356, 6, PEERS[6])
    assert counted(node) == {"ipackets": 1, "ipackets6": 2, "opackets": 1, "opackets6": 1}


@each(PROFILES)
def test_an_advertisement_alone_is_refused_in_the_same_order(profile: Profile) -> None:
    order = [
        fault for fault in ORDER[profile.name] if fault in ("notallowed", "badvhid", "badver")
    ]
    for number in (1, 2, 3, 4):
        for chosen in combinations([*order, "badauth"], number):
            node = a_backup(profile)
            if "notallowed" in chosen:
                node.handle(FORBID, 1.0)
            advertisement = signer(node).sign(Advertisement(1))
            if "badauth" in chosen:
                advertisement = advertisement._replace(digest=bytes(20))
            if "badvhid" in chosen:
                advertisement = advertisement._replace(vhid=9)
            if "badver" in chosen:
                advertisement = advertisement._replace(version=3)
            event = AdvertisementReceived("em0", 4, PEERS[4], advertisement)
            vhid = 9 if "badvhid" in chosen else 1
            assert node.handle(event, 1.0) == (
                dropped(Reason(chosen[0]), *DESCRIPTIONS.get(chosen[0], ()), vhid=vhid),
            )
            assert counted(node) == {"ipackets": 1, chosen[0]: 1}


def test_an_advertisement_of_a_family_without_address_is_badvhid() -> None:
    node = a_backup()
    advertisement = signer(node).sign(Advertisement(1))
    assert node.handle(AdvertisementReceived("em0", 6, PEERS[6], advertisement), 1.0) == (
        dropped(Reason.BADVHID, 1, family=6),
    )
    echo = AdvertisementReceived("em0", 4, VIP, advertisement._replace(vhid=0))
    assert node.handle(echo, 1.0) == (dropped(Reason.BADIF, vhid=0, source=VIP),)


@pytest.mark.parametrize(
    ("differing", "text"),
    [
        ({"family": 6}, "family 6 does not fit the source 192.168.1.158; give 4"),
        ({"family": []}, r"family \[\] does not fit the source"),
        ({"source": "here"}, "'here' is not an address"),
        ({"advertisement": b""}, "b'' is no Advertisement"),
        ({"advertisement": Advertisement(256)}, "does not fit; vhid, advbase, advskew and demote"),
        ({"advertisement": Advertisement([])}, "does not fit"),
        ({"advertisement": Advertisement(1, advbase=None)}, "does not fit"),
    ],
)
def test_refuses_an_advertisement_that_does_not_fit_together(
    differing: dict[str, Any], text: str
) -> None:
    node = a_backup()
    event = AdvertisementReceived("em0", 4, PEERS[4], signer(node).sign(Advertisement(1)))
    with pytest.raises(ConfigError, match=text):
        node.handle(event._replace(**differing), 1.0)
    assert counted(node) == {}


# -- counters ---------------------------------------------------------------------------


def test_counters_are_those_of_struct_carpstats_by_name_and_by_attribute() -> None:
    node = a_master(FREEBSD, config(1, VIP, VIP6))
    before = node.counters
    node.handle(heard(node, 2, family=6), 3.5)
    node.handle(heard(node, hop_limit=1), 3.5)
    fire(node)
    counters = node.counters
    assert tuple(counters) == (*CARPSTATS, "notallowed", "loop")
    assert len(counters) == 18
    assert counters["ipackets6"] == counters.ipackets6 == 1
    assert counters["badttl"] == counters.badttl == 1
    assert counters["opackets"] == counters.opackets == 2
    assert counters.opackets6 == 2
    assert counters.hdrops == counters.onomem == 0
    assert (before.opackets, before.badttl) == (1, 0)
    assert dict(counters)["ipackets"] == 1
    assert repr(counters) == "Counters(ipackets=1, ipackets6=1, badttl=1, opackets=2, opackets6=2)"
    assert repr(Node().counters) == "Counters()"


def test_a_counter_that_is_not_there() -> None:
    counters = Node().counters
    assert not hasattr(counters, "vhids")
    assert not hasattr(counters, "_secret")
    with pytest.raises(AttributeError, match="there is no counter 'vhids'"):
        _ = counters.vhids
    with pytest.raises(KeyError):
        _ = counters["vhids"]


def test_opackets_count_before_it_is_known_whether_the_sending_failed() -> None:
    node = a_master()
    node.handle(FAILED, 3.1)
    assert node.counters.opackets == 1


# -- timers -----------------------------------------------------------------------------


def test_one_timer_expired_fires_each_due_timer_once_in_order_of_deadline() -> None:
    node = a_backup(
        FREEBSD,
        config(1, advskew=200),
        config(2, advskew=100),
        em1=[config(3, advskew=0), config(4, advskew=254)],
    )
    assert node.deadline == 3.0
    actions = node.handle(TimerExpired(), 3.9)
    assert [a for a in actions if isinstance(a, StateChanged)] == [
        changed(
            BACKUP,
            MASTER,
            Reason.MASTER_TIMED_OUT,
            768 + advskew,
            None,
            4,
            vhid=vhid,
            interface=interface,
        )
        for interface, vhid, advskew in [("em1", 3, 0), ("em0", 2, 100), ("em0", 1, 200)]
    ]
    assert len(actions) == 9
    assert node.deadline == 3 + 254 / 256
    assert state(node, 4, "em1") is BACKUP
    assert node.handle(TimerExpired(), 3.9) == ()


def test_equal_deadlines_fire_in_the_order_in_which_they_were_set() -> None:
    node = a_backup(FREEBSD, config(2), config(1), em1=[config(3)])
    fired = [a.vhid for a in fire(node) if isinstance(a, StateChanged)]
    assert fired == [3, 2, 1]  # em1 came up first


def test_after_a_stall_there_is_no_burst() -> None:
    node = a_master(FREEBSD, config(1), config(2, advskew=128))
    assert node.handle(TimerExpired(), 1000.0) == (
        sent(node, counter=1),
        sent(node, 1, 128, counter=1, vhid=2),
    )
    assert node.deadline == 1001.0
    assert node.handle(TimerExpired(), 1000.0) == ()
    assert node.handle(TimerExpired(), 1001.0) == (sent(node, counter=2),)
    assert node.deadline == 1001.5


def test_a_timer_that_was_restarted_fires_at_its_new_time_only() -> None:
    node = a_backup(FREEBSD, config(1), config(2, advskew=100))
    for now in (1.0, 2.0, 2.5):
        assert node.handle(heard(node), now) == ()
    assert node.deadline == 3 + 100 / 256
    assert node.handle(TimerExpired(), 3.0) == ()
    (change, *_) = fire(node)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, 868, None, 4, vhid=2)
    assert node.deadline == 3 + 100 / 256 + 1 + 100 / 256
    node.handle(heard(node), 4.0)
    assert node.handle(TimerExpired(), 5.0)[0] == sent(node, 1, 100, counter=1, vhid=2)
    assert node.deadline == 5 + 356 / 256
    assert state(node) is BACKUP


def test_a_deadline_can_move_to_earlier() -> None:
    node = a_backup(FREEBSD, config(1, advbase=10))
    assert node.deadline == 30.0
    node.handle(StateRequested("em0", 1, MASTER), 1.0)
    assert node.deadline == 11.0
    node.handle(Reconfigured("em0", 1, advbase=1), 2.0)
    assert node.deadline == 11.0
    node.handle(DemotionAdjusted(1), 2.0)
    assert node.deadline == 3 + 1 / 256
    for deadline in (3 + 1 / 256, 4 + 2 / 256):
        assert node.deadline == deadline
        (advertisement,) = fire(node)
        assert isinstance(advertisement, SendAdvertisement)
    assert node.handle(TimerExpired(), 30.0) != ()
    assert node.handle(TimerExpired(), 30.0) == ()


@pytest.mark.parametrize("as_datagram", [True, False])
def test_a_preemption_moves_a_deadline_before_that_of_another(as_datagram: bool) -> None:
    node = a_backup(FREEBSD, config(1, advbase=4), config(2, advbase=2))
    node.handle(SettingChanged("preempt", 1), 0.5)
    assert node.deadline == 6.0
    event: Event = heard(node, advbase=8)
    if not as_datagram:
        slower = signer(node).sign(Advertisement(1, advbase=8, counter=7000))
        event = AdvertisementReceived("em0", 4, PEERS[4], slower)
    assert node.handle(event, 1.0)
    assert state(node) is MASTER
    assert node.deadline == 5.0


def test_one_virtual_host_can_be_told_that_its_timer_expired() -> None:
    node = a_backup(FREEBSD, config(1), config(2))
    (change, *_) = node.handle(TimerExpired("em0", 2), 3.0)
    assert change == TIMED_OUT._replace(vhid=2)
    assert (state(node, 1), state(node, 2)) == (BACKUP, MASTER)
    assert node.deadline == 3.0
    assert node.handle(TimerExpired("em0", 2), 3.5) == ()
    (change, *_) = node.handle(TimerExpired(), 3.5)
    assert change == TIMED_OUT


def test_a_time_before_the_last_counts_as_the_last() -> None:
    node = a_backup()
    node.handle(SettingChanged("preempt", 1), 2.0)
    node.handle(heard(node), -5.0)
    assert node.deadline == 5.0
    node.handle(heard(node), 1)
    assert node.deadline == 5.0


@pytest.mark.parametrize(
    "event",
    [
        SettingChanged("preempt", 1),
        SettingChanged("ifdown_demotion_factor", 1),
        UP,
        CARRIER,
        ALLOW,
        AddressAdded("em0", "192.168.1.7"),
        AddressRemoved("em0", OWN),
        AddressAdded("em0", VIP, 1),
        AddressRemoved("em0", "192.168.1.99", 1),
        Reconfigured("em0", 1, advskew=1),
        FAILED,
        SUCCEEDED,
        DemotionAdjusted(0),
        InterfaceChanged("em1", True),
    ],
    ids=repr,
)
@pytest.mark.parametrize("describe", [a_backup, a_master])
def test_no_event_but_timer_expired_fires_a_timer(describe: Any, event: Event) -> None:
    node = describe()
    deadline = node.deadline
    assert node.handle(event, 1000.0) == ()
    assert node.deadline == deadline
    assert node.handle(TimerExpired(), 1000.0) != ()


def test_without_running_timers_there_is_no_deadline() -> None:
    node = a_master()
    node.handle(DOWN, 3.5)
    assert node.deadline is None
    assert node.handle(TimerExpired(), 100.0) == ()
    node.handle(UP, 200.0)
    assert node.deadline == 203.0
    node.handle(DOWN, 201.0)
    assert node.handle(TimerExpired(), 300.0) == ()
    assert node.deadline is None


def test_a_removed_virtual_host_takes_its_timer_with_it() -> None:
    node = a_backup(FREEBSD, config(1), config(2, advskew=100))
    node.handle(VirtualHostRemoved("em0", 1), 1.0)
    assert node.deadline == 3 + 100 / 256
    assert node.handle(TimerExpired(), 3.0) == ()
    node.handle(VirtualHostRemoved("em0", 2), 3.1)
    assert node.deadline is None
    assert node.handle(TimerExpired(), 100.0) == ()


# -- interface, carrier, allow ----------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "back"), [(DOWN, UP), (NO_CARRIER, CARRIER)], ids=["interface", "carrier"]
)
def test_every_virtual_host_of_a_lost_interface_is_in_init_and_demotes_once(
    lost: Event, back: Event
) -> None:
    node = a_master(FREEBSD, config(1), config(2), em1=[config(3)])
    assert node.handle(lost, 3.5) == (
        changed(MASTER, INIT, Reason.HARDWARE_DOWN),
        changed(MASTER, INIT, Reason.HARDWARE_DOWN, vhid=2),
        demoted(240, 240, Reason.INTERFACE_DOWN),
        demoted(240, 480, Reason.INTERFACE_DOWN, vhid=2),
        sent(node, 1, 240, counter=1, vhid=3, interface="em1"),
    )
    assert node.handle(lost, 3.6) == ()
    assert (node.demotion, node.deadline) == (480, 3.5 + 496 / 256)
    assert node.handle(back, 4.0) == (
        READY,
        READY._replace(vhid=2),
        demoted(-240, 240, Reason.INTERFACE_UP),
        demoted(-240, 0, Reason.INTERFACE_UP, vhid=2),
        sent(node, counter=2, vhid=3, interface="em1"),
    )
    assert node.handle(back, 4.5) == ()
    assert (node.demotion, node.deadline) == (0, 5.0)


def test_interface_and_carrier_lost_together_demote_once() -> None:
    node = a_backup()
    node.handle(NO_CARRIER, 1.0)
    assert node.handle(DOWN, 2.0) == ()
    assert node.handle(FORBID, 2.0) == ()
    assert node.demotion == 240
    assert node.handle(CARRIER, 3.0) == ()
    assert node.handle(UP, 4.0) == ()
    assert node.handle(ALLOW, 5.0) == (READY, demoted(-240, 0, Reason.INTERFACE_UP))


def test_an_interface_that_never_came_up_demotes_when_it_is_said_to_be_down() -> None:
    node = a_node()
    assert node.demotion == 0
    assert node.handle(DOWN, 0.0) == (demoted(240, 240, Reason.INTERFACE_DOWN),)
    assert node.handle(UP, 1.0) == (READY, demoted(-240, 0, Reason.INTERFACE_UP))


def test_the_factor_counts_as_it_is_at_that_moment() -> None:
    node = a_backup()
    assert node.handle(SettingChanged("ifdown_demotion_factor", 100), 1.0) == ()
    assert node.handle(DOWN, 1.0) == (
        changed(BACKUP, INIT, Reason.HARDWARE_DOWN),
        demoted(100, 100, Reason.INTERFACE_DOWN),
    )
    node.handle(SettingChanged("ifdown_demotion_factor", 30), 2.0)
    assert node.handle(UP, 2.0) == (READY, demoted(-30, 70, Reason.INTERFACE_UP))


@pytest.mark.parametrize(("profile", "factor"), [(OPENBSD, 1), (NETBSD, 240)])
def test_each_system_has_its_own_factor(profile: Profile, factor: int) -> None:
    node = a_backup(profile)
    node.handle(DOWN, 1.0)
    assert node.demotion == factor


def test_ucarp_does_not_demote_for_an_interface() -> None:
    node = a_master(UCARP)
    assert node.handle(NO_CARRIER, 3.5) == (changed(MASTER, BACKUP, Reason.CARRIER_LOST),)
    assert node.handle(DOWN, 3.5) == (changed(BACKUP, INIT, Reason.HARDWARE_DOWN),)
    assert node.demotion == 0


@each([FREEBSD, FREEBSD_12, FREEBSD_14])
def test_allow_0_takes_every_virtual_host_to_init_and_demotes(profile: Profile) -> None:
    factor = 240
    node = a_backup(profile, em1=[config(2)])
    assert node.handle(ALLOW, 1.0) == ()
    assert node.handle(FORBID, 1.0) == (
        changed(BACKUP, INIT, Reason.HARDWARE_DOWN),
        changed(BACKUP, INIT, Reason.HARDWARE_DOWN, vhid=2, interface="em1"),
        demoted(factor, factor, Reason.INTERFACE_DOWN),
        demoted(factor, 2 * factor, Reason.INTERFACE_DOWN, vhid=2, interface="em1"),
    )
    assert node.handle(FORBID, 1.0) == ()
    assert node.handle(heard(node), 1.5) == (dropped(Reason.NOTALLOWED),)
    assert node.handle(ALLOW, 2.0) == (
        READY,
        READY._replace(vhid=2, interface="em1"),
        demoted(-factor, factor, Reason.INTERFACE_UP),
        demoted(-factor, 0, Reason.INTERFACE_UP, vhid=2, interface="em1"),
    )
    assert node.deadline == 5.0


@each([FREEBSD_10, NETBSD, OPENBSD])
def test_on_the_others_allow_0_drops_input_only(profile: Profile) -> None:
    node = a_master(profile)
    assert node.handle(FORBID, 3.1) == ()
    assert node.handle(heard(node, 0, 1), 3.2) == (dropped(Reason.NOTALLOWED),)
    assert node.demotion == 0
    (advertisement,) = fire(node)
    assert isinstance(advertisement, SendAdvertisement)
    assert node.handle(ALLOW, 4.1) == ()
    assert node.handle(heard(node, 0, 1), 4.2) == (
        changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 256, 1, 4, PEERS[4]),
    )


@each(PROFILES)
def test_allow_as_it_was_changes_nothing_not_even_before_the_interface_is_up(
    profile: Profile,
) -> None:
    node = a_node(profile)
    assert node.handle(ALLOW, 0.0) == ()
    assert node.demotion == 0


def test_a_carp_interface_can_be_taken_down_alone() -> None:
    """NetBSD: it bows out; the node is not demoted, since its parent is up."""
    node = a_master(NETBSD, config(1), config(2))
    bow_out, change = node.handle(InterfaceChanged("em0", False, 1), 3.5)
    assert isinstance(bow_out, SendAdvertisement)
    assert (bow_out.advertisement.advbase, bow_out.advertisement.advskew) == (255, 255)
    assert change == changed(MASTER, INIT, Reason.HARDWARE_DOWN)
    assert (node.demotion, state(node, 2)) == (0, MASTER)
    assert node.handle(InterfaceChanged("em0", True, 1), 4.0) == (READY,)
    assert node.handle(LinkChanged("em0", False, 1), 4.5) == (
        changed(BACKUP, INIT, Reason.HARDWARE_DOWN),
    )
    assert node.demotion == 0


def test_netbsd_advertises_240_at_once_while_another_interface_is_down() -> None:
    """netbsd/demotion-skew240, at 8.5 and 15.5 s."""
    node = a_master(NETBSD, em1=[config(2)])
    change, demotion, advertisement = node.handle(InterfaceChanged("em1", False), 3.5)
    assert change == changed(MASTER, INIT, Reason.HARDWARE_DOWN, vhid=2, interface="em1")
    assert demotion == demoted(240, 240, Reason.INTERFACE_DOWN, vhid=2, interface="em1")
    assert isinstance(advertisement, SendAdvertisement)
    assert (advertisement.interface, advertisement.advertisement.advskew) == ("em0", 240)
    assert node.handle(InterfaceChanged("em1", True), 4.0) == (
        READY._replace(vhid=2, interface="em1"),
        demoted(-240, 0, Reason.INTERFACE_UP, vhid=2, interface="em1"),
    )


# -- addresses --------------------------------------------------------------------------


def test_an_address_added_to_a_master_restarts_it() -> None:
    node = a_master()
    assert node.handle(AddressAdded("em0", "192.168.1.51/32", 1), 3.5) == (
        changed(MASTER, INIT, Reason.HARDWARE_UP),
        READY,
    )
    assert node.deadline == 6.5
    (_, _, announcement) = fire(node)
    assert announcement == AnnounceAddresses("em0", 1, (VIP, VIP + 1), "00:00:5e:00:01:01")


def test_an_address_is_of_one_vhid_only() -> None:
    node = a_master(FREEBSD, config(1), config(2))
    with pytest.raises(
        ConfigError, match=r"192.168.1.51 is a virtual address of vhid 2 on 'em0' already"
    ):
        node.handle(AddressAdded("em0", VIP + 1, 1), 3.5)
    assert (state(node, 1), state(node, 2)) == (MASTER, MASTER)


def test_the_last_address_removed_takes_the_vhid_with_it() -> None:
    """freebsd/vip-removed, at 7.7 s."""
    node = a_master(FREEBSD, config(1, VIP, VIP + 9), em1=[config(2)])
    event = heard(node)
    assert node.handle(AddressRemoved("em0", VIP + 9, 1), 3.1) == (
        changed(MASTER, INIT, Reason.HARDWARE_UP),
        READY,
    )
    assert node.handle(AddressRemoved("em0", VIP, 1), 3.2) == (
        changed(BACKUP, INIT, Reason.HARDWARE_UP),
    )
    assert [host.config.vhid for host in node.virtual_hosts()] == [2]
    assert node.handle(event, 3.3) == (dropped(Reason.BADVHID, 1),)


def test_a_vhid_that_goes_gives_back_its_demotion() -> None:
    for event in (AddressRemoved("em0", VIP, 1), VirtualHostRemoved("em0", 1)):
        node = a_master(FREEBSD, em1=[config(2)])
        node.handle(NO_CARRIER, 3.1)
        assert node.demotion == 240
        assert node.handle(event, 3.2) == (
            demoted(-240, 0, Reason.VHID_REMOVED),
            sent(node, counter=2, vhid=2, interface="em1"),
        )
        node = a_master(FREEBSD, em1=[config(2)])
        for _ in range(3):
            node.handle(FAILED, 3.1)
        assert node.demotion == 240
        assert node.handle(event, 3.2) == (
            changed(MASTER, INIT, Reason.HARDWARE_UP),
            demoted(-240, 0, Reason.VHID_REMOVED),
            sent(node, counter=2, vhid=2, interface="em1"),
        )


def test_the_interfaces_own_addresses_are_told_to_its_virtual_hosts_only() -> None:
    node = a_master(FREEBSD, config(1), em1=[config(2)])
    assert node.handle(AddressRemoved("em0", "192.168.1.157/24"), 3.1) == ()
    assert node.handle(AddressAdded("em0", "192.168.1.7/24"), 3.1) == ()
    assert node.handle(AddressAdded("em0", "192.168.1.7/24"), 3.1) == ()
    assert node.handle(AddressRemoved("em0", "192.168.1.99"), 3.1) == ()
    sources = [a.source for a in fire(node) if isinstance(a, SendAdvertisement)]
    assert sources == [IPv4Address("10.0.0.157"), IPv4Address("192.168.1.7")]
    node.handle(VirtualHostAdded("em0", config(3)), 4.1)
    node.handle(StateRequested("em0", 3, MASTER), 4.1)
    sources = [
        a.source for a in node.handle(DemotionAdjusted(1), 4.2) if isinstance(a, SendAdvertisement)
    ]
    assert sources == [IPv4Address("192.168.1.7")] * 2 + [IPv4Address("10.0.0.157")]


# -- virtual hosts while it runs --------------------------------------------------------


def test_a_virtual_host_added_takes_part_at_once_with_the_nodes_settings_and_demotion() -> None:
    node = a_master()
    for name, value in [("preempt", 1), ("dscp", 8), ("dead_ratio", 5), ("demotion", 30)]:
        node.handle(SettingChanged(name, value), 3.5)
    added = VirtualHostAdded("em0", config(2, advskew=100))
    assert node.handle(added, 4.0) == (READY._replace(vhid=2),)
    host = node.virtual_host("em0", 2)
    assert (host.demotion, host.deadline) == (30, 4 + 5 + 100 / 256)
    (change, advertisement, _) = node.handle(heard(node, 1, 131, vhid=2), 4.5)
    assert change == changed(BACKUP, MASTER, Reason.PREEMPTING, 386, 387, 4, PEERS[4], vhid=2)
    assert isinstance(advertisement, SendAdvertisement)
    assert (advertisement.traffic_class, advertisement.advertisement.advskew) == (0x20, 130)


@pytest.mark.parametrize("prevented", [DOWN, NO_CARRIER, FORBID], ids=repr)
def test_a_virtual_host_added_where_it_cannot_take_part_demotes(prevented: Event) -> None:
    node = a_backup(FREEBSD, em1=[config(3)])
    node.handle(prevented, 1.0)
    before = node.demotion
    (demotion, *_) = node.handle(VirtualHostAdded("em0", config(2)), 2.0)
    assert demotion == demoted(240, before + 240, Reason.INTERFACE_DOWN, vhid=2)
    assert state(node, 2) is INIT


def test_a_virtual_host_may_begin_without_an_address() -> None:
    """As ifconfig does it: the vhid first, then its address."""
    node = a_backup()
    assert node.handle(VirtualHostAdded("em0", VirtualHostConfig(vhid=2)), 1.0) == ()
    assert state(node, 2) is INIT
    assert node.handle(AddressAdded("em0", VIP + 1, 2), 2.0) == (READY._replace(vhid=2),)
    node.handle(NO_CARRIER, 3.0)
    assert node.demotion == 480
    assert node.handle(VirtualHostAdded("em0", VirtualHostConfig(vhid=3)), 4.0) == ()
    assert node.handle(AddressAdded("em0", VIP + 2, 3), 5.0) == (
        demoted(240, 720, Reason.INTERFACE_DOWN, vhid=3),
    )
    assert node.handle(CARRIER, 6.0)[3:] == (
        demoted(-240, 480, Reason.INTERFACE_UP, vhid=1),
        demoted(-240, 240, Reason.INTERFACE_UP, vhid=2),
        demoted(-240, 0, Reason.INTERFACE_UP, vhid=3),
    )


def test_a_vhid_that_is_gone_may_come_back() -> None:
    node = a_master()
    assert node.handle(VirtualHostRemoved("em0", 1), 3.5) == (
        changed(MASTER, INIT, Reason.HARDWARE_UP),
    )
    assert (node.virtual_hosts(), node.deadline, node.demotion) == ((), None, 0)
    assert node.handle(VirtualHostAdded("em0", config()), 4.0) == (READY,)
    assert node.deadline == 7.0


def test_a_timer_whose_advertisement_has_no_counter_stays_due() -> None:
    drawn: list[int] = [-1]
    node = Node(counter=lambda: drawn[-1])
    node.add_interface("em0", mac=MACS["em0"], addresses=[OWN])
    for vhid in (1, 2):
        node.add_virtual_host("em0", config(vhid))
    node.handle(UP, 0.0)
    with pytest.raises(ConfigError, match="counter -1 is out of range"):
        fire(node)
    assert (node.deadline, state(node, 1), state(node, 2)) == (3.0, BACKUP, BACKUP)
    drawn.append(7)
    fire(node)
    assert (state(node, 1), state(node, 2)) == (MASTER, MASTER)


def test_demotion_whose_advertisement_has_no_counter_changes_nothing() -> None:
    drawn: list[int] = [7]
    node = Node(counter=lambda: drawn[-1])
    node.add_interface("em0", mac=MACS["em0"], addresses=[OWN])
    node.add_virtual_host("em0", config())
    node.handle(UP, 0.0)
    fire(node)
    drawn.append(-1)
    with pytest.raises(ConfigError, match="counter -1 is out of range"):
        node.handle(DemotionAdjusted(240), 3.5)
    assert (node.demotion, node.deadline) == (0, 4.0)


def test_a_master_down_timer_that_became_shorter_is_not_missed() -> None:
    node = a_backup(FREEBSD, config(advbase=10))
    assert node.deadline == 30.0
    node.handle(Reconfigured("em0", 1, advbase=1), 1.0)
    assert node.deadline == 30.0
    assert node.handle(heard(node), 2.0) == ()
    assert node.deadline == 5.0
    assert fire(node)[0] == TIMED_OUT


def test_a_virtual_host_is_reconfigured_and_asked_for_a_state() -> None:
    node = a_backup()
    assert node.handle(Reconfigured("em0", 1, advskew=100), 1.0) == ()
    assert node.handle(StateRequested("em0", 1, MASTER), 2.0) == (
        changed(BACKUP, MASTER, Reason.USER_REQUESTED),
        sent(node, 1, 100, counter=0),
        AnnounceAddresses("em0", 1, (VIP,), "00:00:5e:00:01:01"),
    )
    assert node.deadline == 3 + 100 / 256
    assert node.handle(StateRequested("em0", 1, BACKUP, hold=10.0), 3.0) == (
        changed(MASTER, BACKUP, Reason.USER_REQUESTED),
    )
    assert node.deadline == 13.0
    with pytest.raises(ConfigError, match="cannot be requested"):
        node.handle(StateRequested("em0", 1, INIT), 3.0)
    with pytest.raises(ConfigError, match="advbase 0 is out of range"):
        node.handle(Reconfigured("em0", 1, advbase=0), 3.0)


# -- settings and demotion --------------------------------------------------------------


def test_settings_have_carp4s_defaults() -> None:
    expected = {
        "allow": 1,
        "preempt": 0,
        "dscp": 56,
        "demotion": 0,
        "ifdown_demotion_factor": 240,
        "senderr_demotion_factor": 240,
        "dead_ratio": 3,
    }
    node = Node()
    assert {name: node.setting(name) for name in expected} == expected


def test_a_setting_can_be_read_back() -> None:
    node = a_backup()
    for name in ("allow", "preempt", "ifdown_demotion_factor", "senderr_demotion_factor"):
        for value in (0, True, 1):
            node.handle(SettingChanged(name, value), 0.0)
            assert node.setting(name) == value
            assert type(node.setting(name)) is int
    node.handle(SettingChanged("demotion", 30), 0.0)
    node.handle(SettingChanged("demotion", True), 0.0)
    assert node.setting("demotion") == 31


def test_a_setting_reaches_every_virtual_host() -> None:
    node = a_backup(FREEBSD, config(1), em1=[config(2)])
    node.handle(SettingChanged("preempt", 1), 0.5)
    node.handle(SettingChanged("dead_ratio", 2), 0.5)
    for interface, vhid in (("em0", 1), ("em1", 2)):
        event = heard(node, 2, 0, vhid=vhid, interface=interface)
        (change, *_) = node.handle(event, 1.0)
        assert isinstance(change, StateChanged)
        assert (change.vhid, change.reason) == (vhid, Reason.PREEMPTING)
        assert node.virtual_host(interface, vhid).master_down_interval == 512


@pytest.mark.parametrize("name", ["advbase", "", None, []], ids=repr)
def test_names_the_setting_that_is_not_there_and_those_that_are(name: Any) -> None:
    node = a_node()
    known = "there are allow, preempt, dscp,.* demotion"
    with pytest.raises(ConfigError, match=f"there is no setting .*; {known}"):
        node.setting(name)
    with pytest.raises(ConfigError, match=f"there is no setting .*; {known}"):
        node.handle(SettingChanged(name, 1), 0.0)


@pytest.mark.parametrize(("name", "value"), [("allow", 2), ("dscp", -1), ("preempt", "1")])
def test_refuses_a_setting_out_of_range(name: str, value: Any) -> None:
    node = a_node()
    before = node.setting(name)
    with pytest.raises(ConfigError, match=f"{name} .* is out of range; it is 0 to"):
        node.handle(SettingChanged(name, value), 0.0)
    assert node.setting(name) == before


def test_a_change_of_demotion_makes_every_master_advertise_in_the_same_call() -> None:
    """freebsd/demotion-preempt1, at 8.7 s."""
    node = a_master(FREEBSD, config(1), config(2, advskew=10), em1=[config(3)])
    node.handle(heard(node, 0, 1, counter=70), 4.0)
    assert state(node) is BACKUP
    assert node.handle(DemotionAdjusted(50), 4.25) == (
        by_sysctl(50, 50),
        sent(node, 1, 60, counter=1, vhid=2),
        sent(node, 1, 50, counter=1, vhid=3, interface="em1"),
    )
    assert node.deadline == 4.25 + 306 / 256
    assert node.handle(SettingChanged("demotion", 100), 4.5) == (
        by_sysctl(100, 150),
        sent(node, 1, 160, counter=2, vhid=2),
        sent(node, 1, 150, counter=2, vhid=3, interface="em1"),
    )
    assert node.handle(DemotionAdjusted(-150), 4.75)[0] == by_sysctl(-150, 0)
    assert [host.demotion for host in node.virtual_hosts()] == [0, 0, 0]


def test_no_demotion_is_no_change() -> None:
    node = a_master()
    assert node.handle(DemotionAdjusted(0), 3.5) == ()
    assert node.handle(SettingChanged("demotion", 0), 3.5) == ()


@pytest.mark.parametrize("delta", [2**31, -(2**31), 1.0, "1", None, True], ids=repr)
def test_refuses_demotion_that_is_no_c_int(delta: Any) -> None:
    node = a_master()
    with pytest.raises(ConfigError, match=r"demotion .* is out of range; it is -2147483647 to"):
        node.handle(DemotionAdjusted(delta), 3.5)
    assert node.demotion == 0


# -- send errors ------------------------------------------------------------------------


def test_three_send_errors_in_a_row_demote_and_three_successes_repair() -> None:
    node = a_master(FREEBSD, config(1), em1=[config(2)])
    assert node.handle(FAILED, 3.1) == ()
    assert node.handle(FAILED, 3.1) == ()
    assert node.handle(FAILED, 3.1) == (
        demoted(240, 240, Reason.SEND_ERROR),
        sent(node, 1, 240, counter=1),
        sent(node, 1, 240, counter=1, vhid=2, interface="em1"),
    )
    for _ in range(5):
        assert node.handle(FAILED, 3.2) == ()
    assert node.handle(SUCCEEDED, 3.3) == ()
    assert node.handle(SUCCEEDED, 3.3) == ()
    assert node.handle(SUCCEEDED, 3.3) == (
        demoted(-240, 0, Reason.SEND_OK),
        sent(node, counter=2),
        sent(node, counter=2, vhid=2, interface="em1"),
    )
    for _ in range(5):
        assert node.handle(SUCCEEDED, 3.4) == ()
    for _ in range(2):
        assert node.handle(FAILED, 3.5) == ()
    assert node.handle(FAILED, 3.5)[0] == demoted(240, 240, Reason.SEND_ERROR)


def test_a_success_between_makes_it_no_row() -> None:
    node = a_master()
    for _ in range(5):
        for event in (FAILED, FAILED, SUCCEEDED):
            assert node.handle(event, 3.1) == ()
    assert node.demotion == 0


def test_an_error_between_starts_the_successes_anew() -> None:
    node = a_master()
    for _ in range(3):
        node.handle(FAILED, 3.1)
    for _ in range(5):
        for event in (SUCCEEDED, SUCCEEDED, FAILED):
            assert node.handle(event, 3.2) == ()
    assert node.demotion == 240
    for _ in range(3):
        node.handle(SUCCEEDED, 3.3)
    assert node.demotion == 0


def test_both_families_of_a_vhid_count_together_and_other_vhids_apart() -> None:
    node = a_master(FREEBSD, config(1, VIP, VIP6), config(2))
    first, second = (fire(node), fire(node))
    assert [type(action) for action in first] == [SendAdvertisement] * 3
    for action in first[:2]:  # IPv4 and IPv6 of vhid 1
        assert isinstance(action, SendAdvertisement)
        assert node.handle(SendFailed(action.interface, action.vhid, 65), 5.0) == ()
    for _ in range(2):
        assert node.handle(SendFailed("em0", 2, 65), 5.0) == ()
    action = second[0]
    assert isinstance(action, SendAdvertisement)
    (demotion, *_) = node.handle(SendFailed(action.interface, action.vhid, 65), 5.0)
    assert demotion == demoted(240, 240, Reason.SEND_ERROR)


def test_freebsd_12_1_forgets_its_errors_with_the_first_success() -> None:
    """The +240 stays for ever, and three errors more add another."""
    node = a_master(FREEBSD_12)
    for _ in range(3):
        node.handle(FAILED, 3.1)
    for _ in range(10):
        assert node.handle(SUCCEEDED, 3.2) == ()
    assert node.demotion == 240
    for _ in range(3):
        node.handle(FAILED, 3.3)
    assert node.demotion == 480
    node.handle(SUCCEEDED, 3.4)
    assert node.handle(VirtualHostRemoved("em0", 1), 3.5) == (
        changed(MASTER, INIT, Reason.HARDWARE_UP),
    )
    assert node.demotion == 480


def test_the_factor_of_send_errors_can_be_set() -> None:
    node = a_backup()
    node.handle(SettingChanged("senderr_demotion_factor", 7), 1.0)
    for _ in range(3):
        node.handle(FAILED, 1.0)
    assert node.demotion == 7
    node.handle(SettingChanged("senderr_demotion_factor", 0), 1.0)
    for _ in range(3):
        assert node.handle(SUCCEEDED, 1.0) == ()
    assert node.demotion == 7


# -- who answers ------------------------------------------------------------------------


@each(PROFILES)
def test_only_a_master_answers_for_its_virtual_addresses(profile: Profile) -> None:
    node = a_node(profile, config(7, VIP))
    virtual = "00:00:5e:00:01:07"
    node.handle(UP, 0.0)
    assert state(node, 7) is BACKUP
    assert (node.answers(VIP), node.owns_mac(virtual)) == (None, False)
    fire(node)
    assert state(node, 7) is MASTER
    assert node.answers("192.168.1.50/24") == (MACS["em0"] if profile is UCARP else virtual)
    assert node.owns_mac(virtual) is (profile is not UCARP)
    assert node.answers(VIP + 1) is None
    assert not node.owns_mac("00:00:5e:00:01:08")
    node.handle(DOWN, 3.5)
    assert state(node, 7) is INIT
    assert (node.answers(VIP), node.owns_mac(virtual)) == (None, False)


def test_both_families_are_answered_for() -> None:
    node = a_master(FREEBSD, config(1, VIP, VIP6))
    assert node.answers("2001:DB8::50") == node.answers(VIP) == "00:00:5e:00:01:01"


def test_own_addresses_are_answered_for_while_the_interface_is_up_and_linked() -> None:
    node = a_node()
    assert node.answers(OWN) is None
    node.handle(UP, 0.0)
    assert node.answers(OWN) == node.answers("fe80::a%em0") == MACS["em0"]
    assert node.answers("10.0.0.157") is None
    node.handle(InterfaceChanged("em1", True), 0.0)
    assert node.answers("10.0.0.157") == MACS["em1"]
    node.handle(NO_CARRIER, 1.0)
    assert node.answers(OWN) is None
    node.handle(CARRIER, 2.0)
    assert node.answers(OWN) == MACS["em0"]
    node.handle(AddressRemoved("em0", OWN), 3.0)
    assert node.answers(OWN) is None
    node.handle(Shutdown(), 4.0)
    assert node.answers("10.0.0.157") is None


def test_an_interfaces_mac_is_always_the_nodes_own() -> None:
    node = a_node()
    assert node.owns_mac("52:54:00:00:00:0A")
    assert node.owns_mac(MACS["em1"])
    assert not node.owns_mac("52:54:00:00:00:0b")


def test_refuses_to_answer_for_what_is_no_address() -> None:
    node = a_node()
    with pytest.raises(ConfigError, match="'here' is not an address"):
        node.answers("here")
    with pytest.raises(ConfigError, match="'here' is not a MAC address"):
        node.owns_mac("here")


# -- the end ----------------------------------------------------------------------------


@pytest.mark.parametrize(("bow_out", "words"), [(None, 0), (True, 1), (False, 0)])
def test_shutdown_stops_every_virtual_host(bow_out: bool | None, words: int) -> None:
    node = a_master(FREEBSD, config(1), em1=[config(2)])
    node.handle(heard(node, vhid=2, interface="em1"), 3.5)
    assert node.handle(Shutdown(bow_out), 3.6) == (
        *[sent(node, 255, 255, counter=1)] * words,
        changed(MASTER, INIT, Reason.SHUTDOWN),
        changed(BACKUP, INIT, Reason.SHUTDOWN, vhid=2, interface="em1"),
    )
    assert (node.deadline, node.demotion) == (None, 0)
    assert node.counters.opackets == 2 + words
    assert node.handle(UP, 10.0) == (READY,)


def test_another_node_takes_over_from_one_that_says_goodbye() -> None:
    leaving, waiting = a_master(), a_backup(FREEBSD, config(1, advskew=100))
    goodbye = leaving.handle(Shutdown(True), 3.0)[0]
    assert isinstance(goodbye, SendAdvertisement)
    event = DatagramReceived(
        "em0", goodbye.source, goodbye.destination, 255, encode(goodbye.advertisement)
    )
    assert waiting.handle(event, 3.0) == (
        changed(BACKUP, MASTER, Reason.MASTER_WILL_TIME_OUT, 868, 65535, 4, OWN),
        sent(waiting, 1, 100, counter=2),
        AnnounceAddresses("em0", 1, (VIP,), "00:00:5e:00:01:01"),
    )


# -- totality ---------------------------------------------------------------------------


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=40),
    st.sampled_from([10**400, -(10**400), (), [], {}, inf, -inf, nan]),
)
TIMES = st.one_of(st.floats(0, 30), st.floats(0, 30), st.floats(0, 30), st.floats(), JUNK)
BYTES = st.integers(0, 255)
ADDRESSES = st.sampled_from(
    [VIP, VIP + 1, VIP6, OWN, OWN6, "192.168.1.7/24", "fe80::1", PEERS[4], PEERS[6], "224.0.0.18"]
)


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 23).flatmap(lambda dice: JUNK if dice == 0 else good)


INTERFACES = mostly(st.sampled_from(["em0", "em0", "em0", "em1"]))
VHIDS = mostly(st.sampled_from([1, 1, 1, 2, 3]))
MAYBE_VHIDS = mostly(st.sampled_from([1, 2, None]))
ADVERTISEMENTS = st.builds(
    Advertisement,
    vhid=mostly(st.sampled_from([1, 1, 1, 2, 0])),
    advbase=mostly(st.sampled_from([0, 1, 1, 2, 3, 4, 255])),
    advskew=mostly(st.one_of(st.sampled_from([0, 1]), BYTES)),
    demote=mostly(st.one_of(st.just(0), BYTES)),
    counter=mostly(st.sampled_from([0, 1, 99, 2**64 - 1])),
    digest=mostly(st.just(bytes(20))),
    version=mostly(st.just(2)),
)
CONFIGS = st.builds(
    VirtualHostConfig,
    vhid=st.sampled_from([1, 2, 2]),
    addresses=st.lists(st.sampled_from([VIP, VIP + 1, VIP6, OWN]), max_size=2),
    advbase=st.sampled_from([0, 1, 255]),
    advskew=BYTES,
    passphrase=st.sampled_from([None, "randompass", "0xyz"]),
)
EVENTS: dict[type, st.SearchStrategy[Any]] = {
    DatagramReceived: st.builds(
        DatagramReceived,
        INTERFACES,
        mostly(ADDRESSES),
        mostly(st.sampled_from([*GROUPS.values(), OWN])),
        mostly(st.just(255)),
        mostly(st.one_of(ADVERTISEMENTS, ADVERTISEMENTS, st.binary(max_size=40))),
    ),
    AdvertisementReceived: st.builds(
        AdvertisementReceived,
        INTERFACES,
        mostly(st.sampled_from([4, 4, 6])),
        mostly(ADDRESSES),
        mostly(ADVERTISEMENTS),
    ),
    TimerExpired: st.one_of(
        st.just(TimerExpired()), st.builds(TimerExpired, INTERFACES, MAYBE_VHIDS)
    ),
    InterfaceChanged: st.builds(
        InterfaceChanged, INTERFACES, mostly(st.sampled_from([True, True, False])), MAYBE_VHIDS
    ),
    LinkChanged: st.builds(LinkChanged, INTERFACES, mostly(st.booleans()), MAYBE_VHIDS),
    SendSucceeded: st.builds(SendSucceeded, INTERFACES, VHIDS),
    SendFailed: st.builds(SendFailed, INTERFACES, VHIDS, mostly(st.just(55))),
    SettingChanged: st.builds(
        SettingChanged,
        mostly(
            st.sampled_from(
                [
                    "allow",
                    "preempt",
                    "dscp",
                    "dead_ratio",
                    "demotion",
                    "ifdown_demotion_factor",
                    "senderr_demotion_factor",
                ]
            )
        ),
        mostly(st.sampled_from([0, 1, 1, 2, 240, -240, True])),
    ),
    DemotionAdjusted: st.builds(
        DemotionAdjusted, mostly(st.one_of(st.integers(), st.sampled_from([240, -240])))
    ),
    AddressAdded: st.builds(AddressAdded, INTERFACES, mostly(ADDRESSES), MAYBE_VHIDS),
    AddressRemoved: st.builds(AddressRemoved, INTERFACES, mostly(ADDRESSES), MAYBE_VHIDS),
    VirtualHostAdded: st.builds(VirtualHostAdded, INTERFACES, mostly(CONFIGS)),
    VirtualHostRemoved: st.builds(VirtualHostRemoved, INTERFACES, VHIDS),
    Reconfigured: st.builds(
        Reconfigured,
        INTERFACES,
        VHIDS,
        advbase=mostly(st.sampled_from([None, 0, 1, 255])),
        advskew=mostly(st.one_of(st.none(), BYTES)),
        passphrase=mostly(st.sampled_from([None, "randompass", "0xyz"])),
        key=mostly(st.sampled_from([None, None, b"key"])),
        peer=mostly(st.sampled_from([None, "192.168.1.158"])),
    ),
    StateRequested: st.builds(
        StateRequested,
        INTERFACES,
        VHIDS,
        mostly(st.sampled_from([*State, "MASTER"])),
        mostly(st.floats(0, 5)),
    ),
    Shutdown: st.builds(Shutdown, mostly(st.sampled_from([None, True, False]))),
}
STEPS = st.tuples(
    st.one_of(*EVENTS.values(), EVENTS[TimerExpired], EVENTS[DatagramReceived], JUNK), TIMES
)


def test_the_totality_test_knows_every_event() -> None:
    assert set(EVENTS) == set(get_args(Event))


def signed(node: Node, event: Any) -> Any:
    """The event with its advertisement signed, as a payload in a datagram, where that can be."""
    if isinstance(event, DatagramReceived) and isinstance(event.payload, Advertisement):
        advertisement = authentic(node, event.interface, event.payload)
        try:
            return event._replace(payload=encode(advertisement))
        except ConfigError:
            return event
    if isinstance(event, AdvertisementReceived) and isinstance(event.advertisement, Advertisement):
        advertisement = authentic(node, event.interface, event.advertisement)
        return event._replace(advertisement=advertisement)
    return event


def authentic(node: Node, interface: Any, advertisement: Advertisement) -> Advertisement:
    if advertisement.digest != bytes(20):
        return advertisement
    try:
        return signer(node, advertisement.vhid, interface).sign(advertisement)
    except ConfigError:
        return advertisement


def properties(node: Node) -> tuple[object, ...]:
    hosts = [(host.config, host.state, host.deadline) for host in node.virtual_hosts()]
    return (hosts, node.deadline, node.demotion, dict(node.counters))


def refusals(node: Node) -> int:
    taken = ("ipackets", "ipackets6", "opackets", "opackets6")
    return sum(value for name, value in node.counters.items() if name not in taken)


@settings(max_examples=max(400, settings().max_examples))
@given(
    profile=st.sampled_from(PROFILES),
    began=st.sampled_from([[], [(UP, 0.0)], [(UP, 0.0), (TimerExpired(), 10.0)]]),
    steps=st.lists(STEPS, min_size=8, max_size=30),
)
def test_any_sequence_of_anything_gives_actions_or_a_config_error(
    profile: Profile, began: list[Any], steps: list[Any]
) -> None:
    own = config(1, VIP) if profile is UCARP else config(1, VIP, VIP6)
    node = a_node(profile, own, em1=[config(3)])
    states = {("em0", 1): INIT, ("em1", 3): INIT}
    for event, now in [*began, *steps]:
        before, refused, received = properties(node), refusals(node), node.counters
        try:
            actions = node.handle(signed(node, event), now)
        except ConfigError:
            assert properties(node) == before
            continue
        assert type(actions) is tuple
        for action in actions:
            assert isinstance(action, get_args(Action))
            if isinstance(action, StateChanged):
                key = (action.interface, action.vhid)
                assert action.previous is states.get(key, INIT)
                states[key] = action.current
            elif isinstance(action, SendAdvertisement):
                # A bow-out and a farewell, too, come before the change of state.
                assert states[action.interface, action.vhid] is MASTER
        drops = sum(isinstance(action, PacketDropped) for action in actions)
        assert refusals(node) == refused + drops
        packets = node.counters.ipackets + node.counters.ipackets6
        is_packet = isinstance(event, (DatagramReceived, AdvertisementReceived))
        assert packets == received.ipackets + received.ipackets6 + is_packet
        assert drops <= is_packet
        for host in node.virtual_hosts():
            assert host.state is states.get((host.interface, host.config.vhid), INIT)
            assert host.demotion == node.demotion
        deadlines = [host.deadline for host in node.virtual_hosts() if host.deadline is not None]
        assert node.deadline == min(deadlines, default=None)
        if event == TimerExpired() and node.deadline is not None:
            assert node.deadline >= float(now)


# What cannot be described, and what an adapter asks for.


def test_what_is_no_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="profile 'freebsd' is no Profile"):
        Node(profile="freebsd")


def test_the_addresses_of_an_interface_are_a_list() -> None:
    node = Node()
    for addresses in ("10.0.0.1", b"10.0.0.1", 5):
        with pytest.raises(ConfigError, match="give a list of addresses"):
            node.add_interface("em0", mac="52:54:00:00:00:0a", addresses=addresses)
    assert node.interfaces == ()


def test_an_interface_that_is_up_gets_virtual_hosts_by_an_event() -> None:
    node = Node()
    node.add_interface("em0", mac="52:54:00:00:00:0a", addresses=["192.0.2.11/24"])
    node.handle(InterfaceChanged("em0", True), 0.0)
    config = VirtualHostConfig(vhid=1, addresses=["192.0.2.1"])
    with pytest.raises(ConfigError, match=r"'em0' is up; give handle.. VirtualHostAdded"):
        node.add_virtual_host("em0", config)
    assert node.virtual_hosts() == ()
    node.handle(VirtualHostAdded("em0", config), 1.0)
    assert node.deadline == 4.0


def test_an_adapter_may_ask_for_an_interfaces_own_mac_and_addresses() -> None:
    node = Node()
    node.add_interface("em0", mac="52:54:00:00:00:0A", addresses=["192.0.2.11/24", "fe80::1"])
    assert node.mac("em0") == "52:54:00:00:00:0a"
    assert node.addresses("em0") == (IPv4Address("192.0.2.11"), IPv6Address("fe80::1"))
    for ask in (node.mac, node.addresses):
        with pytest.raises(ConfigError, match="there is no interface 'em1'; there are: em0"):
            ask("em1")


def test_a_datagram_of_two_families_is_the_callers_mistake() -> None:
    node = Node()
    node.add_interface("em0", mac="52:54:00:00:00:0a")
    with pytest.raises(ConfigError, match=r"192.0.2.1 and destination ff02::12 differ in family"):
        node.handle(DatagramReceived("em0", "192.0.2.1", "ff02::12", 255, bytes(36)), 0.0)
    assert node.counters.ipackets == 0


def test_a_fault_that_a_profile_does_not_rank_is_still_refused() -> None:
    node = Node(profile=FREEBSD.replace(checks=(Reason.BADLEN,)))
    node.add_interface("em0", mac="52:54:00:00:00:0a")
    node.handle(DatagramReceived("em0", "192.0.2.1", "224.0.0.18", 1, b""), 0.0)
    node.handle(DatagramReceived("em0", "192.0.2.1", "224.0.0.18", 1, bytes(36)), 0.0)
    assert {name: value for name, value in node.counters.items() if value} == {
        "ipackets": 2,
        "badlen": 1,
        "badttl": 1,
    }


def test_a_node_describes_itself_as_ifconfig_does() -> None:
    node = a_master(FREEBSD, config(1), config(7, VIP + 6, advskew=100, peer="192.0.2.9"))
    assert node.describe().splitlines() == [
        "em0: carp: MASTER vhid 1 advbase 1 advskew 0",
        "em0: carp: MASTER vhid 7 advbase 1 advskew 100 peer 192.0.2.9 peer6 ff02::12",
    ]
    assert Node().describe() == ""


def test_the_setting_log_is_kept_and_changes_nothing() -> None:
    node = a_master()
    assert node.setting("log") == 1
    assert node.handle(SettingChanged("log", 2), 4.0) == ()
    assert node.setting("log") == 2
    with pytest.raises(ConfigError, match="log 3 is out of range; it is 0 to 2"):
        node.handle(SettingChanged("log", 3), 4.0)


def test_an_interface_has_a_mac_and_addresses_of_its_own() -> None:
    node = Node()
    with pytest.raises(ConfigError, match="MAC 01:00:5e:00:00:12 is a group's"):
        node.add_interface("em0", mac="01:00:5e:00:00:12")
    for address in ("224.0.0.18", "0.0.0.0", "255.255.255.255", "::"):
        with pytest.raises(ConfigError, match="is not a host's address"):
            node.add_interface("em0", mac=MACS["em0"], addresses=[address])
    node.add_interface("em0", mac=MACS["em0"])
    with pytest.raises(ConfigError, match="is not a host's address"):
        node.handle(AddressAdded("em0", "224.0.0.18"), 0.0)


# -- what only a change in the code would show --------------------------------------------


def test_the_counters_are_those_of_carpstats_and_two_more() -> None:
    assert tuple(Node().counters) == (
        *("ipackets", "ipackets6", "badif", "badttl", "hdrops", "badsum", "badver", "badlen"),
        *("badauth", "badvhid", "badaddrs", "opackets", "opackets6", "onomem", "ostates"),
        *("preempt", "notallowed", "loop"),
    )
    with pytest.raises(AttributeError, match=r"^_values_$"):
        Node().counters._values_  # noqa: B018


def test_what_is_found_is_said() -> None:
    node = a_backup()
    with pytest.raises(ConfigError, match=r"^7 is no VirtualHostConfig$"):
        node.handle(VirtualHostAdded("em0", 7), 1.0)
    with pytest.raises(ConfigError, match=r"^there is no setting 'alow'; there are allow, "):
        node.setting("alow")
    with pytest.raises(ConfigError, match=r"^'up' is no event; see carpproto\.core\.events$"):
        node.handle("up", 1.0)
    with pytest.raises(
        ConfigError, match=r"^TimerExpired\(interface='em0', vhid=None\) names half"
    ):
        node.handle(TimerExpired("em0"), 1.0)


def test_each_packet_counts() -> None:
    node = a_backup(FREEBSD, config(1, VIP, VIP6))
    forged = encode(Advertisement(1, counter=5))
    for _ in range(3):
        node.handle(heard(node, payload=forged), 1.0)
        node.handle(heard(node, family=6), 1.0)
    assert counted(node) == {"ipackets": 3, "ipackets6": 3, "badauth": 3}


def test_two_bytes_tell_the_vhid_and_so_the_peer() -> None:
    node = a_backup(FREEBSD_14, config(peer=PEERS[4]))
    event = heard(node, payload=b"\x21\x01", hop_limit=64, destination=OWN)
    assert node.handle(event, 1.0) == (dropped(Reason.BADLEN, 2, 36),)


@pytest.mark.parametrize(
    ("field", "differing", "reason"),
    [
        ("multicast_required", {"destination": OWN}, Reason.BADIF),
        ("peer_separates", {"destination": OWN}, Reason.BADVHID),
        ("own_source_ignored", {"source": OWN}, Reason.LOOP),
        ("group_checked", {"destination": OWN}, Reason.BADIF),
    ],
)
def test_what_one_system_alone_refuses(field: str, differing: Any, reason: Reason) -> None:
    event = heard(a_backup(), **differing)
    assert a_backup().handle(event, 1.0) == ()
    (action,) = a_backup(FREEBSD.replace(**{field: True})).handle(event, 1.0)
    assert isinstance(action, PacketDropped)
    assert action.reason is reason


def test_an_init_host_is_unknown_where_that_alone_is_so() -> None:
    for refuses, actions in ((True, (dropped(Reason.BADVHID, 1),)), (False, ())):
        node = a_node(FREEBSD.replace(init_refuses=refuses))
        assert node.handle(heard(node), 1.0) == actions


def test_own_addresses_add_up() -> None:
    node = a_backup()
    node.handle(AddressAdded("em1", "10.0.0.158"), 1.0)
    assert node.addresses("em1") == (IPv4Address("10.0.0.157"), IPv4Address("10.0.0.158"))


def test_an_interface_that_is_down_does_not_answer_for_the_next_one() -> None:
    node = a_backup()
    node.handle(DOWN, 1.0)
    assert node.answers("10.0.0.157") == MACS["em1"]


def test_timers_fire_in_the_order_of_their_deadlines_as_they_are_by_then() -> None:
    node = a_backup(FREEBSD, config(1), config(2, advbase=1, advskew=128))
    node.handle(heard(node), 2.0)
    # Vhid 1 is due at 5 now, vhid 2 at 3.5 still.
    changes = [
        action.vhid for action in node.handle(TimerExpired(), 6.0) if type(action) is StateChanged
    ]
    assert changes == [2, 1]


def test_a_timer_that_is_later_by_now_does_not_fire_yet() -> None:
    node = a_backup()
    node.handle(heard(node), 2.0)
    assert node.handle(TimerExpired(), 4.0) == ()
    assert node.deadline == 5.0


def test_a_removed_hosts_timer_does_not_keep_the_next_from_firing() -> None:
    node = a_backup(FREEBSD, config(1), config(2))
    node.handle(VirtualHostRemoved("em0", 1), 1.0)
    assert node.handle(TimerExpired(), 3.0)[0] == TIMED_OUT._replace(vhid=2)


def test_a_node_is_not_copied() -> None:
    for copies in (copy, deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"^a Node cannot be copied or pickled; describe an"):
            copies(a_node())


def test_a_timer_that_became_shorter_is_the_nodes_next_one() -> None:
    node = a_backup(FREEBSD, config(1, advbase=10), config(2, advbase=5))
    node.handle(Reconfigured("em0", 1, advbase=1), 1.0)
    node.handle(heard(node), 2.0)
    assert node.deadline == 5.0
    assert fire(node)[0] == TIMED_OUT


def test_a_timer_that_was_moved_to_and_fro_does_not_hide_anothers() -> None:
    node = a_backup(FREEBSD, config(1, advskew=100), config(2, advskew=128))
    assert node.deadline == 3.390625
    node.handle(SettingChanged("dead_ratio", 2), 0.0)
    node.handle(heard(node), 0.125)
    assert node.deadline == 2.515625
    node.handle(heard(node), 2.0)
    # Vhid 1 is due at 4.39 now; what is left of its first deadline says nothing of vhid 2's.
    assert node.deadline == 3.5


def test_three_errors_are_counted_anew_after_they_were_forgiven() -> None:
    node = a_master()
    for _ in range(3):
        node.handle(SendFailed("em0", 1, 55), 5.0)
    for _ in range(3):
        node.handle(SendSucceeded("em0", 1), 5.0)
    assert node.demotion == 0
    for total in (0, 0, 240):
        node.handle(SendFailed("em0", 1, 55), 5.0)
        assert node.demotion == total


def test_a_removed_host_takes_all_its_demotion_with_it() -> None:
    node = a_master()
    for _ in range(3):
        node.handle(SendFailed("em0", 1, 55), 5.0)
    node.handle(DOWN, 5.0)
    assert node.demotion == 480
    node.handle(VirtualHostRemoved("em0", 1), 5.0)
    assert node.demotion == 0
