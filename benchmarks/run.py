"""The speed of the codec, the HMAC, the machine and the reader, as ratios within one run.

``python benchmarks/run.py`` measures and prints; with ``--check`` the exit status is 1 when a
ratio is beyond its bound. pyperf's options apply (``--fast``, ``--rigorous``, ``-o FILE``).

The floor of "decode and verify" is the bare sequence of C calls that it needs: one precompiled
``Struct.unpack``, the checksum through ``int.from_bytes``, two SHA-1 ``copy``, ``update`` and
``digest`` with all before the counter computed beforehand, ``compare_digest``.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha1
from hmac import compare_digest
from pathlib import Path
from struct import Struct
from subprocess import PIPE, run
from time import perf_counter

import pyperf

from carpproto import (
    Advertisement,
    AdvertisementReceived,
    Authenticator,
    DatagramReceived,
    Event,
    InterfaceChanged,
    Node,
    State,
    VirtualHost,
    VirtualHostConfig,
    decode,
    peel_payload,
)
from carpproto.capture.reader import open_capture
from carpproto.core.addresses import parse_address
from carpproto.simulation.cluster import Cluster

RECORDINGS = Path(__file__).resolve().parent.parent / "tests" / "recordings" / "freebsd"
KEY = b"randompass".ljust(64, b"\0")
MESSAGE = bytes((2, 1, 1, 192, 168, 1, 50))


def main() -> int:
    """Measure everything; returns the exit status."""
    runner = pyperf.Runner(processes=6, values=5)
    runner.argparser.add_argument("--check", action="store_true")
    arguments = runner.parse_args()
    frame = first_advertisement()
    payload = peel_payload(frame)
    assert payload is not None
    authenticator = Authenticator(vhid=1, passphrase="randompass", addresses=["192.168.1.50"])
    assert authenticator.verify(decode(payload))
    assert make_floor()(payload)

    def decode_and_verify(payload: bytes) -> bool:
        return authenticator.verify(decode(payload))

    def frame_to_verified(frame: bytes) -> bool:
        payload = peel_payload(frame)
        return payload is not None and authenticator.verify(decode(payload))

    import scapy.layers.inet
    import scapy.layers.vrrp  # scapy dissects only the layers that are loaded
    from dpkt.ethernet import Ethernet
    from dpkt.pcap import Reader
    from scapy.layers.l2 import Ether

    assert Ether(frame).haslayer(scapy.layers.inet.IP)
    file = one_file(frame, 1000)
    advertisement = decode(payload)
    backup, many = make_node(1), make_node(255)
    host = backup.virtual_host("em0", 1)
    heard = AdvertisementReceived("em0", 4, parse_address("192.168.1.157"), advertisement)
    datagram = DatagramReceived("em0", heard.source, parse_address("224.0.0.18"), 255, payload)
    assert host.handle(heard, 1.0) == backup.handle(datagram, 2.0) == many.handle(datagram, 2.0)
    assert host.state is State.BACKUP
    assert host.deadline == 5.0
    measured = {
        "floor": runner.bench_func("floor", make_floor(), payload),
        "payload": runner.bench_func("decode and verify", decode_and_verify, payload),
        "frame": runner.bench_func("frame to verified", frame_to_verified, frame),
        "dpkt": runner.bench_func("dpkt Ethernet", Ethernet, frame),
        "scapy": runner.bench_func("scapy Ether", Ether, frame),
        "read": runner.bench_func("read 1000 records", partial(read, open_capture), file),
        "dpkt read": runner.bench_func("dpkt 1000 records", partial(read, Reader), file),
        "verify": runner.bench_time_func("verify", verify, authenticator, advertisement),
        "host": runner.bench_time_func("VirtualHost.handle", handle, host, heard),
        "node": runner.bench_time_func("Node.handle, 1 vhid", handle, backup, datagram),
        "node 255": runner.bench_time_func("Node.handle, 255 vhids", handle, many, datagram),
        "five nodes": runner.bench_time_func("a delivery, 5 nodes", deliver, 5, 1),
        "500 nodes": runner.bench_time_func("a delivery, 500 nodes", deliver, 500, 1),
        "255 vhids": runner.bench_time_func("a delivery, 5 nodes, 255 vhids", deliver, 5, 255),
        "start": runner.bench_command("python starts", [sys.executable, "-c", "pass"]),
        "import": runner.bench_command(
            "python imports carpproto", [sys.executable, "-c", "import carpproto"]
        ),
    }
    if arguments.worker:
        return 0  # one of the processes that pyperf starts for one of the measurements
    # The fastest value of each: what the machine does while nothing else disturbs it.
    best = {name: min(result.get_values()) for name, result in measured.items()}
    checks = [
        ("decode and verify / floor", best["payload"] / best["floor"], "<=", 1.9),
        ("dpkt's Ethernet / frame to verified", best["dpkt"] / best["frame"], ">=", 3),
        ("scapy's Ether / frame to verified", best["scapy"] / best["frame"], ">=", 30),
        ("dpkt's Reader / reading a pcap", best["dpkt read"] / best["read"], ">=", 1.5),
        ("VirtualHost.handle / Authenticator.verify", best["host"] / best["verify"], "<=", 2),
        ("Node.handle, 255 vhids / 1 vhid", best["node 255"] / best["node"], "<=", 1.1),
        ("simulated deliveries each second, thousands", 0.001 / best["five nodes"], ">=", 200),
        ("a simulated delivery, 500 nodes / 5", best["500 nodes"] / best["five nodes"], "<=", 1.2),
        ("a simulated delivery, 255 vhids / 1", best["255 vhids"] / best["five nodes"], "<=", 1.2),
        ("memory of a campaign, 1000 runs / 100", peak(1000) / peak(100), "<=", 1.1),
        ("import carpproto, ms", (best["import"] - best["start"]) * 1000, "<=", 30),
    ]
    missed = False
    for name, value, relation, bound in checks:
        good = value <= bound if relation == "<=" else value >= bound
        missed = missed or not good
        print(f"{name}: {value:.2f} (bound {relation} {bound}){'' if good else ' MISSED'}")
    return int(missed and arguments.check)


def make_node(vhids: int) -> Node:
    """A node that is BACKUP of vhids 1 and up; the first recorded advertisement is of vhid 1."""
    node = Node()
    node.add_interface("em0", mac="52:54:00:00:00:01", addresses=["192.168.1.158"])
    for vhid in range(1, vhids + 1):
        address = "192.168.1.50" if vhid == 1 else f"192.168.2.{vhid}"
        config = VirtualHostConfig(vhid=vhid, passphrase="randompass", addresses=[address])
        node.add_virtual_host("em0", config)
    node.handle(InterfaceChanged("em0", True), 0.0)
    return node


def verify(loops: int, authenticator: Authenticator, advertisement: Advertisement) -> float:
    """Seconds that it takes to verify an advertisement so many times."""
    check = authenticator.verify
    start = perf_counter()
    for _ in range(loops):
        check(advertisement)
    return perf_counter() - start


def handle(loops: int, machine: VirtualHost | Node, event: Event) -> float:
    """Seconds that it takes to handle an advertisement so many times, the time going on."""
    handle = machine.handle
    now = start = perf_counter()
    for _ in range(loops):
        now += 1e-6  # less than it takes
        handle(event, now)
    return perf_counter() - start


def deliver(loops: int, nodes: int, vhids: int) -> float:
    """Seconds that so many deliveries of an advertisement take, in a cluster without faults.

    Timers and sending included; each receiver peels, decodes and verifies for itself.
    """
    cluster = Cluster()
    for number in range(nodes):
        hosts = (
            VirtualHostConfig(
                vhid=vhid,
                passphrase="randompass",
                addresses=[f"192.0.2.{vhid}"],
                advskew=min(number, 240),
            )
            for vhid in range(1, vhids + 1)
        )
        cluster.add_node(f"n{number}", *hosts)
    cluster.run(10.0)
    before, start = cluster.delivered, perf_counter()
    wanted = max(loops, 20_000)
    while cluster.delivered - before < wanted:
        cluster.run_for(max(1.0, wanted / 10 / nodes / vhids))
    return (perf_counter() - start) / (cluster.delivered - before) * loops


CAMPAIGN = """
import re, sys
from concurrent.futures import ThreadPoolExecutor
from carpproto.simulation.campaign import run_campaign
with ThreadPoolExecutor(1) as executor:
    run_campaign(range(int(sys.argv[1])), executor=executor)
