"""What becomes of a finding: the smallest frames that show it, a pcap and a ready pytest file.

Must not know how frames are made. No secret gets into a file: a test of a group other than
`carpproto.testing.fuzzing.CONFIG` takes the passphrase from the environment and is skipped
without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from carpproto.capture.writer import write_pcap
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError
from carpproto.testing.fuzzing import CONFIG, Finding

ENVIRONMENT = "CARPPROTO_PASSPHRASE"
TRIES = 3000
"""Frames that are tried at the most to make one smaller."""

_SECOND = 1_000_000_000  # nanoseconds
_TEST = '''"""{kind}: {text}

Found by carpproto fuzz, {origin}.
"""

{imports}

{setup}FRAMES = [
{frames}
]


{mark}def test_{name}():
    assert {call}
'''


class Case(NamedTuple):
    """A finding to be written: who shows it, and the frames with their times in seconds.

    ``target`` is ``library``, ``tshark``, ``peer``, or the name of a profile, such as ``FREEBSD``,
    for a cluster of it, which then ran with ``seed``. ``origin`` says how to make it again.
    """

    finding: Finding
    target: str
    origin: str
    frames: tuple[tuple[float, bytes], ...]
    seed: int = 0


def minimise(frame: bytes, fails: Callable[[bytes], bool], tries: int = TRIES) -> bytes:
    """A frame with fewer bytes and more zeros for which ``fails`` is true, as for this one."""
    left = tries

    def still(smaller: bytes) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and smaller != frame and fails(smaller)

    size = len(frame)
    while size:
        if size <= len(frame) and still(frame[: len(frame) - size]):
            frame = frame[: len(frame) - size]
        else:
            size //= 2
    size = len(frame)
    while size:
        for start in range(0, len(frame), size):
            cleared = (
                frame[:start] + bytes(len(frame[start : start + size])) + frame[start + size :]
            )
            if still(cleared):
                frame = cleared
        size //= 2
    return frame


def fewest(
    frames: tuple[bytes, ...], fails: Callable[[tuple[bytes, ...]], bool]
) -> tuple[bytes, ...]:
    """The fewest of several frames for which ``fails`` is true (delta debugging)."""
    size = len(frames)
    while size:
        start = 0
        while start < len(frames):
            left = frames[:start] + frames[start + size :]
            if left and fails(left):
                frames = left
            else:
                start += size
        size //= 2
    return frames


def check_directory(directory: str | Path) -> None:
    """Make a directory and see that files can be written in it; `ConfigError` if not."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass
    except FileExistsError:
        raise ConfigError(
            f"{directory} is no directory; give one, or a name that is free"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror or error}") from None


def free_name(directory: str | Path, first: int = 1) -> str:
    """``finding_N`` for the smallest N from ``first`` on of which there is no file yet."""
    directory = Path(directory)
    return next(
        name
        for name in map("finding_{}".format, count(first))
        if not (directory / f"{name}.pcap").exists()
        and not (directory / f"test_{name}.py").exists()
    )


def write_case(
    directory: str | Path, name: str, case: Case, config: VirtualHostConfig = CONFIG
) -> tuple[Path, Path]:
    """Write ``NAME.pcap`` and ``test_NAME.py``; the directory is made; `OSError` if that fails."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    capture, test = directory / f"{name}.pcap", directory / f"test_{name}.py"
    write_pcap(capture, ((round(at * _SECOND), frame) for at, frame in case.frames))
    test.write_text(pytest_source(name, case, config), encoding="utf-8")
    return capture, test


def pytest_source(name: str, case: Case, config: VirtualHostConfig = CONFIG) -> str:
    """The test file: it fails as long as the finding is there."""
    setup = mark = ""
    group = "CONFIG"
    imports = ["from carpproto.testing.fuzzing import CONFIG"]
    if config != CONFIG and case.target != "tshark":
        addresses = [str(address) for address in config.addresses]
        setup = (
            "CONFIG = VirtualHostConfig(\n"
            f"    vhid={config.vhid},\n"
            f'    passphrase=os.environ.get("{ENVIRONMENT}", ""),\n'
            f"    addresses={addresses},\n"
            f"    advskew={config.advskew},\n"
            ")\n"
        )
        mark = f'@pytest.mark.skipif("{ENVIRONMENT}" not in os.environ, reason="no passphrase")\n'
        imports = ["import os", "", "import pytest", "", "from carpproto import VirtualHostConfig"]
    if case.target == "library":
        imports += ["from carpproto.testing.fuzzing import check_frames"]
        call = f"check_frames(FRAMES, {group}) is None"
    elif case.target == "tshark":
        imports = ["from carpproto.testing.fuzz_tshark import differences"]
        call = "differences(FRAMES) == []"
    elif case.target == "peer":
        mark = '@pytest.mark.skipif("CARP_PEER" not in os.environ, reason="no peer")\n'
        imports = ["import os", "", "import pytest", ""]
        imports += ["from carpproto.testing.fuzz_peer import watch"]
        setup = ""
        call = (
            "(\n        watch(\n            FRAMES,\n"
            '            interface=os.environ["CARP_INTERFACE"],\n'
            '            peer=os.environ["CARP_PEER"],\n        ).finding\n        is None\n    )'
        )
    else:
        imports += [
            f"from carpproto import {case.target}",
            "from carpproto.testing.fuzz_cluster import check_injected",
        ]
        call = (
            "(\n        check_injected("
            f"FRAMES, profile={case.target}, seed={case.seed}, config={group}) is None\n    )"
        )
    timed = case.target not in ("library", "tshark")
    return _TEST.format(
        kind=_plain(case.finding.kind),
        text=_plain(case.finding.text),
        origin=_plain(case.origin),
        imports="\n".join(imports),
        setup=setup,
        frames="\n".join(_frame_lines(case.frames, timed)),
        mark=mark,
        name=name,
        call=call,
    )


def _frame_lines(frames: Iterable[tuple[float, bytes]], timed: bool) -> Iterable[str]:
    for at, frame in frames:
        value = f'bytes.fromhex("{frame.hex()}")'
        yield f"    ({at!r}, {value})," if timed else f"    {value},"


def _plain(text: str) -> str:
    """Text that cannot end a docstring or move a cursor."""
    shown = text.encode("ascii", "backslashreplace").decode()
    shown = "".join(c if c.isprintable() else " " for c in shown)
    return shown.replace("\\", "/").replace('"', "'")
