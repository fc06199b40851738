"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from carpproto.testing.cluster import ClusterUnderTest

pytest_plugins = ["pytester"]

# No short summary either: pytest cuts its lines on a terminal, and not where CI is set.
QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-rN")

FAILING = """
def test_asserts(carp_cluster):
    cluster = carp_cluster()
    cluster.run(10)
    cluster.assert_master("b")

def test_something_else(carp_cluster):
    cluster = carp_cluster()
    cluster.run(10)
    assert cluster.masters() == ("b",)

def test_without_a_cluster():
    assert False

def test_with_none(carp_cluster):
    assert False
"""


def test_the_fixture_makes_a_cluster(carp_cluster) -> None:
    cluster = carp_cluster([10, 20])
    assert isinstance(cluster, ClusterUnderTest)
    assert list(cluster.nodes) == ["a", "b"]
    assert carp_cluster(seed=5).seed == 5


def test_a_failure_says_how_to_repeat_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILING)
    result = pytester.runpytest_inprocess(*QUIET, "--carp-seed=7")
    result.assert_outcomes(failed=4)
    text = result.stdout.str()
    sections = text.split("CARP clusters")
    assert len(sections) == 3
    command = "for the same run again: pytest test_a_failure_says_how_to_repeat_it.py::test_"
    assert text.count(f"{command}asserts --carp-seed 7") == 1
    assert text.count(f"{command}something_else --carp-seed 7") == 1
    # Once in the message of the assertion, and once for the assertion of pytest's own.
    result.stdout.fnmatch_lines(
        [
            "E       AssertionError: at 10 s: MASTER is a of vhid 1, not b",
            "E       vhid 1 on lan: MASTER is a",
            "E       seed 7",
            "*CARP clusters*",
            "for the same run again: pytest test_*::test_* --carp-seed 7",
            "*CARP clusters*",
            "vhid 1 on lan: MASTER is a",
            "    3.000000  a  carp: 1@em0: BACKUP -> MASTER (master timed out)",
            "seed 7",
            "for the same run again: pytest test_*::test_* --carp-seed 7",
        ]
    )
    assert text.count("vhid 1 on lan: MASTER is a") == 2
    # The lines of the test are shown, and not those of the library.
    result.stdout.fnmatch_lines([">       cluster.assert_master(*b*)"])
    assert "def assert_masters" not in text


def test_of_many_clusters_the_last_are_shown(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_many(carp_cluster):
            for seed in range(5):
                carp_cluster(seed=seed).run(4)
            assert False
    """)
    text = pytester.runpytest_inprocess(*QUIET).stdout.str()
    assert "the last 3 of 5 clusters:" in text
    assert [f"\nseed {seed}\n" in text for seed in range(5)] == [False] * 2 + [True] * 3


def test_the_seed_is_zero_unless_it_is_given(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_seed(carp_cluster): assert carp_cluster().seed == 0")
    pytester.runpytest_inprocess(*QUIET).assert_outcomes(passed=1)


def test_a_run_that_does_not_use_it_loads_the_core_only(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import sys

def test_it():
    mine = {name for name in sys.modules if name.startswith("carpproto.")}
    assert {name.split(".")[1] for name in mine} == {"core", "testing"}
    assert "carpproto.testing.plugin" in mine
    assert "carpproto.testing.cluster" not in mine
    assert "hypothesis" not in sys.modules
""")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *QUIET, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_it_can_be_left_out(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_fixture(carp_cluster): pass")
    result = pytester.runpytest_subprocess("-p", "no:carpproto", *QUIET)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'carp_cluster' not found"])
