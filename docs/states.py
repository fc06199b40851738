"""Make the page "State tables" from the library itself, so that it says what the code does.

    python docs/states.py            write docs/states.rst and docs/states/*.svg
    python docs/states.py --check    write nothing; exit 1 and name those that are stale

A diagram and a table of triggers are the `transitions` of a profile; a table of events is what a
`VirtualHost` of that profile did. Nothing here depends on time, chance or the machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from textwrap import dedent, fill, wrap
from typing import NamedTuple
from xml.sax.saxutils import escape

from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.advertisement import Advertisement
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, Reason
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    AdvertisementReceived,
    DemotionAdjusted,
    Event,
    InterfaceChanged,
    LinkChanged,
    Reconfigured,
    SettingChanged,
    Shutdown,
    State,
    StateRequested,
    TimerExpired,
)
from carpproto.core.profile import (
    FREEBSD,
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
    Profile,
    Tie,
)
from carpproto.core.virtual_host import Trigger, VirtualHost, transitions

DOCS = Path(__file__).parent
COMMAND = "python docs/states.py"
INIT, BACKUP, MASTER = State.INIT, State.BACKUP, State.MASTER
NOTHING = "--"


class System(NamedTuple):
    """A section of the page."""

    stem: str
    title: str
    profile: Profile
    releases: tuple[Profile, ...]
    text: str


SYSTEMS = (
    System(
        "freebsd",
        "FreeBSD",
        FREEBSD,
        (FREEBSD_10, FREEBSD_12, FREEBSD_14),
        """\
        The machine without additions. Of two equally fast masters the one that hears the other
        yields; every change of the virtual addresses goes through INIT, which logs "hardware
        interface up"; ``allow`` 0 stops a virtual host; a new advskew waits for the next
        comparison.
        """,
    ),
    System(
        "netbsd",
        "NetBSD",
        NETBSD,
        (NETBSD_1120,),
        """\
        There is no way to ask for a state: any such request, and any new advbase, advskew or
        key, starts the virtual host again, so the two triggers for it are missing. ``allow`` 0
        stops nobody, it only lets a node hear nothing. A MASTER whose carp interface is taken
        down bows out.
        """,
    ),
    System(
        "openbsd",
        "OpenBSD",
        OPENBSD,
        (),
        """\
        Two more triggers, since the demote byte comes before the intervals: who is less demoted
        is the better master, with or without preempt. A MASTER whose carp interface is taken
        down bows out.
        """,
    ),
    System(
        "ucarp",
        "UCarp",
        UCARP,
        (),
        """\
        A host that loses its carrier becomes a BACKUP that waits without a timer. A MASTER that
        yields advertises once more; one that does not yield announces its address. Of two
        equally fast masters the source address decides. The program itself has no ``allow``,
        takes no new values while it runs, can be asked for BACKUP only, and ends when its
        interface goes down; those rows say what the library makes of such events.
        """,
    ),
)


# -- words -----------------------------------------------------------------------------------


def wording(profile: Profile, reason: Reason) -> tuple[str, bool]:
    """A reason as the system's log has it, and whether the log has it at all."""
    logged = dict(profile.words).get(reason, str(reason))
    if logged is None or reason in profile.unlogged:
        return str(reason), False
    return logged, True


def entering(state: State, reason: Reason, speaker: Profile) -> str:
    """A change of state, as a cell of a table has it."""
    text, logged = wording(speaker, reason)
    return f'**{state}** ("{text}")' if logged else f"**{state}** (*{text}*)"


# -- what a virtual host does ----------------------------------------------------------------

FIRST, SECOND, THIRD = "192.0.2.50", "192.0.2.51", "192.0.2.52"
LOWER, OWN, HIGHER = "192.0.2.9", "192.0.2.10", "192.0.2.11"

UP, DOWN = InterfaceChanged("em0", True), InterfaceChanged("em0", False)
CARRIER, NO_CARRIER = LinkChanged("em0", True), LinkChanged("em0", False)
PERMIT, FORBID = SettingChanged("allow", 1), SettingChanged("allow", 0)
PREEMPT = SettingChanged("preempt", 1)


class Heard(NamedTuple):
    """An advertisement, to be signed with the key and the addresses of who hears it."""

    advbase: int = 1
    advskew: int = 100
    demote: int = 0
    source: str = HIGHER
    authentic: bool = True


