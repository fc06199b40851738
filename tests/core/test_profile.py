"""carpproto.core.profile: how the implementations differ, as the protocol's tables say."""

from __future__ import annotations

import pickle
import re
from enum import Enum
from itertools import pairwise
from pathlib import Path

import pytest

import carpproto.core.profile
from carpproto.core.errors import ConfigError, Reason
from carpproto.core.profile import (
    FREEBSD,
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
    DemotionStyle,
    Identification,
    Profile,
    Reaction,
    SourceMac,
    Tie,
    check_profile,
)
from tests.helpers import carries_carp, descriptions, recorded

PROFILES = [
    FREEBSD,
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
]
FREEBSDS = PROFILES[:4]
NETBSDS = {"NetBSD", "NetBSD 1.120"}


def those_with(field: str, value: object) -> set[str]:
    """The names of the systems whose answer to one question is ``value``."""
    return {profile.name for profile in PROFILES if getattr(profile, field) == value}


def differing(one: Profile, other: Profile) -> set[str]:
    """The fields in which two profiles differ."""
    return {field for field in Profile._fields if getattr(one, field) != getattr(other, field)}


def test_the_names() -> None:
    assert [profile.name for profile in PROFILES] == [
        "FreeBSD 12",
        "FreeBSD 10",
        "FreeBSD 12.1",
        "FreeBSD 14",
        "NetBSD",
        "NetBSD 1.120",
        "OpenBSD",
        "UCarp",
    ]
    assert repr(UCARP) == "<Profile UCarp>"
    assert str(UCARP) == "<Profile UCarp>"


def test_the_defaults_are_freebsd_12() -> None:
    assert Profile("FreeBSD 12") == FREEBSD


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (
            DemotionStyle,
            {
                "ADDED": "added to advskew, 240 at the most",
                "RAISED": "advskew is 240 while demotion is above 0",
                "CARRIED": "sent beside advskew, in the demote byte",
            },
        ),
        (
            Tie,
            {
                "RECEIVER_YIELDS": "the receiver becomes BACKUP",
                "SOURCE_LITTLE_ENDIAN": (
                    "the lower source address stays, its last octet counting most"
                ),
                "SOURCE_NUMERIC": "the lower source address stays, its first octet counting most",
            },
        ),
        (
            Reaction,
            {
                "KEPT": "state and timers stay",
                "REARMED": "the state stays, its timers start again",
                "RESTARTED": "INIT, then BACKUP",
            },
        ),
        (
            SourceMac,
            {
                "VIRTUAL": "00:00:5e:00:01:vhid",
                "INTERFACE": "the interface's own",
                "UCARP": "00:00:5e:00:00:vhid",
            },
        ),
        (
            Identification,
            {
                "ZERO": "0",
                "COUNTING": "one more for each packet the host sends",
                "RANDOM": "random",
            },
        ),
    ],
)
def test_each_choice_says_what_it_is(kind: type[Enum], texts: dict[str, str]) -> None:
    assert {choice.name: choice.value for choice in kind} == texts


def test_every_field_is_explained() -> None:
    """By a text right below it, which is what the documentation shows."""
    path = carpproto.core.profile.__file__
    source = Path(path).read_text(encoding="utf-8")
    explained = re.findall(r'^    (\w+): [^\n]+\n    """\S', source, re.MULTILINE)
    assert explained == list(Profile._fields)


def test_a_profile_is_a_value() -> None:
    assert NETBSD.replace(name="NetBSD") == NETBSD
    assert len(set(PROFILES)) == len(PROFILES)
    for profile in PROFILES:
        assert pickle.loads(pickle.dumps(profile)) == profile
    with pytest.raises(AttributeError):
        UCARP.dead_ratio = 4


def test_replacing_a_field_changes_that_one_and_leaves_the_original() -> None:
    slower = UCARP.replace(dead_ratio=5, name="ucarp -r 5")
    assert differing(slower, UCARP) == {"dead_ratio", "name"}
    assert UCARP.dead_ratio == 3


def test_replacing_what_is_no_field() -> None:
    with pytest.raises(ConfigError, match="a profile has no field 'dead_ration'"):
        UCARP.replace(dead_ration=5)
    with pytest.raises(ConfigError, match="a profile has no field 'b'"):
        UCARP.replace(b=1, a=2, name="c")


