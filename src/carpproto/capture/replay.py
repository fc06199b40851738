"""Predicted against recorded: the library's state machine in the place of a recorded node.

Must not know of the command line. Each node of a recording is set up as the recorded one was
and given what that one was given: its local events, and the frames that reached it. What it
then does is compared with what the real one reported and sent.

The two are kept in step. A local event takes effect when the recorded node first showed an
effect of it; a timer fires when the recorded node's did. So an error in one step does not
spill into the next, and each timer is judged by itself: how late was it, against how long it
was. Whatever the recorded node did and the machine would not, or the other way round, is a
`Disagreement`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from carpproto.capture.recording import (
    RecordedEvent,
    RecordedFrame,
    RecordedNode,
    RecordedTransition,
    Recording,
)
from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.advertisement import decode, encode, pseudo_header
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, DecodeError, Reason
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
    VirtualHostAdded,
)
from carpproto.core.frame import build
from carpproto.core.node import Counters, Node
from carpproto.core.profile import (
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    UCARP,
    Profile,
    SourceMac,
)
from carpproto.core.virtual_host import VirtualHost


class Tolerance(NamedTuple):
    """How far a recorded system may be from the nominal time.

    A timer may be late by ``relative`` of its length and ``absolute`` seconds; a reaction to an
    event or a frame takes up to ``reaction`` seconds. Stamps of the log and of the capture are
    not made at the same place, so anything may seem early by ``absolute``.
    """

    relative: float
    absolute: float
    reaction: float


TOLERANCES = {
    "freebsd": Tolerance(0.07, 0.030, 0.1),
    "netbsd": Tolerance(0.0, 0.020, 0.1),
    "ucarp": Tolerance(0.0, 0.130, 0.2),
}
"""The lateness that the README beside the captures states for each implementation."""


class Disagreement(NamedTuple):
    """One difference: at ``t``, what was ``predicted`` and what ``recorded``, None for nothing."""

    node: str
    t: float
    predicted: str | None
    recorded: str | None

    def __str__(self) -> str:
        return (
            f"{self.node} at t = {self.t:.6f}: predicted {self.predicted or 'nothing'}, "
            f"recorded {self.recorded or 'nothing'}"
        )


class TimerJudged(NamedTuple):
    """A timer of the machine beside the recorded one; times in seconds."""

    node: str
    vhid: int
    armed: float
    length: float
    recorded: float

    @property
    def late(self) -> float:
        """How long after the nominal time the recorded timer went off."""
        return self.recorded - self.armed - self.length


class Predicted(NamedTuple):
    """A transition that the machine predicted.

    ``t`` is when its cause was there: a timer due, a command given, a frame on the wire;
    ``recorded`` is when the real system reported it.
    """

    node: str
    t: float
    recorded: float
    change: StateChanged
    words: str | None


class Report(NamedTuple):
    """What a replay found: what agreed, and every disagreement."""

    recording: Recording
    tolerance: Tolerance
    transitions: tuple[Predicted, ...]
    advertisements: int
    timers: tuple[TimerJudged, ...]
    dropped: tuple[tuple[str, float, PacketDropped], ...]
    announced: tuple[tuple[str, float, AnnounceAddresses], ...]
    counters: dict[str, dict[str, int]]
    disagreements: tuple[Disagreement, ...]

    @property
    def agrees(self) -> bool:
        """Whether the machine predicted everything, in order and in time."""
        return not self.disagreements

    @property
    def explained(self) -> bool:
        """Whether the recording's own notes say why it does not replay exactly."""
        return bool(self.recording.artefacts)


