"""Which columns are text, and HTML made plain."""

import logging

import polars as pl
import pytest

from h2rec.text.choice import text_fields
from h2rec.text.fields import has_markup, item_texts
from h2rec.text.markup import plain_text

N = 40
COLUMNS = {
    "title": ["1984", "Catch 22", *(f"Book of {n % 9} things {n}" for n in range(N - 2))],
    "price": [f"${n}.99" for n in range(N)],
    "stock": [str(n % 3) for n in range(N)],
    "active": ["true", "false"] * (N // 2),
    "shop": ["ours"] * (N - 1) + ["theirs"],
    "image": [f"https://shop.example/{n}.jpg" for n in range(N)],
    "added": [f"2024-01-{n % 28 + 1:02} 10:00" for n in range(N)],
    "sku": [f"AB-{n:05}" for n in range(N)],
    "year": [str(1980 + n % 30) for n in range(N)],
    "brand": [f"Brand {n % 4}" for n in range(N)],
    "empty": [None] * N,
}


def table(**columns: list[str | None]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    schema = dict.fromkeys(columns, pl.String)
    return pl.DataFrame({"item_id": [f"i{n}" for n in range(count)]}).hstack(
        pl.DataFrame(columns, schema=schema)
    )


def test_columns_that_are_no_text_are_left_out_and_told(caplog):
    with caplog.at_level(logging.INFO):
        assert text_fields(table(**COLUMNS), None) == ["title", "year", "brand", "empty"]
    told = caplog.text
    for reason in (
        "price (numbers)",
        "stock (numbers)",
        "active (flags)",
        "shop (nearly always 'ours')",
        "image (links)",
    ):
        assert reason in told
    assert "added (dates), sku (identifiers); text.fields names others" in told


def test_what_the_user_names_is_taken():
    assert text_fields(table(**COLUMNS), ["price"]) == ["price"]


def test_small_catalogues_and_single_values():
    assert text_fields(table(title=["1984", "Dune"], brand=["Acme", "Acme"]), None) == ["title", "brand"]


def test_where_nothing_is_left_all_is_taken(caplog):
    assert text_fields(table(price=["1", "2"]), None) == ["price"]
    assert "no column of the items looks like text: price (numbers)" in caplog.text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<p>Red <b>sh</b>oe</p><br/>size&nbsp;9", " Red shoe  size\xa09"),
        ("<script>alert(1)</script>Red<style>p {}</style> shoe<!-- no -->", "  Red   shoe"),
        ("&lt;p&gt;Tom &amp;amp; Jerry&lt;/p&gt;", " Tom & Jerry "),
        ("a < b > c, <M>, AT&T, R&D; 1&copy=2", "a < b > c, <M>, AT&T, R&D; 1&copy=2"),
        ("caf&eacute; &#8211; &#x41;", "café – A"),
        ("<P CLASS='x'>Red <M> shoe", " Red <m> shoe"),
    ],
)
def test_plain_text(text, plain):
    assert plain_text(text).lower() == plain.lower()
    assert plain_text(plain_text(text)) == plain_text(text)


def test_items_with_markup_have_the_text_of_their_plain_twins():
    items = table(title=["<p>Red shoe</p>", "Red shoe", "Tom &amp; Jerry", None])
    assert item_texts(items) == ["Red shoe", "Red shoe", "Tom & Jerry", ""]
    assert has_markup(items, ["title"])
    assert not has_markup(items[[1]], ["title"])
