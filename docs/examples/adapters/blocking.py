"""One virtual host on an interface that is named on the command line.

As MASTER it configures the address with ip(8), which takes root. SIGTERM and SIGINT end it.
"""

from __future__ import annotations

import secrets
import signal
import sys
from contextlib import closing
from functools import partial

from carpproto import UCARP, Node, Shutdown, State, VirtualHostConfig, explain
from carpproto.adapters import interfaces, link
from carpproto.adapters.runner import Runner
from carpproto.adapters.scripts import Result, Scripts
from carpproto.adapters.transport import groups_of, open_transport
from carpproto.core.actions import Action, StateChanged

ADDRESS = "192.0.2.50"


def report(result: Result) -> None:
    """A command ended; `Scripts.poll` calls this, and the runner calls that."""
    if result.status != 0:
        print(f"{' '.join(result.argv)}: {result.status}", file=sys.stderr, flush=True)


def follow(scripts: Scripts, interface: str, action: Action, now: float) -> None:
    """Say what happens, and have the address where the MASTER is; nothing waits for ip(8)."""
    if not isinstance(action, StateChanged):
        return
    print(explain(action), flush=True)
    if State.MASTER in (action.previous, action.current):
        verb = "replace" if action.current is State.MASTER else "delete"
        scripts.start(action.vhid, ["ip", "address", verb, f"{ADDRESS}/32", "dev", interface])


def main(interface: str) -> None:
    """Take part in CARP as a host of UCarp's kind would."""
    state = interfaces.read(interface)
    node = Node(profile=UCARP, counter=partial(secrets.randbits, 64))
    node.add_interface(interface, mac=state.mac, addresses=state.addresses)
    config = VirtualHostConfig(vhid=1, passphrase="secret", addresses=[ADDRESS])
    node.add_virtual_host(interface, config)
    scripts = Scripts(timeout=10.0, on_result=report)
    with (
        closing(open_transport(interface, groups=groups_of(node, interface))) as transport,
        closing(link.watch([interface])) as links,
        closing(
            Runner(node, [transport], links=links, on_action=partial(follow, scripts, interface))
        ) as runner,
    ):
        runner.add_reader(scripts.fileno(), scripts.poll)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runner.stop())
        runner.start()
        runner.run()
        # A MASTER says goodbye, and its backup takes over at once; then the address goes.
        runner.handle(Shutdown(bow_out=True))
        scripts.close(grace=10.0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: blocking.py INTERFACE")
    main(sys.argv[1])
