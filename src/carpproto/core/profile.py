"""How the implementations differ, as data.

Must not know of hosts, events or time. A `Profile` is a value; a field of it is one
question that the systems answer differently. To model another release, or a mixture, take the
nearest and `Profile.replace` what differs. "Files" below are ``sys/netinet/ip_carp.c`` of the
BSDs (FreeBSD 12.1 where no release is named) and ``src/carp.c`` of UCarp 1.5.2.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, cast

from carpproto.core.errors import ConfigError, Reason, shown


class DemotionStyle(Enum):
    """What a node's demotion does to what its virtual hosts advertise and compare."""

    ADDED = "added to advskew, 240 at the most"
    RAISED = "advskew is 240 while demotion is above 0"
    CARRIED = "sent beside advskew, in the demote byte"


class Tie(Enum):
    """Who stays MASTER when a MASTER hears an interval equal to its own."""

    RECEIVER_YIELDS = "the receiver becomes BACKUP"
    SOURCE_LITTLE_ENDIAN = "the lower source address stays, its last octet counting most"
    SOURCE_NUMERIC = "the lower source address stays, its first octet counting most"


class Reaction(Enum):
    """What a change of its configuration does to a virtual host that runs."""

    KEPT = "state and timers stay"
    REARMED = "the state stays, its timers start again"
    RESTARTED = "INIT, then BACKUP"


class SourceMac(Enum):
    """The Ethernet source of a multicast advertisement."""

    VIRTUAL = "00:00:5e:00:01:vhid"
    INTERFACE = "the interface's own"
    UCARP = "00:00:5e:00:00:vhid"


class Identification(Enum):
    """The IPv4 id of an advertisement."""

    ZERO = "0"
    COUNTING = "one more for each packet the host sends"
    RANDOM = "random"


_FREEBSD_CHECKS = (
    Reason.NOTALLOWED,
    Reason.BADIF,
    Reason.BADTTL,
    Reason.BADLEN,
    Reason.BADSUM,
    Reason.BADVHID,
    Reason.BADVER,
)


