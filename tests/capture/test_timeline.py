"""The timeline of every recording beside what the recorded systems reported of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from carpproto import UCARP, Authenticator
from carpproto.capture.happenings import Event, Happening
from carpproto.capture.observation import Group, Heard, Observer
from carpproto.capture.reader import Record, open_capture
from carpproto.capture.recording import Recording, load
from carpproto.capture.reigns import SECOND, Began, Ended, Reign
from carpproto.capture.timeline import (
    MAX_GROUPS,
    MAX_SOURCES,
    Timeline,
    timeline,
)
from tests.helpers import RECORDINGS, carries_carp, frames

BEFORE = 0.025  # seconds by which a log line may be later than the frame that it is about
AFTER = 0.1  # seconds from a log line to the first advertisement (ucarp's up script comes between)
JITTER = 0.001

PINNED = {
    "ucarp/inject-malformed": (
        "ucarp reads raw frames and takes a fragment for a packet: it steps down for frame 90, "
        "which is no advertisement to anyone else",
        [
            "h1 to frame 92: the timeline ends at 98",
            "h1 until 50.019, the timeline says 53.019 to 54.433",
            "h1 MASTER at 51.420: not in the timeline",
        ],
    ),
    "ucarp/slow-up-only": (
        "its up script takes 2.5 s, and it advertises only when that is done",
        ["h1 MASTER at 3.704, the timeline says 6.221"],
    ),
    "ucarp/term-during-upscript": (
        "told to end while its up script ran, it sends two advertisements first; its mastership "
        "was over by the record when they came",
        ["10.66.0.1 in frame 8: not reported"],
    ),
}

UNSEEN = {
    # Masterships of which no advertisement is on the captured wire.
    "netbsd/demotion-skew240": {("A", 2)},  # on another wire
    "netbsd/ipv6-only-stock": {("A", 1)},  # that kernel cannot send them
    "ucarp/term-during-upscript": {("h1", 1)},  # see above
}

NAMES = sorted(
    f"{path.parent.name}/{path.stem}"
    for path in RECORDINGS.glob("*/*.json")
    if path.name != "INDEX.json"
)


class Span(NamedTuple):
    """A node's time as MASTER that the capture shows: when it was reported, and its frames."""

    node: str
    vhid: int
    family: int
    since: float
    to: float
    first_frame: int
    last_frame: int


@cache
def recording(name: str) -> Recording:
    return load(RECORDINGS / f"{name}.json")


def capture(name: str, far: bool) -> Path:
    found = recording(name)
    path = found.pcap_far if far else found.pcap
    assert path is not None
    return path


@cache
def drawn(name: str, far: bool = False) -> Timeline:
    with open_capture(capture(name, far)) as opened:
        return timeline(Observer(opened))


@cache
def heard(name: str, far: bool = False) -> tuple[Heard, ...]:
    with open_capture(capture(name, far)) as opened:
        return tuple(seen for seen in Observer(opened) if isinstance(seen, Heard))


def masterships(found: Recording) -> list[tuple[str, int, float, float]]:
    """Node, vhid, and from when to when it reported to be MASTER."""
    spans = []
    since: dict[tuple[str, int], float] = {}
    steps = [
        (seen.t, seen.node, seen.vhid, seen.current == "MASTER") for seen in found.transitions
    ]
    steps += [
        (event.t, event.node or "", vhid, False)
        for event in found.events
        for vhid in range(256)
        if event.kind in ("halt", "shutdown")
        and any(seen.node == event.node and seen.vhid == vhid for seen in found.transitions)
    ]
    for t, node, vhid, master in sorted(steps):
        if master:
            since.setdefault((node, vhid), t)
        elif (node, vhid) in since:
            spans.append((node, vhid, since.pop((node, vhid)), t))
    end = found.duration + 60
    return spans + [(node, vhid, t, end) for (node, vhid), t in since.items()]


def at(found: Recording, seen: Heard) -> float:
    return seen.nanoseconds / SECOND - found.t0


