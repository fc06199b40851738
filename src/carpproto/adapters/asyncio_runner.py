"""The asyncio runner: the same as the blocking one, in somebody's event loop.

Must not know what it waits for means; see `carpproto.adapters.driver`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from carpproto.adapters.driver import Driver


class AsyncRunner(Driver):
    """Runs a node: ``runner.start(); await runner.run()``; `stop` or cancelling it ends that.

    The arguments are `Driver`'s. It does not close the transports: who opened them does. What
    ``on_action`` or a reader raises comes out of `run`.
    """

    def _prepare(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._readers: dict[int, Callable[[], None]] = {}

    async def run(self) -> None:
        """Take part until `stop` is called or the task is cancelled."""
        loop = self._loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        for fileno, callback in self._readers.items():
            loop.add_reader(fileno, self._guard, callback)
        try:
            self._guard(self.turn)
            await self._ended
        finally:
            self._loop = self._ended = None
            for fileno in self._readers:
                loop.remove_reader(fileno)
            self._disarm()

    def stop(self) -> None:
        """Let `run` return; from the thread of its loop."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def close(self) -> None:
        """Nothing is left open; here because the blocking runner has it."""

    def _guard(self, callback: Callable[[], None]) -> None:
        """Call it; what it raises is `run`'s."""
        try:
            callback()
        except BaseException as error:
            if self._ended is None or self._ended.done():
                raise
            self._ended.set_exception(error)

    def _rearm(self) -> None:
        if self._loop is None:
            return
        wait = self.patience()
        self._disarm()
        if wait is not None:
            self._timer = self._loop.call_later(wait, self._guard, self.turn)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, fileno: int, callback: Callable[[], None] | None = None) -> None:
        chosen = self._readers[fileno] = callback or self.turn
        if self._loop is not None:
            self._loop.add_reader(fileno, self._guard, chosen)

    def _unwatch(self, fileno: int) -> None:
        if self._readers.pop(fileno, None) is not None and self._loop is not None:
            self._loop.remove_reader(fileno)
