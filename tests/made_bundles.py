"""A small bundle with every part of a real one, made without training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from h2rec.batching.pair_counts import PairCounts
from h2rec.data.event_log import EventLog
from h2rec.data.histories import Histories
from h2rec.data.settings import ColumnSettings
from h2rec.files import file_hash
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.neighbours import text_directions
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings, parse_model
from h2rec.retrieval.bundle import BundleParts, write_bundle
from h2rec.retrieval.log import TrainingLog, reference_items
from h2rec.retrieval.manifest import Lineage
from h2rec.run.new_events import Learned
from h2rec.run.presets import with_preset
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.collisions import resolve
from h2rec.semantic_ids.quantizers import create
from h2rec.semantic_ids.settings import Collisions, SemanticIdSettings
from h2rec.text.encoders.tfidf import TfidfEncoder
from h2rec.text.fields import item_texts
from h2rec.text.protocol import TextEncoder
from h2rec.training.settings import TrainSettings

KINDS = ("shampoo", "lipstick", "perfume", "razor")
TRAITS = ("dry", "oily", "gentle", "daily", "travel", "herbal", "mild", "strong")
FUSED = {"preset": "h2rec_two_branches", "branches": {"prefixes": {"kind": "prefixes", "weight": 0.5}}}
"""A model with a branch that fuses the levels of codes, and hash IDs that read them; the default has neither."""
SIZES = {"dim": 8, "heads": 2, "layers": 1, "max_length": 6, "dropout": 0.0}


def made_items(count: int = 60) -> pl.DataFrame:
    rows = range(count)
    return pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in rows],
            "title": [f"{TRAITS[row % 8]} {KINDS[row % 4]} {TRAITS[(row // 8) % 8]}" for row in rows],
            "category": [KINDS[row % 4] for row in rows],
        }
    )


def made_settings(preset: str = "h2rec", **model: object) -> ModelSettings:
    """Settings of a small model: those of a preset, with some of its own."""
    values = with_preset({"preset": preset, "model": SIZES | model})
    settings: ModelSettings = parse_model(values["model"], default="branches")
    return settings


def make_bundle(
    folder: Path,
    *,
    preset: str = "h2rec",
    seed: int = 0,
    items: pl.DataFrame | None = None,
    collisions: Collisions = "keep",
    encoder: TextEncoder | None = None,
    **model: object,
) -> Path:
    """Write a bundle of a random model; its encoder and quantizer are fitted on the items' texts."""
    items = made_items() if items is None else items
    count = items.height
    texts = item_texts(items)
    encoder = (TfidfEncoder(12) if encoder is None else encoder).fit(texts)
    vectors = encoder.encode(texts)
    settings = SemanticIdSettings(quantizer="rqkmeans", levels=3, codebook_size=4)
    quantizer = create(settings).fit(vectors, seed=0)
    ids = SemanticIds(quantizer.encode(vectors), quantizer.codebook_sizes)
    ids = resolve(ids, collisions, quantizer, vectors)
    parts = folder.parent / f"{folder.name}.parts"
    for name, part in (("encoder", encoder), ("quantizer", quantizer)):
        (parts / name).mkdir(parents=True, exist_ok=True)
        part.save(parts / name)
    counts = np.concatenate([[0], np.arange(count, 0, -1)])
    chosen = made_settings(preset, **model)
    walks = [[(start + 7 * step) % count + 1 for step in range(5)] for start in range(0, count, 3)]
    train = Histories.from_lists(walks)
    known = ItemFeatures(count, ids, vectors, train_counts=counts, train=train)
    network = build_model(chosen, known, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # a zero start would hide what a weight does
        for name, weight in network.named_parameters():
            if "norm" not in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    network.after_training(known)
    head = np.concatenate([[False], np.arange(count) < count // 5])
    (parts / "log").mkdir(exist_ok=True)
    made_log(network, train).save(parts / "log")
    write_bundle(
        folder,
        BundleParts(
            model=network,
            settings=chosen,
            items=items,
            train_counts=counts,
            head=head,
            semantic_ids=ids,
            collisions=collisions,
            encoder=parts / "encoder",
            quantizer=parts / "quantizer",
            text=text_directions(vectors, vectors.any(axis=1)),
            text_fields=None,
            log=parts / "log",
            lineage=Lineage(
                trained="2024-05-01T00:00:00+00:00", events=len(train.items), until=4, items=count
            ),
            provenance={"made": "by a test"},
        ),
    )
    return folder


def made_log(model: SequenceModel, train: Histories) -> TrainingLog:
    """A log of users `u0`, `u1`, .. whose times are places in their histories."""
    users = pl.Series("user_id", [f"u{row}" for row in range(len(train))])
    times = np.concatenate([np.arange(length, dtype=np.float64) for length in train.lengths])
    learned = Learned(
        loss=LossSettings(),
        train=TrainSettings(),
        epochs=1,
        head_share=0.2,
        time_order="column 'timestamp' (count)",
        columns=ColumnSettings(),
        separator=None,
        time_format=None,
        min_rating=None,
    )
    vectors = CatalogueScorer(model).item_matrix.numpy()[reference_items(model.item_count)]
    events = EventLog(users, train, times)
    return TrainingLog(events, PairCounts.of(train), learned.model_dump(mode="json"), vectors)


def rewrite_manifest(
    folder: Path, change: Callable[[dict[str, Any]], object], *, rehash: Sequence[str] = ()
) -> None:
    """Change a bundle's manifest, and the hashes of some files to what they now are."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in rehash:
        manifest["files"][name] = file_hash(folder / name)
    change(manifest)
    path.write_text(json.dumps(manifest))
