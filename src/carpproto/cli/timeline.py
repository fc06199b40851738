"""``carpproto timeline``: who was MASTER when, as text, as JSON or as a picture."""

from __future__ import annotations

import argparse
from typing import Any

from carpproto.capture.diagnosis import Meant, by_vhid
from carpproto.capture.happenings import Event
from carpproto.capture.observation import Group, Observer
from carpproto.capture.picture import check_picture, draw
from carpproto.capture.reigns import Reign
from carpproto.capture.timeline import Lane, Timeline, timeline
from carpproto.cli.progress import open_with_progress
from carpproto.cli.text import not_there, print_json, printable, timestamp, warn
from carpproto.cli.verify import PROFILES, add_secret, read_secret
from carpproto.core.errors import ConfigError

_NOTICED = 1_000_000  # nanoseconds out of order
HELP = "who was MASTER when, failovers, gaps, two MASTERs"
DESCRIPTION = (
    "Says of each vhid in a capture who advertised when: elections, failovers and how long they "
    "took, gaps, times with two MASTERs, demotions, bow-outs, announced addresses. With --vhid, "
    "--address and the passphrase, who is not authentic in that vhid is shown as refused, not as "
    "MASTER. -o draws it. Exit status 1 if there is no advertisement, or none that fits these."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="pcap or pcapng; - reads standard input")
    parser.add_argument(
        "-o", "--output", metavar="PICTURE", help="draw it: a file that ends in .svg or .png"
    )
    add_meant(parser)


