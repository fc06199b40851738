"""Replay: what agrees, and that nothing which differs goes unnoticed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from carpproto import FREEBSD_10, FREEBSD_12, FREEBSD_14, NETBSD, UCARP, ConfigError, DecodeError
from carpproto.capture.reader import open_capture
from carpproto.capture.recording import RecordedEvent, Recording, load
from carpproto.capture.replay import profile_of, replay
from carpproto.capture.report import TOLERANCES, Report, Tolerance
from tests.helpers import RECORDINGS


def recorded(name: str) -> Recording:
    return load(RECORDINGS / "freebsd" / f"{name}.json")


def with_frames(recording: Recording, tmp_path: Path, change) -> Recording:
    """The recording with each frame of protocol 112 changed, or left out where that gives None."""
    path = tmp_path / recording.pcap.name
    with open_capture(recording.pcap) as capture, path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
        count = 0
        for record in capture:
            data = bytearray(record.data)
            nanoseconds = record.nanoseconds
            if data[12:14] == b"\x08\x00" and data[23] == 112:
                changed = change(count, data)
                count += 1
                if changed is None:
                    continue
                data, delay = changed
                nanoseconds += round(delay * 1e9)
            seconds, fraction = divmod(nanoseconds, 10**9)
            file.write(struct.pack("<IIII", seconds, fraction, len(data), len(data)) + data)
    return recording._replace(pcap=path)


def texts(report: Report) -> list[str]:
    return [str(found) for found in report.disagreements]


def test_a_report_has_the_transitions_with_cause_and_effect() -> None:
    report = replay(recorded("failover-preempt0"))
    assert report.agrees
    assert not report.explained
    takeover = report.transitions[3]
    assert (takeover.node, takeover.change.own, takeover.words) == ("B", 868, "master timed out")
    assert 0 < takeover.recorded - takeover.t < 0.127
    assert report.advertisements == 19
    assert report.timers[0].late == pytest.approx(
        report.timers[0].recorded - report.timers[0].armed - report.timers[0].length
    )
    assert report.counters["B"]["opackets"] == 13


def test_all_timers_but_one_are_late_by_7_percent_and_30_ms_at_the_most() -> None:
    late = []
    for path in sorted((RECORDINGS / "freebsd").glob("*.json")):
        if path.name != "INDEX.json":
            late += replay(load(path)).timers
    assert len(late) > 640
    beyond = [timer for timer in late if timer.late > timer.length * 0.07 + 0.030]
    assert len(beyond) == 1
    assert all(timer.late > -0.030 for timer in late)


def test_a_transition_that_was_not_recorded_is_found() -> None:
    recording = recorded("failover-preempt0")
    report = replay(recording._replace(transitions=recording.transitions[:-2]))
    assert len(report.disagreements) == 2
    assert (
        "predicted vhid 1 BACKUP -> MASTER (master timed out), recorded nothing"
        in (texts(report)[0])
    )


def test_a_transition_that_was_not_predicted_is_found() -> None:
    recording = recorded("failover-preempt0")
    extra = recording.transitions[2]._replace(t=6.0)
    report = replay(recording._replace(transitions=(*recording.transitions, extra)))
    assert texts(report) == [
        "A at t = 6.000000: predicted nothing, recorded vhid 1 BACKUP -> MASTER (master timed out)"
    ]


def test_another_reason_is_found() -> None:
    recording = recorded("failover-preempt1")
    changed = [
        seen._replace(reason="master timed out") if "preempting" in seen.reason else seen
        for seen in recording.transitions
    ]
    [found] = replay(recording._replace(transitions=tuple(changed))).disagreements
    assert found.predicted == "vhid 1 BACKUP -> MASTER (preempting a slower master)"
    assert found.recorded == "vhid 1 BACKUP -> MASTER (master timed out)"


def test_a_late_reaction_is_found() -> None:
    recording = recorded("carrier-loss")
    changed = [
        seen._replace(t=seen.t + 0.15) if seen.current == "INIT" else seen
        for seen in recording.transitions
    ]
    report = replay(recording._replace(transitions=tuple(changed)))
    [found] = report.disagreements
    assert str(found.predicted).startswith("at t = 7.672806, up to 0.100 s late")
    assert str(found.recorded).endswith("0.151007 s late")


def test_an_advertisement_that_was_left_out_is_found(tmp_path: Path) -> None:
    recording = with_frames(
        recorded("single-v4"),
        tmp_path,
        lambda number, data: None if number == 5 else (data, 0.0),
    )
    missed, late = texts(replay(recording._replace(counters={})))
    assert "predicted an advertisement of vhid 1 IPv4 advbase 1 advskew 0, recorded nothing" in (
        missed
    )
    assert late.endswith("0.126000 s late")  # two of the recorded 63 ms


def test_a_late_advertisement_is_found_and_does_not_spill_into_the_next(tmp_path: Path) -> None:
    recording = with_frames(
        recorded("single-v4"),
        tmp_path,
        lambda number, data: (data, 0.06 if number >= 5 else 0.0),
    )
    [found] = replay(recording).disagreements
    assert str(found.predicted).startswith("a timer of 1.000000 s armed at t = ")
    assert " s late" in str(found.recorded)


def test_an_early_advertisement_is_found(tmp_path: Path) -> None:
    recording = with_frames(
        recorded("single-v4"),
        tmp_path,
        lambda number, data: (data, -0.2 if number == 5 else 0.0),
    )
    assert replay(recording).disagreements


@pytest.mark.parametrize(
    ("offset", "predicted"),
    [
        (0, "70 bytes, from byte 0 on 01005e"),  # the Ethernet destination
        (15, "70 bytes, from byte 15 on e0"),  # the TOS
        (22, "70 bytes, from byte 22 on ff"),  # the TTL
    ],
)
def test_a_frame_that_differs_in_a_byte_is_found(tmp_path: Path, offset, predicted) -> None:
    def change(number: int, data: bytearray):
        if number == 5:
            data[offset] ^= 2
        return data, 0.0

    [found] = replay(with_frames(recorded("single-v4"), tmp_path, change)).disagreements
    assert str(found.predicted).startswith(predicted)


def test_a_frame_with_more_bytes_is_found(tmp_path: Path) -> None:
    recording = with_frames(
        recorded("single-v4"),
        tmp_path,
        lambda number, data: (data + b"\0\0" if number == 5 else data, 0.0),
    )
    [found] = replay(recording).disagreements
    assert str(found.predicted).startswith("70 bytes, from byte 70 on")
    assert "72 bytes" in str(found.recorded)


def test_a_frame_that_is_no_advertisement_is_found(tmp_path: Path) -> None:
    def change(number: int, data: bytearray):
        if number == 5:
            data[40] ^= 1
        return data, 0.0

    report = replay(with_frames(recorded("single-v4"), tmp_path, change))
    assert "which is no advertisement: badsum at byte 6" in texts(report)[0]


def test_another_advskew_or_counter_is_found(tmp_path: Path) -> None:
    def faster(number: int, data: bytearray):
        if number == 5:
            data[36] += 1
            checksum = int.from_bytes(data[40:42], "big") - 0x0100
            data[40:42] = checksum.to_bytes(2, "big")
        return data, 0.0

    [found] = replay(with_frames(recorded("single-v4"), tmp_path, faster)).disagreements
    assert found.predicted == "advbase 1 advskew 0"
    assert str(found.recorded).endswith("advbase 1 advskew 1")


def test_a_counter_that_was_not_learnt_is_found(tmp_path: Path) -> None:
    # Once A has heard the injected 0x1000 it counts on from there.
    recording = recorded("injected")
    frames = [frame for frame in recording.frames() if frame.sender]
    learnt = next(
        number
        for number, frame in enumerate(frames)
        if frame.packet.payload[8:16] == (0x1001).to_bytes(8, "big")
    )
    target = frames[learnt].packet.frame

    def change(number: int, data: bytearray):
        if data == target:
            data[49] += 1
            checksum = int.from_bytes(data[40:42], "big") - 0x0001
            data[40:42] = checksum.to_bytes(2, "big")
        return data, 0.0

    report = replay(with_frames(recording, tmp_path, change))
    assert "predicted counter 4097, recorded frame" in texts(report)[0]
    assert texts(report)[0].endswith("counter 4098")


def test_an_injected_frame_with_another_verdict_is_found() -> None:
    recording = recorded("injected")
    events = [
        event._replace(values={**event.values, "dropped": "badlen", "valid": False})
        if event.values.get("dropped") == "badttl"
        else event
        for event in recording.events
    ]
    [found] = replay(recording._replace(events=tuple(events))).disagreements
    assert str(found.predicted).startswith("badttl (frame 22: TTL 254)")
    assert found.recorded == "badlen"


def test_an_injected_frame_that_was_taken_and_is_refused_is_found() -> None:
    recording = recorded("injected")
    events = [
        event._replace(values={**event.values, "valid": True, "dropped": None})
        if event.values.get("dropped") == "badttl"
        else event
        for event in recording.events
    ]
    [found] = replay(recording._replace(events=tuple(events))).disagreements
    assert found.recorded == "taken"


def test_a_counter_of_the_kernel_that_differs_is_found() -> None:
    recording = recorded("injected")
    counters = {"A": {**recording.counters["A"], "badauth": 7, "unheard of": 1}}
    [found] = replay(recording._replace(counters=counters)).disagreements
    assert (found.predicted, found.recorded) == ("badauth = 1", "badauth = 7")


def test_a_node_that_is_gone_does_nothing_more() -> None:
    recording = recorded("single-v4")
    halt = RecordedEvent(10.0, "A", "halt", {})
    late = RecordedEvent(11.0, "A", "setting", {"name": "preempt", "value": 1})
    events = (*recording.events, halt, late)
    report = replay(recording._replace(events=events))
    after = [frame for frame in recording.frames() if frame.t > 10.0]
    assert len(report.disagreements) == len(after)
    assert all(found.predicted is None for found in report.disagreements)
    assert report.counters == {}


def test_an_orderly_stop_is_predicted_too() -> None:
    recording = recorded("single-v4")
    stop = RecordedEvent(recording.duration + 0.01, "A", "shutdown", {})
    assert replay(recording._replace(events=(*recording.events, stop))).agrees


def test_errors_in_sending_demote() -> None:
    recording = recorded("single-v4")
    fails = RecordedEvent(7.0, "A", "sending", {"fails": True})
    no_longer = RecordedEvent(10.2, "A", "sending", {"fails": False})
    report = replay(recording._replace(events=(*recording.events, fails, no_longer)))
    # The recorded node could send, with advskew 0. After the third failure the machine's
    # interval is 1 + 240/256 s.
    predicted = [found.predicted for found in report.disagreements[:5]]
    assert predicted == [None, None, None, None, "advbase 1 advskew 240"]


def test_settings_that_the_machine_does_not_know_change_nothing() -> None:
    recording = recorded("single-v4")
    setting = RecordedEvent(5.0, "A", "setting", {"name": "up_script_seconds", "value": 1})
    queried = RecordedEvent(5.1, "A", "queried", {"vhid": 1})
    assert replay(recording._replace(events=(*recording.events, setting, queried))).agrees


def test_the_tolerance_can_be_set() -> None:
    assert TOLERANCES["freebsd"] == Tolerance(0.07, 0.030, 0.1)
    recording = recorded("single-v4")
    strict = replay(recording, tolerance=Tolerance(0.0, 0.010, 0.1))
    assert len(strict.disagreements) >= 14
    generous = replay(recorded("single-v4-10-4"), tolerance=Tolerance(0.1, 0.030, 0.1))
    assert generous.agrees


def test_the_profile_follows_from_what_ran() -> None:
    recording = recorded("single-v4")
    node = recording.nodes["A"]
    for text, profile in (
        ("FreeBSD 10.4 amd64 (ip_carp.c r312444)", FREEBSD_10),
        ("FreeBSD 12.1-RELEASE amd64 (ip_carp.c r349762)", FREEBSD_12),
        ("FreeBSD 14-STABLE", FREEBSD_14),
        ("FreeBSD", FREEBSD_12),
    ):
        assert profile_of(recording, node._replace(implementation=text)) is profile
    assert profile_of(recording._replace(profile="netbsd"), node) is NETBSD
    assert profile_of(recording._replace(profile="ucarp"), node) is UCARP
    with pytest.raises(ConfigError, match="names the profile 'vms'; known are freebsd"):
        profile_of(recording._replace(profile="vms"), node)


def test_a_capture_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    recording = recorded("single-v4")
    path = tmp_path / "cut.pcap"
    path.write_bytes(recording.pcap.read_bytes()[:-10])
    with pytest.raises(DecodeError, match=r"cut.pcap: the file ends within record"):
        replay(recording._replace(pcap=path))
    with pytest.raises(FileNotFoundError):
        replay(recording._replace(pcap=tmp_path / "none.pcap"))