with open("/proc/self/status") as status:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1])
"""


def peak(runs: int) -> int:
    """The most memory, in kB, of a process that has done a campaign of random runs; on Linux."""
    # Not ru_maxrss, which begins with what the process had that started this one.
    command = (sys.executable, "-c", CAMPAIGN, str(runs))
    return int(run(command, stdout=PIPE, text=True, check=True).stdout)


def first_advertisement() -> bytes:
    """The first frame of an advertisement that a FreeBSD kernel sent."""
    with open_capture(RECORDINGS / "single-v4.pcap") as capture:
        return next(record.data for record in capture if record.data[23] == 112)


def make_floor() -> Callable[[bytes], bool]:
    """What decoding and verifying cannot do without, and nothing else."""
    unpack = Struct(">BBBBBBHQ20s").unpack
    inner = sha1(bytes(byte ^ 0x36 for byte in KEY) + MESSAGE)
    outer = sha1(bytes(byte ^ 0x5C for byte in KEY))

    def floor(payload: bytes) -> bool:
        fields = unpack(payload)
        if int.from_bytes(payload, "big") % 0xFFFF:
            return False
        message = inner.copy()
        message.update(payload[8:16])
        digest = outer.copy()
        digest.update(message.digest())
        return compare_digest(digest.digest(), fields[8])

    return floor


def one_file(frame: bytes, count: int) -> bytes:
    """A classic pcap of one frame again and again."""
    header = Struct("<IHHiIII").pack(0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    record = Struct("<IIII").pack(0, 0, len(frame), len(frame)) + frame
    return header + record * count


def read(reader: Callable[[io.BytesIO], Iterable[object]], file: bytes) -> int:
    """Read a whole file."""
    return sum(1 for _ in reader(io.BytesIO(file)))


if __name__ == "__main__":
    sys.exit(main())
