"""carpproto.core.virtual_host: one virtual host, sentence by sentence as carp(4) has it.

Unless a test says otherwise the host is vhid 1 on em0, 192.168.1.50 its virtual address,
advbase 1, advskew 0, preempt off; it came up at t = 0, so its master is dead at t = 3.
Intervals are in 1/256 s: 256 is one second.
"""

from __future__ import annotations

from copy import copy
from ipaddress import IPv4Address, IPv6Address
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
    Reaction,
    Tie,
)
from carpproto.core.virtual_host import (
    LATEST,
    ONLY_WHERE,
    SETTINGS,
    TRANSITIONS,
    Trigger,
    VirtualHost,
    check_advertisement,
    check_setting,
    later,
    transitions,
)

INIT, BACKUP, MASTER = State.INIT, State.BACKUP, State.MASTER

VIP, VIP6 = IPv4Address("192.168.1.50"), IPv6Address("2001:db8::50")
OWN, OWN6 = IPv4Address("192.168.1.157"), IPv6Address("fe80::a")
PEERS: dict[int, Address] = {4: IPv4Address("192.168.1.158"), 6: IPv6Address("fe80::b")}
GROUPS: dict[int, Address] = {4: IPv4Address("224.0.0.18"), 6: IPv6Address("ff02::12")}
MAC = "52:54:00:00:00:0a"
VIRTUAL_MAC = "00:00:5e:00:01:01"

UP, DOWN = InterfaceChanged("em0", True), InterfaceChanged("em0", False)
CARRIER, NO_CARRIER = LinkChanged("em0", True), LinkChanged("em0", False)
PREEMPT = SettingChanged("preempt", 1)

FREEBSDS = [FREEBSD, FREEBSD_10, FREEBSD_12, FREEBSD_14]
NETBSDS = [NETBSD, NETBSD_1120]
PROFILES = [*FREEBSDS, *NETBSDS, OPENBSD, UCARP]
KERNELS = [profile for profile in PROFILES if profile is not UCARP]


def each(profiles: list[Profile]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("profile", profiles, ids=[p.name for p in profiles])


def a_host(
    profile: Profile = FREEBSD,
    *,
    addresses: tuple[Any, ...] = (VIP,),
    own: tuple[Any, ...] = (OWN, OWN6),
    counter: Any = None,
    **values: Any,
) -> VirtualHost:
    """A virtual host in INIT. OpenBSD's constant counter is 99."""
    if counter is None and profile.counter_constant:
        counter = 99
    config = VirtualHostConfig(vhid=1, addresses=addresses, passphrase="randompass", **values)
    return VirtualHost(
        config, profile=profile, interface="em0", mac=MAC, addresses=own, counter=counter
    )


def a_backup(profile: Profile = FREEBSD, **values: Any) -> VirtualHost:
    """One that came up at 0."""
    host = a_host(profile, **values)
    host.handle(UP, 0.0)
    assert host.state is BACKUP
    return host


def a_master(profile: Profile = FREEBSD, **values: Any) -> VirtualHost:
    """One that came up at 0 and heard nobody, so it is MASTER since 3 s and its own advskew."""
    host = a_backup(profile, **values)
    fire(host)
    assert host.state is MASTER
    return host


def in_state(state: State, profile: Profile = FREEBSD, **values: Any) -> VirtualHost:
    return {INIT: a_host, BACKUP: a_backup, MASTER: a_master}[state](profile, **values)


def fire(host: VirtualHost) -> tuple[Action, ...]:
    """Say TimerExpired exactly when the host asked for it."""
    assert host.deadline is not None
    return host.handle(TimerExpired(), host.deadline)


def heard(
    host: VirtualHost,
    advbase: int = 1,
    advskew: int = 0,
    *,
    family: int = 4,
    source: Address | None = None,
    counter: int = 7000,
    demote: int = 0,
    signer: Authenticator | None = None,
) -> AdvertisementReceived:
    """An advertisement of a peer that has the same passphrase and virtual addresses."""
    advertisement = Advertisement(1, advbase, advskew, demote, counter)
    signed = (signer or host.config.authenticator(host.profile)).sign(advertisement)
    return AdvertisementReceived("em0", family, source or PEERS[family], signed)


def changed(
    previous: State,
    current: State,
    reason: Reason,
    own: int | None = None,
    theirs: int | None = None,
    family: int | None = None,
    source: Address | None = None,
) -> StateChanged:
    return StateChanged("em0", 1, previous, current, reason, own, theirs, family, source)


def sent(
    host: VirtualHost,
    advbase: int = 1,
    advskew: int = 0,
    *,
    counter: int,
    family: int = 4,
    demote: int = 0,
    **differing: Any,
) -> SendAdvertisement:
    """What a host with the usual addresses puts on the wire."""
    profile = host.profile
    advertisement = Advertisement(1, advbase, advskew, demote, counter)
    source_macs = {UCARP.name: "00:00:5e:00:00:01", NETBSD_1120.name: MAC}
    if family == 6:
        source_macs[NETBSD.name] = MAC
    dscp = profile in (FREEBSD, FREEBSD_12, FREEBSD_14)
    action = SendAdvertisement(
        interface="em0",
        vhid=1,
        family=family,
        source=OWN if family == 4 else OWN6,
        destination=GROUPS[family],
        source_mac=source_macs.get(profile.name, VIRTUAL_MAC),
        traffic_class=0xE0 if dscp else {4: 0x10, 6: 0}[family],
        advertisement=host.config.authenticator(profile).sign(advertisement),
    )
    return action._replace(**differing)


def announced(*addresses: Address, mac: str = VIRTUAL_MAC) -> AnnounceAddresses:
    return AnnounceAddresses("em0", 1, addresses or (VIP,), mac)


READY = changed(INIT, BACKUP, Reason.INITIALIZATION_COMPLETE)
RESTARTED = (changed(MASTER, INIT, Reason.HARDWARE_UP), READY)


# -- INIT -------------------------------------------------------------------------------


def test_begins_in_init_with_the_interface_down_and_no_timer() -> None:
    host = a_host()
    assert (host.state, host.deadline) == (INIT, None)
    assert repr(host) == "<VirtualHost 1@em0 INIT>"
    assert host.handle(TimerExpired(), 1000.0) == ()


def test_works_without_a_node_and_without_addresses_of_its_own() -> None:
    host = VirtualHost(VirtualHostConfig(vhid=1, addresses=[VIP]))
    assert host.handle(InterfaceChanged("", True), 0.0) == (READY._replace(interface=""),)
    _, advertisement, _ = fire(host)
    assert isinstance(advertisement, SendAdvertisement)
    assert advertisement.source == VIP


@each(PROFILES)
def test_becomes_backup_when_interface_carrier_address_and_allow_are_there(
    profile: Profile,
) -> None:
    last: dict[str, Event] = {
        "interface": UP,
        "carrier": CARRIER,
        "address": AddressAdded("em0", VIP, 1),
        "allow": SettingChanged("allow", 1),
    }
    for missing, event in last.items():
        host = a_host(profile, addresses=() if missing == "address" else (VIP,))
        before: list[Event] = [NO_CARRIER] if missing == "carrier" else []
        before += [SettingChanged("allow", 0)] if missing == "allow" else []
        before += [UP] if missing != "interface" else []
        for earlier in before:
            assert host.handle(earlier, 0.0) == ()
        assert (host.state, host.deadline) == (INIT, None)
        assert host.handle(event, 10.0) == (READY,)
        assert host.deadline == 13.0


@pytest.mark.parametrize("state", [MASTER, BACKUP])
def test_init_ignores_a_request_for_a_state(state: State) -> None:
    host = a_host()
    assert host.handle(StateRequested("em0", 1, state), 0.0) == ()
    assert host.handle(StateRequested("em0", 1, state, hold=3.0), 0.0) == ()
    assert (host.state, host.deadline) == (INIT, None)


def test_init_ignores_advertisements_but_learns_the_counter() -> None:
    host = a_host()
    assert host.handle(heard(host, 255, 255, counter=41), 0.0) == ()
    assert (host.state, host.deadline) == (INIT, None)
    host.handle(UP, 0.0)
    assert fire(host)[1] == sent(host, counter=42)


def test_init_refuses_what_is_not_authentic_and_learns_nothing_of_it() -> None:
    host = a_host()
    forged = heard(host, counter=41, signer=Authenticator(vhid=1, passphrase="guessed"))
    assert host.handle(forged, 0.0) == (PacketDropped("em0", Reason.BADAUTH, 4, PEERS[4], vhid=1),)
    host.handle(UP, 0.0)
    assert fire(host)[1] == sent(host, counter=0)


# -- section 3: time --------------------------------------------------------------------


@each(PROFILES)
def test_a_master_is_dead_after_three_advbase_and_the_own_advskew(profile: Profile) -> None:
    length = 3 * (2 * 256 + 100) if profile is OPENBSD else 3 * 2 * 256 + 100
    host = a_backup(profile, advbase=2, advskew=100)
    assert host.master_down_interval == length
    assert host.deadline == length / 256
    assert host.handle(TimerExpired(), length / 256 - 0.001) == ()
    assert host.handle(TimerExpired(), length / 256)[0] == changed(
        BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=length, family=4
    )


def test_openbsd_of_2015_multiplies_advbase_only() -> None:
    host = a_backup(OPENBSD.replace(master_down_multiplies_advskew=False), advskew=100)
    assert host.deadline == 3 + 100 / 256


@pytest.mark.parametrize(("ratio", "deadline"), [(1, 1 + 20 / 256), (5, 5 + 20 / 256)])
def test_ucarp_multiplies_advbase_by_dead_ratio(ratio: int, deadline: float) -> None:
    host = a_host(UCARP, advskew=20)
    host.handle(SettingChanged("dead_ratio", ratio), 0.0)
    host.handle(UP, 0.0)
    assert host.deadline == deadline


def test_openbsd_takes_no_interval_as_a_256th_of_a_second() -> None:
    host = a_backup(OPENBSD, advbase=0, advskew=0)
    assert host.deadline == 3 / 256
    fire(host)
    assert host.deadline == 4 / 256
    fire(host)
    assert host.deadline == 5 / 256


@each([*NETBSDS, OPENBSD, UCARP])
def test_advbase_may_be_0_beside_an_advskew(profile: Profile) -> None:
    """ucarp/advbase0-skew1 sends each 256th of a second, as far as poll() lets it."""
    host = a_backup(profile, advbase=0, advskew=1)
    length = 3 if profile is OPENBSD else 1
    assert host.deadline == length / 256
    fire(host)
    assert host.deadline == (length + 1) / 256
    fire(host)
    assert host.deadline == (length + 2) / 256


@each(PROFILES)
@pytest.mark.parametrize("demotion", [50, 240, 1000, -50])
def test_master_down_is_never_demoted(profile: Profile, demotion: int) -> None:
    host = a_host(profile, advskew=100)
    nominal = host.master_down_interval
    host.handle(DemotionAdjusted(demotion), 0.0)
    host.handle(UP, 0.0)
    assert host.deadline == nominal / 256
    host.handle(DemotionAdjusted(1), 1.0)
    assert host.deadline == nominal / 256


def test_the_first_interval_as_master_is_not_demoted_the_later_ones_are() -> None:
    host = a_host(advskew=10)
    host.handle(DemotionAdjusted(50), 0.0)
    host.handle(UP, 0.0)
    became_master = 3 + 10 / 256
    assert fire(host) == (
        changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=778, family=4),
        sent(host, 1, 60, counter=0),
        announced(),
    )
    assert host.deadline == became_master + 266 / 256
    assert fire(host) == (sent(host, 1, 60, counter=1),)
    assert host.deadline == became_master + 266 / 256 + 316 / 256
    assert fire(host) == (sent(host, 1, 60, counter=2),)
    assert host.deadline == became_master + 266 / 256 + 2 * 316 / 256


