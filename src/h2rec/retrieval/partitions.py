"""Answers for a folder of Parquet parts: a part out for each part in, made again only where something changed."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from h2rec import __version__
from h2rec.claims import ELSEWHERE, absolute, files_in
from h2rec.data.readers.parquet import is_visible
from h2rec.engines import LOCAL, Engine
from h2rec.errors import DataError, H2RecError
from h2rec.files import content_key, left_overs
from h2rec.frames import has_note, note_of
from h2rec.locks import locked
from h2rec.progress import Advance, progress_bar
from h2rec.retrieval.batch import BatchReport, recommend_file
from h2rec.retrieval.filters import ANY_ITEM, ItemFilter
from h2rec.retrieval.history_files import open_lists
from h2rec.retrieval.index import IndexSettings
from h2rec.retrieval.recommender import Recommender

logger = logging.getLogger(__name__)

NOTE = "h2rec.made_from"
"""What a part was made from, in its own footer: so it and its record appear at once, and no other file lies there."""


@dataclass
class PartsReport(BatchReport):
    """What a run over a folder came across; users and rows are those of the parts that were made."""

    made: int = 0
    kept: int = 0
    """Parts that were there already, from the same input, bundle and options."""
    removed: int = 0
    """Parts whose input is gone."""


def recommend_parts(
    recommender: Recommender,
    source: Path,
    target: Path,
    k: int = 10,
    *,
    k_column: str | None = None,
    filter: ItemFilter = ANY_ITEM,
    tail_share: float | None = None,
    engine: Engine = LOCAL,
) -> PartsReport:
    """Answer every user of the Parquet files below a folder, into files of the same names below another.

    Each file appears when it is whole. One that is there already and was made from the same input (by size and time of
    change), bundle and options is kept, so a run that was killed goes on. One whose input is gone is removed. `engine`
    does the parts; those of a cluster load the bundle by themselves.

    Raises
    ------
    DataError
        If a file is none of histories, before any is answered; or at a row, which is named.
    H2RecError
        If something lies in the target that this did not write.
    """
    place = absolute(target)
    with locked(place.with_name(f".{place.name}.lock"), str(target), logging.WARNING):
        names = claim_parts(source, target)
        for folder in {(target / name).parent for name in names}:
            for left in left_overs(folder):  # nobody else may be writing here now
                left.unlink()
        options = {
            "bundle": content_key(recommender.bundle.manifest.model_dump(mode="json")),
            "k": k,
            "k_column": k_column,
            "tail_share": tail_share,
            "filter": _key(filter),
            "index": recommender.index.kind.name,
            "h2rec": __version__,
        }
        records = {name: _record(source / name, options) for name in names}
        users = {name: open_lists(source / name, k_column).users for name in names}
        due = [name for name in names if note_of(target / name, NOTE) != records[name]]
        report = PartsReport(kept=len(names) - len(due))
        with progress_bar("recommending", sum(users[name] for name in due), "users") as advance:
            answer = _Answering(
                recommender.bundle.folder.absolute(),
                recommender.index.settings.model_copy(update={"kind": recommender.index.kind}),
                (source.absolute(), target.absolute()),
                k,
                k_column,
                filter,
                tail_share,
                recommender,
                advance,
            )
            made = engine.map(answer, [(name, records[name]) for name in due])
            for name, part in zip(due, made, strict=True):
                report.add(part)
                report.made += 1
                logger.info(
                    "%s: %s users, %.0f a second; %d of %d parts",
                    name,
                    f"{part.users:,}",
                    part.rate,
                    report.kept + report.made,
                    len(names),
                )
        for name in _ours(target) - set(names):
            (target / name).unlink()
            report.removed += 1
    return report


@dataclass
class _Answering:
    """Answers the users of a part, wherever that is done."""

    bundle: Path
    index: IndexSettings
    folders: tuple[Path, Path]
    """That of the histories and that of the answers."""
    k: int
    k_column: str | None
    filter: ItemFilter
    tail_share: float | None
    recommender: Recommender | None
    advance: Advance | None

    def __getstate__(self) -> dict[str, object]:
        # Another process loads the bundle by itself, once, and shows nothing.
        return self.__dict__ | {"recommender": None, "advance": None}

    def __call__(self, part: tuple[str, str]) -> BatchReport:
        name, record = part
        source, target = self.folders
        self.recommender = self.recommender or Recommender.load(self.bundle, self.index)
        return recommend_file(
            self.recommender,
            open_lists(source / name, self.k_column),
            target / name,
            self.k,
            filter=self.filter,
            tail_share=self.tail_share,
            advance=self.advance,
            notes={NOTE: record},
        )


def claim_parts(source: Path, target: Path) -> list[str]:
    """Names of the parts below a folder, in order.

    Names that begin with a dot or an underscore are passed over, as other engines do.

    Raises `DataError` if there are none, or other files among them, or one folder lies in the other; `H2RecError` if
    the target holds what this did not write.
    """
    inside, outside = source.resolve(), target.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise DataError(
            f"{target}: lies in the folder of the histories, or that in it", "name another folder"
        )
    names = sorted(filter(is_visible, files_in(source)))
    if others := [name for name in names if not name.endswith(".parquet")]:
        raise DataError(f"{source / others[0]}: a folder of histories has Parquet files alone (.parquet)")
    if not names:
        raise DataError(
            f"{source}: no Parquet files", "a folder of histories has a row a user in files .parquet"
        )
    if target.exists() and (target.is_symlink() or not target.is_dir()):
        raise H2RecError(f"{target}: is no folder, and the histories are one", ELSEWHERE)
    if strange := sorted(set(filter(is_visible, files_in(target))) - _ours(target)):
        raise H2RecError(f"{target / strange[0]}: is there already, and h2rec did not write it so", ELSEWHERE)
    return names


def _ours(target: Path) -> set[str]:
    names = filter(is_visible, files_in(target))
    return {name for name in names if not (target / name).is_symlink() and has_note(target / name, NOTE)}


def _record(part: Path, options: dict[str, object]) -> str:
    status = part.stat()
    return json.dumps({"bytes": status.st_size, "changed_ns": status.st_mtime_ns, **options}, sort_keys=True)


def _key(filter_: ItemFilter) -> str:
    """Name a filter by what it says: sets have no order."""
    allow = None if filter_.allow is None else sorted(filter_.allow)
    where = [[name, sorted(values)] for name, values in filter_.where]
    return content_key({"allow": allow, "deny": sorted(filter_.deny), "where": where, "seen": filter_.seen})
