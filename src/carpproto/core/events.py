"""What goes into the state machine: a closed union of immutable values.

Must not know what any of them does. An address may be text or an `ipaddress` object, with or
without a prefix length; an interface is named as its node names it. An event equals only
one of its own kind.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeVar

from carpproto.core.addresses import AddressLike
from carpproto.core.advertisement import Advertisement
from carpproto.core.config import VirtualHostConfig

T = TypeVar("T")


def distinct(kind: type[T]) -> type[T]:
    """Make a named tuple equal only to its own kind, and true even when it has no fields.

    Named tuples, because frozen dataclasses would double the time that the import takes.
    """

    def equal(self: tuple[object, ...], other: object) -> bool:
        return type(self) is type(other) and tuple.__eq__(self, other)

    def differs(self: tuple[object, ...], other: object) -> bool:
        return not equal(self, other)

    def hashed(self: tuple[object, ...]) -> int:
        return hash((type(self).__name__, *self))

    def true(self: object) -> bool:
        return True

    for name, method in (
        ("__eq__", equal),
        ("__ne__", differs),
        ("__hash__", hashed),
        ("__bool__", true),
    ):
        setattr(kind, name, method)
    return kind


class State(str, Enum):
    """A virtual host's state, in carp(4)'s words."""

    INIT = "INIT"
    BACKUP = "BACKUP"
    MASTER = "MASTER"

    def __str__(self) -> str:
        return str(self.value)


@distinct
class InterfaceChanged(NamedTuple):
    """An interface was set up or down by its operator.

    ``vhid`` names the carp interface of that virtual host where a system (NetBSD, OpenBSD)
    has one; without it the interface itself is meant.
    """

    interface: str
    up: bool
    vhid: int | None = None


@distinct
class LinkChanged(NamedTuple):
    """An interface got or lost its carrier."""

    interface: str
    up: bool
    vhid: int | None = None


@distinct
class DatagramReceived(NamedTuple):
    """An IP datagram of protocol 112, as a raw socket gives it.

    ``hop_limit`` is the TTL or hop limit; ``payload`` what follows the IP header and its
    options or extension headers.
    """

    interface: str
    source: AddressLike
    destination: AddressLike
    hop_limit: int
    payload: bytes


@distinct
class AdvertisementReceived(NamedTuple):
    """What is left of a datagram once addressing, hop limit, length and checksum are checked.

    ``family`` is 4 or 6. The HMAC is still to be verified.
    """

    interface: str
    family: int
    source: AddressLike
    advertisement: Advertisement


@distinct
class TimerExpired(NamedTuple):
    """The time has come to look at the timers; the only event that fires one.

    Each one that is due fires once, in order of deadline. With ``interface`` and ``vhid`` only
    that virtual host's do, which lets a replay fire a timer when the recorded system did.
    """

    interface: str | None = None
    vhid: int | None = None


@distinct
class SendSucceeded(NamedTuple):
    """An advertisement was handed to the network."""

    interface: str
    vhid: int


@distinct
class SendFailed(NamedTuple):
    """An advertisement could not be sent; ``errno`` is the system's error number."""

    interface: str
    vhid: int
    errno: int


@distinct
class SettingChanged(NamedTuple):
    """A setting of the node: allow, preempt, dscp, log, demotion, ifdown_demotion_factor,
    senderr_demotion_factor (as sysctl(8) under net.inet.carp) or dead_ratio (ucarp).

    Writing ``demotion`` adds to it, as the sysctl does.
    """

    name: str
    value: int


@distinct
class DemotionAdjusted(NamedTuple):
    """``delta`` is added to the node's demotion, as by writing net.inet.carp.demotion."""

    delta: int


@distinct
class AddressAdded(NamedTuple):
    """An interface got an address: a virtual one of ``vhid``, or its own where that is None."""

    interface: str
    address: AddressLike
    vhid: int | None = None


@distinct
class AddressRemoved(NamedTuple):
    """An interface lost an address; one that it does not have changes nothing.

    A virtual address is removed with its ``vhid``.
    """

    interface: str
    address: AddressLike
    vhid: int | None = None


@distinct
class VirtualHostAdded(NamedTuple):
    """A virtual host was created on an interface."""

    interface: str
    config: VirtualHostConfig


@distinct
class VirtualHostRemoved(NamedTuple):
    """A virtual host was removed, with all its addresses."""

    interface: str
    vhid: int


@distinct
class Reconfigured(NamedTuple):
    """New values for a virtual host; None leaves one as it is.

    The secrets do not show in ``repr``; what takes it apart as a tuple, as JSON does, finds them.
    """

    interface: str
    vhid: int
    advbase: int | None = None
    advskew: int | None = None
    passphrase: str | None = None
    key: bytes | None = None
    peer: AddressLike | None = None
    peer6: AddressLike | None = None

    def changes(self) -> dict[str, object]:
        """The values that were given, by name."""
        given = zip(self._fields[2:], self[2:], strict=True)
        return {name: value for name, value in given if value is not None}

    def __repr__(self) -> str:
        shown = [f"interface={self.interface!r}", f"vhid={self.vhid!r}"]
        for name, value in self.changes().items():
            shown.append(f"{name}=..." if name in ("passphrase", "key") else f"{name}={value!r}")
        return f"Reconfigured({', '.join(shown)})"


@distinct
class StateRequested(NamedTuple):
    """The operator asks for MASTER or BACKUP.

    With BACKUP, ``hold`` is how many seconds the host neither listens nor counts down, as
    ucarp does for 3 s upon USR2.
    """

    interface: str
    vhid: int
    state: State
    hold: float = 0.0


@distinct
class Shutdown(NamedTuple):
    """The node stops in an orderly way.

    ``bow_out`` None: as the profile's system would; True: a MASTER says goodbye with advbase
    255 and advskew 255, whatever its system would do; False: silently. The interfaces count
    as down from then on, until `InterfaceChanged` says otherwise.
    """

    bow_out: bool | None = None


Event = (
    InterfaceChanged
    | LinkChanged
    | DatagramReceived
    | AdvertisementReceived
    | TimerExpired
    | SendSucceeded
    | SendFailed
    | SettingChanged
    | DemotionAdjusted
    | AddressAdded
    | AddressRemoved
    | VirtualHostAdded
    | VirtualHostRemoved
    | Reconfigured
    | StateRequested
    | Shutdown
)
