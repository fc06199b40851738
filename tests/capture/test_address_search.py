"""The address search: what another host must have hashed, found and said in plain words."""

from __future__ import annotations

from itertools import islice
from time import perf_counter

import pytest

from carpproto import (
    FREEBSD,
    NETBSD,
    OPENBSD,
    UCARP,
    Advertisement,
    Authenticator,
    ConfigError,
    decode,
    peel_payload,
)
from carpproto.capture.address_search import Explanation, explain_digest, search_subsets
from carpproto.capture.near_misses import key_variants, passphrase_variants
from carpproto.core.addresses import canonical_order
from tests.helpers import RECORDINGS, description, frames

MEANT = ["192.0.2.5", "192.0.2.6", "2001:db8::5"]
PASSPHRASE = "Rosin Dubh 1798"


def sent(addresses, passphrase: str | None = PASSPHRASE, vhid: int = 1, **how) -> Advertisement:
    """An advertisement of a host that hashes these."""
    authenticator = Authenticator(vhid=vhid, passphrase=passphrase, addresses=addresses, **how)
    return authenticator.sign(Advertisement(vhid=vhid, counter=10009968722567644910))


def explained(advertisement: Advertisement, addresses=MEANT, **more) -> Explanation:
    more.setdefault("passphrase", PASSPHRASE)
    [found] = explain_digest(advertisement, addresses=addresses, **more)
    assert PASSPHRASE not in repr(found)
    return found


def test_what_is_right_is_said_to_be_right() -> None:
    assert explained(sent(MEANT)) == ("the digest is right", canonical_order(MEANT), (), (), False)


@pytest.mark.parametrize(
    ("addresses", "text"),
    [
        (MEANT[1:], "the other host lacks 192.0.2.5"),
        (MEANT[:2], "the other host lacks 2001:db8::5"),
        (MEANT[:1], "it is a UCarp with one address only, 192.0.2.5"),
        ([], "the other host has no virtual address in its HMAC"),
        ([*MEANT, "fe80::1:2"], "the other host includes a link-local address fe80::1:2"),
        ([*MEANT, "192.0.2.77"], "the other host includes 192.0.2.77 besides"),
        (
            ["192.0.2.5", "192.0.3.6", "2001:db8::5"],
            "the other host has 192.0.3.6 in place of 192.0.2.6",
        ),
        (
            ["192.0.2.5", "2001:db8::5", "fe80::1:2"],
            "the other host has fe80::1:2 in place of 192.0.2.6",
        ),
    ],
)
def test_another_list_of_addresses(addresses, text: str) -> None:
    found = explained(sent(addresses), candidates=["fe80::1:2"])
    assert found.text == text
    assert found.addresses == canonical_order(addresses)
    assert set(found.missing) == set(canonical_order(MEANT)) - set(found.addresses)
    assert set(found.extra) == set(found.addresses) - set(canonical_order(MEANT))
    assert not found.passphrase_differs


def test_one_of_two_may_be_lacking_or_a_ucarp() -> None:
    found = explained(sent(["192.0.2.6"], profile=UCARP), ["192.0.2.5", "192.0.2.6"])
    assert found.text == (
        "the other host lacks 192.0.2.5, or it is a UCarp with one address only, 192.0.2.6"
    )


@pytest.mark.parametrize(
    ("passphrase", "begins"),
    [
        (PASSPHRASE[:-1], "lost its last character"),
        (PASSPHRASE + "\n", "ends with a newline"),
        (PASSPHRASE + "\r", "ends with a carriage return"),
        (PASSPHRASE + " ", "ends with a space"),
        (PASSPHRASE[:8], "was cut to 8 characters"),
        (PASSPHRASE.lower(), "is in small letters"),
        (PASSPHRASE.swapcase(), "has capital and small letters exchanged"),
        (f'"{PASSPHRASE}"', "stands in double quotation marks"),
        ("Rosin", "was cut to 5 characters, or was cut at its first space"),
        ("Rosin Dub 1798", "lost its character 10"),
        ("Rosin Dubh 1789", "has its characters 14 and 15 exchanged"),
        ("", "is empty, or was never set"),
        (PASSPHRASE + "7", "is one character longer"),
    ],
)
def test_a_near_miss_of_the_passphrase(passphrase: str, begins: str) -> None:
    found = explained(sent(MEANT, passphrase))
    assert found.text.startswith(f"the passphrase {begins}")
    assert found.passphrase_differs
    both = explained(sent(MEANT[1:], passphrase))
    assert both.text == f"the other host lacks 192.0.2.5 and {found.text}"


def test_a_long_passphrase_is_cut_or_not() -> None:
    long = "a passphrase of twenty-nine ch"
    twenty = sent(MEANT, None, key=long[:20].encode())
    found = explained(twenty, passphrase=long)
    assert found.text.startswith("the passphrase was taken with 20 characters, not cut")
    cut = sent(MEANT, None, key=long[:19].encode())
    found = explained(cut, key=long[:20].encode(), passphrase=None)
    assert found.text == ("the passphrase was cut to 19 characters, or lost its last character")
    nineteen = "exactly-nineteen-ch"
    assert explained(sent(MEANT, nineteen, profile=NETBSD), passphrase=nineteen).text.startswith(
        "the passphrase lost its last character"
    )


