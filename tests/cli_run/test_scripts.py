"""Which scripts ``carpproto run`` runs when, and with what arguments. None is run here."""

from __future__ import annotations

import pytest

from carpproto.cli.run_scripts import commands
from carpproto.cli.run_setup import Member, Scripts, Setup, parse_virtual_addresses
from carpproto.core.actions import StateChanged
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import Reason
from carpproto.core.events import State
from carpproto.core.profile import FREEBSD, UCARP

INIT, BACKUP, MASTER = State


def member(*addresses: str, extra: str | None = None, hook: str | None = None) -> Member:
    shared = parse_virtual_addresses(addresses or ("192.0.2.1",))
    config = VirtualHostConfig(vhid=7, addresses=[one.address for one in shared])
    return Member("eth0", config, shared, (), Scripts("/up", "/down", hook, extra))


def setup(one: Member, **changes: object) -> Setup:
    return Setup((one,), UCARP)._replace(**changes)


def run(
    one: Member,
    previous: State,
    current: State,
    *,
    first: bool = False,
    ending: bool = False,
    **changes: object,
) -> list[str]:
    change = StateChanged("eth0", 7, previous, current, Reason.USER_REQUESTED)
    found = commands(setup(one, **changes), one, change, first=first, ending=ending)
    return [" ".join(command.argv) for command in found]


@pytest.mark.parametrize(
    ("form", "extra", "expected"),
    [
        ("1.5", None, ["/up eth0 192.0.2.1", "/up eth0 2001:db8::1"]),
        ("1.5", "x", ["/up eth0 192.0.2.1 x", "/up eth0 2001:db8::1 x"]),
        ("1.6", None, ["/up eth0 192.0.2.1 4", "/up eth0 2001:db8::1 6"]),
        ("1.6", "x", ["/up eth0 192.0.2.1 4 x", "/up eth0 2001:db8::1 6 x"]),
    ],
)
def test_both_forms_of_the_arguments(form: str, extra: str | None, expected: list[str]) -> None:
    one = member("192.0.2.1/24", "[2001:db8::1]/64", extra=extra)
    assert run(one, BACKUP, MASTER, script_form=form) == expected


def test_an_extra_argument_with_spaces_stays_one() -> None:
    one = member(extra="; reboot")
    change = StateChanged("eth0", 7, BACKUP, MASTER, Reason.MASTER_TIMED_OUT)
    [command] = commands(setup(one), one, change, first=False, ending=False)
    assert command.argv == ("/up", "eth0", "192.0.2.1", "; reboot")


def test_the_environment_has_more() -> None:
    one = member("192.0.2.1/24", "2001:db8::1")
    change = StateChanged("eth0", 7, BACKUP, MASTER, Reason.MASTER_TIMED_OUT)
    first, second = commands(Setup((one,), FREEBSD), one, change, first=False, ending=False)
    assert first.environment == {
        "CARPPROTO_INTERFACE": "eth0",
        "CARPPROTO_VHID": "7",
        "CARPPROTO_STATE": "MASTER",
        "CARPPROTO_PREVIOUS": "BACKUP",
        "CARPPROTO_ADDRESS": "192.0.2.1",
        "CARPPROTO_FAMILY": "4",
        "CARPPROTO_PREFIX_LENGTH": "24",
    }
    assert second.environment["CARPPROTO_PREFIX_LENGTH"] == "128"


def test_the_down_script_runs_at_the_start_unless_neutral() -> None:
    assert run(member(), INIT, BACKUP, first=True) == ["/down eth0 192.0.2.1"]
    assert run(member(), INIT, BACKUP, first=True, neutral=True) == []
    assert run(member(), INIT, BACKUP) == []


@pytest.mark.parametrize("current", [BACKUP, INIT])
def test_the_down_script_runs_when_a_master_is_one_no_longer(current: State) -> None:
    assert run(member(), MASTER, current) == ["/down eth0 192.0.2.1"]


def test_at_the_end_it_runs_if_told_to() -> None:
    assert run(member(), MASTER, INIT, ending=True) == []
    assert run(member(), MASTER, INIT, ending=True, shutdown=True) == ["/down eth0 192.0.2.1"]
    assert run(member(), BACKUP, INIT, ending=True, shutdown=True) == []


def test_the_hook_hears_of_every_change_as_from_devd() -> None:
    one = member(hook="/hook")
    assert run(one, INIT, BACKUP) == ["/hook 7@eth0 BACKUP"]
    assert run(one, BACKUP, MASTER) == ["/up eth0 192.0.2.1", "/hook 7@eth0 MASTER"]
    assert run(one, MASTER, INIT, ending=True) == ["/hook 7@eth0 INIT"]


def test_without_scripts_nothing_is_run() -> None:
    one = member()._replace(scripts=Scripts())
    for previous, current in ((INIT, BACKUP), (BACKUP, MASTER), (MASTER, BACKUP)):
        assert run(one, previous, current, first=True) == []
