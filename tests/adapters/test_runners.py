"""The blocking and the asyncio runner wait, wake up and end alike."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carpproto.adapters.asyncio_runner import AsyncRunner
from carpproto.adapters.runner import Runner
from carpproto.adapters.transport import Received
from carpproto.core.actions import Action, StateChanged
from carpproto.core.config import VirtualHostConfig
from carpproto.core.events import InterfaceChanged, State
from carpproto.core.node import Node
from tests.adapters.test_driver import MAC, FakeTransport, advertisement

CONFIG = VirtualHostConfig(vhid=1, addresses=["192.0.2.50"], passphrase="x")


class PairTransport(FakeTransport):
    """Its datagrams come through a socket, so that one can wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)

    def filenos(self) -> tuple[int, ...]:
        return (self.near.fileno(),) if self.open else ()

    def receive(self) -> Iterator[Received]:
        while self.open:
            try:
                advskew = self.near.recv(16)
            except BlockingIOError:
                return
            yield Received(advertisement(int(advskew)), 0.0)

    def finish(self) -> None:
        self.near.close()
        self.far.close()


class World:
    def __init__(self, kind: type[Runner] | type[AsyncRunner]) -> None:
        self.node = Node()
        self.node.add_interface("em0", mac=MAC, addresses=["192.0.2.1"])
        self.node.add_virtual_host("em0", CONFIG.replace(advbase=1, advskew=5))
        self.transport = PairTransport()
        self.changes: list[State] = []
        self.on_change: Callable[[State], None] = lambda state: None
        self.runner: Any = kind(self.node, [self.transport], on_action=self.on_action)

    def on_action(self, action: Action, now: float) -> None:
        if isinstance(action, StateChanged):
            self.changes.append(action.current)
            self.on_change(action.current)

    def run(self) -> None:
        if isinstance(self.runner, AsyncRunner):
            asyncio.run(asyncio.wait_for(self.runner.run(), 10))
        else:
            self.runner.run()


@pytest.fixture(params=[Runner, AsyncRunner])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(request.param)
    yield made
    made.runner.close()
    made.transport.finish()


def test_it_fires_in_time_and_stops(world: World) -> None:
    def on_change(state: State) -> None:
        if state is State.MASTER:
            world.runner.stop()

    world.on_change = on_change
    world.runner.start()
    began = time.monotonic()
    # It counts from the advertisement that it hears now.
    world.transport.far.send(b"5")
    world.run()
    assert world.changes == [State.BACKUP, State.MASTER]
    assert 3 <= time.monotonic() - began < 3.5
    assert len(world.transport.sent) == 1


def test_a_reader_is_called_and_may_hand_over_events_and_stop(world: World) -> None:
    near, far = socket.socketpair()

    def on_readable() -> None:
        near.recv(10)
        world.runner.handle(InterfaceChanged("em0", False))
        world.runner.remove_reader(near.fileno())
        world.runner.remove_reader(near.fileno())
        world.runner.stop()

    world.runner.start()
    world.runner.add_reader(near.fileno(), on_readable)
    far.send(b"x")
    world.run()
    assert world.changes == [State.BACKUP, State.INIT]
    near.close()
    far.close()


def test_what_a_callback_raises_comes_out_of_run(world: World) -> None:
    def on_change(state: State) -> None:
        if state is State.INIT:
            raise LookupError("mine")

    near, far = socket.socketpair()
    world.on_change = on_change
    world.runner.start()
    world.runner.add_reader(
        near.fileno(), lambda: world.runner.handle(InterfaceChanged("em0", False))
    )
    far.send(b"x")
    with pytest.raises(LookupError, match="mine"):
        world.run()
    near.close()
    far.close()


def test_the_descriptors_of_a_transport_that_is_opened_again_are_watched(world: World) -> None:
    from carpproto.adapters.interfaces import Gone
    from tests.adapters.test_driver import FakeLinks, state

    world.runner.links = links = FakeLinks(state())
    near, far = socket.socketpair()
    world.runner.start()

    def on_readable() -> None:
        near.recv(10)
        links.changes = [Gone("em0"), state(index=7)]

    def on_change(current: State) -> None:
        if world.changes == [State.BACKUP, State.INIT, State.BACKUP]:
            # Waking up from here on takes the new registration.
            world.transport.far.send(b"0")
            threading.Timer(0.2, lambda: world.transport.far.send(b"0")).start()

    heard = threading.Event()
    receive = world.transport.receive

    def listening() -> Iterator[Received]:
        for received in receive():
            if len(world.changes) == 3:
                if heard.is_set():
                    world.runner.stop()
                heard.set()
            yield received

    world.transport.receive = listening  # type: ignore[method-assign]
    world.on_change = on_change
    world.runner.add_reader(near.fileno(), on_readable)
    far.send(b"x")
    world.run()
    assert world.transport.calls == ["close", "reopen"]
    near.close()
    far.close()


def test_another_thread_stops_the_blocking_one() -> None:
    world = World(Runner)
    world.runner.start()
    threading.Timer(0.1, world.runner.stop).start()
    began = time.monotonic()
    world.run()
    assert time.monotonic() - began < 1
    world.runner.stop()
    world.run()  # ends at once: it was stopped before
    world.runner.close()
    world.transport.finish()


def test_cancelling_ends_the_asyncio_one_and_leaves_nothing_behind() -> None:
    world = World(AsyncRunner)
    world.runner.start()

    async def main() -> None:
        task = asyncio.ensure_future(world.runner.run())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not asyncio.get_running_loop().remove_reader(world.transport.near.fileno())

    asyncio.run(main())
    world.runner.stop()
    world.transport.finish()


@pytest.mark.parametrize("name", ["blocking.py INTERFACE", "in_asyncio.py INTERFACE SECONDS"])
def test_an_example_without_arguments_says_its_usage(name: str) -> None:
    example = (
        Path(__file__).parents[2] / "docs" / "examples" / "adapters" / name.split(maxsplit=1)[0]
    )
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stderr) == (1, f"usage: {name}\n")
