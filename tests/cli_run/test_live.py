"""``carpproto run`` on a wire, beside the real ucarp and beside itself.

Each group has namespaces of its own, and several run at the same time: a failover is mostly
waiting. What is measured in milliseconds runs by itself, after the others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli_run import live
from tests.cli_run.live import (
    EXAMPLES,
    VIP,
    VIP6,
    Group,
    Member,
    Ours,
    Pings,
    advertisements,
    eventually_slowly,
    neighbor_has,
)
from tests.live.net import INTERFACE, Net, command, skip_unless_live

pytestmark = pytest.mark.live

AT_ONCE = 5
LIMIT = 170  # seconds for all that run at the same time


# -- against ucarp ----------------------------------------------------------------------------


def with_ucarp(net: Net, *mode: str, ours_is_better: bool, preempt: bool) -> Group:
    """Who is better begins; it dies, comes back, and whoever is MASTER then ends in order."""
    group = Group(net)
    if preempt:
        mode += ("-P",)
    first, second = group.host(1), group.host(2)
    better: Member
    worse: Member
    if ours_is_better:
        better, worse = group.ours(first, *mode), group.ucarp(second, "-k", "100", *mode)
    else:
        better, worse = group.ucarp(first, *mode), group.ours(second, "-k", "100", *mode)
    better.start()
    group.expect(better)
    pings = Pings(group, VIP)
    worse.start()
    pings.answered(time.time())
    time.sleep(4.5)  # longer than the other one's patience
    group.expect(better)

    killed = better.kill()
    group.expect(worse)
    neighbor_has(group, VIP, worse.host)
    pings.answered(time.time())
    assert pings.last_gap(killed) < 6.0

    better.start()
    time.sleep(5.0)
    master, other = (better, worse) if preempt else (worse, better)
    group.expect(master)
    neighbor_has(group, VIP, master.host)
    pings.answered(time.time())

    ended = master.end()
    group.expect(other)
    neighbor_has(group, VIP, other.host)
    pings.answered(time.time())
    assert pings.last_gap(ended) < 6.0
    if isinstance(master, Ours):
        assert pings.last_gap(ended) < 2.5  # ucarp hears the good-bye up to a second late
    assert other.end()
    return group


def equal(net: Net, *, ours_is_lower: bool) -> Group:
    """Both MASTER while they cannot hear each other; the lower address stays."""
    group = Group(net)
    first, second = group.host(1), group.host(2)
    ours = group.ours(first if ours_is_lower else second, "-S")
    ucarp = group.ucarp(second if ours_is_lower else first, "-S")
    lower, higher = (ours, ucarp) if ours_is_lower else (ucarp, ours)
    higher.host.cut()
    ours.start()
    ucarp.start()
    both_are_masters(ours, ucarp)
    Pings(group, VIP).answered(time.time())
    higher.host.heal()
    group.expect(lower)
    neighbor_has(group, VIP, lower.host)
    time.sleep(2.0)
    group.expect(lower, 0.5)
    return group


def both_are_masters(*members: Member) -> None:
    eventually_slowly(lambda: all(one.has_it() for one in members), 10.0, "several MASTERs")


def cut_and_heal(net: Net) -> Group:
    """The MASTER's link is cut, and comes back; then the other one's."""
    group = Group(net)
    ours = group.ours(group.host(1), "-P")
    ucarp = group.ucarp(group.host(2), "-k", "100")
    ours.start()
    group.expect(ours)
    ucarp.start()
    pings = Pings(group, VIP)
    pings.answered(time.time())
    time.sleep(3.0)
    ours.host.cut()
    cut = time.time()
    group.expect(ucarp)
    neighbor_has(group, VIP, ucarp.host)
    pings.answered(time.time())
    assert pings.last_gap(cut) < 6.0
    ours.host.heal()
    group.expect(ours)
    neighbor_has(group, VIP, ours.host)
    pings.answered(time.time())
    assert ours.states()[-3:] == ["MASTER", "BACKUP", "MASTER"]
    return group


def cut_of_ucarp(net: Net) -> Group:
    """The same with ucarp as the MASTER, and nobody who preempts: who took over keeps it."""
    group = Group(net)
    ucarp = group.ucarp(group.host(1))
    ours = group.ours(group.host(2), "-k", "100")
    ucarp.start()
    group.expect(ucarp)
    ours.start()
    pings = Pings(group, VIP)
    time.sleep(4.0)
    ucarp.host.cut()
    cut = time.time()
    eventually_slowly(ours.has_it, 6.0, "ours MASTER")
    neighbor_has(group, VIP, ours.host)
    pings.answered(time.time())
    assert pings.last_gap(cut) < 6.0
    # ucarp looks at its carrier every ten seconds.
    eventually_slowly(lambda: not ucarp.has_it(), 15.0, "ucarp no MASTER")
    ucarp.host.heal()
    time.sleep(5.0)
    group.expect(ours, 10.0)
    return group


def wrong_passphrase(net: Net) -> Group:
    """Nobody believes the other, both are MASTER, and ours says why, once."""
    group = Group(net)
    ucarp = group.ucarp(group.host(1))
    ours = group.ours(group.host(2))
    group.passfile.write_text("another secret\n")
    ours.start()
    ucarp.start()
    both_are_masters(ours, ucarp)
    time.sleep(3.0)
    both_are_masters(ours, ucarp)
    complaints = [line for line in ours.log().splitlines() if "HMAC is wrong" in line]
    assert len(complaints) == 1
    assert "A packet from 10.0.0.1 on carp0 was dropped" in complaints[0]
    status = ours.status()
    assert status["counters"]["badauth"] >= 2
    assert "secret" not in ours.log() + str(status)
    [event] = ours.events("dropped")
    assert (event["reason"], event["source"]) == ("badauth", "10.0.0.1")
    return group


def wrong_vhid(net: Net) -> Group:
    """A slip: each hears another group only, and ours says so, once; own addresses go, too."""
    group = Group(net)
    ours = group.ours(group.host(1))
    ucarp = group.ucarp(group.host(2), vhid=7)
    ucarp.start()
    ours.start()
    both_are_masters(ours, ucarp)
    time.sleep(2.0)
    [hint] = [line for line in ours.log().splitlines() if "vhid 7" in line]
    assert hint == (
        f"carpproto: [INFO] 10.0.0.2 on {INTERFACE} advertises vhid 7; nobody has been heard "
        "yet with 1, which is ours"
    )
    ours.host.ip("address", "delete", "10.0.0.1/24", "dev", INTERFACE)
    said = f"{INTERFACE} has no IPv4 address of its own: advertises from {VIP}, which equal"
    eventually_slowly(lambda: said in ours.log(), 3.0, "the warning")
    time.sleep(1.5)
    assert ours.log().count(said) == 1
    return group


def two_vhids(net: Net) -> Group:
    """One process of ours against two of ucarp's, each the better in one group."""
    group = Group(net)
    first, second = group.host(1), group.host(2)
    other = "10.0.0.101"
    hooked = net.folder / "hooked"
    for state in ("MASTER", "BACKUP", "INIT"):
        folder = net.folder / f"{state}.d"
        folder.mkdir()
        program = folder / "10-note"
        program.write_text(f'#!/bin/sh\necho "{state} $*" >> {hooked}\n')
        program.chmod(0o755)
    config = net.folder / "run.toml"
    config.write_text(
        f"""
preempt = true
shutdown = true
facility = "none"

[common]
interface = "{INTERFACE}"
passfile = "passphrase"
upscript = "{EXAMPLES}/up.sh"
downscript = "{EXAMPLES}/down.sh"
hook = "{EXAMPLES}/carpcontrol.sh"

[[vhids]]
vhid = 1
addresses = ["{VIP}"]

[[vhids]]
vhid = 2
addresses = ["{other}"]
advskew = 100
"""
    )
    group.extra["CARPCONTROL_DIRECTORY"] = str(net.folder)
    ours = Ours(group, first, ["--config", str(config)])
    group.members.append(ours)
    one = group.ucarp(second, "-k", "100", "-P")
    two = group.ucarp(second, "-P", vhid=2, virtual=other)
    ours.start()
    one.start()
    two.start()

    def roles(of_ours: tuple[bool, bool], of_ucarp: tuple[bool, bool]) -> Callable[[], bool]:
        return lambda: (
            (ours.has_it(VIP), ours.has_it(other)) == of_ours
            and (one.has_it(VIP), two.has_it(other)) == of_ucarp
        )

    eventually_slowly(roles((True, False), (False, True)), 12.0, "one each")
    for address, host in ((VIP, first), (other, second)):
        group.client.run("ping", "-c", "2", "-W", "2", address)
        neighbor_has(group, address, host)
    two.kill()
    eventually_slowly(roles((True, True), (False, False)), 6.0, "ours MASTER of both")
    neighbor_has(group, other, first)
    assert ours.states(1) == ["BACKUP", "MASTER"]
    ours.end()
    eventually_slowly(one.has_it, 3.0, "ucarp MASTER")
    lines = hooked.read_text().splitlines()
    assert [line for line in lines if line.split()[1] == "1"] == [
        f"{state} 1 {INTERFACE}" for state in ("BACKUP", "MASTER", "INIT")
    ]
    assert f"MASTER 2 {INTERFACE}" in lines
    return group


