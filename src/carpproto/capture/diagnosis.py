"""What is wrong in a capture, in an operator's words, worst first, with the evidence.

Must not know of files, terminals or pictures. `Diagnosis` takes observations in the order of the
capture and judges what single frames show: refused ones, wrong HMACs, replays, clashes.
`carpproto.capture.masters` judges who was MASTER, `carpproto.capture.senders` who runs what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from carpproto.capture.address_search import LIMIT, explain_digest
from carpproto.capture.finding import EVIDENCE, Fault, Finding, Severity, Tally, worst_first
from carpproto.capture.happenings import Happening
from carpproto.capture.hearing import Ears
from carpproto.capture.masters import Circumstances, Member, about_masters
from carpproto.capture.observation import (
    CARP_MACS,
    Announced,
    Checksum,
    Group,
    Heard,
    Neighbor,
    Observation,
    Observer,
    Unreadable,
    Vrrp,
)
from carpproto.capture.senders import ENOUGH, Guess, Senders
from carpproto.capture.symptoms import (
    about_announcements,
    about_gaps,
    about_limits,
    about_senders,
)
from carpproto.capture.timeline import Lane, Timeline, TimelineBuilder
from carpproto.capture.wire_faults import (
    PSEUDO,
    SAME_SEGMENT,
    STOOD_STILL,
    VHID_0,
    about_destinations,
    about_tallies,
    about_unreadable,
    about_vrrp,
    refusal,
)
from carpproto.core.addresses import Address, AddressLike, parse_address
from carpproto.core.advertisement import Advertisement
from carpproto.core.authentication import Authenticator
from carpproto.core.errors import Reason
from carpproto.core.events import AdvertisementReceived
from carpproto.core.profile import Profile
from carpproto.core.replay_guard import Doubt, ReplayGuard

_TALLIES = 4096  # of anything, by source: what is beyond them is not told one by one
_GUARDS = 256  # groups that are watched for replays
_WELL_WATCHED = 8  # of these, how many with a long memory
_LONG, _SHORT = 2048, 64  # advertisements that a guard remembers
_STOOD_STILL = 3_000_000_000  # nanoseconds of silence after which a host works off its queue
_SEARCHES = 16  # that are made to explain wrong HMACs, each with a quarter of the usual limit


class Meant(NamedTuple):
    """What an operator says is configured: the group's secret and its virtual addresses."""

    vhid: int
    addresses: tuple[AddressLike, ...]
    passphrase: str | None = None
    key: bytes | None = None
    profile: Profile | None = None

    def __repr__(self) -> str:
        return f"Meant(vhid={self.vhid}, addresses={self.addresses}, passphrase=..., key=...)"

    def authenticator(self) -> Authenticator:
        """What verifies it; `ConfigError` for values that cannot be used."""
        return Authenticator(
            vhid=self.vhid,
            addresses=self.addresses,
            passphrase=self.passphrase,
            key=self.key,
            profile=self.profile,
        )


class Report(NamedTuple):
    """A diagnosis: findings, worst first; who probably runs what; and the timeline behind it."""

    findings: tuple[Finding, ...]
    guesses: tuple[Guess, ...]
    timeline: Timeline

    @property
    def healthy(self) -> bool:
        """Whether nothing bad was found."""
        return all(found.severity < Severity.BAD for found in self.findings)


class _OnTrust(Authenticator):
    """Takes every HMAC for right, so that a `ReplayGuard` can watch without a key."""

    __slots__ = ()

    def verify(self, advertisement: Advertisement) -> bool:
        return advertisement.vhid == self.vhid


