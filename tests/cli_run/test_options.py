"""``carpproto run``: what its options mean, and how it refuses them. No socket is opened."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

import carpproto.cli.run_service
from carpproto.cli import main
from carpproto.cli.run_setup import Setup, VirtualAddress, default_profile, make_node
from carpproto.core.config import VirtualHostConfig
from carpproto.core.profile import FREEBSD, FREEBSD_14, NETBSD, UCARP, Tie

MINIMAL = ("run", "-i", "eth0", "-v", "1", "-a", "192.0.2.1")


@pytest.fixture
def passfile(tmp_path: Path) -> str:
    file = tmp_path / "passphrase"
    file.write_bytes(b"a secret\nand no more\n")
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def script(tmp_path: Path) -> str:
    file = tmp_path / "script"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o700)
    return str(file)


@pytest.fixture
def served(monkeypatch) -> list[Setup]:
    """What would have been served."""
    found: list[Setup] = []

    def serve(setup: Setup) -> int:
        found.append(setup)
        return 0

    monkeypatch.setattr(carpproto.cli.run_service, "serve", serve)
    return found


def understood(served: list[Setup], capsys, *arguments: str) -> Setup:
    assert main(arguments) == 0, capsys.readouterr().err
    return served.pop()


def refused(capsys, *arguments: str) -> str:
    """The one line with which the command refuses."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert "a secret" not in printed.err
    return line


def test_ucarps_options_as_its_users_give_them(served, capsys, passfile, script) -> None:
    setup = understood(
        *(served, capsys, "run", "-i", "eth0", "-s", "192.0.2.11", "-v", "42", "-o", passfile),
        *("-a", "192.0.2.1", "-u", script, "-d", script, "-x", "an argument", "-zP", "-nS"),
        *("-b", "2", "-k", "100", "-r", "4", "-f", "local3", "-M", "-D", "-B"),
    )
    [member] = setup.members
    assert member.interface == "eth0"
    assert member.sources == (ip_address("192.0.2.11"),)
    assert member.config == VirtualHostConfig(
        vhid=42, addresses=["192.0.2.1"], passphrase="a secret", advbase=2, advskew=100
    )
    assert member.scripts == (script, script, None, "an argument")
    assert setup.settings == (("preempt", 1), ("dead_ratio", 4))
    assert (setup.shutdown, setup.neutral, setup.ignore_link, setup.broadcast) == (True,) * 4
    assert (setup.facility, setup.debug, setup.daemonize) == ("local3", True, True)
    assert capsys.readouterr().err == ""


def test_the_long_names_and_the_defaults(served, capsys, passfile) -> None:
    setup = understood(
        *(served, capsys, "run", "--interface=eth0", "--srcip=192.0.2.11", "--vhid=1"),
        *(f"--passfile={passfile}", "--addr=192.0.2.1"),
    )
    [member] = setup.members
    assert (member.config.advbase, member.config.advskew) == (1, 0)
    assert member.scripts == (None, None, None, None)
    assert setup.settings == ()
    assert setup == Setup(setup.members, setup.profile)
    assert setup.bow_out
    node = make_node(setup, {"eth0": ("02:00:00:00:00:01", ())})
    assert node.virtual_host("eth0", 1).dead_ratio == 3


@pytest.mark.parametrize(
    "option", ["-m", "--mcastip", "--mcast", "--mcasti", "--mcas", "--mca", "--mc", "--m"]
)
def test_another_group_by_every_name_that_ucarp_takes(served, capsys, passfile, option) -> None:
    setup = understood(served, capsys, *MINIMAL, "-o", passfile, *(option, "239.192.0.7"))
    assert setup.members[0].config.destination(4) == ip_address("239.192.0.7")
    assert setup.profile.name == "UCarp"


@pytest.mark.parametrize("name", ["--preem", "--shut", "--ignore", "--nomc", "--neut", "--daem"])
def test_long_names_may_be_cut_as_for_ucarp(served, capsys, passfile, name) -> None:
    understood(served, capsys, *MINIMAL, "-o", passfile, name)


