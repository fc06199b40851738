"""The socket filter of the packet transport: which frames the kernel hands to this process.

Must not know of sockets' other options. Classic BPF as ``linux/filter.h`` numbers it. A flood
of anything but protocol 112 costs this process nothing.
"""

from __future__ import annotations

import ctypes
import socket
import struct

from carpproto.core.advertisement import PROTOCOL
from carpproto.core.frame import ETHERTYPE_IPV4, ETHERTYPE_IPV6

_SO_ATTACH_FILTER = 26

_LOAD_HALF, _LOAD_BYTE, _AND, _JUMP_EQUAL, _RETURN = 0x28, 0x30, 0x54, 0x15, 0x06
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_PACKET_TYPE, _VLAN_TAG = _ANCILLARY + 4, _ANCILLARY + 44
_OTHER_HOST, _OUTGOING = 3, 4  # linux/if_packet.h

# IPv6: protocol 112 itself, or headers that may stand before it, which peel() reads.
_NEXT_HEADERS = (PROTOCOL, 0, 43, 51, 60, 135, 139, 140)

_DROP, _TAKE = "drop", "take"
_Step = tuple[int, int, "str | int", "str | int"]


def program() -> bytes:
    """The instructions, 8 bytes each.

    Taken are frames of protocol 112 that came from outside for this host or a group, and
    without a VLAN tag: Linux takes the tag off before a packet socket sees the frame, so that
    one of another VLAN would look like one of this interface.
    """
    steps: list[_Step] = [
        (_LOAD_BYTE, _PACKET_TYPE, 0, 0),
        (_JUMP_EQUAL, _OUTGOING, _DROP, 0),
        (_JUMP_EQUAL, _OTHER_HOST, _DROP, 0),
        (_LOAD_HALF, _VLAN_TAG, 0, 0),
        (_AND, 0xFFF, 0, 0),
        (_JUMP_EQUAL, 0, 0, _DROP),
        (_LOAD_HALF, 12, 0, 0),
        (_JUMP_EQUAL, ETHERTYPE_IPV4, 0, 2),
        (_LOAD_BYTE, 23, 0, 0),
        (_JUMP_EQUAL, PROTOCOL, _TAKE, _DROP),
        (_JUMP_EQUAL, ETHERTYPE_IPV6, 0, _DROP),
        (_LOAD_BYTE, 20, 0, 0),
        *((_JUMP_EQUAL, header, _TAKE, 0) for header in _NEXT_HEADERS),
    ]
    ends = {_DROP: len(steps), _TAKE: len(steps) + 1}
    steps += [(_RETURN, 0, 0, 0), (_RETURN, 0xFFFF, 0, 0)]

    def jump(here: int, target: str | int) -> int:
        return target if isinstance(target, int) else ends[target] - here - 1

    return b"".join(
        struct.pack("=HBBI", code, jump(here, true), jump(here, false), operand)
        for here, (code, operand, true, false) in enumerate(steps)
    )


NOTHING = struct.pack("=HBBI", _RETURN, 0, 0, 0)
"""The program that lets nothing through."""


def attach(target: socket.socket, instructions: bytes) -> None:
    """Have the kernel run a program for a socket; `OSError` where it refuses."""
    kept = ctypes.create_string_buffer(instructions, len(instructions))
    described = struct.pack("HP", len(instructions) // 8, ctypes.addressof(kept))
    target.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
