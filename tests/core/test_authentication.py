"""carpproto.core.authentication: passphrase to key, and the HMAC over identity and counter."""

from __future__ import annotations

import hashlib
import hmac
import traceback
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpproto.core.addresses import canonical_order, parse_mac
from carpproto.core.advertisement import Advertisement, decode, encode
from carpproto.core.authentication import (
    _FREEBSD_RULES,
    KEY_LENGTH,
    Authenticator,
    key_from_bytes,
    key_from_passphrase,
    make_key,
)
from carpproto.core.errors import ConfigError, DecodeError
from carpproto.core.frame import peel, peel_payload
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
from tests.helpers import captures, carries_carp, description, descriptions, frames

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
BSD_CUT = [FREEBSD, FREEBSD_10, FREEBSD_12, FREEBSD_14, OPENBSD]

# FreeBSD Journal, September/October 2022, "Introduction to CARP", figure 5.
COUNTER = 10009968722567644910
PRINTED = Advertisement(
    vhid=1,
    advbase=1,
    advskew=0,
    counter=COUNTER,
    digest=bytes.fromhex("fb7f7879a6498338bee8bdf427c2b3c3a3c23fd0"),
    checksum=0x04BD,
)
KEY = b"randompass" + bytes(10)
ADDRESSES = ["192.0.2.1", "2001:db8::1", "fe80::50"]


def authenticator(**changes: Any) -> Authenticator:
    """That of the printed advertisement, with changes."""
    return Authenticator(**{"vhid": 1, "addresses": ["192.168.1.50"], "key": KEY, **changes})


def flipped(octets: bytes, bit: int) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# The printed advertisement.


@pytest.mark.parametrize("profile", [None, *BSD_CUT, UCARP])
def test_the_printed_advertisement(profile: Profile | None) -> None:
    printed = Authenticator(
        vhid=1, passphrase="randompass", addresses=["192.168.1.50"], profile=profile
    )
    assert printed.digest(COUNTER) == PRINTED.digest
    assert printed.verify(PRINTED)
    signed = printed.sign(Advertisement(vhid=1, counter=COUNTER))
    assert encode(signed) == encode(PRINTED)
    assert decode(encode(signed)).checksum == 0x04BD


def test_the_printed_advertisement_by_its_key() -> None:
    assert authenticator().verify(PRINTED)
    assert authenticator(key=b"randompass").verify(PRINTED)


def test_what_is_not_covered_may_be_anything() -> None:
    """So a replayed advertisement with another advskew is as authentic as the first."""
    for changes in (
        {"advbase": 255, "advskew": 255},
        {"demote": 255},
        {"authlen": 0},
        {"type": 2},
        {"version": 3},
        {"checksum": None},
    ):
        assert authenticator().verify(PRINTED._replace(**changes))


@pytest.mark.parametrize("bit", range(64))
def test_a_flipped_bit_of_the_counter(bit: int) -> None:
    counter = COUNTER ^ 1 << bit
    assert not authenticator().verify(PRINTED._replace(counter=counter))
    assert authenticator().digest(counter) != PRINTED.digest


@pytest.mark.parametrize("bit", range(160))
def test_a_flipped_bit_of_the_digest(bit: int) -> None:
    assert not authenticator().verify(PRINTED._replace(digest=flipped(PRINTED.digest, bit)))


@pytest.mark.parametrize("bit", range(160))
def test_a_flipped_bit_of_the_key(bit: int) -> None:
    assert not authenticator(key=flipped(KEY, bit)).verify(PRINTED)


@pytest.mark.parametrize("bit", range(32))
def test_a_flipped_bit_of_the_address(bit: int) -> None:
    other = IPv4Address(int(IPv4Address("192.168.1.50")) ^ 1 << bit)
    assert not authenticator(addresses=[other]).verify(PRINTED)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_the_vhid(bit: int) -> None:
    vhid = 1 ^ 1 << bit
    assert not authenticator().verify(PRINTED._replace(vhid=vhid))
    if vhid:
        other = authenticator(vhid=vhid)
        assert not other.verify(PRINTED)
        assert not other.verify(PRINTED._replace(vhid=vhid))


@pytest.mark.parametrize("bit", range(128))
def test_a_flipped_bit_of_an_ipv6_address(bit: int) -> None:
    addresses = [ip_address("192.168.1.50"), ip_address("2001:db8:1::50")]
    signed = authenticator(addresses=addresses).sign(PRINTED)
    other = ip_address((int(addresses[1]) ^ 1 << bit).to_bytes(16, "big"))
    assert authenticator(addresses=addresses[::-1]).verify(signed)
    assert not authenticator(addresses=[addresses[0], other]).verify(signed)