def out_of_sight(found: Recording, node: str, far: bool) -> list[tuple[float, float]]:
    """When what this node sends does not reach the capture."""
    near = node not in found.far_nodes
    windows = []
    since = None
    for event in found.events:
        cut = event.kind == "wire" and (near if far else event.node == node)
        lost = event.node == node and event.kind in ("link", "sending")
        if cut or lost:
            up = not event.values["fails"] if event.kind == "sending" else event.values["up"]
            if not up and since is None:
                since = event.t
            elif up and since is not None:
                windows.append((since, event.t))
                since = None
    return windows + ([] if since is None else [(since, found.duration + 60)])


def expected(name: str, far: bool = False) -> list[Span]:
    """The masterships that have an advertisement on the wire, cut where it was out of sight."""
    found = recording(name)
    spans = []
    all_spans = masterships(found)
    for node, vhid, since, to in all_spans:
        following = [s for n, v, s, _ in all_spans if (n, v) == (node, vhid) and s > since]
        to_be_seen = min([to + BEFORE, *(start - JITTER for start in following)])
        parts = [(since, to)]
        for gone, back in out_of_sight(found, node, far):
            parts = [
                part
                for start, end in parts
                for part in ((start, min(end, gone)), (max(start, back), end))
                if part[0] < part[1]
            ]
        for family, source in found.nodes[node].advertises_from.items():
            for start, end in parts:
                inside = [
                    seen.frame
                    for seen in heard(name, far)
                    if seen.source == source
                    and seen.group.vhid == vhid
                    and start - BEFORE <= at(found, seen) <= min(end + BEFORE, to_be_seen)
                ]
                if inside:
                    spans.append(Span(node, vhid, family, start, end, inside[0], inside[-1]))
    return sorted(spans, key=lambda span: span.first_frame)


def reigns(name: str, far: bool = False) -> list[Reign]:
    """Those of the recorded nodes."""
    found = recording(name)
    nodes = {s for node in found.nodes.values() for s in node.advertises_from.values()}
    vhids = {seen.vhid for seen in found.transitions}
    return [
        reign
        for reign in drawn(name, far).reigns
        if reign.source in nodes and reign.group.vhid in vhids
    ]


def differences(name: str, far: bool = False) -> list[str]:
    """Where the timeline and what was reported disagree."""
    found = recording(name)
    wanted = expected(name, far)
    shown = reigns(name, far)
    told = []
    by_first = {reign.first_frame: reign for reign in shown}
    for span in wanted:
        reign = by_first.pop(span.first_frame, None)
        if reign is None:
            told.append(f"{span.node} MASTER at {span.since:.3f}: not in the timeline")
            continue
        if reign.last_frame != span.last_frame:
            told.append(
                f"{span.node} to frame {span.last_frame}: the timeline ends at {reign.last_frame}"
            )
        start = reign.start / SECOND - found.t0
        cut = any(span.since == back for _, back in out_of_sight(found, span.node, far))
        if not cut and not -BEFORE <= start - span.since <= AFTER:
            told.append(f"{span.node} MASTER at {span.since:.3f}, the timeline says {start:.3f}")
        last, gone = (t / SECOND - found.t0 for t in (reign.last, reign.gone_by))
        if reign.ended is not Ended.OPEN and not last - BEFORE <= span.to <= gone + AFTER:
            told.append(
                f"{span.node} until {span.to:.3f}, the timeline says {last:.3f} to {gone:.3f}"
            )
    told += [f"{reign.source} in frame {frame}: not reported" for frame, reign in by_first.items()]
    return told


# -- every recording --------------------------------------------------------------------------

ALL = [(name, False) for name in NAMES] + [
    (name, True) for name in NAMES if recording(name).pcap_far is not None
]


@pytest.mark.parametrize(("name", "far"), ALL, ids=[f"{n}{'.far' * f}" for n, f in ALL])
def test_the_timeline_says_who_was_master_as_the_systems_did(name: str, far: bool) -> None:
    told = differences(name, far)
    if name in PINNED:
        assert told == PINNED[name][1], PINNED[name][0]
    else:
        assert told == []


