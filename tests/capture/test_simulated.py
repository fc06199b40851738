"""Timeline and diagnosis of simulated clusters, whose state at any time is known."""

from __future__ import annotations

from typing import Any

import pytest

from carpproto import State, VirtualHostConfig
from carpproto.capture.diagnosis import Meant, Report, by_vhid, diagnose
from carpproto.capture.finding import Fault, Finding, Severity
from carpproto.capture.observation import Heard, Observer
from carpproto.capture.reader import Record
from carpproto.capture.timeline import timeline
from carpproto.core.errors import ConfigError
from carpproto.simulation.cluster import Cluster
from carpproto.simulation.faults import Boot, Crash, Inject, SegmentChange, Stop
from carpproto.simulation.random_scenario import PROFILES, Variety, random_scenario
from carpproto.simulation.scenario import Scenario

BEGIN = 10**18  # nanoseconds since 1970 at the simulation's 0
MOST = 0.001  # seconds from a transition to an advertisement that comes with it


def tapped(cluster: Cluster, segment: str) -> list[Record]:
    """What a capture on a segment will have, also what is lost on the way to a receiver."""
    records: list[Record] = []

    def tap(now: float, _: str, frame: bytes) -> None:
        number = len(records) + 1
        records.append(Record(number, BEGIN + round(now * 1e9), 1, frame, len(frame)))

    cluster.segments[segment].taps.append(tap)
    return records


def captures(scenario: Scenario, seed: int) -> list[tuple[Cluster, str, list[Record]]]:
    """The cluster that ran, and a segment with what was captured on it, for each segment."""
    cluster = scenario.cluster(seed)
    taps = [(segment, tapped(cluster, segment)) for segment in cluster.segments]
    cluster.run(scenario.lasts)
    return [(cluster, segment, records) for segment, records in taps if records]


def bad(report: Report) -> list[Finding]:
    return [found for found in report.findings if found.severity is Severity.BAD]


def variety(profile: str, *, incidents: int) -> Variety:
    return Variety((profile,), (2, 5), (0, incidents), (15.0, 30.0), 40.0)


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_bad_about_an_election(profile: str) -> None:
    for seed in range(40):
        scenario = random_scenario(seed, variety(profile, incidents=0))
        for _, segment, records in captures(scenario, seed):
            found = [one.text for one in bad(diagnose(Observer(records)))]
            assert found == [], f"seed {seed}, {segment}"


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_bad_about_a_failover(profile: str) -> None:
    for seed in range(60):
        scenario = random_scenario(seed, variety(profile, incidents=3))
        kept = tuple(f for f in scenario.faults if isinstance(f, (Crash, Boot, Stop)))
        if len(scenario.nodes) < 3 or not kept:
            continue
        for _, segment, records in captures(scenario._replace(faults=kept), seed):
            found = [one.text for one in bad(diagnose(Observer(records)))]
            assert found == [], f"seed {seed}, {segment}"


def masterships(cluster: Cluster, segment: str) -> list[tuple[int, int, float, float]]:
    """Number of the node, counted from 1, vhid, from when to when it was MASTER on a segment."""
    since: dict[tuple[int, int], float] = {}
    spans = []
    numbers = {name: number for number, name in enumerate(cluster.nodes, 1)}
    for change in cluster.transitions:
        if cluster.nodes[change.node].ports[change.interface].segment.name != segment:
            continue
        key = numbers[change.node], change.vhid
        if change.current is State.MASTER:
            since.setdefault(key, change.at)
        elif key in since:
            spans.append((*key, since.pop(key), change.at))
    return spans + [(*key, at, cluster.now) for key, at in since.items()]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_mastership_begins_a_reign(profile: str) -> None:
    seen = 0
    for seed in range(60):
        scenario = random_scenario(seed, variety(profile, incidents=4))
        if any(isinstance(fault, (SegmentChange, Inject)) for fault in scenario.faults):
            continue  # what is damaged on the wire is another matter
        for cluster, segment, records in captures(scenario, seed):
            begun = {
                (reign.source, reign.first_frame) for reign in timeline(Observer(records)).reigns
            }
            heard = [one for one in Observer(records) if isinstance(one, Heard)]
            for number, vhid, since, until in masterships(cluster, segment):
                # The simulation makes up 198.18.0.N and 198.19.0.N.
                own = [
                    one
                    for one in heard
                    if one.source.version == 4
                    and (one.source.packed[-1], one.group.vhid) == (number, vhid)
                    and since - MOST <= (one.nanoseconds - BEGIN) / 1e9 <= until + MOST
                ]
                if own:
                    seen += 1
                    where = f"seed {seed}, {segment}, node {number}, vhid {vhid} at {since}"
                    assert (own[0].source, own[0].frame) in begun, where
    assert seen > 60