class Row(NamedTuple):
    """An event: what it is called, and what led to the state in which it comes.

    ``before`` comes before the interface is up. ``init`` and ``backup`` are other ways into
    these states, for events that undo something; they count where they lead there.
    """

    text: str
    event: Event | Heard
    before: tuple[Event, ...] = ()
    init: tuple[Event, ...] = ()
    backup: tuple[Event, ...] = (UP,)
    where: Callable[[Profile], bool] = lambda profile: True


def source_decides(profile: Profile) -> bool:
    """Whether a tie is broken by the source address."""
    return profile.tie in (Tie.SOURCE_LITTLE_ENDIAN, Tie.SOURCE_NUMERIC)


ROWS = (
    Row("interface up", UP),
    Row("interface down", DOWN),
    Row(
        "the carp interface taken down by its operator",
        InterfaceChanged("em0", False, 1),
        where=lambda profile: profile.bows_out,
    ),
    Row("carrier lost", NO_CARRIER),
    Row("carrier back", CARRIER, init=(NO_CARRIER, UP), backup=(UP, NO_CARRIER)),
    Row("``allow`` becomes 0", FORBID),
    Row("``allow`` becomes 1", PERMIT, init=(FORBID, UP)),
    Row("a timer is due", TimerExpired()),
    Row("advertisement, faster: 1 s + 50/256 s", Heard(advskew=50)),
    Row(
        "advertisement, as fast: 1 s + 100/256 s",
        Heard(),
        where=lambda profile: not source_decides(profile),
    ),
    Row("advertisement, as fast, from a lower address", Heard(source=LOWER), where=source_decides),
    Row("advertisement, as fast, from a higher one", Heard(source=HIGHER), where=source_decides),
    Row("advertisement, slower: 1 s + 200/256 s", Heard(advskew=200)),
    Row("advertisement, so slow that it will time out: 4 s", Heard(advbase=4, advskew=0)),
    Row("bow-out: 255 s + 255/256 s", Heard(advbase=255, advskew=255)),
    Row(
        "advertisement, as fast, more demoted",
        Heard(demote=1),
        where=lambda profile: profile.demote_decides,
    ),
    Row(
        "advertisement, faster, more demoted",
        Heard(advskew=50, demote=1),
        where=lambda profile: profile.demote_decides,
    ),
    Row(
        "advertisement, slower, less demoted",
        Heard(advskew=200, demote=1),
        before=(DemotionAdjusted(2),),
        where=lambda profile: profile.demote_decides,
    ),
    Row("advertisement that is not authentic", Heard(authentic=False)),
    Row("MASTER requested", StateRequested("em0", 1, MASTER)),
    Row("BACKUP requested", StateRequested("em0", 1, BACKUP)),
    Row(
        "virtual address added (in INIT: the first)",
        AddressAdded("em0", THIRD, 1),
        init=(AddressRemoved("em0", FIRST, 1), AddressRemoved("em0", SECOND, 1), UP),
    ),
    Row(
        "one of several virtual addresses removed",
        AddressRemoved("em0", SECOND, 1),
        where=lambda profile: not profile.single_address,
    ),
    Row(
        "the last virtual address removed",
        AddressRemoved("em0", FIRST, 1),
        before=(AddressRemoved("em0", SECOND, 1),),
    ),
    Row("new advskew", Reconfigured("em0", 1, advskew=50)),
    Row("demotion +240", DemotionAdjusted(240)),
    Row("demotion -240, after +240", DemotionAdjusted(-240), before=(DemotionAdjusted(240),)),
    Row("``preempt`` becomes 1", PREEMPT),
    Row("shutdown", Shutdown()),
)


def a_host(profile: Profile) -> VirtualHost:
    """One that advertises 1 s + 100/256 s, in INIT; two virtual addresses where that can be."""
    addresses = (FIRST,) if profile.single_address else (FIRST, SECOND)
    return VirtualHost(
        VirtualHostConfig(vhid=1, addresses=addresses, passphrase="secret", advskew=100),
        profile=profile,
        interface="em0",
        mac="52:54:00:00:00:0a",
        addresses=[OWN],
        counter=1,
    )


def due(host: VirtualHost) -> float:
    """When its timer expires."""
    assert host.deadline is not None
    return host.deadline


