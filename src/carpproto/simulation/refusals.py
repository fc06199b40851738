"""What the nodes of a cluster refused, by their counters.

Must not know why; a refusal is where an operator begins to look.
"""

from __future__ import annotations

from carpproto.core.errors import Reason
from carpproto.simulation.cluster import Cluster

REFUSALS = tuple(
    reason.value
    for reason in (
        Reason.BADIF,
        Reason.BADTTL,
        Reason.HDROPS,
        Reason.BADSUM,
        Reason.BADVER,
        Reason.BADLEN,
        Reason.BADAUTH,
        Reason.BADVHID,
        Reason.BADADDRS,
        Reason.NOTALLOWED,
        Reason.LOOP,
    )
)
"""The counters of a node that rise when it refuses a packet."""

LOSES_LAST = "NetBSD's ifconfig drops the last character of a passphrase"


def refusals(cluster: Cluster) -> tuple[str, ...]:
    """What was refused, a line for each node that runs and refused something since its boot.

    Such as ``a refused badauth=5``. A last line says what makes keys differ between systems,
    where that may be the cause.
    """
    lines: list[str] = []
    unauthentic = False
    for name, member in cluster.nodes.items():
        if member.node is None:
            continue
        counters = member.node.counters
        found = [f"{reason}={counters[reason]}" for reason in REFUSALS if counters[reason]]
        if found:
            lines.append(f"{name} refused {' '.join(found)}")
        unauthentic = unauthentic or counters.badauth > 0
    lossy = {member.profile.passphrase_loses_last for member in cluster.nodes.values()}
    if unauthentic and len(lossy) > 1:
        lines.append(f'{LOSES_LAST}: one passphrase makes two keys; see "The key" in the docs')
    return tuple(lines)
