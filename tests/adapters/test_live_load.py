"""The adapters under load: a flood of bad packets, and 255 virtual hosts in one process.

These two measure, so they run by themselves.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import pytest

from carpproto.core.advertisement import Advertisement, encode
from carpproto.core.frame import build
from tests.live.control import Controlled, on_the_wire
from tests.live.net import INTERFACE, Net, skip_unless_live

pytestmark = pytest.mark.live

INJECT = Path(__file__).parent.parent / "live" / "inject.py"
PER_SECOND = 1000
SECONDS = 20


def bad_frames() -> list[bytes]:
    """Forged, damaged, cut short, of strange vhids, with a wrong TTL, for somebody else."""
    source = random.Random("flood")
    ends = {"source": "192.0.2.66", "destination": "224.0.0.18", "source_mac": "52:54:00:00:00:66"}
    right = encode(Advertisement(1, 1, 0, 0, 7, source.randbytes(20)))
    frames = [build(right, **ends), build(right, **ends, hop_limit=254)]
    frames += [build(encode(Advertisement(vhid, 1, 0)), **ends) for vhid in (0, 2, 9)]
    frames.append(build(right[:30], **ends))
    frames.append(build(source.randbytes(36), **ends))
    frames.append(build(source.randbytes(1400), **ends))
    frames.append(build(right, **{**ends, "source": "fe80::66", "destination": "ff02::12"}))
    damaged = bytearray(frames[0])
    damaged[14] = 0x4F  # a header of 60 bytes
    frames.append(bytes(damaged))
    return frames


def test_a_flood_of_bad_packets_does_not_delay_the_own_advertisements() -> None:
    skip_unless_live("tcpdump")
    with Net() as net:
        flooded = []
        for vhid, kind in ((1, "packet"), (9, "raw")):
            host = net.host(kind, f"192.0.2.{vhid}/24", f"2001:db8::{vhid}/64")
            addresses = [f"192.0.2.{50 + vhid}", f"2001:db8::{50 + vhid}"]
            virtual = {"vhid": vhid, "addresses": addresses, "passphrase": "x"}
            flooded.append(Controlled(host, kind=kind, quiet=True, vhids=[virtual]))
        for ours, vhid in zip(flooded, (1, 9), strict=True):
            ours.wait_for("MASTER", 8, vhid=vhid)
        recorded = net.capture("own", "ether", "src", "not", "52:54:00:00:00:66")
        before = [ours.report() for ours in flooded]
        frames = bad_frames()
        lines = (
            f"{n / PER_SECOND} {frames[n % len(frames)].hex()}"
            for n in range(SECONDS * PER_SECOND)
        )
        process = net.host("f").popen(
            *(sys.executable, str(INJECT), INTERFACE),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        process.stdin.write("\n".join(lines))
        process.stdin.close()
        assert process.wait(timeout=SECONDS + 20) == 0
        after = [ours.report() for ours in flooded]
        for ours, vhid in zip(flooded, (1, 9), strict=True):
            assert ours.states(vhid) == ["BACKUP", "MASTER"]
        net.stop_capture()
        wire = on_the_wire(recorded)
    for first, last in zip(before, after, strict=True):
        heard = {
            name: last["counters"][name] - first["counters"][name] for name in last["counters"]
        }
        # One frame of ten is no IP packet, which no transport passes on; the other host's
        # advertisements come on top.
        bad = SECONDS * PER_SECOND * 9 // 10
        assert bad <= heard["ipackets"] + heard["ipackets6"] <= bad + 4 * SECONDS
        names = ("badttl", "badsum", "badlen", "badauth", "badvhid")
        assert min(heard[name] for name in names) > 0
        print(f"{(last['cpu'] - first['cpu']) / SECONDS:.1%} of a core")
    for vhid in (1, 9):
        for family in (4, 6):
            times = [seen.t for seen in wire if (seen.vhid, seen.family) == (vhid, family)]
            assert len(times) >= SECONDS
            late = max(abs(second - first - 1) for first, second in pairwise(times))
            print(f"vhid {vhid}, IPv{family}: at most {late * 1000:.1f} ms off schedule")
            assert late < 0.02


def test_255_virtual_hosts_as_master_take_less_than_5_percent_of_a_core() -> None:
    skip_unless_live("tcpdump")
    with ThreadPoolExecutor(2) as pool:
        # All at the same moments, and each at a moment of its own.
        for done in [pool.submit(many_masters, "raw", 0), pool.submit(many_masters, "packet", 1)]:
            done.result()


def many_masters(kind: str, skewed: int) -> None:
    first = IPv4Address("10.112.0.0")
    hosts = [
        {
            "vhid": vhid,
            "addresses": [str(first + vhid)],
            "passphrase": "x",
            "advskew": vhid % 32 * skewed,
        }
        for vhid in range(1, 256)
    ]
    with Net() as net:
        host = net.host("a", "10.112.1.1/16")
        ours = Controlled(host, kind=kind, quiet=True, vhids=hosts)
        for vhid in range(1, 256):
            ours.wait_for("MASTER", 12, vhid=vhid)
        time.sleep(1)
        recorded = net.capture("own", "proto", "112")
        before = ours.report()
        time.sleep(10)
        after = ours.report()
        net.stop_capture()
        wire = on_the_wire(recorded)
    assert set(after["states"]) == {"MASTER"}
    share = (after["cpu"] - before["cpu"]) / (after["t"] - before["t"])
    print(f"{kind}: 255 virtual hosts take {share:.1%} of a core")
    assert share < 0.05
    for vhid in range(1, 256):
        times = [seen.t for seen in wire if seen.vhid == vhid]
        assert len(times) >= 8
        interval = 1 + (vhid % 32 * skewed) / 256
        assert max(abs(b - a - interval) for a, b in pairwise(times)) < 0.05
