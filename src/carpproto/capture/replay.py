"""Predicted against recorded: the library's state machine in the place of recorded nodes.

Must not know of the command line. Each node of a recording is set up as the recorded one was
and given what that one was given: its local events, and the frames that reached it. What it
then does is compared with what the real one reported and sent; see `Lockstep`.
"""

from __future__ import annotations

from carpproto.capture.lockstep import Lockstep
from carpproto.capture.recording import (
    RecordedNode,
    Recording,
)
from carpproto.capture.report import TOLERANCES, Report, Tolerance
from carpproto.core.errors import ConfigError
from carpproto.core.profile import (
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    UCARP,
    Profile,
    SourceMac,
)


def profile_of(recording: Recording, node: RecordedNode) -> Profile:
    """The profile of the release that a node ran; `ConfigError` for one that is not known."""
    text = node.implementation
    if recording.profile == "freebsd":
        release = text.removeprefix("FreeBSD").strip().split(".")[0].split("-")[0]
        if release.isdecimal():
            major = int(release)
            return FREEBSD_10 if major < 11 else FREEBSD_12 if major < 14 else FREEBSD_14
        return FREEBSD_12
    if recording.profile == "netbsd":
        if "1.120 (2023-08-01) for multicast output interface" in text:
            return NETBSD_1120
        if "im6o_multicast_ifp" in text:
            return NETBSD.replace(source_mac=(SourceMac.VIRTUAL, SourceMac.INTERFACE))
        return NETBSD
    if recording.profile == "ucarp":
        return UCARP
    raise ConfigError(
        f"{recording.path.name} names the profile {recording.profile!r}; "
        f"known are {', '.join(TOLERANCES)}"
    )


def replay(recording: Recording, *, tolerance: Tolerance | None = None) -> Report:
    """Replay every node of a recording.

    Raises `OSError` or `DecodeError` when its capture cannot be read, `ConfigError` when it
    cannot be set up.
    """
    profiles = {node.name: profile_of(recording, node) for node in recording.nodes.values()}
    allowed = tolerance or TOLERANCES[recording.profile]
    near = tuple(recording.frames())
    far = tuple(recording.frames(far=True)) if recording.pcap_far else near
    runs: list[Lockstep] = []
    for node in recording.nodes.values():
        frames = far if node.name in recording.far_nodes else near
        runs.append(Lockstep(recording, node, frames, profiles[node.name], allowed).run())
    return Report(
        recording=recording,
        tolerance=allowed,
        transitions=tuple(
            sorted((p for run in runs for p in run.transitions), key=lambda p: p.recorded)
        ),
        advertisements=sum(run.advertisements for run in runs),
        timers=tuple(timer for run in runs for timer in run.timers),
        dropped=tuple(sorted((d for run in runs for d in run.dropped), key=lambda d: d[1])),
        announced=tuple(sorted((a for run in runs for a in run.announced), key=lambda a: a[1])),
        counters={run.recorded.name: dict(run.node.counters) for run in runs if run.node},
        disagreements=tuple(
            sorted((d for run in runs for d in run.disagreements), key=lambda d: d.t)
        ),
    )
