"""Notices advertisements that somebody recorded and sent again.

Must not know of states or timers, and changes nothing: it watches what a virtual host hears
and sends, and says what no honest member of the group would have sent.

How that can be known. The HMAC covers a counter, and nobody looks whether it was used before,
so a recorded advertisement stays authentic for ever, with any advbase, advskew, demote and
source. But honest counters have a pattern. A FreeBSD, NetBSD or UCarp host takes random ones
until it has heard somebody, from then on the last one heard or sent plus one; an OpenBSD host
sends the same one as long as it runs. What fits neither is suspicious.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from carpproto.core.actions import SendAdvertisement
from carpproto.core.addresses import Address, parse_address
from carpproto.core.authentication import Authenticator
from carpproto.core.config import check_range
from carpproto.core.errors import ConfigError, shown
from carpproto.core.events import AdvertisementReceived
from carpproto.core.profile import Profile, check_profile
from carpproto.core.virtual_host import (
    LATEST,
    MAX_DEMOTED_ADVSKEW,
    TICKS,
    check_advertisement,
    check_family,
    later,
)

LATE = 3.0
"""Seconds by which a member may be behind the others: two that become MASTER at once use the
same counter (freebsd/equal-start), UCarp takes up what it hears up to 1 s late
(ucarp/inject-latency), a NIC may deliver 2.5 s late (freebsd/if-down)."""

_Terms = tuple[int, int, int]  # advbase, advskew, demote
_COUNTERS = 1 << 64
_BOW_OUT = (255, 255)
_CROWD = 8  # sources of one counter that are taken for a coincidence
_NEAR = 256  # how far ahead a counter is that follows on others which got lost


class Doubt(str, Enum):
    """What is wrong with an authentic advertisement."""

    REPEATED = "repeated"
    ALTERED = "altered"
    JUMPED = "jumped"

    def __str__(self) -> str:
        return str(self.value)


class Suspicion(NamedTuple):
    """An authentic advertisement that its sender would not have sent: what is wrong, and why.

    REPEATED: its counter was used before. ALTERED: it is its sender's last one with another
    advbase, advskew or demote. JUMPED: its sender counted differently until then, and was not
    away for long enough to have been started again. ``text`` is one sentence with the numbers.
    """

    doubt: Doubt
    vhid: int
    family: int
    source: Address
    counter: int
    text: str


class _Sender:
    """What is remembered of one source address."""

    __slots__ = ("at", "counter", "counts", "shown", "stays", "terms", "varies")

    counter: int
    terms: _Terms
    at: float
    shown: set[tuple[int, int]]  # every advbase and advskew that it may send with this counter

    def __init__(self) -> None:
        self.counts = False  # it has sent one more than the last counter
        self.varies = False  # it has sent another counter without being away
        self.stays = False  # it has sent the same counter again at its interval

    def was_away(self, now: float) -> bool:
        """Whether it has been silent for so long, or said so, that it was not MASTER any more."""
        advbase, advskew = self.terms[:2]
        return (advbase, advskew) == _BOW_OUT or now - self.at > 3 * advbase + advskew / TICKS


class ReplayGuard:
    """Watches one virtual host's group for replayed advertisements.

    ``authenticator`` is the group's; make a new guard when passphrase or addresses change.
    ``profile`` is what all its members run, if that is known: where counters are not constant,
    the first repetition is suspicious already. ``memory`` is how many counters and how many
    sources are remembered, 2 or more. Raises `ConfigError` for values that cannot be used.

    Give `examine` every advertisement that the host hears, before its VirtualHost or Node gets
    it, and every one that it sends. What to do upon a suspicion is up to the caller; passing
    the advertisement on all the same is what every implementation does.

    What it cannot see: a replay under an address that has not used that counter, within
    `LATE` seconds; one of a counter that it never saw, or so long ago that it is forgotten,
    under the address of somebody who is silent; an OpenBSD host's advertisement with another
    demote byte, with advskew 240 or as a bow-out, since that host itself would send these with
    the same counter. An OpenBSD host that is given another advbase or advskew is suspected
    once. Hosts without an address of their own advertise from the virtual one, and look like
    one sender here.

    What it suspects though nobody replayed anything: an own advertisement that a switch sends
    back; and after a cut between two that both were MASTER, counters that both have used.
    """

    __slots__ = ("_authenticator", "_constant", "_memory", "_now", "_recent", "_senders", "_used")

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        profile: Profile | None = None,
        memory: int = 4096,
    ) -> None:
        if not isinstance(authenticator, Authenticator):
            raise ConfigError(f"{shown(authenticator)} is no Authenticator; give the group's")
        check_range("memory", memory, 2, 1 << 24)
        self._authenticator = authenticator
        self._constant = profile is None or check_profile(profile).counter_constant
        self._memory = memory
        self._now = -LATEST
        self._senders: dict[Address, _Sender] = {}
        self._used: dict[int, dict[Address, float]] = {}
        # What others may count on from: when, the counter, who (None: nobody honest).
        self._recent: deque[tuple[float, int, Address | None]] = deque(maxlen=memory)

    def examine(
        self, seen: AdvertisementReceived | SendAdvertisement, now: float
    ) -> Suspicion | None:
        """What is suspicious about an advertisement that was heard or sent; None: nothing.

        ``now`` is in seconds on any monotonic clock. One that is not authentic is passed over:
        the state machine refuses it. Raises `ConfigError` for the caller's mistakes.
        """
        if not isinstance(seen, (AdvertisementReceived, SendAdvertisement)):
            raise ConfigError(
                f"{shown(seen)} is neither AdvertisementReceived nor SendAdvertisement"
            )
        heard, source = seen.advertisement, parse_address(seen.source)
        check_advertisement(heard)
        check_family(seen.family, source)
        self._now = now = later(self._now, now)
        if not self._authenticator.verify(heard):
            return None
        counter, terms = heard.counter, (heard.advbase, heard.advskew, heard.demote)
        counts_on = self._counts_on(source, counter, now)
        found = self._doubt(source, counter, terms, counts_on, now)
        if found is None or found[0] is Doubt.JUMPED:
            self._remember(source, counter, terms, counts_on, now)
        honest = source if found is None else None
        self._recent.append((now, counter, honest))
        if found is None:
            return None
        return Suspicion(found[0], heard.vhid, source.version, source, counter, found[1])

    def _doubt(
        self, source: Address, counter: int, terms: _Terms, counts_on: bool, now: float
    ) -> tuple[Doubt, str] | None:
        sender = self._senders.get(source)
        users = self._used.get(counter, {})
        if sender is not None:
            if counter == sender.counter:
                return self._again(sender, source, terms, counts_on, now)
            away = now - sender.at
            if sender.stays and not sender.was_away(now):
                return Doubt.JUMPED, (
                    f"{source} sent the counter {sender.counter} again and again, and "
                    f"{away:.3f} s later {counter}"
                )
        crowded = source not in users and len(users) >= _CROWD
        if counts_on and not crowded:
            return None
        if users:
            last = max(users.values())
            if source not in users and not crowded and now - last <= LATE:
                return None
            others = ", ".join(str(user) for user in users)
            return Doubt.REPEATED, (
                f"{source} sent the counter {counter}, which {others} used {now - last:.3f} s ago"
            )
        if sender is not None and sender.counts and not sender.was_away(now):
            if any(0 < (counter - near) % _COUNTERS <= _NEAR for near in self._nearby(sender)):
                return None
            return Doubt.JUMPED, (
                f"{source} sent the counter {counter}, {now - sender.at:.3f} s after "
                f"{sender.counter}, and nobody else was near it"
            )
        return None

    def _again(
        self, sender: _Sender, source: Address, terms: _Terms, counts_on: bool, now: float
    ) -> tuple[Doubt, str] | None:
        """A sender's last counter once more.

        An OpenBSD host does that, at its interval, and one that took up late what it counts on
        from (ucarp/passfile).
        """
        advbase, advskew = terms[:2]
        away = now - sender.at
        # An OpenBSD host has one counter for both families.
        users = self._used.get(sender.counter, {})
        alone = sum(user.version == source.version for user in users) <= 1
        may_stay = self._constant and alone and not (sender.counts or sender.varies)
        if terms == sender.terms:
            half = (advbase * TICKS + advskew) / TICKS / 2
            if counts_on or (may_stay and away >= half):
                return None
            return Doubt.REPEATED, (
                f"{source} sent the counter {sender.counter} twice within {away:.3f} s"
            )
        known = (advbase, advskew) in sender.shown or (advbase, advskew) == _BOW_OUT
        demoted = advbase == sender.terms[0] and advskew == MAX_DEMOTED_ADVSKEW
        if may_stay and (known or demoted):
            return None
        sender.shown.add((advbase, advskew))
        was = f"advbase {sender.terms[0]} advskew {sender.terms[1]} demote {sender.terms[2]}"
        return Doubt.ALTERED, (
            f"{source} sent the counter {sender.counter} with {was}, and {away:.3f} s later "
            f"with advbase {advbase} advskew {advskew} demote {terms[2]}"
        )

    def _counts_on(self, source: Address, counter: int, now: float) -> bool:
        """Whether it is one more than the sender's last, or than one that it has just heard."""
        before = (counter - 1) % _COUNTERS
        sender = self._senders.get(source)
        if sender is not None and before == sender.counter:
            return True
        while self._recent and self._recent[0][0] < now - LATE:
            self._recent.popleft()
        return any(used == before and user != source for _, used, user in self._recent)

    def _nearby(self, sender: _Sender) -> Iterator[int]:
        """The sender's own last counter, and those of the others that it may have heard."""
        yield sender.counter
        for _, used, _ in self._recent:
            yield used

    def _remember(
        self, source: Address, counter: int, terms: _Terms, counts_on: bool, now: float
    ) -> None:
        sender = self._senders.pop(source, None)
        if sender is None or (sender.stays and counter != sender.counter):
            sender = _Sender()  # a new one, or one that was started again
            sender.shown = {terms[:2]}
        elif counter == sender.counter:
            sender.stays = not counts_on
        else:
            sender.shown = {terms[:2]}
            away = sender.was_away(now)  # so it may have been started again, and count no more
            sender.varies = sender.varies or not away
            sender.counts = sender.counts and not away
        sender.counts = sender.counts or counts_on
        sender.counter, sender.terms, sender.at = counter, terms, now
        self._senders[source] = sender
        users = self._used.pop(counter, {})
        users[source] = now
        self._used[counter] = users
        if len(self._senders) > self._memory:
            del self._senders[next(iter(self._senders))]
        if len(self._used) > self._memory:
            del self._used[next(iter(self._used))]

    def __repr__(self) -> str:
        return f"<ReplayGuard of vhid {self._authenticator.vhid}>"
