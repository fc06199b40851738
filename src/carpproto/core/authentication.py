"""Passphrase to key, and the HMAC-SHA1 over a group's identity and a counter.

Must not know of packets on the wire, time or states. The message (FreeBSD
``carp_hmac_prepare``, the same in all four): the bytes 2 and 1, the vhid, every virtual
address in canonical order, the 8 bytes of the counter. It covers neither advbase, advskew,
demote nor the source address.

Everything before the counter is hashed once, so that one digest is two copies of a
prepared SHA-1 and two short updates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from carpproto.core.addresses import Address, AddressLike, canonical_order, parse_mac
from carpproto.core.advertisement import Advertisement
from carpproto.core.errors import ConfigError, shown

KEY_LENGTH = 20
"""Bytes of a key, and of a digest."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> _Hash: ...


_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class AuthenticationRules(Protocol):
    """The part of a `Profile` that authentication needs."""

    @property
    def passphrase_kept(self) -> int:
        """Bytes of a passphrase that become the key; the rest is cut off."""
        ...

    @property
    def passphrase_too_long_refused(self) -> bool:
        """Whether a longer passphrase is refused and not cut."""
        ...

    @property
    def passphrase_loses_last(self) -> bool:
        """Whether the last character typed never reaches the key."""
        ...

    @property
    def passphrase_hex(self) -> bool:
        """Whether ``0x...`` is read as hexadecimal digits of the key."""
        ...

    @property
    def link_local_hashed(self) -> bool:
        """Whether link-local virtual addresses are part of the message that is sent."""
        ...

    @property
    def link_local_either(self) -> bool:
        """Whether a received digest may be with or without them."""
        ...


class _FreeBSDRules(NamedTuple):
    passphrase_kept: int = 19
    passphrase_too_long_refused: bool = False
    passphrase_loses_last: bool = False
    passphrase_hex: bool = False
    link_local_hashed: bool = True
    link_local_either: bool = False


_FREEBSD_RULES = _FreeBSDRules()


def key_from_passphrase(passphrase: str, rules: AuthenticationRules) -> bytes:
    """The 20-byte key that a system's own tools make of what an operator types.

    FreeBSD and OpenBSD: ifconfig keeps the first 19 bytes. NetBSD: ifconfig reads ``0x...`` as
    hexadecimal, drops the last byte either way, keeps 19 at the most, and of hexadecimal only
    what is before a zero byte (``sbin/ifconfig/carp.c``, ``setcarp_passwd``). ucarp refuses
    more than 19 bytes. Zero-padded, never hashed; an empty passphrase is 20 zero bytes. The
    passphrase never appears in an error.
    """
    if not isinstance(passphrase, str):
        raise ConfigError(
            f"the passphrase is of type {type(passphrase).__name__}; give text (str)"
        )
    if "\0" in passphrase:
        raise ConfigError("the passphrase has a NUL character, which no tool accepts")
    try:
        typed = passphrase.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigError("the passphrase has a character that UTF-8 cannot encode") from None
    if rules.passphrase_hex and typed[:2].lower() == b"0x":
        typed = _bytes_from_hex(passphrase[2:])
    if rules.passphrase_loses_last:
        typed = typed[:-1]
    if len(typed) > rules.passphrase_kept and rules.passphrase_too_long_refused:
        raise ConfigError(
            f"the passphrase has {len(typed)} bytes; this system takes {rules.passphrase_kept} "
            "at the most: shorten it on every host"
        )
    kept = typed[: rules.passphrase_kept].partition(b"\0")[0]
    return kept.ljust(KEY_LENGTH, b"\0")


def _bytes_from_hex(digits: str) -> bytes:
    try:
        octets = bytes.fromhex(digits)
    except ValueError:
        octets = b""
    if len(octets) * 2 != len(digits):  # fromhex would pass over spaces
        raise ConfigError(
            "the passphrase begins with 0x, but what follows is not an even number of "
            "hexadecimal digits"
        )
    return octets


def key_from_bytes(key: bytes) -> bytes:
    """Up to 20 bytes, used as they are and zero-padded (the kernel's own limit)."""
    if not isinstance(key, (bytes, bytearray, memoryview)):
        raise ConfigError(f"the key is of type {type(key).__name__}; give bytes")
    if len(key) > KEY_LENGTH:
        raise ConfigError(f"the key has {len(key)} bytes; a key has {KEY_LENGTH} at the most")
    return bytes(key).ljust(KEY_LENGTH, b"\0")


def make_key(*, passphrase: str | None, key: bytes | None, rules: AuthenticationRules) -> bytes:
    """The key from whichever was given; neither is an empty passphrase, both an error."""
    if key is None:
        return key_from_passphrase("" if passphrase is None else passphrase, rules)
    if passphrase is not None:
        raise ConfigError("both a passphrase and a key were given; give one of them")
    return key_from_bytes(key)