def host_in(state: State, row: Row, profile: Profile, preempt: bool) -> VirtualHost:
    """A host in this state, ready for the event of a row."""
    ways: dict[State, tuple[tuple[Event, ...], ...]] = {
        INIT: (row.init, ()),
        BACKUP: (row.backup, (UP,)),
        MASTER: ((UP,),),
    }
    for way in ways[state]:
        host = a_host(profile)
        for event in (*((PREEMPT,) if preempt else ()), *row.before, *way):
            host.handle(event, 0.0)
        if state is MASTER:
            host.handle(TimerExpired(), due(host))
        if host.state is state:
            return host
    raise AssertionError(f"no way into {state} for {row.text!r} on {profile.name}")


def event_for(host: VirtualHost, event: Event | Heard) -> Event:
    """What a row says is heard, signed as the host's peers sign."""
    if not isinstance(event, Heard):
        return event
    advertisement = Advertisement(
        host.config.vhid, event.advbase, event.advskew, event.demote, counter=7
    )
    if event.authentic:
        advertisement = host.config.authenticator(host.profile).sign(advertisement)
    return AdvertisementReceived("em0", 4, event.source, advertisement)


def outcome(row: Row, state: State, profile: Profile, preempt: bool, speaker: Profile) -> str:
    """What a host in this state makes of an event, in a few words."""
    host = host_in(state, row, profile, preempt)
    before = host.deadline
    # Halfway to its timer, so that one that starts again is another.
    at = 1.0 if before is None else due(host) - 0.5
    if isinstance(row.event, TimerExpired) and before is not None:
        at = before
    try:
        actions = host.handle(event_for(host, row.event), at)
    except ConfigError:
        return "refused: it has one only"
    steps = [step(action, host, speaker) for action in actions]
    if host.state is BACKUP and host.deadline != before:
        if host.deadline is None:
            steps.append("waits without a timer")
        elif not steps:
            steps.append("timer starts" if before is None else "timer starts again")
    return ", ".join(steps) or NOTHING


def step(action: Action, host: VirtualHost, speaker: Profile) -> str:
    """One action, in a word or two."""
    match action:
        case StateChanged():
            return entering(action.current, action.reason, speaker)
        case SendAdvertisement():
            sent = action.advertisement
            if (sent.advbase, sent.advskew) == (255, 255):
                return "bows out"
            shown = "" if sent.advskew == host.config.advskew else f" advskew {sent.advskew}"
            return f"advertises{shown}" + (f" demote {sent.demote}" if sent.demote else "")
        case AnnounceAddresses():
            return "announces"
        case PacketDropped():
            return f"refused ({action.reason})"
        case _:
            raise AssertionError(f"a virtual host does not do {action!r}")


def cell_of(row: Row, state: State, profile: Profile, speaker: Profile) -> str:
    """The outcome, or both where preempt matters."""
    off, on = (outcome(row, state, profile, preempt, speaker) for preempt in (False, True))
    return off if off == on else f"preempt 0: {off}\npreempt 1: {on}"


def triggers_of(profile: Profile) -> list[Trigger]:
    """The triggers that some state of the profile has, in the order of `Trigger`."""
    rows = transitions(profile).values()
    return [trigger for trigger in Trigger if any(trigger in row for row in rows)]


# -- the page --------------------------------------------------------------------------------

WIDTH = 98


def paragraph(text: str) -> str:
    """Text, filled."""
    return fill(" ".join(dedent(text).split()), WIDTH, break_on_hyphens=False) + "\n"


