"""carpproto.core.addresses: groups, MACs, and the order that the HMAC needs."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    ip_address,
)
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpproto.core.addresses import (
    ALL_NODES,
    GROUP_IPV4,
    GROUP_IPV6,
    GROUPS,
    canonical_order,
    format_mac,
    group_mac,
    parse_address,
    parse_host_address,
    parse_host_addresses,
    parse_mac,
    virtual_mac,
)
from carpproto.core.errors import ConfigError
from tests.helpers import carp_frames

ADDRESSES = st.ip_addresses()
LINK_LOCAL = st.integers(0, (1 << 118) - 1).map(lambda n: IPv6Address((0x3FA << 118) | n))


def test_the_groups() -> None:
    assert GROUPS == {4: GROUP_IPV4, 6: GROUP_IPV6}
    assert (str(GROUP_IPV4), str(GROUP_IPV6)) == ("224.0.0.18", "ff02::12")
    assert str(ALL_NODES) == "ff02::1"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/24", "192.0.2.1"),
        ("192.0.2.1/0", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        (" 192.0.2.1 \n", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1/128", "2001:db8::1"),
        ("fe80::1%em0", "fe80::1"),
        ("fe80::1%em0/64", "fe80::1"),
        (IPv4Address("192.0.2.1"), "192.0.2.1"),
        (IPv6Address("2001:db8::1"), "2001:db8::1"),
        (IPv6Address("fe80::1%em0"), "fe80::1"),
        (IPv4Interface("192.0.2.1/24"), "192.0.2.1"),
        (IPv6Interface("2001:db8::1/64"), "2001:db8::1"),
        (IPv6Interface("fe80::1%em0/64"), "fe80::1"),
    ],
)
def test_an_address_without_prefix_length_and_scope(value: Any, address: str) -> None:
    found = parse_address(value)
    assert found == ip_address(address)
    assert type(found) in (IPv4Address, IPv6Address)
    assert str(found) == address


@pytest.mark.parametrize(
    "value",
    [
        "",
        "em0",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1/",
        "192.0.2.1/33",
        "192.0.2.1/-1",
        "192.0.2.1/0024",
        "192.0.2.1/24/24",
        "192.0.2.1/255.255.255.0",
        "192.0.2.1/\N{ARABIC-INDIC DIGIT ONE}",
        "192.0.2.1/\N{SUPERSCRIPT TWO}",
        "2001:db8::1/129",
        "2001:db8::1::",
        "fe80::1/64%em0",
        "%em0",
        "/24",
        None,
        True,
        0,
        3221225985,
        b"\xc0\x00\x02\x01",
        ["192.0.2.1"],
        IPv4Network("192.0.2.0/24"),
    ],
)
def test_what_is_no_address_is_named(value: Any) -> None:
    with pytest.raises(ConfigError, match="is not an address") as caught:
        parse_address(value)
    assert str(caught.value) == (
        f"{value!r} is not an address; give one such as 192.0.2.1, 192.0.2.1/24 or 2001:db8::1"
    )


def test_a_prefix_length_of_thousands_of_digits() -> None:
    """int() raises a ValueError of its own beyond 4300 digits."""
    with pytest.raises(ConfigError, match="is not an address"):
        parse_address("192.0.2.1/" + "9" * 5000)


@given(ADDRESSES)
def test_text_and_object_are_the_same_address(address: Any) -> None:
    assert parse_address(str(address)) == parse_address(address) == address


@given(st.text())
def test_arbitrary_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ConfigError:
        return
    assert parse_address(str(address)) == address


def test_ipv4_first_and_each_family_in_ascending_order() -> None:
    given_ = ["2001:db8::60", "192.168.1.60", "fe80::50", "9.255.255.254", "10.9.8.7", "fd00::5"]
    assert [str(address) for address in canonical_order(given_)] == [
        "9.255.255.254",
        "10.9.8.7",
        "192.168.1.60",
        "2001:db8::60",
        "fd00::5",
        "fe80::50",
    ]


def test_octets_count_as_unsigned_numbers() -> None:
    given_ = ["128.0.0.1", "127.255.255.255", "10.0.0.2", "9.0.0.10", "10.0.0.10"]
    assert [str(address) for address in canonical_order(given_)] == [
        "9.0.0.10",
        "10.0.0.2",
        "10.0.0.10",
        "127.255.255.255",
        "128.0.0.1",
    ]


def test_duplicates_count_once_whatever_their_prefix_length() -> None:
    given_: list[Any] = [
        "192.0.2.1/24",
        "192.0.2.1/32",
        IPv4Address("192.0.2.1"),
        "fe80::1%em0",
        "fe80::1",
    ]
    assert canonical_order(given_) == (IPv4Address("192.0.2.1"), IPv6Address("fe80::1"))


def test_unspecified_and_all_ones_are_never_hashed() -> None:
    ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    assert canonical_order(["0.0.0.0", "255.255.255.255", "::", ones]) == ()
    assert canonical_order(["0.0.0.1", "255.255.255.254", "::1", ones[:-1] + "e"]) == (
        IPv4Address("0.0.0.1"),
        IPv4Address("255.255.255.254"),
        IPv6Address("::1"),
        IPv6Address(ones[:-1] + "e"),
    )


def test_no_addresses() -> None:
    assert canonical_order([]) == ()


def test_the_scope_that_a_kernel_keeps_in_a_link_local_address_is_cleared() -> None:
    assert canonical_order(["fe80:7::1", "fe80::1"]) == (IPv6Address("fe80::1"),)
    assert canonical_order(["febf:ffff::1"]) == (IPv6Address("febf::1"),)


def test_bytes_2_and_3_of_other_addresses_stay() -> None:
    for text in ("fec0:7::1", "fd00:7::1", "2001:db8::1"):
        assert canonical_order([text]) == (IPv6Address(text),)


def test_clearing_the_scope_comes_before_sorting() -> None:
    assert canonical_order(["fe80:2::1", "fe80:1::2"]) == (
        IPv6Address("fe80::1"),
        IPv6Address("fe80::2"),
    )


@given(st.lists(st.one_of(ADDRESSES, LINK_LOCAL)), st.randoms(use_true_random=False))
def test_the_order_given_and_repetitions_make_no_difference(given_: Any, random: Any) -> None:
    other = [*given_, *given_[:3]]
    random.shuffle(other)
    ordered = canonical_order(given_)
    assert canonical_order(other) == ordered
    assert canonical_order(ordered) == ordered
    assert list(ordered) == sorted(ordered, key=lambda a: (a.version, a.packed))
    assert len(set(ordered)) == len(ordered)


def test_virtual_mac() -> None:
    assert virtual_mac(1) == "00:00:5e:00:01:01"
    assert virtual_mac(16) == "00:00:5e:00:01:10"
    assert virtual_mac(255) == "00:00:5e:00:01:ff"


@pytest.mark.parametrize(
    ("group", "mac"),
    [
        ("224.0.0.18", "01:00:5e:00:00:12"),
        ("224.128.0.18", "01:00:5e:00:00:12"),  # only 23 bits of the group are in its MAC
        ("239.255.255.255", "01:00:5e:7f:ff:ff"),
        ("ff02::12", "33:33:00:00:00:12"),
        ("ff02::1:ff00:50", "33:33:ff:00:00:50"),
        ("ff05::ffff:ffff", "33:33:ff:ff:ff:ff"),
    ],
)
def test_the_mac_of_a_group(group: str, mac: str) -> None:
    assert group_mac(ip_address(group)) == mac


def test_the_macs_of_the_groups_as_recorded() -> None:
    for folder, groups in (("freebsd", GROUPS), ("netbsd", GROUPS), ("ucarp", {4: GROUP_IPV4})):
        destinations = {frame[:6] for frame in carp_frames(folder)}
        assert destinations >= {parse_mac(group_mac(group)) for group in groups.values()}


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_to_text_and_back(octets: bytes) -> None:
    text = format_mac(octets)
    assert len(text) == 17
    assert text == text.lower()
    assert parse_mac(text) == parse_mac(text.upper()) == octets


def test_a_mac_as_bsd_and_solaris_print_it() -> None:
    assert parse_mac("0:0:5e:0:1:A") == b"\x00\x00\x5e\x00\x01\x0a"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00:00:5e:00:01",
        "00:00:5e:00:01:01:01",
        "00:00:5e:00:01:",
        ":00:00:5e:00:01:01",
        "00::00:5e:00:01:01",
        "00:00:5e:00:01:1ff",
        "00:00:5e:00:01:001",
        "00:00:5e:00:01:fg",
        "00:00:5e:00:01:-1",
        "00:00:5e:00:01:+1",
        "00:00:5e:00:01: 1",
        "00:00:5e:00:01:1_",
        "00:00:5e:00:01:\N{ARABIC-INDIC DIGIT ONE}",
        "00-00-5e-00-01-01",
        "0000.5e00.0101",
        None,
        1,
        b"00:00:5e:00:01:01",
        bytes(6),
    ],
)
def test_what_is_no_mac_is_named(value: Any) -> None:
    with pytest.raises(ConfigError, match="is not a MAC address") as caught:
        parse_mac(value)
    assert str(caught.value).startswith(repr(value))


def test_the_addresses_of_a_group_are_a_list() -> None:
    for addresses in ("192.0.2.1", b"192.0.2.1", None, 5):
        with pytest.raises(ConfigError) as caught:
            canonical_order(addresses)
        assert str(caught.value) == f"addresses is {addresses!r}; give a list of addresses"


def test_a_hosts_address_is_a_unicast_one() -> None:
    for address in ("0.0.0.0", "255.255.255.255", "224.0.0.18", "::", "ff02::12"):
        with pytest.raises(ConfigError, match="is not a host's address; give a unicast one"):
            parse_host_address(address)
    assert parse_host_address("192.0.2.1/24") == IPv4Address("192.0.2.1")


def test_the_addresses_of_a_host_are_a_list_in_which_each_counts_once() -> None:
    assert parse_host_addresses(["fe80::1%em0", "192.0.2.1", "fe80::1/64"]) == (
        IPv6Address("fe80::1"),
        IPv4Address("192.0.2.1"),
    )
    for addresses in ("192.0.2.1", b"192.0.2.1", None, 5):
        with pytest.raises(ConfigError) as caught:
            parse_host_addresses(addresses)
        assert str(caught.value) == f"addresses is {addresses!r}; give a list of addresses"