def test_only_what_is_named_here_cannot_be_seen() -> None:
    unseen: dict[str, set[tuple[str, int]]] = {}
    for name in NAMES:
        found = recording(name)
        spans = expected(name) + (expected(name, True) if found.pcap_far else [])
        seen = {(span.node, span.vhid, span.since) for span in spans}
        for node, vhid, since, to in masterships(found):
            inside = any(n == node and v == vhid and since <= t <= to for n, v, t in seen)
            if not inside:
                unseen.setdefault(name, set()).add((node, vhid))
    assert unseen == UNSEEN


def test_the_comparison_is_of_many_masterships() -> None:
    assert sum(len(expected(name, far)) for name, far in ALL) == 250


# -- what a timeline tells --------------------------------------------------------------------


def events(name: str, what: Happening, far: bool = False) -> list[Event]:
    return [event for event in drawn(name, far).events if event.what is what]


def began(name: str, far: bool = False) -> list[Began]:
    return [reign.began for reign in drawn(name, far).reigns]


def test_an_election_a_failover_and_a_preemption() -> None:
    assert began("freebsd/failover-preempt1") == [
        Began.ELECTED,
        Began.TOOK_OVER,
        Began.PREEMPTED,
    ]
    _, failover, _ = events("freebsd/failover-preempt1", Happening.MASTER)
    assert failover.seconds == pytest.approx(3.4766, abs=1e-4)
    assert (str(failover.source), str(failover.other)) == ("192.168.1.158", "192.168.1.157")
    assert failover.frame == 21
    ended = [reign.ended for reign in drawn("freebsd/failover-preempt1").reigns]
    assert ended == [Ended.SILENT, Ended.YIELDED, Ended.OPEN]


def test_a_bow_out() -> None:
    assert began("netbsd/graceful-down-bow-out") == [Began.ELECTED, Began.AFTER_BOW_OUT]
    [said] = events("netbsd/graceful-down-bow-out", Happening.BOWED_OUT)
    assert said.frame == 22
    assert drawn("netbsd/graceful-down-bow-out").reigns[0].ended is Ended.BOWED_OUT
    taken = events("netbsd/graceful-down-bow-out", Happening.MASTER)[1]
    assert taken.seconds == pytest.approx(0, abs=0.01)


def test_one_that_is_configured_as_a_bow_out_is_none() -> None:
    assert not events("ucarp/base255-skew255", Happening.BOWED_OUT)
    assert drawn("ucarp/base255-skew255").reigns[0].ended is not Ended.BOWED_OUT


def test_demotions() -> None:
    told = [(event.what, event.text) for event in drawn("netbsd/demotion-skew240").events]
    assert (Happening.DEMOTED, "advskew 0 -> 240") in told
    assert (Happening.RESTORED, "advskew 240 -> 0") in told
    assert Began.PREEMPTED in began("netbsd/demotion-skew240")


def test_two_masters() -> None:
    [overlap] = drawn("freebsd/wrong-password").overlaps
    assert overlap.seconds == pytest.approx(5.715, abs=1e-3)
    assert (overlap.first_frame, overlap.last_frame) == (16, 26)


def test_a_preemption_is_no_time_with_two_masters() -> None:
    for name in ("freebsd/failover-preempt1", "netbsd/demotion-skew240", "freebsd/equal-start"):
        assert drawn(name).overlaps == ()


def test_the_families_of_a_group_are_not_two_masters() -> None:
    for name in ("freebsd/dual", "netbsd/dual-stack-v6out", "freebsd/failover-dual"):
        assert drawn(name).overlaps == ()


def test_announced_addresses() -> None:
    first = events("netbsd/graceful-down-bow-out", Happening.ANNOUNCED)[0]
    assert {str(address) for address in first.addresses} == {"192.0.2.5", "192.0.2.100"}
    assert str(first.source) == "192.0.2.11"


def test_ucarps_announcements_are_told_apart_by_its_hosts_own_macs() -> None:
    told = [
        (str(event.source), event.text[-17:])
        for event in events("ucarp/advbase0", Happening.ANNOUNCED)
    ]
    assert set(told) == {
        ("10.66.0.1", "02:66:00:00:00:01"),
        ("10.66.0.2", "02:66:00:00:00:02"),
    }


