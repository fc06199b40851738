"""The simulated cluster: clocks, frames, faults."""

from __future__ import annotations

from carpproto import FREEBSD, UCARP, Reason, State, VirtualHostConfig
from carpproto.simulation.cluster import DELAY, Cluster


def config(advskew: int = 0, **values) -> VirtualHostConfig:
    return VirtualHostConfig(
        vhid=1, passphrase="randompass", addresses=["192.0.2.50"], advskew=advskew, **values
    )


def pair(profile=FREEBSD, **values) -> Cluster:
    """Nodes a, advskew 0, and b, advskew 100."""
    cluster = Cluster(seed=1)
    cluster.add_node("a", config(0), profile=profile, **values)
    cluster.add_node("b", config(100), profile=profile, **values)
    return cluster


def test_the_backup_takes_over_after_its_master_down_time() -> None:
    cluster = pair()
    cluster.run(10.5)
    assert cluster.masters() == ("a",)
    cluster.crash("a")
    assert cluster.masters() == ()
    cluster.run(20.0)
    assert cluster.masters() == ("b",)
    took = cluster.transitions[-1]
    # The last advertisement was sent at 10 s.
    assert took.at == 10.0 + DELAY + 3 + 100 / 256
    assert (took.current, took.reason) == (State.MASTER, Reason.MASTER_TIMED_OUT)


def test_the_same_seed_gives_the_same_run() -> None:
    runs = []
    for _ in range(2):
        cluster = pair(UCARP)
        frames: list[tuple[float, str, bytes]] = []
        cluster.segments["lan"].taps.append(lambda *frame, frames=frames: frames.append(frame))
        cluster.change_segment("lan", loss=0.2, jitter=0.5, duplicate=0.1, corrupt=0.1, hold=0.1)
        cluster.run(60.0)
        runs.append((frames, cluster.transitions))
    assert runs[0] == runs[1]
    assert len(runs[0][0]) > 50