def test_a_master_advertises_at_its_interval() -> None:
    host = a_master(advbase=2, advskew=128)
    for number in range(1, 5):
        assert host.deadline == 6.5 + 2.5 * number
        assert fire(host) == (sent(host, 2, 128, counter=number),)


def test_an_advertisement_restarts_the_timer_of_its_own_family_only() -> None:
    host = a_backup(addresses=(VIP, VIP6))
    assert host.handle(heard(host, family=4), 2.0) == ()
    assert host.deadline == 3.0
    assert host.handle(heard(host, family=6), 2.5) == ()
    assert host.deadline == 5.0
    assert host.handle(heard(host, family=4), 4.0) == ()
    assert host.deadline == 5.5


@pytest.mark.parametrize(("heard_family", "silent_family"), [(4, 6), (6, 4)])
def test_either_family_that_falls_silent_makes_a_master(
    heard_family: int, silent_family: int
) -> None:
    host = a_backup(addresses=(VIP6, VIP))
    for now in (1.0, 2.0, 3.0):
        assert host.handle(heard(host, family=heard_family), now) == ()
    assert host.handle(TimerExpired(), 3.0) == (
        changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=silent_family),
        sent(host, counter=7001),
        sent(host, counter=7002, family=6),
        announced(VIP, VIP6),
    )


def test_of_two_expired_families_the_earlier_one_is_named_and_ipv4_when_equal() -> None:
    host = a_backup(addresses=(VIP, VIP6))
    host.handle(heard(host, family=4), 1.0)
    (change, *_) = host.handle(TimerExpired(), 10.0)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=6)

    (change, *_) = fire(a_backup(addresses=(VIP6, VIP)))
    assert change == changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=4)


def test_entering_backup_starts_the_timers_of_both_families() -> None:
    host = a_master(addresses=(VIP, VIP6), advskew=100)
    host.handle(heard(host, family=6), 10.0)
    assert host.state is BACKUP
    host.handle(heard(host, family=4), 12.0)
    assert host.deadline == 13 + 100 / 256


def test_a_timer_that_is_late_fires_once_and_counts_from_now() -> None:
    host = a_master()
    assert host.handle(TimerExpired(), 100.5) == (sent(host, counter=1),)
    assert host.deadline == 101.5
    assert host.handle(TimerExpired(), 100.5) == ()


def test_a_time_before_the_last_counts_as_the_last() -> None:
    host = a_backup()
    host.handle(heard(host), 2.0)
    assert host.deadline == 5.0
    host.handle(heard(host), -1000.0)
    assert host.deadline == 5.0
    host.handle(heard(host), 1)
    assert host.deadline == 5.0


@pytest.mark.parametrize(
    "event",
    [
        UP,
        CARRIER,
        PREEMPT,
        SettingChanged("dscp", 8),
        SettingChanged("allow", 1),
        AddressAdded("em0", "192.168.1.159"),
        AddressRemoved("em0", OWN),
        AddressAdded("em0", VIP, 1),
        Reconfigured("em0", 1, advskew=1),
        SendSucceeded("em0", 1),
        SendFailed("em0", 1, 55),
        DemotionAdjusted(0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("state", [BACKUP, MASTER])
def test_no_event_but_timer_expired_fires_a_timer(state: State, event: Event) -> None:
    host = in_state(state)
    deadline = host.deadline
    assert host.handle(event, 1000.0) == ()
    assert (host.state, host.deadline) == (state, deadline)
    assert host.handle(TimerExpired(), 1000.0) != ()


def test_an_advertisement_that_comes_late_is_still_the_reason_not_to_take_over() -> None:
    host = a_backup()
    assert host.handle(heard(host), 1000.0) == ()
    assert host.handle(TimerExpired(), 1000.0) == ()
    assert host.deadline == 1003.0


# -- section 4: BACKUP ------------------------------------------------------------------


def test_becoming_master_is_a_state_change_then_an_advertisement_then_announcements() -> None:
    virtual: tuple[Address, ...] = (VIP6, VIP, IPv4Address("192.168.1.49"))
    host = a_backup(addresses=virtual)
    assert fire(host) == (
        changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=4),
        sent(host, counter=0),
        sent(host, counter=1, family=6),
        announced(VIP, IPv4Address("192.168.1.49"), VIP6),
    )
    assert host.deadline == 4.0


def test_freebsd_never_repeats_its_announcement() -> None:
    host = a_master()
    for number in range(1, 10):
        assert fire(host) == (sent(host, counter=number),)


def test_openbsd_announces_again_with_its_third_advertisement() -> None:
    host = a_backup(OPENBSD)
    change = changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=4)
    assert fire(host) == (change, sent(host, counter=99), announced())
    assert fire(host) == (sent(host, counter=99),)
    assert fire(host) == (sent(host, counter=99), announced())
    assert fire(host) == (sent(host, counter=99),)


def test_ucarp_announces_before_it_advertises_and_again_after_the_third() -> None:
    host = a_backup(UCARP)
    change = changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=4)
    assert fire(host) == (change, announced(mac=MAC), sent(host, counter=0))
    assert fire(host) == (sent(host, counter=1),)
    assert fire(host) == (sent(host, counter=2), announced(mac=MAC))
    assert fire(host) == (sent(host, counter=3),)


def test_without_preempt_a_better_backup_stays_and_restarts_its_timer() -> None:
    host = a_backup()
    assert host.handle(heard(host, 1, 100), 2.0) == ()
    assert (host.state, host.deadline) == (BACKUP, 5.0)


def test_with_preempt_a_better_backup_takes_over_at_once() -> None:
    host = a_backup(advskew=99)
    assert host.handle(PREEMPT, 0.0) == ()
    assert host.handle(heard(host, 1, 100), 2.0) == (
        changed(BACKUP, MASTER, Reason.PREEMPTING, 355, 356, 4, PEERS[4]),
        sent(host, 1, 99, counter=7001),
        announced(),
    )
    assert host.deadline == 2 + 355 / 256


@pytest.mark.parametrize("advskew", [100, 99, 0])
def test_preempt_wants_a_slower_master_an_equal_or_faster_one_stays(advskew: int) -> None:
    host = a_backup(advskew=100)
    host.handle(PREEMPT, 0.0)
    assert host.handle(heard(host, 1, advskew), 2.0) == ()
    assert (host.state, host.deadline) == (BACKUP, 5 + 100 / 256)


def test_preempt_itself_changes_nothing_the_next_advertisement_does() -> None:
    host = a_backup()
    host.handle(heard(host, 1, 100), 1.0)
    assert host.handle(PREEMPT, 1.5) == ()
    (change, *_) = host.handle(heard(host, 1, 100), 2.0)
    assert change == changed(BACKUP, MASTER, Reason.PREEMPTING, 256, 356, 4, PEERS[4])
    host = a_backup()
    host.handle(PREEMPT, 0.0)
    host.handle(SettingChanged("preempt", False), 1.0)
    assert host.handle(heard(host, 1, 100), 2.0) == ()


def test_preempt_compares_the_demoted_interval() -> None:
    host = a_backup()
    host.handle(PREEMPT, 0.0)
    host.handle(DemotionAdjusted(100), 0.0)
    assert host.handle(heard(host, 1, 100), 1.0) == ()
    (change, *_) = host.handle(heard(host, 1, 101), 2.0)
    assert change == changed(BACKUP, MASTER, Reason.PREEMPTING, 356, 357, 4, PEERS[4])


@pytest.mark.parametrize("preempt", [0, 1])
@pytest.mark.parametrize(("advskew", "demotion", "limit"), [(0, 0, 768), (100, 30, 898)])
def test_a_master_will_time_out_only_above_the_limit(
    advskew: int, demotion: int, limit: int, preempt: int
) -> None:
    """theirs > 3 advbase + demoted advskew, whatever preempt says."""
    host = a_host(advskew=advskew)
    host.handle(DemotionAdjusted(demotion), 0.0)
    host.handle(UP, 0.0)
    assert host.handle(heard(host, *divmod(limit, 256)), 1.0) == ()
    assert (host.state, host.deadline) == (BACKUP, 4 + advskew / 256)
    host.handle(SettingChanged("preempt", preempt), 1.0)
    own, reason = limit, Reason.MASTER_WILL_TIME_OUT
    if preempt:  # preempting comes first
        own, reason = 256 + advskew + demotion, Reason.PREEMPTING
    (change, *_) = host.handle(heard(host, *divmod(limit + 1, 256)), 2.0)
    assert change == changed(BACKUP, MASTER, reason, own, limit + 1, 4, PEERS[4])


def test_a_better_master_can_be_taken_over_when_it_will_time_out() -> None:
    """The own advbase decides how long a master may be silent, not who is better."""
    host = a_backup(advbase=1, advskew=254)
    host.handle(PREEMPT, 0.0)
    host.handle(Reconfigured("em0", 1, advbase=1, advskew=0), 0.0)
    (change, *_) = host.handle(heard(host, 3, 1), 1.0)
    assert change == changed(BACKUP, MASTER, Reason.PREEMPTING, 256, 769, 4, PEERS[4])


def test_ucarp_asks_dead_ratio_whether_a_master_will_time_out() -> None:
    host = a_backup(UCARP)
    host.handle(SettingChanged("dead_ratio", 5), 0.0)
    assert host.handle(heard(host, 5, 0), 1.0) == ()
    (change, *_) = host.handle(heard(host, 5, 1), 2.0)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_WILL_TIME_OUT, 1280, 1281, 4, PEERS[4])


@each(PROFILES)
def test_everybody_understands_a_bow_out(profile: Profile) -> None:
    host = a_backup(profile, advskew=100)
    assert host.handle(heard(host, 255, 255, family=4), 1.0)[0] == changed(
        BACKUP, MASTER, Reason.MASTER_WILL_TIME_OUT, 868, 65535, 4, PEERS[4]
    )


def test_a_bow_out_to_the_slowest_of_all_is_just_an_advertisement() -> None:
    host = a_backup(advbase=255)
    assert host.handle(heard(host, 255, 255), 1.0) == ()
    assert host.deadline == 1.0 + 765


# -- section 4: MASTER ------------------------------------------------------------------


def test_a_master_yields_to_a_more_frequent_advertisement() -> None:
    host = a_master(advskew=100)
    assert host.handle(heard(host, 1, 99), 5.0) == (
        changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 356, 355, 4, PEERS[4]),
    )
    assert host.deadline == 8 + 100 / 256


def test_a_master_stays_when_it_hears_a_slower_one() -> None:
    host = a_master(advskew=100)
    deadline = host.deadline
    assert host.handle(heard(host, 1, 101), 3.5) == ()
    assert (host.state, host.deadline) == (MASTER, deadline)