def test_one_address_more_or_less() -> None:
    for addresses in ([], ["192.168.1.50", "192.168.1.51"], ["192.168.1.50", "fe80::1"], ["::1"]):
        assert not authenticator(addresses=addresses).verify(PRINTED)


# The HMAC of the standard library, over the message as it is documented.


@given(
    st.integers(1, 255),
    st.lists(st.ip_addresses(), max_size=6),
    st.binary(max_size=20),
    st.integers(0, 2**64 - 1),
    st.one_of(st.none(), st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":"))),
)
def test_against_the_standard_library(
    vhid: int, addresses: Any, key: bytes, counter: int, mac: str | None
) -> None:
    message = b"\2\1" + (parse_mac(mac) if mac else b"") + bytes([vhid])
    message += b"".join(address.packed for address in canonical_order(addresses))
    message += counter.to_bytes(8, "big")
    digest = hmac.digest(key.ljust(20, b"\0"), message, "sha1")
    ours = Authenticator(vhid=vhid, addresses=addresses, key=key, mac=mac)
    assert ours.digest(counter) == digest
    advertisement = Advertisement(vhid=vhid, counter=counter, digest=digest)
    assert ours.verify(advertisement)
    assert ours.sign(advertisement) == advertisement
    assert not ours.verify(advertisement._replace(digest=digest[::-1]))


def test_one_authenticator_serves_any_number_of_counters() -> None:
    ours = authenticator()
    first = [ours.digest(counter) for counter in range(100)]
    assert [ours.digest(counter) for counter in range(100)] == first
    assert len(set(first)) == 100


# Every recorded advertisement.


def configured(recording: dict[str, Any]) -> Iterator[tuple[int, str, frozenset[str]]]:
    """vhid, key and virtual addresses of every group, after each step of a recording."""
    keys: dict[tuple[str, int], str] = {}
    addresses: dict[tuple[str, int], frozenset[str]] = {}
    for event in recording["events"]:
        if event["event"] == "virtual_host":
            keys[event["node"], event["vhid"]] = event["key"]
        elif event["event"] == "boot":
            keys = {group: key for group, key in keys.items() if group[0] != event["node"]}
            addresses = {group: kept for group, kept in addresses.items() if group in keys}
        elif event["event"] in ("address_added", "address_removed") and event["vhid"]:
            group = event["node"], event["vhid"]
            changed = {event["address"]}
            before = addresses.get(group, frozenset())
            added = event["event"] == "address_added"
            addresses[group] = before | changed if added else before - changed
        for group, key in keys.items():
            yield group[1], key, addresses.get(group, frozenset())


def advertisements(frame: bytes) -> list[Advertisement]:
    """The one that a frame carries, whatever its checksum; none if it is cut or VRRP's."""
    try:
        payload = peel_payload(frame)
    except DecodeError:
        return []
    if payload is None or len(payload) < 36 or payload[0] >> 4 != 2:
        return []
    fields = Advertisement(
        vhid=payload[1],
        counter=int.from_bytes(payload[8:16], "big"),
        digest=payload[16:36],
    )
    return [fields]


@pytest.mark.parametrize(
    ("folder", "authentic", "refused"),
    [("freebsd", 707, 6), ("netbsd", 326, 0), ("ucarp", 1383, 5)],
)
def test_every_recorded_advertisement(folder: str, authentic: int, refused: int) -> None:
    """All but those that were made to fail are authentic."""
    found = [0, 0]
    for path in captures(folder):
        recording = description(path)
        made_to_fail = {
            bytes.fromhex(event["frame"])
            for event in recording["events"]
            if event["event"] == "inject"
            and event.get("dropped") in ("badauth", "badvhid", "digest", "vhid")
        }
        groups = [
            Authenticator(vhid=vhid, key=bytes.fromhex(key), addresses=addresses)
            for vhid, key, addresses in dict.fromkeys(configured(recording))
        ]
        for frame in frames(path):
            for advertisement in advertisements(frame):
                verified = any(group.verify(advertisement) for group in groups)
                assert verified is (frame not in made_to_fail)
                found[not verified] += 1
    assert found == [authentic, refused]


