"""One recorded node and the state machine in its place, kept in step.

Must not know of the other nodes' machines, nor how a report is printed.

A local event takes effect when the recorded node first showed an effect of it; a timer fires
when the recorded node's did. So an error in one step does not spill into the next, and each
timer is judged by itself: how late was it, against how long it was. Whatever the recorded node
did and the machine would not, or the other way round, is a `Disagreement`.
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
from carpproto.capture.report import Disagreement, Predicted, TimerJudged, Tolerance
from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.advertisement import decode, encode, pseudo_header
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import DecodeError, Reason
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
from carpproto.core.frame import Packet, build
from carpproto.core.node import Counters, Node
from carpproto.core.profile import (
    Profile,
)
from carpproto.core.virtual_host import TICKS, VirtualHost

_BROADCAST = "ff:ff:ff:ff:ff:ff"

_SCRIPTS = ("up_script_seconds", "down_script_seconds")

_HOLD = 3.0  # seconds that ucarp stays out of it after USR2
_AWAKE = 0.001

_UCARP_CHECKS: dict[str | None, str] = {
    "ttl": "badttl",
    "version": "badver",
    "vhid": "badvhid",
    "checksum": "badsum",
    "digest": "badauth",
    "size": "badlen",
    "group": "badif",
    "own source": "loop",
}
"""UCarp's checks, which have no counters, by the counter of a kernel."""

_WAKING = 0.3
"""Seconds that a process may take besides to look at what it received."""

_COUNTERS_READ = 0.1
"""Counters were read about when the capture ended: what these last seconds brought may be in
them or not."""

_LAST_MOMENTS = 3.0
"""The length of a timer in seconds whose lateness may push it past the end of a recording."""

_AT_ONCE = {"boot", "halt", "wire", "sending", "shutdown"}


class _Drawn(int):
    """A counter that the machine drew: in reality random, so any recorded one will do."""


class _Expected(NamedTuple):
    """Something that the machine has done and the recorded node is to show.

    ``t`` is when that had to be: when a timer was due, a command given, a frame heard.
    """

    t: float
    timer: TimerJudged | None
    action: StateChanged | SendAdvertisement
    allowed: float
    config: VirtualHostConfig | None = None


_Key = tuple[str, int, int]  # what, vhid, family (0: a transition)