def test_a_master_yields_to_a_bow_out_of_nobody() -> None:
    host = a_master(advskew=100)
    assert host.handle(heard(host, 255, 255), 3.5) == ()


def test_a_demoted_master_compares_what_it_advertises() -> None:
    host = a_master()
    host.handle(DemotionAdjusted(100), 3.0)
    assert host.handle(heard(host, 1, 101), 3.1) == ()
    assert host.handle(heard(host, 1, 99), 3.2) == (
        changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 356, 355, 4, PEERS[4]),
    )


@each([FREEBSD, FREEBSD_10, FREEBSD_12, FREEBSD_14, NETBSD])
@pytest.mark.parametrize("source", ["192.168.1.1", "192.168.1.254"])
def test_of_two_equal_masters_the_one_that_hears_the_other_yields(
    profile: Profile, source: str
) -> None:
    host = a_master(profile)
    address = IPv4Address(source)
    assert host.handle(heard(host, source=address), 3.5) == (
        changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 256, 256, 4, address),
    )


@pytest.mark.parametrize("advskew", [0, 10])
@pytest.mark.parametrize(
    ("demote", "reason"),
    [(0, Reason.LESS_DEMOTED), (1, Reason.MORE_FREQUENT), (2, None)],
)
def test_an_openbsd_master_yields_to_no_more_demoted_one(
    advskew: int, demote: int, reason: Reason | None
) -> None:
    host = a_master(OPENBSD, advskew=10)
    host.handle(DemotionAdjusted(1), 3.0)
    actions = host.handle(heard(host, 1, advskew, demote=demote), 3.5)
    numbers = (1, 0) if reason is Reason.LESS_DEMOTED else (266, 256 + advskew)
    if reason is None:
        assert actions == ()
    else:
        assert actions == (changed(MASTER, BACKUP, reason, *numbers, 4, PEERS[4]),)


@pytest.mark.parametrize(
    ("tie", "own", "theirs", "yields"),
    [
        (Tie.SOURCE_LITTLE_ENDIAN, "10.66.1.2", "10.66.2.1", True),
        (Tie.SOURCE_LITTLE_ENDIAN, "10.66.2.1", "10.66.1.2", False),
        (Tie.SOURCE_LITTLE_ENDIAN, "10.66.0.2", "10.66.0.1", True),
        (Tie.SOURCE_LITTLE_ENDIAN, "10.66.0.1", "10.66.0.1", False),
        (Tie.SOURCE_NUMERIC, "10.66.1.2", "10.66.2.1", False),
        (Tie.SOURCE_NUMERIC, "10.66.2.1", "10.66.1.2", True),
    ],
)
def test_of_two_equal_ucarp_masters_the_lower_source_address_stays(
    tie: Tie, own: str, theirs: str, yields: bool
) -> None:
    """As recorded in ucarp/tiebreak-octets: 10.66.2.1 stays, 10.66.1.2 yields to it."""
    host = a_master(UCARP.replace(tie=tie), own=(own,))
    host.handle(heard(host, source=IPv4Address(theirs)), 3.5)
    assert host.state is (BACKUP if yields else MASTER)


def test_ucarp_says_one_more_word_before_it_yields() -> None:
    """With the counter that it has just learnt, plus one (ucarp/send-errors-tc)."""
    host = a_master(UCARP, advskew=10)
    assert host.handle(heard(host, 1, 9, counter=500), 3.5) == (
        sent(host, 1, 10, counter=501),
        changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 266, 265, 4, PEERS[4]),
    )
    host = a_master(UCARP)
    (farewell, _) = host.handle(heard(host, source=IPv4Address("192.168.1.1")), 3.5)
    assert farewell == sent(host, counter=7001)


@pytest.mark.parametrize("advskew", [100, 200])
def test_ucarp_as_master_announces_to_a_slower_or_equal_one_now_and_two_later(
    advskew: int,
) -> None:
    """Recorded in ucarp/inject-master-worse-equal, at 8.1 s a slower one, at 13.2 s an equal."""
    host = a_master(UCARP, advskew=100)
    fire(host)
    fire(host)
    assert host.handle(heard(host, 1, advskew, counter=10), 6.0) == (announced(mac=MAC),)
    assert fire(host) == (sent(host, 1, 100, counter=11),)
    assert fire(host) == (sent(host, 1, 100, counter=12), announced(mac=MAC))
    assert fire(host) == (sent(host, 1, 100, counter=13),)


def test_ucarp_announces_once_more_however_many_slower_ones_it_heard() -> None:
    """ucarp/tiebreak-octets: two heard at once, two ARPs at once, one ARP two later."""
    host = a_master(UCARP)
    for _ in range(3):
        assert host.handle(heard(host, 1, 1, counter=10), 3.1) == (announced(mac=MAC),)
    assert fire(host) == (sent(host, counter=11),)
    assert fire(host) == (sent(host, counter=12), announced(mac=MAC))
    assert fire(host) == (sent(host, counter=13),)


def test_an_announcement_that_is_still_due_ends_with_the_role() -> None:
    host = a_master(UCARP)
    host.handle(heard(host, 0, 1, counter=10), 3.1)
    assert host.state is BACKUP
    fire(host)
    assert host.state is MASTER
    assert fire(host) == (sent(host, counter=13),)
    assert fire(host) == (sent(host, counter=14), announced(mac=MAC))


# -- section 4: OpenBSD's demote byte ---------------------------------------------------


def test_an_openbsd_backup_takes_over_from_a_more_demoted_master_without_preempt() -> None:
    host = a_backup(OPENBSD, advskew=100)
    host.handle(DemotionAdjusted(1), 0.0)
    assert host.handle(heard(host, demote=1), 1.0) == ()
    assert host.handle(heard(host, demote=2), 2.0) == (
        changed(BACKUP, MASTER, Reason.MORE_DEMOTED, 1, 2, 4, PEERS[4]),
        sent(host, 1, 100, counter=99, demote=1),
        announced(),
    )


def test_an_openbsd_backup_does_not_preempt_a_less_demoted_master() -> None:
    host = a_backup(OPENBSD)
    host.handle(PREEMPT, 0.0)
    host.handle(DemotionAdjusted(1), 0.0)
    assert host.handle(heard(host, 1, 100, demote=0), 1.0) == ()
    (change, *_) = host.handle(heard(host, 1, 100, demote=1), 2.0)
    assert change == changed(BACKUP, MASTER, Reason.PREEMPTING, 256, 356, 4, PEERS[4])


def test_an_openbsd_backup_still_sees_that_a_less_demoted_master_will_time_out() -> None:
    host = a_backup(OPENBSD)
    host.handle(PREEMPT, 0.0)
    host.handle(DemotionAdjusted(1), 0.0)
    (change, *_) = host.handle(heard(host, 255, 255, demote=0), 1.0)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_WILL_TIME_OUT, 768, 65535, 4, PEERS[4])


def test_an_openbsd_master_yields_outright_to_a_less_demoted_one() -> None:
    host = a_master(OPENBSD)
    host.handle(DemotionAdjusted(2), 3.0)
    assert host.handle(heard(host, 1, 200, demote=1), 3.5) == (
        changed(MASTER, BACKUP, Reason.LESS_DEMOTED, 2, 1, 4, PEERS[4]),
    )


def test_the_demote_byte_is_openbsds_alone() -> None:
    for profile in (FREEBSD, NETBSD, UCARP):
        host = a_backup(profile)
        assert host.handle(heard(host, demote=255), 1.0) == ()
        host.handle(DemotionAdjusted(5), 1.0)
        assert host.demote == 0


@pytest.mark.parametrize(("demotion", "byte"), [(0, 0), (7, 7), (255, 255), (300, 255), (-3, 0)])
def test_openbsd_carries_its_demotion_in_a_byte(demotion: int, byte: int) -> None:
    host = a_host(OPENBSD, advskew=5)
    host.handle(DemotionAdjusted(demotion), 0.0)
    assert (host.demote, host.demoted_advskew) == (byte, 5)


def test_older_openbsd_advertises_240_too_while_it_is_demoted() -> None:
    host = a_host(OPENBSD.replace(demote_raises_advskew=True), advskew=5)
    assert host.demoted_advskew == 5
    host.handle(DemotionAdjusted(1), 0.0)
    assert (host.demote, host.demoted_advskew) == (1, 240)


# -- section 4: interface, carrier, allow -----------------------------------------------


@each(KERNELS)
@pytest.mark.parametrize("state", [BACKUP, MASTER])
@pytest.mark.parametrize(("lost", "back"), [(DOWN, UP), (NO_CARRIER, CARRIER)])
def test_without_interface_or_carrier_there_is_init_and_no_timer(
    profile: Profile, state: State, lost: Event, back: Event
) -> None:
    host = in_state(state, profile)
    assert host.handle(lost, 3.5) == (changed(state, INIT, Reason.HARDWARE_DOWN),)
    assert (host.state, host.deadline) == (INIT, None)
    assert host.handle(lost, 4.0) == ()
    assert host.handle(back, 5.0) == (READY,)
    assert host.deadline == 8.0


def test_an_interface_that_is_up_needs_its_carrier_too() -> None:
    host = a_backup()
    host.handle(NO_CARRIER, 1.0)
    assert host.handle(DOWN, 2.0) == ()
    assert host.handle(CARRIER, 3.0) == ()
    assert host.handle(UP, 4.0) == (READY,)


def test_ucarp_without_carrier_is_a_backup_without_timers() -> None:
    host = a_master(UCARP)
    assert host.handle(NO_CARRIER, 3.5) == (changed(MASTER, BACKUP, Reason.CARRIER_LOST),)
    assert (host.state, host.deadline) == (BACKUP, None)
    assert host.handle(TimerExpired(), 100.0) == ()
    assert host.handle(CARRIER, 200.0) == ()
    assert (host.state, host.deadline) == (BACKUP, 203.0)


def test_ucarp_without_carrier_becomes_master_neither_by_a_packet_nor_by_request() -> None:
    host = a_backup(UCARP)
    assert host.handle(NO_CARRIER, 1.0) == ()
    assert host.deadline is None
    assert host.handle(heard(host, 255, 255, counter=70), 1.0) == ()
    assert host.handle(StateRequested("em0", 1, MASTER), 1.0) == ()
    assert host.handle(StateRequested("em0", 1, BACKUP, hold=3.0), 1.0) == ()
    assert (host.state, host.deadline) == (BACKUP, None)
    host.handle(CARRIER, 5.0)
    assert fire(host)[2] == sent(host, counter=71)


def test_ucarp_ends_when_its_interface_goes_down() -> None:
    host = a_master(UCARP)
    assert host.handle(DOWN, 3.5) == (changed(MASTER, INIT, Reason.HARDWARE_DOWN),)
    assert host.handle(NO_CARRIER, 3.5) == ()
    assert host.handle(UP, 3.5) == ()
    assert (host.state, host.deadline) == (INIT, None)
    assert host.handle(CARRIER, 3.5) == (READY,)


@each([FREEBSD, FREEBSD_12, FREEBSD_14, UCARP])
@pytest.mark.parametrize("state", [BACKUP, MASTER])
def test_allow_0_stops_a_host(profile: Profile, state: State) -> None:
    host = in_state(state, profile)
    forbid, permit = SettingChanged("allow", 0), SettingChanged("allow", 1)
    assert host.handle(permit, 3.1) == ()
    assert host.handle(forbid, 3.5) == (changed(state, INIT, Reason.HARDWARE_DOWN),)
    assert (host.state, host.deadline) == (INIT, None)
    assert host.handle(forbid, 3.6) == ()
    assert host.handle(permit, 4.0) == (READY,)


