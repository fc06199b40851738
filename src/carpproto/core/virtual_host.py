"""The state machine of one virtual host.

Must not know of sockets, clocks, other virtual hosts, or how demotion comes about: a `Node`
tells it. It works without one, too.

Theory of operation. A virtual host is in INIT while it cannot take part: its interface is
down or without carrier, it has no virtual address, CARP is not allowed. Once it can, it is a
BACKUP, listening for a master. Each family that it has addresses of has a master-down timer,
which an authentic advertisement of that family starts again; when either expires, nobody
advertises, and the host becomes MASTER. A MASTER advertises at its interval and listens for
somebody better. So every change of state has one of a few triggers, and `TRANSITIONS` holds
them all: state, trigger, next state, reason. Some triggers exist on some systems only;
`transitions` gives what is left on one. What a host does on entering a state is the same
whichever way it got there, and stands in `VirtualHost._enter`. The diagrams and tables of
docs/states.rst are made of this file's data by docs/states.py.

Which trigger an event pulls depends on numbers and on the profile; that is what the methods
decide. Two rules for who edits this file: a method that handles an event may pull triggers
but never assigns a state itself; and no method asks which system it plays, only what a field
of the profile says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import IPv4Address
from itertools import count
from typing import Any, ClassVar, Literal, cast, get_args

from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.addresses import (
    Address,
    AddressLike,
    format_mac,
    parse_address,
    parse_host_addresses,
    parse_mac,
    virtual_mac,
)
from carpproto.core.advertisement import VERSION, Advertisement, encode, pseudo_header
from carpproto.core.config import VirtualHostConfig, check_range
from carpproto.core.errors import ConfigError, Reason, shown
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    AdvertisementReceived,
    DemotionAdjusted,
    Event,
    InterfaceChanged,
    LinkChanged,
    Reconfigured,
    SettingChanged,
    Shutdown,
    State,
    StateRequested,
    TimerExpired,
    VirtualHostRemoved,
)
from carpproto.core.profile import (
    FREEBSD,
    DemotionStyle,
    Profile,
    Reaction,
    SourceMac,
    Tie,
    check_profile,
)

MAX_DEMOTED_ADVSKEW = 240
"""The advskew that demotion leads to at the most (``CARP_MAXSKEW``)."""

TICKS = 256
"""Units of an interval in a second."""

_COUNTERS = 1 << 64
_NEVER = 0x10000  # longer than any interval that an advertisement can state

# What _make of a named tuple does, without a Python frame.
_new: Callable[[Any, tuple[Any, ...]], Any] = cast(Any, tuple.__new__)

Counter = int | Callable[[], int]
"""Where counters begin, or what yields 64-bit ones."""


# Looked up here: an attribute of an Enum takes longer to find than most of what is done with it.
_BACKUP, _MASTER = State.BACKUP, State.MASTER


class Trigger(Enum):
    """What can change a virtual host's state."""

    READY = "interface up with carrier, a virtual address, CARP allowed"
    NOT_READY = "one of these is no longer so"
    CARRIER_LOST = "carrier lost, on a system that waits for it as BACKUP"
    RESTART = "the addresses changed, or what else a system restarts for"
    MASTER_DOWN = "a master-down timer expired"
    SLOWER = "authentic advertisement of a slower master, and preempt is set"
    SILENT = "authentic advertisement of a master so slow that it will time out"
    DEMOTED = "authentic advertisement of a more demoted master"
    FASTER = "authentic advertisement that is faster, or as fast and wins the tie"
    UNDEMOTED = "authentic advertisement of a less demoted master"
    MASTER_REQUESTED = "the operator asks for MASTER"
    BACKUP_REQUESTED = "the operator asks for BACKUP"
    SHUTDOWN = "the node stops in an orderly way"