# -- among ourselves --------------------------------------------------------------------------


def dual_stack(net: Net) -> Group:
    """Both addresses move together; IPv6 is as fast as IPv4."""
    group = Group(net, f"{VIP}/24", f"[{VIP6}]/64")
    a = group.ours(group.host(1), "-P")
    b = group.ours(group.host(2), "-P", "-k", "100", "-D")
    a.start()
    b.start()
    group.expect(a)
    pings = [Pings(group, address, 0.02) for address in (VIP, VIP6)]
    for one in pings:
        one.answered(time.time())
    for leave in (a.kill, a.end):
        left = leave()
        group.expect(b)
        for one, address in zip(pings, (VIP, VIP6), strict=True):
            one.answered(time.time())
            neighbor_has(group, address, b.host)
        four, six = (one.last_gap(left) for one in pings)
        assert abs(six - four) < 0.2, (four, six)
        assert max(four, six) < (4.0 if leave == a.kill else 1.0), (four, six)
        note(f"dual stack, {leave.__name__}: without an answer {four:.3f} s, IPv6 {six:.3f} s")
        a.start()
        group.expect(a)
    for said in (
        "vhid 1 on carp0 advertises 1 s + 100/256 s from 10.0.0.2 to 224.0.0.18.",
        f"vhid 1 on carp0 announces {VIP}, {VIP6} at 52:54:00:00:00:03.",
    ):
        assert said in b.log()
    return group