@each([FREEBSD_10, NETBSD, OPENBSD])
@pytest.mark.parametrize("state", [BACKUP, MASTER])
def test_on_the_others_allow_0_leaves_a_host_as_it_is(profile: Profile, state: State) -> None:
    host = in_state(state, profile)
    deadline = host.deadline
    assert host.handle(SettingChanged("allow", 0), 3.0) == ()
    assert (host.state, host.deadline) == (state, deadline)
    counter = 99 if profile is OPENBSD else int(state is MASTER)
    assert sent(host, counter=counter) in fire(host)


# -- section 4: addresses ---------------------------------------------------------------


@each(KERNELS)
def test_an_address_added_to_a_master_makes_it_fall_silent_for_a_master_down_time(
    profile: Profile,
) -> None:
    host = a_master(profile)
    before = host.config.authenticator(profile)
    assert host.handle(AddressAdded("em0", "192.168.1.51", 1), 3.5) == RESTARTED
    assert host.deadline == 6.5
    assert host.config.addresses == (VIP, IPv4Address("192.168.1.51"))
    old = heard(host, counter=1, signer=before)
    assert host.handle(old, 4.0) == (PacketDropped("em0", Reason.BADAUTH, 4, PEERS[4], 1),)
    assert host.handle(heard(host, counter=1), 4.0) == ()


def test_the_first_address_of_a_family_brings_its_timer() -> None:
    host = a_backup()
    host.handle(AddressAdded("em0", VIP6, 1), 1.0)
    host.handle(heard(host, family=4), 2.0)
    assert host.deadline == 4.0
    host.handle(heard(host, family=6), 3.0)
    assert host.deadline == 5.0


@each([FREEBSD, FREEBSD_10, FREEBSD_12, FREEBSD_14])
def test_one_of_several_addresses_removed_restarts_as_one_added(profile: Profile) -> None:
    host = a_master(profile, addresses=(VIP, VIP6))
    assert host.handle(AddressRemoved("em0", "2001:db8::50/64", 1), 3.5) == RESTARTED
    assert (host.config.addresses, host.deadline) == ((VIP,), 6.5)
    (_, advertisement, _) = fire(host)
    assert advertisement == sent(host, counter=2)


def test_openbsd_repeats_arps_only() -> None:
    host = a_master(OPENBSD, addresses=(VIP, VIP6))
    assert len(fire(host)) == 2
    assert fire(host)[2:] == (announced(VIP),)
    host = a_master(OPENBSD, addresses=(VIP6,))
    fire(host)
    assert len(fire(host)) == 1


def test_openbsd_starts_the_timers_again_when_one_of_several_addresses_is_removed() -> None:
    host = a_master(OPENBSD, addresses=(VIP, VIP6), advskew=64)
    assert host.handle(AddressRemoved("em0", VIP6, 1), 4.0) == ()
    assert (host.state, host.deadline) == (MASTER, 5.25)
    assert fire(host) == (sent(host, 1, 64, counter=99),)
    host = a_backup(OPENBSD, addresses=(VIP, VIP6))
    host.handle(heard(host, family=4), 1.0)
    assert host.deadline == 3.0
    assert host.handle(AddressRemoved("em0", VIP6, 1), 2.0) == ()
    assert (host.state, host.deadline) == (BACKUP, 5.0)
    assert host.handle(AddressRemoved("em0", VIP, 1), 2.5) == (
        changed(BACKUP, INIT, Reason.HARDWARE_UP),
    )


def test_netbsd_does_not_notice_an_address_removed_until_the_next_ioctl() -> None:
    """The removed one stays in the HMAC (netbsd/stale-hmac-79929, at 6.5 and 15.1 s)."""
    removed = IPv4Address("192.168.1.5")
    host = a_master(NETBSD, addresses=(VIP, removed))
    stale = host.config.authenticator(NETBSD)
    assert host.handle(AddressRemoved("em0", removed, 1), 3.5) == ()
    assert host.config.addresses == (VIP,)
    (advertisement,) = fire(host)
    assert isinstance(advertisement, SendAdvertisement)
    assert advertisement.advertisement == stale.sign(Advertisement(1, counter=1))
    assert host.handle(Reconfigured("em0", 1, advskew=0), 5.0) == RESTARTED
    assert fire(host)[1] == sent(host, counter=2)


def test_netbsd_stops_the_timer_of_a_family_that_has_no_address_left() -> None:
    host = a_backup(NETBSD, addresses=(VIP, VIP6))
    signer = host.config.authenticator(NETBSD)
    assert host.handle(AddressRemoved("em0", VIP6, 1), 1.0) == ()
    assert host.handle(heard(host, signer=signer), 2.0) == ()
    assert host.deadline == 5.0


@each(PROFILES)
@pytest.mark.parametrize("state", [BACKUP, MASTER])
@pytest.mark.parametrize(
    "event", [AddressRemoved("em0", VIP, 1), VirtualHostRemoved("em0", 1)], ids=["address", "vhid"]
)
def test_without_its_last_address_a_host_is_in_init(
    profile: Profile, state: State, event: Event
) -> None:
    host = in_state(state, profile)
    assert host.handle(event, 3.5) == (changed(state, INIT, Reason.HARDWARE_UP),)
    assert (host.state, host.deadline, host.config.addresses) == (INIT, None, ())
    assert host.handle(event, 4.0) == ()


def test_ucarp_has_one_virtual_address() -> None:
    host = a_master(UCARP)
    with pytest.raises(ConfigError, match="2 virtual addresses, but UCarp has one"):
        host.handle(AddressAdded("em0", "192.168.1.51", 1), 3.5)
    assert (host.state, host.config.addresses) == (MASTER, (VIP,))


def test_an_advertisement_comes_from_the_first_own_address_of_its_family() -> None:
    host = a_master(addresses=(VIP, VIP6), own=("192.168.1.157/24", "fe80::a%em0/64", "fe80::b"))
    assert fire(host) == (sent(host, counter=2), sent(host, counter=3, family=6))
    host.handle(AddressRemoved("em0", OWN6), 4.1)
    host.handle(AddressAdded("em0", "192.168.1.7"), 4.1)
    host.handle(AddressAdded("em0", "192.168.1.7"), 4.1)
    assert [action.source for action in fire(host) if isinstance(action, SendAdvertisement)] == [
        OWN,
        IPv6Address("fe80::b"),
    ]
    host.handle(AddressRemoved("em0", OWN), 5.1)
    host.handle(AddressRemoved("em0", "fe80::b"), 5.1)
    host.handle(AddressRemoved("em0", "fe80::b"), 5.1)
    assert fire(host) == (
        sent(host, counter=6, source=IPv4Address("192.168.1.7")),
        sent(host, counter=7, family=6, source=VIP6),
    )
    host.handle(AddressRemoved("em0", "192.168.1.7"), 6.1)
    assert fire(host)[0] == sent(host, counter=8, source=VIP)


def test_an_own_address_that_became_virtual_is_no_source() -> None:
    host = a_master(addresses=(OWN, VIP), own=(OWN, "192.168.1.7"))
    assert fire(host) == (sent(host, counter=1, source=IPv4Address("192.168.1.7")),)


# -- section 4: reconfiguration and requests --------------------------------------------


@each([*FREEBSDS, UCARP])
def test_new_values_leave_state_and_running_timers(profile: Profile) -> None:
    for state in (BACKUP, MASTER):
        host = in_state(state, profile)
        deadline = host.deadline
        assert host.handle(Reconfigured("em0", 1, advbase=2, advskew=100), 3.1) == ()
        assert (host.state, host.deadline) == (state, deadline)
        assert (host.config.advbase, host.config.advskew) == (2, 100)


def test_new_values_start_openbsds_timers_again() -> None:
    for state, deadline in ((BACKUP, 3.5 + 3 * 356 / 256), (MASTER, 3.5 + 356 / 256)):
        host = in_state(state, OPENBSD)
        assert host.handle(Reconfigured("em0", 1, advskew=100), 3.5) == ()
        assert (host.state, host.deadline) == (state, deadline)
    host = a_host(OPENBSD)
    assert host.handle(Reconfigured("em0", 1, advskew=100), 3.5) == ()
    assert (host.state, host.deadline) == (INIT, None)


def test_new_values_serve_the_next_comparison_and_the_next_arming() -> None:
    host = a_master()
    host.handle(Reconfigured("em0", 1, advskew=100), 3.5)
    assert fire(host) == (sent(host, 1, 100, counter=1),)
    assert host.deadline == 4 + 356 / 256
    assert host.handle(heard(host, 1, 99), 4.5) == (
        changed(MASTER, BACKUP, Reason.MORE_FREQUENT, 356, 355, 4, PEERS[4]),
    )


def test_a_timer_that_decides_says_how_long_it_was() -> None:
    host = a_backup()
    host.handle(Reconfigured("em0", 1, advbase=2), 1.0)
    (change, *_) = host.handle(TimerExpired(), 3.0)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=4)
    host = a_backup()
    host.handle(Reconfigured("em0", 1, advbase=2), 1.0)
    host.handle(heard(host, 2), 2.0)
    assert host.deadline == 8.0
    (change, *_) = fire(host)
    assert change == changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=1536, family=4)


@pytest.mark.parametrize(
    "secret",
    [{"passphrase": "other"}, {"key": b"0123456789abcdefghij"}],
    ids=["passphrase", "key"],
)
def test_a_new_key_is_used_at_once(secret: dict[str, Any]) -> None:
    host = a_master()
    old = heard(host)
    assert host.handle(Reconfigured("em0", 1, **secret), 3.1) == ()
    assert host.handle(old, 3.2) == (PacketDropped("em0", Reason.BADAUTH, 4, PEERS[4], 1),)
    signer = Authenticator(vhid=1, addresses=[VIP], **secret)
    (advertisement,) = fire(host)
    assert isinstance(advertisement, SendAdvertisement)
    assert signer.verify(advertisement.advertisement)
    assert host.handle(heard(host, signer=signer), 4.5)[0] == changed(
        MASTER, BACKUP, Reason.MORE_FREQUENT, 256, 256, 4, PEERS[4]
    )


@pytest.mark.parametrize(
    "event",
    [
        Reconfigured("em0", 1, advskew=100),
        Reconfigured("em0", 1, passphrase="other"),
        StateRequested("em0", 1, MASTER),
        StateRequested("em0", 1, BACKUP),
    ],
    ids=repr,
)
@pytest.mark.parametrize("state", [BACKUP, MASTER])
def test_on_netbsd_any_ioctl_ends_in_init_then_backup(state: State, event: Event) -> None:
    host = in_state(state, NETBSD)
    assert host.handle(event, 3.5) == (changed(state, INIT, Reason.HARDWARE_UP), READY)
    assert host.deadline == 6.5 + host.config.advskew / 256
    host.handle(NO_CARRIER, 4.0)
    assert host.handle(event, 4.0) == ()
    assert host.state is INIT


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"advbase": 0}, "advbase 0 is out of range; it is 1 to 255 on FreeBSD 12"),
        ({"advskew": 255}, "advskew 255 is out of range; it is 0 to 254 on FreeBSD 12"),
        ({"advskew": "1"}, "advskew '1' is out of range"),
        ({"passphrase": "a", "key": b"b"}, "both a passphrase and a key"),
        ({"peer": VIP6}, "peer 2001:db8::50 is not an IPv4 address"),
    ],
)
def test_refuses_new_values_that_its_system_refuses(changes: dict[str, Any], text: str) -> None:
    host = a_master()
    config = host.config
    with pytest.raises(ConfigError, match=text):
        host.handle(Reconfigured("em0", 1, **changes), 3.5)
    assert host.config is config
    assert fire(host) == (sent(host, counter=1),)


