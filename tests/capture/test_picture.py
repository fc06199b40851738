"""Pictures of timelines: their lanes, and that the same timeline gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from carpproto import ConfigError
from carpproto.capture.observation import Group, Observer
from carpproto.capture.picture import MAX_LANES, draw
from carpproto.capture.reader import Record, open_capture
from carpproto.capture.timeline import Timeline, timeline
from tests.helpers import RECORDINGS, captures, carries_carp


def of(name: str) -> Timeline:
    with open_capture(RECORDINGS / f"{name}.pcap") as opened:
        return timeline(Observer(opened))


def comments(path: Path) -> list[str]:
    """The texts of an SVG: matplotlib draws them as paths, and notes them in comments."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    tree = ElementTree.parse(path, parser)
    return [
        (element.text or "").strip()
        for element in tree.iter()
        if element.tag is ElementTree.Comment
    ]


def test_the_same_timeline_gives_the_same_bytes(tmp_path: Path) -> None:
    found = of("freebsd/demotion-preempt1")
    for name in ("one.svg", "two.svg"):
        draw(found, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_picture_names_sources_roles_and_events(tmp_path: Path) -> None:
    draw(of("freebsd/demotion-preempt1"), tmp_path / "x.svg", title="a title with $ and _")
    texts = comments(tmp_path / "x.svg")
    for text in (
        "192.168.1.157",
        "192.168.1.158",
        "MASTER",
        "addresses announced",
        "demoted (advskew raised)",
        "a title with $ and _",
    ):
        assert text in texts


def test_two_masters_are_a_colour_of_their_own(tmp_path: Path) -> None:
    draw(of("freebsd/wrong-password"), tmp_path / "x.svg")
    assert "two MASTERs" in comments(tmp_path / "x.svg")
    draw(of("freebsd/failover-preempt1"), tmp_path / "y.svg")
    assert "two MASTERs" not in comments(tmp_path / "y.svg")


def test_only_the_groups_asked_for(tmp_path: Path) -> None:
    found = of("freebsd/many-vhids")
    draw(found, tmp_path / "x.svg", groups=[Group((), 255)])
    assert "CARP vhid 255" in comments(tmp_path / "x.svg")
    with pytest.raises(ConfigError, match="no advertisement to draw"):
        draw(found, tmp_path / "x.svg", groups=[Group((), 7)])


def test_many_sources_are_not_all_drawn_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_capture(RECORDINGS / "freebsd/single-v4.pcap") as opened:
        frame = bytearray(next(r.data for r in opened if carries_carp(r.data)))
    records = []
    for number in range(60):
        frame[29] = number
        records.append(Record(number + 1, number * 10**8, 1, bytes(frame), len(frame)))
    found = timeline(Observer(records))
    draw(found, tmp_path / "x.svg")
    drawn = {text for text in comments(tmp_path / "x.svg") if text.startswith("192.168.1.")}
    assert len(drawn) == min(MAX_LANES, len(found.lanes))
    text = f"{len(found.lanes) - MAX_LANES} of {len(found.lanes)} sources are left out"
    assert any(text in comment for comment in comments(tmp_path / "x.svg"))
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path}/x.svg: {text}"]


def test_a_name_that_is_no_pictures_is_refused(tmp_path: Path) -> None:
    found = of("freebsd/single-v4")
    for name in ("x.txt", ".png", "x.Svg"):
        with pytest.raises(ConfigError, match=r"ends in \.svg or \.png"):
            draw(found, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_capitals_are_a_pictures_name_too(tmp_path: Path) -> None:
    draw(of("freebsd/single-v4"), tmp_path / "x.SVG")
    assert "192.168.1.157" in comments(tmp_path / "x.SVG")


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*/nodir/x\.svg: No such file"):
        draw(of("freebsd/single-v4"), tmp_path / "nodir" / "x.svg")


@pytest.mark.parametrize("name", ["freebsd/injected", "ucarp/passfile", "ucarp/base255-skew255"])
def test_any_recording_can_be_drawn(name: str, tmp_path: Path) -> None:
    assert any(path.stem == name.split("/")[1] for path in captures())
    draw(of(name), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5000
