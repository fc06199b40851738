"""What ``carpproto run`` does while it runs: signals, scripts, the log, its state on request.

Decides nothing of the protocol. The node says what happens; this module tells people, runs their
scripts beside the runner, and turns the operator's signals into events.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import shlex
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, cast

from carpproto.adapters import interfaces
from carpproto.adapters.link import watch
from carpproto.adapters.runner import Runner
from carpproto.adapters.scripts import SUPERSEDED, Result, Scripts
from carpproto.adapters.transport import Kind, PrivilegeError, groups_of, open_transport
from carpproto.cli.run_check import check_interfaces, own_mac
from carpproto.cli.run_daemon import daemonize
from carpproto.cli.run_hints import Hints
from carpproto.cli.run_log import Log, Seldom
from carpproto.cli.run_parting import parting_words
from carpproto.cli.run_scripts import Command, commands, is_up_or_down
from carpproto.cli.run_setup import Setup, at, make_node
from carpproto.cli.run_state import ControlSocket, Entered, snapshot
from carpproto.cli.text import refuse, warn
from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    DemotionChanged,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
    explain,
)
from carpproto.core.addresses import Address, parse_address
from carpproto.core.errors import CarpError, ConfigError, Reason
from carpproto.core.events import Shutdown, State, StateRequested
from carpproto.core.node import Node

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
HOLD = 3.0
"""Seconds for which a host that was asked to step down keeps out of it, as with ucarp."""


def serve(setup: Setup) -> int:
    """Take part until a signal ends it; returns the exit status."""

    def work(ready: Callable[[], None]) -> int:
        with ExitStack() as stack:
            try:
                service = Service(setup, stack)
            except (CarpError, OSError) as error:
                refuse(error)
                usage = isinstance(error, CarpError) and not isinstance(error, PrivilegeError)
                return 2 if usage else 1
            for text in warnings:
                warn(text)
            ready()
            return service.run()

    # What does not fit the interfaces is refused here, as bad usage.
    warnings = (*setup.warnings, *check_interfaces(setup, all_interfaces()))
    if setup.daemonize:
        return daemonize(work)
    return work(lambda: None)


def all_interfaces() -> dict[str, interfaces.InterfaceState]:
    """Every interface that this machine has now."""
    found = (interfaces.look(name) for name in interfaces.names())
    return {state.name: state for state in found if not isinstance(state, interfaces.Gone)}


def node_of(setup: Setup) -> Node:
    """The node, with the interfaces as they are now."""
    found = {name: interfaces.read(name) for name in setup.interfaces}
    return make_node(
        setup,
        {
            name: (own_mac(state), [parse_address(address) for address in state.addresses])
            for name, state in found.items()
        },
    )


def first_usable_interface() -> str:
    """The first interface that is up and has an address beyond this machine's own."""
    for name in interfaces.names():
        state = interfaces.read(name)
        if state.up and any(not address.is_loopback for address in state.addresses):
            return name
    known = ", ".join(interfaces.names()) or "none"
    raise ConfigError(f"no interface is up and has an address, of: {known}; give one with -i")


