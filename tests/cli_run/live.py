"""Groups of real processes for the live tests of ``carpproto run``: ours and ucarp's.

Who is MASTER is read from where the virtual address is, which the up and down scripts of the
documentation put there and take away: that is what the users of a group see.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from carpproto.capture.packets import packets
from carpproto.capture.reader import open_capture
from tests.live.net import INTERFACE, Host, Net, eventually

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "run"
SCRIPTS = ("-u", str(EXAMPLES / "up.sh"), "-d", str(EXAMPLES / "down.sh"), "-z")
PASSPHRASE = "a secret of 19 byte"
VIP, VIP6 = "10.0.0.100", "fd00::100"


class Group:
    """Hosts a, b, ... on a bridge, each with a member of the group, and c who uses the address."""

    def __init__(self, net: Net, *virtual: str) -> None:
        self.net = net
        self.virtual = virtual or (VIP,)
        self.members: list[Member] = []
        self.extra: dict[str, str] = {}
        self.client = net.host("c", "10.0.0.3/24", "fd00::3/64")
        self.passfile = net.folder / "passphrase"
        self.passfile.write_text(f"{PASSPHRASE}\n")
        self.passfile.chmod(0o600)

    def host(self, number: int) -> Host:
        """A host with the addresses of this number."""
        return self.net.host(f"h{number}", f"10.0.0.{number}/24", f"fd00::{number}/64")

    def ours(self, host: Host, *options: str, scripts: Iterable[str] = SCRIPTS) -> Ours:
        addresses = [word for one in self.virtual for word in ("-a", one)]
        member = Ours(self, host, [*addresses, "-v", "1", *scripts, *options])
        self.members.append(member)
        return member

    def ucarp(self, host: Host, *options: str, vhid: int = 1, virtual: str = "") -> Ucarp:
        address = virtual or self.virtual[0]
        member = Ucarp(self, host, ["-a", address, "-v", str(vhid), *SCRIPTS, *options], address)
        self.members.append(member)
        return member

    def expect(self, master: Member, within: float = 8.0) -> None:
        """Within this many seconds the member, and nobody else, has the address."""

        def so() -> bool:
            return master.has_it() and not any(
                other.has_it() for other in self.members if other is not master
            )

        eventually_slowly(so, within, f"{master} alone MASTER")

    def logs(self) -> str:
        return "\n".join(f"--- {member}\n{member.log()}" for member in self.members)


class Member:
    """A process that takes part."""

    options: list[str]

    def __init__(self, group: Group, host: Host, options: list[str], virtual: str = "") -> None:
        self.group = group
        self.host = host
        self.options = options
        self.virtual = [virtual] if virtual else list(group.virtual)
        number = len(group.members)
        self.err = group.net.folder / f"{type(self).__name__}{number}.err"
        self.out = group.net.folder / f"{type(self).__name__}{number}.out"
        self.process: subprocess.Popen[Any] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__} on {self.host.name}"

    def argv(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with self.err.open("a") as err, self.out.open("a") as out:
            self.process = self.host.popen(
                *self.argv(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(self.group.extra),
            )

    def has_it(self, virtual: str = "") -> bool:
        """Whether it is MASTER, by the address that its scripts configure."""
        wanted = [virtual] if virtual else self.virtual
        shown = self.host.ip("-o", "address", "show", "dev", INTERFACE)
        return all(f" {one.partition('/')[0].strip('[]')}/" in shown for one in wanted)

    def kill(self) -> float:
        """SIGKILL; the address goes with it, as with a machine that lost its power."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        at = time.time()
        self.process.wait(timeout=10)
        for one in self.virtual:
            self.host.run(str(EXAMPLES / "down.sh"), INTERFACE, one.partition("/")[0].strip("[]"))
        return at

    def end(self) -> float:
        """SIGTERM, by which it ends with its address gone."""
        assert self.process is not None
        at = time.time()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=10) == 0
        return at

    def log(self) -> str:
        return self.err.read_text() if self.err.exists() else ""


class Ours(Member):
    """``carpproto run``."""

    nohup = False
    interface = INTERFACE

    def argv(self) -> list[str]:
        options = [*self.options]
        if "--config" not in options:
            options += ["-i", self.interface, "-o", str(self.group.passfile), "-f", "none"]
            options += ["--control", str(self.control)]
        wrapper = ["nohup"] if self.nohup else []
        return [
            *wrapper,
            sys.executable,
            "-W",
            "error",
            "-m",
            "carpproto",
            "run",
            "--json",
            *options,
        ]

    @property
    def control(self) -> Path:
        return self.out.with_suffix(".control")

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = self.out.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in found if event["event"] == kind]

    def states(self, vhid: int = 1) -> list[str]:
        return [event["to"] for event in self.events("state") if event["vhid"] == vhid]

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "carpproto", "run", "--status", str(self.control)],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            env=environment(),
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


class Ucarp(Member):
    """The real one."""

    def argv(self) -> list[str]:
        source = f"10.0.0.{self.host.name[1:]}"
        return [
            *("ucarp", "-i", INTERFACE, "-s", source, "-p", PASSPHRASE, "-f", "none"),
            *self.options,
        ]


class Pings:
    """Somebody who uses an address all the time."""

    def __init__(self, group: Group, address: str, every: float = 0.05) -> None:
        self.path = group.net.folder / f"ping-{address.replace(':', '-')}"
        with self.path.open("w") as out:
            self.process = group.client.popen(
                *("ping", "-D", "-n", "-i", str(every), "-W", "1", address),
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def replies(self) -> list[float]:
        found = re.findall(r"^\[([\d.]+)\] \d+ bytes from", self.path.read_text(), re.M)
        return [float(one) for one in found]

    def last_gap(self, since: float) -> float:
        """The longest time without a reply after a moment of the wall clock."""
        replies = self.replies()
        after = [at for at in replies if at >= since]
        before = [at for at in replies if at < since][-1:]
        times = [*before, *after]
        return max(later - earlier for earlier, later in pairwise(times))

    def answered(self, since: float, within: float = 5.0) -> None:
        eventually_slowly(
            lambda: len([at for at in self.replies() if at > since]) >= 3, within, "answers"
        )


def neighbor_has(group: Group, address: str, host: Host, within: float = 3.0) -> None:
    """The client's cache has the host's own MAC for the address."""
    mac = json.loads(host.ip("-j", "link", "show", "dev", INTERFACE))[0]["address"]

    def so() -> bool:
        return mac in group.client.ip("neighbor", "show", address)

    eventually_slowly(so, within, f"{address} at {mac}")


def eventually_slowly(test: Any, within: float, what: str) -> None:
    """As `eventually`, with less load: what is asked starts a process."""

    def patient() -> Any:
        found = test()
        if not found:
            time.sleep(0.1)
        return found

    eventually(patient, within, what)


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Many processes of Python begin: each is to compile nothing anew."""
    found = {**os.environ, "PYTHONPYCACHEPREFIX": CACHE, **(extra or {})}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


CACHE = ""
"""Set by the fixture that makes and removes it."""


def advertisements(path: Path) -> list[tuple[float, str, Any]]:
    """Time, source and advertisement of what tcpdump saw; fails for a malformed one."""
    found = []
    with open_capture(path) as capture:
        for seen in packets(capture):
            assert seen.problem is None, seen
            found.append(
                (seen.record.nanoseconds / 1e9, str(seen.packet.source), seen.advertisement)
            )
    return found
