"""The other end of `tests.live.peer`: starts one in a host's namespace and listens to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from carpproto.capture.packets import packets
from carpproto.capture.reader import open_capture
from tests.live.net import Host, eventually

PEER = Path(__file__).with_name("peer.py")


class Controlled:
    """A node in a process of its own."""

    def __init__(self, host: Host, **options: Any) -> None:
        self.host = host
        self.process = host.popen(
            *(sys.executable, "-W", "error", str(PEER), json.dumps(options)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        for read in (self._read, self._complain):
            threading.Thread(target=read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def _complain(self) -> None:
        self.complaints.extend(self.process.stderr)

    def states(self, vhid: int = 1) -> list[str]:
        """The states that it went through, INIT not counted."""
        return [
            line["current"]
            for line in tuple(self.said)
            if line["action"] == "StateChanged" and line["vhid"] == vhid
        ]

    def wait_for(self, state: str, within: float, vhid: int = 1) -> None:
        def there() -> bool:
            assert self.process.poll() is None, f"it ended: {''.join(self.complaints)}"
            return self.states(vhid)[-1:] == [state]

        try:
            eventually(there, within, f"{self.host.name} {state}")
        except AssertionError as error:
            self.signal(signal.SIGUSR1)  # where is it?
            self.tell("report")
            time.sleep(0.5)
            raise AssertionError(f"{error}: {self.said[-5:]}, {self.complaints}") from None

    def tell(self, word: str) -> None:
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def report(self) -> dict[str, Any]:
        def reports() -> list[dict[str, Any]]:
            return [line for line in tuple(self.said) if line["action"] == "report"]

        before = len(reports())
        self.tell("report")
        eventually(lambda: len(reports()) > before, 10, "a report")
        return reports()[-1]

    def shut_down(self) -> None:
        self.tell("shutdown")
        assert self.process.wait(timeout=10) == 0, "".join(self.complaints)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(timeout=10)


class Wire(NamedTuple):
    """An advertisement as the bridge saw it."""

    t: float
    source: str
    source_mac: str
    family: int
    vhid: int
    advbase: int
    advskew: int
    hop_limit: int


def on_the_wire(path: Path) -> list[Wire]:
    """The advertisements that were recorded; fails for one that is not well-formed."""
    found = []
    with open_capture(path) as capture:
        for seen in packets(capture):
            assert seen.problem is None, seen
            packet, advertisement = seen.packet, seen.advertisement
            found.append(
                Wire(
                    seen.record.nanoseconds / 1e9,
                    str(packet.source),
                    seen.ethernet.source,
                    packet.family,
                    advertisement.vhid,
                    advertisement.advbase,
                    advertisement.advskew,
                    packet.hop_limit,
                )
            )
    return found