def test_faults_of_another_implementation() -> None:
    addresses = ["192.0.2.10", "192.0.2.5", "fe80::1"]
    packed = [address.packed for address in canonical_order(addresses)]

    def hashed(body: bytes, counter: int = 7) -> Advertisement:
        import hmac

        digest = hmac.digest(b"secret", body + counter.to_bytes(8, "big"), "sha1")
        return Advertisement(vhid=3, counter=counter, digest=digest)

    def text(body: bytes, **more) -> str:
        return explained(hashed(body), addresses, passphrase="secret", **more).text

    start = b"\x02\x01\x03"
    unsorted = packed[1] + packed[0] + packed[2]
    assert text(start + unsorted).endswith("in the order in which they were given")
    assert text(start + packed[2] + packed[0] + packed[1]).endswith("IPv6 first")
    assert "scope" in text(start + packed[0] + packed[1] + b"\xfe\x80\0\x02" + packed[2][4:])
    assert text(b"\x02\x01\x09" + b"".join(packed)) == (
        "the digest is of vhid 9, and the advertisement says 3"
    )
    mac = "52:54:00:00:00:0a"
    body = start[:2] + bytes.fromhex(mac.replace(":", "")) + start[2:] + b"".join(packed)
    assert "OpenBSD" in text(body, macs=[mac])


def test_openbsd_leaves_link_local_addresses_out() -> None:
    addresses = ["192.0.2.5", "192.0.2.6", "fe80::1"]
    with_openbsd = sent(addresses, profile=OPENBSD)
    found = explained(with_openbsd, addresses)
    assert found.text == (
        "the other host lacks fe80::1, as OpenBSD leaves link-local addresses out"
    )
    assert explained(with_openbsd, addresses, profile=OPENBSD).text == "the digest is right"
    assert explained(sent(addresses), addresses, profile=OPENBSD).text == "the digest is right"


def test_any_subset_of_twenty_and_none_in_time() -> None:
    addresses = [f"192.0.2.{last}" for last in range(1, 21)]
    few = [*addresses[2:5], *addresses[11:16]]
    assert explained(sent(few), addresses).addresses == canonical_order(few)
    began = perf_counter()
    assert explain_digest(sent(addresses, "other"), passphrase="x", addresses=addresses) == ()
    assert perf_counter() - began < 6  # 1.5 s where nothing else runs; docs/speed.rst


def test_more_addresses_than_subsets_can_be_tried() -> None:
    addresses = [f"192.0.2.{last}" for last in range(1, 61)]
    found = explained(sent(addresses[2:]), addresses)
    assert found.text == "the other host lacks 192.0.2.1 and 192.0.2.2"
    assert explain_digest(sent([], "x"), passphrase="y", addresses=addresses, limit=5000) == ()


def test_every_subset_is_walked_in_canonical_order() -> None:
    pool = canonical_order([*(f"10.0.0.{n}" for n in range(1, 11)), "2001:db8::1", "2001:db8::2"])
    from carpproto.capture.address_search import _prepared

    inner, outer = _prepared(b"k".ljust(20, b"\0"))
    inner.update(b"\x02\x01\x01")
    for mask in (0, 1, 5, 0b1000_0000_0001, 0b1111_1111_1111, 0b0110_1001_0110):
        subset = [address for at, address in enumerate(pool) if mask >> at & 1]
        advertisement = sent(subset, None, key=b"k")
        counter = advertisement.counter.to_bytes(8, "big")
        packed = [address.packed for address in pool]
        assert search_subsets(inner, outer, packed, counter, advertisement.digest) == mask
    assert search_subsets(inner, outer, packed, counter, bytes(20)) is None


def test_no_near_miss_is_the_passphrase_itself() -> None:
    """NetBSD's key of it is another than all others', and is not called an accident."""
    for passphrase in ("secret", "arrow", "a b"):
        for variant in passphrase_variants(passphrase, NETBSD):
            if variant.key == passphrase.encode().ljust(20, b"\0"):
                assert variant.text.startswith("was made into a key as FreeBSD 12 does")


def test_variants_are_distinct_and_the_passphrase_itself_comes_first() -> None:
    variants = passphrase_variants("a$b#c d", FREEBSD)
    assert len({variant.key for variant in variants}) == len(variants)
    assert [variant.text == "" for variant in islice(variants, 3)] == [True, False, False]
    assert key_variants(b"abc")[0] == (b"abc".ljust(20, b"\0"), "")
    # What only UCarp refuses has near misses all the same.
    assert passphrase_variants("x" * 25, UCARP)[0].key == b"x" * 19 + b"\0"


def test_the_recording_whose_hosts_differ_in_an_address() -> None:
    path = RECORDINGS / "netbsd" / "vip-list-mismatch.pcap"
    lists: dict[str, list[str]] = {}
    keys: dict[str, bytes] = {}
    for event in description(path)["events"]:
        if event["event"] == "address_added" and event["vhid"]:
            lists.setdefault(event["node"], []).append(event["address"].partition("/")[0])
        elif event["event"] == "virtual_host":
            keys[event["node"]] = bytes.fromhex(event["key"])
    (one, meant), (other, found) = sorted(lists.items(), key=lambda item: -len(item[1]))
    lacking = set(meant) - set(found)
    texts = set()
    for frame in frames(path):
        payload = peel_payload(frame)
        if payload is not None:
            texts |= {
                e.text for e in explain_digest(decode(payload), key=keys[one], addresses=meant)
            }
    assert keys[one] == keys[other]
    assert any(address in text for address in lacking for text in texts), texts


@pytest.mark.parametrize(
    "wrong",
    [
        {"passphrase": "a", "key": b"a"},
        {"passphrase": 5},
        {"key": bytes(21)},
        {"passphrase": "a", "addresses": ["nowhere"]},
        {"passphrase": "\ud800"},
    ],
)
def test_values_that_cannot_be_used(wrong) -> None:
    with pytest.raises(ConfigError):
        explain_digest(sent(MEANT), **{"addresses": MEANT, **wrong})
