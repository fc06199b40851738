"""Commands beside the loop: in order for each key, with a timeout, never waited for.

Must not know what they do, nor of nodes. A script that hangs delays those of its own key and
nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

LIMIT = 64
"""Commands that may wait for one key; when one more comes, the one that waits longest is
dropped: the last one says what is so now."""

TIMEOUT = "timed out"
DROPPED = "dropped"
SUPERSEDED = "superseded"


class Result(NamedTuple):
    """How a command ended.

    ``status`` is its exit status, minus the signal's number where one ended it; TIMEOUT where
    it was killed after ``seconds``; DROPPED where it never ran, SUPERSEDED where `Scripts.drop`
    saw to that; or why it could not be started.
    """

    key: Hashable
    argv: tuple[str, ...]
    status: int | str
    seconds: float


class _Command(NamedTuple):
    argv: tuple[str, ...]
    env: Mapping[str, str] | None


class Scripts:
    """Runs commands, each key's one after the other, those of different keys side by side.

    ``timeout`` is in seconds, for each command; when it is over, the command's process group is
    killed, but not what has left that group, as setsid(1) does. Results come to ``on_result`` from
    `poll`, in the thread that calls it: have it called when `fileno` is readable. Standard input
    is empty; the outputs are this process's.
    """

    def __init__(
        self,
        timeout: float = 30.0,
        *,
        on_result: Callable[[Result], None] | None = None,
        limit: int = LIMIT,
    ) -> None:
        self._timeout = timeout
        self._on_result = on_result
        self._limit = limit
        self._lock = threading.Condition()
        self._waiting: dict[Hashable, deque[_Command]] = {}
        self._running: dict[Hashable, subprocess.Popen[bytes]] = {}
        self._results: deque[Result] = deque()
        self._closing = False
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)

    def start(
        self, key: Hashable, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        """Run a command once those of the same key are through; returns at once.

        ``env`` is its whole environment, without it this process's. After `close` began nothing
        is started any more, and the result says so.
        """
        command = _Command(tuple(argv), env)
        with self._lock:
            if self._closing:
                self._report(Result(key, command.argv, DROPPED, 0.0))
                return
            waiting = self._waiting.get(key)
            if waiting is None:
                self._waiting[key] = deque((command,))
                name = f"scripts of {key}"
                threading.Thread(target=self._work, args=(key,), name=name, daemon=True).start()
                return
            if len(waiting) >= self._limit:
                self._report(Result(key, waiting.popleft().argv, DROPPED, 0.0))
            waiting.append(command)

    def drop(self, key: Hashable, superseded: Callable[[Mapping[str, str] | None], bool]) -> None:
        """Give up commands of a key that still wait; ``superseded`` is asked with their ``env``.

        What runs already runs on.
        """
        with self._lock:
            waiting = self._waiting.get(key, deque[_Command]())
            for command in [one for one in waiting if superseded(one.env)]:
                waiting.remove(command)
                self._report(Result(key, command.argv, SUPERSEDED, 0.0))

    @property
    def busy(self) -> bool:
        """Whether a command runs or waits."""
        with self._lock:
            return bool(self._waiting)

    def fileno(self) -> int:
        """A descriptor that is readable when `poll` has something to report."""
        return self._woken.fileno()

    def poll(self) -> None:
        """Report the results there are; never waits."""
        with contextlib.suppress(OSError):
            while self._woken.recv(4096):
                pass
        while True:
            with self._lock:
                if not self._results:
                    return
                result = self._results.popleft()
            if self._on_result is not None:
                self._on_result(result)

    def close(self, grace: float = 0.0) -> None:
        """Let everything that was started end within ``grace`` seconds, then kill what is left.

        Reports all results; closing twice does nothing.
        """
        end = time.monotonic() + grace
        with self._lock:
            if self._waker.fileno() < 0:
                return
            self._closing = True
            self._lock.wait_for(lambda: not self._waiting, max(grace, 0.0))
            for key, waiting in self._waiting.items():
                while waiting:
                    self._report(Result(key, waiting.popleft().argv, DROPPED, 0.0))
            for process in self._running.values():
                _kill(process)
            # A killed process is gone at once, or is in the kernel's hands for good.
            self._lock.wait_for(lambda: not self._waiting, max(end - time.monotonic(), 0.0) + 2.0)
        self.poll()
        self._waker.close()
        self._woken.close()

    def _work(self, key: Hashable) -> None:
        """One key's thread: it ends when nothing waits."""
        with self._lock:
            waiting = self._waiting[key]
            while waiting:
                command = waiting.popleft()
                began = time.monotonic()
                self._lock.release()
                try:
                    status = self._run(key, command)
                finally:
                    self._lock.acquire()
                self._report(Result(key, command.argv, status, time.monotonic() - began))
            del self._waiting[key]
            self._lock.notify_all()

    def _run(self, key: Hashable, command: _Command) -> int | str:
        try:
            process = subprocess.Popen(
                command.argv,
                env=None if command.env is None else dict(command.env),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return _why_not(command.argv[0], error)
        with self._lock:
            self._running[key] = process
        try:
            return process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            return TIMEOUT
        finally:
            with self._lock:
                del self._running[key]

    def _report(self, result: Result) -> None:
        """With the lock held."""
        self._results.append(result)
        with contextlib.suppress(OSError):  # woken up already, or closed
            self._waker.send(b"\0")


def _why_not(program: str, error: OSError | ValueError) -> str:
    """Why a program could not be started, as who wrote it would say."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOEXEC:
        return "it is no program; the first line of a script names its interpreter: #!/bin/sh"
    if number == errno.ENOENT and os.path.isfile(program):  # noqa: PTH113 - as it was given
        with contextlib.suppress(OSError), open(program, "rb") as file:  # noqa: PTH123
            if (line := file.readline(256)).startswith(b"#!"):
                named = line[2:].decode(errors="backslashreplace").rstrip("\n").strip(" \t")
                return f"the interpreter in its first line, {named!r}, is not there"
    return str(error)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The command and what it started in its process group; its session is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
