"""Fuzzing a live peer: mutated frames on its network; does it keep to its role?

For a test bench, such as a network namespace, and never for a network that somebody needs: what
is sent looks like CARP. Linux only, by a packet socket, which takes root (CAP_NET_RAW). Nothing
is signed, and what carries a recorded HMAC unchanged is left out, so that none of it is authentic
and no right peer may change its role: one that advertises goes on, one that is silent stays so.
"""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random
from time import monotonic
from typing import NamedTuple

from carpproto.core.addresses import Address, AddressLike, parse_address
from carpproto.core.advertisement import LENGTH, Advertisement, decode
from carpproto.core.errors import ConfigError, DecodeError
from carpproto.core.frame import peel, peel_payload
from carpproto.testing.fuzzing import Finding, Spec
from carpproto.testing.mutators import Mutation, mutations

LISTENS = 5.0
"""Seconds for which the peer is listened to before anything is sent, and after it."""

KEPT = 2000
"""Frames sent last that are kept, to be written with a finding."""

_ALL = 0x0003  # ETH_P_ALL, linux/if_ether.h
_OUTGOING = 4  # PACKET_OUTGOING, linux/if_packet.h
_SHORTEST, _LONGEST = 14, 1514  # bytes of a frame without its checksum
_SLACK = 1.0  # seconds that a peer may be late on top of its master-down time


class Watched(NamedTuple):
    """What a peer did: its role at the beginning, how much was sent to it, and what was found.

    ``frames`` are the last ones sent, with their times in seconds since the first.
    """

    was_master: bool
    sent: int
    finding: Finding | None
    frames: tuple[tuple[float, bytes], ...]


def fuzz_peer(
    spec: Spec, *, interface: str, peer: AddressLike, frames: int, rate: int = 200
) -> Watched:
    """Send mutated frames, ``rate`` a second, and watch the peer with this own address.

    It ends with the last frame or as soon as the peer has changed its role. Raises `ConfigError`
    where there is no such interface or no right to send, or no Linux.
    """
    random = Random(f"{spec.seed}/peer")
    sendable = (m.frame for m in unauthentic(spec, mutations(spec.frames, random)))
    timed = ((number / rate, frame) for number, frame in enumerate(islice(sendable, frames)))
    return watch(timed, interface=interface, peer=peer)


def unauthentic(spec: Spec, mutated: Iterable[Mutation]) -> Iterator[Mutation]:
    """Those that an interface takes and that carry no recorded HMAC unchanged."""
    recorded = {_authentic_part(frame) for frame in spec.frames}
    for mutation in mutated:
        part = _authentic_part(mutation.frame)
        if _SHORTEST <= len(mutation.frame) <= _LONGEST and (part is None or part not in recorded):
            yield mutation


def watch(frames: Iterable[tuple[float, bytes]], *, interface: str, peer: AddressLike) -> Watched:
    """Send frames at their times, in seconds from now, and watch a peer."""
    if sys.platform != "linux":
        raise ConfigError("a live peer needs Linux")
    address = parse_address(peer)
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL)) as opened:
            opened.bind((interface, _ALL))
            return _Watch(opened, address).run(frames)
    except OSError as error:
        raise ConfigError(f"cannot use the interface {interface}: {error.strerror}") from None


class _Watch:
    """One peer that is listened to, and what was heard of it."""

    def __init__(self, opened: socket.socket, peer: Address) -> None:
        self.socket = opened
        self.peer = peer
        self.heard_at: float | None = None
        self.patience: float = LISTENS

    def run(self, frames: Iterable[tuple[float, bytes]]) -> Watched:
        self.listen(monotonic() + LISTENS)
        was_master = self.heard_at is not None
        last: deque[tuple[float, bytes]] = deque(maxlen=KEPT)
        started = monotonic()
        sent = 0
        finding: Finding | None = None
        for at, frame in frames:
            self.listen(started + at)
            finding = self.judge(was_master)
            if finding is not None:
                break
            self.socket.send(frame)
            sent += 1
            last.append((at, frame))
        if finding is None:
            self.listen(monotonic() + LISTENS)
            finding = self.judge(was_master)
        return Watched(was_master, sent, finding, tuple(last))

    def listen(self, until: float) -> None:
        """Take up what comes until then."""
        while True:
            self.socket.settimeout(max(until - monotonic(), 0.0001))
            try:
                frame, where = self.socket.recvfrom(65_535)
            except TimeoutError:
                return
            if where[2] != _OUTGOING:
                self.hear(frame)
            if monotonic() >= until:
                return

    def hear(self, frame: bytes) -> None:
        try:
            packet = peel(frame)
            if packet is None or packet.source != self.peer:
                return
            advertisement: Advertisement = decode(packet.payload)
        except DecodeError:
            return
        self.heard_at = monotonic()
        self.patience = 3 * advertisement.advbase + advertisement.advskew / 256 + _SLACK

    def judge(self, was_master: bool) -> Finding | None:
        if not was_master:
            if self.heard_at is None:
                return None
            return Finding("role", "the peer was silent, and advertises now")
        assert self.heard_at is not None
        if monotonic() - self.heard_at <= self.patience:
            return None
        return Finding("role", f"the peer has not advertised for {self.patience:.1f} s")


def _authentic_part(frame: bytes) -> bytes | None:
    """What of a frame is authentic as a whole: vhid, counter and digest."""
    try:
        payload = peel_payload(frame)
    except DecodeError:
        return None
    if payload is None or len(payload) < LENGTH:
        return None
    return payload[1:2] + payload[8:LENGTH]
