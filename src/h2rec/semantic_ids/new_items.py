"""New items on frozen codebooks: their codes, and how far outside the fitted catalogue they lie."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.codes import CodeArray, SemanticIds
from h2rec.semantic_ids.collisions import nearest_free
from h2rec.semantic_ids.embeddings import Embeddings
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.settings import Collisions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NewItems:
    """Codes of new items, int32 `[n, L]`, and how far outside the fitted catalogue each lies (`outlyingness`)."""

    codes: CodeArray
    outlyingness: Floats


def outlyingness(quantizer: Quantizer, embeddings: Embeddings) -> Floats:
    """Share of the fitted catalogue that the codebooks describe better than each embedding, float64 `[n]`."""
    known = np.array(quantizer.error_quantiles)
    errors = quantizer.squared_errors(embeddings).astype(np.float64)
    # interp needs rising points; identical errors (an exactly described catalogue) give flat ones.
    rising, first = np.unique(known, return_index=True)
    shares: Floats = np.interp(errors, rising, np.linspace(0, 1, len(known))[first])
    return np.where(errors > known[-1], 1.0, shares)


def encode_new(
    quantizer: Quantizer, embeddings: Embeddings, existing: SemanticIds, collisions: Collisions = "keep"
) -> NewItems:
    """Codes of new items `[n, m]` that fit beside those of the catalogue, whose codes do not change.

    `existing`: the catalogue's codes, as `tokenize` returned them.
    `collisions`: as the catalogue was tokenized. ``suffix`` takes the first free suffix of the codes, or the last one
    where all are taken (suffixes can't grow without training); ``reassign`` the nearest free tuple.

    Raises `SemanticIdError` if the existing codes were made otherwise than by this quantizer and treatment, or no
    tuple is free.
    """
    suffixed = collisions == "suffix"
    sizes = existing.codebook_sizes[:-1] if suffixed else existing.codebook_sizes
    if sizes != quantizer.codebook_sizes:
        raise SemanticIdError(
            f"the catalogue's codebook sizes {existing.codebook_sizes} are not the quantizer's "
            f"{quantizer.codebook_sizes} with collisions: {collisions}"
        )
    codes, shares = quantizer.encode(embeddings), outlyingness(quantizer, embeddings)
    if collisions == "keep":
        return NewItems(codes, shares)
    taken = set(map(tuple, existing.codes.tolist()))
    rows = []
    for embedding, row in zip(embeddings, codes, strict=True):
        chosen: tuple[int, ...] | None = tuple(row.tolist())
        if suffixed:
            candidates = [(*row.tolist(), suffix) for suffix in range(existing.codebook_sizes[-1])]
            chosen = next((c for c in candidates if c not in taken), candidates[-1])
        elif chosen in taken:
            chosen = nearest_free(quantizer, embedding, row, taken)
        if chosen is None:
            raise SemanticIdError(
                "no tuple of codes is free for a new item", "use collisions: keep or suffix"
            )
        taken.add(chosen)
        rows.append(chosen)
    return NewItems(np.array(rows, dtype=np.int32).reshape(len(rows), -1), shares)
