"""carpproto.core.config: what an operator says of a virtual host, and what is refused."""

from __future__ import annotations

import copy
import pickle
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpproto.core.advertisement import Advertisement
from carpproto.core.config import VirtualHostConfig, check_range
from carpproto.core.errors import ConfigError
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
from tests.helpers import descriptions

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
NAMES = [profile.name for profile in PROFILES]
RECORDED_WITH = {"freebsd": FREEBSD, "netbsd": NETBSD, "ucarp": UCARP}


def error_of(**values: Any) -> str:
    """What a configuration with these values is refused with."""
    with pytest.raises(ConfigError) as caught:
        VirtualHostConfig(**{"vhid": 1, **values})
    return str(caught.value)


def refusal(profile: Profile, **values: Any) -> str:
    """What only that system refuses it with."""
    config = VirtualHostConfig(**{"vhid": 1, **values})
    with pytest.raises(ConfigError) as caught:
        config.require(profile)
    return str(caught.value)


# What there is.


def test_a_virtual_host_as_ifconfig_is_told() -> None:
    config = VirtualHostConfig(
        vhid=1,
        addresses=["192.168.1.50/32", "2001:db8:1::50/64", "fe80::50%em0/64"],
        passphrase="randompass",
        advbase=2,
        advskew=100,
        peer="192.168.1.158",
        peer6="ff02::1234",
    )
    assert config.vhid == 1
    assert config.advbase == 2
    assert config.advskew == 100
    assert config.addresses == (
        IPv4Address("192.168.1.50"),
        IPv6Address("2001:db8:1::50"),
        IPv6Address("fe80::50"),
    )
    assert config.families == (4, 6)
    assert config.peer == IPv4Address("192.168.1.158")
    assert config.peer6 == IPv6Address("ff02::1234")
    assert config.destination(4) == IPv4Address("192.168.1.158")
    assert config.destination(6) == IPv6Address("ff02::1234")


def test_what_is_not_said() -> None:
    config = VirtualHostConfig(vhid=255)
    assert (config.advbase, config.advskew) == (1, 0)
    assert (config.addresses, config.families) == ((), ())
    assert (config.peer, config.peer6) == (None, None)
    assert config.destination(4) == IPv4Address("224.0.0.18")
    assert config.destination(6) == IPv6Address("ff02::12")


def test_addresses_keep_their_order_and_count_once() -> None:
    config = VirtualHostConfig(
        vhid=1,
        addresses=(
            text for text in ("fd00::5", "10.9.8.7/8", "10.9.8.7", "2001:db8::1", "9.0.0.1")
        ),
    )
    assert [str(address) for address in config.addresses] == [
        "fd00::5",
        "10.9.8.7",
        "2001:db8::1",
        "9.0.0.1",
    ]
    assert config.families == (4, 6)


def test_families_are_those_of_the_addresses() -> None:
    assert VirtualHostConfig(vhid=1, addresses=["192.0.2.1"]).families == (4,)
    assert VirtualHostConfig(vhid=1, addresses=["::1"]).families == (6,)


def test_addresses_and_peers_may_be_objects() -> None:
    config = VirtualHostConfig(
        vhid=1, addresses=[IPv4Interface("192.0.2.1/24")], peer=IPv4Address("192.0.2.2")
    )
    assert config.addresses == (IPv4Address("192.0.2.1"),)
    assert config.peer == IPv4Address("192.0.2.2")


@pytest.mark.parametrize("profile", PROFILES, ids=NAMES)
def test_the_authenticator_follows_the_profile(profile: Profile) -> None:
    config = VirtualHostConfig(vhid=1, addresses=["192.0.2.1", "fe80::1"], passphrase="0xabcd")
    ours = config.authenticator(profile)
    key = b"\xab" if profile.passphrase_hex else b"0xabcd"
    hashed = ["192.0.2.1"] if profile is OPENBSD else ["192.0.2.1", "fe80::1"]
    same = VirtualHostConfig(vhid=1, addresses=hashed, key=key).authenticator(FREEBSD)
    assert ours.digest(7) == same.digest(7)
    assert ours.verify(same.sign(Advertisement(vhid=1, counter=7)))


def test_neither_passphrase_nor_key() -> None:
    digests = {
        VirtualHostConfig(vhid=1, **secret).authenticator(FREEBSD).digest(7)
        for secret in ({}, {"passphrase": ""}, {"key": b""}, {"key": bytes(20)})
    }
    assert len(digests) == 1


def test_every_recorded_virtual_host() -> None:
    checked = 0
    for name, recording in descriptions().items():
        for event in recording["events"]:
            if event["event"] == "virtual_host":
                config = VirtualHostConfig(
                    vhid=event["vhid"],
                    advbase=event["advbase"],
                    advskew=event["advskew"],
                    key=bytes.fromhex(event["key"]),
                )
                config.require(RECORDED_WITH[name.split("/", maxsplit=1)[0]])
                checked += 1
    assert checked > 100