@pytest.mark.parametrize("folder", ["freebsd", "ucarp"])
def test_every_recorded_key_follows_from_its_passphrase(folder: str) -> None:
    profile = {"freebsd": FREEBSD, "ucarp": UCARP}[folder]
    keys = recorded_keys(folder)
    assert len(keys) > 3
    for passphrase, key in keys:
        assert make_key(passphrase=passphrase, key=None, rules=profile).hex() == key


def recorded_keys(folder: str, part: str = "") -> set[tuple[str | None, str]]:
    """Those that were given as text or not at all; rawkey20's came through the ioctl."""
    return {
        (event["passphrase"], event["key"])
        for name, recording in descriptions(folder).items()
        for event in recording["events"]
        if event["event"] == "virtual_host" and part in name and "rawkey" not in name
    }


def test_netbsd_keys_as_its_ifconfig_made_them() -> None:
    """The other recordings' keys came through the ioctl, whole."""
    keys = recorded_keys("netbsd", "ifconfig") | recorded_keys("netbsd", "pass-none")
    assert len(keys) == 4
    for passphrase, key in keys:
        assert make_key(passphrase=passphrase, key=None, rules=NETBSD).hex() == key


# From passphrase to key.


def key_of(passphrase: str, profile: Profile) -> bytes:
    key = key_from_passphrase(passphrase, profile)
    assert len(key) == KEY_LENGTH == 20
    return key


@pytest.mark.parametrize("profile", PROFILES, ids=NAMES)
def test_no_passphrase_is_20_zero_bytes(profile: Profile) -> None:
    assert key_of("", profile) == bytes(20)
    assert make_key(passphrase=None, key=None, rules=profile) == bytes(20)
    zeros = Authenticator(vhid=1, key=bytes(20), profile=profile).digest(7)
    assert Authenticator(vhid=1, profile=profile).digest(7) == zeros
    assert Authenticator(vhid=1, passphrase="", profile=profile).digest(7) == zeros
    assert Authenticator(vhid=1, key=b"", profile=profile).digest(7) == zeros


@pytest.mark.parametrize("passphrase", ["secret", "0xabcd", "x" * 18, "x" * 19, "x" * 25])
def test_without_a_profile_freebsd_s_rules_apply(passphrase: str) -> None:
    ours = Authenticator(vhid=1, passphrase=passphrase, addresses=ADDRESSES)
    freebsd = Authenticator(vhid=1, passphrase=passphrase, addresses=ADDRESSES, profile=FREEBSD)
    assert ours.digest(7) == freebsd.digest(7)


@pytest.mark.parametrize("profile", BSD_CUT)
def test_ifconfig_keeps_19_bytes(profile: Profile) -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    assert key_of("secret", profile) == b"secret" + bytes(14)
    assert key_of(alphabet[:19], profile) == b"abcdefghijklmnopqrs\0"
    assert key_of(alphabet[:20], profile) == b"abcdefghijklmnopqrs\0"
    assert key_of(alphabet, profile) == b"abcdefghijklmnopqrs\0"
    assert key_of("0x0102", profile) == b"0x0102" + bytes(14)


def test_netbsd_ifconfig_drops_the_last_character() -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    assert key_of("s", NETBSD) == bytes(20)
    assert key_of("secret", NETBSD) == b"secre" + bytes(15)
    assert key_of(alphabet[:19], NETBSD) == b"abcdefghijklmnopqr\0\0"
    assert key_of(alphabet[:20], NETBSD) == b"abcdefghijklmnopqrs\0"
    assert key_of(alphabet, NETBSD) == b"abcdefghijklmnopqrs\0"


def test_netbsd_ifconfig_reads_hexadecimal() -> None:
    """And drops the last byte of that too: setcarp_passwd sees bytes, however typed."""
    assert key_of("0x0102030405", NETBSD) == bytes([1, 2, 3, 4]) + bytes(16)
    assert key_of("0XaBcDeF", NETBSD) == b"\xab\xcd" + bytes(18)
    assert key_of("0x" + "ff" * 19, NETBSD) == b"\xff" * 18 + bytes(2)
    assert key_of("0x" + "ff" * 20, NETBSD) == b"\xff" * 19 + bytes(1)
    assert key_of("0x" + "ff" * 21, NETBSD) == b"\xff" * 19 + bytes(1)
    assert key_of("0x", NETBSD) == key_of("0xff", NETBSD) == bytes(20)


def test_netbsd_ifconfig_stops_at_a_zero_byte() -> None:
    """strlcpy takes it for the end of a string."""
    assert key_of("0x010200030405", NETBSD) == b"\1\2" + bytes(18)
    assert key_of("0x00ffff", NETBSD) == bytes(20)


