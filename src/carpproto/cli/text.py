"""How things are printed: escaped, one line each, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from carpproto.capture.packets import Seen
from carpproto.core.errors import DecodeError

_NAMED = 8  # groups, where all that are there would be too many
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def printable(text: object) -> str:
    """Text that cannot move a terminal's cursor: what is not printable is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on a line of its own."""
    print(json.dumps(value))


def warn(text: str) -> None:
    """A warning on stderr, after what was printed so far."""
    sys.stdout.flush()
    print(f"carpproto: warning: {printable(text)}", file=sys.stderr)


def refuse(error: Exception, file: str = "") -> None:
    """Say on stderr, in one line, why an input cannot be used."""
    if isinstance(error, OSError):
        text = f"cannot read {error.filename or file}: {error.strerror or error}"
    elif isinstance(error, DecodeError):
        where = f" (byte {error.offset})" if error.offset else ""
        named = not file or error.text.startswith(file)
        text = f"{error.text}{where}" if named else f"{file}: {error.text}{where}"
    else:
        text = f"{file}: {error}" if file else str(error)
    sys.stdout.flush()
    text = printable(text)
    print(f"carpproto: {text if len(text) < 600 else text[:600] + '...'}", file=sys.stderr)


def name_groups(groups: Iterable[object]) -> str:
    """Such as ``vhid 1, vhid 2 vlan 10``; the first ones of many."""
    names = [f"vhid {group}" if isinstance(group, int) else str(group) for group in groups]
    return ", ".join([*names[:_NAMED], "..."] if len(names) > _NAMED else names)


def not_there(vhid: int, others: Iterable[object]) -> str:
    """What to say where a vhid is asked for that is not in a capture, but perhaps others."""
    text = f"there is no advertisement of vhid {vhid} in this capture"
    return f"{text}; there are: {there}" if (there := name_groups(others)) else text


def timestamp(nanoseconds: int) -> str:
    """UTC with microseconds, as 2026-07-25T09:07:18.752708Z; seconds where no calendar fits."""
    try:
        moment = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return f"{nanoseconds / 1e9:.6f}"
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def describe(seen: Seen) -> str:
    """One line for a packet of a capture."""
    words = [f"{seen.record.number}", timestamp(seen.record.nanoseconds)]
    packet, advertisement = seen.packet, seen.advertisement
    if packet is not None:
        words.append(f"{packet.source} > {packet.destination}")
        ethernet = seen.ethernet
        if ethernet is not None and ethernet.tags:
            words.append("vlan " + ".".join(str(vlan) for vlan in ethernet.vlans))
    if advertisement is not None:
        words.append(
            f"vhid {advertisement.vhid} advbase {advertisement.advbase} "
            f"advskew {advertisement.advskew} demote {advertisement.demote} "
            f"counter {advertisement.counter}"
        )
    if seen.pseudo_header:
        words.append("(checksum with pseudo-header)")
    if seen.problem is not None:
        words.append(f"BAD {seen.problem}")
    return " ".join(words)


def as_json(seen: Seen) -> dict[str, Any]:
    """A packet of a capture as an object; what could not be read is null."""
    packet, advertisement, ethernet = seen.packet, seen.advertisement, seen.ethernet
    found: dict[str, Any] = {
        "frame": seen.record.number,
        "time": timestamp(seen.record.nanoseconds),
        "nanoseconds": seen.record.nanoseconds,
        "family": None,
        "source": None,
        "destination": None,
        "hop_limit": None,
        "traffic_class": None,
        "source_mac": None,
        "destination_mac": None,
        "vlans": None,
    }
    if packet is not None:
        found.update(
            family=packet.family,
            source=str(packet.source),
            destination=str(packet.destination),
            hop_limit=packet.hop_limit,
            traffic_class=packet.traffic_class,
        )
    if ethernet is not None:
        found.update(
            source_mac=ethernet.source,
            destination_mac=ethernet.destination,
            vlans=list(ethernet.vlans),
        )
    if advertisement is None:
        found["advertisement"] = None
    else:
        fields = advertisement._asdict()
        found["advertisement"] = {**fields, "digest": advertisement.digest.hex()}
    found["pseudo_header"] = bool(seen.pseudo_header)
    found["problem"] = None
    if seen.problem is not None:
        found["problem"] = {
            "reason": seen.problem.reason.value,
            "offset": seen.problem.offset,
            "text": seen.problem.text,
        }
    return found
