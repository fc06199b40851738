"""Total: whatever happens, whenever, `handle` answers with actions or refuses.

Machines of Hypothesis tell a `VirtualHost`, a `Node`, and the two side by side, what can happen
on a network and what cannot: forged and damaged packets, mistakes of the caller, odd times,
things that are no event. After every step they look at what must always hold:

- Nothing but `ConfigError` is raised, and what was refused has changed nothing. Each subject has
  a shadow that is told only what was taken: a change that does not show at once would make the
  two differ later.
- No deadline is put where it is over already, and none is over once `TimerExpired` was told.
- Only a MASTER advertises. A farewell and a bow-out come before it leaves that state.
- Every change of state is an entry of `TRANSITIONS` and begins where the last one ended.
- Every packet taken is counted once, and one that was dropped in exactly one counter more, for
  the reason that its action names; it changes nothing else.
- What is said of an event, an action or a refusal never shows a passphrase or a key.

The steps are the same in every run. With ``HYPOTHESIS_PROFILE=deep`` they are many more, and
others each time. A failure prints the steps that lead to it, and the number with which
``CARPPROTO_SEED`` has the same steps again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from itertools import count, repeat
from math import inf, isfinite, nan
from operator import attrgetter
from secrets import randbits
from typing import Any, NamedTuple, get_args

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    DemotionChanged,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
    explain,
)
from carpproto.core.addresses import Address, parse_address
from carpproto.core.advertisement import LENGTH, Advertisement, decode, encode, pseudo_header
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, Reason, shown
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
from carpproto.core.frame import peel_payload
from carpproto.core.node import Node
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
    SourceMac,
)
from carpproto.core.virtual_host import TRANSITIONS, VirtualHost, transitions
from tests.helpers import recorded

INIT, BACKUP, MASTER = State.INIT, State.BACKUP, State.MASTER

PROFILES = [FREEBSD, FREEBSD_10, FREEBSD_12, FREEBSD_14, NETBSD, NETBSD_1120, OPENBSD, UCARP]
KINDS: tuple[type, ...] = get_args(Event)
PACKETS = (DatagramReceived, AdvertisementReceived)
FOR_A_NODE_ONLY = (DatagramReceived, SendSucceeded, SendFailed, VirtualHostAdded)

LATEST = 2.0**44
"""The latest time, in seconds; its negative is the earliest."""

SECRET = "randompass"
"""What must never show. With 192.168.1.50 it signed the advertisements of the recordings."""
SECRETS = (SECRET, SECRET.encode().hex())

OWN = {"em0": ("192.168.1.157", "fe80::a"), "em1": ("10.0.0.157", "fe80::1a")}
MACS = {"em0": "52:54:00:00:00:0a", "em1": "52:54:00:00:00:1a"}
VIP, VIP6 = IPv4Address("192.168.1.50"), IPv6Address("2001:db8::50")
GROUPS = {4: "224.0.0.18", 6: "ff02::12"}

SETTINGS = (
    "allow",
    "preempt",
    "dscp",
    "log",
    "demotion",
    "ifdown_demotion_factor",
    "senderr_demotion_factor",
    "dead_ratio",
)

STEPS: Counter[type] = Counter()
"""How many events each machine has handled."""

SEEN: set[tuple[object, ...]] = set()
"""Every transition, as the state left and the reason, and every drop's reason."""


# -- profiles -----------------------------------------------------------------------------


def values_of(default: object) -> list[Any]:
    """Every value of a field that has few."""
    if isinstance(default, bool):
        return [False, True]
    return list(type(default)) if isinstance(default, Enum) else []


DERIVATIONS = [
    *[
        (name, value)
        for name, like in Profile._field_defaults.items()
        for value in values_of(like)
    ],
    *[("checks", profile.checks) for profile in (FREEBSD, NETBSD, UCARP)],
    *[("source_mac", (style, style)) for style in SourceMac],
    *[("traffic_class", value) for value in (None, (0x10, 0))],
    *[("announces_again", value) for value in (None, 1, 3)],
    *[("dead_ratio", value) for value in (1, 2, 65535)],
    *[("ifdown_demotion_factor", value) for value in (0, 1, 240)],
    *[("senderr_demotion_factor", value) for value in (0, 1, 240)],
]


def derived(base: Profile, changes: list[tuple[str, Any]]) -> Profile:
    return base.replace(**dict(changes))


DERIVED = st.builds(
    derived, st.sampled_from(PROFILES), st.lists(st.sampled_from(DERIVATIONS), max_size=6)
)


# -- times ----------------------------------------------------------------------------------


class When(NamedTuple):
    """A time: so many seconds after the ``clock`` or the ``deadline``, or a value as it is."""

    origin: str
    offset: Any


WHEN = st.sampled_from(
    [
        *[When("deadline", 0.0)] * 4,
        *[When("deadline", offset) for offset in (-1 / 256, 1 / 256, 0.7, 20.0, 1000.0)],
        *[When("clock", offset) for offset in (0.0, 0.0, 1 / 256, 0.1, 0.5, 1.0, 1.0, 2.5)],
        *[When("clock", offset) for offset in (-1 / 256, -5.0)],
    ]
)
ODD_TIMES = st.one_of(
    st.sampled_from(
        [None, True, "1.0", b"1", (), [], {}, object, 1j, nan, inf, -inf, 10**400, -(10**400)]
    ),
    st.sampled_from([0, 7, -0.0, 5e-324, -LATEST, LATEST * 2, LATEST + 1 / 128, -1.8e308]),
    st.floats(),
    st.integers(),
)
BEGINNINGS = st.sampled_from([0.0, 0.0, 1795165635.289, 1 / 3, -LATEST, LATEST - 3600])


def is_time(now: object) -> bool:
    if not isinstance(now, (int, float)) or isinstance(now, bool):
        return False
    return -LATEST <= now <= LATEST if isinstance(now, int) or isfinite(now) else False


# -- what can happen ------------------------------------------------------------------------


TOO_LONG = "a number of 5000 digits"
"""Stands for 10**5000, of which Python makes no text (``sys.get_int_max_str_digits``)."""


def meant(value: Any) -> Any:
    return 10**5000 if value is TOO_LONG else value


