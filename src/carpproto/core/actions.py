"""What comes out of the state machine: a closed union of immutable values.

Must not know who performs them. Intervals are whole numbers of 1/256 s.
"""

from __future__ import annotations

from typing import NamedTuple

from carpproto.core.addresses import Address
from carpproto.core.advertisement import Advertisement
from carpproto.core.errors import Reason
from carpproto.core.events import State, distinct


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
    timer decided, ``own`` is its length and ``family`` whose it was. None where nothing was
    compared.
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