def profile_of(recording: Recording, node: RecordedNode) -> Profile:
    """The profile of the release that a node ran; `ConfigError` for one that is not known."""
    text = node.implementation
    if recording.profile == "freebsd":
        release = text.removeprefix("FreeBSD").strip().split(".")[0].split("-")[0]
        if release.isdecimal():
            major = int(release)
            return FREEBSD_10 if major < 11 else FREEBSD_12 if major < 14 else FREEBSD_14
        return FREEBSD_12
    if recording.profile == "netbsd":
        if "1.120 (2023-08-01) for multicast output interface" in text:
            return NETBSD_1120
        if "im6o_multicast_ifp" in text:
            return NETBSD.replace(source_mac=(SourceMac.VIRTUAL, SourceMac.INTERFACE))
        return NETBSD
    if recording.profile == "ucarp":
        return UCARP
    raise ConfigError(
        f"{recording.path.name} names the profile {recording.profile!r}; "
        f"known are {', '.join(TOLERANCES)}"
    )


def replay(recording: Recording, *, tolerance: Tolerance | None = None) -> Report:
    """Replay every node of a recording.

    Raises `OSError` or `DecodeError` when its capture cannot be read, `ConfigError` when it
    cannot be set up.
    """
    for node in recording.nodes.values():
        profile_of(recording, node)
    allowed = tolerance or TOLERANCES[recording.profile]
    near = tuple(recording.frames())
    far = tuple(recording.frames(far=True)) if recording.pcap_far else near
    runs: list[_Replay] = []
    for node in recording.nodes.values():
        frames = far if node.name in recording.far_nodes else near
        runs.append(_Replay(recording, node, frames, allowed).run())
    return Report(
        recording=recording,
        tolerance=allowed,
        transitions=tuple(
            sorted((p for run in runs for p in run.transitions), key=lambda p: p.recorded)
        ),
        advertisements=sum(run.advertisements for run in runs),
        timers=tuple(timer for run in runs for timer in run.timers),
        dropped=tuple(sorted((d for run in runs for d in run.dropped), key=lambda d: d[1])),
        announced=tuple(sorted((a for run in runs for a in run.announced), key=lambda a: a[1])),
        counters={run.recorded.name: dict(run.node.counters) for run in runs if run.node},
        disagreements=tuple(
            sorted((d for run in runs for d in run.disagreements), key=lambda d: d.t)
        ),
    )


class _Drawn(int):
    """A counter that the machine drew: in reality random, so any recorded one will do."""


class _Expected(NamedTuple):
    """Something that the machine has done and the recorded node is to show.

    ``t`` is when that had to be: when a timer was due, a command given, a frame heard.
    """

    t: float
    timer: TimerJudged | None
    action: StateChanged | SendAdvertisement
    config: VirtualHostConfig | None = None


_Key = tuple[str, int, int]  # what, vhid, family (0: a transition)