JUNK = st.one_of(
    st.sampled_from(
        [
            *(None, True, False, 0, 1, -1, 2, 1.0, 255, 256, 1 << 64, 10**400, -(10**400)),
            *(nan, inf, -inf, -0.0, 5e-324, 1e-300, 1.7e308, 1j, 0.5),
            *("", "em0", "1", "MASTER", "192.168.1.50", "192.168.1.50/33", "fe80::1%em0/64"),
            *("::", "0.0.0.0", "224.0.0.18", "255.255.255.255", "ff02::12", "\ud800", "\0"),
            *(b"", b"em0", bytes(36), bytearray(36), memoryview(bytes(37)), bytes(range(36))),
            *((), (1,), [], [1], {}, {1: 2}, set(), object(), object, len, Exception()),
            *(State.INIT, State.MASTER, Reason.BADIF, FREEBSD, Advertisement(1), TimerExpired),
            *(VIP, VIP6, IPv4Interface("192.168.1.7/24"), VirtualHostConfig(vhid=1), TOO_LONG),
        ]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=40),
).filter(
    # Hypothesis tries what stands in the code, the secret, too.
    lambda value: not any(secret in repr(value) for secret in SECRETS)
)

HOME = ("em0", 1)
PLACES = st.sampled_from([HOME] * 6 + [("em0", 2)] * 2 + [("em1", 1)] * 2 + [("em9", 9)])
"""Interface and vhid; a `VirtualHost` is vhid 1 on em0, a `Node` begins with the first three."""

MAYBE_ONE = st.sampled_from([None, None, 1])
VIRTUAL = [VIP, VIP + 1, "192.168.1.52/24", VIP6, "fe80::50%em0/64"]
OTHERS = ["192.168.1.157", "192.168.1.9/24", "fe80::9", "224.0.0.18", "no address"]
ADDRESSES = st.sampled_from([*VIRTUAL, *OTHERS])
ADVBASES = st.sampled_from([None, 0, 1, 1, 2, 255])
ADVSKEWS = st.sampled_from([None, 0, 1, 100, 254, 255])

CONFIGS = st.builds(
    VirtualHostConfig,
    vhid=st.sampled_from([1, 1, 2, 9]),
    addresses=st.lists(st.sampled_from(VIRTUAL), max_size=2),
    advbase=st.sampled_from([1, 1, 2, 255]),
    advskew=st.sampled_from([0, 0, 100, 254]),
    passphrase=st.just(SECRET),
    peer=st.sampled_from([None, None, "192.168.1.158"]),
)

NOTHING_NEW = SettingChanged("log", 1)
"""Passes on the time: no machine looks at this setting."""


def reconfigured(**values: Any) -> Reconfigured:
    return Reconfigured("em0", 1, **values)


EVENTS: dict[type, st.SearchStrategy[Any]] = {
    TimerExpired: st.sampled_from([TimerExpired()] * 3 + [TimerExpired("em0", 1)]),
    InterfaceChanged: st.builds(
        InterfaceChanged, st.just("em0"), st.sampled_from([True, True, True, False]), MAYBE_ONE
    ),
    LinkChanged: st.builds(
        LinkChanged, st.just("em0"), st.sampled_from([True, True, True, False]), MAYBE_ONE
    ),
    SendSucceeded: st.just(SendSucceeded("em0", 1)),
    SendFailed: st.just(SendFailed("em0", 1, 55)),
    SettingChanged: st.sampled_from(
        [
            *[SettingChanged("allow", value) for value in (0, 0, 0, 1, True)],
            *[SettingChanged("preempt", value) for value in (0, 1, 1, 2)],
            *[SettingChanged("dscp", value) for value in (0, 63, 64)],
            *[SettingChanged("demotion", value) for value in (0, 1, 240, -240, 2**31)],
            *[SettingChanged("dead_ratio", value) for value in (0, 1, 3, 65535)],
            *[SettingChanged("ifdown_demotion_factor", value) for value in (0, 1, 240)],
            *[SettingChanged("senderr_demotion_factor", value) for value in (0, 1, 240, -1)],
            *[SettingChanged("log", 2), SettingChanged("sync", 1)],
        ]
    ),
    DemotionAdjusted: st.builds(
        DemotionAdjusted,
        st.sampled_from([0, 1, 5, 140, 240, -1, -5, -140, -240, 2**31 - 1, 1 - 2**31, 2**31]),
    ),
    AddressAdded: st.builds(AddressAdded, st.just("em0"), ADDRESSES, MAYBE_ONE),
    AddressRemoved: st.builds(AddressRemoved, st.just("em0"), ADDRESSES, MAYBE_ONE),
    VirtualHostAdded: st.builds(VirtualHostAdded, st.just("em0"), CONFIGS),
    VirtualHostRemoved: st.just(VirtualHostRemoved("em0", 1)),
    Reconfigured: st.one_of(
        st.builds(reconfigured, advbase=ADVBASES, advskew=ADVSKEWS),
        st.builds(
            reconfigured,
            passphrase=st.sampled_from(
                [SECRET, SECRET, SECRET * 3, SECRET + "\0", "0x" + SECRETS[1], "0x" + SECRET]
            ),
            peer=st.sampled_from([None, "192.168.1.158", "224.0.0.19", "0.0.0.0", "fe80::b"]),
            peer6=st.sampled_from([None, "fe80::b", "192.168.1.158"]),
        ),
        st.builds(
            reconfigured,
            key=st.sampled_from([SECRET.encode(), SECRET.encode() * 3, SECRET]),
            passphrase=st.sampled_from([None, None, SECRET, SECRET.encode()]),
        ),
    ),
    StateRequested: st.builds(
        StateRequested,
        st.just("em0"),
        st.just(1),
        st.sampled_from([MASTER, MASTER, BACKUP, BACKUP, INIT, "MASTER"]),
        st.sampled_from([0.0, 0.0, 3.0, 1 / 256, 3, -1.0, nan]),
    ),
    Shutdown: st.builds(Shutdown, st.sampled_from([None, True, False])),
}

# What another host sends.

SOURCES = st.sampled_from(
    [
        *["192.168.1.158", "192.168.1.158", "192.168.1.1/24", "192.168.1.157", VIP],
        *["fe80::b", "fe80::b%em0/64", "fe80::a", VIP6],
    ]
)
PACES = st.one_of(
    st.sampled_from(
        [
            *[("own", 0), ("own", 0), ("own", -1), ("own", 1), ("own", 50)],
            *[("patience", 0), ("patience", 1), ("just", 0), ("just", 1), ("just", 65535)],
        ]
    ),
    st.tuples(st.just("just"), st.integers(0, 65535)),
)
"""An interval in 1/256 s, from the own one, from the longest that a BACKUP puts up with, or
from nothing."""
DEMOTES = st.sampled_from([0, 0, 0, 1, 5, 255])
FIRST_COUNTER = (1 << 64) - 3
FEW_COUNTERS = st.sampled_from([0, 7, FIRST_COUNTER, (1 << 64) - 1])
COUNTERS = FEW_COUNTERS | st.integers(0, (1 << 64) - 1)
SEALS = st.sampled_from(["own key"] * 7 + ["another key", "none"])

