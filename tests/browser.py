"""A real headless browser for the pages that the software writes; tests skip, and say so, where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@contextmanager
def opened(
    path: Path | str, width: int, height: int = 900, scheme: str = "light"
) -> Iterator[tuple[object, list[str]]]:
    """Open a file, or a server's address; yield the page, and errors and requests to anywhere else as they come."""
    address = path if isinstance(path, str) else path.as_uri()
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(
            "no Chromium on this machine (apt-get install chromium): the page is not seen by a browser"
        )
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    problems: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.on(
            "console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith(address.partition("#")[0]) else problems.append(asked.url[:100])
            ),
        )
        page.goto(address)
        yield page, problems
        browser.close()
