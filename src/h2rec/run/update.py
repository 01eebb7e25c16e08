"""Yesterday's model and today's orders: a bundle takes in new interactions without a full training."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from h2rec.batching.pair_counts import PairCounts
from h2rec.claims import absolute, claim_folder
from h2rec.data.event_log import EventLog, Merged
from h2rec.data.popularity import head_items
from h2rec.errors import ConfigError, DataError, H2RecError
from h2rec.locks import locked_by_process
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.bundle import Bundle, BundleParts, write_bundle
from h2rec.retrieval.growth import Growth, add_items
from h2rec.retrieval.log import TrainingLog, read_log, reference_items
from h2rec.retrieval.manifest import TEXT, Lineage, Update, is_bundle, read_manifest
from h2rec.run.due import POORLY, reasons_due
from h2rec.run.freshness import drift, ndcg_of_new
from h2rec.run.new_events import Learned, NewEvents, learned_of
from h2rec.run.updated import Updated
from h2rec.run.warm_training import Further, train_further
from h2rec.runtime import select_device

BUDGET = 0.1
"""Share of the full training's work that an update takes at most."""


def update(
    bundle: Path,
    read: Callable[[Learned], NewEvents],
    out: Path,
    *,
    items: pl.DataFrame | None = None,
    budget: float = BUDGET,
    now: float | None = None,
) -> Updated:
    """Write a bundle that knows new interactions, and new items.

    Counts (transitions, popularity, head and tail) are those of all interactions, to the bit. What is learned learns
    on, from new histories and replayed ones. Known items keep their codes.

    Parameters
    ----------
    bundle
        Folder of the present bundle.
    read
        Reads the new interactions as those were that the bundle was trained on; see `read_events`.
    out
        The new bundle's folder: none yet, an empty one, or a bundle; `bundle` itself is replaced at once or not at all.
        Of two updates of one folder the second waits for the first.
    items
        `item_id` and text fields of items, new ones among them; see `add_items`.
    budget
        Share of the full training's work that learning takes at most; 0 updates the counts alone.
    now
        What is later is refused; by default the clock's time.

    Raises
    ------
    BundleError
        If the bundle is damaged, has no log of its training, or can't take new items.
    DataError
        If times lie in the future or are not of the kind that the bundle knows; if no event is of a known item.
    H2RecError
        If `out` holds what h2rec did not write, or updates of the same training that `bundle` does not have.
    """
    if not 0 <= budget <= 1:
        raise ConfigError(
            f"budget {budget} is no share", "0 updates counts alone, 0.1 takes a tenth of a training"
        )
    out = claim_folder(out, is_bundle)
    with ExitStack() as locks:
        # Nobody may replace what is read, either; in one order, so that no two wait for each other.
        for folder in sorted({out, absolute(bundle)}):
            locks.enter_context(
                locked_by_process(folder.with_name(f".{folder.name}.lock"), f"updating {out}")
            )
        base = Bundle.load(absolute(bundle))
        log = read_log(base.folder, base.manifest)
        learned = learned_of(log, base.folder)
        _refuse_other_updates(base, out)
        rows = read(learned).timed(learned, after=log.events.until, now=now)
        with TemporaryDirectory(prefix="h2rec-", ignore_cleanup_errors=True) as room:
            grown, growth = _grown(base, items, Path(room) / "grown")
            return _update(grown, log, learned, rows, out, budget=budget, growth=growth)


