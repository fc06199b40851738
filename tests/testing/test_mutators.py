"""Mutators: one change, named, and the same for the same seed."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from carpproto import DecodeError, Reason, build, decode, encode, peel
from carpproto.core.errors import ConfigError
from carpproto.testing.golden import golden_frame
from carpproto.testing.mutators import (
    Mutation,
    Repair,
    extend,
    fields,
    flip_bits,
    mutate,
    mutate_field,
    mutations,
    read_field,
    splice,
    truncate,
    write_field,
)

GOLDEN = golden_frame("freebsd-12")
FRAME = GOLDEN.frame
TAGGED = golden_frame("vlan-ipv4").frame
IPV6 = golden_frame("dual-ipv6").frame
ARP = golden_frame("freebsd-arp").frame
ETHERNET = ("ethernet.destination", "ethernet.source", "ethernet.ethertype")
CARP = tuple(
    f"carp.{name}"
    for name in (
        *("version", "type", "vhid", "advskew", "authlen", "demote", "advbase"),
        *("checksum", "counter", "digest"),
    )
)


def payload(frame: bytes) -> bytes:
    packet = peel(frame)
    assert packet is not None
    return packet.payload


def test_a_frame_has_the_fields_of_its_layers() -> None:
    names = fields(FRAME)
    assert names[:3] == ETHERNET
    assert names[-10:] == CARP
    assert names[3:5] == ("ipv4.version", "ipv4.header_length")
    assert [name for name in fields(TAGGED) if name not in names] == [
        "vlan.priority",
        "vlan.drop_eligible",
        "vlan.id",
    ]
    assert "ipv6.flow_label" in fields(IPV6)
    assert fields(ARP) == fields(FRAME[:20]) == ETHERNET
    assert fields(FRAME[:13]) == fields(b"") == ()
    assert fields(FRAME[:34])[-1] == "ipv4.destination"
    # The version of IP contradicts the type of the Ethernet frame: there is no packet in it.
    broken = write_field(FRAME, "ipv4.version", 5)
    assert fields(broken)[-1] == "ipv4.destination"


@pytest.mark.parametrize(
    ("frame", "name", "value"),
    [
        (FRAME, "ethernet.destination", 0x01005E000012),
        (FRAME, "ethernet.source", 0x00005E000101),
        (FRAME, "ethernet.ethertype", 0x0800),
        (TAGGED, "ethernet.ethertype", 0x0800),
        (TAGGED, "vlan.id", 10),
        (FRAME, "ipv4.version", 4),
        (FRAME, "ipv4.tos", 0xE0),
        (FRAME, "ipv4.total_length", 56),
        (FRAME, "ipv4.flags", 2),
        (FRAME, "ipv4.ttl", 255),
        (FRAME, "ipv4.protocol", 112),
        (FRAME, "ipv4.destination", 0xE0000012),
        (IPV6, "ipv6.version", 6),
        (IPV6, "ipv6.traffic_class", 0xE0),
        (IPV6, "ipv6.payload_length", 36),
        (IPV6, "ipv6.hop_limit", 255),
        (IPV6, "ipv6.destination", 0xFF02 << 112 | 0x12),
        (FRAME, "carp.version", 2),
        (FRAME, "carp.vhid", 1),
        (FRAME, "carp.authlen", 7),
        (IPV6, "carp.vhid", 5),
        (TAGGED, "carp.vhid", 10),
    ],
)
def test_fields_are_where_they_are(frame: bytes, name: str, value: int) -> None:
    assert read_field(frame, name) == value
    assert write_field(frame, name, value) == frame


@pytest.mark.parametrize("name", CARP)
def test_each_carp_field_is_the_one_that_decode_reads(name: str) -> None:
    field = name.partition(".")[2]
    value = read_field(FRAME, name) ^ 1
    changed = write_field(FRAME, name, value)
    if field in ("version", "checksum"):
        with pytest.raises(DecodeError) as caught:
            decode(payload(changed))
        assert caught.value.reason is (Reason.BADVER if field == "version" else Reason.BADSUM)
        return
    advertisement = decode(payload(changed))
    expected: int | bytes = value.to_bytes(20, "big") if field == "digest" else value
    assert getattr(advertisement, field) == expected
    if field not in ("digest", "checksum"):
        like = advertisement._replace(**{field: read_field(FRAME, name)})
        assert like[:6] == decode(payload(FRAME))[:6]


def test_what_is_repaired() -> None:
    authenticator = GOLDEN.authenticator
    nothing = write_field(FRAME, "carp.counter", 9, repair=Repair.NOTHING)
    with pytest.raises(DecodeError, match="badsum"):
        decode(payload(nothing))
    checksums = write_field(FRAME, "carp.counter", 9)
    assert not authenticator.verify(decode(payload(checksums)))
    signed = write_field(
        FRAME, "carp.counter", 9, repair=Repair.SIGNED, authenticator=authenticator
    )
    assert authenticator.verify(decode(payload(signed)))
    # What is meant to be wrong is left so.
    forged = write_field(
        FRAME, "carp.digest", 9, repair=Repair.SIGNED, authenticator=authenticator
    )
    assert decode(payload(forged)).digest == (9).to_bytes(20, "big")
    wrong = write_field(
        FRAME, "carp.checksum", 9, repair=Repair.SIGNED, authenticator=authenticator
    )
    assert payload(wrong)[6:8] == b"\0\x09"


def test_the_checksum_of_ipv4_is_repaired_too() -> None:
    packet = peel(FRAME)
    assert packet is not None
    built = build(
        packet.payload,
        source=packet.source,
        destination=packet.destination,
        source_mac="00:00:5e:00:01:01",
        traffic_class=0xE0,
        hop_limit=3,
    )
    assert write_field(FRAME, "ipv4.ttl", 3) == built
    assert write_field(FRAME, "ipv4.ttl", 3, repair=Repair.NOTHING) != built
    assert read_field(write_field(FRAME, "ipv4.checksum", 7), "ipv4.checksum") == 7
    # An announcement has neither.
    assert write_field(ARP, "ethernet.source", 1)[12:] == ARP[12:]


def test_a_checksum_of_nothing_but_zeros() -> None:
    frame = build(
        bytes(36), source="0.0.0.0", destination="224.0.0.18", source_mac="00:00:5e:00:01:01"
    )
    assert payload(write_field(frame, "carp.vhid", 0))[6:8] == b"\xff\xff"
    assert encode(decode(payload(FRAME))) == payload(FRAME)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"this frame has no field 'carp.vhid'; it has: ethern"):
        read_field(ARP, "carp.vhid")
    with pytest.raises(ConfigError, match=r"no field 'carp.vhid'; it has: none"):
        read_field(b"", "carp.vhid")
    with pytest.raises(ConfigError, match=r"no field 'carp.vhids'"):
        read_field(FRAME, "carp.vhids")
    with pytest.raises(ConfigError, match=r"carp.vhid 256 does not fit; it is 0 to 255"):
        write_field(FRAME, "carp.vhid", 256)
    with pytest.raises(ConfigError, match="signing needs an authenticator"):
        write_field(FRAME, "carp.vhid", 1, repair=Repair.SIGNED)
    with pytest.raises(ConfigError, match="a frame of 3 bytes has no field"):
        mutate_field(b"abc", Random(1))
    with pytest.raises(ConfigError, match="there is no frame to mutate"):
        next(mutations([], Random(1)))


@pytest.mark.parametrize("frame", [FRAME, TAGGED, IPV6, ARP], ids=["v4", "vlan", "v6", "arp"])
def test_a_mutated_field_is_another_and_named(frame: bytes) -> None:
    random = Random(4)
    for name in fields(frame):
        what, changed = mutate_field(frame, random, name=name, repair=Repair.NOTHING)
        assert changed != frame
        assert what.startswith(f"{name} ")
        assert what.endswith(", nothing repaired")
    drawn = [mutate_field(frame, random) for _ in range(300)]
    assert {mutation.what.partition(" ")[0] for mutation in drawn} == set(fields(frame))


def test_a_mutation_says_both_values() -> None:
    what, frame = mutate_field(FRAME, Random(1), name="carp.advskew", repair=Repair.CHECKSUMS)
    value = read_field(frame, "carp.advskew")
    assert what == f"carp.advskew 0 -> {value}, checksums repaired"
    what, frame = mutate_field(FRAME, Random(1), name="carp.counter")
    value = read_field(frame, "carp.counter")
    assert what.startswith(f"carp.counter 0x1ce4b8c12c89479f -> 0x{value:016x}, ")


def test_blind_ones() -> None:
    random = Random(2)
    for count in (1, 3, 8):
        what, changed = flip_bits(FRAME, random, count=count)
        different = int.from_bytes(FRAME, "big") ^ int.from_bytes(changed, "big")
        assert different.bit_count() == count
        assert what.count(".") == count
    assert flip_bits(b"\x0f", random, count=99).frame == b"\xf0"
    assert flip_bits(b"", random) == Mutation("no bit to flip", b"")
    for _ in range(50):
        what, changed = truncate(FRAME, random)
        assert len(changed) < len(FRAME)
        assert FRAME.startswith(changed)
        assert what == f"cut off after {len(changed)} of 70 bytes"
        what, changed = extend(FRAME, random)
        assert changed.startswith(FRAME)
        assert what == f"{len(changed) - 70} bytes added after 70"
        what, changed = splice(FRAME, IPV6, random)
        kept = int(what.split()[3])
        assert changed[:kept] == FRAME[:kept]
        assert IPV6.endswith(changed[kept:])
    assert truncate(b"", random).frame == b""


def test_the_same_seed_gives_the_same_mutations() -> None:
    frames = [FRAME, TAGGED, IPV6, ARP, b""]

    def some(seed: int) -> list[Mutation]:
        drawn = mutations(frames, Random(seed), authenticator=GOLDEN.authenticator)
        return list(islice(drawn, 500))

    assert some(1) == some(1) != some(2)
    kinds = {" ".join(mutation.what.split()[:2]) for mutation in some(1)}
    assert {"cut off", "bits flipped", "carp.advskew 0", "no bit"} <= kinds
    assert any("of another" in mutation.what for mutation in some(1))
    assert any("signed again" in mutation.what for mutation in some(1))
    # These are what seed 1 gives on every Python.
    first = [mutation.what for mutation in some(1)[:3]]
    assert first == [
        "bytes 0 to 35 of 70, then 33 to 74 of another",
        "bits flipped at 35.0",
        "bits flipped at 20.4, 64.7, 81.1, 85.0",
    ]


def test_no_mutation_makes_the_library_raise_anything_else() -> None:
    for mutation in islice(mutations([FRAME, TAGGED, IPV6], Random(3)), 2000):
        try:
            packet = peel(mutation.frame)
            if packet is not None:
                decode(packet.payload)
        except DecodeError:
            pass


def test_one_alone_is_not_spliced() -> None:
    random = Random(5)
    assert not any("another" in mutate(FRAME, random).what for _ in range(300))
