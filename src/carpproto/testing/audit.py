"""How long the passphrases of a capture would withstand guessing.

Must not know how results are printed. One advertisement is enough to guess at: its digest is
right under the right key, and nobody sees the guesses. A guess is one HMAC-SHA1 of some 60
bytes; nothing makes it slow (no salt but the counter, no iterations), so that a passphrase is as
strong as it is hard to guess, and no more. Guessing takes the virtual addresses, which are in the
message.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from hashlib import sha1
from pathlib import Path
from time import perf_counter
from typing import BinaryIO, NamedTuple, cast

from carpproto.core.addresses import AddressLike, canonical_order
from carpproto.core.advertisement import Advertisement
from carpproto.core.authentication import AuthenticationRules, key_from_passphrase
from carpproto.core.errors import ConfigError, shown
from carpproto.core.profile import FREEBSD
from carpproto.simulation.campaign import end_pool, spread, worker_pool

LONGEST = 4096
"""Bytes of a word; longer lines of a word list are passed over."""

GRAPHICS_CARD = 10_000_000_000
"""Guesses a second that are assumed of somebody with one fast graphics card: such cards do some 50
thousand million SHA-1 of one block a second, and a guess takes four or five blocks."""

MEASURED = 0.5
"""Seconds of guessing that make a rate."""

_NO_TEXT = {
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_SAMPLE = 5000  # generated words of one call while the rate is measured
_CHUNK = 1 << 18  # bytes of the word list for one call of a worker
_DIGITS = tuple(str(number).encode() for number in (*range(10), 12, 123, 1234, 12345))
_YEARS = tuple(str(year).encode() for year in range(1990, 2031))
_ENDS = (b"!", b"?", b".", b"#", b"_", *_DIGITS, *_YEARS)


class Target(NamedTuple):
    """What is guessed at: a group's HMAC message and the digest that goes with it."""

    vhid: int
    message: bytes
    digest: bytes


class Found(NamedTuple):
    """A passphrase that makes a target's digest, and the line of the word list that led to it.

    Line 0 is the empty passphrase, which is always tried.
    """

    vhid: int
    line: int
    passphrase: bytes

    def __repr__(self) -> str:
        return f"Found(vhid={self.vhid}, line={self.line}, passphrase=...)"


class Guessed(NamedTuple):
    """What a worker, or all of them together, did.

    ``guesses`` is how many, and ``seconds`` how long they took, the workers' times added up.
    """

    guesses: int = 0
    seconds: float = 0.0
    found: tuple[Found, ...] = ()
    size: int = 0

    @property
    def rate(self) -> float:
        """Guesses a second of one worker."""
        return self.guesses / self.seconds if self.seconds else 0.0


def target(advertisement: Advertisement, addresses: Iterable[AddressLike]) -> Target:
    """What to guess at, of an advertisement and all virtual addresses of its group."""
    hashed = canonical_order(addresses)
    message = bytes((2, 1, advertisement.vhid)) + b"".join(a.packed for a in hashed)
    counter = advertisement.counter.to_bytes(8, "big")
    return Target(advertisement.vhid, message + counter, advertisement.digest)


def audit(
    targets: Iterable[Target],
    wordlist: str | Path,
    *,
    profile: AuthenticationRules = FREEBSD,
    vary: bool = False,
    executor: Executor | None = None,
    processes: int | None = None,
    progress: Callable[[int], object] = lambda size: None,
) -> Guessed:
    """Guess at targets with every line of a word list, until each is found or the list ends.

    ``profile`` makes keys of words as that system's tools do. ``vary``: each word besides with its
    first letter or all letters changed to capitals, and with digits, years and signs at its end.
    ``executor`` is any `concurrent.futures.Executor`, which is left running; without one,
    ``processes`` of this machine (by default as many as it has processors) are started and ended.
    ``progress`` is called with the bytes of the list that were tried since the last time. The
    memory that it takes has a bound, however long the list and its lines are. Raises `OSError`
    for a list that cannot be read, and `ConfigError` for one that is compressed or UTF-16.
    """
    if processes is not None and not 1 <= processes <= 1024:
        raise ConfigError(f"processes {shown(processes)} is out of range; it is 1 to 1024")
    waiting = tuple(targets)
    empty = guess(waiting, profile, False, 0, [b""])
    total = empty._replace(size=0)
    waiting = _left(waiting, total.found)
    with Path(wordlist).open("rb", buffering=0) as file:
        if not waiting:
            return total
        arguments = (
            (waiting, profile, vary, line, words) for line, words in _chunks(cast(BinaryIO, file))
        )
        own = None if executor is not None else worker_pool(processes)
        results = spread(guess, arguments, cast(Executor, executor or own))
        try:
            for done in results:
                total = Guessed(
                    total.guesses + done.guesses,
                    total.seconds + done.seconds,
                    _first_lines((*total.found, *done.found)),
                    total.size + done.size,
                )
                progress(done.size)
                if not _left(waiting, total.found):
                    break
        finally:
            results.close()
            if own is not None:
                end_pool(own)
    return total


