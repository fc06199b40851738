"""What README and documentation say of tests runs as it stands there."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from textwrap import dedent

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent.parent
README, PAGE = ROOT / "README.rst", ROOT / "docs" / "testing.rst"


def snippets(path: Path) -> list[str]:
    """The blocks of Python with tests in them."""
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", path.read_text())
    return [dedent(block) for block in blocks if "def test_" in block]


def test_the_newcomers_test_has_about_ten_lines_and_passes(pytester: pytest.Pytester) -> None:
    [snippet] = snippets(README)
    assert len([line for line in snippet.splitlines() if line]) <= 10
    assert snippets(PAGE)[0].splitlines()[-1] == snippet.splitlines()[-1]
    pytester.makepyfile(snippet)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_the_pages_tests_pass(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(**{f"test_{n}": text for n, text in enumerate(snippets(PAGE))})
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=10)


def test_the_pages_examples_run() -> None:
    done = doctest.testfile(str(PAGE), module_relative=False)
    assert done.attempted >= 15
    assert done.failed == 0
