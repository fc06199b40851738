"""``carpproto fuzz``: mutated frames of a capture against the library, a cluster or a peer."""

from __future__ import annotations

import argparse
import os
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any

from carpproto.cli.decode import open_file
from carpproto.cli.text import print_json, printable, refuse, warn
from carpproto.cli.verify import read_passphrase
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import ConfigError, DecodeError
from carpproto.simulation.campaign import Task, load_tally, run_campaign, task_name
from carpproto.simulation.random_scenario import EVERYTHING
from carpproto.testing.fuzz_campaign import (
    CHUNK,
    TARGETS,
    cases,
    frames_of_a_run,
    frames_to_mutate,
    make_spec,
    tally_of_begun,
    task,
)
from carpproto.testing.fuzz_peer import fuzz_peer
from carpproto.testing.fuzz_report import Case, check_directory, free_name, write_case
from carpproto.testing.fuzzing import Spec

HELP = "mutate a capture's frames, and see what takes them badly"
DESCRIPTION = (
    "Changes recorded frames field by field and blindly, makes checksums and HMAC right again or "
    "not, and gives them to the library, to a simulated cluster, or to a live peer. The same seed "
    "gives the same frames. Exit status 1 if something was found."
)
PEER = "peer"
RATE = 200
"""Frames a second that a peer gets, unless told."""

