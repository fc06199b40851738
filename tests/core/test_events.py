"""carpproto.core.events: what goes into the state machine, each value equal to its own kind."""

from __future__ import annotations

import copy
import pickle
from ipaddress import IPv4Address
from operator import eq, ne
from typing import Any, NamedTuple, get_args

import pytest

from carpproto.core import events
from carpproto.core.advertisement import Advertisement
from carpproto.core.config import VirtualHostConfig
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
    distinct,
)

# One of each kind; the fields of several are the same.
EXAMPLES: list[Event] = [
    InterfaceChanged("em0", True),
    LinkChanged("em0", True),
    DatagramReceived("em0", "192.0.2.1", "224.0.0.18", 255, b""),
    AdvertisementReceived("em0", 4, "192.0.2.1", Advertisement(vhid=1)),
    TimerExpired("em0", 1),
    SendSucceeded("em0", 1),
    SendFailed("em0", 1, 55),
    SettingChanged("preempt", 1),
    DemotionAdjusted(240),
    AddressAdded("em0", "192.0.2.1", 1),
    AddressRemoved("em0", "192.0.2.1", 1),
    VirtualHostAdded("em0", VirtualHostConfig(vhid=1, passphrase="swordfish")),
    VirtualHostRemoved("em0", 1),
    Reconfigured("em0", 1),
    StateRequested("em0", 1, State.MASTER),
    Shutdown(),
]
NAMES = [type(event).__name__ for event in EXAMPLES]


def test_the_union_is_complete() -> None:
    defined = [
        value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, tuple)
        if value.__module__ == events.__name__
    ]
    assert set(get_args(Event)) == set(defined)
    assert [type(event) for event in EXAMPLES] == list(get_args(Event))


def test_the_states() -> None:
    assert [str(state) for state in State] == ["INIT", "BACKUP", "MASTER"]
    assert f"{State.INIT} -> {State.BACKUP}" == "INIT -> BACKUP"
    assert State.MASTER == "MASTER"
    assert State("BACKUP") is State.BACKUP


# Values of their own kind.


@pytest.mark.parametrize("event", EXAMPLES, ids=NAMES)
def test_an_event_equals_its_own_kind_only(event: Event) -> None:
    same = type(event)(*event)
    assert same is not event
    assert same == event
    assert not ne(same, event)
    assert hash(same) == hash(event)
    for other in EXAMPLES:
        assert (event == other) is (event is other)
        assert (event != other) is (event is not other)


@pytest.mark.parametrize("event", EXAMPLES, ids=NAMES)
def test_an_event_equals_no_tuple(event: Event) -> None:
    plain = tuple(event)
    assert ne(event, plain)
    assert ne(plain, event)
    assert not eq(event, plain)
    assert not eq(plain, event)
    assert ne(event, type(event).__name__)


@pytest.mark.parametrize("event", EXAMPLES, ids=NAMES)
def test_an_event_is_true(event: Event) -> None:
    assert bool(event) is True


@pytest.mark.parametrize("event", EXAMPLES, ids=NAMES)
def test_an_event_is_immutable(event: Any) -> None:
    for name in event._fields:
        with pytest.raises(AttributeError):
            setattr(event, name, None)


@pytest.mark.parametrize("event", EXAMPLES, ids=NAMES)
def test_an_event_survives_pickling_and_copying(event: Event) -> None:
    again = pickle.loads(pickle.dumps(event))
    assert type(again) is type(event)
    assert again == event
    assert repr(again) == repr(event)
    assert copy.deepcopy(event) == event


@pytest.mark.parametrize("event", EXAMPLES, ids=NAMES)
def test_an_event_is_printed_with_its_name(event: Event) -> None:
    assert repr(event).startswith(f"{type(event).__name__}(")
    assert "swordfish" not in repr(event)


def test_events_of_two_kinds_live_in_one_set() -> None:
    up, carrier = InterfaceChanged("em0", True), LinkChanged("em0", True)
    assert tuple(up) == tuple(carrier)
    assert hash(up) != hash(carrier)
    assert len({up, carrier, InterfaceChanged("em0", True), tuple(up)}) == 3
    assert {up: "interface", carrier: "carrier"}[LinkChanged("em0", True)] == "carrier"
    assert [carrier, up].index(up) == 1


def test_other_values_make_another_event() -> None:
    assert InterfaceChanged("em0", True) != InterfaceChanged("em0", False)
    assert InterfaceChanged("em0", True) != InterfaceChanged("em0", True, 1)
    assert TimerExpired() != TimerExpired("em0")
    assert Shutdown() != Shutdown(False)


