"""The parts of ``carpproto run`` that are around the protocol: log, state, background."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import syslog
import threading
import time
from ipaddress import ip_interface
from pathlib import Path

import pytest

from carpproto.adapters import interfaces
from carpproto.cli import main
from carpproto.cli.run_log import Log, Seldom
from carpproto.cli.run_service import first_usable_interface
from carpproto.cli.run_state import ControlSocket, Entered, ask, snapshot
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, Reason
from carpproto.core.events import InterfaceChanged, TimerExpired
from carpproto.core.node import Node
from tests.live.net import eventually

# -- the log ----------------------------------------------------------------------------------


def test_what_came_from_the_network_is_escaped(capsys) -> None:
    log = Log(stderr=True, facility="none", events=False)
    log.info("up\x1b[2J\nMASTER")
    log.warning("no")
    log.event("state", more="nobody asked")
    log.start()
    log.close()
    printed = capsys.readouterr()
    assert printed.err == "carpproto: [INFO] up\\x1b[2J\\nMASTER\ncarpproto: [WARNING] no\n"
    assert printed.out == ""


def test_a_reader_that_stands_still_holds_nobody_up(monkeypatch) -> None:
    class Stuck:
        def __init__(self) -> None:
            self.lines: list[str] = []
            self.go_on = threading.Event()

        def write(self, text: str) -> int:
            self.go_on.wait(10)
            self.lines.append(text)
            return len(text)

        def flush(self) -> None: ...

    stuck = Stuck()
    monkeypatch.setattr(sys, "stderr", stuck)
    log = Log(stderr=True, facility="none", events=False)
    log.start()
    began = time.monotonic()
    for number in range(3000):
        log.debug(f"advertisement {number}")
    for number in range(500):
        log.info(f"state {number}")
    assert time.monotonic() - began < 2.0
    stuck.go_on.set()
    log.close(10.0)
    written = "".join(stuck.lines)
    assert "state 499" in written, "there was room for what matters"
    assert "lines of the log were lost" in written
    assert "advertisement 2999" not in written


def test_syslog_gets_the_lines_too(monkeypatch, capsys) -> None:
    said: list[tuple[object, ...]] = []
    monkeypatch.setattr("syslog.openlog", lambda *given: said.append(given))
    monkeypatch.setattr("syslog.syslog", lambda *given: said.append(given))
    log = Log(stderr=False, facility="local3", events=False)
    log.start()
    log.info("fine")
    log.warning("not so\n")
    log.close()
    assert said == [
        ("carpproto", syslog.LOG_PID, syslog.LOG_LOCAL3),
        (syslog.LOG_NOTICE, "fine"),
        (syslog.LOG_WARNING, "not so\\n"),
    ]
    assert capsys.readouterr().err == ""


def test_events_have_standard_output_for_themselves_and_outlive_their_reader() -> None:
    code = """
import os, sys, time
from carpproto.cli.run_log import Log
log = Log(stderr=True, facility="none", events=True)
log.start()
os.system("echo from a script")
log.event("state", to="MASTER")
sys.stdin.readline()
log.event("state", to="BACKUP")
log.info("still here")
log.close()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        event = json.loads(process.stdout.readline())
        process.stdout.close()
        _, errors = process.communicate("go on\n", timeout=20)
    assert (event["event"], event["to"]) == ("state", "MASTER")
    assert process.returncode == 0
    assert errors.splitlines() == [
        "from a script",
        "carpproto: [INFO] still here",
        "carpproto: [WARNING] standard output cannot be written, so no more is: Broken pipe",
        "carpproto: [WARNING] 1 lines of the log were lost: standard output did not take them",
    ]


FULL = """
import os
os.set_blocking(1, False)
try:
    while os.write(1, bytes(4096)):
        pass
except BlockingIOError:
    os.set_blocking(1, True)
"""
EVENTS = """
import sys, threading
from carpproto.cli.run_log import Log
log = Log(stderr=True, facility="none", events=True)
log.start()
for number in range(5000):
    log.event("state", to="x" * 100)
log.info("still here")
log.close(0.5)
"""


