"""Differential fuzzing: what tshark reads in a frame, and what the library does.

Must not know where frames come from. tshark runs once for many frames. It takes for CARP only what
has type 1 and authlen 7 (no implementation looks at these), recognises CARP by its look under
other protocol numbers too, sums the bytes after the 36 into the checksum, puts fragments
together, and takes a total length of 0 for one that the network card fills in; there the two may
differ, and nowhere else. (Seen with tshark 4.0.)
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from carpproto.capture.writer import pcap
from carpproto.core.advertisement import LENGTH, VERSION, Advertisement, decode
from carpproto.core.errors import ConfigError, DecodeError, Reason
from carpproto.core.frame import Packet, peel
from carpproto.testing.fuzzing import BLOCK, Finding, Found, Spec, block

_FIELDS = ("vhid", "advskew", "authlen", "demotion", "adver_int", "counter", "hmac")
_COMMAND = (
    *("tshark", "-n", "-r", "-", "-d", "ip.proto==112,carp", "-T", "fields"),
    *("-e", "frame.protocols", "-e", "carp.version", "-e", "carp.checksum.status"),
    *(word for name in _FIELDS for word in ("-e", f"carp.{name}")),
)
_GOOD = "1"
_DIFFERENT = "tshark differs"
_PLAIN = {"eth", "ethertype", "vlan", "ip", "ipv6", "carp"}


class Dissected(NamedTuple):
    """What tshark says of a frame: is it CARP, right above IP, and its fields."""

    is_carp: bool
    is_plain: bool
    version: str
    checksum_status: str
    fields: tuple[str, ...]


def dissect(frames: Sequence[bytes]) -> list[Dissected]:
    """What tshark says of each frame; `ConfigError` if it is missing or fails."""
    if shutil.which(_COMMAND[0]) is None:
        raise ConfigError("tshark is missing; install it, or do without --tshark")
    content = pcap((number * 1_000_000, frame) for number, frame in enumerate(frames))
    done = subprocess.run(_COMMAND, input=content, capture_output=True, check=False)
    lines = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if done.returncode or len(lines) != len(frames):
        raise ConfigError(f"tshark dissected {len(lines)} of {len(frames)} frames and ended")
    return [_dissected(line) for line in lines]


def differences(frames: Sequence[bytes]) -> list[tuple[int, Finding]]:
    """Where tshark and the library differ: the frame's place, and in what."""
    found: list[tuple[int, Finding]] = []
    for number, (frame, theirs) in enumerate(zip(frames, dissect(frames), strict=True)):
        text = compare(frame, theirs)
        if text is not None:
            found.append((number, Finding(_DIFFERENT, text)))
    return found


def fuzz_block(spec: Spec, number: int, frames: int = BLOCK) -> list[Found]:
    """The differences in a block, or in its first ``frames``."""
    mutated = list(islice(block(spec, number), frames))
    return [
        Found(finding, *mutated[at]) for at, finding in differences([m.frame for m in mutated])
    ]


def compare(frame: bytes, theirs: Dissected) -> str | None:
    """In what tshark and the library differ; None if they agree or are known to differ."""
    packet: Packet | None = None
    refused: DecodeError | None = None
    advertisement: Advertisement | None = None
    try:
        packet = peel(frame)
        if packet is not None:
            advertisement = decode(packet.payload)
    except DecodeError as error:
        refused = error
    if advertisement is not None and packet is not None:
        if not theirs.is_carp:
            usual = advertisement.type == 1 and advertisement.authlen == 7
            return "tshark sees no CARP where the library does" if usual else None
        if theirs.fields != _fields(advertisement):
            differ = [
                f"{name} is {its} in tshark, {ours} here"
                for name, its, ours in zip(
                    _FIELDS, theirs.fields, _fields(advertisement), strict=True
                )
                if its != ours
            ]
            return f"fields differ: {', '.join(differ)}"
        whole = len(packet.payload) == LENGTH and not packet.truncated
        if whole and theirs.checksum_status != _GOOD:
            return "tshark finds the checksum wrong, the library right"
        return None
    if not (theirs.is_carp and theirs.is_plain and theirs.checksum_status == _GOOD):
        return None
    if refused is None or refused.reason in (Reason.FRAGMENT, Reason.MALFORMED):
        return None  # another protocol number; put together; a length of 0
    if refused.reason is Reason.BADVER and theirs.version != str(VERSION):
        return None
    if packet is not None and len(packet.payload) != LENGTH:
        return None
    return f"the library refuses as {refused.reason} what tshark finds right"


def _dissected(line: str) -> Dissected:
    protocols, version, status, *fields = line.split("\t")
    layers = protocols.split(":")
    return Dissected("carp" in layers, set(layers) <= _PLAIN, version, status, _normal(fields))


def _normal(fields: Sequence[str]) -> tuple[str, ...]:
    *numbers, digest = fields
    return (*(str(int(n, 0)) if n.isalnum() else n for n in numbers), digest.replace(":", ""))


def _fields(advertisement: Advertisement) -> tuple[str, ...]:
    numbers = (
        advertisement.vhid,
        advertisement.advskew,
        advertisement.authlen,
        advertisement.demote,
        advertisement.advbase,
        advertisement.counter,
    )
    return (*map(str, numbers), advertisement.digest.hex())