def guess(
    targets: tuple[Target, ...],
    profile: AuthenticationRules,
    vary: bool,
    line: int,
    words: list[bytes],
) -> Guessed:
    """What a worker does: guess with words, the first of which is ``line`` of the list."""
    started = perf_counter()
    inner, outer = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
    guesses = 0
    found: list[Found] = []
    wanted = [(t.vhid, t.message, t.digest) for t in targets]
    for number, word in enumerate(words, line):
        for passphrase in _variations(word) if vary else (word,):
            key = _key(passphrase, profile)
            if key is None:
                continue
            guesses += 1
            # HMAC, RFC 2104; hmac.digest takes twice as long.
            block = key.ljust(64, b"\0")
            begun = block.translate(inner)
            ended = block.translate(outer)
            for vhid, message, right in wanted:
                digest = sha1(begun + message, usedforsecurity=False).digest()
                if sha1(ended + digest, usedforsecurity=False).digest() == right:
                    found.append(Found(vhid, number, passphrase))
    size = sum(map(len, words)) + len(words)
    return Guessed(guesses * len(wanted), perf_counter() - started, _first_lines(found), size)


def measured(
    targets: Iterable[Target],
    *,
    profile: AuthenticationRules = FREEBSD,
    processes: int | None = None,
    seconds: float = MEASURED,
) -> float:
    """How many guesses a second so many processes make at once, as many as `audit` has.

    Each guesses with generated words for so long, whatever they find. Processes that share
    processors slow each other down, so that one alone would not say it.
    """
    workers = processes or os.cpu_count() or 1
    arguments = [(tuple(targets), profile, seconds)] * workers
    with worker_pool(workers) as executor:
        return sum(done.rate for done in spread(_sample, arguments, executor))


def _sample(targets: tuple[Target, ...], profile: AuthenticationRules, seconds: float) -> Guessed:
    guess(targets, profile, False, 0, [b"warm-up"])  # a first call is slow
    total = Guessed()
    while total.seconds < seconds:
        words = [b"%08d" % number for number in range(_SAMPLE)]
        done = guess(targets, profile, False, 0, words)
        total = Guessed(total.guesses + done.guesses, total.seconds + done.seconds)
    return total


def _key(word: bytes, rules: AuthenticationRules) -> bytes | None:
    """As `key_from_passphrase`, without padding; None where that refuses."""
    if rules.passphrase_hex and word[:2].lower() == b"0x":
        try:
            return key_from_passphrase(word.decode("utf-8", "surrogateescape"), rules)
        except ConfigError:
            return None
    if b"\0" in word:
        return None
    if rules.passphrase_loses_last:
        word = word[:-1]
    if len(word) > rules.passphrase_kept and rules.passphrase_too_long_refused:
        return None
    return word[: rules.passphrase_kept]


def _variations(word: bytes) -> Iterator[bytes]:
    for begun in dict.fromkeys((word, word.capitalize(), word.upper(), word.lower())):
        yield begun
        for end in _ENDS:
            yield begun + end


def _first_lines(found: Iterable[Found]) -> tuple[Found, ...]:
    """For each vhid what was found with the first line."""
    first: dict[int, Found] = {}
    for one in sorted(found, key=lambda one: one.line):
        first.setdefault(one.vhid, one)
    return tuple(first[vhid] for vhid in sorted(first))


def _left(targets: tuple[Target, ...], found: Iterable[Found]) -> tuple[Target, ...]:
    known = {one.vhid for one in found}
    return tuple(target for target in targets if target.vhid not in known)


def _chunks(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """The list's lines, without their ends, some at a time, and the number of the first."""
    line = 1
    begun = b""
    too_long = False
    while piece := file.read(_CHUNK):
        if line == 1 and not begun:
            piece = _checked(piece)
        before, newline, after = piece.rpartition(b"\n")
        if newline:
            lines = (begun + before).split(b"\n")
            if too_long:
                lines[0] = b""
            kept = [_word(one) for one in lines]
            yield line, kept
            line += len(kept)
            begun, too_long = after, False
        else:
            begun += after
        if len(begun) > LONGEST:
            begun, too_long = b"", True
    if begun and not too_long:
        yield line, [_word(begun)]


def _checked(start: bytes) -> bytes:
    """The beginning of a list, without a byte order mark; `ConfigError` for what is no text."""
    for magic, what in _NO_TEXT.items():
        if start.startswith(magic):
            raise ConfigError(f"the word list is {what}; unpack it, or convert it to UTF-8")
    return start.removeprefix(b"\xef\xbb\xbf")


def _word(line: bytes) -> bytes:
    line = line.removesuffix(b"\r")
    return line if len(line) <= LONGEST else b""
