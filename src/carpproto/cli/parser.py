"""The parser of the command line, which refuses a mistake in one line, as its command's.

Must not know the commands. No value is repeated: it may be a passphrase.
"""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

_OPTION = re.compile(r"--[\w-]+|-\w?")
_REQUIRED = "the following arguments are required: "
# What argparse says with a value in it, and what is said instead.
_WITH_VALUE = (
    (r"ambiguous option: (--[\w-]+).* could match (.*)", r"ambiguous option: \1 could match \2"),
    (r"(argument .+?: )ignored explicit argument .*", r"\1takes no value"),
    (r"(argument .+?: )invalid int value: .*", r"\1expected a whole number"),
    (r"(argument .+?: )invalid float value: .*", r"\1expected a number"),
    (r"(argument .+?: )invalid choice: .* \((choose from .*)\)", r"\1\2"),
)


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations, and each command's parser refuses what it does not know itself."""

    _words: tuple[str, ...] = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def parse_known_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse has it, but what is not known ends it."""
        self._words = tuple(args)
        found, unknown = super().parse_known_args(args, namespace)
        option = next(filter(None, map(_OPTION.match, unknown)), None)
        if option is not None:
            self.error(f"no such option: {option[0]}")
        if unknown:
            self.error("too many arguments")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong and where help is, and end with status 2."""
        if message.startswith(_REQUIRED):
            message = self._missing(message.removeprefix(_REQUIRED))
        for said, instead in _WITH_VALUE:
            message = re.sub(said, instead, message, flags=re.DOTALL)
        command = ": ".join(self.prog.split())
        self.exit(2, f"{command}: {message} (see {self.prog} --help)\n")

    def _missing(self, names: str) -> str:
        """What is missing; an option that takes all that follows has perhaps taken FILE."""
        text = f"missing: {names}"
        first = names.partition(", ")[0]
        for action in self._actions:
            for option in action.option_strings:
                if action.nargs == "+" and option in self._words and not first.startswith("-"):
                    text += f"; {option} takes all words after it, so put {first} before it"
        return text
