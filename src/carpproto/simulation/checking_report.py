"""What an exhaustive check is asked and what it answers: hosts, steps, results, and replays.

Must not know how the search goes; that is `carpproto.simulation.checking`. A counterexample is a
tuple of `Step`. `Replay` does the same steps with a `Cluster`: whole nodes, encoded frames,
verified HMACs, and the same end or the check is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from carpproto.core.addresses import Address, AddressLike
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, Reason, shown
from carpproto.core.events import DatagramReceived, SettingChanged, TimerExpired
from carpproto.core.frame import peel
from carpproto.core.profile import Profile, check_profile
from carpproto.core.virtual_host import TICKS
from carpproto.simulation.cluster import Cluster

NO_SETTINGS: Mapping[str, int] = MappingProxyType({})

CRASHED = "crashed"
"""How a step shows a node that does not run, beside INIT, BACKUP and MASTER."""

LONGEST_SHOWN = 8
"""Steps of what repeats that are shown at the most."""


class Host(NamedTuple):
    """One host of a group that is checked.

    ``settings`` are as in `SettingChanged`: preempt, demotion, dead_ratio. ``name`` is a, b, c
    by position unless given. ``addresses`` are its own ones, by default 192.0.2.1 and fe80::1,
    192.0.2.2 and fe80::2, and so on. ``sends`` are the families whose advertisements reach the
    wire; leave one out for a host that keeps a timer of a family in which nobody advertises.
    """

    profile: Profile
    config: VirtualHostConfig
    settings: Mapping[str, int] = NO_SETTINGS
    name: str = ""
    addresses: tuple[AddressLike, ...] = ()
    sends: tuple[int, ...] = (4, 6)


def named_hosts(hosts: Sequence[Host | tuple[Any, ...]]) -> tuple[Host, ...]:
    """The hosts with every name and address filled in; `ConfigError` for what cannot be."""
    named: list[Host] = []
    if isinstance(hosts, Host) or not isinstance(cast(object, hosts), Sequence):
        raise ConfigError(f"{shown(hosts)} are no hosts; give a list of Host")
    for number, given in enumerate(hosts, 1):
        try:
            host = given if isinstance(given, Host) else Host(*given)
        except TypeError:
            raise ConfigError(
                f"{shown(given)} is no host; give Host(profile, configuration, settings)"
            ) from None
        check_profile(host.profile)
        if not isinstance(host.config, VirtualHostConfig):
            raise ConfigError(f"{shown(host.config)} is no VirtualHostConfig")
        if host.config.peer or host.config.peer6:
            raise ConfigError("a unicast peer cannot be checked; everybody hears everybody here")
        named.append(
            host._replace(
                name=host.name or "abcdefgh"[number - 1 : number] or f"n{number}",
                addresses=host.addresses or (f"192.0.2.{number}", f"fe80::{number:x}"),
            )
        )
    names = [host.name for host in named]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"the hosts' names are {names}; give one host or more, named each")
    return tuple(named)


class Verdict(Enum):
    """What came of a check, worse ones later."""

    HOLDS = "holds"
    UNDECIDED = "not decided: more states than the limit"
    LATE = "longer than the bound"
    UNSTABLE = "without a fault"
    RECURRENT = "as long as the timing repeats itself"
    PERMANENT = "for ever, whatever the timing"


class Kind(Enum):
    """What happens in a step."""

    START = "start"
    FIRE = "fire"
    DELIVER = "deliver"
    LOSE = "lose"
    CRASH = "crash"
    BOOT = "boot"
    DEAFEN = "deafen"


class Step(NamedTuple):
    """One thing that happens: ``node`` fires a timer, hears ``peer``, crashes, ...

    ``ticks`` is when, in 1/256 s since the start. ``nth`` tells which of the advertisements that
    are on their way from ``peer`` to ``node``, 0 being the first sent. ``family`` is whose
    advertisements are not heard any more. ``what`` says it in words, ``states`` are those of all
    nodes afterwards.
    """

    ticks: int
    kind: Kind
    node: str
    peer: str
    nth: int
    family: int
    what: str
    states: tuple[str, ...]

    @property
    def at(self) -> float:
        """When, in seconds since the start."""
        return self.ticks / TICKS

    def __str__(self) -> str:
        states = "  ".join(f"{state:<7}" for state in self.states)
        return f"{self.at:10.4f}  {states}  {self.what}"


class Checked(NamedTuple):
    """The answer of a check.

    ``states`` were found, ``settles`` is the longest time in seconds, over all of them and all
    that can happen without a further fault, until one right MASTER is there to stay; None if
    there is none such. ``what`` says in a few words what is wrong, ``steps`` lead there, and from
    ``steps[repeats:]`` on it repeats every ``period`` seconds, unless ``repeats`` is None.
    ``bounds`` are those of the check.

    As text it is "holds, N states (...)", or what is wrong and the steps.
    """

    verdict: Verdict
    hosts: tuple[Host, ...]
    bounds: str
    states: int
    settles: float | None = None
    what: str = ""
    steps: tuple[Step, ...] = ()
    repeats: int | None = None
    period: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every property does."""
        return self.verdict is Verdict.HOLDS

    def __str__(self) -> str:
        if self.settles is not None and self.holds:
            settles = f"one right MASTER {self.settles:.4g} s after the last fault; "
            return f"holds, {self.states} states ({settles}{self.bounds})"
        states = f"{self.states} states ({self.bounds})"
        if self.verdict is Verdict.UNDECIDED:
            return f"{self.verdict.value}, {states}"
        head = f"{'seconds':>10}  " + "  ".join(f"{host.name:<7}" for host in self.hosts)
        repeats = len(self.steps) if self.repeats is None else self.repeats
        lines = [f"{self.what}, {self.verdict.value}; {states}", head]
        lines += map(str, self.steps[:repeats])
        if self.repeats is not None:
            again = self.steps[repeats:]
            if again:
                every = f"every {self.period:.4g} s"
                lines.append(f"{'':10}  and from here on again and again, {every}:")
            else:
                lines.append(f"{'':10}  and nothing happens any more")
            lines += map(str, again[:LONGEST_SHOWN])
            if len(again) > LONGEST_SHOWN:
                lines.append(f"{'':10}  ... {len(again) - LONGEST_SHOWN} steps more")
        return "\n".join(line.rstrip() for line in lines)

    def replay(self) -> Replay:
        """The steps done again by whole nodes in a `Cluster`; `ReplayError` if they differ."""
        replay = Replay(self.hosts)
        for step in self.steps:
            replay.step(step)
        return replay

    def script(self) -> str:
        """Lines of Python that do the steps with a `Replay`; a comment where there are none.

        They take ``hosts`` from around them, those that were checked: no secret is in them.
        """
        if not self.steps:
            return f"# {self.verdict.value}: there is nothing to do again\n"
        lines = [
            f"# {self.what}, {self.verdict.value}; hosts are those that check() was given",
            f"from {__name__} import Replay",
            "",
            "replay = Replay(hosts)",
        ]
        for step in self.steps:
            if step.kind is Kind.START:
                continue
            arguments = [repr(step.at), repr(step.node)]
            if step.peer:
                arguments.append(repr(step.peer))
            if step.nth:
                arguments.append(f"nth={step.nth}")
            if step.family:
                arguments.append(f"family={step.family}")
            lines.append(f"replay.{step.kind.value}({', '.join(arguments)})")
        last = tuple(self.steps[-1].states)
        lines.append(f"assert replay.states == {last!r}")
        return "\n".join(lines) + "\n"


