"""What ``carpproto run`` says while it runs: lines on stderr and in syslog, JSON on stdout.

Must not make the protocol wait: each output has a thread that writes, and what it cannot keep up
with is dropped and counted. An output that stands still holds no other up. What came from the
network is escaped.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from carpproto.cli.text import printable, timestamp

_ROOM = 2000
"""Lines that wait to be written at the most."""

_QUIET = 60.0
"""Seconds for which the same complaint is not repeated, only counted."""


class _Line(NamedTuple):
    text: str
    warning: bool


class _Output:
    """One output, its queue and its thread; ``complain`` takes what is wrong with it."""

    def __init__(
        self, name: str, write: Callable[[_Line], None], complain: Callable[[str], None]
    ) -> None:
        self._name = name
        self._write = write
        self._complain = complain
        self._queue: queue.Queue[_Line | None] = queue.Queue(_ROOM)
        self._lost = 0
        self._said = False
        self._broken = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, line: _Line, *, room: int = _ROOM) -> None:
        """Never waits; a line that finds less room than that is lost."""
        if self._queue.qsize() < room:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(line)
                return
        self._lost += 1
        if not self._said:
            self._said = True
            self._complain(f"{self._name} takes nothing more: lines are lost until it does")

    def close(self, end: float) -> None:
        """Write what there is, until a moment of the monotonic clock, and count what is left."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=max(end - time.monotonic(), 0.01))
        if self._thread.is_alive():
            self._thread.join(max(end - time.monotonic(), 0.01))
        if self._thread.is_alive():
            self._lost += self._queue.qsize()
        self.tell_lost()

    def tell_lost(self) -> None:
        """Say how many lines were lost since it was said last."""
        lost, self._lost = self._lost, 0
        if not lost:
            return
        self._said = False
        self._complain(f"{lost} lines of the log were lost: {self._name} did not take them")

    def _work(self) -> None:
        while (line := self._queue.get()) is not None:
            if self._broken:
                self._lost += 1
                continue
            self.tell_lost()
            try:
                self._write(line)
            except (OSError, ValueError) as error:
                # Who took part goes on doing so when nobody reads what it says.
                self._broken = self._said = True
                self._lost += 1
                reason = error.strerror if isinstance(error, OSError) else error
                self._complain(f"{self._name} cannot be written, so no more is: {reason}")


class Log:
    """Takes lines and events, and never waits; `start` before, `close` after."""

    def __init__(self, *, stderr: bool, facility: str, events: bool) -> None:
        self._people: list[_Output] = []
        self._stderr: _Output | None = None
        if stderr:
            self._stderr = _Output("stderr", _to_stderr, self._complain)
            self._people.append(self._stderr)
        if facility != "none":
            self._people.append(_Output("syslog", _to_syslog(facility), self._complain))
        self._events: _Output | None = None
        if events:
            self._descriptor = _only_events()
            self._events = _Output("standard output", self._to_output, self._complain)

    @property
    def _outputs(self) -> list[_Output]:
        # stderr is closed last: it hears of the others.
        others = [output for output in self._people if output is not self._stderr]
        found = [self._events, *others, self._stderr]
        return [output for output in found if output is not None]

    def start(self) -> None:
        """Begin to write."""
        for output in self._outputs:
            output.start()

    def info(self, text: str) -> None:
        """A line for people."""
        self._tell(_Line(printable(text), False))

    def warning(self, text: str) -> None:
        """A line for people, who should do something."""
        self._tell(_Line(printable(text), True))

    def debug(self, text: str) -> None:
        """A line of which many may come; it leaves room for the others."""
        self._tell(_Line(printable(text), False), room=_ROOM // 2)

    def event(self, kind: str, **values: Any) -> None:
        """An object for machines; dropped where nobody asked for them."""
        if self._events is not None:
            found = {"event": kind, "time": timestamp(time.time_ns()), **values}
            self._events.put(_Line(json.dumps(found), False))

    def close(self, patience: float = 2.0) -> None:
        """Write what there is, but wait for it no longer than that, in seconds."""
        for output in self._outputs:
            if output is self._stderr:
                output.tell_lost()
            output.close(time.monotonic() + patience)

    def _tell(self, line: _Line, room: int = _ROOM) -> None:
        for output in self._people:
            output.put(line, room=room)

    def _complain(self, text: str) -> None:
        """Of an output: on stderr, the one that somebody is most likely to see."""
        if self._stderr is not None:
            self._stderr.put(_Line(text, True))

    def _to_output(self, line: _Line) -> None:
        content = line.text.encode() + b"\n"
        while content:
            content = content[os.write(self._descriptor, content) :]


def _to_stderr(line: _Line) -> None:
    mark = "[WARNING]" if line.warning else "[INFO]"
    print(f"carpproto: {mark} {line.text}", file=sys.stderr, flush=True)


def _only_events() -> int:
    """Standard output for events alone: what scripts print goes to stderr from now on."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output


def _to_syslog(facility: str) -> Callable[[_Line], None]:
    import syslog

    number: int = getattr(syslog, f"LOG_{facility.upper()}", syslog.LOG_DAEMON)
    syslog.openlog("carpproto", syslog.LOG_PID, number)

    def write(line: _Line) -> None:
        priority = syslog.LOG_WARNING if line.warning else syslog.LOG_NOTICE
        syslog.syslog(priority, line.text)

    return write


class Seldom:
    """Lets the first of many complaints that are alike pass, and one a minute after it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Hashable, tuple[float, int]] = {}

    def passes(self, key: Hashable) -> int | None:
        """How many were held back since the last one that passed; None to hold this back."""
        now = self._clock()
        last, held = self._seen.get(key, (None, 0))
        if last is not None and now - last < _QUIET:
            self._seen[key] = (last, held + 1)
            return None
        if len(self._seen) >= _ROOM:  # addresses may be forged
            self._seen.clear()
        self._seen[key] = (now, 0)
        return held