def list_table(title: str, widths: str, rows: Iterable[Iterable[str]]) -> str:
    """A table; its first row is the head. A newline in a cell begins a paragraph."""
    lines = [f".. list-table:: {title}", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in rows:
        for number, cell in enumerate(row):
            prefix = "   * - " if number == 0 else "     - "
            for line in cell_lines(cell):
                lines.append(f"{prefix}{line}".rstrip())
                prefix = " " * 7
    return "\n".join(lines) + "\n"


def cell_lines(cell: str) -> Iterator[str]:
    """A cell's lines, a paragraph for each of its own."""
    for number, part in enumerate(cell.split("\n")):
        if number:
            yield ""
        yield from wrap(part, WIDTH - 7, break_on_hyphens=False)


def trigger_table(profile: Profile) -> str:
    """State x trigger: the transitions."""
    table = transitions(profile)
    rows = [["Trigger", *map(str, State)]]
    for trigger in triggers_of(profile):
        found = [table[state].get(trigger) for state in State]
        cells = [entering(*transition, profile) if transition else NOTHING for transition in found]
        rows.append([trigger.value, *cells])
    return list_table("What changes the state", "34 22 22 22", rows)


def event_table(profile: Profile) -> str:
    """State x event: what a host did."""
    rows = [
        [row.text, *(cell_of(row, state, profile, profile) for state in State)]
        for row in rows_for(profile)
    ]
    return list_table("What events do", "25 20 29 26", [["Event", *map(str, State)], *rows])


def rows_for(profile: Profile) -> list[Row]:
    """The events that mean something on this system."""
    return [row for row in ROWS if row.where(profile)]


def release_text(release: Profile, main: Profile) -> str:
    """How another release differs in the tables: in what it does, and in how it words that."""
    parts: list[str] = []
    different = [
        [row.text, str(state), cell_of(row, state, release, release)]
        for row in rows_for(main)
        for state in State
        if cell_of(row, state, release, main) != cell_of(row, state, main, main)
    ]
    if transitions(release) != transitions(main) or rows_for(release) != rows_for(main):
        raise AssertionError(f"{release.name} needs a section of its own")
    if different:
        head = ["Event", "State", release.name]
        parts.append(
            list_table(f"What events do on {release.name}", "40 20 40", [head, *different])
        )
    reasons = [reason for row in transitions(main).values() for _, reason in row.values()]
    worded = [
        [f'"{wording(main, reason)[0]}"', how_logged(release, reason)]
        for reason in dict.fromkeys(reasons)
        if (wording(release, reason), reason in release.unlogged)
        != (wording(main, reason), reason in main.unlogged)
    ]
    if worded:
        head = [f"{main.name} logs", release.name]
        parts.append(list_table(f"What {release.name} logs", "50 50", [head, *worded]))
    if not parts:
        return ""
    return "\n".join(
        [paragraph(f"{release.name} has the same transitions; it differs in this:"), *parts]
    )


def how_logged(profile: Profile, reason: Reason) -> str:
    """How a system logs a change of state for this reason."""
    text, logged = wording(profile, reason)
    if logged:
        return f'"{text}"'
    return "not logged" if reason in profile.unlogged else "logged without a reason"


def section(system: System) -> str:
    """Everything on one system."""
    profile = system.profile
    told = {release: release_text(release, profile) for release in system.releases}
    same = [release.name for release in system.releases if not told[release]]
    verb = "has" if len(same) == 1 else "have"
    parts = [
        f"{system.title}\n{'-' * len(system.title)}\n",
        paragraph(system.text),
        f".. image:: states/{system.stem}.svg\n   :alt: {description(system)}\n",
        trigger_table(profile),
        event_table(profile),
        paragraph(f"{' and '.join(same)} {verb} these very tables.") if same else "",
        *told.values(),
    ]
    return "\n".join(part for part in parts if part)


PROSE = """\
What a virtual host does in each state, for each system: a diagram and two tables. :ref:`states`
explains the rules; this page is made from the library by a program, and a test fails when it is
out of date.

A virtual host begins in INIT and stays there until it can take part. Then it is a BACKUP: it
listens, and a master-down timer for each address family tells it when nobody advertises any more.
As MASTER it advertises, and listens for somebody better. Only a handful of causes change the
state, here called triggers. Which trigger an event pulls depends on numbers, such as whose
interval is shorter, and on the system. Where a trigger leads never does.

The diagram and the first table
   are the library's table of transitions, without the triggers that the system does not have.

The second table
   was made by trying: a virtual host of that system was brought into the state and given the
   event, and the cell is what it did, in order. It advertises every 1 s + 100/256 s, has two
   virtual addresses (UCarp: one), and is not demoted unless the event says so. It is in INIT
   because its interface is down, or for want of what the event brings. Advertisements are
   authentic unless the event says otherwise.

In the cells
   - a dash: it stays as it is and sends nothing;
   - *timer*: the master-down timer;
   - *advertises*: sends one advertisement; *announces*: one gratuitous ARP for each virtual
     address; *bows out*: advertises 255 s + 255/256 s;
   - *preempt 0* and *preempt 1*: what happens without and with ``preempt``, where that matters;
   - behind a state, the reason: in quotation marks as the profile words it, in italics where the
     system's log has no line for it, or a line without a reason.

The reasons are worded as FreeBSD 12 logs them, UCarp's as it does. The logs of NetBSD and OpenBSD
say less than the tables: their profiles use FreeBSD's words. "shutdown" and the two reasons that
name demotion are the library's own.
"""


def page() -> str:
    """The whole page."""
    title = "State tables"
    return "\n".join(
        [
            f".. Generated by docs/states.py; do not edit, run: {COMMAND}\n",
            f"{title}\n{'=' * len(title)}\n",
            PROSE,
            *map(section, SYSTEMS),
        ]
    )


# -- the diagrams ----------------------------------------------------------------------------

FONT_SIZE, LINE, GAP = 13, 17, 6
CHARACTER = 7.6  # its width in a wide font, such as Verdana or DejaVu Sans
MARGIN, PADDING = 24, 16
BOX_WIDTH, BOX_HEIGHT = 134, 56
# Ascents keep to the left of the boxes' middle, descents to its right.
ASCENT, DESCENT = 320, 364
MIDDLE = (ASCENT + DESCENT) // 2
TOTAL_WIDTH = 726
HEAD, FOOT = 22, 22

Arrow = tuple[State, State]
ARROWS: tuple[Arrow, ...] = (
    (INIT, BACKUP),
    (BACKUP, INIT),
    (BACKUP, MASTER),
    (MASTER, BACKUP),
    (MASTER, INIT),
)
FILLS = {INIT: "#e8e8e4", BACKUP: "#d9e6f5", MASTER: "#d8eed6"}


class Label(NamedTuple):
    """A reason beside an arrow, in one or more lines."""

    lines: tuple[str, ...]
    logged: bool


def labels_of(profile: Profile) -> dict[Arrow, list[Label]]:
    """What stands at each arrow, as wide as its place allows."""
    widths = dict.fromkeys(ARROWS, TOTAL_WIDTH - MARGIN - DESCENT - 10)
    widths[BACKUP, INIT] = widths[MASTER, BACKUP] = ASCENT - 10 - MARGIN - 10
    widths[MASTER, INIT] = MIDDLE - BOX_WIDTH // 2 - 10 - MARGIN - 10
    labels: dict[Arrow, list[Label]] = {arrow: [] for arrow in ARROWS}
    for state, row in transitions(profile).items():
        for following, reason in row.values():
            arrow = state, following
            if arrow not in labels:
                raise AssertionError(f"the diagram has no place for {state} to {following}")
            text, logged = wording(profile, reason)
            lines = wrap(text, int(widths[arrow] / CHARACTER), break_on_hyphens=False)
            labels[arrow].append(Label(tuple(lines), logged))
    return labels


def height_of(labels: list[Label]) -> int:
    """The height of a block of labels."""
    return sum(len(label.lines) * LINE for label in labels) + GAP * max(len(labels) - 1, 0)


def diagram(system: System) -> str:
    """An SVG: three boxes below each other, descents right, ascents left."""
    labels = labels_of(system.profile)
    first = max(height_of(labels[INIT, BACKUP]), height_of(labels[BACKUP, INIT])) + 2 * PADDING
    second = max(height_of(labels[BACKUP, MASTER]), height_of(labels[MASTER, BACKUP]))
    second += 2 * PADDING
    # The way from MASTER to INIT is labelled beside the box of BACKUP.
    beside = max(height_of(labels[MASTER, INIT]) - BOX_HEIGHT, 0)
    first, second = first + beside // 2, second + beside // 2

    tops = {INIT: HEAD, BACKUP: HEAD + BOX_HEIGHT + first}
    tops[MASTER] = tops[BACKUP] + BOX_HEIGHT + second
    bottom = tops[MASTER] + BOX_HEIGHT
    unlogged = any(not label.logged for block in labels.values() for label in block)
    height = bottom + FOOT + (LINE + GAP if unlogged else 0)

    between = {
        frozenset({INIT, BACKUP}): (tops[INIT] + BOX_HEIGHT, tops[BACKUP]),
        frozenset({BACKUP, MASTER}): (tops[BACKUP] + BOX_HEIGHT, tops[MASTER]),
    }
    drawn: list[str] = []
    for arrow, block in labels.items():
        if not block:
            continue
        if arrow == (MASTER, INIT):
            edge = MIDDLE - BOX_WIDTH // 2
            start, end = (tops[state] + BOX_HEIGHT // 2 for state in arrow)
            drawn.append(line((edge, start), (MARGIN, start), (MARGIN, end), (edge, end)))
            middle = tops[BACKUP] + BOX_HEIGHT // 2
            drawn += texts(block, MARGIN + 10, middle, "start")
            continue
        upper, lower = between[frozenset(arrow)]
        middle = (upper + lower) // 2
        if arrow in ((INIT, BACKUP), (BACKUP, MASTER)):
            drawn.append(line((DESCENT, upper), (DESCENT, lower)))
            drawn += texts(block, DESCENT + 10, middle, "start")
        else:
            drawn.append(line((ASCENT, lower), (ASCENT, upper)))
            drawn += texts(block, ASCENT - 10, middle, "end")
    for state, top in tops.items():
        drawn += box(state, top)
    drawn.append(text(system.title, TOTAL_WIDTH - MARGIN, HEAD + 14, "end", "name"))
    if unlogged:
        note = "In italics: what its log does not give as a reason."
        drawn.append(text(note, MARGIN, bottom + FOOT + 6, "start", "unlogged"))
    return svg(system, height, drawn)


def svg(system: System, height: int, drawn: list[str]) -> str:
    """The file around what is drawn."""
    title = escape(description(system))
    return "\n".join(
        [
            f"<!-- Generated by docs/states.py; do not edit, run: {COMMAND} -->",
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{TOTAL_WIDTH}" height="{height}" '
            f'viewBox="0 0 {TOTAL_WIDTH} {height}" role="img" aria-label="{title}">',
            f"<title>{title}</title>",
            "<style>",
            f"text {{ font: {FONT_SIZE}px Verdana, 'DejaVu Sans', sans-serif; fill: #1f2328; }}",
            ".state { font-weight: bold; font-size: 15px; }",
            ".name { font-weight: bold; fill: #59636e; }",
            ".unlogged { font-style: italic; fill: #59636e; }",
            ".arrow { fill: none; stroke: #59636e; stroke-width: 1.5; }",
            ".head { fill: #59636e; }",
            "</style>",
            f'<rect x="0.5" y="0.5" width="{TOTAL_WIDTH - 1}" height="{height - 1}" rx="10" '
            'fill="#fcfcfa" stroke="#d5d5cf"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def description(system: System) -> str:
    """What the picture is, for who cannot see it."""
    return f"{system.title}: INIT, BACKUP, MASTER, and why it goes from one to another"


def text(words: str, x: int, y: int, anchor: str, kind: str = "") -> str:
    """A line of text."""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def texts(labels: list[Label], x: int, middle: int, anchor: str) -> Iterator[str]:
    """A block of labels, its middle at a height."""
    y = middle - height_of(labels) // 2 + FONT_SIZE
    for label in labels:
        for words in label.lines:
            yield text(words, x, y, anchor, "" if label.logged else "unlogged")
            y += LINE
        y += GAP


def line(*points: tuple[int, int]) -> str:
    """An arrow along points, its head at the last one."""
    *_, (x, y), (tip_x, tip_y) = points
    across, along = (tip_x > x) - (tip_x < x), (tip_y > y) - (tip_y < y)
    back_x, back_y = tip_x - 10 * across, tip_y - 10 * along
    way = " ".join(f"{px},{py}" for px, py in (*points[:-1], (back_x, back_y)))
    head = (
        f"{tip_x},{tip_y} {back_x + 5 * along},{back_y + 5 * across} "
        f"{back_x - 5 * along},{back_y - 5 * across}"
    )
    return f'<polyline class="arrow" points="{way}"/><polygon class="head" points="{head}"/>'


def box(state: State, top: int) -> list[str]:
    """The box of a state."""
    left = MIDDLE - BOX_WIDTH // 2
    return [
        f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" '
        f'fill="{FILLS[state]}" stroke="#59636e"/>',
        text(str(state), MIDDLE, top + BOX_HEIGHT // 2 + 5, "middle", "state"),
    ]


# -- the files -------------------------------------------------------------------------------


def generated() -> dict[str, bytes]:
    """Every file that is made here, by its path below docs/."""
    files = {f"states/{system.stem}.svg": diagram(system) for system in SYSTEMS}
    files["states.rst"] = page()
    return {name: content.encode() for name, content in files.items()}


def stale(files: dict[str, bytes]) -> list[str]:
    """Which of the files are missing, differ, or are left over."""
    there = {f"states/{path.name}" for path in DOCS.glob("states/*")}
    wrong = [
        name
        for name, content in files.items()
        if not (DOCS / name).is_file() or (DOCS / name).read_bytes() != content
    ]
    return wrong + sorted(there - set(files))


def main(arguments: list[str]) -> int:
    """Write the files, or check them."""
    files = generated()
    if arguments == ["--check"]:
        wrong = stale(files)
        for name in wrong:
            print(f"docs/{name} is stale; run: {COMMAND}")
        return 1 if wrong else 0
    if arguments:
        print(f"usage: {COMMAND} [--check]", file=sys.stderr)
        return 2
    for name, content in files.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
