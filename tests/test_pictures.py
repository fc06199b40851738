"""docs/pictures.py and the pages "Timeline" and "Diagnosis": they show what the library does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from carpproto.cli import main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = ("timeline", "diagnose")
PROMPT = "$ .venv/bin/carpproto "


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    """The generator, loaded from the documentation."""
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(pictures: ModuleType) -> dict[str, bytes]:
    """What the generator makes now, by path below docs/."""
    generated: dict[str, bytes] = pictures.generated()
    return generated


def test_the_pictures_in_docs_are_up_to_date(
    pictures: ModuleType, files: dict[str, bytes]
) -> None:
    stale = pictures.stale(files)
    assert not stale, f"stale in docs/: {', '.join(stale)}; run: {pictures.COMMAND}"


def test_every_picture_is_on_a_page(files: dict[str, bytes]) -> None:
    text = "".join((DOCS / f"{page}.rst").read_text() for page in PAGES)
    for name in files:
        assert f".. image:: {name}\n" in text


def test_check_names_what_is_stale(
    pictures: ModuleType,
    files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pictures, "DOCS", tmp_path)
    monkeypatch.setattr(pictures, "generated", lambda: files)
    assert pictures.main(["--check"]) == 1
    assert "docs/pictures/failover.svg is stale; run: python docs/pictures.py\n" in (
        capsys.readouterr().out
    )
    assert pictures.main([]) == 0
    assert pictures.main(["--check"]) == 0
    path = tmp_path / "pictures" / "failover.svg"
    changed = path.read_bytes().replace(b"#2c7a4b", b"#2c7a4c")
    path.write_bytes(changed)
    assert pictures.main(["--check"]) == 1
    # Another release draws other bytes: it is not compared.
    path.write_bytes(changed.replace(b"<dc:title>Matplotlib v", b"<dc:title>Matplotlib v0."))
    assert pictures.main(["--check"]) == 0
    (tmp_path / "pictures" / "left-over.svg").write_text("")
    assert pictures.main(["--check"]) == 1
    assert pictures.main(["--what"]) == 2


def sessions() -> list[tuple[str, str]]:
    """The commands on the pages, with what they print."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        for block in (DOCS / f"{page}.rst").read_text().split(".. code-block:: console\n\n")[1:]:
            lines = []
            for line in block.splitlines():
                if line and not line.startswith("   "):
                    break
                lines.append(line[3:])
            assert lines[0].startswith(PROMPT)
            found.append((lines[0].removeprefix(PROMPT), "\n".join(lines[1:]).strip()))
    return found


@pytest.mark.parametrize(("command", "printed"), sessions())
def test_the_commands_on_the_pages_print_what_is_there(
    command: str, printed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    main(command.split())
    assert capsys.readouterr().out.strip() == printed
