"""What the HMAC does not protect, and what the library does about secrets: docs/security.rst."""

from __future__ import annotations

import hmac
import json
import pickle

import pytest

import carpproto.cli
from carpproto import (
    FREEBSD,
    FREEBSD_14,
    NETBSD,
    OPENBSD,
    UCARP,
    Advertisement,
    AdvertisementReceived,
    Authenticator,
    CarpError,
    DatagramReceived,
    DemotionAdjusted,
    InterfaceChanged,
    Node,
    Reason,
    Reconfigured,
    ReplayGuard,
    SendAdvertisement,
    State,
    StateChanged,
    StateRequested,
    TimerExpired,
    VirtualHost,
    VirtualHostAdded,
    VirtualHostConfig,
    decode,
    encode,
    explain,
)
from tests.helpers import RECORDINGS

SECRET = "swordfish-17"
CONFIG = VirtualHostConfig(vhid=1, passphrase=SECRET, addresses=["192.0.2.50"], advskew=100)
SYSTEMS = [FREEBSD, NETBSD, OPENBSD, UCARP]


def host(profile, address: str, counter: int = 1, **changes) -> VirtualHost:
    """A BACKUP that runs from time 0."""
    config = CONFIG.replace(**changes)
    made = VirtualHost(
        config,
        profile=profile,
        interface="em0",
        mac="52:54:00:00:00:01",
        addresses=[address],
        counter=counter,
    )
    made.handle(InterfaceChanged("em0", True), 0.0)
    return made


def advertised(actions) -> list[Advertisement]:
    return [action.advertisement for action in actions if type(action) is SendAdvertisement]


def master(profile, address: str = "192.0.2.1", **settings) -> tuple[VirtualHost, Advertisement]:
    """A MASTER since its time was up, and its first advertisement."""
    made = host(profile, address, **settings)
    actions = made.handle(TimerExpired(), made.deadline)
    assert made.state is State.MASTER
    return made, advertised(actions)[0]


def over_the_wire(advertisement: Advertisement, **forged: int) -> Advertisement:
    """The advertisement as one without the key sends it again: other terms, a new checksum."""
    return decode(encode(advertisement._replace(**forged, checksum=None)))


# -- what the HMAC does not cover ---------------------------------------------------------------


@pytest.mark.parametrize("profile", SYSTEMS, ids=lambda profile: profile.name)
def test_a_master_steps_down_for_an_advertisement_that_was_altered(profile) -> None:
    _, recorded = master(profile, "192.0.2.2", counter=2)
    victim, _ = master(profile)
    forged = over_the_wire(recorded, advskew=0)
    assert CONFIG.authenticator(profile).verify(forged)
    victim.handle(AdvertisementReceived("em0", 4, "192.0.2.66", forged), 10.0)
    assert victim.state is State.BACKUP
    # Nobody refuses it however often it comes, so the address stays without a MASTER.
    for second in range(11, 31):
        victim.handle(AdvertisementReceived("em0", 4, "192.0.2.66", forged), float(second))
        victim.handle(TimerExpired(), float(second))
        assert victim.state is State.BACKUP


@pytest.mark.parametrize("profile", SYSTEMS, ids=lambda profile: profile.name)
def test_a_forged_bow_out_makes_every_backup_master(profile) -> None:
    _, recorded = master(profile, "192.0.2.2", counter=2)
    victim = host(profile, "192.0.2.1")
    forged = over_the_wire(recorded, advbase=255, advskew=255)
    victim.handle(AdvertisementReceived("em0", 4, "192.0.2.2", forged), 1.0)
    assert victim.state is State.MASTER


def test_a_forged_demote_byte_decides_on_openbsd() -> None:
    _, recorded = master(OPENBSD, "192.0.2.2", counter=2)
    victim = host(OPENBSD, "192.0.2.1")
    forged = over_the_wire(recorded, demote=255, advskew=0)
    (changed, *_) = victim.handle(AdvertisementReceived("em0", 4, "192.0.2.2", forged), 1.0)
    assert type(changed) is StateChanged
    assert changed.reason is Reason.MORE_DEMOTED
    demoted, _ = master(OPENBSD)
    demoted.handle(DemotionAdjusted(1), 5.0)
    forged = over_the_wire(recorded, demote=0, advskew=255)
    demoted.handle(AdvertisementReceived("em0", 4, "192.0.2.66", forged), 6.0)
    assert demoted.state is State.BACKUP


def test_an_own_advertisement_works_against_its_sender_except_on_openbsd() -> None:
    for profile, expected in (
        (FREEBSD, State.BACKUP),
        (NETBSD, State.BACKUP),
        (OPENBSD, State.MASTER),
    ):
        victim, own = master(profile)
        forged = over_the_wire(own, advskew=0)
        victim.handle(AdvertisementReceived("em0", 4, "192.0.2.66", forged), 6.0)
        assert victim.state is expected, profile.name


def test_counters_go_on_from_a_replayed_one() -> None:
    victim, own = master(FREEBSD, counter=7000)
    later = advertised(victim.handle(TimerExpired(), victim.deadline))[0]
    victim.handle(AdvertisementReceived("em0", 4, "192.0.2.66", own), 5.0)
    victim.handle(StateRequested("em0", 1, State.BACKUP), 5.0)
    again = advertised(victim.handle(StateRequested("em0", 1, State.MASTER), 5.0))[0]
    assert again.counter == own.counter + 1
    assert later.counter != own.counter