class _Replay:
    """One node's replay."""

    def __init__(
        self,
        recording: Recording,
        recorded: RecordedNode,
        frames: tuple[RecordedFrame, ...],
        tolerance: Tolerance,
    ) -> None:
        self.recording = recording
        self.recorded = recorded
        self.profile = profile_of(recording, recorded)
        self.tolerance = tolerance
        self.words = dict(self.profile.words)
        self.polled = recording.polled_every is not None
        # Where nobody could look, the list is empty; a kernel's log is never.
        self.reported = recording.profile == "freebsd" or bool(recording.transitions)
        self.frames = frames
        self.node: Node | None = None
        self.wired = True
        self.sending_fails = False
        self.cause = 0.0
        self.up = False
        self.link = True
        self.pending: deque[RecordedEvent] = deque()
        self.snapshots: list[Counters] = []
        self.unseen: defaultdict[int, int] = defaultdict(int)
        self.expected: defaultdict[_Key, deque[_Expected]] = defaultdict(deque)
        self.armed: dict[int, tuple[float, float]] = {}
        self.shown = self._shown()
        self.transitions: list[Predicted] = []
        self.advertisements = 0
        self.timers: list[TimerJudged] = []
        self.dropped: list[tuple[str, float, PacketDropped]] = []
        self.announced: list[tuple[str, float, AnnounceAddresses]] = []
        self.disagreements: list[Disagreement] = []

    def run(self) -> _Replay:
        for t, item in self._script():
            self._apply_overdue(t)
            if isinstance(item, RecordedEvent):
                if item.kind in _AT_ONCE:
                    self._apply_pending()
                    self._apply(item, item.t)
                else:
                    self.pending.append(item)
            elif isinstance(item, RecordedTransition):
                self._see_transition(item)
            elif item.sender == self.recorded.name:
                self._see_advertisement(item)
            else:
                self._hear(item)
        self._apply_pending()
        self._apply_overdue(self.recording.duration - self._slack(_LAST_MOMENTS))
        self._finish()
        return self

    def _script(self) -> list[tuple[float, RecordedEvent | RecordedTransition | RecordedFrame]]:
        """Everything that happened to the node or was seen of it, in order of time."""
        name = self.recorded.name
        script: list[tuple[float, RecordedEvent | RecordedTransition | RecordedFrame]] = []
        script += [(event.t, event) for event in self.recording.events if event.node == name]
        script += [(frame.t, frame) for frame in self.frames]
        script += [(seen.t, seen) for seen in self.recording.transitions if seen.node == name]
        script.sort(key=lambda entry: entry[0])
        return script

    def _shown(self) -> defaultdict[tuple[str, int], list[float]]:
        """When the recorded node advertised, and when it became MASTER by its timer, by vhid."""
        shown: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        for frame in self.frames:
            if frame.sender == self.recorded.name and len(frame.packet.payload) > 1:
                shown["advertisement", frame.packet.payload[1]].append(frame.t)
        timed_out = self.words.get(Reason.MASTER_TIMED_OUT, str(Reason.MASTER_TIMED_OUT))
        for seen in self.recording.transitions:
            if seen.node == self.recorded.name and seen.current == State.MASTER:
                if seen.reason in (timed_out, None):
                    shown["timeout", seen.vhid].append(seen.t)
        return shown

    # -- what was done to the node -------------------------------------------------------------

    def _apply_pending(self) -> None:
        while self.pending:
            event = self.pending.popleft()
            self._apply(event, event.t)

    def _apply(self, recorded: RecordedEvent, now: float) -> None:
        kind, values = recorded.kind, recorded.values
        self.cause = recorded.t
        if kind == "boot":
            self._gone(now)
            self._boot()
        elif kind == "halt":
            self._gone(now)
        elif kind == "wire":
            self.wired = values["up"]
        elif kind == "sending":
            self.sending_fails = values["fails"]
        elif self.node is not None:
            vhid: Any = values.get("vhid")
            known = {host.config.vhid: host.interface for host in self.node.virtual_hosts()}
            interface = values.get("interface", known.get(vhid, self.recorded.interface))
            if interface == self.recorded.interface and values.get("vhid") is None:
                if kind == "interface":
                    self.up = values["up"]
                elif kind == "link":
                    self.link = values["up"]
            for event in self._events(self.node, interface, recorded):
                self._handle(event, now)
            if kind == "shutdown":
                self._gone(now)

    def _boot(self) -> None:
        self.node = Node(profile=self.profile, counter=lambda: _Drawn(0))
        own, mac = self.recorded.interface, self.recorded.mac
        # A kernel gives an interface its link-local address when it comes up.
        sixth = self.recorded.advertises_from.get(6)
        addresses = [sixth] if sixth is not None and sixth.is_link_local else []
        self.node.add_interface(own, mac=mac, addresses=addresses)
        others = dict(self.recorded.other_interfaces)
        for event in self.recording.events:
            if event.node == self.recorded.name and event.values.get("interface"):
                others.setdefault(event.values["interface"], mac)  # a VLAN's parent, say
        for other, others_mac in others.items():
            if other != own:
                self.node.add_interface(other, mac=others_mac)
        self.up, self.link = False, True
        self.unseen.clear()

    def _gone(self, now: float) -> None:
        """The node is no more; what it has not shown by now it never will."""
        self._miss_all(now)
        self.node, self.armed = None, {}

    def _events(self, node: Node, interface: str, recorded: RecordedEvent) -> Iterator[Event]:
        """A local event in the machine's words."""
        kind, values = recorded.kind, recorded.values
        vhid: Any = values.get("vhid")
        if kind == "interface":
            yield InterfaceChanged(interface, values["up"], vhid)
        elif kind == "link":
            yield LinkChanged(interface, values["up"], vhid)
        elif kind == "setting" and values["name"] == "demotion":
            yield DemotionAdjusted(values["value"] - node.demotion)
        elif kind == "setting" and values["name"] in ("preempt", "allow", "dscp", "dead_ratio"):
            yield SettingChanged(values["name"], values["value"])
        elif kind == "virtual_host":
            known = {host.config.vhid for host in node.virtual_hosts(interface)}
            key = bytes.fromhex(values["key"])
            if vhid in known:
                yield Reconfigured(interface, vhid, values["advbase"], values["advskew"], key=key)
            else:
                config = VirtualHostConfig(
                    vhid=vhid, key=key, advbase=values["advbase"], advskew=values["advskew"]
                )
                yield VirtualHostAdded(interface, config)
        elif kind == "address_added":
            yield AddressAdded(interface, values["address"], vhid)
        elif kind == "address_removed":
            yield AddressRemoved(interface, values["address"], vhid)
        elif kind == "state_requested":
            yield StateRequested(interface, vhid, State(values["state"]))
        elif kind == "shutdown":
            yield Shutdown()

    # -- what the machine does -----------------------------------------------------------------

    def _handle(self, event: Event, now: float, timer: TimerJudged | None = None) -> None:
        assert self.node is not None
        if now >= self.recording.duration - _COUNTERS_READ:
            self.snapshots.append(self.node.counters)
        self._perform(self.node.handle(event, now), now, timer)
        before, self.armed = self.armed, {}
        for host in self.node.virtual_hosts():
            vhid, deadline = host.config.vhid, host.deadline
            if deadline is not None:
                known = before.get(vhid)
                self.armed[vhid] = known if known and known[1] == deadline else (now, deadline)

    def _perform(self, actions: Iterable[Action], now: float, timer: TimerJudged | None) -> None:
        assert self.node is not None
        for action in actions:
            if isinstance(action, SendAdvertisement):
                config = self.node.virtual_host(action.interface, action.vhid).config
                on_the_wire = action.interface == self.recorded.interface
                if on_the_wire and self._on_this_side():
                    key = ("advertisement", action.vhid, action.family)
                    self.expected[key].append(_Expected(self.cause, timer, action, config))
                outcome = (
                    SendFailed(action.interface, action.vhid, 0)
                    if self.sending_fails
                    else SendSucceeded(action.interface, action.vhid)
                )
                self._perform(self.node.handle(outcome, now), now, None)
            elif isinstance(action, StateChanged):
                if self.reported and action.reason not in self.profile.unlogged:
                    key = ("transition", action.vhid, 0)
                    self.expected[key].append(_Expected(self.cause, timer, action))
            elif isinstance(action, PacketDropped):
                self.dropped.append((self.recorded.name, now, action))
            elif isinstance(action, AnnounceAddresses):
                self.announced.append((self.recorded.name, now, action))

    def _fire(self, vhid: int, now: float) -> TimerJudged:
        """Let a virtual host's timer go off, as the recorded one did at ``now``."""
        armed, deadline = self.armed[vhid]
        timer = TimerJudged(self.recorded.name, vhid, armed, deadline - armed, now)
        event = TimerExpired(self._host(vhid).interface, vhid)
        self.cause = deadline
        self._handle(event, max(now, deadline), timer)
        return timer

    def _apply_overdue(self, now: float) -> None:
        """What the machine did by now, whether the recorded node showed it or not."""
        reaction = self.tolerance.reaction
        while self.pending and self.pending[0].t + reaction < now:
            event = self.pending.popleft()
            self._apply(event, event.t)
        for vhid, (armed, deadline) in list(self.armed.items()):
            slack = self._slack(deadline - armed) * (1 + self.unseen[vhid])
            # One that goes off later still is judged when it is seen.
            if deadline + slack < now and not self._seen_within(
                vhid, deadline, deadline + 3 * slack
            ):
                on_the_wire = self._host(vhid).interface == self.recorded.interface
                if not (on_the_wire and self._on_this_side()):
                    self.unseen[vhid] += 1
                self._miss_timer(self._fire(vhid, deadline))

    def _host(self, vhid: int) -> VirtualHost:
        """The virtual host of a vhid, which no two interfaces of a recorded node share."""
        assert self.node is not None
        return next(host for host in self.node.virtual_hosts() if host.config.vhid == vhid)

    def _seen_within(self, vhid: int, start: float, end: float) -> bool:
        """Whether the recorded node showed the effect of a timer between two times."""
        kind = "timeout" if self._host(vhid).state is State.BACKUP else "advertisement"
        times = self.shown[kind, vhid]
        position = bisect_left(times, start)
        return position < len(times) and times[position] <= end

    def _slack(self, length: float) -> float:
        return self.tolerance.relative * length + self.tolerance.absolute

    # -- what was seen of the node ---------------------------------------------------------------

    def _see_transition(self, seen: RecordedTransition) -> None:
        queue = self.expected["transition", seen.vhid, 0]
        if self.polled and self._comes_back(queue):
            queue.clear()
        expected = self._await(("transition", seen.vhid, 0), seen.t)
        recorded = f"vhid {seen.vhid} {seen.previous} -> {seen.current} ({seen.reason})"
        if expected is None:
            self._disagree(seen.t, None, recorded)
            return
        action = expected.action
        assert isinstance(action, StateChanged)
        reason = self.words.get(action.reason, str(action.reason))
        if self.polled:
            # Whoever asks now and then sees several changes as one, and no reasons.
            reason = None
            while queue:
                expected = queue.popleft()
                assert isinstance(expected.action, StateChanged)
                action = expected.action._replace(previous=action.previous)
        predicted = f"vhid {action.vhid} {action.previous} -> {action.current} ({reason})"
        if predicted != recorded:
            self._disagree(seen.t, predicted, recorded)
            return
        self.transitions.append(Predicted(seen.node, expected.t, seen.t, action, reason))
        self._judge(expected, seen.t, recorded, self.recording.polled_every or 0.0)

    def _see_advertisement(self, frame: RecordedFrame) -> None:
        packet = frame.packet
        try:
            covered = b""
            if self.profile.pseudo_header and packet.family == 6:
                covered = pseudo_header(packet.source, packet.destination)
            advertisement = decode(packet.payload, pseudo_header=covered)
        except DecodeError as error:
            self._disagree(
                frame.t, None, f"frame {frame.number}, which is no advertisement: {error}"
            )
            return
        key = ("advertisement", advertisement.vhid, packet.family)
        expected = self._await(key, frame.t)
        recorded = (
            f"frame {frame.number}: vhid {advertisement.vhid} IPv{packet.family} "
            f"advbase {advertisement.advbase} advskew {advertisement.advskew}"
        )
        if expected is None:
            self._disagree(frame.t, None, recorded)
            return
        self.advertisements += 1
        action = expected.action
        assert isinstance(action, SendAdvertisement)
        ours = action.advertisement
        if ours.advbase != advertisement.advbase or ours.advskew != advertisement.advskew:
            predicted = f"advbase {ours.advbase} advskew {ours.advskew}"
            self._disagree(frame.t, predicted, recorded)
        elif type(ours.counter) is not _Drawn and ours.counter != advertisement.counter:
            predicted = f"counter {ours.counter}"
            self._disagree(frame.t, predicted, f"{recorded} counter {advertisement.counter}")
        else:
            self._compare_bytes(frame, expected, advertisement.counter, recorded)
            self._judge(expected, frame.t, recorded)

    def _compare_bytes(
        self, frame: RecordedFrame, expected: _Expected, counter: int, recorded: str
    ) -> None:
        """The whole frame, as the library would send it, beside the recorded one."""
        action = expected.action
        assert isinstance(action, SendAdvertisement) and expected.config is not None
        authenticator = expected.config.authenticator(self.profile)
        signed = authenticator.sign(action.advertisement._replace(counter=counter))
        packet = frame.packet
        covered = b""
        if self.profile.pseudo_header and action.family == 6:
            covered = pseudo_header(action.source, action.destination)
        built = build(
            encode(signed, pseudo_header=covered),
            source=action.source,
            destination=action.destination,
            source_mac=action.source_mac,
            traffic_class=action.traffic_class,
            identification=packet.identification,
            tags=frame.ethernet.tags,
        )
        if built != packet.frame:
            pairs = enumerate(zip(built, packet.frame, strict=False))
            differing = (offset for offset, (ours, theirs) in pairs if ours != theirs)
            where = next(differing, min(len(built), len(packet.frame)))
            self._disagree(
                frame.t,
                f"{len(built)} bytes, from byte {where} on {built[where : where + 8].hex()}",
                f"{recorded}, {len(packet.frame)} bytes, from byte {where} on "
                f"{packet.frame[where : where + 8].hex()}",
            )

    def _await(self, key: _Key, now: float) -> _Expected | None:
        """What the machine did to match something seen now: already, or by what is due."""
        queue = self.expected[key]
        while not queue and self.pending:
            self._apply(self.pending.popleft(), now)
        vhid = key[1]
        if not queue and vhid in self.armed:
            _armed, deadline = self.armed[vhid]
            if now >= deadline - self.tolerance.absolute:
                self._fire(vhid, now)
        return queue.popleft() if queue else None

    def _judge(self, expected: _Expected, seen: float, recorded: str, polled: float = 0.0) -> None:
        timer = expected.timer
        if timer is None:
            late, allowed = seen - expected.t, self.tolerance.reaction + polled
            predicted = f"at t = {expected.t:.6f}, up to {allowed:.3f} s late"
        else:
            timer = timer._replace(recorded=seen)
            self.timers.append(timer)
            # Of timers whose effect nobody could see the lateness has added up.
            steps = 1 + self.unseen.pop(timer.vhid, 0)
            late, allowed = timer.late, self._slack(timer.length) * steps + polled
            predicted = (
                f"a timer of {timer.length:.6f} s armed at t = {timer.armed:.6f}, "
                f"up to {allowed:.3f} s late"
            )
        if not -self.tolerance.absolute <= late <= allowed:
            self._disagree(seen, predicted, f"{recorded}, {late:.6f} s late")

    # -- what the node heard -----------------------------------------------------------------

    def _fire_crossed(self, frame: RecordedFrame) -> None:
        """Let go off what was due when the frame came, if the node acted as if it had not heard.

        A node that is late with a timer and early enough with its effect has crossed the frame.
        """
        for vhid, (_, deadline) in list(self.armed.items()):
            if deadline <= frame.t and self._seen_within(
                vhid, frame.t, frame.t + self.tolerance.absolute
            ):
                self._fire(vhid, frame.t)

    def _hear(self, frame: RecordedFrame) -> None:
        self._apply_pending()
        self._fire_crossed(frame)
        packet, ethernet = frame.packet, frame.ethernet
        reachable = self.up and self.link
        if self.node is None or not reachable or not self._on_this_side():
            return
        vlan = () if self.recorded.vlan is None else (self.recorded.vlan,)
        if ethernet.vlans != vlan:
            return
        if int(ethernet.destination[:2], 16) & 1:
            # A kernel joins the group of a family with the first virtual address of it.
            hosts = self.node.virtual_hosts(self.recorded.interface)
            if not any(packet.family in host.config.families for host in hosts):
                return
        elif not self.node.owns_mac(ethernet.destination):
            return
        datagram = DatagramReceived(
            self.recorded.interface,
            packet.source,
            packet.destination,
            packet.hop_limit,
            packet.payload,
        )
        self.cause = frame.t
        self._handle(datagram, frame.t)
        self._check_injected(frame)

    def _on_this_side(self) -> bool:
        """Whether the frames at hand are those that the node hears."""
        return self.wired or self.recorded.name in self.recording.far_nodes

    def _check_injected(self, frame: RecordedFrame) -> None:
        """An injected frame is taken, or dropped for its recorded reason."""
        if frame.injected is None:
            return
        recorded = frame.injected.values.get("dropped")
        last = self.dropped[-1] if self.dropped else None
        reason = str(last[2].reason) if last is not None and last[1] == frame.t else None
        if reason != recorded and (recorded is not None or frame.injected.values.get("valid")):
            what = frame.injected.values.get("description", "an injected frame")
            self._disagree(
                frame.t,
                f"{reason or 'taken'} (frame {frame.number}: {what})",
                recorded or "taken",
            )

    # -- the end -----------------------------------------------------------------------------

    def _finish(self) -> None:
        self._miss_all(self.recording.duration)
        if self.node is None:
            return
        recorded = self.recording.counters.get(self.recorded.name, {})
        counters = self.node.counters
        if any(_same(snapshot, recorded) for snapshot in (*self.snapshots, counters)):
            return
        for name, value in recorded.items():
            if name in counters and counters[name] != value:
                self._disagree(
                    self.recording.duration, f"{name} = {counters[name]}", f"{name} = {value}"
                )

    def _miss_timer(self, timer: TimerJudged) -> None:
        """The recorded node showed nothing of what this timer did."""
        for queue in self.expected.values():
            while queue and queue[-1].timer is timer:
                self._miss(queue.pop())

    def _miss_all(self, end: float) -> None:
        """Whatever is still expected was never seen; of the last moments that says nothing."""
        for (kind, *_), queue in self.expected.items():
            if kind == "transition" and self.polled and self._comes_back(queue):
                continue
            for expected in queue:
                if expected.t + self._slack(_LAST_MOMENTS) < end:
                    self._miss(expected)
        self.expected.clear()

    @staticmethod
    def _comes_back(queue: deque[_Expected]) -> bool:
        """Whether changes of state end where they began, which a poll does not see."""
        changes = [one.action for one in queue if isinstance(one.action, StateChanged)]
        return bool(changes) and changes[0].previous is changes[-1].current

    def _miss(self, expected: _Expected) -> None:
        action = expected.action
        if isinstance(action, StateChanged):
            reason = self.words.get(action.reason, str(action.reason))
            what = f"vhid {action.vhid} {action.previous} -> {action.current} ({reason})"
        else:
            what = (
                f"an advertisement of vhid {action.vhid} IPv{action.family} "
                f"advbase {action.advertisement.advbase} advskew {action.advertisement.advskew}"
            )
        self._disagree(expected.t, what, None)

    def _disagree(self, t: float, predicted: str | None, recorded: str | None) -> None:
        self.disagreements.append(Disagreement(self.recorded.name, t, predicted, recorded))


def _same(counters: Counters, recorded: dict[str, int]) -> bool:
    return all(counters.get(name, value) == value for name, value in recorded.items())


_COUNTERS_READ = 0.1
"""Counters were read about when the capture ended: what these last seconds brought may be in
them or not."""

_LAST_MOMENTS = 3.0
"""The length of a timer in seconds whose lateness may push it past the end of a recording."""

_AT_ONCE = {"boot", "halt", "wire", "sending", "shutdown"}
