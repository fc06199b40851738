"""What a diagnosis says: findings with their evidence, and how bad they are.

Must not know how anything is found or printed.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from itertools import groupby
from typing import NamedTuple

from carpproto.capture.observation import Group
from carpproto.core.addresses import Address

EVIDENCE = 8
"""Frame numbers that are kept for a finding; `Finding.times` says of how many."""

MAX_ALIKE = 50
"""Findings about one fault, of one severity, that are told one by one."""


class Severity(IntEnum):
    """How bad a finding is; the exit status of ``carpproto diagnose`` is 1 from ``BAD`` on."""

    NOTE = 0
    WARNING = 1
    BAD = 2


class Fault(Enum):
    """What a finding is about."""

    TWO_MASTERS = "two masters"
    SPLIT_BRAIN = "split brain"
    NO_MASTER = "no master"
    WRONG_HMAC = "wrong hmac"
    DUPLICATE_ADDRESS = "duplicate address"
    FORGED = "forged"
    REPLAY = "replay"
    WRONG_CHECKSUM = "wrong checksum"
    WRONG_TTL = "wrong ttl"
    NOT_AN_ADVERTISEMENT = "not an advertisement"
    VHID_CLASH = "vhid clash"
    VRRP = "vrrp"
    INTERVALS = "intervals"
    DEMOTION = "demotion"
    FLAPPING = "flapping"
    LOSS = "loss"
    JITTER = "jitter"
    ANNOUNCEMENTS = "announcements"
    COPIES = "copies"
    GROUP = "multicast group"
    FAILOVER = "failover"
    SENDER = "sender"
    LIMITS = "limits"


class Finding(NamedTuple):
    """One finding: ``text`` is what was found, ``change`` what to do, both for an operator.

    ``frames`` are frame numbers of the capture, some of ``times``; ``sources`` whom it concerns.
    ``change`` is empty where there is nothing to do.
    """

    severity: Severity
    fault: Fault
    group: Group | None
    sources: tuple[Address, ...]
    text: str
    change: str
    frames: tuple[int, ...]
    times: int


_ORDER = {fault: position for position, fault in enumerate(Fault)}


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, then by what they are about, then by where they begin.

    What makes the others unsafe comes first of all. More than `MAX_ALIKE` of a kind are counted.
    """
    kept: list[Finding] = []
    for _, alike in groupby(sorted(findings, key=_place), key=lambda found: _place(found)[:2]):
        of_kind = list(alike)
        kept += of_kind[:MAX_ALIKE]
        if len(of_kind) > MAX_ALIKE:
            first = of_kind[MAX_ALIKE]
            text = f"{len(of_kind) - MAX_ALIKE} more about this ({first.fault.value}) are left out"
            kept.append(first._replace(group=None, sources=(), text=text, change=""))
    return tuple(kept)


def _place(found: Finding) -> tuple[int, int, tuple[int, ...]]:
    unsafe = found.fault is Fault.LIMITS and found.severity is Severity.BAD
    return -found.severity, -1 if unsafe else _ORDER[found.fault], found.frames[:1]


class Tally:
    """How often something was seen, and the first frames in which it was."""

    __slots__ = ("count", "frames", "text")

    def __init__(self) -> None:
        self.count: int = 0
        self.frames: list[int] = []
        self.text: str = ""

    def take(self, frame: int, text: str = "") -> None:
        """It was seen in this frame; the first text stays."""
        self.count += 1
        if len(self.frames) < EVIDENCE:
            self.frames.append(frame)
        self.text = self.text or text
