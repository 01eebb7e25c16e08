"""The page to explore a bundle, in a real browser."""

import re
import threading
import time
from urllib.parse import quote

import polars as pl
import pytest
import uvicorn

from browser import opened
from h2rec.serving.app import create_app
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from made_bundles import KINDS, made_items, make_bundle

HOSTILE = (
    "<b>Gentle</b> &amp; mild<br>soap <script>document.title = 'ran'</script>"
    "<img src=x onerror=\"document.title='ran'\"> a < b <M>"
)
READ = "Gentle & mild soap a < b <M>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server of a bundle whose third item has a hostile title, and of two users."""
    folder = tmp_path_factory.mktemp("explored")
    items = made_items()
    items[2, "title"] = HOSTILE
    users = pl.DataFrame({"user_id": ["anna", "7"], "history": [["i1", "i2", "gone"], ["i5"]]})
    users.write_parquet(folder / "users.parquet")
    bundle = make_bundle(folder / "bundle", items=items)
    settings = ServeSettings.parse({"histories": folder / "users.parquet"})
    server = uvicorn.Server(uvicorn.Config(create_app(Service(bundle, settings)), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def settled(page, count=10):
    """Wait for the answer to what was asked last."""
    shows(page, "#answer:not(.old) > li", count)


def shows(page, selector, count):
    """Wait until so many are shown; the page's own rules forbid scripts that wait for it."""
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect(page.locator(selector)).to_have_count(count, timeout=20_000)


def test_an_address_holds_a_question_and_back_works(address):
    with opened(address, 1280) as (page, problems):
        settled(page)
        page.locator("#found .name").first.click()
        page.wait_for_url(f"{address}#item=i0")
        settled(page)
        page.get_by_label("category").select_option("razor")
        page.wait_for_url(f"{address}#item=i0&where.category=razor")
        settled(page)
        assert all("razor" in text for text in texts(page, "#answer .about"))
        shown = texts(page, "#answer .name")
        page.go_back()
        settled(page)
        assert texts(page, "#answer .name") != shown
        assert page.get_by_label("category").input_value() == ""
        page.go_back()
        settled(page)
        assert texts(page, "#history > li") == []
        assert "The most popular items" in page.inner_text("#answer-note")
        page.goto("about:blank")
        page.goto(f"{address}#item=i0&where.category=razor")
        settled(page)
        assert texts(page, "#answer .name") == shown
        assert texts(page, "#history code") == ["i0"]
        assert [problem for problem in problems if problem != "about:blank"] == []


def test_a_user_is_found_and_ids_stand_beside_titles(address):
    with opened(address, 390) as (page, problems):
        settled(page)
        page.fill("#user", "anna")
        page.press("#user", "Enter")
        shows(page, "#history > li", 3)
        settled(page)
        assert page.url == f"{address}#user=anna"
        assert texts(page, "#history code") == ["i1", "i2", "gone"]
        assert READ in texts(page, "#history > li")[1]
        assert "not in this catalogue" in texts(page, "#history > li")[2]
        assert all(text.startswith("i") for text in texts(page, "#answer .about code"))
        page.get_by_label("Remove i1").click()
        page.wait_for_url(f"{address}#item=i2&item=gone")
        settled(page)
        assert page.input_value("#user") == ""
        assert problems == []
        page.fill("#user", "nobody")
        page.press("#user", "Enter")
        page.wait_for_selector("#error:visible")
        assert "no user 'nobody'" in page.inner_text("#error")
        page.go_back()
        settled(page)
        assert not page.is_visible("#error")


def test_rows_name_attributes_and_tell_branches_apart(address):
    with opened(f"{address}#user=anna", 1280) as (page, problems):
        settled(page)
        assert re.fullmatch(r"i\d+ · category \w+", texts(page, "#answer .about")[0])
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colours = "row => [...row.querySelectorAll('.bar i')].map(part => getComputedStyle(part).backgroundColor)"
            found = page.locator("#answer > li").first.evaluate(colours)
            assert len(set(found)) == len(found) > 4
        parts = texts(page, "#answer .part")
        assert parts
        assert not any(part.endswith(" 0.00") or part.endswith("-0.00") for part in parts)
        assert problems == []


def test_of_a_long_history_the_latest_rows_are_whole(address):
    with opened(f"{address}#{'&'.join(f'item=i{row}' for row in range(30))}", 1280) as (page, _):
        settled(page)
        box = page.locator("#history").bounding_box()
        last = page.locator("#history > li").last.bounding_box()
        assert last["y"] + last["height"] == pytest.approx(box["y"] + box["height"], abs=2)
        tops = [row.bounding_box()["y"] for row in page.locator("#history > li").all()]
        assert min(abs(top - box["y"]) for top in tops) < 2
        assert box["height"] < 400


def test_titles_are_text_and_nothing_of_them_runs(address):
    with opened(f"{address}#item=i2", 390) as (page, problems):
        settled(page)
        page.fill("#query", "soap")
        shows(page, "#found > li", 1)
        assert texts(page, "#found .name") == texts(page, "#history .entry")[:1] or READ in page.inner_text(
            "#found"
        )
        assert READ in page.inner_text("#history")
        assert "<b>" not in page.inner_text("body")
        assert page.title() == "h2rec explorer"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert problems == []


def test_what_an_address_names_is_told_where_the_server_knows_it_not(address):
    with opened(f"{address}#item=i2&where.colour={quote('a=b&c')}", 1280) as (page, _):
        page.wait_for_selector("#error:visible")
        assert "no field 'colour'" in page.inner_text("#error")
        assert page.get_by_label("colour").input_value() == "a=b&c"


def test_the_server_tells_what_can_be_filtered_by(shared_client):
    (category,) = shared_client().get("/fields").json()["fields"]
    assert (category["name"], category["distinct"]) == ("category", 4)
    assert category["values"] == [{"value": kind, "items": 15} for kind in sorted(KINDS)]


def test_histories_are_found_by_user_and_bounded(make_client, tmp_path):
    table = tmp_path / "events.csv"
    table.write_text("user_id,item_id,timestamp\n1,i4,3\n1,i2,1\n1,i3,2\n2,i9,1\n")
    client = make_client(histories=table, max_history=2)
    assert client.get("/healthz").json()["users"] == 2
    assert client.get("/history?user_id=1").json() == {"user_id": "1", "history": ["i3", "i4"]}
    for path, told in (("/history?user_id=3", "no user '3'"), ("/history?user_id=" + "x" * 600, "512")):
        answer = client.get(path)
        assert answer.status_code == 422
        assert told in answer.json()["error"]


def test_without_a_table_there_are_no_users(shared_client):
    assert "users" not in shared_client().get("/healthz").json()
    answer = shared_client().get("/history?user_id=1")
    assert answer.status_code == 422
    assert "--histories" in answer.json()["hint"]


def test_what_users_had_is_not_for_everyone(make_client, tmp_path):
    table = tmp_path / "events.csv"
    table.write_text("user_id,item_id\n1,i4\n")
    open_to_all = {"host": "0.0.0.0", "without_token": True}
    ServeSettings.parse(open_to_all)
    with pytest.raises(Exception, match="histories need a token"):
        ServeSettings.parse(open_to_all | {"histories": table})
    client = make_client(histories=table, token="secret")
    assert client.get("/history?user_id=1").status_code == 401
