"""Golden frames: what real implementations put on the wire, with the key of each.

Must not know of a state machine or of capture files. The frames were taken from the recordings
that this library is tested with (``tests/recordings`` in its repository), and each says from
which one. To be accepted or refused is a statement on the system of its ``profile``.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, cast

from carpproto.core import profile as profiles
from carpproto.core.addresses import Address, parse_address
from carpproto.core.advertisement import Advertisement, decode, pseudo_header
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, Reason, shown
from carpproto.core.frame import Packet, peel
from carpproto.core.profile import Profile


class GoldenFrame(NamedTuple):
    """An Ethernet frame of a real implementation, or one that a real one judged.

    ``name`` is unique, ``what`` a sentence on it. It is frame ``number``, counted from 1, of
    the recording ``recording``. Who sent it, or was sent it, ran the system of ``profile``, with
    ``vhid``, ``key`` (20 bytes) and the virtual ``addresses`` in the order in which they were
    configured; ``passphrase`` is what was typed, None where there was none; ``peer`` is where
    advertisements go if not to 224.0.0.18. ``refused`` is why such a system refuses it, None
    where it takes it, and for an announcement, by ARP or ND.
    """

    name: str
    what: str
    recording: str
    number: int
    profile: Profile
    vhid: int
    key: bytes
    passphrase: str | None
    peer: Address | None
    addresses: tuple[Address, ...]
    refused: Reason | None
    frame: bytes

    @property
    def packet(self) -> Packet | None:
        """What is of IP protocol 112 in it; None in an announcement.

        Raises `DecodeError` for the one that is a fragment.
        """
        return peel(self.frame)

    @property
    def advertisement(self) -> Advertisement | None:
        """The advertisement in it; None in an announcement.

        Raises `DecodeError` for one that is none: see ``refused``.
        """
        packet = self.packet
        if packet is None:
            return None
        covered = b""
        if self.profile.pseudo_header and packet.family == 6:
            covered = pseudo_header(packet.source, packet.destination)
        return decode(packet.payload, pseudo_header=covered)

    @property
    def authenticator(self) -> Authenticator:
        """What signed it, and verifies it."""
        return self.config.authenticator(self.profile)

    @property
    def config(self) -> VirtualHostConfig:
        """A virtual host of the group that it belongs to, with advbase 1 and advskew 0."""
        return VirtualHostConfig(
            vhid=self.vhid, key=self.key, addresses=self.addresses, peer=self.peer
        )


@cache
def golden_frames() -> tuple[GoldenFrame, ...]:
    """All of them, in an order that never changes; new ones may come in between."""
    text = files("carpproto.testing").joinpath("golden.json").read_text("utf-8")
    return tuple(_golden(entry) for entry in json.loads(text))


def golden_frame(name: str) -> GoldenFrame:
    """The one of a name; `ConfigError` for an unknown one."""
    for golden in golden_frames():
        if golden.name == name:
            return golden
    known = ", ".join(golden.name for golden in golden_frames())
    raise ConfigError(f"there is no golden frame {shown(name)}; there are: {known}")


def _golden(entry: dict[str, Any]) -> GoldenFrame:
    return GoldenFrame(
        name=entry["name"],
        what=entry["what"],
        recording=entry["recording"],
        number=entry["number"],
        profile=cast(Profile, getattr(profiles, entry["profile"])),
        vhid=entry["vhid"],
        key=bytes.fromhex(entry["key"]),
        passphrase=entry["passphrase"],
        peer=None if entry["peer"] is None else parse_address(entry["peer"]),
        addresses=tuple(parse_address(address) for address in entry["addresses"]),
        refused=None if entry["refused"] is None else Reason(entry["refused"]),
        frame=bytes.fromhex(entry["frame"]),
    )
