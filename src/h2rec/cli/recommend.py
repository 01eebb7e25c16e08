"""``h2rec recommend``: answers for one history, or for a file of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from h2rec.data.settings import ColumnSettings
from h2rec.engines import EngineName, open_engine
from h2rec.errors import ConfigError, DataError, told_as
from h2rec.progress import progress_bar
from h2rec.retrieval.batch import BatchReport, claim_target, recommend_file
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.history_files import HistoryFile, open_histories, read_item_ids
from h2rec.retrieval.index import IndexSettings
from h2rec.retrieval.partitions import PartsReport, claim_parts, recommend_parts
from h2rec.retrieval.recommender import Recommendation, Recommender, as_json
from h2rec.retrieval.results import check_ending
from h2rec.runtime import set_threads
from h2rec.terminal import Console, printable_json, result_console

_COMPARED = 5
"""Unknown items whose nearest ids are shown: the search takes up to a second each."""


def recommend(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")],
    *,
    history: Annotated[
        str | None, typer.Option("--history", help="Item ids, oldest first, separated by commas.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="How many items.")] = 10,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell each branch's part of the score, and reasons.")
    ] = False,
    tail_share: Annotated[
        float | None, typer.Option("--tail-share", min=0, max=1, help="Least share of tail items.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Only items with this field: --where category=razor.")
    ] = None,
    seen: Annotated[
        bool | None,
        typer.Option(
            "--seen/--no-seen",
            help="Whether items of the history may come again; default: as the bundle says.",
        ),
    ] = None,
    allow: Annotated[
        Path | None,
        typer.Option("--allow", help="Only these items: ids in a .txt, one a line, or in a table."),
    ] = None,
    deny: Annotated[
        Path | None, typer.Option("--deny", help="None of these items, such as those out of stock.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="Events (user, item, time), or Parquet of user_id and history, a list; or a folder of such Parquet.",
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="Column of the users, where it is not obvious.")
    ] = None,
    item: Annotated[str | None, typer.Option("--item", help="Column of the items, in events.")] = None,
    timestamp: Annotated[
        str | None, typer.Option("--timestamp", help="Column of the times, in events.")
    ] = None,
    time_format: Annotated[
        str | None, typer.Option("--time-format", help="How times are written, such as %d/%m/%Y %H:%M.")
    ] = None,
    separator: Annotated[str | None, typer.Option("--separator", help="What stands between fields.")] = None,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="File of answers: .parquet, .csv or .jsonl; a folder for a folder, and it goes on where it stopped.",
        ),
    ] = None,
    k_column: Annotated[
        str | None,
        typer.Option(
            "--k-column",
            help="Column of histories: how many items for each user, where not null; 'k' where that is there.",
        ),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="What answers the files of a folder.")
    ] = EngineName.LOCAL,
) -> None:
    """Recommend items to follow a history, or every history of a file."""
    if (history is None) == (source is None) or (source is None) != (target is None):
        raise ConfigError("give either --history, or --input and --output")
    if engine is not EngineName.LOCAL and (source is None or not source.is_dir()):
        raise ConfigError(
            "--engine: a cluster answers the files of a folder (--input), one or more a machine"
        )
    columns = ColumnSettings(user=user, item=item, timestamp=timestamp)
    if source is None and (columns != ColumnSettings() or time_format or separator or k_column):
        raise ConfigError(
            "--user, --item, --timestamp, --time-format, --separator and --k-column tell how --input is read"
        )
    if source is not None and target is not None:
        _claim(source, target, named=columns != ColumnSettings() or bool(time_format or separator))
    # For one question an index would cost more than it saves.
    recommender = Recommender.load(bundle, IndexSettings(kind="auto" if history is None else "exact"))
    allowed, denied = (_known_ids(recommender, path) for path in (allow, deny))
    fields = _fields(where or [])
    for name, value in ((name, value) for name, values in fields.items() for value in values):
        recommender.catalogue.passing(
            ItemFilter.make(where={name: [value]})
        )  # a slip among several shows, too
    filter_ = ItemFilter.make(allow=allowed, deny=denied or (), where=fields, seen=seen)
    set_threads(None)
    if source is not None and target is not None:
        if source.is_dir():
            parts = recommend_parts(
                recommender,
                source,
                target,
                k,
                k_column=k_column,
                filter=filter_,
                tail_share=tail_share,
                engine=open_engine(engine),
            )
            _print_parts(parts, target)
            return
        known = recommender.bundle.manifest.columns
        read = partial(open_histories, source, columns, known=known, k_column=k_column, separator=separator)
        histories = _opened(partial(read, time_format=time_format))
        with progress_bar("recommending", histories.users, "users") as advance:
            report = recommend_file(
                recommender, histories, target, k, filter=filter_, tail_share=tail_share, advance=advance
            )
        _print_report(report, target)
    elif history is not None:
        items = [item.strip() for item in history.split(",") if item.strip()]
        answer = recommender.recommend(items, k, filter=filter_, tail_share=tail_share, explain=explain)
        _print_answer(recommender, answer, as_json_)
        if len(answer.items) < k:
            left = "--where and the history leave" if where else "the history leaves"
            Console(stderr=True).print(f"{len(answer.items)} of {k} items: {left} no more", markup=False)


def _claim(source: Path, target: Path, *, named: bool) -> None:
    """Refuse what can't be written or read so, before anything is computed; `named`: columns of events are."""
    if not source.is_dir():
        check_ending(target)
        claim_target(source, target)
        return
    if named:
        raise ConfigError("--input: a folder is of histories, and columns are named for events alone")
    claim_parts(source, target)


