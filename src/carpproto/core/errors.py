"""What can go wrong, and the one vocabulary for why.

`DecodeError` is for bytes that a peer sent, `ConfigError` for values that the caller gave;
the library raises nothing else on its own. `Reason` names every cause: the counters of a
node, its actions and the errors share it, so that a test, a log line and a statistic speak
of the same thing in the same word.
"""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Why a packet was refused, a state changed, or demotion moved.

    A member is also its text. Refusals are named as the counters of FreeBSD's
    ``struct carpstats`` (``sys/netinet/ip_carp.h``); changes of state and of demotion as the
    FreeBSD 12 kernel words them in its log (``sys/netinet/ip_carp.c``, the callers of
    ``carp_set_state`` and ``carp_demote_adj``).
    """

    # A packet refused, by the counter that rises.
    BADIF = "badif"
    BADTTL = "badttl"
    HDROPS = "hdrops"
    BADSUM = "badsum"
    BADVER = "badver"
    BADLEN = "badlen"
    BADAUTH = "badauth"
    BADVHID = "badvhid"
    BADADDRS = "badaddrs"
    # Refused without a counter of the kernel's own.
    NOTALLOWED = "notallowed"  # net.inet.carp.allow is 0
    LOOP = "loop"  # an own advertisement came back (OpenBSD, UCarp)
    # A frame or a file that never becomes a packet.
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    FRAGMENT = "fragment"
    UNKNOWN_FORMAT = "unknown format"
    # A change of state.
    INITIALIZATION_COMPLETE = "initialization complete"
    MASTER_TIMED_OUT = "master timed out"
    PREEMPTING = "preempting a slower master"
    MASTER_WILL_TIME_OUT = "master will time out"
    MORE_FREQUENT = "more frequent advertisement received"
    USER_REQUESTED = "user requested via ifconfig"
    HARDWARE_DOWN = "hardware interface down"
    HARDWARE_UP = "hardware interface up"
    CARRIER_LOST = "carrier lost"
    MORE_DEMOTED = "preempting a more demoted master"
    LESS_DEMOTED = "less demoted advertisement received"
    SHUTDOWN = "shutdown"
    # A change of demotion.
    INTERFACE_DOWN = "interface down"
    INTERFACE_UP = "interface up"
    SEND_ERROR = "send error"
    SEND_OK = "send ok"
    SYSCTL = "sysctl"
    VHID_REMOVED = "vhid removed"

    def __str__(self) -> str:
        return str(self.value)


def shown(value: object) -> str:
    """``repr`` for a message: a whole number of thousands of digits has none in Python."""
    try:
        return repr(value)
    except ValueError:
        return f"a value of type {type(value).__name__} that is too long to show"


class CarpError(Exception):
    """The base of both errors; catches everything that the library raises on its own."""


class DecodeError(CarpError):
    """Bytes from outside that are not what they should be.

    ``reason`` is a `Reason`; ``offset`` is where in the given bytes the fault was found,
    counted from 0.
    """

    def __init__(self, reason: Reason, offset: int, text: str) -> None:
        super().__init__(reason, offset, text)
        self.reason = reason
        self.offset = offset
        self.text = text

    def __str__(self) -> str:
        return f"{self.reason} at byte {self.offset}: {self.text}"


class ConfigError(CarpError, ValueError):
    """A value from the caller that cannot be used: says what was found and what was expected."""
