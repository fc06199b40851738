"""The file of ``carpproto run --config``: what it says, and where it says what it cannot."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from carpproto.cli import main
from carpproto.cli.run_config import load, parse
from carpproto.cli.run_setup import Setup, VirtualAddress
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError
from carpproto.core.profile import FREEBSD, FREEBSD_14, NETBSD

ONE = """
[[vhids]]
interface = "eth0"
vhid = 1
addresses = ["192.0.2.1"]
passphrase = "a secret"
"""


def test_one_virtual_host_is_as_by_ucarps_options() -> None:
    setup = parse(ONE)
    [member] = setup.members
    assert member.config == VirtualHostConfig(
        vhid=1, addresses=["192.0.2.1"], passphrase="a secret"
    )
    assert setup == Setup((member,), setup.profile)
    assert setup.profile.name == "UCarp"
    assert "a secret" not in repr(setup)


def test_everything(tmp_path: Path) -> None:
    for name in ("up", "down", "hook"):
        file = tmp_path / name
        file.write_text("#!/bin/sh\n")
        file.chmod(0o700)
    secret = tmp_path / "secret"
    secret.write_text("another\n")
    secret.chmod(0o600)
    text = """
profile = "netbsd"
preempt = true
dead_ratio = 5
transport = "packet"
nomcast = false
ignoreifstate = true
script_form = "1.6"
script_timeout = 5
neutral = true
shutdown = true
silent = true
facility = "none"
control = "/run/carpproto/control"

[settings]
dscp = 48
ifdown_demotion_factor = 0

[common]
interface = "eth0"
srcip = ["192.0.2.11", "fe80::11"]
passfile = "secret"
advskew = 10
upscript = "./up"
downscript = "./down"
hook = "./hook"
xparam = "x"

[[vhids]]
vhid = 1
addresses = ["192.0.2.1/24", "[2001:db8::1]/64"]