def test_a_reader_of_events_that_stands_still_silences_nobody_else() -> None:
    """What was lost is counted, and said at the end, too."""
    with subprocess.Popen(
        [sys.executable, "-c", FULL + EVENTS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        errors = process.stderr.read()
        assert process.wait(timeout=20) == 0
        written = process.stdout.read().count("\n")
    assert not written
    first, *middle, last = errors.splitlines()
    assert "standard output takes nothing more: lines are lost until it does" in first
    assert middle == ["carpproto: [INFO] still here"]
    lost = int(last.split()[2])
    assert "lines of the log were lost: standard output did not take them" in last
    assert 5000 - written - 1 <= lost <= 5000 - written, "one may be on its way"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_device_that_is_full_is_one_warning() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", EVENTS.replace("5000", "50")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            timeout=20,
        )
    assert done.stderr.count("cannot be written, so no more is: No space left on device") == 1
    assert "[INFO] still here" in done.stderr
    assert done.stderr.endswith(
        "[WARNING] 50 lines of the log were lost: standard output did not take them\n"
    )


def test_many_complaints_that_are_alike_are_one_a_minute() -> None:
    now = [0.0]
    seldom = Seldom(lambda: now[0])
    assert seldom.passes("badauth") == 0
    assert [seldom.passes("badauth") for _ in range(3)] == [None] * 3
    assert seldom.passes("badttl") == 0
    now[0] = 61.0
    assert seldom.passes("badauth") == 3
    now[0] = 130.0
    assert seldom.passes("badauth") == 0
    for number in range(10_000):  # as many as can be forged are not remembered
        seldom.passes(number)
    assert len(seldom._seen) <= 2000


# -- the state --------------------------------------------------------------------------------


def a_node() -> Node:
    node = Node()
    node.add_interface("eth0", mac="52:54:00:00:00:0a", addresses=["192.0.2.11"])
    config = VirtualHostConfig(vhid=1, addresses=["192.0.2.1"], passphrase="a secret")
    node.add_virtual_host("eth0", config)
    node.handle(InterfaceChanged("eth0", True), 0.0)
    node.handle(TimerExpired(), 3.0)
    return node


def test_the_state_with_its_age() -> None:
    entered = {("eth0", 1): Entered(3.0, Reason.MASTER_TIMED_OUT)}
    state = snapshot(a_node(), entered, 10.5)
    assert state["virtual_hosts"] == [
        {
            "interface": "eth0",
            "vhid": 1,
            "state": "MASTER",
            "age": 7.5,
            "reason": "master timed out",
            "holding": False,
            "addresses": ["192.0.2.1"],
            "destinations": ["224.0.0.18"],
            "advbase": 1,
            "advskew": 0,
            "demoted_advskew": 0,
        }
    ]
    assert (state["masters"], state["pid"]) == (1, os.getpid())
    assert "a secret" not in json.dumps(state)


def test_the_control_socket(tmp_path: Path, capsys) -> None:
    path = str(tmp_path / "control")
    control = ControlSocket(path)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    big = {"virtual_hosts": ["x" * 500] * 255}
    server = threading.Thread(target=answer, args=(control, big))
    server.start()
    assert ask(path) == big
    server.join(10)
    with pytest.raises(ConfigError, match="another process answers at"):
        ControlSocket(path)
    control.close()
    assert not Path(path).exists()
    assert main(["run", "--status", path]) == 1
    assert capsys.readouterr().err == f"carpproto: nobody answers at {path}\n"


def answer(control: ControlSocket, state: dict) -> None:
    select.select([control], [], [], 10)
    control.answer(state)


def test_a_socket_that_was_left_behind_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "control"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    ControlSocket(str(path)).close()
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is there and no socket"):
        ControlSocket(str(path))
    assert path.read_text() == "precious"
    with pytest.raises(ConfigError, match="cannot listen at"):
        ControlSocket(str(tmp_path / "none" / "control"))


def test_what_answers_something_else(tmp_path: Path, capsys) -> None:
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def other() -> None:
            asking, _ = listening.accept()
            with asking:
                asking.sendall(b"220 mail\r\n")

        server = threading.Thread(target=other)
        server.start()
        assert main(["run", "--status", path]) == 1
        server.join(10)
    assert capsys.readouterr().err == f"carpproto: what answers at {path} is no state\n"


# -- the background ---------------------------------------------------------------------------

WORK = """
import os, sys, time
from carpproto.cli.run_daemon import daemonize
def work(ready):
    {work}
status = daemonize(work)
print("status", status, "cwd", os.getcwd() == "/")
"""


def daemon(work: str) -> subprocess.CompletedProcess[str]:
    code = WORK.format(work=work)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20
    )


