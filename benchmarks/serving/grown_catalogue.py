"""A catalogue of any size with the shape of a trained one.

Real catalogues of a million items with public histories to train on are not at hand. So a trained bundle's item
vectors are resampled: a new item keeps the leading codes of a real item, takes the finer ones from another item
below the same prefix, and its identity is the real one's plus half the difference of two others below that prefix.
Clusters, their unequal sizes and the spread inside them are those of the trained model; scores of real users on the
grown catalogue have the same quantiles as on the real one (they are in the results).
"""

from dataclasses import dataclass

import numpy as np
import torch

from h2rec.batching.transitions import TransitionTable
from h2rec.data.histories import Histories
from h2rec.models.protocol import SequenceModel
from h2rec.retrieval.bundle import Bundle
from h2rec.semantic_ids.codes import SemanticIds

LIKENESS = ("similar_text", "similar_vectors")
"""Branches of the default preset that are tables of what each item is like, by name and kind."""


@dataclass(frozen=True, eq=False)
class GrownCatalogue:
    """Vectors `[count + 1, D]`, padding first; codes; and which real item each one was made of, `[count]` from 0."""

    vectors: np.ndarray
    ids: SemanticIds
    base: np.ndarray

    def histories(self, real: Histories, times: int, seed: int) -> Histories:
        """Real histories, `times` each, every item replaced by a grown one that was made of it, at random."""
        random = np.random.default_rng([seed, 1])
        order = np.argsort(self.base, kind="stable")
        starts = np.searchsorted(self.base[order], np.arange(self.base.max() + 3))
        real = real.select(np.tile(np.arange(len(real)), times))
        own = np.asarray(real.items, dtype=np.int64) - 1
        width = starts[own + 1] - starts[own]
        chosen = order[starts[own] + (random.random(len(own)) * width).astype(np.int64)]
        return Histories(real.offsets, (chosen + 1).astype(np.int32))


def grown_catalogue(bundle: Bundle, count: int, seed: int) -> GrownCatalogue:
    """Grow a bundle with a branch of hash IDs; cosine scores. Vectors of all other branches are those of real items.

    A branch of codes is grown by its codes.
    """
    random = np.random.default_rng(seed)
    real, codes = np.asarray(bundle.item_vectors)[1:], bundle.semantic_ids.codes
    levels = codes.shape[1]
    base = random.integers(0, len(real), count)
    kept = random.integers(1, levels, count)  # leading codes
    finer, plus, minus = (np.empty(count, np.int64) for _ in range(3))
    for level in range(1, levels):
        _, group = np.unique(codes[:, :level], axis=0, return_inverse=True)
        group = group.ravel()
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(group.max() + 2))
        rows = np.flatnonzero(kept == level)
        own = group[base[rows]]
        width = starts[own + 1] - starts[own]
        for chosen in (finer, plus, minus):
            chosen[rows] = order[starts[own] + (random.random(len(rows)) * width).astype(np.int64)]
    grown = np.concatenate([np.zeros_like(real[:1]), real[base]])
    sizes = [part.shape[1] for part in bundle.model.item_vectors(torch.arange(1))]
    stops = np.cumsum(sizes)
    columns = zip(stops - sizes, stops, strict=True)
    for kind, (start, stop) in zip(bundle.manifest.model.kinds.values(), columns, strict=True):
        if kind == "codes":
            for level, of_level in enumerate(np.split(np.arange(start, stop), levels)):
                rows = np.where(level < kept, base, finer)
                grown[1:, of_level] = real[rows][:, of_level]
        elif kind == "ids":
            identity = real[:, start:stop]
            moved = identity[base] + 0.5 * (identity[plus] - identity[minus])
            grown[1:, start:stop] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    mixed = np.where(np.arange(levels) < kept[:, None], codes[base], codes[finer])
    return GrownCatalogue(
        grown, SemanticIds(mixed.astype(np.int32), bundle.semantic_ids.codebook_sizes), base
    )


def with_grown_likeness(model: SequenceModel, bundle: Bundle, grown: GrownCatalogue) -> SequenceModel:
    """The model, its tables of like items those of the real items that each grown one was made of."""
    for name in LIKENESS:
        model.branches[name].table = grown_likeness(bundle.model.branches[name].table, grown.base + 1)
    return model


def grown_likeness(real: TransitionTable, base: np.ndarray) -> TransitionTable:
    """Each grown item is like one of the items made of each real one that its own is like.

    `base`: the real item of every grown one, `[N]`.
    """
    members, counts = np.argsort(base, kind="stable") + 1, np.bincount(base, minlength=len(real.offsets))
    lengths = np.diff(real.offsets)[base]
    offsets = np.concatenate([[0, 0], np.cumsum(lengths)])
    entries = np.repeat(real.offsets[base] - offsets[1:-1], lengths) + np.arange(lengths.sum())
    like, item = real.successors[entries], np.repeat(np.arange(len(base)), lengths)
    found = counts[like] > 0
    chosen = members[((counts.cumsum() - counts)[like] + item % np.maximum(counts[like], 1))[found]]
    rows, values = item[found] + 1, real.values[entries][found]
    order = np.lexsort((chosen, rows))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(base) + 1))])
    return TransitionTable(offsets, chosen[order], values[order])