TRANSITIONS: dict[State, dict[Trigger, tuple[State, Reason]]] = {
    State.INIT: {
        Trigger.READY: (State.BACKUP, Reason.INITIALIZATION_COMPLETE),
    },
    State.BACKUP: {
        Trigger.NOT_READY: (State.INIT, Reason.HARDWARE_DOWN),
        Trigger.RESTART: (State.INIT, Reason.HARDWARE_UP),
        Trigger.MASTER_DOWN: (State.MASTER, Reason.MASTER_TIMED_OUT),
        Trigger.SLOWER: (State.MASTER, Reason.PREEMPTING),
        Trigger.SILENT: (State.MASTER, Reason.MASTER_WILL_TIME_OUT),
        Trigger.DEMOTED: (State.MASTER, Reason.MORE_DEMOTED),
        Trigger.MASTER_REQUESTED: (State.MASTER, Reason.USER_REQUESTED),
        Trigger.SHUTDOWN: (State.INIT, Reason.SHUTDOWN),
    },
    State.MASTER: {
        Trigger.NOT_READY: (State.INIT, Reason.HARDWARE_DOWN),
        Trigger.CARRIER_LOST: (State.BACKUP, Reason.CARRIER_LOST),
        Trigger.RESTART: (State.INIT, Reason.HARDWARE_UP),
        Trigger.FASTER: (State.BACKUP, Reason.MORE_FREQUENT),
        Trigger.UNDEMOTED: (State.BACKUP, Reason.LESS_DEMOTED),
        Trigger.BACKUP_REQUESTED: (State.BACKUP, Reason.USER_REQUESTED),
        Trigger.SHUTDOWN: (State.INIT, Reason.SHUTDOWN),
    },
}
"""Every transition. A trigger that a state does not list changes nothing there."""

ONLY_WHERE: dict[Trigger, Callable[[Profile], bool]] = {
    Trigger.CARRIER_LOST: lambda profile: profile.carrier_loss_waits,
    Trigger.DEMOTED: lambda profile: profile.demote_decides,
    Trigger.UNDEMOTED: lambda profile: profile.demote_decides,
    Trigger.MASTER_REQUESTED: lambda profile: profile.reconfigured is not Reaction.RESTARTED,
    Trigger.BACKUP_REQUESTED: lambda profile: profile.reconfigured is not Reaction.RESTARTED,
}
"""Triggers that only some systems have, and which."""


def transitions(profile: Profile) -> dict[State, dict[Trigger, tuple[State, Reason]]]:
    """The part of `TRANSITIONS` that a virtual host of this profile can show; same shape."""
    lacking = {trigger for trigger, shows in ONLY_WHERE.items() if not shows(profile)}
    return {
        state: {trigger: row[trigger] for trigger in row if trigger not in lacking}
        for state, row in TRANSITIONS.items()
    }


