"""carpproto.core.frame: what is around an advertisement, peeled off and built.

The frames made here are made of bytes, not by the module under test.
"""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import pack, unpack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpproto.core.advertisement import decode
from carpproto.core.errors import ConfigError, DecodeError, Reason
from carpproto.core.frame import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    Ethernet,
    Packet,
    _ipv4_address,
    _ipv6_address,
    build,
    build_ethernet,
    build_ip,
    peel,
    peel_datagram,
    peel_ethernet,
    peel_ip,
    peel_payload,
)
from tests.helpers import captures, carp_frames, carries_carp, frames, recorded

EVERY_FRAME = [frame for path in captures() for frame in frames(path)]
EVERY_CARP_FRAME = carp_frames()

PAYLOAD = bytes(range(36))
MACS = bytes.fromhex("01005e000012 00005e000101")
IPV4_ENDS = IPv4Address("192.168.1.157").packed + IPv4Address("224.0.0.18").packed
IPV6_ENDS = IPv6Address("fe80::157").packed + IPv6Address("ff02::12").packed

HOP_BY_HOP, ROUTING, FRAGMENT, ESP, AH, NO_NEXT, DESTINATION = 0, 43, 44, 50, 51, 59, 60
MOBILITY, HIP, SHIM6 = 135, 139, 140
CARP, TCP = 112, 6


def ethernet(ethertype: int, content: bytes, tags: bytes = b"") -> bytes:
    return MACS + tags + pack(">H", ethertype) + content


def ipv4(
    payload: bytes = PAYLOAD,
    *,
    first: int | None = None,
    total: int | None = None,
    fragment: int = 0x4000,
    protocol: int = CARP,
    options: bytes = b"",
) -> bytes:
    header = 20 + len(options)
    first = 0x40 | header // 4 if first is None else first
    total = header + len(payload) if total is None else total
    fields = pack(">BBHHHBBH", first, 0xE0, total, 0x1234, fragment, 255, protocol, 0)
    return fields + IPV4_ENDS + options + payload


def ipv6(
    content: bytes = PAYLOAD,
    *,
    following: int = CARP,
    length: int | None = None,
    first: int = 0x6E000000,
) -> bytes:
    length = len(content) if length is None else length
    return pack(">IHBB", first, length, following, 255) + IPV6_ENDS + content


