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
    Notification,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
    explain,
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
    defined.remove(Notification)  # part of an action, not one
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


# What a person reads.


def changed(reason: Reason, **numbers: Any) -> str:
    return explain(StateChanged("em0", 7, State.BACKUP, State.MASTER, reason, **numbers))


def test_a_change_is_logged_as_freebsd_logs_it() -> None:
    change = StateChanged("em0", 1, State.BACKUP, State.MASTER, Reason.MASTER_TIMED_OUT)
    assert change.log_line() == "carp: 1@em0: BACKUP -> MASTER (master timed out)"


def test_devd_is_told_as_freebsd_tells_it() -> None:
    change = StateChanged("em0", 1, State.BACKUP, State.MASTER, Reason.MASTER_TIMED_OUT)
    assert change.notification() == Notification("CARP", "1@em0", "MASTER")


def test_every_change_of_state_is_explained_with_its_numbers() -> None:
    start = "vhid 7 on em0 went from BACKUP to MASTER: "
    numbers = {"own": 256, "theirs": 356, "family": 4, "source": SOURCE}
    assert changed(Reason.PREEMPTING, **numbers) == (
        start + "192.168.1.157 advertised 1 s + 100/256 s, slower than the own 1 s + 0/256 s, "
        "and preempt is set."
    )
    assert changed(Reason.MASTER_TIMED_OUT, own=868, family=6) == (
        start + "no authentic advertisement over IPv6 was heard for 3 s + 100/256 s."
    )
    assert changed(Reason.MASTER_WILL_TIME_OUT, **{**numbers, "own": 768, "theirs": 1024}) == (
        start + "192.168.1.157 advertised 4 s + 0/256 s, and a master that is slower than "
        "3 s + 0/256 s will time out."
    )
    assert "192.168.1.157 advertised 1 s + 0/256 s, as fast as the own 1 s + 0/256 s." in (
        changed(Reason.MORE_FREQUENT, own=256, theirs=256, source=SOURCE)
    )
    assert "faster than the own 1 s + 100/256 s." in (
        changed(Reason.MORE_FREQUENT, own=356, theirs=256, source=SOURCE)
    )
    demoted = {**numbers, "own": 1, "theirs": 300}
    assert changed(Reason.MORE_DEMOTED, **demoted) == (
        start + "192.168.1.157 is demoted by 300, this host by 1."
    )
    assert changed(Reason.LESS_DEMOTED, **demoted) == (
        start + "192.168.1.157 is demoted by 300, this host by 1."
    )


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (
            Reason.INITIALIZATION_COMPLETE,
            "its interface is up with carrier, it has a virtual address and CARP is allowed",
        ),
        (Reason.USER_REQUESTED, "the operator asked for it"),
        (
            Reason.HARDWARE_DOWN,
            "its interface is down or without carrier, or CARP is not allowed",
        ),
        (Reason.HARDWARE_UP, "its addresses or its configuration changed, and it starts again"),
        (Reason.CARRIER_LOST, "its interface lost or got carrier, and it waits"),
        (Reason.SHUTDOWN, "the node stops"),
    ],
)
def test_a_change_of_state_without_numbers_is_explained(reason: Reason, text: str) -> None:
    assert changed(reason) == f"vhid 7 on em0 went from BACKUP to MASTER: {text}."


def test_every_reason_for_a_change_has_its_words() -> None:
    from carpproto.core.virtual_host import TRANSITIONS

    for pulled in TRANSITIONS.values():
        for _, reason in pulled.values():
            told = changed(reason, own=256, theirs=300, family=4, source=SOURCE)
            assert str(reason) not in told
            assert "{" not in told
    assert changed(Reason.SYSCTL).endswith(": sysctl.")


def dropped(reason: Reason, **values: Any) -> str:
    return explain(PacketDropped("em0", reason, 4, SOURCE, **values))


def test_every_refusal_is_explained_with_its_numbers() -> None:
    start = "A packet from 192.168.1.157 on em0 was dropped: "
    assert dropped(Reason.BADTTL, found=254, expected=255) == start + "its TTL is 254, not 255."
    assert dropped(Reason.BADLEN, found=30, expected=36) == (
        start + "it has 30 bytes, an advertisement has 36."
    )
    assert dropped(Reason.BADVHID, vhid=99, found=99) == (
        start + "no vhid 99 with an IPv4 address takes it here."
    )
    assert dropped(Reason.BADVER, found=3, expected=2) == start + "its version is 3, not 2."
    assert dropped(Reason.BADSUM, found=3) == start + "its checksum, 3, is wrong."
    assert dropped(Reason.HDROPS) == start + "hdrops."


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason.BADIF, "it came to an address or an interface where CARP does not listen"),
        (
            Reason.BADAUTH,
            "its HMAC is wrong: passphrase or virtual addresses differ, or it is forged",
        ),
        (Reason.NOTALLOWED, "CARP is not allowed (allow is 0)"),
        (Reason.LOOP, "it is an own one that came back"),
    ],
)
def test_a_refusal_without_numbers_is_explained(reason: Reason, text: str) -> None:
    assert dropped(reason) == f"A packet from 192.168.1.157 on em0 was dropped: {text}."


def test_demotion_and_what_is_sent_are_explained() -> None:
    assert explain(DemotionChanged(240, 240, Reason.INTERFACE_DOWN, "em0", 1)) == (
        "Demotion rose by 240 to 240: interface down, vhid 1 on em0."
    )
    assert explain(DemotionChanged(1, 1, Reason.SYSCTL)) == "Demotion rose by 1 to 1: sysctl."
    assert explain(DemotionChanged(-50, 190, Reason.SYSCTL)) == (
        "Demotion fell by 50 to 190: sysctl."
    )
    assert explain(EXAMPLES[0]) == (
        "vhid 1 on em0 advertises 1 s + 0/256 s from 192.168.1.157 to 224.0.0.18."
    )
    assert explain(EXAMPLES[1]) == ("vhid 1 on em0 announces 192.168.1.50 at 00:00:5e:00:01:01.")
    both = (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))
    assert explain(AnnounceAddresses("em0", 2, both, virtual_mac(2))) == (
        "vhid 2 on em0 announces 192.0.2.1, 2001:db8::1 at 00:00:5e:00:01:02."
    )
    assert "advertised nothing" in changed(Reason.PREEMPTING, source=SOURCE)