class VirtualHost:
    """INIT, BACKUP or MASTER: one vhid on one interface.

    Its ``state`` is a `State`, its ``config`` what it was last configured with.

    ``addresses`` are the interface's own (not virtual) ones: an advertisement's source is the
    first of its family, or the virtual address where there is none. ``mac`` is the
    interface's own. ``counter`` is a first counter, or a callable that yields 64-bit counters;
    the default counts from 0, so that a test repeats.

    ``demoted_advskew`` is the advskew that is advertised and compared, demotion applied, and
    ``own_interval`` the interval with it; ``demote`` is the byte that is sent;
    ``master_down_interval`` is how long a BACKUP waits, never demoted. Intervals are in 1/256 s.

    It begins in INIT, the interface down and the carrier there. Raises `ConfigError` for what
    the profile's system refuses.
    """

    __slots__ = (
        "_advertise_at",
        "_allow",
        "_announce_in",
        "_authenticator",
        "_counter_constant",
        "_demote_decides",
        "_down_at",
        "_down_length",
        "_drawn",
        "_dscp",
        "_envelopes",
        "_hold_until",
        "_learnt",
        "_link",
        "_next_counter",
        "_now",
        "_own_addresses",
        "_patience",
        "_preempt",
        "_up",
        "config",
        "dead_ratio",
        "demote",
        "demoted_advskew",
        "demotion",
        "interface",
        "mac",
        "master_down_interval",
        "own_interval",
        "profile",
        "state",
    )

    config: VirtualHostConfig
    profile: Profile
    interface: str
    mac: str
    state: State
    demotion: int
    dead_ratio: int
    demoted_advskew: int
    demote: int
    own_interval: int
    master_down_interval: int

    def __init__(
        self,
        config: VirtualHostConfig,
        *,
        profile: Profile = FREEBSD,
        interface: str = "",
        mac: str = "",
        addresses: Iterable[AddressLike] = (),
        counter: Counter | None = None,
    ) -> None:
        if not isinstance(config, VirtualHostConfig):
            raise ConfigError(f"{shown(config)} is no VirtualHostConfig")
        config.require(check_profile(profile))
        self.config = config
        self.profile = profile
        self.interface = interface
        self.mac = format_mac(parse_mac(mac)) if mac else ""
        self.state = State.INIT
        self.demotion = 0
        self.dead_ratio = profile.dead_ratio
        self._authenticator = config.authenticator(profile)
        self._counter_constant = profile.counter_constant
        self._demote_decides = profile.demote_decides
        self._own_addresses = parse_host_addresses(addresses)
        self._next_counter, self._learnt = _first_counter(counter, profile)
        self._preempt = False
        self._allow = True
        self._dscp = 56
        self._up = False
        self._link = True
        self._now = -LATEST
        self._advertise_at: float | None = None
        self._down_at: dict[int, float] = {}
        self._down_length: dict[int, int] = {}  # in 1/256 s
        self._hold_until: float | None = None
        self._announce_in: int | None = None
        self._drawn: list[int] = []
        self._envelopes: dict[int, tuple[Address, Address, str, int, bytes]] = {}
        self._measure()

    @property
    def deadline(self) -> float | None:
        """When to say `TimerExpired`, on the clock of ``now``; None while no timer runs."""
        if self._advertise_at is not None:
            return self._advertise_at
        if self._hold_until is not None:
            return self._hold_until
        running = self._down_at
        if len(running) == 1:
            (only,) = running.values()
            return only
        return min(running.values(), default=None)

    @property
    def holding(self) -> bool:
        """Whether a request for BACKUP keeps the host out of it for a while."""
        return self._hold_until is not None

    def handle(self, event: Event, now: float) -> tuple[Action, ...]:
        """Take an event at a time and return what is to be done about it, in order.

        ``now`` is in seconds on any monotonic clock; a time before the last one counts as the
        last. An event of another vhid, and one that concerns a node only, does nothing, but an
        advertisement of another vhid is refused; the interface is not looked at, a node has
        done that. Raises `ConfigError` for the caller's mistakes.
        """
        actions: list[Action] = []
        if type(event) is AdvertisementReceived:
            family, source, heard = event[1], event[2], event[3]
            check_advertisement(heard)
            if type(source) is not IPv4Address or family != 4:
                source = parse_address(source)
                check_family(family, source)
            if type(now) is not float or not self._now < now < LATEST:
                now = later(self._now, now)
            self.hear(family, source, heard, now, actions)
        else:
            handler = self._HANDLERS.get(type(event))
            if handler is None:
                if not isinstance(event, get_args(Event)):
                    raise ConfigError(f"{shown(event)} is no event; see carpproto.core.events")
                return ()
            self._now = later(self._now, now)
            handler(self, event, actions)
        return tuple(actions) if actions else ()

    # -- what an event means -----------------------------------------------------------------

    def hear(
        self,
        family: int,
        source: Address,
        heard: Advertisement,
        now: float,
        actions: list[Action],
    ) -> None:
        """Hear an advertisement: what `handle` does with AdvertisementReceived, for a `Node`.

        Nothing is checked but the vhid, the family and the HMAC; ``actions`` are added to.
        """
        # What happens most often: in one method, and without names that take long to look up.
        self._now = now
        config = self.config
        if heard[0] != config.vhid or family not in config.families:
            self._drop(Reason.BADVHID, family, source, heard, actions)
            return
        if not self._authenticator.verify(heard):
            self._drop(Reason.BADAUTH, family, source, heard, actions)
            return
        if not self._counter_constant:
            self._learnt = heard[4]
        elif heard[4] == self._learnt:
            self._drop(Reason.LOOP, family, source, heard, actions)
            return
        if self._hold_until is not None or not self._link:
            return
        theirs, own = heard[1] * TICKS + heard[2], self.own_interval
        # How much more demoted they are, where that comes before the intervals.
        gap = heard[3] - self.demote if self._demote_decides else 0
        if self.state is _BACKUP:
            if gap > 0:
                trigger, own, theirs = Trigger.DEMOTED, self.demote, heard[3]
            elif self._preempt and own < theirs and not gap:
                trigger = Trigger.SLOWER
            elif theirs > self._patience:
                trigger, own = Trigger.SILENT, self._patience
            else:
                length = self._down_length[family] = self.master_down_interval
                self._down_at[family] = now + length / TICKS
                return
        elif self.state is _MASTER:
            if gap < 0:
                trigger, own, theirs = Trigger.UNDEMOTED, self.demote, heard[3]
            elif gap > 0:
                return
            elif theirs < own or (theirs == own and self._loses_tie(family, source)):
                trigger = Trigger.FASTER
            else:
                if self.profile.announces_to_slower:
                    actions.append(self._announcement())
                    self._announce_in = 2
                return
            if self.profile.farewell:
                self._advertise(actions)
        else:
            return
        self._pull(trigger, actions, own=own, theirs=theirs, family=family, source=source)

    def _loses_tie(self, family: int, source: Address) -> bool:
        tie = self.profile.tie
        if tie is Tie.RECEIVER_YIELDS:
            return True
        order: Literal["little", "big"] = "little" if tie is Tie.SOURCE_LITTLE_ENDIAN else "big"
        own = self._source(family).packed
        return int.from_bytes(source.packed, order) < int.from_bytes(own, order)

    def expire(self, now: float, actions: list[Action]) -> None:
        """Fire the timer that is due: what `handle` does with TimerExpired, for a `Node`."""
        self._now = now
        if self._advertise_at is not None:
            if self._advertise_at <= now:
                self._advertise(actions)
                self._await_advertising()
            return
        if self._hold_until is not None:
            if self._hold_until <= now:
                self._enter(State.BACKUP, actions)
            return
        expired = [family for family in self._down_at if self._down_at[family] <= now]
        if expired:
            family = min(expired, key=lambda family: (self._down_at[family], family))
            own = self._down_length[family]
            self._pull(Trigger.MASTER_DOWN, actions, own=own, family=family)

    def _on_timer(self, event: TimerExpired, actions: list[Action]) -> None:
        if event.vhid in (None, self.config.vhid):
            self.expire(self._now, actions)

    def _on_interface(self, event: InterfaceChanged, actions: list[Action]) -> None:
        if event.vhid not in (None, self.config.vhid) or bool(event.up) is self._up:
            return
        if event.vhid is not None and not event.up and self.profile.bows_out:
            self._bow_out(actions)
        self._up = bool(event.up)
        self._check(actions)

    def _on_link(self, event: LinkChanged, actions: list[Action]) -> None:
        if event.vhid not in (None, self.config.vhid) or bool(event.up) is self._link:
            return
        self._link = bool(event.up)
        if self.profile.carrier_loss_waits and self._up and self.state is not State.INIT:
            self._pull(Trigger.CARRIER_LOST, actions)
            if event.up:
                self._enter(State.BACKUP, actions)
            else:
                self._stop_timers()
            return
        self._check(actions)

    def _on_setting(self, event: SettingChanged, actions: list[Action]) -> None:
        value = check_setting(event)
        if event.name == "preempt":
            self._preempt = bool(value)
        elif event.name == "dscp":
            self._dscp = value
            self._envelopes.clear()
        elif event.name == "dead_ratio":
            self.dead_ratio = value
            self._measure()
        elif event.name == "demotion":
            self._on_demotion(DemotionAdjusted(value), actions)
        elif event.name == "allow" and bool(value) is not self._allow:
            self._allow = bool(value)
            self._check(actions)

    def _on_demotion(self, event: DemotionAdjusted, actions: list[Action]) -> None:
        if not isinstance(event.delta, int):
            raise ConfigError(f"demotion {shown(event.delta)} is no whole number")
        if self.state is State.MASTER:
            self.draw_counters()
        began = self.demotion <= 0 < self.demotion + event.delta
        self.demotion += event.delta
        self._measure()
        if self.profile.demotion_end_advertised or began:
            if self.state is State.MASTER and event.delta:
                self._advertise(actions)
                self._await_advertising()

    def _on_address_added(self, event: AddressAdded, actions: list[Action]) -> None:
        address = parse_address(event.address)
        if event.vhid is None:
            if address not in self._own_addresses:
                self._own_addresses += (address,)
                self._envelopes.clear()
        elif event.vhid == self.config.vhid and address not in self.config.addresses:
            self._configure(addresses=(*self.config.addresses, address))
            self._restart(actions)

    def _on_address_removed(self, event: AddressRemoved, actions: list[Action]) -> None:
        address = parse_address(event.address)
        if event.vhid is None:
            self._own_addresses = tuple(own for own in self._own_addresses if own != address)
            self._envelopes.clear()
        elif event.vhid == self.config.vhid and address in self.config.addresses:
            left = tuple(other for other in self.config.addresses if other != address)
            reaction = self.profile.address_removed if left else Reaction.RESTARTED
            if reaction is Reaction.KEPT:
                # The message of the HMAC is kept, too.
                self.config = self.config.replace(addresses=left)
                self._envelopes.clear()
            else:
                self._configure(addresses=left)
            for family in set(self._down_at).difference(self.config.families):
                del self._down_at[family]
            self._react(reaction, actions)

    def _on_removed(self, event: VirtualHostRemoved, actions: list[Action]) -> None:
        if event.vhid == self.config.vhid:
            self._configure(addresses=())
            self._restart(actions)

    def _on_reconfigured(self, event: Reconfigured, actions: list[Action]) -> None:
        if event.vhid == self.config.vhid:
            self._configure(**event.changes())
            self._react(self.profile.reconfigured, actions)

    def _on_state_requested(self, event: StateRequested, actions: list[Action]) -> None:
        if event.vhid != self.config.vhid:
            return
        hold = later(0.0, event.hold)
        if event.state not in (State.MASTER, State.BACKUP):
            raise ConfigError(
                f"state {shown(event.state)} cannot be requested; ask MASTER or BACKUP"
            )
        if self.profile.reconfigured is Reaction.RESTARTED:
            self._configure()
            self._restart(actions)
            return
        if not self._link:
            return
        asked_backup = event.state == State.BACKUP
        trigger = Trigger.BACKUP_REQUESTED if asked_backup else Trigger.MASTER_REQUESTED
        self._pull(trigger, actions)
        if hold and self.state is State.BACKUP:
            self._hold_until = self._now + hold

    def _on_shutdown(self, event: Shutdown, actions: list[Action]) -> None:
        if event.bow_out or (event.bow_out is None and self.profile.bows_out):
            self._bow_out(actions)
        self._up = False
        self._pull(Trigger.SHUTDOWN, actions)

    # -- how the state changes ---------------------------------------------------------------

    def _pull(
        self,
        trigger: Trigger,
        actions: list[Action],
        *,
        own: int | None = None,
        theirs: int | None = None,
        family: int | None = None,
        source: Address | None = None,
    ) -> None:
        """Change the state as `TRANSITIONS` says, with what entering it means."""
        transition = TRANSITIONS[self.state].get(trigger)
        if transition is None:
            return
        if transition[0] is State.MASTER:
            self.draw_counters()
        previous, (self.state, reason) = self.state, transition
        actions.append(
            StateChanged(
                self.interface,
                self.config.vhid,
                previous,
                self.state,
                reason,
                own,
                theirs,
                family,
                source,
            )
        )
        self._enter(self.state, actions)

    def _enter(self, state: State, actions: list[Action]) -> None:
        """What every way into a state has in common."""
        self._stop_timers()
        if state is State.BACKUP:
            for family in self.config.families:
                self._await_master(family)
        elif state is State.MASTER:
            self._announce_in = self.profile.announces_again
            if self.profile.announces_first:
                actions.append(self._announcement())
            self._advertise(actions)
            if not self.profile.announces_first:
                actions.append(self._announcement())
            # The first interval is not demoted (``carp_setrun``).
            first = self.config.advbase * TICKS + self.config.advskew
            self._advertise_at = self._now + max(first, 1) / TICKS

    def _await_master(self, family: int) -> None:
        """Start a family's master-down timer, again if it runs."""
        length = self._down_length[family] = self.master_down_interval
        self._down_at[family] = self._now + length / TICKS

    def _await_advertising(self) -> None:
        """Start the timer of the next advertisement."""
        self._advertise_at = self._now + max(self.own_interval, 1) / TICKS

    def _stop_timers(self) -> None:
        self._advertise_at = None
        self._hold_until = None
        self._down_at = {}

    def _check(self, actions: list[Action]) -> None:
        """Into INIT when the host cannot take part, out of it when it can."""
        able = self._up and self._link and bool(self.config.addresses)
        if able and (self._allow or not self.profile.allow_stops):
            if self._allow:
                self._pull(Trigger.READY, actions)
        else:
            self._pull(Trigger.NOT_READY, actions)

    def _restart(self, actions: list[Action]) -> None:
        self._pull(Trigger.RESTART, actions)
        self._check(actions)

    def _react(self, reaction: Reaction, actions: list[Action]) -> None:
        """What a change of the configuration does to state and timers."""
        if reaction is Reaction.RESTARTED:
            self._restart(actions)
        elif reaction is Reaction.REARMED:
            if self._advertise_at is not None:
                self._await_advertising()
            for family in self._down_at:
                self._await_master(family)

    def _configure(self, **changes: Any) -> None:
        config = self.config.replace(**changes)
        config.require(self.profile)
        self.config = config
        self._authenticator = config.authenticator(self.profile)
        self._envelopes.clear()
        self._measure()

    def _measure(self) -> None:
        """Work out what every advertisement that is heard is compared with."""
        profile, advbase, advskew = self.profile, self.config.advbase, self.config.advskew
        demoted = advskew
        if profile.demotion is DemotionStyle.ADDED:
            demoted = min(advskew + self.demotion, MAX_DEMOTED_ADVSKEW)
            if profile.demotion_floor:
                demoted = max(demoted, 0)
        elif profile.demotion is DemotionStyle.RAISED or profile.demote_raises_advskew:
            if self.demotion > 0:
                demoted = max(advskew, MAX_DEMOTED_ADVSKEW)
        carried = profile.demotion is DemotionStyle.CARRIED
        self.demote = min(max(self.demotion, 0), 255) if carried else 0
        self.demoted_advskew = demoted
        self.own_interval = advbase * TICKS + demoted
        self._patience = self.dead_ratio * advbase * TICKS + demoted
        if profile.zero_advbase_waits and not advbase:
            self._patience = _NEVER
        if profile.master_down_multiplies_advskew:
            interval = max(advbase * TICKS + advskew, 1)
            self.master_down_interval = self.dead_ratio * interval
        else:
            self.master_down_interval = max(self.dead_ratio * advbase * TICKS + advskew, 1)

    # -- what is sent ------------------------------------------------------------------------

    def _advertise(self, actions: list[Action]) -> None:
        """One advertisement for each family, and the announcements that go with its number."""
        self._send(self.config.advbase, self.demoted_advskew & 0xFF, actions)
        if self._announce_in is not None:
            self._announce_in -= 1
            if not self._announce_in:
                self._announce_in = None
                again = self._announcement()
                if not self.profile.announces_again_ipv6:
                    addresses = tuple(a for a in again.addresses if a.version == 4)
                    again = again._replace(addresses=addresses)
                if again.addresses:
                    actions.append(again)

    def _bow_out(self, actions: list[Action]) -> None:
        if self.state is State.MASTER:
            self._send(255, 255, actions)

    def _send(self, advbase: int, advskew: int, actions: list[Action]) -> None:
        vhid = self.config.vhid
        for family in self.config.families:
            envelope = self._envelopes.get(family) or self._envelope(family)
            source, destination, source_mac, traffic_class, covered = envelope
            if self._learnt is None or self._counter_constant:
                counter = self._take_counter()
            else:
                counter = self._learnt = (self._learnt + 1) % _COUNTERS
            digest = self._authenticator.digest(counter)
            advertisement: Advertisement = _new(
                Advertisement,
                (vhid, advbase, advskew, self.demote, counter, digest, VERSION, 1, 7, None),
            )
            if covered:
                encoded = encode(advertisement, pseudo_header=covered)
                checksum = int.from_bytes(encoded[6:8], "big")
                advertisement = advertisement._replace(checksum=checksum)
            actions.append(
                _new(
                    SendAdvertisement,
                    (
                        self.interface,
                        vhid,
                        family,
                        source,
                        destination,
                        source_mac,
                        traffic_class,
                        advertisement,
                    ),
                )
            )

    def _envelope(self, family: int) -> tuple[Address, Address, str, int, bytes]:
        """Source, destination, source MAC, traffic class, and what else the checksum covers.

        Kept until one of what it depends on changes.
        """
        source, destination = self._source(family), self.config.destination(family)
        covered = b""
        if family == 6 and self.profile.pseudo_header:
            covered = pseudo_header(source, destination)
        traffic_class = self._traffic_class(family)
        envelope = (source, destination, self._source_mac(destination), traffic_class, covered)
        self._envelopes[family] = envelope
        return envelope

    def _announcement(self) -> AnnounceAddresses:
        mac = self.mac if self.profile.real_mac_answers else virtual_mac(self.config.vhid)
        addresses = tuple(sorted(self.config.addresses, key=lambda address: address.version))
        return AnnounceAddresses(self.interface, self.config.vhid, addresses, mac)

    def _source(self, family: int) -> Address:
        """The first own address of a family, or the virtual one where there is none."""
        for address in (*self._own_addresses, *self.config.addresses):
            if address.version == family and address not in self.config.addresses:
                return address
        return next(a for a in self.config.addresses if a.version == family)

    def _source_mac(self, destination: Address) -> str:
        style = self.profile.source_mac[destination.version == 6]
        if style is SourceMac.INTERFACE or not destination.is_multicast:
            return self.mac
        if style is SourceMac.UCARP:
            return f"00:00:5e:00:00:{self.config.vhid:02x}"
        return virtual_mac(self.config.vhid)

    def _traffic_class(self, family: int) -> int:
        if self.profile.traffic_class is None:
            return self._dscp << 2
        return self.profile.traffic_class[family == 6]

    def _take_counter(self) -> int:
        """The counter of the next advertisement, where it is not the one after the last."""
        if self._counter_constant:
            return self._learnt or 0
        if not self._drawn:
            self.draw_counters()
        return self._drawn.pop(0)

    def draw_counters(self) -> None:
        """Draw what the next advertisements need, before anything changes: it may be refused."""
        if self._learnt is None:
            while len(self._drawn) < len(self.config.families):
                self._drawn.append(_checked_counter(self._next_counter()))

    def _drop(
        self,
        reason: Reason,
        family: int,
        source: Address,
        heard: Advertisement,
        actions: list[Action],
    ) -> None:
        actions.append(PacketDropped(self.interface, reason, family, source, heard.vhid))

    _HANDLERS: ClassVar[dict[type, Any]] = {
        TimerExpired: _on_timer,
        InterfaceChanged: _on_interface,
        LinkChanged: _on_link,
        SettingChanged: _on_setting,
        DemotionAdjusted: _on_demotion,
        AddressAdded: _on_address_added,
        AddressRemoved: _on_address_removed,
        VirtualHostRemoved: _on_removed,
        Reconfigured: _on_reconfigured,
        StateRequested: _on_state_requested,
        Shutdown: _on_shutdown,
    }

    def __copy__(self) -> VirtualHost:
        """A host that goes on from here by itself; only what draws counters stays common."""
        twin = object.__new__(type(self))
        for name in VirtualHost.__slots__:
            setattr(twin, name, getattr(self, name))
        twin._down_at = dict(self._down_at)
        twin._down_length = dict(self._down_length)
        twin._drawn = list(self._drawn)
        twin._envelopes = dict(self._envelopes)
        return twin

    def __repr__(self) -> str:
        return f"<VirtualHost {self.config.vhid}@{self.interface} {self.state}>"


