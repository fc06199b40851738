"""What ``carpproto run`` says while it runs: lines on stderr and in syslog, JSON on stdout.

Must not make the protocol wait: a thread does the writing, and what it cannot keep up with is
dropped and counted. What came from the network is escaped.
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
from typing import Any, NamedTuple, TextIO

from carpproto.cli.text import printable, timestamp

_ROOM = 2000
"""Lines that wait to be written at the most."""

_QUIET = 60.0
"""Seconds for which the same complaint is not repeated, only counted."""


class _Line(NamedTuple):
    text: str
    warning: bool


class Log:
    """Takes lines and events, and never waits; `start` before, `close` after."""

    def __init__(self, *, stderr: bool, facility: str, events: bool) -> None:
        self._stderr = stderr
        self._facility = facility
        self._output = _only_events() if events else None
        self._queue: queue.Queue[_Line | dict[str, Any] | None] = queue.Queue(_ROOM)
        self._lost = 0
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def info(self, text: str) -> None:
        """A line for people."""
        self._put(_Line(printable(text), False))

    def warning(self, text: str) -> None:
        """A line for people, who should do something."""
        self._put(_Line(printable(text), True))

    def debug(self, text: str) -> None:
        """A line of which many may come; it leaves room for the others."""
        if self._queue.qsize() < _ROOM // 2:
            self._put(_Line(printable(text), False))
        else:
            self._lost += 1

    def event(self, kind: str, **values: Any) -> None:
        """An object for machines; dropped where nobody asked for them."""
        if self._output is not None:
            self._put({"event": kind, "time": timestamp(time.time_ns()), **values})

    def close(self, patience: float = 2.0) -> None:
        """Write what there is, but wait for it no longer than that, in seconds."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=patience)
        if self._thread.is_alive():
            self._thread.join(patience)
        if self._output is not None and not self._thread.is_alive():
            with contextlib.suppress(OSError):
                self._output.close()

    def _put(self, what: _Line | dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(what)
        except queue.Full:
            self._lost += 1

    # -- in the thread -------------------------------------------------------------------------

    def _work(self) -> None:
        syslog = _open_syslog(self._facility)
        while True:
            item = self._queue.get()
            if item is None:
                return
            lost, self._lost = self._lost, 0
            if lost:
                self._write(
                    _Line(f"{lost} lines of the log were lost: nobody reads", True), syslog
                )
            self._write(item, syslog)

    def _write(self, item: _Line | dict[str, Any], syslog: Callable[[_Line], None] | None) -> None:
        # Who took part goes on doing so when nobody reads what it says.
        with contextlib.suppress(OSError, ValueError):
            if not isinstance(item, _Line):
                print(json.dumps(item), file=self._output, flush=True)
                return
            if self._stderr:
                mark = "[WARNING]" if item.warning else "[INFO]"
                print(f"carpproto: {mark} {item.text}", file=sys.stderr, flush=True)
        if isinstance(item, _Line) and syslog is not None:
            syslog(item)


def _only_events() -> TextIO:
    """Standard output for events alone: what scripts print goes to stderr from now on."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def _open_syslog(facility: str) -> Callable[[_Line], None] | None:
    if facility == "none":
        return None
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
