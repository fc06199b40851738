"""The address search: which list of virtual addresses, or which near miss, explains a digest.

Must not know of capture files. "Incorrect hash" in a system's log says only that two hosts do not
hash the same; the digest of an advertisement says more, once somebody tries what the other host
may have hashed. The message is that of `carpproto.core.authentication`: the addresses in canonical
order. So subsets are walked in that order, depth first, and those that begin alike share one
prepared SHA-1: a combination costs two copies, two short updates and two digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, zip_longest
from typing import NamedTuple, Protocol

from carpproto.capture.near_misses import (
    KeyVariant,
    is_link_local,
    key_variants,
    neighbours,
    passphrase_variants,
    replacements,
    with_scope,
)
from carpproto.core.addresses import (
    Address,
    AddressLike,
    canonical_order,
    parse_address,
    parse_mac,
)
from carpproto.core.advertisement import Advertisement
from carpproto.core.authentication import AuthenticationRules, key_from_bytes
from carpproto.core.errors import ConfigError
from carpproto.core.profile import FREEBSD

LIMIT = 5 << 18
"""Combinations that a search tries at the most, unless told otherwise: 1.3 million, two seconds.
All subsets of 20 addresses are 1.05 million."""

_TAIL = 8  # the last addresses, whose 2**8 subsets are put together once and for all
_SCOPES = 16  # interface indices that are tried as an embedded scope


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> _Hash: ...


class Explanation(NamedTuple):
    """What makes a digest that of an advertisement.

    ``text`` says it in an operator's words, without a passphrase. ``addresses`` are those that the
    other host hashes; ``missing`` and ``extra`` what it lacks of those meant, and has besides.
    ``passphrase_differs`` says whether the passphrase is another than meant. All are empty, and
    ``text`` is "the digest is right", where nothing is wrong.
    """

    text: str
    addresses: tuple[Address, ...]
    missing: tuple[Address, ...] = ()
    extra: tuple[Address, ...] = ()
    passphrase_differs: bool = False


class _Guess(NamedTuple):
    """What may have been hashed before the counter, and the words for it."""

    body: bytes
    text: str
    addresses: tuple[Address, ...]


def explain_digest(
    advertisement: Advertisement,
    *,
    passphrase: str | None = None,
    key: bytes | None = None,
    addresses: Iterable[AddressLike],
    profile: AuthenticationRules | None = None,
    candidates: Iterable[AddressLike] = (),
    macs: Iterable[str] = (),
    limit: int = LIMIT,
) -> tuple[Explanation, ...]:
    """What the sender of an advertisement must have hashed; nothing if that was not found.

    ``passphrase`` or ``key`` and ``addresses`` are what is meant, ``profile`` whose tools made the
    key of the passphrase (FreeBSD's unless told). ``candidates`` are further addresses that the
    sender may have as virtual ones: seen in its advertisements and announcements, its own,
    link-local ones. ``macs`` are those that an OpenBSD carp interface may have been given by hand.

    Tried are, in this order: what is meant; each near miss of the passphrase with each address
    left out, alone or added; single wrong bytes in an address, neighbours of an address, another
    vhid, other orders; every subset of addresses and candidates; every subset with every near
    miss. It ends with the first find or after ``limit`` combinations. Of more addresses than
    their subsets fit in ``limit`` those that differ by few are tried. Raises `ConfigError` for
    values that cannot be used.
    """
    rules = FREEBSD if profile is None else profile
    if key is not None:
        if passphrase is not None:
            raise ConfigError("both a passphrase and a key were given; give one of them")
        keys = key_variants(key_from_bytes(key))
    else:
        keys = passphrase_variants("" if passphrase is None else passphrase, rules)
    given = tuple(addresses) if not isinstance(addresses, (str, bytes)) else (addresses,)
    meant = canonical_order(given)
    hashed = meant
    if not rules.link_local_hashed:
        hashed = tuple(address for address in meant if not is_link_local(address.packed))
    search = _Search(advertisement, meant, hashed, limit)
    unsorted = tuple(parse_address(address) for address in given)
    others = canonical_order(candidates)
    pool = canonical_order((*meant, *others))
    found = (
        search.first(keys[:1], search.exact())
        or search.first(keys, search.near(pool))
        or search.first(keys[:1], search.far(unsorted, pool, macs))
        or search.subsets(keys, pool)
    )
    return (found,) if found else ()


class _Search:
    """One search: the digest that is looked for, what is meant, and how much is left to try."""

    def __init__(
        self,
        advertisement: Advertisement,
        meant: tuple[Address, ...],
        hashed: tuple[Address, ...],
        limit: int,
    ) -> None:
        self.wanted = advertisement.digest
        self.counter = advertisement.counter.to_bytes(8, "big")
        self.vhid = advertisement.vhid
        self.start = bytes((2, 1, self.vhid))
        self.meant = meant
        self.hashed = hashed
        self.left = limit

    # -- what is tried -------------------------------------------------------------------------

    def exact(self) -> Iterator[_Guess]:
        yield self._list(self.hashed)
        if self.hashed != self.meant:
            yield self._list(self.meant)

    def near(self, pool: tuple[Address, ...]) -> Iterator[_Guess]:
        """The list as meant, one left out, one alone, one more, all there are, none."""
        yield from self.exact()
        for address in self.hashed:
            yield self._list(tuple(a for a in self.hashed if a != address))
        for address in pool:
            yield self._list((address,))
            if address not in self.hashed:
                yield self._list(canonical_order((*self.hashed, address)))
        yield self._list(tuple(a for a in self.hashed if not is_link_local(a.packed)))
        for family in (4, 6):
            yield self._list(tuple(a for a in self.hashed if a.version == family))
        yield self._list(pool)
        yield self._list(())

    def far(
        self, given: tuple[Address, ...], pool: tuple[Address, ...], macs: Iterable[str]
    ) -> Iterator[_Guess]:
        """What takes an accident or a fault of its own."""
        body = _joined(self.hashed)
        for mac in macs:
            text = f"the other host hashes the MAC {mac}, as OpenBSD does if it was set by hand"
            yield _Guess(
                self.start[:2] + parse_mac(mac) + self.start[2:] + body, text, self.hashed
            )
        for vhid in range(256):
            if vhid != self.vhid:
                text = f"the digest is of vhid {vhid}, and the advertisement says {self.vhid}"
                yield _Guess(bytes((2, 1, vhid)) + body, text, self.hashed)
        orders = {
            "in the order in which they were given": given,
            "in descending order": tuple(reversed(self.hashed)),
            "IPv6 first": tuple(sorted(self.hashed, key=lambda a: (-a.version, int(a)))),
            "sorted as little-endian numbers": tuple(
                sorted(self.hashed, key=lambda a: (a.version, a.packed[::-1]))
            ),
        }
        for text, order in orders.items():
            octets = self.start + _joined(order)
            yield _Guess(octets, f"the other host hashes the addresses {text}", self.hashed)
        swapped = b"".join(address.packed[::-1] for address in self.hashed)
        text = "the other host hashes each address with its bytes in the other order"
        yield _Guess(self.start + swapped, text, self.hashed)
        packed = [address.packed for address in self.hashed]
        if any(map(is_link_local, packed)):
            for index in range(1, _SCOPES + 1):
                text = (
                    "the other host hashes link-local addresses with the scope that its kernel "
                    f"keeps in them, interface {index}"
                )
                yield _Guess(self.start + with_scope(packed, index), text, self.hashed)
        for right, wrong in replacements(self.hashed):
            kept = tuple(address for address in self.hashed if address is not right)
            yield self._with(wrong, kept, [address.packed for address in kept])
        for address in neighbours(pool):
            yield self._with(address, self.hashed, packed)

    def _list(self, addresses: tuple[Address, ...]) -> _Guess:
        """A guess whose text `_explanation` makes of the addresses, once it is right."""
        return _Guess(self.start + _joined(addresses), "", addresses)

    def _with(self, one: Address, others: tuple[Address, ...], packed: list[bytes]) -> _Guess:
        """The same of an address and others, which are in order."""
        octets = one.packed
        rank = (len(octets), octets)
        at = next((at for at, o in enumerate(packed) if (len(o), o) > rank), len(packed))
        body = self.start + b"".join((*packed[:at], octets, *packed[at:]))
        return _Guess(body, "", (*others[:at], one, *others[at:]))

    # -- how it is tried -----------------------------------------------------------------------

    def first(self, keys: Sequence[KeyVariant], guesses: Iterable[_Guess]) -> Explanation | None:
        """The first that is right, each guess under each key."""
        if len(keys) > 1:
            guesses = tuple({guess.body: guess for guess in reversed(list(guesses))}.values())[
                ::-1
            ]
        for variant in keys:
            inner, outer = _prepared(variant.key)
            for guess in guesses:
                if self.left <= 0:
                    return None
                self.left -= 1
                message = inner.copy()
                message.update(guess.body + self.counter)
                digest = outer.copy()
                digest.update(message.digest())
                if digest.digest() == self.wanted:
                    return self._explanation(variant, guess)
        return None

    def subsets(self, keys: Sequence[KeyVariant], pool: tuple[Address, ...]) -> Explanation | None:
        """Every subset of the pool under each key, as far as the limit goes.

        Where the pool is too large for that, every subset of what is meant. Then lists that
        lack few or have few, under the keys that are left.
        """
        walked = pool if 1 << len(pool) <= self.left else self.meant
        rest = list(keys)
        while rest and 1 << len(walked) <= self.left:
            found = self._walk(rest[0], walked)
            if found is not None:
                return found
            if walked is not pool:
                break
            del rest[0]
        if not rest:
            return None
        few = _few_apart(pool, self.left // (2 * len(rest)))
        return self.first(rest, [self._list(addresses) for addresses in few])

    def _walk(self, variant: KeyVariant, pool: tuple[Address, ...]) -> Explanation | None:
        """Every subset of a pool under one key."""
        self.left -= 1 << len(pool)
        inner, outer = _prepared(variant.key)
        inner.update(self.start)
        packed = [address.packed for address in pool]
        mask = search_subsets(inner, outer, packed, self.counter, self.wanted)
        if mask is None:
            return None
        found = tuple(address for at, address in enumerate(pool) if mask >> at & 1)
        return self._explanation(variant, self._list(found))

    def _explanation(self, variant: KeyVariant, guess: _Guess) -> Explanation:
        missing = tuple(a for a in self.meant if a not in guess.addresses)
        if self.hashed != self.meant and guess.addresses == self.hashed:
            missing = ()  # as this system does it
        extra = tuple(a for a in guess.addresses if a not in self.meant)
        words = [guess.text] if guess.text else _words(guess.addresses, missing, extra)
        if variant.text:
            words.append(f"the passphrase {variant.text}")
        return Explanation(
            " and ".join(words) or "the digest is right",
            guess.addresses,
            missing,
            extra,
            bool(variant.text),
        )


def search_subsets(
    inner: _Hash, outer: _Hash, packed: Sequence[bytes], counter: bytes, wanted: bytes
) -> int | None:
    """The subset of addresses that makes an HMAC, as a bit mask of ``packed``; None if none does.

    ``packed`` are addresses as bytes in canonical order, ``inner`` and ``outer`` the two SHA-1s of
    the HMAC with the key (and the start of the message) in them, ``counter`` 8 bytes. It stops
    with the first find.
    """
    split = max(0, len(packed) - _TAIL)
    rest = packed[split:]
    tails = [
        b"".join(octets for at, octets in enumerate(rest) if mask >> at & 1) + counter
        for mask in range(1 << len(rest))
    ]
    copy_outer = outer.copy
    waiting = [(inner, 0, 0)]
    while waiting:
        begun, position, mask = waiting.pop()
        for at in range(position, split):
            longer = begun.copy()
            longer.update(packed[at])
            waiting.append((longer, at + 1, mask | 1 << at))
        copy = begun.copy
        for tail in tails:
            message = copy()
            message.update(tail)
            digest = copy_outer()
            digest.update(message.digest())
            if digest.digest() == wanted:
                return mask | tails.index(tail) << split
    return None


def _few_apart(pool: tuple[Address, ...], limit: int) -> Iterator[tuple[Address, ...]]:
    """Lists that lack few of the pool, and lists of few, in turn; ``limit`` of them."""
    lacking = (
        tuple(address for address in pool if address not in left_out)
        for count in range(len(pool) + 1)
        for left_out in combinations(pool, count)
    )
    having = (few for count in range(len(pool) + 1) for few in combinations(pool, count))
    for pair in zip_longest(lacking, having):
        for found in pair:
            if found is not None and limit > 0:
                limit -= 1
                yield found
        if limit <= 0:
            return


def _words(
    addresses: tuple[Address, ...], missing: tuple[Address, ...], extra: tuple[Address, ...]
) -> list[str]:
    """What is said of a list that is not the one meant."""
    if not addresses and missing:
        return ["the other host has no virtual address in its HMAC"]
    words: list[str] = []
    if len(missing) == len(extra) == 1:
        return [f"the other host has {extra[0]} in place of {missing[0]}"]
    if len(addresses) == 1 and missing and not extra:
        lacks = f"the other host lacks {missing[0]}, or it is" if len(missing) == 1 else "it is"
        return [f"{lacks} a UCarp with one address only, {addresses[0]}"]
    if len(missing) > len(addresses):
        return [f"the other host hashes {_named(addresses)} only"]
    if missing:
        words.append(f"the other host lacks {_named(missing)}")
        if all(is_link_local(address.packed) for address in missing):
            words[-1] += ", as OpenBSD leaves link-local addresses out"
    link_local = [address for address in extra if is_link_local(address.packed)]
    others = [address for address in extra if address not in link_local]
    if link_local:
        kind = "link-local addresses" if len(link_local) > 1 else "a link-local address"
        words.append(f"{'it' if words else 'the other host'} includes {kind} {_named(link_local)}")
    if others:
        words.append(f"{'it' if words else 'the other host'} includes {_named(others)} besides")
    return words


def _named(addresses: Sequence[Address]) -> str:
    *most, last = map(str, addresses)
    return f"{', '.join(most)} and {last}" if most else last


def _joined(addresses: Iterable[Address]) -> bytes:
    return b"".join(address.packed for address in addresses)


def _prepared(key: bytes) -> tuple[_Hash, _Hash]:
    """The inner and outer SHA-1 of an HMAC, with the key in them."""
    block = key.ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return _sha1(inner), _sha1(outer)


def _sha1(data: bytes) -> _Hash:
    return hashlib.new("sha1", data, usedforsecurity=False)
