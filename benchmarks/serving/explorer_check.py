"""The explorer in headless Chromium: search, click, recommend, walk the codes, reload; screenshots to look at.

Needs `pip install playwright` and a Chromium of the system:

    python benchmarks/serving/explorer_check.py http://127.0.0.1:8000 --query star --out shots
"""

import argparse
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--query", required=True, help="words that at least two items' texts hold")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=FLAGS)
        for name, width, height in (("desk", 1280, 1000), ("phone", 390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height})
            problems: list[str] = []
            page.on(
                "console",
                lambda message, seen=problems: seen.append(message.text) if message.type == "error" else None,
            )
            page.on("pageerror", lambda error, seen=problems: seen.append(str(error)))
            page.on(
                "request",
                lambda request, seen=problems: (
                    None
                    if request.url.startswith((arguments.address, "data:"))
                    else seen.append(f"asks elsewhere: {request.url}")
                ),
            )
            page.goto(arguments.address)
            check(page, arguments.query)
            widest = page.evaluate("document.documentElement.scrollWidth")
            if widest > width:
                problems.append(f"the page is {widest} wide on a screen of {width}")
            page.screenshot(path=arguments.out / f"{name}.png", full_page=True)
            if problems:
                raise SystemExit(f"{name}: " + "; ".join(problems))
            print(
                f"{name}: search, click, keys, recommend, code tree, reload: ok, nothing asked of other hosts"
            )
        browser.close()


def check(page: Page, query: str) -> None:
    expect(page.locator("#state")).to_contain_text("ok,")
    expect(page.locator("#answer-note")).to_contain_text("most popular")
    popular = page.locator("#answer .name").all_text_contents()
    page.keyboard.press("/")  # by keyboard alone
    page.keyboard.type(query)
    expect(page.locator("#found .name").first).to_contain_text(query, ignore_case=True)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#history li")).to_have_count(1)
    page.locator("#found .name").nth(1).click()  # by click
    expect(page.locator("#history li")).to_have_count(2)
    expect(page.locator("#answer li")).to_have_count(10)
    expect(page.locator("#alpha")).to_be_visible()
    expect(page.locator("#answer .why").first).to_contain_text("identity (HID)")
    if page.locator("#answer .name").all_text_contents() == popular:
        raise SystemExit("the history changes nothing")
    page.locator("#tail").fill("100")
    expect(page.locator("#answer .badge.head")).to_have_count(0)
    page.locator("#tail").fill("0")
    expect(page.locator("#tail-shown")).to_have_text("–")
    page.locator("#answer .name").first.click()
    expect(page.locator("#history li")).to_have_count(3)
    if page.locator("#branches .more").count():
        page.locator("#branches .more").click()
        expect(page.locator("#branches .more")).to_have_count(0)
    for depth in (2, 3):
        page.locator("#branches button").first.click()
        expect(page.locator("#path button")).to_have_count(depth)
    expect(page.locator("#members li").first).to_be_visible()
    page.locator("#answer .codes").first.click()
    expect(page.locator("#branches button")).to_have_count(0)
    page.locator("#reload").click()
    expect(page.locator("#path button")).to_have_count(1)
    expect(page.locator("#history li")).to_have_count(3)
    expect(page.locator("#error")).to_be_hidden()


if __name__ == "__main__":
    main()
