"""Hypothesis strategies: advertisements, configurations, frames, events and whole scenarios.

Must not know what is tested with them. All that they draw is valid: `encode` takes each
advertisement, a node of the profile takes each configuration and event, `Scenario.check` has
nothing against a scenario. For what is not valid there is `mutated_frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "carpproto.testing.strategies needs Hypothesis: pip install 'carpproto[testing]'",
        name=_missing.name,
    ) from _missing

from carpproto.core.actions import SendAdvertisement
from carpproto.core.addresses import GROUPS
from carpproto.core.advertisement import HOP_LIMIT, VERSION, Advertisement, encode, pseudo_header
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    DatagramReceived,
    DemotionAdjusted,
    Event,
    InterfaceChanged,
    LinkChanged,
    Reconfigured,
    SendFailed,
    SendSucceeded,
    SettingChanged,
    Shutdown,
    State,
    StateRequested,
    TimerExpired,
)
from carpproto.core.frame import build
from carpproto.core.node import Node
from carpproto.core.profile import FREEBSD, Identification, Profile
from carpproto.core.virtual_host import TICKS
from carpproto.simulation.faults import (
    Boot,
    Carrier,
    Crash,
    Cut,
    Fault,
    Heal,
    Partition,
    Resume,
    SegmentChange,
    SendErrors,
    Stall,
)
from carpproto.simulation.scenario import NodeDescription, Scenario
from carpproto.testing.mutators import Mutation, mutate

INTERFACE = "em0"
PEERS = {4: "198.18.0.200", 6: "fe80::c8"}
"""The host that the advertisements and frames drawn here come from."""

_ENOBUFS = 55
_MAC, _PEER_MAC = "52:54:00:00:00:c8", "52:54:00:00:00:01"
_SPARE = ("203.0.113.1", "203.0.113.2/24", "2001:db8:1::1/64")  # added, and removed again
_OCTETS = st.integers(0, 255)
_COUNTERS = st.integers(0, (1 << 64) - 1)
_VIRTUAL = {
    4: st.integers(1, 254).map(lambda octet: f"192.0.2.{octet}"),
    6: st.one_of(
        st.integers(1, 0xFFFF).map(lambda number: f"2001:db8::{number:x}"),
        st.integers(0x100, 0xFFFF).map(lambda number: f"fe80::{number:x}"),
    ),
}
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.!"


class Step(NamedTuple):
    """What happens on a node, so many seconds after what happened before it."""

    after: float
    event: Event


def virtual_addresses(families: Sequence[int] = (4, 6)) -> SearchStrategy[str]:
    """Addresses of the given families that a group may share, from 192.0.2.0/24 and
    2001:db8::/64, link-local ones among them."""
    return st.one_of([_VIRTUAL[family] for family in families])


def advertisements(authenticator: Authenticator | None = None) -> SearchStrategy[Advertisement]:
    """Advertisements with any numbers; with an ``authenticator`` signed ones of its vhid.

    The others have digests that are most likely wrong, and any type and authlen, at which no
    system looks. Each ``checksum`` is None, for `encode` to compute: read again it is a number.
    """
    # All fields are named: `builds` would draw those that a named tuple has defaults for.
    drawn = st.builds(
        Advertisement,
        vhid=st.integers(1, 255) if authenticator is None else st.just(authenticator.vhid),
        advbase=_OCTETS,
        advskew=_OCTETS,
        demote=_OCTETS,
        counter=_COUNTERS,
        digest=st.binary(min_size=20, max_size=20) if authenticator is None else st.just(b""),
        version=st.just(VERSION),
        type=st.integers(0, 15) if authenticator is None else st.just(1),
        authlen=_OCTETS if authenticator is None else st.just(7),
        checksum=st.none(),
    )
    return drawn if authenticator is None else drawn.map(authenticator.sign)


def configurations(
    profile: Profile = FREEBSD,
    *,
    vhids: SearchStrategy[int] | None = None,
    families: Sequence[int] = (4, 6),
) -> SearchStrategy[VirtualHostConfig]:
    """Virtual hosts that a system takes, with one to four virtual addresses.

    Those of ``families``, any or all of them. Passphrases are as long as that system's tools
    read them, keys have up to 20 bytes.
    """
    most = 1 if profile.single_address else 4
    addresses = st.lists(virtual_addresses(families), min_size=1, max_size=most, unique=True)
    no_secret: dict[str, Any] = {}
    secrets: SearchStrategy[dict[str, Any]] = st.one_of(
        st.just(no_secret),
        st.text(_LETTERS, max_size=profile.passphrase_kept).map(lambda text: {"passphrase": text}),
        st.binary(max_size=20).map(lambda key: {"key": key}),
    )
    advbases = st.integers(profile.advbase_minimum, profile.advbase_maximum)
    advskews = st.integers(0, profile.advskew_maximum)

    def configure(
        secret: dict[str, Any], vhid: int, virtual: list[str], advbase: int, advskew: int
    ) -> VirtualHostConfig:
        if not (advbase or advskew or profile.zero_interval):
            advskew = 1
        return VirtualHostConfig(
            vhid=vhid, addresses=virtual, advbase=advbase, advskew=advskew, **secret
        )

    numbers = st.integers(1, 255) if vhids is None else vhids
    return st.builds(configure, secrets, numbers, addresses, advbases, advskews)


class _Sender:
    """A MASTER at `PEERS`: what is around its advertisements is taken from a `Node`."""

    def __init__(self, config: VirtualHostConfig, profile: Profile) -> None:
        self.profile = profile
        node = Node(profile=profile, counter=lambda: 0)
        node.add_interface(INTERFACE, mac=_MAC, addresses=PEERS.values())
        node.add_virtual_host(INTERFACE, config.replace(advbase=1, advskew=0))
        node.handle(InterfaceChanged(INTERFACE, True), 0.0)
        actions = node.handle(TimerExpired(), 3600.0)
        self.sent = [action for action in actions if isinstance(action, SendAdvertisement)]

    def payload(self, action: SendAdvertisement, advertisement: Advertisement) -> bytes:
        covered = b""
        if self.profile.pseudo_header and action.family == 6:
            covered = pseudo_header(action.source, action.destination)
        return encode(advertisement, pseudo_header=covered)

    def frame(
        self,
        action: SendAdvertisement,
        advertisement: Advertisement,
        tags: tuple[int, ...],
        identification: int,
    ) -> bytes:
        is_zero = self.profile.identification is Identification.ZERO
        return build(
            self.payload(action, advertisement),
            source=action.source,
            destination=action.destination,
            source_mac=action.source_mac,
            destination_mac=None if action.destination.is_multicast else _PEER_MAC,
            tags=tags,
            traffic_class=action.traffic_class,
            identification=0 if is_zero else identification,
        )

    def datagram(
        self, action: SendAdvertisement, advertisement: Advertisement, interface: str
    ) -> DatagramReceived:
        payload = self.payload(action, advertisement)
        return DatagramReceived(interface, action.source, action.destination, HOP_LIMIT, payload)


def frames(
    config: VirtualHostConfig | None = None, profile: Profile = FREEBSD
) -> SearchStrategy[bytes]:
    """Ethernet frames of authentic advertisements, with all around them as that system sends it.

    Of the virtual host ``config``, or of one that is drawn. Some are behind a VLAN tag.
    """
    if config is None:
        return configurations(profile).flatmap(lambda drawn: frames(drawn, profile))
    sender = _Sender(config, profile)
    return st.builds(
        sender.frame,
        st.sampled_from(sender.sent),
        advertisements(config.authenticator(profile)),
        st.one_of(st.just(()), st.tuples(st.integers(1, 4094))),
        st.integers(0, 0xFFFF),
    )


def mutated_frames(
    originals: SearchStrategy[bytes] | None = None, authenticator: Authenticator | None = None
) -> SearchStrategy[Mutation]:
    """What `carpproto.testing.mutators.mutate` makes of frames, by default of `frames`."""

    def mutated(frame: bytes, other: bytes, random: Random) -> Mutation:
        return mutate(frame, random, others=[other], authenticator=authenticator)

    drawn = frames() if originals is None else originals
    return st.builds(mutated, drawn, drawn, st.randoms(use_true_random=False))


def events(
    config: VirtualHostConfig, profile: Profile = FREEBSD, interface: str = INTERFACE
) -> SearchStrategy[Event]:
    """What may happen on a `Node` with that virtual host on that interface.

    Authentic advertisements of another host, of any interval, and other datagrams; timers;
    interfaces and carriers; failed sending; settings, demotion, numbers and requests of the
    operator; virtual addresses added, but only those removed again; an orderly shutdown. A
    node of the profile takes each at any time.
    """
    sender, vhid = _Sender(config, profile), config.vhid
    home, switch = st.just(interface), st.booleans()
    maybe_vhid = st.sampled_from([None, vhid])
    authentic = st.builds(
        sender.datagram,
        st.sampled_from(sender.sent),
        advertisements(config.authenticator(profile)),
        home,
    )
    other = st.builds(
        DatagramReceived,
        home,
        st.just(PEERS[4]),
        st.just(GROUPS[4]),
        _OCTETS,
        st.one_of(advertisements().map(encode), st.binary(max_size=60)),
    )
    low = 0 if profile.zero_interval else 1
    kinds: list[SearchStrategy[Any]] = [
        st.just(TimerExpired()),
        authentic,
        other,
        st.builds(InterfaceChanged, home, switch, maybe_vhid),
        st.builds(LinkChanged, home, switch, maybe_vhid),
        st.just(SendSucceeded(interface, vhid)),
        st.just(SendFailed(interface, vhid, _ENOBUFS)),
        st.builds(SettingChanged, st.sampled_from(["allow", "preempt"]), st.integers(0, 1)),
        st.builds(SettingChanged, st.just("dscp"), st.integers(0, 63)),
        st.builds(SettingChanged, st.just("dead_ratio"), st.integers(1, 10)),
        st.builds(DemotionAdjusted, st.integers(-300, 300)),
        st.integers(low, 254).map(partial(_with_advskew, interface, vhid)),
        st.integers(1, 254).map(partial(_with_advbase, interface, vhid)),
        st.builds(
            StateRequested,
            home,
            st.just(vhid),
            st.sampled_from([State.MASTER, State.BACKUP]),
            st.sampled_from([0.0, 3.0]),
        ),
        st.builds(Shutdown, st.sampled_from([None, True, False])),
    ]
    if not profile.single_address:
        spare = st.sampled_from(_SPARE)
        kinds.append(st.builds(AddressAdded, home, spare, st.just(vhid)))
        kinds.append(st.builds(AddressRemoved, home, spare, st.just(vhid)))
    return st.one_of(kinds)


def _with_advskew(interface: str, vhid: int, advskew: int) -> Event:
    return Reconfigured(interface, vhid, advskew=advskew)


def _with_advbase(interface: str, vhid: int, advbase: int) -> Event:
    return Reconfigured(interface, vhid, advbase=advbase)


def event_sequences(
    config: VirtualHostConfig,
    profile: Profile = FREEBSD,
    interface: str = INTERFACE,
    *,
    max_size: int = 30,
) -> SearchStrategy[list[Step]]:
    """Events as of `events`, each 0 to 4 s after the one before.

    The first sets the interface up. Add ``after`` up to know when one happens: the sums are
    exact, since all are of 1/256 s.
    """
    after = st.one_of(st.sampled_from([0.0, 1.0, 3.0]), st.integers(0, 1024).map(_seconds))
    begins = Step(0.0, InterfaceChanged(interface, True))
    steps = st.lists(st.builds(Step, after, events(config, profile, interface)), max_size=max_size)
    return steps.map(lambda drawn: [begins, *drawn])


def _seconds(ticks: int) -> float:
    return ticks / TICKS


# -- scenarios -------------------------------------------------------------------------------


def scenarios(
    profile: Profile = FREEBSD,
    *,
    nodes: tuple[int, int] = (2, 4),
    incidents: tuple[int, int] = (0, 4),
) -> SearchStrategy[Scenario]:
    """Clusters of one vhid, and what happens to them; see `carpproto.simulation.scenario`.

    ``nodes`` and ``incidents`` are ranges. An incident is a fault and what takes it back; one
    begins when the one before is over, so that all is well at the end. The nodes differ in
    advskew, and preempt is on for all or for none.
    """
    return _scenarios(profile, nodes, incidents)


@st.composite
def _scenarios(
    draw: st.DrawFn, profile: Profile, nodes: tuple[int, int], incidents: tuple[int, int]
) -> Scenario:
    names = [f"n{number}" for number in range(1, draw(st.integers(*nodes)) + 1)]
    count = len(names)
    advskews = draw(st.lists(st.integers(0, 200), min_size=count, max_size=count, unique=True))
    most = 1 if profile.single_address else 3
    shared = draw(st.lists(virtual_addresses(), min_size=1, max_size=most, unique=True))
    settings = (("preempt", draw(st.integers(0, 1))),)
    described = tuple(
        NodeDescription(
            name,
            (
                (
                    INTERFACE,
                    VirtualHostConfig(
                        vhid=1, passphrase="randompass", addresses=shared, advskew=advskew
                    ),
                ),
            ),
            profile=profile,
            settings=settings,
        )
        for name, advskew in zip(names, advskews, strict=True)
    )
    faults: list[Fault] = []
    now = 0.0
    for _ in range(draw(st.integers(*incidents))):
        begins = now + draw(st.integers(0, 80)) / 4
        now = begins + draw(st.integers(1, 60)) / 4
        faults += draw(_incident(begins, now, names))
    return Scenario("drawn", described, tuple(faults))


def _incident(begins: float, ends: float, names: list[str]) -> SearchStrategy[list[Fault]]:
    """A fault at one time, and what takes it back at another."""
    loss = st.sampled_from([0.1, 0.3, 1.0])
    some = st.sampled_from(names)

    def crash(node: str) -> list[Fault]:
        return [Crash(begins, node), Boot(ends, node)]

    def stall(node: str) -> list[Fault]:
        return [Stall(begins, node), Resume(ends, node)]

    def carrier(node: str) -> list[Fault]:
        return [Carrier(begins, node, False), Carrier(ends, node, True)]

    def send_errors(node: str) -> list[Fault]:
        return [SendErrors(begins, node), SendErrors(ends, node, False)]

    def cut(pair: list[str], both: bool) -> list[Fault]:
        return [Cut(begins, pair[0], pair[1], both), Heal(ends)]

    def partition(order: list[str], first: int) -> list[Fault]:
        return [Partition(begins, (tuple(order[:first]), tuple(order[first:]))), Heal(ends)]

    def lose(share: float) -> list[Fault]:
        return [
            SegmentChange(begins, "lan", (("loss", share),)),
            SegmentChange(ends, "lan", (("loss", 0.0),)),
        ]

    kinds: list[SearchStrategy[list[Fault]]] = [
        st.builds(crash, some),
        st.builds(stall, some),
        st.builds(carrier, some),
        st.builds(send_errors, some),
        st.builds(lose, loss),
    ]
    if len(names) > 1:
        orders = st.permutations(names)
        kinds.append(st.builds(cut, orders, st.booleans()))
        kinds.append(st.builds(partition, orders, st.integers(1, len(names) - 1)))
    return st.one_of(kinds)
