"""The pytest plugin: the fixture ``carp_cluster`` and the option ``--carp-seed``.

Loaded by every run of pytest where carpproto is installed, so it must not load anything but
the core, and must not change a run that does not use it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from carpproto.testing.cluster import ClusterUnderTest

    MakeCluster = Callable[..., ClusterUnderTest]

SEED = "--carp-seed"
_SHOWN = 3  # clusters of a test that made many
CLUSTERS = pytest.StashKey[list["ClusterUnderTest"]]()
"""The clusters that a test has made."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--carp-seed``."""
    parser.getgroup("carpproto", "CARP clusters").addoption(
        SEED,
        type=int,
        default=0,
        metavar="N",
        help="seed of all that is random in clusters made with carp_cluster (default: 0)",
    )


@pytest.fixture
def carp_cluster(request: pytest.FixtureRequest) -> MakeCluster:
    """Makes clusters of CARP nodes with one virtual clock, see `make_cluster`.

    ``carp_cluster(advskews=[0, 100])`` is one of two FreeBSD nodes, a and b. What is random in
    it follows from ``--carp-seed``.
    """
    from carpproto.testing.cluster import make_cluster

    made: list[ClusterUnderTest] = request.node.stash.setdefault(CLUSTERS, [])

    def make(*args: Any, **values: Any) -> ClusterUnderTest:
        values.setdefault("seed", request.config.getoption(SEED))
        cluster = make_cluster(*args, **values)
        made.append(cluster)
        return cluster

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say of a failed test what its clusters did, and with which seed it fails again."""
    report = yield
    made = item.stash.get(CLUSTERS, None)
    if report.failed and made:
        # An assertion of a cluster's has said it already.
        lines = [cluster.report() for cluster in made[-_SHOWN:] if not cluster.failed]
        if len(made) > _SHOWN:
            lines.insert(0, f"the last {_SHOWN} of {len(made)} clusters:")
        seed = str(item.config.getoption(SEED))
        lines.append(f"for the same run again: {shlex.join(['pytest', item.nodeid, SEED, seed])}")
        report.sections.append(("CARP clusters", "\n\n".join(lines)))
    return report