RECORDED = tuple(
    payload for payload in map(peel_payload, recorded("freebsd/single-v4")) if payload
)
DAMAGES = st.one_of(
    st.just(("none", 0)),
    st.just(("none", 0)),
    st.tuples(st.just("cut off at"), st.integers(0, LENGTH - 1)),
    st.tuples(st.just("bit flipped"), st.integers(0, LENGTH * 8 - 1)),
    st.tuples(st.just("with bytes behind"), st.integers(1, 30)),
    st.just(("of vhid 0", 0)),
    st.tuples(st.just("as recorded"), st.integers(0, len(RECORDED) - 1)),
    st.tuples(st.just("noise"), st.binary(max_size=60)),
)
DESTINATIONS = st.sampled_from(
    ["group"] * 6 + ["192.168.1.157", "fe80::a", "224.0.0.19", "ff02::1"]
)
HOP_LIMITS = st.sampled_from([255] * 8 + [254, 0, 1])


ANY_EVENT = st.one_of(*EVENTS.values())


def aimed(event: Any, place: tuple[str, int]) -> Any:
    """The event at another interface, of another vhid."""
    interface, vhid = place
    changes: dict[str, Any] = {}
    if getattr(event, "interface", None) is not None:
        changes["interface"] = interface
    if getattr(event, "vhid", None) is not None:
        changes["vhid"] = vhid
    return event._replace(**changes)


def damaged(payload: bytes, damage: tuple[str, Any]) -> bytes:
    how, much = damage
    if how == "cut off at":
        return payload[:much]
    if how == "bit flipped":
        number = int.from_bytes(payload, "big") ^ 1 << much
        return number.to_bytes(len(payload), "big")
    if how == "with bytes behind":
        return payload + bytes(much)
    if how == "as recorded":
        return RECORDED[much]
    return much if how == "noise" else payload


# -- what must always hold --------------------------------------------------------------------


