"""The examples of the documentation of ``carpproto run``, as far as they can be tried here."""

from __future__ import annotations

import argparse
import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import carpproto.cli.run_service
from carpproto.cli import main, run
from carpproto.cli.run_config import load
from carpproto.cli.run_setup import TIMEOUT, Setup
from carpproto.simulation.scenario_file import load_scenario, parse_scenario
from tests.live.net import Net, skip_unless_live

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples" / "run"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))
DAEMONISING = {"-B", "--daemonize", "--daemon"}


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """What the examples have in /etc/carpproto."""
    for path in (*SCRIPTS, EXAMPLES / "run.toml"):
        shutil.copy(path, tmp_path)
    secret = tmp_path / "passphrase"
    secret.write_text("a secret\n")
    secret.chmod(0o600)
    return tmp_path


def understood(monkeypatch, words: list[str]) -> Setup:
    """What a command line of ours means."""
    found: list[Setup] = []

    def serve(setup: Setup) -> int:
        found.append(setup)
        return 0

    monkeypatch.setattr(carpproto.cli.run_service, "serve", serve)
    assert main(words) == 0
    return found[0]


# -- the file and the service -----------------------------------------------------------------


def test_the_configuration(etc: Path, capsys) -> None:
    setup = load(str(etc / "run.toml"))
    assert [member.config.vhid for member in setup.members] == [1, 2, 3]
    assert setup.profile.name == "FreeBSD 12"
    assert setup.members[1].config.families == (4, 6)
    assert setup.members[0].scripts.hook == str(etc / "carpcontrol.sh")
    assert capsys.readouterr().err == ""


def the_unit() -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(EXAMPLES / "carpproto.service")
    return unit


