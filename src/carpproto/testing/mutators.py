"""Mutators: frames that are nearly right, and what is wrong with each.

Must not know who judges them. A mutator takes what is random from the `random.Random` that it
is given, so that the same seed gives the same frames on every Python, and returns a `Mutation`,
whose ``what`` tells a finding. Field-aware ones change one field and can make the checksums and
the HMAC right again, so that a frame gets past the checks before the one that is meant; blind
ones know nothing of fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from random import Random
from typing import NamedTuple

from carpproto.core.advertisement import LENGTH
from carpproto.core.authentication import Authenticator
from carpproto.core.errors import ConfigError, DecodeError
from carpproto.core.frame import ETHERTYPE_IPV4, ETHERTYPE_IPV6, peel, peel_ethernet

MOST_FLIPPED = 8
"""The most bits that `flip_bits` flips unless told otherwise."""

MOST_ADDED = 64
"""The most bytes that `extend` adds."""


class Repair(Enum):
    """What is made right again after a field was changed."""

    NOTHING = "nothing repaired"
    CHECKSUMS = "checksums repaired"
    SIGNED = "signed again, checksums repaired"


class Mutation(NamedTuple):
    """A frame that was changed, and what was changed, in words."""

    what: str
    frame: bytes


class _Field(NamedTuple):
    """Where a field is: bits from the beginning of its layer, and how many it has."""

    offset: int
    width: int


def _layout(**widths: int) -> dict[str, _Field]:
    """Fields one after the other, by their widths in bits."""
    fields: dict[str, _Field] = {}
    offset = 0
    for name, width in widths.items():
        fields[name] = _Field(offset, width)
        offset += width
    return fields


_LAYOUTS: dict[str, dict[str, _Field]] = {
    "ethernet": _layout(destination=48, source=48),
    "vlan": _layout(priority=3, drop_eligible=1, id=12),  # of the outermost tag
    "ethertype": _layout(ethertype=16),
    "ipv4": _layout(
        version=4,
        header_length=4,
        tos=8,
        total_length=16,
        identification=16,
        flags=3,
        fragment_offset=13,
        ttl=8,
        protocol=8,
        checksum=16,
        source=32,
        destination=32,
    ),
    "ipv6": _layout(
        version=4,
        traffic_class=8,
        flow_label=20,
        payload_length=16,
        next_header=8,
        hop_limit=8,
        source=128,
        destination=128,
    ),
    "carp": _layout(
        version=4,
        type=4,
        vhid=8,
        advskew=8,
        authlen=8,
        demote=8,
        advbase=8,
        checksum=16,
        counter=64,
        digest=160,
    ),
}
_SIZES = {"ipv4": 20, "ipv6": 40}
_VLAN = 14  # where the outermost tag's control word is


@lru_cache(maxsize=4096)
def fields(frame: bytes) -> tuple[str, ...]:
    """The names of a frame's fields, such as ``carp.advskew``, layer by layer.

    Only of layers that are there whole: none of a frame that ends within the Ethernet header.
    """
    return tuple(
        f"ethernet.{name}" if layer == "ethertype" else f"{layer}.{name}"
        for layer in _layers(frame)
        for name in _LAYOUTS[layer]
    )


def read_field(frame: bytes, name: str) -> int:
    """The value of a field; `ConfigError` for one that the frame does not have."""
    start, width = _find(frame, name)
    return int.from_bytes(frame, "big") >> (len(frame) * 8 - start - width) & (1 << width) - 1


def write_field(
    frame: bytes,
    name: str,
    value: int,
    *,
    repair: Repair = Repair.CHECKSUMS,
    authenticator: Authenticator | None = None,
) -> bytes:
    """The frame with another value in a field, and with what ``repair`` says made right.

    That is the HMAC, which takes an ``authenticator``, and the checksums of CARP and IPv4, each
    unless it is the field itself. Raises `ConfigError` for a field that the frame does not have
    and for a value that does not fit.
    """
    start, width = _find(frame, name)
    if not 0 <= value < 1 << width:
        raise ConfigError(f"{name} {value} does not fit; it is 0 to {(1 << width) - 1}")
    if repair is Repair.SIGNED and authenticator is None:
        raise ConfigError("signing needs an authenticator; give one or choose another repair")
    shift = len(frame) * 8 - start - width
    number = int.from_bytes(frame, "big")
    number ^= (number >> shift & (1 << width) - 1 ^ value) << shift
    changed = bytearray(number.to_bytes(len(frame), "big"))
    layers = _layers(frame)  # as they were: the change may hide them
    carp, ipv4 = layers.get("carp"), layers.get("ipv4")
    if carp is not None and repair is not Repair.NOTHING:
        if repair is Repair.SIGNED and authenticator is not None and name != "carp.digest":
            counter = int.from_bytes(changed[carp + 8 : carp + 16], "big")
            changed[carp + 16 : carp + LENGTH] = authenticator.digest(counter)
        if name != "carp.checksum":
            _put_checksum(changed, carp, LENGTH, 6)
    if ipv4 is not None and repair is not Repair.NOTHING and name != "ipv4.checksum":
        _put_checksum(changed, ipv4, max((frame[ipv4] & 15) * 4, 20), 10)
    return bytes(changed)


def mutate_field(
    frame: bytes,
    random: Random,
    *,
    name: str | None = None,
    repair: Repair | None = None,
    authenticator: Authenticator | None = None,
) -> Mutation:
    """Another value in a field: an end of its range, one more, one less, a bit, or any.

    The field and the repair are drawn unless they are given; `Repair.SIGNED` only where there
    is an ``authenticator``. Raises `ConfigError` as `write_field` does, and for a frame without
    fields.
    """
    if name is None:
        names = fields(frame)
        if not names:
            raise ConfigError(f"a frame of {len(frame)} bytes has no field")
        name = names[_below(random, len(names))]
    if repair is None:
        repairs = [choice for choice in Repair if authenticator or choice is not Repair.SIGNED]
        repair = repairs[_below(random, len(repairs))]
    before = read_field(frame, name)
    _, width = _find(frame, name)
    most = (1 << width) - 1
    bit = 1 << _below(random, width)
    values = [0, most, before + 1 & most, before - 1 & most, before ^ bit]
    values.append(random.getrandbits(width))
    others = [value for value in values if value != before]
    after = others[_below(random, len(others))]
    changed = write_field(frame, name, after, repair=repair, authenticator=authenticator)
    shown = [f"0x{v:0{(width + 3) // 4}x}" if width > 16 else str(v) for v in (before, after)]
    return Mutation(f"{name} {shown[0]} -> {shown[1]}, {repair.value}", changed)


# -- blind ones ------------------------------------------------------------------------------


def flip_bits(frame: bytes, random: Random, *, count: int | None = None) -> Mutation:
    """Some bits flipped, 1 to 8 unless told how many; no bit twice."""
    if not frame:
        return Mutation("no bit to flip", frame)
    wanted = 1 + _below(random, MOST_FLIPPED) if count is None else count
    bits: dict[int, None] = {}
    while len(bits) < min(wanted, len(frame) * 8):
        bits[_below(random, len(frame) * 8)] = None
    changed = bytearray(frame)
    for bit in bits:
        changed[bit // 8] ^= 0x80 >> bit % 8
    where = ", ".join(f"{bit // 8}.{bit % 8}" for bit in sorted(bits))
    return Mutation(f"bits flipped at {where}", bytes(changed))


def truncate(frame: bytes, random: Random) -> Mutation:
    """Cut off somewhere, at least by a byte."""
    kept = _below(random, len(frame) or 1)
    return Mutation(f"cut off after {kept} of {len(frame)} bytes", frame[:kept])


def extend(frame: bytes, random: Random) -> Mutation:
    """1 to 64 random bytes at the end."""
    added = 1 + _below(random, MOST_ADDED)
    rest = random.getrandbits(added * 8).to_bytes(added, "big")
    return Mutation(f"{added} bytes added after {len(frame)}", frame + rest)


def splice(frame: bytes, other: bytes, random: Random) -> Mutation:
    """The beginning of one frame and the end of another."""
    kept, skipped = _below(random, len(frame) + 1), _below(random, len(other) + 1)
    what = f"bytes 0 to {kept} of {len(frame)}, then {skipped} to {len(other)} of another"
    return Mutation(what, frame[:kept] + other[skipped:])


def mutate(
    frame: bytes,
    random: Random,
    *,
    others: Sequence[bytes] = (),
    authenticator: Authenticator | None = None,
) -> Mutation:
    """One mutation of any kind, half of them of a field; spliced with one of ``others``."""
    if fields(frame) and random.random() < 0.5:
        return mutate_field(frame, random, authenticator=authenticator)
    kind = _below(random, 4 if others else 3)
    if kind == 0:
        return flip_bits(frame, random)
    if kind == 1:
        return truncate(frame, random)
    if kind == 2:
        return extend(frame, random)
    return splice(frame, others[_below(random, len(others))], random)


def mutations(
    frames: Sequence[bytes], random: Random, *, authenticator: Authenticator | None = None
) -> Iterator[Mutation]:
    """Mutations of frames, one after the other without end; ``frames`` are one or more."""
    if not frames:
        raise ConfigError("there is no frame to mutate; give one or more")
    while True:
        frame = frames[_below(random, len(frames))]
        yield mutate(frame, random, others=frames, authenticator=authenticator)


# -- how they work ---------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _layers(frame: bytes) -> Mapping[str, int]:
    """Which layers a frame has whole, and where each begins."""
    try:
        header = peel_ethernet(frame)
    except DecodeError:
        return {}
    found = {"ethernet": 0}
    if header.tags:
        found["vlan"] = _VLAN
    found["ethertype"] = header.length - 2
    kind = {ETHERTYPE_IPV4: "ipv4", ETHERTYPE_IPV6: "ipv6"}.get(header.ethertype)
    if kind is not None and len(frame) >= header.length + _SIZES[kind]:
        found[kind] = header.length
    try:
        packet = peel(frame)
    except DecodeError:
        return found
    if packet is not None and len(packet.payload) >= LENGTH:
        found["carp"] = packet.offset
    return found


def _find(frame: bytes, name: str) -> tuple[int, int]:
    """The first bit of a field, from the beginning of the frame, and its width."""
    layer, _, field = name.partition(".")
    if name == "ethernet.ethertype":
        layer = field
    start, where = _layers(frame).get(layer), _LAYOUTS.get(layer, {}).get(field)
    if start is None or where is None:
        known = ", ".join(fields(frame)) or "none"
        raise ConfigError(f"this frame has no field {name!r}; it has: {known}")
    return start * 8 + where.offset, where.width


def _put_checksum(frame: bytearray, start: int, length: int, offset: int) -> None:
    """Make an Internet checksum right that is ``offset`` bytes into what it covers."""
    where = start + offset
    frame[where : where + 2] = bytes(2)
    covered = frame[start : start + length]
    total = int.from_bytes(covered, "big")
    checksum = -total % 0xFFFF if total else 0xFFFF
    frame[where : where + 2] = checksum.to_bytes(2, "big")


def _below(random: Random, count: int) -> int:
    """A whole number from 0 to ``count`` - 1; `Random.random` is the same in every Python."""
    return min(int(random.random() * count), count - 1)