def test_who_started_it_gets_the_process_id_and_no_terminal(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    done = daemon(
        f"ready(); print('lost'); f = open({str(noted)!r}, 'w'); "
        "print(os.getpid(), os.getsid(0), os.getcwd(), os.fstat(0).st_rdev == "
        "os.stat(os.devnull).st_rdev, file=f, flush=True); time.sleep(20); return 0"
    )
    number, words = done.stdout.split(maxsplit=1)
    pid = int(number)
    try:
        assert words == "status 0 cwd False\n"
        assert done.stderr == ""
        said = eventually(lambda: noted.exists() and noted.read_text(), 5.0).split()
        assert int(said[0]) == pid
        assert int(said[1]) != pid, "it leads no session, so it never gets a terminal"
        assert said[2:] == ["/", "True"]
    finally:
        os.kill(pid, signal.SIGKILL)


def test_what_goes_wrong_before_that_is_told_to_who_started_it() -> None:
    done = daemon("print('no such thing', file=sys.stderr); return 3")
    assert (done.stdout, done.stderr) == ("status 3 cwd False\n", "no such thing\n")
    done = daemon("raise RuntimeError('a fault')")
    assert done.stdout == "status 1 cwd False\n"
    assert "RuntimeError: a fault" in done.stderr


# -- without privilege ------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's capabilities")
@pytest.mark.parametrize("background", [(), ("-B",)])
def test_without_the_capability_one_line_says_how_to_grant_it(tmp_path, background) -> None:
    root = os.geteuid() == 0
    command = [sys.executable, "-m", "carpproto", "run", "-i", "lo", "-v", "1", "-f", "none"]
    command += ["--transport", "raw"]
    command += ["-a", "192.0.2.1", *background]
    if root:
        # What is lost for good before the program begins, whoever it runs as.
        command = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", *command]
    environment = {**os.environ, "CARPPROTO_PASSPHRASE": "a secret"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=20, env=environment
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("carpproto: CAP_NET_RAW is missing")
    assert f"setcap cap_net_raw+ep {os.path.realpath(sys.executable)}, which" in done.stderr
    assert "every user of that Python" in done.stderr
    assert "AmbientCapabilities=CAP_NET_RAW" in done.stderr
    assert done.stdout == ""


def test_the_first_usable_interface(monkeypatch) -> None:
    def state(name: str) -> interfaces.InterfaceState:
        addresses = {"lo": "127.0.0.1/8", "eth1": "192.0.2.11/24", "eth2": "192.0.2.12/24"}
        found = [ip_interface(addresses[name])] if name in addresses else []
        return interfaces.InterfaceState(name, 1, "", name != "eth1", True, tuple(found))

    monkeypatch.setattr(interfaces, "read", state)
    monkeypatch.setattr(interfaces, "names", lambda: ("lo", "eth0", "eth1", "eth2"))
    assert first_usable_interface() == "eth2"
    monkeypatch.setattr(interfaces, "names", lambda: ("lo", "eth0", "eth1"))
    with pytest.raises(ConfigError, match="of: lo, eth0, eth1; give one with -i"):
        first_usable_interface()


def test_an_interface_that_is_not_there_is_bad_usage(capsys, monkeypatch) -> None:
    monkeypatch.setenv("CARPPROTO_PASSPHRASE", "a secret")
    assert main(["run", "-i", "no0", "-v", "1", "-a", "192.0.2.1"]) == 2
    assert "there is no interface 'no0'; there are: " in capsys.readouterr().err