def test_from_beyond_a_router_only_to_a_unicast_peer_of_freebsd_14() -> None:
    _, recorded = master(FREEBSD, "192.0.2.2")
    payload = encode(recorded)
    for profile, peer, taken in (
        (FREEBSD_14, "192.0.2.2", True),
        (FREEBSD_14, None, False),
        (FREEBSD, "192.0.2.2", False),
        (OPENBSD, "192.0.2.2", False),
    ):
        node = Node(profile=profile, counter=9)
        node.add_interface("em0", mac="52:54:00:00:00:01", addresses=["192.0.2.1"])
        node.add_virtual_host("em0", CONFIG.replace(peer=peer))
        node.handle(InterfaceChanged("em0", True), 0.0)
        node.handle(DatagramReceived("em0", "203.0.113.9", "192.0.2.1", 49, payload), 1.0)
        assert node.counters.badttl == (0 if taken else 1), (profile.name, peer)


# -- what the library does ----------------------------------------------------------------------


@pytest.mark.parametrize("profile", SYSTEMS, ids=lambda profile: profile.name)
def test_digests_are_compared_in_constant_time(profile, monkeypatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return constant_time(one, other)

    constant_time = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    group = CONFIG.authenticator(profile)
    signed = group.sign(Advertisement(vhid=1, counter=5))
    assert group.verify(signed)
    assert compared == [(signed.digest, signed.digest)]
    compared.clear()
    assert not group.verify(signed._replace(digest=bytes(20)))
    assert set(compared) == {(signed.digest, bytes(20))}


def test_no_secret_shows_in_what_the_core_makes() -> None:
    node = Node(profile=FREEBSD)
    node.add_interface("em0", mac="52:54:00:00:00:01", addresses=["192.0.2.1"])
    key = CONFIG.replace(vhid=2, addresses=["192.0.2.51"], key=SECRET.encode())
    node.add_virtual_host("em0", CONFIG)
    events = [
        InterfaceChanged("em0", True),
        VirtualHostAdded("em0", key),
        Reconfigured("em0", 1, passphrase=SECRET, advskew=3),
        Reconfigured("em0", 2, key=SECRET.encode()),
    ]
    actions = [action for event in events for action in node.handle(event, 0.0)]
    for second in range(1, 9):
        actions += node.handle(TimerExpired(), float(second))
    shown = [node, *node.virtual_hosts(), node.describe(), node.counters, CONFIG, key, *events]
    shown += [CONFIG.authenticator(FREEBSD), ReplayGuard(CONFIG.authenticator(FREEBSD))]
    shown += [*actions, *(explain(action) for action in actions)]
    text = " ".join(f"{one!r} {one}" for one in shown)
    assert "192.0.2.51" in text
    for secret in (SECRET, SECRET.encode().hex(), repr(SECRET.encode())):
        assert secret not in text


def test_no_secret_shows_in_errors() -> None:
    long = SECRET * 2
    mistakes = [
        lambda: VirtualHostConfig(vhid=1, passphrase=long + "\0"),
        lambda: VirtualHostConfig(vhid=1, passphrase=long, key=b"x"),
        lambda: VirtualHostConfig(vhid=1, key=long.encode()),
        lambda: VirtualHostConfig(vhid=1, passphrase=long.encode()),
        lambda: VirtualHost(VirtualHostConfig(vhid=1, passphrase=long), profile=UCARP),
        lambda: VirtualHost(VirtualHostConfig(vhid=1, passphrase="0x" + long), profile=NETBSD),
        lambda: CONFIG.replace(passphrase=long, advbase=256),
        lambda: Node().handle(Reconfigured("em0", 1, passphrase=long), 0.0),
        lambda: Node().handle(VirtualHostAdded("em0", CONFIG.replace(passphrase=long)), 0.0),
        lambda: Authenticator(vhid=0, passphrase=long),
    ]
    for mistake in mistakes:
        with pytest.raises(CarpError) as caught:
            mistake()
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value.args)


@pytest.mark.parametrize("arguments", [[], ["--json"]])
@pytest.mark.parametrize("right", [True, False])
def test_no_secret_shows_in_what_the_commands_print(arguments, right, capsys, tmp_path) -> None:
    recording = RECORDINGS / "freebsd" / "wrong-password"
    events = json.loads(recording.with_suffix(".json").read_text())["events"]
    passphrases = [event["passphrase"] for event in events if event.get("passphrase")]
    secrets = {*passphrases, *(event["key"] for event in events if event.get("key"))}
    assert len(secrets) >= 4
    file = tmp_path / "file"
    file.write_text((passphrases[0] if right else SECRET) + "\n")
    group = ["--vhid", "1", "--address", "192.168.1.50", "--passphrase-file", str(file)]
    for command in (
        ["verify", f"{recording}.pcap", *group],
        ["replay", f"{recording}.json"],
        ["decode", f"{recording}.pcap"],
    ):
        carpproto.cli.main([*command, *arguments])
    printed = "".join(capsys.readouterr())
    assert len(printed) > 1000
    for secret in (*secrets, SECRET):
        assert secret not in printed


def test_a_pickle_keeps_the_secret_because_a_copy_has_to_authenticate() -> None:
    again = pickle.loads(pickle.dumps(CONFIG))
    signed = CONFIG.authenticator(FREEBSD).sign(Advertisement(vhid=1, counter=5))
    assert again.authenticator(FREEBSD).verify(signed)
    assert SECRET not in repr(again)