class Profile(NamedTuple):
    """One implementation's behaviour. The defaults are FreeBSD 12's."""

    name: str
    """The system, for people."""

    # -- the key and the message ------------------------------------------------------------

    passphrase_kept: int = 19
    """Bytes of a passphrase that reach the key. All keep 19 (``strlcpy`` into 20 bytes;
    recordings freebsd/pass20, netbsd/pass-28-ifconfig); only an ioctl can set all 20
    (freebsd/rawkey20)."""

    passphrase_too_long_refused: bool = False
    """Whether a longer passphrase is an error. UCarp: yes (``src/ucarp.c``, ``main``); the BSDs
    cut it (``ifcarp.c`` and ``ifconfig.c``, ``setcarp_passwd``)."""

    passphrase_loses_last: bool = False
    """Whether the last character never reaches the key. NetBSD: yes (``sbin/ifconfig/carp.c``,
    ``setcarp_passwd``; recording netbsd/pass-netbsd-ifconfig-quirk); the others: no."""

    passphrase_hex: bool = False
    """Whether ``0x...`` is read as hexadecimal. NetBSD: yes (``sbin/ifconfig``, where it reads
    a passphrase as it reads a network key); the others: no."""

    link_local_hashed: bool = True
    """Whether link-local virtual addresses are in the message that is sent. OpenBSD: no (HMAC
    without them, ``carp_hmac_prepare``); FreeBSD and NetBSD: yes (freebsd/dual,
    netbsd/dual-stack-linklocal-stock), and UCarp's fork 1.6.0."""

    link_local_either: bool = False
    """Whether a message with and one without them are both accepted. OpenBSD: yes
    (``carp_hmac_verify``); the others: only with them."""

    counter_constant: bool = False
    """Whether every advertisement carries the same counter, and one that carries the own is
    dropped as an echo. OpenBSD: yes (``carp_proto_input_c``). The others learn the counter that
    they hear and count on (``carp_prepare_ad``, ``carp_input_c``; freebsd/failover-preempt1,
    ucarp/inject-replay)."""

    # -- ranges -----------------------------------------------------------------------------

    advbase_minimum: int = 1
    """The least advbase, in seconds. FreeBSD 1; the others 0 (``carp_ioctl``;
    ``src/ucarp.c``; ucarp/advbase0)."""

    advbase_maximum: int = 255
    """The largest advbase, in seconds. OpenBSD 254; the others 255 (``carp_ioctl``;
    freebsd/advbase255, ucarp/base255-skew255)."""

    advskew_maximum: int = 254
    """The largest advskew, in 1/256 s. The kernels 254 (``carp_ioctl``), UCarp 255
    (ucarp/high-skew)."""

    zero_interval: bool = False
    """Whether advbase 0 with advskew 0 is taken, as 1/256 s. OpenBSD: yes (``carp_setrun``);
    the others refuse it."""

    zero_advbase_waits: bool = False
    """Whether a BACKUP of advbase 0 never takes a master for one that will time out. OpenBSD:
    yes (``carp_proto_input_c``); NetBSD and UCarp make no such exception, FreeBSD has no
    advbase 0."""

    single_address: bool = False
    """Whether a group has one virtual address only. UCarp: yes (its option ``--addr``); the
    kernels hash all that the vhid has (freebsd/multi-v4-longpass)."""

    # -- what is received -------------------------------------------------------------------

    checks: tuple[Reason, ...] = _FREEBSD_CHECKS
    """The order of the checks before the HMAC: of several faults the first one counts.
    FreeBSD and OpenBSD: ``carp_input``, ``carp6_input``, ``carp_input_c`` (freebsd/injected);
    NetBSD looks at the destination first (``carp_proto_input``); UCarp has its own order
    (``packethandler``; ucarp/inject-malformed)."""

    multicast_required: bool = False
    """Whether a unicast destination is refused (badif). NetBSD: yes (``carp_proto_input``);
    FreeBSD and OpenBSD: no (freebsd/injected). For UCarp see ``group_checked``."""

    init_refuses: bool = False
    """Whether a virtual host in INIT counts as unknown (badvhid). NetBSD and OpenBSD: yes, as
    its carp interface is not running then (``carp_proto_input_c``); the others: no."""

    peer_separates: bool = False
    """Whether an IPv4 packet that is not sent as the own ones are counts as of an unknown vhid
    (badvhid): a multicast one where there is a unicast peer, a unicast one where there is none.
    OpenBSD: yes (``carp_proto_input_c``); FreeBSD takes both (freebsd/injected)."""

    own_source_ignored: bool = False
    """Whether a packet from the own address is passed over as an echo. UCarp: yes
    (``packethandler``); a BSD takes it (freebsd/injected)."""

    group_checked: bool = False
    """Whether a packet to anything but the own group is refused (badif). UCarp: yes
    (``packethandler``; ucarp/inject-malformed); the kernels: no."""

    unicast_skips_ttl: bool = False
    """Whether the TTL of a unicast peer may be any. FreeBSD 14: yes (``carp_input``); all
    others want 255 of everybody (freebsd/injected)."""

    # -- time -------------------------------------------------------------------------------

    dead_ratio: int = 3
    """Intervals of silence after which a master is dead. 3 everywhere (``carp_setrun``); UCarp
    can set it (``-r``)."""

    master_down_multiplies_advskew: bool = False
    """Whether master-down is dead_ratio times the whole interval. OpenBSD of 2025: yes; that
    of 2015 and the others multiply advbase only and add the own, never demoted, advskew once
    (``carp_setrun``; freebsd/failover-preempt0, ucarp/failover-times)."""

    # -- elections --------------------------------------------------------------------------

    tie: Tie = Tie.RECEIVER_YIELDS
    """Who stays MASTER on equal intervals, see `Tie`. The kernels: the receiver yields
    (``carp_input_c``; freebsd/equal-start, netbsd/split-brain-equal), OpenBSD's after comparing
    demote; UCarp: the lower source address (``packethandler``; ucarp/tiebreak-octets), in the
    byte order of its machine."""

    demote_decides: bool = False
    """Whether the demote byte comes before the intervals in an election: a BACKUP takes over
    from a more demoted MASTER, a MASTER yields to a less demoted one and never to a more demoted
    one. OpenBSD: yes (``carp_proto_input_c``); the others do not look at it
    (freebsd/injected)."""

    farewell: bool = False
    """Whether a MASTER that yields to an advertisement sends one more first. UCarp: yes
    (``packethandler``; ucarp/inject-latency); not when it was asked to step down
    (ucarp/sigusr2-equal). The kernels: no."""

    # -- demotion ---------------------------------------------------------------------------

    demotion: DemotionStyle = DemotionStyle.ADDED
    """What demotion does. FreeBSD adds it (``DEMOTE_ADVSKEW``; freebsd/demotion-preempt1),
    NetBSD and UCarp raise to 240 (``carp_suppress_preempt``, netbsd/demotion-skew240;
    ucarp/send-errors-tc), OpenBSD carries it in byte 4 (``carp_send_ad``)."""

    demotion_floor: bool = True
    """Whether a negative sum stops at advskew 0. FreeBSD 14: yes (``DEMOTE_ADVSKEW``); without
    it, before PR 259528, a negative demotion could make two masters. Matters to FreeBSD only."""

    demote_raises_advskew: bool = False
    """Whether advskew is 240 too while the demote byte is not 0. OpenBSD's older releases: yes
    (``carp_send_ad`` of 2015); nobody else has both."""

    ifdown_demotion_factor: int = 240
    """Added once for each virtual host whose interface is down. FreeBSD 240
    (``carp_sc_state``; freebsd/if-down), NetBSD 240 in effect, OpenBSD 1 (``carp_carpdev_state``),
    UCarp 0: it has one interface."""

    senderr_demotion_factor: int = 240
    """Added when 3 advertisements of a virtual host in a row could not be sent. FreeBSD 240
    (``carp_send_ad_error``), NetBSD and UCarp 240 in effect (``carp_send_ad``;
    ucarp/send-errors-tc), OpenBSD 1."""

    send_error_forgotten: bool = False
    """FreeBSD 12.1's flaw in ``carp_send_ad_error``: the first success clears the count of
    errors, so that demotion stays for ever. Off, as in the others: three successes take it back
    (ucarp/send-errors-tc)."""

    demotion_end_advertised: bool = True
    """Whether masters advertise at once when demotion ends, not only when it begins. FreeBSD:
    at every change (``carp_demote_adj``; freebsd/demotion-preempt1); NetBSD, OpenBSD and UCarp:
    when it begins (netbsd/demotion-skew240; ``carp_group_demote_adj``)."""

    # -- what an operator changes -----------------------------------------------------------

    allow_stops: bool = True
    """Whether allow 0 takes virtual hosts to INIT. FreeBSD 12: yes (``carp_allow_sysctl``);
    FreeBSD 10, NetBSD and OpenBSD drop what they receive and go on sending (``carp_input``)."""

    address_removed: Reaction = Reaction.RESTARTED
    """What the removal of one of several virtual addresses does. FreeBSD restarts, as when one
    is added (freebsd/add-vip-live); NetBSD keeps all, the message of the HMAC included, until
    something else changes (netbsd/stale-hmac-79929); OpenBSD starts the timers again
    (``carp_addr_updated``)."""

    reconfigured: Reaction = Reaction.KEPT
    """What a new advbase, advskew or key does. FreeBSD keeps state and timers
    (freebsd/advbase255); NetBSD restarts, and upon any request for a state too
    (``carp_ioctl``); OpenBSD starts the timers again (``carp_ioctl``, ``carp_setrun_all``)."""

    carrier_loss_waits: bool = False
    """Whether lost carrier means BACKUP without timers instead of INIT. UCarp: yes (``docarp``;
    ucarp/carrier-loss); the kernels: INIT (freebsd/carrier-loss)."""

    # -- what is sent -----------------------------------------------------------------------

    bows_out: bool = False
    """Whether a MASTER that is taken down says so with advbase 255, advskew 255. NetBSD and
    OpenBSD: yes (``carp_send_ad``; netbsd/graceful-down-bow-out); FreeBSD and UCarp: no."""

    source_mac: tuple[SourceMac, SourceMac] = (SourceMac.VIRTUAL, SourceMac.VIRTUAL)
    """The Ethernet source of IPv4 and of IPv6 advertisements to a group: see `SourceMac`.
    NetBSD: the interface's own over IPv6 (netbsd/dual-stack-v6out), and since 1.120 over IPv4,
    too (netbsd/dual-stack-bp1120); UCarp has its own, its fork 1.6.0 the virtual one over IPv6.
    To a unicast peer it is the interface's."""

    traffic_class: tuple[int, int] | None = None
    """The TOS of IPv4 and the traffic class of IPv6. None: the setting dscp, shifted by two
    (0xe0, freebsd/dscp); FreeBSD 10, NetBSD, OpenBSD and UCarp: 0x10 and 0."""

    identification: Identification = Identification.ZERO
    """The IPv4 id. FreeBSD 12 and NetBSD 0, FreeBSD 10 counts (freebsd/single-v4,
    freebsd/single-v4-10-4), OpenBSD and UCarp random (``carp_send_ad``, ``src/carp.c``)."""

    pseudo_header: bool = False
    """Whether the checksum of IPv6 advertisements covers the pseudo-header, sent and
    received. NetBSD since 1.120: yes (``carp_send_ad``; netbsd/dual-stack-bp1120); the others:
    no (freebsd/v6only, netbsd/ipv6-only-v6out)."""

    announces_first: bool = False
    """Whether a new MASTER announces its addresses before it advertises. UCarp: yes
    (``carp_set_state``; ucarp/single-master); the kernels advertise first (freebsd/single-v4)."""

    announces_again: int | None = None
    """With which advertisement a new MASTER announces once more. OpenBSD and UCarp: 3
    (``carp_send_ad``; ucarp/single-master); FreeBSD and NetBSD never do (freebsd/single-v4)."""

    announces_again_ipv6: bool = True
    """Whether that includes IPv6 addresses. OpenBSD: no, it repeats ARPs only
    (``carp_send_ad``). Nothing to those that never repeat."""

    announces_to_slower: bool = False
    """Whether a MASTER that hears one to which it does not yield announces, now and two
    advertisements later. UCarp: yes (``packethandler``; ucarp/inject-master-worse-equal); the
    kernels: no."""

    real_mac_answers: bool = False
    """Whether virtual addresses are announced and answered for with the interface's own MAC.
    UCarp: yes, as an up script puts them on the interface (``src/garp.c``;
    ucarp/single-master); the kernels use the virtual MAC (freebsd/arp-nd-icmp-to-vip)."""

    # -- what is logged ---------------------------------------------------------------------

    words: tuple[tuple[Reason, str | None], ...] = ()
    """Reasons that this system logs in other words than FreeBSD 12's; None: without words."""

    unlogged: frozenset[Reason] = frozenset()
    """Reasons of changes of state that this system does not log."""

    def replace(self, **changes: Any) -> Profile:
        """A profile that differs in the named fields; `ConfigError` for an unknown one."""
        for name in changes:
            if name not in self._fields:
                raise ConfigError(f"a profile has no field {shown(name)}; see Profile._fields")
        return check_profile(self._replace(**changes))

    def __repr__(self) -> str:
        return f"<Profile {self.name}>"


