"""Which implementation a sender is: right in every recording, and for OpenBSD by vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carpproto import FREEBSD_10, FREEBSD_12, NETBSD_1120, OPENBSD, UCARP, Authenticator
from carpproto.capture.observation import Heard, Observer
from carpproto.capture.reader import Record, open_capture
from carpproto.capture.recording import load
from carpproto.capture.replay import profile_of
from carpproto.capture.senders import ENOUGH, Guess, Kind, Senders
from carpproto.core.advertisement import Advertisement, encode
from carpproto.core.frame import build
from tests.helpers import RECORDINGS, captures


def guesses(records: Iterator[Record] | Path) -> list[Guess]:
    senders = Senders()
    if isinstance(records, Path):
        with open_capture(records) as opened:
            return guesses(iter(tuple(opened)))
    for seen in Observer(records):
        if isinstance(seen, Heard):
            senders.take(seen)
    return list(senders.guesses())


def ran(path: Path) -> dict[str, Kind]:
    """What each recorded address ran."""
    recording = load(path.parent / f"{path.name.split('.')[0]}.json")
    kinds = {}
    for node in recording.nodes.values():
        profile = profile_of(recording, node)
        for family, address in node.advertises_from.items():
            if profile is FREEBSD_10:
                kind = Kind.FREEBSD_10
            elif profile is FREEBSD_12:
                kind = Kind.FREEBSD
            elif profile is NETBSD_1120:
                kind = Kind.NETBSD_1120
            elif profile is UCARP:
                # Over IPv4 the fork sends what UCarp 1.5.2 does.
                kind = Kind.UCARP_FORK if family == 6 else Kind.UCARP
            else:
                kind = Kind.NETBSD
            kinds[str(address)] = kind
    return kinds


@pytest.mark.parametrize("path", captures(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recorded_sender_is_what_it_was(path: Path) -> None:
    expected = ran(path)
    for guess in guesses(path):
        if str(guess.source) not in expected:
            continue  # injected by the laboratory
        kind = expected[str(guess.source)]
        if guess.advertisements >= ENOUGH:
            assert guess.certain, str(guess)
            assert guess.kinds == (kind,)
        else:
            assert kind in guess.kinds


def test_most_recorded_senders_have_enough_advertisements() -> None:
    counts = [
        guess.advertisements >= ENOUGH
        for path in captures()
        for guess in guesses(path)
        if str(guess.source) in ran(path)
    ]
    assert (sum(counts), len(counts)) == (162, 174)


@pytest.mark.parametrize(
    "name",
    [
        "freebsd/injected",
        "freebsd/injected-10-4",
        "ucarp/inject-backup-nopreempt",
        "ucarp/inject-burst",
        "ucarp/inject-latency",
        "ucarp/inject-malformed",
        "ucarp/inject-master-worse-equal",
        "ucarp/inject-replay",
    ],
)
def test_injected_frames_are_no_implementations(name: str) -> None:
    path = RECORDINGS / f"{name}.pcap"
    expected = ran(path)
    injected = [guess for guess in guesses(path) if str(guess.source) not in expected]
    most = max(injected, key=lambda guess: guess.advertisements)
    assert most.kinds == ()
    assert str(most) == "none of the known implementations"


def test_both_families_of_a_host_are_seen_together() -> None:
    found = {str(guess.source): guess for guess in guesses(RECORDINGS / "freebsd/dual-10-4.pcap")}
    first, second = found["192.168.1.157"], found["fe80::5054:ff:fec1:a"]
    assert (first.twin, second.twin) == (second.source, first.source)


def test_reasons_are_in_words() -> None:
    [guess] = guesses(RECORDINGS / "netbsd/single-ipv4-master.pcap")
    assert guess.reasons == (
        "Ethernet source the virtual MAC",
        "TOS 0x10",
        "IPv4 id always 0",
        "counter random",
        "advertises 10 ms late",
    )


@pytest.mark.parametrize(
    ("mac", "destination", "traffic_class", "kind"),
    [
        ("00:00:5e:00:00:05", "224.0.0.18", 0x10, Kind.CARPPROTO),  # as UCarp, without an id
        ("52:54:00:00:00:0a", "192.0.2.10", 0xE0, Kind.FREEBSD),  # to a unicast peer
        ("52:54:00:00:00:0a", "224.0.0.18", 0xE0, None),
    ],
)
def test_senders_that_no_recording_has(
    mac: str, destination: str, traffic_class: int, kind: Kind | None
) -> None:
    senders = Senders()
    records = []
    for number in range(6):
        data = build(
            encode(Advertisement(5, counter=77 + number)),
            source="192.0.2.9",
            destination=destination,
            source_mac=mac,
            destination_mac="52:54:00:00:00:0b" if destination == "192.0.2.10" else None,
            traffic_class=traffic_class,
        )
        records.append(Record(number + 1, number * 1_004_000_000, 1, data, len(data)))
    for seen in Observer(records):
        assert isinstance(seen, Heard)
        senders.take(seen)
    [guess] = senders.guesses()
    assert guess.kinds == (() if kind is None else (kind,))


# -- OpenBSD: no recording; what protocol.rst says that it sends ------------------------------


def openbsd(count: int, *, mac: str = "00:00:5e:00:01:05", family: int = 4) -> Iterator[Record]:
    """TOS 0x10, a random id, the virtual MAC unless set by hand, one counter for all."""
    authenticator = Authenticator(
        vhid=5, passphrase="secret", addresses=["192.0.2.1", "2001:db8::1"], profile=OPENBSD
    )
    payload = encode(authenticator.sign(Advertisement(5, counter=0x0123_4567_89AB_CDEF)))
    ids = (40123, 913, 27555, 61002, 7, 33333)
    for number in range(count):
        data = build(
            payload,
            source="192.0.2.9" if family == 4 else "fe80::9",
            destination="224.0.0.18" if family == 4 else "ff02::12",
            source_mac=mac,
            traffic_class=0x10 if family == 4 else 0,
            identification=ids[number],
        )
        yield Record(number + 1, number * 1_004_000_000, 1, data, len(data))


@pytest.mark.parametrize("mac", ["00:00:5e:00:01:05", "52:54:00:00:00:0a"])
@pytest.mark.parametrize("family", [4, 6])
def test_openbsd_by_vectors(mac: str, family: int) -> None:
    [guess] = guesses(openbsd(6, mac=mac, family=family))
    assert guess.kinds == (Kind.OPENBSD,)
    assert guess.certain
    assert "counter always the same" in guess.reasons


def test_one_advertisement_is_not_enough() -> None:
    [guess] = guesses(openbsd(1))
    assert Kind.OPENBSD in guess.kinds
    assert not guess.certain
    assert "only 1 advertisement" in guess.reasons
