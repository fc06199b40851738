"""Mutation testing of the core: does a test fail when a line of it is changed?

``python tests/mutation/run.py [MODULE ...]`` runs, for every mutant of a core module X, the
tests in tests/core/test_X.py, each mutant in a process of its own, until the first one fails.
No file is changed: the process compiles the mutant's source in place of the module's. All of it
happens in a copy of src and tests, so that these may be edited meanwhile.

The exit status is 1 when less than 95 % are killed, when one survives that equivalent.toml does
not list, or when one that it lists does not survive.
"""

from __future__ import annotations

import argparse
import csv
import gc
import importlib.machinery
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Loaded here once, so that no process has to load it again.
import _hypothesis_pytestplugin  # noqa: F401
import dpkt  # noqa: F401
import hypothesis.extra.pytestplugin
import hypothesis.strategies  # noqa: F401
import pytest
from hypothesis import is_hypothesis_test
from mutants import Mutant, mutants_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
FIGURES = ROOT / "docs" / "mutation.csv"
# In the copy.
CORE = Path("src/carpproto/core")
TESTS = Path("tests/core")
ENOUGH = 95  # per cent
KILLED = {
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.INTERRUPTED,  # the tests cannot be collected
    pytest.ExitCode.INTERNAL_ERROR,
}
FAULT = 100  # of this program
OUTCOMES = ("killed", "timeout", "survived")
PYTEST = [
    *(
        "-x",
        "-q",
        "--tb=no",
        "--assert=plain",  # pytest would load a plugin's modules itself, and this library has one
        "-p",
        "no:carpproto",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:unraisableexception",
    ),
    *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
]


class Result(NamedTuple):
    """What became of a mutant: killed, survived or timeout; and which test failed."""

    outcome: str
    test: str = ""


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from other source than its file's."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> Any:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class Finder:
    """Finds one module, to be loaded from other source."""

    def __init__(self, module: str, source: str) -> None:
        self.name = f"carpproto.core.{module}"
        self.source = source

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = Loader(name, spec.origin, self.source)
        return spec


class Plugin:
    """Runs first the tests that are likely to fail, Hypothesis last; keeps the one that did."""

    def __init__(self, first: list[str]) -> None:
        self.rank = {name: rank for rank, name in enumerate(first, 1)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=self.order)

    def order(self, item: pytest.Item) -> tuple[int, bool]:
        slow = is_hypothesis_test(getattr(item, "obj", None))
        return -self.rank.get(item.nodeid, 0), slow

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


class Runner:
    """Tests mutants, some at a time."""

    def __init__(self, jobs: int, limit: int) -> None:
        self.jobs = jobs
        self.limit = limit  # seconds of processor time
        self.running: dict[int, tuple[Mutant, int]] = {}
        # The tests that killed mutants of a function, those of late last.
        self.killers: defaultdict[str, list[str]] = defaultdict(list)

    def results(
        self, mutants: Iterator[Mutant], tests: list[str]
    ) -> Iterator[tuple[Mutant, Result]]:
        for mutant in mutants:
            if len(self.running) == self.jobs:
                yield self.wait()
            self.start(mutant, tests)
        while self.running:
            yield self.wait()

    def start(self, mutant: Mutant, tests: list[str]) -> None:
        readable, writable = os.pipe()
        process = os.fork()
        if not process:
            os.close(readable)
            run_mutant(mutant, tests, self.killers[mutant.function], self.limit, writable)
        os.close(writable)
        self.running[process] = mutant, readable

    def wait(self) -> tuple[Mutant, Result]:
        process, status = os.wait()
        mutant, readable = self.running.pop(process)
        with os.fdopen(readable) as pipe:
            test = pipe.read()
        if os.WIFSIGNALED(status):
            late = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM)
            return mutant, Result("timeout" if late else "killed", f"signal {os.WTERMSIG(status)}")
        code = os.WEXITSTATUS(status)
        if code == pytest.ExitCode.OK:
            return mutant, Result("survived")
        if code not in KILLED:
            raise SystemExit(f"pytest ended with {code}, {mutant}")
        known = self.killers[mutant.function]
        if test in known:
            known.remove(test)
        if test:
            known.append(test)
        return mutant, Result("killed", test)


def run_mutant(
    mutant: Mutant, tests: list[str], first: list[str], limit: int, writable: int
) -> None:
    """Run the tests with a mutant in place of its module, and end the process."""
    code = FAULT
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        signal.alarm(limit * 60)  # if it waits, which takes no processor time
        sys.meta_path.insert(0, Finder(mutant.module, mutant.source))
        plugin = Plugin(first)
        code = int(pytest.main([*PYTEST, *tests], plugins=[plugin]))
        os.write(writable, plugin.failed.encode())
    finally:
        os._exit(code)


def equivalents() -> dict[tuple[str, str, str, str], str]:
    """The mutants that no test can kill, by their keys, with the reasons."""
    found = {}
    for entry in tomllib.loads(EQUIVALENT.read_text())["equivalent"]:
        for change in entry["changes"]:
            key = entry["module"], entry["function"], entry["line"], change
            assert key not in found, key
            found[key] = entry["reason"]
    return found


