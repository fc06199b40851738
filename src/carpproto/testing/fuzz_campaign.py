"""Fuzz campaigns: recorded frames in, findings out, made small.

Must not know how findings are printed. What is run is spread over processes and can be stopped and
continued as any campaign (`carpproto.simulation.campaign`): a run is a block of frames for the
library and a cluster for the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from carpproto.capture.link import ETHERNET
from carpproto.capture.reader import Record
from carpproto.core import profile as profiles
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, DecodeError
from carpproto.core.frame import peel
from carpproto.simulation.campaign import Tally, Task
from carpproto.simulation.faults import Inject
from carpproto.testing import fuzz_cluster, fuzz_tshark
from carpproto.testing.fuzz_report import Case, fewest, minimise
from carpproto.testing.fuzzing import (
    BLOCK,
    CONFIG,
    PROFILES,
    Found,
    Spec,
    block,
    check_frames,
    fuzz_block,
    fuzz_blocks,
    tally_of_block,
)

TARGETS = ("library", "cluster")
MOST_FRAMES = 256
"""Recorded frames that are kept to be mutated."""

CHUNK = 4
"""Runs in one call of a worker: some 0.3 s, since an interrupt waits for what is under way."""

_NUMBER = re.compile(r"\d[\d.]*")
_OF_EACH = 4  # sender, vhid and length
_LONGEST = 2048  # bytes of a recorded frame


def frames_to_mutate(records: Iterable[Record]) -> tuple[bytes, ...]:
    """Different frames of protocol 112, a few of each sender, `MOST_FRAMES` in all.

    Damaged ones of that protocol are among them. Reading stops when there are enough.
    """
    kept: dict[bytes, None] = {}
    count: dict[object, int] = {}
    for record in records:
        frame = record.data
        if record.linktype != ETHERNET or len(frame) > _LONGEST or frame in kept:
            continue
        try:
            packet = peel(frame)
        except DecodeError as error:
            kind: object = (error.reason, len(frame))
        else:
            if packet is None:
                continue
            kind = (packet.source, packet.payload[:4], len(frame))
        count[kind] = count.get(kind, 0) + 1
        if count[kind] <= _OF_EACH:
            kept[frame] = None
            if len(kept) == MOST_FRAMES:
                break
    return tuple(kept)


def frames_of_a_run(target: str) -> int:
    """How many mutated frames one run of a campaign has."""
    return fuzz_cluster.INJECTED if target == "cluster" else BLOCK


def task(spec: Spec, target: str, tshark: bool) -> Task:
    """What `carpproto.simulation.campaign.run_campaign` runs."""
    if target == "cluster":
        return partial(fuzz_cluster.fuzz_runs, spec)
    return partial(_blocks_with_tshark if tshark else fuzz_blocks, spec)


def _blocks_with_tshark(spec: Spec, first: int, stop: int) -> Tally:
    total = Tally()
    for number in range(first, stop):
        total = total.merge(tally_of_begun(spec, number, BLOCK, True))
    return total


def tally_of_begun(spec: Spec, number: int, frames: int, tshark: bool) -> Tally:
    """The tally of a block's first frames; a campaign, which notes whole ones, cannot have it."""
    found = fuzz_block(spec, number, frames)
    if tshark:
        found += fuzz_tshark.fuzz_block(spec, number, frames)
    return tally_of_block(number, frames, found)


def cases(
    spec: Spec,
    target: str,
    tshark: bool,
    numbers: Iterable[int],
    begun: Mapping[int, int] | None = None,
) -> Iterator[Case]:
    """The findings of runs, each kind and text once, with the smallest frames that show it.

    ``begun``: of which blocks only so many frames were tried.
    """
    known: set[tuple[str, str]] = set()
    for number in numbers:
        if target == "cluster":
            made = _of_cluster(spec, number)
        else:
            made = _of_library(spec, number, (begun or {}).get(number, BLOCK), tshark)
        for case in made:
            # One fault says many numbers.
            alike = case.finding.kind, _NUMBER.sub("N", case.finding.text)
            if alike not in known:
                known.add(alike)
                yield case


def _of_cluster(spec: Spec, number: int) -> Iterator[Case]:
    scenario = fuzz_cluster.scenario(spec, number)
    found = fuzz_cluster.shrunk(scenario, number)
    if found is not None:
        finding, smaller = found
        frames = tuple(
            (fault.at, fault.frame) for fault in smaller.faults if isinstance(fault, Inject)
        )
        profile = next(
            name
            for name in ("FREEBSD", "NETBSD", "OPENBSD", "UCARP")
            if getattr(profiles, name) is PROFILES[number % len(PROFILES)]
        )
        origin = f"seed {spec.seed}, cluster {number}"
        yield Case(finding, profile, origin, frames, number)


def _of_library(spec: Spec, number: int, frames: int, tshark: bool) -> Iterator[Case]:
    for found in fuzz_block(spec, number, frames):
        yield _smallest(spec, number, found)
    if tshark:
        for found in fuzz_tshark.fuzz_block(spec, number, frames):
            origin = _origin(spec, number, found)
            yield Case(found.finding, "tshark", origin, ((0.0, found.frame),))


def _smallest(spec: Spec, number: int, found: Found) -> Case:
    """The case of a finding: one small frame, or as few as lead to it."""
    finding = found.finding

    def shows(frames: tuple[bytes, ...]) -> bool:
        return check_frames(frames, spec.config) == finding

    frames: tuple[bytes, ...] = (found.frame,)
    if shows(frames):
        frames = (minimise(found.frame, lambda frame: shows((frame,))),)
    else:
        heard = [mutation.frame for mutation in block(spec, number)]
        before = tuple(heard[: heard.index(found.frame) + 1])
        frames = fewest(before, shows) if shows(before) else before
    timed = tuple((float(at), frame) for at, frame in enumerate(frames))
    return Case(finding, "library", _origin(spec, number, found), timed)


def _origin(spec: Spec, number: int, found: Found) -> str:
    return f"seed {spec.seed}, block {number}: {found.what}"


def make_spec(
    frames: tuple[bytes, ...], config: VirtualHostConfig | None, seed: int, signs: bool
) -> Spec:
    """What to fuzz with; `ConfigError` if there is no frame."""
    if not frames:
        raise ConfigError("there is no Ethernet frame of protocol 112 to mutate")
    return Spec(frames, CONFIG if config is None else config, seed, signs)