def _update(
    bundle: Bundle,
    log: TrainingLog,
    learned: Learned,
    rows: pl.DataFrame,
    out: Path,
    *,
    budget: float,
    growth: Growth | None,
) -> Updated:
    catalogue = bundle.items.select("item_id").with_row_index("item", offset=1)
    known = rows.rename({"item": "item_id"}).join(catalogue, on="item_id", how="left", maintain_order="left")
    unknown = known.filter(pl.col("item").is_null())["item_id"]
    if len(unknown) == rows.height:
        raise DataError(
            f"none of the {rows.height:,} interactions is of an item that the bundle knows",
            "check the column of items; give new ones with --items",
        )
    merged = log.events.merged(known.filter(pl.col("item").is_not_null()).select("user", "item", "time"))
    lineage = bundle.manifest.lineage
    assert lineage is not None  # where there is a log there is one
    new_events = int(np.count_nonzero(merged.is_new))
    counts = merged.log.histories.counts(bundle.model.item_count)
    pairs = log.pairs.replaced(*_before_and_after(log.events, merged))
    before = (0, None) if budget == 0 else ndcg_of_new(bundle, merged)
    bundle.model.recount(
        ItemFeatures(
            bundle.model.item_count,
            bundle.semantic_ids,
            train_counts=counts,
            train=merged.log.histories,
            pairs=pairs,
        )
    )
    model = bundle.model.to(select_device("auto"))
    further = (
        train_further(
            model,
            bundle.manifest.model,
            learned,
            merged,
            bundle.semantic_ids,
            budget=budget,
            turn=len(lineage.updates),
        )
        if new_events
        else Further(0, 0.0)
    )
    model = model.cpu().eval()
    known_items = reference_items(lineage.items)
    vectors = CatalogueScorer(model).item_matrix.numpy()[known_items]
    made = Update(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        events=new_events,
        new_users=merged.new_users,
        new_items=0 if growth is None else len(growth.added),
        until=merged.log.until,
        poorly_coded=0 if growth is None else sum(item.outlyingness > POORLY for item in growth.added),
        targets=further.targets,
        cpu_seconds=round(further.cpu_seconds, 3),
        cases=before[0],
        ndcg_before=before[1],
        drift=drift(log.reference, vectors),
    )
    lineage = lineage.model_copy(update={"updates": [*lineage.updates, made]})
    lineage = lineage.model_copy(update={"due": reasons_due(lineage)})
    _write(out, bundle, TrainingLog(merged.log, pairs, log.learning, log.reference), learned, lineage)
    return Updated(
        made,
        lineage.due,
        repeated=merged.repeated,
        late=merged.late,
        unknown=unknown.unique(maintain_order=True).to_list(),
        left_out=len(unknown),
        growth=growth,
    )


def _write(
    out: Path,
    bundle: Bundle,
    log: TrainingLog,
    learned: Learned,
    lineage: Lineage,
) -> None:
    manifest, folder = bundle.manifest, bundle.folder
    text = folder / TEXT
    counts = log.events.histories.counts(bundle.items.height)
    with TemporaryDirectory(prefix="h2rec-", ignore_cleanup_errors=True) as room:
        log.save(Path(room))
        write_bundle(
            out,
            BundleParts(
                model=bundle.model,
                settings=manifest.model,
                items=bundle.items.drop("train_count", "head"),
                train_counts=counts,
                head=head_items(counts, learned.head_share),
                semantic_ids=bundle.semantic_ids,
                collisions=manifest.collisions,
                repeats=manifest.repeats,
                refit=manifest.refit,
                whole_number_ids=manifest.whole_number_ids,
                encoder=path if (path := folder / "encoder").is_dir() else None,
                quantizer=path if (path := folder / "quantizer").is_dir() else None,
                text=np.load(text, allow_pickle=False) if text.is_file() else None,
                text_fields=manifest.text_fields,
                columns=manifest.columns,
                log=Path(room),
                lineage=lineage,
                provenance=manifest.provenance,
            ),
        )


def _refuse_other_updates(bundle: Bundle, out: Path) -> None:
    """Refuse to replace a bundle that knows of the same training what this one does not."""
    if not is_bundle(out):
        return
    there, ours = read_manifest(out).lineage, bundle.manifest.lineage
    if there is None or ours is None or there.trained != ours.trained:
        return
    if there.updates != ours.updates[: len(there.updates)]:
        raise H2RecError(
            f"{out}: it has taken in interactions that {bundle.folder} does not have, and they would be lost",
            f"update {out} itself, or give another --out",
        )


def _grown(bundle: Bundle, items: pl.DataFrame | None, folder: Path) -> tuple[Bundle, Growth | None]:
    if items is None:
        return bundle, None
    fresh = items.filter(~pl.col("item_id").is_in(bundle.items["item_id"].implode()))
    if not fresh.height:
        return bundle, None
    growth = add_items(bundle, fresh, folder)
    return Bundle.load(folder), growth


def _before_and_after(known: EventLog, merged: Merged) -> tuple[PairCounts, PairCounts]:
    rows = merged.touched
    old = known.histories.select(rows[rows < len(known.user_ids)])
    return PairCounts.of(old), PairCounts.of(merged.log.histories.select(rows))
