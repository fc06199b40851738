"""carpproto.core.advertisement: 36 bytes to an Advertisement and back."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from struct import pack, unpack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpproto.core.advertisement import (
    HOP_LIMIT,
    LENGTH,
    PROTOCOL,
    VERSION,
    Advertisement,
    decode,
    encode,
    pseudo_header,
)
from carpproto.core.errors import ConfigError, DecodeError, Reason
from carpproto.core.frame import peel_payload
from tests.helpers import carp_frames, recorded

# FreeBSD Journal, September/October 2022, "Introduction to CARP", figure 5.
COUNTER = 10009968722567644910
DIGEST = bytes.fromhex("fb7f7879a6498338bee8bdf427c2b3c3a3c23fd0")
PRINTED = bytes.fromhex("21010007000104bd") + COUNTER.to_bytes(8, "big") + DIGEST

BYTE = st.integers(0, 255)
ADVERTISEMENTS = st.builds(
    Advertisement,
    vhid=BYTE,
    advbase=BYTE,
    advskew=BYTE,
    demote=BYTE,
    counter=st.integers(0, 2**64 - 1),
    digest=st.binary(min_size=20, max_size=20),
    version=st.just(2),
    type=st.integers(0, 15),
    authlen=BYTE,
    checksum=st.none(),
)


def internet_checksum(data: bytes) -> int:
    """As RFC 1071, section 4.1 has it."""
    total: int = sum(unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_checksum(payload: bytes) -> bytes:
    zeroed = payload[:6] + b"\0\0" + payload[8:]
    return payload[:6] + pack(">H", internet_checksum(zeroed[:36])) + payload[8:]


def refusal(payload: bytes, pseudo: bytes = b"") -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(payload, pseudo_header=pseudo)
    return caught.value


def recorded_payloads(folder: str) -> list[bytes]:
    """All but that of the one fragment, which ucarp was sent."""
    payloads = []
    for frame in carp_frames(folder):
        with suppress(DecodeError):
            payloads.append(peel_payload(frame) or b"")
    assert b"" not in payloads
    assert len(payloads) == len(carp_frames(folder)) - (folder == "ucarp")
    return payloads


RECORDED = {folder: recorded_payloads(folder) for folder in ("freebsd", "netbsd", "ucarp")}
ALL = [payload for payloads in RECORDED.values() for payload in payloads]


def test_the_numbers_of_the_protocol() -> None:
    assert (PROTOCOL, LENGTH, VERSION, HOP_LIMIT) == (112, 36, 2, 255)


def test_the_printed_advertisement() -> None:
    advertisement = decode(PRINTED)
    assert advertisement == Advertisement(
        vhid=1,
        advbase=1,
        advskew=0,
        demote=0,
        counter=COUNTER,
        digest=DIGEST,
        version=2,
        type=1,
        authlen=7,
        checksum=0x04BD,
    )
    assert encode(advertisement) == PRINTED
    assert encode(advertisement._replace(checksum=None)) == PRINTED


def test_each_field_has_its_place() -> None:
    payload = with_checksum(bytes([0x2E, 2, 3, 4, 5, 6, 0, 0, *range(8, 36)]))
    advertisement = decode(payload)
    assert (advertisement.version, advertisement.type) == (2, 0xE)
    assert advertisement.vhid == 2
    assert advertisement.advskew == 3
    assert advertisement.authlen == 4
    assert advertisement.demote == 5
    assert advertisement.advbase == 6
    assert advertisement.checksum == int.from_bytes(payload[6:8], "big")
    assert advertisement.counter == 0x08090A0B0C0D0E0F
    assert advertisement.digest == bytes(range(16, 36))
    assert type(advertisement.digest) is bytes


def test_the_defaults_are_an_advertisement_of_1_s() -> None:
    advertisement = Advertisement(vhid=1)
    assert encode(advertisement)[:6] == bytes.fromhex("210100070001")
    assert advertisement.interval == 256
    assert advertisement.checksum is None


def test_the_interval_in_256ths_of_a_second() -> None:
    assert Advertisement(1, advbase=1, advskew=100).interval == 356
    assert Advertisement(1, advbase=0, advskew=1).interval == 1
    assert Advertisement(1, advbase=255, advskew=255).interval == 65535


def test_every_recorded_advertisement_comes_back_byte_for_byte() -> None:
    accepted = 0
    for payload in ALL:
        try:
            advertisement = decode(payload)
        except DecodeError:
            continue
        accepted += 1
        assert encode(advertisement) == payload[:36]
        assert encode(advertisement._replace(checksum=None)) == payload[:36]
    assert accepted > 2000


@pytest.mark.parametrize(
    ("folder", "refused"),
    [
        # Two releases, each given one bad checksum, one packet of 30 bytes, one version 3.
        ("freebsd", {Reason.BADSUM: 2, Reason.BADLEN: 2, Reason.BADVER: 2}),
        # Summed with a pseudo-header, in dual-stack-bp1120.
        ("netbsd", {Reason.BADSUM: 11}),
        # One bad checksum; 33 of the fork, which sends 0 over IPv6.
        ("ucarp", {Reason.BADSUM: 34, Reason.BADLEN: 3, Reason.BADVER: 2}),
    ],
)
def test_the_recorded_ones_that_are_refused(folder: str, refused: dict[Reason, int]) -> None:
    found: Counter[Reason] = Counter()
    for payload in RECORDED[folder]:
        try:
            decode(payload)
        except DecodeError as error:
            found[error.reason] += 1
    assert found == refused


@given(st.binary())
def test_arbitrary_bytes_are_an_advertisement_or_a_decode_error(payload: bytes) -> None:
    check(payload)


@given(st.binary(min_size=36, max_size=80))
def test_arbitrary_bytes_with_a_right_checksum(payload: bytes) -> None:
    check(with_checksum(payload))


@given(st.binary(min_size=36, max_size=80))
def test_arbitrary_bytes_of_version_2_with_a_right_checksum(payload: bytes) -> None:
    payload = with_checksum(b"\x21" + payload[1:])
    assert decode(payload).checksum == int.from_bytes(payload[6:8], "big")
    check(payload)


def check(payload: bytes) -> None:
    """Refused exactly for what RFC 1071 and the version nibble say, in FreeBSD's order."""
    if len(payload) < 36:
        error = refusal(payload)
        assert (error.reason, error.offset) == (Reason.BADLEN, len(payload))
    elif internet_checksum(payload[:36]) != 0:
        error = refusal(payload)
        assert (error.reason, error.offset) == (Reason.BADSUM, 6)
    elif payload[0] >> 4 != 2:
        error = refusal(payload)
        assert (error.reason, error.offset) == (Reason.BADVER, 0)
    else:
        assert encode(decode(payload)) == payload[:36]


