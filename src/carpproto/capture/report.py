"""What a replay finds: predictions, timers judged, and every disagreement.

Must not know how a replay goes about it, nor how a report is printed.
"""

from __future__ import annotations

from typing import NamedTuple

from carpproto.capture.recording import Recording
from carpproto.core.actions import AnnounceAddresses, PacketDropped, StateChanged


class Tolerance(NamedTuple):
    """How far a recorded system may be from the nominal time.

    A timer may be late by ``relative`` of its length and ``absolute`` seconds; a reaction to an
    event or a frame takes up to ``reaction`` seconds. A system that looks at its master-down
    timer now and then does so every ``polls`` of its advertisement intervals; one that takes a
    frame up late does so within ``receives`` seconds, where nobody noted when. Stamps of the log
    and of the capture are not made at the same place, so anything may seem early by ``absolute``.
    """

    relative: float
    absolute: float
    reaction: float
    polls: float = 0.0
    receives: float = 0.0


TOLERANCES = {
    "freebsd": Tolerance(0.07, 0.030, 0.1),
    "netbsd": Tolerance(0.0, 0.020, 0.1),
    "ucarp": Tolerance(0.0, 0.130, 0.2, polls=1.0, receives=1.0),
}
"""The lateness that the README beside the captures states for each implementation."""


class Disagreement(NamedTuple):
    """One difference: at ``t``, what was ``predicted`` and what ``recorded``, None for nothing."""

    node: str
    t: float
    predicted: str | None
    recorded: str | None

    def __str__(self) -> str:
        return (
            f"{self.node} at t = {self.t:.6f}: predicted {self.predicted or 'nothing'}, "
            f"recorded {self.recorded or 'nothing'}"
        )


class TimerJudged(NamedTuple):
    """A timer of the machine beside the recorded one; times in seconds.

    ``allowed`` is how late it may be.
    """

    node: str
    vhid: int
    armed: float
    length: float
    recorded: float
    allowed: float

    @property
    def late(self) -> float:
        """How long after the nominal time the recorded timer went off."""
        return self.recorded - self.armed - self.length


class Predicted(NamedTuple):
    """A transition that the machine predicted.

    ``t`` is when its cause was there: a timer due, a command given, a frame on the wire;
    ``recorded`` is when the real system reported it.
    """

    node: str
    t: float
    recorded: float
    change: StateChanged
    words: str | None


class Report(NamedTuple):
    """What a replay found: what agreed, and every disagreement."""

    recording: Recording
    tolerance: Tolerance
    transitions: tuple[Predicted, ...]
    advertisements: int
    timers: tuple[TimerJudged, ...]
    dropped: tuple[tuple[str, float, PacketDropped], ...]
    announced: tuple[tuple[str, float, AnnounceAddresses], ...]
    counters: dict[str, dict[str, int]]
    disagreements: tuple[Disagreement, ...]

    @property
    def agrees(self) -> bool:
        """Whether the machine predicted everything, in order and in time."""
        return not self.disagreements

    @property
    def explained(self) -> bool:
        """Whether the recording's own notes say why it does not replay exactly."""
        return bool(self.recording.artefacts)