def write(figures: dict[str, Counter[str]]) -> None:
    """Write the figures of these modules to the table in docs, and leave the others' there."""
    if FIGURES.exists():
        with FIGURES.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["Module"] != "all" and Path(CORE, row["Module"] + ".py").exists():
                    old = Counter({name: int(row[name.capitalize()]) for name in OUTCOMES})
                    figures.setdefault(row["Module"], old)
    with FIGURES.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["Module", "Mutants", *(name.capitalize() for name in OUTCOMES), "Per cent"]
        )
        for name, counts in [*sorted(figures.items()), ("all", total(figures))]:
            numbers = [counts.total(), *(counts[outcome] for outcome in OUTCOMES)]
            writer.writerow([name, *numbers, f"{percent(counts):.1f}"])


def total(figures: dict[str, Counter[str]]) -> Counter[str]:
    """The figures of all modules together."""
    return sum(figures.values(), Counter())


def percent(counts: Counter[str]) -> float:
    """How many were killed; to run for ever is to be killed."""
    return 100 * (1 - counts["survived"] / max(1, counts.total()))


def run_module(name: str, jobs: int) -> tuple[Counter[str], list[tuple[Mutant, str]]]:
    """Test all mutants of a module: the figures, and which were not killed by a test."""
    path, tests = CORE / f"{name}.py", [str(TESTS / f"test_{name}.py")]
    unchanged = Mutant(name, "", 0, "", "", path.read_text())
    broken = unchanged._replace(source="raise RuntimeError('a mutant is loaded')")
    for _, result in Runner(1, 600).results(iter([broken]), tests):
        if result.outcome != "killed":
            raise SystemExit(f"{tests[0]} does not load the mutant: {result}")
    before = os.times()
    for _, result in Runner(1, 600).results(iter([unchanged]), tests):
        if result.outcome != "survived":
            raise SystemExit(f"{tests[0]} fails without a mutant: {result}")
    seconds = os.times().children_user - before.children_user
    counts: Counter[str] = Counter()
    left = []
    for mutant, result in Runner(jobs, int(5 + 5 * seconds)).results(mutants_of(path), tests):
        counts[result.outcome] += 1
        if result.outcome != "killed":
            left.append((mutant, result.outcome))
    return counts, sorted(left, key=lambda mutant_and_outcome: mutant_and_outcome[0].number)


def copy_to(directory: str) -> None:
    """Copy what the tests need, go there, and let it be what is imported."""
    for name in ("src", "tests"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, Path(directory, name), ignore=without)
    shutil.copy(ROOT / "pyproject.toml", directory)
    os.chdir(directory)
    sys.path.insert(0, str(Path("src").resolve()))
    os.environ["PYTHONPATH"] = sys.path[0]
    sys.dont_write_bytecode = False  # pytest would compile the tests for each mutant


def main() -> int:
    """Run what the arguments say; returns the exit status."""
    names = sorted(path.stem for path in (ROOT / CORE).glob("[!_]*.py"))
    parser = argparse.ArgumentParser(description="mutation testing of the core")
    parser.add_argument("modules", metavar="MODULE", nargs="*", help=f"{', '.join(names)}; or all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true", help="write the figures to docs")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.modules) - set(names))
    if unknown:
        parser.error(f"there is no module {unknown[0]}")
    with tempfile.TemporaryDirectory() as directory:
        copy_to(directory)
        return run_modules(arguments.modules or names, arguments.jobs, record=arguments.record)


def run_modules(names: list[str], jobs: int, *, record: bool) -> int:
    """Test all mutants of some modules and say what came of them; returns the exit status."""
    gc.freeze()
    known = equivalents()
    figures: dict[str, Counter[str]] = {}
    found: set[tuple[str, str, str, str]] = set()
    faults = 0
    for name in names:
        start, before = time.monotonic(), os.times().children_user
        figures[name], left = run_module(name, jobs)
        for mutant, outcome in left:
            told = outcome
            if outcome == "survived":
                found.add(mutant.key)
                told = known.get(mutant.key, "SURVIVED, and is not listed as equivalent")
                faults += mutant.key not in known
            print(mutant, f"  {told}", sep="\n")
        wall, processor = time.monotonic() - start, os.times().children_user - before
        print(line(name, figures[name]), f"in {wall:.0f} s, {processor:.0f} s of processor time")
        sys.stdout.flush()
    gone = [key for key in known if key[0] in figures and key not in found]
    for key in gone:
        print("listed as equivalent, but there is no such survivor:", *key, sep="\n  ")
    print(line("all", total(figures)))
    if record:
        write(figures)
    return int(bool(faults or gone) or percent(total(figures)) < ENOUGH)


def line(name: str, counts: Counter[str]) -> str:
    """The figures as a line of the summary."""
    outcomes = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)
    return f"{name}: {counts.total()} mutants, {outcomes}: {percent(counts):.1f} %"


if __name__ == "__main__":
    sys.exit(main())