# What no system takes.


@pytest.mark.parametrize("value", [0, 256, -1, True, False, "1", 1.0, None, b"\1"])
def test_a_vhid_out_of_range(value: Any) -> None:
    assert error_of(vhid=value) == f"vhid {value!r} is out of range; it is 1 to 255"


@pytest.mark.parametrize("name", ["advbase", "advskew"])
@pytest.mark.parametrize("value", [256, -1, True, "1", 1.0, None])
def test_an_interval_out_of_range(name: str, value: Any) -> None:
    assert error_of(**{name: value}) == f"{name} {value!r} is out of range; it is 0 to 255"


@pytest.mark.parametrize(
    "address", ["em0", "", "192.0.2.300", "fe80::1::", None, 7, b"\xc0\0\2\1"]
)
def test_an_address_of_no_family(address: Any) -> None:
    assert error_of(addresses=["192.0.2.1", address]).startswith(f"{address!r} is not an address")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.18", "ff02::12", "239.1.2.3"])
def test_a_virtual_address_that_no_host_can_have(address: str) -> None:
    error = error_of(addresses=[address])
    assert error == f"{address} is not a host's address; give a unicast one"


@pytest.mark.parametrize(
    "addresses",
    ["192.0.2.1", b"192.0.2.1", "", None, 7, IPv4Address("192.0.2.1"), IPv6Address("::1")],
)
def test_addresses_that_are_no_list(addresses: Any) -> None:
    assert error_of(addresses=addresses) == f"addresses is {addresses!r}; give a list of addresses"


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"peer": "ff02::12"}, "peer ff02::12 is not an IPv4 address"),
        ({"peer6": "224.0.0.18"}, "peer6 224.0.0.18 is not an IPv6 address"),
        ({"peer": "em0"}, "'em0' is not an address"),
        ({"peer6": 7}, "7 is not an address"),
    ],
)
def test_a_peer_of_another_family(values: Any, error: str) -> None:
    assert error_of(**values).startswith(error)


def test_passphrase_and_key() -> None:
    error = error_of(passphrase="swordfish", key=b"swordfish")
    assert error == "both a passphrase and a key were given; give one of them"


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"passphrase": "swordfish\0"}, "the passphrase has a NUL character"),
        ({"passphrase": "swordfish\ud800"}, "the passphrase has a character that UTF-8 cannot"),
        ({"passphrase": b"swordfish"}, "the passphrase is of type bytes; give text"),
        ({"passphrase": b""}, "the passphrase is of type bytes; give text"),
        ({"passphrase": 0}, "the passphrase is of type int; give text"),
        ({"key": "swordfish"}, "the key is of type str; give bytes"),
        ({"key": b"swordfish!" * 3}, "the key has 30 bytes; a key has 20 at the most"),
    ],
)
def test_a_secret_that_no_system_takes_is_not_repeated(values: Any, error: str) -> None:
    found = error_of(**values)
    assert found.startswith(error)
    assert "swordfish" not in found


# What one system refuses.


@pytest.mark.parametrize("profile", PROFILES, ids=NAMES)
def test_what_every_system_takes(profile: Profile) -> None:
    VirtualHostConfig(vhid=1).require(profile)
    VirtualHostConfig(vhid=255, advbase=254, advskew=254, key=bytes(20)).require(profile)
    VirtualHostConfig(vhid=1, addresses=["fe80::1"], passphrase="x" * 19).require(profile)


@pytest.mark.parametrize("profile", PROFILES[:4], ids=NAMES[:4])
@pytest.mark.parametrize("advskew", [0, 1, 254])
def test_advbase_0_on_freebsd(profile: Profile, advskew: int) -> None:
    error = refusal(profile, advbase=0, advskew=advskew)
    assert error == f"advbase 0 is out of range; it is 1 to 255 on {profile.name}"


@pytest.mark.parametrize("profile", [NETBSD, NETBSD_1120, UCARP])
def test_advbase_0_with_advskew_0(profile: Profile) -> None:
    VirtualHostConfig(vhid=1, advbase=0, advskew=1).require(profile)
    error = refusal(profile, advbase=0, advskew=0)
    assert error == (
        f"advbase 0 with advskew 0 is no interval on {profile.name}; "
        "advbase is 1 to 255, or advskew 1 or more"
    )


def test_openbsd_takes_an_interval_of_0() -> None:
    VirtualHostConfig(vhid=1, advbase=0, advskew=0).require(OPENBSD)


