"""One virtual host on an interface that is named on the command line; ends with SIGINT."""

from __future__ import annotations

import secrets
import sys
from contextlib import closing
from functools import partial

from carpproto import UCARP, Node, Shutdown, VirtualHostConfig, explain
from carpproto.adapters import interfaces, link
from carpproto.adapters.runner import Runner
from carpproto.adapters.transport import groups_of, open_transport
from carpproto.core.actions import Action, StateChanged


def tell(action: Action, now: float) -> None:
    """Say what happens; your program would configure the address here, or drop it."""
    if isinstance(action, StateChanged):
        print(explain(action), flush=True)


def main(interface: str) -> None:
    """Take part in CARP as a host of UCarp's kind would."""
    state = interfaces.read(interface)
    node = Node(profile=UCARP, counter=partial(secrets.randbits, 64))
    node.add_interface(interface, mac=state.mac, addresses=state.addresses)
    config = VirtualHostConfig(vhid=1, passphrase="secret", addresses=["192.0.2.50"])
    node.add_virtual_host(interface, config)
    with (
        closing(open_transport(interface, groups=groups_of(node, interface))) as transport,
        closing(link.watch([interface])) as links,
        closing(Runner(node, [transport], links=links, on_action=tell)) as runner,
    ):
        runner.start()
        try:
            runner.run()
        except KeyboardInterrupt:
            # A MASTER says goodbye, and its backup takes over at once.
            runner.handle(Shutdown(bow_out=True))


if __name__ == "__main__":
    main(sys.argv[1])