def test_the_unit_stays_in_the_foreground(etc: Path, monkeypatch) -> None:
    service = the_unit()["Service"]
    assert service["Type"] == "simple"
    program, *words = shlex.split(service["ExecStart"].replace("/etc/carpproto", str(etc)))
    assert program.endswith("/carpproto")
    assert not DAEMONISING.intersection(words)
    assert not understood(monkeypatch, words).daemonize
    assert "CAP_NET_RAW" in service["AmbientCapabilities"].split()
    assert "AF_PACKET" in service["RestrictAddressFamilies"].split()
    # The down scripts have the time that they may take.
    # ... and the process has some for what it has left to say.
    assert int(service["TimeoutStopSec"]) >= TIMEOUT + 5
    assert service["KillMode"] == "mixed"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    text = (EXAMPLES / "carpproto.service").read_text()
    program = re.search(r"ExecStart=(\S+)", text)[1]
    unit = tmp_path / "carpproto.service"
    unit.write_text(text.replace(program, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    about = [line for line in done.stderr.splitlines() if "carpproto" in line]
    assert about == []
    assert done.returncode == 0, done.stderr


def test_the_image_runs_in_the_foreground(etc: Path, monkeypatch) -> None:
    text = (EXAMPLES / "Dockerfile").read_text()
    instructions = [line for line in text.splitlines() if line[:1].isupper()]
    assert instructions[0].startswith("FROM python:3")
    [entry] = [line for line in instructions if line.startswith("ENTRYPOINT")]
    # Not through a shell, which would keep signals to itself.
    program, *words = json.loads(entry.removeprefix("ENTRYPOINT "))
    assert program == "carpproto"
    for line in instructions:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
    shown = " ".join(line.removeprefix("#").rstrip("\\ ") for line in text.splitlines()[:9])
    given = shlex.split(shown.partition(":ro carpproto ")[2].replace("/etc/carpproto", str(etc)))
    assert not DAEMONISING.intersection(given)
    setup = understood(monkeypatch, [*words, *given])
    assert setup.shutdown
    assert setup.members[0].addresses[0].prefix_length == 24


# -- the scripts ------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_read_by_a_plain_shell(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\n")
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)


@pytest.mark.live
@pytest.mark.parametrize(
    ("address", "shown"), [("192.0.2.1", "192.0.2.1/24"), ("2001:db8::1", "2001:db8::1/64")]
)
def test_up_and_down_configure_an_address(address: str, shown: str) -> None:
    skip_unless_live()
    length = shown.partition("/")[2]
    with Net() as net:
        host = net.host("h1", "10.0.0.1/24")

        def run_script(name: str, *environment: str) -> None:
            host.run("env", *environment, str(EXAMPLES / name), "carp0", address, "4", "extra")

        def addresses() -> str:
            return host.ip("-o", "address", "show", "dev", "carp0")

        for _ in range(2):  # what is so already is no failure
            run_script("up.sh", f"CARPPROTO_PREFIX_LENGTH={length}")
            assert f" {shown} " in addresses()
            assert "tentative" not in addresses()
        for _ in range(2):
            run_script("down.sh")
            assert f" {address}/" not in addresses()
        # As ucarp calls them.
        run_script("up.sh")
        assert f" {address}/" in addresses()
        run_script("down.sh")
        assert f" {address}/" not in addresses()
        assert " 10.0.0.1/24 " in addresses()
        # An interface that is gone has no address; what ip(8) cannot do is a failure.
        host.run(str(EXAMPLES / "down.sh"), "gone0", address)
        with pytest.raises(RuntimeError):
            host.run(str(EXAMPLES / "down.sh"), "carp0", "no-address")


def test_the_hook_runs_what_is_there_for_a_state(tmp_path: Path) -> None:
    folder = tmp_path / "MASTER.d"
    folder.mkdir()
    for name, status in (("10-first", 1), ("20-second", 0)):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*"\nexit {status}\n')
        (folder / name).chmod(0o755)
    (folder / "README").write_text("not to be run")

    def hook(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(EXAMPLES / "carpcontrol.sh"), *arguments],
            env={"CARPCONTROL_DIRECTORY": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )

    done = hook("7@eth0.100", "MASTER")
    assert done.stdout == "10-first 7 eth0.100\n20-second 7 eth0.100\n"
    assert (done.returncode, "10-first failed for vhid 7" in done.stderr) == (1, True)
    assert hook("7@eth0", "BACKUP").returncode == 0
    assert hook("eth0", "BACKUP").returncode == 2
    assert "'1x@eth0' is not vhid@interface" in hook("1x@eth0", "MASTER").stderr
    assert hook("@eth0", "MASTER").returncode == 2
    for arguments in ((), ("7@eth0",)):
        done = hook(*arguments)
        assert done.returncode == 2
        assert done.stderr == "usage: carpcontrol.sh VHID@INTERFACE MASTER|BACKUP|INIT\n"
    assert hook("7@eth0", "../etc").returncode == 2


def test_the_cloud_is_asked_again(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "cloud-up.sh", tmp_path)
    for name, text in (
        ("up.sh", f'echo "$@" > {tmp_path}/up'),
        ("move", f'echo "$@" >> {tmp_path}/moved; [ $(wc -l < {tmp_path}/moved) -ge 2 ]'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    subprocess.run(
        [str(tmp_path / "cloud-up.sh"), "eth0", "192.0.2.1"],
        env={"MOVE": str(tmp_path / "move"), "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=20,
    )
    assert (tmp_path / "up").read_text() == "eth0 192.0.2.1\n"
    assert (tmp_path / "moved").read_text() == "192.0.2.1\n" * 2


# -- the pages --------------------------------------------------------------------------------


def test_the_page_names_every_option_and_no_other() -> None:
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    known = {
        name
        for action in parser._actions
        for name in action.option_strings
        if action.help != argparse.SUPPRESS
    } | {"--json"}
    page = (DOCS / "run.rst").read_text()
    named = set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*(?![\w-])", page))
    others = {"-p", "-s", "-h", "--help"}  # netstat's, and what every command has
    assert known - named <= {"-h", "--help"}
    assert named - known <= others


@pytest.mark.parametrize("page", ["run", "clouds"])
def test_the_commands_of_a_page_are_understood(page: str, etc: Path, monkeypatch) -> None:
    text = (DOCS / f"{page}.rst").read_text().replace("\\\n", " ")
    commands = re.findall(r"^ +\w*# carpproto (run .*?)(?: &)?$", text, re.M)
    assert len(commands) >= 2
    for command in commands:
        words = shlex.split(command.replace("/etc/carpproto", str(etc)))
        if "--status" not in words:
            assert understood(monkeypatch, words).members


# -- changing the passphrase ------------------------------------------------------------------


TWO = "too long with several MASTERs"


def kinds(text: str) -> list[str]:
    return [violation.kind for violation in parse_scenario(text).run().violations]


def test_one_host_after_the_other_makes_two_masters() -> None:
    assert kinds((EXAMPLES / "passphrase-carelessly.toml").read_text()) == [TWO]


def test_members_that_start_again_have_one_master_at_the_most() -> None:
    result = load_scenario(EXAMPLES / "passphrase-by-restart.toml").run()
    assert result.violations == ()
    [group] = result.groups
    assert group.several == 0.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("profile", ["freebsd", "freebsd-10", "freebsd-14", "openbsd", "netbsd"])
def test_members_that_run_on_have_one_master(profile: str, seed: int) -> None:
    text = (EXAMPLES / "passphrase-while-running.toml").read_text()
    text = text.replace("{ preempt", f'{{ profile = "{profile}", preempt')
    if profile == "netbsd":  # its MASTER starts again, as the page says
        text = text.replace("without_master = 8.0", "without_master = 11.1")
    result = parse_scenario(text).run(seed)
    assert result.violations == ()
    [group] = result.groups
    assert group.several == 0.0
    assert [master.node for master in group.masters] == (
        ["a", "a", "b", "c"] if profile == "netbsd" else ["a", "b", "c"]
    )


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        # Without patience, and with the last BACKUP done later than it lasts.
        (("advbase = 60", "advbase = 1"), TWO),
        (("advbase = 60", "advbase = 50"), TWO),
        (("at = 200", "at = 209"), None),
        (("at = 200", "at = 212"), TWO),
    ],
)
def test_what_the_page_says_matters(step: tuple[str, str], kind: str | None) -> None:
    text = (EXAMPLES / "passphrase-while-running.toml").read_text()
    assert step[0] in text
    changed = text.replace(*step).replace("at = 210", "at = 220")
    assert kinds(changed) == ([kind] if kind else [])