class Diagnosis:
    """Takes an observer's observations, and says what is wrong.

    ``meant`` says which HMACs are right, for one vhid; the others remain unverified.
    """

    def __init__(self, observer: Observer, meant: Meant | None = None) -> None:
        self._observer = observer
        self._meant = meant
        self._timeline = TimelineBuilder(observer)
        self._senders = Senders()
        self._ears = Ears()
        self._guards: dict[Group, ReplayGuard] = {}
        self._tallies: dict[tuple[Fault, Member, str], Tally] = {}
        self._announced: dict[Member, set[Address]] = {}
        self._right: dict[Member, int] = {}
        self._macs: dict[Member, str] = {}  # from which TTL 255 came
        self._wrong: dict[Member, list[Advertisement]] = {}
        self._destinations: dict[Member, dict[Address, int]] = {}
        self._vrrp: dict[tuple[tuple[int, ...], int], Tally] = {}
        self._unreadable: dict[str, Tally] = {}
        self._neighbors = _Neighbors()
        self._heard_at: dict[Member, int] = {}

    def take(self, observation: Observation) -> None:
        """Take the next observation."""
        if isinstance(observation, Heard):
            self._heard(observation)
            observation = observation._replace(authentic=None)
        elif isinstance(observation, Vrrp):
            key = observation.vlans, observation.router
            if key in self._vrrp or len(self._vrrp) < _TALLIES:
                text = f"VRRP version {observation.version} from {observation.source}"
                self._vrrp.setdefault(key, Tally()).take(observation.frame, text)
        elif isinstance(observation, Unreadable):
            self._refused(observation)
        elif isinstance(observation, (Announced, Neighbor)):
            self._neighbors.take(observation)
        self._timeline.take(observation)

    def finish(self) -> Report:
        """The findings, when the observer has come to its end."""
        timeline = self._timeline.finish()
        guesses = self._senders.guesses()
        for event in timeline.events:
            if event.what is Happening.ANNOUNCED and event.source is not None:
                self._announced.setdefault((event.group, event.source), set()).update(
                    event.addresses
                )
        known = self._circumstances(guesses, timeline)
        findings = [
            *self._of_duplicates(timeline),
            *about_tallies(self._tallies, self._destinations),
            *self._of_hmacs(),
            *about_unreadable(self._unreadable),
            *about_vrrp(self._vrrp, set(timeline.groups)),
            *about_destinations(self._destinations),
            *about_announcements(timeline),
            *about_masters(timeline, known),
            *about_gaps(timeline, known.crafted | known.strange),
            *about_senders(guesses),
            *about_limits(timeline, self._observer, self._senders.left_out),
        ]
        return Report(worst_first(findings), guesses, timeline)

    # -- frame by frame ---------------------------------------------------------------------

    def _heard(self, heard: Heard) -> None:
        member = heard.group, heard.source
        if not self._senders.take(heard):
            return
        if heard.problem is not None:
            text, fault = refusal(heard)
            kind = str(heard.problem.reason)
            if fault is Fault.WRONG_TTL and self._on_this_segment(heard):
                kind = SAME_SEGMENT
            self._tally(fault, member, kind, heard.frame, text)
        elif heard.checksum is Checksum.PSEUDO_HEADER:
            self._tally(Fault.WRONG_CHECKSUM, member, PSEUDO, heard.frame, "")
        if heard.group.vhid == 0:
            self._tally(Fault.NOT_AN_ADVERTISEMENT, member, VHID_0, heard.frame, "vhid 0")
        # Two that do not accept each other are both MASTER, whosever HMAC is right.
        if heard._replace(authentic=None).counts:
            self._ears.take(heard)
        if not heard.counts:
            self._not_authentic(heard, member)
            return
        if heard.authentic:
            self._right[member] = self._right.get(member, 0) + 1
        if member in self._destinations or len(self._destinations) < _TALLIES:
            seen = self._destinations.setdefault(member, {})
            if heard.destination in seen or len(seen) < 8:
                seen[heard.destination] = heard.frame
        if heard.source_mac is not None and len(self._macs) < _TALLIES:
            self._macs.setdefault(member, heard.source_mac)
        self._watch(heard, member)

    def _on_this_segment(self, heard: Heard) -> bool:
        """Whether no router has forwarded it: that would have made the Ethernet source its own."""
        vhid = f"{heard.group.vhid:02x}"
        return heard.source_mac in (
            f"00:00:5e:00:01:{vhid}",
            f"00:00:5e:00:00:{vhid}",
            self._macs.get((heard.group, heard.source)),
        ) and (heard.source_mac is not None)

    def _not_authentic(self, heard: Heard, member: Member) -> None:
        if heard.authentic is not False or heard.problem is not None:
            return
        self._tally(Fault.WRONG_HMAC, member, "", heard.frame, "")
        if member in self._wrong or len(self._wrong) < _TALLIES:
            # The first one and the last: a passphrase may have been changed in between.
            kept = self._wrong.setdefault(member, [])
            del kept[1:]
            kept.append(heard.advertisement)

    def _watch(self, heard: Heard, member: Member) -> None:
        """Let a guard look for replays."""
        group = heard.group
        guard = self._guards.get(group)
        if guard is None:
            if len(self._guards) >= _GUARDS or group.vhid == 0:
                return
            memory = _LONG if len(self._guards) < _WELL_WATCHED else _SHORT
            guard = self._guards[group] = ReplayGuard(_OnTrust(vhid=group.vhid), memory=memory)
        seen = AdvertisementReceived("", heard.source.version, heard.source, heard.advertisement)
        found = guard.examine(seen, heard.nanoseconds / 1e9)
        silent = heard.nanoseconds - self._heard_at.get(member, heard.nanoseconds)
        self._heard_at[member] = heard.nanoseconds
        begun = heard.nanoseconds - (self._observer.first or 0)
        if found is not None and found.doubt is Doubt.JUMPED and begun < _STOOD_STILL:
            return  # what it counts on from may have been before the capture
        if found is not None:
            stood = found.doubt is Doubt.REPEATED and silent > _STOOD_STILL
            kind = STOOD_STILL if stood else found.doubt.value
            self._tally(Fault.REPLAY, member, kind, heard.frame, found.text)

    def _refused(self, seen: Unreadable) -> None:
        text = seen.problem.text
        if seen.source is None or seen.problem.reason is Reason.TRUNCATED:
            kind = str(seen.problem.reason)
            if kind in self._unreadable or len(self._unreadable) < _TALLIES:
                self._unreadable.setdefault(kind, Tally()).take(seen.frame, text)
            return
        member = Group(seen.vlans, seen.vhid or 0), seen.source
        self._tally(Fault.NOT_AN_ADVERTISEMENT, member, str(seen.problem.reason), seen.frame, text)

    def _tally(self, fault: Fault, member: Member, kind: str, frame: int, text: str) -> None:
        key = fault, member, kind
        if key in self._tallies or len(self._tallies) < _TALLIES:
            self._tallies.setdefault(key, Tally()).take(frame, text)

    # -- in the end -------------------------------------------------------------------------

    def _circumstances(self, guesses: tuple[Guess, ...], timeline: Timeline) -> Circumstances:
        authentic: dict[Member, bool] = dict.fromkeys(self._wrong, False)
        for member, count in self._right.items():
            wrong = self._tallies.get((Fault.WRONG_HMAC, member, ""))
            if wrong is None or count > wrong.count:
                authentic[member] = True
        return Circumstances(
            self._ears,
            self._announced,
            {
                (lane.group, lane.source)
                for lane in timeline.lanes
                if _of_no_host(lane.source) or self._only_repeats(lane)
            },
            {
                (guess.group, guess.source)
                for guess in guesses
                if guess.advertisements >= ENOUGH and not guess.kinds
            },
            {(group, source) for group, source, *_ in self._ears.doubled()},
            {
                member: tally.text
                for (fault, member, kind), tally in self._tallies.items()
                if fault in (Fault.WRONG_CHECKSUM, Fault.WRONG_TTL)
                and kind != PSEUDO
                and tally.count >= ENOUGH
            },
            authentic,
        )

    def _only_repeats(self, lane: Lane) -> bool:
        """Whether all that came from there was on the wire before, so that no host sends it."""
        tally = self._tallies.get((Fault.REPLAY, (lane.group, lane.source), Doubt.REPEATED.value))
        return tally is not None and tally.count >= max(lane.advertisements - 1, ENOUGH)

    def _of_duplicates(self, timeline: Timeline) -> Iterable[Finding]:
        """Own addresses that two hosts have."""
        virtual = {address for addresses in self._announced.values() for address in addresses}
        signs: dict[Address, list[tuple[str, tuple[int, ...], int]]] = {}
        for group, source, frames, count in self._ears.doubled():
            replayed = self._tallies.get((Fault.REPLAY, (group, source), Doubt.REPEATED.value))
            if replayed is None:
                # It explains the jumps, which are no replay then.
                self._tallies.pop((Fault.REPLAY, (group, source), Doubt.JUMPED.value), None)
                text = f"its advertisements of {group} come in two rows, by turns"
                signs.setdefault(source, []).append((text, frames, count))
        for source in {lane.source: None for lane in timeline.lanes}:
            found = self._neighbors.moved(source)
            if found is not None and source not in virtual:
                macs, frames, count = found
                text = f"ARP or ND has it now at one, now at the other of {' and '.join(macs)}"
                signs.setdefault(source, []).append((text, frames, count))
        for source, told in signs.items():
            yield Finding(
                Severity.BAD,
                Fault.DUPLICATE_ADDRESS,
                None,
                (source,),
                f"two hosts have the own address {source}: {'; '.join(text for text, *_ in told)}",
                "Give each host an address of its own: was one cloned from the other? (Somebody "
                "who forges, or sends again what he recorded before, looks the same.)",
                tuple(sorted(frame for _, frames, _ in told for frame in frames)[:EVIDENCE]),
                sum(count for *_, count in told),
            )

    def _of_hmacs(self) -> Iterable[Finding]:
        if self._meant is None:
            return
        candidates = {source for _, source in self._wrong} | {
            address
            for (group, _), addresses in self._announced.items()
            if group.vhid == self._meant.vhid
            for address in addresses
        }
        searches = 0
        told: list[tuple[Group, Address, Tally, tuple[str, ...]]] = []
        for (group, source), samples in self._wrong.items():
            tally = self._tallies.get((Fault.WRONG_HMAC, (group, source), ""), Tally())
            reasons: dict[str, None] = {}
            for sample in samples:
                searches += 1
                if searches <= _SEARCHES:
                    reasons.update(dict.fromkeys(self._explain(sample, candidates)))
            told.append((group, source, tally, tuple(reasons)))
        # Nobody agrees with what the command was told, and all disagree in the same way.
        suspect = len({reasons for *_, reasons in told}) == 1 and not self._right
        meant = {parse_address(address) for address in self._meant.addresses}
        for group, source, tally, reasons_of in told:
            right = self._right.get((group, source), 0)
            of = f"{tally.count} of {tally.count + right} advertisements" if right else "the HMAC"
            why = "; ".join(reasons_of) or "no near miss of passphrase or addresses explains it"
            announced = self._announced.get((group, source), set())
            if announced and not announced & meant and not reasons_of:
                change = (
                    "It announces none of these addresses, so it is of another group that has the "
                    "same vhid: give one of the groups another."
                )
            elif suspect and len(told) > 1:
                change = (
                    "All senders contradict what this command was told, and in the same way: the "
                    "passphrase or the addresses that it was given are the suspect. Compare them "
                    "first."
                )
            elif suspect:
                change = (
                    f"Nobody else advertises here, so either {source} or what this command was "
                    "told is wrong: compare its passphrase and addresses with both."
                )
            elif reasons_of:
                change = f"Make passphrase and virtual addresses of {source} those of the group."
            else:
                change = f"Compare the passphrase of {source}; its addresses, too, may be others."
            yield Finding(
                Severity.BAD,
                Fault.WRONG_HMAC,
                group,
                (source,),
                f"{of} of {source} in {group} {'do' if right else 'does'} not fit this passphrase "
                f"and these addresses: {why}",
                change,
                tuple(tally.frames),
                tally.count,
            )

    def _explain(self, sample: Advertisement, candidates: Iterable[Address]) -> Iterable[str]:
        """What a search says of a wrong HMAC."""
        assert self._meant is not None
        return (
            explanation.text
            for explanation in explain_digest(
                sample,
                passphrase=self._meant.passphrase,
                key=self._meant.key,
                addresses=self._meant.addresses,
                profile=self._meant.profile,
                candidates=tuple(candidates),
                limit=LIMIT // 4,
            )
        )