def check_profile(profile: object) -> Profile:
    """The profile; `ConfigError` for what is none, and for a value that a field cannot have."""
    if not isinstance(profile, Profile):
        raise ConfigError(f"profile {shown(profile)} is no Profile; give FREEBSD or another")
    for name, value in profile._asdict().items():
        example = _EXAMPLES.get(name, Profile._field_defaults.get(name, ""))
        if not (_fits(name, value, example) or (value is None and name in _EXAMPLES)):
            raise ConfigError(
                f"{name} {shown(value)} does not fit; it is such as {shown(example)}"
            )
    return profile


def _fits(name: str, value: object, example: object) -> bool:
    if type(value) is not type(example):
        return False
    if isinstance(example, int):
        return 0 <= cast(int, value) <= _C_INT
    if name in _PAIRS:
        first, *more = cast(tuple[object, ...], value) or (None,)
        return len(more) == 1 and type(first) is type(more[0]) is _PAIRS[name]
    return True


_C_INT = (1 << 31) - 1

# Fields that may be None, with a value that they may have besides.
_EXAMPLES: dict[str, object] = {"traffic_class": (0x10, 0), "announces_again": 3}
_PAIRS: dict[str, type] = {"traffic_class": int, "source_mac": SourceMac}


FREEBSD = Profile("FreeBSD 12")
"""FreeBSD 12 without two flaws of 12.1: a negative demotion stops at advskew 0, and three
advertisements sent take back the demotion for those that could not be. `FREEBSD_12` has both."""