def test_replacing_with_a_value_of_another_type() -> None:
    with pytest.raises(
        ConfigError, match=r"tie 5 does not fit; it is such as <Tie\.RECEIVER_YIELDS"
    ):
        UCARP.replace(tie=5)
    with pytest.raises(ConfigError, match="dead_ratio '5' does not fit; it is such as 3"):
        UCARP.replace(dead_ratio="5")
    with pytest.raises(ConfigError, match=r"traffic_class 7 .* such as \(16, 0\)$"):
        UCARP.replace(traffic_class=7)
    with pytest.raises(ConfigError, match=r"announces_again 'x' .* such as 3$"):
        UCARP.replace(announces_again="x")
    with pytest.raises(ConfigError, match=r"name 5 does not fit; it is such as ''$"):
        UCARP.replace(name=5)
    assert FREEBSD.replace(traffic_class=(0x10, 0)).replace(traffic_class=None) == FREEBSD


def test_every_choice_of_yes_or_no_can_be_made() -> None:
    choices = [name for name, value in FREEBSD._asdict().items() if isinstance(value, bool)]
    assert "demote_raises_advskew" in choices
    for name in choices:
        for value in (False, True):
            assert getattr(FREEBSD.replace(**{name: value}), name) is value


def test_what_is_no_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="profile 'freebsd' is no Profile; give FREEBSD"):
        check_profile("freebsd")
    assert check_profile(NETBSD) is NETBSD


# Keys and messages (the protocol, section 2).


def test_passphrases() -> None:
    assert {profile.passphrase_kept for profile in PROFILES} == {19}
    assert those_with("passphrase_too_long_refused", True) == {"UCarp"}
    assert those_with("passphrase_loses_last", True) == NETBSDS
    assert those_with("passphrase_hex", True) == NETBSDS


def test_messages_and_counters() -> None:
    assert those_with("link_local_hashed", False) == {"OpenBSD"}
    assert those_with("link_local_either", True) == {"OpenBSD"}
    assert those_with("counter_constant", True) == {"OpenBSD"}


# Ranges (section 5).


def test_ranges() -> None:
    assert those_with("advbase_minimum", 1) == {profile.name for profile in FREEBSDS}
    assert those_with("advbase_minimum", 0) == NETBSDS | {"OpenBSD", "UCarp"}
    assert those_with("advbase_maximum", 254) == {"OpenBSD"}
    assert those_with("advbase_maximum", 255) == {p.name for p in PROFILES} - {"OpenBSD"}
    assert those_with("advskew_maximum", 255) == {"UCarp"}
    assert those_with("advskew_maximum", 254) == {p.name for p in PROFILES} - {"UCarp"}
    assert those_with("zero_interval", True) == {"OpenBSD"}
    assert those_with("single_address", True) == {"UCarp"}


# What receivers check, in this order (section 1).


CHECKS = {
    "FreeBSD 12": "notallowed badif badttl badlen badsum badvhid badver",
    "NetBSD": "badif notallowed badttl badlen badsum badvhid badver",
    "OpenBSD": "notallowed badif badttl badlen badsum badvhid badver",
    "UCarp": "notallowed loop badlen badttl badver badvhid badif badsum",
}


@pytest.mark.parametrize("profile", [FREEBSD, NETBSD, OPENBSD, UCARP])
def test_the_order_of_checks(profile: Profile) -> None:
    assert " ".join(profile.checks) == CHECKS[profile.name]


def test_all_releases_of_freebsd_check_alike() -> None:
    assert {profile.checks for profile in FREEBSDS} == {FREEBSD.checks}


def test_what_else_receivers_refuse() -> None:
    assert those_with("multicast_required", True) == NETBSDS
    assert those_with("init_refuses", True) == NETBSDS | {"OpenBSD"}
    assert those_with("peer_separates", True) == {"OpenBSD"}
    assert those_with("own_source_ignored", True) == {"UCarp"}
    assert those_with("group_checked", True) == {"UCarp"}
    assert those_with("unicast_skips_ttl", True) == {"FreeBSD 14"}


# Time and elections (sections 3 and 4).


def test_master_down() -> None:
    assert {profile.dead_ratio for profile in PROFILES} == {3}
    assert those_with("master_down_multiplies_advskew", True) == {"OpenBSD"}


def test_elections() -> None:
    yields = {profile.name for profile in FREEBSDS} | NETBSDS | {"OpenBSD"}
    assert those_with("tie", Tie.RECEIVER_YIELDS) == yields
    assert those_with("tie", Tie.SOURCE_LITTLE_ENDIAN) == {"UCarp"}
    assert those_with("tie", Tie.SOURCE_NUMERIC) == set()
    assert those_with("demote_decides", True) == {"OpenBSD"}
    assert those_with("farewell", True) == {"UCarp"}


# Demotion (section 5).


