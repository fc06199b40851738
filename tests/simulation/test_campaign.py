"""Campaigns: the same sums in whichever pieces, resumed and merged; failures shrunk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from carpproto import (
    FREEBSD,
    FREEBSD_12,
    NETBSD,
    ConfigError,
    DemotionAdjusted,
    VirtualHostConfig,
)
from carpproto.simulation.campaign import (
    KEPT,
    Tally,
    load_tally,
    run_campaign,
    run_random,
    run_scenario,
    save_tally,
    spread,
    task_name,
)
from carpproto.simulation.faults import (
    Boot,
    Crash,
    Cut,
    Heal,
    LocalEvent,
    Partition,
    SegmentChange,
)
from carpproto.simulation.random_scenario import EVERYTHING, Variety, random_scenario
from carpproto.simulation.scenario import NodeDescription, Scenario
from carpproto.simulation.shrink import shrink, smallest

SMALL = Variety(nodes=(3, 3), incidents=(3, 3), faults_until=(10.0, 12.0))


def host(advskew: int) -> tuple[tuple[str, VirtualHostConfig], ...]:
    config = VirtualHostConfig(
        vhid=1, passphrase="a secret", addresses=["192.0.2.1"], advskew=advskew
    )
    return (("em0", config),)


def planted(*more) -> Scenario:
    """FreeBSD 12.1 with a negative demotion, which makes two masters, amid other faults."""
    nodes = tuple(
        NodeDescription(name, host(advskew), FREEBSD_12, settings=(("preempt", preempt),))
        for name, advskew, preempt in (("a", 0, 1), ("b", 99, 1), ("c", 150, 0), ("d", 200, 0))
    )
    faults = (
        SegmentChange(1.25, "lan", (("jitter", 0.01),)),
        Crash(5.125, "c"),
        Cut(7.5, "a", "b"),
        Boot(9.75, "c"),
        Heal(11.5),
        LocalEvent(13.0625, "a", DemotionAdjusted(-30)),
        Partition(15.25, (("a", "c"), ("b", "d"))),
        Heal(19.5),
        SegmentChange(20.5, "lan", (("jitter", 0.0),)),
        *more,
    )
    return Scenario("planted", nodes, faults)


# -- sums -----------------------------------------------------------------------------------------


def test_a_tally_says_what_the_runs_showed() -> None:
    tally = run_random(SMALL, 0, 10)
    results = [random_scenario(seed, SMALL).run(seed) for seed in range(10)]
    assert tally.seeds == ((0, 10),)
    assert (tally.runs, tally.failed, tally.violations, tally.failing) == (10, 0, (), ())
    assert tally.advertisements == sum(result.advertisements for result in results)
    assert tally.delivered == sum(result.delivered for result in results)
    assert tally.simulated == sum(round(1e6 * result.lasted) for result in results)
    assert tally.faults == sum(len(random_scenario(seed, SMALL).faults) for seed in range(10))
    assert sum(count for _, count in tally.settled) == 10
    failovers = [time for r in results for group in r.groups for time in group.failovers]
    assert sum(count for _, count in tally.failovers) == len(failovers)
    assert max(bar for bar, _ in tally.failovers) == int(max(failovers) / 0.25)


def test_tallies_merge_in_any_order() -> None:
    parts = [run_random(SMALL, first, first + 3) for first in (0, 3, 6)]
    whole = run_random(SMALL, 0, 9)
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        total = Tally()
        for number in order:
            total = total.merge(parts[number])
        assert total == whole
    with pytest.raises(ConfigError, match="run twice"):
        whole.merge(parts[1])


def test_a_tally_survives_json() -> None:
    tally = run_scenario(planted())(0, 3)
    assert tally.failing == tuple((seed, ("several MASTERs",)) for seed in range(3))
    assert Tally.from_json(json.loads(json.dumps(tally.as_json()))) == tally
    for broken in ({}, {**tally.as_json(), "seeds": [[0, 0]]}, {**tally.as_json(), "runs": "x"}):
        with pytest.raises(ConfigError):
            Tally.from_json(broken)


def test_few_failing_seeds_are_kept_the_smallest_ones() -> None:
    def many(first: int) -> Tally:
        seeds = range(first, first + KEPT)
        failing = tuple((seed, ("no MASTER",)) for seed in seeds)
        return Tally(seeds=((first, first + KEPT),), runs=KEPT, failed=KEPT, failing=failing)

    later, earlier = many(KEPT), many(0)
    assert later.merge(earlier).failing == earlier.failing
    assert later.merge(earlier).failed == 2 * KEPT


# -- campaigns ------------------------------------------------------------------------------------


class Backwards(Executor):
    """Runs everything when it is asked for, and hands out the latest first."""

    _max_workers = 3

    def submit(self, call, /, *arguments, **values):
        future: Future = Future()
        future.set_result(call(*arguments, **values))
        return future


def test_any_executor_gives_the_same() -> None:
    expected = run_random(SMALL, 5, 25)
    seeds = range(5, 25)
    assert run_campaign(seeds, SMALL, executor=Backwards(), chunk=3) == expected
    with ThreadPoolExecutor(3) as threads:
        assert run_campaign(seeds, SMALL, executor=threads, chunk=7) == expected
        assert threads.submit(int).result() == 0  # it is left running
    with ProcessPoolExecutor(2) as processes:
        assert run_campaign(seeds, SMALL, executor=processes, chunk=4) == expected
    assert run_campaign(seeds, SMALL, processes=2) == expected


def test_dask() -> None:
    distributed = pytest.importorskip("dask.distributed")
    with (
        distributed.Client(processes=False, dashboard_address=None) as client,
        client.get_executor() as executor,
    ):
        tally = run_campaign(range(12), SMALL, executor=executor, chunk=3)
    assert tally == run_random(SMALL, 0, 12)


def test_no_more_is_under_way_than_keeps_the_workers_busy() -> None:
    asked = 0

    def arguments():
        nonlocal asked
        for number in range(1000):
            asked += 1
            yield (number,)

    results = spread(abs, arguments(), Backwards())
    next(results)
    assert asked <= 13
    assert sum(1 for _ in results) == 999


def test_a_campaign_resumes(tmp_path: Path) -> None:
    file = tmp_path / "campaign.json"
    with ThreadPoolExecutor(1) as threads:
        go = partial(run_campaign, variety=SMALL, executor=threads, chunk=4, resume=file)
        first = go(range(5, 15))
        assert first == run_random(SMALL, 5, 15)
        ran: list[tuple[int, int]] = []

        def noted(start: int, stop: int) -> Tally:
            ran.append((start, stop))
            return run_random(SMALL, start, stop)

        # Only what is missing is run, and the file has it all.
        assert go(range(20)) == run_random(SMALL, 0, 20)
        assert go(range(20)) == run_random(SMALL, 0, 20)
        assert run_campaign(range(2), SMALL, task=noted, executor=threads).runs == 2
        assert ran == [(0, 2)]
    assert load_tally(file, task_name(None, SMALL)).seeds == ((0, 20),)


class StoppedError(Exception):
    pass


def test_what_an_interrupted_campaign_ran_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "campaign.json"
    task = partial(stops_at, 9)
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(StoppedError):
            run_campaign(range(20), task=task, executor=threads, chunk=3, resume=file)
        left = load_tally(file, task_name(task, EVERYTHING))
        assert left.seeds
        assert left.seeds[0][1] <= 9


def stops_at(seed: int, first: int, stop: int) -> Tally:
    if first <= seed < stop:
        raise StoppedError
    return Tally(seeds=((first, stop),), runs=stop - first)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "campaign.json"
    name = task_name(None, SMALL)
    assert load_tally(file, name) == Tally()
    save_tally(file, name, Tally())
    assert load_tally(file, name) == Tally()
    with pytest.raises(ConfigError, match="of another campaign"):
        load_tally(file, task_name(None, EVERYTHING))
    for text in ("", "[]", "{}", '{"format": 2}', "[" * 100_000, '{"format": 1, "campaign": 1}'):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"campaign\.json"):
            load_tally(file, name)
    with pytest.raises(ConfigError, match="no regular file"):
        load_tally(tmp_path, name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"runs": -5},
        {"runs": 5},
        {"runs": 3.0},
        {"runs": True},
        {"seeds": [[0.5, 3]]},
        {"seeds": [[3, 0]]},
        {"seeds": [[0, 3, 4]]},
        {"seeds": None},
        {"failovers": {"1": -1}},
        {"failovers": {"-1": 1}},
        {"failovers": {"one": 1}},
        {"settled": {"1": 1000}},
        {"violations": []},
        {"failing": [[1, ["none at all"]]] * 4},
        {"more": 1},
    ],
    ids=str,
)
def test_a_file_whose_numbers_do_not_fit_is_refused(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    tally = run_random(SMALL, 0, 3)
    file, name = tmp_path / "campaign.json", task_name(None, SMALL)
    save_tally(file, name, tally)
    assert load_tally(file, name) == tally
    found = json.loads(file.read_text())
    found["tally"].update(wrong)
    file.write_text(json.dumps(found))
    with pytest.raises(ConfigError, match="is damaged"):
        load_tally(file, name)


def test_a_part_that_is_missing_is_refused() -> None:
    found = Tally().as_json()
    del found["failing"]
    for wrong in (found, {}, None, [], "text"):
        with pytest.raises(ConfigError, match="no tally"):
            Tally.from_json(wrong)  # type: ignore[arg-type]


def test_campaigns_that_share_a_file_keep_each_other(tmp_path: Path) -> None:
    file = tmp_path / "campaign.json"
    with ThreadPoolExecutor(1) as threads:
        task = partial(runs_another, str(file))
        total = run_campaign(range(4), task=task, executor=threads, chunk=2, resume=file)
    assert total.seeds == ((0, 4),)
    assert load_tally(file, task_name(task, EVERYTHING)).seeds == ((0, 4), (100, 102))


def runs_another(file: str, first: int, stop: int) -> Tally:
    """A task in whose middle another campaign adds to the same file."""
    task = partial(runs_another, file)
    if first == 2:
        with ThreadPoolExecutor(1) as threads:
            run_campaign(range(100, 102), task=task, executor=threads, resume=file)
    return Tally(seeds=((first, stop),), runs=stop - first)


def test_what_is_no_task_is_refused(tmp_path: Path) -> None:
    def inner(first: int, stop: int) -> Tally:
        return Tally(seeds=((first, stop),), runs=stop - first)

    with ThreadPoolExecutor(1) as threads:
        assert run_campaign(range(3), task=inner, executor=threads).runs == 3
        with pytest.raises(ConfigError, match="cannot be told from others"):
            run_campaign(range(3), task=inner, executor=threads, resume=tmp_path / "file.json")
        for wrong in (None, Tally(), 5):
            with pytest.raises(ConfigError, match="no Tally of its seeds"):
                run_campaign(range(3), task=lambda _, __, w=wrong: w, executor=threads)
        with pytest.raises(ConfigError, match="not of range"):
            run_campaign(range(3), task=lambda a, b: inner(a + 7, b + 7), executor=threads)
    for seeds in ([1, 2], 5, range(0, 9, 2)):
        with pytest.raises(ConfigError, match="no range of step 1"):
            run_campaign(seeds)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no Executor"):
        run_campaign(range(3), executor=5)  # type: ignore[arg-type]


def test_a_scenario_of_another_name_is_the_same_campaign() -> None:
    one = planted()
    names = {task_name(run_scenario(one._replace(name=name)), EVERYTHING) for name in "ab"}
    assert len(names) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = f"""
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from functools import partial
from carpproto.simulation.campaign import run_campaign
from test_campaign import notes_its_process
run_campaign(range(2), task=partial(notes_its_process, {str(tmp_path)!r}), processes=2, chunk=1)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        process.kill()
        process.wait()
    workers = [int(file.name) for file in tmp_path.iterdir()]
    wait_until(lambda: not any(runs(worker) for worker in workers))


