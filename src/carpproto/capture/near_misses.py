"""Near misses: what a passphrase or an address turns into on its way to another host's HMAC.

Must not know of digests or of captures. Keys are the 20 bytes that an implementation makes of
what was typed; texts are an operator's words, complete a sentence that begins with "the
passphrase" or "the other host", and never show a secret.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from carpproto.core.addresses import Address
from carpproto.core.authentication import KEY_LENGTH, AuthenticationRules, key_from_passphrase
from carpproto.core.errors import ConfigError
from carpproto.core.profile import FREEBSD, NETBSD, OPENBSD, UCARP

_KEPT = 19  # what FreeBSD's and OpenBSD's ifconfig keep of a passphrase, in bytes
_SYSTEMS = (FREEBSD, OPENBSD, NETBSD, UCARP)
_KEYBOARD = str.maketrans("yzYZ", "zyZY")


class KeyVariant(NamedTuple):
    """A key, and what was done to the passphrase to get it: "" if nothing was."""

    key: bytes
    text: str


class Replaced(NamedTuple):
    """Addresses of a group, one of which is another than meant."""

    meant: Address
    found: Address


def passphrase_variants(passphrase: str, rules: AuthenticationRules) -> tuple[KeyVariant, ...]:
    """The key of a passphrase, then those of its near misses, the likely ones first.

    Each key once: where several accidents make the same one, the text names them all. Raises
    `ConfigError` for a passphrase that no system takes, but not for one that only this one
    refuses.
    """
    variants: dict[bytes, list[str]] = {}
    typed = _encoded(passphrase)
    try:
        variants[key_from_passphrase(passphrase, rules)] = [""]
    except ConfigError:
        variants[_padded(typed[:_KEPT])] = [""]
    if len(typed) >= KEY_LENGTH:
        variants.setdefault(_padded(typed), []).append("was taken with 20 characters, not cut")
    for text, changed in (*_accidents(typed), *_other_texts(passphrase)):
        if changed == typed:
            continue
        variants.setdefault(_padded(changed[:_KEPT]), []).append(text)
        if len(changed) >= KEY_LENGTH:
            whole = f"{text} and all of its first 20 bytes were taken"
            variants.setdefault(_padded(changed), []).append(whole)
    for system in _SYSTEMS:
        try:
            key = key_from_passphrase(passphrase, system)
        except ConfigError:
            continue
        variants.setdefault(key, []).append(f"was made into a key as {system.name} does")
    for name in ("sha1", "md5"):
        digest = hashlib.new(name, typed, usedforsecurity=False).digest()
        variants.setdefault(_padded(digest), []).append(f"was hashed with {name.upper()} first")
    return tuple(KeyVariant(key, _alternatives(texts)) for key, texts in variants.items())


def key_variants(key: bytes) -> tuple[KeyVariant, ...]:
    """A key of up to 20 bytes as it is, then its near misses."""
    variants = {_padded(key): [""]}
    for text, changed in _accidents(key.rstrip(b"\0")):
        variants.setdefault(_padded(changed), []).append(text)
    return tuple(KeyVariant(made, _alternatives(texts)) for made, texts in variants.items())


def replacements(addresses: Iterable[Address]) -> Iterator[Replaced]:
    """Each address with one byte of IPv4, or one hexadecimal digit of IPv6, wrong."""
    for address in addresses:
        number = int(address)
        step, most = (8, 256) if address.version == 4 else (4, 16)
        for shift in range(0, address.max_prefixlen, step):
            for flipped in range(1, most):
                yield Replaced(address, type(address)(number ^ flipped << shift))


def neighbours(addresses: Iterable[Address]) -> Iterator[Address]:
    """All others with the same first bytes but the last, as in a network of 256 addresses."""
    meant = set(addresses)
    found: dict[Address, None] = {}
    for address in meant:
        start = int(address) & ~0xFF
        found.update((type(address)(start | last), None) for last in range(256))
    return (address for address in found if address not in meant)


def with_scope(packed: Sequence[bytes], index: int) -> bytes:
    """Addresses as bytes, link-local ones with an interface index in bytes 2 and 3.

    BSD kernels keep the scope there, and have to zero it for the HMAC (FreeBSD
    ``carp_hmac_prepare``, ``in6_clearscope``).
    """
    return b"".join(
        octets[:2] + index.to_bytes(2, "big") + octets[4:] if is_link_local(octets) else octets
        for octets in packed
    )


def is_link_local(packed: bytes) -> bool:
    """Whether the bytes are those of an IPv6 link-local address."""
    return len(packed) == 16 and packed[0] == 0xFE and packed[1] & 0xC0 == 0x80


def _encoded(passphrase: str) -> bytes:
    if not isinstance(passphrase, str):
        raise ConfigError(
            f"the passphrase is of type {type(passphrase).__name__}; give text (str)"
        )
    try:
        return passphrase.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigError("the passphrase has a character that UTF-8 cannot encode") from None


def _padded(octets: bytes) -> bytes:
    return octets[:KEY_LENGTH].ljust(KEY_LENGTH, b"\0")


def _accidents(typed: bytes) -> Iterator[tuple[str, bytes]]:
    """What happens to bytes, whatever they mean."""
    length = len(typed)
    if length > _KEPT:
        yield "was cut to 19 characters", typed[:_KEPT]
    if length:
        yield "lost its last character", typed[:-1]
    yield "ends with a newline", typed + b"\n"
    yield "ends with a carriage return (a file with DOS line ends)", typed + b"\r"
    yield "ends with a carriage return and a newline", typed + b"\r\n"
    yield "ends with a space", typed + b" "
    yield "begins with a space", b" " + typed
    yield "ends with a tab", typed + b"\t"
    for mark, name in ((b'"', "double"), (b"'", "single")):
        yield f"stands in {name} quotation marks", mark + typed + mark
        if length > 1 and typed[:1] == typed[-1:] == mark:
            yield f"lost its {name} quotation marks", typed[1:-1]
    if length:
        yield "is empty, or was never set", b""
        yield "lost its first character", typed[1:]
    for end in range(min(length, _KEPT) - 2, 0, -1):
        yield f"was cut to {end} characters", typed[:end]
    for at in range(1, min(length, KEY_LENGTH) - 1):
        yield f"lost its character {at + 1}", typed[:at] + typed[at + 1 :]
    for at in range(min(length, KEY_LENGTH) - 1):
        pair = typed[at : at + 2]
        exchanged = typed[:at] + pair[::-1] + typed[at + 2 :]
        yield f"has its characters {at + 1} and {at + 2} exchanged", exchanged
    for more in range(0x21, 0x7F):
        yield "is one character longer", typed + bytes((more,))
    for at in range(min(length, KEY_LENGTH)):
        yield f"has its character {at + 1} twice", typed[: at + 1] + typed[at:]


def _other_texts(passphrase: str) -> Iterator[tuple[str, bytes]]:
    """What happens to text: letters, shells, encodings."""
    changed = {
        "is in small letters": passphrase.lower(),
        "is in capital letters": passphrase.upper(),
        "has capital and small letters exchanged (caps lock)": passphrase.swapcase(),
        "begins with a capital letter": passphrase[:1].upper() + passphrase[1:],
        "begins with a small letter": passphrase[:1].lower() + passphrase[1:],
        "has y and z exchanged (another keyboard)": passphrase.translate(_KEYBOARD),
        "lost its spaces at the ends": passphrase.strip(),
        "lost its backslashes (a shell took them)": passphrase.replace("\\", ""),
        "lost what follows a $ (a shell took it for a variable)": re.sub(
            r"\$\{?\w*\}?", "", passphrase
        ),
        "was cut at its # (taken for a comment)": passphrase.partition("#")[0],
        "was cut at its first space": passphrase.partition(" ")[0],
        "is in Unicode's composed form": unicodedata.normalize("NFC", passphrase),
        "is in Unicode's decomposed form": unicodedata.normalize("NFD", passphrase),
    }
    for text, other in changed.items():
        if other != passphrase:
            yield text, _encoded(other)
    with suppress(UnicodeEncodeError):
        yield "is in Latin-1, not UTF-8", passphrase.encode("latin-1")


def _alternatives(texts: Sequence[str]) -> str:
    """Several accidents in a sentence, three at the most; nothing where nothing happened."""
    if "" in texts:
        return ""
    distinct = list(dict.fromkeys(texts))
    return ", or ".join(distinct[:3])
