"""From embeddings, or a file of codes, to the semantic IDs of a catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h2rec.engines import LOCAL, Engine
from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.codes import CodeArray, SemanticIds
from h2rec.semantic_ids.collisions import resolve
from h2rec.semantic_ids.embeddings import CHUNK, Embeddings, check_embeddings
from h2rec.semantic_ids.interchange import read_codes
from h2rec.semantic_ids.quantizers import create
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.settings import SemanticIdSettings

ITEMS_A_PART = 8 * CHUNK
"""Items that get their codes at once on a cluster: whole chunks, so that all sums are taken in the same order."""


@dataclass(frozen=True, eq=False)
class Tokenized:
    """A tokenized catalogue."""

    semantic_ids: SemanticIds
    """Codes of every item, in the order of the items."""
    quantizer: Quantizer | None
    """The quantizer, which encodes new items; None where the codes came from a file."""


def tokenize(
    embeddings: Embeddings | None,
    item_ids: Sequence[str],
    settings: SemanticIdSettings,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    engine: Engine = LOCAL,
    stored: Path | None = None,
) -> Tokenized:
    """Give every item its codes.

    Parameters
    ----------
    embeddings
        Text embeddings `[N, m]`; may be None when the settings name a file of codes.
    item_ids
        Ids of the `N` items, in the order of the embeddings.
    checkpoint
        File that a killed fit continues from. The caller deletes it once the result is stored.
    engine, stored
        What gives parts of the items their codes, and the `.npy` of the embeddings that it reads; without the file
        this process does it.

    Raises `SemanticIdError` for embeddings or files of codes that can't be used; the item is named.
    """
    if settings.file is not None:
        return Tokenized(resolve(read_codes(settings.file, item_ids), settings.collisions), None)
    if embeddings is None:
        raise SemanticIdError(
            f"the quantizer '{settings.quantizer.name}' needs text embeddings, and there are none"
        )
    if len(embeddings) != len(item_ids):
        raise SemanticIdError(f"{len(embeddings)} embeddings do not fit {len(item_ids)} items")
    check_embeddings(embeddings, item_ids=item_ids)
    quantizer = create(settings).fit(embeddings, seed=seed, checkpoint=checkpoint)
    codes = SemanticIds(_codes(quantizer, embeddings, engine, stored), quantizer.codebook_sizes)
    return Tokenized(resolve(codes, settings.collisions, quantizer, embeddings), quantizer)


def _codes(quantizer: Quantizer, embeddings: Embeddings, engine: Engine, stored: Path | None) -> CodeArray:
    if stored is None:
        return quantizer.encode(embeddings)
    starts = range(0, len(embeddings), ITEMS_A_PART)
    parts = [(start, start + ITEMS_A_PART) for start in starts]
    return np.concatenate(list(engine.map(_Coding(quantizer, stored.absolute()), parts)))


@dataclass(frozen=True, eq=False)
class _Coding:
    """Gives codes to a part of the items."""

    quantizer: Quantizer
    stored: Path

    def __call__(self, part: tuple[int, int]) -> CodeArray:
        embeddings = np.load(self.stored, mmap_mode="r", allow_pickle=False)
        return self.quantizer.encode(embeddings[slice(*part)])