FREEBSD_12 = FREEBSD.replace(name="FreeBSD 12.1", demotion_floor=False, send_error_forgotten=True)
"""FreeBSD 12.1 to the letter: without the floor, and with the flaw in its send errors."""

FREEBSD_10 = FREEBSD_12.replace(
    name="FreeBSD 10",
    allow_stops=False,
    traffic_class=(0x10, 0),
    identification=Identification.COUNTING,
    words=(
        (Reason.MASTER_TIMED_OUT, "master down"),
        (Reason.MASTER_WILL_TIME_OUT, "master timed out"),
        (Reason.INITIALIZATION_COMPLETE, None),
    ),
    unlogged=frozenset({Reason.HARDWARE_DOWN, Reason.HARDWARE_UP, Reason.USER_REQUESTED}),
)
"""FreeBSD 10: allow only drops input, TOS 0x10, the id counts, fewer words in the log."""

FREEBSD_14 = FREEBSD.replace(name="FreeBSD 14", unicast_skips_ttl=True)
"""FreeBSD 14: unicast peers, whose TTL may be any."""

NETBSD = FREEBSD.replace(
    name="NetBSD",
    passphrase_loses_last=True,
    passphrase_hex=True,
    advbase_minimum=0,
    checks=(Reason.BADIF, *(check for check in _FREEBSD_CHECKS if check != Reason.BADIF)),
    multicast_required=True,
    init_refuses=True,
    demotion=DemotionStyle.RAISED,
    demotion_end_advertised=False,
    allow_stops=False,
    address_removed=Reaction.KEPT,
    reconfigured=Reaction.RESTARTED,
    bows_out=True,
    source_mac=(SourceMac.VIRTUAL, SourceMac.INTERFACE),
    traffic_class=(0x10, 0),
)
"""NetBSD until ip_carp.c 1.119."""