def split(net: Net) -> Group:
    """Both MASTER, and the client at the one that yields: it is told of the other at once."""
    group = Group(net, f"{VIP}/24", f"[{VIP6}]/64")
    a = group.ours(group.host(1), "--profile", "freebsd")
    b = group.ours(group.host(2), "--profile", "freebsd", "-k", "100")
    a.start()
    group.expect(a)
    pings = [Pings(group, address, 0.02) for address in (VIP, VIP6)]
    for number in range(3):
        isolate(net, "on", a, b)
        if not number:
            b.start()
        both_are_masters(a, b)
        for address in (VIP, VIP6):
            neighbor_has(group, address, b.host)  # it announced last
        for one in pings:
            one.answered(time.time())
        isolate(net, "off", a, b)
        healed = time.time()
        group.expect(a, 3.0)
        for address in (VIP, VIP6):
            neighbor_has(group, address, a.host, 1.0)
        for one in pings:
            one.answered(time.time())
            assert one.last_gap(healed) < 1.0, "from the down script to the announcement"
        assert "superseded" not in a.log() + b.log()
    return group


def isolate(net: Net, how: str, *members: Member) -> None:
    """Let no frame pass between these; all others hear them."""
    for member in members:
        command(
            *("bridge", "-n", net.bridge, "link", "set", "dev", member.host.port),
            *("isolated", how),
        )


def only_ipv6(net: Net) -> Group:
    """A single IPv6 address, as the fork of ucarp would have it; brackets and all."""
    group = Group(net, f"[{VIP6}]/64")
    a = group.ours(group.host(1))
    b = group.ours(group.host(2), "-k", "100", "--transport", "raw")
    a.start()
    group.expect(a)
    assert a.status()["profile"] == "UCarp"
    pings = Pings(group, VIP6)
    b.start()
    pings.answered(time.time())
    killed = a.kill()
    group.expect(b)
    neighbor_has(group, VIP6, b.host)
    pings.answered(time.time())
    assert pings.last_gap(killed) < 4.0
    a.start()
    time.sleep(4.0)
    group.expect(b)
    assert b.states() == ["BACKUP", "MASTER"]
    return group


