"""What the values in a TOML file can be: each function takes one, or raises `ConfigError`.

Must not know where in the file a value stands. No value shows in an error but a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from carpproto.core.addresses import parse_host_address
from carpproto.core.errors import ConfigError, shown

_KINDS = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a table"),
)


def _kind(value: object) -> str:
    for kind, words in _KINDS:
        if isinstance(value, kind):
            return words
    return "a date or a time"


def as_text(value: object) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"text is expected, not {_kind(value) if value != '' else 'none'}")
    return value


def as_secret(value: object) -> str:
    """Text; it never shows in an error."""
    if not isinstance(value, str):
        raise ConfigError(f"text is expected, not {_kind(value)}")
    return value


def as_key(value: object) -> bytes:
    """The bytes of hexadecimal digits; they never show in an error."""
    try:
        return bytes.fromhex(as_secret(value))
    except ValueError:
        raise ConfigError("hexadecimal digits are expected, 40 at the most") from None


def as_frame(value: object) -> bytes:
    """The bytes of a frame in hexadecimal digits."""
    try:
        return bytes.fromhex(as_text(value))
    except ValueError:
        raise ConfigError("a frame in hexadecimal digits is expected") from None


def as_flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"true or false is expected, not {_kind(value)}")
    return value


def as_number(value: object) -> float:
    """A number, as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"a number is expected, not {_kind(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError("the number is too large") from None


def as_whole(value: object) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"a whole number is expected, not {_kind(value)}")
    return value


def as_whole_or_flag(value: object) -> int:
    """A whole number; true is 1 and false 0."""
    return int(value) if isinstance(value, bool) else as_whole(value)


def as_quality(value: object) -> float | bool:
    """A quality of a segment."""
    return value if isinstance(value, bool) else as_number(value)


def as_mapping(value: object) -> dict[str, Any]:
    """A table."""
    if not isinstance(value, dict):
        raise ConfigError(f"a table is expected, not {_kind(value)}")
    found: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    return found


def as_list(value: object) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ConfigError(f"a list is expected, not {_kind(value)}")
    found: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    return found


def as_mappings(value: object) -> list[dict[str, Any]]:
    """A list of tables."""
    return [as_mapping(one) for one in as_list(value)]


def as_texts(value: object) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(as_text(one) for one in as_list(value))


def as_address(value: object) -> str:
    """An address of a host, as text."""
    found = as_text(value)
    parse_host_address(found)
    return found


def as_addresses(value: object) -> tuple[str, ...]:
    """A list of addresses of hosts, not empty."""
    found = tuple(as_address(one) for one in as_list(value))
    if not found:
        raise ConfigError("an address is expected, the list is empty")
    return found


def as_groups(value: object) -> tuple[tuple[str, ...], ...]:
    """A list of lists of texts."""
    return tuple(as_texts(one) for one in as_list(value))


def one_of(what: str, known: Iterable[str]) -> Callable[[object], str]:
    """What takes only these names; ``what`` they are is for the error."""
    names = tuple(known)

    def convert(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ConfigError(f"there is no {what} {shown(value)}; there are {', '.join(names)}")
        return value

    return convert
