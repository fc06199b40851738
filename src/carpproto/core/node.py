"""One machine: its interfaces, their virtual hosts, settings, demotion and counters.

Must not know of sockets, clocks or other machines. A `Node` looks at how a packet came
(addresses, TTL, length, checksum, vhid, version), counts it, and hands what is left to the
`VirtualHost` of its vhid; it adds up demotion and tells every virtual host of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush, heapreplace
from ipaddress import IPv4Address
from typing import Any, ClassVar, NoReturn, cast

from carpproto.core.actions import Action, DemotionChanged, PacketDropped, SendAdvertisement
from carpproto.core.addresses import (
    Address,
    AddressLike,
    format_mac,
    parse_address,
    parse_host_address,
    parse_host_addresses,
    parse_mac,
    virtual_mac,
)
from carpproto.core.advertisement import (
    HOP_LIMIT,
    LENGTH,
    VERSION,
    decode,
    pseudo_header,
)
from carpproto.core.config import VirtualHostConfig, check_range
from carpproto.core.errors import ConfigError, DecodeError, Reason, shown
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    AdvertisementReceived,
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
    VirtualHostAdded,
    VirtualHostRemoved,
)
from carpproto.core.profile import FREEBSD, Profile, check_profile
from carpproto.core.virtual_host import (
    LATEST,
    MAX_DEMOTION,
    TICKS,
    Counter,
    VirtualHost,
    check_advertisement,
    check_family,
    check_setting,
    later,
)

CARPSTATS = (
    "ipackets",
    "ipackets6",
    "badif",
    "badttl",
    "hdrops",
    "badsum",
    "badver",
    "badlen",
    "badauth",
    "badvhid",
    "badaddrs",
    "opackets",
    "opackets6",
    "onomem",
    "ostates",
    "preempt",
)
"""The counters of ``struct carpstats`` (FreeBSD ``sys/netinet/ip_carp.h``), in its order.
The kernel never raises hdrops, badaddrs, onomem, ostates or preempt for what a peer sends."""

_MORE = ("notallowed", "loop")

_SEND_ERRORS = 3  # CARP_SENDAD_MAX_ERRORS
_SEND_SUCCESSES = 3  # CARP_SENDAD_MIN_SUCCESS


class Counters(Mapping[str, int]):
    """A node's counters at one moment, by name or as attributes.

    Those of ``struct carpstats``; besides, ``notallowed`` (dropped while allow is 0) and
    ``loop`` (an own advertisement that came back). ``ipackets`` and ``ipackets6`` count every
    packet handled; one that was refused is in exactly one other counter.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, int]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"there is no counter {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in self._values.items() if value)
        return f"Counters({shown})"


class _Member:
    """A virtual host and what its node remembers of it."""

    __slots__ = ("errors", "host", "scheduled", "successes", "suppressed")

    def __init__(self, host: VirtualHost) -> None:
        self.host = host
        self.suppressed = False
        self.errors = 0
        self.successes = 0
        self.scheduled: float | None = None

    @property
    def send_failed(self) -> bool:
        """Whether failing to send has raised demotion."""
        return self.errors >= _SEND_ERRORS


class _Interface:
    """An interface as its node sees it."""

    __slots__ = ("addresses", "link", "mac", "members", "up")

    def __init__(self, mac: str, addresses: tuple[Address, ...]) -> None:
        self.mac = mac
        self.addresses = addresses
        self.up = False
        self.link = True
        self.members: dict[int, _Member] = {}


_Faults = dict[Reason, tuple[int | None, int | None]]
"""What is wrong with a packet, with the number found and the one expected."""