def test_what_need_not_be_said() -> None:
    assert InterfaceChanged("em0", True).vhid is None
    assert LinkChanged("em0", True).vhid is None
    assert tuple(TimerExpired()) == (None, None)
    assert AddressAdded("em0", "192.0.2.1").vhid is None
    assert AddressRemoved("em0", "192.0.2.1").vhid is None
    assert StateRequested("em0", 1, State.BACKUP).hold == 0.0
    assert Shutdown().bow_out is None
    assert tuple(Reconfigured("em0", 1))[2:] == (None,) * 6


# distinct() itself.


@distinct
class Nothing(NamedTuple):
    pass


@distinct
class Nought(NamedTuple):
    pass


@distinct
class Pair(NamedTuple):
    one: object
    other: object


def test_a_kind_without_fields() -> None:
    assert Nothing() == Nothing()
    assert not ne(Nothing(), Nothing())
    assert ne(Nothing(), Nought())
    assert ne(Nothing(), ())
    assert ne((), Nothing())
    assert bool(Nothing()) is True
    assert len({Nothing(), Nothing(), Nought(), ()}) == 3


def test_a_subclass_is_another_kind() -> None:
    class Special(Pair):
        pass

    assert Special(1, 2) == Special(1, 2)
    assert Special(1, 2) != Pair(1, 2)
    assert Pair(1, 2) != Special(1, 2)
    assert len({Special(1, 2), Pair(1, 2)}) == 2


def test_fields_compare_as_they_do_alone() -> None:
    assert Pair(1, 2) == Pair(1.0, 2)
    assert hash(Pair(1, 2)) == hash(Pair(1.0, 2))
    assert Pair(1, 2) != Pair(2, 1)
    assert Pair(Pair(1, 2), 3) == Pair(Pair(1, 2), 3)
    assert Pair(Pair(1, 2), 3) != Pair((1, 2), 3)


def test_a_field_that_cannot_be_hashed() -> None:
    assert Pair([], 1) == Pair([], 1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Pair([], 1))


def test_it_is_still_a_named_tuple() -> None:
    one, other = Pair(1, 2)
    assert (one, other) == (1, 2)
    assert Pair(1, 2)._replace(one=3) == Pair(3, 2)
    assert Pair(1, 2)._asdict() == {"one": 1, "other": 2}
    assert repr(Pair(1, 2)) == "Pair(one=1, other=2)"
    match Pair(1, 2):
        case Pair(one=1, other=matched):
            assert matched == 2
        case _:
            pytest.fail("a pattern of its own class does not match")


# Reconfigured.


FULL = Reconfigured(
    "em0",
    1,
    advbase=2,
    advskew=0,
    passphrase="swordfish",
    key=b"swordfish",
    peer=IPv4Address("192.0.2.1"),
    peer6="2001:db8::1",
)


def test_the_changes_are_those_that_were_given() -> None:
    assert Reconfigured("em0", 1).changes() == {}
    assert Reconfigured("em0", 1, advskew=0).changes() == {"advskew": 0}
    assert Reconfigured("em0", 1, passphrase="").changes() == {"passphrase": ""}
    assert FULL.changes() == {
        "advbase": 2,
        "advskew": 0,
        "passphrase": "swordfish",
        "key": b"swordfish",
        "peer": IPv4Address("192.0.2.1"),
        "peer6": "2001:db8::1",
    }


def test_every_change_can_be_made_to_a_configuration() -> None:
    config = VirtualHostConfig(vhid=1, passphrase="old")
    for event in (FULL._replace(key=None), FULL._replace(passphrase=None), Reconfigured("em0", 1)):
        changed = config.replace(**event.changes())
        assert (changed.advbase, changed.vhid) == (event.advbase or 1, 1)


def test_secrets_are_not_printed() -> None:
    assert repr(FULL) == (
        "Reconfigured(interface='em0', vhid=1, advbase=2, advskew=0, passphrase=..., key=..., "
        "peer=IPv4Address('192.0.2.1'), peer6='2001:db8::1')"
    )
    for shown in (str(FULL), f"{FULL}", "%s %r" % (FULL, FULL), repr([FULL])):  # noqa: UP031
        assert "swordfish" not in shown
    assert repr(Reconfigured("em0", 1)) == "Reconfigured(interface='em0', vhid=1)"
    assert repr(Reconfigured("em0", 1, passphrase="")) == (
        "Reconfigured(interface='em0', vhid=1, passphrase=...)"
    )
    added = VirtualHostAdded("em0", VirtualHostConfig(vhid=1, key=b"swordfish"))
    assert "swordfish" not in repr(added)
