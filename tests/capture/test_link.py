"""carpproto.capture.link: recorded frames, taken to each link type, give the same packets.

tshark is asked for its opinion of each.
"""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from struct import pack

import pytest

from carpproto.capture.link import LINK_TYPES, payload_of, peel_record
from carpproto.capture.reader import Record, open_capture
from carpproto.core.errors import DecodeError, Reason
from carpproto.core.frame import Packet, peel, peel_ethernet

FOLDER = Path(__file__).parents[1] / "recordings"


def recorded(name: str) -> list[bytes]:
    with open_capture(FOLDER / name) as capture:
        return [record.data for record in capture]


# Advertisements over IPv4 and IPv6, tagged ones, and what is none: ARP, ND, ICMP.
FRAMES = [
    frame
    for name in ("dual", "vlan", "v6only", "arp-nd-icmp-to-vip", "multi-v4-longpass")
    for frame in recorded(f"freebsd/{name}.pcap")[:40]
]
TAGGED = [frame for frame in FRAMES if peel_ethernet(frame).tags]
IP = [frame for frame in FRAMES if peel_ethernet(frame).ethertype in (0x0800, 0x86DD)]


def ip_of(frame: bytes) -> bytes:
    return frame[peel_ethernet(frame).length :]


def family(frame: bytes) -> int:
    return ip_of(frame)[0] >> 4


def record(linktype: int, data: bytes) -> Record:
    return Record(1, 0, linktype, data, len(data))


def essence(packet: Packet | None) -> tuple[object, ...] | None:
    """A packet without where it was in its frame."""
    return packet and packet[:6]


def cooked(frame: bytes, *, tags: bool = True) -> bytes:
    """As LINKTYPE_LINUX_SLL: packet type, ARPHRD_ETHER, address, and all from the ethertype on."""
    after = 12 if tags else peel_ethernet(frame).length - 2
    return pack(">HHH", 2, 1, 6) + frame[6:12] + bytes(2) + frame[after:]


def cooked_v2(frame: bytes, *, tags: bool = True) -> bytes:
    """As LINKTYPE_LINUX_SLL2: ethertype, interface index, ARPHRD_ETHER, packet type, address."""
    after = 12 if tags else peel_ethernet(frame).length - 2
    header = frame[after : after + 2] + pack(">HIHBB", 0, 3, 1, 2, 6) + frame[6:12] + bytes(2)
    return header + frame[after + 2 :]


def loopback(frame: bytes, order: str, ipv6: int) -> bytes:
    return pack(f"{order}I", 2 if family(frame) == 4 else ipv6) + ip_of(frame)


def rebuilt() -> list[tuple[bytes, Record]]:
    """Each recorded frame with a record of another link type that carries the same."""
    pairs = [(frame, record(1, frame)) for frame in FRAMES]
    for frame in FRAMES:
        for tags in (True, False):
            pairs.append((frame, record(113, cooked(frame, tags=tags))))
            pairs.append((frame, record(276, cooked_v2(frame, tags=tags))))
    for frame in IP:
        pairs += [(frame, record(linktype, ip_of(frame))) for linktype in (12, 14, 101)]
        pairs.append((frame, record(228 if family(frame) == 4 else 229, ip_of(frame))))
        for ipv6 in (24, 28, 30):
            pairs.append((frame, record(0, loopback(frame, "<", ipv6))))
            pairs.append((frame, record(0, loopback(frame, ">", ipv6))))
            pairs.append((frame, record(108, loopback(frame, ">", ipv6))))
    return pairs


REBUILT = rebuilt()


def test_the_frames_are_of_all_kinds() -> None:
    packets = [peel(frame) for frame in FRAMES]
    assert {packet and packet.family for packet in packets} == {4, 6, None}
    assert {family(frame) for frame in TAGGED if peel(frame)} == {4, 6}
    assert {entry.linktype for _, entry in REBUILT} == set(LINK_TYPES)


def test_a_frame_of_another_link_type_carries_the_same_packet() -> None:
    for frame, entry in REBUILT:
        assert essence(peel_record(entry)) == essence(peel(frame)), entry


def test_a_packet_knows_where_in_its_record_it_was() -> None:
    for _, entry in REBUILT:
        packet = peel_record(entry)
        if packet is not None:
            assert packet.frame == entry.data
            assert packet.frame[packet.offset :].startswith(packet.payload)
            assert packet.frame[packet.ip_offset] >> 4 == packet.family
            assert not packet.truncated


def test_the_short_way_to_the_payload_leads_to_the_same() -> None:
    for _, entry in REBUILT:
        packet = peel_record(entry)
        assert payload_of(entry) == (None if packet is None else packet.payload)


