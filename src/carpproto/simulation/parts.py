"""What a cluster consists of: segments, the ports on them, and the members that have these.

Must not know of time or frames: `carpproto.simulation.cluster` moves them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from random import Random

from carpproto.core.addresses import Address, AddressLike, parse_mac
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, shown
from carpproto.core.node import Node
from carpproto.core.profile import Profile

DELAY = 0.0002
"""Seconds that a frame takes on a segment, unless told otherwise."""

BACKLOG = 64
"""Frames that wait for a stalled node; further ones are lost, as in a socket's buffer."""


class Segment:
    """A network that several interfaces are on, and what it does to frames.

    ``delay`` is in seconds; up to ``jitter`` seconds come on top, drawn for each receiver.
    ``loss``, ``duplicate``, ``corrupt`` (one bit flipped) and ``hold`` (kept back for up to
    ``hold_time`` seconds, so that later frames overtake it) are probabilities for each receiver
    of a frame. ``eats_multicast``: group frames are not delivered; ``echoes``: they come back to
    their sender, too. ``cuts`` has pairs of node names, sender and receiver, that do not hear.
    """

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.random = random
        self.ports: list[Port] = []
        self.cuts: set[tuple[str, str]] = set()
        self.taps: list[Callable[[float, str, bytes], None]] = []
        self.delay = DELAY
        self.jitter: float = 0.0
        self.loss: float = 0.0
        self.duplicate: float = 0.0
        self.corrupt: float = 0.0
        self.hold: float = 0.0
        self.hold_time: float = 1.0
        self.eats_multicast = False
        self.echoes = False
        self.plain: bool = True

    def __repr__(self) -> str:
        words = [f"{port.member.name} {port.interface}" for port in self.ports]
        found = {name: getattr(self, name) for name in QUALITIES}
        words += [f"{name} {value}" for name, value in found.items() if value != USUAL[name]]
        words += [f"{other} does not hear {sender}" for sender, other in sorted(self.cuts)]
        return f"<Segment {self.name}: {', '.join(words) or 'nobody'}>"

    def change(self, **qualities: float | bool) -> None:
        """Set some of the qualities; `ConfigError` for an unknown one or a value out of range."""
        for name, value in qualities.items():
            limits = QUALITIES.get(name)
            if limits is None:
                raise ConfigError(f"a segment has no {name!r}; it has {', '.join(QUALITIES)}")
            if not isinstance(value, (int, float)) or not 0 <= value <= limits:
                raise ConfigError(f"{name} {shown(value)} is out of range; it is 0 to {limits:g}")
        for name, value in qualities.items():
            setattr(self, name, bool(value) if name in _SWITCHES else float(value))
        self.plain = not any(
            getattr(self, name) for name in QUALITIES if name not in ("delay", "hold_time")
        )


QUALITIES: dict[str, float] = {
    "delay": 3600.0,
    "jitter": 3600.0,
    "loss": 1.0,
    "duplicate": 1.0,
    "corrupt": 1.0,
    "hold": 1.0,
    "hold_time": 3600.0,
    "eats_multicast": 1,
    "echoes": 1,
}
"""What can be said of a `Segment`, and the largest value of each; the smallest is 0."""

_SWITCHES = ("eats_multicast", "echoes")

USUAL: dict[str, float | bool] = {
    name: getattr(Segment("", Random(0)), name) for name in QUALITIES
}
"""The qualities of a segment of which nothing was said."""


CLOCKS: dict[str, tuple[float, float]] = {
    "clock_rate": (0.5, 2.0),
    "late": (0.0, 3600.0),
    "late_share": (0.0, 100.0),
    "takes_up": (0.0, 3600.0),
}
"""What can be said of a `Member`'s sense of time: the smallest and the largest value."""


class Port:
    """An interface of a simulated node on a segment."""

    __slots__ = ("hears", "interface", "link", "mac", "member", "segment", "up")

    def __init__(self, member: Member, interface: str, segment: Segment, mac: bytes) -> None:
        self.member: Member = member
        self.interface: str = interface
        self.segment: Segment = segment
        self.mac: bytes = mac
        self.up: bool = False
        self.link: bool = True
        self.hears: bool = False


class Member:
    """A simulated node: its description, and what runs while it is up.

    ``node`` is the `Node`, None while it is crashed. ``clock_rate`` is how fast its clock runs,
    1.0 being right. Its timers fire late by up to ``late`` seconds and ``late_share`` of their
    length, or by exactly that if it is ``steady``. It takes up what it hears every ``takes_up``
    seconds from its boot on. One that ``polls`` waits for a frame, an advertisement interval at
    the most, and looks at its master-down timer only after that, as ucarp does; whatever its
    operator does to it makes that wait begin again, as a signal does.
    """

    def __init__(
        self,
        name: str,
        profile: Profile,
        ports: Mapping[str, tuple[Segment, str, tuple[AddressLike, ...]]],
        virtual_hosts: tuple[tuple[str, VirtualHostConfig], ...],
        settings: Mapping[str, int],
        random: Random,
        clock_rate: float,
        late: float,
        late_share: float,
        takes_up: float,
        steady: bool,
        polls: bool,
    ) -> None:
        self.name = name
        self.profile = profile
        self.virtual_hosts = virtual_hosts
        self.settings: dict[str, int] = dict(settings)
        self.random = random
        self.clock_rate = clock_rate
        self.late = late
        self.late_share = late_share
        self.takes_up = takes_up
        self.steady = steady
        self.polls = polls
        self.ports: dict[str, Port] = {}
        self.addresses: dict[str, tuple[AddressLike, ...]] = {}
        for interface, (segment, mac, addresses) in ports.items():
            self.ports[interface] = Port(self, interface, segment, parse_mac(mac))
            self.addresses[interface] = addresses
        self.node: Node | None = None
        self.stalled = False
        self.sending_fails = False
        self.failed = False  # a send has failed since it was booted
        self.backlog: deque[tuple[Port, bytes]] = deque(maxlen=BACKLOG)
        self.booted: float = 0.0
        self.waits_from: float = 0.0  # when it began to wait for a frame, if it polls
        self.identification = 0
        self.rearmed = 0
        self.wakes_at: float | None = None  # when its timers are looked at
        self.late_for: float | None = None  # the deadline that its lateness was drawn for,
        self.fires_at: float = 0.0  # and when that timer goes off
        self.headers: dict[tuple[int, int, str, int], tuple[Address, Address, bytes]] = {}

    def counter(self) -> int:
        """A random counter, as a real node draws it."""
        return self.random.getrandbits(64)

    def __repr__(self) -> str:
        words = [f"{name} on {port.segment.name}" for name, port in self.ports.items()]
        if self.node is None:
            words.append("does not run")
        else:
            words += [
                f"vhid {host.config.vhid} {host.state}" for host in self.node.virtual_hosts()
            ]
        if self.stalled:
            words.append("stalled")
        return f"<Member {self.name}: {self.profile.name}, {', '.join(words)}>"
