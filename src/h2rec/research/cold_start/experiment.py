"""Extreme cold start: items that training never saw, ranked by their text and codes."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from h2rec.claims import claim_names
from h2rec.data.splits import Holdout
from h2rec.errors import ConfigError, DataError
from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.scorer import Restricted, Scorer
from h2rec.evaluation.settings import FULL, EvaluateSettings, RepeatRule
from h2rec.evaluation.significance import compare_models
from h2rec.files import write_json
from h2rec.models.branches import BRANCHES
from h2rec.models.build import grown_model
from h2rec.models.features import NewItems
from h2rec.models.neighbours import Neighbours, Vectors, nearest_in_text
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.models.warm_start import evened, text_vectors
from h2rec.research.cold_start.cases import ColdCases, cold_cases, withheld_items, write_warm_files
from h2rec.research.cold_start.scorers import OneBranch, SameForAll, TextNeighbours, hash_ids, with_new_ids
from h2rec.research.columns import mark_places, over_seeds, tests_against
from h2rec.run.config import RunConfig
from h2rec.run.learning import EVALUATION_SEED
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import provenance
from h2rec.run.run_folder import is_run_folder
from h2rec.semantic_ids.codes import CodeArray, SemanticIds
from h2rec.semantic_ids.new_items import encode_new
from h2rec.semantic_ids.quantizers import load_quantizer
from h2rec.text.encoders import load_encoder
from h2rec.text.fields import item_texts

logger = logging.getLogger(__name__)

TESTED = "H2Rec"
"""The method of `h2rec add-items`; all others are tested against it."""
METRICS = ("hit@10", "ndcg@10", "hit@100", "hit@500")
SCOPES = {"all": "among all items", "cold": "among cold items"}


@dataclass(frozen=True, eq=False)
class WithheldItems:
    """What is known of the withheld items: text embeddings `[M, m]`, all items' codes, their neighbours."""

    vectors: Vectors
    ids: SemanticIds
    neighbours: Neighbours


def cold_start(
    config: RunConfig,
    out: Path,
    *,
    share: float = 0.1,
    seeds: Sequence[int] = (0, 1, 2),
    stages: Path | None = None,
) -> dict[str, Any]:
    """Withhold items, train without them, and rank them by every method; finished trainings are reused.

    Parameters
    ----------
    config
        Of an H2Rec run; SASRec is trained with the same settings. Items are withheld with a fixed seed.
    share
        Share of the items to withhold.
    seeds
        Training seeds.

    Returns
    -------
    dict
        Written to `cold_start.json`: ``records`` as those of `evidence`, with the protocols "among all
        items" (without those of the history, where the data's rule for repeats excludes them) and "among cold items";
        the name of the data set and counts; ``repeats``: that rule;
        ``shared_levels``: how many withheld items share that many leading codes with a known one.

    Raises
    ------
    ConfigError
        If new items can't be given codes with these settings, the split is not leave-one-out, the model is not H2Rec,
        or texts are to be spoiled.
    DataError
        If no item has a text, or no test user's target is withheld.
    """
    if config.text.precomputed or config.semantic_ids.file is not None:
        raise ConfigError(
            "withheld items need a text encoder and a quantizer, not files of embeddings or codes"
        )
    if config.data.split != "leave_one_out":
        raise ConfigError("cold start needs data.split: leave_one_out")
    models = _models(config.model)
    if config.text.noise is not None and config.text.noise.share:
        raise ConfigError("cold start takes texts as they are", "leave text.noise out")
    claim_names(out, ("cold_start.json",), _is_cold_start)  # the log is opened by then
    full = Pipeline(config, out / "whole", stages or out / "stages").begin()
    # What is text is decided on the whole catalogue, not anew on what is left of it.
    config = config.model_copy(update={"text": config.text.model_copy(update={"fields": full.text_fields})})
    has_text = np.array([bool(text) for text in item_texts(full.dataset.items, config.text.fields)])
    if not has_text.any():
        raise DataError("no item has a text, by which items that are withheld would be placed")
    withheld = withheld_items(full.dataset, has_text, share, EVALUATION_SEED)
    warm = full.store.run(
        "warm_data",
        {"data": full.data_stage.key, "share": share, "fields": config.text.fields},
        lambda folder: write_warm_files(full.dataset, withheld, folder),
    )
    kept = {name: getattr(config.data, name) for name in ("head_share", "popularity_groups")}
    files = {"interactions": warm.folder / "interactions.parquet", "items": warm.folder / "items.parquet"}
    columns = {"weight": None if full.dataset.weights is None else "weight"}
    data = type(config.data).model_validate({**kept, **files, "columns": columns})
    ranks: dict[str, list[pl.DataFrame]] = {}
    for seed in seeds:
        train = config.train.model_copy(update={"seed": seed})
        for name, model in models.items():
            changed = config.model_copy(update={"data": data, "train": train, "model": model})
            pipeline = Pipeline(changed, out / f"{name.lower()}-{seed}", full.store.root)
            cold = cold_cases(full.dataset, pipeline.dataset, withheld)
            new = _embed_withheld(pipeline, cold)
            for method, scorer in _methods(name, pipeline, new, first=seed == seeds[0]):
                known = pipeline.dataset.item_count
                ranks.setdefault(method, []).append(_ranks(scorer, cold.cases, known, full.repeats.rule))
    results = {
        "data": config.data.name,
        "tested": TESTED,
        "metrics": list(METRICS),
        "repeats": full.repeats.rule,
        "records": list(_records(ranks)),
        "withheld_items": cold.items.height,
        "known_items": pipeline.dataset.item_count,
        "cases": len(cold.cases),
        "shared_levels": _shared_levels(new.ids.codes, pipeline.dataset.item_count),
        "provenance": provenance(seeds[0]) | {"seeds": list(seeds), "share": share},
    }
    write_json(out / "cold_start.json", results)
    return results