class Service:
    """One running process. What it opens is given back by ``stack``."""

    def __init__(self, setup: Setup, stack: ExitStack) -> None:
        self.setup: Setup = setup
        self.node: Node = node_of(setup)
        self._members = {(one.interface, one.config.vhid): one for one in setup.members}
        self._ending = False
        self._begun: set[tuple[str, int]] = set()
        self._announced: dict[tuple[str, int], AnnounceAddresses] = {}
        self._sent: dict[tuple[str, int], dict[int, SendAdvertisement]] = {}
        self._seldom = Seldom()
        self._log = Log(stderr=not setup.daemonize, facility=setup.facility, events=setup.json)
        stack.callback(self._log.close)
        self._hints = Hints(setup, self.node, self._log, self._seldom)
        transports = [
            stack.enter_context(
                closing(
                    open_transport(
                        name,
                        groups=groups_of(self.node, name),
                        kind=cast(Kind, setup.transport),
                        broadcast=setup.broadcast,
                        identification=self.node.profile.identification,
                    )
                )
            )
            for name in setup.interfaces
        ]
        links = None
        if not setup.ignore_link:
            links = stack.enter_context(closing(watch(setup.interfaces)))
        self._runner = Runner(
            self.node,
            transports,
            links=links,
            on_action=self._on_action,
            on_error=self._on_error,
            follow_addresses=not any(member.sources for member in setup.members),
        )
        stack.callback(self._runner.close)
        self._entered = dict.fromkeys(self._members, Entered(self._runner.clock()))
        self._control: ControlSocket | None = None
        if setup.control is not None:
            control = at(setup.control_place, partial(ControlSocket, setup.control))
            self._control = stack.enter_context(closing(control))
            self._runner.add_reader(self._control.fileno(), self._on_question)
        self._scripts = Scripts(timeout=setup.script_timeout, on_result=self._on_result)
        stack.callback(self._scripts.close, 0.0)
        self._runner.add_reader(self._scripts.fileno(), self._scripts.poll)
        self._due: deque[tuple[tuple[str, int], Command | None]] = deque()
        self._noted: set[int] = set()
        self._waker, self._signals = self._catch_signals(stack)
        self._runner.add_reader(self._signals.fileno(), self._on_signals)

    def run(self) -> int:
        """Take part until a signal ends it."""
        self._log.start()
        gc.freeze()  # a look at all that is here for good would take milliseconds
        try:
            self._log.info(f"taking part as {self.node.profile.name} does")
            self._runner.start()
            self._runner.run()
            self._finish()
        except (CarpError, OSError) as error:
            self._log.warning(f"cannot go on: {error}")
            return 1
        except Exception as error:
            self._log.warning(f"cannot go on, a fault: {type(error).__name__}: {error}")
            raise
        return 0

    # -- what the node says --------------------------------------------------------------------

    def _on_action(self, action: Action, now: float) -> None:
        if isinstance(action, StateChanged):
            self._on_state(action, now)
        elif isinstance(action, PacketDropped):
            self._on_dropped(action)
        elif isinstance(action, DemotionChanged):
            self._log.warning(explain(action))
            self._log.event(
                "demotion",
                delta=action.delta,
                total=action.total,
                reason=action.reason.value,
                interface=action.interface,
                vhid=action.vhid,
            )
        else:
            if isinstance(action, AnnounceAddresses):
                self._announced[action.interface, action.vhid] = action
            elif isinstance(action, SendAdvertisement):
                self._sent.setdefault((action.interface, action.vhid), {})[action.family] = action
                self._hints.on_advertisement(action)
            if self.setup.debug:
                self._log.debug(explain(action))

    def _on_state(self, change: StateChanged, now: float) -> None:
        key = change.interface, change.vhid
        self._entered[key] = Entered(now, change.reason)
        self._log.info(change.log_line())
        self._log.event(
            "state",
            interface=change.interface,
            vhid=change.vhid,
            **{"from": change.previous.value, "to": change.current.value},
            reason=change.reason.value,
            text=explain(change),
        )
        sent = self._sent.get(key, {}).values()
        config = self.node.virtual_host(*key).config
        for word in parting_words(self.node.profile, change, sent, config):
            self._say(word)
        if change.current is State.INIT and not self._ending:
            self._hints.on_init(change.interface)
        first = key not in self._begun
        self._begun.add(key)
        member = self._members[key]
        if State.MASTER in (change.previous, change.current):
            self._due.append((key, None))
        for command in commands(self.setup, member, change, first=first, ending=self._ending):
            self._due.append((key, command))
        if self._due:
            with contextlib.suppress(BlockingIOError):
                self._waker.send(b"\0")  # for when all of this moment is performed
        if self._ending and change.previous is State.MASTER and not self.setup.shutdown:
            if member.scripts.up is not None:
                self._log.warning(
                    f"vhid {change.vhid} on {change.interface}: its addresses stay on this host, "
                    "as --shutdown is not given"
                )

    def _say(self, word: SendAdvertisement) -> None:
        """Put an advertisement on the wire that is not of the node's own making."""
        try:
            self._runner.transports[word.interface].send(word)
        except OSError as error:
            self._on_error(error, word)

    def _on_dropped(self, dropped: PacketDropped) -> None:
        """Complain of a packet, but of all that are alike only once a minute.

        Other groups and VRRP share the protocol number; of them nobody wants to read.
        """
        if dropped.reason is Reason.BADVHID:
            self._hints.on_strange_vhid(dropped)
        if self.setup.debug:
            self._log.debug(explain(dropped))
        elif dropped.reason in (Reason.BADVHID, Reason.BADVER):
            return
        held = self._seldom.passes((dropped.interface, dropped.vhid, dropped.reason))
        if held is None:
            return
        text = explain(dropped)
        if not self.setup.debug:
            self._log.warning(text if not held else f"{text} And {held} more like it.")
        self._log.event(
            "dropped",
            interface=dropped.interface,
            vhid=dropped.vhid,
            reason=dropped.reason.value,
            source=str(dropped.source),
            more=held,
            text=text,
        )

    def _on_error(self, error: OSError, action: Action) -> None:
        what = "announce" if isinstance(action, AnnounceAddresses) else "advertise"
        where = f"vhid {action.vhid} on {action.interface}"
        if self._seldom.passes((where, what, error.errno)) is not None:
            self._log.warning(f"{where} cannot {what}: {error.strerror or error}")

    # -- scripts -------------------------------------------------------------------------------

    def _start_scripts(self) -> None:
        """Start what a change of state asked for; its advertisement is on its way by now."""
        while self._due:
            key, command = self._due.popleft()
            if command is None:  # of what still waits, the last command says what is so now
                self._scripts.drop(key, is_up_or_down)
                continue
            self._scripts.start(key, command.argv, {**os.environ, **command.environment})

    def _on_result(self, result: Result) -> None:
        """A script ended. Once the address is there, the neighbors are told again.

        ucarp announces after its up script, which it waits for; here the node has announced
        already, and whoever believed it found nobody until now.
        """
        interface, vhid = key = cast("tuple[str, int]", result.key)
        self._log.event(
            "script",
            interface=interface,
            vhid=vhid,
            argv=list(result.argv),
            status=result.status,
            seconds=round(result.seconds, 3),
        )
        if result.status == SUPERSEDED:
            self._log.info(
                f"vhid {vhid} on {interface}: {shlex.join(result.argv)}: not run, superseded"
            )
            return
        if result.status != 0:
            ended = result.status
            if isinstance(ended, int):
                ended = f"exit status {ended}" if ended > 0 else f"signal {-ended}"
            command = shlex.join(result.argv)
            self._log.warning(f"vhid {vhid} on {interface}: {command}: {ended}")
            return
        member = self._members[key]
        for shared in member.addresses:
            if result.argv[:3] == (member.scripts.up, interface, str(shared.address)):
                self._announce(key, shared.address)

    def _announce(self, key: tuple[str, int], address: Address) -> None:
        announcement = self._announced.get(key)
        host = self.node.virtual_host(*key)
        if announcement is None or host.state is not State.MASTER:
            return
        self._runner.announce(announcement._replace(addresses=(address,)))

    # -- the operator --------------------------------------------------------------------------

    def _catch_signals(self, stack: ExitStack) -> tuple[socket.socket, socket.socket]:
        """Two ends of a socket: what is sent into one, as by a signal, wakes the runner up."""
        waker, woken = socket.socketpair()
        for end in (waker, woken):
            stack.enter_context(closing(end))
            end.setblocking(False)
        before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        for number in (*ENDING, signal.SIGUSR1, signal.SIGUSR2):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # as nohup(1) wants it
            stack.callback(signal.signal, number, signal.signal(number, self._on_signal))
        return waker, woken

    def _on_signal(self, number: int, _frame: object) -> None:
        """Python calls this between two instructions of whatever goes on, so it only notes."""
        self._noted.add(number)

    def _came(self) -> set[int]:
        """The signals that came since the last look, each once however often it came."""
        with contextlib.suppress(BlockingIOError):
            while self._signals.recv(4096):
                pass
        # The socket may have been too full for one; what was noted is all.
        found, self._noted = self._noted, set()
        return found

    def _on_signals(self) -> None:
        came = self._came()
        if signal.SIGUSR1 in came:
            self._tell_state()
        if signal.SIGUSR2 in came:
            self._step_down()
        if came.intersection(ENDING):
            self._ending = True
            self._log.info("ending, as asked")
            self._runner.handle(Shutdown(bow_out=self.setup.bow_out))
            self._runner.stop()
        self._start_scripts()

    def _tell_state(self) -> None:
        for host in self.node.virtual_hosts():
            # As ucarp words it, for those who look for that in a log.
            self._log.info(f"{host.state} on {host.interface} id {host.config.vhid}")
        self._log.event("status", **self._snapshot())

    def _step_down(self) -> None:
        for host in self.node.virtual_hosts():
            if host.state is State.MASTER:
                asked = StateRequested(host.interface, host.config.vhid, State.BACKUP, HOLD)
                self._runner.handle(asked)

    def _on_question(self) -> None:
        if self._control is not None:
            self._control.answer(self._snapshot())

    def _snapshot(self) -> dict[str, Any]:
        return snapshot(self.node, self._entered, self._runner.clock())

    def _finish(self) -> None:
        """Let the scripts end; a second signal, or that none may take longer, ends the waiting."""
        end = time.monotonic() + self.setup.script_timeout
        while (
            self._scripts.busy and time.monotonic() < end and not self._came().intersection(ENDING)
        ):
            select.select([self._signals.fileno(), self._scripts.fileno()], [], [], 0.05)
            self._scripts.poll()
        self._scripts.close(0.0)