@pytest.mark.parametrize(
    ("text", "address", "length"),
    [
        ("192.0.2.10", "192.0.2.10", None),
        ("192.0.2.10/24", "192.0.2.10", 24),
        ("2001:db8::10", "2001:db8::10", None),
        ("2001:db8::10/64", "2001:db8::10", 64),
        ("[2001:db8::10]", "2001:db8::10", None),
        ("[2001:db8::10]/64", "2001:db8::10", 64),
        ("[fe80::10%eth0]/64", "fe80::10", 64),
    ],
)
def test_a_virtual_address(served, capsys, passfile, text, address, length) -> None:
    setup = understood(served, capsys, "run", "-i", "eth0", "-v", "1", "-a", text, "-o", passfile)
    [member] = setup.members
    assert member.addresses == (VirtualAddress(ip_address(address), length),)
    assert member.config.addresses == (ip_address(address),)
    assert setup.profile.name == "UCarp"


def test_several_addresses_make_it_a_freebsd(served, capsys, passfile) -> None:
    both = (*MINIMAL, "-a", "[2001:db8::1]/64", "-o", passfile)
    setup = understood(served, capsys, *both)
    assert setup.profile is FREEBSD
    assert [str(one.address) for one in setup.members[0].addresses] == [
        "192.0.2.1",
        "2001:db8::1",
    ]
    assert understood(served, capsys, *both, "--profile", "netbsd").profile is NETBSD
    assert "UCarp has one for each vhid" in refused(capsys, *both, "--profile", "ucarp")


def test_a_unicast_peer_makes_it_a_freebsd_14(served, capsys, passfile) -> None:
    setup = understood(served, capsys, *MINIMAL, "-o", passfile, "--peer", "198.51.100.2")
    assert setup.profile is FREEBSD_14
    assert setup.members[0].config.peer == ip_address("198.51.100.2")


def test_ucarp_breaks_ties_in_the_byte_order_of_its_machine(monkeypatch) -> None:
    config = VirtualHostConfig(vhid=1, addresses=["192.0.2.1"])
    monkeypatch.setattr(sys, "byteorder", "little")
    assert default_profile([config]) is UCARP
    monkeypatch.setattr(sys, "byteorder", "big")
    assert default_profile([config]).tie is Tie.SOURCE_NUMERIC


def test_an_address_left_behind_on_the_interface_is_not_the_source(
    served, capsys, passfile
) -> None:
    setup = understood(served, capsys, *MINIMAL, "-o", passfile)
    addresses = [ip_address("192.0.2.1"), ip_address("192.0.2.11")]
    node = make_node(setup, {"eth0": ("02:00:00:00:00:01", addresses)})
    assert node.addresses("eth0") == (ip_address("192.0.2.11"),)


