"""A hook of MkDocs: pages of the repository's root join the site, and links lead to them as they do on a code host."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
FILES = ("LICENSE", "CITATION.cff")


def on_files(files: Files, config: Any) -> Files:
    """Add the root's pages and files."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for name in FILES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between the root and `docs` into links within the site."""
    if page.file.src_uri in PAGES.values():
        markdown = markdown.replace("](docs/", "](")
    for name, target in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({target}").replace(f"]({name}", f"]({target}")
    return markdown