def _models(settings: ModelSettings) -> dict[str, ModelSettings]:
    """The model with codes and hash IDs, and its branches of hash IDs alone."""
    if not (settings.reads_codes and _ids(settings)):
        raise ConfigError(
            "model: cold start is of a model that knows items by their codes and by hash IDs",
            "take the preset h2rec",
        )
    return {"H2Rec": settings, "SASRec": settings.only_branches(_ids(settings))}


def _ids(settings: ModelSettings) -> list[str]:
    return [name for name, kind in settings.kinds.items() if kind == "ids"]


def _trained_by_codes(settings: ModelSettings) -> list[str]:
    return [name for name in settings.trained_branches if BRANCHES.get(settings.kinds[name]).reads_codes]


def claim(out: Path) -> None:
    """Refuse a folder in which the experiment would overwrite what h2rec did not write.

    Raises `H2RecError`, naming what is there.
    """
    # Not the log: it is only appended to, and the command has opened it already.
    claim_names(out, ("cold_start.json",), _is_cold_start)


def _is_cold_start(out: Path) -> bool:
    return is_run_folder(out / "whole")


def _embed_withheld(pipeline: Pipeline, cold: ColdCases) -> WithheldItems:
    embeddings, ids, stage = pipeline.embeddings, pipeline.semantic_ids, pipeline.semantic_id_stage
    if embeddings is None or ids is None or stage is None:
        raise ConfigError("withheld items are placed by their text, and the items have none")
    encoder, quantizer = load_encoder(embeddings.encoder_folder), load_quantizer(stage.folder / "quantizer")
    vectors = encoder.encode(item_texts(cold.items, pipeline.text_fields))
    codes = encode_new(quantizer, vectors, ids, pipeline.config.semantic_ids.collisions).codes
    near = nearest_in_text(embeddings.vectors * embeddings.has_text[:, None], vectors, embeddings.leading)
    return WithheldItems(vectors, SemanticIds(np.concatenate([ids.codes, codes]), ids.codebook_sizes), near)


