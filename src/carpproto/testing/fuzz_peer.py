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

from carpproto.capture.link import ETHERNET
from carpproto.capture.observation import Announced, Neighbor, Observer
from carpproto.capture.reader import Record
from carpproto.core.addresses import Address, AddressLike, format_mac, parse_address, parse_mac
from carpproto.core.advertisement import LENGTH, Advertisement, decode
from carpproto.core.errors import ConfigError, DecodeError
from carpproto.core.frame import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV6,
    build_ethernet,
    peel,
    peel_payload,
)
from carpproto.testing.fuzzing import Finding, Spec
from carpproto.testing.mutators import Mutation, mutations

LISTENS = 5.0
"""Seconds for which the peer is listened to before anything is sent, and after it."""

KEPT = 2000
"""Frames sent last that are kept, to be written with a finding."""

_ALL = 0x0003  # ETH_P_ALL, linux/if_ether.h
_OUTGOING = 4  # PACKET_OUTGOING, linux/if_packet.h
_SHORTEST, _LONGEST = 14, 1514  # bytes of a frame without its checksum
_ADVBASES = 2.0  # of silence, and the advskew, that a MASTER does not keep
_QUESTIONS, _ANSWERS = 3, 0.5  # how often it is asked who has an address; seconds for an answer
_OTHERS, _GONE = 64, 2.5  # MASTERs that are remembered; seconds of silence of one that is gone
_ICMPV6, _SOLICITATION = 58, 135


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

    It ends with the last frame or as soon as the peer has changed its role: advertises though it
    was silent, or misses an advertisement. Of a silent one it looks, before and after, whether it
    is there at all. Raises `ConfigError` where there is no such interface or no right to send, no
    Linux, or nobody with that address.
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
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        raise ConfigError(f"{address} is no address of a peer; give its own, on that network")
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL)) as opened:
            opened.bind((interface, _ALL))
            return _Watch(opened, address).run(frames)
    except OSError as error:
        raise ConfigError(f"cannot use the interface {interface}: {error.strerror}") from None


def question(peer: Address, mac: str) -> bytes:
    """Who has this address? An ARP probe (RFC 5227) or the solicitation of RFC 4862, 5.4.2.

    Both are without a source address, so that none is needed, and are answered to all.
    """
    if peer.version == 4:
        body = bytes.fromhex("0001080006040001") + parse_mac(mac) + bytes(10) + peer.packed
        return build_ethernet(
            body, ethertype=ETHERTYPE_ARP, source=mac, destination="ff:ff:ff:ff:ff:ff"
        )
    group = bytes.fromhex("ff0200000000000000000001ff") + peer.packed[-3:]
    body = bytes((_SOLICITATION, 0, 0, 0)) + bytes(4) + peer.packed
    covered = bytes(16) + group + len(body).to_bytes(4, "big") + bytes((0, 0, 0, _ICMPV6))
    checksum = -int.from_bytes(covered + body, "big") % 0xFFFF
    header = bytes.fromhex("60000000") + len(body).to_bytes(2, "big") + bytes((_ICMPV6, 255))
    packet = header + bytes(16) + group + body[:2] + checksum.to_bytes(2, "big") + body[4:]
    to = format_mac(b"\x33\x33" + group[-4:])
    return build_ethernet(packet, ethertype=ETHERTYPE_IPV6, source=mac, destination=to)


class _Watch:
    """One peer that is listened to, and what was heard of it."""

    def __init__(self, opened: socket.socket, peer: Address) -> None:
        self.socket = opened
        self.peer = peer
        self.answered = False
        self.others: dict[Address, float] = {}  # when other MASTERs were heard last
        self.heard_at: float | None = None
        self.patience: float = LISTENS

    def run(self, frames: Iterable[tuple[float, bytes]]) -> Watched:
        self.listen(monotonic() + LISTENS)
        was_master = self.heard_at is not None
        if not was_master and not self.is_there():
            raise ConfigError(f"nobody answers at {self.peer} on this network; is it right?")
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
        if finding is None and not was_master and not self.is_there():
            finding = Finding("gone", "the peer was silent, and does not answer any more")
        return Watched(was_master, sent, finding, tuple(last))

    def is_there(self) -> bool:
        """Whether a host answers at the peer's address."""
        self.answered = False
        for _ in range(_QUESTIONS):
            self.socket.send(question(self.peer, format_mac(self.socket.getsockname()[4])))
            self.listen(monotonic() + _ANSWERS)
            if self.answered:
                return True
        return False

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
        record = Record(1, 0, ETHERNET, frame, len(frame))
        for seen in Observer([record]):
            if isinstance(seen, (Announced, Neighbor)) and seen.address == self.peer:
                self.answered = True
        try:
            packet = peel(frame)
            if packet is None:
                return
            advertisement: Advertisement = decode(packet.payload)
        except DecodeError:
            return
        if packet.source != self.peer:
            if packet.source in self.others or len(self.others) < _OTHERS:
                self.others[packet.source] = monotonic()
            return
        self.heard_at = monotonic()
        # Half-way between the next one and when it would be MASTER again if it stepped down.
        advskew = advertisement.advskew / 256
        self.patience = _ADVBASES * advertisement.advbase + advskew

    def judge(self, was_master: bool) -> Finding | None:
        if not was_master:
            if self.heard_at is None:
                return None
            text = "the peer was silent, and advertises now"
            gone = [str(who) for who, at in self.others.items() if monotonic() - at > _GONE]
            if gone:
                text += f"; {', '.join(gone)} had fallen silent, so it may have been its turn"
            return Finding("role", text)
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
