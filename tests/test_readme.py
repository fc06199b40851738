"""The README: its examples run, and its commands are the ones that are used."""

from __future__ import annotations

import doctest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETUP = "python3 -m venv .venv && .venv/bin/pip install --quiet"
DEMO = f"{SETUP} . && .venv/bin/carpproto demo"
TESTS = f"{SETUP} nox && .venv/bin/nox"


def test_the_examples_run() -> None:
    done = doctest.testfile(str(ROOT / "README.rst"), module_relative=False)
    assert done.attempted >= 10
    assert done.failed == 0


def test_readme_and_first_page_give_the_same_two_commands() -> None:
    for path in (ROOT / "README.rst", ROOT / "docs" / "index.rst"):
        lines = [line.strip() for line in path.read_text().splitlines()]
        assert DEMO in lines
        assert TESTS in lines


def test_ci_calls_the_test_command_exactly_as_the_readme_gives_it() -> None:
    assert TESTS in (ROOT / ".ci" / "run").read_text().splitlines()
