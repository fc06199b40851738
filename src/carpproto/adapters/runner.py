"""The blocking runner: waits with the standard library's selectors.

Must not know what it waits for means; see `carpproto.adapters.driver`.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from carpproto.adapters.driver import Driver, OnAction, OnError
from carpproto.adapters.link import LinkWatch
from carpproto.adapters.transport import Transport
from carpproto.core.node import Node


class Runner(Driver):
    """Runs a node until `stop`: ``runner.start(); runner.run(); runner.close()``.

    The arguments are `Driver`'s. It does not close the transports: who opened them does.
    """

    def __init__(
        self,
        node: Node,
        transports: Iterable[Transport],
        *,
        links: LinkWatch | None = None,
        on_action: OnAction | None = None,
        on_error: OnError | None = None,
        follow_addresses: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            node,
            transports,
            links=links,
            on_action=on_action,
            on_error=on_error,
            follow_addresses=follow_addresses,
            clock=clock,
        )
        self._selector = selectors.DefaultSelector()
        self._running = False
        self._stopping = False
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        self._watch(self._woken.fileno(), self._wake)
        for fileno in self._watched():
            self._watch(fileno)

    def add_reader(self, fileno: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever a descriptor is readable, in the thread that runs.

        It may call `handle` and `stop`; it must not wait.
        """
        self._watch(fileno, callback)

    def remove_reader(self, fileno: int) -> None:
        """No longer; one that is not known is passed over."""
        self._unwatch(fileno)

    def run(self) -> None:
        """Take part until `stop` is called; returns at once if it was called before."""
        self._running = True
        try:
            while not self._stopping:
                self.turn()
                if self._stopping:
                    break
                for key, _ in self._selector.select(self.patience()):
                    if key.data is not None:
                        key.data()
        finally:
            self._running = False
            self._stopping = False

    def stop(self) -> None:
        """Let `run` return; from any thread, and from a signal handler."""
        self._stopping = True
        with suppress(OSError):  # it has been woken up already, or is closed
            self._waker.send(b"\0")

    def close(self) -> None:
        """Give back what the runner itself has opened."""
        self._selector.close()
        self._waker.close()
        self._woken.close()

    def _wake(self) -> None:
        try:
            while self._woken.recv(64):
                pass
        except BlockingIOError:
            pass

    def _watch(self, fileno: int, callback: Callable[[], None] | None = None) -> None:
        self._selector.register(fileno, selectors.EVENT_READ, callback)

    def _unwatch(self, fileno: int) -> None:
        if fileno in self._selector.get_map():
            self._selector.unregister(fileno)