def _opened(read: Callable[[], HistoryFile]) -> HistoryFile:
    try:
        histories = read()
    except DataError as error:
        raise told_as(error, "--{}") from None
    if histories.events is not None:
        typer.echo(f"{histories.events:,} events read")
    return histories


def _print_parts(report: PartsReport, target: Path) -> None:
    gone = f", {report.removed:,} removed, as their input is gone" if report.removed else ""
    typer.echo(f"{report.made:,} parts made, {report.kept:,} kept as they were{gone}")
    _print_report(report, target)


def _print_report(report: BatchReport, target: Path) -> None:
    typer.echo(
        f"{report.users:,} users answered, {report.from_popularity:,} of them with popular items; "
        f"{report.unknown:,} unknown items skipped; {report.rows:,} rows, {report.rate:,.0f} users a second: {target}"
    )
    if report.missing:
        typer.echo(f"{report.missing:,} entries of histories had no id and were left out", err=True)
    if report.short:
        typer.echo(
            f"{report.short:,} users have fewer items than asked for: the filter and the history leave no more",
            err=True,
        )


def _print_answer(recommender: Recommender, answer: Recommendation, as_json_: bool) -> None:
    for place, item in enumerate(answer.unknown):
        near = recommender.nearest_ids(str(item)) if place < _COMPARED else []
        hint = f", nearest: {', '.join(near)}" if near else ""
        Console(stderr=True).print(f"skipped unknown item '{item}'{hint}", markup=False)
    if answer.from_popularity:
        what = "nothing in the history is known" if answer.unknown else "the history is empty"
        Console(stderr=True).print(f"{what}: these are the most popular items")
    if as_json_:
        typer.echo(printable_json(as_json(answer)))
        return
    result_console().print(recommendation_table(answer))
    for note in answer.notes:
        result_console().print(note, markup=False)
    if answer.alpha is not None:
        levels = ", ".join(f"{weight:.2f}" for weight in answer.alpha)
        result_console().print(f"weights of the code levels, coarse to fine: {levels}")


def recommendation_table(answer: Recommendation, title: str | None = None) -> Table:
    """Put an answer into a table: rank, item, its first field, head or tail, score."""
    table = Table(title=title, title_justify="left")
    explained = answer.items[0].explanation if answer.items else None
    branches = [] if explained is None else list(explained.branches)
    for name in ("#", "item", "title", "", "score", *branches):
        table.add_column(name, justify="right" if name in ("#", "score", *branches) else "left")
    for place, item in enumerate(answer.items, 1):
        title_text = next((value for value in item.fields.values() if value), "")
        branch_scores = (
            [] if item.explanation is None else [f"{part:.3f}" for part in item.explanation.branches.values()]
        )
        kind = "head" if item.head else "tail"
        table.add_row(
            str(place),
            escape(str(item.item_id)),
            escape(title_text),
            kind,
            f"{item.score:.3f}",
            *branch_scores,
        )
    return table


def _known_ids(recommender: Recommender, path: Path | None) -> list[str] | None:
    """Item ids of a file; it says how many the catalogue does not have, and refuses those it has none of."""
    if path is None:
        return None
    ids = read_item_ids(path)
    unknown = [item for item in ids if item not in recommender.catalogue.index]
    if len(unknown) == len(ids):
        near = recommender.nearest_ids(unknown[0])
        hint = f"nearest to '{unknown[0]}': {', '.join(near)}" if near else None
        raise DataError(f"{path}: none of its {len(ids):,} ids is in the bundle's catalogue", hint)
    if unknown:
        typer.echo(f"{path}: {len(unknown):,} of {len(ids):,} ids are not in the catalogue", err=True)
    return ids


def _fields(pairs: list[str]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--where {pair}: expected FIELD=VALUE")
        fields.setdefault(name, []).append(value)
    return fields