@each([FREEBSD, FREEBSD_10, FREEBSD_14])
def test_an_operator_can_ask_for_master(profile: Profile) -> None:
    """As recorded in freebsd/state-backup, at 15.7 s."""
    host = a_backup(profile, advskew=100)
    request = StateRequested("em0", 1, MASTER)
    assert host.handle(request, 1.0) == (
        changed(BACKUP, MASTER, Reason.USER_REQUESTED),
        sent(host, 1, 100, counter=0),
        announced(),
    )
    assert host.deadline == 2 + 100 / 256
    assert host.handle(request, 1.5) == ()
    assert host.deadline == 2 + 100 / 256


@each([FREEBSD, FREEBSD_10, FREEBSD_14, OPENBSD, UCARP])
def test_an_operator_can_ask_for_backup(profile: Profile) -> None:
    """Without a farewell, on UCarp too (ucarp/sigusr2-alone-clean, at 6.3 s)."""
    host = a_master(profile)
    request = StateRequested("em0", 1, BACKUP)
    assert host.handle(request, 3.5) == (changed(MASTER, BACKUP, Reason.USER_REQUESTED),)
    assert host.deadline == 6.5
    assert host.handle(request, 4.0) == ()
    assert host.deadline == 6.5


def test_a_state_may_be_asked_for_by_its_name() -> None:
    by_name: Any = {"BACKUP": BACKUP, "MASTER": MASTER}
    for name, state in by_name.items():
        host = in_state(MASTER if state is BACKUP else BACKUP)
        host.handle(StateRequested("em0", 1, name), 3.5)
        assert host.state is state


def test_ucarp_holds_for_three_seconds_then_listens_as_at_start() -> None:
    """ucarp/sigusr2-alone-clean: asked at 6.3 s, MASTER again at 12.3 s."""
    host = a_master(UCARP)
    assert host.handle(StateRequested("em0", 1, BACKUP, hold=3.0), 6.25) == (
        changed(MASTER, BACKUP, Reason.USER_REQUESTED),
    )
    assert host.deadline == 9.25
    assert host.handle(heard(host, 255, 255, counter=41), 7.0) == ()
    assert host.handle(TimerExpired(), 9.0) == ()
    assert (host.state, host.deadline) == (BACKUP, 9.25)
    assert fire(host) == ()
    assert (host.state, host.deadline) == (BACKUP, 12.25)
    assert fire(host) == (
        changed(BACKUP, MASTER, Reason.MASTER_TIMED_OUT, own=768, family=4),
        announced(mac=MAC),
        sent(host, counter=42),
    )


def test_a_backup_can_be_asked_to_hold_too() -> None:
    host = a_backup()
    assert host.handle(StateRequested("em0", 1, BACKUP, hold=10.0), 1.0) == ()
    assert host.deadline == 11.0
    assert host.handle(StateRequested("em0", 1, MASTER), 2.0)[0] == changed(
        BACKUP, MASTER, Reason.USER_REQUESTED
    )
    assert host.deadline == 3.0


def test_a_hold_that_ends_late_does_not_end_the_wait_for_a_master() -> None:
    host = a_backup()
    assert not host.holding
    host.handle(StateRequested("em0", 1, BACKUP, hold=1.0), 1.0)
    assert host.holding
    assert host.handle(TimerExpired(), 1e6) == ()
    assert host.state is BACKUP


@pytest.mark.parametrize("hold", [0.0, -1.0, 0])
def test_a_hold_of_nothing_is_none(hold: float) -> None:
    host = a_backup()
    host.handle(StateRequested("em0", 1, BACKUP, hold=hold), 1.0)
    assert host.deadline == 3.0


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (StateRequested("em0", 1, INIT), "INIT.* cannot be requested; ask MASTER or BACKUP"),
        (StateRequested("em0", 1, None), "state None cannot be requested"),
        (StateRequested("em0", 1, BACKUP, inf), "time inf is out of range"),
        (StateRequested("em0", 1, BACKUP, nan), "time nan is out of range"),
        (StateRequested("em0", 1, BACKUP, "3"), "time '3' is no number"),
    ],
)
def test_refuses_a_request_that_makes_no_sense(event: Event, text: str) -> None:
    host = a_master()
    with pytest.raises(ConfigError, match=text):
        host.handle(event, 3.5)
    assert (host.state, host.deadline) == (MASTER, 4.0)


# -- section 4: goodbye -----------------------------------------------------------------


@each(PROFILES)
@pytest.mark.parametrize("bow_out", [None, True, False])
def test_shutdown_says_goodbye_as_its_system_would_or_as_told(
    profile: Profile, bow_out: bool | None
) -> None:
    host = a_master(profile, addresses=(VIP,))
    farewell = (sent(host, 255, 255, counter=99 if profile is OPENBSD else 1),)
    says_so = profile in (*NETBSDS, OPENBSD) if bow_out is None else bow_out
    assert host.handle(Shutdown(bow_out), 3.5) == (
        *(farewell if says_so else ()),
        changed(MASTER, INIT, Reason.SHUTDOWN),
    )
    assert (host.state, host.deadline) == (INIT, None)
    assert host.handle(UP, 10.0) == (READY,)


def test_a_bow_out_is_said_in_both_families() -> None:
    host = a_master(addresses=(VIP, VIP6))
    assert host.handle(Shutdown(True), 3.5) == (
        sent(host, 255, 255, counter=2),
        sent(host, 255, 255, counter=3, family=6),
        changed(MASTER, INIT, Reason.SHUTDOWN),
    )


@pytest.mark.parametrize("bow_out", [None, True, False])
def test_only_a_master_says_goodbye(bow_out: bool | None) -> None:
    host = a_backup(NETBSD)
    assert host.handle(Shutdown(bow_out), 1.0) == (changed(BACKUP, INIT, Reason.SHUTDOWN),)
    assert a_host(NETBSD).handle(Shutdown(bow_out), 1.0) == ()


@each([NETBSD, OPENBSD])
def test_a_carp_interface_taken_down_bows_out(profile: Profile) -> None:
    """netbsd/graceful-down-bow-out, at 10 s. Its parent taken down has no way to say so."""
    host = a_master(profile)
    assert host.handle(InterfaceChanged("em0", False, 1), 3.5) == (
        sent(host, 255, 255, counter=99 if profile is OPENBSD else 1),
        changed(MASTER, INIT, Reason.HARDWARE_DOWN),
    )
    assert host.handle(InterfaceChanged("em0", True, 1), 4.0) == (READY,)
    assert host.handle(InterfaceChanged("em0", False, 1), 5.0) == (
        changed(BACKUP, INIT, Reason.HARDWARE_DOWN),
    )
    assert a_master(profile).handle(DOWN, 3.5) == (changed(MASTER, INIT, Reason.HARDWARE_DOWN),)


@each([FREEBSD, UCARP])
def test_others_are_taken_down_without_a_word(profile: Profile) -> None:
    assert a_master(profile).handle(InterfaceChanged("em0", False, 1), 3.5) == (
        changed(MASTER, INIT, Reason.HARDWARE_DOWN),
    )


# -- section 5: demotion ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("advskew", "demotion", "advertised"),
    [
        (0, 0, 0),
        (10, 50, 60),
        (100, 140, 240),
        (100, 141, 240),
        (0, 1000, 240),
        (0, 10**30, 240),
        (240, 0, 240),
        (254, 0, 240),  # the limit applies always
        (100, -30, 70),
        (100, -100, 0),
        (100, -101, 0),
    ],
)
def test_freebsd_adds_demotion_to_advskew_240_at_the_most_and_not_below_0(
    advskew: int, demotion: int, advertised: int
) -> None:
    host = a_master(advskew=advskew)
    host.handle(DemotionAdjusted(demotion), 4.0)
    assert (host.demoted_advskew, host.own_interval) == (advertised, 256 + advertised)
    assert fire(host) == (sent(host, 1, advertised, counter=1 + bool(demotion)),)


def test_an_advskew_of_254_is_advertised_as_240_while_master_down_keeps_it() -> None:
    host = a_backup(advskew=254)
    assert host.deadline == 3 + 254 / 256
    assert fire(host)[1] == sent(host, 1, 240, counter=0)
    assert host.deadline == 3 + 254 / 256 + 1 + 254 / 256  # the first one: the own advskew
    fire(host)
    assert host.deadline == 3 + 254 / 256 + 1 + 254 / 256 + 1 + 240 / 256


@each([FREEBSD_10, FREEBSD_12])
def test_without_the_floor_a_negative_demotion_makes_two_masters(profile: Profile) -> None:
    """PR 259528: compared as 246/256 s, advertised as 1 + 246/256 s."""
    host = a_master(profile)
    assert host.handle(DemotionAdjusted(-10), 3.0) == (sent(host, 1, 246, counter=1),)
    assert (host.demoted_advskew, host.own_interval) == (-10, 246)
    assert host.deadline == 3 + 246 / 256
    assert host.handle(heard(host, 1, 0), 3.1) == ()
    other = a_master(FREEBSD)
    assert other.handle(heard(other, 1, 246), 3.1) == ()


def test_without_the_floor_an_interval_is_a_256th_of_a_second_at_least() -> None:
    host = a_master(FREEBSD_12)
    host.handle(DemotionAdjusted(-1000), 3.0)
    assert host.deadline == 3 + 1 / 256
    fire(host)
    assert host.deadline == 3 + 2 / 256


@each([NETBSD, UCARP])
@pytest.mark.parametrize(
    ("advskew", "demotion", "advertised"),
    [(0, 0, 0), (100, 1, 240), (0, 1000, 240), (240, 1, 240), (250, 1, 250), (100, -1, 100)],
)
def test_netbsd_and_ucarp_raise_advskew_to_240_if_it_is_lower(
    profile: Profile, advskew: int, demotion: int, advertised: int
) -> None:
    host = a_host(profile, advskew=advskew)
    host.handle(DemotionAdjusted(demotion), 0.0)
    assert host.demoted_advskew == advertised


def test_a_master_advertises_every_change_of_demotion_at_once() -> None:
    host = a_master(addresses=(VIP, VIP6))
    assert host.handle(DemotionAdjusted(50), 3.25) == (
        sent(host, 1, 50, counter=2),
        sent(host, 1, 50, counter=3, family=6),
    )
    assert host.deadline == 3.25 + 306 / 256
    assert host.handle(DemotionAdjusted(0), 3.3) == ()
    assert host.deadline == 3.25 + 306 / 256
    (advertisement, _) = host.handle(DemotionAdjusted(-20), 3.5)
    assert advertisement == sent(host, 1, 30, counter=4)
    assert host.deadline == 3.5 + 286 / 256
    (advertisement, _) = host.handle(SettingChanged("demotion", 5), 3.75)
    assert advertisement == sent(host, 1, 35, counter=6)
    assert host.demotion == 35


