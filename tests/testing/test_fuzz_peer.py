"""The live target: what it sends, what it takes for a lost role, and ucarp in a namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from random import Random
from time import monotonic, sleep

import pytest

from carpproto import ConfigError, decode, peel
from carpproto.capture.writer import pcap
from carpproto.core.addresses import parse_address
from carpproto.core.announcement import gratuitous_arp
from carpproto.testing.fuzz_peer import (
    LISTENS,
    Watched,
    _Watch,
    question,
    unauthentic,
    watch,
)
from carpproto.testing.fuzzing import Spec
from carpproto.testing.mutators import Mutation, mutations, write_field
from tests.helpers import RECORDINGS, recorded

PEER = parse_address("192.168.1.157")
FRAMES = tuple(frame for frame in recorded("freebsd/single-v4") if frame[23] == 112)


class Network:
    """A packet socket on which the peer is heard at given times."""

    def __init__(self, heard: list[float], answers: int) -> None:
        self.begins = monotonic()
        self.answers = answers  # how often somebody says that the peer is there
        self.asked = False
        self.heard = heard
        self.sent: list[bytes] = []
        self.timeout = 0.0

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def getsockname(self) -> tuple[str, int, int, int, bytes]:
        return "em0", 3, 0, 1, bytes.fromhex("52540000000c")

    def send(self, frame: bytes) -> int:
        if frame[12:14] == b"\x08\x06":
            self.asked = True
        else:
            self.sent.append(frame)
        return len(frame)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int, int]]:
        if self.asked and self.answers:
            self.asked, self.answers = False, self.answers - 1
            mac = "52:54:00:00:00:0b"
            return gratuitous_arp(PEER, mac=mac, source_mac=mac), ("em0", 0x806, 0)
        if self.heard and self.heard[0] <= monotonic() - self.begins + self.timeout:
            sleep(max(0.0, self.heard.pop(0) - (monotonic() - self.begins)))
            return FRAMES[0], ("em0", 0x800, 2)
        sleep(self.timeout)
        raise TimeoutError


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    if "live" not in os.environ.get("PYTEST_CURRENT_TEST", ""):
        monkeypatch.setattr("carpproto.testing.fuzz_peer.LISTENS", 0.1)
        monkeypatch.setattr("carpproto.testing.fuzz_peer._ADVBASES", 0.2)


def watched(heard: list[float], seconds: float = 0.4, answers: int = 9) -> tuple[Watched, Network]:
    network = Network(heard, answers)
    frames = [(number / 100, FRAMES[1]) for number in range(int(seconds * 100))]
    return _Watch(network, PEER).run(frames), network  # type: ignore[arg-type]


def test_a_peer_that_goes_on() -> None:
    found, network = watched([n / 20 for n in range(20)])
    assert (found.was_master, found.finding, found.sent) == (True, None, 40)
    assert len(network.sent) == len(found.frames) == 40


def test_a_peer_that_falls_silent() -> None:
    found, _ = watched([0.02, 0.08])
    assert found.finding == ("role", "the peer has not advertised for 0.2 s")
    assert found.was_master
    assert 5 < found.sent < 40


def test_a_peer_that_is_silent_and_one_that_begins() -> None:
    found, _ = watched([])
    assert (found.was_master, found.finding, found.sent) == (False, None, 40)
    found, _ = watched([0.2])
    assert found.finding == ("role", "the peer was silent, and advertises now")


def test_a_silent_peer_that_is_not_there_or_goes() -> None:
    found, _ = watched([], answers=1)
    assert found.finding == ("gone", "the peer was silent, and does not answer any more")
    with pytest.raises(ConfigError, match=r"nobody answers at 192\.168\.1\.157 on this network"):
        watched([], answers=0)


@pytest.mark.parametrize("peer", ["192.0.2.9", "fe80::9", "2001:db8::1:9"])
def test_the_question_who_has_an_address(peer: str) -> None:
    mac = "52:54:00:00:00:0c"
    frame = question(parse_address(peer), mac)
    fields = (
        *("arp.dst.proto_ipv4", "arp.src.proto_ipv4", "icmpv6.nd.ns.target_address"),
        *("icmpv6.checksum.status", "_ws.malformed"),
    )
    words = [word for field in fields for word in ("-e", field)]
    command = ["tshark", "-r", "-", "-T", "fields", *words]
    done = subprocess.run(command, input=pcap([(0, frame)]), capture_output=True, check=True)
    line = done.stdout.decode().rstrip("\n")
    asked = [peer, "0.0.0.0", "", "", ""] if "." in peer else ["", "", peer, "1", ""]
    assert line.split("\t") == asked


@pytest.mark.parametrize("peer", ["224.0.0.18", "127.0.0.1", "::"])
def test_an_address_that_no_peer_has(peer: str) -> None:
    if sys.platform != "linux":
        pytest.skip("packet sockets are Linux's")
    with pytest.raises(ConfigError, match="is no address of a peer; give its own"):
        watch([], interface="lo", peer=peer)


def test_nothing_authentic_is_sent() -> None:
    spec = Spec(FRAMES)
    replayed = Mutation("as it was", FRAMES[0])
    altered = Mutation("another advskew", write_field(FRAMES[0], "carp.advskew", 200))
    other = Mutation("another counter", write_field(FRAMES[0], "carp.counter", 1))
    short, long = Mutation("short", b"x" * 13), Mutation("long", b"x" * 1515)
    assert list(unauthentic(spec, [replayed, altered, other, short, long])) == [other]
    sent = [
        mutation.frame
        for mutation in islice(unauthentic(spec, mutations(spec.frames, Random(1))), 3000)
    ]
    known = {decode(frame[34:])[4:6] for frame in FRAMES}
    for frame in sent:
        with suppress(Exception):
            assert decode(peel(frame).payload)[4:6] not in known


def test_an_interface_that_is_not_there() -> None:
    if sys.platform != "linux":
        pytest.skip("packet sockets are Linux's")
    with pytest.raises(ConfigError, match="cannot use the interface nosuch0"):
        watch([], interface="nosuch0", peer="192.0.2.1")


# -- a real one ----------------------------------------------------------------------------------


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def ucarp(tmp_path: Path) -> Iterator[str]:
    """A ucarp in a namespace; the name of another one, with an interface cpf0 to it."""
    ours, theirs = f"cpf-a{os.getpid()}", f"cpf-b{os.getpid()}"
    script = tmp_path / "nothing.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    process: subprocess.Popen[bytes] | None = None
    try:
        ip("netns", "add", ours)
        ip("netns", "add", theirs)
        ip("-n", ours, "link", "add", "cpf0", "type", "veth", "peer", "cpf1", "netns", theirs)
        ip("-n", theirs, "addr", "add", "192.0.2.1/24", "dev", "cpf1")
        ip("-n", theirs, "link", "set", "cpf1", "up")
        ip("-n", ours, "link", "set", "cpf0", "up")
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", theirs, "ucarp", "-i", "cpf1", "-s", "192.0.2.1"),
                *("-a", "192.0.2.50", "-v", "1", "-p", "randompass", "-u", script, "-d", script),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        sleep(0.5)  # it becomes MASTER while it is listened to
        yield ours
    finally:
        if process is not None:
            process.terminate()
            process.wait()
        for name in (ours, theirs):
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)


@pytest.mark.live
def test_live_ucarp_keeps_to_its_role(tmp_path: Path) -> None:
    if (
        sys.platform != "linux"
        or os.geteuid()
        or not (shutil.which("ucarp") and shutil.which("ip"))
    ):
        pytest.skip("needs root on Linux, ip and ucarp")
    files = sorted((RECORDINGS / "ucarp").glob("s*.pcap"))
    command = ["fuzz", *map(str, files), "--target", "peer", "--interface", "cpf0"]
    command += ["--peer", "192.0.2.1", "--frames", "500", "--rate", "500"]
    with ucarp(tmp_path) as namespace:
        done = subprocess.run(
            ["ip", "netns", "exec", namespace, sys.executable, "-m", "carpproto", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60 + 2 * LISTENS,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "500 frames sent with seed 0: the peer, MASTER, keeps to its role\n"