def test_advbase_255() -> None:
    for profile in PROFILES:
        config = VirtualHostConfig(vhid=1, advbase=255)
        if profile is OPENBSD:
            error = refusal(profile, advbase=255)
            assert error == "advbase 255 is out of range; it is 0 to 254 on OpenBSD"
        else:
            config.require(profile)


def test_advskew_255() -> None:
    VirtualHostConfig(vhid=1, advskew=255).require(UCARP)
    for profile in PROFILES[:-1]:
        error = refusal(profile, advskew=255)
        assert error == f"advskew 255 is out of range; it is 0 to 254 on {profile.name}"


def test_ucarp_has_one_virtual_address() -> None:
    addresses = ["192.0.2.1", "192.0.2.2"]
    assert refusal(UCARP, addresses=addresses).startswith(
        "2 virtual addresses, but UCarp has one for each vhid"
    )
    for profile in PROFILES[:-1]:
        VirtualHostConfig(vhid=1, addresses=addresses).require(profile)


@pytest.mark.parametrize("profile", PROFILES, ids=NAMES)
@pytest.mark.parametrize(
    ("name", "unicast", "group"),
    [("peer", "192.0.2.9", "224.0.0.200"), ("peer6", "2001:db8::9", "ff02::200")],
)
def test_a_unicast_peer(profile: Profile, name: str, unicast: str, group: str) -> None:
    VirtualHostConfig(vhid=1, **{name: group}).require(profile)
    if profile in (NETBSD, NETBSD_1120, UCARP):
        assert refusal(profile, **{name: unicast}) == (
            f"peer {unicast} is a unicast address, and {profile.name} takes multicast only; "
            "leave it out, or give another group"
        )
    else:
        VirtualHostConfig(vhid=1, **{name: unicast}).require(profile)


def test_20_characters_of_passphrase_on_ucarp() -> None:
    error = refusal(UCARP, passphrase="swordfish-swordfish!")
    assert error.startswith("the passphrase has 20 bytes; this system takes 19 at the most")
    assert "swordfish" not in error
    for profile in PROFILES[:-1]:
        VirtualHostConfig(vhid=1, passphrase="swordfish-swordfish!").require(profile)


def test_hexadecimal_on_netbsd() -> None:
    error = refusal(NETBSD, passphrase="0xswordfish")
    assert error.startswith("the passphrase begins with 0x, but what follows is not")
    assert "swordfish" not in error
    for profile in PROFILES:
        if profile not in (NETBSD, NETBSD_1120):
            VirtualHostConfig(vhid=1, passphrase="0xswordfish").require(profile)


@given(
    st.builds(
        dict,
        vhid=st.integers(-2, 258),
        advbase=st.integers(-2, 258),
        advskew=st.integers(-2, 258),
        addresses=st.lists(st.one_of(st.ip_addresses(), st.text(max_size=5)), max_size=2),
        passphrase=st.one_of(st.none(), st.text(max_size=25)),
        key=st.one_of(st.none(), st.binary(max_size=22)),
    ),
    st.sampled_from(PROFILES),
)
def test_nothing_but_config_errors(values: Any, profile: Profile) -> None:
    try:
        config = VirtualHostConfig(**values)
        config.require(profile)
    except ConfigError:
        return
    assert profile.advbase_minimum <= config.advbase <= profile.advbase_maximum
    assert config.authenticator(profile).vhid == config.vhid


# A value.


FULL = VirtualHostConfig(
    vhid=7,
    addresses=["192.0.2.1", "2001:db8::1"],
    passphrase="swordfish",
    advbase=2,
    advskew=3,
    peer="192.0.2.9",
    peer6="2001:db8::9",
)
KEYED = VirtualHostConfig(vhid=7, key=b"swordfish")


def test_no_secret_shows() -> None:
    assert repr(FULL) == (
        "VirtualHostConfig(vhid=7, addresses=['192.0.2.1', '2001:db8::1'], advbase=2, advskew=3, "
        "peer='192.0.2.9', peer6='2001:db8::9')"
    )
    assert repr(KEYED) == "VirtualHostConfig(vhid=7, addresses=[], advbase=1, advskew=0)"
    for config in (FULL, KEYED):
        for shown in (str(config), f"{config!r}", repr([config]), repr({"config": config})):
            assert "swordfish" not in shown
            assert "passphrase" not in shown
            assert "key" not in shown


@pytest.mark.parametrize("config", [FULL, KEYED, VirtualHostConfig(vhid=1)])
def test_pickling_and_copying(config: VirtualHostConfig) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(config, protocol))
        assert again == config
        assert hash(again) == hash(config)
        assert repr(again) == repr(config)
        assert "swordfish" not in repr(again)
        assert again.families == config.families
        assert again.authenticator(FREEBSD).digest(1) == config.authenticator(FREEBSD).digest(1)
    assert copy.copy(config) == copy.deepcopy(config) == config