def test_a_vlan_is_part_of_the_group() -> None:
    assert drawn("freebsd/vlan").groups == (Group((10,), 10),)


def shifted(name: str, keep: Callable[[int], bool]) -> Timeline:
    """A recording without some of its frames."""
    with open_capture(capture(name, False)) as opened:
        return timeline(Observer(record for record in opened if keep(record.number)))


def test_what_the_capture_lost_is_a_gap() -> None:
    # From frame 22 on the BACKUP that took over counts up; two of its advertisements are lost.
    found = shifted("freebsd/failover-preempt1", lambda number: number not in (24, 25))
    [gap] = found.gaps
    assert (gap.before_frame, gap.after_frame, gap.sent) == (23, 26, 3)
    [event] = [event for event in found.events if event.what is Happening.GAP]
    assert "by its counter 2 were sent and are not here" in event.text


def test_without_the_first_seconds_it_is_master_already() -> None:
    found = shifted("freebsd/single-v4", lambda number: number > 20)
    assert found.reigns[0].began is Began.SEEN


def test_what_is_not_authentic_makes_no_master() -> None:
    with open_capture(capture("freebsd/wrong-password", False)) as opened:
        key = Authenticator(vhid=1, passphrase="randompass", addresses=["192.168.1.50"])
        found = timeline(Observer(opened, {1: key}))
    assert found.overlaps == ()
    right, wrong = found.lanes
    assert (right.authentic, right.not_authentic) == (11, 0)
    assert (wrong.authentic, wrong.not_authentic) == (1, 4)
    assert [event.frame for event in found.events if event.what is Happening.NOT_AUTHENTIC] == [16]


def test_more_sources_than_can_be_followed_are_counted() -> None:
    frame = bytearray(frames(capture("freebsd/single-v4", False))[6])
    assert carries_carp(bytes(frame))

    def many() -> Iterator[Record]:
        for number in range(30_000):
            frame[26:30] = (0x0A000000 + number).to_bytes(4, "big")
            yield Record(number + 1, number * 1000, 1, bytes(frame), len(frame))

    found = timeline(Observer(many()))
    assert len(found.lanes) <= 4 * MAX_GROUPS + 4 * MAX_SOURCES
    assert found.unfollowed > 27_000
    assert len(found.reigns) <= MAX_SOURCES


def test_an_empty_capture_has_an_empty_timeline() -> None:
    found = timeline(Observer(iter(())))
    assert (found.begin, found.lanes, found.events) == (None, (), ())


def test_who_is_refused_is_followed_apart() -> None:
    key = Authenticator(vhid=1, addresses=["10.66.0.100"], passphrase="filesecret", profile=UCARP)
    with open_capture(RECORDINGS / "ucarp/passfile.pcap") as opened:
        found = timeline(Observer(opened, {1: key}))
    assert {str(reign.source) for reign in found.reigns} == {"10.66.0.1", "10.66.0.2", "10.66.0.3"}
    assert [(str(reign.source), reign.ended) for reign in found.refused] == [
        ("10.66.0.4", Ended.OPEN),
        ("10.66.0.5", Ended.OPEN),
    ]
    assert {(str(o.one.source), str(o.other.source)) for o in found.beside} == {
        ("10.66.0.1", "10.66.0.4"),
        ("10.66.0.1", "10.66.0.5"),
        ("10.66.0.2", "10.66.0.4"),
        ("10.66.0.3", "10.66.0.4"),
    }
    said = [event.text for event in found.events if event.what is Happening.UNHEEDED]
    assert said == [
        "advertises for 3.691 s (to frame 53), and receivers refuse it; MASTER meanwhile: "
        "10.66.0.1, 10.66.0.2, 10.66.0.3",
        "advertises for 3.921 s (to frame 54), and receivers refuse it; MASTER meanwhile: "
        "10.66.0.1",
    ]
    # Its own announcements are its own, although nobody takes it for a MASTER.
    announced = {str(e.source) for e in found.events if e.what is Happening.ANNOUNCED}
    assert {"10.66.0.4", "10.66.0.5"} <= announced
