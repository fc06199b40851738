"""The adapters on real interfaces: elections, failover, stalls, links that come and go.

Each scenario has a network of its own, and they run side by side: they wait most of the time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from carpproto import Advertisement, Authenticator, build, encode
from carpproto.capture.recording import load
from tests.helpers import RECORDINGS
from tests.live.control import Controlled, Wire, on_the_wire
from tests.live.net import INTERFACE, Host, Net, command, eventually, skip_unless_live

pytestmark = pytest.mark.live

V4, V6 = "192.0.2.50", "2001:db8::50"
VIRTUAL_MAC = "00:00:5e:00:01:01"
SKEW = 50
DOWN = 3 + SKEW / 256  # seconds until the backup is MASTER
PRECISE = 0.02
EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples" / "adapters"
INJECT = Path(__file__).parent.parent / "live" / "inject.py"


def two_hosts(net: Net) -> tuple[Host, Host]:
    return tuple(  # type: ignore[return-value]
        net.host(name, f"192.0.2.{number}/24", f"2001:db8::{number}/64")
        for number, name in enumerate("ab", 1)
    )


def start(host: Host, advskew: int, addresses: list[str], **options: Any) -> Controlled:
    config = {
        "vhid": 1,
        "addresses": addresses,
        "advskew": advskew,
        "passphrase": "randompass",
    }
    return Controlled(host, **{"vhids": [config], **options})


def start_pair(net: Net, addresses: list[str], **options: Any) -> tuple[Controlled, Controlled]:
    """One that is MASTER, and its backup."""
    first, second = two_hosts(net)
    master = start(first, 0, addresses, **options)
    master.wait_for("BACKUP", 5)  # or the other may be there first
    backup = start(second, SKEW, addresses, **options)
    master.wait_for("MASTER", 5)
    backup.wait_for("BACKUP", 5)
    return master, backup


# -- failover ---------------------------------------------------------------------------------


def failover(net: Net, addresses: list[str], *, macvlan: bool = False, **options: Any) -> None:
    """SIGKILL of the master, its return as a backup, then an orderly end of the new master."""
    options["configure"] = [f"{a}/{128 if ':' in a else 32}" for a in addresses]
    mac = "52:54:00:00:00:02"
    if macvlan:
        options |= {"device": "vmac", "bring_up": "vmac"}
        mac = VIRTUAL_MAC
    else:
        options |= {"device": INTERFACE, "changes": {"real_mac_answers": True}}
    first, second = two_hosts(net)
    third = net.host("c", "192.0.2.3/24", "2001:db8::3/64")
    if macvlan:
        for host in (first, second):
            # Or Linux answers for the macvlan's address with the MAC of the interface below.
            for setting in ("arp_ignore=1", "arp_announce=2"):
                host.run("sysctl", "-q", "-w", f"net.ipv4.conf.{INTERFACE}.{setting}")
            link = ("link", INTERFACE, "name", "vmac", "address", VIRTUAL_MAC)
            host.ip("link", "add", *link, "type", "macvlan", "mode", "private")
    recorded = net.capture()
    master = start(first, 0, addresses, **options)
    master.wait_for("BACKUP", 5)  # or the other may be there first
    backup = start(second, SKEW, addresses, **options)
    master.wait_for("MASTER", 5)
    backup.wait_for("BACKUP", 5)
    for address in addresses:
        eventually(lambda a=address: reaches(third, a), 3, f"{address} answers a ping")

    time.sleep(0.3)  # somewhere between two advertisements
    master.kill()
    backup.wait_for("MASTER", DOWN + 1)
    took_over = time.monotonic()
    for address in addresses:
        eventually(lambda a=address: reaches(third, a), 2, f"{address} answers again")
    assert time.monotonic() - took_over < 1.5
    for address in addresses:
        assert mac in third.ip("neighbor", "show", address)
    for address in options["configure"]:
        device = options["device"]
        first.ip("address", "delete", address, "dev", device)
    if macvlan:
        first.ip("link", "set", "vmac", "down")

    returned = start(first, 0, addresses, **options)
    returned.wait_for("BACKUP", 3)
    time.sleep(1.2)
    assert returned.states() == ["BACKUP"]
    backup.shut_down()
    returned.wait_for("MASTER", 1)
    for address in addresses:
        eventually(lambda a=address: reaches(third, a), 2, f"{address} answers once more")
    returned.shut_down()

    net.stop_capture()
    wire = on_the_wire(recorded)
    families = sorted({6 if ":" in address else 4 for address in addresses})
    assert sorted({seen.family for seen in wire}) == families
    assert {seen.hop_limit for seen in wire} == {255}
    for family in families:
        check_timing([seen for seen in wire if seen.family == family])
    check_macs(wire, raw=options.get("kind") == "raw")
    check_announcements(recorded, addresses, macvlan)
    check_dissected(recorded, len(wire))


def reaches(host: Host, address: str) -> bool:
    done = host.popen("ping", "-n", "-c", "1", "-W", "1", address, stdout=subprocess.DEVNULL)
    return done.wait(timeout=5) == 0


def check_timing(wire: list[Wire]) -> None:
    """What one family shows: A, silence, B, its goodbye, A again."""
    taken = next(i for i, seen in enumerate(wire) if seen.advskew == SKEW)
    assert {seen.advskew for seen in wire[:taken]} == {0}
    late = wire[taken].t - wire[taken - 1].t - DOWN
    print(f"IPv{wire[0].family} failover {late * 1000:+.1f} ms from nominal")
    assert abs(late) < PRECISE
    for before, after in pairwise(seen for seen in wire if seen.advskew == SKEW):
        assert abs(after.t - before.t - 1 - SKEW / 256) < PRECISE
    goodbye, last = (seen for seen in wire if seen.advbase == 255)
    assert goodbye.source != last.source
    # A heard the other family's goodbye, perhaps, and was faster than this one's.
    returned = next(seen for seen in wire[taken:] if seen.advskew == 0)
    print(f"IPv{wire[0].family} goodbye to takeover {(returned.t - goodbye.t) * 1000:.1f} ms")
    assert abs(returned.t - goodbye.t) < 0.1
    assert wire[-1] is last


def check_macs(wire: list[Wire], *, raw: bool) -> None:
    macs = {seen.source_mac for seen in wire}
    assert macs == ({"52:54:00:00:00:01", "52:54:00:00:00:02"} if raw else {VIRTUAL_MAC})


def check_announcements(recorded: Path, addresses: list[str], macvlan: bool) -> None:
    """Each new master told of each address, three of them in all, tcpdump says."""
    seen = command("tcpdump", "-nn", "-e", "-v", "-r", str(recorded), "arp or icmp6")
    joined = seen.replace("\n\t", " ").splitlines()
    macs = [VIRTUAL_MAC] * 3 if macvlan else [f"52:54:00:00:00:0{n}" for n in (1, 2, 1)]
    for address in addresses:
        if ":" in address:
            kind = "neighbor advertisement"
            lines = [
                line
                for line in joined
                if kind in line
                and "> ff02::1" in line
                and f"tgt is {address}, Flags [over" in line
            ]
            found = [line.split("option (2)")[1].split("8 (1): ")[1][:17] for line in lines]
        else:
            lines = [line for line in joined if f"who-has {address} " in line]
            lines = [line for line in lines if f"tell {address}," in line]
            found = [line.split()[1] for line in lines]
            # tcpdump does not show the sender's hardware address of a request.
            if macvlan:
                macs4 = [f"52:54:00:00:00:0{n}" for n in (1, 2, 1)]
                assert found == macs4
                continue
        assert found == macs, joined


def check_dissected(recorded: Path, advertisements: int) -> None:
    """tshark takes nothing for malformed, and the checksums for right."""
    fields = ["-T", "fields", "-e", "carp.vhid", "-e", "_ws.malformed", "-e", "_ws.expert.message"]
    ours = "carp || arp || icmpv6.type == 136"
    lines = command(
        *("tshark", "-n", "-r", str(recorded), "-d", "ip.proto==112,carp"),
        *("-o", "ip.check_checksum:TRUE", "-Y", ours, *fields),
    ).splitlines()
    carp = [line.split("\t") for line in lines if line.split("\t")[0]]
    assert len(carp) == advertisements
    assert {vhid for vhid, *_ in carp} == {"1"}
    for line in lines:
        _, malformed, expert = (line + "\t\t").split("\t")[:3]
        assert not malformed
        assert "ncorrect" not in expert
        assert "alformed" not in expert


# -- a process that stands still ----------------------------------------------------------------


def stopped(net: Net) -> None:
    """30 s of SIGSTOP on two backups, of either kind: no transition, before or after SIGCONT."""
    first, second = two_hosts(net)
    third = net.host("c", "192.0.2.3/24", "2001:db8::3/64")
    recorded = net.capture("bridge", "proto", "112", "or", "ip6", "proto", "112")
    master = start(first, 0, [V4, V6])
    master.wait_for("MASTER", 8)
    backups = [
        start(second, SKEW, [V4, V6], kind="packet"),
        start(third, 100, [V4, V6], kind="raw", runner="asyncio"),
    ]
    for backup in backups:
        backup.wait_for("BACKUP", 5)
    time.sleep(1.5)
    for backup in backups:
        backup.signal(signal.SIGSTOP)
    time.sleep(30.3)
    for backup in backups:
        backup.signal(signal.SIGCONT)
    time.sleep(4.5)
    for backup in backups:
        assert backup.states() == ["BACKUP"]
        # It heard all that came while it stood still, in both families.
        counters = backup.report()["counters"]
        assert counters["ipackets"] >= 33
        assert counters["ipackets6"] >= 33
    assert master.states() == ["BACKUP", "MASTER"]
    net.stop_capture()
    assert {seen.advskew for seen in on_the_wire(recorded)} == {0}
    # And they are awake: without a master the better of them takes over.
    master.kill()
    backups[0].wait_for("MASTER", DOWN + 1)


# -- where it is sent to, and what is not heard --------------------------------------------------


def unicast(net: Net, kind: str, others: str) -> None:
    """Two that send to each other alone, of different transports."""
    first, second = two_hosts(net)
    recorded = net.capture()

    def peer(host: Host, number: int, kind: str, advskew: int) -> Controlled:
        config = {
            "vhid": 1,
            "addresses": [V4, V6],
            "advskew": advskew,
            "passphrase": "randompass",
            "peer": f"192.0.2.{number}",
            "peer6": f"2001:db8::{number}",
        }
        return Controlled(host, vhids=[config], profile="FREEBSD_14", kind=kind)

    master = peer(first, 2, kind, 0)
    master.wait_for("BACKUP", 5)
    backup = peer(second, 1, others, SKEW)
    master.wait_for("MASTER", 5)
    time.sleep(4)
    assert backup.states() == ["BACKUP"]
    assert master.report()["demotion"] == 0
    master.kill()
    backup.wait_for("MASTER", DOWN + 1)
    # The peer's process is dead, and its host answers that it knows no such protocol: that is
    # no failure to send.
    time.sleep(3.5)
    assert backup.report()["demotion"] == 0
    net.stop_capture()
    wire = on_the_wire(recorded)
    assert {seen.source for seen in wire if seen.family == 4} == {"192.0.2.1", "192.0.2.2"}
    assert {seen.source_mac for seen in wire} == {"52:54:00:00:00:01", "52:54:00:00:00:02"}
    assert {seen.hop_limit for seen in wire} == {255}
    # While a process listens, its host complains of nothing.
    died = max(seen.t for seen in wire if seen.advskew == 0)
    said = command("tcpdump", "-nn", "-tt", "-r", str(recorded), "icmp or icmp6").splitlines()
    assert all(float(line.split()[0]) > died for line in said if "nreachable" in line)


def broadcast(net: Net) -> None:
    """To everybody, as ucarp's --nomcast, from a host without an address of its own."""
    sending = net.host("a")
    hearing = net.host("b", "192.0.2.2/24")
    recorded = net.capture("bridge", "proto", "112")
    master = start(sending, 0, [V4], kind="packet", broadcast=True, promiscuous=True)
    master.wait_for("BACKUP", 5)
    backups = [start(hearing, SKEW, [V4], kind=kind) for kind in ("raw", "packet")]
    master.wait_for("MASTER", 5)
    time.sleep(1.5)
    for backup in backups:
        assert backup.states() == ["BACKUP"]
        assert backup.report()["counters"]["ipackets"] >= 1
    net.stop_capture()
    assert {seen.source for seen in on_the_wire(recorded)} == {V4}
    seen = command("tcpdump", "-nn", "-e", "-r", str(recorded))
    assert all("> ff:ff:ff:ff:ff:ff" in line for line in seen.splitlines())


