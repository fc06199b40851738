"""The project's checks. ``nox`` runs the default ones, ``nox --list`` names them all.

Every session makes its own environment and installs what it needs, as the dependency groups
in pyproject.toml say. The default run needs no Python but the one that runs nox.
"""

from __future__ import annotations

from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

PYPROJECT = nox.project.load_toml("pyproject.toml")
CORE = Path("src/carpproto/core")
CORE_TESTS = Path("tests/core")


def install(session: nox.Session, *groups: str, project: tuple[str, ...] = ("-e", ".")) -> None:
    """Install dependency groups and the project itself, editable unless told otherwise."""
    session.install(*project, *nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: lint rules and formatting."""
    install(session, "lint", project=())
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy and pyright, strict, and that every public name has a complete type."""
    install(session, "types", "test")  # what carpproto.testing imports, too
    session.run("mypy", "--strict")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "carpproto", "--ignoreexternal")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but the deep ones, with branch coverage; arguments go to pytest."""
    install(session, "test")
    # Not pytest --cov: coverage has to start before pytest loads the package's own plugin.
    chosen = session.posargs or ("-m", "not deep and not live")
    session.run("coverage", "run", "-m", "pytest", *chosen)
    session.run("coverage", "report")


@nox.session
def live(session: nox.Session) -> None:
    """Take part on real interfaces, in network namespaces, with a real ucarp; needs root."""
    install(session, "test")
    session.run("pytest", "-m", "live", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Each module of the core: 100 % of its branches, by its own test file alone."""
    modules = sorted(CORE.glob("[!_]*.py"))
    if not modules:
        session.error(f"no modules found in {CORE}")
    tests_of = {module: CORE_TESTS / f"test_{module.name}" for module in modules}
    missing = [f"{module} has no {test}" for module, test in tests_of.items() if not test.exists()]
    if missing:
        session.error("\n".join(["each core module needs a test file of its own:", *missing]))

    install(session, "test")
    env = {"COVERAGE_FILE": str(Path(session.create_tmp(), "coverage").resolve())}
    report = ["coverage", "report", "--show-missing", "--fail-under=100"]
    short = []
    for module, test in tests_of.items():
        session.run("coverage", "run", "-m", "pytest", "--quiet", str(test), env=env)
        try:
            session.run(*report, f"--include={module}", env=env)
        except CommandFailed:
            short.append(f"{module} is not fully covered by {test}")
    if short:
        session.error("\n".join(short))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings being errors, and run its examples."""
    install(session, "docs")
    sphinx = ["sphinx-build", "-W", "--keep-going", "-b"]
    session.run(*sphinx, "html", "docs", "docs/_build/html")
    session.run(*sphinx, "doctest", "docs", "docs/_build/doctest")


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14"], default=False)
def versions(session: nox.Session) -> None:
    """The tests on every supported Python that is here, with the wheel rather than src."""
    install(session, "test", project=(".",))
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def dask(session: nox.Session) -> None:
    """The tests of campaigns with Dask's executor among the others."""
    install(session, "test", project=("-e", ".[dask]"))
    session.run("pytest", "tests/simulation/test_campaign.py", *session.posargs)


@nox.session(default=False)
def deep(session: nox.Session) -> None:
    """The tests that take minutes; arguments go to pytest."""
    install(session, "test")
    session.run("pytest", "-m", "deep", *session.posargs)


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Mutation testing of the core, half an hour; arguments go to tests/mutation/run.py."""
    install(session, "test", "mutation")
    env = {"HYPOTHESIS_PROFILE": "mutation"}
    # It works on a copy of src and tests, and changes no file there either.
    session.run("python", "tests/mutation/run.py", *session.posargs, env=env)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Each coverage-guided target for a minute (or as many seconds as given), from recordings."""
    install(session, "fuzz")
    seconds = session.posargs[0] if session.posargs else "60"
    work = Path(session.create_tmp())
    session.run("python", "fuzzing/corpus.py", "tests/recordings", str(work))
    for target in sorted(Path("fuzzing").glob("fuzz_*.py")):
        seeds = work / target.stem.removeprefix("fuzz_")
        found = work / f"{target.stem}-"
        options = (f"-max_total_time={seconds}", f"-artifact_prefix={found}", "-timeout=10")
        session.run("python", str(target), *options, str(seeds))


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """The benchmarks, checked against their bounds; arguments go to benchmarks/run.py."""
    # As a user has it: pip compiles what it installs, and the import is measured.
    install(session, "bench", project=(".",))
    session.run("python", "benchmarks/capture.py", "--check")
    session.run("python", "benchmarks/run.py", "--check", *session.posargs)
