"""The events of a timeline, in words.

Must not know how a timeline is made, printed or drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from carpproto.capture.observation import Group
from carpproto.capture.reigns import SECOND, Began, Ended, Gap, Overlap, Reign
from carpproto.core.addresses import Address


class Happening(Enum):
    """What an event of a timeline is about."""

    MASTER = "master"
    CEASED = "ceased"
    STILL = "still master"
    BOWED_OUT = "bowed out"
    TWO_MASTERS = "two masters"
    DEMOTED = "demoted"
    RESTORED = "restored"
    RECONFIGURED = "reconfigured"
    GAP = "gap"
    ANNOUNCED = "announced"
    REFUSED = "refused"
    UNHEEDED = "unheeded"
    NOT_AUTHENTIC = "not authentic"


class Event(NamedTuple):
    """One event: when, in nanoseconds since 1970, and in which frame; what, and to whom.

    ``other`` is whom it concerns besides. ``seconds`` is how long it took: a failover, counted
    from the last advertisement of the one before; a gap; a time with two MASTERs. ``text`` is a
    sentence without the time and the source. ``addresses`` are those that were announced.
    """

    nanoseconds: int
    frame: int
    what: Happening
    group: Group
    source: Address | None
    other: Address | None
    seconds: float | None
    text: str
    addresses: tuple[Address, ...] = ()


def mastery(reign: Reign) -> Event:
    """That a source became MASTER, and how."""
    seconds = None if reign.waited is None else reign.waited / SECOND
    before, began = reign.predecessor, reign.began
    if began in (Began.TOOK_OVER, Began.AFTER_BOW_OUT):
        text = f"MASTER: took over from {before}, {seconds:.3f} s after its last advertisement"
        if before == reign.source:
            text = f"MASTER again, {seconds:.3f} s after its last advertisement"
        if began is Began.AFTER_BOW_OUT:
            text += ", a bow-out"
    elif began is Began.PREEMPTED:
        text = f"MASTER: preempted {before}, which is slower"
    elif began is Began.TIE:
        text = f"MASTER: beside {before}, which is as fast"
    elif began is Began.DESPITE:
        text = f"MASTER: beside {before}, which is faster"
    elif began is Began.RETURNED:
        text = f"MASTER again after {seconds:.3f} s without a MASTER"
    elif began is Began.AGAIN:
        text = f"MASTER again: it announced its addresses anew, after {seconds:.3f} s"
    elif began is Began.SEEN:
        text = "MASTER already, as far as the capture shows"
    else:
        text = "MASTER: elected"
    if began in (Began.PREEMPTED, Began.TIE, Began.DESPITE, Began.AGAIN):
        seconds = None
    return Event(
        reign.start,
        reign.first_frame,
        Happening.MASTER,
        reign.group,
        reign.source,
        None if began is Began.AGAIN else before,
        seconds,
        text,
    )


def ceasing(reign: Reign) -> Event:
    """That it ceased to be, and how."""
    if reign.ended is Ended.YIELDED:
        text = f"no longer MASTER: stepped down for {reign.successor}"
    elif reign.ended is Ended.SILENT:
        text = "no longer MASTER: fell silent after this"
    elif reign.ended is Ended.BOWED_OUT:
        text = "no longer MASTER: it said so"
    elif reign.ended is Ended.AGAIN:
        text = "no longer MASTER after this, and then again"
    else:
        text = "still MASTER when the capture ends"
    return Event(
        reign.until,
        reign.until_frame,
        Happening.STILL if reign.ended is Ended.OPEN else Happening.CEASED,
        reign.group,
        reign.source,
        reign.successor,
        None,
        text,
    )


def two_masters(overlap: Overlap) -> Event:
    """That there were two."""
    one, other = overlap.one.source, overlap.other.source
    return Event(
        overlap.start,
        overlap.first_frame,
        Happening.TWO_MASTERS,
        overlap.one.group,
        other,
        one,
        overlap.seconds,
        f"two MASTERs, beside {one}, for {overlap.seconds:.3f} s (to frame {overlap.last_frame})",
    )


def unheeded(reign: Reign, masters: Iterable[Address]) -> Event:
    """That a source advertised what receivers refuse, while others were MASTER or alone."""
    seconds = (reign.last - reign.start) / SECOND
    others = ", ".join(str(master) for master in dict.fromkeys(masters))
    text = f"advertises for {seconds:.3f} s (to frame {reign.last_frame}), and receivers refuse it"
    return Event(
        reign.start,
        reign.first_frame,
        Happening.UNHEEDED,
        reign.group,
        reign.source,
        None,
        seconds,
        f"{text}; MASTER meanwhile: {others}" if others else text,
    )


def missing(gap: Gap) -> Event:
    """That advertisements are missing, and whether they were sent."""
    seconds = (gap.after - gap.before) / SECOND
    text = f"a gap of {seconds:.3f} s before this, its interval is {gap.interval / 256:.3f} s"
    if gap.sent is not None:
        missing = gap.sent - 1
        text += (
            f"; by its counter {missing} were sent and are not here"
            if missing
            else "; by its counter it sent none"
        )
    return Event(
        gap.after, gap.after_frame, Happening.GAP, gap.group, gap.source, None, seconds, text
    )