@pytest.mark.parametrize(
    "passphrase",
    [
        "0x1",
        "0x010",
        "0xswordfis",
        "0x01 02",
        "0x 0102",
        "0x0102 ",
        "0x01:02",
        "0x\udcff",
        "0x0x01",
    ],
)
def test_netbsd_ifconfig_refuses_what_is_not_hexadecimal(passphrase: str) -> None:
    with pytest.raises(ConfigError, match="not an even number of hexadecimal digits") as caught:
        key_from_passphrase(passphrase, NETBSD)
    assert passphrase[2:] not in str(caught.value)


def test_ucarp_refuses_more_than_19_bytes() -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    assert key_of(alphabet[:19], UCARP) == b"abcdefghijklmnopqrs\0"
    with pytest.raises(ConfigError, match=r"has 20 bytes; this system takes 19 at the most"):
        key_from_passphrase(alphabet[:20], UCARP)
    with pytest.raises(ConfigError, match=r"has 20 bytes"):
        key_from_passphrase("\N{LATIN SMALL LETTER E WITH ACUTE}" * 10, UCARP)


@pytest.mark.parametrize("profile", [*BSD_CUT, UCARP])
def test_a_passphrase_is_utf_8_and_cut_between_bytes(profile: Profile) -> None:
    assert key_of("caf\u00e9", profile) == b"caf\xc3\xa9" + bytes(15)
    if not profile.passphrase_too_long_refused:
        assert key_of("x" * 18 + "\u00e9", profile) == b"x" * 18 + b"\xc3\0"


def test_netbsd_drops_a_byte_of_utf_8() -> None:
    assert key_of("caf\u00e9", NETBSD) == b"caf\xc3" + bytes(16)


def test_bytes_that_are_no_utf_8_come_as_surrogates() -> None:
    """As os.fsdecode and sys.argv have them."""
    assert key_of("caf\udce9", FREEBSD) == b"caf\xe9" + bytes(16)


@pytest.mark.parametrize("profile", PROFILES, ids=NAMES)
@pytest.mark.parametrize("passphrase", ["\ud800", "secret\udbff", "se\udc7fcret"])
def test_surrogates_that_stand_for_no_byte(profile: Profile, passphrase: str) -> None:
    with pytest.raises(ConfigError, match=r"a character that UTF-8 cannot encode$"):
        key_from_passphrase(passphrase, profile)


@pytest.mark.parametrize("profile", PROFILES, ids=NAMES)
@pytest.mark.parametrize("passphrase", ["\0", "sec\0ret", "secret\0", "0x00\0"])
def test_a_nul_in_a_passphrase(profile: Profile, passphrase: str) -> None:
    with pytest.raises(ConfigError, match=r" NUL character, which no tool accepts$"):
        key_from_passphrase(passphrase, profile)


@pytest.mark.parametrize("passphrase", [b"secret", b"", 0, 1, False, ["secret"], [], ()])
def test_a_passphrase_that_is_no_text(passphrase: Any) -> None:
    kind = type(passphrase).__name__
    with pytest.raises(ConfigError, match=f"the passphrase is of type {kind}; give text"):
        key_from_passphrase(passphrase, FREEBSD)
    with pytest.raises(ConfigError, match=f"the passphrase is of type {kind}; give text"):
        Authenticator(vhid=1, passphrase=passphrase)


@given(st.text(max_size=30), st.sampled_from(PROFILES))
def test_arbitrary_text_is_a_key_or_a_config_error(passphrase: str, profile: Profile) -> None:
    try:
        key = key_from_passphrase(passphrase, profile)
    except ConfigError:
        return
    assert len(key) == 20
    assert key[19] == 0


# A key of bytes.


def test_a_key_is_used_as_it_is() -> None:
    assert key_from_bytes(b"") == bytes(20)
    assert key_from_bytes(b"\0\1\0") == b"\0\1" + bytes(18)
    assert key_from_bytes(bytes(range(20))) == bytes(range(20))
    buffers: list[Any] = [bytearray(b"abc"), memoryview(b"abc")]
    for buffer in buffers:
        assert key_from_bytes(buffer) == b"abc" + bytes(17)
    for profile in PROFILES:
        assert make_key(passphrase=None, key=b"abcdefghijklmnopqrst", rules=profile) == (
            b"abcdefghijklmnopqrst"
        )


