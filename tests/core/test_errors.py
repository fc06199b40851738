"""carpproto.core.errors: one vocabulary, two errors."""

from __future__ import annotations

import json
import pickle
from operator import eq

import pytest

from carpproto.core.errors import CarpError, ConfigError, DecodeError, Reason, shown
from tests.helpers import descriptions


def test_a_reason_is_its_text() -> None:
    assert eq(Reason.BADTTL, "badttl")
    assert str(Reason.BADTTL) == "badttl"
    assert f"{Reason.MASTER_TIMED_OUT}" == "master timed out"
    assert f"{Reason.BADVHID:>8}" == " badvhid"
    assert json.dumps({"reason": Reason.BADSUM}) == '{"reason": "badsum"}'
    assert Reason("badauth") is Reason.BADAUTH
    assert "loop" in {Reason.LOOP}


def test_the_vocabulary() -> None:
    assert {reason.name: reason.value for reason in Reason} == {
        "BADIF": "badif",
        "BADTTL": "badttl",
        "HDROPS": "hdrops",
        "BADSUM": "badsum",
        "BADVER": "badver",
        "BADLEN": "badlen",
        "BADAUTH": "badauth",
        "BADVHID": "badvhid",
        "BADADDRS": "badaddrs",
        "NOTALLOWED": "notallowed",
        "LOOP": "loop",
        "TRUNCATED": "truncated",
        "MALFORMED": "malformed",
        "FRAGMENT": "fragment",
        "UNKNOWN_FORMAT": "unknown format",
        "INITIALIZATION_COMPLETE": "initialization complete",
        "MASTER_TIMED_OUT": "master timed out",
        "PREEMPTING": "preempting a slower master",
        "MASTER_WILL_TIME_OUT": "master will time out",
        "MORE_FREQUENT": "more frequent advertisement received",
        "USER_REQUESTED": "user requested via ifconfig",
        "HARDWARE_DOWN": "hardware interface down",
        "HARDWARE_UP": "hardware interface up",
        "CARRIER_LOST": "carrier lost",
        "MORE_DEMOTED": "preempting a more demoted master",
        "LESS_DEMOTED": "less demoted advertisement received",
        "SHUTDOWN": "shutdown",
        "INTERFACE_DOWN": "interface down",
        "INTERFACE_UP": "interface up",
        "SEND_ERROR": "send error",
        "SEND_OK": "send ok",
        "SYSCTL": "sysctl",
        "VHID_REMOVED": "vhid removed",
    }


def test_no_two_reasons_have_the_same_text() -> None:
    assert len({str(reason) for reason in Reason}) == len(Reason.__members__)


def test_every_counter_of_refused_packets_is_a_reason() -> None:
    names = {
        name
        for recording in descriptions("freebsd").values()
        for counters in recording["counters"].values()
        for name in counters
        if name.startswith("bad") or name == "hdrops"
    }
    assert names == {
        "badif",
        "badttl",
        "hdrops",
        "badsum",
        "badver",
        "badlen",
        "badauth",
        "badvhid",
        "badaddrs",
    }
    assert {Reason(name).value for name in names} == names


def test_every_change_of_state_that_freebsd_12_logged_has_its_words() -> None:
    words = {
        transition["reason"]
        for name, recording in descriptions("freebsd").items()
        if not name.endswith("-10-4")
        for transition in recording["transitions"]
    }
    assert words == {
        Reason.INITIALIZATION_COMPLETE,
        Reason.MASTER_TIMED_OUT,
        Reason.PREEMPTING,
        Reason.MASTER_WILL_TIME_OUT,
        Reason.MORE_FREQUENT,
        Reason.USER_REQUESTED,
        Reason.HARDWARE_DOWN,
        Reason.HARDWARE_UP,
    }


def test_a_decode_error_says_why_and_where() -> None:
    error = DecodeError(Reason.BADLEN, 35, "35 bytes, an advertisement has 36")
    assert error.reason is Reason.BADLEN
    assert error.offset == 35
    assert str(error) == "badlen at byte 35: 35 bytes, an advertisement has 36"
    assert error.args == (Reason.BADLEN, 35, "35 bytes, an advertisement has 36")


def test_a_decode_error_survives_pickling() -> None:
    error = DecodeError(Reason.TRUNCATED, 14, "the frame ends")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.offset, str(again)) == (Reason.TRUNCATED, 14, str(error))
    assert again.reason is Reason.TRUNCATED


def test_both_errors_are_carp_errors() -> None:
    with pytest.raises(CarpError):
        raise DecodeError(Reason.BADVER, 0, "version 3")
    with pytest.raises(CarpError, match=r"^vhid 0$"):
        raise ConfigError("vhid 0")


def test_a_wrong_value_is_a_value_error_and_wrong_bytes_are_not() -> None:
    assert issubclass(ConfigError, ValueError)
    assert not issubclass(DecodeError, ValueError)
    assert not issubclass(DecodeError, ConfigError)


def test_what_was_found_is_shown_however_long_it_is() -> None:
    assert shown("192.0.2.1") == "'192.0.2.1'"
    assert shown(10**5000) == "a value of type int that is too long to show"
    assert shown([10**5000]) == "a value of type list that is too long to show"
