"""Which implementation a sender probably is, by what it puts around its advertisements.

Must not know of elections. The features are those of `carpproto.core.profile`: Ethernet source,
TOS, IPv4 id, the counter's behaviour, the IPv6 checksum; they can be forged. `Senders` takes
observations and gives a `Guess` for each source, with the reasons, and the seconds by which its
advertisements are late, which tells kernels and UCarp apart where all else is equal to the eye.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum
from statistics import median
from typing import NamedTuple

from carpproto.capture.observation import Checksum, Group, Heard
from carpproto.core.addresses import Address, virtual_mac

MAX_SENDERS = 2048
"""Sources that are looked at; `Senders.left_out` counts the advertisements of others."""

ENOUGH = 3
"""Advertisements after which an IPv4 id and a counter show what they do."""

_SHARE = 0.2  # what fewer of a sender's frames show is somebody else's, sent in its name
_SAMPLES = 512  # of spacing
_VALUES = 16  # different values of one feature that are counted
_STEP = 64  # other packets that a host may send between two advertisements
_PAIR_NANOSECONDS = 5_000_000  # IPv4 and IPv6 advertisements of one host are so close


class Kind(Enum):
    """An implementation that the wire tells from the others."""

    FREEBSD_10 = "FreeBSD 10 or earlier"
    FREEBSD = "FreeBSD 11 or later"
    NETBSD = "NetBSD before ip_carp.c 1.120"
    NETBSD_1120 = "NetBSD, ip_carp.c 1.120 or later"
    OPENBSD = "OpenBSD"
    UCARP = "UCarp"
    UCARP_FORK = "UCarp's fork 1.6.0"
    CARPPROTO = "carpproto"

    def __str__(self) -> str:
        return self.value


class Mac(Enum):
    """What the Ethernet source is."""

    VIRTUAL = "the virtual MAC"
    UCARP = "UCarp's 00:00:5e:00:00:vhid"
    OWN = "no MAC of CARP's, so the interface's own"


class Id(Enum):
    """What the IPv4 ids do."""

    ZERO = "always 0"
    COUNTING = "counts up"
    RANDOM = "random"
    FIXED = "always the same, and not 0"


class Count(Enum):
    """What the counters do."""

    CONSTANT = "always the same"
    COUNTING = "one more than the last"
    RANDOM = "random"
    MIXED = "random at first, then one more than the last"


class Guess(NamedTuple):
    """What a source probably runs.

    ``kinds`` are those that nothing speaks against, the likeliest first; none where every one
    is contradicted, as in crafted frames. ``reasons`` are in words. ``certain`` is whether there
    is one kind and enough advertisements to say so. ``late`` is the median, in seconds, by which
    an advertisement comes later than its interval says; None where there were not two in a row.
    ``spread`` is by how many intervals that varies, None with too few of them. ``frames`` are
    the first ones of it. ``twin`` is the address from which the same host advertises over the
    other family.
    """

    group: Group
    source: Address
    advertisements: int
    kinds: tuple[Kind, ...]
    reasons: tuple[str, ...]
    certain: bool
    late: float | None
    spread: float | None
    frames: tuple[int, ...]
    twin: Address | None

    def __str__(self) -> str:
        if not self.kinds:
            return "none of the known implementations"
        return " or ".join(str(kind) for kind in self.kinds)


class _Traits:
    """What was seen of one source."""

    def __init__(self) -> None:
        self.count = 0
        self.frames: list[int] = []
        self.macs: Counter[Mac] = Counter()
        self.classes: Counter[int] = Counter()
        self.checksums: Counter[Checksum] = Counter()
        self.wrong_group_mac = 0
        self.unicast = 0
        self.demoted = 0
        self.ids: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self.last_id = -1
        self.last_counter = -1
        self.last = 0
        self.late: list[float] = []
        self.interval = -1
        self.twins: Counter[Address] = Counter()


class Senders:
    """Looks at the advertisements of every source; those of a group count on from each other."""

    def __init__(self) -> None:
        self._traits: dict[tuple[Group, Address], _Traits] = {}
        self._group_counter: dict[Group, int] = {}
        self._last_v4: dict[Group, tuple[int, Address]] = {}
        self.left_out: int = 0

    def take(self, heard: Heard) -> bool:
        """Take the next advertisement. One with a wrong checksum or TTL counts, too.

        False where there is no room for its source.
        """
        key = heard.group, heard.source
        traits = self._traits.get(key)
        if traits is None:
            if len(self._traits) >= MAX_SENDERS:
                self.left_out += 1
                return False
            traits = self._traits[key] = _Traits()
        _note(traits, heard, self._group_counter.get(heard.group, -1))
        self._group_counter[heard.group] = heard.advertisement.counter
        if heard.source.version == 4:
            self._last_v4[heard.group] = heard.nanoseconds, heard.source
        else:
            at, twin = self._last_v4.get(heard.group, (0, heard.source))
            if twin != heard.source and heard.nanoseconds - at <= _PAIR_NANOSECONDS:
                _count(traits.twins, twin)
        return True

    def guesses(self) -> tuple[Guess, ...]:
        """A guess for each source, in the order in which they were first heard."""
        found = {key: _guess(*key, traits) for key, traits in self._traits.items()}
        for key, traits in self._traits.items():
            if not traits.twins:
                continue
            twin, together = traits.twins.most_common(1)[0]
            if together * 2 <= traits.count:
                continue
            other = found[key[0], twin]
            found[key] = _together(found[key], other)
            found[key[0], twin] = _together(other, found[key])
        return tuple(found.values())


def _count(counter: Counter[Address], value: Address) -> None:
    if value in counter or len(counter) < _VALUES:
        counter[value] += 1


def _note(traits: _Traits, heard: Heard, before: int) -> None:
    advertisement = heard.advertisement
    group, counter = heard.group, advertisement.counter
    traits.count += 1
    if len(traits.frames) < ENOUGH:
        traits.frames.append(heard.frame)
    if heard.source_mac is not None:
        mac = Mac.OWN
        if heard.source_mac == virtual_mac(group.vhid):
            mac = Mac.VIRTUAL
        elif heard.source_mac == f"00:00:5e:00:00:{group.vhid:02x}":
            mac = Mac.UCARP
        traits.macs[mac] += 1
    # The fork puts an IPv4 multicast MAC with the vhid around IPv6 advertisements.
    if heard.source.version == 6 and (heard.destination_mac or "").startswith("01:00:5e:"):
        traits.wrong_group_mac += 1
    traits.unicast += not heard.destination.is_multicast
    traits.classes[heard.traffic_class] += 1
    traits.checksums[heard.checksum] += 1
    traits.demoted += advertisement.demote > 0
    if traits.count > 1:
        step = (heard.identification - traits.last_id) % 0x10000
        if heard.identification == 0:
            traits.ids["zero"] += 1
        elif step == 0:
            traits.ids["same"] += 1
        else:
            traits.ids["near" if step <= _STEP else "far"] += 1
        nexts = ((traits.last_counter + 1) % (1 << 64), (before + 1) % (1 << 64))
        if counter == traits.last_counter:
            traits.counters["same"] += 1
        else:
            traits.counters["next" if counter in nexts else "jump"] += 1
        if traits.interval == advertisement.interval and len(traits.late) < _SAMPLES:
            late = (heard.nanoseconds - traits.last) / 1e9 - traits.interval / 256
            if -traits.interval / 512 < late < traits.interval / 512:
                traits.late.append(late)
    elif heard.identification == 0:
        traits.ids["zero"] += 1
    traits.last_id, traits.last_counter = heard.identification, counter
    traits.last, traits.interval = heard.nanoseconds, advertisement.interval


class _Shown(NamedTuple):
    """The traits in words of `Mac`, `Id` and `Count`; None where they could not be seen."""

    family: int
    mac: Mac | None
    classes: tuple[int, ...]
    id: Id | None
    counters: Count | None
    checksum: Checksum
    wrong_group_mac: bool
    unicast: bool


def _shown(family: int, traits: _Traits) -> _Shown:
    few = traits.count < ENOUGH
    ids, counters = traits.ids, traits.counters
    identification: Id | None
    if family == 6:
        identification = None
    elif ids["zero"] * 2 > traits.count:
        identification = Id.ZERO
    elif few:
        identification = None
    elif ids["same"] > ids["near"] + ids["far"]:
        identification = Id.FIXED
    else:
        identification = Id.COUNTING if ids["near"] > ids["far"] else Id.RANDOM
    count: Count | None
    if traits.count < 2:
        count = None
    elif counters["same"] >= counters["next"] + counters["jump"]:
        count = Count.CONSTANT
    elif counters["next"] and counters["jump"]:
        count = Count.MIXED
    else:
        count = Count.COUNTING if counters["next"] else Count.RANDOM
    mac = traits.macs.most_common(1)[0][0] if traits.macs else None
    classes = [value for value, n in traits.classes.items() if n >= _SHARE * traits.count]
    return _Shown(
        family,
        mac,
        tuple(sorted(classes)),
        identification,
        count,
        traits.checksums.most_common(1)[0][0],
        traits.wrong_group_mac * 2 > traits.count,
        traits.unicast * 2 > traits.count,
    )


_Test = Callable[[_Shown], bool]


def _old_class(shown: _Shown) -> bool:
    """IPTOS_LOWDELAY, as all but FreeBSD since 11 send it over IPv4."""
    return shown.classes == ((0x10,) if shown.family == 4 else (0,))


def _dscp(shown: _Shown) -> bool:
    """A setting, shifted by two: 0xe0 unless somebody changed net.inet.carp.dscp."""
    if any(value & 3 for value in shown.classes):
        return False
    return not _old_class(shown)


def _mac_is(*macs: Mac) -> _Test:
    """To a unicast peer kernels send from the interface's own."""
    return lambda shown: (
        shown.mac is None or shown.mac in macs or (shown.unicast and shown.mac is Mac.OWN)
    )


