"""What a host says when it yields to another MASTER, so that the other one announces again.

Must not send anything: gives the advertisements. Where every host answers with a MAC of its own,
the neighbors still have that of the host that yields. Nobody but the one that prevails can tell
them better, and it hears of another MASTER only if that one advertises. So whoever yields does so
once more, slower by 1/256 s than what it yielded to: no equal host yields to that, and no host
takes over because of it that is not better than the one that prevails. UCarp does this itself
(its farewell), with its own interval.
"""

from __future__ import annotations

from collections.abc import Iterable

from carpproto.core.actions import SendAdvertisement, StateChanged
from carpproto.core.advertisement import encode, pseudo_header
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import Reason
from carpproto.core.events import State
from carpproto.core.profile import Profile

_SLOWEST = 254 * 256 + 255  # advbase 255 with advskew 255 is a good-bye


def parting_words(
    profile: Profile,
    change: StateChanged,
    sent: Iterable[SendAdvertisement],
    config: VirtualHostConfig,
) -> tuple[SendAdvertisement, ...]:
    """What to send after a change of state; ``sent`` is what the host advertised last.

    With the next counter, so that nobody takes it for a replay.
    """
    yields = change.previous is State.MASTER and change.reason is Reason.MORE_FREQUENT
    if not yields or change.theirs is None or profile.farewell:
        return ()
    advbase, advskew = divmod(min(change.theirs + 1, _SLOWEST), 256)
    authenticator = config.authenticator(profile)
    step = 0 if profile.counter_constant else 1
    found: list[SendAdvertisement] = []
    for action in sent:
        last = action.advertisement
        counter = (last.counter + step) % (1 << 64)
        unsigned = last._replace(advbase=advbase, advskew=advskew, counter=counter)
        word = authenticator.sign(unsigned)._replace(checksum=last.checksum)
        if word.checksum is not None:  # one that covers the IPv6 pseudo-header
            covered = pseudo_header(action.source, action.destination)
            encoded = encode(word._replace(checksum=None), pseudo_header=covered)
            word = word._replace(checksum=int.from_bytes(encoded[6:8], "big"))
        found.append(action._replace(advertisement=word))
    return tuple(found)
