"""Tables that start from the items' text, or codes: a vector for hash IDs, level-wise means of these for codes."""

import logging
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from h2rec.models.features import ItemFeatures
from h2rec.models.neighbours import Vectors, directions_of
from h2rec.semantic_ids.codes import CodeArray

logger = logging.getLogger(__name__)

COLD_STD = 0.02
"""Standard deviation of vectors that start cold."""
STARTED_STD = 0.1
"""Standard deviation that started tables are scaled to."""


class TextStart:
    """Starting vectors of tables, computed on first use.

    They are the items' text on its first `dim` principal components. A catalogue that has codes and no text starts from
    the codes: items with like codes start near each other. It must have one of both.
    """

    def __init__(self, features: ItemFeatures, dim: int) -> None:
        self.features = features
        self.dim = dim

    @property
    def too_few(self) -> bool:
        """Whether too few items have a text of their own to span the components."""
        described = self.features.described
        return bool(described.sum() < self.dim and not described.all())

    @cached_property
    def vectors(self) -> Vectors:
        """Starting vectors of all items, `[N, d]`."""
        if self.features.text is None:
            ids = self.features.require_codes("a warm start")
            return vectors_of_codes(ids.codes, ids.codebook_sizes, self.dim)
        described = self.features.described
        text = self.features.require_text("a warm start")
        return described_rows(
            text_vectors(evened(text[described], self.features.leading), self.dim), described
        )


def evened(embeddings: Vectors, leading: int | None) -> Vectors:
    """Embeddings of texts, `[N, m]`, with the first encoder's columns as long as those of all others; None is one.

    What is alike goes by the first encoder. A start must tell items apart, and the words of the others do.
    """
    if leading is None:
        return embeddings
    parts = [directions_of(part) for part in np.split(embeddings, [leading], axis=1)]
    return directions_of(np.concatenate(parts, axis=1))


def text_vectors(embeddings: Vectors, dim: int, new: Vectors | None = None) -> Vectors:
    """Project text embeddings `[N, m]` on their first `dim` principal components, scaled to `STARTED_STD` overall.

    Given `new` items `[M, m]`, projects these instead, `[M, dim]`, with components and scale of the others. A small
    catalogue has fewer components than `dim`: the remaining columns start at zero, and learn.
    """
    started = min(dim, *embeddings.shape)
    if started < dim:
        logger.info(
            "texts start %d of the %d dimensions of model.dim, the others start at zero", started, dim
        )
    if len(embeddings) < 2:  # one point has no components
        return np.zeros((len(embeddings if new is None else new), dim), np.float32)
    from sklearn.decomposition import PCA  # imported late: a second, and serving never needs it

    components = PCA(started, svd_solver="covariance_eigh")
    with np.errstate(invalid="ignore"):  # embeddings without any variance have no shares of it
        projected = components.fit_transform(embeddings.astype(np.float64))
    spread = float(projected.std()) * (started / dim) ** 0.5  # of all columns, as their mean is zero
    scale = STARTED_STD / max(spread, 1e-12)  # all of one text: nothing to start from
    if new is not None:
        projected = components.transform(new.astype(np.float64))
    vectors = np.zeros((len(projected), dim), np.float32)
    vectors[:, :started] = projected * scale
    return vectors


def vectors_of_codes(codes: CodeArray, codebook_sizes: tuple[int, ...], dim: int) -> Vectors:
    """Vectors of items `[N, d]` from their codes `[N, L]`, scaled to `STARTED_STD` overall.

    A code is a random vector, drawn from torch's generator, and an item the sum of its codes; each level has half the
    variance of the one before, as residuals shrink.
    """
    total = np.zeros((len(codes), dim), np.float32)
    for level, size in enumerate(codebook_sizes):
        total += 2 ** (-level / 2) * torch.randn(size, dim).numpy()[codes[:, level]]
    return total * np.float32(STARTED_STD / max(float(total.std()), 1e-12))


def described_rows(vectors: Vectors, described: npt.NDArray[np.bool_]) -> Vectors:
    """Vectors of all items, `[N, d]`, from those of the items that have a text; the others start cold.

    At the mean of the others, items without text would all be one point, the origin of the components, where cosine
    scores have no gradient direction.

    `described` are the items with a text, bool `[N]`. The others' vectors are drawn from torch's generator.
    """
    if described.all():
        return vectors
    rows: Vectors = (torch.randn(len(described), vectors.shape[1]) * COLD_STD).numpy()
    rows[described] = vectors
    return rows


def code_vectors(
    vectors: Vectors,
    codes: CodeArray,
    codebook_sizes: tuple[int, ...],
    described: npt.NDArray[np.bool_] | None = None,
) -> tuple[list[Vectors], Vectors]:
    """Split item vectors into code vectors, level by level.

    A code's vector is the mean residual of its items after the coarser levels, so that an item's code vectors add up to
    the best approximation that its codes allow, whatever quantizer made them. Only items that are `described` count.

    Returns
    -------
    tables, residual
        One `[K_l, d]` a level (zero for a code without such items), and the residuals after all levels, `[N, d]`.
    """
    residual = vectors.astype(np.float64)
    counted = np.ones(len(vectors), dtype=np.bool_) if described is None else described
    tables = []
    for level, size in enumerate(codebook_sizes):
        column = codes[:, level]
        sums = np.zeros((size, vectors.shape[1]))
        np.add.at(sums, column[counted], residual[counted])
        table = sums / np.maximum(np.bincount(column[counted], minlength=size), 1)[:, None]
        residual = residual - table[column]
        tables.append(table.astype(np.float32))
    return tables, residual.astype(np.float32)


def start_rows(table: torch.Tensor, vectors: Vectors) -> None:
    """Set rows 1..N of a table to item vectors `[N, d]`."""
    with torch.no_grad():
        table[1 : len(vectors) + 1] = torch.from_numpy(vectors)
