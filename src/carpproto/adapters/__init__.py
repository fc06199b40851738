"""CARP on real interfaces: thin classes that bind a sans-IO `carpproto.core.node.Node` to sockets.

Must not decide anything of the protocol: what is sent, when, from which MAC and in which state
is the node's to say. `interfaces` tells what interfaces there are, `transport` opens a raw IP
or a packet socket on one, `link` follows its state, `runner` and `asyncio_runner` receive, hand
over, perform and wait; `scripts` runs commands beside them.
"""