class ReplayError(Exception):
    """A replay did not go as the steps say: the check, or the simulator, is wrong."""


class Replay:
    """A `Cluster` in which nothing happens by itself: each step says what does, and when.

    Each node is on a wire of its own and stands still, so that its timers fire when they are
    told to, and what it sends arrives when it is told to. Times are in seconds from the start,
    and never go back. Raises `ReplayError` for a step that cannot be done.
    """

    def __init__(self, hosts: Sequence[Host | tuple[Any, ...]]) -> None:
        self.hosts: tuple[Host, ...] = named_hosts(hosts)
        self.cluster: Cluster = Cluster()
        self._on_the_way: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        self._deaf: set[tuple[str, int]] = set()
        for host in self.hosts:
            wire = f"wire of {host.name}"
            self.cluster.add_segment(wire).taps.append(self._sent)
            self.cluster.add_node(
                host.name,
                host.config,
                profile=host.profile,
                interfaces={"em0": wire},
                addresses={"em0": host.addresses},
                settings=host.settings,
            )
            self._stand_still(host.name)

    @property
    def states(self) -> tuple[str, ...]:
        """The state of each node, `CRASHED` where it does not run."""
        found: list[str] = []
        for host in self.hosts:
            node = self.cluster.nodes[host.name].node
            states = [one.state for one in node.virtual_hosts()] if node else [CRASHED]
            found.append(str(states[0]))
        return tuple(found)

    def step(self, step: Step) -> None:
        """Do a step of a counterexample, and compare what came of it."""
        arguments: dict[Kind, tuple[Any, ...]] = {
            Kind.DELIVER: (step.peer, step.nth),
            Kind.LOSE: (step.peer, step.nth),
            Kind.DEAFEN: (step.family,),
        }
        if step.kind is not Kind.START:
            do = getattr(self, step.kind.value)
            do(step.at, step.node, *arguments.get(step.kind, ()))
        if self.states != step.states:
            raise ReplayError(f"{step}: the replay has {self.states}")

    def fire(self, at: float, node: str) -> None:
        """Let a node's earliest timer fire; it has to be due."""
        self.cluster.run(at)
        playing = self.cluster.nodes[node].node
        if playing is None or playing.deadline is None or playing.deadline > at:
            raise ReplayError(f"at {at} no timer of {node} is due")
        self.cluster.handle(node, TimerExpired())

    def deliver(self, at: float, node: str, peer: str, nth: int = 0) -> None:
        """Let a node hear an advertisement from a peer: the first sent, or the nth after it."""
        self.cluster.run(at)
        source, destination, hop_limit, payload = self._take(node, peer, nth)
        self.cluster.handle(node, DatagramReceived("em0", source, destination, hop_limit, payload))

    def lose(self, at: float, node: str, peer: str, nth: int = 0) -> None:
        """Let an advertisement from a peer never reach a node."""
        self.cluster.run(at)
        self._take(node, peer, nth)

    def crash(self, at: float, node: str) -> None:
        """Stop a node at once; what is on its way to it is lost."""
        self.cluster.run(at)
        self.cluster.crash(node)
        for way in self._on_the_way:
            if way[1] == node:
                self._on_the_way[way] = []

    def boot(self, at: float, node: str) -> None:
        """Start a node that was crashed."""
        self.cluster.run(at)
        self.cluster.boot(node)
        self._stand_still(node)

    def deafen(self, at: float, node: str, family: int) -> None:
        """Let a node hear nothing of a family any more."""
        self.cluster.run(at)
        self._deaf.add((node, family))
        for way, waiting in self._on_the_way.items():
            if way[1] == node:
                waiting[:] = [datagram for datagram in waiting if _family(datagram[0]) != family]

    def _stand_still(self, name: str) -> None:
        self.cluster.stall(name)
        # It has armed its timers already; whatever it handles now takes them back.
        self.cluster.handle(name, SettingChanged("log", 1))

    def _sent(self, now: float, sender: str, frame: bytes) -> None:
        packet = peel(frame)
        if packet is None:
            return
        family = _family(packet.source)
        sends = next(host.sends for host in self.hosts if host.name == sender)
        for host in self.hosts:
            name = host.name
            if name == sender or family not in sends or (name, family) in self._deaf:
                continue
            if name in self.cluster.nodes and self.cluster.nodes[name].node is not None:
                self._on_the_way.setdefault((sender, name), []).append(
                    (packet.source, packet.destination, packet.hop_limit, packet.payload)
                )

    def _take(self, node: str, peer: str, nth: int) -> tuple[Any, ...]:
        waiting = self._on_the_way.get((peer, node), [])
        if not 0 <= nth < len(waiting):
            raise ReplayError(
                f"{len(waiting)} advertisements are on their way from {peer} to {node}, "
                f"so none is number {nth}"
            )
        return waiting.pop(nth)


def _family(address: Address) -> int:
    return address.version


def transition_words(previous: str, current: str, reason: Reason | str) -> str:
    """A change of state, as the kernels log it."""
    return f"{previous} -> {current} ({reason})"


def joined(words: Iterable[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last
