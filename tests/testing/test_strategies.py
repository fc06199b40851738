"""Strategies: what they draw is valid, and various."""

from __future__ import annotations

import runpy
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpproto import (
    FREEBSD,
    FREEBSD_10,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
    Advertisement,
    Authenticator,
    DatagramReceived,
    Node,
    PacketDropped,
    Profile,
    StateChanged,
    VirtualHostConfig,
    decode,
    encode,
    peel,
    pseudo_header,
)
from carpproto.core.frame import peel_ethernet
from carpproto.simulation.scenario import Scenario
from carpproto.testing import strategies
from carpproto.testing.mutators import Mutation
from carpproto.testing.strategies import PEERS, Step

PROFILES = [FREEBSD, FREEBSD_10, NETBSD, NETBSD_1120, OPENBSD, UCARP]
GROUP = Authenticator(vhid=7, passphrase="randompass", addresses=["192.0.2.50"])

FEW = settings(max_examples=30)

each_profile = pytest.mark.parametrize("profile", PROFILES, ids=[p.name for p in PROFILES])


def config_of(profile: Profile) -> VirtualHostConfig:
    addresses = ["192.0.2.50", "2001:db8::50"][: 1 if profile.single_address else 2]
    return VirtualHostConfig(vhid=7, passphrase="randompass", addresses=addresses, advskew=100)


def node_of(config: VirtualHostConfig, profile: Profile) -> Node:
    node = Node(profile=profile, counter=lambda: 0x123456789ABCDEF)
    node.add_interface("em0", mac="52:54:00:00:00:0a", addresses=["198.18.0.1", "fe80::1"])
    node.add_virtual_host("em0", config)
    return node


def seen(strategy: st.SearchStrategy[Any], says: Any, examples: int = 60) -> set[Any]:
    """What is said of the values that a strategy draws."""
    found = set()

    @settings(max_examples=examples)
    @given(strategy)
    def look(value: Any) -> None:
        found.add(says(value))

    look()
    return found


@given(strategies.advertisements())
def test_any_advertisement_can_be_encoded(advertisement: Advertisement) -> None:
    assert decode(encode(advertisement)) == advertisement._replace(
        checksum=int.from_bytes(encode(advertisement)[6:8], "big")
    )


@given(strategies.advertisements(GROUP))
def test_signed_ones_are_authentic(advertisement: Advertisement) -> None:
    assert GROUP.verify(advertisement)
    assert (advertisement.type, advertisement.authlen) == (1, 7)


@each_profile
def test_a_system_takes_its_configurations(profile: Profile) -> None:
    @FEW
    @given(strategies.configurations(profile))
    def takes(config: VirtualHostConfig) -> None:
        config.require(profile)
        assert config.addresses
        node_of(config, profile)

    takes()


def test_configurations_have_the_families_and_vhids_that_are_asked_for() -> None:
    any_config = strategies.configurations()
    assert seen(any_config, lambda config: config.families) == {(4,), (6,), (4, 6)}
    only = strategies.configurations(NETBSD, families=(6,), vhids=st.just(9))
    assert seen(only, lambda config: (config.families, config.vhid)) == {((6,), 9)}
    assert 0 in seen(strategies.configurations(UCARP), lambda config: config.advbase)


@each_profile
def test_a_system_takes_its_frames(profile: Profile) -> None:
    config = config_of(profile)

    @FEW
    @given(strategies.frames(config, profile))
    def takes(frame: bytes) -> None:
        packet = peel(frame)
        assert packet is not None
        node = node_of(config, profile)
        node.handle(strategies.InterfaceChanged("em0", True), 0.0)
        ends = packet.source, packet.destination
        event = DatagramReceived("em0", *ends, packet.hop_limit, packet.payload)
        actions = node.handle(event, 1.0)
        assert not [action for action in actions if isinstance(action, PacketDropped)]

    takes()


def test_frames_are_of_each_family_and_with_or_without_a_tag() -> None:
    def says(frame: bytes) -> tuple[int, bool]:
        packet = peel(frame)
        assert packet is not None
        return packet.family, bool(peel_ethernet(frame).tags)

    both = {(4, False), (4, True), (6, False), (6, True)}
    assert seen(strategies.frames(config_of(FREEBSD)), says) == both
    assert seen(strategies.frames(profile=UCARP), says) == both


def test_a_frame_to_a_unicast_peer_has_its_mac() -> None:
    config = config_of(FREEBSD).replace(peer="198.18.0.1", peer6="fe80::1")
    macs = seen(strategies.frames(config), lambda frame: peel_ethernet(frame).destination, 20)
    assert macs == {"52:54:00:00:00:01"}


def test_the_checksum_covers_the_pseudo_header_where_it_does() -> None:
    @FEW
    @given(strategies.frames(config_of(NETBSD_1120), NETBSD_1120))
    def is_covered(frame: bytes) -> None:
        packet = peel(frame)
        assert packet is not None
        six = packet.family == 6
        covered = pseudo_header(packet.source, packet.destination) if six else b""
        assert decode(packet.payload, pseudo_header=covered).vhid == 7
        assert str(packet.source) == PEERS[packet.family]

    is_covered()


@FEW
@given(strategies.mutated_frames())
def test_mutated_frames_say_what_was_changed(mutation: Mutation) -> None:
    assert mutation.what


def test_mutated_frames_are_of_the_frames_given() -> None:
    frames = strategies.frames(config_of(FREEBSD))
    authenticator = config_of(FREEBSD).authenticator(FREEBSD)
    found = seen(
        strategies.mutated_frames(frames, authenticator), lambda mutation: mutation.what, 400
    )
    assert any("signed again" in what for what in found)


@each_profile
def test_a_node_takes_every_sequence_of_events(profile: Profile) -> None:
    config = config_of(profile)
    kinds, states = set(), set()

    @settings(max_examples=40)
    @given(strategies.event_sequences(config, profile))
    def takes(steps: list[Step]) -> None:
        node, now = node_of(config, profile), 0.0
        for after, event in steps:
            now += after
            kinds.add(type(event).__name__)
            actions = node.handle(event, now)
            states.update(action.current for action in actions if isinstance(action, StateChanged))

    takes()
    assert len(states) == 3
    assert len(kinds) == 11 + 2 * (not profile.single_address)


@each_profile
def test_scenarios_can_happen_and_settle(profile: Profile) -> None:
    @settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
    @given(strategies.scenarios(profile, nodes=(2, 3), incidents=(0, 3)))
    def settle(scenario: Scenario) -> None:
        scenario.check()
        result = scenario.run(seed=1)
        assert not result.violations

    settle()


def test_scenarios_are_various() -> None:
    def says(scenario: Scenario) -> frozenset[str]:
        return frozenset(type(fault).__name__ for fault in scenario.faults)

    alone = {"Crash", "Boot", "Stall", "Resume", "Carrier", "SendErrors", "SegmentChange"}
    of_one = frozenset().union(*seen(strategies.scenarios(nodes=(1, 1)), says))
    assert of_one == alone
    of_more = frozenset().union(*seen(strategies.scenarios(), says))
    assert of_more == {*alone, "Cut", "Partition", "Heal"}


def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'carpproto\[testing\]'"):
        runpy.run_path(strategies.__file__)
