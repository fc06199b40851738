"""A node in a process of its own, for the live tests: ``python peer.py '{"vhids": [...]}'``.

Prints a JSON line for every action, with the wall clock's time. On standard input it takes the
words ``report``, ``shutdown``, ``silent`` (a shutdown without goodbye) and ``set:NAME=VALUE``.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
import secrets
import signal
import sys
import time
from functools import partial
from typing import Any

from carpproto.adapters import interfaces, link
from carpproto.adapters.asyncio_runner import AsyncRunner
from carpproto.adapters.runner import Runner
from carpproto.adapters.scripts import Scripts
from carpproto.adapters.transport import groups_of, open_transport
from carpproto.core import profile as profiles
from carpproto.core.actions import Action, SendAdvertisement, StateChanged
from carpproto.core.config import VirtualHostConfig
from carpproto.core.events import SettingChanged, Shutdown
from carpproto.core.node import Node


class Peer:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        name = self.interface = options.get("interface", "carp0")
        state = interfaces.read(name)
        profile = getattr(profiles, options.get("profile", "FREEBSD"))
        profile = profile.replace(**options.get("changes", {}))
        self.node = Node(profile=profile, counter=partial(secrets.randbits, 64))
        self.node.add_interface(name, mac=state.mac, addresses=state.addresses)
        for config in options["vhids"]:
            self.node.add_virtual_host(name, VirtualHostConfig(**config))
        for setting, value in options.get("settings", {}).items():
            self.node.handle(SettingChanged(setting, value), time.monotonic())
        self.transport = open_transport(
            name,
            groups=groups_of(self.node, name),
            kind=options.get("kind", "auto"),
            broadcast=options.get("broadcast", False),
            promiscuous=options.get("promiscuous", False),
        )
        self.scripts = Scripts(10.0)
        self.links = link.watch([name])
        asynchronous = options.get("runner") == "asyncio"
        self.runner: Any = (AsyncRunner if asynchronous else Runner)(
            self.node, [self.transport], links=self.links, on_action=self.on_action
        )
        self.runner.add_reader(self.scripts.fileno(), self.scripts.poll)
        self.runner.add_reader(0, self.on_word)
        self.quiet = options.get("quiet", False)

    def say(self, **values: Any) -> None:
        print(json.dumps({"t": time.time(), **values}), flush=True)

    def on_action(self, action: Action, now: float) -> None:
        if isinstance(action, StateChanged):
            self.say(
                action="StateChanged",
                vhid=action.vhid,
                current=str(action.current),
                reason=str(action.reason),
            )
            verb = "add" if str(action.current) == "MASTER" else "del"
            for address in self.options.get("configure", ()):
                argv = ["ip", "address", verb, address, "dev", self.options["device"]]
                if verb == "add" and ":" in address:
                    argv.append("nodad")
                self.scripts.start(action.vhid, argv)
            if self.options.get("bring_up"):
                updown = "up" if verb == "add" else "down"
                self.scripts.start(
                    action.vhid, ["ip", "link", "set", self.options["bring_up"], updown]
                )
        elif not self.quiet and not isinstance(action, SendAdvertisement):
            self.say(action=type(action).__name__, text=str(action))

    def on_word(self) -> None:
        words = os.read(0, 4096).decode().split()
        if not words:
            self.runner.stop()
        for word in words:
            if word == "report":
                self.say(
                    action="report",
                    cpu=time.process_time(),
                    counters=dict(self.node.counters),
                    states=[str(host.state) for host in self.node.virtual_hosts()],
                    demotion=self.node.demotion,
                    wait=self.runner.patience(),
                )
            elif word.startswith("set:"):
                name, _, value = word.removeprefix("set:").partition("=")
                self.runner.handle(SettingChanged(name, int(value)))
            else:
                self.runner.handle(Shutdown(bow_out=word == "shutdown"))
                self.runner.stop()

    def run(self) -> None:
        self.say(action="ready")
        if isinstance(self.runner, AsyncRunner):
            self.runner.start()
            asyncio.run(self.runner.run())
        else:
            self.runner.start()
            self.runner.run()
        self.scripts.close(2.0)
        self.runner.close()
        self.links.close()
        self.transport.close()


if __name__ == "__main__":
    # What else this machine has to do is not measured here.
    with contextlib.suppress(OSError):
        os.nice(-15)
    faulthandler.register(signal.SIGUSR1)
    Peer(json.loads(sys.argv[1])).run()