def planted(profile: str, fault: str, *, known: bool = False) -> Report:
    """Two hosts, and what is wrong with the second one, or with the network from 10 to 40 s."""
    cluster = Cluster(seed=3)
    values: dict[str, Any] = {"vhid": 1, "key": b"right", "addresses": ["192.0.2.1"]}
    other: dict[str, dict[str, Any]] = {
        "key": {"key": b"wrong"},
        "other address": {"addresses": ["192.0.2.2"]},
        "more addresses": {"addresses": ["192.0.2.1", "192.0.2.2"]},
        "vhid": {"vhid": 2},
    }
    for name, changed in (("a", {}), ("b", {"advskew": 100, **other.get(fault, {})})):
        cluster.add_node(
            name, VirtualHostConfig(**{**values, **changed}), profile=PROFILES[profile]
        )
    records = tapped(cluster, "lan")
    cluster.run(10.0)
    if fault in ("cut", "deaf"):
        cluster.cut("a", "b", both=fault == "cut")
    cluster.run(40.0)
    cluster.heal()
    cluster.run(60.0)
    meant = Meant(1, ("192.0.2.1",), key=b"right") if known else None
    return diagnose(Observer(records, by_vhid(meant)), meant)


@pytest.mark.parametrize("profile", ["freebsd", "netbsd", "openbsd", "ucarp"])
@pytest.mark.parametrize(
    ("fault", "known", "finding", "words"),
    [
        ("cut", False, Fault.TWO_MASTERS, "Neither accepts what the other sends"),
        ("cut", True, Fault.TWO_MASTERS, "so neither hears the other"),
        ("deaf", False, Fault.TWO_MASTERS, "198.18.0.1 accepts what 198.18.0.2 sends"),
        ("key", False, Fault.TWO_MASTERS, "Neither accepts what the other sends"),
        ("key", True, Fault.TWO_MASTERS, "The HMAC of 198.18.0.2 is not that"),
        ("key", True, Fault.WRONG_HMAC, "no near miss"),
        ("other address", False, Fault.TWO_MASTERS, "no virtual address in common"),
        ("other address", True, Fault.WRONG_HMAC, "has 192.0.2.2 in place of 192.0.2.1"),
        ("more addresses", False, Fault.TWO_MASTERS, "Their virtual addresses differ"),
        ("more addresses", True, Fault.WRONG_HMAC, "the other host includes 192.0.2.2 besides"),
        ("vhid", False, Fault.VHID_CLASH, "192.0.2.1 belongs to vhid 1 and to vhid 2"),
    ],
)
def test_what_was_planted_is_found(
    profile: str, fault: str, known: bool, finding: Fault, words: str
) -> None:
    if profile == "ucarp" and fault == "more addresses":
        with pytest.raises(ConfigError, match="but UCarp has one for each vhid"):
            planted(profile, fault)
        return
    report = planted(profile, fault, known=known)
    assert bad(report)[0].fault is (Fault.VHID_CLASH if fault == "vhid" else Fault.TWO_MASTERS)
    [text] = [one.text for one in bad(report) if one.fault is finding]
    if profile == "openbsd" and fault == "deaf":
        words = "Neither accepts what the other sends"  # its counters are constant
    assert words in text