def test_flipped_bytes_of_every_recorded_advertisement() -> None:
    rng = random.Random(112)
    for payload in ALL:
        damaged = bytearray(payload)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        check(bytes(damaged))
        if len(damaged) >= 36:
            check(with_checksum(bytes(damaged)))
        check(payload[: rng.randrange(len(payload))])


def test_every_single_flipped_bit_is_refused() -> None:
    for bit in range(36 * 8):
        damaged = bytearray(PRINTED)
        damaged[bit // 8] ^= 1 << bit % 8
        assert refusal(bytes(damaged)).reason is Reason.BADSUM


@pytest.mark.parametrize("length", range(36))
def test_fewer_than_36_bytes(length: int) -> None:
    error = refusal(PRINTED[:length])
    assert (error.reason, error.offset) == (Reason.BADLEN, length)
    assert f"{length} bytes" in str(error)
    assert "has 36" in str(error)


@pytest.mark.parametrize("trailer", [b"\0", b"\xff", b"\1\2\3", bytes(26), b"\xff" * 1000])
def test_bytes_after_the_36_are_ignored(trailer: bytes) -> None:
    assert decode(PRINTED + trailer) == decode(PRINTED)
    damaged = PRINTED[:35] + b"\0" + trailer
    assert refusal(damaged).reason is Reason.BADSUM


def test_a_wrong_checksum_is_told_with_the_right_one() -> None:
    error = refusal(PRINTED[:6] + b"\x04\xbe" + PRINTED[8:])
    assert str(error) == "badsum at byte 6: checksum 0x04be, the bytes need 0x04bd"


@pytest.mark.parametrize("version", [0, 1, 3, 15])
def test_another_version(version: int) -> None:
    """3 is VRRPv3, which FreeBSD 15 speaks on the same protocol number when told to."""
    error = refusal(with_checksum(bytes([version << 4 | 1]) + PRINTED[1:]))
    assert (error.reason, error.offset) == (Reason.BADVER, 0)
    assert str(error) == f"badver at byte 0: version {version}, CARP is version 2"


def test_the_checksum_comes_before_the_version() -> None:
    assert refusal(b"\x31" + PRINTED[1:]).reason is Reason.BADSUM


@pytest.mark.parametrize("first", [0x20, 0x22, 0x2F])
def test_the_type_is_not_looked_at(first: int) -> None:
    assert decode(with_checksum(bytes([first]) + PRINTED[1:])).type == first & 15


def test_neither_vhid_nor_authlen_nor_demote_is_looked_at() -> None:
    advertisement = Advertisement(vhid=0, authlen=0, demote=255)
    assert decode(encode(advertisement))[:-1] == advertisement[:-1]


# The two zeros of ones' complement.


def summing_to_zero() -> bytes:
    """An advertisement whose checksum comes out as 0x0000."""
    payload = encode(Advertisement(vhid=1))
    filled = payload[:34] + payload[6:8]  # what was the checksum becomes the last word
    again = encode(decode(with_checksum(filled))._replace(checksum=None))
    assert again[6:8] == b"\0\0"
    return again


def test_a_checksum_of_zero_may_arrive_as_all_ones() -> None:
    zero = summing_to_zero()
    ones = zero[:6] + b"\xff\xff" + zero[8:]
    assert decode(zero).checksum == 0x0000
    assert decode(ones).checksum == 0xFFFF
    assert encode(decode(zero)) == zero
    assert encode(decode(ones)) == ones
    assert encode(decode(ones)._replace(checksum=None)) == zero


@pytest.mark.parametrize("checksum", [0x0001, 0xFFFE])
def test_next_to_the_two_zeros(checksum: int) -> None:
    zero = summing_to_zero()
    error = refusal(zero[:6] + pack(">H", checksum) + zero[8:])
    assert error.reason is Reason.BADSUM
    assert "need 0x0000" in str(error)


def test_the_two_zeros_with_another_version() -> None:
    zero = encode(Advertisement(vhid=1, version=3))
    zero = with_checksum(zero[:34] + zero[6:8])
    assert zero[6:8] == b"\0\0"
    assert refusal(zero).reason is Reason.BADVER
    assert refusal(zero[:6] + b"\xff\xff" + zero[8:]).reason is Reason.BADVER


def test_nothing_but_zeros() -> None:
    """The sum of zeros alone is 0x0000, so their checksum is 0xffff and no other."""
    error = refusal(bytes(36))
    assert error.reason is Reason.BADSUM
    assert "checksum 0x0000, the bytes need 0xffff" in str(error)
    assert refusal(bytes(6) + b"\xff\xff" + bytes(28)).reason is Reason.BADVER
    nothing = Advertisement(vhid=0, version=0, type=0, authlen=0, advbase=0)
    assert encode(nothing) == bytes(6) + b"\xff\xff" + bytes(28)


def test_nothing_but_ones() -> None:
    assert refusal(b"\xff" * 36).reason is Reason.BADVER
    assert refusal(b"\xff" * 6 + b"\0\0" + b"\xff" * 28).reason is Reason.BADVER


# NetBSD's checksum since ip_carp.c 1.120 covers the IPv6 pseudo-header.


def ipv6_of(frame: bytes) -> tuple[bytes, bytes]:
    """Pseudo-header and payload of an untagged frame without extension headers."""
    return pseudo_header(IPv6Address(frame[22:38]), IPv6Address(frame[38:54])), frame[54:90]


def test_the_pseudo_header() -> None:
    found = pseudo_header(IPv6Address("fe80::1"), IPv6Address("ff02::12"))
    assert found.hex(" ", 8) == (
        "fe80000000000000 0000000000000001 ff02000000000000 0000000000000012 0000002400000070"
    )


def test_netbsd_as_recorded() -> None:
    frames = [f for f in recorded("netbsd/dual-stack-bp1120") if f[12:14] == b"\x86\xdd"]
    frames = [frame for frame in frames if frame[20] == 112]
    assert len(frames) > 5
    for frame in frames:
        pseudo, payload = ipv6_of(frame)
        advertisement = decode(payload, pseudo_header=pseudo)
        assert encode(advertisement) == payload
        unsummed = advertisement._replace(checksum=None)
        assert encode(unsummed, pseudo_header=pseudo) == payload
        assert refusal(payload).reason is Reason.BADSUM
        other = pseudo_header(IPv6Address("fe80::bad"), IPv6Address("ff02::12"))
        assert refusal(payload, other).reason is Reason.BADSUM
        assert decode(payload + b"trailer", pseudo_header=pseudo) == advertisement


def test_earlier_netbsd_as_recorded() -> None:
    frames = [f for f in recorded("netbsd/dual-stack-v6out") if f[12:14] == b"\x86\xdd"]
    frames = [frame for frame in frames if frame[20] == 112]
    assert len(frames) > 5
    for frame in frames:
        pseudo, payload = ipv6_of(frame)
        assert encode(decode(payload)) == payload
        assert refusal(payload, pseudo).reason is Reason.BADSUM


@given(ADVERTISEMENTS, st.binary(min_size=40, max_size=40))
def test_the_pseudo_header_is_summed_before_the_advertisement(
    advertisement: Advertisement, pseudo: bytes
) -> None:
    payload = encode(advertisement, pseudo_header=pseudo)
    assert internet_checksum(pseudo + payload) == 0
    again = decode(payload, pseudo_header=pseudo)
    assert again._replace(checksum=None) == advertisement
    wrong = payload[:6] + pack(">H", int.from_bytes(payload[6:8], "big") ^ 0x0100) + payload[8:]
    error = refusal(wrong, pseudo)
    assert (error.reason, error.offset) == (Reason.BADSUM, 6)
    assert f"need 0x{payload[6:8].hex()}" in str(error)


def test_another_version_under_a_pseudo_header() -> None:
    pseudo = pseudo_header(IPv6Address("fe80::1"), IPv6Address("ff02::12"))
    payload = encode(Advertisement(vhid=1, version=3), pseudo_header=pseudo)
    assert refusal(payload, pseudo).reason is Reason.BADVER


# Encoding.


@given(ADVERTISEMENTS)
def test_decode_is_the_inverse_of_encode(advertisement: Advertisement) -> None:
    payload = encode(advertisement)
    assert len(payload) == 36
    assert internet_checksum(payload) == 0
    assert decode(payload)._replace(checksum=None) == advertisement


@given(ADVERTISEMENTS, st.integers(0, 15), st.integers(0, 0xFFFF))
def test_a_checksum_that_is_given_is_sent_as_it_is(
    advertisement: Advertisement, version: int, checksum: int
) -> None:
    payload = encode(advertisement._replace(version=version, checksum=checksum))
    assert int.from_bytes(payload[6:8], "big") == checksum
    assert payload[0] >> 4 == version
    check(payload)


@pytest.mark.parametrize(
    ("field", "limit"),
    [
        ("vhid", 255),
        ("advbase", 255),
        ("advskew", 255),
        ("demote", 255),
        ("counter", 2**64 - 1),
        ("version", 15),
        ("type", 15),
        ("authlen", 255),
    ],
)
def test_a_number_that_does_not_fit_is_named_with_its_range(field: str, limit: int) -> None:
    for fits in (0, limit):
        changes: dict[str, Any] = {field: fits}
        assert len(encode(Advertisement(vhid=1)._replace(**changes))) == 36
    for value in (-1, limit + 1, None, "1", 1.0, b"\1"):
        changes = {field: value}
        with pytest.raises(ConfigError) as caught:
            encode(Advertisement(vhid=1)._replace(**changes))
        assert str(caught.value).startswith(f"{field} {value!r} does not fit")
        assert f"0 to {limit}" in str(caught.value)


def test_a_type_that_would_run_into_the_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="type 16 does not fit"):
        encode(Advertisement(vhid=1, version=0, type=16))