class Lockstep:
    """A recorded node's configuration and input, and a `Node` that is given them."""

    def __init__(
        self,
        recording: Recording,
        recorded: RecordedNode,
        frames: tuple[RecordedFrame, ...],
        profile: Profile,
        tolerance: Tolerance,
    ) -> None:
        self.recording = recording
        self.recorded = recorded
        self.profile = profile
        self.tolerance = tolerance
        self.words: dict[Reason, str | None] = dict(profile.words)
        self.polled: bool = recording.polled_every is not None
        # Where nobody could look, the list is empty; a kernel's log is never.
        self.reported: bool = recording.profile == "freebsd" or bool(recording.transitions)
        # UCarp is a process on a machine that runs already.
        self.process: bool = recording.profile == "ucarp"
        self.frames = frames
        self.heard: dict[int, float] = self._heard()
        self.shown: dict[tuple[str, int], list[float]] = self._shown()

        # The node as it is now: None while it is not there.
        self.node: Node | None = None
        self.up: bool = False
        self.link: bool = True
        self.wired: bool = True
        self.sending_fails: bool = False
        self.settings: dict[str, Any] = {}
        self.listens_from: float = 0.0
        # By vhid: when its timer was armed, when it is due; how many went off unseen.
        self.armed: dict[int, tuple[float, float]] = {}
        self.unseen: defaultdict[int, int] = defaultdict(int)
        # What was given to the node and has had no effect yet; what the machine did and the
        # recorded node is still to show; why it did it, and how late that may be shown.
        self.pending: deque[RecordedEvent | RecordedFrame] = deque()
        self.expected: defaultdict[_Key, deque[_Expected]] = defaultdict(deque)
        self.cause: float = 0.0
        self.allowed: float = 0.0

        # What came of it.
        self.transitions: list[Predicted] = []
        self.advertisements: int = 0
        self.timers: list[TimerJudged] = []
        self.dropped: list[tuple[str, float, PacketDropped]] = []
        self.announced: list[tuple[str, float, AnnounceAddresses]] = []
        self.snapshots: list[Counters] = []
        self.disagreements: list[Disagreement] = []

    def run(self) -> Lockstep:
        """Go through all that happened to the node and was seen of it; returns itself."""
        for t, item in self._script():
            self._apply_overdue(t)
            if isinstance(item, RecordedEvent):
                self._note_reach(item)
                if item.kind in _AT_ONCE:
                    self._apply_pending()
                    self._apply(item, item.t)
                else:
                    self.pending.append(item)
            elif isinstance(item, RecordedTransition):
                self._see_transition(item)
            elif item.sender == self.recorded.name:
                self._see_advertisement(item)
            elif not self.process:
                self._apply_pending()
                self._hear(item, item.t)
            elif not self.heard:
                self.pending.append(item)  # it is taken up some time later
            elif item.number in self.heard:
                self._apply_pending()
                self._hear(item, t)
        self._apply_pending()
        self._apply_overdue(self.recording.duration - self._slack(_LAST_MOMENTS))
        self._finish()
        return self

    def _script(self) -> list[tuple[float, RecordedEvent | RecordedTransition | RecordedFrame]]:
        """Everything that happened to the node or was seen of it, in order of time."""
        name = self.recorded.name
        script: list[tuple[float, RecordedEvent | RecordedTransition | RecordedFrame]] = []
        script += [(event.t, event) for event in self.recording.events if event.node == name]
        script += [(self.heard.get(frame.number, frame.t), frame) for frame in self.frames]
        script += [(seen.t, seen) for seen in self.recording.transitions if seen.node == name]
        script.sort(key=lambda entry: entry[0])
        return script

    def _heard(self) -> dict[int, float]:
        """When the node took up frames that waited for it, by their number."""
        waiting = [
            frame
            for frame in self.frames
            if frame.sender != self.recorded.name and self._present(frame.t)
        ]
        blocked = (
            event.values["value"] or 0.0
            for event in self.recording.events
            if event.kind == "setting" and event.values["name"] in _SCRIPTS
        )
        longest = self.tolerance.receives + _WAKING + max(blocked, default=0.0)
        heard: dict[int, float] = {}
        for t in self.recording.heard.get(self.recorded.name, ()):
            # What is older than any frame can wait was never taken up.
            while waiting and waiting[0].t + longest < t:
                waiting.pop(0)
            if waiting and waiting[0].t <= t:
                heard[waiting.pop(0).number] = t
        return heard

    def _present(self, t: float) -> bool:
        """Whether the node was there at a time, with a link."""
        there, linked = False, True
        for event in self.recording.events:
            if event.node == self.recorded.name and event.t <= t:
                if event.kind in ("boot", "halt", "shutdown"):
                    there = event.kind == "boot" and self._listens_from(event.t) <= t
                elif event.kind == "link":
                    linked = event.values["up"]
        return there and linked

    def _listens_from(self, booted: float) -> float:
        """When a process that was started began to listen: its first report says so."""
        reports = (
            seen.t
            for seen in self.recording.transitions
            if seen.node == self.recorded.name and seen.t >= booted
        )
        return next(reports, booted)

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

    def _note_reach(self, recorded: RecordedEvent) -> None:
        """Whether frames reach the node is so at once, whenever it notices."""
        values = recorded.values
        if "interface" not in values and values.get("vhid") is None:
            if recorded.kind == "interface":
                self.up = values["up"]
            elif recorded.kind == "link":
                self.link = values["up"]

    def _apply_pending(self) -> None:
        while self.pending:
            self._apply(self.pending[0], self.pending.popleft().t)

    def _apply(self, recorded: RecordedEvent | RecordedFrame, now: float) -> None:
        if isinstance(recorded, RecordedFrame):
            self._hear(recorded, now)
            return
        kind, values = recorded.kind, recorded.values
        self.cause, self.allowed = recorded.t, self._reaction(recorded)
        if kind == "boot":
            self._gone(now)
            self._boot(now)
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
            if kind == "setting":
                self.settings[values["name"]] = values.get("value")
            for event in self._events(self.node, interface, recorded):
                self._handle(event, now)
            if kind == "shutdown":
                self._gone(now)

    def _boot(self, now: float) -> None:
        self.node = Node(profile=self.profile, counter=lambda: _Drawn(0))
        own, mac = self.recorded.interface, self.recorded.mac
        # A kernel gives an interface its link-local address when it comes up; a process finds
        # its interface up, with all addresses.
        addresses = [
            address
            for address in self.recorded.advertises_from.values()
            if self.process or address.is_link_local
        ]
        self.node.add_interface(own, mac=mac, addresses=addresses)
        others = dict(self.recorded.other_interfaces)
        for event in self.recording.events:
            if event.node == self.recorded.name and event.values.get("interface"):
                others.setdefault(event.values["interface"], mac)  # a VLAN's parent, say
        for other, others_mac in others.items():
            if other != own:
                self.node.add_interface(other, mac=others_mac)
        self.up, self.link = self.process, True
        self.unseen.clear()
        self.settings = {}
        self.listens_from = self._listens_from(now)
        if self.process:
            self._handle(InterfaceChanged(own, True), now)

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
        elif kind == "link" and not self.settings.get("ignore_interface_state"):
            yield LinkChanged(interface, values["up"], vhid)
        elif kind == "signal":
            for host in node.virtual_hosts():
                if values["signal"] == "USR2" and host.state is State.MASTER:
                    yield StateRequested(interface, host.config.vhid, State.BACKUP, _HOLD)
                elif host.holding:
                    # Any signal cuts the sleep short that follows upon USR2.
                    yield StateRequested(interface, host.config.vhid, State.BACKUP, _AWAKE)
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
                    vhid=vhid,
                    key=key,
                    advbase=values["advbase"],
                    advskew=values["advskew"],
                    peer=self.settings.get("multicast_address"),
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
        outcomes: list[SendFailed | SendSucceeded] = []
        for action in actions:
            if isinstance(action, SendAdvertisement):
                config = self.node.virtual_host(action.interface, action.vhid).config
                on_the_wire = action.interface == self.recorded.interface
                if on_the_wire and self._on_this_side() and not self.sending_fails:
                    key = ("advertisement", action.vhid, action.family)
                    self.expected[key].append(
                        _Expected(self.cause, timer, action, self.allowed, config)
                    )
                outcomes.append(
                    SendFailed(action.interface, action.vhid, 0)
                    if self.sending_fails
                    else SendSucceeded(action.interface, action.vhid)
                )
            elif isinstance(action, StateChanged):
                if self.reported and action.reason not in self.profile.unlogged:
                    key = ("transition", action.vhid, 0)
                    self.expected[key].append(_Expected(self.cause, timer, action, self.allowed))
            elif isinstance(action, PacketDropped):
                self.dropped.append((self.recorded.name, now, action))
            elif isinstance(action, AnnounceAddresses):
                self.announced.append((self.recorded.name, now, action))
        # As every caller should: what a batch came to is told when all of it is performed.
        for outcome in outcomes:
            self._perform(self.node.handle(outcome, now), now, None)

    def _fire(self, vhid: int, now: float) -> TimerJudged:
        """Let a virtual host's timer go off, as the recorded one did at ``now``."""
        armed, deadline = self.armed[vhid]
        length = deadline - armed
        # Of timers whose effect nobody could see the lateness has added up.
        allowed = self._slack(length, vhid) * (1 + self.unseen[vhid])
        timer = TimerJudged(self.recorded.name, vhid, armed, length, now, allowed)
        event = TimerExpired(self._host(vhid).interface, vhid)
        self.cause = deadline
        self._handle(event, max(now, deadline), timer)
        return timer

    def _apply_overdue(self, now: float) -> None:
        """What the machine did by now, whether the recorded node showed it or not."""
        while self.pending and self.pending[0].t + self._reaction(self.pending[0]) < now:
            self._apply(self.pending[0], self.pending.popleft().t)
        while self._fire_overdue(now):
            pass

    def _fire_overdue(self, now: float) -> bool:
        """Let go off what the recorded node should have shown by now; whether anything did."""
        fired = False
        for vhid, (armed, deadline) in list(self.armed.items()):
            if self._host(vhid).holding and deadline <= now:
                self._fire(vhid, deadline)
                fired = True
                continue
            on_the_wire = self._host(vhid).interface == self.recorded.interface
            if not (on_the_wire and self._on_this_side()):
                if deadline < now and self._host(vhid).state is State.MASTER:
                    self.unseen[vhid] += 1
                    self._miss_timer(self._fire(vhid, deadline))
                    fired = True
                    continue
            slack = self._slack(deadline - armed, vhid) * (1 + self.unseen[vhid])
            # One that goes off later still is judged when it is seen.
            if deadline + slack < now and not self._seen_within(
                vhid, deadline, deadline + 3 * slack
            ):
                self._miss_timer(self._fire(vhid, deadline))
                fired = True
        return fired

    def _host(self, vhid: int) -> VirtualHost:
        """The virtual host of a vhid, which no two interfaces of a recorded node share."""
        assert self.node is not None
        return next(host for host in self.node.virtual_hosts() if host.config.vhid == vhid)

    def _seen_within(self, vhid: int, start: float, end: float) -> bool:
        """Whether the recorded node showed the effect of a timer between two times."""
        kind = "timeout" if self._host(vhid).state is State.BACKUP else "advertisement"
        times = self.shown.get((kind, vhid), [])
        position = bisect_left(times, start)
        return position < len(times) and times[position] <= end

    def _reaction(self, cause: RecordedEvent | RecordedFrame) -> float:
        """How long the node may take over a command or a frame."""
        allowed = self.tolerance.reaction + self._blocked()
        if isinstance(cause, RecordedFrame):
            return allowed + (0.0 if self.heard else self.tolerance.receives)
        if cause.kind == "link":
            # Lost carrier is noticed with the next advertisement, its return every 10 s.
            return allowed + self.tolerance.receives * (10.0 if cause.values["up"] else 1.0)
        return allowed

    def _blocked(self) -> float:
        """How long scripts keep the process from all else, at the most."""
        return max(self.settings.get(name) or 0.0 for name in _SCRIPTS)

    def _slack(self, length: float, vhid: int | None = None) -> float:
        """How late a timer of this length may be; of a BACKUP's, how late it is looked at too."""
        slack = self.tolerance.relative * length + self.tolerance.absolute
        if vhid is not None and self.tolerance.polls:
            host = self._host(vhid)
            if host.state is State.BACKUP:
                slack += self.tolerance.polls * host.own_interval / TICKS
                slack += 0.0 if self.heard else self.tolerance.receives
            slack += self._blocked()
        return slack

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
            covered = self._covered(packet)
            advertisement = decode(packet.payload, pseudo_header=covered)
        except DecodeError as error:
            self._disagree(
                frame.t, None, f"frame {frame.number}, which is no advertisement: {error}"
            )
            return
        self._hear_before(advertisement.counter, frame.t)
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

    def _covered(self, sent: Packet | SendAdvertisement) -> bytes:
        """What the checksum of an advertisement covers besides."""
        if self.profile.pseudo_header and sent.family == 6:
            return pseudo_header(sent.source, sent.destination)
        return b""

    def _hear_before(self, counter: int, now: float) -> None:
        """Take up the frame that waits, and those before it, whose counter is the one before."""
        learnt = ((counter - 1) % (1 << 64)).to_bytes(8, "big")
        for position, waiting in enumerate(self.pending):
            if isinstance(waiting, RecordedFrame) and waiting.packet.payload[8:16] == learnt:
                for _ in range(position + 1):
                    self._apply(self.pending.popleft(), now)
                return

    def _compare_bytes(
        self, frame: RecordedFrame, expected: _Expected, counter: int, recorded: str
    ) -> None:
        """The whole frame, as the library would send it, beside the recorded one."""
        action = expected.action
        assert isinstance(action, SendAdvertisement) and expected.config is not None
        authenticator = expected.config.authenticator(self.profile)
        signed = authenticator.sign(action.advertisement._replace(counter=counter))
        packet = frame.packet
        built = build(
            encode(signed, pseudo_header=self._covered(action)),
            source=action.source,
            destination=action.destination,
            source_mac=action.source_mac,
            destination_mac=_BROADCAST if self.settings.get("no_multicast") else None,
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
        kind, vhid, _ = key
        if not queue and kind == "advertisement" and vhid in self.armed:
            if self.armed[vhid][1] <= now and self._host(vhid).state is State.MASTER:
                self._fire(vhid, now)
        while not queue and self.pending:
            self._apply(self.pending.popleft(), now)
        if not queue and vhid in self.armed:
            if now >= self.armed[vhid][1] - self.tolerance.absolute:
                self._fire(vhid, now)
        return queue.popleft() if queue else None

    def _judge(self, expected: _Expected, seen: float, recorded: str, polled: float = 0.0) -> None:
        timer = expected.timer
        if timer is None:
            late, allowed = seen - expected.t, expected.allowed + polled
            predicted = f"at t = {expected.t:.6f}, up to {allowed:.3f} s late"
        else:
            timer = timer._replace(recorded=seen)
            self.timers.append(timer)
            self.unseen.pop(timer.vhid, None)
            late, allowed = timer.late, timer.allowed + polled
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

    def _hear(self, frame: RecordedFrame, now: float) -> None:
        self._fire_crossed(frame)
        packet, ethernet = frame.packet, frame.ethernet
        if self.node is None or not self.up or not self._on_this_side():
            return
        if self.process and frame.t < self.listens_from:
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
        self.cause = self.heard.get(frame.number, frame.t)
        self.allowed = self._reaction(frame)
        self._handle(datagram, now)
        self._check_injected(frame, now)

    def _on_this_side(self) -> bool:
        """Whether the frames at hand are those that the node hears and sends."""
        return self.link and (self.wired or self.recorded.name in self.recording.far_nodes)

    def _check_injected(self, frame: RecordedFrame, now: float) -> None:
        """An injected frame is taken, or dropped for its recorded reason."""
        if frame.injected is None:
            return
        recorded = frame.injected.values.get("dropped")
        last = self.dropped[-1] if self.dropped else None
        reason = str(last[2].reason) if last is not None and last[1] == now else None
        recorded = _UCARP_CHECKS.get(recorded, recorded)
        if reason != recorded and (recorded is not None or frame.injected.values.get("valid")):
            what = frame.injected.values.get("description", "an injected frame")
            self._disagree(
                self.cause,
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