def test_a_key_of_21_bytes() -> None:
    with pytest.raises(ConfigError, match="the key has 21 bytes; a key has 20 at the most"):
        key_from_bytes(bytes(21))


@pytest.mark.parametrize("key", ["secret", 20, [1, 2]])
def test_a_key_that_is_not_bytes(key: Any) -> None:
    with pytest.raises(ConfigError, match=f"the key is of type {type(key).__name__}; give bytes"):
        key_from_bytes(key)


def test_passphrase_and_key() -> None:
    with pytest.raises(ConfigError, match=r"^both a passphrase and a key .*; give one of them$"):
        make_key(passphrase="secret", key=b"secret", rules=FREEBSD)
    with pytest.raises(ConfigError, match="both a passphrase and a key were given"):
        Authenticator(vhid=1, passphrase="", key=b"")


def test_the_rules_without_a_profile_are_those_of_freebsd() -> None:
    for name, value in _FREEBSD_RULES._asdict().items():
        assert getattr(FREEBSD, name) is value


# Link-local virtual addresses.


def test_all_but_openbsd_hash_link_local_addresses() -> None:
    for profile in PROFILES:
        ours = Authenticator(vhid=1, addresses=ADDRESSES, key=KEY, profile=profile)
        without = Authenticator(vhid=1, addresses=ADDRESSES[:2], key=KEY, profile=profile)
        assert (ours.digest(1) == without.digest(1)) is (profile is OPENBSD)


def test_openbsd_sends_without_and_accepts_both() -> None:
    freebsd = Authenticator(vhid=1, addresses=ADDRESSES, key=KEY, profile=FREEBSD)
    openbsd = Authenticator(vhid=1, addresses=ADDRESSES, key=KEY, profile=OPENBSD)
    with_it = freebsd.sign(Advertisement(vhid=1, counter=3))
    without = openbsd.sign(Advertisement(vhid=1, counter=3))
    assert with_it.digest != without.digest
    assert openbsd.verify(with_it)
    assert openbsd.verify(without)
    assert freebsd.verify(with_it)
    assert not freebsd.verify(without)
    assert not openbsd.verify(with_it._replace(counter=4))
    assert not openbsd.verify(without._replace(counter=4))


def test_sending_with_and_accepting_both() -> None:
    lenient = FREEBSD.replace(link_local_either=True)
    ours = Authenticator(vhid=1, addresses=ADDRESSES, key=KEY, profile=lenient)
    strict = Authenticator(vhid=1, addresses=ADDRESSES, key=KEY, profile=FREEBSD)
    openbsd = Authenticator(vhid=1, addresses=ADDRESSES, key=KEY, profile=OPENBSD)
    advertisement = Advertisement(vhid=1, counter=3)
    assert ours.digest(3) == strict.digest(3)
    assert ours.verify(strict.sign(advertisement))
    assert ours.verify(openbsd.sign(advertisement))


def test_sending_without_and_accepting_nothing_else() -> None:
    strict = OPENBSD.replace(link_local_either=False)
    ours = Authenticator(vhid=1, addresses=ADDRESSES, key=KEY, profile=strict)
    freebsd = Authenticator(vhid=1, addresses=ADDRESSES, key=KEY, profile=FREEBSD)
    advertisement = Advertisement(vhid=1, counter=3)
    assert ours.verify(ours.sign(advertisement))
    assert not ours.verify(freebsd.sign(advertisement))


def test_ipv4_link_local_addresses_are_like_any_other() -> None:
    one, other = (
        Authenticator(vhid=1, addresses=addresses, key=KEY, profile=OPENBSD).digest(1)
        for addresses in (["169.254.0.1"], [])
    )
    assert one != other


# A MAC that an operator gave an OpenBSD carp interface.


def test_a_mac_is_part_of_the_message() -> None:
    plain, one, same, other = (
        authenticator(mac=mac).digest(COUNTER)
        for mac in (None, "52:54:00:00:00:0a", "52:54:0:0:0:A", "52:54:00:00:00:0b")
    )
    assert len({plain, one, other}) == 3
    assert one == same
    with pytest.raises(ConfigError, match="'em0' is not a MAC address"):
        authenticator(mac="em0")


# Errors, and advertisements made by hand.


@pytest.mark.parametrize("vhid", [0, 256, -1, True, False, "1", 1.0, None])
def test_a_vhid_out_of_range(vhid: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Authenticator(vhid=vhid)
    assert str(caught.value) == f"vhid {vhid!r} is out of range; it is 1 to 255"


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match="'em0' is not an address"):
        authenticator(addresses=["em0"])


