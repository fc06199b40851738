"""docs/states.py and `transitions`: the state diagrams and tables say what the library does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random
from types import ModuleType
from xml.etree import ElementTree

import pytest

from carpproto import (
    FREEBSD,
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
    AddressAdded,
    AddressRemoved,
    Advertisement,
    AdvertisementReceived,
    ConfigError,
    DemotionAdjusted,
    Event,
    InterfaceChanged,
    LinkChanged,
    Profile,
    Reason,
    Reconfigured,
    SettingChanged,
    Shutdown,
    State,
    StateChanged,
    StateRequested,
    TimerExpired,
    VirtualHost,
    VirtualHostConfig,
    VirtualHostRemoved,
)
from carpproto.core.virtual_host import transitions

SCRIPT = Path(__file__).parent.parent / "docs" / "states.py"
PROFILES = (
    FREEBSD,
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
)
SEQUENCES, LENGTH = 200, 60

Change = tuple[State, State, Reason]


@pytest.fixture(scope="module")
def states() -> ModuleType:
    """The generator, loaded from the documentation."""
    spec = importlib.util.spec_from_file_location("states", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(states: ModuleType) -> dict[str, bytes]:
    """What the generator makes now, by path below docs/."""
    generated: dict[str, bytes] = states.generated()
    return generated


# -- the files ------------------------------------------------------------------------------


def test_the_diagrams_and_tables_in_docs_are_up_to_date(
    states: ModuleType, files: dict[str, bytes]
) -> None:
    stale = states.stale(files)
    assert not stale, f"stale in docs/: {', '.join(stale)}; run: {states.COMMAND}"


def test_there_is_a_page_and_a_diagram_for_each_system(files: dict[str, bytes]) -> None:
    diagrams = {f"states/{name}.svg" for name in ("freebsd", "netbsd", "openbsd", "ucarp")}
    assert set(files) == {"states.rst", *diagrams}
    for name in diagrams:
        assert f".. image:: {name}\n".encode() in files["states.rst"]


def test_every_profile_is_on_the_page(states: ModuleType) -> None:
    shown = {profile for system in states.SYSTEMS for profile in (system[2], *system[3])}
    assert shown == set(PROFILES)


def test_a_diagram_names_every_reason(states: ModuleType, files: dict[str, bytes]) -> None:
    for system in states.SYSTEMS:
        picture = files[f"states/{system.stem}.svg"].decode()
        lines = [part.split("</text>")[0] for part in picture.split("<text ")[1:]]
        text = " ".join(line.split(">", 1)[1] for line in lines)
        for row in transitions(system.profile).values():
            for _, reason in row.values():
                assert states.wording(system.profile, reason)[0] in text


def test_no_label_of_a_diagram_is_on_anything_else_or_cut_off(
    states: ModuleType, files: dict[str, bytes]
) -> None:
    for system in states.SYSTEMS:
        picture = ElementTree.fromstring(files[f"states/{system.stem}.svg"])
        canvas, *others = [box(element) for element in picture.iter(f"{SVG}rect")]
        others.extend(lines(picture))
        for element in picture.iter(f"{SVG}text"):
            if element.get("class") == "state":
                continue
            place = label(element, states.CHARACTER)
            assert common(place, canvas) == place, f"{system.title}: {element.text} is cut off"
            for other in others:
                assert common(place, other) is None, f"{system.title}: {element.text} is covered"
            others.append(place)


SVG = "{http://www.w3.org/2000/svg}"
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


def box(element: ElementTree.Element) -> Rectangle:
    left, top, width, height = (
        float(element.attrib[name]) for name in ("x", "y", "width", "height")
    )
    return left, top, left + width, top + height


def lines(picture: ElementTree.Element) -> Iterator[Rectangle]:
    for element in picture.iter(f"{SVG}polyline"):
        points = [pair.split(",") for pair in element.attrib["points"].split()]
        for (x, y), (to_x, to_y) in pairwise([(float(x), float(y)) for x, y in points]):
            yield min(x, to_x) - 1, min(y, to_y) - 1, max(x, to_x) + 1, max(y, to_y) + 1


def label(element: ElementTree.Element, character: float) -> Rectangle:
    """Where a text is, in a wide font of 13 pixels."""
    width, y = len(element.text or "") * character, float(element.attrib["y"])
    left = float(element.attrib["x"]) - (width if element.get("text-anchor") == "end" else 0)
    return left, y - 11, left + width, y + 3


def common(one: Rectangle, other: Rectangle) -> Rectangle | None:
    """What two rectangles have in common; None where they at most touch."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    return (left, top, right, bottom) if left < right and top < bottom else None


def test_any_process_generates_the_same_bytes(states: ModuleType, files: dict[str, bytes]) -> None:
    again: dict[str, bytes] = states.generated()
    assert list(again.items()) == list(files.items())
    code = """
import hashlib, runpy, sys
for name, content in runpy.run_path(sys.argv[1])["generated"]().items():
    print(name, hashlib.sha256(content).hexdigest())
"""
    expected = [f"{name} {sha256(content).hexdigest()}" for name, content in files.items()]
    for seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", code, str(SCRIPT)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert printed.splitlines() == expected