def test_tshark_finds_the_same_packets(tmp_path: Path) -> None:
    """One pcapng file, one interface for each link type."""
    linktypes = sorted(LINK_TYPES)
    content = pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    for linktype in linktypes:
        content += pack("<IIHHII", 1, 20, linktype, 0, 0, 20)
    for _, (_, _, linktype, data, _) in REBUILT:
        padded = data + bytes(-len(data) % 4)
        length = len(padded) + 32
        number = linktypes.index(linktype)
        content += pack("<IIIIIII", 6, length, number, 0, 0, len(data), len(data))
        content += padded + pack("<I", length)
    path = tmp_path / "links.pcapng"
    path.write_bytes(content)

    fields = ("ip.src", "ip.dst", "ip.proto", "ip.ttl", "ipv6.src", "ipv6.dst", "ipv6.nxt")
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f"]
    for field in (*fields, "ipv6.hlim"):
        command += ["-e", field]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]

    with open_capture(io.BytesIO(content)) as capture:
        records = list(capture)
    assert len(lines) == len(records) == len(REBUILT)
    for entry, line in zip(records, lines, strict=True):
        packet = peel_record(entry)
        if packet is None:
            assert "112" not in (line[2], line[6]), entry
        else:
            found = [str(packet.source), str(packet.destination), "112", str(packet.hop_limit)]
            none = [""] * 4
            assert line == (found + none if packet.family == 4 else none + found), entry


def test_linux_own_number_of_ipv6_on_a_loopback() -> None:
    frame = next(frame for frame in IP if family(frame) == 6 and peel(frame))
    for order in "<>":
        assert essence(peel_record(record(0, loopback(frame, order, 10)))) == essence(peel(frame))


def test_loop_is_in_network_byte_order_only() -> None:
    frame = next(frame for frame in IP if peel(frame))
    assert peel_record(record(108, loopback(frame, ">", 24))) is not None
    assert peel_record(record(108, loopback(frame, "<", 24))) is None


@pytest.mark.parametrize("number", [0, 1, 7, 23, 0xFFFFFFFF])
def test_another_address_family_on_a_loopback(number: int) -> None:
    assert peel_record(record(0, pack("<I", number) + ip_of(IP[0]))) is None
    assert peel_record(record(108, pack(">I", number) + ip_of(IP[0]))) is None


def test_tags_within_tags_in_a_cooked_capture() -> None:
    frame = next(frame for frame in IP if peel(frame) and not peel_ethernet(frame).tags)
    tags = bytes.fromhex("88a80064 91000065 81000066")
    tagged = frame[:12] + tags + frame[12:]
    assert len(peel_ethernet(tagged).tags) == 3
    for entry in (record(113, cooked(tagged)), record(276, cooked_v2(tagged))):
        assert essence(peel_record(entry)) == essence(peel(frame))


def test_a_cooked_packet_that_is_no_ip() -> None:
    for ethertype in (0x0000, 0x0001, 0x0004, 0x0806):
        assert peel_record(record(113, bytes(14) + pack(">H", ethertype))) is None
        assert peel_record(record(276, pack(">H", ethertype) + bytes(18))) is None


def test_a_family_that_the_link_type_excludes() -> None:
    for linktype, unwanted in ((228, 6), (229, 4)):
        data = next(ip_of(frame) for frame in IP if family(frame) == unwanted and peel(frame))
        with pytest.raises(DecodeError) as caught:
            peel_record(record(linktype, data))
        assert caught.value.reason == Reason.MALFORMED


@pytest.mark.parametrize("linktype", sorted(LINK_TYPES))
def test_a_record_cut_within_its_headers(linktype: int) -> None:
    for _, entry in REBUILT:
        packet = peel_record(entry)
        if entry.linktype != linktype or packet is None:
            continue
        for length in range(packet.offset):
            for find in (peel_record, payload_of):
                with pytest.raises(DecodeError) as caught:
                    find(record(linktype, entry.data[:length]))
                assert caught.value.reason == Reason.TRUNCATED
                assert caught.value.offset == length


@pytest.mark.parametrize("linktype", [2, 105, 127, 147, 65535])
def test_an_unknown_link_type_is_named_with_those_that_are_known(linktype: int) -> None:
    for find in (peel_record, payload_of):
        with pytest.raises(DecodeError) as caught:
            find(record(linktype, FRAMES[0]))
        assert (caught.value.reason, caught.value.offset) == (Reason.UNKNOWN_FORMAT, 0)
        assert f"link type {linktype} " in str(caught.value)
        assert "1 (Ethernet)" in str(caught.value)
        assert "276 (Linux cooked v2)" in str(caught.value)
