"""CARP for users of dpkt: a `dpkt.Packet` that `dpkt.ip.IP` finds, if it is asked to.

dpkt takes IP protocol 112 for VRRP, reads an advertisement as one, and loses bytes when it packs
it again. Nothing changes until `register` is called. Importing this module needs dpkt, which comes
with carpproto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

import dpkt
from dpkt import ip, ip6, vrrp

from carpproto.capture.observation import vrrp_version
from carpproto.core.advertisement import LENGTH, PROTOCOL, VERSION, Advertisement, decode

if TYPE_CHECKING:  # dpkt has no types

    class _Packet:
        data: bytes

        def __init__(self, *packed: bytes, **fields: int | bytes) -> None: ...
        def __bytes__(self) -> bytes: ...
        def __len__(self) -> int: ...
        def unpack(self, buf: bytes) -> None: ...
        def pack_hdr(self) -> bytes: ...

else:
    _Packet = dpkt.Packet


class CARP(_Packet):
    """A CARPv2 advertisement, field by field; ``data`` is what comes after its 36 bytes.

    ``version`` and ``type`` are the halves of the first byte. ``sum`` is the checksum: an unpacked
    packet keeps its own, even a 0; of one made by hand 0 means that packing computes it. Unpacking
    checks nothing but the length, as dpkt does; `advertisement` checks the rest.
    """

    __hdr__: ClassVar[tuple[tuple[str, str, int | bytes], ...]] = (
        ("_v_type", "B", 0x21),
        ("vhid", "B", 1),
        ("advskew", "B", 0),
        ("authlen", "B", 7),
        ("demote", "B", 0),
        ("advbase", "B", 1),
        ("sum", "H", 0),
        ("counter", "Q", 0),
        ("digest", "20s", bytes(20)),
    )
    __bit_fields__: ClassVar[Any] = {"_v_type": (("version", 4), ("type", 4))}

    version: int
    type: int
    vhid: int
    advskew: int
    authlen: int
    demote: int
    advbase: int
    sum: int
    counter: int
    digest: bytes
    _unpacked = False

    def unpack(self, buf: bytes) -> None:
        """Read the 36 bytes; ``dpkt.NeedData`` if there are fewer."""
        super().unpack(buf)
        self._unpacked = True

    def __bytes__(self) -> bytes:
        """Pack it, with its checksum computed if it was made by hand with none."""
        if not self.sum and not self._unpacked:
            header = self.pack_hdr()
            self.sum = -int.from_bytes(header[:6] + header[8:], "big") % 0xFFFF or 0xFFFF
        return super().__bytes__()

    @property
    def advertisement(self) -> Advertisement:
        """The same as the library has it; `DecodeError` for a wrong checksum or version.

        The checksum is taken to be of the 36 bytes alone. IPv6 advertisements of NetBSD's
        ip_carp.c 1.120 and later have the pseudo-header in it, whose addresses are in the IP
        packet: `decode` those with ``pseudo_header``.
        """
        return decode(self.pack_hdr()[:LENGTH])


def register() -> None:
    """Let ``dpkt.ip.IP`` and ``dpkt.ip6.IP6`` make a `CARP` of CARP from now on.

    That is for the whole process. VRRP, which has the same protocol number, stays dpkt's VRRP,
    told apart by version, lengths and checksum. What is neither has its bytes as ``data``, and
    the IP packet no attribute ``carp``: what is shorter than 36 bytes, or not of version 2.
    """
    for kind in (ip.IP, ip6.IP6):
        cast(Any, kind).set_proto(PROTOCOL, _read)


def _read(payload: bytes) -> Any:
    """What dpkt is to make of a payload; ``dpkt.UnpackError`` leaves it the bytes."""
    # dpkt has one table for both families: version 2 of VRRP is IPv4's alone, and what is of
    # version 3 by IPv4's length is no CARP in either.
    if vrrp_version(payload, 4):
        return cast(Any, vrrp).VRRP(payload)
    if len(payload) >= LENGTH and payload[0] >> 4 == VERSION:
        return CARP(payload)
    raise cast(Any, dpkt).UnpackError("neither CARP nor VRRP")


def unregister() -> None:
    """Let dpkt read protocol 112 as VRRP again."""
    for kind in (ip.IP, ip6.IP6):
        cast(Any, kind).set_proto(PROTOCOL, cast(Any, vrrp).VRRP)