@each([NETBSD, UCARP])
def test_netbsd_and_ucarp_advertise_when_demotion_begins_not_when_it_ends(
    profile: Profile,
) -> None:
    host = a_master(profile)
    assert host.handle(DemotionAdjusted(240), 3.25) == (sent(host, 1, 240, counter=1),)
    assert host.deadline == 3.25 + 496 / 256
    assert host.handle(DemotionAdjusted(240), 3.5) == ()
    assert host.handle(DemotionAdjusted(-480), 3.5) == ()
    assert host.deadline == 3.25 + 496 / 256
    assert host.handle(DemotionAdjusted(1), 3.75)[0] == sent(host, 1, 240, counter=2)


def test_openbsd_advertises_its_demote_byte_at_once() -> None:
    host = a_master(OPENBSD)
    (advertisement,) = host.handle(DemotionAdjusted(3), 3.25)
    assert advertisement == sent(host, counter=99, demote=3)


@pytest.mark.parametrize("state", [INIT, BACKUP])
def test_who_is_not_master_takes_demotion_in_silence(state: State) -> None:
    host = in_state(state)
    deadline = host.deadline
    assert host.handle(DemotionAdjusted(100), 1.0) == ()
    assert (host.demotion, host.deadline) == (100, deadline)


# -- section 2: the counter -------------------------------------------------------------


def test_counters_come_from_the_callable_until_one_is_learnt() -> None:
    drawn = iter([11, 2**64 - 1, 33])
    host = a_master(counter=lambda: next(drawn))
    assert fire(host) == (sent(host, counter=2**64 - 1),)
    assert fire(host) == (sent(host, counter=33),)
    assert host.handle(heard(host, 2, counter=500), 5.5) == ()
    assert fire(host) == (sent(host, counter=501),)
    assert fire(host) == (sent(host, counter=502),)


def test_every_authentic_counter_heard_overwrites_the_learnt_one() -> None:
    host = a_master()
    for counter in (1000, 3, 2**64 - 2):
        host.handle(heard(host, 2, counter=counter), 3.1)
    assert fire(host) == (sent(host, counter=2**64 - 1),)
    assert fire(host) == (sent(host, counter=0),)


def test_a_first_counter_is_counted_up_and_wraps() -> None:
    host = a_backup(counter=2**64 - 1)
    assert fire(host)[1] == sent(host, counter=2**64 - 1)
    assert fire(host) == (sent(host, counter=0),)


@pytest.mark.parametrize("counter", [99, lambda: 99], ids=["number", "callable"])
def test_openbsds_counter_is_constant_and_an_echo_of_it_is_dropped(counter: Any) -> None:
    host = a_master(OPENBSD, counter=counter)
    host.handle(heard(host, 2, counter=500), 3.1)
    assert fire(host) == (sent(host, counter=99),)
    assert host.handle(heard(host, 0, 1, counter=99), 4.5) == (
        PacketDropped("em0", Reason.LOOP, 4, PEERS[4], vhid=1),
    )
    assert host.state is MASTER


def test_openbsd_sends_a_constant_of_zero_too() -> None:
    host = a_backup(OPENBSD, counter=0)
    assert fire(host)[1] == sent(host, counter=0)
    assert fire(host) == (sent(host, counter=0),)


def test_openbsd_refuses_the_default_counter() -> None:
    config = VirtualHostConfig(vhid=1, addresses=[VIP])
    with pytest.raises(ConfigError, match="OpenBSD needs counter=: a random 64-bit number"):
        VirtualHost(config, profile=OPENBSD)


@pytest.mark.parametrize("counter", [-1, 2**64, 1.0, "1", True, []], ids=repr)
def test_refuses_a_counter_out_of_range(counter: Any) -> None:
    with pytest.raises(ConfigError, match=r"counter .* is out of range; it is 0 to 2\*\*64 - 1"):
        a_host(counter=counter)
    with pytest.raises(ConfigError, match="out of range"):
        fire(a_backup(counter=lambda: counter))


# -- what is sent -----------------------------------------------------------------------


def test_a_unicast_peer_gets_advertisements_from_the_interface_itself() -> None:
    host = a_master(FREEBSD_14, peer="192.168.1.158", peer6="ff02::99", addresses=(VIP, VIP6))
    assert fire(host) == (
        sent(host, counter=2, destination=PEERS[4], source_mac=MAC),
        sent(host, counter=3, family=6, destination=IPv6Address("ff02::99")),
    )


def test_netbsd_of_1_120_sends_from_the_interface_and_sums_the_pseudo_header() -> None:
    host = a_master(NETBSD_1120, addresses=(VIP, VIP6))
    fourth, sixth = fire(host)
    assert fourth == sent(host, counter=2)
    plain = sent(host, counter=3, family=6)
    assert plain.source_mac == MAC
    covered = encode(plain.advertisement, pseudo_header=pseudo_header(OWN6, GROUPS[6]))
    checksum = int.from_bytes(covered[6:8], "big")
    assert sixth == plain._replace(advertisement=plain.advertisement._replace(checksum=checksum))
    assert isinstance(sixth, SendAdvertisement)
    assert encode(sixth.advertisement) == covered


def test_ucarp_sends_ipv4_from_a_mac_of_its_own_and_ipv6_from_the_virtual_one() -> None:
    host = a_master(UCARP, addresses=(VIP,))
    (fourth,) = fire(host)
    host = a_master(UCARP, addresses=(VIP6,))
    (sixth,) = fire(host)
    assert isinstance(fourth, SendAdvertisement)
    assert isinstance(sixth, SendAdvertisement)
    assert (fourth.source_mac, fourth.traffic_class) == ("00:00:5e:00:00:01", 0x10)
    assert (sixth.source_mac, sixth.traffic_class) == (VIRTUAL_MAC, 0)


@pytest.mark.parametrize(("dscp", "octet"), [(56, 0xE0), (0, 0), (63, 0xFC), (8, 0x20)])
def test_freebsd_sends_the_dscp_that_it_was_told(dscp: int, octet: int) -> None:
    host = a_master(addresses=(VIP, VIP6))
    host.handle(SettingChanged("dscp", dscp), 3.1)
    assert fire(host) == (
        sent(host, counter=2, traffic_class=octet),
        sent(host, counter=3, family=6, traffic_class=octet),
    )


@each([profile for profile in KERNELS if profile is not NETBSD_1120])
def test_each_family_has_its_own_counter_ipv4_first(profile: Profile) -> None:
    host = a_backup(profile, addresses=(VIP6, VIP))
    first, second = (99, 99) if profile is OPENBSD else (0, 1)
    assert fire(host)[1:] == (
        sent(host, counter=first),
        sent(host, counter=second, family=6),
        announced(VIP, VIP6),
    )


# -- what is not for this host ----------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        InterfaceChanged("em0", False, 2),
        LinkChanged("em0", False, 2),
        AddressAdded("em0", "192.168.1.51", 2),
        AddressRemoved("em0", VIP, 2),
        VirtualHostRemoved("em0", 2),
        Reconfigured("em0", 2, advskew=100),
        StateRequested("em0", 2, BACKUP),
        TimerExpired("em0", 2),
        AddressAdded("em0", VIP, 1),
        AddressRemoved("em0", "192.168.1.51", 1),
        SendSucceeded("em0", 1),
        SendFailed("em0", 1, 55),
        SettingChanged("ifdown_demotion_factor", 1),
        SettingChanged("senderr_demotion_factor", 1),
        VirtualHostAdded("em0", VirtualHostConfig(vhid=2)),
        DatagramReceived("em0", PEERS[4], GROUPS[4], 255, b""),
    ],
    ids=repr,
)
def test_an_event_of_another_or_of_the_node_does_nothing(event: Event) -> None:
    host = a_master()
    config = host.config
    assert host.handle(event, 3.5) == ()
    assert host.config is config
    assert fire(host) == (sent(host, counter=1),)


def test_timer_expired_may_name_the_host() -> None:
    host = a_master()
    assert host.handle(TimerExpired("em0", 1), 4.0) == (sent(host, counter=1),)


def test_refuses_an_advertisement_of_another_vhid_or_of_a_family_without_address() -> None:
    for host in (a_master(UCARP), a_backup(), a_host()):
        other = heard(host)._replace(advertisement=Advertisement(vhid=2))
        drop = PacketDropped("em0", Reason.BADVHID, 4, PEERS[4], vhid=2)
        assert host.handle(other, 3.5) == (drop,)
        assert host.handle(heard(host, family=6), 3.5) == (
            PacketDropped("em0", Reason.BADVHID, 6, PEERS[6], vhid=1),
        )


@pytest.mark.parametrize("state", [BACKUP, MASTER])
def test_an_unauthentic_advertisement_changes_nothing(state: State) -> None:
    host = in_state(state)
    deadline = host.deadline
    for signer in (
        Authenticator(vhid=1, passphrase="wrong", addresses=[VIP]),
        Authenticator(vhid=1, passphrase="randompass", addresses=[VIP, "192.168.1.51"]),
    ):
        assert host.handle(heard(host, 0, 1, signer=signer), 3.5) == (
            PacketDropped("em0", Reason.BADAUTH, 4, PEERS[4], vhid=1),
        )
    assert (host.state, host.deadline) == (state, deadline)
    assert all(
        action.advertisement.counter == int(state is MASTER)
        for action in fire(host)
        if isinstance(action, SendAdvertisement)
    )


# -- the caller's mistakes --------------------------------------------------------------


@pytest.mark.parametrize("event", [None, "UP", 1, object, Advertisement(1)], ids=repr)
def test_refuses_what_is_no_event(event: Any) -> None:
    with pytest.raises(ConfigError, match="is no event"):
        a_master().handle(event, 0.0)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (nan, "time nan is out of range"),
        (inf, "time inf is out of range"),
        (-inf, "time -inf is out of range"),
        (1e300, r"time 1e\+300 is out of range; give seconds on a monotonic clock"),
        (None, "time None is no number; give seconds as a float"),
        ("1", "time '1' is no number"),
        (True, "time True is no number"),
        (10**400, "time is too large"),
    ],
    ids=["nan", "inf", "-inf", "1e300", "None", "text", "bool", "huge"],
)
def test_refuses_what_is_no_time(now: Any, text: str) -> None:
    host = a_master()
    with pytest.raises(ConfigError, match=text):
        host.handle(TimerExpired(), now)
    assert host.deadline == 4.0


def test_takes_whole_seconds_and_as_late_as_a_float_can_tell_them_apart() -> None:
    assert later(1.0, 2) == 2.0
    host = a_master()
    assert host.handle(TimerExpired(), -LATEST) == ()
    assert host.handle(TimerExpired(), LATEST) == (sent(host, counter=1),)
    assert host.deadline == LATEST + 1


