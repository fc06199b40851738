"""A group of hosts that is checked: the states that it can be in, and what can happen in each.

Must not know which states were found, nor which are good to end in beyond "now". A host's local
states are few, a group's many. So what a host does in one of its states is asked of a real
`VirtualHost` once, on a copy of it, and kept; a state of the group is a tuple of small numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from operator import attrgetter
from typing import Any, NamedTuple

from carpproto.core.actions import Action, PacketDropped, SendAdvertisement, StateChanged
from carpproto.core.addresses import Address
from carpproto.core.advertisement import Advertisement
from carpproto.core.events import (
    AdvertisementReceived,
    InterfaceChanged,
    SettingChanged,
    State,
    TimerExpired,
)
from carpproto.core.virtual_host import TICKS, VirtualHost
from carpproto.simulation.checking_report import CRASHED, Host, Kind, Step, transition_words

# A host shows its earliest deadline only; a BACKUP of two families has two timers.
_timers = attrgetter("_advertise_at", "_hold_until", "_down_at")

DOWN = -1  # the number of the local state of a node that does not run

# The kinds of a move, as small numbers. TICK: time passes.
TICK, _FIRE, _DELIVER, _LOSE, _CRASH, _BOOT, _DEAFEN = range(7)
_KINDS = {
    _FIRE: Kind.FIRE,
    _DELIVER: Kind.DELIVER,
    _LOSE: Kind.LOSE,
    _CRASH: Kind.CRASH,
    _BOOT: Kind.BOOT,
    _DEAFEN: Kind.DEAFEN,
}

# Nodes by the number of their local state; (receiver, letter, age) of what is on its way, in
# order of receiver, sender, and sending; (receiver, family) that are not heard; faults left:
# losses, crashes, boots, deafenings.
World = tuple[
    tuple[int, ...],
    tuple[tuple[int, int, int], ...],
    tuple[tuple[int, int], ...],
    tuple[int, int, int, int],
]
# Kind, two numbers that say which, how much time passes, and what is then.
Move = tuple[int, int, int, int, World]


class Letter(NamedTuple):
    """An advertisement that somebody sent; those that differ by their counter are one."""

    sender: int
    family: int
    source: Address
    advertisement: Advertisement


class Local(NamedTuple):
    """A state of one host: a machine that is in it at ``now``, which is never changed."""

    machine: VirtualHost
    now: float
    due: int | None  # 1/256 s until the earliest timer
    master: bool


class Outcome(NamedTuple):
    """What a host did: its state afterwards, the letters that it sent, and why, in words."""

    number: int
    letters: tuple[int, ...]
    words: str


class Player:
    """One host: its local states by number, and what it did in them."""

    def __init__(
        self, position: int, host: Host, post: Post, machine: Callable[..., VirtualHost]
    ) -> None:
        self.position = position
        self.name: str = host.name
        self.sends: tuple[int, ...] = host.sends
        self.families: tuple[int, ...] = host.config.families
        self.post = post
        self.locals: list[Local] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._aged: dict[tuple[int, int], int] = {}
        self._fired: dict[int, Outcome] = {}
        self._heard: dict[tuple[int, int], Outcome] = {}
        playing = machine(
            host.config,
            profile=host.profile,
            interface="em0",
            addresses=host.addresses,
            # Far from what a host that counts on from one of them sends.
            counter=(position + 1) << 48,
        )
        for name, value in host.settings.items():
            playing.handle(SettingChanged(name, value), 0.0)
        self.preempt: bool = bool(host.settings.get("preempt", 0))
        self.demote_decides: bool = host.profile.demote_decides
        self.demote: int = playing.demote
        self.interval: int = playing.own_interval
        self.master_down: int = playing.master_down_interval
        playing.handle(InterfaceChanged("em0", True), 0.0)
        self.start: int = self._number(playing, 0.0)

    def takes_over_from(self, other: Player) -> bool:
        """Whether it would not leave the other one MASTER."""
        if self.demote != other.demote:
            decides = self.preempt or self.demote_decides
            return decides and self.demote < other.demote
        return self.preempt and self.interval < other.interval

    def after(self, number: int, ticks: int) -> int:
        """The state when nothing but time has passed."""
        key = number, ticks
        aged = self._aged.get(key)
        if aged is None:
            local = self.locals[number]
            aged = self._aged[key] = self._number(local.machine, local.now + ticks / TICKS)
        return aged

    def fires(self, number: int) -> Outcome:
        """What it does when its timer fires."""
        outcome = self._fired.get(number)
        if outcome is None:
            outcome = self._fired[number] = self._does(number, TimerExpired())
        return outcome

    def hears(self, number: int, letter: int) -> Outcome:
        """What it does when it hears an advertisement."""
        key = number, letter
        outcome = self._heard.get(key)
        if outcome is None:
            _, family, source, advertisement = self.post.letters[letter]
            event = AdvertisementReceived("em0", family, source, advertisement)
            outcome = self._heard[key] = self._does(number, event)
        return outcome

    def _does(self, number: int, event: TimerExpired | AdvertisementReceived) -> Outcome:
        local = self.locals[number]
        machine = copy(local.machine)
        actions = machine.handle(event, local.now)
        letters = tuple(
            self.post.number(self.position, action)
            for action in actions
            if isinstance(action, SendAdvertisement) and action.family in self.sends
        )
        return Outcome(self._number(machine, local.now), letters, _words(actions))

    def _number(self, machine: VirtualHost, now: float) -> int:
        advertise, hold, downs = _timers(machine)
        timers = (
            _ticks(advertise, now),
            _ticks(hold, now),
            *((family, _ticks(at, now)) for family, at in sorted(downs.items())),
        )
        key = (machine.state, timers)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.locals)
            due = _ticks(machine.deadline, now)
            master = machine.state is State.MASTER
            self.locals.append(Local(machine, now, due, master))
        return number


def _ticks(at: float | None, now: float) -> int | None:
    """How long until a time, in 1/256 s."""
    return None if at is None else round((at - now) * TICKS)


def _words(actions: Iterable[Action]) -> str:
    """What an operator would see of these actions."""
    words = [
        transition_words(action.previous, action.current, action.reason)
        if isinstance(action, StateChanged)
        else f"refused ({action.reason})"
        for action in actions
        if isinstance(action, (StateChanged, PacketDropped))
    ]
    if any(isinstance(action, SendAdvertisement) for action in actions):
        words.append("advertises")
    return ", ".join(words)


class Post:
    """The letters by number."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self._numbers: dict[tuple[int, ...], int] = {}

    def number(self, sender: int, action: SendAdvertisement) -> int:
        sent = action.advertisement
        key = sender, action.family, sent.advbase, sent.advskew, sent.demote
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.letters)
            self.letters.append(Letter(sender, action.family, action.source, sent))
        return number


