"""What a host says when it yields to another MASTER. No socket is opened here."""

from __future__ import annotations

import pytest

from carpproto.cli.run_parting import parting_words
from carpproto.core.actions import Action, AnnounceAddresses, SendAdvertisement, StateChanged
from carpproto.core.advertisement import Advertisement, encode, pseudo_header
from carpproto.core.config import VirtualHostConfig
from carpproto.core.events import (
    DatagramReceived,
    InterfaceChanged,
    State,
    StateRequested,
    TimerExpired,
)
from carpproto.core.node import Node
from carpproto.core.profile import FREEBSD, NETBSD, OPENBSD, UCARP, Profile

KERNELS = (FREEBSD, NETBSD, OPENBSD)
CONFIG = VirtualHostConfig(vhid=1, passphrase="x", addresses=["192.0.2.50", "2001:db8::50"])


def a_master(profile: Profile, number: int, advskew: int) -> tuple[Node, list[SendAdvertisement]]:
    changed = profile.replace(real_mac_answers=True, announces_to_slower=True)
    node = Node(profile=changed, counter=lambda: 7 * number)
    mac = f"52:54:00:00:00:0{number}"
    node.add_interface("em0", mac=mac, addresses=[f"192.0.2.{number}/24", f"fe80::{number}/64"])
    node.add_virtual_host("em0", CONFIG.replace(advskew=advskew))
    node.handle(InterfaceChanged("em0", True), 0.0)
    actions = node.handle(TimerExpired(), 4.5)
    assert node.virtual_host("em0", 1).state is State.MASTER
    return node, [action for action in actions if isinstance(action, SendAdvertisement)]


def hear(node: Node, sent: SendAdvertisement, now: float) -> tuple[Action, ...]:
    covered = b""
    if sent.family == 6 and node.profile.pseudo_header:
        covered = pseudo_header(sent.source, sent.destination)
    payload = encode(sent.advertisement, pseudo_header=covered)
    event = DatagramReceived("em0", sent.source, sent.destination, 255, payload)
    return node.handle(event, now)


@pytest.mark.parametrize("profile", KERNELS, ids=str)
@pytest.mark.parametrize("advskew", [100, 20])
def test_who_prevails_hears_it_and_announces_again(profile: Profile, advskew: int) -> None:
    """Also where both were as fast, and whoever hears that first yields."""
    better, of_better = a_master(profile, 1, 20)
    worse, of_worse = a_master(profile, 2, advskew)
    [change] = [a for a in hear(worse, of_better[0], 5.0) if isinstance(a, StateChanged)]
    words = parting_words(profile, change, of_worse, CONFIG)
    assert [word.family for word in words] == [4, 6]
    for word in words:
        assert (word.advertisement.advbase, word.advertisement.advskew) == (1, 21)
        heard = hear(better, word, 5.0)
        assert [type(action) for action in heard] == [AnnounceAddresses]
    counters = [action.advertisement.counter for action in of_worse]
    step = 0 if profile is OPENBSD else 1
    assert [word.advertisement.counter for word in words] == [one + step for one in counters]
    assert better.virtual_host("em0", 1).state is State.MASTER


def test_who_does_not_yield_says_nothing() -> None:
    _, sent = a_master(FREEBSD, 1, 0)
    node, _ = a_master(FREEBSD, 2, 0)
    [asked] = node.handle(StateRequested("em0", 1, State.BACKUP, 3.0), 5.0)[:1]
    assert isinstance(asked, StateChanged)
    assert parting_words(FREEBSD, asked, sent, CONFIG) == ()


def test_ucarp_has_a_farewell_of_its_own() -> None:
    _, sent = a_master(FREEBSD, 1, 0)
    node, _ = a_master(FREEBSD, 2, 100)
    [change] = [a for a in hear(node, sent[0], 5.0) if isinstance(a, StateChanged)]
    assert parting_words(UCARP, change, sent, CONFIG) == ()


def test_it_is_no_good_bye() -> None:
    _, sent = a_master(FREEBSD, 1, 0)
    node, _ = a_master(FREEBSD, 2, 100)
    [change] = [a for a in hear(node, sent[0], 5.0) if isinstance(a, StateChanged)]
    slow = change._replace(theirs=255 * 256 + 254)
    word: Advertisement = parting_words(FREEBSD, slow, sent, CONFIG)[0].advertisement
    assert (word.advbase, word.advskew) != (255, 255)