def unicast(net: Net) -> Group:
    """Without multicast: each has the other as its peer."""
    group = Group(net)
    recorded = net.capture("unicast", "ip", "proto", "112")
    first, second = group.host(1), group.host(2)
    a = group.ours(first, "--peer", "10.0.0.2")
    b = group.ours(second, "--peer", "10.0.0.1", "-k", "100", "--transport", "raw")
    a.start()
    group.expect(a)
    b.start()
    time.sleep(4.5)
    group.expect(a)
    assert a.status()["profile"] == "FreeBSD 14"
    a.kill()
    group.expect(b)
    a.start()
    time.sleep(4.5)
    group.expect(b)
    b.end()
    group.expect(a, 1.0)
    net.stop_capture()
    sources = {source for _, source, _ in advertisements(recorded)}
    assert sources == {"10.0.0.1", "10.0.0.2"}
    return group


def new_passphrase(net: Net) -> Group:
    """By starting again, as the documentation says: the address answers all the time."""
    group = Group(net)
    a = group.ours(group.host(1))
    b = group.ours(group.host(2), "-k", "100")
    a.start()
    group.expect(a)
    b.start()
    pings = Pings(group, VIP)
    pings.answered(time.time())
    time.sleep(1.0)
    began = time.time()
    b.end()
    group.passfile.write_text("the new one\n")
    a.process.kill()
    a.process.wait(timeout=10)
    a.options.append("--neutral")
    a.start()
    eventually_slowly(lambda: a.states() == ["BACKUP", "MASTER"] * 2, 8.0, "MASTER again")
    b.start()
    time.sleep(5.0)
    group.expect(a)
    pings.answered(time.time())
    assert pings.last_gap(began) < 0.5
    assert b.states() == ["BACKUP", "INIT", "BACKUP"]
    assert b.status()["counters"]["badauth"] == 0
    return group


def signals_and_scripts(net: Net) -> Group:
    """USR1, USR2, the arguments of the scripts, and one that takes long."""
    group = Group(net)
    noted = net.folder / "noted"
    script = net.folder / "script"
    script.write_text(
        f'#!/bin/sh\necho "$@" $CARPPROTO_STATE $CARPPROTO_PREFIX_LENGTH >> {noted}\n'
        '[ "$CARPPROTO_STATE" = MASTER ] && sleep 30\nexit 7\n'
    )
    script.chmod(0o755)
    scripts = ("-u", str(script), "-d", str(script), "-x", "an 'x'", "--script-form", "1.6")
    member = group.ours(group.host(1), "--script-timeout", "4", "--silent", scripts=scripts)
    member.start()
    eventually_slowly(
        lambda: member.out.exists() and member.states() == ["BACKUP", "MASTER"], 8, "MASTER"
    )
    time.sleep(2.5)
    status = member.status()
    [host] = status["virtual_hosts"]
    assert host["state"] == "MASTER"
    assert 2.0 < host["age"] < 5.0
    assert status["counters"]["opackets"] >= 3, "advertisements go on while the up script hangs"
    for _ in range(2000):  # a storm that must not keep it from what follows
        member.process.send_signal(signal.SIGUSR1)
    eventually_slowly(lambda: f"MASTER on {INTERFACE} id 1" in member.log(), 2, "the state")
    eventually_slowly(lambda: "script" in str(member.events("script")[1:]), 4, "the time is up")
    assert [(one["status"], one["argv"][1:]) for one in member.events("script")] == [
        (7, [INTERFACE, VIP, "4", "an 'x'"]),
        ("timed out", [INTERFACE, VIP, "4", "an 'x'"]),
    ]
    stepped = time.time()
    member.process.send_signal(signal.SIGUSR2)
    eventually_slowly(lambda: member.states() == ["BACKUP", "MASTER", "BACKUP"], 2, "BACKUP")
    eventually_slowly(lambda: member.states()[3:] == ["MASTER"], 8, "MASTER again")
    assert 5.5 < time.time() - stepped < 7.0, "3 s of holding, 3 s of listening"
    ended = time.time()
    assert member.end()  # without -z: no down script, so nothing but the one that hangs
    assert time.time() - ended < 6.0
    lines = noted.read_text().splitlines()
    assert lines == [
        f"{INTERFACE} {VIP} 4 an 'x' {state} 32" for state in ("BACKUP", "MASTER")
    ] + [f"{INTERFACE} {VIP} 4 an 'x' {state} 32" for state in ("BACKUP", "MASTER")]
    assert "exit status 7" in member.log()
    assert not member.control.exists()
    return group


