"""The same in an event loop that may have other things to do; ends after SECONDS."""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import closing
from functools import partial

from carpproto import UCARP, Node, Shutdown, VirtualHostConfig, explain
from carpproto.adapters import interfaces, link
from carpproto.adapters.asyncio_runner import AsyncRunner
from carpproto.adapters.transport import groups_of, open_transport
from carpproto.core.actions import Action, StateChanged


def tell(action: Action, now: float) -> None:
    """Say what happens; blocking.py shows how to configure the address here, or drop it."""
    if isinstance(action, StateChanged):
        print(explain(action), flush=True)


async def main(interface: str, seconds: float) -> None:
    """Take part in CARP as a host of UCarp's kind would."""
    state = interfaces.read(interface)
    node = Node(profile=UCARP, counter=partial(secrets.randbits, 64))
    node.add_interface(interface, mac=state.mac, addresses=state.addresses)
    config = VirtualHostConfig(vhid=1, passphrase="secret", addresses=["192.0.2.50"])
    node.add_virtual_host(interface, config)
    with (
        closing(open_transport(interface, groups=groups_of(node, interface))) as transport,
        closing(link.watch([interface])) as links,
        closing(AsyncRunner(node, [transport], links=links, on_action=tell)) as runner,
    ):
        runner.start()
        taking_part = asyncio.create_task(runner.run())
        await asyncio.sleep(seconds)
        # A MASTER says goodbye, and its backup takes over at once.
        runner.handle(Shutdown(bow_out=True))
        runner.stop()
        await taking_part


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: in_asyncio.py INTERFACE SECONDS")
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
