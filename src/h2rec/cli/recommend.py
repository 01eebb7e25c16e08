"""``h2rec recommend``: answers for one history."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from h2rec.errors import DataError
from h2rec.retrieval.recommender import Recommendation, Recommender, as_json


def recommend(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")],
    history: Annotated[str, typer.Option("--history", help="Item ids, oldest first, separated by commas.")],
    k: Annotated[int, typer.Option("--k", min=1, help="How many items.")] = 10,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend items to follow a history."""
    recommender = Recommender.load(bundle)
    items = [item.strip() for item in history.split(",") if item.strip()]
    answer = recommender.recommend(items, k)
    if items and len(answer.unknown) == len(items):
        raise DataError(_unknown_message(recommender, items))
    if as_json_:
        typer.echo(json.dumps(as_json(answer), ensure_ascii=False))
        return
    for item in answer.unknown:
        near = recommender.nearest_ids(item)
        Console(stderr=True).print(f"skipped unknown item '{item}'" + (f", nearest: {', '.join(near)}" if near else ""))
    if answer.from_popularity:
        Console(stderr=True).print("the history is empty: these are the most popular items")
    Console().print(recommendation_table(answer))


def recommendation_table(answer: Recommendation, title: str | None = None) -> Table:
    """Put an answer into a table: rank, item, its first field, head or tail, score."""
    table = Table(title=title, title_justify="left")
    for name in ("#", "item", "title", "", "score"):
        table.add_column(name, justify="right" if name in ("#", "score") else "left")
    for place, item in enumerate(answer.items, 1):
        title_text = next((value for value in item.fields.values() if value), "")
        table.add_row(str(place), item.item_id, title_text, "head" if item.head else "tail", f"{item.score:.3f}")
    return table


def _unknown_message(recommender: Recommender, items: list[str]) -> str:
    near = recommender.nearest_ids(items[0])
    hint = f", nearest to '{items[0]}': {', '.join(near)}" if near else ""
    return f"--history: none of the {len(items)} items is in the bundle's catalogue{hint}"