def interface_that_goes(net: Net) -> Group:
    """It is waited for, whether it is set down or deleted; ucarp ends."""
    group = Group(net)
    host = group.host(1)
    member = group.ours(host)
    member.start()
    group.expect(member)
    once = ["BACKUP", "MASTER", "INIT"]
    host.ip("link", "set", INTERFACE, "down")
    eventually_slowly(lambda: member.states() == once, 3.0, "INIT")
    eventually_slowly(lambda: not member.has_it(), 3.0, "the down script")
    host.ip("link", "set", INTERFACE, "up")
    group.expect(member)
    host.ip("link", "delete", INTERFACE)
    eventually_slowly(lambda: member.states() == once * 2, 3.0, "INIT")
    eventually_slowly(lambda: f"{INTERFACE} is gone: it is waited for" in member.log(), 2, "that")
    host.plug("52:54:00:00:00:aa", ["10.0.0.1/24"])
    group.expect(member)
    assert member.states() == [*once, *once, "BACKUP", "MASTER"]
    Pings(group, VIP).answered(time.time())

    # A queue that takes nothing: three advertisements fail, and later three get through.
    host.run("tc", "qdisc", "add", "dev", INTERFACE, "root", "bfifo", "limit", "1")
    eventually_slowly(lambda: member.events("demotion"), 6.0, "demotion")
    host.run("tc", "qdisc", "delete", "dev", INTERFACE, "root")
    eventually_slowly(lambda: len(member.events("demotion")) == 2, 8.0, "its end")
    totals = [event["total"] for event in member.events("demotion")]
    assert totals == [240, 0]
    refused = f"vhid 1 on {INTERFACE} cannot advertise: No buffer space available"
    assert member.log().count(refused) == 1, "once a minute"
    assert "[WARNING] Demotion rose by 240 to 240: send error" in member.log()
    member.end()
    assert not member.has_it()
    return group


def up_script_that_is_late(net: Net) -> Group:
    """What still waits when the host is BACKUP again is not run; nohup, and a tunnel."""
    group = Group(net, VIP, "10.0.0.101")
    noted = net.folder / "noted"
    script = net.folder / "script"
    script.write_text(
        f'#!/bin/sh\necho "$2 $CARPPROTO_STATE" >> {noted}\n'
        '[ "$CARPPROTO_STATE" = MASTER ] && sleep 2\nexit 0\n'
    )
    script.chmod(0o755)
    member = group.ours(group.host(1), "-n", scripts=("-u", str(script), "-d", str(script)))
    member.options = ["--profile", "freebsd", *member.options]
    member.nohup = True
    member.start()
    eventually_slowly(noted.exists, 8, "the first up script")
    member.process.send_signal(signal.SIGHUP)
    member.process.send_signal(signal.SIGUSR2)
    eventually_slowly(lambda: len(noted.read_text().splitlines()) == 3, 5, "the down scripts")
    assert noted.read_text().splitlines() == [
        f"{VIP} MASTER",
        f"{VIP} BACKUP",
        "10.0.0.101 BACKUP",
    ]
    assert [one["status"] for one in member.events("script")[:2]] == ["superseded", 0]
    assert "not run, superseded" in member.log()
    member.end()
    return group


TUNNEL = """
import fcntl, struct
with open("/dev/net/tun", "r+b", buffering=0) as tunnel:
    fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH22x", b"tun0", 1))  # TUNSETIFF, IFF_TUN
    while tunnel.read(2048):
        pass
"""


def tunnel(net: Net) -> Group:
    """An interface without a MAC: by raw sockets, and otherwise refused in a line."""
    group = Group(net)
    host = group.host(1)
    host.popen(sys.executable, "-c", TUNNEL)
    eventually_slowly(lambda: "tun0" in host.ip("link"), 5.0, "the tunnel")
    host.ip("link", "set", "tun0", "up")
    host.ip("address", "add", "192.0.2.11/24", "dev", "tun0")
    member = group.ours(host, "--transport", "raw", scripts=())
    member.virtual = ["192.0.2.1"]
    member.options = ["-a", "192.0.2.1", *member.options[2:]]
    member.interface = "tun0"
    member.start()
    eventually_slowly(
        lambda: member.out.exists() and member.states() == ["BACKUP", "MASTER"], 8, "MASTER"
    )
    time.sleep(1.5)
    assert member.status()["counters"]["opackets"] >= 2
    assert "cannot" not in member.log()
    member.end()
    member.options += ["--transport", "auto"]
    done = subprocess.run(
        ["ip", "netns", "exec", host.namespace, *member.argv()],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "carpproto: --interface: tun0 is no Ethernet interface; "
        "for such the transport is to be raw\n"
    )
    return group