_INTERRUPTED = 130  # as shells have it: 128 and SIGINT
_MOST_FRAMES = 10**12
_SHOWN = 20  # findings that are made small and printed
_RUNS_TO_CHUNK = 8  # at least so many calls for each process


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = (
        "carpproto fuzz FILE [FILE ...] [--target library|cluster|peer] [--frames N] [--seed N]"
        " [--vhid N --address A [A ...] [--passphrase-file F]] [--unsigned] [--tshark]"
        " [--processes N] [--resume F] [--output DIR] [--interface IF --peer A] [--rate N]"
        " [--json]"
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="pcap or pcapng")
    parser.add_argument("--target", choices=[*TARGETS, PEER], default="library")
    parser.add_argument(
        "--frames",
        type=int,
        default=100_000,
        metavar="N",
        help="how many to make: 100000; a cluster gets 50, so that for clusters it is rounded up",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="0 unless given")
    parser.add_argument("--vhid", type=int, metavar="N", help="the group that signs and hears")
    parser.add_argument("--address", metavar="A", action="extend", nargs="+", help="all of them")
    parser.add_argument("--passphrase-file", metavar="F", help="as for verify")
    parser.add_argument("--unsigned", action="store_true", help="never make the HMAC right again")
    parser.add_argument(
        "--tshark", action="store_true", help="compare with what tshark reads, too (library)"
    )
    parser.add_argument("--processes", type=int, metavar="N", help="as many as processors")
    parser.add_argument(
        "--resume", metavar="F", help="note there what was run, and do not run it again"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="write each finding there, as a pcap and a pytest file; no file is overwritten",
    )
    parser.add_argument("--interface", metavar="IF", help="where the peer is (peer; Linux, root)")
    parser.add_argument("--peer", metavar="A", help="the peer's own address (peer)")
    parser.add_argument("--rate", type=int, metavar="N", help=f"frames a second: {RATE} (peer)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    _check(arguments)
    spec = make_spec(
        _frames(arguments.files), _config(arguments), arguments.seed, _signs(arguments)
    )
    if arguments.output is not None:
        check_directory(arguments.output)
    if arguments.target == PEER:
        return _fuzz_peer(spec, arguments)
    work = task(spec, arguments.target, arguments.tshark)
    try:
        return _campaign(spec, work, arguments)
    except BrokenProcessPool:
        raise ConfigError(
            "a process that tried frames ended by itself: the interpreter crashed, or memory ran "
            "out; with --processes 1 and fewer --frames it can be narrowed down"
        ) from None
    except KeyboardInterrupt:
        _say_interrupted(arguments.resume, work)
        return _INTERRUPTED


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is read."""
    if not 1 <= arguments.frames <= _MOST_FRAMES:
        raise ConfigError(f"--frames is 1 to {_MOST_FRAMES}")
    if arguments.tshark and arguments.target != "library":
        raise ConfigError("--tshark goes with --target library")
    if arguments.target == PEER:
        for option in ("processes", "resume"):
            if getattr(arguments, option) is not None:
                raise ConfigError(f"--{option} does not go with --target peer")
    else:
        for option in ("interface", "peer", "rate"):
            if getattr(arguments, option) is not None:
                raise ConfigError(f"--{option} goes with --target peer")


def _campaign(spec: Spec, work: Task, arguments: argparse.Namespace) -> int:
    """Fuzz the library or clusters; the exit status."""
    size = frames_of_a_run(arguments.target)
    runs, begun = divmod(arguments.frames, size)
    if begun and arguments.target == "cluster":
        runs, begun = runs + 1, 0
    workers = arguments.processes or os.cpu_count() or 1
    chunk = 1 if arguments.tshark else CHUNK
    tally = run_campaign(
        range(runs),
        task=work,
        processes=arguments.processes,
        chunk=max(1, min(chunk, runs // (_RUNS_TO_CHUNK * workers))),
        resume=arguments.resume,
    )
    last: dict[int, int] = {}
    if begun and not any(first <= runs < stop for first, stop in tally.seeds):
        last[runs] = begun
        tally = tally.merge(tally_of_begun(spec, runs, begun, arguments.tshark))
    failing = [number for number, _ in tally.failing]
    if arguments.json:
        print_json(
            {
                "part": "fuzz",
                "target": arguments.target,
                "recorded": len(spec.frames),
                "frames": tally.faults,
                "seed": spec.seed,
                "failed": tally.failed,
            }
        )
    else:
        print(
            f"{tally.faults} frames, made of {len(spec.frames)} recorded ones with seed "
            f"{spec.seed}: {f'{tally.failed} runs found something' if failing else 'no finding'}"
        )
    found = cases(spec, arguments.target, arguments.tshark, failing, last)
    shown = 0
    for shown, case in enumerate(islice(found, _SHOWN), 1):
        _print_case(shown, case, spec, arguments)
    if failing and not shown:
        warn("what was noted shows no more: was it mended? Another --resume begins anew")
    return 1 if failing else 0


def _say_interrupted(resume: str | None, work: Task) -> None:
    if resume is None:
        text = "interrupted; nothing is kept: with --resume F the next one would go on from there"
    else:
        noted = load_tally(resume, task_name(work, EVERYTHING)).faults
        text = f"interrupted; {noted} frames are noted in {resume}; the same command goes on there"
    refuse(ConfigError(text))


def _frames(files: list[str]) -> tuple[bytes, ...]:
    """Frames of all the files, as evenly as they come; an error names the file."""
    found: dict[bytes, None] = {}
    for name in files:
        try:
            with open_file(name) as capture:
                found.update(dict.fromkeys(frames_to_mutate(capture)))
                if capture.warning is not None:
                    warn(f"{name}: {capture.warning}")
        except DecodeError as error:
            text = error.text if error.text.startswith(name) else f"{name}: {error.text}"
            raise DecodeError(error.reason, error.offset, text) from None
        except OSError as error:
            raise ConfigError(f"cannot read {name}: {error.strerror or error}") from None
    return tuple(found)


def _signs(arguments: argparse.Namespace) -> bool:
    return not arguments.unsigned


def _config(arguments: argparse.Namespace) -> VirtualHostConfig | None:
    """The group that was given; None where none was."""
    if arguments.vhid is None and arguments.address is None:
        if arguments.passphrase_file is not None:
            raise ConfigError("--passphrase-file goes with --vhid and --address")
        return None
    if arguments.vhid is None or arguments.address is None:
        raise ConfigError("--vhid and --address go together")
    return VirtualHostConfig(
        vhid=arguments.vhid,
        addresses=arguments.address,
        passphrase=read_passphrase(arguments),
        advskew=100,
    )


def _print_case(count: int, case: Case, spec: Spec, arguments: argparse.Namespace) -> None:
    written = [] if arguments.output is None else _written(count, case, spec, arguments.output)
    if arguments.json:
        found: dict[str, Any] = {
            "part": "finding",
            **case.finding._asdict(),
            "target": case.target,
            "origin": case.origin,
            "frames": [{"at": at, "frame": frame.hex()} for at, frame in case.frames],
            "written": [str(path) for path in written],
        }
        print_json(found)
        return
    print(f"FOUND {printable(case.finding.kind)}: {printable(case.finding.text)}")
    print(f"  {printable(case.origin)}")
    for at, frame in case.frames[:_SHOWN]:
        print(f"  {at:g} s: {frame.hex()}")
    for path in written:
        print(f"  written: {printable(path)}")


def _written(count: int, case: Case, spec: Spec, directory: str) -> list[Path]:
    """The files that a finding was written to; a disk that is full does not hide the finding."""
    try:
        name = free_name(directory, count)
        return list(write_case(directory, name, case, spec.config))
    except OSError as error:
        warn(f"cannot write finding {count} to {directory}: {error.strerror or error}")
        return []


def _fuzz_peer(spec: Spec, arguments: argparse.Namespace) -> int:
    """Send frames to a live peer; the exit status."""
    if arguments.interface is None or arguments.peer is None:
        raise ConfigError("--target peer goes with --interface and --peer")
    rate = RATE if arguments.rate is None else arguments.rate
    if not 1 <= rate <= 100_000:
        raise ConfigError("--rate is 1 to 100000 frames a second")
    watched = fuzz_peer(
        spec,
        interface=arguments.interface,
        peer=arguments.peer,
        frames=arguments.frames,
        rate=rate,
    )
    role = "MASTER" if watched.was_master else "silent"
    if arguments.json:
        print_json({"part": "peer", "role": role, "frames": watched.sent, "seed": spec.seed})
    else:
        kept = "keeps to its role" if watched.was_master else "stays silent, and its host answers"
        verdict = kept if watched.finding is None else "left its role"
        print(f"{watched.sent} frames sent with seed {spec.seed}: the peer, {role}, {verdict}")
    if watched.finding is None:
        return 0
    origin = f"seed {spec.seed}, {watched.sent} frames sent"
    _print_case(1, Case(watched.finding, PEER, origin, watched.frames), spec, arguments)
    return 1
