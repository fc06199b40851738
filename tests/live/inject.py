"""Puts frames on an interface: ``python inject.py INTERFACE``, lines ``SECONDS HEX`` on stdin.

SECONDS count from the moment when standard input ends; prints the wall clock's time before the
first frame.
"""

from __future__ import annotations

import socket
import sys
import time


def main() -> None:
    lines = [line.split() for line in sys.stdin]
    frames = [(float(at), bytes.fromhex(frame)) for at, frame in lines]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind((sys.argv[1], 0))
        began = time.monotonic()
        print(time.time(), flush=True)
        for at, frame in frames:
            wait = began + at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            opened.send(frame)


if __name__ == "__main__":
    main()