class Group:
    """The hosts, and what can happen next."""

    def __init__(
        self,
        hosts: tuple[Host, ...],
        delay: int,
        late: int,
        boot_every: int,
        machine: Callable[..., VirtualHost],
    ) -> None:
        self.post: Post = Post()
        self.players: list[Player] = [
            Player(position, host, self.post, machine) for position, host in enumerate(hosts)
        ]
        self.delay = delay
        self.late = late
        self.boot_every = boot_every
        self.wrong_beside: list[list[int]] = [
            [other.position for other in self.players if other.takes_over_from(player)]
            for player in self.players
        ]

    def masters(self, world: World) -> list[int]:
        """Who is MASTER, by position."""
        return [
            position
            for position, number in enumerate(world[0])
            if number != DOWN and self.players[position].locals[number].master
        ]

    def good(self, world: World) -> bool:
        """Whether there is exactly one MASTER, the right one, or nobody who could be."""
        nodes = world[0]
        masters = self.masters(world)
        if len(masters) == 1:
            return all(nodes[other] == DOWN for other in self.wrong_beside[masters[0]])
        return not masters and all(number == DOWN for number in nodes)

    def moves(self, world: World) -> tuple[list[Move], list[Move]]:
        """What can happen next by itself, a move that lets time pass being last, and faults."""
        nodes, messages, deaf, left = world
        free: list[Move] = []
        soonest: int | None = None
        overdue = False
        waits = True  # whether time may pass
        for position, number in enumerate(nodes):
            if number == DOWN:
                continue
            due = self.players[position].locals[number].due
            if due is None:
                continue
            if due <= 0:
                overdue = True
                outcome = self.players[position].fires(number)
                free.append((_FIRE, position, 0, 0, self._done(world, position, outcome)))
                if due <= -self.late:
                    waits = False
            elif soonest is None or due < soonest:
                soonest = due
        for which, (receiver, letter, age) in enumerate(messages):
            outcome = self.players[receiver].hears(nodes[receiver], letter)
            rest = nodes, messages[:which] + messages[which + 1 :], deaf, left
            free.append((_DELIVER, which, 0, 0, self._done(rest, receiver, outcome)))
            if age >= self.delay:
                waits = False
        if waits and (soonest is not None or messages or overdue):
            ticks = 1 if messages or overdue or soonest is None else soonest
            if left[2] and DOWN in nodes:
                ticks = min(ticks, self.boot_every)
            aged = tuple(
                number if number == DOWN else self.players[position].after(number, ticks)
                for position, number in enumerate(nodes)
            )
            older = tuple((receiver, letter, age + ticks) for receiver, letter, age in messages)
            free.append((TICK, 0, 0, ticks, (aged, older, deaf, left)))
        return free, self._faults(world) if any(left) else []

    def _done(self, world: World, position: int, outcome: Outcome) -> World:
        """What is when a host has done something: its new state, and what it sent."""
        nodes, messages, deaf, left = world
        number, letters, _ = outcome
        if number != nodes[position]:
            nodes = (*nodes[:position], number, *nodes[position + 1 :])
        if letters:
            post = self.post.letters
            sent = [
                (receiver, letter, 0)
                for letter in letters
                for receiver, other in enumerate(nodes)
                if receiver != position and other != DOWN
                if post[letter].family in self.players[receiver].families
                if (receiver, post[letter].family) not in deaf
            ]
            # A stable sort keeps the order in which one sent to another.
            messages = tuple(
                sorted((*messages, *sent), key=lambda one: (one[0], post[one[1]].sender))
            )
        return nodes, messages, deaf, left

    def _faults(self, world: World) -> list[Move]:
        nodes, messages, deaf, (losses, crashes, boots, deafenings) = world
        found: list[Move] = []
        if losses:
            less = losses - 1, crashes, boots, deafenings
            for which, (_, _, age) in enumerate(messages):
                # One that is lost later is as good as lost at once.
                if not age:
                    rest = messages[:which] + messages[which + 1 :]
                    found.append((_LOSE, which, 0, 0, (nodes, rest, deaf, less)))
        for position, number in enumerate(nodes):
            others = nodes[:position], nodes[position + 1 :]
            if crashes and number != DOWN:
                less = losses, crashes - 1, boots, deafenings
                rest = tuple(message for message in messages if message[0] != position)
                crashed = (*others[0], DOWN, *others[1])
                found.append((_CRASH, position, 0, 0, (crashed, rest, deaf, less)))
            if boots and number == DOWN:
                less = losses, crashes, boots - 1, deafenings
                booted = (*others[0], self.players[position].start, *others[1])
                found.append((_BOOT, position, 0, 0, (booted, messages, deaf, less)))
            if deafenings and number != DOWN:
                less = losses, crashes, boots, deafenings - 1
                for family in self.players[position].families:
                    if (position, family) in deaf:
                        continue
                    rest = tuple(
                        message
                        for message in messages
                        if message[0] != position or self.post.letters[message[1]].family != family
                    )
                    more = tuple(sorted((*deaf, (position, family))))
                    found.append((_DEAFEN, position, family, 0, (nodes, rest, more, less)))
        return found

    # -- telling it ----------------------------------------------------------------------------

    def states(self, world: World) -> tuple[str, ...]:
        """The state of each host, in words."""
        return tuple(
            CRASHED if number == DOWN else str(player.locals[number].machine.state)
            for player, number in zip(self.players, world[0], strict=True)
        )

    def step(self, world: World, move: Move, at: int) -> Step:
        """A move, told as a step that begins at a time in 1/256 s."""
        kind, which, family, _, then = move
        nodes, messages, _, _ = world
        peer, nth = "", 0
        position = which
        if kind in (_DELIVER, _LOSE):
            position, letter, _ = messages[which]
            sender = self.post.letters[letter].sender
            peer = self.players[sender].name
            nth = sum(
                receiver == position and self.post.letters[other].sender == sender
                for receiver, other, _ in messages[:which]
            )
        player = self.players[position]
        name = player.name
        if kind == _FIRE:
            what = f"{name}'s timer: {player.fires(nodes[position]).words or 'nothing'}"
        elif kind in (_DELIVER, _LOSE):
            letter = messages[which][1]
            sent = self.post.letters[letter]
            advertisement = sent.advertisement
            family_words = f" over IPv{sent.family}" if len(player.families) > 1 else ""
            demote = f", demote {advertisement.demote}" if advertisement.demote else ""
            told = (
                f"{peer}'s advertisement ({advertisement.advbase} s + "
                f"{advertisement.advskew}/256 s{demote}){family_words}"
            )
            if kind == _LOSE:
                what = f"LOST: {told} to {name}"
            else:
                words = player.hears(nodes[position], letter).words
                what = f"{name} hears {told}" + (f": {words}" if words else "")
        elif kind == _DEAFEN:
            what = f"FAULT: {name} hears nothing over IPv{family} any more"
        else:
            what = f"FAULT: {name} {'crashes' if kind == _CRASH else 'boots'}"
        return Step(at, _KINDS[kind], name, peer, nth, family, what, self.states(then))
