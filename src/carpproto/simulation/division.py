"""Who hears whom in a group at the end of a run, and why not.

Must not know what is expected of those that hear each other. `carpproto.simulation.verdict`
says what divides a group, and when that is a violation.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product
from typing import TYPE_CHECKING, NamedTuple

from carpproto.core.config import VirtualHostConfig
from carpproto.core.virtual_host import VirtualHost
from carpproto.simulation.cluster import Cluster
from carpproto.simulation.parts import USUAL, Member, Port, Segment
from carpproto.simulation.refusals import LOSES_LAST

if TYPE_CHECKING:
    from carpproto.simulation.scenario import Scenario

SLOW = 0.1
"""Seconds, delay and jitter together, up to which a segment's groups are judged."""

_IMPAIRMENTS = {
    "loss": "{} loses frames",
    "hold": "{} holds frames back",
    "corrupt": "{} corrupts frames",
    "eats_multicast": "multicast does not arrive on {}",
    "echoes": "{} sends frames back to their sender",
}


class Participant(NamedTuple):
    """A virtual host that takes part; ``digest`` is its configuration's HMAC."""

    member: Member
    host: VirtualHost
    digest: bytes

    @property
    def name(self) -> str:
        """Its node's name."""
        return self.member.name

    @property
    def rank(self) -> tuple[int, int]:
        """What is compared: the smaller is the better one."""
        return (self.host.demote, self.host.own_interval)


class Obstacle(NamedTuple):
    """Why frames may not arrive in a group; ``described``: no fault made it so."""

    reason: str
    described: bool


def participants(
    scenario: Scenario, cluster: Cluster, segment: str, vhid: int
) -> tuple[Participant, ...] | Obstacle:
    """Those of a group that take part, or why it has no clear answer."""
    where = cluster.segments[segment]
    obstacle = _obstacle_on(scenario, where)
    if obstacle is not None:
        return obstacle
    found: list[Participant] = []
    for port in where.ports:
        host = _taking_part(port, vhid)
        if host is None:
            continue
        member, config = port.member, host.config
        assert member.node is not None
        described = _described(scenario, member.name, port.interface, vhid)
        if member.sending_fails:
            return Obstacle(f"{member.name} cannot send", False)
        if not member.node.setting("allow"):
            by_description = member.settings.get("allow") == 0
            return Obstacle(f"{member.name} is not allowed to listen", by_description)
        if config.peer is not None or config.peer6 is not None:
            peers = " and ".join(str(peer) for peer in (config.peer, config.peer6) if peer)
            same = described is not None and (
                (described.peer, described.peer6) == (config.peer, config.peer6)
            )
            return Obstacle(f"{member.name} has a unicast peer, {peers}", same)
        digest = config.authenticator(member.profile).digest(0)
        found.append(Participant(member, host, digest))
    if not found:
        absent = [_absence(port) for port in where.ports if _has(port, vhid)]
        return Obstacle(f"nobody takes part at the end: {', '.join(absent)}", False)
    return tuple(found)


def parts_of(hosts: Iterable[Participant], segment: Segment) -> list[list[Participant]] | Obstacle:
    """Those who hear each other, together."""
    hosts = tuple(hosts)
    heard_by = {host.name: [o.name for o in hosts if _hears(o, host, segment)] for host in hosts}
    parts: list[list[Participant]] = []
    for host in hosts:
        if any(heard_by[other] != heard_by[host.name] for other in heard_by[host.name]):
            return Obstacle(
                "some hear others that do not hear them, or not all of those that these hear",
                False,
            )
        if not any(host in part for part in parts):
            parts.append([other for other in hosts if other.name in heard_by[host.name]])
    return parts


def divisions(
    scenario: Scenario, parts: list[list[Participant]], segment: Segment
) -> tuple[Obstacle, ...]:
    """What divides the parts of a group, each reason once."""
    found: dict[Obstacle, None] = {}
    for part, another in combinations(parts, 2):
        uncut = (pair for pair in product(part, another) if not _cut(*pair, segment))
        pair = next(uncut, None)
        found[_CUT if pair is None else _differing(scenario, *pair)] = None
    return tuple(found)


