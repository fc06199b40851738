"""carpproto.core.actions: what comes out of the state machine."""

from __future__ import annotations

import pickle
from ipaddress import IPv4Address, IPv6Address
from typing import Any, get_args

import pytest

from carpproto.core import actions
from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    DemotionChanged,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.addresses import GROUP_IPV4, virtual_mac
from carpproto.core.advertisement import Advertisement
from carpproto.core.errors import Reason
from carpproto.core.events import State

SOURCE = IPv4Address("192.168.1.157")
EXAMPLES: list[Action] = [
    SendAdvertisement(
        "em0", 1, 4, SOURCE, GROUP_IPV4, virtual_mac(1), 0xE0, Advertisement(vhid=1)
    ),
    AnnounceAddresses("em0", 1, (IPv4Address("192.168.1.50"),), virtual_mac(1)),
    StateChanged("em0", 1, State.BACKUP, State.MASTER, Reason.MASTER_TIMED_OUT),
    PacketDropped("em0", Reason.BADTTL, 4, SOURCE, found=254, expected=255),
    DemotionChanged(240, 240, Reason.INTERFACE_DOWN),
]
NAMES = [type(action).__name__ for action in EXAMPLES]


def test_the_union_is_complete() -> None:
    defined = [
        value
        for value in vars(actions).values()
        if isinstance(value, type) and issubclass(value, tuple)
        if value.__module__ == actions.__name__
    ]
    assert set(get_args(Action)) == set(defined)
    assert [type(action) for action in EXAMPLES] == list(get_args(Action))


@pytest.mark.parametrize("action", EXAMPLES, ids=NAMES)
def test_an_action_equals_its_own_kind_only(action: Action) -> None:
    same = type(action)(*action)
    assert same == action
    assert hash(same) == hash(action)
    assert action != tuple(action)
    assert tuple(action) != action
    assert bool(action) is True
    for other in EXAMPLES:
        assert (action == other) is (action is other)


@pytest.mark.parametrize("action", EXAMPLES, ids=NAMES)
def test_an_action_is_immutable(action: Any) -> None:
    for name in action._fields:
        with pytest.raises(AttributeError):
            setattr(action, name, None)


@pytest.mark.parametrize("action", EXAMPLES, ids=NAMES)
def test_an_action_survives_pickling(action: Action) -> None:
    again = pickle.loads(pickle.dumps(action))
    assert type(again) is type(action)
    assert again == action


def test_a_change_of_state_says_why_and_what_was_compared() -> None:
    change = StateChanged(
        interface="em0",
        vhid=1,
        previous=State.MASTER,
        current=State.BACKUP,
        reason=Reason.MORE_FREQUENT,
        own=356,
        theirs=256,
        family=4,
        source=SOURCE,
    )
    assert f"{change.previous} -> {change.current} ({change.reason})" == (
        "MASTER -> BACKUP (more frequent advertisement received)"
    )
    assert (change.own, change.theirs, change.family, change.source) == (356, 256, 4, SOURCE)


def test_what_need_not_be_said() -> None:
    change = StateChanged("em0", 1, State.INIT, State.BACKUP, Reason.INITIALIZATION_COMPLETE)
    assert change[5:] == (None, None, None, None)
    dropped = PacketDropped("em0", Reason.BADIF, 6, IPv6Address("fe80::1"))
    assert (dropped.vhid, dropped.found, dropped.expected) == (None, None, None)
    moved = DemotionChanged(-240, 0, Reason.SEND_OK)
    assert (moved.interface, moved.vhid) == (None, None)


def test_an_action_is_printed_field_by_field() -> None:
    assert repr(DemotionChanged(1, 2, Reason.SYSCTL)).startswith("DemotionChanged(delta=1, total=")
    assert "found=254, expected=255" in repr(EXAMPLES[3])