class _Neighbors:
    """Which MACs each address was seen at."""

    def __init__(self) -> None:
        self._macs: dict[Address, dict[str, int]] = {}  # the latest one last
        self._moves: dict[Address, Tally] = {}

    def take(self, seen: Announced | Neighbor) -> None:
        """Take the next ARP packet or neighbor advertisement."""
        if seen.mac.startswith(CARP_MACS):
            return
        macs = self._macs.get(seen.address)
        if macs is None:
            if len(self._macs) >= _TALLIES:
                return
            macs = self._macs[seen.address] = {}
        if seen.mac in macs and seen.mac != next(reversed(macs)):
            self._moves.setdefault(seen.address, Tally()).take(seen.frame)
            del macs[seen.mac]
        if len(macs) < 4:
            macs[seen.mac] = seen.frame

    def moved(self, address: Address) -> tuple[tuple[str, ...], tuple[int, ...], int] | None:
        """The MACs, frames and number of times of an address that came back to a MAC, or None."""
        moves = self._moves.get(address)
        if moves is None:
            return None
        return tuple(sorted(self._macs[address])), tuple(moves.frames), moves.count


def _of_no_host(source: Address) -> bool:
    """Whether no host can have this address."""
    return source.is_unspecified or source.is_multicast or source.is_loopback


def diagnose(observer: Observer, meant: Meant | None = None) -> Report:
    """Diagnose all that an observer observes; it must know the same key."""
    diagnosis = Diagnosis(observer, meant)
    for observation in observer:
        diagnosis.take(observation)
    return diagnosis.finish()


def by_vhid(meant: Meant | None) -> Mapping[int, Authenticator]:
    """What an `Observer` needs to know of it."""
    return {} if meant is None else {meant.vhid: meant.authenticator()}
