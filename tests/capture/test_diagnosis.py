"""The diagnosis: nothing bad about healthy recordings, the planted fault in each other one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import pytest

from carpproto import NETBSD_1120, UCARP, Authenticator, Profile
from carpproto.capture.diagnosis import Meant, Report, by_vhid, diagnose
from carpproto.capture.finding import Fault, Finding, Severity
from carpproto.capture.observation import Observer
from carpproto.capture.reader import Record, open_capture
from carpproto.core.advertisement import Advertisement, encode, pseudo_header
from carpproto.core.announcement import gratuitous_arp
from carpproto.core.frame import build, parse_address
from tests.helpers import RECORDINGS, captures, description

PLANTED = {
    "freebsd/demotion-preempt1": {Fault.DEMOTION},
    "freebsd/injected": {
        Fault.FORGED,
        Fault.REPLAY,
        Fault.WRONG_CHECKSUM,
        Fault.WRONG_TTL,
        Fault.NOT_AN_ADVERTISEMENT,
    },
    "freebsd/injected-10-4": {
        Fault.FORGED,
        Fault.REPLAY,
        Fault.WRONG_CHECKSUM,
        Fault.WRONG_TTL,
        Fault.NOT_AN_ADVERTISEMENT,
    },
    "freebsd/split-equal": {Fault.SPLIT_BRAIN},
    "freebsd/split-equal-10-4": {Fault.SPLIT_BRAIN},
    "freebsd/wrong-password": {Fault.TWO_MASTERS},
    "netbsd/split-brain-equal": {Fault.SPLIT_BRAIN},
    "netbsd/vip-list-mismatch": {Fault.TWO_MASTERS},
    "ucarp/carrier-loss-ignoreifstate": {Fault.SPLIT_BRAIN},
    "ucarp/different-vhid": {Fault.VHID_CLASH},
    # Five kills within a minute, the killed one started again each time.
    "ucarp/failover-times": {Fault.FLAPPING},
    "ucarp/fork-v6": {Fault.WRONG_CHECKSUM, Fault.FLAPPING},
    # Its only host is taken down, or killed, and the capture goes on.
    "ucarp/iface-admin-down": {Fault.NO_MASTER},
    "ucarp/inject-backup-nopreempt": {Fault.FORGED},
    "ucarp/inject-burst": {Fault.FORGED},
    # One frame alone: nothing tells that it is forged, but its advbase is what did it.
    "ucarp/inject-going-to-time-out": {Fault.INTERVALS},
    "ucarp/inject-latency": {Fault.FORGED},
    "ucarp/inject-malformed": {
        Fault.FORGED,
        Fault.REPLAY,
        Fault.WRONG_CHECKSUM,
        Fault.WRONG_TTL,
        Fault.NOT_AN_ADVERTISEMENT,
        Fault.GROUP,
    },
    "ucarp/inject-master-worse-equal": {Fault.FORGED},
    "ucarp/inject-replay": {Fault.FORGED, Fault.REPLAY},
    "ucarp/passfile": {Fault.TWO_MASTERS},
    # Four hosts with four vhids share one address there.
    "ucarp/script-failures": {Fault.VHID_CLASH},
    "ucarp/send-errors-tc": {Fault.SPLIT_BRAIN},
    "ucarp/splitbrain-equal-trunk": {Fault.SPLIT_BRAIN},
    "ucarp/term-while-no-carrier": {Fault.NO_MASTER},
    "ucarp/tiebreak-octets": {Fault.SPLIT_BRAIN},
    "ucarp/wrong-password": {Fault.TWO_MASTERS},
}

NAMES = [
    f"{path.parent.name}/{path.stem}" for path in captures() if not path.name.endswith(".far.pcap")
]
HEALTHY = [name for name in NAMES if name not in PLANTED]


def meant(name: str, *, node: str | None = None, profile: Profile | None = None) -> Meant:
    """What a node of a recording, the first one as a rule, has configured in the end."""
    found = description(RECORDINGS / f"{name}.pcap")
    [first, *_] = [e for e in found["events"] if e["event"] == "virtual_host"]
    node = node or first["node"]
    addresses: dict[str, None] = {}
    for event in found["events"]:
        if event["node"] == node and event.get("vhid") == first["vhid"]:
            if event["event"] == "address_added":
                addresses[event["address"]] = None
            elif event["event"] == "address_removed":
                addresses.pop(event["address"], None)
    return Meant(first["vhid"], tuple(addresses), key=bytes.fromhex(first["key"]))


@cache
def diagnosed(name: str, known: Meant | None = None) -> Report:
    with open_capture(RECORDINGS / f"{name}.pcap") as opened:
        return diagnose(Observer(opened, by_vhid(known)), known)


def bad(report: Report) -> list[Finding]:
    return [found for found in report.findings if found.severity is Severity.BAD]


def texts(report: Report, fault: Fault) -> list[str]:
    return [found.text for found in report.findings if found.fault is fault]


# -- the recordings ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_bad_about_a_healthy_recording(name: str) -> None:
    report = diagnosed(name)
    assert [found.text for found in bad(report)] == []
    assert report.healthy


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_fault_is_named(name: str) -> None:
    report = diagnosed(name)
    assert {found.fault for found in bad(report)} >= PLANTED[name]
    assert not report.healthy
    for found in bad(report):
        assert found.frames, found.text


def test_the_worst_comes_first() -> None:
    severities = [found.severity for found in diagnosed("freebsd/injected").findings]
    assert severities == sorted(severities, reverse=True)


def test_nothing_bad_with_the_key_of_a_healthy_recording() -> None:
    for name in ("freebsd/failover-preempt1", "freebsd/dual", "netbsd/multi-vip-unsorted"):
        assert bad(diagnosed(name, meant(name))) == []


def test_another_passphrase() -> None:
    report = diagnosed("freebsd/wrong-password", meant("freebsd/wrong-password"))
    [two] = texts(report, Fault.TWO_MASTERS)
    assert "The HMAC of 192.168.1.158 is not that" in two
    [hmac] = texts(report, Fault.WRONG_HMAC)
    assert hmac.startswith("4 of 5 advertisements of 192.168.1.158 in vhid 1 do not fit")


def test_near_misses_of_a_passphrase() -> None:
    known = Meant(1, ("10.66.0.100",), passphrase="filesecret", profile=UCARP)
    found = {
        str(finding.sources[0]): finding.text
        for finding in diagnosed("ucarp/passfile", known).findings
        if finding.fault is Fault.WRONG_HMAC
    }
    assert found.keys() == {"10.66.0.4", "10.66.0.5"}
    assert "carriage return" in found["10.66.0.4"]
    assert "space" in found["10.66.0.5"]


def test_other_addresses_with_the_key_and_without() -> None:
    report = diagnosed("netbsd/vip-list-mismatch", meant("netbsd/vip-list-mismatch"))
    [text] = texts(report, Fault.WRONG_HMAC)
    assert text.endswith("the other host includes 192.0.2.5 besides")
    [two] = texts(diagnosed("netbsd/vip-list-mismatch"), Fault.TWO_MASTERS)
    assert "192.0.2.11 announces 192.0.2.100; 192.0.2.12 announces 192.0.2.5, 192.0.2.100" in two


@pytest.mark.parametrize("name", ["netbsd/stale-hmac-79929", "netbsd/stale-hmac-79934"])
def test_a_stale_hmac_is_that_of_other_addresses(name: str) -> None:
    report = diagnosed(name, meant(name))
    [text] = texts(report, Fault.WRONG_HMAC)
    assert "the other host" in text


def test_netbsds_pseudo_header_alone_is_a_note() -> None:
    [found] = [
        found
        for found in diagnosed("netbsd/dual-stack-bp1120").findings
        if found.fault is Fault.WRONG_CHECKSUM
    ]
    assert found.severity is Severity.NOTE
    assert "NetBSD since ip_carp.c 1.120" in found.text


def test_demotion_that_stays() -> None:
    stuck, recovered = texts(diagnosed("freebsd/demotion-preempt1"), Fault.DEMOTION)
    assert "192.168.1.157" in recovered
    assert recovered.endswith("and recovered.")
    assert "192.168.1.158" in stuck
    assert stuck.endswith("stuck.")
    [healed] = [
        found
        for found in diagnosed("netbsd/demotion-skew240").findings
        if found.fault is Fault.DEMOTION
    ]
    assert healed.severity is Severity.NOTE
    [gone] = texts(diagnosed("ucarp/send-errors-tc"), Fault.DEMOTION)
    assert gone.endswith("ceased to advertise: whether it still is cannot be seen here.")


def test_every_sender_is_told() -> None:
    report = diagnosed("netbsd/failover-preempt1")
    told = texts(report, Fault.SENDER)
    assert len(told) == len(report.guesses) == 2
    assert all("is probably NetBSD before ip_carp.c 1.120" in text for text in told)


# -- faults that no recording has --------------------------------------------------------------

KEY = Authenticator(vhid=1, passphrase="secret", addresses=["192.0.2.1"])
FIRST, SECOND = "192.0.2.9", "192.0.2.10"
MAC = "52:54:00:00:00:0a"


def sent(
    t: float,
    source: str,
    counter: int,
    *,
    advskew: int = 0,
    advbase: int = 1,
    hop_limit: int = 255,
    destination: str | None = None,
    covered: bool = False,
    traffic_class: int = 0xE0,
) -> tuple[float, bytes]:
    """A frame as FreeBSD 12 sends it."""
    six = ":" in source
    to = destination or ("ff02::12" if six else "224.0.0.18")
    advertisement = KEY.sign(Advertisement(1, advbase, advskew, counter=counter))
    header = pseudo_header(parse_address(source), parse_address(to)) if covered else b""
    return t, build(
        encode(advertisement, pseudo_header=header),
        source=source,
        destination=to,
        source_mac="00:00:5e:00:01:01",
        destination_mac=None if to.startswith(("224.", "ff02", "239.")) else "52:54:00:00:00:0a",
        traffic_class=traffic_class,
        hop_limit=hop_limit,
    )


def report_of(frames: Iterable[tuple[float, bytes]], known: Meant | None = None) -> Report:
    records = [
        Record(number, round(t * 1e9), 1, data, len(data))
        for number, (t, data) in enumerate(sorted(frames), start=1)
    ]
    return diagnose(Observer(records, by_vhid(known)), known)


def alone(
    source: str, times: int, counter: int = 1000, **more: int
) -> Iterator[tuple[float, bytes]]:
    for number in range(times):
        yield sent(5 + number * 1.05, source, counter + number, **more)


def test_deaf_in_one_direction() -> None:
    # The faster one takes up the slower one's counters, so it hears it; the slower one does not.
    frames = []
    counters = {FIRST: 5_000, SECOND: 70_000}
    turns = [(number * 1.0, FIRST) for number in range(16)]
    turns += [(number * 1.5 + 0.25, SECOND) for number in range(10)]
    for t, source in sorted(turns):
        counters[source] += 1
        frames.append(sent(t, source, counters[source], advskew=128 if source == SECOND else 0))
        if source == SECOND:
            counters[FIRST] = counters[SECOND]
    [text] = texts(report_of(frames), Fault.TWO_MASTERS)
    assert f"{FIRST} accepts what {SECOND} sends" in text
    assert "deaf in this direction" in text


def test_two_that_accept_nothing_of_each_other() -> None:
    frames = []
    for number in range(8):
        frames.append(sent(number * 1.05, FIRST, (number * 0x9E3779B97F4A7C15) % (1 << 64)))
        frames.append(
            sent(number * 1.05 + 0.5, SECOND, (number * 0xC2B2AE3D27D4EB4F + 5) % (1 << 64))
        )
    [text] = texts(report_of(frames), Fault.TWO_MASTERS)
    assert "no counter follows the other's" in text
    known = Meant(1, ("192.0.2.1",), passphrase="secret")
    [text] = texts(report_of(frames, known), Fault.TWO_MASTERS)
    assert "neither hears the other" in text


def test_two_that_count_on_from_the_same_master_and_are_deaf() -> None:
    frames = []
    for number in range(8):
        frames.append(sent(number * 1.05, FIRST, 500 + number))
        frames.append(sent(number * 1.05 + 0.5, SECOND, 500 + number, advskew=1))
    [text] = texts(report_of(frames), Fault.TWO_MASTERS)
    assert "accepts what" in text
    assert "Neither accepts what the other sends" in text


def test_a_replay_under_another_address_is_not_deaf() -> None:
    frames = []
    for number in range(8):
        frames.append(sent(number * 1.05, FIRST, 500 + number))
        frames.append(sent(number * 1.05 + 0.3, SECOND, 500 + number))
    late = [
        *(sent(number * 1.05, FIRST, 500 + number) for number in range(16)),
        *(sent(number * 1.05 + 5.3, SECOND, 500 + number) for number in range(8)),
    ]
    for some in (frames, late):
        [text] = texts(report_of(some), Fault.TWO_MASTERS)
        assert "192.0.2.10 sends, byte for byte, what 192.0.2.9 has sent before" in text


def doubled(start: int = 1_000_000) -> list[tuple[float, bytes]]:
    """Two hosts with one own address that do not hear each other."""
    return [
        *(sent(5 + number * 1.05, FIRST, start + number) for number in range(8)),
        *(sent(5.4 + number * 1.05, FIRST, 77 + number) for number in range(8)),
    ]


def test_two_hosts_with_one_own_address_by_their_counters() -> None:
    report = report_of(doubled())
    [text] = texts(report, Fault.DUPLICATE_ADDRESS)
    assert text == (
        "two hosts have the own address 192.0.2.9: its advertisements of vhid 1 come in two rows, "
        "by turns"
    )
    assert not texts(report, Fault.REPLAY)
    assert not report.healthy


def test_a_replay_of_what_is_in_the_capture_is_no_second_host() -> None:
    frames = [
        *(sent(5 + number * 1.05, FIRST, 500 + number) for number in range(24)),
        *(sent(18 + number * 1.05, FIRST, 500 + number) for number in range(8)),
    ]
    report = report_of(frames)
    assert not texts(report, Fault.DUPLICATE_ADDRESS)
    assert texts(report, Fault.REPLAY)


@pytest.mark.parametrize("owner", [FIRST, "192.0.2.1"])
def test_two_hosts_with_one_own_address_by_arp(owner: str) -> None:
    frames = list(alone(FIRST, 6))
    frames.append((5.01, gratuitous_arp("192.0.2.1", mac=MAC, source_mac=MAC)))
    for number, last in enumerate((10, 11, 10, 11)):
        mac = f"52:54:00:00:00:{last:02x}"
        arp = bytearray(gratuitous_arp(owner, mac=mac, source_mac=mac))
        arp[38:42] = bytes((192, 0, 2, 99))  # asks for another's
        frames.append((6 + number, bytes(arp)))
    found = texts(report_of(frames), Fault.DUPLICATE_ADDRESS)
    if owner == FIRST:
        assert found == [
            "two hosts have the own address 192.0.2.9: ARP or ND has it now at one, now at the "
            "other of 52:54:00:00:00:0a and 52:54:00:00:00:0b"
        ]
    else:
        assert not found  # a virtual address, which UCarp hosts have at their own MACs


@pytest.mark.parametrize("fault", ["ttl", "checksum"])
def test_a_master_that_is_refused_is_one_of_two(fault: str) -> None:
    frames = []
    for number in range(8):
        frames.append(sent(5 + number * 1.05, FIRST, 500 + number))
        t, data = sent(
            5.5 + number * 1.05,
            SECOND,
            900 + number * 777,
            hop_limit=64 if fault == "ttl" else 255,
        )
        frames.append((t, data if fault == "ttl" else data[:40] + b"\x12\x34" + data[42:]))
    report = report_of(frames)
    [text] = texts(report, Fault.TWO_MASTERS)
    assert text.startswith("two MASTERs: 192.0.2.9 and 192.0.2.10 both advertised vhid 1 for 6.")
    assert "What 192.0.2.10 sends is refused" in text
    assert not report.timeline.overlaps
    assert len(report.timeline.beside) == 1


def test_a_source_that_no_host_can_have_is_no_master() -> None:
    report = diagnosed("ucarp/inject-malformed")
    assert not any("0.0.0.0" in text for text in texts(report, Fault.SPLIT_BRAIN))


def test_two_that_hear_each_other_and_do_not_yield() -> None:
    frames = []
    for number in range(8):
        frames.append(sent(number * 1.05, FIRST, 500 + 2 * number))
        frames.append(sent(number * 1.05 + 0.5, SECOND, 501 + 2 * number))
    [text] = texts(report_of(frames), Fault.TWO_MASTERS)
    assert "Each accepts what the other sends" in text
    assert "their intervals are equal" in text


def test_two_whose_advertisements_are_refused() -> None:
    frames = []
    for number in range(8):
        for source, at in (("fe80::9", 0.0), ("fe80::a", 0.5)):
            t, data = sent(number * 1.05 + at, source, number * 999_983, traffic_class=0)
            frames.append((t, data[:60] + b"\0\0" + data[62:]))
    [text] = texts(report_of(frames), Fault.TWO_MASTERS)
    assert "What fe80::9 sends is refused: its checksum is 0" in text


def test_ucarp_beside_a_kernel() -> None:
    with open_capture(RECORDINGS / "ucarp/single-master.pcap") as opened:
        ucarp = tuple(opened)
    with open_capture(RECORDINGS / "freebsd/single-v4.pcap") as opened:
        kernel = tuple(opened)
    later = ucarp[-1].nanoseconds + 60 * 10**9 - kernel[0].nanoseconds
    kernel = tuple(seen._replace(nanoseconds=seen.nanoseconds + later) for seen in kernel)
    report = diagnose(Observer((*ucarp, *kernel)))
    assert any("mixes UCarp with a kernel's CARP" in text for text in texts(report, Fault.SENDER))


@pytest.mark.parametrize(
    ("mac", "why"),
    [
        ("00:00:5e:00:01:01", "the sender does not set it"),
        ("52:54:00:00:00:01", "came through a router"),
    ],
)
def test_a_ttl_that_is_not_255(mac: str, why: str) -> None:
    frames = [
        (t, data[:6] + bytes.fromhex(mac.replace(":", "")) + data[12:])
        for t, data in alone(FIRST, 4, hop_limit=64)
    ]
    [text] = texts(report_of(frames), Fault.WRONG_TTL)
    assert text.startswith("4 advertisements of 192.0.2.9")
    assert "TTL 64" in text
    assert why in text


def test_a_ttl_that_is_not_255_from_a_mac_that_sent_255() -> None:
    frames = [
        (t, data[:6] + b"\x52\x54\0\0\0\x01" + data[12:])
        for t, data in (*alone(FIRST, 4), sent(9.3, FIRST, 1004, hop_limit=64))
    ]
    [text] = texts(report_of(frames), Fault.WRONG_TTL)
    assert "the sender does not set it" in text


OTHER = sent(0, FIRST, 1)[1][:23] + b"\x11" + sent(0, FIRST, 1)[1][24:]  # UDP


def test_nobody_takes_over() -> None:
    late = (16.0, OTHER)
    [found] = bad(report_of([*alone(FIRST, 4), late]))
    assert found.fault is Fault.NO_MASTER
    assert found.text.startswith("vhid 1 had no MASTER from 3.15 s to the end: 192.0.2.9 fell")
    assert found.frames == (4,)
    in_time = (11.0, late[1])
    assert report_of([*alone(FIRST, 4), in_time]).healthy


def test_a_takeover_that_comes_too_late() -> None:
    frames = [*alone(FIRST, 4), *(sent(25 + n * 1.05, SECOND, 7000 + n) for n in range(4))]
    [found] = bad(report_of(frames))
    assert "no MASTER from 3.15 s for 16.9 s: 192.0.2.9 fell silent" in found.text
    assert "192.0.2.10 was next" in found.text
    assert found.frames == (4, 5)


def test_a_takeover_after_a_bow_out_that_nobody_followed() -> None:
    goodbye = sent(9.2, FIRST, 1004, advbase=255, advskew=255)
    later = (30.0, OTHER)
    [found] = [
        found
        for found in bad(report_of([*alone(FIRST, 4), goodbye, later]))
        if found.fault is Fault.NO_MASTER
    ]
    assert "192.0.2.9 bowed out, and nobody took over" in found.text


def test_a_capture_without_announcements() -> None:
    [note] = [f for f in report_of(alone(FIRST, 4)).findings if f.fault is Fault.ANNOUNCEMENTS]
    assert note.severity is Severity.NOTE
    arp = gratuitous_arp("192.0.2.1", mac="00:00:5e:00:01:01", source_mac="52:54:00:00:00:0a")
    assert not texts(report_of([*alone(FIRST, 4), (5.001, arp)]), Fault.ANNOUNCEMENTS)


def test_every_frame_twice() -> None:
    frames = []
    for t, data in alone(FIRST, 6):
        frames += [(t, data), (t + 0.002, data)]
    report = report_of(frames)
    assert report.healthy
    [text] = texts(report, Fault.COPIES)
    assert text.startswith("6 frames are copies of one at most 10 ms before")
    [lane] = report.timeline.lanes
    assert lane.advertisements == 6


@pytest.mark.parametrize(
    ("passphrase", "addresses"), [("sec", ("192.0.2.1",)), ("other", ("192.0.2.77",))]
)
def test_what_the_command_was_told_is_the_suspect(
    passphrase: str, addresses: tuple[str, ...]
) -> None:
    frames = [*alone(FIRST, 4), *(sent(12 + n * 1.05, SECOND, 7000 + n) for n in range(4))]
    report = report_of(frames, Meant(1, addresses, passphrase=passphrase))
    changes = {found.change for found in bad(report) if found.fault is Fault.WRONG_HMAC}
    [change] = changes
    assert "the passphrase or the addresses that it was given are the suspect" in change


def test_a_frame_that_a_switch_sends_back() -> None:
    frames = []
    for t, data in alone(FIRST, 6):
        frames += [(t, data), (t + 0.02, data)]
    [text] = texts(report_of(frames), Fault.REPLAY)
    assert "advertisements of 192.0.2.9 in vhid 1 repeated: a counter came again" in text
    assert "twice within 0.02" in text
    assert "a reflecting switch" in text


def test_a_replay_with_another_advskew() -> None:
    frames = [*alone(FIRST, 6, advskew=100), sent(10.3, FIRST, 1005, advskew=0)]
    [text] = texts(report_of(frames), Fault.REPLAY)
    assert "altered and sent again" in text


def test_loss() -> None:
    frames = [
        frame for number, frame in enumerate(alone(FIRST, 30)) if number not in (5, 11, 12, 20)
    ]
    report = report_of(frames)
    [found] = [found for found in report.findings if found.fault is Fault.LOSS]
    assert found.severity is Severity.BAD
    assert found.text == (
        "3 gaps in the advertisements of 192.0.2.9 in vhid 1; by their counters 4 were sent and "
        "did not arrive here"
    )


def test_a_sender_that_is_slow_has_no_gaps() -> None:
    frames = [sent(5 + number * 2.1, FIRST, 1000 + number) for number in range(12)]
    report = report_of(frames)
    assert not texts(report, Fault.LOSS)
    [text] = texts(report, Fault.JITTER)
    assert text.startswith("192.0.2.9 advertises vhid 1 every 2.10 s, though it says every 1.00 s")


def test_jitter() -> None:
    frames = [
        (t + (0.4 if number % 2 else 0.0), data)
        for number, (t, data) in enumerate(alone(FIRST, 20))
    ]
    assert texts(report_of(frames), Fault.JITTER)


def test_unequal_advbases() -> None:
    frames = [*alone(FIRST, 2), sent(20, SECOND, 5, advbase=2)]
    [found] = [found for found in report_of(frames).findings if found.fault is Fault.INTERVALS]
    assert found.severity is Severity.WARNING
    frames = [*alone(FIRST, 2), sent(20, SECOND, 5, advbase=4)]
    [found] = [found for found in report_of(frames).findings if found.fault is Fault.INTERVALS]
    assert found.severity is Severity.BAD
    assert "takes so slow a master for one that will time out" in found.text


def test_two_multicast_groups() -> None:
    frames = [*alone(FIRST, 4), sent(12, SECOND, 5, destination="239.1.2.3")]
    [text] = texts(report_of(frames), Fault.GROUP)
    assert "192.0.2.9 to 224.0.0.18, 192.0.2.10 to 239.1.2.3" in text


def test_two_groups_with_one_vhid() -> None:
    mac = "00:00:5e:00:01:01"
    frames = []
    for number in range(8):
        for source, address, at in ((FIRST, "192.0.2.1", 0.0), (SECOND, "198.51.100.1", 0.5)):
            t = 5 + number * 1.05 + at
            frames.append(sent(t, source, number * 1_000_003 + round(at * 77)))
            if number == 0:
                arp = gratuitous_arp(address, mac=mac, source_mac="52:54:00:00:00:0a")
                frames.append((t + 0.001, arp))
    [text] = texts(report_of(frames), Fault.TWO_MASTERS)
    assert "these are two groups with the same vhid" in text
    told = report_of(frames, Meant(1, ("198.51.100.1",), passphrase="theirs"))
    [text] = texts(told, Fault.TWO_MASTERS)
    assert "these are two groups with the same vhid" in text
    [change] = [
        found.change
        for found in bad(told)
        if found.fault is Fault.WRONG_HMAC and str(found.sources[0]) == FIRST
    ]
    assert "so it is of another group that has the same vhid" in change


@pytest.mark.parametrize("same_host", [False, True])
def test_one_group_in_two_vlans(same_host: bool) -> None:
    frames = []
    for number in range(4):
        for source, vlan in ((FIRST, 10), (FIRST if same_host else SECOND, 20)):
            tag = b"\x81\x00" + vlan.to_bytes(2, "big")
            t, data = sent(5 + number * 1.05 + vlan / 100, source, vlan * 1000 + number)
            arp = gratuitous_arp("192.0.2.1", mac="00:00:5e:00:01:01", source_mac=MAC)
            frames.append((t, data[:12] + tag + data[12:]))
            if not number:
                frames.append((t + 0.001, arp[:12] + tag + arp[12:]))
    found = [f for f in report_of(frames).findings if f.fault is Fault.VHID_CLASH]
    if same_host:
        assert not found
        return
    [warning] = found
    assert warning.severity is Severity.WARNING
    assert warning.text.startswith(
        "192.0.2.1 of vhid 1 is announced in several VLANs (192.0.2.9 in VLAN 10, 192.0.2.10 in "
        "VLAN 20)"
    )


def vrrp(t: float, router: int, version: int = 2) -> tuple[float, bytes]:
    """VRRP with one address (RFC 3768, RFC 9568 with the pseudo-header left out)."""
    body = bytes((version << 4 | 1, router, 100, 1, 0, 1)) + b"\0\0" + bytes((192, 0, 2, 7))
    body += bytes(8) if version == 2 else b""
    checksum = -int.from_bytes(body, "big") % 0xFFFF
    body = body[:6] + checksum.to_bytes(2, "big") + body[8:]
    return t, build(
        body, source="192.0.2.20", destination="224.0.0.18", source_mac="00:00:5e:00:01:01"
    )


@pytest.mark.parametrize("version", [2, 3])
def test_vrrp_with_the_same_number(version: int) -> None:
    frames = [*alone(FIRST, 4), vrrp(6.2, 1, version), vrrp(7.2, 1, version)]
    [found] = [found for found in report_of(frames).findings if found.fault is Fault.VRRP]
    assert found.severity is Severity.BAD
    assert found.times == 2
    assert f"VRRP version {version} from 192.0.2.20" in found.text
    assert "00:00:5e:00:01:01" in found.text


def test_vrrp_with_another_number_is_a_note() -> None:
    report = report_of([*alone(FIRST, 4), vrrp(6.2, 9)])
    assert report.healthy
    assert texts(report, Fault.VRRP)


def test_pseudo_header_beside_a_plain_checksum() -> None:
    frames = [
        *(sent(5 + n * 1.05, "fe80::9", 10 + n) for n in range(4)),
        *(sent(25 + n * 1.05, "fe80::a", 20 + n, covered=True) for n in range(4)),
    ]
    [found] = [f for f in report_of(frames).findings if f.fault is Fault.WRONG_CHECKSUM]
    assert found.severity is Severity.BAD
    assert NETBSD_1120.pseudo_header
    assert "each drops what the other sends over IPv6" in found.text


def test_a_demoted_host_from_beginning_to_end() -> None:
    report = report_of(alone(FIRST, 4, advskew=240))
    [text] = texts(report, Fault.DEMOTION)
    assert "all the time" in text
    assert report.healthy


def test_frames_that_are_stamped_backwards() -> None:
    first, second, *_ = alone(FIRST, 3)
    records = [
        Record(1, round(second[0] * 1e9), 1, second[1], 70),
        Record(2, round(first[0] * 1e9), 1, first[1], 70),
    ]
    found = diagnose(Observer(records)).findings[0]
    assert found.severity is Severity.BAD
    assert found.text.startswith("1 frame is stamped earlier")
    assert "is unsafe" in found.text
    records[1] = records[1]._replace(nanoseconds=records[0].nanoseconds - 1_000_000)
    report = diagnose(Observer(records))
    assert report.healthy
    [text] = texts(report, Fault.LIMITS)
    assert "wrong by so much" in text


def test_a_flood_of_sources_ends_clearly() -> None:
    _, frame = sent(0, FIRST, 1)

    def flood() -> Iterator[Record]:
        for number in range(20_000):
            data = bytearray(frame)
            data[26:30] = (0x0A000000 + number).to_bytes(4, "big")
            yield Record(number + 1, number * 1000, 1, bytes(data), 70)

    report = diagnose(Observer(flood()))
    assert "more groups or sources than can be followed" in report.findings[0].text
    assert report.findings[0].fault is Fault.LIMITS
    assert len(report.findings) < 200
    assert any("more about this (sender) are left out" in found.text for found in report.findings)


def test_many_masters_are_one_finding() -> None:
    frames = [
        sent(5 + number * 1.05 + host / 50, f"192.0.2.{20 + host}", host * 10**9 + number)
        for host in range(20)
        for number in range(6)
    ]
    [text] = texts(report_of(frames), Fault.TWO_MASTERS)
    assert text.startswith("20 sources advertised vhid 1 at the same time as others: 192.0.2.20, ")


def test_who_is_alone_and_contradicts_what_the_command_was_told() -> None:
    report = report_of(alone(FIRST, 4), Meant(1, ("192.0.2.1",), passphrase="sec"))
    [change] = [found.change for found in bad(report)]
    assert "either 192.0.2.9 or what this command was told is wrong" in change


# -- hosts that come back, stand still, or are two ---------------------------------------------


def random_counter(number: int) -> int:
    return (number + 1) * 0x9E3779B97F4A7C15 % (1 << 64)


@pytest.mark.parametrize("advskew", [0, 100])
def test_two_hosts_with_one_own_address_by_their_number(advskew: int) -> None:
    """Their counters are random, as they have heard nobody."""
    frames = [sent(5 + n * 1.01, FIRST, random_counter(n)) for n in range(14)]
    step = 1.01 + advskew / 256
    frames += [
        sent(5.4 + n * step, FIRST, random_counter(50 + n), advskew=advskew)
        for n in range(14 if advskew == 0 else 10)
    ]
    report = report_of(frames)
    assert [found.fault for found in bad(report)] == [Fault.DUPLICATE_ADDRESS]
    assert "come in two rows" in bad(report)[0].text


def test_one_more_advertisement_now_and_then_is_no_second_host() -> None:
    frames = [sent(5 + n * 1.01, FIRST, random_counter(n)) for n in range(20)]
    frames += [sent(5.6 + n * 5.05, FIRST, random_counter(50 + n)) for n in range(4)]
    assert not texts(report_of(frames), Fault.DUPLICATE_ADDRESS)


def test_a_host_that_stood_still() -> None:
    frames = [
        *(sent(5 + n * 1.05, FIRST, 1000 + n) for n in range(4)),
        *(sent(11.5 + n * 1.4, SECOND, 1004 + n, advskew=100) for n in range(6)),
        sent(19.6, FIRST, 1005),
        *(sent(20.6 + n * 1.4, SECOND, 1010 + n, advskew=100) for n in range(2)),
    ]
    report = report_of(frames)
    [found] = [found for found in report.findings if found.fault is Fault.REPLAY]
    assert found.severity is Severity.WARNING
    assert "1 advertisement of 192.0.2.9 in vhid 1, after a silence, with a counter" in found.text


def test_a_host_that_says_good_bye_and_returns_was_away() -> None:
    frames = [
        *alone(FIRST, 4),
        sent(8.6, FIRST, 1004, advbase=255, advskew=255),
        *(sent(60 + n * 1.05, FIRST, random_counter(n)) for n in range(4)),
    ]
    report = report_of(frames)
    [found] = bad(report)
    assert found.fault is Fault.NO_MASTER
    assert "for 51.4 s: 192.0.2.9 bowed out, and 192.0.2.9 was next" in found.text
    assert "No frame of any kind is in this capture from then." in found.text
    first, second = report.timeline.reigns
    assert (first.ended.value, second.began.value) == ("bowed out", "took over after a bow-out")
    [text] = [event.text for event in report.timeline.events if "MASTER again" in event.text]
    assert text == "MASTER again, 51.400 s after its last advertisement, a bow-out"


def test_a_good_bye_that_somebody_else_says_ends_nothing() -> None:
    frames = [*alone(FIRST, 8), sent(8.6, FIRST, 77, advbase=255, advskew=255)]
    [reign] = report_of(frames).timeline.reigns
    assert (reign.advertisements, reign.ended.value) == (9, "still MASTER when the capture ended")


def test_who_fits_no_implementation_is_one_of_two_masters_all_the_same() -> None:
    frames = []
    for number in range(8):
        frames.append(sent(5 + number * 1.05, FIRST, 500 + number))
        frames.append(sent(5.5 + number * 1.05, SECOND, 900 + number, traffic_class=0x03))
    report = report_of(frames)
    assert {found.fault for found in bad(report)} == {Fault.TWO_MASTERS, Fault.FORGED}
    [text] = texts(report, Fault.TWO_MASTERS)
    assert "What 192.0.2.10 sends fits no implementation." in text


def preemption(after: float, announced: bool) -> list[tuple[float, bytes]]:
    """A faster host preempts; the capture ends so many seconds later."""
    mac = "00:00:5e:00:01:01"
    arp = gratuitous_arp("192.0.2.1", mac=mac, source_mac=MAC)
    frames = [
        sent(5, SECOND, 100, advskew=100),
        (5.001, arp),
        *(sent(5 + n * 1.4, SECOND, 100 + n, advskew=100) for n in range(1, 4)),
        sent(9.3, FIRST, 104),
    ]
    return [*frames, *([(9.301, arp)] if announced else []), (9.3 + after, OTHER)]


def test_an_announcement_may_be_beyond_the_end_of_a_capture() -> None:
    assert not texts(report_of(preemption(0.0, announced=False)), Fault.SPLIT_BRAIN)
    assert not texts(report_of(preemption(1.0, announced=True)), Fault.SPLIT_BRAIN)
    assert texts(report_of(preemption(1.0, announced=False)), Fault.SPLIT_BRAIN)


def test_who_yields_as_carpproto_does_is_not_demoted() -> None:
    frames = [
        *(sent(5 + n * 1.4, SECOND, 100 + n, advskew=100) for n in range(4)),
        sent(9.5, FIRST, 104),
        sent(9.5005, SECOND, 105, advskew=1),
        *(sent(10.5 + n * 1.05, FIRST, 106 + n) for n in range(3)),
        *(sent(25 + n * 1.4, SECOND, 109 + n, advskew=100) for n in range(3)),
    ]
    assert not texts(report_of(frames), Fault.DEMOTION)


def test_equal_intervals_are_told_pair_by_pair() -> None:
    frames = [
        sent(5 + host * 20 + n * 1.4, f"192.0.2.{20 + host}", host * 10**9 + n, advskew=skew)
        for host, skew in enumerate((0, 80, 0, 80))
        for n in range(3)
    ]
    said = texts(report_of(frames), Fault.INTERVALS)
    assert [text.partition(" advertise")[0] for text in said] == [
        "192.0.2.20, 192.0.2.22",
        "192.0.2.21, 192.0.2.23",
    ]


@pytest.mark.parametrize("differ", [False, True])
def test_announcements_at_a_hosts_own_mac(differ: bool) -> None:
    """As carpproto sends them on Linux, whatever the profile."""
    frames = []
    for number in range(8):
        for source, at, own in ((FIRST, 0.0, "52:54:00:00:00:0a"), (SECOND, 0.5, MAC[:-1] + "b")):
            t = 5 + number * 1.05 + at
            frames.append(sent(t, source, random_counter(number + round(at * 100))))
            addresses = ["192.0.2.1", "192.0.2.2"] if differ and source == FIRST else ["192.0.2.1"]
            if number == 0:
                frames += [
                    (t + 0.001, gratuitous_arp(address, mac=own, source_mac=own))
                    for address in addresses
                ]
    [text] = texts(report_of(frames), Fault.TWO_MASTERS)
    if differ:
        assert "192.0.2.9 announces 192.0.2.1, 192.0.2.2; 192.0.2.10 announces 192.0.2.1" in text
    else:
        assert "Neither accepts" in text


def test_where_the_capture_begins_is_where_its_first_frame_is() -> None:
    """An election is seen where nobody advertised in the time in which a MASTER would have."""
    assert report_of([*alone(FIRST, 4)]).timeline.reigns[0].began.value.startswith("was MASTER")
    seen = report_of([(0.5, OTHER), *alone(FIRST, 4)]).timeline
    assert seen.reigns[0].began.value == "elected"