class Node:
    """One machine that takes part in CARP.

    Describe it with `add_interface` and `add_virtual_host`, then give `handle` its events;
    while it runs, the events VirtualHostAdded, AddressAdded and the like change it. An
    interface is down, with carrier, until `InterfaceChanged` says otherwise; it demotes the
    node from the first event on that says it is down.

    ``counter`` is a first counter or a callable that yields 64-bit counters, as for
    `VirtualHost`; the default counts from 0 in every virtual host. Give ``secrets.randbits``
    of 64 bits to what speaks on a network.

    ``rearmed`` rises whenever `deadline` may have become earlier; who asks often looks at that.
    """

    def __init__(self, *, profile: Profile = FREEBSD, counter: Counter | None = None) -> None:
        self.profile: Profile = check_profile(profile)
        self._counter = counter
        self._interfaces: dict[str, _Interface] = {}
        self._settings = {
            "allow": 1,
            "preempt": 0,
            "dscp": 56,
            "log": 1,
            "ifdown_demotion_factor": profile.ifdown_demotion_factor,
            "senderr_demotion_factor": profile.senderr_demotion_factor,
            "dead_ratio": profile.dead_ratio,
        }
        self._demotion = 0
        self._counts: dict[str, int] = dict.fromkeys(CARPSTATS + _MORE, 0)
        self._particular = (
            profile.multicast_required
            or profile.init_refuses
            or profile.peer_separates
            or profile.own_source_ignored
            or profile.group_checked
        )
        self._looks_closer = self._particular
        self._now = -LATEST
        self._timers: list[tuple[float, int, _Member]] = []
        self.rearmed: int = 0

    # -- describing it -----------------------------------------------------------------------

    def add_interface(self, name: str, *, mac: str, addresses: Iterable[AddressLike] = ()) -> None:
        """Describe an interface: its own MAC and its own, not virtual, addresses.

        An advertisement's source is the first address of its family (for IPv6 as a rule the
        link-local one). Raises `ConfigError` for a name that is taken, or a bad value.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError(f"interface {shown(name)} is no name; give text such as em0")
        if name in self._interfaces:
            raise ConfigError(f"interface {shown(name)} is there already; give each another name")
        octets = parse_mac(mac)
        if octets[0] & 1:
            raise ConfigError(f"MAC {mac} is a group's; give the interface's own")
        self._interfaces[name] = _Interface(format_mac(octets), parse_host_addresses(addresses))

    def add_virtual_host(self, interface: str, config: VirtualHostConfig) -> None:
        """Describe a virtual host of an interface.

        Raises `ConfigError` for an unknown interface, one that is up already, a vhid that it has
        already, and what the profile's system refuses.
        """
        if self._interface(interface).up:
            raise ConfigError(
                f"{shown(interface)} is up; give handle() VirtualHostAdded while the node runs"
            )
        self._add(interface, config)

    def _add(self, interface: str, config: VirtualHostConfig) -> _Member:
        where = self._interface(interface)
        if not isinstance(config, VirtualHostConfig):
            raise ConfigError(f"{shown(config)} is no VirtualHostConfig")
        if config.vhid in where.members:
            raise ConfigError(
                f"vhid {config.vhid} is on {shown(interface)} already; "
                "each virtual host of an interface has its own, 1 to 255"
            )
        self._check_free(interface, where, config.vhid, config.addresses)
        host = VirtualHost(
            config,
            profile=self.profile,
            interface=interface,
            mac=where.mac,
            addresses=where.addresses,
            counter=self._counter,
        )
        for name in ("allow", "preempt", "dscp", "dead_ratio"):
            host.handle(SettingChanged(name, self._settings[name]), self._now)
        host.handle(DemotionAdjusted(self._demotion), self._now)
        host.handle(LinkChanged(interface, where.link), self._now)
        member = where.members[config.vhid] = _Member(host)
        return member

    # -- looking at it -----------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When to say `TimerExpired`, on the clock of ``now``; None while no timer runs."""
        timers = self._timers
        while timers:
            at, sequence, member = timers[0]
            if at == member.scheduled:
                moved = member.host.deadline
                if moved == at:
                    return at
                # It is later than it was, or there is none any more.
                member.scheduled = moved
                if moved is not None:
                    heapreplace(timers, (moved, sequence, member))
                    if timers[0][0] == moved:
                        return moved
                    continue
            heappop(timers)
        return None

    @property
    def demotion(self) -> int:
        """The sum of all demotion, ``net.inet.carp.demotion``."""
        return self._demotion

    @property
    def counters(self) -> Counters:
        """The counters as they are now."""
        return Counters(self._counts)

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The names of the interfaces, in the order in which they were described."""
        return tuple(self._interfaces)

    def mac(self, interface: str) -> str:
        """An interface's own MAC; `ConfigError` for an unknown interface."""
        return self._interface(interface).mac

    def addresses(self, interface: str) -> tuple[Address, ...]:
        """An interface's own addresses; `ConfigError` for an unknown interface."""
        return self._interface(interface).addresses

    def setting(self, name: str) -> int:
        """The value of a setting, by sysctl's name; `ConfigError` for an unknown one."""
        try:
            return {**self._settings, "demotion": self._demotion}[name]
        except (KeyError, TypeError):
            known = ", ".join([*self._settings, "demotion"])
            raise ConfigError(f"there is no setting {shown(name)}; there are {known}") from None

    def virtual_hosts(self, interface: str | None = None) -> tuple[VirtualHost, ...]:
        """The virtual hosts of an interface, or all, in the order in which they came."""
        names = self._interfaces if interface is None else (interface,)
        return tuple(
            member.host for name in names for member in self._interface(name).members.values()
        )

    def virtual_host(self, interface: str, vhid: int) -> VirtualHost:
        """One virtual host; `ConfigError` where there is none."""
        return self._member(interface, vhid).host

    def describe(self) -> str:
        """A line for each virtual host, as ifconfig(8) shows it, behind its interface's name."""
        lines: list[str] = []
        for host in self.virtual_hosts():
            config = host.config
            line = (
                f"{host.interface}: carp: {host.state} vhid {config.vhid} "
                f"advbase {config.advbase} advskew {config.advskew}"
            )
            if config.peer is not None or config.peer6 is not None:
                line += f" peer {config.destination(4)} peer6 {config.destination(6)}"
            lines.append(line)
        return "\n".join(lines)

    def answers(self, address: AddressLike) -> str | None:
        """The MAC with which the node answers ARP or ND for an address, or None.

        For a virtual address the virtual MAC, while MASTER; for an own one the interface's.
        (That a FreeBSD BACKUP answers a new master's gratuitous ARP with its own MAC is an
        artefact of that kernel and not modelled.)
        """
        wanted = parse_address(address)
        for where in self._interfaces.values():
            if not (where.up and where.link):
                continue
            if wanted in where.addresses:
                return where.mac
            for vhid, member in where.members.items():
                host = member.host
                if host.state is State.MASTER and wanted in host.config.addresses:
                    return where.mac if self.profile.real_mac_answers else virtual_mac(vhid)
        return None

    def owns_mac(self, mac: str) -> bool:
        """Whether a frame to this MAC is the node's own: an interface's, or a MASTER's virtual."""
        wanted = format_mac(parse_mac(mac))
        for where in self._interfaces.values():
            if wanted == where.mac:
                return True
            for vhid, member in where.members.items():
                if member.host.state is State.MASTER and wanted == virtual_mac(vhid):
                    return not self.profile.real_mac_answers
        return False

    # -- running it --------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> tuple[Action, ...]:
        """Take an event at a time and return what is to be done about it, in order.

        ``now`` is in seconds on any monotonic clock; a time before the last one counts as the
        last. Raises `ConfigError` for the caller's mistakes (an unknown interface, vhid or
        setting, a value out of range), and nothing else, whatever a peer sent.
        """
        if type(event) is DatagramReceived:
            return self.receive(event[0], event[1], event[2], event[3], event[4], now)
        handler = self._HANDLERS.get(type(event))
        if handler is None:
            raise ConfigError(f"{shown(event)} is no event; see carpproto.core.events")
        if type(now) is not float or not self._now < now < LATEST:
            now = later(self._now, now)
        self._now = now
        if type(event) not in _FREQUENT:
            # It may make any MASTER advertise; nothing is half done if a counter is refused.
            for member in self._members():
                if member.host.state is State.MASTER:
                    member.host.draw_counters()
        actions: list[Action] = []
        handler(self, event, now, actions)
        return tuple(actions)

    def _tell(self, member: _Member, event: Event, now: float, actions: list[Action]) -> None:
        """Hand an event to a virtual host; count and time what follows."""
        done = member.host.handle(event, now)
        self._account(done)
        actions.extend(done)
        self._reschedule(member)

    def _account(self, actions: Iterable[Action]) -> None:
        """Count what was sent and what was dropped."""
        for action in actions:
            if type(action) is SendAdvertisement:
                self._counts["opackets" if action[2] == 4 else "opackets6"] += 1
            elif type(action) is PacketDropped:
                self._counts[action.reason.value] += 1

    def _reschedule(self, member: _Member) -> None:
        """See to it that the timers have an entry at a virtual host's deadline, or earlier."""
        deadline, scheduled = member.host.deadline, member.scheduled
        if deadline is not None and (scheduled is None or deadline < scheduled):
            self._schedule(member, deadline)

    def _schedule(self, member: _Member, at: float | None) -> None:
        """Put a virtual host's deadline among the timers.

        Each has one entry that counts, at its deadline or earlier; `deadline` moves it on.
        """
        member.scheduled = at
        if at is not None:
            self.rearmed += 1
            heappush(self._timers, (at, self.rearmed, member))

    def _interface(self, name: str) -> _Interface:
        try:
            return self._interfaces[name]
        except (KeyError, TypeError):
            known = ", ".join(self._interfaces) or "none yet"
            raise ConfigError(f"there is no interface {shown(name)}; there are: {known}") from None

    def _member(self, interface: str, vhid: int) -> _Member:
        where = self._interface(interface)
        try:
            return where.members[vhid]
        except (KeyError, TypeError):
            known = ", ".join(str(known) for known in where.members) or "none"
            raise ConfigError(
                f"there is no vhid {shown(vhid)} on {shown(interface)}; it has: {known}"
            ) from None

    def _members(self) -> list[_Member]:
        return [m for where in self._interfaces.values() for m in where.members.values()]

    # -- packets -----------------------------------------------------------------------------

    def receive(
        self,
        interface: str,
        source: AddressLike,
        destination: AddressLike,
        hop_limit: int,
        payload: bytes,
        now: float,
    ) -> tuple[Action, ...]:
        """What `handle` does with a `DatagramReceived` of these, for who has many of them."""
        # What happens most often; so in one method, and without names that take long to look up.
        if type(now) is not float or not self._now < now < LATEST:
            now = later(self._now, now)
        self._now = now
        try:
            where = self._interfaces[interface]
        except (KeyError, TypeError):
            where = self._interface(interface)  # which says what is wrong
        family, covered = 4, b""
        if type(source) is not IPv4Address or type(destination) is not IPv4Address:
            source, destination = parse_address(source), parse_address(destination)
            family = source.version
            if destination.version != family:
                raise ConfigError(
                    f"source {source} and destination {destination} differ in family"
                )
            if family == 6 and self.profile.pseudo_header:
                covered = pseudo_header(source, destination)
        if type(payload) is not bytes:
            payload = _as_bytes(payload)
        if hop_limit != HOP_LIMIT:
            check_range("hop_limit", hop_limit, 0, 0xFF)
        self._counts["ipackets" if family == 4 else "ipackets6"] += 1
        error = advertisement = None
        try:
            advertisement = decode(payload, pseudo_header=covered)
            member = where.members.get(advertisement[0])
        except DecodeError as fault:
            error = fault
            member = where.members.get(payload[1]) if len(payload) > 1 else None
        actions: list[Action] = []
        if (
            advertisement is None
            or member is None
            or self._looks_closer
            or hop_limit != HOP_LIMIT
            or family not in member.host.config.families
        ):
            faults = self._faults(where, member, source, destination, hop_limit, payload, error)
            vhid = payload[1] if len(payload) > 1 else None
            if self._refuse(where, interface, source, vhid, faults, actions):
                return tuple(actions)
        assert member is not None and advertisement is not None
        host, scheduled = member.host, member.scheduled
        host.hear(family, source, advertisement, now, actions)
        if actions:
            self._account(actions)
        elif scheduled is not None and now + host.master_down_interval / TICKS >= scheduled:
            return ()  # it started a master-down timer again at the most, and none is earlier
        self._reschedule(member)
        return tuple(actions)

    def _faults(
        self,
        where: _Interface,
        member: _Member | None,
        source: Address,
        destination: Address,
        hop_limit: int,
        payload: bytes,
        error: DecodeError | None,
    ) -> _Faults:
        """Everything that is wrong with a packet, with the number found and the one expected.

        Which of several faults counts is up to the order of the profile's checks.
        """
        profile = self.profile
        family = source.version
        faults: _Faults = {}
        host = None if member is None else member.host
        peer = None if host is None else host.config.destination(family)
        if not self._settings["allow"]:
            faults[Reason.NOTALLOWED] = (None, None)
        strange_group = profile.group_checked and peer is not None and destination != peer
        if (
            (profile.multicast_required and not destination.is_multicast)
            or (family == 6 and not where.members)
            or strange_group
        ):
            faults[Reason.BADIF] = (None, None)
        unicast = peer is not None and not peer.is_multicast
        if hop_limit != HOP_LIMIT and not (unicast and profile.unicast_skips_ttl):
            faults[Reason.BADTTL] = (hop_limit, HOP_LIMIT)
        if profile.own_source_ignored and source in where.addresses:
            faults[Reason.LOOP] = (None, None)
        if error is not None and error.reason is Reason.BADLEN:
            faults[Reason.BADLEN] = (len(payload), LENGTH)
            return faults
        if error is not None and error.reason is Reason.BADSUM:
            faults[Reason.BADSUM] = (int.from_bytes(payload[6:8], "big"), None)
        if payload[0] >> 4 != VERSION:
            faults[Reason.BADVER] = (payload[0] >> 4, VERSION)
        strangers = profile.peer_separates and family == 4 and destination.is_multicast == unicast
        if strangers or not self._is_known(member, family):
            faults[Reason.BADVHID] = (payload[1], None)
        return faults

    def _is_known(self, member: _Member | None, family: int) -> bool:
        """Whether there is a virtual host that takes advertisements of a family."""
        if member is None or family not in member.host.config.families:
            return False
        return not (self.profile.init_refuses and member.host.state is State.INIT)

    def _refuse(
        self,
        where: _Interface,
        interface: str,
        source: Address,
        vhid: int | None,
        faults: _Faults,
        actions: list[Action],
    ) -> bool:
        """Count and report the fault that the profile looks for first, if there is any."""
        if not faults:
            return False
        ordered = (check for check in self.profile.checks if check in faults)
        reason = next(ordered, next(iter(faults)))
        numbers = faults[reason]
        if reason is Reason.BADVHID and vhid == 0 and _is_virtual(where, source):
            # A loop in the network: what FreeBSD's carp_input_c finds in place of the vhid.
            reason, numbers = Reason.BADIF, (None, None)
        self._counts[reason.value] += 1
        actions.append(PacketDropped(interface, reason, source.version, source, vhid, *numbers))
        return True

    def _on_advertisement(
        self, event: AdvertisementReceived, now: float, actions: list[Action]
    ) -> None:
        where = self._interface(event.interface)
        source, advertisement = parse_address(event.source), event.advertisement
        check_advertisement(advertisement)
        check_family(event.family, source)
        self._counts["ipackets" if event.family == 4 else "ipackets6"] += 1
        vhid, version = advertisement.vhid, advertisement.version
        member = where.members.get(vhid)
        faults: _Faults = {}
        if not self._settings["allow"]:
            faults[Reason.NOTALLOWED] = (None, None)
        if not self._is_known(member, event.family):
            faults[Reason.BADVHID] = (vhid, None)
        if version != VERSION:
            faults[Reason.BADVER] = (version, VERSION)
        if self._refuse(where, event.interface, source, vhid, faults, actions):
            return
        assert member is not None
        member.host.hear(event.family, source, advertisement, now, actions)
        self._account(actions)
        self._reschedule(member)

    # -- timers ------------------------------------------------------------------------------

    def _on_timer(self, event: TimerExpired, now: float, actions: list[Action]) -> None:
        interface, vhid = event
        if interface is not None and vhid is not None:
            self._tell(self._member(interface, vhid), event, now, actions)
            return
        if interface is not None or vhid is not None:
            raise ConfigError(
                f"{shown(event)} names half a timer; give interface and vhid, or neither"
            )
        timers = self._timers
        due: list[tuple[float, int, _Member]] = []
        while timers and timers[0][0] <= now:
            at, sequence, member = heappop(timers)
            if at != member.scheduled:
                continue
            member.scheduled = None
            deadline = member.host.deadline
            if deadline is not None and deadline <= now:
                due.append((deadline, sequence, member))
            else:
                self._schedule(member, deadline)
        try:
            for _, _, member in due:
                member.host.draw_counters()
        except ConfigError:
            for deadline, _, member in due:
                self._schedule(member, deadline)
            raise
        if len(due) > 1:
            due.sort(key=lambda entry: entry[:2])
        for _, _, member in due:
            done: list[Action] = []
            member.host.expire(now, done)
            self._account(done)
            actions += done
            self._schedule(member, member.host.deadline)

    # -- interfaces and addresses --------------------------------------------------------------

    def _on_interface(self, event: InterfaceChanged, now: float, actions: list[Action]) -> None:
        where = self._interface(event.interface)
        if event.vhid is not None:
            self._tell(self._member(event.interface, event.vhid), event, now, actions)
        elif not (event.up and where.up):
            where.up = bool(event.up)
            self._interface_moved(where, event, now, actions)

    def _on_link(self, event: LinkChanged, now: float, actions: list[Action]) -> None:
        where = self._interface(event.interface)
        if event.vhid is not None:
            self._tell(self._member(event.interface, event.vhid), event, now, actions)
        elif not (event.up and where.link):
            where.link = bool(event.up)
            self._interface_moved(where, event, now, actions)

    def _interface_moved(
        self, where: _Interface, event: Event, now: float, actions: list[Action]
    ) -> None:
        members = list(where.members.values())
        for member in members:
            self._tell(member, event, now, actions)
        self._suppress(members, now, actions)

    def _suppress(self, members: Iterable[_Member], now: float, actions: list[Action]) -> None:
        """Demote once for each virtual host whose interface is down, and take it back.

        By the factor as it is at that moment, as ``carp_sc_state`` does.
        """
        disallowed = self.profile.allow_stops and not self._settings["allow"]
        factor = self._settings["ifdown_demotion_factor"]
        changes: list[DemotionChanged] = []
        for member in members:
            where = self._interfaces[member.host.interface]
            down = disallowed or not (where.up and where.link)
            if down is not member.suppressed:
                member.suppressed = down
                reason = Reason.INTERFACE_DOWN if down else Reason.INTERFACE_UP
                changes.append(_demotion_change(factor if down else -factor, reason, member.host))
        self._demote(changes, now, actions)

    def _on_address_added(self, event: AddressAdded, now: float, actions: list[Action]) -> None:
        where = self._interface(event.interface)
        address = parse_host_address(event.address)
        if event.vhid is not None:
            member = self._member(event.interface, event.vhid)
            self._check_free(event.interface, where, event.vhid, (address,))
            self._tell(member, event, now, actions)
            self._suppress([member], now, actions)
        elif address not in where.addresses:
            where.addresses += (address,)
            for member in where.members.values():
                self._tell(member, event, now, actions)

    def _on_address_removed(
        self, event: AddressRemoved, now: float, actions: list[Action]
    ) -> None:
        where = self._interface(event.interface)
        address = parse_address(event.address)
        if event.vhid is None:
            where.addresses = tuple(own for own in where.addresses if own != address)
            for member in where.members.values():
                self._tell(member, event, now, actions)
            return
        member = self._member(event.interface, event.vhid)
        if address in member.host.config.addresses:
            self._tell(member, event, now, actions)
            if not member.host.config.addresses:
                self._forget(member, now, actions)

    def _check_free(
        self, interface: str, where: _Interface, vhid: int, addresses: Iterable[Address]
    ) -> None:
        for other, member in where.members.items():
            for address in addresses:
                if other != vhid and address in member.host.config.addresses:
                    raise ConfigError(
                        f"{address} is a virtual address of vhid {other} on {shown(interface)} "
                        f"already; take it from there before vhid {vhid} gets it"
                    )

    # -- virtual hosts ---------------------------------------------------------------------------

    def _on_added(self, event: VirtualHostAdded, now: float, actions: list[Action]) -> None:
        member = self._add(event.interface, event.config)
        if self._interfaces[event.interface].up:
            self._tell(member, InterfaceChanged(event.interface, True), now, actions)
        if event.config.addresses:
            self._suppress([member], now, actions)

    def _on_removed(self, event: VirtualHostRemoved, now: float, actions: list[Action]) -> None:
        member = self._member(event.interface, event.vhid)
        self._tell(member, event, now, actions)
        self._forget(member, now, actions)

    def _forget(self, member: _Member, now: float, actions: list[Action]) -> None:
        """The virtual host is gone, and so is the demotion that it caused."""
        host = member.host
        del self._interfaces[host.interface].members[host.config.vhid]
        member.scheduled = None
        left = 0
        if member.suppressed:
            left += self._settings["ifdown_demotion_factor"]
        if member.send_failed:
            left += self._settings["senderr_demotion_factor"]
        self._demote([_demotion_change(-left, Reason.VHID_REMOVED, host)], now, actions)

    def _on_reconfigured(self, event: Reconfigured, now: float, actions: list[Action]) -> None:
        self._tell(self._member(event.interface, event.vhid), event, now, actions)

    def _on_state_requested(
        self, event: StateRequested, now: float, actions: list[Action]
    ) -> None:
        self._tell(self._member(event.interface, event.vhid), event, now, actions)

    # -- settings and demotion -------------------------------------------------------------------

    def _on_setting(self, event: SettingChanged, now: float, actions: list[Action]) -> None:
        value = check_setting(event)
        if event.name == "demotion":
            self._on_demotion(DemotionAdjusted(value), now, actions)
            return
        if value == self._settings[event.name]:
            return
        self._settings[event.name] = value
        if event.name.endswith("_factor"):
            return
        members = self._members()
        for member in members:
            self._tell(member, event, now, actions)
        if event.name == "allow":
            self._looks_closer = self._particular or not value
            self._suppress(members, now, actions)

    def _on_demotion(self, event: DemotionAdjusted, now: float, actions: list[Action]) -> None:
        check_range("demotion", event.delta, -MAX_DEMOTION, MAX_DEMOTION)
        self._demote([DemotionChanged(event.delta, 0, Reason.SYSCTL)], now, actions)

    def _demote(
        self, changes: Iterable[DemotionChanged], now: float, actions: list[Action]
    ) -> None:
        """Add up changes of demotion, then tell every virtual host, which may advertise."""
        before = self._demotion
        for change in changes:
            if change.delta:
                self._demotion += change.delta
                actions.append(change._replace(total=self._demotion))
        if self._demotion != before:
            for member in self._members():
                self._tell(member, DemotionAdjusted(self._demotion - before), now, actions)

    def _on_send_succeeded(self, event: SendSucceeded, now: float, actions: list[Action]) -> None:
        member = self._member(event.interface, event.vhid)
        if not member.send_failed or self.profile.send_error_forgotten:
            member.errors = 0
            return
        member.successes += 1
        if member.successes >= _SEND_SUCCESSES:
            member.errors = 0
            factor = self._settings["senderr_demotion_factor"]
            self._demote([_demotion_change(-factor, Reason.SEND_OK, member.host)], now, actions)

    def _on_send_failed(self, event: SendFailed, now: float, actions: list[Action]) -> None:
        member = self._member(event.interface, event.vhid)
        member.errors += 1
        member.successes = 0
        if member.errors == _SEND_ERRORS:
            factor = self._settings["senderr_demotion_factor"]
            self._demote([_demotion_change(factor, Reason.SEND_ERROR, member.host)], now, actions)

    # -- the end ---------------------------------------------------------------------------------

    def _on_shutdown(self, event: Shutdown, now: float, actions: list[Action]) -> None:
        for where in self._interfaces.values():
            where.up = False
        for member in self._members():
            self._tell(member, event, now, actions)

    _HANDLERS: ClassVar[dict[type, Any]] = {
        AdvertisementReceived: _on_advertisement,
        TimerExpired: _on_timer,
        InterfaceChanged: _on_interface,
        LinkChanged: _on_link,
        SendSucceeded: _on_send_succeeded,
        SendFailed: _on_send_failed,
        SettingChanged: _on_setting,
        DemotionAdjusted: _on_demotion,
        AddressAdded: _on_address_added,
        AddressRemoved: _on_address_removed,
        VirtualHostAdded: _on_added,
        VirtualHostRemoved: _on_removed,
        Reconfigured: _on_reconfigured,
        StateRequested: _on_state_requested,
        Shutdown: _on_shutdown,
    }

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Node cannot be copied or pickled; describe another one")

    def __repr__(self) -> str:
        return f"<Node {self.profile.name}: {', '.join(self._interfaces) or 'no interfaces'}>"


_FREQUENT = (AdvertisementReceived, TimerExpired, SendSucceeded)


def _as_bytes(payload: object) -> bytes:
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(cast(bytes, payload))
    raise ConfigError(f"the payload is of type {type(payload).__name__}; give bytes")


def _is_virtual(where: _Interface, address: Address) -> bool:
    return any(address in member.host.config.addresses for member in where.members.values())


def _demotion_change(delta: int, reason: Reason, host: VirtualHost) -> DemotionChanged:
    return DemotionChanged(delta, 0, reason, host.interface, host.config.vhid)