# -- how it works --------------------------------------------------------------------------------

_CUT = Obstacle("they are cut from each other", False)


def _differing(scenario: Scenario, one: Participant, other: Participant) -> Obstacle:
    """Why two do not take each other's advertisements."""
    first, second = one.host.config, other.host.config
    if set(first.addresses) != set(second.addresses):
        what = f"other virtual addresses on {_addresses(one)} than on {_addresses(other)}"
    else:
        what = f"another passphrase or key on {one.name} than on {other.name}"
    if one.member.profile.passphrase_loses_last != other.member.profile.passphrase_loses_last:
        what += f" ({LOSES_LAST})"
    return Obstacle(f"their HMACs differ: {what}", _described_apart(scenario, one, other))


def _described_apart(scenario: Scenario, one: Participant, other: Participant) -> bool:
    """Whether two would not understand each other as they were described, either."""
    found: list[tuple[tuple[int, ...], bytes]] = []
    for host in (one, other):
        config = _described(scenario, host.name, host.host.interface, host.host.config.vhid)
        if config is None:
            return False
        digest = config.authenticator(host.member.profile).digest(0)
        found.append((config.families, digest))
    return found[0] != found[1]


def _obstacle_on(scenario: Scenario, segment: Segment) -> Obstacle | None:
    """What a segment does to frames, if it is too much to judge its groups."""
    name = segment.name
    said = dict(USUAL)
    for one in scenario.segments:
        if one.name == name:
            said.update(one.qualities)
    qualities = [quality for quality in _IMPAIRMENTS if getattr(segment, quality)]
    if qualities:
        reasons = [_IMPAIRMENTS[quality].format(name) for quality in qualities]
    elif segment.delay + segment.jitter > SLOW:
        qualities = ["delay", "jitter"]
        reasons = [f"a frame takes more than {SLOW} s on {name}"]
    else:
        return None
    described = all(getattr(segment, quality) == said[quality] for quality in qualities)
    return Obstacle(", ".join(reasons), described)


def _taking_part(port: Port, vhid: int) -> VirtualHost | None:
    """The virtual host of a port, if it takes part."""
    member = port.member
    if member.node is None or member.stalled or not port.hears:
        return None
    for host in member.node.virtual_hosts(port.interface):
        if host.config.vhid == vhid and host.config.addresses:
            stopped = member.profile.allow_stops and not member.node.setting("allow")
            return None if stopped else host
    return None


def _has(port: Port, vhid: int) -> bool:
    return any(
        interface == port.interface and config.vhid == vhid
        for interface, config in port.member.virtual_hosts
    )


def _absence(port: Port) -> str:
    """Why a node that is described as a member of a group takes no part in it."""
    member = port.member
    if member.node is None:
        why = "does not run"
    elif member.stalled:
        why = "is stalled"
    elif not port.link:
        why = "has no carrier"
    elif not port.up:
        why = f"has {port.interface} down"
    elif not member.node.setting("allow"):
        why = "has allow = 0"
    else:
        why = "has lost its vhid or its addresses"
    return f"{member.name} {why}"


def _described(
    scenario: Scenario, name: str, interface: str, vhid: int
) -> VirtualHostConfig | None:
    """What a virtual host was described with; None for one that a fault has added."""
    for node in scenario.nodes:
        for where, config in node.virtual_hosts:
            if (node.name, where, config.vhid) == (name, interface, vhid):
                return config
    return None


def _addresses(host: Participant) -> str:
    return f"{host.name} ({', '.join(map(str, host.host.config.addresses))})"


def _cut(one: Participant, other: Participant, segment: Segment) -> bool:
    names = one.name, other.name
    return names in segment.cuts or names[::-1] in segment.cuts


def _hears(receiver: Participant, sender: Participant, segment: Segment) -> bool:
    if receiver is sender:
        return True
    if (sender.name, receiver.name) in segment.cuts:
        return False
    same = receiver.host.config.families == sender.host.config.families
    return same and receiver.digest == sender.digest