class Authenticator:
    """Signs and verifies the advertisements of one group.

    ``vhid`` is 1 to 255. ``passphrase`` is what the operator typed (the profile makes the key
    of it as that system's tools do) or ``key`` is up to 20 bytes, used as they are; with
    neither, the key is 20 zero bytes, as the kernels' is. ``addresses`` are all virtual
    addresses of the group, in any order, with or without prefix lengths. ``profile`` is a
    `Profile`; without one, FreeBSD's rules apply. ``mac`` goes into the message where an
    OpenBSD carp interface was given a MAC by hand.

    Raises `ConfigError` for values that cannot be used. The key never shows.
    """

    __slots__ = ("_inner", "_others", "_outer", "_same", "addresses", "vhid")

    vhid: int
    addresses: tuple[Address, ...]

    def __init__(
        self,
        *,
        vhid: int,
        addresses: Iterable[AddressLike] = (),
        passphrase: str | None = None,
        key: bytes | None = None,
        profile: AuthenticationRules | None = None,
        mac: str | None = None,
    ) -> None:
        if not isinstance(vhid, int) or isinstance(vhid, bool) or not 1 <= vhid <= 255:
            raise ConfigError(f"vhid {shown(vhid)} is out of range; it is 1 to 255")
        rules = _FREEBSD_RULES if profile is None else profile
        if not hasattr(rules, "passphrase_kept"):
            raise ConfigError(f"profile {shown(profile)} is no Profile; give FREEBSD or another")
        # OpenSSL is loaded with the first key, not with the import of the library.
        from hmac import compare_digest

        self._same = compare_digest
        secret = make_key(passphrase=passphrase, key=key, rules=rules).ljust(_BLOCK, b"\0")
        self.vhid = vhid
        self.addresses = canonical_order(addresses)
        start = bytes((2, 1)) + (b"" if mac is None else parse_mac(mac)) + bytes((vhid,))
        without = [address for address in self.addresses if not _is_link_local(address)]
        lists = [self.addresses, without] if rules.link_local_hashed else [without, self.addresses]
        if not rules.link_local_either:
            del lists[1:]
        inner = _sha1(secret.translate(_INNER))
        prepared: list[_Hash] = []
        for hashed in lists:
            message = inner.copy()
            message.update(start + b"".join(address.packed for address in hashed))
            prepared.append(message)
        self._inner = prepared[0]
        self._others = tuple(prepared[1:])
        self._outer = _sha1(secret.translate(_OUTER))

    def digest(self, counter: int) -> bytes:
        """The 20 bytes of HMAC-SHA1 for a counter of 0 to 2**64 - 1."""
        try:
            octets = counter.to_bytes(8, "big")
        except (OverflowError, AttributeError):
            raise ConfigError(
                f"counter {shown(counter)} does not fit; it is 0 to 2**64 - 1"
            ) from None
        return self._digest(self._inner, octets)

    def verify(self, advertisement: Advertisement) -> bool:
        """Whether the digest is this group's, compared in constant time.

        False for another vhid. True says that vhid, addresses and counter are authentic, and
        nothing of advbase, advskew, demote or the sender.
        """
        if advertisement[0] != self.vhid:
            return False
        try:
            octets = advertisement[4].to_bytes(8, "big")
            message = self._inner.copy()
            message.update(octets)
            outer = self._outer.copy()
            outer.update(message.digest())
            if self._same(outer.digest(), advertisement[5]):
                return True
            others = [self._digest(other, octets) for other in self._others]
            return any(self._same(other, advertisement[5]) for other in others)
        except (OverflowError, TypeError, AttributeError):
            return False  # made by hand, with a counter or a digest that no wire can carry

    def sign(self, advertisement: Advertisement) -> Advertisement:
        """The same with its digest, and the checksum left for `encode` to compute."""
        if advertisement.vhid != self.vhid:
            raise ConfigError(
                f"an advertisement of vhid {shown(advertisement.vhid)} cannot be signed for "
                f"vhid {self.vhid}"
            )
        digest = self.digest(advertisement.counter)
        return Advertisement(*advertisement[:5], digest, *advertisement[6:9])

    def _digest(self, inner: _Hash, octets: bytes) -> bytes:
        message = inner.copy()
        message.update(octets)
        outer = self._outer.copy()
        outer.update(message.digest())
        return outer.digest()

    def __repr__(self) -> str:
        return f"Authenticator(vhid={self.vhid}, addresses={[str(a) for a in self.addresses]})"


def _is_link_local(address: Address) -> bool:
    return address.version == 6 and address.is_link_local


def _sha1(data: bytes) -> _Hash:
    import hashlib

    # Not hashlib.sha1(data): a FIPS build refuses that, and HMAC-SHA1 is what the wire has.
    return hashlib.new("sha1", data, usedforsecurity=False)