def _id_is(*ids: Id) -> _Test:
    return lambda shown: shown.id is None or shown.id in ids


def _plain(shown: _Shown) -> bool:
    return shown.checksum in (Checksum.PLAIN, Checksum.WRONG)


def _random_then_counting(shown: _Shown) -> bool:
    return shown.counters is not Count.CONSTANT


def _constant(shown: _Shown) -> bool:
    return shown.counters in (None, Count.CONSTANT)


_TESTS: dict[Kind, dict[int, tuple[_Test, ...]]] = {
    Kind.FREEBSD: {
        4: (_mac_is(Mac.VIRTUAL), _dscp, _id_is(Id.ZERO), _plain, _random_then_counting),
        6: (_mac_is(Mac.VIRTUAL), _dscp, _plain, _random_then_counting),
    },
    Kind.FREEBSD_10: {
        4: (_mac_is(Mac.VIRTUAL), _old_class, _id_is(Id.COUNTING), _plain, _random_then_counting),
        6: (_mac_is(Mac.VIRTUAL), _old_class, _plain, _random_then_counting),
    },
    Kind.NETBSD: {
        4: (_mac_is(Mac.VIRTUAL), _old_class, _id_is(Id.ZERO), _plain, _random_then_counting),
        6: (_mac_is(Mac.OWN), _old_class, _plain, _random_then_counting),
    },
    Kind.NETBSD_1120: {
        4: (_mac_is(Mac.OWN), _old_class, _id_is(Id.ZERO), _plain, _random_then_counting),
        6: (
            _mac_is(Mac.OWN),
            _old_class,
            lambda shown: shown.checksum is Checksum.PSEUDO_HEADER,
            _random_then_counting,
        ),
    },
    Kind.UCARP: {
        4: (_mac_is(Mac.UCARP), _old_class, _id_is(Id.RANDOM), _plain, _random_then_counting),
    },
    Kind.UCARP_FORK: {
        6: (
            _mac_is(Mac.VIRTUAL),
            _old_class,
            lambda shown: shown.checksum is Checksum.ZERO,
            _random_then_counting,
        ),
    },
    Kind.OPENBSD: {
        4: (_mac_is(Mac.VIRTUAL, Mac.OWN), _old_class, _id_is(Id.RANDOM), _plain, _constant),
        6: (_mac_is(Mac.VIRTUAL, Mac.OWN), _old_class, _plain, _constant),
    },
}
"""What nothing may speak against. FreeBSD ``carp_send_ad``, ``carp_prepare_ad``; NetBSD and
OpenBSD the same functions; UCarp ``carp_send_ad`` in ``src/carp.c``."""


