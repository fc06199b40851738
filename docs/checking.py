"""Make the page "Exhaustive checks" by checking, so that it says what the library does.

    python docs/checking.py            write docs/checking.rst
    python docs/checking.py --check    write nothing; exit 1 if it is stale

It takes about half a minute. Nothing here depends on time, chance or the machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, NamedTuple

from carpproto.core.config import VirtualHostConfig
from carpproto.core.profile import (
    FREEBSD,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    OPENBSD,
    UCARP,
    Profile,
    Tie,
)
from carpproto.simulation.checking import check
from carpproto.simulation.checking_report import Checked, Host, Verdict

PAGE = Path(__file__).parent / "checking.rst"
COMMAND = "python docs/checking.py"

PROFILES = (FREEBSD, FREEBSD_12, FREEBSD_14, NETBSD, OPENBSD, UCARP)
NAMES = ("FREEBSD", "FREEBSD_12", "FREEBSD_14", "NETBSD", "OPENBSD", "UCARP")
PREEMPT = {"preempt": 1}
SLOWER = 100
"""The advskew of the second of two unequal hosts."""

UCARP_NUMERIC = UCARP.replace(name="UCarp, numeric", tie=Tie.SOURCE_NUMERIC)
UCARP_FORK = UCARP.replace(name="UCarp 1.6.0", single_address=False)
OPENBSD_2015 = OPENBSD.replace(
    name="OpenBSD 2015", demote_raises_advskew=True, master_down_multiplies_advskew=False
)
DUAL = ["192.0.2.50", "2001:db8::50"]


def config(advskew: int = 0, **values: Any) -> VirtualHostConfig:
    """A virtual host of the group that is checked; the key is the same on every system."""
    values = {"key": b"the group's", "addresses": ["192.0.2.50"], **values}
    if "passphrase" in values:
        del values["key"]
    return VirtualHostConfig(vhid=1, advskew=advskew, **values)


@cache
def pair(first: Profile, second: Profile, preempt: bool, advskew: int) -> Checked:
    """Two hosts, the first one of advskew 0 and of the lower address."""
    settings = PREEMPT if preempt else {}
    return check([(first, config(), settings), (second, config(advskew), settings)])


@cache
def trio(profiles: tuple[Profile, ...], preempt: bool, advskews: tuple[int, ...]) -> Checked:
    """Three hosts, the first one of the lowest address."""
    settings = PREEMPT if preempt else {}
    hosts = [
        (profile, config(advskew), settings)
        for profile, advskew in zip(profiles, advskews, strict=True)
    ]
    return check(hosts, **TRIO_BOUNDS)


TRIO_BOUNDS: dict[str, Any] = {"delay": 1, "late": 0, "boot_every": 256}
TRIOS = (
    ((FREEBSD, FREEBSD, FREEBSD), (0, 100, 200)),
    ((FREEBSD, FREEBSD, FREEBSD), (0, 100, 100)),
    ((FREEBSD, FREEBSD, FREEBSD), (0, 0, 100)),
    ((FREEBSD, FREEBSD, FREEBSD), (0, 0, 0)),
    ((FREEBSD, OPENBSD, UCARP), (0, 100, 200)),
    ((UCARP, OPENBSD, FREEBSD), (0, 100, 200)),
    ((OPENBSD, OPENBSD, FREEBSD), (0, 100, 200)),
    ((UCARP, UCARP, UCARP), (0, 0, 100)),
)


class Weakness(NamedTuple):
    """A section on something that goes wrong; ``instead`` is what does not, beside it."""

    title: str
    text: str
    verdict: Verdict
    hosts: tuple[Host | tuple[Any, ...], ...]
    bounds: dict[str, Any]
    after: str = ""
    instead: tuple[Host | tuple[Any, ...], ...] = ()

    def checked(self) -> Checked:
        """What the check finds."""
        if self.title not in FOUND:
            FOUND[self.title] = check(self.hosts, **self.bounds)
        return FOUND[self.title]


FOUND: dict[str, Checked] = {}

WEAKNESSES = (
    Weakness(
        "Two equal masters whose advertisements cross",
        """\
        On FreeBSD, NetBSD and OpenBSD the receiver of an equal advertisement yields. If both are
        MASTER and their advertisements cross, both yield, and for a whole master-down time there
        is no MASTER. Then both timers expire together again. This goes on for as long as the two
        keep step to within the time that an advertisement takes. As soon as one timer is later
        than the other by more than that, it is over; the more precise the timers, the later.
        """,
        Verdict.RECURRENT,
        ((FREEBSD, config()), (FREEBSD, config())),
        {},
        """\
        What to do: give each host another advskew. Two hosts of UCarp do not have this weakness:
        the address decides, and only one of them yields.
        """,
        ((UCARP, config()), (UCARP, config())),
    ),
    Weakness(
        "UCarp beside a kernel, equal",
        """\
        If the host of UCarp has the lower address, it stays, the kernel yields, and all is well.
        If it has the higher one, both yield, as above. Its farewell makes this worse: the
        advertisement with which UCarp takes its leave is an equal one, too, and the kernel that
        would have stayed MASTER yields to it. For that the two need not even cross.
        """,
        Verdict.RECURRENT,
        ((FREEBSD, config()), (UCARP, config())),
        {},
        "What to do: the same.",
        ((UCARP, config()), (FREEBSD, config())),
    ),
    Weakness(
        "UCarp's order of addresses beside a numeric one",
        """\
        UCarp compares source addresses as they lie in memory, so on little-endian machines the
        last octet counts most. A host that compares numerically (a big-endian machine, or another
        program; ``Tie.SOURCE_NUMERIC``) may come to the other conclusion. Here a is 10.66.2.1 and
        little-endian, b is 10.66.1.2 and numeric: each takes its own address for the lower one.
        """,
        Verdict.PERMANENT,
        (
            Host(UCARP, config(), addresses=("10.66.2.1",)),
            Host(UCARP_NUMERIC, config(), addresses=("10.66.1.2",)),
        ),
        {"boots": 0},
        """\
        With the two addresses the other way round each takes the other's for the lower one, and
        both yield. What to do: give each host another advskew.
        """,
    ),
    Weakness(
        "Lists of virtual addresses that differ",
        """\
        The HMAC covers the list of virtual addresses. A host whose list is another one refuses
        what it hears, and so do the others with what it sends. Each is alone, and MASTER. No
        fault is needed.
        """,
        Verdict.PERMANENT,
        (
            (FREEBSD, config(), PREEMPT),
            (FREEBSD, config(SLOWER, addresses=["192.0.2.50", "192.0.2.51"]), PREEMPT),
        ),
        {"boots": 0},
        """\
        What to do: watch the counter ``badauth``. While an address is being added on one host
        after the other, this is what the group does in between.
        """,
    ),
    Weakness(
        "One passphrase, two keys",
        """\
        NetBSD's ifconfig drops the last character of a passphrase. The same words typed on NetBSD
        and elsewhere are two keys, with the same end as two lists.
        """,
        Verdict.PERMANENT,
        (
            (NETBSD, config(passphrase="randompass"), PREEMPT),
            (FREEBSD, config(SLOWER, passphrase="randompass"), PREEMPT),
        ),
        {"boots": 0},
        "What to do: on NetBSD type one character more.",
        (
            (NETBSD, config(passphrase="randompass!"), PREEMPT),
            (FREEBSD, config(SLOWER, passphrase="randompass"), PREEMPT),
        ),
    ),
    Weakness(
        "FreeBSD 12's negative demotion",
        """\
        Before PR 259528 the sum of advskew and demotion could be negative. It compares as what it
        is and goes on the wire as the low byte of it: advskew 0 and demotion -10 compare as less
        than one second and advertise 1 s + 246/256 s. So the host thinks itself the best, and
        everybody else thinks it the worst.
        """,
        Verdict.PERMANENT,
        (
            (FREEBSD_12, config(), {"preempt": 1, "demotion": -10}),
            (FREEBSD_12, config(SLOWER), PREEMPT),
        ),
        {"boots": 0},
        """\
        Without preempt one lost advertisement is enough for the same. The profiles FREEBSD and
        FREEBSD_14 have the floor (``demotion_floor``), with which this holds. What to do on 12:
        never let the sum get below 0.
        """,
        (
            (FREEBSD, config(), {"preempt": 1, "demotion": -10}),
            (FREEBSD, config(SLOWER), PREEMPT),
        ),
    ),
    Weakness(
        "A family that is not heard any more",
        """\
        Each family has a timer, and either one makes a MASTER. Here both hosts have an IPv4 and
        an IPv6 virtual address, and from some time on b hears no advertisement over IPv6: a
        packet filter, or a switch that forgets multicast groups. It becomes MASTER, hears over
        IPv4 that somebody better is there, yields, and so on.
        """,
        Verdict.PERMANENT,
        (
            (FREEBSD, config(addresses=DUAL), PREEMPT),
            (FREEBSD, config(SLOWER, addresses=DUAL), PREEMPT),
        ),
        {"losses": 0, "boots": 0, "deafenings": 1},
        "What to do: a vhid for each family, if one of the families may fail alone.",
        (
            (FREEBSD, config(addresses=DUAL), PREEMPT),
            (FREEBSD, config(SLOWER, addresses=DUAL), PREEMPT),
        ),
    ),
    Weakness(
        "The IPv6 timers of the UCarp fork",
        """\
        The fork 1.6.0 with an IPv6 address keeps an IPv4 timer besides, which no advertisement
        over IPv6 starts again. The UCARP profile does not repeat this; it was modelled as two
        hosts of that profile that have addresses of both families, so that both timers run, but
        put advertisements on the wire over IPv6 only.
        """,
        Verdict.PERMANENT,
        (
            Host(UCARP_FORK, config(addresses=DUAL), sends=(6,)),
            Host(UCARP_FORK, config(SLOWER, addresses=DUAL), sends=(6,)),
        ),
        {"losses": 0, "boots": 0},
        "The UCARP profile with one IPv6 address holds.",
        (
            (UCARP, config(addresses=["2001:db8::50"])),
            (UCARP, config(SLOWER, addresses=["2001:db8::50"])),
        ),
    ),
    Weakness(
        "OpenBSD's demote byte beside a system that does not look at it",
        """\
        OpenBSD of 2025 tells that it is demoted in the demote byte alone; its advskew stays. No
        other system reads that byte. So the demoted host stays MASTER, preempt or not, and the
        FreeBSD host beside it does not take over.
        """,
        Verdict.PERMANENT,
        ((OPENBSD, config(), {"preempt": 1, "demotion": 1}), (FREEBSD, config(SLOWER), PREEMPT)),
        {},
        """\
        OpenBSD's older releases send advskew 240 besides (``demote_raises_advskew``), and with
        these it holds. What to do: on OpenBSD let what demotes a host change advskew as well.
        """,
        (
            (OPENBSD_2015, config(), {"preempt": 1, "demotion": 1}),
            (FREEBSD, config(SLOWER), PREEMPT),
        ),
    ),
    Weakness(
        "An interval as long as another's master-down time",
        """\
        A BACKUP of advbase 1 and advskew 0 waits 3 s. A MASTER of advbase 3 and advskew 0 is not
        so slow that it "will time out", which takes more than 3 s, but its advertisements come
        just when the timer expires. Without preempt the BACKUP takes over one day, for no reason
        that an operator could see.
        """,
        Verdict.UNSTABLE,
        ((FREEBSD, config()), (FREEBSD, config(advbase=3))),
        {},
        """\
        With preempt it holds, and with an advbase of 4 the BACKUP takes over at once, preempt or
        not. With ``dead_ratio`` 1 two equal hosts of UCarp have the same trouble every second.
        What to do: the same advbase everywhere.
        """,
        ((FREEBSD, config(), PREEMPT), (FREEBSD, config(advbase=3), PREEMPT)),
    ),
)


# -- the page --------------------------------------------------------------------------------

TOP = """\
.. Generated by docs/checking.py; do not edit, run: python docs/checking.py

