"""What ``carpproto run`` tells an operator unasked: what may be a slip, or surprises.

Decides nothing, and opens nothing.
"""

from __future__ import annotations

import socket

from carpproto.cli.run_check import unnumbered
from carpproto.cli.run_log import Log, Seldom
from carpproto.cli.run_setup import Setup
from carpproto.core.actions import PacketDropped, SendAdvertisement
from carpproto.core.errors import Reason
from carpproto.core.node import Node


class Hints:
    """Looks at what the node does, and says on the log what may be a slip."""

    def __init__(self, setup: Setup, node: Node, log: Log, seldom: Seldom) -> None:
        self._node = node
        self._log = log
        self._seldom = seldom
        self._members = [(one.interface, one.config.vhid) for one in setup.members]
        self._virtual = {a for member in setup.members for a in member.config.addresses}
        self._unnumbered: set[tuple[str, int]] = set()
        self._hinted: set[str] = set()

    def on_advertisement(self, action: SendAdvertisement) -> None:
        """Warn where the last own address of an interface is lost, once."""
        key = action.interface, action.family
        if action.source not in self._virtual:
            self._unnumbered.discard(key)
        elif key not in self._unnumbered:
            self._unnumbered.add(key)
            self._log.warning(unnumbered(action.interface, action.source))

    def on_init(self, interface: str) -> None:
        """Warn where the interface is deleted, and not only down."""
        try:
            socket.if_nametoindex(interface)
        except OSError:
            if self._seldom.passes((interface, "gone")) is not None:
                self._log.warning(f"{interface} is gone: it is waited for")

    def on_strange_vhid(self, dropped: PacketDropped) -> None:
        """Say that there is another vhid, where ours has heard nobody.

        What is of ours and not taken, as while the interface is down, has the same reason.
        """
        if not dropped.vhid or (dropped.interface, dropped.vhid) in self._members:
            return
        counters = dict(self._node.counters)
        arrived = counters["ipackets"] + counters["ipackets6"]
        refused = sum(counters.get(reason.value, 0) for reason in Reason)
        if arrived > refused or dropped.interface in self._hinted:
            return
        self._hinted.add(dropped.interface)
        ours = ", ".join(str(vhid) for name, vhid in self._members if name == dropped.interface)
        self._log.info(
            f"{dropped.source} on {dropped.interface} advertises vhid {dropped.vhid}; nobody has "
            f"been heard yet with {ours}, which is ours"
        )