def test_a_counter_that_is_none_is_refused_before_anything_changes() -> None:
    drawn = iter([2**64, 7])
    host = a_backup(counter=lambda: next(drawn))
    with pytest.raises(ConfigError, match="counter 18446744073709551616 is out of range"):
        host.handle(TimerExpired(), 3.0)
    assert (host.state, host.deadline) == (BACKUP, 3.0)
    assert fire(host)[1] == sent(host, counter=7)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("alow", 1, "there is no setting 'alow'; there are allow, preempt, dscp, log, demotion"),
        ([], 1, r"there is no setting \[\]"),
        ("allow", 2, "allow 2 is out of range; it is 0 to 1"),
        ("preempt", None, "preempt None is out of range"),
        ("dscp", 64, "dscp 64 is out of range; it is 0 to 63"),
        ("dead_ratio", 0, "dead_ratio 0 is out of range; it is 1 to 65535"),
        ("demotion", 2**31, "demotion 2147483648 is out of range"),
        ("demotion", 1.0, "demotion 1.0 is out of range"),
    ],
)
def test_refuses_a_setting_that_is_not_there_or_out_of_range(
    name: Any, value: Any, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        a_master().handle(SettingChanged(name, value), 3.5)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("allow", 0, 1),
        ("preempt", 0, 1),
        ("dscp", 0, 63),
        ("dead_ratio", 1, 65535),
        ("demotion", -(2**31) + 1, 2**31 - 1),
        ("ifdown_demotion_factor", -(2**31) + 1, 2**31 - 1),
        ("senderr_demotion_factor", -(2**31) + 1, 2**31 - 1),
    ],
)
def test_a_setting_takes_its_whole_range(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert check_setting(SettingChanged(name, value)) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f"{name} {value} is out of range"):
            check_setting(SettingChanged(name, value))


def test_a_setting_may_be_true_or_false() -> None:
    assert check_setting(SettingChanged("preempt", True)) == 1
    assert type(check_setting(SettingChanged("allow", False))) is int


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (DemotionAdjusted(1.5), "demotion 1.5 is no whole number"),
        (AddressAdded("em0", "fe80::1%", 1), "fe80::1%|multicast|not an address"),
        (AddressAdded("em0", "nowhere", 1), "'nowhere' is not an address"),
        (AddressRemoved("em0", None, 1), "None is not an address"),
        (AddressAdded("em0", "224.0.0.1", 1), "224.0.0.1 is not a host's"),
    ],
)
def test_refuses_values_that_it_cannot_use(event: Event, text: str) -> None:
    host = a_master()
    if event == AddressAdded("em0", "fe80::1%", 1):
        # An empty scope is a scope: the address counts.
        assert host.handle(event, 3.5) == RESTARTED
        return
    with pytest.raises(ConfigError, match=text):
        host.handle(event, 3.5)
    assert (host.state, host.config.addresses, host.demotion) == (MASTER, (VIP,), 0)


@pytest.mark.parametrize("field", ["vhid", "advbase", "advskew", "demote", "version"])
@pytest.mark.parametrize("value", [-1, 256, None, "1", 1.0], ids=repr)
def test_refuses_an_advertisement_that_no_wire_can_carry(field: str, value: Any) -> None:
    host = a_backup()
    event = heard(host)
    broken: Any = event.advertisement._replace(**{field: value})
    with pytest.raises(ConfigError, match="vhid, advbase, advskew and demote are 0 to 255"):
        host.handle(event._replace(advertisement=broken), 1.0)
    assert host.deadline == 3.0


@pytest.mark.parametrize("version", range(16))
def test_takes_what_a_wire_can_carry(version: int) -> None:
    check_advertisement(Advertisement(0, 0, 0, 0, version=version))
    check_advertisement(Advertisement(255, 255, 255, 255, version=version))


@pytest.mark.parametrize(
    "advertisement",
    [
        Advertisement(0, 256, 0, version=0),
        Advertisement(1, version=16),
        Advertisement(1, version=255),
    ],
    ids=repr,
)
def test_refuses_the_first_that_no_wire_can_carry(advertisement: Advertisement) -> None:
    with pytest.raises(ConfigError) as caught:
        check_advertisement(advertisement)
    assert str(caught.value).endswith(
        " does not fit; vhid, advbase, advskew and demote are 0 to 255, version is 0 to 15"
    )


@pytest.mark.parametrize("value", [None, b"", tuple(Advertisement(1))], ids=["None", "b", "tuple"])
def test_refuses_what_is_no_advertisement(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"is no Advertisement; decode\(\) makes one"):
        check_advertisement(value)


def test_refuses_a_source_that_is_no_address_before_anything_changes() -> None:
    host = a_backup()
    source: Any = "nowhere"
    with pytest.raises(ConfigError, match="'nowhere' is not an address"):
        host.handle(heard(host, 255, 255, source=source), 1.0)
    assert (host.state, host.deadline) == (BACKUP, 3.0)


@pytest.mark.parametrize(
    ("profile", "values", "text"),
    [
        (FREEBSD, {"advbase": 0, "advskew": 1}, "advbase 0 is out of range; it is 1 to 255 on"),
        (OPENBSD, {"advbase": 255}, "advbase 255 is out of range; it is 0 to 254 on OpenBSD"),
        (UCARP, {"advbase": 0}, "advbase 0 with advskew 0 is no interval on UCarp"),
        (UCARP, {"addresses": (VIP, VIP6)}, "2 virtual addresses"),
    ],
)
def test_refuses_a_configuration_that_its_system_refuses(
    profile: Profile, values: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        a_host(profile, **values)


# -- the table of transitions -----------------------------------------------------------


def test_every_trigger_leads_somewhere_and_every_state_can_be_left() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {trigger for row in TRANSITIONS.values() for trigger in row} == set(Trigger)
    for state, row in TRANSITIONS.items():
        assert row
        assert all(following is not state for following, _ in row.values())


@pytest.mark.parametrize(
    ("profiles", "lacking"),
    [
        (
            [FREEBSD, FREEBSD_10, FREEBSD_12, FREEBSD_14],
            {Trigger.CARRIER_LOST, Trigger.DEMOTED, Trigger.UNDEMOTED},
        ),
        (NETBSDS, set(ONLY_WHERE)),
        ([OPENBSD], {Trigger.CARRIER_LOST}),
        ([UCARP], {Trigger.DEMOTED, Trigger.UNDEMOTED}),
    ],
    ids=["FreeBSD", "NetBSD", "OpenBSD", "UCarp"],
)
def test_a_system_has_all_transitions_but_those_of_triggers_that_it_lacks(
    profiles: list[Profile], lacking: set[Trigger]
) -> None:
    for profile in profiles:
        table = transitions(profile)
        assert list(table) == list(TRANSITIONS)
        for state, row in TRANSITIONS.items():
            left = {trigger: row[trigger] for trigger in row if trigger not in lacking}
            assert list(table[state].items()) == list(left.items())


@pytest.mark.parametrize("trigger", ONLY_WHERE)
def test_a_trigger_that_some_systems_lack_comes_and_goes_with_its_field(trigger: Trigger) -> None:
    for profile in PROFILES:
        for on in (True, False):
            table = transitions(
                profile.replace(
                    carrier_loss_waits=on,
                    demote_decides=on,
                    reconfigured=Reaction.KEPT if on else Reaction.RESTARTED,
                )
            )
            assert any(trigger in row for row in table.values()) is on


# -- totality ---------------------------------------------------------------------------


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.sampled_from([10**400, -(10**400), (), [], {}, inf, -inf, nan]),
)
TIMES = st.one_of(
    st.floats(0, 30), st.floats(0, 30), st.floats(0, 30), st.floats(), st.integers(), JUNK
)
BYTES = st.integers(0, 255)
COUNTERS = st.sampled_from([0, 1, 99, 2**64 - 1])
VIRTUAL = st.sampled_from([VIP, VIP6, "192.168.1.51", "fe80::1"])
OTHER = st.sampled_from([OWN, OWN6, "192.168.1.1/24", PEERS[4], PEERS[6], "224.0.0.18"])


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 23).flatmap(lambda dice: JUNK if dice == 0 else good)


VHIDS = mostly(st.sampled_from([1, 1, 1, None, 2]))
ADVERTISEMENTS = st.builds(
    Advertisement,
    vhid=mostly(st.just(1)),
    advbase=mostly(st.sampled_from([0, 1, 1, 2, 3, 4, 255])),
    advskew=mostly(st.one_of(st.sampled_from([99, 100, 101]), BYTES)),
    demote=mostly(st.one_of(st.just(0), BYTES)),
    counter=mostly(COUNTERS),
    digest=mostly(st.just(bytes(20))),
)
EVENTS: dict[type, st.SearchStrategy[Any]] = {
    AdvertisementReceived: st.builds(
        AdvertisementReceived,
        mostly(st.just("em0")),
        mostly(st.sampled_from([4, 4, 6])),
        mostly(st.sampled_from([*PEERS.values(), OWN, str(OWN6)])),
        mostly(ADVERTISEMENTS),
    ),
    TimerExpired: st.one_of(
        st.just(TimerExpired()), st.builds(TimerExpired, st.just("em0"), VHIDS)
    ),
    InterfaceChanged: st.builds(
        InterfaceChanged, st.just("em0"), mostly(st.sampled_from([True, True, False])), VHIDS
    ),
    LinkChanged: st.builds(LinkChanged, st.just("em0"), mostly(st.booleans()), VHIDS),
    SettingChanged: st.builds(
        SettingChanged,
        mostly(st.sampled_from(["allow", "preempt", "dscp", "dead_ratio", "demotion"])),
        mostly(st.sampled_from([0, 1, 1, 2, 240, -240, True])),
    ),
    DemotionAdjusted: st.builds(
        DemotionAdjusted, mostly(st.one_of(st.integers(), st.sampled_from([240, -240])))
    ),
    AddressAdded: st.builds(
        AddressAdded, st.just("em0"), mostly(st.one_of(VIRTUAL, OTHER)), VHIDS
    ),
    AddressRemoved: st.builds(
        AddressRemoved, st.just("em0"), mostly(st.one_of(VIRTUAL, OTHER)), VHIDS
    ),
    VirtualHostRemoved: st.builds(VirtualHostRemoved, st.just("em0"), st.sampled_from([2, 2, 1])),
    Reconfigured: st.builds(
        Reconfigured,
        st.just("em0"),
        VHIDS,
        advbase=mostly(st.sampled_from([None, 0, 1, 255])),
        advskew=mostly(st.one_of(st.none(), BYTES)),
        passphrase=mostly(st.sampled_from([None, "randompass", "0xyz"])),
        key=mostly(st.sampled_from([None, None, b"key"])),
        peer=mostly(st.sampled_from([None, "192.168.1.158"])),
        peer6=mostly(st.sampled_from([None, "fe80::b"])),
    ),
    StateRequested: st.builds(
        StateRequested,
        st.just("em0"),
        VHIDS,
        mostly(st.sampled_from([*State, "MASTER"])),
        mostly(st.floats(0, 5)),
    ),
    Shutdown: st.builds(Shutdown, mostly(st.sampled_from([None, True, False]))),
}
NODE_EVENTS: dict[type, st.SearchStrategy[Any]] = {
    DatagramReceived: st.builds(DatagramReceived, JUNK, JUNK, JUNK, JUNK, JUNK),
    SendSucceeded: st.builds(SendSucceeded, JUNK, JUNK),
    SendFailed: st.builds(SendFailed, JUNK, JUNK, JUNK),
    VirtualHostAdded: st.builds(VirtualHostAdded, JUNK, JUNK),
}
STEPS = st.tuples(
    st.one_of(
        *EVENTS.values(),
        *[EVENTS[TimerExpired], EVENTS[AdvertisementReceived]] * 2,
        # Mapped, because one_of would else count each of them.
        st.one_of(JUNK, *NODE_EVENTS.values()).map(lambda event: event),
    ),
    TIMES,
)