def _shared_levels(codes: CodeArray, known: int) -> list[int]:
    """How many withheld items share no, one, two .. leading codes with a known one, `[L + 1]`."""
    levels = range(1, codes.shape[1] + 1)
    prefixes = {tuple(row[:level]) for row in codes[:known].tolist() for level in levels}
    shared = [sum(tuple(row[:level]) in prefixes for level in levels) for row in codes[known:].tolist()]
    counts: list[int] = np.bincount(shared, minlength=len(levels) + 1).tolist()
    return counts


def _methods(
    name: str, pipeline: Pipeline, new: WithheldItems, *, first: bool
) -> Iterator[tuple[str, Scorer]]:
    """Every method to score a catalogue with new items; those without training only once."""
    settings, embeddings = pipeline.model_settings, pipeline.embeddings
    assert embeddings is not None
    grown = grown_model(pipeline.model, settings, new.ids, NewItems(new.neighbours, new.vectors))
    ids = _ids(settings)[0]
    known = evened(embeddings.vectors[embeddings.has_text], embeddings.leading)
    told = evened(new.vectors, embeddings.leading)
    by_text = text_vectors(known, hash_ids(grown, ids).embedding_dim, new=told)
    # A scorer keeps the item vectors as they are when it is made, so one model serves all of them by turns.
    yield name, CatalogueScorer(grown)
    if name == "H2Rec":
        for codes in _trained_by_codes(settings)[:1]:
            # With weight 1: beside hash IDs the codes may weigh nothing.
            weighed = settings.with_weights({codes: 1.0})
            alone = grown_model(pipeline.model, weighed, new.ids, NewItems(new.neighbours, new.vectors))
            place = alone.branch_names.index(codes)
            yield "H2Rec, codes alone for all items", OneBranch(CatalogueScorer(alone), place)
        with_new_ids(grown, ids, np.zeros_like(by_text))
        yield "H2Rec, no HID for cold items", CatalogueScorer(grown)
    with_new_ids(grown, ids, by_text)
    yield f"{name}, HID from text", CatalogueScorer(grown)
    if first and name == "H2Rec":
        counts = pipeline.split.train_counts[1:].astype(np.float64)
        none = np.zeros(len(new.vectors))
        yield (
            "text neighbours of the history",
            TextNeighbours(np.concatenate([embeddings.vectors, new.vectors])),
        )
        yield "popularity", SameForAll(np.concatenate([counts, none]))
        lent = new.neighbours.mean_of(counts.astype(np.float32))
        yield "popularity of its neighbours", SameForAll(np.concatenate([counts, lent]))


def _ranks(scorer: Scorer, cases: Holdout, known: int, rule: RepeatRule) -> pl.DataFrame:
    settings = EvaluateSettings(protocols=[FULL], repeats=rule)
    among_cold = np.arange(scorer.item_count + 1) > known
    by_scope = {
        "all": rank(scorer, cases, settings).by_protocol[FULL],
        "cold": rank(Restricted(scorer, among_cold), cases, settings).by_protocol[FULL],
    }
    frame = {"user": np.asarray(cases.users), "target": np.asarray(cases.targets)}
    return pl.DataFrame(frame | {f"rank_{scope}": ranks for scope, ranks in by_scope.items()})


def _records(ranks: Mapping[str, Sequence[pl.DataFrame]]) -> Iterator[dict[str, Any]]:
    # What is tested comes last, as in the tables of suites.
    ordered = {
        method: ranks[method] for method in sorted(ranks, key=lambda method: (method == TESTED, method))
    }
    for scope, title in SCOPES.items():
        frame = compare_models(ordered, TESTED, METRICS, protocol=scope, family=("metric",))
        tests = tests_against(frame)
        for metric in METRICS:
            column = []
            for method, frames in ordered.items():
                values = [per_case(f[f"rank_{scope}"].to_numpy(), metric).mean() for f in frames]
                column.append(
                    {
                        "data": "cold start",
                        "protocol": title,
                        "slice": "overall",
                        "metric": metric,
                        "model": method,
                        **over_seeds(values),
                        **tests.get(f"overall/{metric}/{method}", {}),
                    }
                )
            mark_places(column)
            yield from column
