"""The replay guard: quiet with honest groups, of every system, and not with replays."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from carpproto import (
    FREEBSD,
    OPENBSD,
    UCARP,
    Advertisement,
    AdvertisementReceived,
    Authenticator,
    ConfigError,
    DecodeError,
    InterfaceChanged,
    ReplayGuard,
    SendAdvertisement,
    TimerExpired,
    VirtualHost,
    VirtualHostConfig,
    decode,
)
from carpproto.capture.recording import Recording, load
from carpproto.core.advertisement import pseudo_header
from carpproto.core.replay_guard import LATE, Doubt, Suspicion
from tests.helpers import RECORDINGS

GROUP = Authenticator(vhid=7, passphrase="randompass", addresses=["192.0.2.50"])
A, B, X = "192.0.2.1", "192.0.2.2", "192.0.2.66"
LAST = 2**64 - 1


def heard(counter: int, source: str = A, **terms: int) -> AdvertisementReceived:
    """An authentic advertisement; ``terms`` are advbase, advskew and demote."""
    signed = GROUP.sign(Advertisement(vhid=7, counter=counter, **terms))
    return AdvertisementReceived("em0", 4, source, signed)


def guard_of(*seen: tuple[float, AdvertisementReceived], **settings) -> ReplayGuard:
    """A guard that has found nothing wrong with these."""
    guard = ReplayGuard(GROUP, **settings)
    for now, event in seen:
        assert guard.examine(event, now) is None
    return guard


def counting(source: str = A, first: int = 100, count: int = 5):
    return [(float(n), heard(first + n, source)) for n in range(count)]


# -- what honest hosts send ---------------------------------------------------------------------


def test_a_host_that_has_heard_nobody_sends_random_counters() -> None:
    guard_of(*[(float(n), heard(counter)) for n, counter in enumerate([9, 4, LAST, 1, 77])])


def test_a_host_that_has_heard_somebody_counts_and_wraps() -> None:
    guard_of(*[(float(n), heard(counter)) for n, counter in enumerate([LAST - 1, LAST, 0, 1, 2])])


def test_a_host_that_takes_over_counts_on_from_what_it_heard() -> None:
    guard_of(*counting(), (4.1, heard(105, B)), (5.1, heard(106, B)))


def test_two_that_become_master_at_once_use_the_same_counter() -> None:
    guard = guard_of(*counting(), (5.0, heard(105, A)), (5.0, heard(105, B, advskew=100)))
    assert guard.examine(heard(106, A), 6.0) is None
    assert guard.examine(heard(106, B), 6.1) is None


def test_a_host_may_be_behind_the_others_for_three_seconds() -> None:
    assert LATE == 3.0
    assert guard_of(*counting()).examine(heard(104, B), 4.0 + LATE) is None
    assert guard_of(*counting()).examine(heard(104, B), 4.0 + LATE + 0.01) is not None
    # It heard 101, at t = 1, and counts on; others have used 102 meanwhile.
    assert guard_of(*counting()).examine(heard(102, B), 1.0 + LATE) is None
    assert guard_of((0.0, heard(5, A)), (10.0, heard(9, A))).examine(heard(6, B), 10.0) is None


def test_a_host_that_goes_back_to_what_it_heard_uses_its_own_counters_again() -> None:
    guard = guard_of(*counting(count=5), (4.2, heard(102, B)), (4.3, heard(103, A)))
    assert guard.examine(heard(104, A), 5.3) is None


def test_a_host_that_takes_up_late_what_it_counts_on_from_repeats_its_counter() -> None:
    """As in ucarp/passfile: 43 was sent before the second 42 was taken up, and again after it."""
    guard = guard_of((0.0, heard(41, A)), (0.9, heard(42, B)), (0.95, heard(42, X)))
    assert guard.examine(heard(43, A), 1.0) is None
    assert guard.examine(heard(43, A), 2.0) is None
    assert guard.examine(heard(44, A), 3.0) is None
    assert guard.examine(heard(44, A), 4.0) is not None


def test_a_host_that_was_away_starts_with_another_counter() -> None:
    guard = guard_of(*counting())
    assert guard.examine(heard(9000, A), 4.0 + 3.0 + 0.01) is None


def test_a_host_that_was_started_again_sends_random_counters_until_it_has_heard_somebody() -> None:
    seen = [(float(at), heard(counter)) for at, counter in enumerate((10, 11, 12))]
    seen += [(float(at), heard(counter)) for at, counter in enumerate((7000, 500, 9000, 9001), 12)]
    guard = guard_of(*seen)
    # From then on it counts.
    assert guard.examine(heard(40), 16.5).doubt is Doubt.JUMPED


def test_a_host_that_counts_and_was_not_away_counts_on_after_a_jump() -> None:
    guard = guard_of(*counting())
    for at, counter in ((5.0, 9000), (6.0, 17)):
        assert guard.examine(heard(counter, A), at).doubt is Doubt.JUMPED


def test_an_openbsd_host_sends_the_same_counter_as_long_as_it_runs() -> None:
    guard = guard_of(*[(float(n), heard(42, demote=n % 2)) for n in range(5)])
    assert guard.examine(heard(42, advskew=240), 5.0) is None
    assert guard.examine(heard(42, advskew=0), 6.0) is None
    assert guard.examine(heard(42, advbase=255, advskew=255), 6.1) is None
    # It comes back with another one, after the master-down time of what it sent last.
    guard = guard_of(*[(float(n), heard(42)) for n in range(3)])
    assert guard.examine(heard(4711), 2.0 + 3.0 + 0.01) is None
    assert guard.examine(heard(4711), 6.1) is None


def test_both_families_of_one_host_count_together() -> None:
    guard = ReplayGuard(GROUP)
    for n in range(0, 10, 2):
        six = heard(n + 1)._replace(family=6, source="fe80::1")
        assert guard.examine(heard(n), n * 0.5) is None
        assert guard.examine(six, n * 0.5) is None


def test_what_the_host_itself_sends_is_examined_the_same_way() -> None:
    config = VirtualHostConfig(vhid=7, passphrase="randompass", addresses=["192.0.2.50"])
    host = VirtualHost(config, profile=OPENBSD, interface="em0", addresses=[A], counter=5)
    guard = ReplayGuard(config.authenticator(OPENBSD))
    actions = list(host.handle(InterfaceChanged("em0", True), 0.0))
    for _ in range(5):
        assert host.deadline is not None
        now = host.deadline
        actions = [a for a in host.handle(TimerExpired(), now) if type(a) is SendAdvertisement]
        assert len(actions) == 1
        assert guard.examine(actions[0], now) is None
    back = AdvertisementReceived("em0", 4, A, actions[0].advertisement)
    suspicion = guard.examine(back, now + 0.001)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.REPEATED


# -- what is suspicious -------------------------------------------------------------------------


def test_a_replay_with_another_advskew_is_altered() -> None:
    guard = guard_of(*counting(), (4.9, heard(105, advskew=100)))
    assert guard.examine(heard(105, advskew=0), 5.15) == Suspicion(
        Doubt.ALTERED,
        7,
        4,
        ip_address(A),
        105,
        "192.0.2.1 sent the counter 105 with advbase 1 advskew 100 demote 0, and 0.250 s later "
        "with advbase 1 advskew 0 demote 0",
    )


@pytest.mark.parametrize(
    "terms", [{"advskew": 1}, {"advbase": 2}, {"demote": 1}, {"advbase": 255, "advskew": 255}]
)
def test_any_term_may_be_altered(terms: dict[str, int]) -> None:
    suspicion = guard_of(*counting()).examine(heard(104, **terms), 4.5)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.ALTERED


def test_the_first_advertisement_altered() -> None:
    suspicion = guard_of((0.0, heard(8, advskew=100))).examine(heard(8, advskew=0), 0.5)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.ALTERED


def test_an_openbsd_advertisement_altered_is_suspected_once_for_each_value() -> None:
    steady = [(float(n), heard(42, advskew=100)) for n in range(3)]
    guard = guard_of(*steady)
    for advskew in (0, 50):
        suspicion = guard.examine(heard(42, advskew=advskew), 2.5)
        assert suspicion is not None
        assert suspicion.doubt is Doubt.ALTERED
        assert guard.examine(heard(42, advskew=advskew), 3.5) is None
        assert guard.examine(heard(42, advskew=100), 4.0) is None
    # 240 is what demotion makes of advskew, whereas advbase stays.
    assert guard.examine(heard(42, advbase=2, advskew=240), 9.0) is not None


def test_an_exact_replay_is_repeated() -> None:
    guard = guard_of(*counting())
    assert guard.examine(heard(104), 5.0) == Suspicion(
        Doubt.REPEATED,
        7,
        4,
        ip_address(A),
        104,
        "192.0.2.1 sent the counter 104 twice within 1.000 s",
    )
    assert guard.examine(heard(102), 5.5) == Suspicion(
        Doubt.REPEATED,
        7,
        4,
        ip_address(A),
        102,
        "192.0.2.1 sent the counter 102, which 192.0.2.1 used 3.500 s ago",
    )
    # The one whose address was used goes on, from its own or from the replayed one.
    assert guard.examine(heard(105), 5.6) is None
    assert guard.examine(heard(101), 5.7) is not None
    assert guard.examine(heard(102), 5.8) is None


def test_a_replay_under_another_address_is_repeated_once_the_counter_is_old() -> None:
    guard = guard_of(*counting(count=9))
    suspicion = guard.examine(heard(100, X), 8.5)
    assert suspicion is not None
    assert suspicion.text == ("192.0.2.66 sent the counter 100, which 192.0.2.1 used 8.500 s ago")
    # Within three seconds it may be another member, who took up 107 late; not for longer.
    assert guard.examine(heard(108, X), 8.6) is None
    assert guard.examine(heard(108, X), 9.6) is None
    suspicion = guard.examine(heard(108, X), 10.6)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.REPEATED


def test_many_sources_of_one_counter_are_no_coincidence() -> None:
    guard = guard_of((0.0, heard(5)), *[(0.1, heard(5, f"192.0.2.{n}")) for n in range(70, 77)])
    suspicion = guard.examine(heard(5, "192.0.2.77"), 0.2)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.REPEATED
    assert suspicion.text.startswith("192.0.2.77 sent the counter 5, which 192.0.2.1, 192.0.2.70,")
    # Not even where it counts on.
    guard = guard_of(
        (0.0, heard(4, B)),
        (0.0, heard(5)),
        *[(0.1, heard(5, f"192.0.2.{n}")) for n in range(70, 77)],
    )
    assert guard.examine(heard(5, "192.0.2.77"), 0.2) is not None


def test_twice_in_less_than_half_an_interval_is_repeated() -> None:
    once = (0.0, heard(42, advskew=128))
    assert guard_of(once).examine(heard(42, advskew=128), 0.75) is None
    suspicion = guard_of(once).examine(heard(42, advskew=128), 0.749)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.REPEATED


def test_what_two_have_used_none_of_them_repeats_at_its_interval() -> None:
    guard = guard_of((0.0, heard(42, A)), (0.1, heard(42, B)))
    assert guard.examine(heard(42, A), 4.0) is not None


def test_a_host_that_began_anew_may_change_its_demote_byte() -> None:
    guard_of((0.0, heard(9)), (4.0, heard(42)), (5.0, heard(42, demote=1)))


def test_an_openbsd_host_has_one_counter_for_both_families() -> None:
    guard = ReplayGuard(GROUP, profile=OPENBSD)
    for n in range(6):
        four, six = heard(42), heard(42)._replace(family=6, source="fe80::1")
        assert guard.examine(four, float(n)) is None
        assert guard.examine(six, float(n)) is None


def test_advertisements_may_get_lost_between() -> None:
    assert guard_of(*counting()).examine(heard(104 + 2), 6.0) is None
    assert guard_of(*counting()).examine(heard(104 + 256), 6.0) is None
    suspicion = guard_of(*counting()).examine(heard(104 + 257), 6.0)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.JUMPED
    # Counted on from what another one sent, of which the last got lost.
    guard = guard_of(*counting(), (4.5, heard(900, B)))
    assert guard.examine(heard(902), 5.0) is None
    # Back is not ahead, and the same is no jump.
    assert guard_of(*counting()).examine(heard(99), 5.0) is not None
    guard = guard_of((0.0, heard(LAST - 1)), (1.0, heard(LAST)))
    assert guard.examine(heard(1), 3.0) is None


def test_who_bowed_out_may_come_back_at_once_with_another_counter() -> None:
    bow_out = heard(42, advbase=255, advskew=255)
    guard = guard_of((0.0, heard(42)), (1.0, heard(42)), (1.5, bow_out))
    assert guard.examine(heard(77), 2.5) is None
    bow_out = heard(105, advbase=255, advskew=255)
    guard = guard_of(*counting(), (4.5, bow_out))
    assert guard.examine(heard(9000), 12.5) is None


def test_a_replay_of_one_that_has_heard_nobody_is_repeated() -> None:
    guard = guard_of((0.0, heard(9)), (1.0, heard(4)))
    suspicion = guard.examine(heard(4), 2.0)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.REPEATED


def test_three_seconds_are_enough_to_count_on_from_another() -> None:
    seen = [*counting(B, 200, 2), (1.0, heard(5, A))]
    assert guard_of(*seen).examine(heard(6, B), 1.0 + LATE) is None
    # A little later nobody is near it; B was not away for longer than its master-down time.
    seen = [*[(n * 1.0, heard(200 + n, B, advskew=9)) for n in range(2)], (1.0, heard(5, A))]
    assert guard_of(*seen).examine(heard(6, B, advskew=9), 1.0 + LATE + 0.01) is not None


def test_a_sender_that_counted_does_not_jump() -> None:
    guard = guard_of(*counting())
    assert guard.examine(heard(9000), 7.0) == Suspicion(
        Doubt.JUMPED,
        7,
        4,
        ip_address(A),
        9000,
        "192.0.2.1 sent the counter 9000, 3.000 s after 104, and nobody else was near it",
    )
    assert guard.examine(heard(9001), 8.0) is None
    assert guard.examine(heard(9000), 9.0) is not None


def test_the_silence_that_explains_a_jump_is_the_senders_own_master_down_time() -> None:
    slow = [(4.0 * n, heard(n, advbase=4, advskew=64)) for n in range(3)]
    assert guard_of(*slow).examine(heard(500, advbase=4, advskew=64), 8.0 + 12.25) is not None
    assert guard_of(*slow).examine(heard(500, advbase=4, advskew=64), 8.0 + 12.26) is None


def test_a_sender_that_stayed_does_not_begin_to_count() -> None:
    guard = guard_of(*[(float(n), heard(42)) for n in range(3)])
    assert guard.examine(heard(43), 5.0) == Suspicion(
        Doubt.JUMPED,
        7,
        4,
        ip_address(A),
        43,
        "192.0.2.1 sent the counter 42 again and again, and 3.000 s later 43",
    )


def test_where_no_counter_is_constant_the_first_repetition_is_suspicious() -> None:
    for profile in (FREEBSD, UCARP):
        guard = guard_of((0.0, heard(42)), profile=profile)
        suspicion = guard.examine(heard(42), 1.0)
        assert suspicion is not None
        assert suspicion.doubt is Doubt.REPEATED
        assert guard_of((0.0, heard(1)), profile=profile).examine(
            heard(1, advbase=255, advskew=255), 1.0
        )
    guard_of((0.0, heard(42)), (1.0, heard(42)), profile=OPENBSD)


# -- what it does not look at, remembers, and refuses -------------------------------------------


def test_one_that_is_not_authentic_is_passed_over() -> None:
    guard = guard_of(*counting())
    forged = heard(103)._replace(advertisement=Advertisement(vhid=7, counter=103))
    assert guard.examine(forged, 9.0) is None
    assert guard.examine(heard(105), 5.0) is None


def test_the_oldest_is_forgotten_beyond_the_memory() -> None:
    seen = [(float(n), heard(n * 10)) for n in range(5)]
    assert guard_of(*seen, memory=4).examine(heard(10), 9.0) is not None
    assert guard_of(*seen, memory=4).examine(heard(0), 9.0) is None
    sources = [(float(n), heard(5 - n, f"192.0.2.{n + 1}")) for n in range(3)]
    assert guard_of(*sources, memory=2).examine(heard(5), 9.0) is None
    suspicion = guard_of(*sources, memory=3).examine(heard(5, advskew=1), 9.0)
    assert suspicion is not None
    assert suspicion.doubt is Doubt.ALTERED


def test_a_sender_may_be_remembered_for_longer_than_its_counter() -> None:
    others = [(float(n), heard(10 * n, B)) for n in range(1, 4)]
    assert guard_of((0.0, heard(5)), *others, memory=2).examine(heard(5), 4.0) is None


def test_4096_are_remembered_unless_told_otherwise() -> None:
    guard = ReplayGuard(GROUP)
    for n in range(4097):
        assert guard.examine(heard(2 * n, f"10.0.{n >> 8}.{n & 255}"), float(n)) is None
    assert guard.examine(heard(0, X), 4097.0) is None
    assert guard.examine(heard(4, X), 4098.0) is not None


def test_a_time_before_the_last_one_counts_as_the_last() -> None:
    guard = guard_of((10.0, heard(1)))
    suspicion = guard.examine(heard(1), 2.0)
    assert suspicion is not None
    assert suspicion.text.endswith("twice within 0.000 s")


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match="'secret' is no Authenticator"):
        ReplayGuard("secret")
    with pytest.raises(ConfigError, match="memory 1 is out of range; it is 2 to 16777216"):
        ReplayGuard(GROUP, memory=1)
    ReplayGuard(GROUP, memory=2)
    ReplayGuard(GROUP, memory=16777216)
    with pytest.raises(ConfigError, match="memory 16777217 "):
        ReplayGuard(GROUP, memory=16777217)
    with pytest.raises(ConfigError, match="is no Profile"):
        ReplayGuard(GROUP, profile="FreeBSD")
    with pytest.raises(ConfigError, match=r"^TimerExpired\(.* neither AdvertisementReceived nor"):
        ReplayGuard(GROUP).examine(TimerExpired(), 0.0)
    with pytest.raises(ConfigError, match="is no Advertisement"):
        ReplayGuard(GROUP).examine(heard(1)._replace(advertisement=b""), 0.0)
    with pytest.raises(
        ConfigError, match=r"^family 6 does not fit the source 192\.0\.2\.1; give 4$"
    ):
        ReplayGuard(GROUP).examine(heard(1)._replace(family=6), 0.0)
    with pytest.raises(ConfigError, match="time nan is out of range"):
        ReplayGuard(GROUP).examine(heard(1), float("nan"))


def test_how_it_shows() -> None:
    assert repr(ReplayGuard(GROUP)) == "<ReplayGuard of vhid 7>"
    assert [str(doubt) for doubt in Doubt] == ["repeated", "altered", "jumped"]


# -- the recordings -----------------------------------------------------------------------------


def suspicions(
    recording: Recording, far: bool = False
) -> tuple[int, list[tuple[float, Suspicion]]]:
    """What guards with each node's configurations find in a capture, and how many they took."""
    groups: dict[tuple[str, int], tuple[str, tuple[str, ...]]] = {}
    guards: dict[tuple[str, int], ReplayGuard] = {}
    steps = [(event.t, 0, event) for event in recording.events if event.node]
    steps += [(frame.t, 1, frame) for frame in recording.frames(far=far)]
    taken, found = 0, []
    for t, is_frame, step in sorted(steps, key=lambda step: step[:2]):
        if is_frame:
            try:
                heard = decode(step.packet.payload)
            except DecodeError:
                if step.packet.source.version == 4 or step.injected:
                    continue
                covered = pseudo_header(step.packet.source, step.packet.destination)
                try:
                    heard = decode(step.packet.payload, pseudo_header=covered)
                except DecodeError:
                    continue  # the fork's, without a checksum
            packet = step.packet
            event = AdvertisementReceived("em0", packet.source.version, packet.source, heard)
            for (_, vhid), guard in guards.items():
                if vhid == heard.vhid:
                    suspicion = guard.examine(event, t + 1000.0)
                    taken += 1
                    if suspicion is not None:
                        found.append((t, suspicion))
            continue
        if step.kind == "boot":
            groups = {key: group for key, group in groups.items() if key[0] != step.node}
        vhid = step.values.get("vhid")
        if vhid is None:
            continue
        key, addresses = groups.get((step.node, vhid), ("", ()))
        if step.kind == "virtual_host":
            key = step.values["key"]
        elif step.kind == "address_added":
            addresses = (*addresses, step.values["address"])
        elif step.kind == "address_removed":
            addresses = tuple(a for a in addresses if a != step.values["address"])
        if (key, addresses) != groups.get((step.node, vhid)):
            groups[step.node, vhid] = key, addresses
            guards[step.node, vhid] = ReplayGuard(
                Authenticator(vhid=vhid, key=bytes.fromhex(key), addresses=addresses)
            )
    return taken, found