def add_meant(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say what is meant to be configured."""
    parser.add_argument("--vhid", metavar="N", type=int, help="the group that --address is of")
    parser.add_argument(
        "--address",
        metavar="A",
        action="extend",
        nargs="+",
        help="a virtual address; name all of the group, in any order",
    )
    add_secret(parser)


def meant(arguments: argparse.Namespace) -> Meant | None:
    """What the arguments say is configured, None where they do not."""
    given = arguments.passphrase_file is not None or arguments.key_file is not None
    if arguments.address is None and arguments.vhid is None and not given:
        return None
    if arguments.address is None or arguments.vhid is None:
        raise ConfigError("--vhid, --address and the passphrase go together: give all of them")
    passphrase, key = read_secret(arguments)
    return Meant(
        arguments.vhid,
        tuple(arguments.address),
        passphrase,
        key,
        PROFILES[arguments.profile],
    )


def missing_group(known: Meant | None, found: Timeline) -> str | None:
    """What to say where the group that the command was told of is not in the capture."""
    if known is None or any(group.vhid == known.vhid for group in found.groups):
        return None
    return not_there(known.vhid, found.groups)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    output = arguments.output
    if output is not None:
        check_picture(output)  # rather before a long capture is read
    with open_with_progress(arguments.file) as capture:
        known = meant(arguments)
        observer = Observer(capture, by_vhid(known))
        found = timeline(observer)
    if output is not None and found.lanes:
        draw(found, output)
    if arguments.json:
        for value in as_json(found, observer):
            print_json(value)
    else:
        print("\n".join(describe(found)))
    if capture.warning is not None:
        warn(capture.warning)
    if observer.furthest_back > _NOTICED:
        seconds = observer.furthest_back / 1e9
        warn(f"frames are out of order by up to {seconds:.3f} s: times and durations are unsafe")
    if observer.copies:
        warn(f"{observer.copies} frames are copies of one at most 10 ms before, and left out")
    if not found.lanes:
        return _nothing(_unreadable(found), arguments.json)
    missing = missing_group(known, found) or _contradicted(known, found)
    if missing is not None:
        return _nothing(missing, arguments.json)
    return 0


def _unreadable(found: Timeline) -> str:
    text = "there is no CARP advertisement in this capture"
    if not found.unreadable:
        return text
    return f"{text} that could be read; of {found.unreadable} frames: {found.unreadable_text}"


def _contradicted(known: Meant | None, found: Timeline) -> str | None:
    """What to say where no advertisement fits what the command was told."""
    if known is None:
        return None
    lanes = [lane for lane in found.lanes if lane.group.vhid == known.vhid]
    if any(lane.authentic for lane in lanes):
        return None
    return (
        f"no advertisement of vhid {known.vhid} fits the passphrase and the addresses that were "
        "given, so they are the suspect; carpproto diagnose searches what explains it"
    )


def _nothing(text: str, as_json: bool) -> int:
    """Say that what was asked for is not there; the exit status."""
    if as_json:
        print_json({"part": "nothing", "text": text})
    warn(text)
    return 1


def describe(found: Timeline) -> list[str]:
    """A timeline as lines for people."""
    if found.begin is None or found.end is None:
        return ["an empty capture"]
    seconds = (found.end - found.begin) / 1e9
    lines = [f"{seconds:.3f} s from {timestamp(found.begin)}; times below count from there"]
    for group in found.groups:
        lines += _describe_group(found, group)
    if found.vrrp:
        lines.append(f"{found.vrrp} VRRP advertisements, which are not CARP's")
    if found.unfollowed:
        lines.append(f"{found.unfollowed} advertisements of more sources than can be followed")
    if found.left_out:
        lines.append(f"{found.left_out} events more are left out")
    return lines


def _describe_group(found: Timeline, group: Group) -> list[str]:
    lines = ["", str(group)]
    lines += [f"  {_of_lane(lane)}" for lane in found.lanes if lane.group == group]
    begin = found.begin or 0
    for event in found.events:
        if event.group == group:
            source = "" if event.source is None else f"{event.source} "
            at = (event.nanoseconds - begin) / 1e9
            lines.append(f"  {at:12.6f} {event.frame:>6}  {source}{printable(event.text)}")
    return lines


def _of_lane(lane: Lane) -> str:
    terms = ", ".join(f"{advbase}/{advskew}" for advbase, advskew in lane.terms)
    words = [f"{lane.source}: {lane.advertisements} advertisements"]
    if terms:
        words.append(f"advbase/advskew {terms}")
    words += [f"{count} refused ({reason})" for reason, count in lane.refused.items()]
    if lane.authentic or lane.not_authentic:
        words.append(f"{lane.authentic} authentic, {lane.not_authentic} not")
    return printable("; ".join(words))


def as_json(found: Timeline, observer: Observer) -> list[dict[str, Any]]:
    """A timeline as objects: one for the capture, one for each lane, reign and event."""
    return [
        {
            "part": "capture",
            "begin": found.begin,
            "end": found.end,
            "records": observer.records,
            "copies": observer.copies,
            "backwards": observer.backwards,
            "furthest_back": observer.furthest_back / 1e9,
            "vrrp": found.vrrp,
            "unreadable": found.unreadable,
            "unfollowed": found.unfollowed,
            "left_out": found.left_out,
        },
        *[_lane_as_json(lane) for lane in found.lanes],
        *[_reign_as_json("reign", reign) for reign in found.reigns],
        *[_reign_as_json("refused", reign) for reign in found.refused],
        *[_event_as_json(event) for event in found.events],
    ]


def _of_group(group: Group) -> dict[str, Any]:
    return {"vlans": list(group.vlans), "vhid": group.vhid}


def _lane_as_json(lane: Lane) -> dict[str, Any]:
    return {
        "part": "source",
        **_of_group(lane.group),
        "source": str(lane.source),
        "advertisements": lane.advertisements,
        "first": lane.first,
        "last": lane.last,
        "terms": [list(terms) for terms in lane.terms],
        "refused": dict(lane.refused),
        "authentic": lane.authentic,
        "not_authentic": lane.not_authentic,
    }


def _reign_as_json(part: str, reign: Reign) -> dict[str, Any]:
    return {
        "part": part,
        **_of_group(reign.group),
        "source": str(reign.source),
        "start": reign.start,
        "until": reign.until,
        "gone_by": reign.gone_by,
        "first_frame": reign.first_frame,
        "last_frame": reign.last_frame,
        "until_frame": reign.until_frame,
        "advertisements": reign.advertisements,
        "began": reign.began.value,
        "ended": reign.ended.value,
        "predecessor": None if reign.predecessor is None else str(reign.predecessor),
        "waited": None if reign.waited is None else reign.waited / 1e9,
        "successor": None if reign.successor is None else str(reign.successor),
        "announced": reign.announced,
    }


def _event_as_json(event: Event) -> dict[str, Any]:
    return {
        "part": "event",
        "nanoseconds": event.nanoseconds,
        "time": timestamp(event.nanoseconds),
        "frame": event.frame,
        "what": event.what.value,
        **_of_group(event.group),
        "source": None if event.source is None else str(event.source),
        "other": None if event.other is None else str(event.other),
        "seconds": event.seconds,
        "addresses": [str(address) for address in event.addresses],
        "text": event.text,
    }
