"""A timeline as a picture: one lane per source, colour by role, markers for events.

Needs matplotlib, which the extra ``plot`` installs; it is imported only to draw. The same timeline
gives the same bytes of SVG.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple, cast

from carpproto.capture.happenings import Event, Happening
from carpproto.capture.observation import Group
from carpproto.capture.reigns import SECOND, Began, Ended, Reign
from carpproto.capture.timeline import Lane, Timeline
from carpproto.core.addresses import Address
from carpproto.core.errors import ConfigError

FORMATS = (".svg", ".png", ".SVG", ".PNG")
"""How the name of a picture ends."""

MAX_LANES = 40
"""Lanes of one picture; sources that were MASTER for longest come first."""

_log = logging.getLogger(__name__)
_MAX_DRAWN = 2000  # marks of one kind
_MASTER, _TWO, _IDLE = "#2c7a4b", "#c62828", "#d9dee3"
_LATE, _REFUSED = "#e8a33d", "#fbe3e3"
_INK, _ARROW, _YELLOW = "#24292f", "#57606a", "#ffd54a"
_HANDOVERS = (Began.TOOK_OVER, Began.AFTER_BOW_OUT, Began.PREEMPTED)


class _Mark(NamedTuple):
    """How an event is drawn."""

    label: str
    marker: str
    colour: str
    edge: str = "white"


_MARKS = {
    Happening.ANNOUNCED: _Mark("addresses announced", "^", "#0b57d0"),
    Happening.DEMOTED: _Mark("demoted (advskew raised)", "v", _YELLOW, _INK),
    Happening.RESTORED: _Mark("advskew lowered", "o", _YELLOW, _INK),
    Happening.RECONFIGURED: _Mark("advbase changed", "D", "#6e40aa"),
    Happening.BOWED_OUT: _Mark("bowed out", "X", _INK),
    Happening.GAP: _Mark("after a gap", "d", "white", _INK),
    Happening.REFUSED: _Mark("refused by receivers", "x", _INK, _INK),
    Happening.NOT_AUTHENTIC: _Mark("wrong HMAC", "P", _INK),
}


def check_picture(path: str | PathLike[str]) -> None:
    """Raise `ConfigError` where `draw` could not write that file; one that is there stays."""
    name = fspath(path)
    if Path(name).suffix not in FORMATS:
        raise ConfigError(f"cannot draw {name}: a picture's name ends in {' or '.join(FORMATS)}")
    try:
        import_module("matplotlib")
    except ImportError:
        raise ConfigError("a picture needs matplotlib: pip install 'carpproto[plot]'") from None
    try:
        if Path(name).exists():
            Path(name).open("r+b").close()
        else:
            TemporaryFile(dir=Path(name).parent).close()
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {error.strerror or error}") from None


def draw(
    found: Timeline, path: str | PathLike[str], *, title: str = "", groups: Sequence[Group] = ()
) -> None:
    """Draw a timeline into a file whose name ends in ``.svg`` or ``.png``, or that in capitals.

    Only the groups named, all without names. Where there are more sources than `MAX_LANES`, the
    picture says how many are left out, and so does a warning of the logger
    ``carpproto.capture.picture``, which goes to stderr unless the program has set up logging.
    Raises `ConfigError` where the name ends in something else, where there is nothing to draw,
    where the file cannot be written, or where matplotlib is missing.
    """
    check_picture(path)
    name = fspath(path)
    wanted = _wanted(found, groups or found.groups)
    lanes = _lanes(wanted)
    if not lanes or found.begin is None or found.end is None:
        raise ConfigError("there is no advertisement to draw")
    import matplotlib
    from matplotlib.figure import Figure

    settings = {
        "svg.hashsalt": "carpproto",
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.parse_math": False,
    }
    with cast(Any, matplotlib).rc_context(settings):
        figure = cast(Any, Figure)(figsize=(11, 1.9 + 0.62 * len(lanes)), layout="constrained")
        left_out = _left_out(len(wanted) - len(lanes), len(wanted))
        _fill(figure, found, lanes, title, left_out)
        kind = Path(name).suffix[1:].lower()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        try:
            figure.savefig(name, format=kind, dpi=110, metadata=metadata)
        except OSError as error:
            raise ConfigError(f"cannot write {name}: {error.strerror or error}") from None
    if left_out:
        _log.warning("%s: %s", name, left_out)


def _left_out(missing: int, count: int) -> str:
    """What a picture says of the lanes that it lacks; nothing where it has all."""
    return f"{missing} of {count} sources are left out" if missing else ""


def _wanted(found: Timeline, groups: Sequence[Group]) -> list[Lane]:
    """The lanes of groups, those that were MASTER for longest first."""
    wanted = [lane for lane in found.lanes if lane.group in groups]
    held: dict[tuple[Group, Address], int] = {}
    for reign in found.reigns:
        key = reign.group, reign.source
        held[key] = held.get(key, 0) + reign.last - reign.start
    wanted.sort(key=lambda lane: -held.get((lane.group, lane.source), -1))
    return wanted


def _lanes(wanted: list[Lane]) -> list[Lane]:
    """Those to draw, by group, IPv4 first, and in each by address."""
    return sorted(
        wanted[:MAX_LANES],
        key=lambda lane: (lane.group, lane.source.version, int(lane.source)),
    )


def _fill(figure: Any, found: Timeline, lanes: list[Lane], title: str, left_out: str) -> None:
    begin = found.begin or 0
    length = max(((found.end or 0) - begin) / SECOND, 0.001)
    axes = figure.add_subplot()
    rows = {(lane.group, lane.source): row for row, lane in enumerate(lanes)}
    several = len({lane.group for lane in lanes}) > 1
    for row in range(len(lanes)):
        axes.barh(row, length, left=0, height=0.34, color=_IDLE, zorder=1)
    labels: dict[str, Any] = {}
    for reign in found.reigns[:_MAX_DRAWN]:
        row = rows.get((reign.group, reign.source), -1)
        if row >= 0:
            _draw_reign(axes, reign, row, begin, labels)
    for reign in found.refused[:_MAX_DRAWN]:
        row = rows.get((reign.group, reign.source), -1)
        if row >= 0:
            start = (reign.start - begin) / SECOND
            labels["advertises, but is refused"] = axes.barh(
                row,
                (max(reign.last, reign.until) - begin) / SECOND - start,
                left=start,
                height=0.34,
                color=_REFUSED,
                edgecolor=_TWO,
                hatch="////",
                linewidth=0.8,
                zorder=1.8,
            )
    for overlap in found.overlaps[:_MAX_DRAWN]:
        start = (overlap.start - begin) / SECOND
        end = overlap.end
        if overlap.one.ended is overlap.other.ended is Ended.OPEN:
            end = overlap.one.until
        for reign in (overlap.one, overlap.other):
            row = rows.get((reign.group, reign.source), -1)
            if row >= 0:
                labels["two MASTERs"] = axes.barh(
                    row,
                    (end - begin) / SECOND - start,
                    left=start,
                    height=0.34,
                    color=_TWO,
                    zorder=3,
                )
    _draw_failovers(axes, found, rows, begin)
    _draw_events(axes, found.events, rows, begin, labels)
    axes.set_yticks(range(len(lanes)))
    axes.set_yticklabels([_name(lane, several) for lane in lanes])
    axes.set_ylim(len(lanes) - 0.45, -0.62)
    axes.set_xlim(-0.01 * length, 1.01 * length)
    axes.set_xlabel("\n".join(filter(None, ("seconds of the capture", left_out))))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#eceff2", zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    _separate(axes, lanes)
    axes.set_title(title or _title(lanes), loc="left", color=_INK, fontsize=11, pad=10)
    figure.legend(
        list(labels.values()),
        list(labels),
        loc="outside lower center",
        ncols=min(5, len(labels)),
        frameon=False,
        fontsize=9,
    )


def _title(lanes: list[Lane]) -> str:
    groups = sorted({lane.group for lane in lanes})
    shown = ", ".join(str(group) for group in groups[:4])
    return f"CARP {shown}{', ...' if len(groups) > 4 else ''}"


def _name(lane: Lane, several: bool) -> str:
    terms = ""
    if lane.terms:
        advbase, advskew = lane.terms[0]
        terms = f"{advbase} s + {advskew}/256"
    if several:
        terms = f"{lane.group}  {terms}"
    return f"{lane.source}\n{terms}"


def _separate(axes: Any, lanes: list[Lane]) -> None:
    """A line between groups."""
    for row in range(1, len(lanes)):
        if lanes[row].group != lanes[row - 1].group:
            axes.axhline(row - 0.5, color="#b8c0c8", linewidth=0.8, zorder=1)


def _draw_reign(axes: Any, reign: Reign, row: int, begin: int, labels: dict[str, Any]) -> None:
    """Green while it advertised; after the last one amber, until the next was overdue."""
    start, last = ((t - begin) / SECOND for t in (reign.start, reign.last))
    until, gone = ((t - begin) / SECOND for t in (reign.until, reign.gone_by))
    held = max(last, until) - start
    # The edge makes one advertisement alone visible.
    labels["MASTER"] = axes.barh(
        row, held, left=start, height=0.34, color=_MASTER, edgecolor=_MASTER, zorder=2
    )
    if gone > start + held and reign.successor is None:
        labels["fell silent"] = axes.barh(
            row, gone - start - held, left=start + held, height=0.34, color=_LATE, zorder=1.5
        )


def _draw_failovers(
    axes: Any, found: Timeline, rows: dict[tuple[Group, Address], int], begin: int
) -> None:
    """An arrow from the last advertisement of one MASTER to the first of the next.

    The first twenty that somebody had to wait for are labelled with the seconds.
    """
    labelled = 0
    for reign in found.reigns[:_MAX_DRAWN]:
        row = rows.get((reign.group, reign.source), -1)
        old = rows.get((reign.group, reign.predecessor or reign.source), -1)
        if min(row, old) < 0 or row == old or reign.began not in _HANDOVERS:
            continue
        at = (reign.start - begin) / SECOND
        waited = 0.0 if reign.began is Began.PREEMPTED else (reign.waited or 0) / SECOND
        step = 0.18 if row > old else -0.18
        axes.annotate(
            "",
            xy=(at, row - step),
            xytext=(at - waited, old + step),
            arrowprops={
                "arrowstyle": "-|>",
                "color": _ARROW,
                "linewidth": 1.2,
                "shrinkA": 0,
                "shrinkB": 0,
            },
            zorder=4,
        )
        if reign.began is not Began.PREEMPTED and labelled < 20:
            labelled += 1
            axes.annotate(
                f"{waited:.2f} s",
                xy=(at - waited / 2, (row + old) / 2),
                ha="center",
                va="center",
                fontsize=9,
                color=_INK,
                bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"},
                zorder=5,
            )


def _draw_events(
    axes: Any,
    events: Sequence[Event],
    rows: dict[tuple[Group, Address], int],
    begin: int,
    labels: dict[str, Any],
) -> None:
    points: dict[Happening, tuple[list[float], list[float]]] = {}
    for event in events:
        row = rows.get((event.group, event.source), -1) if event.source is not None else -1
        if row < 0 or event.what not in _MARKS:
            continue
        xs, ys = points.setdefault(event.what, ([], []))
        if len(xs) < _MAX_DRAWN:
            xs.append((event.nanoseconds - begin) / SECOND)
            ys.append(row + (0.08 if event.what is Happening.ANNOUNCED else -0.08))
    for what, mark in _MARKS.items():
        if what in points:
            labels[mark.label] = axes.plot(
                *points[what],
                linestyle="none",
                marker=mark.marker,
                markersize=8,
                markeredgewidth=2.0 if mark.marker == "x" else 1.2,
                color=mark.colour,
                markeredgecolor=mark.edge,
                zorder=6,
                clip_on=False,
            )[0]
