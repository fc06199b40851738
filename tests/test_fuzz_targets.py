"""The coverage-guided targets, without a fuzzer: the seed corpus and some of what is near it."""

from __future__ import annotations

import ast
import sys
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from carpproto.core.errors import DecodeError
from carpproto.testing.mutators import flip_bits, truncate
from tests.helpers import RECORDINGS

FUZZING = Path(__file__).resolve().parent.parent / "fuzzing"
NAMES = ("decode", "frames", "files", "events")


@pytest.fixture(scope="module")
def corpus():
    """The modules of fuzzing/, and the seeds of each target."""
    sys.path.insert(0, str(FUZZING))
    try:
        import corpus
        import targets
    finally:
        sys.path.remove(str(FUZZING))
    found: dict[str, dict[bytes, None]] = {}
    for name, seed in corpus.seeds(RECORDINGS):
        found.setdefault(name, {})[seed] = None
    yield targets, {name: tuple(seeds) for name, seeds in found.items()}
    for name in ("corpus", "targets"):
        del sys.modules[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_and_their_neighbours(corpus, name: str) -> None:
    targets, seeds = corpus
    target = targets.TARGETS[name]
    assert len(seeds[name]) >= 40
    random = Random(1)
    for seed in seeds[name][:: max(1, len(seeds[name]) // 200)]:
        target(seed)
        target(flip_bits(seed, random).frame)
        target(truncate(seed, random).frame)
    target(b"")


def test_each_event_can_come_of_bytes_and_nodes_change_their_state(corpus) -> None:
    targets, _ = corpus
    kinds, states = set(), set()
    random = Random(2)
    for profile in targets.PROFILES:
        for _ in range(60):
            data = random.getrandbits(8 * 300).to_bytes(300, "big")
            node, now = targets.make_node(profile), 0.0
            for after, event in islice(targets.events_of(data, profile), 200):
                now += after
                kinds.add(type(event).__name__)
                node.handle(event, now)
                states.add(node.virtual_host("em0", 1).state)
    assert len(kinds) == 13
    assert len(states) == 3


def test_a_target_fails_where_something_is_wrong(corpus, monkeypatch) -> None:
    targets, seeds = corpus
    seed = seeds["frames"][0]
    targets.frames_target(seed)

    def broken(payload: bytes, *, pseudo_header: bytes = b"") -> None:
        raise DecodeError("badsum", 99, "far out")

    monkeypatch.setattr("carpproto.testing.fuzzing.decode", broken)
    with pytest.raises(AssertionError, match="refused"):
        targets.frames_target(seed)


@pytest.mark.parametrize("name", NAMES)
def test_the_scripts_name_their_target(name: str) -> None:
    tree = ast.parse((FUZZING / f"fuzz_{name}.py").read_text())
    assert f"targets.{name}_target" in ast.unparse(tree)
    assert "sys.argv" in ast.unparse(tree)
