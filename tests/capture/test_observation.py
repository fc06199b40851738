"""Observations: what is around an advertisement, VRRP, announcements; and that nothing breaks."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpproto import DecodeError, Reason
from carpproto.capture.diagnosis import diagnose
from carpproto.capture.observation import (
    Announced,
    Checksum,
    Group,
    Heard,
    Neighbor,
    Observation,
    Observer,
    Unreadable,
    Vrrp,
)
from carpproto.capture.reader import Record, open_capture
from carpproto.core.advertisement import Advertisement, encode
from carpproto.core.announcement import gratuitous_arp, neighbor_advertisement
from carpproto.core.frame import build, build_ethernet, build_ip
from tests.helpers import RECORDINGS, carp_frames


def observed(*frames: bytes, linktype: int = 1) -> list[Observation]:
    records = [
        Record(number, number * 10**9, linktype, frame, len(frame))
        for number, frame in enumerate(frames, start=1)
    ]
    return list(Observer(records))


def frame(payload: bytes, **more) -> bytes:
    values = {
        "source": "192.0.2.9",
        "destination": "224.0.0.18",
        "source_mac": "00:00:5e:00:01:07",
        **more,
    }
    return build(payload, **values)


PAYLOAD = encode(Advertisement(7, 1, 100, counter=5))


def test_an_advertisement_with_what_is_around_it() -> None:
    [seen] = observed(frame(PAYLOAD, traffic_class=0x10, identification=9, tags=(3, 10)))
    assert isinstance(seen, Heard)
    assert seen.group == Group((3, 10), 7)
    assert str(seen.group) == "vhid 7 vlan 3 vlan 10"
    assert (seen.source_mac, seen.destination_mac) == ("00:00:5e:00:01:07", "01:00:5e:00:00:12")
    assert (seen.traffic_class, seen.identification, seen.hop_limit) == (0x10, 9, 255)
    assert (seen.checksum, seen.problem, seen.authentic) == (Checksum.PLAIN, None, None)
    assert seen.counts


def test_another_link_layer_has_no_macs() -> None:
    packet = build_ip(PAYLOAD, source="192.0.2.9", destination="224.0.0.18")
    [seen] = observed(packet, linktype=101)
    assert isinstance(seen, Heard)
    assert (seen.source_mac, seen.destination_mac, seen.group.vlans) == (None, None, ())
    with pytest.raises(DecodeError):
        observed(packet, linktype=42)


def test_a_wrong_checksum_is_heard_and_does_not_count() -> None:
    [seen] = observed(frame(PAYLOAD[:6] + b"\x12\x34" + PAYLOAD[8:]))
    assert isinstance(seen, Heard)
    assert seen.checksum is Checksum.WRONG
    assert seen.problem is not None
    assert seen.advertisement.checksum == 0x1234
    assert not seen.counts


def test_the_forks_checksum_of_0_counts_over_ipv6_only() -> None:
    zero = PAYLOAD[:6] + b"\0\0" + PAYLOAD[8:]
    six = {"source": "fe80::1", "destination": "ff02::12"}
    for more, counts in (({}, False), (six, True)):
        [seen] = observed(frame(zero, **more))
        assert isinstance(seen, Heard)
        assert (seen.checksum, seen.counts) == (Checksum.ZERO, counts)


def test_what_is_no_advertisement() -> None:
    short, cut = observed(frame(PAYLOAD[:20]), frame(PAYLOAD)[:30])
    assert isinstance(short, Unreadable)
    assert (short.vhid, short.problem.reason) == (7, Reason.BADLEN)
    assert isinstance(cut, Unreadable)
    assert (cut.source, cut.problem.reason) == (None, Reason.TRUNCATED)


def vrrp(version: int, addresses: int, *, trailer: int = 0) -> bytes:
    body = bytes((version << 4 | 1, 7, 100, addresses, 0, 1, 0, 0))
    body += bytes(range(4 * addresses)) + bytes(trailer)
    checksum = -int.from_bytes(body, "big") % 0xFFFF
    return body[:6] + checksum.to_bytes(2, "big") + body[8:]


@pytest.mark.parametrize("addresses", [1, 2, 5, 7])
def test_vrrp_is_told_apart(addresses: int) -> None:
    two, three = observed(
        frame(vrrp(2, addresses, trailer=8)), frame(vrrp(3, addresses)[:-1] + b"!")
    )
    assert isinstance(two, Vrrp)
    assert (two.version, two.router, two.priority) == (2, 7, 100)
    assert isinstance(three, Vrrp)
    assert three.version == 3


def test_carp_of_any_kind_is_no_vrrp() -> None:
    # Five addresses of VRRP 2 have as many bytes as CARP; byte 3 tells them apart.
    [seen] = observed(frame(PAYLOAD))
    assert isinstance(seen, Heard)
    for recorded in carp_frames():
        assert not any(isinstance(seen, Vrrp) for seen in observed(recorded))


def test_announcements() -> None:
    arp, na = observed(
        gratuitous_arp("192.0.2.1", mac="00:00:5e:00:01:07", source_mac="52:54:00:00:00:0a"),
        neighbor_advertisement(
            "2001:db8::1", mac="00:00:5e:00:01:07", source="fe80::1", tags=(10,)
        ),
    )
    assert isinstance(arp, Announced)
    assert (arp.address, arp.vhid, arp.source_mac) == (
        ip_address("192.0.2.1"),
        7,
        "52:54:00:00:00:0a",
    )
    assert isinstance(na, Announced)
    assert (na.address, na.vhid, na.vlans) == (ip_address("2001:db8::1"), 7, (10,))


def test_an_answer_to_one_host_and_a_question_are_no_announcements() -> None:
    answer = bytearray(
        gratuitous_arp("192.0.2.1", mac="52:54:00:00:00:0b", source_mac="52:54:00:00:00:0b")
    )
    answer[0:6] = bytes.fromhex("52540000000a")
    question = bytearray(answer)
    question[0:6] = b"\xff" * 6
    question[38:42] = bytes((192, 0, 2, 2))
    seen = observed(bytes(answer), bytes(question))
    assert [type(one) for one in seen] == [Neighbor, Neighbor]
    assert {(str(one.address), one.mac) for one in seen if isinstance(one, Neighbor)} == {
        ("192.0.2.1", "52:54:00:00:00:0b")
    }
    assert (
        observed(
            build_ethernet(
                b"", ethertype=0x0806, source="52:54:00:00:00:0b", destination="ff:ff:ff:ff:ff:ff"
            )
        )
        == []
    )


@pytest.mark.parametrize(
    ("linktype", "header", "announces"),
    [
        (113, b"\0\1\0\1\0\6\x52\x54\0\0\0\x0a\0\0", True),
        (113, b"\0\4\0\1\0\6\x52\x54\0\0\0\x0a\0\0", True),
        (113, b"\0\0\0\1\0\6\x52\x54\0\0\0\x0a\0\0", False),  # to this host alone
        (276, b"\0\0\0\0\0\2\0\1\1\6\x52\x54\0\0\0\x0a\0\0", True),
    ],
)
def test_announcements_in_cooked_captures(linktype: int, header: bytes, announces: bool) -> None:
    mac = "00:00:5e:00:01:07"
    for whole in (
        gratuitous_arp("192.0.2.1", mac=mac, source_mac="52:54:00:00:00:0a"),
        neighbor_advertisement(
            "2001:db8::1", mac=mac, source="fe80::a", source_mac="52:54:00:00:00:0a"
        ),
    ):
        ethertype, body = whole[12:14], whole[14:]
        cooked = header + ethertype + body if linktype == 113 else ethertype + header + body
        seen = observed(cooked, linktype=linktype)
        [announced] = seen
        assert isinstance(announced, Announced if announces else Neighbor)
        assert announced.mac == mac
        if isinstance(announced, Announced):
            assert announced.source_mac == "52:54:00:00:00:0a"
            assert announced.vhid == 7


def test_an_advertisement_in_a_cooked_capture_has_its_mac_and_vlans() -> None:
    whole = frame(PAYLOAD, tags=(10,))
    for length, mac in ((6, "00:00:5e:00:01:07"), (0, None)):
        header = b"\0\2\0\1\0" + bytes((length,)) + whole[6:12] + b"\0\0"
        [seen] = observed(header + whole[12:], linktype=113)
        assert isinstance(seen, Heard)
        assert seen.group == Group((10,), 7)
        assert (seen.source_mac, seen.destination_mac) == (mac, None)


@pytest.mark.parametrize("linktype", [113, 276])
def test_a_cooked_header_that_is_cut_off_announces_nothing(linktype: int) -> None:
    assert all(isinstance(seen, Unreadable) for seen in observed(b"\0" * 9, linktype=linktype))


def test_copies_are_left_out_and_counted() -> None:
    data = frame(PAYLOAD)
    times = (0, 9_000_000, 10**9)
    records = [Record(n, t, 1, data, len(data)) for n, t in enumerate(times, start=1)]
    observer = Observer(records)
    assert [seen.frame for seen in observer] == [1, 3]
    assert (observer.copies, observer.copy_frames) == (1, [2])


def test_an_observer_knows_where_the_capture_begins_and_ends() -> None:
    with open_capture(RECORDINGS / "freebsd/single-v4.pcap") as opened:
        observer = Observer(opened)
        seen = list(observer)
    assert observer.first is not None
    assert observer.last is not None
    assert observer.first <= seen[0].nanoseconds <= seen[-1].nanoseconds <= observer.last
    assert observer.records > len(seen)
    assert observer.backwards == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(carp_frames()),
            st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
            st.integers(0, 4 * 10**9),
        ),
        max_size=30,
    )
)
def test_no_bytes_and_no_times_break_a_diagnosis(
    changed: list[tuple[bytes, list[tuple[int, int]], int]],
) -> None:
    records = []
    now = 0
    for number, (original, changes, step) in enumerate(changed, start=1):
        data = bytearray(original)
        for position, value in changes:
            if position < len(data):
                data[position] = value
        now += step - 10**9
        records.append(Record(number, now, 1, bytes(data), len(data)))
    report = diagnose(Observer(records))
    for reign in report.timeline.reigns:
        assert reign.start <= reign.last <= reign.gone_by
        assert reign.first_frame <= reign.last_frame
    for found in report.findings:
        assert found.text.isprintable()
