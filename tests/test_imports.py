"""The import rules of the architecture, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import carpproto

PACKAGE = Path(carpproto.__file__).parent
CORE = (
    "errors",
    "addresses",
    "advertisement",
    "frame",
    "announcement",
    "authentication",
    "profile",
    "config",
    "events",
    "actions",
    "virtual_host",
    "node",
    "replay_guard",
)
# Which wings a wing may import from.
WINGS = {
    "core": {"core"},
    "capture": {"core", "capture"},
    "simulation": {"core", "simulation"},
    "adapters": {"core", "adapters"},
    "testing": {"core", "capture", "simulation", "adapters", "testing"},
    "cli": {"core", "capture", "simulation", "adapters", "testing", "cli"},
}
FORBIDDEN_IN_CORE = {
    "asyncio",
    "logging",
    "os",
    "random",
    "secrets",
    "select",
    "socket",
    "threading",
    "time",
}
THIRD_PARTY = {
    "core": {"typing_extensions"},
    "capture": {"dpkt", "matplotlib"},
    "simulation": {"tomli", "tomllib", "tqdm"},  # tomllib: of the library from Python 3.11 on
    "adapters": set(),
    "testing": {"hypothesis", "pytest"},
    "cli": {"tqdm"},
}


def imports(path: Path) -> set[str]:
    """The names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            assert node.module is not None
            names.add(node.module)
            if node.module == "carpproto":
                names |= {f"carpproto.{alias.name}" for alias in node.names}
    return names


def sources(wing: str) -> list[Path]:
    return sorted((PACKAGE / wing).rglob("*.py"))


def test_the_core_is_the_modules_of_the_architecture() -> None:
    assert {path.stem for path in sources("core")} == {"__init__", *CORE}


@pytest.mark.parametrize("module", CORE)
def test_a_core_module_imports_only_modules_above_it(module: str) -> None:
    above = {f"carpproto.core.{name}" for name in CORE[: CORE.index(module)]}
    found = imports(PACKAGE / "core" / f"{module}.py")
    assert {name for name in found if name.startswith("carpproto")} <= above


@pytest.mark.parametrize("module", CORE)
def test_a_core_module_imports_only_the_pure_standard_library(module: str) -> None:
    found = {
        name.partition(".")[0]
        for name in imports(PACKAGE / "core" / f"{module}.py")
        if not name.startswith("carpproto")
    }
    assert not found & FORBIDDEN_IN_CORE
    assert found <= sys.stdlib_module_names | THIRD_PARTY["core"]


@pytest.mark.parametrize("wing", [wing for wing in WINGS if (PACKAGE / wing).is_dir()])
def test_a_wing_imports_only_what_it_may(wing: str) -> None:
    for path in sources(wing):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "carpproto":
                assert len(parts) > 1, f"{path}: imports the re-exporting top level"
                assert parts[1] in WINGS[wing], f"{path}: imports {name}"
            else:
                allowed = sys.stdlib_module_names | THIRD_PARTY[wing]
                assert parts[0] in allowed, f"{path}: imports {name}"


def test_the_top_level_only_re_exports_the_core() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert all(
        isinstance(node, ast.ImportFrom)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        for node in tree.body
    )
    assert sorted(carpproto.__all__) == sorted(set(carpproto.__all__))
    assert all(hasattr(carpproto, name) for name in carpproto.__all__)


def test_the_import_loads_no_third_party_module_and_no_wing() -> None:
    code = """
import sys
before = set(sys.modules)
import carpproto
print(*sorted(set(sys.modules) - before))
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    loaded = {name for name in printed.split() if not name.startswith("carpproto")}
    assert {name.partition(".")[0] for name in loaded} <= sys.stdlib_module_names
    assert not loaded & {"socket", "select", "asyncio", "random", "logging", "dataclasses"}
    wings = {name for name in printed.split() if name.startswith("carpproto.")}
    assert wings == {"carpproto.core", *(f"carpproto.core.{name}" for name in CORE)}


def test_one_adapter_alone_imports_netifaces_and_not_before_it_is_asked() -> None:
    naming = [
        path.name
        for path in sources("adapters")
        if '"netifaces"' in path.read_text() or "import netifaces" in path.read_text()
    ]
    assert naming == ["interfaces.py"]
    code = """
import sys
before = set(sys.modules)
import carpproto.adapters.asyncio_runner, carpproto.adapters.runner, carpproto.adapters.scripts
import carpproto.adapters.transport
print(*sorted(set(sys.modules) - before))
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    loaded = {name.partition(".")[0] for name in printed.split()}
    assert loaded - {"carpproto"} <= sys.stdlib_module_names
    assert not {"carpproto.adapters.packet", "carpproto.adapters.raw"} & set(printed.split())
