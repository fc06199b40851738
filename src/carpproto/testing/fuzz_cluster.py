"""Fuzzing a simulated cluster: mutated frames on its segment, the simulator's invariants after it.

Must not know how findings are printed. Each run is a scenario with three nodes of one system that
have preempt on, and frames injected while they are at work. Afterwards there has to be one MASTER,
the best, for good (`carpproto.simulation.verdict`); and if none of the frames was authentic, no
state may have changed at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from carpproto.core.advertisement import HOP_LIMIT, Advertisement, decode
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, DecodeError
from carpproto.core.frame import peel_datagram
from carpproto.core.profile import Profile
from carpproto.simulation.campaign import Tally, tally_of
from carpproto.simulation.cluster import HEADER
from carpproto.simulation.faults import Inject
from carpproto.simulation.scenario import NodeDescription, Scenario
from carpproto.simulation.shrink import smallest
from carpproto.simulation.verdict import Result, Violation, judge
from carpproto.testing.fuzzing import CONFIG, PROFILES, Finding, Spec, exception
from carpproto.testing.mutators import mutations

INJECTED = 50
"""Frames of a run."""

ADVSKEWS = (0, 50, 100)

_STARTS = 10.0  # seconds, by when the first election is over
_LASTS = 20.0  # seconds in which frames are injected
_PREEMPT = (("preempt", 1),)


def scenario(spec: Spec, number: int) -> Scenario:
    """The scenario of a run: it follows from the spec's seed and the run's number."""
    random = Random(f"{spec.seed}/cluster/{number}")
    profile = PROFILES[number % len(PROFILES)]
    config = config_of(spec.config, profile)
    signs = spec.signs and random.random() < 0.5
    authenticator = config.authenticator(profile) if signs else None
    frames = _frames(spec, random, authenticator)
    times = sorted(_STARTS + random.random() * _LASTS for _ in range(INJECTED))
    faults = tuple(Inject(at, "lan", frame) for at, frame in zip(times, frames, strict=False))
    return Scenario(f"fuzz {spec.seed}/{number}", _nodes(profile, config), faults)


def _nodes(profile: Profile, config: VirtualHostConfig) -> tuple[NodeDescription, ...]:
    return tuple(
        NodeDescription(
            name, (("em0", config.replace(advskew=advskew)),), profile, settings=_PREEMPT
        )
        for name, advskew in zip("abc", ADVSKEWS, strict=True)
    )


def config_of(config: VirtualHostConfig, profile: Profile) -> VirtualHostConfig:
    """The group that a cluster of a profile has: ucarp's has one address."""
    config = config.replace(advbase=1)
    return config.replace(addresses=config.addresses[:1]) if profile.single_address else config


def run(scenario: Scenario, seed: int) -> Result:
    """Run a scenario and judge it, by the oracle for frames that are not authentic, too."""
    cluster = scenario.cluster(seed)
    cluster.run(scenario.lasts)
    result = judge(scenario, cluster)
    node = scenario.nodes[0]
    config = node.virtual_hosts[0][1]
    authenticator = config.authenticator(node.profile)
    injected = [fault.frame for fault in scenario.faults if isinstance(fault, Inject)]
    late = [change for change in cluster.transitions if change.at >= _STARTS]
    if late and not any(_may_be_authentic(frame, authenticator) for frame in injected):
        text = f"{late[0].node} changed its state, and no frame was authentic"
        violation = Violation("state", "lan", config.vhid, text)
        result = result._replace(violations=(*result.violations, violation))
    return result


def fuzz_runs(spec: Spec, first: int, stop: int) -> Tally:
    """The task of a campaign: its runs are clusters, its faults are injected frames."""
    total = Tally()
    for number in range(first, stop):
        made = scenario(spec, number)
        try:
            tally = tally_of(number, len(made.faults), run(made, number))
        except Exception as error:
            kind = exception(error).kind
            tally = Tally(
                seeds=((number, number + 1),),
                runs=1,
                failed=1,
                faults=len(made.faults),
                violations=((kind, 1),),
                failing=((number, (kind,)),),
            )
        total = total.merge(tally)
    return total


def check_injected(
    frames: tuple[tuple[float, bytes], ...],
    *,
    profile: Profile,
    seed: int,
    config: VirtualHostConfig = CONFIG,
) -> Finding | None:
    """What is wrong with a cluster in which frames were injected at these times, in seconds."""
    nodes = _nodes(profile, config_of(config, profile))
    faults = tuple(Inject(at, "lan", frame) for at, frame in frames)
    return _finding(Scenario("injected", nodes, faults), seed)


def shrunk(scenario: Scenario, seed: int) -> tuple[Finding, Scenario] | None:
    """A finding and the smallest scenario that shows it; None if this one shows nothing."""
    found = _finding(scenario, seed)
    if found is None:
        return None

    def fails(smaller: Scenario) -> bool:
        if len(smaller.nodes) < len(ADVSKEWS):
            return False
        again = _finding(smaller, seed)
        return again is not None and again.kind == found.kind

    return found, smallest(scenario, fails)


def _finding(scenario: Scenario, seed: int) -> Finding | None:
    try:
        violations = run(scenario, seed).violations
    except ConfigError:
        raise
    except Exception as error:
        return exception(error)
    return Finding(violations[0].kind, violations[0].text) if violations else None


def _frames(spec: Spec, random: Random, authenticator: Authenticator | None) -> Iterator[bytes]:
    """Mutated frames without end, sent by somebody whose MAC is no node's."""
    for _, frame in mutations(spec.frames, random, authenticator=authenticator):
        yield frame


def _may_be_authentic(frame: bytes, authenticator: Authenticator) -> bool:
    """Whether a receiver could take it: all that counts here is the HMAC."""
    if len(frame) < HEADER:
        return False
    try:
        datagram = peel_datagram(frame)
        advertisement: Advertisement | None = None if datagram is None else decode(datagram[3])
    except DecodeError:
        return False
    if datagram is None or advertisement is None or datagram[2] != HOP_LIMIT:
        return False
    return authenticator.verify(advertisement)