@pytest.mark.parametrize("counter", [-1, 2**64, None, "1", 1.0])
def test_a_counter_that_does_not_fit(counter: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        authenticator().digest(counter)
    assert str(caught.value) == f"counter {counter!r} does not fit; it is 0 to 2**64 - 1"
    with pytest.raises(ConfigError, match="does not fit"):
        authenticator().sign(PRINTED._replace(counter=counter))


@pytest.mark.parametrize(
    "changes",
    [
        {"counter": -1},
        {"counter": 2**64},
        {"counter": None},
        {"counter": "1"},
        {"digest": None},
        {"digest": "fb7f"},
        {"digest": "\u00e9" * 20},
        {"digest": b""},
        {"digest": PRINTED.digest[:19]},
        {"digest": PRINTED.digest + b"\0"},
        {"vhid": None},
        {"vhid": "1"},
    ],
)
@pytest.mark.parametrize("profile", [FREEBSD, OPENBSD])
def test_what_no_wire_can_carry_is_not_authentic(profile: Profile, changes: Any) -> None:
    ours = authenticator(profile=profile, addresses=["192.168.1.50", "fe80::1"])
    assert ours.verify(ours.sign(PRINTED))
    assert not ours.verify(ours.sign(PRINTED)._replace(**changes))


def test_signing_for_another_vhid() -> None:
    with pytest.raises(ConfigError, match="of vhid 2 cannot be signed for vhid 1"):
        authenticator().sign(PRINTED._replace(vhid=2))


def test_signing_changes_digest_and_checksum_only() -> None:
    before = PRINTED._replace(digest=bytes(20), advskew=7, demote=9, type=3, authlen=5)
    assert authenticator().sign(before) == before._replace(digest=PRINTED.digest, checksum=None)


def test_sha1_is_asked_for_as_a_fips_build_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def new(name: str, data: bytes = b"", *, usedforsecurity: bool = True) -> Any:
        asked.append((name, usedforsecurity))
        return hashlib.sha1(data)

    monkeypatch.setattr(hashlib, "new", new)
    assert authenticator().verify(PRINTED)
    assert asked == [("sha1", False), ("sha1", False)]


# Secrets.


def test_no_secret_shows() -> None:
    ours = Authenticator(vhid=1, passphrase="swordfish", addresses=["192.0.2.1/24", "fe80::1"])
    assert repr(ours) == "Authenticator(vhid=1, addresses=['192.0.2.1', 'fe80::1'])"
    assert str(ours) == repr(ours)
    assert "swordfish" not in repr([getattr(ours, name) for name in Authenticator.__slots__])


@pytest.mark.parametrize(
    ("given_", "profile"),
    [
        ({"passphrase": "swordfish\0"}, FREEBSD),
        ({"passphrase": "swordfish\ud800"}, FREEBSD),
        ({"passphrase": "0xswordfish"}, NETBSD),
        ({"passphrase": "swordfish" * 3}, UCARP),
        ({"passphrase": b"swordfish"}, FREEBSD),
        ({"key": "swordfish"}, FREEBSD),
        ({"key": b"swordfish" * 3}, FREEBSD),
        ({"key": b"swordfish", "passphrase": "swordfish"}, FREEBSD),
    ],
)
def test_no_secret_in_an_error_and_what_is_printed_with_it(given_: Any, profile: Profile) -> None:
    with pytest.raises(ConfigError) as caught:
        Authenticator(vhid=1, profile=profile, **given_)
    error = caught.value
    assert "swordfish" not in str(error)
    assert "swordfish" not in repr(error)
    assert "swordfish" not in "".join(traceback.format_exception(error))


def test_the_recordings_of_both_families_hash_both() -> None:
    """In dual-stack groups IPv4 and IPv6 advertisements carry the same list of addresses."""
    path = next(path for path in captures("freebsd") if path.stem == "dual")
    *_, (vhid, key, addresses) = configured(description(path))
    group = Authenticator(vhid=vhid, key=bytes.fromhex(key), addresses=addresses)
    assert {address.version for address in group.addresses} == {4, 6}
    last: dict[int, bool] = {}
    for frame in frames(path):
        if carries_carp(frame):
            packet = peel(frame)
            assert packet is not None
            last[packet.family] = group.verify(decode(packet.payload))
    assert last == {4: True, 6: True}


def test_what_is_no_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="profile 'freebsd' is no Profile; give FREEBSD"):
        Authenticator(vhid=1, profile="freebsd")
