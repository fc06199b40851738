"""The examples of the pages on fuzzing and on passphrases run as they stand there."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


@pytest.mark.parametrize(("page", "least"), [("audit.rst", 12), ("fuzzing.rst", 4)])
def test_the_examples_of_a_page_run(page: str, least: int) -> None:
    done = doctest.testfile(str(DOCS / page), module_relative=False)
    assert done.attempted >= least
    assert done.failed == 0
