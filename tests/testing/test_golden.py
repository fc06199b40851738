"""Golden frames: as the recordings have them, and as real systems judged them."""

from __future__ import annotations

import pytest

from carpproto import (
    NETBSD,
    UCARP,
    Authenticator,
    DatagramReceived,
    DecodeError,
    InterfaceChanged,
    Node,
    PacketDropped,
    Reason,
    SourceMac,
    build,
    encode,
    gratuitous_arp,
)
from carpproto.core.addresses import virtual_mac
from carpproto.core.advertisement import pseudo_header
from carpproto.core.errors import ConfigError
from carpproto.core.frame import peel_ethernet
from carpproto.testing.golden import GoldenFrame, golden_frame, golden_frames
from tests.helpers import recorded

LABORATORY = ("freebsd/injected", "ucarp/inject-malformed")
ANNOUNCEMENTS = [golden for golden in golden_frames() if golden.name.endswith(("-arp", "-nd"))]
ADVERTISEMENTS = [golden for golden in golden_frames() if golden not in ANNOUNCEMENTS]
REFUSED = [golden for golden in ADVERTISEMENTS if golden.refused]
TAKEN = [golden for golden in ADVERTISEMENTS if not golden.refused]


def each(frames: list[GoldenFrame]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("golden", frames, ids=[golden.name for golden in frames])


def judged(golden: GoldenFrame) -> Reason | None:
    """What a node of that system says of it."""
    node = Node(profile=golden.profile)
    own = [golden.addresses[0] + 100]
    node.add_interface("em0", mac="52:54:00:00:00:0a", addresses=own)
    node.add_virtual_host("em0", golden.config)
    node.handle(InterfaceChanged("em0", True), 0.0)
    packet = golden.packet
    assert packet is not None
    ends = packet.source, packet.destination
    actions = node.handle(
        DatagramReceived("em0", *ends, packet.hop_limit, packet.payload),
        1.0,
    )
    drops = [action.reason for action in actions if isinstance(action, PacketDropped)]
    return drops[0] if drops else None


def test_there_are_frames_of_every_kind() -> None:
    assert len({golden.name for golden in golden_frames()}) == len(golden_frames())
    assert {golden.recording.partition("/")[0] for golden in golden_frames()} == {
        "freebsd",
        "netbsd",
        "ucarp",
    }
    assert {golden.profile.name for golden in golden_frames()} == {
        "FreeBSD 10",
        "FreeBSD 12.1",
        "NetBSD",
        "NetBSD 1.120",
        "UCarp",
    }
    assert (len(ANNOUNCEMENTS), len(TAKEN)) == (4, 29)
    assert {golden.refused for golden in REFUSED} == {
        *(Reason.BADTTL, Reason.BADSUM, Reason.BADVER, Reason.BADVHID, Reason.BADAUTH),
        *(Reason.BADLEN, Reason.FRAGMENT),
    }


@each(list(golden_frames()))
def test_each_is_in_its_recording(golden: GoldenFrame) -> None:
    assert recorded(golden.recording)[golden.number - 1] == golden.frame
    made = golden.recording in LABORATORY
    assert golden.what.startswith("made in the laboratory") is made


@each(TAKEN)
def test_each_that_is_taken_verifies_and_is_rebuilt(golden: GoldenFrame) -> None:
    packet, advertisement = golden.packet, golden.advertisement
    assert packet is not None
    assert advertisement is not None
    assert golden.authenticator.verify(advertisement)
    assert judged(golden) is None

    covered = b""
    if golden.profile.pseudo_header and packet.family == 6:
        covered = pseudo_header(packet.source, packet.destination)
    unsigned = advertisement._replace(digest=bytes(20))
    payload = encode(golden.authenticator.sign(unsigned), pseudo_header=covered)
    ethernet = peel_ethernet(golden.frame)
    if golden.recording not in LABORATORY and golden.name != "netbsd-ipv6":
        style = golden.profile.source_mac[packet.family == 6]
        assert (ethernet.source == virtual_mac(golden.vhid)) is (style is SourceMac.VIRTUAL)
    rebuilt = build(
        payload + packet.payload[36:],
        source=packet.source,
        destination=packet.destination,
        source_mac=ethernet.source,
        destination_mac=ethernet.destination,
        tags=ethernet.tags,
        traffic_class=packet.traffic_class,
        identification=packet.identification or 0,
        dont_fragment=packet.dont_fragment,
    )
    assert rebuilt == golden.frame


@each([golden for golden in golden_frames() if golden.passphrase is not None])
def test_the_key_is_what_that_systems_tools_made_of_the_passphrase(golden: GoldenFrame) -> None:
    # The laboratory set NetBSD's keys itself, but for the one typed into NetBSD's ifconfig.
    typed = golden.profile.replace(passphrase_loses_last="loses-last" in golden.name)
    made = Authenticator(vhid=1, passphrase=golden.passphrase, profile=typed)
    assert made.digest(0) == Authenticator(vhid=1, key=golden.key).digest(0)


@each([golden for golden in REFUSED if golden.refused is not Reason.FRAGMENT])
def test_each_that_is_refused_is_refused_for_its_reason(golden: GoldenFrame) -> None:
    assert judged(golden) is golden.refused
    if golden.refused in (Reason.BADLEN, Reason.BADSUM, Reason.BADVER):
        with pytest.raises(DecodeError) as caught:
            _ = golden.advertisement
        assert caught.value.reason is golden.refused


def test_the_fragment_is_no_packet() -> None:
    with pytest.raises(DecodeError) as caught:
        _ = golden_frame("fragment").packet
    assert caught.value.reason is Reason.FRAGMENT


@each(ANNOUNCEMENTS)
def test_an_announcement_is_no_advertisement(golden: GoldenFrame) -> None:
    assert (golden.packet, golden.advertisement, golden.refused) == (None, None, None)
    if golden.name.endswith("-arp"):
        own = peel_ethernet(golden.frame).source
        is_ucarp = golden.profile is UCARP
        made = gratuitous_arp(
            golden.addresses[0],
            mac=own if is_ucarp else virtual_mac(golden.vhid),
            source_mac=own,
            target_mac=own if is_ucarp else "00:00:00:00:00:00",
        )
        assert made == golden.frame


def test_they_are_immutable_and_found_by_name() -> None:
    golden = golden_frame("netbsd-bow-out")
    assert golden.profile is NETBSD
    assert golden.advertisement is not None
    assert golden.advertisement.interval == 255 * 256 + 255
    with pytest.raises(AttributeError):
        golden.frame = b""  # type: ignore[misc]
    assert golden_frames() is golden_frames()
    with pytest.raises(ConfigError, match="there is no golden frame 'x'; there are: freebsd-12"):
        golden_frame("x")