def test_the_totality_test_knows_every_event() -> None:
    assert {*EVENTS, *NODE_EVENTS} == set(get_args(Event))


def signed(host: VirtualHost, event: Any) -> Any:
    """The event, its advertisement signed with the host's key where that can be."""
    if isinstance(event, AdvertisementReceived) and isinstance(event.advertisement, Advertisement):
        if event.advertisement.digest == bytes(20):
            try:
                signer = host.config.authenticator(host.profile)
                return event._replace(advertisement=signer.sign(event.advertisement))
            except ConfigError:
                pass
    return event


def properties(host: VirtualHost) -> tuple[object, ...]:
    return (host.state, host.deadline, host.config, host.demotion, host.dead_ratio)


@settings(max_examples=max(400, settings().max_examples))
@given(
    profile=st.sampled_from(PROFILES),
    addresses=st.sampled_from([(VIP,), (VIP,), (VIP6,), (VIP, VIP6), ()]),
    began=st.sampled_from([[], [(UP, 0.0)], [(UP, 0.0), (TimerExpired(), 10.0)]]),
    steps=st.lists(STEPS, min_size=8, max_size=30),
)
def test_any_sequence_of_anything_gives_actions_or_a_config_error(
    profile: Profile, addresses: tuple[Any, ...], began: list[Any], steps: list[Any]
) -> None:
    if profile is UCARP:
        addresses = addresses[:1]
    host = a_host(profile, addresses=addresses, advskew=100)
    state = INIT
    for event, now in [*began, *steps]:
        before = properties(host)
        try:
            actions = host.handle(signed(host, event), now)
        except ConfigError:
            assert properties(host) == before
            continue
        assert type(actions) is tuple
        for action in actions:
            assert isinstance(action, get_args(Action))
            assert not isinstance(action, DemotionChanged)
            if isinstance(action, StateChanged):
                assert action.previous is state
                state = action.current
            else:
                # A bow-out and a farewell, too, come before the change of state.
                assert state is MASTER or isinstance(action, PacketDropped)
        assert sum(isinstance(action, PacketDropped) for action in actions) <= 1
        assert host.state is state
        if state is MASTER:
            assert host.deadline is not None
        if state is INIT:
            assert host.deadline is None
        if event == TimerExpired() and host.deadline is not None:
            assert host.deadline >= float(now)


def test_what_is_no_config_or_no_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="None is no VirtualHostConfig"):
        VirtualHost(None)
    with pytest.raises(ConfigError, match="profile 'freebsd' is no Profile"):
        VirtualHost(VirtualHostConfig(vhid=1), profile="freebsd")


@pytest.mark.parametrize("state", [BACKUP, MASTER])
def test_a_copy_goes_on_by_itself(state: State) -> None:
    values: dict[str, Any] = {"addresses": (VIP, VIP6), "advskew": 100, "counter": lambda: 5}
    host, alike = in_state(state, **values), in_state(state, **values)

    def go_on(one: VirtualHost) -> list[tuple[Action, ...]]:
        events = (heard(one, family=6), TimerExpired(), AddressAdded("em0", "192.168.1.51", 1))
        return [one.handle(event, 4.0 + 10.0 * n) for n, event in enumerate(events)]

    twin = copy(host)
    assert (properties(twin), repr(twin)) == (properties(host), repr(host))
    assert go_on(twin) == go_on(alike)
    assert properties(twin) == properties(alike) != properties(host)
    # Nothing of that has reached the one that it was copied from.
    assert go_on(host) == go_on(in_state(state, **values))


# -- what only a change in the code would show --------------------------------------------


def test_what_pulls_a_trigger_is_said_in_the_documentation() -> None:
    assert {trigger.name: trigger.value for trigger in Trigger} == {
        "READY": "interface up with carrier, a virtual address, CARP allowed",
        "NOT_READY": "one of these is no longer so",
        "CARRIER_LOST": "carrier lost, on a system that waits for it as BACKUP",
        "RESTART": "the addresses changed, or what else a system restarts for",
        "MASTER_DOWN": "a master-down timer expired",
        "SLOWER": "authentic advertisement of a slower master, and preempt is set",
        "SILENT": "authentic advertisement of a master so slow that it will time out",
        "DEMOTED": "authentic advertisement of a more demoted master",
        "FASTER": "authentic advertisement that is faster, or as fast and wins the tie",
        "UNDEMOTED": "authentic advertisement of a less demoted master",
        "MASTER_REQUESTED": "the operator asks for MASTER",
        "BACKUP_REQUESTED": "the operator asks for BACKUP",
        "SHUTDOWN": "the node stops in an orderly way",
    }


def test_openbsd_with_advbase_0_never_takes_a_master_for_one_that_will_time_out() -> None:
    host = a_backup(OPENBSD, advbase=0, advskew=10)
    assert host.handle(heard(host, 255, 255), 0.01) == ()
    assert host.state is BACKUP


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_has_its_range(name: str) -> None:
    low, high = {
        "allow": (0, 1),
        "preempt": (0, 1),
        "dscp": (0, 63),
        "log": (0, 2),
        "demotion": (-(2**31) + 1, 2**31 - 1),
        "ifdown_demotion_factor": (-(2**31) + 1, 2**31 - 1),
        "senderr_demotion_factor": (-(2**31) + 1, 2**31 - 1),
        "dead_ratio": (1, 65535),
    }[name]
    host = a_host()
    for value in (low, high):
        assert host.handle(SettingChanged(name, value), 0.0) == ()
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f"{name} {value} is out of range"):
            host.handle(SettingChanged(name, value), 0.0)


def test_log_0_stops_nothing() -> None:
    host = a_backup()
    assert host.handle(SettingChanged("log", 0), 1.0) == ()
    assert host.state is BACKUP


def test_the_latest_time() -> None:
    host = a_host()
    host.handle(UP, 2.0**44)
    with pytest.raises(ConfigError, match=r"^time 17592186044416\.004 is out of range"):
        host.handle(DOWN, 2.0**44 + 1 / 256)
    with pytest.raises(ConfigError, match=r"^time is too large; give seconds as a float$"):
        host.handle(DOWN, 10**400)


def test_what_is_found_is_said() -> None:
    host = a_backup()
    with pytest.raises(ConfigError, match=r"^'up' is no event; see carpproto\.core\.events$"):
        host.handle("up", 1.0)
    with pytest.raises(ConfigError, match=r"^7 is no VirtualHostConfig$"):
        VirtualHost(7)
    with pytest.raises(ConfigError, match=r"^b'' is no Advertisement; decode\(\) makes one$"):
        host.handle(heard(host)._replace(advertisement=b""), 1.0)
    with pytest.raises(ConfigError, match=r"^Advertisement\(vhid=1, .*advskew=256.* does not fit"):
        host.handle(heard(host)._replace(advertisement=Advertisement(1, advskew=256)), 1.0)
    with pytest.raises(ConfigError, match="does not fit; vhid, advbase, advskew and demote are 0"):
        host.handle(heard(host)._replace(advertisement=Advertisement(0, 0, 256)), 1.0)
    with pytest.raises(ConfigError) as caught:
        VirtualHost(VirtualHostConfig(vhid=1), profile=OPENBSD)
    assert str(caught.value) == (
        "OpenBSD needs counter=: a random 64-bit number, another on each node "
        "(two nodes with the same one take each other for echoes and both are MASTER)"
    )


@pytest.mark.parametrize(
    ("family", "said"),
    [(5, "5"), (6, "6"), (10**5000, "a value of type int"), (None, "None"), ({}, "{}")],
    ids=["5", "6", "long", "None", "dict"],
)
def test_a_family_that_is_not_the_sources_is_refused(family: Any, said: str) -> None:
    host = a_backup()
    event = heard(host)
    assert type(event.source) is IPv4Address
    with pytest.raises(
        ConfigError, match=rf"^family {said}.* does not fit the source .*; give 4$"
    ):
        host.handle(event._replace(family=family), 1.0)
    assert host.deadline == 3.0


def test_an_advertisement_of_nothing_but_zeros_is_of_no_known_vhid() -> None:
    host = a_backup()
    event = AdvertisementReceived("em0", 4, PEERS[4], Advertisement(0, advbase=0))
    assert host.handle(event, 1.0) == (PacketDropped("em0", Reason.BADVHID, 4, PEERS[4], 0),)


def test_without_a_mac_there_is_none() -> None:
    assert VirtualHost(VirtualHostConfig(vhid=1)).mac == ""


def test_what_goes_around_an_advertisement_follows_what_changes() -> None:
    host = a_master(own=())
    assert fire(host) == (sent(host, counter=1, source=VIP),)
    host.handle(AddressAdded("em0", OWN), 4.1)
    assert fire(host) == (sent(host, counter=2),)
    host.handle(Reconfigured("em0", 1, peer="192.168.1.158"), 5.1)
    peer = IPv4Address("192.168.1.158")
    assert fire(host) == (sent(host, counter=3, destination=peer, source_mac=MAC),)


def test_netbsd_that_keeps_its_message_takes_another_source() -> None:
    second = IPv4Address("192.168.1.5")
    host = a_master(NETBSD, addresses=(VIP, second), own=())
    (advertisement,) = fire(host)
    assert isinstance(advertisement, SendAdvertisement)
    assert advertisement.source == VIP
    host.handle(AddressRemoved("em0", VIP, 1), 4.1)
    (advertisement,) = fire(host)
    assert isinstance(advertisement, SendAdvertisement)
    assert advertisement.source == second


def test_netbsd_notices_an_address_removed_when_a_state_is_asked_for() -> None:
    host = a_master(NETBSD, addresses=(VIP, IPv4Address("192.168.1.5")))
    host.handle(AddressRemoved("em0", "192.168.1.5", 1), 3.5)
    host.handle(StateRequested("em0", 1, BACKUP), 4.0)
    assert fire(host)[1] == sent(host, counter=1)


def test_demotion_that_ends_at_0_from_below_has_not_begun() -> None:
    host = a_master(NETBSD)
    assert host.handle(DemotionAdjusted(-5), 3.1) == ()
    assert host.handle(DemotionAdjusted(5), 3.2) == ()
    assert host.handle(DemotionAdjusted(1), 3.3) == (sent(host, 1, 240, counter=1),)


def test_demotion_without_a_counter_to_advertise_with_changes_nothing() -> None:
    drawn = [5]
    host = a_master(counter=lambda: drawn[-1])
    drawn.append(-1)
    with pytest.raises(ConfigError, match="counter -1 is out of range"):
        host.handle(DemotionAdjusted(50), 3.5)
    assert (host.demotion, host.deadline) == (0, 4.0)


def test_a_copy_draws_its_own_counters() -> None:
    host = a_backup(addresses=(VIP, VIP6), counter=iter(range(10, 99)).__next__)
    host.handle(AdvertisementReceived("em0", 4, PEERS[4], Advertisement(0)), 0.1)
    host.draw_counters()
    twin = copy(host)
    assert fire(twin) == fire(host)
