"""Going into the background, for ``carpproto run -B``.

What goes wrong before the work is ready is told to who started it, on its stderr and by its exit
status; after that only the log can tell.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable


def daemonize(work: Callable[[Callable[[], None]], int]) -> int:
    """Do ``work(ready)`` in a process of its own session, without a terminal.

    Returns once it has called ``ready()`` or has ended. Prints its process id in the one case
    and returns 0; its exit status in the other. Only the process that started it returns.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            message = pipe.read()
        os.waitpid(child, 0)
        kind, _, number = message.decode().partition(" ")
        if kind == "ready":
            print(number)
            return 0
        return int(number) if kind == "ended" else 1
    status = 1
    try:
        os.close(reading)
        os.setsid()
        if os.fork():
            os._exit(0)  # the one that works leads no session, so it never gets a terminal
        os.chdir("/")
        status = _work(work, writing)
    except Exception:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _work(work: Callable[[Callable[[], None]], int], writing: int) -> int:
    detached = False

    def ready() -> None:
        nonlocal detached
        detached = True
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        if nothing > 2:
            os.close(nothing)
        os.write(writing, b"ready %d" % os.getpid())
        os.close(writing)

    status = work(ready)
    if not detached:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(writing, b"ended %d" % status)
        os.close(writing)
    return status
