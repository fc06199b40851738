"""Commands beside the loop: their order, their timeout, their end."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carpproto.adapters.scripts import DROPPED, SUPERSEDED, TIMEOUT, Result, Scripts

Make = Callable[..., Scripts]


@pytest.fixture
def results() -> list[Result]:
    return []


@pytest.fixture
def make(results: list[Result]) -> Iterator[Make]:
    made: list[Scripts] = []

    def making(timeout: float = 10.0, **options: int) -> Scripts:
        scripts = Scripts(timeout, on_result=results.append, **options)
        made.append(scripts)
        return scripts

    yield making
    for scripts in made:
        scripts.close()


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def wait(scripts: Scripts, results: list[Result], number: int, within: float = 10.0) -> None:
    end = time.monotonic() + within
    while len(results) < number:
        left = end - time.monotonic()
        assert left > 0, f"{number} results expected, got {results}"
        select.select([scripts.fileno()], [], [], left)
        scripts.poll()


def test_results_tell_command_and_exit_status(make: Make, results: list[Result]) -> None:
    scripts = make()
    scripts.start(1, ["true"])
    wait(scripts, results, 1)
    scripts.start(1, ["false"])
    wait(scripts, results, 2)
    scripts.start(1, ["/no/such/script", "up"])
    wait(scripts, results, 3)
    assert [(r.key, r.argv, r.status) for r in results[:2]] == [
        (1, ("true",), 0),
        (1, ("false",), 1),
    ]
    assert "No such file" in str(results[2].status)
    assert all(0 <= r.seconds < 10 for r in results)
    assert not scripts.busy


def test_starting_takes_no_time(make: Make, results: list[Result]) -> None:
    scripts = make()
    began = time.monotonic()
    scripts.start(1, ["sleep", "0.3"])
    scripts.start(1, ["true"])
    assert time.monotonic() - began < 0.2
    assert scripts.busy
    scripts.poll()
    assert not results
    wait(scripts, results, 2)


def test_one_key_in_order_and_others_beside_it(
    make: Make, results: list[Result], tmp_path: Path
) -> None:
    scripts = make()
    log = tmp_path / "log"
    for number in range(5):
        scripts.start("slow", ["sh", "-c", f"sleep 0.1; echo {number} >>{log}"])
    scripts.start("quick", ["true"])
    wait(scripts, results, 1)
    assert results[0].key == "quick"
    wait(scripts, results, 6)
    assert log.read_text().split() == list("01234")


def test_what_hangs_is_killed_with_all_it_started(
    make: Make, results: list[Result], tmp_path: Path
) -> None:
    scripts = make(0.3)
    late = tmp_path / "late"
    scripts.start(1, ["sh", "-c", f"(sleep 1; touch {late}) & wait"])
    scripts.start(1, ["true"])
    wait(scripts, results, 2)
    assert [r.status for r in results] == [TIMEOUT, 0]
    assert 0.3 <= results[0].seconds < 1
    time.sleep(1)
    assert not late.exists()


def test_a_queue_that_is_full_loses_its_oldest(make: Make, results: list[Result]) -> None:
    scripts = make(limit=2)
    scripts.start(1, ["sleep", "0.3"])
    time.sleep(0.1)
    for status in range(4):
        scripts.start(1, ["sh", "-c", f"exit {status}"])
    wait(scripts, results, 5)
    assert [r.status for r in results] == [DROPPED, DROPPED, 0, 2, 3]


def test_what_is_superseded_does_not_run(make: Make, results: list[Result]) -> None:
    scripts = make()
    scripts.start(1, ["sleep", "0.3"])
    time.sleep(0.1)
    scripts.start(1, ["true", "old"], env={"STATE": "MASTER"})
    scripts.start(1, ["true", "hook"])
    scripts.drop(1, lambda env: env is not None)
    scripts.drop(2, lambda env: True)
    scripts.start(1, ["true", "new"], env={"STATE": "BACKUP"})
    wait(scripts, results, 4)
    assert [(r.argv[1], r.status) for r in results] == [
        ("old", SUPERSEDED),
        ("0.3", 0),
        ("hook", 0),
        ("new", 0),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "#!/no/such/sh -e\n",
            "the interpreter in its first line, '/no/such/sh -e', is not there",
        ),
        ("echo up\n", "it is no program; the first line of a script names its interpreter"),
    ],
)
def test_why_a_script_cannot_be_started(
    make: Make, results: list[Result], tmp_path: Path, text: str, said: str
) -> None:
    script = tmp_path / "up"
    script.write_text(text)
    script.chmod(0o755)
    scripts = make()
    scripts.start(1, [str(script)])
    wait(scripts, results, 1)
    assert str(results[0].status).startswith(said)


def test_the_environment_is_what_is_given(make: Make, results: list[Result]) -> None:
    scripts = make()
    code = "import os, sys; sys.exit(3 if os.environ.get('STATE') == 'MASTER' else 4)"
    scripts.start(1, python(code), env={"STATE": "MASTER"})
    wait(scripts, results, 1)
    assert results[0].status == 3


def test_closing_waits_for_what_was_started(make: Make, results: list[Result]) -> None:
    scripts = make()
    scripts.start(1, ["sleep", "0.2"])
    scripts.start(1, ["true"])
    scripts.close(5)
    assert [r.status for r in results] == [0, 0]
    scripts.close(5)
    scripts.start(1, ["true"])


def test_closing_without_grace_kills(make: Make, results: list[Result]) -> None:
    scripts = make()
    scripts.start(1, ["sleep", "20"])
    scripts.start(1, ["true"])
    time.sleep(0.1)
    began = time.monotonic()
    scripts.close(0.1)
    assert time.monotonic() - began < 2
    assert sorted(str(r.status) for r in results) == ["-9", DROPPED]


def test_nobody_has_to_listen() -> None:
    scripts = Scripts()
    scripts.start(1, ["true"])
    scripts.close(5)
