"""Items that share all their codes: keep them, add a suffix, or move them to free codes."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from h2rec.errors import SemanticIdError
from h2rec.progress import progress_bar
from h2rec.semantic_ids.codes import CodeArray, SemanticIds
from h2rec.semantic_ids.embeddings import Embeddings
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.settings import Collisions

Taken = set[tuple[int, ...]]


def resolve(
    semantic_ids: SemanticIds,
    treatment: Collisions,
    quantizer: Quantizer | None = None,
    embeddings: Embeddings | None = None,
) -> SemanticIds:
    """Deal with items that share their whole tuple.

    Parameters
    ----------
    semantic_ids
        Codes of `N` items.
    treatment
        ``keep`` changes nothing (H2Rec's hash IDs separate such items). ``suffix`` adds a level that counts
        the items of a tuple from 0. ``reassign`` leaves a tuple to the item nearest to its reconstruction
        and moves the others to their nearest free tuple.
    quantizer, embeddings
        What made the codes, and of what `[N, m]`; needed by ``reassign``.

    Raises `SemanticIdError` if ``reassign`` lacks a quantizer or embeddings, or there are fewer tuples than items.
    """
    if treatment == "suffix":
        return add_suffix(semantic_ids)
    if treatment == "reassign":
        if quantizer is None or embeddings is None:
            raise SemanticIdError(
                "collisions: reassign needs the quantizer and the embeddings, codes from a file have neither",
                "use keep or suffix",
            )
        return _reassign(semantic_ids, quantizer, embeddings)
    return semantic_ids


def add_suffix(semantic_ids: SemanticIds) -> SemanticIds:
    """Add a level that counts items of the same tuple from 0, in the order of the items."""
    group, _ = semantic_ids.tuple_groups()
    suffix = rank_in_group(group)
    codes = np.column_stack([semantic_ids.codes, suffix]).astype(np.int32)
    return SemanticIds(codes, (*semantic_ids.codebook_sizes, int(suffix.max(initial=0)) + 1))


def rank_in_group(group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many earlier rows have the same group number, int64 `[N]`."""
    order = np.argsort(group, kind="stable")
    in_order = group[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
    lengths = np.diff(np.r_[starts, len(group)])
    ranks = np.empty(len(group), dtype=np.int64)
    ranks[order] = np.arange(len(group)) - np.repeat(starts, lengths)
    return ranks


def nearest_free(
    quantizer: Quantizer, embedding: Embeddings, codes: CodeArray, taken: Taken
) -> tuple[int, ...] | None:
    """Free tuple whose reconstruction is nearest to an embedding, among those with the longest common prefix.

    `codes` `[L]` is the tuple that the quantizer gave the embedding `[m]`; tuples in `taken` are not free.

    Returns None when every tuple is taken.
    """
    for length in range(len(codes) - 1, -1, -1):
        for candidate in _nearest_first(quantizer, embedding, tuple(map(int, codes[:length])), taken):
            if candidate not in taken:
                return candidate
    return None


def _nearest_first(
    quantizer: Quantizer, embedding: Embeddings, prefix: tuple[int, ...], taken: Taken
) -> Iterator[tuple[int, ...]]:
    """Tuples below a prefix: branches in order of their distance, each walked to its end before the next."""
    size = quantizer.codebook_sizes[len(prefix)]
    branches = np.array([(*prefix, code) for code in range(size)], dtype=np.int32)
    errors = np.square(quantizer.decode(branches) - embedding).sum(axis=1)
    for row in np.argsort(errors, kind="stable").tolist():
        branch = (*prefix, row)
        if len(branch) == len(quantizer.codebook_sizes):
            yield branch
        else:
            yield from _nearest_first(quantizer, embedding, branch, taken)


def _reassign(semantic_ids: SemanticIds, quantizer: Quantizer, embeddings: Embeddings) -> SemanticIds:
    group, size = semantic_ids.tuple_groups()
    colliding = np.flatnonzero(size > 1)
    if len(colliding) == 0:
        return semantic_ids
    errors = np.zeros(len(semantic_ids))
    errors[colliding] = quantizer.squared_errors(embeddings[colliding], semantic_ids.codes[colliding])
    by_error = colliding[np.lexsort((errors[colliding], group[colliding]))]
    moving = by_error[rank_in_group(group[by_error]) > 0]
    codes = semantic_ids.codes.copy()
    taken = set(map(tuple, codes.tolist()))
    with progress_bar("moving colliding items", len(moving), "items") as advance:
        for row in moving:
            free = nearest_free(quantizer, np.asarray(embeddings[row]), codes[row], taken)
            if free is None:
                raise SemanticIdError(
                    f"{len(codes)} items do not fit {len(taken)} tuples of codes",
                    "raise semantic_ids.levels or semantic_ids.codebook_size",
                )
            codes[row] = free
            taken.add(free)
            advance(1)
    return SemanticIds(codes, semantic_ids.codebook_sizes)
