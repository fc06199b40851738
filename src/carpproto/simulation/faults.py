"""What can go wrong in a cluster, as data: each fault with its time, in seconds.

Must not know of scenarios. A fault that means nothing at its time (a crash of a node that does
not run, an event for one) does nothing, so that any of them may be left out.
"""

from __future__ import annotations

from typing import NamedTuple

from carpproto.core.events import Event, distinct
from carpproto.simulation.cluster import HEADER, Cluster


@distinct
class Crash(NamedTuple):
    """A node stops at once."""

    at: float
    node: str

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        if cluster.nodes[self.node].node is not None:
            cluster.crash(self.node)


@distinct
class Boot(NamedTuple):
    """A node starts, with the configuration that it was described with."""

    at: float
    node: str

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        if cluster.nodes[self.node].node is None:
            cluster.boot(self.node)


@distinct
class Stop(NamedTuple):
    """A node is shut down in an orderly way; ``bow_out`` as in `Shutdown`."""

    at: float
    node: str
    bow_out: bool | None = None

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        if cluster.nodes[self.node].node is not None:
            cluster.shutdown(self.node, self.bow_out)


@distinct
class Stall(NamedTuple):
    """A node's process stands still; its clock goes on, and what it hears waits."""

    at: float
    node: str

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        if cluster.nodes[self.node].node is not None:
            cluster.stall(self.node)


@distinct
class Resume(NamedTuple):
    """A stalled node goes on."""

    at: float
    node: str

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        if cluster.nodes[self.node].node is not None:
            cluster.resume(self.node)


@distinct
class Cut(NamedTuple):
    """``receiver`` does not hear ``sender`` any more; ``both``: nor the other way round."""

    at: float
    sender: str
    receiver: str
    both: bool = True

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        cluster.cut(self.sender, self.receiver, both=self.both)


@distinct
class Partition(NamedTuple):
    """Nodes hear those of their own group only; who is in no group hears nobody."""

    at: float
    groups: tuple[tuple[str, ...], ...]

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        cluster.partition(*self.groups)


@distinct
class Heal(NamedTuple):
    """Every cut and every partition ends."""

    at: float

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        cluster.heal()


@distinct
class Carrier(NamedTuple):
    """A node's interface, or all where that is None, loses its carrier or gets it back."""

    at: float
    node: str
    up: bool
    interface: str | None = None

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        cluster.carrier(self.node, self.up, self.interface)


@distinct
class SendErrors(NamedTuple):
    """Each send of a node fails from now on, or no longer."""

    at: float
    node: str
    fails: bool = True

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        cluster.fail_sending(self.node, self.fails)


@distinct
class SegmentChange(NamedTuple):
    """Some qualities of a segment change, as for `Segment`."""

    at: float
    segment: str
    qualities: tuple[tuple[str, float | bool], ...]

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        cluster.change_segment(self.segment, **dict(self.qualities))


@distinct
class LocalEvent(NamedTuple):
    """Something happens on a node: any event that `Node.handle` takes."""

    at: float
    node: str
    event: Event

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now."""
        if cluster.nodes[self.node].node is not None:
            cluster.handle(self.node, self.event)


@distinct
class Inject(NamedTuple):
    """Somebody who is no node of the cluster puts an Ethernet frame on a segment."""

    at: float
    segment: str
    frame: bytes

    def apply(self, cluster: Cluster) -> None:
        """Let it happen now; what is too short for an Ethernet header reaches nobody."""
        if len(self.frame) >= HEADER:
            cluster.inject(self.frame, self.segment)


Fault = (
    Crash
    | Boot
    | Stop
    | Stall
    | Resume
    | Cut
    | Partition
    | Heal
    | Carrier
    | SendErrors
    | SegmentChange
    | LocalEvent
    | Inject
)