Exhaustive checks
=================

A simulation shows what happens in some runs. A check shows what can happen in any: `check
<carpproto.simulation.checking.check>` lets a small group of hosts go every way that timers,
deliveries, losses and crashes allow, and answers "holds", or with the shortest way into trouble.
The hosts are the library's own state machines with real HMACs, not a model of them. This page is
made by checking, and a test fails when it is out of date.

What is checked
---------------

Whenever the faults end, and whatever happens after that,

- there is exactly one MASTER within a bound, three of the longest master-down times, and
- it is the right one: with preempt one that no other host outranks, by demotion, then by
  interval; without it any (on OpenBSD any that is not more demoted than another);
- that stays so. No two MASTERs for ever, no MASTER at all for ever, no changing for ever.

All ways means:

- every order of what may happen in the same moment;
- an advertisement reaches each receiver at any time from 0 to {delay}/256 s after it was sent,
  overtaking others or not, and a timer fires from 0 to {late}/256 s after its deadline;
- up to {losses} advertisements do not reach one receiver, and up to {crashes} node crashes, at any
  moment, and boots again just after any event, or a multiple of {boot_every}/256 s later, or
  never.

Times are multiples of 1/256 s. All hosts boot together at first.

There is no bound on how long a run is: two moments in which the hosts, their timers, what is on
its way and the faults left are the same are one state, so the states are finite in number, and
every one of them is looked at. *Counters* of advertisements are no part of a state: they change
nothing but whether OpenBSD takes an advertisement for its own, and no two of its hosts share
theirs.