[[vhids]]
vhid = 1
interface = "eth1"
addresses = ["198.51.100.1"]
key = "0102"
advskew = 20
peer = "239.0.0.1"
xparam = "y"
"""
    file = tmp_path / "run.toml"
    file.write_text(text)
    file.chmod(0o600)
    setup = load(str(file))
    first, second = setup.members
    assert first.interface == "eth0"
    assert first.config == VirtualHostConfig(
        vhid=1, addresses=["192.0.2.1", "2001:db8::1"], passphrase="another", advskew=10
    )
    assert first.addresses == (
        VirtualAddress(ip_address("192.0.2.1"), 24),
        VirtualAddress(ip_address("2001:db8::1"), 64),
    )
    assert [str(address) for address in first.sources] == ["192.0.2.11", "fe80::11"]
    assert first.scripts == (*(str(tmp_path / name) for name in ("up", "down", "hook")), "x")
    assert second.interface == "eth1"
    assert second.config == VirtualHostConfig(
        vhid=1, addresses=["198.51.100.1"], key=b"\1\2", advskew=20, peer="239.0.0.1"
    )
    assert second.scripts.extra == "y"
    assert setup.profile is NETBSD
    assert set(setup.settings) == {
        ("preempt", 1),
        ("dead_ratio", 5),
        ("dscp", 48),
        ("ifdown_demotion_factor", 0),
    }
    assert setup == Setup(
        setup.members,
        NETBSD,
        setup.settings,
        transport="packet",
        ignore_link=True,
        script_form="1.6",
        script_timeout=5.0,
        neutral=True,
        shutdown=True,
        bow_out=False,
        facility="none",
        control="/run/carpproto/control",
        control_place=f"{file}:14: ",
    )


def test_the_default_profile() -> None:
    several = ONE.replace('["192.0.2.1"]', '["192.0.2.1", "192.0.2.2"]')
    assert parse(several).profile is FREEBSD
    assert parse(ONE + 'peer = "192.0.2.12"\n').profile is FREEBSD_14
    two = ONE + ONE.replace("vhid = 1", "vhid = 2").replace("2.1", "2.2")
    assert parse(two).profile.name == "UCarp"


def test_relative_names_are_beside_the_file(tmp_path: Path, monkeypatch) -> None:
    """Also where it is named without a folder; no program is looked for in the PATH."""
    for name in ("up", "true"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o700)
    text = ONE + 'upscript = "up"\ndownscript = "./up"\nhook = "true"\n'
    (tmp_path / "r.toml").write_text('control = "control"\n' + text)
    monkeypatch.chdir(tmp_path)
    setup = load("r.toml")
    here = [str(tmp_path / name) for name in ("up", "up", "true")]
    assert list(setup.members[0].scripts[:3]) == here
    assert setup.control == str(tmp_path / "control")
    (tmp_path / "true").unlink()
    with pytest.raises(ConfigError, match=r"hook: hook .* is no file: there is no .*/true"):
        load("r.toml")


def test_an_empty_passphrase_is_warned_of() -> None:
    [warning] = parse(ONE.replace("a secret", "")).warnings
    assert "the passphrase is empty" in warning


def test_what_is_accepted_alike() -> None:
    for text in ("preempt = true\n", "preempt = 1\n", "[settings]\npreempt = true\n"):
        assert parse(text + ONE).settings == (("preempt", 1),)
    assert parse("script_form = 1.6\n" + ONE).script_form == "1.6"
    assert parse("[settings]\nlog = 2\n" + ONE).settings == (("log", 2),)


def test_the_places_for_what_only_the_start_finds() -> None:
    [member] = parse(ONE).members
    assert member.place("interface") == "run.toml:3: "
    assert member.place("addresses") == "run.toml:5: "
    shared = '[common]\ninterface = "eth0"\n'
    [member] = parse(shared + ONE.replace('interface = "eth0"\n', "")).members
    assert member.place("interface") == "run.toml:2: "


@pytest.mark.skipif(sys.platform != "linux", reason="the interface lo")
@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ("no0", "there is no interface 'no0'; there are: "),
        ("lo", "lo is no Ethernet interface; for such the transport is to be raw"),
    ],
)
def test_what_only_the_start_finds_has_its_line_too(
    tmp_path: Path, capsys, interface: str, said: str
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(ONE.replace("eth0", interface))
    assert main(["run", "--config", str(file)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"carpproto: {file}:3: {said}")
    assert printed.count("\n") == 1, "no warning of who can read the file before it"


def refused(text: str, tmp_path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, str(tmp_path / "run.toml"))
    said = str(caught.value)
    assert "a secret" not in said
    assert "\n" not in said
    return said.removeprefix(str(tmp_path / "run.toml")).replace(str(tmp_path), "DIR")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: there is no virtual host: [[vhids]]"),
        ("vhids = 1", ":1: vhids: a list is expected, not a whole number"),
        ("x = [", ":1: "),
        (ONE + "advskew = 256\n", ":7: advskew 256 is out of range; it is 0 to 255"),
        (ONE + "advskew = 1.5\n", ":7: advskew: a whole number is expected, not a number"),
        (ONE + "advbase = 0\n", ":7: advbase 0 with advskew 0 is no interval on UCarp"),
        (ONE + "vip = 1\n", ":7: there is no key 'vip' here; keys are "),
        (ONE + 'key = "01"\n', ":7: passphrase and key: give one of them"),
        (ONE + 'peer6 = "ff02::7"\n', ":7: peer6: there is no IPv6 address"),
        (ONE + 'peer = "ff02::7"\n', ":7: peer ff02::7 is not an IPv4 address to send to"),
        (ONE + 'peer = "one"\n', ":7: peer: 'one' is not an address"),
        (ONE + 'srcip = ["192.0.2.2", "192.0.2.3"]\n', ":7: srcip: the own address is given tw"),
        (ONE + 'upscript = "./up"\n', ":7: upscript: up script 'DIR/up' is no file"),
        (ONE + 'hook = "./hook"\n', ":7: hook: hook 'DIR/hook' is no file"),
        (ONE + ONE, ":10: vhid 1 is on 'eth0' already"),
        (ONE + ONE.replace("vhid = 1", "vhid = 2"), ":10: 192.0.2.1 is a virtual address of vhi"),
        (ONE.replace("vhid = 1", "vhid = 300"), ":4: vhid 300 is out of range; it is 1 to 255"),
        (ONE.replace("vhid = 1", "vhid = true"), ":4: vhid: a whole number is expected"),
        (ONE.replace("vhid = 1\n", ""), ":2: vhid is missing"),
        (ONE.replace('interface = "eth0"\n', ""), ":2: interface is missing"),
        (ONE.replace('passphrase = "a secret"\n', ""), ":2: one of passphrase, key, passfile is"),
        (ONE.replace("192.0.2.1", "192.0.2"), ":5: addresses: '192.0.2' is not an address"),
        (ONE.replace('"192.0.2.1"', ""), ":5: addresses: an address is expected, the list is em"),
        ("[common]\nvhid = 1\n" + ONE, ":2: vhid is for each of the [[vhids]] to say"),
        ("[common]\nadvskew = 300\n" + ONE, ":2: advskew 300 is out of range"),
        ('[common]\npassfile = "no"\n' + ONE, ":2: passfile: cannot read DIR/no: No such file"),
        ("[settings]\ndscp = 64\n" + ONE, ":2: dscp 64 is out of range; it is 0 to 63"),
        ("[settings]\nvhid = 64\n" + ONE, ":2: there is no key 'vhid' here"),
        ("dead_ratio = 0\n" + ONE, ":1: dead_ratio 0 is out of range; it is 1 to 65535"),
        ('profile = "linux"\n' + ONE, ":1: profile: there is no profile 'linux'"),
        ('profile = "ucarp"\n' + ONE + 'peer = "192.0.2.9"\n', "takes multicast only"),
        ("script_timeout = 0\n" + ONE, ":1: script_timeout: 0.0 s is out of range"),
        ('script_form = "2"\n' + ONE, ":1: script_form: there is no form '2'; there are 1.5, 1."),
        ('facility = "x"\n' + ONE, ":1: facility: there is no facility 'x'; there are none, au"),
        (f'control = "/{"x" * 120}"\n' + ONE, ":1: control: the path of a control socket has 1"),
        ("preempt = 1\n[settings]\npreempt = 0\n" + ONE, ":3: preempt is given at the top, too"),
        ("dead_ratio = 3\n[settings]\ndead_ratio = 3\n" + ONE, ":3: dead_ratio is given at"),
        ("script_form = 1.7\n" + ONE, ":1: script_form: there is no form '1.7'"),
        ("script_form = 2\n" + ONE, ":1: script_form: there is no form 2"),
        (ONE + 'srcip = "fe80::1"\n', ":7: srcip: fe80::1 is IPv6, and there is no such addr"),
        (ONE + 'peer = "127.0.0.1"\n', ":7: peer: 127.0.0.1 is no other host"),
        (ONE.replace("2.1", "2.0/24"), ":5: addresses: 192.0.2.0 is the network 192.0.2.0/24"),
        ("preempt = 2\n" + ONE, ":1: preempt 2 is out of range; it is 0 to 1"),
        ("shutdown = 1\n" + ONE, ":1: shutdown: true or false is expected, not a whole number"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    assert said in refused(text, tmp_path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(b"\n\xff")
    with pytest.raises(ConfigError, match=r"run\.toml:2: this is no UTF-8 text"):
        load(str(file))


def test_a_file_for_everybody_to_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(ONE)
    file.chmod(0o644)
    [warning] = load(str(file)).warnings
    assert f"can read the passphrases in {file}: chmod o-r" in warning


def test_every_vhid_of_an_interface_is_read_in_a_moment() -> None:
    text = "".join(
        ONE.replace("vhid = 1", f"vhid = {n}").replace("192.0.2.1", f"192.0.2.{n}")
        for n in range(1, 255)
    )
    assert len(parse(text).members) == 254
