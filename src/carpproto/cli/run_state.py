"""The state of a running ``carpproto run`` as JSON, over a Unix socket, to whoever asks.

A socket rather than a file that is rewritten: what it answers is of this moment, so its ages are
right; it answers only while the process lives; and only its owner may ask.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple

from carpproto.cli.text import print_json, refuse, timestamp
from carpproto.core.errors import ConfigError, Reason
from carpproto.core.events import State
from carpproto.core.node import Node

_PATIENCE = 5.0
_LONGEST = 4 << 20


class Entered(NamedTuple):
    """Since when a virtual host is in its state, on the runner's clock, and why."""

    at: float
    reason: Reason | None = None


def snapshot(node: Node, entered: dict[tuple[str, int], Entered], now: float) -> dict[str, Any]:
    """The state of a node at ``now``; ``age`` is how many seconds a state lasts already."""
    hosts: list[dict[str, Any]] = []
    for host in node.virtual_hosts():
        config = host.config
        since = entered[host.interface, config.vhid]
        hosts.append(
            {
                "interface": host.interface,
                "vhid": config.vhid,
                "state": host.state.value,
                "age": round(max(now - since.at, 0.0), 3),
                "reason": None if since.reason is None else since.reason.value,
                "holding": host.holding,
                "addresses": [str(address) for address in config.addresses],
                "destinations": [str(config.destination(family)) for family in config.families],
                "advbase": config.advbase,
                "advskew": config.advskew,
                "demoted_advskew": host.demoted_advskew,
            }
        )
    return {
        "time": timestamp(time.time_ns()),
        "pid": os.getpid(),
        "profile": node.profile.name,
        "masters": sum(host["state"] == State.MASTER.value for host in hosts),
        "demotion": node.demotion,
        "counters": dict(node.counters),
        "virtual_hosts": hosts,
    }


class ControlSocket:
    """Listens at a path that only its owner may use."""

    def __init__(self, path: str) -> None:
        self.path: str = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._bind()
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def _bind(self) -> None:
        _remove_dead(self.path)
        before = os.umask(0o177)
        try:
            self._socket.bind(self.path)
        except OSError as error:
            raise ConfigError(f"cannot listen at {self.path}: {error.strerror}") from None
        finally:
            os.umask(before)
        self._socket.listen(8)

    def fileno(self) -> int:
        """What to wait on."""
        return self._socket.fileno()

    def answer(self, state: dict[str, Any]) -> None:
        """Send the state to one who asks; never waits."""
        content = json.dumps(state).encode() + b"\n"
        with contextlib.suppress(OSError):
            asking, _ = self._socket.accept()
            with asking:
                asking.setblocking(False)
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(content))
                asking.send(content)

    def close(self) -> None:
        """No longer listen, and remove the path."""
        self._socket.close()
        with contextlib.suppress(OSError):
            Path(self.path).unlink()


def _remove_dead(path: str) -> None:
    """Remove a socket that a process left behind; `ConfigError` for anything else there."""
    try:
        mode = Path(path).lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} is there and no socket; name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_PATIENCE)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except OSError as error:
            raise ConfigError(f"cannot listen at {path}: {error.strerror or error}") from None
    raise ConfigError(f"another process answers at {path}; name another path")


def print_status(path: str) -> int:
    """Ask at a control socket and print the answer; 1 if there is none."""
    try:
        state = ask(path)
    except OSError as error:
        nobody = error.errno in (errno.ECONNREFUSED, errno.ENOENT)
        text = f"nobody answers at {path}" if nobody else f"cannot ask at {path}: {error}"
        refuse(ConfigError(text))
        return 1
    except ValueError:
        refuse(ConfigError(f"what answers at {path} is no state"))
        return 1
    print_json(state)
    return 0


def ask(path: str) -> dict[str, Any]:
    """The state that a running process answers with at its control socket.

    Raises `OSError` if nobody answers, `ValueError` if what does is no state.
    """
    content = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_PATIENCE)
        asking.connect(path)
        while piece := asking.recv(1 << 16):
            content += piece
            if len(content) > _LONGEST:
                break
    found: dict[str, Any] = json.loads(content)
    return found