def down_script_that_hangs(net: Net) -> Group:
    """The good-bye comes before it, and a second signal does not wait for it."""
    group = Group(net)
    script = net.folder / "down"
    script.write_text("#!/bin/sh\nsleep 60\n")
    script.chmod(0o755)
    up = str(EXAMPLES / "up.sh")
    scripts = ("-u", up, "-d", str(script), "-z", "--neutral")
    a = group.ours(group.host(1), scripts=scripts)
    both = net.folder / "both"
    both.write_text(f'#!/bin/sh\ncase $1 in *@*) exit 0;; esac\nexec {up} "$@"\n')
    both.chmod(0o755)
    b = group.ours(group.host(2), "-k", "100", "--hook", str(both), scripts=("-u", str(both)))
    a.start()
    group.expect(a)
    b.start()
    time.sleep(2.0)
    ended = time.time()
    a.process.send_signal(signal.SIGTERM)
    eventually_slowly(lambda: b.states() == ["BACKUP", "MASTER"], 1.0, "MASTER at once")
    time.sleep(1.0)
    assert a.process.poll() is None, "it waits for its script"
    a.process.send_signal(signal.SIGTERM)
    assert a.process.wait(timeout=5) == 0
    assert time.time() - ended < 5.0
    assert "its addresses stay" not in a.log()
    b.end()
    assert f"vhid 1 on {INTERFACE}: its addresses stay on this host" in b.log()
    return group