def test_the_host_answers_with_its_own_mac(served, capsys, passfile) -> None:
    setup = understood(served, capsys, *MINIMAL, "-a", "192.0.2.2", "-o", passfile)
    node = make_node(setup, {"eth0": ("02:00:00:00:00:01", ())})
    assert node.profile.real_mac_answers
    assert node.profile.announces_to_slower, "whoever prevails after a split announces again"
    assert not FREEBSD.real_mac_answers


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-v", "0"], "vhid 0 is out of range; it is 1 to 255"),
        (["-v", "256"], "vhid 256 is out of range; it is 1 to 255"),
        (["-v", "one"], "vhid 'one' is no whole number of 1 to 255"),
        (["-v", "0x1"], "vhid '0x1' is no whole number"),
        (["-v", "\N{ARABIC-INDIC DIGIT ONE}"], "is no whole number"),
        (["-v", "9" * 5000], "is no whole number"),
        (["-k", "256"], "advskew 256 is out of range; it is 0 to 255"),
        (["-k"], "argument -k/--advskew: expected one argument"),
        (["-k", "-1"], "advskew '-1' is no whole number of 0 to 255"),
        (["-b", "256"], "advbase 256 is out of range; it is 0 to 255"),
        (["-b", "0"], "advbase 0 with advskew 0 is no interval on UCarp"),
        (["-b", "1.5"], "advbase '1.5' is no whole number"),
        (["-r", "0"], "dead_ratio 0 is out of range; it is 1 to 65535"),
        (["-r", "65536"], "dead_ratio 65536 is out of range"),
        (["-a", "192.0.2.1/33"], "'192.0.2.1/33' is not an address"),
        (["-a", "[192.0.2.2]"], "'[192.0.2.2]' is not an address"),
        (["-a", "2001:db8::1]"], "'2001:db8::1]' is not an address"),
        (["-a", "192.0.2.1/24"], "192.0.2.1 is given twice"),
        (["-a", ""], "--addr: '' is not an address"),
        (["-a", "127.0.0.9"], "--addr: 127.0.0.9 is a loopback address"),
        (["-a", "0.0.0.0"], "--addr: 0.0.0.0 is not a host's address"),
        (["-a", "192.0.2.0/24"], "--addr: 192.0.2.0 is the network 192.0.2.0/24 itself"),
        (["-a", "192.0.2.255/24"], "192.0.2.255 is the broadcast address of 192.0.2.0/24"),
        (["-a", "2001:db8::/64"], "2001:db8:: is the network 2001:db8::/64 itself"),
        (["-a", "224.0.0.18"], "224.0.0.18 is not a host's address"),
        (["-s", "192.0.2.300"], "'192.0.2.300' is not an address"),
        (["-s", "192.0.2.2", "-s", "192.0.2.3"], "--srcip: the own address is given twice for"),
        (["-s", ""], "--srcip: '' is not an address"),
        (["-s", "fe80::1"], "--srcip: fe80::1 is IPv6, but there is no IPv6 address in -a"),
        (
            ["-m", "192.0.2.2"],
            "--mcastip: 192.0.2.2 is no multicast group; for a unicast peer there is",
        ),
        (["-m", "x"], "--mcastip: 'x' is not an address"),
        (
            ["-m", "ff02::99"],
            "--mcastip or --peer: ff02::99 is IPv6, but there is no IPv6 address in -a",
        ),
        (["-m", "239.0.0.1", "--peer", "192.0.2.2"], "both --mcastip and --peer are given"),
        (["--peer", "239.0.0.1"], "239.0.0.1 is a multicast group; for those there is --mcastip"),
        (["--peer", "127.0.0.1"], "--peer: 127.0.0.1 is no other host; give the peer's address"),
        (["--peer", "::"], "--peer: :: is no other host"),
        (["--peer", "192.0.2.2", "-M"], "it does not go with --peer"),
        (["--peer", "192.0.2.2", "--profile", "ucarp"], "UCarp takes multicast only"),
        (["--profile", "linux"], "there is no profile 'linux'; there are freebsd, netbsd"),
        (["--transport", "tcp"], "there is no transport 'tcp'; there are auto, packet, raw"),
        (["--script-form", "1.7"], "there is no form of script arguments '1.7'"),
        (["--script-timeout", "0"], "--script-timeout: 0.0 s is out of range"),
        (["--script-timeout", "inf"], "inf s is out of range"),
        (["--script-timeout", "soon"], "--script-timeout: 'soon' is no number of seconds"),
        (["-f", "local8"], "there is no syslog facility 'local8'"),
        (["-u", "/nowhere/up.sh"], "up script '/nowhere/up.sh' is no file"),
        (["-d", "/etc/passwd"], "down script '/etc/passwd' is not executable: chmod +x"),
        (["--hook", "true"], "hook 'true' is no file: there is no /"),
        (["-u", ""], "up script: no file is named"),
        (["--control", ""], "--control: no path is named"),
        (["--status", "x"], "--interface does not go with --status, which only asks"),
        (["--control", "/tmp/" + "x" * 200], "the path of a control socket has 100 bytes at"),
        (["--json", "-B"], "--json prints to standard output, which -B leaves"),
        (["--frobnicate"], "no such option: --frobnicate"),
        (["--adv", "1"], "ambiguous option: --adv could match --advbase, --advskew"),
        (["--config", "x.toml"], "--interface does not go with --config: say it in the file"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    served, capsys, passfile, arguments: list[str], text: str
) -> None:
    line = refused(capsys, *MINIMAL, "-o", passfile, *arguments)
    assert text in line
    assert len(line) < 700
    assert served == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "-v VHID is missing"),
        (["-v", "1"], "-a ADDRESS is missing"),
        (["-v", "1", "-a", "192.0.2.1"], "no passphrase: give -o FILE (--passfile), or CARPP"),
        (["-v", "1", "-a", "192.0.2.1", "-o", "/nowhere"], "cannot read /nowhere: No such file"),
    ],
)
def test_what_is_missing_is_named(capsys, monkeypatch, arguments, text) -> None:
    monkeypatch.delenv("CARPPROTO_PASSPHRASE", raising=False)
    assert text in refused(capsys, "run", *arguments)


# -- the passphrase -------------------------------------------------------------------------------


def test_a_passphrase_on_the_command_line_works_with_a_warning(served, capsys) -> None:
    setup = understood(served, capsys, *MINIMAL, "-p", "a secret")
    assert setup.members[0].config == VirtualHostConfig(
        vhid=1, addresses=["192.0.2.1"], passphrase="a secret"
    )
    [warning] = setup.warnings
    assert "every user of this machine can see a passphrase on the command line" in warning
    assert "a secret" not in warning
    assert "a secret" not in repr(setup)


