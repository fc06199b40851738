"""The 36-byte CARPv2 advertisement: bytes to `Advertisement` and back.

Must not know of keys, addresses or time. Layout, in network byte order (OpenBSD and
FreeBSD ``sys/netinet/ip_carp.h``, ``struct carp_header``):

======  ====  ==========================================================
offset  size  field
======  ====  ==========================================================
0       1     version (high nibble, 2) and type (low nibble, 1)
1       1     vhid
2       1     advskew, in 1/256 s
3       1     authlen: counter and digest in 32-bit words, 7
4       1     demote (OpenBSD); the others send 0 and ignore it
5       1     advbase, in seconds
6       2     Internet checksum (RFC 1071) of the 36 bytes
8       8     counter
16      20    digest, HMAC-SHA1
======  ====  ==========================================================
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, cast

from carpproto.core.addresses import Address
from carpproto.core.errors import ConfigError, DecodeError, Reason, shown

PROTOCOL = 112
"""The IP protocol number, which VRRP uses too."""

LENGTH = 36
"""Bytes of an advertisement."""

VERSION = 2
HOP_LIMIT = 255
"""The TTL or hop limit of an advertisement; a receiver drops any other."""

_LAYOUT = struct.Struct(">BBBBBBHQ20s")
_unpack = _LAYOUT.unpack_from
_pack = _LAYOUT.pack


class Advertisement(NamedTuple):
    """One advertisement, field by field, as it is on the wire.

    ``checksum`` is None where `encode` is to compute it. ``vhid`` is 1 to 255 in a real one,
    ``advbase`` is in seconds and ``advskew`` in 1/256 s, both 0 to 255; ``counter`` has 64
    bits; ``digest`` has 20 bytes.
    """

    vhid: int
    advbase: int = 1
    advskew: int = 0
    demote: int = 0
    counter: int = 0
    digest: bytes = bytes(20)
    version: int = VERSION
    type: int = 1
    authlen: int = 7
    checksum: int | None = None

    @property
    def interval(self) -> int:
        """``advbase * 256 + advskew``, in 1/256 s: what an election compares."""
        return self.advbase * 256 + self.advskew


# What Advertisement._make does, without a Python frame.
_new: Callable[[type[Advertisement], tuple[Any, ...]], Advertisement] = cast(Any, tuple.__new__)


def decode(payload: bytes, *, pseudo_header: bytes = b"") -> Advertisement:
    """Read an advertisement from what follows the IP header; bytes after the 36th are ignored.

    Checks what every receiver checks, in FreeBSD's order: at least 36 bytes (``badlen``), the
    checksum (``badsum``), version 2 (``badver``). Type, authlen and byte 4 are not looked at,
    as in all four implementations. Nothing is said about authenticity: see
    `Authenticator.verify`.

    ``pseudo_header`` is what the checksum covers besides: `pseudo_header()` for an IPv6
    advertisement of NetBSD's ip_carp.c 1.120 or later, nothing for all others.

    Raises `DecodeError`, and nothing else, for bytes that are not an advertisement.
    """
    try:
        first, vhid, advskew, authlen, demote, advbase, checksum, counter, digest = _unpack(
            payload
        )
    except struct.error:
        raise DecodeError(
            Reason.BADLEN, len(payload), f"{len(payload)} bytes, an advertisement has {LENGTH}"
        ) from None
    covered = payload if len(payload) == LENGTH else payload[:LENGTH]
    if pseudo_header:
        covered = pseudo_header + bytes(covered)
    # A sum of 16-bit words is right when it is 0xffff, that is a multiple of 0xffff; the
    # bytes as one number have the same remainder.
    if int.from_bytes(covered, "big") % 0xFFFF or first >> 4 != VERSION:
        _refuse(bytes(covered), first, checksum, len(pseudo_header))
    return _new(
        Advertisement,
        (
            vhid,
            advbase,
            advskew,
            demote,
            counter,
            digest,
            first >> 4,
            first & 15,
            authlen,
            checksum,
        ),
    )


def _refuse(covered: bytes, first: int, checksum: int, offset: int) -> NoReturn:
    """Say which of checksum and version is wrong; the checksum comes first."""
    rest = int.from_bytes(covered[: offset + 6] + b"\0\0" + covered[offset + 8 :], "big")
    expected = -rest % 0xFFFF if rest else 0xFFFF
    if checksum not in (expected, expected or 0xFFFF):
        raise DecodeError(
            Reason.BADSUM, 6, f"checksum 0x{checksum:04x}, the bytes need 0x{expected:04x}"
        )
    raise DecodeError(Reason.BADVER, 0, f"version {first >> 4}, CARP is version {VERSION}")


def encode(advertisement: Advertisement, *, pseudo_header: bytes = b"") -> bytes:
    """The 36 bytes of an advertisement, the inverse of `decode`.

    A ``checksum`` of None is computed (over ``pseudo_header`` too, where given), any other is
    sent as it is. Raises `ConfigError`, naming the field, when a value does not fit.
    """
    vhid, advbase, advskew, demote, counter, digest, version, kind, authlen, checksum = (
        advertisement
    )
    given = 0 if checksum is None else checksum
    try:
        first = version << 4 | kind
        encoded = _pack(first, vhid, advskew, authlen, demote, advbase, given, counter, digest)
    except (struct.error, TypeError):
        raise _misfit(advertisement) from None
    # What struct does not refuse.
    if not (0 <= version | kind <= 0xF and isinstance(digest, bytes) and len(digest) == 20):
        raise _misfit(advertisement)
    if checksum is None:
        total = int.from_bytes(pseudo_header + encoded, "big")
        given = -total % 0xFFFF if total else 0xFFFF
        return _pack(first, vhid, advskew, authlen, demote, advbase, given, counter, digest)
    return encoded


def pseudo_header(source: Address, destination: Address) -> bytes:
    """The IPv6 pseudo-header of an advertisement (RFC 8200, section 8.1), 40 bytes."""
    if not source.version == destination.version == 6:
        raise ConfigError(f"{source} and {destination} are not both IPv6 addresses")
    return (
        source.packed + destination.packed + LENGTH.to_bytes(4, "big") + bytes((0, 0, 0, PROTOCOL))
    )


_LIMITS = {
    "vhid": 0xFF,
    "advbase": 0xFF,
    "advskew": 0xFF,
    "demote": 0xFF,
    "counter": (1 << 64) - 1,
    "version": 0xF,
    "type": 0xF,
    "authlen": 0xFF,
}


def _misfit(advertisement: Advertisement) -> ConfigError:
    """The error that names the first field that does not fit."""
    for name, limit in _LIMITS.items():
        value = getattr(advertisement, name)
        if not isinstance(value, int) or not 0 <= value <= limit:
            return ConfigError(
                f"{name} {shown(value)} does not fit; it is a whole number, 0 to {limit}"
            )
    checksum = advertisement.checksum
    if checksum is not None and not (isinstance(checksum, int) and 0 <= checksum <= 0xFFFF):
        return ConfigError(f"checksum {shown(checksum)} does not fit; it is None or 0 to 65535")
    return ConfigError(f"digest {shown(advertisement.digest)} does not fit; it is 20 bytes")