def _guess(group: Group, source: Address, traits: _Traits) -> Guess:
    shown = _shown(source.version, traits)
    kinds = tuple(
        kind
        for kind, tests in _TESTS.items()
        if source.version in tests and all(test(shown) for test in tests[source.version])
    )
    if not kinds and shown.id is Id.ZERO and shown.mac is Mac.UCARP:
        kinds = (Kind.CARPPROTO,)  # as UCarp, whose ids are random
    late = median(traits.late) if traits.late else None
    return Guess(
        group,
        source,
        traits.count,
        kinds,
        _reasons(shown, traits, late),
        len(kinds) == 1 and traits.count >= ENOUGH,
        late,
        _spread(traits),
        tuple(traits.frames),
        None,
    )


def _spread(traits: _Traits) -> float | None:
    """How far the middle nine tenths of the latenesses are apart, in intervals."""
    if len(traits.late) < 2 * ENOUGH or traits.interval <= 0:
        return None
    ordered = sorted(traits.late)
    cut = len(ordered) // 20
    return (ordered[-1 - cut] - ordered[cut]) / (traits.interval / 256)


def _together(one: Guess, other: Guess) -> Guess:
    """What both families of a host say of it."""
    common = tuple(kind for kind in one.kinds if kind in other.kinds) or one.kinds
    # A NetBSD of 1.120 shows its own MAC in one family and sums up differently in the other.
    said = f"advertises together with {other.source}"
    reasons = one.reasons if said in one.reasons else (*one.reasons, said)
    certain = len(common) == 1 and one.advertisements >= ENOUGH
    return one._replace(kinds=common, certain=certain, twin=other.source, reasons=reasons)


def _reasons(shown: _Shown, traits: _Traits, late: float | None) -> tuple[str, ...]:
    said: list[str] = []
    if shown.mac is not None:
        said.append(f"Ethernet source {shown.mac.value}")
    values = ", ".join(f"0x{value:02x}" for value in shown.classes) or "varying"
    said.append(f"{'TOS' if shown.family == 4 else 'traffic class'} {values}")
    if shown.id is not None:
        said.append(f"IPv4 id {shown.id.value}")
    if shown.counters is not None:
        said.append(f"counter {shown.counters.value}")
    if shown.checksum is not Checksum.PLAIN:
        said.append(f"checksum {shown.checksum.value}")
    if shown.wrong_group_mac:
        said.append("an IPv4 multicast MAC around IPv6")
    if late is not None and late >= 0.0005:
        said.append(f"advertises {late * 1000:.0f} ms late")
    if traits.count < ENOUGH:
        said.append(f"only {traits.count} advertisement{'' if traits.count == 1 else 's'}")
    return tuple(said)
