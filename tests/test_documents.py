"""What the documents say exists: files they link to, commands they show, decisions in their index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

import upwell
from tests.parts import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Relative links, pictures included, and files that are named in code spans with their folder."""
    text = document.read_text()
    linked = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in linked if not (document.parent / link).exists()] == []
    folders = "config|models|store|streams|serving|tools|tests|docs|deploy|benchmarks"
    files = re.findall(rf"(?<![\w/.-])((?:{folders})/[\w/.-]+\.(?:py|md|toml|json|yml|jsonl))\b", text)
    assert [file for file in files if not (ROOT / file).exists() and "NAME" not in file] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_that_is_shown_exists_with_its_flags(document: Path) -> None:
    """A line that was copied from a document runs."""
    root = typer.main.get_command(upwell.app)
    shown = re.findall(r"(?:^|`|[A-Z]=\S+ )upwell ([a-z][^`\n#|]*)", document.read_text(), re.MULTILINE)
    for line in shown:
        words = line.split()
        command = getattr(root, "commands", {}).get(words[0])
        if command is None:
            assert words[0] == "worker:", f"no command {words[0]}: upwell {line}"
            continue
        if hasattr(command, "commands") and len(words) > 1:
            command = command.commands.get(words[1].partition("|")[0])
            assert command is not None, f"upwell {line}"
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        assert [word for word in words if word.startswith("--") and word.rstrip("…,.;").partition("=")[0] not in known] == [], line


def test_every_decision_stands_in_the_index() -> None:
    """And nothing else does."""
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
