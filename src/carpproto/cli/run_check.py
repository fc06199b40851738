"""Whether what ``carpproto run`` was told fits the interfaces that this machine has now.

Must not open or ask anything: the interfaces are an argument.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial

from carpproto.adapters.interfaces import InterfaceState
from carpproto.cli.run_setup import Member, Setup, at, not_for_all
from carpproto.core.addresses import Address, parse_address
from carpproto.core.errors import ConfigError, shown

Interfaces = Mapping[str, InterfaceState]

NO_MAC = "00:00:00:00:00:00"


def check_interfaces(setup: Setup, found: Interfaces) -> tuple[str, ...]:
    """What is hardly meant, for warnings; `ConfigError` for what cannot be.

    ``found`` are all interfaces of this machine, not only those that take part.
    """
    warnings: list[str] = []
    for member in setup.members:
        state = found.get(member.interface)
        if state is None:
            known = ", ".join(found) or "none"
            raise ConfigError(
                f"{member.place('interface')}there is no interface {shown(member.interface)}; "
                f"there are: {known}"
            )
        packet = setup.transport == "packet" or (
            setup.transport == "auto" and sys.platform == "linux"
        )
        if packet and own_mac(state) == NO_MAC:
            raise ConfigError(
                f"{member.place('interface')}{state.name} is no Ethernet interface; "
                "for such the transport is to be raw"
            )
        for address in member.config.addresses:
            for one in state.addresses:
                # A left over address may have any length; its own subnet says nothing of it.
                if one.ip != address:
                    at(member.place("addresses"), partial(not_for_all, address, str(one)))
            warnings += _of_virtual(member, address, found)
        warnings += _of_peers(member, found)
        warnings += _of_sources(member, state, found)
    return tuple(dict.fromkeys(warnings))


def own_mac(state: InterfaceState) -> str:
    """An interface's MAC, or that of none: a tunnel has an IP address there, or nothing."""
    return state.mac if len(state.mac) == len(NO_MAC) else NO_MAC


def unnumbered(interface: str, source: Address) -> str:
    """What to say of an interface without an address of a family."""
    return (
        f"{interface} has no IPv{source.version} address of its own: advertises from {source}, "
        "which equal hosts cannot tell from their own; give it one, or -s"
    )


def _of_virtual(member: Member, address: Address, found: Interfaces) -> list[str]:
    """A virtual address that this host has already: left over from a killed run, or a mistake.

    What an up script configured comes after the interface's own IPv4 address. IPv6 has no such
    order, but a host without another address has configured this one itself.
    """
    for state in found.values():
        same = [one.ip for one in state.addresses if one.version == address.version]
        if address not in same:
            continue
        own = state.name == member.interface and same[0] == address
        if own and address.version == 6:
            own = len(same) == 1
        if own or not (member.scripts.up or member.scripts.hook):
            raise ConfigError(
                f"{member.place('addresses')}{address} is {state.name}'s own address; "
                "a virtual address is one that no host has by itself"
            )
        return [
            f"{address} is on {state.name} already; if no earlier run left it there, it is "
            "this host's own address and no virtual one"
        ]
    return []


def _of_peers(member: Member, found: Interfaces) -> list[str]:
    for name, peer in (("peer", member.config.peer), ("peer6", member.config.peer6)):
        for state in found.values():
            if peer is not None and peer in [one.ip for one in state.addresses]:
                raise ConfigError(
                    f"{member.place(name)}{peer} is {state.name}'s own address; "
                    "give that of the other host"
                )
    return []


def _of_sources(member: Member, state: InterfaceState, found: Interfaces) -> list[str]:
    everywhere = {parse_address(one) for other in found.values() for one in other.addresses}
    warnings = [
        f"{member.place('srcip')}{source} is on no interface of this host"
        for source in member.sources
        if source not in everywhere
    ]
    virtual = member.config.addresses
    own = {parse_address(one) for one in state.addresses}.difference(virtual)
    for family in member.config.families:
        if not any(one.version == family for one in (*own, *member.sources)):
            text = unnumbered(state.name, next(a for a in virtual if a.version == family))
            if state.up:
                raise ConfigError(f"{member.place('interface')}{text}")
            warnings.append(text)
    return warnings