def test_one_from_the_environment_is_kept_from_the_scripts(served, capsys, monkeypatch) -> None:
    monkeypatch.setenv("CARPPROTO_PASSPHRASE", "a secret")
    setup = understood(served, capsys, *MINIMAL)
    assert setup.members[0].config.replace(passphrase="a secret") == setup.members[0].config
    import os

    assert "CARPPROTO_PASSPHRASE" not in os.environ


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (b"a secret", "a secret"),
        (b"a secret\n", "a secret"),
        (b"a secret \nmore", "a secret "),
        (b"a secret\r\n", "a secret\r"),
    ],
)
def test_of_a_passfile_only_the_line_feed_is_removed(
    served, capsys, tmp_path, content: bytes, passphrase: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    file.chmod(0o600)
    setup = understood(served, capsys, *MINIMAL, "-o", str(file))
    expected = VirtualHostConfig(vhid=1, addresses=["192.0.2.1"], passphrase=passphrase)
    assert setup.members[0].config == expected
    assert ("carriage return" in capsys.readouterr().err) is content.endswith(b"\r\n")


def test_a_passfile_for_everybody_to_read_and_an_empty_one_are_warned_of(
    served, capsys, tmp_path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\n")
    file.chmod(0o644)
    setup = understood(served, capsys, *MINIMAL, "-o", str(file))
    assert setup.warnings == (
        f"every user of this machine can read the passphrase in {file}: chmod o-r",
        "the passphrase is empty: whoever can send here can become MASTER",
    )
    # A mistake is all that is said of a command line with one.
    assert main([*MINIMAL, "-o", str(file), "-f", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_empty_passphrase_is_warned_of_wherever_it_is_from(served, capsys, monkeypatch) -> None:
    assert "is empty" in understood(served, capsys, *MINIMAL, "-p", "").warnings[-1]
    monkeypatch.setenv("CARPPROTO_PASSPHRASE", "")
    assert "is empty" in understood(served, capsys, *MINIMAL).warnings[-1]


def test_a_script_is_named_from_where_one_is(
    served, capsys, passfile, script, monkeypatch
) -> None:
    """README's ``-u up.sh``; the PATH has nothing to do with it."""
    monkeypatch.chdir(Path(script).parent)
    setup = understood(served, capsys, *MINIMAL, "-o", passfile, "-u", "script", "-d", "./script")
    assert setup.members[0].scripts[:2] == (script, script)


def test_what_has_no_name(capsys) -> None:
    assert "--passfile: no file is named" in refused(capsys, *MINIMAL, "-o", "")
    assert "--config: no file is named" in refused(capsys, "run", "--config", "")
    assert "--status: no path is named" in refused(capsys, "run", "--status", "")


def test_a_mistake_is_one_line_of_the_command(capsys) -> None:
    assert main(["run", "--frobnicate"]) == 2
    assert capsys.readouterr().err == (
        "carpproto: run: no such option: --frobnicate (see carpproto run --help)\n"
    )


def test_twenty_characters_are_refused_as_ucarp_does_and_do_not_show(capsys) -> None:
    assert main([*MINIMAL, "-p", "a secret of 20 bytes"]) == 2
    printed = capsys.readouterr().err
    assert "of 20 bytes" not in printed
    assert "19" in printed.splitlines()[-1]


# -- the state ------------------------------------------------------------------------------------


def test_nobody_answers(capsys, tmp_path) -> None:
    path = str(tmp_path / "control")
    assert main(["run", "--status", path]) == 1
    assert capsys.readouterr().err == f"carpproto: nobody answers at {path}\n"


def test_a_closed_standard_output_is_no_reason_to_refuse(tmp_path) -> None:
    command = f"{sys.executable} -m carpproto run --status {tmp_path}/control >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        f"carpproto: nobody answers at {tmp_path}/control\n",
    )


def test_the_help_names_every_option_of_ucarp(capsys) -> None:
    assert main(["run", "--help"]) == 0
    printed = capsys.readouterr().out
    for option in (
        *("--interface", "--srcip", "--addr", "--vhid", "--pass", "--passfile", "--advbase"),
        *("--advskew", "--deadratio", "--preempt", "--neutral", "--upscript", "--downscript"),
        *("--xparam", "--shutdown", "--daemonize", "--ignoreifstate", "--nomcast", "--mcastip"),
        *("--mcast", "--facility", "--debug", "--help"),
    ):
        assert f"{option}" in printed
    assert "--mcasti " not in printed
