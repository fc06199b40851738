"""In which line of a TOML file a key stands: what the standard library's parser does not tell.

Must not know what the keys mean. It is given text that was parsed already, so it need not
notice mistakes: it looks for headers and for keys before an equals sign, and passes over what is
in strings, comments and brackets.
"""

from __future__ import annotations

import re

Key = tuple[str | int, ...]
"""Names from the top; numbers count the tables of an array from 0."""

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ENTRY = re.compile(rf"\s*({_DOTTED})\s*=")
# What a value consists of, as far as it matters where it ends.
_TOKEN = re.compile(
    r""""{3}(?:[^\\]|\\.)*?"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[\[\]{}\n]""",
    re.DOTALL,
)


class Lines:
    """The lines of the keys in a TOML text, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Key, int] = {}
        arrays: dict[Key, int] = {}
        table: Key = ()
        position = 0
        line = 1
        while position < len(text):
            header = _HEADER.match(text, position)
            entry = None if header else _ENTRY.match(text, position)
            if header is not None:
                at = line + text.count("\n", position, header.start(1))
                table = _resolve(_parts(header[2]), arrays)
                if header[1] == "[[":
                    arrays[table] = arrays.get(table, -1) + 1
                    table = (*table, arrays[table])
                self._note(table, at)
                end = header.end()
            elif entry is not None:
                at = line + text.count("\n", position, entry.start(1))
                self._note((*table, *_parts(entry[1])), at)
                end = entry.end()
            else:
                end = position
            # To the end of the line on which the value ends.
            depth = 0
            for token in _TOKEN.finditer(text, end):
                end = token.end()
                if token[0] in ("[", "{"):
                    depth += 1
                elif token[0] in ("]", "}"):
                    depth -= 1
                elif token[0] == "\n" and depth <= 0:
                    break
            else:
                end = len(text)
            line += text.count("\n", position, end)
            position = end

    def _note(self, key: Key, line: int) -> None:
        for length in range(1, len(key) + 1):
            self._lines.setdefault(key[:length], line)

    def of(self, key: Key) -> int:
        """The line of a key, or of the nearest thing that it is in."""
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key, 1)


def _parts(dotted: str) -> Key:
    """The names in a dotted key."""
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, dotted))


def _resolve(names: Key, arrays: dict[Key, int]) -> Key:
    """A header's names, with the number of the latest table of each array on the way."""
    key: Key = ()
    for position, name in enumerate(names):
        key = (*key, name)
        if key in arrays and position + 1 < len(names):
            key = (*key, arrays[key])
    return key