def test_others_have_another_hash() -> None:
    assert len({hash(VirtualHostConfig(vhid=vhid)) for vhid in range(1, 256)}) > 1


@pytest.mark.parametrize(
    "changes",
    [
        {"vhid": 8},
        {"addresses": ["2001:db8::1", "192.0.2.1"]},
        {"addresses": ["192.0.2.1"]},
        {"passphrase": "swordfisH"},
        {"key": b"swordfish"},
        {"advbase": 3},
        {"advskew": 2},
        {"peer": None},
        {"peer6": "2001:db8::a"},
    ],
)
def test_one_value_makes_it_another(changes: Any) -> None:
    other = FULL.replace(**changes)
    assert other != FULL
    assert len({other, FULL, FULL.replace()}) == 2
    assert FULL.replace() == FULL
    for name in ("vhid", "advbase", "advskew", "peer", "peer6"):
        if name not in changes:
            assert getattr(other, name) == getattr(FULL, name)


def test_equal_to_nothing_else() -> None:
    assert (FULL == "swordfish") is False
    assert FULL != 7
    assert FULL != [FULL]


def test_a_key_as_text_and_as_bytes_are_two_configurations() -> None:
    assert VirtualHostConfig(vhid=1, passphrase="x") != VirtualHostConfig(vhid=1, key=b"x")
    padded = b"x".ljust(20, b"\0")
    assert VirtualHostConfig(vhid=1, key=b"x") == VirtualHostConfig(vhid=1, key=padded)


def test_replacing_the_secret() -> None:
    """A new one takes the place of either; without one, the old one stays."""
    digests = [
        config.authenticator(FREEBSD).digest(1)
        for config in (
            KEYED,
            KEYED.replace(advskew=9),
            KEYED.replace(passphrase="swordfish"),
            KEYED.replace(passphrase="swordfish").replace(key=b"swordfish"),
        )
    ]
    assert len(set(digests)) == 1
    none = VirtualHostConfig(vhid=7)
    assert KEYED.replace(key=None) == FULL.replace(
        passphrase=None, addresses=[], advbase=1, advskew=0, peer=None, peer6=None
    )
    assert KEYED.replace(passphrase=None) == none


def test_replacing_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="vhid 0 is out of range; it is 1 to 255"):
        FULL.replace(vhid=0)
    with pytest.raises(ConfigError, match="a virtual host has no 'password'; it has vhid, "):
        FULL.replace(password="swordfish", zone=1)
    with pytest.raises(ConfigError, match="a virtual host has no 'families'"):
        FULL.replace(families=(4,))


def test_immutable() -> None:
    for name in ("vhid", "addresses", "families", "password"):
        with pytest.raises(AttributeError, match=rf"immutable; use replace\({name}=\.\.\.\)"):
            setattr(FULL, name, 1)
    with pytest.raises(AttributeError, match=r"^a VirtualHostConfig is immutable$"):
        del FULL.vhid
    assert FULL.vhid == 7


# The check that others use too.


def test_check_range() -> None:
    check_range("advbase", 1, 1, 1)
    with pytest.raises(ConfigError, match=r"^dead_ratio 0 is out of range; it is 1 to 9$"):
        check_range("dead_ratio", 0, 1, 9)
    with pytest.raises(ConfigError, match=r"^dead_ratio True is out .* it is 1 to 9 on UCarp$"):
        check_range("dead_ratio", True, 1, 9, "UCarp")


def test_the_virtual_addresses_are_those_of_the_hmac() -> None:
    config = VirtualHostConfig(vhid=1, addresses=["192.0.2.2", "192.0.2.1"])
    assert config.authenticator(FREEBSD).addresses == (
        ip_address("192.0.2.1"),
        ip_address("192.0.2.2"),
    )


def test_the_broadcast_address_is_no_virtual_address() -> None:
    with pytest.raises(ConfigError, match=r"255\.255\.255\.255 is not a host's"):
        VirtualHostConfig(vhid=1, addresses=["255.255.255.255"])


def test_the_unspecified_address_is_no_peer() -> None:
    for peer in ({"peer": "0.0.0.0"}, {"peer6": "::"}):
        with pytest.raises(ConfigError, match="address to send to"):
            VirtualHostConfig(vhid=1, **peer)


def test_there_are_two_families() -> None:
    config = VirtualHostConfig(vhid=1)
    assert [str(config.destination(family)) for family in (4, 6)] == ["224.0.0.18", "ff02::12"]
    with pytest.raises(ConfigError, match="family 5 is none; it is 4 or 6"):
        config.destination(5)
