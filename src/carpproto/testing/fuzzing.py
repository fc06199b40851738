"""Fuzzing the library: mutated frames, and what has to hold for each of them.

Must not know of other targets, of files, or of how findings are printed. A block is `BLOCK`
frames that follow from a seed and the block's number alone, so that a campaign
(`carpproto.simulation.campaign`) can spread blocks over processes, stop and go on, and a finding
can be made again from two numbers.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from struct import Struct
from typing import NamedTuple, TypeVar

from carpproto.capture.link import ETHERNET
from carpproto.capture.packets import decoded
from carpproto.capture.reader import Record
from carpproto.core.actions import StateChanged
from carpproto.core.advertisement import HOP_LIMIT, LENGTH, VERSION, Advertisement, decode, encode
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, DecodeError
from carpproto.core.events import InterfaceChanged, TimerExpired
from carpproto.core.frame import Packet, peel, peel_datagram, peel_payload
from carpproto.core.node import Node
from carpproto.core.profile import FREEBSD, NETBSD, OPENBSD, UCARP, Profile
from carpproto.simulation.campaign import Tally
from carpproto.testing.mutators import Mutation, mutate, mutations

BLOCK = 1000
"""Frames of a block."""

AGAIN = 0.2
"""How often a mutated frame is mutated once more."""

CONFIG = VirtualHostConfig(
    vhid=1,
    passphrase="randompass",
    addresses=["192.168.1.50", "192.168.1.51", "2001:db8::50"],
    advskew=100,
)
"""The group of the nodes that hear the frames, unless another is given."""

PROFILES = (FREEBSD, NETBSD, OPENBSD, UCARP)

_STEP = 0.01  # seconds between two frames that a node hears
_WORDS = Struct(">18H")

T = TypeVar("T")


class Finding(NamedTuple):
    """Something that must not be: its kind, and what was found, the same for the same fault."""

    kind: str
    text: str


class Spec(NamedTuple):
    """What is fuzzed: recorded frames, the group that signs and hears, the seed.

    ``signs``: half of the changed fields come with the HMAC right again.
    """

    frames: tuple[bytes, ...]
    config: VirtualHostConfig = CONFIG
    seed: int = 0
    signs: bool = True

    @property
    def authenticator(self) -> Authenticator | None:
        """What signs again, None where nothing does."""
        return self.config.authenticator(FREEBSD) if self.signs else None


class Found(NamedTuple):
    """A finding, the frame that shows it, and what was done to a recorded one to get it."""

    finding: Finding
    what: str
    frame: bytes


def block(spec: Spec, number: int) -> Iterator[Mutation]:
    """The mutations of a block, some of them mutated once more."""
    random = Random(f"{spec.seed}/{number}")
    authenticator = spec.authenticator
    endless = mutations(spec.frames, random, authenticator=authenticator)
    for mutation in islice(endless, BLOCK):
        what, frame = mutation
        while random.random() < AGAIN:
            more = mutate(frame, random, others=spec.frames, authenticator=authenticator)
            what, frame = f"{what}; {more.what}", more.frame
        yield Mutation(what, frame)


def fuzz_block(spec: Spec, number: int, frames: int = BLOCK) -> list[Found]:
    """All findings of a block, or of its first ``frames``."""
    machines = Machines(spec.config)
    found: list[Found] = []
    for turn, (what, frame) in enumerate(islice(block(spec, number), frames)):
        finding = check_frame(frame, machines, turn)
        if finding is not None:
            found.append(Found(finding, what, frame))
            machines = Machines(spec.config)
    return found


def fuzz_blocks(spec: Spec, first: int, stop: int) -> Tally:
    """The task of a campaign: its runs are blocks, its faults are frames."""
    total = Tally()
    for number in range(first, stop):
        total = total.merge(tally_of_block(number, BLOCK, fuzz_block(spec, number)))
    return total


def tally_of_block(number: int, frames: int, found: list[Found]) -> Tally:
    """What a campaign keeps of a block: its kinds of findings, and its number if it has any."""
    kinds = tuple(sorted({one.finding.kind for one in found}))
    return Tally(
        seeds=((number, number + 1),),
        runs=1,
        failed=int(bool(kinds)),
        faults=frames,
        violations=tuple((kind, 1) for kind in kinds),
        failing=((number, kinds),) if kinds else (),
    )


# -- what has to hold ----------------------------------------------------------------------------


def check_frame(
    frame: bytes, machines: Machines | None = None, turn: int | None = None
) -> Finding | None:
    """What is wrong with how the library takes a frame; None if nothing is.

    Whatever is raised that is not `DecodeError` is a finding, and so is: three ways to a payload
    that do not agree; an advertisement that `encode` does not give back, or that has a wrong
    checksum or version; a refusal without cause; an error that points out of the frame; and a
    node of any profile that changes its state for a frame that is not authentic. ``machines``
    are nodes that have heard other frames before, new ones unless they are given; with a ``turn``
    only one of them hears this one.
    """
    try:
        return _check(frame) or (machines or Machines(CONFIG)).hear(frame, turn)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too, which would end a worker without a word
        return exception(error)


def check_frames(frames: Iterable[bytes], config: VirtualHostConfig = CONFIG) -> Finding | None:
    """The first finding when the same nodes hear several frames."""
    machines = Machines(config)
    findings = (check_frame(frame, machines) for frame in frames)
    return next((finding for finding in findings if finding is not None), None)


def exception(error: BaseException) -> Finding:
    """The finding that an exception is: its type, and where it was raised."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__} in {Path(where.filename).name}, {where.name}: {where.line}"
    return Finding("exception", text)