def notes_its_process(folder: str, first: int, stop: int) -> Tally:
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)
    return Tally(seeds=((first, stop),), runs=stop - first)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and ") Z" in status.read_text())


def test_the_names_of_tasks_tell_them_apart_without_secrets() -> None:
    names = {task_name(run_scenario(one), EVERYTHING) for one in (planted(), planted(Heal(30.0)))}
    assert len(names) == 2
    assert not any("secret" in name for name in names)
    assert task_name(stops_at, EVERYTHING).startswith(__name__)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"seeds": range(0, 10, 2)}, "step 1"),
        ({"chunk": 0}, "chunk 0"),
        ({"processes": 0}, "processes 0"),
        ({"variety": Variety(profiles=("linux",))}, "linux"),
    ],
)
def test_a_campaign_that_cannot_be_is_refused(values: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        run_campaign(**{"seeds": range(3), **values})


def test_a_bar_where_it_is_wanted_and_can_be(capsys, monkeypatch) -> None:
    with ThreadPoolExecutor(1) as threads:
        go = partial(run_campaign, range(4), SMALL, executor=threads)
        go()
        assert capsys.readouterr().err == ""  # no terminal
        monkeypatch.setitem(sys.modules, "tqdm", None)
        go(progress=True)
        assert capsys.readouterr().err == ""
        monkeypatch.undo()
        pytest.importorskip("tqdm")
        go(progress=True)
        assert "4/4" in capsys.readouterr().err


# -- shrinking ------------------------------------------------------------------------------------


def test_a_failure_is_shrunk_to_what_it_needs() -> None:
    scenario = planted()
    assert [violation.kind for violation in scenario.run(7).violations] == ["several MASTERs"]
    found = shrink(scenario, 7)
    assert found.faults == (LocalEvent(13.0, "a", DemotionAdjusted(-30)),)
    assert len(found.nodes) == 2
    assert found.nodes[0].name == "a"
    assert [violation.kind for violation in found.run(7).violations] == ["several MASTERs"]


def test_a_fault_and_what_takes_it_back_go_together() -> None:
    """Left out alone, either would change what is looked for."""
    scenario = planted()

    def fails(smaller: Scenario) -> bool:
        taken = sum(isinstance(fault, (Crash, Boot)) for fault in smaller.faults)
        return taken % 2 == 0 and any(isinstance(fault, Partition) for fault in smaller.faults)

    found = smallest(scenario, fails)
    assert [type(fault) for fault in found.faults] == [Partition]
    assert len(found.nodes) == 1
    assert found.faults[0].groups == ((), ("d",))


def test_what_violates_nothing_is_not_shrunk() -> None:
    scenario = random_scenario(0, SMALL)
    assert shrink(scenario, 0) is scenario


def test_equal_hosts_may_cross_for_ever() -> None:
    """Found by a campaign: one host times out first, equal ones take over from it at once."""
    preempt = (("preempt", 1),)
    nodes = (
        NodeDescription("b", host(100), NETBSD, settings=preempt, clock_rate=1.008, late=0.02),
        NodeDescription("c", host(100), NETBSD, settings=preempt, late=0.02),
        NodeDescription("d", host(100), NETBSD, settings=preempt, late=0.02),
    )
    made = Scenario("cross", nodes, (LocalEvent(15.0, "b", DemotionAdjusted(50)),))
    for seed in range(5):
        (violation,) = made.run(seed).violations
        assert violation.kind == "equal hosts cross", f"seed {seed}"
    # With another advskew on each there is no more of it.
    better = NodeDescription("c", host(90), NETBSD, settings=preempt, late=0.02)
    for seed in range(5):
        settled = made._replace(nodes=(nodes[0], better, nodes[2])).run(seed)
        assert settled.violations == (), f"seed {seed}"
    assert FREEBSD is not NETBSD
