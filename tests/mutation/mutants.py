"""The mutants of a module: the same source with one small change each.

mutmut's operators, applied to the whole of a module: mutmut itself changes only what is within
undecorated functions, and much of the core is tables, defaults and properties. Three operators
more: a condition is negated, a call whose value nobody takes is left out, a returned value is
None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators

# As mutmut does: nearly every mutant of these is a TypeError. The others are for type checkers.
UNTOUCHED_CALLS = {"len", "isinstance", "TypeVar"}
FALSE = {"None", "False"}
PLAIN = (cst.Name, cst.Attribute, cst.Call, cst.Subscript)


class Mutant(NamedTuple):
    """One change: where it is, the lines as they are and as they would be, the whole source."""

    module: str
    function: str
    number: int  # of the line
    line: str
    change: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same when lines above are added."""
        return self.module, self.function, self.line, self.change

    def __str__(self) -> str:
        return (
            f"{self.module}.py:{self.number} {self.function}\n  - {self.line}\n  + {self.change}"
        )


def left_out(node: cst.Expr) -> Iterable[cst.CSTNode]:
    """A call that is a statement does not happen."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def returns_nothing(node: cst.Return) -> Iterable[cst.CSTNode]:
    """``return value`` becomes ``return None``, which is as false as False."""
    value = node.value
    if value is not None and not (isinstance(value, cst.Name) and value.value in FALSE):
        yield node.with_changes(value=cst.Name("None"))


OPERATORS = [
    *mutation_operators,
    (cst.Expr, left_out),
    (cst.Return, returns_nothing),
]


class Changes(cst.CSTVisitor):
    """Collects the changes of a module's nodes, each with the function that it is in."""

    METADATA_DEPENDENCIES = (WhitespaceInclusivePositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.found: list[tuple[str, CodeRange, cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation) or is_untouched_call(node):
            return False
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self.names.append(node.name.value)
        if isinstance(node, (cst.If, cst.While, cst.IfExp)) and isinstance(node.test, PLAIN):
            self.add(node.test, cst.UnaryOperation(cst.Not(), node.test))
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                for changed in operator(node):
                    if not is_the_same(node, changed):
                        self.add(node, changed)
        return True

    def on_leave(self, node: cst.CSTNode) -> None:
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self.names.pop()

    def add(self, node: cst.CSTNode, changed: cst.CSTNode) -> None:
        place = self.get_metadata(WhitespaceInclusivePositionProvider, node)
        self.found.append((".".join(self.names) or "module", place, node, changed))


def is_untouched_call(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) and called(node) in UNTOUCHED_CALLS


def called(node: cst.Call) -> str:
    return node.func.value if isinstance(node.func, cst.Name) else ""


def is_the_same(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """Whether a change of a call is none: of ``cast``, or of what is "big" by default."""
    if not (isinstance(node, cst.Call) and isinstance(changed, cst.Call) and node.args):
        return False
    dropped = len(changed.args) < len(node.args)
    last = node.args[-1].value
    big = isinstance(last, cst.SimpleString) and last.value == '"big"'  # since Python 3.11
    return called(node) == "cast" or (dropped and big and node.args[-1] not in changed.args)


def mutants_of(path: Path) -> Iterator[Mutant]:
    """All mutants of a module that are Python, in the order of its lines."""
    original = path.read_text()
    wrapper = MetadataWrapper(cst.parse_module(original))
    changes = Changes()
    wrapper.visit(changes)
    starts = [0, *accumulate(len(line) for line in original.splitlines(keepends=True))]
    seen: Counter[tuple[str, str, str]] = Counter()
    sources = {original}
    for function, place, node, changed in changes.found:
        start = starts[place.start.line - 1] + place.start.column
        end = starts[place.end.line - 1] + place.end.column
        if original[start:end] == wrapper.module.code_for_node(node):
            source = original[:start] + wrapper.module.code_for_node(changed) + original[end:]
        else:  # of several lines, whose indentation only the whole module knows
            source = wrapper.module.deep_replace(node, changed).code
        if source in sources:
            continue
        sources.add(source)
        number, line, change = difference(original, source)
        seen[function, line, change] += 1
        if seen[function, line, change] > 1:  # the same line once more in the same function
            line = f"{line}  # {seen[function, line, change]}"
        yield Mutant(path.stem, function, number, line, change, source)


def difference(before: str, after: str) -> tuple[int, str, str]:
    """The number of the first line that differs, and the lines that do, without indentation."""
    old, new = before.splitlines(), after.splitlines()
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start + 1, joined(old[start : len(old) - end]), joined(new[start : len(new) - end])


def joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)
