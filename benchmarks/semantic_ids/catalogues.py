"""The catalogues that the tokenizers are measured on, through the project's own readers and text encoder."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h2rec.data.items import read_items
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.semantic_ids.audit.levels import level_use
from h2rec.semantic_ids.audit.shared import count_collisions
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import Embeddings, variance
from h2rec.text.embed import embed
from h2rec.text.fields import item_texts
from h2rec.text.settings import MINILM, TextSettings

NAMES = ("scientific", "beauty", "yelp")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Catalogue:
    """Texts and their MiniLM embeddings, `[N]` and `[N, 384]`."""

    name: str
    texts: list[str]
    embeddings: Embeddings


def catalogue(name: str) -> Catalogue:
    """Read a development data set and embed its texts (kept in the cache after the first time)."""
    default = Path(__file__).parents[2].parent / "shared" / "datasets"
    folder = Path(os.environ.get("H2REC_DATASETS", default))
    table, _ = read_items(open_table(folder / name / f"{name}.item"), ColumnSettings(), {})
    items = table.drop("file_row")
    return Catalogue(name, item_texts(items), embed(items, TextSettings(encoder=MINILM)).vectors)


def figures(
    data: Catalogue, codes: np.ndarray, reconstruction: Embeddings, codebook_size: int
) -> dict[str, object]:
    """Error, use and collisions of any tokenizer, measured in one way."""
    ids = SemanticIds(codes.astype(np.int32), (codebook_size,) * codes.shape[1])
    levels = level_use(ids)
    collisions = count_collisions(ids, data.embeddings, data.texts)
    return {
        "error": float(np.square(data.embeddings - reconstruction).sum(axis=1).mean())
        / variance(data.embeddings),
        "utilisation": [round(level.utilisation, 4) for level in levels],
        "perplexity": [round(level.perplexity, 1) for level in levels],
        "colliding": collisions.colliding,
        "avoidable": collisions.avoidable,
        "same_words": collisions.same_words,
    }
