"""``carpproto demo``: what the library does, in a second, without root and without a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from carpproto.capture.packets import packets
from carpproto.capture.reader import open_capture
from carpproto.capture.recording import Recording, load
from carpproto.capture.replay import replay
from carpproto.cli import replay as replay_command
from carpproto.cli.text import print_json
from carpproto.core.actions import SendAdvertisement, StateChanged, explain
from carpproto.core.advertisement import encode
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.events import DatagramReceived, InterfaceChanged, SettingChanged, TimerExpired
from carpproto.core.node import Node
from carpproto.core.profile import FREEBSD

HELP = "verify and replay a bundled FreeBSD recording, then fail over offline"
DESCRIPTION = (
    "Verifies the advertisements of a bundled FreeBSD recording, predicts what its kernels did, "
    "and runs a failover of two nodes on a virtual clock. Needs no root and no network."
)

RECORDING = Path(__file__).parent / "recording" / "failover-preempt1.json"
_CRASH = 5.0


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    recording = load(RECORDING)
    authentic, wrong = _verify(recording)
    report = replay(recording)
    moments = _fail_over()
    if arguments.json:
        print_json({"part": "verify", "authentic": authentic, "not_authentic": wrong})
        print_json({"part": "replay", **replay_command.as_json(report)})
        print_json({"part": "failover", "transitions": [_as_json(moment) for moment in moments]})
    else:
        print("1. A FreeBSD 12.1 recording, two hosts: are its advertisements authentic?")
        print(f"  {authentic} are, {wrong} are not")
        print("\n2. The same recording: does the state machine predict what the kernels did?")
        print("\n".join(replay_command.describe(report)))
        print("\n3. Offline: A and B share 192.0.2.1, A (advskew 0) crashes at 5 s,")
        print("   B (advskew 100) takes over 3 s + 100/256 s after A's last advertisement.")
        for moment in moments:
            print(f"  {moment.t:10.6f} {moment.node}: {explain(moment.change)}")
    return 0 if report.agrees and authentic and not wrong else 1


def _verify(recording: Recording) -> tuple[int, int]:
    """How many of the recording's advertisements are authentic, and how many are not."""
    configured = next(event for event in recording.events if event.kind == "virtual_host")
    authenticator = Authenticator(
        vhid=configured.values["vhid"],
        key=bytes.fromhex(configured.values["key"]),
        addresses={
            event.values["address"]
            for event in recording.events
            if event.kind == "address_added" and event.values["vhid"] is not None
        },
        profile=FREEBSD,
    )
    with open_capture(recording.pcap) as capture:
        verdicts = [
            seen.advertisement is not None and authenticator.verify(seen.advertisement)
            for seen in packets(capture)
        ]
    return sum(verdicts), len(verdicts) - sum(verdicts)


class _Moment(NamedTuple):
    t: float
    node: str
    change: StateChanged


def _as_json(moment: _Moment) -> dict[str, Any]:
    change = moment.change
    return {
        "t": moment.t,
        "node": moment.node,
        "from": change.previous.value,
        "to": change.current.value,
        "reason": change.reason.value,
    }


def _fail_over() -> list[_Moment]:
    """Two nodes, a wire between them, and a clock that jumps from deadline to deadline."""
    nodes = {
        "A": _node("192.0.2.11", "52:54:00:00:00:0a", advskew=0),
        "B": _node("192.0.2.12", "52:54:00:00:00:0b", advskew=100),
    }
    moments: list[_Moment] = []

    def tell(name: str, event: Any, now: float) -> None:
        for action in nodes[name].handle(event, now):
            if isinstance(action, StateChanged):
                moments.append(_Moment(now, name, action))
            elif isinstance(action, SendAdvertisement):
                payload = encode(action.advertisement)
                datagram = DatagramReceived("em0", action.source, action.destination, 255, payload)
                for other in nodes.keys() - {name}:
                    tell(other, datagram, now)

    for name in nodes:
        tell(name, InterfaceChanged("em0", True), 0.0)
    now = 0.0
    while now < 12.0:
        name, now = min(
            ((name, node.deadline or 12.0) for name, node in nodes.items()), key=lambda due: due[1]
        )
        if now > _CRASH and "A" in nodes:
            del nodes["A"]
            continue
        tell(name, TimerExpired(), now)
    return moments


def _node(address: str, mac: str, *, advskew: int) -> Node:
    node = Node(profile=FREEBSD)
    node.add_interface("em0", mac=mac, addresses=[address])
    config = VirtualHostConfig(
        vhid=1, passphrase="a secret of the group", addresses=["192.0.2.1"], advskew=advskew
    )
    node.add_virtual_host("em0", config)
    node.handle(SettingChanged("preempt", 1), 0.0)
    return node
