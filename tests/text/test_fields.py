"""One text an item."""

import polars as pl
import pytest

from h2rec.errors import ConfigError
from h2rec.text.fields import item_texts, item_titles

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "title": ["Anvil", " Bell.  of\tbrass. ", None, "  "],
        "brand": ["Acme Inc.", None, "Cord", None],
    }
)


def test_fields_are_joined_as_sentences_and_gaps_left_out():
    assert item_texts(ITEMS) == ["Anvil. Acme Inc", "Bell. of brass", "Cord", ""]


def test_fields_in_the_order_asked_for():
    assert item_texts(ITEMS, ["brand", "title"])[0] == "Acme Inc. Anvil"
    assert item_texts(ITEMS, ["brand"]) == ["Acme Inc", "", "Cord", ""]


def test_no_fields_no_text():
    assert item_texts(ITEMS.select("item_id")) == [""] * 4


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no field 'titel'\n.*did you mean 'title'\?"):
        item_texts(ITEMS, ["titel"])
    with pytest.raises(ConfigError, match=r"no field 'price'\n.*there are: title, brand"):
        item_texts(ITEMS, ["price"])
    with pytest.raises(ConfigError, match="no field 'item_id'"):
        item_texts(ITEMS, ["item_id"])


def test_items_are_called_by_their_title_else_by_what_they_have():
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "brand": ["Acme", "Bell & Co", None, None],
            "Title": ["<b>Tea</b> &amp; cup", None, None, "<br>"],
        }
    )
    assert item_titles(items) == ["Tea & cup", "Bell & Co", "c", "d"]