NETBSD_1120 = NETBSD.replace(
    name="NetBSD 1.120",
    pseudo_header=True,
    source_mac=(SourceMac.INTERFACE, SourceMac.INTERFACE),
)
"""NetBSD since ip_carp.c 1.120 of 2023."""

OPENBSD = FREEBSD.replace(
    name="OpenBSD",
    link_local_hashed=False,
    link_local_either=True,
    counter_constant=True,
    init_refuses=True,
    peer_separates=True,
    advbase_minimum=0,
    advbase_maximum=254,
    zero_interval=True,
    zero_advbase_waits=True,
    master_down_multiplies_advskew=True,
    demote_decides=True,
    demotion=DemotionStyle.CARRIED,
    ifdown_demotion_factor=1,
    senderr_demotion_factor=1,
    demotion_end_advertised=False,
    allow_stops=False,
    address_removed=Reaction.REARMED,
    reconfigured=Reaction.REARMED,
    bows_out=True,
    traffic_class=(0x10, 0),
    identification=Identification.RANDOM,
    announces_again=3,
    announces_again_ipv6=False,
    words=tuple((reason, None) for reason in Reason),
)
"""OpenBSD as of 2025. A node of it needs ``counter=``, a random number of its own: two with the
same one take each other for echoes."""

UCARP = FREEBSD.replace(
    name="UCarp",
    passphrase_too_long_refused=True,
    advbase_minimum=0,
    advskew_maximum=255,
    single_address=True,
    checks=(
        Reason.NOTALLOWED,
        Reason.LOOP,
        Reason.BADLEN,
        Reason.BADTTL,
        Reason.BADVER,
        Reason.BADVHID,
        Reason.BADIF,
        Reason.BADSUM,
    ),
    own_source_ignored=True,
    group_checked=True,
    tie=Tie.SOURCE_LITTLE_ENDIAN,
    farewell=True,
    demotion=DemotionStyle.RAISED,
    ifdown_demotion_factor=0,
    demotion_end_advertised=False,
    carrier_loss_waits=True,
    source_mac=(SourceMac.UCARP, SourceMac.VIRTUAL),
    traffic_class=(0x10, 0),
    identification=Identification.RANDOM,
    announces_first=True,
    announces_again=3,
    announces_to_slower=True,
    real_mac_answers=True,
    words=(
        (Reason.INITIALIZATION_COMPLETE, None),
        (Reason.MASTER_TIMED_OUT, None),
        (Reason.CARRIER_LOST, None),
        (Reason.PREEMPTING, "Putting MASTER down - preemption"),
        (Reason.MASTER_WILL_TIME_OUT, "Putting MASTER DOWN (going to time out)"),
        (Reason.MORE_FREQUENT, "Preferred master advertised: going back to BACKUP state"),
        (Reason.USER_REQUESTED, "Caught signal (USR2) considering going down"),
    ),
    unlogged=frozenset({Reason.HARDWARE_DOWN, Reason.HARDWARE_UP, Reason.SHUTDOWN}),
)
"""UCarp 1.5.2 on a little-endian machine."""
