"""Runs the target under atheris; arguments are libFuzzer's options and the corpus."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["carpproto"]):
    import targets


def main() -> None:
    """Fuzz until told to stop."""
    atheris.Setup(sys.argv, targets.events_target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
