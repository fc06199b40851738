"""The smallest scenario that still shows what a larger one showed.

Must not know what a violation means: it asks whether one of the same kind is left. Faults
are left out first, in ever smaller bunches (delta debugging) and at last in pairs, as a fault and
what takes it back are; then nodes that nothing depends on; then times become whole seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from carpproto.core.errors import ConfigError
from carpproto.simulation.faults import Cut, Fault, Partition
from carpproto.simulation.scenario import Scenario
from carpproto.simulation.verdict import Result

Fails = Callable[[Scenario], bool]
"""Whether a scenario still shows what is looked for."""


def shrink(scenario: Scenario, seed: int, result: Result | None = None) -> Scenario:
    """The smallest scenario found that, with this seed, violates a property of the same kind.

    ``result`` is what ``scenario.run(seed)`` gave, if that is known. A scenario that violates
    nothing comes back as it is.
    """
    found = scenario.run(seed) if result is None else result
    kinds = {violation.kind for violation in found.violations}

    def fails(smaller: Scenario) -> bool:
        try:
            smaller.check()
            seen = smaller.run(seed).violations
        except ConfigError:
            return False  # what was left out was needed for it to make sense
        return any(violation.kind in kinds for violation in seen)

    return smallest(scenario, fails) if kinds else scenario


def smallest(scenario: Scenario, fails: Fails) -> Scenario:
    """The smallest scenario found for which ``fails`` is true, as it is for ``scenario``."""
    shorter = scenario._replace(duration=None)
    if scenario.duration is not None and fails(shorter):
        scenario = shorter
    while True:
        before = scenario
        scenario = _fewer_faults(scenario, fails)
        scenario = _fewer_nodes(scenario, fails)
        scenario = _rounder(scenario, fails)
        if scenario == before:
            return scenario


def _fewer_faults(scenario: Scenario, fails: Fails) -> Scenario:
    faults = scenario.faults
    size = len(faults)
    while size:
        start = 0
        while start < len(faults):
            left = faults[:start] + faults[start + size :]
            if fails(scenario._replace(faults=left)):
                faults = left
            else:
                start += size
        size //= 2
    for pair in _pairs(faults):
        left = tuple(fault for fault in faults if fault not in pair)
        if len(left) < len(faults) and fails(scenario._replace(faults=left)):
            faults = left
    return scenario._replace(faults=faults)


def _pairs(faults: tuple[Fault, ...]) -> Iterator[tuple[Fault, Fault]]:
    return combinations(faults, 2)


def _fewer_nodes(scenario: Scenario, fails: Fails) -> Scenario:
    for node in scenario.nodes:
        smaller = _without_node(scenario, node.name)
        if smaller.nodes and fails(smaller):
            scenario = smaller
    return scenario


def _without_node(scenario: Scenario, name: str) -> Scenario:
    faults: list[Fault] = []
    for fault in scenario.faults:
        if isinstance(fault, Partition):
            groups = tuple(tuple(n for n in group if n != name) for group in fault.groups)
            if any(groups):
                faults.append(fault._replace(groups=groups))
        elif isinstance(fault, Cut):
            if name not in (fault.sender, fault.receiver):
                faults.append(fault)
        elif getattr(fault, "node", None) != name:
            faults.append(fault)
    nodes = tuple(node for node in scenario.nodes if node.name != name)
    return scenario._replace(nodes=nodes, faults=tuple(faults))


def _rounder(scenario: Scenario, fails: Fails) -> Scenario:
    """Times of faults in whole seconds, where that makes no difference."""
    for number, fault in enumerate(scenario.faults):
        rounded = fault._replace(at=float(round(fault.at)))
        faults = (*scenario.faults[:number], rounded, *scenario.faults[number + 1 :])
        if fault.at != rounded.at and fails(scenario._replace(faults=faults)):
            scenario = scenario._replace(faults=faults)
    return scenario
