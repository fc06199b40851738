"""tshark and tcpdump beside the library: what it builds, they decode without complaint.

Both are needed; without them these tests fail, and say so.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from carpproto import (
    Advertisement,
    Authenticator,
    build,
    decode,
    encode,
    gratuitous_arp,
    neighbor_advertisement,
)
from carpproto.capture.recording import load
from tests.helpers import RECORDINGS

CARP = ("-d", "ip.proto==112,carp")
FIELDS = ("vhid", "advskew", "authlen", "demotion", "adver_int", "counter", "hmac")


def run(tool: str, *arguments: str) -> str:
    if shutil.which(tool) is None:
        pytest.fail(f"{tool} is missing; install it with the system's package manager")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def write_pcap(path: Path, frames: list[bytes]) -> Path:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for second, frame in enumerate(frames):
            file.write(struct.pack("<IIII", second, 0, len(frame), len(frame)) + frame)
    return path


def advertisements() -> list[tuple[Advertisement, bytes]]:
    """Advertisements over the whole range of every field, in frames of both families."""
    frames = []
    for vhid, advbase, advskew, demote, counter in (
        (1, 1, 0, 0, 0),
        (255, 255, 255, 255, 2**64 - 1),
        (100, 3, 254, 1, 2**63),
        (7, 0, 1, 0, 10009968722567644910),
    ):
        authenticator = Authenticator(
            vhid=vhid, passphrase="randompass", addresses=["192.0.2.1", "2001:db8::1"]
        )
        advertisement = authenticator.sign(
            Advertisement(
                vhid=vhid, advbase=advbase, advskew=advskew, demote=demote, counter=counter
            )
        )
        payload = encode(advertisement)
        mac = f"00:00:5e:00:01:{vhid:02x}"
        for tags in ((), (10,), (200, 10)):
            for source, destination in (("192.0.2.11", "224.0.0.18"), ("fe80::11", "ff02::12")):
                frame = build(
                    payload,
                    source=source,
                    destination=destination,
                    source_mac=mac,
                    traffic_class=0xE0,
                    tags=tags,
                )
                frames.append((decode(payload), frame))
    return frames


def test_tshark_reads_every_field_of_a_built_frame_as_we_do(tmp_path: Path) -> None:
    built = advertisements()
    path = write_pcap(tmp_path / "built.pcap", [frame for _, frame in built])
    fields = [word for name in FIELDS for word in ("-e", f"carp.{name}")]
    printed = run(
        "tshark", "-r", str(path), *CARP, "-o", "ip.check_checksum:TRUE", "-T", "fields", *fields,
        "-e", "carp.checksum.status", "-e", "ip.checksum.status", "-e", "_ws.expert.message",
        "-e", "carp.version", "-e", "carp.type",
    )  # fmt: skip
    lines = printed.split("\n")[:-1]
    assert len(lines) == len(built)
    for line, (advertisement, frame) in zip(lines, built, strict=True):
        fields_of = line.split("\t")
        assert [int(value, 0) for value in fields_of[:6]] == [
            advertisement.vhid,
            advertisement.advskew,
            advertisement.authlen,
            advertisement.demote,
            advertisement.advbase,
            advertisement.counter,
        ]
        assert bytes.fromhex(fields_of[6].replace(":", "")) == advertisement.digest
        good = "1"  # the status that tshark calls Good
        ipv6 = b"\x86\xdd" in frame[12:22]
        assert fields_of[7] == good
        assert fields_of[8] == ("" if ipv6 else good)
        assert fields_of[9] == ""  # no complaint
        assert fields_of[10:] == ["2", "1"]


def test_tcpdump_prints_a_built_frame_as_carp_without_complaint(tmp_path: Path) -> None:
    built = advertisements()
    path = write_pcap(tmp_path / "built.pcap", [frame for _, frame in built])
    lines = run("tcpdump", "-nvr", str(path), "-T", "carp").splitlines()
    printed = [line for line in lines if "CARPv2-advertise" in line]
    assert len(printed) == len(built)
    for line, (advertisement, _) in zip(printed, built, strict=True):
        assert f"vhid={advertisement.vhid} " in line
        assert f"advbase={advertisement.advbase} " in line
        assert f"advskew={advertisement.advskew} " in line
        assert f"authlen={advertisement.authlen} " in line
        assert line.endswith(f"counter={advertisement.counter}")
    assert not any("bad" in line or "invalid" in line or "[|" in line for line in lines)


def test_tshark_and_tcpdump_read_built_announcements(tmp_path: Path) -> None:
    mac, own = "00:00:5e:00:01:01", "52:54:00:00:00:0a"
    frames = [
        gratuitous_arp(IPv4Address("192.0.2.1"), mac=mac, source_mac=own),
        neighbor_advertisement(
            IPv6Address("2001:db8::1"), mac=mac, source=IPv6Address("fe80::11")
        ),
    ]
    path = write_pcap(tmp_path / "announced.pcap", frames)
    printed = run(
        "tshark", "-r", str(path), "-T", "fields",
        "-e", "arp.isgratuitous", "-e", "arp.src.hw_mac",
        "-e", "icmpv6.checksum.status", "-e", "icmpv6.nd.na.target_address",
        "-e", "icmpv6.nd.na.flag.o", "-e", "icmpv6.nd.na.flag.s", "-e", "icmpv6.opt.linkaddr",
        "-e", "_ws.malformed",
    )  # fmt: skip
    arp, advertised = (line.split("\t") for line in printed.split("\n")[:-1])
    assert arp[0] in ("1", "True")
    assert arp[1] == mac
    assert arp[7] == ""
    assert advertised[2:4] == ["1", "2001:db8::1"]
    assert advertised[6:] == [mac, ""]
    assert advertised[4] in ("1", "True")
    assert advertised[5] in ("0", "False")
    lines = run("tcpdump", "-nvr", str(path))
    assert "who-has 192.0.2.1 tell 192.0.2.1" in lines
    assert "tgt is 2001:db8::1, Flags [override]" in lines


@pytest.mark.parametrize("name", ["dual", "vlan", "many-vhids", "demotion-preempt1"])
def test_tshark_finds_the_advertisements_that_we_find_in_a_recording(name: str) -> None:
    recording = load(RECORDINGS / "freebsd" / f"{name}.json")
    printed = run(
        "tshark", "-r", str(recording.pcap), *CARP, "-Y", "carp", "-T", "fields",
        "-e", "frame.number", "-e", "carp.vhid", "-e", "carp.counter",
    )  # fmt: skip
    theirs = [tuple(int(value, 0) for value in line.split("\t")) for line in printed.splitlines()]
    ours = []
    for frame in recording.frames():
        advertisement = decode(frame.packet.payload)
        ours.append((frame.number, advertisement.vhid, advertisement.counter))
    assert ours == theirs
