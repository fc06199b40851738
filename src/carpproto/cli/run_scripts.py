"""Which commands ``carpproto run`` runs when the state of a virtual host changes.

Must not run anything: gives the commands, with their arguments and environment, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from carpproto.cli.run_setup import Member, Setup, VirtualAddress
from carpproto.core.actions import StateChanged
from carpproto.core.events import State


class Command(NamedTuple):
    """What to run, and for which virtual address if it is an up or down script."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    address: VirtualAddress | None = None


def commands(
    setup: Setup, member: Member, change: StateChanged, *, first: bool, ending: bool
) -> tuple[Command, ...]:
    """The commands that a change of state asks for.

    ``first`` is whether the host becomes BACKUP for the first time, where ucarp runs the down
    script unless it is neutral; ``ending`` whether the process ends, where it does so only if
    told to.
    """
    scripts = member.scripts
    script = None
    if change.current is State.MASTER:
        script = scripts.up
    elif change.previous is State.MASTER:
        script = scripts.down if setup.shutdown or not ending else None
    elif first and not setup.neutral:
        script = scripts.down
    found: list[Command] = []
    if script is not None:
        found += [_script(setup, member, change, script, shared) for shared in member.addresses]
    if scripts.hook is not None:
        _, subsystem, state = change.notification()
        found.append(Command((scripts.hook, subsystem, state), _environment(change)))
    return tuple(found)


def is_up_or_down(environment: Mapping[str, str] | None) -> bool:
    """Whether an environment is that of an up or down script; a hook hears of every change."""
    return environment is not None and environment.get("CARPPROTO_ADDRESS", "") != ""


def _script(
    setup: Setup, member: Member, change: StateChanged, script: str, shared: VirtualAddress
) -> Command:
    argv = [script, member.interface, str(shared.address)]
    if setup.script_form == "1.6":
        argv.append(str(shared.address.version))
    if member.scripts.extra is not None:
        argv.append(member.scripts.extra)
    length = shared.prefix_length
    environment = {
        **_environment(change),
        "CARPPROTO_ADDRESS": str(shared.address),
        "CARPPROTO_FAMILY": str(shared.address.version),
        "CARPPROTO_PREFIX_LENGTH": str(shared.address.max_prefixlen if length is None else length),
    }
    return Command(tuple(argv), environment, shared)


def _environment(change: StateChanged) -> dict[str, str]:
    return {
        "CARPPROTO_INTERFACE": change.interface,
        "CARPPROTO_VHID": str(change.vhid),
        "CARPPROTO_STATE": change.current.value,
        "CARPPROTO_PREVIOUS": change.previous.value,
    }
