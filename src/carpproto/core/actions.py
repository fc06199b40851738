"""What comes out of the state machine: a closed union of immutable values.

Must not know who performs them. Intervals are whole numbers of 1/256 s.
"""

from __future__ import annotations

from typing import NamedTuple

from carpproto.core.addresses import Address
from carpproto.core.advertisement import Advertisement
from carpproto.core.errors import Reason
from carpproto.core.events import State, distinct


class Notification(NamedTuple):
    """A devd(8) notification: ``subsystem`` is ``vhid@interface``, ``type`` the new state."""

    system: str
    subsystem: str
    type: str


@distinct
class SendAdvertisement(NamedTuple):
    """Send an advertisement, with TTL or hop limit 255.

    ``family`` is 4 or 6; ``source_mac`` the Ethernet source where the sender chooses it;
    ``traffic_class`` the TOS or traffic class byte. ``encode(advertisement)`` gives the
    payload. Tell the node how it went, `SendSucceeded` or `SendFailed`, once all the actions
    that came with this one are performed: it may answer with newer advertisements.
    """

    interface: str
    vhid: int
    family: int
    source: Address
    destination: Address
    source_mac: str
    traffic_class: int
    advertisement: Advertisement


@distinct
class AnnounceAddresses(NamedTuple):
    """Tell the neighbors where the virtual addresses are now.

    One gratuitous ARP for each IPv4 address and one unsolicited neighbor advertisement for
    each IPv6 one, in this order; ``mac`` is what the neighbors are to remember.
    """

    interface: str
    vhid: int
    addresses: tuple[Address, ...]
    mac: str


@distinct
class StateChanged(NamedTuple):
    """A virtual host changed its state, and why.

    ``theirs`` is the interval that an advertisement from ``source`` stated, ``own`` what it was
    compared with: the own demoted interval, or the time after which a master is dead. Where a
    timer decided, ``own`` is its length and ``family`` whose it was. Where the demote bytes
    decided, they are these. None where nothing was compared.
    """

    interface: str
    vhid: int
    previous: State
    current: State
    reason: Reason
    own: int | None = None
    theirs: int | None = None
    family: int | None = None
    source: Address | None = None

    def log_line(self) -> str:
        """What FreeBSD 12 logs: ``carp: 1@em0: BACKUP -> MASTER (master timed out)``."""
        change = f"{self.previous} -> {self.current} ({self.reason})"
        return f"carp: {self.vhid}@{self.interface}: {change}"

    def notification(self) -> Notification:
        """What FreeBSD tells devd(8)."""
        return Notification("CARP", f"{self.vhid}@{self.interface}", self.current.value)


@distinct
class PacketDropped(NamedTuple):
    """A packet was refused, and why.

    ``reason`` names the counter that rose. ``found`` and ``expected`` are the numbers that
    disagreed: TTL, length, checksum, version or vhid, by the reason.
    """

    interface: str
    reason: Reason
    family: int
    source: Address
    vhid: int | None = None
    found: int | None = None
    expected: int | None = None


@distinct
class DemotionChanged(NamedTuple):
    """The node's demotion moved by ``delta`` to ``total``, and why."""

    delta: int
    total: int
    reason: Reason
    interface: str | None = None
    vhid: int | None = None


Action = SendAdvertisement | AnnounceAddresses | StateChanged | PacketDropped | DemotionChanged

_ENTERED = {
    Reason.INITIALIZATION_COMPLETE: "its interface is up with carrier, it has a virtual address "
    "and CARP is allowed",
    Reason.MASTER_TIMED_OUT: "no authentic advertisement over IPv{family} was heard for {own}",
    Reason.PREEMPTING: "{source} advertised {theirs}, slower than the own {own}, and preempt is "
    "set",
    Reason.MASTER_WILL_TIME_OUT: "{source} advertised {theirs}, and a master that is slower than "
    "{own} will time out",
    Reason.MORE_FREQUENT: "{source} advertised {theirs}, {compared} the own {own}",
    Reason.MORE_DEMOTED: "{source} is demoted by {action.theirs}, this host by {action.own}",
    Reason.LESS_DEMOTED: "{source} is demoted by {action.theirs}, this host by {action.own}",
    Reason.USER_REQUESTED: "the operator asked for it",
    Reason.HARDWARE_DOWN: "its interface is down or without carrier, or CARP is not allowed",
    Reason.HARDWARE_UP: "its addresses or its configuration changed, and it starts again",
    Reason.CARRIER_LOST: "its interface lost or got carrier, and it waits",
    Reason.SHUTDOWN: "the node stops",
}

_REFUSED = {
    Reason.BADIF: "it came to an address or an interface where CARP does not listen",
    Reason.BADTTL: "its TTL is {found}, not {expected}",
    Reason.BADLEN: "it has {found} bytes, an advertisement has {expected}",
    Reason.BADSUM: "its checksum, {found}, is wrong",
    Reason.BADVER: "its version is {found}, not {expected}",
    Reason.BADAUTH: "its HMAC is wrong: passphrase or virtual addresses differ, or it is forged",
    Reason.BADVHID: "no vhid {vhid} with an IPv{family} address takes it here",
    Reason.NOTALLOWED: "CARP is not allowed (allow is 0)",
    Reason.LOOP: "it is an own one that came back",
}


def explain(action: Action) -> str:
    """One sentence on an action, with the numbers that decided."""
    if isinstance(action, StateChanged):
        because = _ENTERED.get(action.reason, str(action.reason)).format(
            own=_interval(action.own),
            theirs=_interval(action.theirs),
            compared="as fast as" if action.own == action.theirs else "faster than",
            family=action.family,
            source=action.source,
            action=action,
        )
        return (
            f"vhid {action.vhid} on {action.interface} went from {action.previous} to "
            f"{action.current}: {because}."
        )
    if isinstance(action, PacketDropped):
        because = _REFUSED.get(action.reason, str(action.reason))
        because = because.format_map(action._asdict())
        return f"A packet from {action.source} on {action.interface} was dropped: {because}."
    if isinstance(action, DemotionChanged):
        where = "" if action.vhid is None else f", vhid {action.vhid} on {action.interface}"
        moved = "rose" if action.delta > 0 else "fell"
        return (
            f"Demotion {moved} by {abs(action.delta)} to {action.total}: {action.reason}{where}."
        )
    if isinstance(action, AnnounceAddresses):
        addresses = ", ".join(str(address) for address in action.addresses)
        return f"vhid {action.vhid} on {action.interface} announces {addresses} at {action.mac}."
    return (
        f"vhid {action.vhid} on {action.interface} advertises "
        f"{_interval(action.advertisement.interval)} from {action.source} to "
        f"{action.destination}."
    )


def _interval(ticks: int | None) -> str:
    """An interval of 1/256 s as an operator reads it: advbase, and advskew on top."""
    return "nothing" if ticks is None else f"{ticks // 256} s + {ticks % 256}/256 s"