def _answer(call: Callable[[bytes], T], data: bytes) -> T | DecodeError:
    try:
        return call(data)
    except DecodeError as error:
        return error


def _check(frame: bytes) -> Finding | None:
    packet = _answer(peel, frame)
    payload = _answer(peel_payload, frame)
    datagram = _answer(peel_datagram, frame)
    if isinstance(packet, DecodeError):
        for other in (payload, datagram):
            if not isinstance(other, DecodeError) or other.args != packet.args:
                return Finding("ways differ", "peel refuses what another way takes")
        if not 0 <= packet.offset <= len(frame):
            return Finding("offset", "an error points out of the frame")
    else:
        expected = None if packet is None else (*packet[1:4], packet.payload)
        if datagram != expected or payload != (None if packet is None else packet.payload):
            return Finding("ways differ", "the ways to a payload do not agree")
        if packet is not None:
            seen = decoded(Record(1, 0, ETHERNET, frame, len(frame)), packet)
            if seen.problem is not None and not 0 <= seen.problem.offset <= len(frame):
                return Finding("offset", "a problem points out of the frame")
            return _check_packet(packet)
    return None


def _check_packet(packet: Packet) -> Finding | None:
    payload = packet.payload
    if payload not in (packet.frame[packet.offset :], b"") and not packet.frame.startswith(
        payload, packet.offset
    ):
        return Finding("payload", "the payload is not where the offset says")
    _ = packet.truncated, packet.identification, packet.dont_fragment
    summed = len(payload) >= LENGTH and sum(_WORDS.unpack_from(payload)) % 0xFFFF == 0
    good = summed and payload[0] >> 4 == VERSION
    advertisement = _answer(decode, payload)
    if isinstance(advertisement, DecodeError):
        if good:
            return Finding("refused", "an advertisement is refused that nothing is wrong with")
        if not 0 <= advertisement.offset <= len(payload):
            return Finding("offset", "an error points out of the payload")
    elif not good:
        return Finding("accepted", "an advertisement is taken whose checksum or version is wrong")
    elif encode(advertisement) != payload[:LENGTH]:
        return Finding("round trip", "encode does not give back what was decoded")
    return None


class Machines:
    """A node of each profile, BACKUP of a group, and the oracle for what makes them change."""

    def __init__(self, config: VirtualHostConfig = CONFIG) -> None:
        self.now: float = 0.0
        self._config = config
        self._nodes: list[tuple[Node, Authenticator, Profile]] = []

    def hear(self, frame: bytes, turn: int | None = None) -> Finding | None:
        """Let each node take a frame, or only the one whose ``turn`` it is."""
        datagram = _answer(peel_datagram, frame)
        if datagram is None or isinstance(datagram, DecodeError):
            return None
        source, destination, hop_limit, payload = datagram
        self.now += _STEP
        if not self._nodes:
            self._nodes = _machines(self._config)
        nodes = self._nodes if turn is None else [self._nodes[turn % len(self._nodes)]]
        for node, authenticator, profile in nodes:
            if node.deadline is not None and node.deadline <= self.now:
                node.handle(TimerExpired(), self.now)
            actions = node.receive("em0", source, destination, hop_limit, payload, self.now)
            changed = any(type(action) is StateChanged for action in actions)
            if changed and not _authentic(hop_limit, payload, authenticator):
                text = f"{profile.name} changes its state for what is not authentic"
                return Finding("state", text)
        return None


def _machines(config: VirtualHostConfig) -> list[tuple[Node, Authenticator, Profile]]:
    """A node of each profile that takes the configuration: UCarp refuses a long passphrase."""
    found: list[tuple[Node, Authenticator, Profile]] = []
    for profile in PROFILES:
        try:
            found.append(_machine(config, profile))
        except ConfigError:
            continue
    if not found:
        _machine(config, PROFILES[0])  # which says what is wrong
    return found


def _machine(config: VirtualHostConfig, profile: Profile) -> tuple[Node, Authenticator, Profile]:
    if profile.single_address:
        config = config.replace(addresses=config.addresses[:1])
    node = Node(profile=profile, counter=1)
    node.add_interface("em0", mac="52:54:00:00:00:01", addresses=["198.18.0.1", "fe80::1"])
    node.add_virtual_host("em0", config)
    node.handle(InterfaceChanged("em0", True), 0.0)
    return node, config.authenticator(profile), profile


def _authentic(hop_limit: int, payload: bytes, authenticator: Authenticator) -> bool:
    advertisement = _answer(decode, payload)
    return (
        hop_limit == HOP_LIMIT
        and isinstance(advertisement, Advertisement)
        and authenticator.verify(advertisement)
    )