def extension(following: int, size: int = 8) -> bytes:
    """Any extension header but the fragment and authentication headers."""
    return bytes([following, size // 8 - 1]) + b"\xee" * (size - 2)


def fragment_header(following: int, position: int, more: bool) -> bytes:
    return pack(">BBHI", following, 0, position | more, 0x12345678)


def authentication_header(following: int, size: int = 24) -> bytes:
    return bytes([following, size // 4 - 2]) + b"\xee" * (size - 2)


def refusal(function: Any, *given_: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        function(*given_)
    return caught.value


def refused(frame: bytes) -> tuple[Reason, int]:
    """Why and where all ways to the payload refuse a frame."""
    error = refusal(peel, frame)
    assert str(error) == str(refusal(peel_payload, frame)) == str(refusal(peel_datagram, frame))
    return error.reason, error.offset


def payload_of(frame: bytes) -> bytes | None:
    """What all ways find."""
    packet = peel(frame)
    payload = None if packet is None else packet.payload
    assert peel_payload(frame) == payload
    assert peel_datagram(frame) == (packet and datagram_of(packet))
    return payload


def datagram_of(packet: Packet) -> tuple[Any, ...]:
    return packet.source, packet.destination, packet.hop_limit, packet.payload


def found(frame: bytes) -> Packet:
    packet = peel(frame)
    assert packet is not None
    return packet


def test_the_ethertypes() -> None:
    assert (ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6) == (0x0800, 0x0806, 0x86DD)


# Recorded frames.


def test_an_advertisement_over_ipv4() -> None:
    """Frame 65 of FreeBSD's failover-dual, as tcpdump shows it."""
    frame = recorded("freebsd/failover-dual")[64]
    assert peel_ethernet(frame) == Ethernet(
        destination="01:00:5e:00:00:12",
        source="00:00:5e:00:01:01",
        tags=(),
        ethertype=ETHERTYPE_IPV4,
        length=14,
    )
    packet = found(frame)
    assert packet == Packet(
        family=4,
        source=IPv4Address("192.168.1.158"),
        destination=IPv4Address("224.0.0.18"),
        hop_limit=255,
        traffic_class=0xE0,
        payload=frame[34:],
        offset=34,
        ip_offset=14,
        frame=frame,
    )
    assert packet.identification == 0
    assert packet.dont_fragment
    assert not packet.truncated
    assert decode(packet.payload).advskew == 100


def test_an_advertisement_over_ipv6_with_a_vlan_tag() -> None:
    frame = next(f for f in recorded("freebsd/vlan") if f[16:18] == b"\x86\xdd" and f[24] == 112)
    header = peel_ethernet(frame)
    assert header == Ethernet("33:33:00:00:00:12", "00:00:5e:00:01:0a", (10,), ETHERTYPE_IPV6, 18)
    assert header.vlans == (10,)
    packet = found(frame)
    assert packet[:5] == (
        6,
        IPv6Address("fe80::5054:ff:fec1:a"),
        IPv6Address("ff02::12"),
        255,
        0xE0,
    )
    assert packet[5:] == (frame[58:], 58, 18, frame)
    assert packet.identification == 0
    assert not packet.dont_fragment
    assert not packet.truncated


def test_every_recorded_frame_of_another_protocol_is_passed_over() -> None:
    carp = set(EVERY_CARP_FRAME)
    others = [frame for frame in EVERY_FRAME if frame not in carp]
    assert len(others) > 1000
    for frame in others:
        assert payload_of(frame) is None


def test_every_recorded_frame_of_protocol_112_carries_a_packet_but_the_fragment() -> None:
    fragments = 0
    for frame in EVERY_CARP_FRAME:
        try:
            packet = found(frame)
        except DecodeError:
            assert refused(frame) == (Reason.FRAGMENT, 20)
            fragments += 1
            continue
        assert packet.payload[0] & 0xF < 3
        assert payload_of(frame) == packet.payload
    assert fragments == 1
    assert len(EVERY_CARP_FRAME) > 2000


def rebuilt(frame: bytes) -> bytes:
    """A frame built anew from what was peeled off it."""
    packet, header = found(frame), peel_ethernet(frame)
    return build(
        packet.payload,
        source=packet.source,
        destination=packet.destination,
        source_mac=header.source,
        destination_mac=header.destination,
        tags=header.tags,
        hop_limit=packet.hop_limit,
        traffic_class=packet.traffic_class,
        identification=packet.identification,
        dont_fragment=packet.dont_fragment,
    )


def test_build_is_the_inverse_of_peel_for_every_recorded_advertisement() -> None:
    malformed = recorded("ucarp/inject-malformed")
    exceptions = {
        malformed[90 - 1],  # a fragment
        malformed[119 - 1],  # with IPv4 options
        malformed[131 - 1],  # padded after the IP packet
        malformed[137 - 1],  # shorter than its IP header says
        malformed[141 - 1],
    }
    others = [frame for frame in EVERY_CARP_FRAME if frame not in exceptions]
    assert len(others) == len(EVERY_CARP_FRAME) - 5
    for frame in others:
        assert rebuilt(frame) == frame


def test_the_exceptions_are_peeled_too() -> None:
    malformed = recorded("ucarp/inject-malformed")
    assert refused(malformed[90 - 1]) == (Reason.FRAGMENT, 20)
    assert found(malformed[119 - 1]).offset == 38
    padded = malformed[131 - 1]
    assert rebuilt(padded) == padded[:-12]
    for number, length in ((137, 35), (141, 16)):
        short = found(malformed[number - 1])
        assert len(short.payload) == length
        assert short.truncated


def test_the_mac_of_the_group_is_what_the_kernels_send_to() -> None:
    dual = [frame for frame in recorded("freebsd/dual") if carries_carp(frame)]
    assert len(dual) > 10
    for frame in (*dual, *carp_frames("netbsd")):
        packet = found(frame)
        built = build(
            packet.payload,
            source=packet.source,
            destination=packet.destination,
            source_mac="00:00:5e:00:01:01",
        )
        assert built[:6] == frame[:6]


# Ethernet.


def test_an_untagged_frame() -> None:
    header = peel_ethernet(ethernet(ETHERTYPE_ARP, bytes(28)))
    assert header == Ethernet("01:00:5e:00:00:12", "00:00:5e:00:01:01", (), ETHERTYPE_ARP, 14)
    assert header.vlans == ()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("8100 000a", (0x000A,)),
        ("8100 e00a", (0xE00A,)),  # with a priority
        ("88a8 0064 8100 000a", (0x0064, 0x000A)),  # 802.1ad, QinQ
        ("9100 0064 8100 000a", (0x0064, 0x000A)),
        ("8100 0064 8100 000a", (0x0064, 0x000A)),
        ("88a8 0001 88a8 0002 9100 0003 8100 ffff", (1, 2, 3, 0xFFFF)),
    ],
)
def test_tags_are_passed_over(tags: str, words: tuple[int, ...]) -> None:
    for ethertype, packet in ((ETHERTYPE_IPV4, ipv4()), (ETHERTYPE_IPV6, ipv6())):
        frame = ethernet(ethertype, packet, bytes.fromhex(tags))
        header = peel_ethernet(frame)
        assert header.tags == words
        assert header.vlans == tuple(word & 0xFFF for word in words)
        assert header.ethertype == ethertype
        assert header.length == 14 + 4 * len(words)
        assert payload_of(frame) == PAYLOAD
        assert found(frame).ip_offset == header.length


def test_a_hundred_tags() -> None:
    frame = ethernet(ETHERTYPE_IPV4, ipv4(), b"\x88\xa8\0\1" * 100)
    assert peel_ethernet(frame).tags == (1,) * 100
    assert payload_of(frame) == PAYLOAD


@pytest.mark.parametrize("tags", [b"", b"\x81\0\0\x0a", b"\x88\xa8\0\x64\x81\0\0\x0a"])
def test_an_ethernet_header_cut_at_every_byte(tags: bytes) -> None:
    whole = ethernet(ETHERTYPE_ARP, b"", tags)
    for length in range(len(whole)):
        error = refusal(peel_ethernet, whole[:length])
        assert (error.reason, error.offset) == (Reason.TRUNCATED, length)
        assert f"after {length} bytes, within the Ethernet header" in str(error)
        assert refused(whole[:length]) == (Reason.TRUNCATED, length)
    assert peel_ethernet(whole).length == len(whole)


@pytest.mark.parametrize(
    "ethertype",
    [0, 1, 46, 1500, ETHERTYPE_ARP, 0x0801, 0x07FF, 0x86DC, 0x88CC, 0xFFFF],
)
def test_lengths_of_802_3_and_other_ethertypes(ethertype: int) -> None:
    for content in (b"", b"\x42\x42\x03" + bytes(35), ipv4(), ipv6()):
        frame = ethernet(ethertype, content)
        assert peel_ethernet(frame).ethertype == ethertype
        assert payload_of(frame) is None
        assert payload_of(ethernet(ethertype, content, b"\x81\0\0\1")) is None


# IPv4.


def frame4(*given_: Any, **changes: Any) -> bytes:
    return ethernet(ETHERTYPE_IPV4, ipv4(*given_, **changes))


def test_the_fields_of_ipv4() -> None:
    frame = frame4()
    packet = found(frame)
    assert packet == Packet(
        4,
        IPv4Address("192.168.1.157"),
        IPv4Address("224.0.0.18"),
        255,
        0xE0,
        PAYLOAD,
        34,
        14,
        frame,
    )
    assert packet.identification == 0x1234
    assert packet.dont_fragment


@pytest.mark.parametrize("size", range(0, 44, 4))
def test_ipv4_options_of_every_size(size: int) -> None:
    options = b"\x01" * size
    frame = frame4(options=options) + b"padding"
    assert payload_of(frame) == PAYLOAD
    assert found(frame).offset == 34 + size
    for cut in range(34, 34 + size):
        assert refused(frame[:cut]) == (Reason.TRUNCATED, cut)
    assert payload_of(frame[: 34 + size]) == b""


def test_padding_after_a_long_ip_packet_is_left_out() -> None:
    payload = bytes(range(256)) * 2
    assert payload_of(frame4(payload) + bytes(600)) == payload


def test_padding_after_the_ip_packet_is_left_out() -> None:
    assert payload_of(frame4() + bytes(10)) == PAYLOAD
    assert payload_of(frame4(b"") + bytes(26)) == b""


def test_trailing_bytes_within_the_ip_packet_stay() -> None:
    assert payload_of(frame4(PAYLOAD + b"trailing")) == PAYLOAD + b"trailing"


@pytest.mark.parametrize("words", range(5))
def test_an_ipv4_header_shorter_than_20_bytes(words: int) -> None:
    assert refused(frame4(first=0x40 | words)) == (Reason.MALFORMED, 14)


@pytest.mark.parametrize("total", [0, 1, 19])
def test_an_ipv4_packet_shorter_than_its_header(total: int) -> None:
    """0 is what a capture shows of segments that the network card is to cut (TSO)."""
    assert refused(frame4(total=total)) == (Reason.MALFORMED, 14)
    error = refusal(peel, frame4(total=total))
    assert f"an IPv4 header of 20 bytes in a packet of {total}" in str(error)


def test_an_ipv4_packet_shorter_than_its_options() -> None:
    assert refused(frame4(options=bytes(8), total=27)) == (Reason.MALFORMED, 14)
    assert payload_of(frame4(options=bytes(8), total=28)) == b""


@pytest.mark.parametrize("version", [0, 5, 6, 15])
def test_another_version_than_the_ethertype_says(version: int) -> None:
    frame = frame4(first=version << 4 | 5)
    assert refused(frame) == (Reason.MALFORMED, 14)
    assert f"IP version {version}, expected 4" in str(refusal(peel, frame))


def test_another_version_than_the_ethertype_after_a_tag_says() -> None:
    for ethertype, content, found_, expected in (
        (ETHERTYPE_IPV4, ipv6(), 6, 4),
        (ETHERTYPE_IPV6, ipv4(bytes(60)), 4, 6),
    ):
        error = refusal(peel, ethernet(ethertype, content, tags=b"\x81\x00\x00\x07"))
        assert str(error) == (f"malformed at byte 18: IP version {found_}, expected {expected}")


@pytest.mark.parametrize("protocol", [0, 1, 2, TCP, 17, 41, AH, 111, 113, 255])
def test_another_protocol_over_ipv4(protocol: int) -> None:
    assert payload_of(frame4(protocol=protocol)) is None


def test_112_elsewhere_in_a_header() -> None:
    for position in (*range(15, 23), *range(24, 34)):
        frame = bytearray(frame4(protocol=TCP))
        frame[position] = CARP
        assert payload_of(bytes(frame)) is None


def test_what_is_wrong_with_another_protocol_does_not_matter() -> None:
    for changes in ({"total": 0}, {"first": 0x44}, {"fragment": 0x2000}, {"fragment": 185}):
        assert payload_of(frame4(protocol=TCP, **changes)) is None


@pytest.mark.parametrize(
    ("fragment", "position"),
    [(0x2000, 0), (0x2001, 8), (0x0001, 8), (0x1FFF, 65528), (0x6000, 0), (0x4002, 16)],
)
def test_a_fragment_of_protocol_112(fragment: int, position: int) -> None:
    frame = frame4(fragment=fragment)
    assert refused(frame) == (Reason.FRAGMENT, 20)
    assert refusal(peel, frame).text == (
        f"a fragment at {position} of a packet of protocol 112; "
        "an advertisement is never fragmented"
    )
    frame = frame[:22] + b"\0" + frame[23:]  # with a TTL of 0
    assert refused(frame) == (Reason.FRAGMENT, 20)


@pytest.mark.parametrize(("flags", "dont_fragment"), [(0, False), (0x4000, True)])
def test_no_fragment(flags: int, dont_fragment: bool) -> None:
    for reserved in (0, 0x8000):
        frame = frame4(fragment=flags | reserved)
        assert payload_of(frame) == PAYLOAD
        assert found(frame).dont_fragment is dont_fragment


# IPv6.


def frame6(*given_: Any, **changes: Any) -> bytes:
    return ethernet(ETHERTYPE_IPV6, ipv6(*given_, **changes))


def test_the_fields_of_ipv6() -> None:
    frame = frame6(first=0x6E0ABCDE)  # with a flow label
    packet = found(frame)
    assert packet == Packet(
        6,
        IPv6Address("fe80::157"),
        IPv6Address("ff02::12"),
        255,
        0xE0,
        PAYLOAD,
        54,
        14,
        frame,
    )
    assert packet.identification == 0
    assert not packet.dont_fragment


def test_padding_and_trailing_bytes_over_ipv6() -> None:
    assert payload_of(frame6() + b"padding") == PAYLOAD
    assert payload_of(frame6(PAYLOAD + b"trailing")) == PAYLOAD + b"trailing"


@pytest.mark.parametrize("tags", [b"", b"\x81\x00\x00\x0a", b"\x88\xa8\x00\x14\x81\x00\x00\x0a"])
def test_lengths_of_the_payload_over_both_families(tags: bytes) -> None:
    for length in (0, 1, 36, 255, 256, 511, 700):
        payload = (PAYLOAD * 20)[:length]
        for ethertype, packet in (
            (ETHERTYPE_IPV6, ipv6(payload)),
            (ETHERTYPE_IPV4, ipv4(payload)),
        ):
            frame = ethernet(ethertype, packet, tags)
            assert payload_of(frame) == payload_of(frame + bytes(20)) == payload
            for cut in range(1, min(length, 3)):
                assert payload_of(frame[:-cut]) == payload[:-cut]


@pytest.mark.parametrize("tags", [1, 2, 3, 40, 5000])
def test_errors_behind_tags_count_from_the_frames_first_byte(tags: int) -> None:
    tag = b"\x81\x00\x00\x0a" * tags
    frame = ethernet(ETHERTYPE_IPV6, ipv6(first=7 << 28), tag)
    assert refused(frame) == (Reason.MALFORMED, 14 + 4 * tags)
    assert refused(frame[: 13 + 4 * tags]) == (Reason.TRUNCATED, 13 + 4 * tags)


@pytest.mark.parametrize("version", [0, 4, 5, 7, 15])
def test_another_version_in_the_ipv6_header(version: int) -> None:
    frame = frame6(first=version << 28)
    assert refused(frame) == (Reason.MALFORMED, 14)
    assert f"IP version {version}, expected 6" in str(refusal(peel, frame))


@pytest.mark.parametrize("following", [1, TCP, 17, ESP, 58, NO_NEXT, 111, 113, 253, 255])
def test_another_protocol_over_ipv6(following: int) -> None:
    assert payload_of(frame6(following=following)) is None
    assert payload_of(frame6(extension(following) + PAYLOAD, following=HOP_BY_HOP)) is None


@pytest.mark.parametrize("kind", [HOP_BY_HOP, ROUTING, DESTINATION, MOBILITY, HIP, SHIM6])
@pytest.mark.parametrize("size", [8, 16, 40, 2048])
def test_an_extension_header_of_every_kind_and_size(kind: int, size: int) -> None:
    frame = frame6(extension(CARP, size) + PAYLOAD, following=kind) + b"padding"
    assert payload_of(frame) == PAYLOAD
    assert found(frame).offset == 54 + size
    for cut in range(54, 54 + size):
        assert refused(frame[:cut]) == (Reason.TRUNCATED, cut)
    assert payload_of(frame[: 54 + size]) == b""


@pytest.mark.parametrize("size", [8, 12, 24, 44, 1028])
def test_an_authentication_header(size: int) -> None:
    """The only one that counts its length in 32-bit words (RFC 4302, section 2.2)."""
    frame = frame6(authentication_header(CARP, size) + PAYLOAD, following=AH)
    assert payload_of(frame) == PAYLOAD
    assert found(frame).offset == 54 + size
    for cut in range(54, 54 + size):
        assert refused(frame[:cut]) == (Reason.TRUNCATED, cut)


def test_all_extension_headers_in_a_row() -> None:
    headers = (
        extension(DESTINATION, 16)
        + extension(ROUTING)
        + extension(FRAGMENT, 24)
        + fragment_header(AH, 0, False)
        + authentication_header(MOBILITY, 12)
        + extension(HIP)
        + extension(SHIM6)
        + extension(DESTINATION)
        + extension(CARP, 32)
    )
    frame = frame6(headers + PAYLOAD, following=HOP_BY_HOP)
    assert payload_of(frame) == PAYLOAD
    packet = found(frame)
    assert packet.offset == 54 + len(headers)
    assert (packet.hop_limit, packet.traffic_class) == (255, 0xE0)
    for cut in range(54, packet.offset):
        assert refused(frame[:cut]) == (Reason.TRUNCATED, cut)


def test_headers_of_another_protocol_cut_at_every_byte() -> None:
    frame = frame6(extension(TCP) + PAYLOAD, following=HOP_BY_HOP)
    for cut in range(55):
        assert refused(frame[:cut]) == (Reason.TRUNCATED, cut)
    # Byte 54 says that what follows the header is TCP.
    for cut in range(55, len(frame)):
        assert payload_of(frame[:cut]) is None


def test_a_thousand_extension_headers() -> None:
    headers = extension(DESTINATION) * 999 + extension(CARP)
    assert payload_of(frame6(headers + PAYLOAD, following=DESTINATION)) == PAYLOAD


def test_an_atomic_fragment_is_a_whole_packet() -> None:
    """RFC 6946: a fragment header that says first and last."""
    frame = frame6(fragment_header(CARP, 0, False) + PAYLOAD, following=FRAGMENT)
    assert payload_of(frame) == PAYLOAD


@pytest.mark.parametrize(
    ("position", "more"), [(0, True), (8, True), (8, False), (65528, False), (65528, True)]
)
def test_a_fragment_of_protocol_112_over_ipv6(position: int, more: bool) -> None:
    frame = frame6(fragment_header(CARP, position, more) + PAYLOAD, following=FRAGMENT)
    assert refused(frame) == (Reason.FRAGMENT, 54)
    assert f"a fragment at {position} of a packet" in str(refusal(peel, frame))
    after = frame6(extension(FRAGMENT) + frame[54:], following=HOP_BY_HOP)
    assert refused(after) == (Reason.FRAGMENT, 62)


def test_the_reserved_bits_of_a_fragment_header() -> None:
    header = bytes([CARP, 0xFF, 0x00, 0x06]) + bytes(4)
    assert payload_of(frame6(header + PAYLOAD, following=FRAGMENT)) == PAYLOAD


def test_a_first_fragment_that_has_more_headers_before_protocol_112() -> None:
    headers = fragment_header(DESTINATION, 0, True) + extension(CARP)
    assert refused(frame6(headers + PAYLOAD, following=FRAGMENT)) == (Reason.FRAGMENT, 54)


def test_a_later_fragment_lacks_the_headers_that_would_tell() -> None:
    """What looks like a header for protocol 112 is from the middle of some packet."""
    headers = fragment_header(DESTINATION, 8, False) + extension(CARP)
    assert payload_of(frame6(headers + PAYLOAD, following=FRAGMENT)) is None


@pytest.mark.parametrize(("position", "more"), [(0, False), (0, True), (8, False), (8, True)])
def test_a_fragment_of_another_protocol(position: int, more: bool) -> None:
    headers = fragment_header(TCP, position, more)
    assert payload_of(frame6(headers + PAYLOAD, following=FRAGMENT)) is None


@pytest.mark.parametrize("length", [0, 1, 7])
def test_an_extension_header_longer_than_its_packet(length: int) -> None:
    content = extension(CARP) + PAYLOAD
    frame = frame6(content, following=DESTINATION, length=length)
    assert refused(frame) == (Reason.MALFORMED, 54)
    assert payload_of(frame6(content, following=DESTINATION, length=8)) == b""


def test_the_second_extension_header_is_longer_than_its_packet() -> None:
    content = extension(ROUTING) + extension(CARP, 16) + PAYLOAD
    frame = frame6(content, following=DESTINATION, length=23)
    assert refused(frame) == (Reason.MALFORMED, 62)
    frame = frame6(content, following=DESTINATION, length=7)
    assert refused(frame) == (Reason.MALFORMED, 54)
    assert refusal(peel, frame).text == "an IPv6 extension header longer than its packet"


def test_an_authentication_header_longer_than_its_packet() -> None:
    frame = frame6(authentication_header(CARP, 24) + PAYLOAD, following=AH, length=20)
    assert refused(frame) == (Reason.MALFORMED, 54)


def test_an_extension_header_longer_than_the_frame() -> None:
    content = extension(CARP, 2048)[:20]
    frame = frame6(content, following=DESTINATION, length=3000)
    assert refused(frame) == (Reason.TRUNCATED, 74)


def test_a_length_of_zero_over_ipv6() -> None:
    assert payload_of(frame6(PAYLOAD, length=0)) == b""
    assert payload_of(frame6(PAYLOAD, following=TCP, length=0)) is None


def test_a_jumbogram_of_another_protocol() -> None:
    """RFC 2675: length 0 and a hop-by-hop header; a host may capture its own before they
    are cut into segments."""
    jumbo = bytes([TCP, 0, 0xC2, 4]) + pack(">I", 80_000)
    assert payload_of(frame6(jumbo + PAYLOAD, following=HOP_BY_HOP, length=0)) is None


def test_a_jumbogram_of_protocol_112() -> None:
    jumbo = bytes([CARP, 0, 0xC2, 4]) + pack(">I", 80_000)
    frame = frame6(jumbo + PAYLOAD, following=HOP_BY_HOP, length=0)
    assert refused(frame) == (Reason.MALFORMED, 54)


# Truncation, for every recorded kind of frame.


@pytest.mark.parametrize("name", ["freebsd/dual", "freebsd/vlan", "netbsd/dual-stack-v6out"])
def test_a_frame_cut_at_every_byte(name: str) -> None:
    families = set()
    for frame in recorded(name):
        if not carries_carp(frame):
            continue
        whole = found(frame)
        families.add(whole.family)
        for length in range(whole.offset):
            assert refused(frame[:length]) == (Reason.TRUNCATED, length)
        for length in range(whole.offset, len(frame)):
            packet = found(frame[:length])
            assert packet.payload == frame[whole.offset : length]
            assert packet[:5] == whole[:5]
            assert packet.truncated
            assert payload_of(frame[:length]) == packet.payload
    assert families == {4, 6}


@pytest.mark.parametrize(
    ("frame", "where"),
    [
        (MACS, "the Ethernet header"),
        (frame4()[:20], "the IPv4 header"),
        (frame4(options=bytes(8))[:40], "the IPv4 options"),
        (frame6()[:50], "the IPv6 header"),
        (frame6(extension(CARP), following=ROUTING)[:60], "an IPv6 extension header"),
        (frame6(extension(CARP, 16), following=ROUTING)[:64], "an IPv6 extension header"),
    ],
)
def test_a_cut_frame_says_within_what_it_ends(frame: bytes, where: str) -> None:
    assert refused(frame) == (Reason.TRUNCATED, len(frame))
    text = f"the frame ends after {len(frame)} bytes, within {where}"
    assert refusal(peel, frame).text == text


def test_nothing_at_all_where_an_ip_header_should_be() -> None:
    error = refusal(peel_ip, b"ab", 2)
    assert error.text == "the frame ends after 2 bytes, within the IP header"


def test_an_ip_header_of_another_protocol_cut_at_every_byte() -> None:
    """Once the protocol is there, it is no longer a cut advertisement but something else."""
    for frame, known in ((frame4(protocol=TCP), 14 + 10), (frame6(following=TCP), 14 + 7)):
        for cut in range(known):
            assert refused(frame[:cut]) == (Reason.TRUNCATED, cut)
        for cut in range(known, len(frame)):
            assert payload_of(frame[:cut]) is None


@pytest.mark.parametrize(
    "following", [HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION, MOBILITY, HIP, SHIM6, CARP]
)
def test_an_ipv6_header_that_may_lead_to_protocol_112_cut_at_every_byte(following: int) -> None:
    frame = frame6(following=following)
    for cut in range(54):
        assert refused(frame[:cut]) == (Reason.TRUNCATED, cut)


@pytest.mark.parametrize("frame", [frame4(bytes(600)), frame6(bytes(600))])
def test_a_long_packet_cut_anywhere(frame: bytes) -> None:
    assert not found(frame).truncated
    assert not found(frame + b"padding").truncated
    for length in range(found(frame).offset, len(frame)):
        assert found(frame[:length]).truncated
        assert payload_of(frame[:length]) == found(frame[:length]).payload


# An IP header whose place is known.


@pytest.mark.parametrize(("packet", "family"), [(ipv4(), 4), (ipv6(), 6)])
@pytest.mark.parametrize("offset", [0, 1, 4, 20])
def test_an_ip_header_at_an_offset(packet: bytes, family: int, offset: int) -> None:
    data = b"\xee" * offset + packet
    for told in (None, family):
        peeled = peel_ip(data, offset, told)
        assert peeled is not None
        assert peeled.family == family
        assert peeled.payload == PAYLOAD
        assert peeled.ip_offset == offset
        assert peeled.frame is data
        assert not peeled.truncated
    other = 10 - family
    error = refusal(peel_ip, data, offset, other)
    assert (error.reason, error.offset) == (Reason.MALFORMED, offset)


def test_no_ip_header() -> None:
    for data, offset in ((b"", 0), (b"\x45", 1), (b"\x45", 7)):
        error = refusal(peel_ip, data, offset)
        assert (error.reason, error.offset) == (Reason.TRUNCATED, len(data))


@pytest.mark.parametrize("version", [0, 1, 5, 7, 15])
def test_an_ip_header_of_no_known_version(version: int) -> None:
    error = refusal(peel_ip, bytes(3) + bytes([version << 4]) + bytes(60), 3)
    assert (error.reason, error.offset) == (Reason.MALFORMED, 3)
    assert f"IP version {version}, expected 4 or 6" in str(error)


def test_a_family_of_no_known_version() -> None:
    assert refusal(peel_ip, ipv4(), 0, 5).reason is Reason.MALFORMED


# Arbitrary bytes, and every recorded frame damaged.


def outcome(function: Any, *given_: Any) -> Any:
    """What it returns, or the text of its DecodeError. Anything else fails the test."""
    try:
        return function(*given_)
    except DecodeError as raised:
        error = raised
    assert isinstance(error.reason, Reason)
    assert 0 <= error.offset <= len(given_[0])
    return str(error)


def check(frame: bytes) -> None:
    """What holds for any frame."""
    header = outcome(peel_ethernet, frame)
    if isinstance(header, Ethernet):
        assert header.length == 14 + 4 * len(header.tags) <= len(frame)
    whole = outcome(peel, frame)
    short, ends = outcome(peel_payload, frame), outcome(peel_datagram, frame)
    if isinstance(whole, Packet):
        assert short == whole.payload
        assert ends == datagram_of(whole)
        check_packet(whole)
        outcome(decode, whole.payload)
    else:
        assert short == ends == whole
    for offset in (0, 14):
        for family in (None, 4, 6):
            packet = outcome(peel_ip, frame, offset, family)
            if isinstance(packet, Packet):
                check_packet(packet)


def test_ipv6_of_another_version_is_refused_by_every_way() -> None:
    for first in (0x45, 0x06, 0x50):
        for second in (0x00, 0x60):
            check(frame6()[:14] + bytes((first, second)) + frame6()[16:])


def check_packet(packet: Packet) -> None:
    end = packet.offset + len(packet.payload)
    assert packet.frame[packet.offset : end] == packet.payload
    assert packet.frame[packet.ip_offset] >> 4 == packet.family
    assert packet.offset - packet.ip_offset >= (20 if packet.family == 4 else 40)
    assert packet.source.version == packet.destination.version == packet.family
    assert 0 <= packet.hop_limit <= 255
    assert 0 <= packet.traffic_class <= 255
    assert packet.truncated in (False, end == len(packet.frame))
    assert 0 <= packet.identification <= 0xFFFF
    assert packet.dont_fragment in (False, packet.family == 4)


@given(st.binary(max_size=200))
def test_arbitrary_bytes(frame: bytes) -> None:
    check(frame)


@given(st.sampled_from([ETHERTYPE_IPV4, ETHERTYPE_IPV6, 0x8100]), st.binary(max_size=120))
def test_arbitrary_bytes_after_an_ethernet_header(ethertype: int, content: bytes) -> None:
    check(ethernet(ethertype, content))


@given(
    st.lists(
        st.sampled_from(
            [
                extension(DESTINATION),
                extension(AH),
                extension(FRAGMENT),
                extension(CARP, 16),
                authentication_header(ROUTING, 12),
                fragment_header(DESTINATION, 0, False),
                fragment_header(DESTINATION, 0, True),
                fragment_header(CARP, 8, True),
            ]
        ),
        max_size=6,
    ),
    st.sampled_from([HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION, MOBILITY]),
    st.integers(0, 120),
)
def test_arbitrary_chains_of_extension_headers(
    headers: list[bytes], following: int, length: int
) -> None:
    check(frame6(b"".join(headers) + PAYLOAD, following=following, length=length))


@given(
    st.sampled_from(EVERY_FRAME),
    st.lists(st.tuples(st.integers(0, 149), st.integers(1, 255)), max_size=8),
    st.integers(0, 150),
    st.binary(max_size=8),
)
def test_a_recorded_frame_with_changed_and_missing_and_added_bytes(
    frame: bytes, changes: list[tuple[int, int]], length: int, trailer: bytes
) -> None:
    damaged = bytearray(frame)
    for position, change in changes:
        damaged[position % len(frame)] ^= change
    check(bytes(damaged[:length]) + trailer)


def test_every_recorded_frame_is_told_alike_by_both_ways() -> None:
    for frame in EVERY_FRAME:
        check(frame)


def test_flipped_bytes_of_every_recorded_frame_of_protocol_112() -> None:
    """In the headers for the most part: that is where they decide something."""
    rng = random.Random(112)
    for frame in EVERY_CARP_FRAME:
        for limit in (16, 28, 62, len(frame)):
            damaged = bytearray(frame)
            for _ in range(rng.randrange(1, 4)):
                damaged[rng.randrange(min(limit, len(frame)))] ^= 1 << rng.randrange(8)
            check(bytes(damaged))
        check(frame[: rng.randrange(len(frame))])


def test_every_value_of_every_header_byte() -> None:
    for frame in (
        frame4(),
        frame4(protocol=TCP),
        frame6(),
        frame6(following=TCP),
        frame6(extension(CARP) + PAYLOAD, following=HOP_BY_HOP),
    ):
        for position in range(12, 62):
            for value in range(256):
                damaged = bytearray(frame)
                damaged[position] = value
                check(bytes(damaged))


# Building.


IPV4: dict[str, Any] = {"source": ip_address("192.0.2.1"), "destination": ip_address("224.0.0.18")}
IPV6: dict[str, Any] = {"source": ip_address("fe80::1"), "destination": ip_address("ff02::12")}


def sum_of_words(data: bytes) -> int:
    total: int = sum(unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.booleans(),
    st.binary(max_size=60),
)
def test_ipv4_packets_come_back(
    source: Any,
    destination: Any,
    hop_limit: int,
    traffic_class: int,
    identification: int,
    dont_fragment: bool,
    payload: bytes,
) -> None:
    data = build_ip(
        payload,
        source=source,
        destination=destination,
        hop_limit=hop_limit,
        traffic_class=traffic_class,
        identification=identification,
        dont_fragment=dont_fragment,
    )
    assert sum_of_words(data[:20]) == 0xFFFF
    packet = peel_ip(data)
    assert packet is not None
    assert packet[:6] == (4, source, destination, hop_limit, traffic_class, payload)
    assert (packet.identification, packet.dont_fragment) == (identification, dont_fragment)


@given(
    st.ip_addresses(v=6),
    st.ip_addresses(v=6),
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=60),
)
def test_ipv6_packets_come_back(
    source: Any, destination: Any, hop_limit: int, traffic_class: int, payload: bytes
) -> None:
    data = build_ip(
        payload,
        source=source,
        destination=destination,
        hop_limit=hop_limit,
        traffic_class=traffic_class,
        identification=7,
        dont_fragment=False,
    )
    packet = peel_ip(data)
    assert packet is not None
    assert packet[:6] == (6, source, destination, hop_limit, traffic_class, payload)


def test_another_protocol_is_built_but_not_peeled() -> None:
    assert peel_ip(build_ip(b"", protocol=58, **IPV6)) is None
    assert build_ip(b"", protocol=58, **IPV6)[6] == 58
    assert build_ip(b"", protocol=2, **IPV4)[9] == 2


def test_an_ipv4_checksum_of_zero_is_sent_as_zero() -> None:
    ends: dict[str, Any] = {
        "source": ip_address("0.0.0.0"),
        "destination": ip_address("224.0.0.18"),
    }
    for identification in range(0x10000):
        header = build_ip(b"", identification=identification, **ends)
        if header[10:12] in (b"\0\0", b"\xff\xff"):
            break
    assert header[10:12] == b"\0\0"
    assert sum_of_words(header) == 0xFFFF


def test_what_a_frame_is_built_of() -> None:
    frame = build(PAYLOAD, source_mac="00:00:5e:00:01:01", **IPV4)
    assert frame.hex(" ", 2) == (
        "0100 5e00 0012 0000 5e00 0101 0800 "
        "4500 0038 0000 4000 ff70 d941 c000 0201 e000 0012 " + PAYLOAD.hex(" ", 2)
    )
    frame = build(PAYLOAD, source_mac="00:00:5e:00:01:01", traffic_class=0xE0, **IPV6)
    assert frame.hex(" ", 2) == (
        "3333 0000 0012 0000 5e00 0101 86dd 6e00 0000 0024 70ff "
        "fe80 0000 0000 0000 0000 0000 0000 0001 ff02 0000 0000 0000 0000 0000 0000 0012 "
        + PAYLOAD.hex(" ", 2)
    )


def test_addresses_may_be_text_with_a_prefix_length() -> None:
    for ends in (IPV4, IPV6):
        text: dict[str, Any] = {name: f"{address}/24" for name, address in ends.items()}
        assert build_ip(PAYLOAD, **text) == build_ip(PAYLOAD, **ends)
        frame = build(PAYLOAD, source_mac="0:0:0:0:0:1", **text)
        assert frame == build(PAYLOAD, source_mac="0:0:0:0:0:1", **ends)
    with pytest.raises(ConfigError, match="'em0' is not an address"):
        build_ip(PAYLOAD, source="em0", destination=IPV4["destination"])
    with pytest.raises(ConfigError, match="'em0' is not an address"):
        build(PAYLOAD, source_mac="0:0:0:0:0:1", source=IPV4["source"], destination="em0")


def test_what_need_not_be_said_of_an_ip_packet() -> None:
    assert build_ip(PAYLOAD, **IPV4) == build(PAYLOAD, source_mac="0:0:0:0:0:1", **IPV4)[14:]
    assert build_ip(PAYLOAD, **IPV6) == build(PAYLOAD, source_mac="0:0:0:0:0:1", **IPV6)[14:]
    assert build_ip(b"", **IPV4)[:8].hex(" ", 2) == "4500 0014 0000 4000"
    assert build_ip(b"", dont_fragment=False, **IPV4)[6:8] == b"\0\0"


def test_the_last_tag_is_802_1q_and_those_before_it_802_1ad() -> None:
    frame = build(PAYLOAD, source_mac="00:00:5e:00:01:01", tags=[100, 0xE00A], **IPV4)
    assert frame[12:22].hex(" ", 2) == "88a8 0064 8100 e00a 0800"
    assert peel_ethernet(frame).tags == (100, 0xE00A)
    assert payload_of(frame) == PAYLOAD
    frame = build(PAYLOAD, source_mac="00:00:5e:00:01:01", tags=[10], **IPV6)
    assert frame[12:18].hex(" ", 2) == "8100 000a 86dd"


def test_a_unicast_peer_needs_a_mac() -> None:
    for source, destination in (("192.0.2.1", "192.0.2.2"), ("fe80::1", "fe80::2")):
        ends: dict[str, Any] = {
            "source": ip_address(source),
            "destination": ip_address(destination),
        }
        with pytest.raises(ConfigError, match="unicast address; give destination_mac") as caught:
            build(PAYLOAD, source_mac="00:00:5e:00:01:01", **ends)
        assert destination in str(caught.value)
        frame = build(
            PAYLOAD,
            source_mac="00:00:5e:00:01:01",
            destination_mac="52:54:00:00:00:0b",
            **ends,
        )
        assert peel_ethernet(frame).destination == "52:54:00:00:00:0b"
        assert found(frame).destination == ip_address(destination)


def test_a_mac_that_is_given_goes_before_that_of_the_group() -> None:
    frame = build(PAYLOAD, source_mac="0:0:5e:0:0:1", destination_mac="ff:ff:ff:ff:ff:ff", **IPV4)
    assert frame[:12] == b"\xff" * 6 + bytes.fromhex("00005e000001")


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("hop_limit", 0xFF),
        ("traffic_class", 0xFF),
        ("identification", 0xFFFF),
        ("protocol", 0xFF),
    ],
)
def test_a_number_that_does_not_fit(name: str, limit: int) -> None:
    for ends in (IPV4, IPV6):
        build_ip(PAYLOAD, **{**ends, name: 0})
        build_ip(PAYLOAD, **{**ends, name: limit})
        for value in (-1, limit + 1, None, "1", 1.5):
            with pytest.raises(ConfigError) as caught:
                build_ip(PAYLOAD, **{**ends, name: value})
            assert str(caught.value) == f"{name} {value!r} is out of range; it is 0 to {limit}"


