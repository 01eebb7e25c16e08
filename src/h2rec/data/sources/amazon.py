"""Amazon Reviews of 2014, 2018 and 2023, by category, from the McAuley lab."""

import ast
import functools
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from h2rec.data.readers.json_lines import json_object, json_records
from h2rec.data.readers.lines import numbered_lines
from h2rec.data.sources.download import download
from h2rec.data.sources.parquet_rows import write_rows
from h2rec.data.sources.source import FetchedSource, Source
from h2rec.errors import DataError

_TAG = re.compile(r"<[^>]*>")
_BLANKS = re.compile(r"\s+")

Fields = dict[str, Any]
LineParser = Callable[[Path, int, str], Fields]


def python_literal(path: Path, number: int, text: str) -> Fields:
    """Parse a line of the 2014 meta files, which hold Python literals; nothing in it is executed.

    Raises `DataError` if it is not the literal of a dict; the line is named.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DataError(f"{path}:{number}: not a Python dict", "get the file again")
    return value


@dataclass(frozen=True)
class Edition:
    """Where one edition keeps its files, and what it calls things."""

    year: int
    """2014, 2018 or 2023."""
    home: str
    """Page with the terms of use."""
    reviews: str
    meta: str
    """Addresses with ``{}`` for the category."""
    names: str
    """The categories as the addresses write them."""
    user: str = "reviewerID"
    item: str = "asin"
    rating: str = "overall"
    time: str = "unixReviewTime"
    """Keys in a review."""
    brand: str = "brand"
    categories: str = "categories"
    """Keys in an item's meta data."""
    parse: LineParser = json_object
    """Reads a line of meta data."""


_EDITIONS = (
    Edition(
        year=2014,
        home="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        reviews="https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/reviews_{}.json.gz",
        meta="https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/meta_{}.json.gz",
        parse=python_literal,
        names="""Amazon_Instant_Video Apps_for_Android Automotive Baby Beauty Books CDs_and_Vinyl
        Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics
        Grocery_and_Gourmet_Food Health_and_Personal_Care Home_and_Kitchen Kindle_Store
        Movies_and_TV Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies
        Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games Video_Games""",
    ),
    Edition(
        year=2018,
        home="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
        reviews="https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_v2/categoryFiles/{}.json.gz",
        meta="https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_v2/metaFiles2/meta_{}.json.gz",
        categories="category",
        names="""AMAZON_FASHION All_Beauty Appliances Arts_Crafts_and_Sewing Automotive Books CDs_and_Vinyl
        Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics
        Gift_Cards Grocery_and_Gourmet_Food Home_and_Kitchen Industrial_and_Scientific
        Kindle_Store Luxury_Beauty Magazine_Subscriptions Movies_and_TV Musical_Instruments
        Office_Products Patio_Lawn_and_Garden Pet_Supplies Prime_Pantry Software
        Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games Video_Games""",
    ),
    Edition(
        year=2023,
        home="https://amazon-reviews-2023.github.io/",
        reviews="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/{}.jsonl.gz",
        meta="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/meta_{}.jsonl.gz",
        user="user_id",
        item="parent_asin",
        rating="rating",
        time="timestamp",
        brand="store",
        names="""All_Beauty Amazon_Fashion Appliances Arts_Crafts_and_Sewing Automotive Baby_Products
        Beauty_and_Personal_Care Books CDs_and_Vinyl Cell_Phones_and_Accessories
        Clothing_Shoes_and_Jewelry Digital_Music Electronics Gift_Cards Grocery_and_Gourmet_Food
        Handmade_Products Health_and_Household Health_and_Personal_Care Home_and_Kitchen
        Industrial_and_Scientific Kindle_Store Magazine_Subscriptions Movies_and_TV
        Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies Software
        Sports_and_Outdoors Subscription_Boxes Tools_and_Home_Improvement Toys_and_Games
        Video_Games Unknown""",
    ),
)


def convert_reviews(reviews: Path, edition: Edition, path: Path) -> Path:
    """Write user, item, rating and time of every review to Parquet, streaming.

    Raises `DataError` if a line is not a JSON object; the line is named.
    """
    columns = dict.fromkeys(("user_id", "item_id", "rating", "timestamp"), pa.string())
    keys = (edition.user, edition.item, edition.rating, edition.time)
    return write_rows(path, columns, (tuple(map(values.get, keys)) for _, values in json_records(reviews)))


def convert_meta(meta: Path, edition: Edition, path: Path) -> Path:
    """Write id, title, brand, categories and description of every item to Parquet, streaming.

    Raises `DataError` if a line can't be parsed; the line is named.
    """
    columns = dict.fromkeys(("item_id", "title", "brand", "categories", "description"), pa.string())
    return write_rows(path, columns, _items(meta, edition))


def _items(meta: Path, edition: Edition) -> Iterator[tuple[str | None, ...]]:
    keys = ("title", edition.brand, edition.categories, "description")
    for number, text in numbered_lines(meta):
        if text.strip():
            fields = edition.parse(meta, number, text)
            yield fields.get(edition.item), *(clean_text(fields.get(key)) for key in keys)


def clean_text(value: Any) -> str | None:
    """Join nested lists by ", ", each part once; drop HTML and surplus blanks; None where nothing is left."""
    if isinstance(value, list):
        return ", ".join(dict.fromkeys(_parts(value))) or None
    if value is None:
        return None
    return _BLANKS.sub(" ", _TAG.sub(" ", html.unescape(str(value)))).strip() or None


def _parts(values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, list):
            yield from _parts(value)
        elif text := clean_text(value):
            yield text


def _build(edition: Edition, category: str, folder: Path) -> FetchedSource:
    raw = folder / "raw"
    reviews_url, meta_url = edition.reviews.format(category), edition.meta.format(category)
    reviews = download(reviews_url, raw / reviews_url.rpartition("/")[2])
    meta = download(meta_url, raw / meta_url.rpartition("/")[2])
    return FetchedSource(
        convert_reviews(reviews, edition, folder / "interactions.parquet"),
        convert_meta(meta, edition, folder / "items.parquet"),
    )


def _sources() -> Iterator[Source]:
    for edition in _EDITIONS:
        for category in edition.names.split():
            name = f"amazon-{edition.year}-{category.lower().replace('_', '-')}"
            words = category.replace("_", " ")
            description = f"Amazon Reviews {edition.year}: {words}, all reviews and item texts"
            yield Source(name, description, edition.home, functools.partial(_build, edition, category))


SOURCES = tuple(_sources())