def no_own_address(net: Net) -> None:
    """A raw socket sends from the virtual address where the interface has no other."""
    host = net.host("a")
    recorded = net.capture("bridge", "proto", "112", "or", "ip6", "proto", "112")
    host.ip("address", "flush", "dev", INTERFACE)
    master = start(host, 0, [V4, V6], kind="raw")
    master.wait_for("MASTER", 8)
    time.sleep(1.2)
    assert master.report()["demotion"] == 0
    net.stop_capture()
    assert {seen.source for seen in on_the_wire(recorded)} == {V4, V6}


def other_vlan(net: Net) -> None:
    """Authentic advertisements, but of another VLAN: they are not of this interface."""
    hosts = [net.host("a", "192.0.2.1/24"), net.host("b", "192.0.2.2/24")]
    wire = net.host("w")
    masters = [
        Controlled(
            host,
            kind=kind,
            vhids=[{"vhid": vhid, "addresses": [V4], "advskew": SKEW, "passphrase": "x"}],
        )
        for vhid, host, kind in zip((1, 2), hosts, ("packet", "raw"), strict=True)
    ]
    frames = []
    for vhid, master in enumerate(masters, 1):
        master.wait_for("MASTER", 8, vhid=vhid)
        signed = Authenticator(vhid=vhid, passphrase="x", addresses=[V4]).sign(Advertisement(vhid))
        ends = {"source": "192.0.2.9", "destination": "224.0.0.18", "source_mac": VIRTUAL_MAC}
        frames += [build(encode(signed), **ends, tags=[10])] * 10
    process = wire.popen(
        *(sys.executable, str(INJECT), INTERFACE),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    process.stdin.write("\n".join(f"{n / 20} {frame.hex()}" for n, frame in enumerate(frames)))
    process.stdin.close()
    assert process.wait(timeout=10) == 0
    for vhid, master in enumerate(masters, 1):
        assert master.states(vhid) == ["BACKUP", "MASTER"]
        counters = master.report()["counters"]
        # The other host's are the only ones it heard.
        assert counters["ipackets"] == counters["badvhid"]


# -- links ------------------------------------------------------------------------------------


def set_down_and_up(net: Net, **options: Any) -> None:
    """``ip link set down`` of a MASTER, then up again."""
    master, backup = start_pair(net, [V4, V6], **options)
    master.host.ip("link", "set", INTERFACE, "down")
    eventually(lambda: master.report()["states"] == ["INIT"], 2, "INIT")
    assert master.report()["demotion"] == 240
    backup.wait_for("MASTER", DOWN + 1)
    master.host.ip("link", "set", INTERFACE, "up")
    master.wait_for("BACKUP", 4)
    heard = master.report()["counters"]["ipackets"]
    eventually(lambda: master.report()["counters"]["ipackets"] > heard + 1, 5, "hearing the other")
    assert master.states() == ["BACKUP", "MASTER", "INIT", "BACKUP"]
    backup.kill()
    master.wait_for("MASTER", 4)


def lose_carrier(net: Net, **options: Any) -> None:
    """The plug pulled from a MASTER, and put back."""
    master, backup = start_pair(net, [V4], **options)
    master.host.cut()
    eventually(lambda: master.report()["states"] == ["INIT"], 2, "INIT")
    backup.wait_for("MASTER", DOWN + 1)
    master.host.heal()
    master.wait_for("BACKUP", 4)
    time.sleep(1.5)
    assert backup.states() == ["BACKUP", "MASTER"]
    assert master.states() == ["BACKUP", "MASTER", "INIT", "BACKUP"]


def delete_and_make(net: Net, **options: Any) -> None:
    """The interface of a MASTER deleted, and made again with another MAC."""
    options["changes"] = {"real_mac_answers": True}
    recorded = net.capture()
    master, backup = start_pair(net, [V4, V6], **options)
    master.host.ip("link", "delete", INTERFACE)
    eventually(lambda: master.report()["states"] == ["INIT"], 2, "INIT")
    backup.wait_for("MASTER", DOWN + 1)
    master.host.plug("52:54:00:00:00:77", ["192.0.2.1/24", "2001:db8::1/64"])
    master.wait_for("BACKUP", 4)
    time.sleep(1.5)
    assert backup.states() == ["BACKUP", "MASTER"]
    backup.kill()
    master.wait_for("MASTER", 4)
    time.sleep(0.3)
    net.stop_capture()
    by_family = {seen.family: seen for seen in on_the_wire(recorded)}
    assert by_family[4].source == "192.0.2.1"
    assert by_family[6].source == "fe80::5054:ff:fe00:77"
    seen = command("tcpdump", "-nn", "-e", "-r", str(recorded), "arp").splitlines()
    announced = [line.split()[1] for line in seen if f"who-has {V4} tell {V4}" in line]
    assert announced == ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:77"]


def cannot_send(net: Net, **options: Any) -> None:
    """The system refuses what a MASTER sends: its node learns of it, and is demoted."""
    master, backup = start_pair(net, [V4, V6], **options)
    # Room for no frame: what is queued is refused, and the sender gets ENOBUFS.
    master.host.run("tc", "qdisc", "add", "dev", INTERFACE, "root", "pfifo", "limit", "0")
    eventually(lambda: master.report()["demotion"] == 240, 6, "demotion")
    backup.wait_for("MASTER", 5)
    master.host.run("tc", "qdisc", "delete", "dev", INTERFACE, "root")
    # It is the backup now, and sends nothing; once it does again, demotion ends.
    backup.kill()
    eventually(lambda: master.report()["demotion"] == 0, 8, "the end of demotion")


# -- the documentation's programs ---------------------------------------------------------------


def examples(net: Net) -> None:
    """The programs on the page about the adapters: one takes over from the other's goodbye."""
    first, second = two_hosts(net)
    shown = net.capture("bridge", "proto", "112")
    python = (sys.executable, "-W", "error")
    pipe = {"stdout": subprocess.PIPE, "text": True}
    leaving = first.popen(*python, str(EXAMPLES / "in_asyncio.py"), INTERFACE, "7", **pipe)
    assert "INIT to BACKUP" in leaving.stdout.readline()
    staying = second.popen(*python, str(EXAMPLES / "blocking.py"), INTERFACE, **pipe)
    assert "INIT to BACKUP" in staying.stdout.readline()
    assert "BACKUP to MASTER" in leaving.stdout.readline()
    assert leaving.wait(timeout=10) == 0
    assert "BACKUP to MASTER" in staying.stdout.readline()

    def has_it() -> bool:
        return " 192.0.2.50/32 " in second.ip("-o", "address", "show", "dev", INTERFACE)

    eventually(has_it, 3, "the address")
    staying.send_signal(signal.SIGTERM)
    assert staying.wait(timeout=10) == 0
    assert not has_it()
    assert "MASTER to INIT" in staying.stdout.read()
    net.stop_capture()
    goodbyes = [seen.source for seen in on_the_wire(shown) if seen.advbase == 255]
    assert goodbyes == ["192.0.2.1", "192.0.2.2"]


# -- recordings ---------------------------------------------------------------------------------


def recorded_peer(net: Net, name: str, node: str, **options: Any) -> None:
    """What the others of a recording sent, put on the wire: the same becomes of our node.

    Until ``quick`` seconds of the recording only the order counts, so that waiting is left out.
    """
    recording = load(RECORDINGS / f"freebsd/{name}.json")
    quick: float = options.pop("quick", 0.0)
    there = recording.nodes[node]
    events = [event for event in recording.events if event.node == node]
    own = [event.values["address"] for event in events if event.kind == "address_added"]
    configured = next(event for event in events if event.kind == "virtual_host")
    addresses = [
        event.values["address"]
        for event in events
        if event.kind == "address_added" and event.values.get("vhid")
    ]
    preempt = [e for e in events if e.kind == "setting" and e.values["name"] == "preempt"]
    host = net.host("a", *(a for a in own if a not in addresses), mac=there.mac)
    wire = net.host("w")
    values = configured.values
    config = {name: values[name] for name in ("vhid", "advbase", "advskew")}
    config |= {"addresses": addresses, "passphrase": values["passphrase"]}
    ours = Controlled(
        host,
        vhids=[config],
        profile="FREEBSD_12",
        settings={"preempt": preempt[0].values["value"]},
        **options,
    )
    ours.wait_for("BACKUP", 8)
    began = time.time()
    ready = [t for t in recording.transitions if t.node == node and t.current == "BACKUP"]
    # The last of several: FreeBSD starts again with every address.
    zero = next(t.t for t in reversed(ready) if t.t < min(e.t for e in ready) + 0.1)

    def moved(t: float) -> float:
        """Where on our clock the recorded time is, after the beginning."""
        return t - zero if t <= 4 or not quick else max(t - quick + 8, 4.5) - zero

    frames = [frame for frame in recording.frames() if frame.sender != node and frame.t > zero]
    lines, last = [], 0.0
    for frame in frames:
        last = max(last + 0.02, moved(frame.t))
        lines.append(f"{last} {frame_bytes(recording.pcap, frame.number).hex()}")
    process = wire.popen(
        *(sys.executable, str(INJECT), INTERFACE),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdin.write("\n".join(lines))
    process.stdin.close()
    offset = float(process.stdout.readline()) - began
    assert offset < 0.5
    for event in preempt[1:]:
        time.sleep(max(began + moved(event.t) - time.time(), 0))
        ours.tell(f"set:preempt={event.values['value']}")
    assert process.wait(timeout=60) == 0
    time.sleep(max(began + moved(recording.duration) - time.time(), 0.2))
    expected = [t for t in recording.transitions if t.node == node and t.t > zero]
    said = [line for line in ours.said if line["action"] == "StateChanged"][1:]
    assert [(s["current"], s["reason"]) for s in said] == [(t.current, t.reason) for t in expected]
    for seen, told in zip(said, expected, strict=True):
        # FreeBSD's timers are late, by up to 1/16 of their length, and its log by some 0.1 s.
        assert abs(seen["t"] - began - moved(told.t)) < 0.45
    counters, theirs = ours.report()["counters"], recording.counters.get(node, {})
    for counter, value in theirs.items():
        if counter.startswith("bad"):
            assert counters[counter] == value, counter


def frame_bytes(pcap: Path, number: int) -> bytes:
    from tests.helpers import frames

    return frames(pcap)[number - 1]


# -- running them -----------------------------------------------------------------------------

DUAL = [V4, V6]
SCENARIOS: dict[str, Callable[[Net], None]] = {
    "30 s of SIGSTOP on two backups": stopped,
    "failover, IPv4, packet socket, veth": lambda net: failover(net, [V4], kind="packet"),
    "failover, IPv6, packet socket, veth, asyncio": lambda net: failover(
        net, [V6], kind="packet", runner="asyncio"
    ),
    "failover, dual stack, raw socket, veth": lambda net: failover(net, DUAL, kind="raw"),
    "failover, dual stack, packet socket, macvlan": lambda net: failover(
        net, DUAL, kind="packet", macvlan=True
    ),
    "failover, dual stack, raw socket, macvlan, asyncio": lambda net: failover(
        net, DUAL, kind="raw", macvlan=True, runner="asyncio"
    ),
    "set down and up, packet socket": lambda net: set_down_and_up(net, kind="packet"),
    "set down and up, raw socket, asyncio": lambda net: set_down_and_up(
        net, kind="raw", runner="asyncio"
    ),
    "carrier lost and back": lambda net: lose_carrier(net, kind="packet"),
    "deleted and made again, packet socket": lambda net: delete_and_make(net, kind="packet"),
    "deleted and made again, raw socket, asyncio": lambda net: delete_and_make(
        net, kind="raw", runner="asyncio"
    ),
    "cannot send, packet socket": lambda net: cannot_send(net, kind="packet"),
    "cannot send, raw socket": lambda net: cannot_send(net, kind="raw"),
    "unicast peers, packet and raw socket": lambda net: unicast(net, "packet", "raw"),
    "unicast peers, raw and packet socket": lambda net: unicast(net, "raw", "packet"),
    "broadcast": broadcast,
    "no own address": no_own_address,
    "another VLAN": other_vlan,
    "the documentation's programs": examples,
    "recording freebsd/failover-preempt1": lambda net: recorded_peer(
        net, "failover-preempt1", "B"
    ),
    "recording freebsd/failover-dual, raw socket": lambda net: recorded_peer(
        net, "failover-dual", "B", kind="raw"
    ),
    "recording freebsd/injected": lambda net: recorded_peer(net, "injected", "A", quick=41.1),
}


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """Those scenarios that somebody asks for, five at a time, in their order."""
    skip_unless_live("tcpdump", "tshark", "ping", "tc")
    wanted = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]

    def run(scenario: str) -> None:
        with Net() as net:
            SCENARIOS[scenario](net)

    pool = ThreadPoolExecutor(5)
    try:
        yield {scenario: pool.submit(run, scenario) for scenario in wanted}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_live(scenario: str, running: dict[str, Future[None]]) -> None:
    running[scenario].result(timeout=240)