@pytest.mark.parametrize(("ends", "longest"), [(IPV4, 65515), (IPV6, 65535)])
def test_a_payload_longer_than_an_ip_packet(ends: Any, longest: int) -> None:
    packet = peel_ip(build_ip(bytes(longest), **ends))
    assert packet is not None
    assert packet.payload == bytes(longest)
    with pytest.raises(ConfigError) as caught:
        build_ip(bytes(longest + 1), **ends)
    assert str(caught.value) == (
        f"the length of the payload {longest + 1} is out of range; it is 0 to {longest}"
    )


def test_families_that_differ() -> None:
    with pytest.raises(ConfigError, match=r"source 192\.0\.2\.1 and destination ff02::12 differ"):
        build_ip(PAYLOAD, source=IPV4["source"], destination=IPV6["destination"])


def test_tags_of_every_bit() -> None:
    frame = build(PAYLOAD, source_mac="0:0:0:0:0:1", tags=[0, 0xFFFF], **IPV4)
    assert peel_ethernet(frame).tags == (0, 0xFFFF)


@pytest.mark.parametrize("tag", [-1, 0x10000])
def test_a_tag_that_does_not_fit(tag: int) -> None:
    with pytest.raises(ConfigError, match=f"VLAN tag {tag} is out of range; it is 0 to 65535"):
        build_ethernet(
            b"", ethertype=0x0806, source="0:0:0:0:0:1", destination="0:0:0:0:0:2", tags=[tag]
        )


def test_a_mac_that_is_none() -> None:
    with pytest.raises(ConfigError, match="'em0' is not a MAC address"):
        build(PAYLOAD, source_mac="em0", **IPV4)


def test_a_short_capture_of_another_protocol_is_none_of_ours() -> None:
    """With a snap length of 34 or less the header is cut, but says already what it carries."""
    for name, header, place in (("ip", 14 + 20, 14 + 9), ("ip6", 14 + 40, 14 + 6)):
        family = 4 if name == "ip" else 6
        source = IPv4Address("192.0.2.1") if family == 4 else IPv6Address("fe80::1")
        frame = build(
            bytes(36),
            source=source,
            destination="224.0.0.18" if family == 4 else "ff02::12",
            source_mac="00:00:5e:00:01:01",
        )
        other = bytearray(frame[: header - 1])
        other[place] = 17
        assert peel(bytes(other)) is None
        for end in (place, place + 1, header - 1):
            with pytest.raises(DecodeError, match="truncated"):
                peel(frame[:end])


def test_no_number_of_addresses_fills_the_memory() -> None:
    for remembered in (_ipv4_address, _ipv6_address):
        assert remembered.cache_parameters()["maxsize"] == 4096