def assert_no_secret(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text


def assert_speaks(action: Action) -> None:
    """Whatever can be said of an action can be said, without the key."""
    assert isinstance(action, Action)
    assert_no_secret(repr(action))
    assert_no_secret(explain(action))
    if isinstance(action, StateChanged):
        assert_no_secret(action.log_line())
        assert action.notification().type == action.current.value
    elif isinstance(action, SendAdvertisement):
        covered = b""
        if action.advertisement.checksum is not None:
            covered = pseudo_header(action.source, action.destination)
        assert len(encode(action.advertisement)) == LENGTH
        sent = decode(encode(action.advertisement), pseudo_header=covered)
        assert sent[:6] == action.advertisement[:6]


COMPARED = {
    Reason.PREEMPTING: lambda own, theirs: own < theirs,
    Reason.MASTER_WILL_TIME_OUT: lambda own, theirs: own < theirs,
    Reason.MORE_FREQUENT: lambda own, theirs: theirs <= own,
}
CAUSES: dict[Reason, tuple[type, ...]] = {
    Reason.MASTER_TIMED_OUT: (TimerExpired,),
    Reason.PREEMPTING: PACKETS,
    Reason.MASTER_WILL_TIME_OUT: PACKETS,
    Reason.MORE_DEMOTED: PACKETS,
    Reason.MORE_FREQUENT: PACKETS,
    Reason.LESS_DEMOTED: PACKETS,
    Reason.USER_REQUESTED: (StateRequested,),
    Reason.CARRIER_LOST: (LinkChanged,),
    Reason.SHUTDOWN: (Shutdown,),
}


def assert_is_a_transition(change: StateChanged, event: object) -> None:
    assert (change.current, change.reason) in TRANSITIONS[change.previous].values()
    assert isinstance(event, CAUSES.get(change.reason, KINDS))
    if change.reason in COMPARED:
        assert COMPARED[change.reason](change.own, change.theirs)
    SEEN.add((change.previous, change.reason))


def assert_is_a_bow_out(sent: Advertisement, event: object, before: State, after: State) -> None:
    """A bow-out: advbase 255 and advskew 255, while a MASTER is taken down."""
    assert (sent.advbase, sent.advskew) == (255, 255)
    assert isinstance(event, (Shutdown, InterfaceChanged))
    assert before is MASTER
    assert after is not MASTER


class Look(NamedTuple):
    """What shows of a virtual host."""

    state: State
    deadline: float | None
    holding: bool
    rest: tuple[object, ...]


Looks = dict[tuple[str, int], Look]


def look(host: VirtualHost) -> Look:
    numbers = (
        host.demotion,
        host.dead_ratio,
        host.demoted_advskew,
        host.demote,
        host.own_interval,
        host.master_down_interval,
    )
    rest = (host.config, host.interface, host.mac, repr(host), numbers)
    return Look(host.state, host.deadline, host.holding, rest)


def look_at(subject: Any) -> tuple[Looks, tuple[object, ...]]:
    """What shows of a virtual host or a node: the virtual hosts by place, and the rest."""
    alone = isinstance(subject, VirtualHost)
    hosts = (subject,) if alone else subject.virtual_hosts()
    looks = {(host.interface, host.config.vhid): look(host) for host in hosts}
    if alone:
        return looks, ()
    described = (subject.describe(), repr(subject), repr(subject.counters))
    for text in described:
        assert_no_secret(text)
    settings = [subject.setting(name) for name in SETTINGS]
    interfaces = [(subject.mac(name), subject.addresses(name)) for name in subject.interfaces]
    numbers = (subject.deadline, subject.demotion, dict(subject.counters))
    return looks, (numbers, described, settings, interfaces)


# -- the machines -----------------------------------------------------------------------------


def on(*kinds: type) -> Callable[..., None]:
    """The rule that an event of one of some kinds comes."""

    def step(self: Machine, event: Any, place: tuple[str, int], when: When) -> None:
        self.handle(aimed(event, place), when)

    step.__name__ = "_or_".join(kind.__name__ for kind in kinds)
    events = st.one_of(*(EVENTS[kind] for kind in kinds))
    return rule(event=events, place=PLACES, when=WHEN)(step)


def counters(bad: list[Any], numbers: Iterator[int]) -> Callable[[], Any]:
    """What yields counters, unless it is to yield something that is none."""
    return lambda: bad[0] if bad else next(numbers) % (1 << 64)


class Machine(RuleBasedStateMachine):
    """What the machines have in common: all that can happen, and what must hold then."""

    subject: Any
    shadow: Any
    profile: Profile
    profiles: st.SearchStrategy[Profile] = DERIVED

    timed: tuple[type, ...] = KINDS
    """The events whose time counts."""

    drops_leave_no_trace = False
    """Whether the shadow need not be told of packets that were dropped; a node counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = -LATEST
        self.bad_counters: list[Any] = []

    @initialize(
        profile=st.runner().flatmap(attrgetter("profiles")),
        addresses=st.sampled_from([[VIP], [VIP], [VIP, VIP6], [VIP6], ["fe80::50", VIP6], []]),
        advskew=st.sampled_from([0, 100]),
        began=BEGINNINGS,
        state=st.sampled_from([INIT, BACKUP, MASTER, MASTER]),
        preempt=st.booleans(),
    )
    def begin(
        self,
        profile: Profile,
        addresses: list[Any],
        advskew: int,
        began: float,
        state: State,
        preempt: bool,
    ) -> None:
        self.profile = profile
        config = VirtualHostConfig(
            vhid=1,
            passphrase=SECRET,
            addresses=addresses[:1] if profile.single_address else addresses,
            advskew=advskew,
        )
        self.describe(config)
        self.looks = look_at(self.subject)
        self.handle(SettingChanged("preempt", preempt), When("exactly", began))
        if state is not INIT:
            for interface in MACS:
                self.handle(InterfaceChanged(interface, True), When("clock", 0.0))
        if state is MASTER:
            for _ in MACS:
                self.handle(TimerExpired(), When("clock", 4.0))

    def describe(self, config: VirtualHostConfig) -> None:
        """Make the subject and its shadow."""
        raise NotImplementedError

    # What happens.

    timer_expired = on(TimerExpired)
    interface_or_link_changed = on(InterfaceChanged, LinkChanged)
    address_added_or_removed = on(AddressAdded, AddressRemoved)
    set_by_the_operator = on(SettingChanged, DemotionAdjusted)
    asked_by_the_operator = on(StateRequested, Reconfigured)

    @rule()
    def the_deadline_comes(self) -> None:
        if self.subject.deadline is None:
            self.all_is_well_again(HOME)
        self.handle(TimerExpired(), When("deadline", 0.0))

    @rule(
        event=EVENTS[Shutdown] | EVENTS[VirtualHostRemoved],
        place=PLACES,
        when=WHEN,
        for_good=st.sampled_from([False, False, False, True]),
    )
    def ended(self, event: Any, place: tuple[str, int], when: When, for_good: bool) -> None:
        self.handle(aimed(event, place), when)
        if not for_good:
            self.all_is_well_again(place)

    @rule(place=PLACES)
    def all_is_well_again(self, place: tuple[str, int]) -> None:
        for event in (
            VirtualHostAdded("em0", VirtualHostConfig(vhid=place[1], passphrase=SECRET)),
            AddressAdded("em0", VIP + 10 * place[1] - 10, 1),
            SettingChanged("allow", 1),
            InterfaceChanged("em0", True),
            LinkChanged("em0", True),
        ):
            self.handle(aimed(event, place), When("clock", 0.0))

    @rule(source=SOURCES, pace=PACES, demote=DEMOTES, counter=FEW_COUNTERS, when=WHEN)
    def hear_a_peer(
        self, source: Any, pace: tuple[str, int], demote: int, counter: int, when: When
    ) -> None:
        self.hear(HOME, source, pace, demote, counter, "own key", when)

    @rule(
        place=PLACES,
        source=SOURCES,
        pace=PACES,
        demote=DEMOTES,
        counter=COUNTERS,
        seal=SEALS,
        when=WHEN,
    )
    def hear(
        self,
        place: tuple[str, int],
        source: Any,
        pace: tuple[str, int],
        demote: int,
        counter: int,
        seal: str,
        when: When,
    ) -> None:
        advertisement = self.advertisement(place, pace, demote, counter, seal)
        family = parse_address(source).version
        self.handle(AdvertisementReceived(place[0], family, source, advertisement), when)
        assert seal == "own key" or self.was_dropped_or_refused

    # What the caller does wrong.

    @rule(event=ANY_EVENT, field=st.integers(0, 7), value=JUNK, place=PLACES, when=WHEN)
    def mistake(
        self, event: Any, field: int, value: Any, place: tuple[str, int], when: When
    ) -> None:
        name = event._fields[field % len(event._fields)]
        self.handle(aimed(event, place)._replace(**{name: meant(value)}), when)

    @rule(
        field=st.sampled_from(
            [*AdvertisementReceived._fields, *DatagramReceived._fields, *Advertisement._fields]
        ),
        value=JUNK,
        pace=PACES,
        place=PLACES,
        when=WHEN,
    )
    def mistake_in_a_packet(
        self, field: str, value: Any, pace: tuple[str, int], place: tuple[str, int], when: When
    ) -> None:
        heard = self.advertisement(place, pace)
        odd = {field: meant(value)}
        if field in Advertisement._fields:
            heard, odd = heard._replace(**odd), {}
        event: Any = AdvertisementReceived(place[0], 4, "192.168.1.158", heard)
        if field in ("destination", "hop_limit", "payload"):
            event = DatagramReceived(place[0], "192.168.1.158", GROUPS[4], 255, encode(heard))
        self.handle(event._replace(**odd), when)

    @rule(event=ANY_EVENT, now=ODD_TIMES)
    def at_an_odd_time(self, event: Any, now: Any) -> None:
        self.handle(event, When("exactly", now))

    @rule(
        event=st.sampled_from(
            [
                *[TimerExpired(), StateRequested("em0", 1, MASTER), Shutdown(True)],
                *[InterfaceChanged("em0", False, 1), InterfaceChanged("em0", False)],
                *[SettingChanged("demotion", 5), AddressAdded("em0", VIP6, 1)],
                *[SendFailed("em0", 1, 55), VirtualHostRemoved("em0", 2)],
            ]
        ),
        place=PLACES,
        value=st.sampled_from([None, -1, 1 << 64, 1.0, True]),
    )
    def without_a_counter(self, event: Any, place: tuple[str, int], value: Any) -> None:
        """The caller's source of counters fails while an event is handled."""
        self.bad_counters.append(value)
        self.handle(aimed(event, place), When("deadline", 0.0))
        self.bad_counters.clear()

    @rule(thing=JUNK | st.sampled_from(KINDS))
    def no_event(self, thing: Any) -> None:
        self.handle(meant(thing), When("clock", 0.0))
        assert self.was_dropped_or_refused

    # How it is told.

    def hosts(self) -> Iterable[VirtualHost]:
        raise NotImplementedError

    def host_at(self, place: tuple[object, object]) -> VirtualHost | None:
        for host in self.hosts():
            if (host.interface, host.config.vhid) == place:
                return host
        return None

    def advertisement(
        self,
        place: tuple[str, int],
        pace: tuple[str, int],
        demote: int = 0,
        counter: int = 7,
        seal: str = "own key",
    ) -> Advertisement:
        """An advertisement to the virtual host at a place, or to one that could be there."""
        origin, interval = pace
        host = self.host_at(place)
        config = VirtualHostConfig(vhid=place[1], passphrase=SECRET, addresses=[VIP])
        if host is not None:
            config = host.config
            if origin == "own":
                interval += host.own_interval
            elif origin == "patience":
                interval += host.dead_ratio * config.advbase * 256 + host.demoted_advskew
        advbase, advskew = divmod(min(max(interval, 0), 65535), 256)
        unsigned = Advertisement(config.vhid, advbase, advskew, demote, counter)
        if seal == "none":
            return unsigned
        if seal == "another key":
            config = config.replace(key=b"another")
        return config.authenticator(self.profile).sign(unsigned)

    def time(self, when: When) -> Any:
        origin, offset = when
        if origin == "exactly":
            return offset
        deadline = self.subject.deadline if origin == "deadline" else None
        return (self.clock if deadline is None else deadline) + offset

    def handle(self, event: Any, when: When) -> None:
        """Tell the subject, and check all that must hold from then on."""
        now = self.time(when)
        STEPS[type(self)] += 1
        assert_no_secret(shown(event))
        before = self.looks
        self.was_dropped_or_refused = True
        try:
            actions = self.subject.handle(event, now)
        except ConfigError as refusal:
            assert_no_secret(str(refusal))
            self.bad_counters.clear()
            assert look_at(self.subject) == before
            self.pass_time(now)
            self.looks = look_at(self.subject)
            return
        self.was_dropped_or_refused = any(isinstance(action, PacketDropped) for action in actions)
        assert type(event) in KINDS
        assert type(actions) is tuple
        if self.drops_leave_no_trace and self.was_dropped_or_refused:
            assert self.shadow.handle(NOTHING_NEW, now) == ()
        else:
            assert self.shadow.handle(event, now) == actions
        self.looks = look_at(self.subject)
        assert look_at(self.shadow) == self.looks
        if type(event) in self.timed:
            assert is_time(now)
            self.clock = max(self.clock, float(now))
        self.check(event, actions, before[0], self.looks[0])

    def pass_time(self, now: object) -> None:
        """Whether the time of what was refused counts is left open: tell it once more."""
        if is_time(now):
            for subject in (self.subject, self.shadow):
                assert subject.handle(NOTHING_NEW, now) == ()
            self.clock = max(self.clock, float(now))

    # What must hold.

    def check(self, event: Any, actions: tuple[Action, ...], before: Looks, after: Looks) -> None:
        self.check_actions(event, actions, before, after)
        self.check_deadlines(event, before, after)

    def check_deadlines(self, event: Any, before: Looks, after: Looks) -> None:
        everyone_fired = event == TimerExpired()
        if everyone_fired and self.subject.deadline is not None:
            assert self.subject.deadline > self.clock
        for key, host in after.items():
            earlier = before[key].deadline if key in before else None
            if host.deadline is not None and (everyone_fired or host.deadline != earlier):
                # A hold may be too short for a float to tell; and where one family was heard,
                # the timer of the other may be due still.
                held = host.holding and host.deadline == self.clock
                other = not everyone_fired and earlier is not None and host.state is BACKUP
                assert host.deadline > self.clock or held or (other and host.deadline > earlier)
            if host.state is MASTER:
                assert host.deadline is not None
            elif host.state is INIT:
                assert host.deadline is None
            if host.holding:
                assert host.state is BACKUP
                assert host.deadline is not None
            if key in before and before[key].holding and isinstance(event, PACKETS):
                assert host == before[key]

    def check_actions(
        self, event: Any, actions: tuple[Action, ...], before: Looks, after: Looks
    ) -> None:
        states = {key: host.state for key, host in before.items()}
        sent: dict[tuple[str, int], list[int]] = {}
        for action in actions:
            assert_speaks(action)
            key = (action.interface, action.vhid)
            if isinstance(action, StateChanged):
                assert action.previous is states.get(key, INIT)
                assert_is_a_transition(action, event)
                states[key] = action.current
            elif isinstance(action, AnnounceAddresses):
                assert states[key] is MASTER
            elif isinstance(action, SendAdvertisement):
                assert states[key] is MASTER
                host, heard = self.host_at(key), action.advertisement
                if (heard.advbase, heard.advskew) != (
                    host.config.advbase,
                    host.demoted_advskew & 0xFF,
                ):
                    assert_is_a_bow_out(heard, event, before[key].state, after[key].state)
                sent.setdefault(key, []).append(action.family)
                self.check_envelope(action, host)
            elif isinstance(action, PacketDropped):
                assert isinstance(event, PACKETS)
                assert actions == (action,)
                assert after == before
                assert action.source == parse_address(event.source)
                SEEN.add((action.reason,))
        for key, look in after.items():
            assert look.state is states.get(key, INIT)
        for key, families in sent.items():
            # One for each family, IPv4 first.
            each = self.host_at(key).config.families
            assert tuple(families) == each * (len(families) // len(each))

    def check_envelope(self, action: SendAdvertisement, host: VirtualHost) -> None:
        """Addresses and traffic class are those of this moment."""
        own, dscp = self.around(host)
        virtual = host.config.addresses
        sources = [*(address for address in own if address not in virtual), *virtual]
        same = [address for address in sources if address.version == action.family]
        assert action.source == same[0]
        assert action.destination == host.config.destination(action.family)
        classes = self.profile.traffic_class or (dscp << 2, dscp << 2)
        assert action.traffic_class == classes[action.family == 6]

    def around(self, host: VirtualHost) -> tuple[Iterable[Address], int]:
        """An interface's own addresses, and the setting dscp."""
        raise NotImplementedError


class VirtualHostMachine(Machine):
    """A virtual host by itself, vhid 1 on em0."""

    timed = tuple(kind for kind in KINDS if kind not in FOR_A_NODE_ONLY)
    drops_leave_no_trace = True

    def describe(self, config: VirtualHostConfig) -> None:
        self.link, self.dscp = True, 56
        self.own = [parse_address(address) for address in OWN["em0"]]
        self.subject, self.shadow = (
            VirtualHost(
                config,
                profile=self.profile,
                interface="em0",
                mac=MACS["em0"],
                addresses=self.own,
                counter=counters(bad, count(FIRST_COUNTER)),
            )
            for bad in (self.bad_counters, [])
        )

    def hosts(self) -> Iterable[VirtualHost]:
        return (self.subject,)

    def check(self, event: Any, actions: tuple[Action, ...], before: Looks, after: Looks) -> None:
        self.follow(event)
        super().check(event, actions, before, after)
        if isinstance(event, FOR_A_NODE_ONLY):
            assert actions == ()
        if self.subject.state is BACKUP:
            waits_for_carrier = self.profile.carrier_loss_waits and not self.link
            assert (self.subject.deadline is None) == waits_for_carrier

    def follow(self, event: Any) -> None:
        if isinstance(event, LinkChanged) and event.vhid in (None, 1):
            self.link = bool(event.up)
        elif isinstance(event, SettingChanged) and event.name == "dscp":
            self.dscp = int(event.value)
        elif isinstance(event, (AddressAdded, AddressRemoved)) and event.vhid is None:
            address = parse_address(event.address)
            if isinstance(event, AddressRemoved):
                self.own = [own for own in self.own if own != address]
            elif address not in self.own:
                self.own.append(address)

    def around(self, host: VirtualHost) -> tuple[Iterable[Address], int]:
        return self.own, self.dscp


class Receiver(Machine):
    """A machine with a node, which takes datagrams and what becomes of sending."""

    virtual_host_added = on(VirtualHostAdded)

    @rule(source=SOURCES, pace=PACES, counter=FEW_COUNTERS, damage=DAMAGES, when=WHEN)
    def receive_from_a_peer(
        self, source: Any, pace: tuple[str, int], counter: int, damage: tuple[str, Any], when: When
    ) -> None:
        self.receive(HOME, source, "group", 255, pace, 0, counter, "own key", damage, when)

    @rule(event=EVENTS[SendFailed] | EVENTS[SendSucceeded], place=PLACES, times=st.integers(1, 3))
    def sent(self, event: Any, place: tuple[str, int], times: int) -> None:
        for _ in range(times):
            self.handle(aimed(event, place), When("clock", 0.0))

    @rule(
        place=PLACES,
        source=SOURCES,
        destination=DESTINATIONS,
        hop_limit=HOP_LIMITS,
        pace=PACES,
        demote=DEMOTES,
        counter=COUNTERS,
        seal=SEALS,
        damage=DAMAGES,
        when=WHEN,
    )
    def receive(
        self,
        place: tuple[str, int],
        source: Any,
        destination: str,
        hop_limit: int,
        pace: tuple[str, int],
        demote: int,
        counter: int,
        seal: str,
        damage: tuple[str, Any],
        when: When,
    ) -> None:
        family = parse_address(source).version
        if destination == "group":
            destination = GROUPS[family]
        covered = b""
        if self.profile.pseudo_header and family == 6 and ":" in destination:
            covered = pseudo_header(parse_address(source), parse_address(destination))
        advertisement = self.advertisement(place, pace, demote, counter, seal)
        if damage[0] == "of vhid 0":
            advertisement = advertisement._replace(vhid=0)
        payload = damaged(encode(advertisement, pseudo_header=covered), damage)
        self.handle(DatagramReceived(place[0], source, destination, hop_limit, payload), when)
        whole = damage[0] in ("none", "with bytes behind") and seal == "own key"
        assert whole or damage[0] == "as recorded" or self.was_dropped_or_refused


class NodeMachine(Receiver):
    """A node: vhids 1 and 2 on em0, vhid 1 on em1."""

    def describe(self, config: VirtualHostConfig) -> None:
        self.counted: Counter[str] = Counter()
        self.demotion = 0
        others = (
            VirtualHostConfig(vhid=2, passphrase=SECRET, addresses=[VIP + 10], advskew=100),
            VirtualHostConfig(vhid=1, passphrase=SECRET, addresses=["10.0.0.50"]),
        )
        self.subject, self.shadow = (
            Node(profile=self.profile, counter=counters(bad, repeat(FIRST_COUNTER)))
            for bad in (self.bad_counters, [])
        )
        for node in (self.subject, self.shadow):
            for name, mac in MACS.items():
                node.add_interface(name, mac=mac, addresses=OWN[name])
            for name, added in zip(("em0", "em0", "em1"), (config, *others), strict=True):
                node.add_virtual_host(name, added)

    def hosts(self) -> Iterable[VirtualHost]:
        return self.subject.virtual_hosts()

    def around(self, host: VirtualHost) -> tuple[Iterable[Address], int]:
        return self.subject.addresses(host.interface), self.subject.setting("dscp")

    def check(self, event: Any, actions: tuple[Action, ...], before: Looks, after: Looks) -> None:
        super().check(event, actions, before, after)
        node = self.subject
        if isinstance(event, PACKETS):
            family = parse_address(event.source).version
            self.counted["ipackets" if family == 4 else "ipackets6"] += 1
        for action in actions:
            if isinstance(action, SendAdvertisement):
                self.counted["opackets" if action.family == 4 else "opackets6"] += 1
            elif isinstance(action, PacketDropped):
                self.counted[action.reason.value] += 1
            elif isinstance(action, DemotionChanged):
                assert action.delta != 0
                self.demotion += action.delta
                assert action.total == self.demotion
        assert Counter(node.counters) == self.counted
        assert node.demotion == self.demotion == node.setting("demotion")
        assert all(host.demotion == self.demotion for host in self.hosts())
        deadlines = [host.deadline for host in self.hosts() if host.deadline is not None]
        assert node.deadline == min(deadlines, default=None)
        if isinstance(event, PACKETS) and not node.setting("allow"):
            checks = self.profile.checks
            (drop,) = actions
            assert drop.reason in checks[: checks.index(Reason.NOTALLOWED) + 1]


class SideBySideMachine(Receiver):
    """A node with one virtual host, and beside it a virtual host that is told the same."""

    def describe(self, config: VirtualHostConfig) -> None:
        self.subject = Node(profile=self.profile, counter=FIRST_COUNTER)
        self.subject.add_interface("em0", mac=MACS["em0"], addresses=OWN["em0"])
        self.subject.add_virtual_host("em0", config)
        self.up, self.link = False, True
        self.host: VirtualHost | None = self.a_host(config)

    def a_host(self, config: VirtualHostConfig) -> VirtualHost:
        return VirtualHost(
            config,
            profile=self.profile,
            interface="em0",
            mac=MACS["em0"],
            addresses=self.subject.addresses("em0"),
            counter=FIRST_COUNTER,
        )

    def hosts(self) -> Iterable[VirtualHost]:
        return self.subject.virtual_hosts()

    def handle(self, event: Any, when: When) -> None:
        if isinstance(event, VirtualHostAdded) and self.host is not None:
            return
        now = self.time(when)
        STEPS[type(self)] += 1
        demotion = self.subject.demotion
        self.was_dropped_or_refused = True
        try:
            actions = self.subject.handle(event, now)
        except ConfigError:
            if is_time(now):
                self.clock = max(self.clock, float(now))
                self.subject.handle(NOTHING_NEW, now)
            return
        self.was_dropped_or_refused = any(isinstance(action, PacketDropped) for action in actions)
        self.clock = max(self.clock, float(now))
        self.follow(event)
        told: list[Action] = []
        if isinstance(event, VirtualHostAdded):
            self.host = self.a_host(event.config)
            for name in ("allow", "preempt", "dscp", "dead_ratio"):
                self.tell(SettingChanged(name, self.subject.setting(name)))
            self.tell(DemotionAdjusted(demotion))
            self.tell(LinkChanged("em0", self.link))
            told += self.tell(InterfaceChanged("em0", self.up))
        else:
            told += self.tell(self.left_of(event, actions))
        if not self.subject.virtual_hosts():
            self.host = None
        for action in actions:
            if isinstance(action, DemotionChanged) and action.reason is not Reason.SYSCTL:
                told += self.tell(DemotionAdjusted(action.delta))
        expected = [action for action in actions if not self.is_the_nodes(action, event)]
        assert told == expected
        if self.host is not None:
            (its,) = self.subject.virtual_hosts()
            assert look(self.host) == look(its)
            assert self.subject.deadline == self.host.deadline
        else:
            assert self.subject.deadline is None

    def tell(self, event: Any) -> tuple[Action, ...]:
        """What a node takes, its virtual host takes."""
        return () if self.host is None or event is None else self.host.handle(event, self.clock)

    def follow(self, event: Any) -> None:
        self.moved = True
        if isinstance(event, InterfaceChanged) and event.vhid is None:
            self.moved, self.up = not (self.up and event.up), bool(event.up)
        elif isinstance(event, LinkChanged) and event.vhid is None:
            self.moved, self.link = not (self.link and event.up), bool(event.up)
        elif isinstance(event, Shutdown):
            self.up = False

    def left_of(self, event: Any, actions: tuple[Action, ...]) -> Any:
        """What a node makes of an event before its virtual host gets it."""
        if isinstance(event, PACKETS) and any(self.is_the_nodes(a, event) for a in actions):
            return None
        if isinstance(event, (InterfaceChanged, LinkChanged)) and not self.moved:
            return None
        if not isinstance(event, DatagramReceived):
            return event
        source, covered = parse_address(event.source), b""
        if self.profile.pseudo_header and source.version == 6:
            covered = pseudo_header(source, parse_address(event.destination))
        advertisement = decode(bytes(event.payload), pseudo_header=covered)
        return AdvertisementReceived("em0", source.version, source, advertisement)

    def is_the_nodes(self, action: Action, event: Any) -> bool:
        """Whether an action is the node's own, not its virtual host's."""
        if isinstance(action, DemotionChanged):
            return True
        if not isinstance(action, PacketDropped) or action.reason is Reason.BADAUTH:
            return False
        if action.reason is Reason.LOOP:
            own = action.source in self.subject.addresses("em0")
            ignored = self.profile.own_source_ignored and own
            return ignored and isinstance(event, DatagramReceived)
        return True


# -- the tests ----------------------------------------------------------------------------------

MACHINES = [VirtualHostMachine, NodeMachine, SideBySideMachine]
KINDS_OF_PROFILE = [*PROFILES, None]
"""None: derived ones."""

EXAMPLES, STEPS_OF_EACH = 20, 40
LEAST = 750
"""How many events each machine handles with each profile, at the least; as a rule a third more."""


def test_the_machines_know_every_event() -> None:
    assert {*EVENTS, DatagramReceived, AdvertisementReceived} == set(KINDS)


def test_the_recorded_advertisements_are_of_the_same_virtual_host() -> None:
    authenticator = Authenticator(vhid=1, passphrase=SECRET, addresses=[VIP])
    assert any(authenticator.verify(decode(payload)) for payload in RECORDED)


def name_of(value: Any) -> str:
    return getattr(value, "name", getattr(value, "__name__", "derived"))


@pytest.mark.parametrize("profile", KINDS_OF_PROFILE, ids=name_of)
@pytest.mark.parametrize("machine", MACHINES, ids=name_of)
def test_whatever_happens_is_handled_or_refused(
    machine: type[Machine], profile: Profile | None
) -> None:
    profiles = DERIVED if profile is None else st.just(profile)
    played = type(machine.__name__, (machine,), {"profiles": profiles})
    repeatable = settings().derandomize
    number = os.environ.get("CARPPROTO_SEED", "1" if repeatable else str(randbits(32)))
    STEPS[played] = 0
    try:
        run_state_machine_as_test(
            seed(f"{number} {machine.__name__} {name_of(profile)}")(played),
            settings=settings(
                max_examples=EXAMPLES if repeatable else EXAMPLES * 50,
                stateful_step_count=STEPS_OF_EACH,
            ),
        )
    except BaseException:
        print(f"For the same steps again, in the same profile: CARPPROTO_SEED={number}")
        raise
    assert STEPS[played] >= LEAST


def test_the_machines_handle_20_000_events() -> None:
    assert LEAST * len(MACHINES) * len(KINDS_OF_PROFILE) >= 20_000


EVERY_EVENT: list[Any] = [
    *[TimerExpired(), TimerExpired("em0", 1)],
    *[
        kind("em0", up, vhid)
        for kind in (InterfaceChanged, LinkChanged)
        for up in (True, False)
        for vhid in (None, 1, 2)
    ],
    *[SettingChanged(name, value) for name in SETTINGS for value in (0, 1)],
    *[DemotionAdjusted(delta) for delta in (0, 1, 240, -1, -240)],
    *[
        kind("em0", address, vhid)
        for kind in (AddressAdded, AddressRemoved)
        for address in (VIP, VIP6, "192.168.1.9", OWN["em0"][0])
        for vhid in (None, 1)
    ],
    *[VirtualHostAdded("em0", VirtualHostConfig(vhid=vhid)) for vhid in (1, 3)],
    *[VirtualHostRemoved("em0", vhid) for vhid in (1, 2)],
    *[reconfigured(advbase=value) for value in (0, 1, 255, 256)],
    *[reconfigured(advskew=value) for value in (0, 254, 255)],
    *[reconfigured(peer="192.168.1.158"), reconfigured(passphrase="another")],
    *[StateRequested("em0", 1, state, hold) for state in State for hold in (0.0, 3.0)],
    *[Shutdown(bow_out) for bow_out in (None, True, False)],
    *[SendSucceeded("em0", 1), SendFailed("em0", 1, 55)],
]
HOLD, SHORTER = StateRequested("em0", 1, BACKUP, 3.0), SettingChanged("dead_ratio", 1)
EVERY_PACE = [("own", 0), ("own", -1), ("own", 1), ("patience", 0), ("patience", 1)]
HEARD_AFTER = [
    *[(DemotionAdjusted(1), pace, 1, preempt) for pace in EVERY_PACE for preempt in (True, False)],
    *[(DemotionAdjusted(1), ("own", 0), demote, False) for demote in (0, 5)],
    *[
        (event, pace, 0, event == HOLD)
        for event in (HOLD, SHORTER, SettingChanged("allow", 0), LinkChanged("em0", False))
        for pace in EVERY_PACE
    ],
]
"""An event, and pace and demote of what is heard then; and whether preempt is set."""


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
@pytest.mark.parametrize("machine", [VirtualHostMachine, NodeMachine], ids=name_of)
def test_every_event_in_every_state(machine: type[Machine], profile: Profile) -> None:
    def begun(state: State, preempt: bool = False) -> Machine:
        one = machine()
        one.begin(profile, [VIP, VIP6], 100, 0.0, state, preempt)
        assert one.host_at(HOME).state is state
        return one

    SEEN.clear()
    now, at_once = When("clock", 1.0), When("clock", 0.0)
    for state in State:
        for event in EVERY_EVENT:
            one = begun(state)
            one.handle(event, now)
            one.the_deadline_comes()
        for event, pace, demote, preempt in HEARD_AFTER:
            one = begun(state, preempt)
            one.handle(event, now)
            heard = (pace, demote, 7, "own key")
            if isinstance(one, Receiver):
                one.receive(HOME, "192.168.1.158", "group", 255, *heard, ("none", 0), at_once)
            else:
                one.hear(HOME, "192.168.1.158", *heard, at_once)
            one.the_deadline_comes()
    for state, row in transitions(profile).items():
        assert {(state, reason) for _, reason in row.values()} <= SEEN


# -- what the machines found ----------------------------------------------------------------------

ENDLESS = meant(TOO_LONG)


def a_host(profile: Profile = FREEBSD, bad: list[Any] | None = None) -> VirtualHost:
    """MASTER of 192.168.1.50 since t = 3.390625."""
    config = VirtualHostConfig(vhid=1, addresses=[VIP], advskew=100)
    counter = counters([] if bad is None else bad, count())
    host = VirtualHost(config, profile=profile, interface="em0", counter=counter)
    host.handle(InterfaceChanged("em0", True), 0.0)
    host.handle(TimerExpired(), host.deadline)
    assert host.state is MASTER
    return host


def a_node(bad: list[Any]) -> Node:
    """Its vhid 1 on em0 would be MASTER at t = 3."""
    node = Node(counter=counters(bad, count()))
    node.add_interface("em0", mac=MACS["em0"], addresses=OWN["em0"])
    node.add_virtual_host("em0", VirtualHostConfig(vhid=1, addresses=[VIP]))
    node.handle(InterfaceChanged("em0", True), 0.0)
    return node


def test_a_source_that_is_no_address_leaves_the_counter_as_it_is() -> None:
    host = a_host()
    faster = Advertisement(vhid=1, advbase=1, advskew=0, counter=7)
    faster = host.config.authenticator(FREEBSD).sign(faster)
    with pytest.raises(ConfigError):
        host.handle(AdvertisementReceived("em0", 4, "no address", faster), 4.0)
    assert host.state is MASTER
    (sent,) = host.handle(TimerExpired(), 5.0)
    assert sent.advertisement.counter != 8


def test_a_bow_out_without_a_counter_can_be_tried_again() -> None:
    bad: list[Any] = []
    host = a_host(NETBSD, bad)
    bad.append(-1)
    with pytest.raises(ConfigError):
        host.handle(InterfaceChanged("em0", False, 1), 4.0)
    bad.clear()
    host.handle(InterfaceChanged("em0", False, 1), 4.0)
    assert host.state is INIT


def test_a_timer_without_a_counter_is_due_still() -> None:
    bad: list[Any] = [-1]
    node = a_node(bad)
    with pytest.raises(ConfigError):
        node.handle(TimerExpired(), 3.0)
    assert node.deadline == 3.0


def test_demotion_without_a_counter_changes_nothing() -> None:
    bad: list[Any] = []
    node = a_node(bad)
    node.handle(TimerExpired(), 3.0)
    bad.append(-1)
    with pytest.raises(ConfigError):
        node.handle(DemotionAdjusted(240), 3.5)
    assert node.demotion == 0


@pytest.mark.parametrize(
    "event",
    [
        ENDLESS,
        SettingChanged("preempt", ENDLESS),
        reconfigured(advbase=ENDLESS),
        AddressAdded("em0", ENDLESS),
        StateRequested("em0", 1, ENDLESS),
        AdvertisementReceived("em0", 4, "192.168.1.158", Advertisement(ENDLESS)),
        AdvertisementReceived("em0", 4, ENDLESS, Advertisement(1)),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_number_of_5000_digits_is_refused(event: Any) -> None:
    with pytest.raises(ConfigError):
        a_node([]).handle(event, 1.0)


def test_a_ttl_of_5000_digits_can_be_told() -> None:
    datagram = DatagramReceived("em0", "192.168.1.158", GROUPS[4], ENDLESS, bytes(LENGTH))
    try:
        (dropped,) = a_node([]).handle(datagram, 1.0)
    except ConfigError:
        return
    explain(dropped)


def test_a_profile_whose_dead_ratio_no_float_holds_is_refused() -> None:
    with pytest.raises(ConfigError):
        a_host(FREEBSD.replace(dead_ratio=10**400))


def test_without_a_counter_not_even_the_first_family_is_advertised() -> None:
    bad: list[Any] = []
    node = a_node(bad)
    node.handle(AddressAdded("em0", VIP6, 1), 0.0)
    node.handle(TimerExpired(), 3.0)
    node.handle(SettingChanged("log", 1), 3.5)
    bad.append(-1)
    # Two were drawn before the setting was changed.
    assert len(node.handle(TimerExpired(), 4.0)) == 2
    with pytest.raises(ConfigError):
        node.handle(TimerExpired(), 5.0)
    assert node.deadline == 5.0
