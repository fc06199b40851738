"""`VirtualHostConfig`: what an operator says of one virtual host, validated.

Must not know of states or time. Checks here what the protocol allows; what only one system
refuses is checked by `VirtualHostConfig.require`, where the profile is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from carpproto.core.addresses import (
    GROUPS,
    Address,
    AddressLike,
    parse_address,
    parse_host_addresses,
)
from carpproto.core.authentication import Authenticator, key_from_bytes, key_from_passphrase
from carpproto.core.errors import ConfigError, shown
from carpproto.core.profile import FREEBSD, Profile


class VirtualHostConfig:
    """One virtual host as ifconfig(8) or ucarp(8) is told about it; immutable.

    ``vhid`` is 1 to 255. ``addresses`` are the virtual ones, in the order in which they are
    announced; prefix lengths and scopes are dropped, duplicates count once; ``families`` are
    theirs, 4 before 6. ``passphrase`` is what the operator types, ``key`` up to 20 bytes; give
    one or neither, and neither shows in ``repr`` or errors. ``advbase`` is in seconds, 0 to
    255, ``advskew`` in 1/256 s, 0 to 255. ``peer`` and ``peer6`` are where advertisements go
    instead of to the multicast groups 224.0.0.18 and ff02::12: a unicast peer, or another
    group.

    Raises `ConfigError`, naming the value and the range.
    """

    __slots__ = (
        "_key",
        "_passphrase",
        "addresses",
        "advbase",
        "advskew",
        "families",
        "peer",
        "peer6",
        "vhid",
    )

    vhid: int
    addresses: tuple[Address, ...]
    advbase: int
    advskew: int
    families: tuple[int, ...]
    peer: Address | None
    peer6: Address | None
    _passphrase: str | None
    _key: bytes | None

    def __init__(
        self,
        *,
        vhid: int,
        addresses: Iterable[AddressLike] = (),
        passphrase: str | None = None,
        key: bytes | None = None,
        advbase: int = 1,
        advskew: int = 0,
        peer: AddressLike | None = None,
        peer6: AddressLike | None = None,
    ) -> None:
        check_range("vhid", vhid, 1, 255)
        check_range("advbase", advbase, 0, 255)
        check_range("advskew", advskew, 0, 255)
        if passphrase is not None and key is not None:
            raise ConfigError("both a passphrase and a key were given; give one of them")
        if passphrase is not None:
            key_from_passphrase(passphrase, FREEBSD)  # refuses what no system takes
        if key is not None:
            key = key_from_bytes(key)
        parsed = parse_host_addresses(addresses)
        for name, value in (
            ("vhid", vhid),
            ("addresses", parsed),
            ("families", tuple(sorted({address.version for address in parsed}))),
            ("_passphrase", passphrase),
            ("_key", key),
            ("advbase", advbase),
            ("advskew", advskew),
            ("peer", _peer("peer", peer, 4)),
            ("peer6", _peer("peer6", peer6, 6)),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a VirtualHostConfig is immutable; use replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a VirtualHostConfig is immutable")

    def replace(self, **changes: Any) -> VirtualHostConfig:
        """The same with the named values; a new passphrase or key takes the place of either."""
        values = self._values()
        if "passphrase" in changes or "key" in changes:
            values.update(passphrase=None, key=None)
        unknown = sorted(set(changes) - set(values))
        if unknown:
            raise ConfigError(
                f"a virtual host has no {shown(unknown[0])}; it has {', '.join(values)}"
            )
        return VirtualHostConfig(**{**values, **changes})

    def destination(self, family: int) -> Address:
        """Where advertisements of a family go."""
        if family not in GROUPS:
            raise ConfigError(f"family {shown(family)} is none; it is 4 or 6")
        return (self.peer if family == 4 else self.peer6) or GROUPS[family]

    def require(self, profile: Profile) -> None:
        """Raise `ConfigError` for what this system refuses."""
        low, high = profile.advbase_minimum, profile.advbase_maximum
        check_range("advbase", self.advbase, low, high, profile.name)
        check_range("advskew", self.advskew, 0, profile.advskew_maximum, profile.name)
        if not (self.advbase or self.advskew or profile.zero_interval):
            raise ConfigError(
                f"advbase 0 with advskew 0 is no interval on {profile.name}; "
                "advbase is 1 to 255, or advskew 1 or more"
            )
        for peer in (self.peer, self.peer6):
            unicast = peer is not None and not peer.is_multicast
            if unicast and (profile.multicast_required or profile.group_checked):
                raise ConfigError(
                    f"peer {peer} is a unicast address, and {profile.name} takes multicast only; "
                    "leave it out, or give another group"
                )
        if profile.single_address and len(self.addresses) > 1:
            raise ConfigError(
                f"{len(self.addresses)} virtual addresses, but {profile.name} has one for each "
                "vhid; use a vhid for each, or another profile"
            )
        self.authenticator(profile)

    def authenticator(self, profile: Profile) -> Authenticator:
        """What signs and verifies for this virtual host, under that system's rules."""
        return Authenticator(
            vhid=self.vhid,
            addresses=self.addresses,
            passphrase=self._passphrase,
            key=self._key,
            profile=profile,
        )

    def _values(self) -> dict[str, Any]:
        return {
            "vhid": self.vhid,
            "addresses": self.addresses,
            "passphrase": self._passphrase,
            "key": self._key,
            "advbase": self.advbase,
            "advskew": self.advskew,
            "peer": self.peer,
            "peer6": self.peer6,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VirtualHostConfig):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(tuple(self._values().values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._values(),)

    def __repr__(self) -> str:
        shown = {**self._values(), "addresses": [str(address) for address in self.addresses]}
        for secret in ("passphrase", "key"):
            del shown[secret]
        for peer in ("peer", "peer6"):
            shown[peer] = shown[peer] and str(shown[peer])
        fields = [f"{name}={value!r}" for name, value in shown.items() if value is not None]
        return f"VirtualHostConfig({', '.join(fields)})"


def _restore(values: dict[str, Any]) -> VirtualHostConfig:
    return VirtualHostConfig(**values)


def _peer(name: str, value: AddressLike | None, family: int) -> Address | None:
    if value is None:
        return None
    address = parse_address(value)
    if address.version != family or address.is_unspecified:
        raise ConfigError(f"{name} {address} is not an IPv{family} address to send to")
    return address


def check_range(name: str, value: object, low: int, high: int, system: str = "") -> None:
    """Raise `ConfigError` unless ``value`` is a whole number from ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        on = f" on {system}" if system else ""
        raise ConfigError(f"{name} {shown(value)} is out of range; it is {low} to {high}{on}")