def test_check_names_what_is_stale_and_how_to_mend_it(
    states: ModuleType,
    files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(states, "DOCS", tmp_path)
    monkeypatch.setattr(states, "generated", lambda: files)
    assert states.main(["--check"]) == 1
    assert (
        "docs/states/ucarp.svg is stale; run: python docs/states.py\n" in capsys.readouterr().out
    )
    assert states.main([]) == 0
    assert states.main(["--check"]) == 0
    (tmp_path / "states.rst").write_text("older")
    (tmp_path / "states" / "other.svg").write_text("left over")
    assert states.main(["--check"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["docs/states.rst", "docs/states/other.svg"]
    assert states.main(["--what"]) == 2


# -- the transitions --------------------------------------------------------------------------


def a_host(profile: Profile, random: Random) -> VirtualHost:
    """One of vhid 1, with one virtual address or, where that can be, of both families."""
    addresses = ["192.0.2.50"]
    if not profile.single_address and random.random() < 0.5:
        addresses.append("2001:db8::50")
    return VirtualHost(
        VirtualHostConfig(vhid=1, addresses=addresses, advskew=100),
        profile=profile,
        interface="em0",
        addresses=["192.0.2.10", "fe80::a"],
        counter=1,
    )


def an_advertisement(host: VirtualHost, random: Random) -> Event:
    """One of a peer, mostly authentic."""
    family, source = random.choice([(4, "192.0.2.9"), (4, "192.0.2.11"), (6, "fe80::b")])
    heard = Advertisement(
        vhid=1,
        advbase=random.choice([0, 1, 1, 1, 4, 255]),
        advskew=random.choice([0, 100, 200, 255]),
        demote=random.choice([0, 0, 0, 1, 2]),
        counter=random.choice([1, 2, 3]),
    )
    if random.random() < 0.9:
        heard = host.config.authenticator(host.profile).sign(heard)
    return AdvertisementReceived("em0", family, source, heard)


def any_of(*events: Event) -> Callable[[VirtualHost, Random], Event]:
    """What chooses one of the events."""
    return lambda host, random: random.choice(events)


ADDRESSES = ("192.0.2.50", "192.0.2.51", "2001:db8::50")
EVENTS = (
    # What keeps a host going comes more often.
    *[any_of(TimerExpired())] * 8,
    *[an_advertisement] * 8,
    *[any_of(InterfaceChanged("em0", True))] * 3,
    *[any_of(LinkChanged("em0", True))] * 2,
    *[any_of(*[StateRequested("em0", 1, state) for state in (State.MASTER, State.BACKUP)])] * 2,
    *[any_of(*[AddressAdded("em0", address, 1) for address in ADDRESSES])] * 2,
    any_of(InterfaceChanged("em0", False), InterfaceChanged("em0", False, 1)),
    any_of(LinkChanged("em0", False)),
    any_of(*[SettingChanged("allow", value) for value in (0, 1, 1)]),
    any_of(*[SettingChanged("preempt", value) for value in (0, 1, 1)]),
    any_of(*[DemotionAdjusted(delta) for delta in (-240, -1, 1, 240)]),
    any_of(*[AddressRemoved("em0", address, 1) for address in ADDRESSES]),
    any_of(*[Reconfigured("em0", 1, advskew=advskew) for advskew in (0, 100, 254)]),
    any_of(*[Shutdown(bow_out) for bow_out in (None, True, False)], VirtualHostRemoved("em0", 1)),
)


def changes(profile: Profile, seed: int) -> set[Change]:
    """The changes of state in one random sequence of events."""
    random = Random(seed)
    host = a_host(profile, random)
    seen: set[Change] = set()
    now = 0.0
    for _ in range(LENGTH):
        if host.deadline is not None and random.random() < 0.5:
            now = host.deadline
        state = host.state
        try:
            actions = host.handle(random.choice(EVENTS)(host, random), now)
        except ConfigError:
            actions = ()  # a second address on UCarp
        for action in actions:
            if isinstance(action, StateChanged):
                assert action.previous is state, f"{profile.name}, seed {seed}: {action}"
                state = action.current
                seen.add((action.previous, action.current, action.reason))
        assert host.state is state, f"{profile.name}, seed {seed}: {state} without a word"
        now += random.choice([0.0, 0.1, 1.0])
    return seen


@pytest.mark.parametrize("profile", PROFILES, ids=[profile.name for profile in PROFILES])
def test_the_transitions_of_a_profile_are_those_that_its_hosts_show(profile: Profile) -> None:
    told = {
        (state, following, reason)
        for state, row in transitions(profile).items()
        for following, reason in row.values()
    }
    seen: set[Change] = set()
    for seed in range(SEQUENCES):
        found = changes(profile, seed)
        assert found <= told, f"seed {seed}: not in the table: {sorted(found - told)}"
        seen |= found
    assert seen == told, f"in {SEQUENCES} sequences never seen: {sorted(told - seen)}"