What is not checked: what a node does before the HMAC (checksum, TTL, addresses: so that NetBSD
1.120's IPv6 checksum, which others refuse, is not seen here), shutdowns and bow-outs, changes of
the configuration, clocks that run at different rates, timers later than said, unicast peers.

The answers:

========== ==================================================================================
holds      for every state and every way; with the longest time it takes after the last fault
late       it takes longer than the bound
unstable   one right MASTER is there, but without a fault it may be lost at any time
recurrent  a way leads round in a circle: as long as the timing repeats itself
permanent  every way leads on and on through bad states, whatever the timing
========== ==================================================================================

Each pair of profiles
---------------------

The first host, by row, has advskew 0 and the lower address; advbase is 1. The cells are the
longest time until one right MASTER is there to stay, and the number of states without and with
preempt.

"""

MIDDLE = """\
FreeBSD 12.1, 14 and the default, which is 12 without its flaws, differ in demotion and in nothing
that decides here; NetBSD decides as FreeBSD does. Two unequal hosts hold in every pair, and it
never takes longer than one master-down time of the slower host, and what is on its way or late.
OpenBSD waits three times its whole interval, so as a second host it takes over later than the
others. In a group of three that may reverse an order: an OpenBSD host of advskew 100 waits 4.17 s,
a FreeBSD host of advskew 200 3.78 s, so without preempt the worse one inherits.

Groups of three
---------------

The same, but a delay of 1/256 s at the most, timers that are not late, and boots each 1 s.

"""

WEAK = """\
What goes wrong
---------------

Each with the shortest way there that the check finds, which a test repeats with whole nodes in a
simulated cluster. The states of the hosts are those after the event. All losses and crashes that
the bounds allow were tried; where none is shown, none is needed. "100/256" is an advskew of 100.

"""

END = """\
To check a group of your own
----------------------------

.. testcode::

   from carpproto import FREEBSD, UCARP, VirtualHostConfig
   from carpproto.simulation.checking import check

   best = VirtualHostConfig(vhid=1, passphrase="randompass", addresses=["192.0.2.50"])
   second = best.replace(advskew=100)
   print(check([(FREEBSD, best, {"preempt": 1}), (UCARP, second, {"preempt": 1})]))

.. testoutput::

   {example}

A counterexample has a ``script()``, lines of Python that do the same with the ``hosts`` that were
checked, in a `Replay <carpproto.simulation.checking_report.Replay>`, and ``replay()``, which does
that and compares each step. ``nox -s deep`` runs the checks with larger bounds: a boot at any
1/256 s, more losses, later timers, three hosts that boot.

.. autofunction:: carpproto.simulation.checking.check

.. autoclass:: carpproto.simulation.checking_report.Host

.. autoclass:: carpproto.simulation.checking_report.Checked
   :members: holds, replay, script

.. autoclass:: carpproto.simulation.checking_report.Verdict

.. autoclass:: carpproto.simulation.checking_report.Step
   :members: at

.. autoclass:: carpproto.simulation.checking_report.Replay
   :members:
   :exclude-members: step

.. autoexception:: carpproto.simulation.checking_report.ReplayError
"""

DEFAULTS = {name: (check.__kwdefaults__ or {})[name] for name in check.__kwdefaults__ or {}}


def page() -> str:
    """The whole page."""
    example = check([(FREEBSD, config(), PREEMPT), (UCARP, config(SLOWER), PREEMPT)])
    return "".join(
        [
            TOP.format(**DEFAULTS),
            *matrix("Advskew 0 and 100", SLOWER),
            *matrix("Both of advskew 0", 0),
            MIDDLE,
            *trios(),
            WEAK,
            *(section(weakness) for weakness in WEAKNESSES),
            END.replace("{example}", str(example)),
        ]
    )


def matrix(title: str, advskew: int) -> Iterator[str]:
    """What came of each pair, first by row."""
    yield f".. list-table:: {title}\n   :header-rows: 1\n   :stub-columns: 1\n\n"
    yield from row(["", *NAMES])
    for name, first in zip(NAMES, PROFILES, strict=True):
        cells = [name]
        for second in PROFILES:
            both = [pair(first, second, preempt, advskew) for preempt in (False, True)]
            cells.append(f"{told(both)}; {both[0].states}, {both[1].states}")
        yield from row(cells)
    yield "\n"


def trios() -> Iterator[str]:
    """What came of groups of three."""
    yield ".. list-table::\n   :header-rows: 1\n\n"
    yield from row(["Profiles", "advskews", "Result", "States without, with preempt"])
    for profiles, advskews in TRIOS:
        both = [trio(profiles, preempt, advskews) for preempt in (False, True)]
        names = ", ".join(NAMES[PROFILES.index(profile)] for profile in profiles)
        states = f"{both[0].states}, {both[1].states}"
        yield from row([names, ", ".join(map(str, advskews)), told(both), states])
    yield "\n"


def told(results: Iterable[Checked]) -> str:
    """What came of checks, if it is the same; one after the other if not."""
    words = [
        f"{result.settles:.2f} s" if result.settles else f"*{result.verdict.name.lower()}*"
        for result in results
    ]
    return words[0] if len(set(words)) == 1 else " / ".join(words)


def row(cells: Iterable[str]) -> Iterator[str]:
    """A row of a list-table."""
    for number, cell in enumerate(cells):
        yield f"   {'  ' if number else '* '}- {cell}".rstrip() + "\n"


def section(weakness: Weakness) -> str:
    """A weakness: what it is, its trace, what helps."""
    found = weakness.checked()
    if found.verdict is not weakness.verdict:
        raise SystemExit(f"{weakness.title}: {found.verdict}, not {weakness.verdict}:\n{found}")
    parts = [
        f"{weakness.title}\n{'~' * len(weakness.title)}\n",
        dedent(weakness.text),
        ".. code-block:: none\n\n" + indent(shortened(str(found)), "   ") + "\n",
        dedent(weakness.after).rstrip("\n") + "\n",
    ]
    if weakness.instead:
        bounds = {**weakness.bounds, "deafenings": 0}
        held = check(weakness.instead, **bounds)
        if not held.holds:
            raise SystemExit(f"{weakness.title}, instead: {held}")
        parts.append(f"Otherwise: {held}.\n")
    return "\n".join(parts) + "\n"


def shortened(trace: str) -> str:
    """A trace in fewer columns."""
    head, _, steps = trace.partition("\n")
    for long, short in (
        (" s + 0/256 s", " s"),
        ("(more frequent advertisement received)", "(more frequent advertisement)"),
        (" s + ", " + "),
        ("/256 s", "/256"),
    ):
        steps = steps.replace(long, short)
    return f"{head}\n{steps}"


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    if arguments not in ([], ["--check"]):
        print(f"usage: {COMMAND} [--check]", file=sys.stderr)
        return 2
    content = page().encode()
    if not arguments:
        PAGE.write_bytes(content)
    elif not PAGE.is_file() or PAGE.read_bytes() != content:
        print(f"docs/{PAGE.name} is stale; run: {COMMAND}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