@pytest.mark.parametrize("checksum", [-1, 65536, "1", 1.0, b"\0\0"])
def test_a_checksum_that_does_not_fit(checksum: Any) -> None:
    with pytest.raises(ConfigError, match="does not fit; it is None or 0 to 65535") as caught:
        encode(Advertisement(vhid=1, checksum=checksum))
    assert repr(checksum) in str(caught.value)


@pytest.mark.parametrize("digest", [b"", bytes(19), bytes(21), "0" * 20, None, bytearray(20)])
def test_a_digest_that_does_not_fit(digest: Any) -> None:
    with pytest.raises(ConfigError, match="does not fit; it is 20 bytes") as caught:
        encode(Advertisement(vhid=1, digest=digest))
    assert repr(digest) in str(caught.value)


@pytest.mark.parametrize("checksum", [None, 0, 0xFFFF])
@pytest.mark.parametrize("limit", [False, True])
def test_what_fits_is_not_blamed(checksum: int | None, limit: bool) -> None:
    numbers = (0, 0, 0, 0, 0, 0, 0, 0)
    if limit:
        numbers = (255, 255, 255, 255, (1 << 64) - 1, 15, 15, 255)
    vhid, advbase, advskew, demote, counter, version, kind, authlen = numbers
    advertisement = Advertisement(
        vhid, advbase, advskew, demote, counter, b"short", version, kind, authlen, checksum
    )
    with pytest.raises(ConfigError, match=r"^digest b'short' does not fit"):
        encode(advertisement)


def test_a_pseudo_header_is_of_ipv6_addresses_only() -> None:
    fourth, sixth = IPv4Address("192.0.2.1"), IPv6Address("fe80::1")
    for ends in ((fourth, fourth), (fourth, sixth), (sixth, fourth)):
        with pytest.raises(ConfigError, match="are not both IPv6 addresses"):
            pseudo_header(*ends)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_will_do(kind) -> None:
    covered = pseudo_header(IPv6Address("fe80::1"), IPv6Address("ff02::12"))
    for header in (b"", covered):
        payload = encode(decode(PRINTED)._replace(checksum=None), pseudo_header=header)
        assert encode(decode(kind(payload + b"more"), pseudo_header=header)) == payload