def in_the_background(net: Net) -> Group:
    """It prints its process id once it takes part, and an ended one leaves nothing behind."""
    group = Group(net)
    member = group.ours(group.host(1))
    argv = [word for word in member.argv() if word != "--json"]
    number = int(member.host.run(*argv, "-B"))
    try:
        assert member.status()["pid"] == number
        group.expect(member)
        again = subprocess.run(
            ["ip", "netns", "exec", member.host.namespace, *argv, "-B"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert (again.returncode, again.stdout) == (2, ""), "the control socket is taken"
        assert again.stderr.startswith("carpproto: --control: another process answers at ")
    finally:
        os.kill(number, signal.SIGTERM)
    eventually_slowly(lambda: not Path(f"/proc/{number}").exists(), 5.0, "its end")
    assert not member.has_it()
    assert not member.control.exists()
    return group


SCENARIOS: dict[str, Callable[[Net], Group]] = {
    "ours better, preempt": lambda net: with_ucarp(net, ours_is_better=True, preempt=True),
    "ucarp better, preempt": lambda net: with_ucarp(net, ours_is_better=False, preempt=True),
    "ours better, no preempt, broadcast": lambda net: with_ucarp(
        net, "-M", ours_is_better=True, preempt=False
    ),
    "ucarp better, no preempt, another group": lambda net: with_ucarp(
        net, "--mcast", "239.192.0.7", ours_is_better=False, preempt=False
    ),
    "new passphrase": new_passphrase,
    "in the background": in_the_background,
    "interface that goes": interface_that_goes,
    "down script that hangs": down_script_that_hangs,
    "cut of ucarp": cut_of_ucarp,
    "cut and heal": cut_and_heal,
    "dual stack": dual_stack,
    "signals and scripts": signals_and_scripts,
    "two vhids": two_vhids,
    "split": split,
    "up script that is late": up_script_that_is_late,
    "tunnel": tunnel,
    "only IPv6": only_ipv6,
    "equal, ours lower": lambda net: equal(net, ours_is_lower=True),
    "equal, ucarp lower": lambda net: equal(net, ours_is_lower=False),
    "unicast": unicast,
    "wrong passphrase": wrong_passphrase,
    "wrong vhid": wrong_vhid,
}

NOTES: list[str] = []


def note(text: str) -> None:
    """Remember a figure; they are printed at the end, with ``-s`` or where a test fails."""
    NOTES.append(text)


def run_one(scenario: Callable[[Net], Group]) -> None:
    with Net() as net:
        try:
            scenario(net)
        except AssertionError as error:
            logs = "\n".join(
                f"--- {path.name}\n{path.read_text()}" for path in sorted(net.folder.glob("*.err"))
            )
            raise AssertionError(f"{error}\n{logs}") from error


@pytest.fixture(scope="module")
def cache() -> Iterator[None]:
    skip_unless_live("ucarp", "ping", "tcpdump", "tc")
    with tempfile.TemporaryDirectory(prefix="carpt-cache-") as folder:
        live.CACHE = folder
        yield


@pytest.fixture(scope="module")
def running(request, cache) -> Iterator[dict[str, Future[None]]]:
    """All the scenarios that were asked for, some of them at the same time."""
    asked = [
        item.callspec.params["name"]
        for item in request.session.items
        if item.path == Path(__file__) and item.originalname == "test_a_group"
    ]
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {name: pool.submit(run_one, SCENARIOS[name]) for name in asked}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_group(name: str, running: dict[str, Future[None]]) -> None:
    running[name].result(timeout=LIMIT)


# -- what is measured, by itself --------------------------------------------------------------


class Times(NamedTuple):
    """What one group took, in seconds, after each SIGKILL and after the SIGTERM."""

    who: str
    late: tuple[float, ...]  # beyond 3 * advbase + advskew / 256 since the last advertisement
    heard: float  # from the signal TERM to the next MASTER's first advertisement
    unanswered: float  # the longest time without an answer around that


def measure(who: str, advskews: tuple[int, int]) -> Times:
    with Net() as net:
        group = Group(net)
        recorded = net.capture("times", "ip", "proto", "112")
        make = group.ours if who == "ours" else group.ucarp
        masters = [
            make(group.host(number), "-k", str(advskew))
            for number, advskew in enumerate(advskews, start=1)
        ]
        for member in masters:
            member.start()
            group.expect(masters[0])
        pings = Pings(group, VIP, 0.02)
        killed = []
        for _ in range(3):
            # Where in the interval it dies is of no matter: what was last on the wire counts.
            time.sleep(3.3)
            killed.append(masters[0].kill())
            time.sleep(4.5 if who == "ours" else 5.5)  # without asking who is MASTER meanwhile
            group.expect(masters[1])
            masters[0].start()
            masters.reverse()
        time.sleep(3.3)
        ended = masters[0].end()
        group.expect(masters[1])
        pings.answered(time.time())
        net.stop_capture()
        seen = advertisements(recorded)
        heard = took_over(seen, ended)[1] - ended
        late = []
        for at in killed:
            last, first, ours = took_over(seen, at)
            late.append(first - last - 3.0 - ours.advskew / 256)
        return Times(who, tuple(late), heard, pings.last_gap(ended))


def took_over(seen: list[tuple[float, str, Any]], at: float) -> tuple[float, float, Any]:
    """The last advertisement of who was MASTER, and the first of who is after it."""
    was = [one for one in seen if one[0] < at][-1][1]
    last = [moment for moment, source, _ in seen if source == was and moment < at][-1]
    first, _, advertisement = next(one for one in seen if one[0] > at and one[1] != was)
    return last, first, advertisement


def test_failover_takes_its_nominal_time(
    cache, running: dict[str, Future[None]], record_property
) -> None:
    for future in running.values():
        future.exception(timeout=LIMIT)
    groups = (("ours", (0, 100)), ("ours", (20, 140)), ("ucarp", (0, 100)))
    with ThreadPoolExecutor(len(groups)) as pool:
        measured = list(pool.map(lambda group: measure(*group), groups))
    for times in measured:
        text = (
            f"{times.who}: after SIGKILL {', '.join(f'{1000 * one:+.1f}' for one in times.late)} "
            f"ms from nominal; after SIGTERM advertised within {1000 * times.heard:.1f} ms, "
            f"without an answer for {1000 * times.unanswered:.0f} ms"
        )
        note(text)
        record_property("failover", text)
    for times in measured:
        if times.who == "ours":
            assert all(abs(late) < 0.020 for late in times.late), times
            assert times.heard < 0.100, times
    print("\n".join(NOTES))
