"""A bar on a terminal while something takes long, if tqdm is there (the extra ``simulate``)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from carpproto.capture.reader import Capture, open_capture
from carpproto.cli.decode import open_file

_LONG = 16 * 1024 * 1024  # bytes of a file that is worth a bar


class _Counting:
    """A file that tells a bar how many bytes were read of it."""

    def __init__(self, file: BinaryIO, bar: Any) -> None:
        self._file = file
        self._bar = bar

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._bar.update(len(data))
        return data


@contextmanager
def open_with_progress(name: str) -> Generator[Capture, None, None]:
    """As `open_file`, with a bar for a long file when stderr is a terminal."""
    bar_class = _bar_class()
    path = Path(name)
    if name == "-" or bar_class is None or not path.is_file() or path.stat().st_size < _LONG:
        with open_file(name) as capture:
            yield capture
        return
    with (
        path.open("rb", buffering=0) as file,
        bar_class(
            total=path.stat().st_size, unit="B", unit_scale=True, file=sys.stderr, leave=False
        ) as bar,
    ):
        yield open_capture(cast(BinaryIO, _Counting(cast(BinaryIO, file), bar)))


@contextmanager
def progress_bar(total: int, unit: str) -> Generator[Callable[[int], object], None, None]:
    """What to call with each step done; it moves a bar if stderr is a terminal that has tqdm."""
    bar_class = _bar_class()
    if bar_class is None:
        yield lambda step: None
        return
    with bar_class(total=total, unit=unit, unit_scale=True, file=sys.stderr) as bar:
        yield bar.update


def _bar_class() -> Any:
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return cast(Any, tqdm)
