"""A real headless browser for the pages that the software writes; tests skip, and say so, where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@contextmanager
def opened(path: Path, width: int, height: int = 900) -> Iterator[tuple[object, list[str]]]:
    """Open a file; yield the page, and a list that fills with errors and with requests to anywhere else."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(
            "no Chromium on this machine (apt-get install chromium): the page is not seen by a browser"
        )
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    problems: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on(
            "console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request", lambda asked: None if asked.url == path.as_uri() else problems.append(asked.url[:100])
        )
        page.goto(path.as_uri())
        yield page, problems
        browser.close()
