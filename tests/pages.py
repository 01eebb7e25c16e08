"""The pages of the documents, and the code in them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md")),
]
GENERATED = {
    "results_tables.md",
    "semantic_ids_tables.md",
    "serving_tables.md",
    "reference/settings.md",
    "reference/commands.md",
    "reference/api.md",
}
"""Pages below docs that a script writes."""


def text_of(page: str) -> str:
    """The text of a page, by its name at the root or below docs."""
    path = ROOT / page
    return (path if path.exists() else ROOT / "docs" / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """The words of every command in the blocks for a shell, in order."""
    lines = [
        line
        for language in ("sh", "console")
        for block in blocks(page, language)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    shell = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if _is_command(line)]
    return [words for words in shell if words]


def _is_command(line: str) -> bool:
    return line.removeprefix("$ ").split(" ")[0] in ("h2rec", "make", "pip", "curl")
