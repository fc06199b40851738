"""Nodes on segments, with one virtual clock: real frames, no sockets, no waiting.

Must not know how faults are chosen or results are judged. A `Cluster` runs nodes, hands the
frames that they send to those that hear them, and keeps who was MASTER when. Each receiver peels,
decodes and verifies for itself, as it would on a wire.

Everything random comes from ``seed``, in a stream of its own for each node and each segment, so
that the same description gives the same run, to the byte, on every Python, and a fault that is
left out changes as little else as possible.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from heapq import heappop, heappush
from math import ceil, inf
from random import Random
from typing import Any, NamedTuple

from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.addresses import Address, AddressLike, format_mac
from carpproto.core.advertisement import encode
from carpproto.core.announcement import gratuitous_arp, neighbor_advertisement
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, DecodeError, Reason, shown
from carpproto.core.events import (
    Event,
    InterfaceChanged,
    LinkChanged,
    SendFailed,
    SendSucceeded,
    SettingChanged,
    Shutdown,
    State,
    TimerExpired,
)
from carpproto.core.frame import TAGS, build, peel_datagram
from carpproto.core.node import Node
from carpproto.core.profile import FREEBSD, Identification, Profile
from carpproto.core.virtual_host import TICKS
from carpproto.simulation.parts import BACKLOG, CLOCKS, Member, Port, Segment

_ENOBUFS = 105
_ZERO = Identification.ZERO  # an Enum's attribute takes long to find
_GROUP = 1  # the bit of a MAC's first byte that says: not for one host alone
HEADER = 14
"""Bytes of an Ethernet header."""

_TAGGED = frozenset(tag.to_bytes(2, "big") for tag in TAGS)

_EXPIRED = TimerExpired()

# What happens at one instant: frames first, then what was scheduled, timers last. A caller of
# a Node drains its packets before it says TimerExpired, too.
_ARRIVES, _CALLS, _TIMER = range(3)


class Transition(NamedTuple):
    """A virtual host's change of state, and when, in seconds of the cluster's clock."""

    at: float
    node: str
    interface: str
    vhid: int
    previous: State
    current: State
    reason: Reason


class Mastership(NamedTuple):
    """From ``at`` on, these nodes were MASTER of a vhid on a segment."""

    at: float
    segment: str
    vhid: int
    masters: tuple[str, ...]


class Cluster:
    """A simulation: segments, nodes, faults and a clock that begins at 0.

    Describe it with `add_segment` and `add_node`, let time pass with `run`, and do things to it
    between. Names of nodes and segments are text; a node's interface is em0 on the segment lan
    unless told otherwise. Every method that takes a name raises `ConfigError` for an unknown one.

    ``now`` is the cluster's time in seconds; ``nodes`` has the `Member` of each name;
    ``transitions`` and ``masterships`` are what happened so far; ``delivered`` counts the
    frames that a node has taken, ``sent`` the advertisements.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.now: float = 0.0
        self.nodes: dict[str, Member] = {}
        self.segments: dict[str, Segment] = {}
        self.transitions: list[Transition] = []
        self.masterships: list[Mastership] = []
        self.delivered: int = 0
        self.sent: int = 0
        self._masters: dict[tuple[str, int], dict[str, None]] = {}
        self._queue: list[tuple[float, int, int, Any, Any, Any]] = []
        self._sequence = 0

    def __repr__(self) -> str:
        words = [f"at {self.now:g} s", f"nodes {', '.join(self.nodes) or 'none'}"]
        for segment, vhid in self.groups():
            masters = " and ".join(self.masters(vhid, segment)) or "nobody"
            words.append(f"MASTER of vhid {vhid} on {segment} is {masters}")
        return f"<{type(self).__name__} {'; '.join(words)}; seed {self.seed}>"

    # -- describing it -----------------------------------------------------------------------

    def add_segment(self, name: str = "lan", **qualities: float | bool) -> Segment:
        """A network; ``qualities`` as for `Segment`."""
        _check_name("segment", name, self.segments)
        segment = Segment(name, Random(f"{self.seed}/segment/{name}"))
        segment.change(**qualities)
        self.segments[name] = segment
        return segment

    def add_node(
        self,
        name: str,
        *virtual_hosts: VirtualHostConfig | tuple[str, VirtualHostConfig],
        profile: Profile = FREEBSD,
        interfaces: Mapping[str, str] | None = None,
        addresses: Mapping[str, Iterable[AddressLike]] | None = None,
        macs: Mapping[str, str] | None = None,
        settings: Mapping[str, int] | None = None,
        clock_rate: float = 1.0,
        late: float = 0.0,
        late_share: float = 0.0,
        takes_up: float = 0.0,
        steady: bool = False,
        polls: bool = False,
        boots: bool = True,
    ) -> Member:
        """A node with its virtual hosts: configurations, or pairs of interface and configuration.

        ``interfaces`` maps an interface to its segment, by default em0 to lan, which are made
        as needed. Each gets a MAC, an IPv4 and a link-local IPv6 address by the node's number,
        unless ``macs`` and ``addresses`` give its own ones. ``settings`` are as in
        `SettingChanged`; ``clock_rate`` and those after it as in `Member`. It boots at once,
        unless ``boots`` is false.
        """
        _check_name("node", name, self.nodes)
        for what, value in (
            ("clock_rate", clock_rate),
            ("late", late),
            ("late_share", late_share),
            ("takes_up", takes_up),
        ):
            low, high = CLOCKS[what]
            if not isinstance(value, (int, float)) or not low <= value <= high:
                raise ConfigError(f"{what} {shown(value)} is out of range; it is {low} to {high}")
        number = len(self.nodes) + 1
        interfaces = {"em0": "lan"} if interfaces is None else interfaces
        if not interfaces:
            raise ConfigError(f"node {name!r} has no interface; give it one, and its segment")
        for interface in (*(addresses or {}), *(macs or {})):
            if interface not in interfaces:
                known = ", ".join(interfaces)
                raise ConfigError(f"{name!r} has no {shown(interface)}; it has: {known}")
        ports: dict[str, tuple[Segment, str, tuple[AddressLike, ...]]] = {}
        for position, (interface, segment) in enumerate(interfaces.items()):
            if segment not in self.segments:
                self.add_segment(segment)
            octets = (0x525400 << 24 | position << 16 | number).to_bytes(6, "big")
            own = (addresses or {}).get(interface)
            if own is None:
                own = (f"198.{18 + position}.{number >> 8}.{number & 255}", f"fe80::{number:x}")
            mac = (macs or {}).get(interface, format_mac(octets))
            ports[interface] = (self.segments[segment], mac, tuple(own))
        first = next(iter(interfaces))
        hosts = tuple(
            (first, host) if isinstance(host, VirtualHostConfig) else host
            for host in virtual_hosts
        )
        member = Member(
            name,
            profile,
            ports,
            hosts,
            settings or {},
            Random(f"{self.seed}/node/{name}"),
            clock_rate,
            late,
            late_share,
            takes_up,
            steady,
            polls,
        )
        node = self._node_of(member)  # a bad description is refused now
        self.nodes[name] = member
        for port in member.ports.values():
            port.segment.ports.append(port)
        if boots:
            self._boot(member, node)
        return member

    # -- what is done to it --------------------------------------------------------------------

    def boot(self, name: str) -> None:
        """Start a node, with the configuration that it was described with."""
        member = self._member(name)
        if member.node is not None:
            raise ConfigError(f"node {name!r} runs already; crash it first")
        self._boot(member, self._node_of(member))

    def _boot(self, member: Member, node: Node) -> None:
        member.node = node
        member.stalled = member.failed = False
        member.booted = member.waits_from = self.now
        member.late_for = None
        member.backlog.clear()
        member.headers.clear()
        for port in member.ports.values():
            port.up = False
            self.handle(member.name, LinkChanged(port.interface, port.link))
            self.handle(member.name, InterfaceChanged(port.interface, True))

    def crash(self, name: str) -> None:
        """Stop a node at once: it sends and hears nothing more."""
        member = self._running(name)
        member.node = None
        member.stalled = False
        member.wakes_at = None
        for port in member.ports.values():
            port.hears = False
        for segment, vhid in list(self._masters):
            self._note_master(segment, vhid, name, False)

    def shutdown(self, name: str, bow_out: bool | None = None) -> None:
        """Stop a node in an orderly way; ``bow_out`` as in `Shutdown`."""
        if bow_out is not None:
            _check_flag("bow_out", bow_out)
        self.handle(name, Shutdown(bow_out))
        self.crash(name)

    def stall(self, name: str) -> None:
        """Let a node's process stand still; its clock goes on, and what it hears waits."""
        member = self._running(name)
        member.stalled, member.wakes_at = True, None

    def resume(self, name: str) -> None:
        """Let it go on: first what waited, then its timers."""
        member = self._running(name)
        if not member.stalled:
            return
        member.stalled = False
        waiting, member.backlog = member.backlog, deque(maxlen=BACKLOG)
        for port, frame in waiting:
            self._deliver((port,), frame, late=True)
        self._arm(member)

    def fail_sending(self, name: str, fails: bool = True) -> None:
        """Let each send of a node fail from now on, or no longer."""
        _check_flag("fails", fails)
        self._member(name).sending_fails = fails

    def cut(self, sender: str, receiver: str, *, both: bool = True) -> None:
        """Let one node not hear another any more; ``both``: and the other way round."""
        self._member(sender)
        self._member(receiver)
        if sender == receiver:
            raise ConfigError(f"{sender!r} cannot be cut from itself; name two nodes")
        for segment in self.segments.values():
            segment.cuts.add((sender, receiver))
            if both:
                segment.cuts.add((receiver, sender))

    def partition(self, *groups: Iterable[str]) -> None:
        """Let nodes hear those of their own group only; who is in no group hears nobody.

        What is cut already stays so. Each group is a list of names.
        """
        group_of: dict[str, int] = {}
        for number, group in enumerate(groups):
            if isinstance(group, str) or not isinstance(group, Iterable):
                raise ConfigError(f"{shown(group)} is no group; give a list of names for each")
            for name in group:
                self._member(name)
                if group_of.setdefault(name, number) != number:
                    raise ConfigError(f"{name!r} is in two groups; a node is in one, or in none")
        if not group_of:
            raise ConfigError("groups of nobody are no partition; give a list of names for each")
        for position, name in enumerate(self.nodes):
            for number, other in enumerate(self.nodes):
                same = group_of.get(name, -1 - position) == group_of.get(other, -1 - number)
                if not same:
                    for segment in self.segments.values():
                        segment.cuts.add((name, other))

    def heal(self) -> None:
        """Undo every cut and partition."""
        for segment in self.segments.values():
            segment.cuts.clear()

    def carrier(self, name: str, up: bool, interface: str | None = None) -> None:
        """Take an interface's carrier away, or give it back; None: all of them."""
        member = self._member(name)
        _check_flag("up", up)
        for port in self._ports(member, interface):
            port.link = up
            if member.node is not None:
                self.handle(name, LinkChanged(port.interface, port.link))

    def change_segment(self, name: str, **qualities: float | bool) -> None:
        """Set qualities of a segment, as for `Segment`."""
        self._segment(name).change(**qualities)

    def handle(self, name: str, event: Event) -> tuple[Action, ...]:
        """Let a node handle an event of its own now: a setting, an address, a request, ...

        What it does is performed; the actions are returned, too.
        """
        member = self._running(name)
        node = member.node
        assert node is not None
        actions = node.handle(event, self.now * member.clock_rate)
        if isinstance(event, (InterfaceChanged, LinkChanged)) and event.vhid is None:
            port = member.ports[event.interface]
            if isinstance(event, InterfaceChanged):
                port.up = bool(event.up)
            else:
                port.link = bool(event.up)
            port.hears = port.up and port.link
        elif isinstance(event, Shutdown):
            for port in member.ports.values():
                port.up = port.hears = False
        self._perform(member, actions)
        if member.polls:
            member.waits_from, member.late_for = self.now, None
        self._arm(member)
        return actions

    def inject(self, frame: bytes, segment: str = "lan", sender: str = "") -> None:
        """Put an Ethernet frame on a segment, as a host that is no node of the cluster."""
        if not isinstance(frame, bytes) or len(frame) < HEADER:
            raise ConfigError(f"{shown(frame)} is no frame; one has {HEADER} bytes or more")
        self._transmit(self._segment(segment), None, sender, frame)

    def at(self, time: float, call: Callable[[], object]) -> None:
        """Call something at a time of the cluster's clock, now if that is past."""
        if not (isinstance(time, (int, float)) and time < inf):
            raise ConfigError(f"at {shown(time)} is no time; {self._clock()}")
        self._push(max(time, self.now), _CALLS, call, None, None)

    # -- letting time pass -----------------------------------------------------------------------

    def run(self, until: float) -> None:
        """Let everything happen that is due up to a time, and set the clock to it.

        `ConfigError` for a time that is past, or none at all.
        """
        if not (isinstance(until, (int, float)) and self.now <= until < inf):
            raise ConfigError(f"cannot run until {shown(until)}; {self._clock()}")
        self._run(until)

    def _run(self, until: float) -> None:
        queue = self._queue
        while queue and queue[0][0] <= until:
            now, kind, _, one, two, frame = heappop(queue)
            self.now = now
            if kind == _ARRIVES:
                if two is None:
                    self._deliver((one,), frame)
                else:
                    self._arrive(one, two[0], two[1], frame)
            elif kind == _TIMER:
                if one.wakes_at == now:
                    self._wake(one)
            else:
                one()
        self.now = max(self.now, until)

    def run_for(self, seconds: float) -> None:
        """As `run`, from now on."""
        self._run(self._in(seconds))

    def run_until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Let time pass until a condition holds, for ``limit`` seconds at most: does it?

        It is looked at whenever something has happened.
        """
        end = self._in(limit)
        while not condition():
            if not self._queue or self._queue[0][0] > end:
                self._run(end)
                return condition()
            self._run(self._queue[0][0])
        return True

    def _in(self, seconds: float) -> float:
        """The time in so many seconds."""
        if not (isinstance(seconds, (int, float)) and 0 <= seconds < inf):
            raise ConfigError(f"cannot run for {shown(seconds)} s; {self._clock()}")
        return self.now + seconds

    def _clock(self) -> str:
        return f"the clock is at {self.now:g} s, and goes forward only"

    # -- looking at it ---------------------------------------------------------------------------

    def masters(self, vhid: int | None = None, segment: str | None = None) -> tuple[str, ...]:
        """The names of the nodes that are MASTER; of one vhid, of one segment, or of any."""
        if (segment is not None and segment not in self.segments) or (
            vhid is not None and all(number != vhid for _, number in self._masters)
        ):
            self._check_group(vhid, segment)
        names: dict[str, None] = {}
        for (where, number), masters in self._masters.items():
            if vhid in (None, number) and segment in (None, where):
                names.update(masters)
        return tuple(name for name in self.nodes if name in names)

    def groups(self) -> tuple[tuple[str, int], ...]:
        """Segment and vhid of every group of virtual hosts, in the order of description."""
        found: dict[tuple[str, int], None] = {}
        for member in self.nodes.values():
            for interface, config in member.virtual_hosts:
                found[member.ports[interface].segment.name, config.vhid] = None
        return tuple(found)

    def _check_group(self, vhid: int | None, segment: str | None) -> None:
        """Raise `ConfigError` for a segment, or a vhid, that is nowhere."""
        if segment is not None:
            self._segment(segment)
        known = {number for _, number in self.groups()}
        for member in self.nodes.values():
            if member.node is not None:  # which may have got one since
                known |= {host.config.vhid for host in member.node.virtual_hosts()}
        if vhid is not None and vhid not in known:
            there = ", ".join(map(str, sorted(known))) or "none"
            raise ConfigError(f"nobody has vhid {shown(vhid)}; there are: {there}")

    # -- how it works ----------------------------------------------------------------------------

    def _node_of(self, member: Member) -> Node:
        node = Node(profile=member.profile, counter=member.counter)
        for interface, port in member.ports.items():
            node.add_interface(
                interface, mac=format_mac(port.mac), addresses=member.addresses[interface]
            )
        for interface, config in member.virtual_hosts:
            node.add_virtual_host(interface, config)
        now = self.now * member.clock_rate
        for name, value in member.settings.items():
            node.handle(SettingChanged(name, value), now)
        return node

    def _member(self, name: str) -> Member:
        try:
            return self.nodes[name]
        except (KeyError, TypeError):
            known = ", ".join(self.nodes) or "none"
            raise ConfigError(f"there is no node {shown(name)}; there are: {known}") from None

    def _segment(self, name: str) -> Segment:
        try:
            return self.segments[name]
        except (KeyError, TypeError):
            known = ", ".join(self.segments) or "none"
            raise ConfigError(f"there is no segment {shown(name)}; there are: {known}") from None

    def _running(self, name: str) -> Member:
        member = self._member(name)
        if member.node is None:
            raise ConfigError(f"node {name!r} does not run; boot it first")
        return member

    def _ports(self, member: Member, interface: str | None) -> Iterable[Port]:
        if interface is None:
            return member.ports.values()
        if interface not in member.ports:
            known = ", ".join(member.ports)
            raise ConfigError(f"{member.name!r} has no {shown(interface)}; it has: {known}")
        return (member.ports[interface],)

    def _push(self, at: float, kind: int, one: Any, two: Any, frame: Any) -> None:
        self._sequence += 1
        heappush(self._queue, (at, kind, self._sequence, one, two, frame))

    # Timers.

    def _arm(self, member: Member) -> None:
        """See to it that the node's timers are looked at in time."""
        node = member.node
        deadline = None if node is None or member.stalled else node.deadline
        if node is None or deadline is None:
            member.wakes_at = None
            return
        member.rearmed = node.rearmed
        at = deadline / member.clock_rate
        at = max(at, self.now)
        if member.late_for == deadline:
            at = max(at, member.fires_at)
        if member.wakes_at != at:
            member.wakes_at = at
            self._push(at, _TIMER, member, None, None)

    def _wake(self, member: Member) -> None:
        node = member.node
        assert node is not None
        now = self.now * member.clock_rate
        deadline = node.deadline
        if deadline is None:
            member.wakes_at = None
            return
        if deadline > now:
            at = deadline / member.clock_rate
            if at > self.now:
                member.wakes_at = at
                self._push(at, _TIMER, member, None, None)
                return
            now = deadline  # a clock rate that does not divide exactly
        if (member.late or member.late_share or member.polls) and member.late_for != deadline:
            member.late_for = deadline
            member.wakes_at = member.fires_at = self._fires_at(member, node, deadline)
            self._push(member.fires_at, _TIMER, member, None, None)
            return
        member.wakes_at = None
        member.waits_from = self.now
        self._perform(member, node.handle(_EXPIRED, now))
        self._arm(member)

    def _fires_at(self, member: Member, node: Node, deadline: float) -> float:
        """When a timer goes off that is due now."""
        host = next(host for host in node.virtual_hosts() if host.deadline == deadline)
        is_master = host.state is State.MASTER
        length = (host.own_interval if is_master else host.master_down_interval) / TICKS
        late = member.late + member.late_share * length
        if not member.steady:
            late *= member.random.random()
        if is_master or host.holding or not member.polls:
            return self.now + late
        wait = max(host.own_interval, 1) / TICKS / member.clock_rate + late
        waits = max(1, ceil((self.now - member.waits_from) / wait))
        return max(self.now, member.waits_from + waits * wait)

    # Actions.

    def _perform(self, member: Member, actions: Iterable[Action]) -> None:
        """What a node asked for, and what it asks for in turn when it hears how that went."""
        outcomes: list[Event] = []
        for action in actions:
            if type(action) is SendAdvertisement:
                outcome = self._send(member, action)
                if outcome is not None:
                    outcomes.append(outcome)
            elif type(action) is StateChanged:
                self._note(member, action)
            elif type(action) is AnnounceAddresses:
                self._announce(member, action)
        for event in outcomes:
            if member.node is not None:
                self._perform(member, member.node.handle(event, self.now * member.clock_rate))

    def _send(self, member: Member, action: SendAdvertisement) -> Event | None:
        """Put an advertisement on its segment; what the node is to be told of it."""
        self.sent += 1
        port = member.ports[action.interface]
        if member.sending_fails:
            member.failed = True
            return SendFailed(action.interface, action.vhid, _ENOBUFS)
        if port.link:
            frame = self._frame(member, port, action)
            if frame is not None:
                self._transmit(port.segment, port, member.name, frame)
        # To a node that has had no failure, a success says nothing.
        return SendSucceeded(action.interface, action.vhid) if member.failed else None

    def _frame(self, member: Member, port: Port, action: SendAdvertisement) -> bytes | None:
        """The Ethernet frame; None where nobody has the MAC that it should go to."""
        _, _, _, source, destination, source_mac, traffic_class, advertisement = action
        style = member.profile.identification
        payload = encode(advertisement)
        if style is _ZERO:
            known = member.headers.get((id(source), id(destination), source_mac, traffic_class))
            if known is not None:
                return known[2] + payload
            identification = 0
        elif style is Identification.COUNTING:
            member.identification = identification = (member.identification + 1) & 0xFFFF
        else:
            identification = member.random.getrandbits(16)
        destination_mac = None
        if not destination.is_multicast:
            destination_mac = self._resolve(port.segment, destination)
            if destination_mac is None:
                return None
        frame = build(
            payload,
            source=source,
            destination=destination,
            source_mac=source_mac,
            destination_mac=destination_mac,
            traffic_class=traffic_class,
            identification=identification,
        )
        if style is _ZERO and destination_mac is None:  # who has a unicast address may change
            # The addresses are kept beside it, so that their ids stay theirs.
            header = frame[: -len(payload)]
            member.headers[id(source), id(destination), source_mac, traffic_class] = (
                source,
                destination,
                header,
            )
        return frame

    def _resolve(self, segment: Segment, address: Address) -> str | None:
        """The MAC with which somebody on a segment answers for an address."""
        for port in segment.ports:
            node = port.member.node
            if node is not None and port.hears:
                mac = node.answers(address)
                if mac is not None:
                    return mac
        return None

    def _announce(self, member: Member, action: AnnounceAddresses) -> None:
        """Gratuitous ARPs and neighbor advertisements, for whoever taps the segment."""
        port, node = member.ports[action.interface], member.node
        if node is None or not (port.segment.taps and port.link) or member.sending_fails:
            return
        own = format_mac(port.mac)
        for address in action.addresses:
            if address.version == 4:
                target = own if member.profile.real_mac_answers else "00:00:00:00:00:00"
                frame = gratuitous_arp(address, mac=action.mac, source_mac=own, target_mac=target)
            else:
                addresses = node.addresses(action.interface)
                source = next((a for a in addresses if a.version == 6), address)
                frame = neighbor_advertisement(address, mac=action.mac, source=source)
            for tap in port.segment.taps:
                tap(self.now, member.name, frame)

    def _note(self, member: Member, action: StateChanged) -> None:
        _, vhid, previous, current = action[:4]
        self.transitions.append(
            Transition(
                self.now, member.name, action.interface, vhid, previous, current, action.reason
            )
        )
        if State.MASTER in (previous, current):
            segment = member.ports[action.interface].segment.name
            self._note_master(segment, vhid, member.name, current is State.MASTER)

    def _note_master(self, segment: str, vhid: int, name: str, is_master: bool) -> None:
        masters = self._masters.setdefault((segment, vhid), {})
        if (name in masters) is is_master:
            return
        if is_master:
            masters[name] = None
        else:
            del masters[name]
        self.masterships.append(Mastership(self.now, segment, vhid, tuple(masters)))

    # Frames.

    def _transmit(self, segment: Segment, port: Port | None, sender: str, frame: bytes) -> None:
        for tap in segment.taps:
            tap(self.now, sender, frame)
        if segment.plain:
            self._sequence += 1
            heappush(
                self._queue,
                (
                    self.now + segment.delay,
                    _ARRIVES,
                    self._sequence,
                    segment,
                    (port, sender),
                    frame,
                ),
            )
            return
        if segment.eats_multicast and frame[0] & _GROUP:
            return
        draw = segment.random.random
        for other in segment.ports:
            if other is port and not segment.echoes:
                continue
            copies = 2 if segment.duplicate and draw() < segment.duplicate else 1
            for _ in range(copies):
                if segment.loss and draw() < segment.loss:
                    continue
                at = self.now + segment.delay
                if segment.jitter:
                    at += draw() * segment.jitter
                if segment.hold and draw() < segment.hold:
                    at += draw() * segment.hold_time
                arriving = frame
                if segment.corrupt and draw() < segment.corrupt:
                    arriving = _corrupt(frame, draw())
                if (sender, other.member.name) not in segment.cuts:
                    self._push(at, _ARRIVES, other, None, arriving)

    def _arrive(self, segment: Segment, sender: Port | None, name: str, frame: bytes) -> None:
        """A frame reaches everybody on a segment."""
        cuts, ports = segment.cuts, segment.ports
        if cuts:
            ports = [port for port in ports if (name, port.member.name) not in cuts]
        self._deliver(ports, frame, sender=sender)

    def _deliver(
        self,
        ports: Iterable[Port],
        frame: bytes,
        *,
        sender: Port | None = None,
        late: bool = False,
    ) -> None:
        """Let nodes peel a frame and handle what is in it, each for itself.

        Those that hear nothing do not; those that take frames up later do, unless it is ``late``.
        """
        if frame[12:14] in _TAGGED:
            return  # of a VLAN, which is another interface
        # MACs of virtual hosts carry no advertisements.
        target = None if frame[0] & _GROUP else frame[:6]
        now, delivered = self.now, 0
        for port in ports:
            if port is sender or not port.hears or (target and target != port.mac):
                continue
            member = port.member
            node = member.node
            assert node is not None
            if member.stalled:
                member.backlog.append((port, frame))
                continue
            if member.takes_up and not late:
                times = ceil((now - member.booted) / member.takes_up)
                at = member.booted + times * member.takes_up
                self.at(at, partial(self._take_late, port, frame, node))
                continue
            try:
                packet = peel_datagram(frame)
            except DecodeError:
                continue
            if packet is None:
                continue
            delivered += 1
            source, destination, hop_limit, payload = packet
            actions = node.receive(
                port.interface, source, destination, hop_limit, payload, now * member.clock_rate
            )
            if actions:
                self._perform(member, actions)
                self._arm(member)
            elif node.rearmed != member.rearmed:
                self._arm(member)
            if member.polls:
                self._look(member, node)
        self.delivered += delivered

    def _take_late(self, port: Port, frame: bytes, node: Node) -> None:
        """Let a node take a frame that waited, unless it has been crashed since."""
        if port.member.node is node:
            self._deliver((port,), frame, late=True)

    def _look(self, member: Member, node: Node) -> None:
        """Let a node that has waited for a frame look at its timers, and wait for the next."""
        member.waits_from, member.late_for = self.now, None
        now = self.now * member.clock_rate
        deadline = node.deadline
        if deadline is not None and deadline <= now:
            self._perform(member, node.handle(_EXPIRED, now))
        self._arm(member)


def _check_name(what: str, name: object, taken: Mapping[str, object]) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{what} {shown(name)} is no name; give text that is not empty")
    if name in taken:
        raise ConfigError(f"{what} {name!r} is there already; give each another name")


def _check_flag(what: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{what} {shown(value)} is neither True nor False")


def _corrupt(frame: bytes, where: float) -> bytes:
    """The frame with one bit flipped; ``where`` is 0 to 1."""
    bit = int(where * len(frame) * 8)
    number = int.from_bytes(frame, "big") ^ 1 << bit
    return number.to_bytes(len(frame), "big")