PATHS = sorted(path for path in RECORDINGS.glob("*/*.json") if path.name != "INDEX.json")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_nothing_that_healthy_groups_sent_is_suspicious(path) -> None:
    recording = load(path)
    if any(event.kind == "inject" for event in recording.events):
        assert path.stem.startswith("inject")
        return
    for far in (False, True) if recording.pcap_far else (False,):
        taken, found = suspicions(recording, far)
        assert found == []
        assert taken or path.stem in (
            "fork-v6",
            "fork-v6-noroute",
            "ipv6-only-stock",
            "daemonize",
        )


def test_the_recorded_replay_is_suspicious() -> None:
    recording = load(RECORDINGS / "ucarp" / "inject-replay.json")
    _, found = suspicions(recording)
    assert [(round(t, 2), str(suspicion.doubt), suspicion.counter) for t, suspicion in found] == [
        (10.06, "jumped", 100),
        (15.65, "repeated", 99),
    ]


def test_a_recorded_advertisement_with_another_advskew_is_suspicious() -> None:
    """Whichever of them is replayed, a second after it was sent and from the same address."""
    recording = load(RECORDINGS / "freebsd" / "failover-preempt1.json")
    key = next(event.values["key"] for event in recording.events if event.kind == "virtual_host")
    group = Authenticator(vhid=1, key=bytes.fromhex(key), addresses=["192.168.1.50"])
    frames = list(recording.frames())
    events = [
        AdvertisementReceived("em0", 4, frame.packet.source, decode(frame.packet.payload))
        for frame in frames
    ]
    assert len(events) == 22
    for count in range(1, len(events) + 1):
        guard = ReplayGuard(group)
        for frame, event in zip(frames[:count], events, strict=False):
            assert guard.examine(event, frame.t) is None
        last = events[count - 1]
        altered = last.advertisement._replace(advskew=last.advertisement.advskew ^ 1)
        suspicion = guard.examine(last._replace(advertisement=altered), frames[count - 1].t + 1)
        assert suspicion is not None
        assert suspicion.doubt is Doubt.ALTERED
