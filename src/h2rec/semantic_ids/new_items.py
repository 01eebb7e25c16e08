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
class Outlyingness:
    """How badly frozen codebooks describe new items, against the catalogue they were fitted on.

    Parameters
    ----------
    percentile
        Share of the fitted catalogue that is described better, float64 `[n]` in 0..1; 1 means worse than all.
    ratio
        Squared reconstruction error over the catalogue's median, float64 `[n]`: unlike the percentile it
        goes on growing outside the catalogue.
    """

    percentile: Floats
    ratio: Floats


@dataclass(frozen=True, eq=False)
class NewItems:
    """Codes of new items, int32 `[n, L]`, and how far outside the fitted catalogue each lies."""

    codes: CodeArray
    outlyingness: Outlyingness


def outlyingness(quantizer: Quantizer, embeddings: Embeddings) -> Outlyingness:
    """Compare the reconstruction errors of embeddings `[n, m]` with those of the fitted catalogue."""
    known = np.array(quantizer.error_quantiles)
    errors = quantizer.squared_errors(embeddings).astype(np.float64)
    # Identical errors (an exactly described catalogue) give a flat stretch; interp needs a rising one.
    rising, first = np.unique(known, return_index=True)
    percentile = np.interp(errors, rising, np.linspace(0, 1, len(known))[first])
    percentile[errors > known[-1]] = 1.0
    return Outlyingness(percentile, errors / max(known[50], np.finfo(np.float32).tiny))


def encode_new(
    quantizer: Quantizer, embeddings: Embeddings, existing: SemanticIds, collisions: Collisions = "keep"
) -> NewItems:
    """Codes of new items `[n, m]` that fit beside those of the catalogue, whose codes do not change.

    Parameters
    ----------
    existing
        The catalogue's codes, as `tokenize` returned them.
    collisions
        As the catalogue was tokenized. ``suffix``: the first suffix free below the item's codes, or the last
        one where all are taken (the table of suffixes can't grow without training). ``reassign``:
        the nearest free tuple.

    Raises
    ------
    SemanticIdError
        If the existing codes were made otherwise than by this quantizer and treatment, or no tuple is free.
    """
    suffixed = collisions == "suffix"
    sizes = existing.codebook_sizes[:-1] if suffixed else existing.codebook_sizes
    if sizes != quantizer.codebook_sizes:
        raise SemanticIdError(
            f"the catalogue's codebook sizes {existing.codebook_sizes} are not the quantizer's "
            f"{quantizer.codebook_sizes} with collisions: {collisions}"
        )
    codes = quantizer.encode(embeddings)
    measure = outlyingness(quantizer, embeddings)
    if collisions == "keep":
        return NewItems(codes, measure)
    taken = set(map(tuple, existing.codes.tolist()))
    rows = []
    for embedding, row in zip(embeddings, codes, strict=True):
        tuple_codes = tuple(map(int, row))
        if suffixed:
            suffixes = range(existing.codebook_sizes[-1])
            free = next((s for s in suffixes if (*tuple_codes, s) not in taken), suffixes[-1])
            placed: tuple[int, ...] | None = (*tuple_codes, free)
        else:
            placed = (
                tuple_codes if tuple_codes not in taken else nearest_free(quantizer, embedding, row, taken)
            )
        if placed is None:
            raise SemanticIdError(
                "no tuple of codes is free for a new item", "use collisions: keep or suffix"
            )
        taken.add(placed)
        rows.append(placed)
    return NewItems(np.array(rows, dtype=np.int32).reshape(len(rows), -1), measure)
