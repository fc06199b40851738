"""Campaigns: many runs, spread over an executor, added up in little memory.

Must not know what a run is about: a task is a function of a range of seeds that returns a
`Tally`. Tallies are sums of whole numbers and a few of the smallest failing seeds, so that they
are the same in whichever order, in whatever pieces and on how many machines the runs were made.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from functools import partial
from hashlib import sha256
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path
from threading import Thread, current_thread, main_thread
from time import monotonic
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from carpproto.core.errors import ConfigError, shown
from carpproto.simulation.random_scenario import EVERYTHING, Variety, random_scenario
from carpproto.simulation.scenario import Scenario
from carpproto.simulation.verdict import Result

KEPT = 100
"""How many failing seeds a tally keeps: the smallest ones."""

CHUNK = 50
"""Runs in one call of a worker."""

STEP = 0.25
"""Width of a histogram's bars, in seconds."""

_FORMAT = 1
_SAVED_EVERY = 2.0  # seconds
_MICROSECOND = 1_000_000

T = TypeVar("T")
S = TypeVar("S")


class Tally(NamedTuple):
    """What many runs showed, added up.

    ``seeds`` are the runs in it, as disjoint ranges (first, behind the last) in order. ``faults``,
    ``advertisements``, ``delivered`` (frames) and ``simulated`` (microseconds) are sums.
    ``violations`` counts runs by the kinds that they violated, ``unjudged`` the groups that could
    not be judged. ``failovers`` and ``settled`` are histograms: how many failovers took, and how
    many runs changed their last MASTER after the last fault within, that many times `STEP`
    seconds, rounded down. ``failing`` has the `KEPT` smallest failing seeds, with the kinds.
    """

    seeds: tuple[tuple[int, int], ...] = ()
    runs: int = 0
    failed: int = 0
    faults: int = 0
    advertisements: int = 0
    delivered: int = 0
    simulated: int = 0
    violations: tuple[tuple[str, int], ...] = ()
    unjudged: int = 0
    failovers: tuple[tuple[int, int], ...] = ()
    settled: tuple[tuple[int, int], ...] = ()
    failing: tuple[tuple[int, tuple[str, ...]], ...] = ()

    def merge(self, other: Tally) -> Tally:
        """Both together; `ConfigError` if a run is in both."""
        return Tally(
            _united(self.seeds, other.seeds),
            self.runs + other.runs,
            self.failed + other.failed,
            self.faults + other.faults,
            self.advertisements + other.advertisements,
            self.delivered + other.delivered,
            self.simulated + other.simulated,
            _summed(self.violations, other.violations),
            self.unjudged + other.unjudged,
            _summed(self.failovers, other.failovers),
            _summed(self.settled, other.settled),
            tuple(sorted(self.failing + other.failing)[:KEPT]),
        )

    def as_json(self) -> dict[str, Any]:
        """The same as an object of plain values, for `Tally.from_json`."""
        return {
            **self._asdict(),
            "violations": dict(self.violations),
            "failovers": {str(bar): count for bar, count in self.failovers},
            "settled": {str(bar): count for bar, count in self.settled},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Tally:
        """What `as_json` gave; `ConfigError` for what it cannot have given."""
        tally = None
        if isinstance(cast(object, found), Mapping):
            with suppress(AttributeError, KeyError, TypeError, ValueError):
                values: dict[str, Any] = {
                    **found,
                    "seeds": _united((), map(_pair, found["seeds"])),
                    "violations": _summed((), dict(found["violations"]).items()),
                    "failovers": _summed((), _bars(found["failovers"])),
                    "settled": _summed((), _bars(found["settled"])),
                    "failing": tuple((seed, tuple(kinds)) for seed, kinds in found["failing"]),
                }
                tally = cls(**values)
        if tally is None or not tally._is_possible() or tally.as_json() != _listed(found):
            raise ConfigError("this is no tally of a campaign; give what as_json() gave")
        return tally

    def _is_possible(self) -> bool:
        """Whether the numbers fit each other."""
        bars = (*self.failovers, *self.settled)
        numbers: list[Any] = [number for bar in bars for number in bar]
        numbers += [number for _, number in self.violations]
        numbers += [
            getattr(self, name) for name, zero in self._field_defaults.items() if zero == 0
        ]
        runs = sum(stop - first for first, stop in self.seeds)
        return (
            all(type(number) is int and number >= 0 for number in numbers)
            and sum(number for _, number in self.settled) <= self.runs == runs
            and len(self.failing) <= self.failed <= runs
        )


def tally_of(seed: int, faults: int, result: Result) -> Tally:
    """The tally of one run."""
    failovers = Counter(int(wait / STEP) for g in result.groups for wait in g.failovers)
    settled = int(max(0.0, result.settled - result.last_fault) / STEP)
    kinds = tuple(sorted({violation.kind for violation in result.violations}))
    return Tally(
        seeds=((seed, seed + 1),),
        runs=1,
        failed=bool(kinds) + 0,
        faults=faults,
        advertisements=result.advertisements,
        delivered=result.delivered,
        simulated=round(result.lasted * _MICROSECOND),
        violations=tuple((kind, 1) for kind in kinds),
        unjudged=len(result.unjudged),
        failovers=tuple(sorted(failovers.items())),
        settled=((settled, 1),),
        failing=((seed, kinds),) if kinds else (),
    )


# -- tasks ---------------------------------------------------------------------------------------


Task = Callable[[int, int], Tally]
"""Runs the seeds from the first to before the second number. It goes to other processes, so it
is a function of a module, or a `functools.partial` of one."""


def run_random(variety: Variety, first: int, stop: int) -> Tally:
    """The task of a campaign of random scenarios: each seed makes its scenario and its run."""
    total = Tally()
    for seed in range(first, stop):
        scenario = random_scenario(seed, variety)
        total = total.merge(tally_of(seed, len(scenario.faults), scenario.run(seed)))
    return total


def run_scenario(scenario: Scenario) -> Task:
    """The task of running one scenario with many seeds; its name does not matter."""
    return partial(_run_scenario, scenario._replace(name=""))


def _run_scenario(scenario: Scenario, first: int, stop: int) -> Tally:
    total = Tally()
    for seed in range(first, stop):
        total = total.merge(tally_of(seed, len(scenario.faults), scenario.run(seed)))
    return total


def run_campaign(
    seeds: range,
    variety: Variety = EVERYTHING,
    *,
    task: Task | None = None,
    executor: Executor | None = None,
    processes: int | None = None,
    chunk: int = CHUNK,
    resume: str | Path | None = None,
    progress: bool | None = None,
) -> Tally:
    """Run every seed and add up what is seen.

    ``task`` is what to run, by default random scenarios of ``variety``. ``executor`` is any
    `concurrent.futures.Executor`, which is left running; without one, ``processes`` of this
    machine (by default as many as it has processors) are started and ended. ``chunk`` runs make
    one call of a worker.

    ``resume`` is a JSON file that says what was run, written every few seconds and at the end:
    what it has is not run again but added, and it may have more seeds than these. The file of
    another ``variety`` or task is refused, with `ConfigError`. ``progress`` shows a bar on
    stderr, by default if that is a terminal; it needs tqdm, and without that there is none.
    """
    variety.check()
    if not isinstance(cast(object, seeds), range) or seeds.step != 1:
        raise ConfigError(f"seeds {shown(seeds)} are no range of step 1; give range(100000)")
    if not isinstance(cast(object, chunk), int) or chunk < 1:
        raise ConfigError(f"chunk {shown(chunk)} is out of range; it is 1 or more")
    if processes is not None and not 1 <= processes <= 1024:
        raise ConfigError(f"processes {shown(processes)} is out of range; it is 1 to 1024")
    if executor is not None and not hasattr(executor, "submit"):
        raise ConfigError(f"{shown(executor)} is no Executor; see concurrent.futures")
    what = task_name(task, variety)
    if resume is not None and "<" in what:
        raise ConfigError(f"{what} cannot be told from others; resume a function of a module")
    total, unsaved = Tally() if resume is None else load_tally(resume, what), Tally()
    _add(resume, what, unsaved)  # what cannot be written fails rather now than after an hour
    call = partial(run_random, variety) if task is None else task
    chunks = _chunks(seeds, total.seeds, chunk)
    with _Progress(len(seeds), len(seeds) - _left(seeds, total.seeds), progress) as bar:
        own = None if executor is not None else worker_pool(processes)
        try:
            for tally in spread(call, chunks, cast(Executor, executor or own)):
                if not isinstance(cast(object, tally), Tally) or not tally.runs:
                    raise ConfigError(f"the task gave {shown(tally)}, no Tally of its seeds")
                total, unsaved = total.merge(tally), unsaved.merge(tally)
                bar.update(tally.runs)
                if resume is not None and bar.is_due():
                    _add(resume, what, unsaved)
                    unsaved = Tally()
        finally:
            _add(resume, what, unsaved)
            if own is not None:
                end_pool(own)
    if _left(seeds, total.seeds):
        raise ConfigError(f"the task gave tallies of the seeds {total.seeds}, not of {seeds}")
    return total


def worker_pool(processes: int | None = None) -> Executor:
    """As many processes, or as there are processors; they end when this one does."""
    return ProcessPoolExecutor(processes, None, _begin_worker)


def end_pool(pool: Executor) -> None:
    """End a `worker_pool`, when what is under way is done; a second interrupt disturbs nothing."""
    disturbed = current_thread() is main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if disturbed else None
    try:
        pool.shutdown(cancel_futures=True)
    finally:
        if disturbed:
            signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _begin_worker() -> None:
    """What each process does first: it leaves interrupts to the one that started it, and ends
    when that one does, however that is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for_any([sentinel])
    os._exit(1)


def spread(
    call: Callable[..., T], arguments: Iterable[tuple[Any, ...]], executor: Executor
) -> Generator[T, None, None]:
    """``call(*arguments)`` for each, on an executor, as they come back.

    So many are under way at once that no worker waits, and no more, however many there are.
    """
    waiting = iter(arguments)
    workers = getattr(executor, "_max_workers", None)
    under_way = 4 * workers if isinstance(workers, int) else 256
    pending: set[Future[T]] = {
        executor.submit(call, *given) for given in islice(waiting, under_way)
    }
    try:
        while pending:
            done, pending = _first_done(pending)
            for future in done:
                for given in islice(waiting, 1):
                    pending.add(executor.submit(call, *given))
                yield future.result()
    finally:
        for future in pending:
            future.cancel()


def _first_done(pending: set[Future[T]]) -> tuple[set[Future[T]], set[Future[T]]]:
    done, left = wait(pending, return_when=FIRST_COMPLETED)
    return set(done), set(left)


# -- the file of what was run --------------------------------------------------------------------


def task_name(task: Task | None, variety: Variety) -> str:
    """What tells the files of campaigns apart."""
    if task is None:
        return f"random {json.dumps(variety._asdict())}"
    given: tuple[object, ...] = ()
    function: Any = task
    if isinstance(task, partial):
        function, given = task.func, task.args
    # What a scenario or another argument is, without showing the secrets in it.
    digest = sha256(pickle.dumps(given, protocol=4)).hexdigest()[:16]
    return f"{function.__module__}.{getattr(function, '__qualname__', '')} {digest}"


def load_tally(path: str | Path, what: str) -> Tally:
    """The tally in a file, an empty one if there is no file; `ConfigError` if it is another's."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no regular file; give one, or a name that is free")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Tally()
    except (ValueError, RecursionError):
        raise ConfigError(
            f"{path} is no file of a campaign: it is not JSON; give one, or a name that is free"
        ) from None
    if not isinstance(found, dict) or cast(dict[str, Any], found).get("format") != _FORMAT:
        raise ConfigError(
            f"{path} is no file of a campaign of this version; give one, or a name that is free"
        )
    values = cast(dict[str, Any], found)
    if values.get("campaign") != what:
        raise ConfigError(
            f"{path} is of another campaign, {shown(values.get('campaign'))}; this one is "
            f"{what!r}: give a name that is free, or go on with what that one was given"
        )
    try:
        return Tally.from_json(values.get("tally", {}))
    except ConfigError:
        raise ConfigError(f"{path} is damaged: its numbers do not fit each other") from None


def save_tally(path: str | Path, what: str, tally: Tally) -> None:
    """Write a tally so that a crash leaves either the old file or the new one.

    `ConfigError` if it cannot be written.
    """
    path = Path(path)
    text = json.dumps({"format": _FORMAT, "campaign": what, "tally": tally.as_json()})
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _add(path: str | Path | None, what: str, tally: Tally) -> None:
    """Add to the tally in a file, if there is one; another campaign may have done so meanwhile."""
    if path is not None:
        save_tally(path, what, load_tally(path, what).merge(tally))


# -- sums ----------------------------------------------------------------------------------------


def _pair(found: Any) -> tuple[int, int]:
    first, stop = found
    return first, stop


def _bars(found: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """The bars of a histogram; their numbers are text in JSON."""
    return ((int(bar), number) for bar, number in found.items())


def _listed(found: Mapping[str, Any]) -> dict[str, Any]:
    """With tuples for lists, as `Tally.as_json` has them."""
    return {name: _tupled(value) for name, value in found.items()}


def _tupled(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(_tupled, cast(Iterable[Any], value)))
    return value


class _Sortable(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=_Sortable)


def _summed(
    one: Iterable[tuple[K, int]], other: Iterable[tuple[K, int]]
) -> tuple[tuple[K, int], ...]:
    total: dict[K, int] = {}
    for part in (one, other):
        for key, number in part:
            total[key] = total.get(key, 0) + number
    return tuple(sorted(total.items(), key=lambda pair: pair[0]))


def _united(
    one: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    united: list[tuple[int, int]] = []
    for first, stop in sorted([*one, *other]):
        if first >= stop:
            raise ConfigError(f"seeds {first} to {stop} are none")
        if united and first < united[-1][1]:
            raise ConfigError(f"seed {first} was run twice; merge campaigns of different seeds")
        if united and first == united[-1][1]:
            united[-1] = (united[-1][0], stop)
        else:
            united.append((first, stop))
    return tuple(united)


def _missing(seeds: range, done: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of ``seeds`` that are in none of ``done``, which are in order."""
    start = seeds.start
    for first, stop in done:
        if first > start and start < seeds.stop:
            yield start, min(first, seeds.stop)
        start = max(start, stop)
    if start < seeds.stop:
        yield start, seeds.stop


def _left(seeds: range, done: Iterable[tuple[int, int]]) -> int:
    return sum(stop - first for first, stop in _missing(seeds, done))


def _chunks(
    seeds: range, done: Iterable[tuple[int, int]], chunk: int
) -> Iterator[tuple[int, int]]:
    for first, stop in _missing(seeds, done):
        for start in range(first, stop, chunk):
            yield start, min(start + chunk, stop)


class _Progress:
    """A bar on a terminal, if tqdm is there; and when the file is to be written next."""

    def __init__(self, total: int, done: int, wanted: bool | None) -> None:
        self.bar: Any = None
        self.written = monotonic()
        if wanted or (wanted is None and sys.stderr.isatty()):
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = cast(Any, tqdm)(total=total, initial=done, unit="run", file=sys.stderr)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, runs: int) -> None:
        if self.bar is not None:
            self.bar.update(runs)

    def is_due(self) -> bool:
        """Every few seconds."""
        now = monotonic()
        if now - self.written < _SAVED_EVERY:
            return False
        self.written = now
        return True
