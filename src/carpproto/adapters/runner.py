"""The blocking runner: waits with the standard library's selectors.

Must not know what it waits for means; see `carpproto.adapters.driver`.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress

from carpproto.adapters.driver import Driver


class Runner(Driver):
    """Runs a node until `stop`: ``runner.start(); runner.run(); runner.close()``.

    The arguments are `Driver`'s. It does not close the transports: who opened them does.
    """

    def _prepare(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        self._watch(self._woken.fileno(), self._wake)

    def run(self) -> None:
        """Take part until `stop` is called; returns at once if it was called before."""
        try:
            while not self._stopping:
                self.turn()
                if self._stopping:
                    break
                for key, _ in self._selector.select(self.patience()):
                    if key.data is not None:
                        key.data()
        finally:
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