def test_demotion() -> None:
    assert those_with("demotion", DemotionStyle.ADDED) == {profile.name for profile in FREEBSDS}
    assert those_with("demotion", DemotionStyle.RAISED) == NETBSDS | {"UCarp"}
    assert those_with("demotion", DemotionStyle.CARRIED) == {"OpenBSD"}
    assert those_with("demotion_floor", False) == {"FreeBSD 10", "FreeBSD 12.1"}
    assert those_with("send_error_forgotten", True) == {"FreeBSD 10", "FreeBSD 12.1"}
    assert those_with("demotion_end_advertised", False) == NETBSDS | {"OpenBSD", "UCarp"}
    assert those_with("ifdown_demotion_factor", 0) == {"UCarp"}
    assert those_with("ifdown_demotion_factor", 1) == {"OpenBSD"}
    others = {profile.name for profile in PROFILES} - {"OpenBSD"}
    assert those_with("ifdown_demotion_factor", 240) == others - {"UCarp"}
    assert those_with("senderr_demotion_factor", 1) == {"OpenBSD"}
    assert those_with("senderr_demotion_factor", 240) == others
    assert those_with("demote_raises_advskew", True) == set()


# What an operator changes, and what is sent (sections 1 and 4).


def test_changes_by_the_operator() -> None:
    assert those_with("allow_stops", False) == NETBSDS | {"FreeBSD 10", "OpenBSD"}
    assert those_with("address_removed", Reaction.KEPT) == NETBSDS
    assert those_with("address_removed", Reaction.REARMED) == {"OpenBSD"}
    assert those_with("reconfigured", Reaction.RESTARTED) == NETBSDS
    assert those_with("reconfigured", Reaction.REARMED) == {"OpenBSD"}
    assert those_with("zero_advbase_waits", True) == {"OpenBSD"}
    assert those_with("carrier_loss_waits", True) == {"UCarp"}
    assert those_with("bows_out", True) == NETBSDS | {"OpenBSD"}


def test_around_an_advertisement() -> None:
    interface, virtual, ucarp = SourceMac.INTERFACE, SourceMac.VIRTUAL, SourceMac.UCARP
    assert those_with("source_mac", (ucarp, virtual)) == {"UCarp"}
    assert those_with("source_mac", (interface, interface)) == {"NetBSD 1.120"}
    assert those_with("source_mac", (virtual, interface)) == {"NetBSD"}
    assert len(those_with("source_mac", (virtual, virtual))) == len(PROFILES) - 3
    by_dscp = {"FreeBSD 12", "FreeBSD 12.1", "FreeBSD 14"}
    assert those_with("traffic_class", None) == by_dscp
    assert those_with("traffic_class", (0x10, 0)) == {p.name for p in PROFILES} - by_dscp
    assert those_with("identification", Identification.COUNTING) == {"FreeBSD 10"}
    assert those_with("identification", Identification.RANDOM) == {"OpenBSD", "UCarp"}
    assert those_with("pseudo_header", True) == {"NetBSD 1.120"}


def test_announcements() -> None:
    assert those_with("announces_first", True) == {"UCarp"}
    assert those_with("announces_again", 3) == {"OpenBSD", "UCarp"}
    assert those_with("announces_again_ipv6", False) == {"OpenBSD"}
    assert those_with("announces_to_slower", True) == {"UCarp"}
    assert those_with("real_mac_answers", True) == {"UCarp"}


# As recorded.


@pytest.mark.parametrize(
    ("name", "profile", "vhid", "families"),
    [
        ("freebsd/dual", FREEBSD, 5, {4, 6}),
        ("freebsd/dual-10-4", FREEBSD_10, 5, {4, 6}),
        ("netbsd/dual-stack-stock", NETBSD, 1, {4}),
        ("netbsd/dual-stack-v6out", NETBSD, 1, {4, 6}),
        ("netbsd/dual-stack-bp1120", NETBSD_1120, 1, {4, 6}),
        ("ucarp/single-master", UCARP, 1, {4}),
        ("ucarp/fork-v6", UCARP, 2, {6}),
    ],
)
def test_tos_and_source_mac_as_recorded(
    name: str, profile: Profile, vhid: int, families: set[int]
) -> None:
    macs = {
        SourceMac.VIRTUAL: f"00005e0001{vhid:02x}",
        SourceMac.UCARP: f"00005e0000{vhid:02x}",
        SourceMac.INTERFACE: "020000000a01",  # A's, in NetBSD's
    }
    sent = [frame for frame in recorded(name) if carries_carp(frame)]
    assert len(sent) > 5
    assert {frame[14] >> 4 for frame in sent} == families
    for frame in sent:
        over_ipv6 = frame[14] >> 4 == 6
        tos = int.from_bytes(frame[14:16], "big") >> 4 & 0xFF if over_ipv6 else frame[15]
        expected = profile.traffic_class or (56 << 2, 56 << 2)
        assert tos == expected[over_ipv6]
        assert frame[6:12].hex() == macs[profile.source_mac[over_ipv6]]


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("freebsd/single-v4", FREEBSD),
        ("freebsd/single-v4-10-4", FREEBSD_10),
        ("netbsd/single-ipv4-master", NETBSD),
        ("ucarp/single-master", UCARP),
    ],
)
def test_ipv4_ids_as_recorded(name: str, profile: Profile) -> None:
    sent = [frame for frame in recorded(name) if carries_carp(frame)]
    ids = [int.from_bytes(frame[18:20], "big") for frame in sent]
    assert len(ids) > 5
    rises = all(one < other for one, other in pairwise(ids))
    kind = Identification.COUNTING if rises else Identification.RANDOM
    assert profile.identification is (kind if any(ids) else Identification.ZERO)


