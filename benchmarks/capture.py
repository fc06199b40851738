"""A capture of a million advertisements: read, decoded and verified, beside tshark and tcpdump.

``python benchmarks/capture.py`` makes the capture of recordings, each copy of an advertisement
with a counter and a digest of its own, and measures, in one run:

- carpproto: every record read, every advertisement decoded and verified under its group's key;
- ``tshark -T fields -d ip.proto==112,carp`` extracting the same fields, without any HMAC;
- ``tcpdump -nr FILE -T carp`` printing them, without any HMAC.

With ``--check`` the exit status is 1 when carpproto is not at least 3 times as fast as tshark, or
takes 60 MB or more. Each is a process of its own, the fastest of ``--rounds``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from subprocess import DEVNULL, PIPE, run
from tempfile import TemporaryDirectory
from time import perf_counter

from carpproto.capture.link import ETHERNET
from carpproto.capture.reader import open_capture
from carpproto.core.advertisement import decode, encode
from carpproto.core.authentication import Authenticator
from carpproto.core.errors import DecodeError
from carpproto.core.frame import peel, peel_payload

RECORDINGS = Path(__file__).resolve().parent.parent / "tests" / "recordings" / "freebsd"
# Of both families, tagged and not, with 1 to 7 addresses in a group; no vhid in two of them.
NAMES = ("many-vhids", "dual", "multi-v4-longpass", "v6only", "vlan")
FIELDS = ("vhid", "advskew", "authlen", "demotion", "adver_int", "counter", "hmac")
RATIO = 3.0
MEGABYTES = 60.0
_RECORD = Struct("<IIII")


def groups() -> list[Authenticator]:
    """What verifies each group of the recordings."""
    found: list[Authenticator] = []
    for name in NAMES:
        description = json.loads((RECORDINGS / f"{name}.json").read_text())
        keys: dict[int, bytes] = {}
        addresses: dict[int, list[str]] = {}
        for event in description["events"]:
            if event["event"] == "virtual_host":
                keys[event["vhid"]] = bytes.fromhex(event["key"])
            elif event["event"] == "address_added" and event["vhid"] is not None:
                addresses.setdefault(event["vhid"], []).append(event["address"])
        found += [
            Authenticator(vhid=vhid, key=key, addresses=addresses[vhid])
            for vhid, key in keys.items()
        ]
    return found


def templates(verifiers: dict[int, Authenticator]) -> list[tuple[bytes, bytes]]:
    """The recorded advertisements: the frame before and the one behind the payload."""
    found: list[tuple[bytes, bytes]] = []
    for name in NAMES:
        with open_capture(RECORDINGS / f"{name}.pcap") as capture:
            for record in capture:
                packet = peel(record.data)
                if packet is None:
                    continue
                advertisement = decode(packet.payload)
                if verifiers[advertisement.vhid].verify(advertisement):
                    found.append((record.data[: packet.offset], packet.payload))
    return found


def make(path: Path, count: int) -> None:
    """Write a pcap of so many advertisements."""
    verifiers = {group.vhid: group for group in groups()}
    recorded = templates(verifiers)
    with path.open("wb") as file:
        file.write(Struct("<IHHiIII").pack(0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number in range(count):
            before, payload = recorded[number % len(recorded)]
            old = decode(payload)
            new = verifiers[old.vhid].sign(old._replace(counter=number << 20 | 7))
            frame = before + encode(new)
            file.write(_RECORD.pack(number // 1000, number % 1000 * 1000, len(frame), len(frame)))
            file.write(frame)


def verify(path: str) -> Iterator[bool]:
    """Read, decode and verify every advertisement of a capture: is it authentic?"""
    verifiers = {group.vhid: group.verify for group in groups()}
    with open_capture(path) as capture:
        for _, _, linktype, data, _ in capture:
            try:
                if linktype != ETHERNET:
                    continue  # `carpproto.capture.link.payload_of` takes others, too
                payload = peel_payload(data)
                if payload is None:
                    continue
                advertisement = decode(payload)
            except DecodeError:
                yield False
                continue
            check = verifiers.get(advertisement[0])
            yield check is not None and check(advertisement)


def work(path: str) -> None:
    """What the measured process does: print how many are authentic, and the most memory."""
    authentic = sum(verify(path))
    status = Path("/proc/self/status").read_text()
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", status)
    print(authentic, peak)


def main() -> int:
    """Measure and compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        return 0
    with TemporaryDirectory() as directory:
        path = Path(directory) / "million.pcap"
        make(path, arguments.count)
        fields = [word for name in FIELDS for word in ("-e", f"carp.{name}")]
        ours = [sys.executable, __file__, "--work", str(path)]
        tshark = ["tshark", "-n", "-r", str(path), "-d", "ip.proto==112,carp", "-T", "fields"]
        tcpdump = ["tcpdump", "-nr", str(path), "-T", "carp"]
        seconds: dict[str, float] = {}
        for _ in range(arguments.rounds):
            for name, command in (
                ("carpproto", ours),
                ("tshark", [*tshark, *fields]),
                ("tcpdump", tcpdump),
            ):
                start = perf_counter()
                out = PIPE if name == "carpproto" else DEVNULL
                done = run(command, stdout=out, stderr=DEVNULL, check=True, env=os.environ)
                took = perf_counter() - start
                seconds[name] = min(took, seconds.get(name, took))
                if name == "carpproto":
                    authentic, peak = map(int, done.stdout.split())
    if authentic != arguments.count:
        print(f"only {authentic} of {arguments.count} are authentic")
        return 1
    for name, took in seconds.items():
        print(f"{name}: {took:.2f} s, {took / arguments.count * 1e6:.2f} us for each")
    checks = [
        ("tshark / carpproto", seconds["tshark"] / seconds["carpproto"], ">=", RATIO),
        ("carpproto's memory, MB", peak / 1024, "<", MEGABYTES),
    ]
    missed = False
    for name, value, relation, bound in checks:
        good = value >= bound if relation == ">=" else value < bound
        missed = missed or not good
        print(f"{name}: {value:.2f} (bound {relation} {bound}){'' if good else ' MISSED'}")
    print(f"tcpdump / carpproto: {seconds['tcpdump'] / seconds['carpproto']:.2f}")
    return int(missed and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