def _first_counter(
    counter: Counter | None, profile: Profile
) -> tuple[Callable[[], int], int | None]:
    """What yields counters until one is learnt, and the one that is constant."""
    if counter is None and profile.counter_constant:
        raise ConfigError(
            f"{profile.name} needs counter=: a random 64-bit number, another on each node "
            "(two nodes with the same one take each other for echoes and both are MASTER)"
        )
    if callable(counter):
        draw: Callable[[], int] = counter
    else:
        numbers = count(_checked_counter(0 if counter is None else counter))

        def draw() -> int:
            return next(numbers) % _COUNTERS

    return draw, _checked_counter(draw()) if profile.counter_constant else None


def _checked_counter(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _COUNTERS:
        raise ConfigError(f"counter {shown(value)} is out of range; it is 0 to 2**64 - 1")
    return value


MAX_DEMOTION = (1 << 31) - 1
"""Demotion is a C int in the kernels."""

SETTINGS = {
    "allow": (0, 1),
    "preempt": (0, 1),
    "dscp": (0, 63),
    "log": (0, 2),
    "demotion": (-MAX_DEMOTION, MAX_DEMOTION),
    "ifdown_demotion_factor": (-MAX_DEMOTION, MAX_DEMOTION),
    "senderr_demotion_factor": (-MAX_DEMOTION, MAX_DEMOTION),
    "dead_ratio": (1, 65535),
}
"""The settings of a node and their ranges; ``log`` is kept, but nothing here logs."""


def check_setting(event: SettingChanged) -> int:
    """The value; `ConfigError` for an unknown setting or a value out of its range."""
    limits = SETTINGS.get(event.name) if isinstance(event.name, str) else None
    if limits is None:
        raise ConfigError(
            f"there is no setting {shown(event.name)}; there are {', '.join(SETTINGS)}"
        )
    value = int(event.value) if isinstance(event.value, bool) else event.value
    check_range(event.name, value, *limits)
    return value


def check_advertisement(heard: object) -> None:
    """Raise `ConfigError` for what is no Advertisement, or one that no wire can carry."""
    if type(heard) is not Advertisement:
        raise ConfigError(f"{shown(heard)} is no Advertisement; decode() makes one")
    try:
        # The version has four bits.
        if 0 <= heard[0] | heard[1] | heard[2] | heard[3] | heard[6] << 4 <= 0xFF:
            return
    except TypeError:
        pass
    raise ConfigError(
        f"{shown(heard)} does not fit; vhid, advbase, advskew and demote are 0 to 255, "
        "version is 0 to 15"
    )


def check_family(family: object, source: Address) -> None:
    """Raise `ConfigError` unless the family is that of the source."""
    if family != source.version:
        raise ConfigError(
            f"family {shown(family)} does not fit the source {source}; give {source.version}"
        )


LATEST = float(1 << 44)
"""The latest time, in seconds: up to it a float holds every 1/256 s exactly."""


def later(last: float, now: float) -> float:
    """The later of two times; `ConfigError` for what is no time."""
    if type(now) is not float:
        if not isinstance(now, (int, float)) or isinstance(now, bool):
            raise ConfigError(f"time {shown(now)} is no number; give seconds as a float")
        try:
            now = float(now)
        except OverflowError:
            raise ConfigError("time is too large; give seconds as a float") from None
    if not -LATEST <= now <= LATEST:  # NaN neither
        raise ConfigError(
            f"time {now} is out of range; give seconds on a monotonic clock, less than 2**44"
        )
    return now if now > last else last