def test_what_freebsd_10_logs() -> None:
    """Its words for FreeBSD 12's reasons, and None where it says nothing."""
    assert dict(FREEBSD_10.words) == {
        Reason.MASTER_TIMED_OUT: "master down",
        Reason.MASTER_WILL_TIME_OUT: "master timed out",
        Reason.INITIALIZATION_COMPLETE: None,
    }
    assert FREEBSD_10.unlogged == {
        Reason.HARDWARE_DOWN,
        Reason.HARDWARE_UP,
        Reason.USER_REQUESTED,
    }
    words = {
        transition["reason"]
        for name, recording in descriptions("freebsd").items()
        if name.endswith("-10-4")
        for transition in recording["transitions"]
    }
    assert words == {*dict(FREEBSD_10.words).values(), Reason.MORE_FREQUENT, Reason.PREEMPTING}


def test_ucarp_logs_in_words_of_its_own() -> None:
    words = dict(UCARP.words)
    assert words[Reason.PREEMPTING] == "Putting MASTER down - preemption"
    assert words[Reason.MASTER_WILL_TIME_OUT] == "Putting MASTER DOWN (going to time out)"
    assert words[Reason.USER_REQUESTED] == "Caught signal (USR2) considering going down"
    assert words[Reason.MORE_FREQUENT] == (
        "Preferred master advertised: going back to BACKUP state"
    )
    silent = {reason for reason, text in words.items() if text is None}
    assert silent == {
        Reason.INITIALIZATION_COMPLETE,
        Reason.MASTER_TIMED_OUT,
        Reason.CARRIER_LOST,
    }
    assert UCARP.unlogged == {Reason.HARDWARE_DOWN, Reason.HARDWARE_UP, Reason.SHUTDOWN}


def test_openbsd_logs_no_reasons() -> None:
    assert dict(OPENBSD.words) == dict.fromkeys(Reason)
    assert OPENBSD.unlogged == frozenset()


def test_all_others_log_as_freebsd_12_does() -> None:
    for profile in PROFILES:
        if profile not in (FREEBSD_10, OPENBSD, UCARP):
            assert profile.words == ()
            assert profile.unlogged == frozenset()


# Releases of one system.


def test_releases_of_netbsd() -> None:
    assert differing(NETBSD, NETBSD_1120) == {"name", "pseudo_header", "source_mac"}


def test_releases_of_freebsd() -> None:
    assert differing(FREEBSD, FREEBSD_12) == {"name", "demotion_floor", "send_error_forgotten"}
    assert differing(FREEBSD, FREEBSD_14) == {"name", "unicast_skips_ttl"}
    assert differing(FREEBSD_12, FREEBSD_10) == {
        "name",
        "allow_stops",
        "traffic_class",
        "identification",
        "words",
        "unlogged",
    }


def test_a_number_is_one_that_c_calls_an_int() -> None:
    for number in (0, (1 << 31) - 1):
        assert FREEBSD.replace(dead_ratio=number).dead_ratio == number


def test_only_what_may_be_absent_may_be_none() -> None:
    assert UCARP.replace(announces_again=None).announces_again is None
    with pytest.raises(ConfigError, match="dead_ratio None does not fit"):
        UCARP.replace(dead_ratio=None)


@pytest.mark.parametrize(
    "change",
    [
        {"traffic_class": 7},
        {"traffic_class": (1,)},
        {"traffic_class": (1, "2")},
        {"source_mac": ()},
        {"source_mac": ("x", "y")},
        {"announces_again": "x"},
        {"passphrase_kept": -1},
        {"dead_ratio": 1 << 31},
        {"farewell": 1},
        {"name": None},
    ],
    ids=str,
)
def test_a_value_that_a_field_cannot_have_is_refused(change) -> None:
    [name] = change
    with pytest.raises(ConfigError, match=f"{name} .* does not fit; it is such as"):
        FREEBSD.replace(**change)
    with pytest.raises(ConfigError, match=f"{name} .* does not fit"):
        check_profile(FREEBSD._replace(**change))
