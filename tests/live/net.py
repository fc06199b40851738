"""A network of namespaces for the live tests: hosts on a bridge that is a namespace of its own.

Everything carries the number of the process that made it in its name, is removed by `Net.close`,
and what a killed run left behind is removed by the next. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

INTERFACE = "carp0"
_numbers = count(1)
_PREFIX = "carpt"


def why_not(*tools: str) -> str | None:
    """Why the live tests cannot run here; None where they can."""
    if sys.platform != "linux":
        return "live tests need Linux"
    if os.geteuid():
        return "LIVE TESTS DO NOT RUN: they make network namespaces, which takes root"
    for tool in ("ip", *tools):
        if shutil.which(tool) is None:
            return f"LIVE TESTS DO NOT RUN: there is no {tool}"
    tried = subprocess.run(
        ["ip", "netns", "add", name := f"{_PREFIX}{os.getpid()}-try"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    if tried.returncode:
        return f"LIVE TESTS DO NOT RUN: ip netns add: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=False, timeout=20)
    return None


def skip_unless_live(*tools: str) -> None:
    """Skip the test loudly where it cannot run."""
    reason = why_not(*tools)
    if reason is not None:
        pytest.skip(reason)


def command(*argv: str, check: bool = True) -> str:
    """Run a command to its end and give what it printed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def eventually(test: Callable[[], Any], within: float, what: str = "it") -> Any:
    """Wait until ``test`` gives something true, and give that."""
    end = time.monotonic() + within
    while True:
        found = test()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {within} s")
        time.sleep(0.01)


class Host:
    """A namespace with one interface, ``carp0``, that is plugged into the bridge."""

    def __init__(self, net: Net, name: str, namespace: str) -> None:
        self.net = net
        self.name = name
        self.namespace = namespace
        self.port = f"p{name}"[:15]

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command in the namespace to its end and give what it printed."""
        return command("ip", "netns", "exec", self.namespace, *argv, check=check)

    def ip(self, *argv: str, check: bool = True) -> str:
        """``ip`` in the namespace."""
        return command("ip", "-n", self.namespace, *argv, check=check)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a command in the namespace; the net ends it with itself."""
        return self.net.popen(["ip", "netns", "exec", self.namespace, *argv], **options)

    def plug(self, mac: str, addresses: Iterable[str]) -> None:
        """Make the interface and put its other end into the bridge."""
        self.ip("link", "add", INTERFACE, "type", "veth", "peer", "name", self.port)
        self.ip("link", "set", self.port, "netns", self.net.bridge)
        self.ip("link", "set", INTERFACE, "address", mac)
        command("ip", "-n", self.net.bridge, "link", "set", self.port, "master", "br0", "up")
        self.ip("link", "set", INTERFACE, "up")
        for address in addresses:
            self.add_address(address)

    def add_address(self, address: str, interface: str = INTERFACE) -> None:
        """Configure an address, without duplicate address detection."""
        self.ip("address", "add", address, "dev", interface, *(["nodad"] * (":" in address)))

    def cut(self) -> None:
        """Pull the plug: the interface loses its carrier."""
        command("ip", "-n", self.net.bridge, "link", "set", self.port, "down")

    def heal(self) -> None:
        """Put it back."""
        command("ip", "-n", self.net.bridge, "link", "set", self.port, "up")


class Net:
    """Hosts on a bridge. A context manager; closes everything, also what failed half-way."""

    def __init__(self) -> None:
        sweep()
        self.prefix = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        self.bridge = f"{self.prefix}-br"
        self.hosts: dict[str, Host] = {}
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-"))
        self._processes: list[subprocess.Popen[Any]] = []
        self._namespaces: list[str] = []
        try:
            self._make(self.bridge)
            command("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge")
            command("ip", "-n", self.bridge, "link", "set", "br0", "up")
        except BaseException:
            self.close()
            raise

    def _make(self, namespace: str) -> None:
        command("ip", "netns", "add", namespace)
        self._namespaces.append(namespace)
        for setting in ("all", "default"):
            command(
                *("ip", "netns", "exec", namespace, "sysctl", "-q", "-w"),
                f"net.ipv6.conf.{setting}.accept_dad=0",
            )
        command("ip", "-n", namespace, "link", "set", "lo", "up")

    def host(self, name: str, *addresses: str, mac: str | None = None) -> Host:
        """One more host, with these addresses; its MAC is 52:54:00:00:00 and its number."""
        namespace = f"{self.prefix}-{name}"
        self._make(namespace)
        host = self.hosts[name] = Host(self, name, namespace)
        host.plug(mac or f"52:54:00:00:00:{len(self.hosts):02x}", addresses)
        return host

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command that the net ends with itself."""
        process: subprocess.Popen[Any] = subprocess.Popen(argv, **options)
        self._processes.append(process)
        return process

    def capture(self, name: str = "bridge", *expression: str) -> Path:
        """Record what passes the bridge until `stop_capture` or the end."""
        path = self.folder / f"{name}.pcap"
        process = self.popen(
            [
                *("ip", "netns", "exec", self.bridge, "tcpdump", "-i", "br0", "-U", "-w"),
                *(
                    str(path),
                    "--immediate-mode",
                    "-s",
                    "256",
                    "-B",
                    "8192",
                    "-Z",
                    "root",
                    *expression,
                ),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        eventually(lambda: path.exists() and path.stat().st_size >= 24, 10, "tcpdump")
        self._captures = getattr(self, "_captures", [])
        self._captures.append(process)
        return path

    def stop_capture(self) -> None:
        """Let every tcpdump write what it has, and end."""
        time.sleep(0.1)
        for process in getattr(self, "_captures", []):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(timeout=10)

    def close(self) -> None:
        """End what was started, remove what was made."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        for process in self._processes:
            process.wait(timeout=10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        for namespace in self._namespaces:
            command("ip", "netns", "delete", namespace, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Net:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sweep() -> None:
    """Remove the namespaces of test runs that are no more."""
    for line in command("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0] if line.strip() else ""
        number = name.removeprefix(_PREFIX).partition("-")[0]
        if (
            name.startswith(_PREFIX)
            and number.isdecimal()
            and not Path(f"/proc/{number}").exists()
        ):
            command("ip", "netns", "delete", name, check=False)
