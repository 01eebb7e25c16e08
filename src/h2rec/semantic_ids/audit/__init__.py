"""Audit of semantic IDs: how well the codes are used, what they hold, where they collide, what they mean."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.audit.branches import Branch, Theme, code_tree
from h2rec.semantic_ids.audit.levels import DepthError, LevelUse, error_by_depth, level_use, stable_share
from h2rec.semantic_ids.audit.neighbours import NeighbourCheck, check_neighbours
from h2rec.semantic_ids.audit.shared import CollisionCount, count_collisions
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import Embeddings, check_embeddings
from h2rec.semantic_ids.quantizers.protocol import Quantizer

__all__ = ["Audit", "audit"]


@dataclass(frozen=True)
class Audit:
    """Result of an audit; parts that need embeddings, a quantizer or texts are empty or None without them."""

    levels: tuple[LevelUse, ...]
    """Use of every level's codes."""
    errors: tuple[DepthError, ...]
    """Share of the embeddings that the codes leave over, by depth."""
    stable: float | None
    """Share of the items whose codes come back when their reconstruction is encoded again."""
    collisions: CollisionCount
    """Items that share their whole tuple."""
    neighbours: tuple[NeighbourCheck, ...]
    """Whether items that share codes have closer text than random ones, by depth; depth 0 is random."""
    branches: tuple[Branch, ...]
    themes: tuple[Theme, ...]
    """The code tree with typical words, and groups of like first-level branches."""

    def to_json(self) -> dict[str, Any]:
        """Everything but the tree below its first level, as plain JSON values."""
        collisions = self.collisions
        return {
            "items": collisions.items,
            "levels": [{**asdict(level), "utilisation": level.utilisation} for level in self.levels],
            "error_by_depth": [asdict(error) for error in self.errors],
            "stable": self.stable,
            "collisions": {
                "rate": collisions.rate,
                "distinct_tuples": collisions.distinct_tuples,
                "colliding_items": collisions.colliding,
                "avoidable_items": collisions.avoidable,
                "unavoidable_items": collisions.unavoidable,
                "same_words_items": collisions.same_words,
                "largest": [asdict(group) for group in collisions.largest],
            },
            "neighbours": [asdict(check) for check in self.neighbours],
            "branches": [
                {"code": branch.codes[0], "items": branch.items, "words": list(branch.words)}
                for branch in self.branches
            ],
        }


def audit(
    semantic_ids: SemanticIds,
    *,
    embeddings: Embeddings | None = None,
    quantizer: Quantizer | None = None,
    texts: Sequence[str] | None = None,
    item_ids: Sequence[str] | None = None,
) -> Audit:
    """Audit the codes of a catalogue.

    Parameters
    ----------
    semantic_ids
        Codes of `N` items.
    embeddings
        Text embeddings `[N, m]`: for reconstruction error, neighbours, and collisions of equal embeddings.
    quantizer
        What made the codes: for the reconstruction error.
    texts
        Item texts `[N]`, title first: for collisions of the same text, words of branches, and titles.
    item_ids
        Ids `[N]`, to name colliding items.

    Raises `SemanticIdError` if the parts do not fit together.
    """
    for name, rows in (("embeddings", embeddings), ("texts", texts), ("item ids", item_ids)):
        if rows is not None and len(rows) != len(semantic_ids):
            raise SemanticIdError(f"{len(rows)} {name} do not fit the codes of {len(semantic_ids)} items")
    if embeddings is not None:
        check_embeddings(embeddings, None if quantizer is None else quantizer.dimension, item_ids)
    if quantizer is not None:
        known = quantizer.codebook_sizes
        if semantic_ids.codebook_sizes[: len(known)] != known:
            raise SemanticIdError(
                f"codebook sizes {semantic_ids.codebook_sizes} are not those of the quantizer, {known}"
            )
    branches, themes = ((), ()) if texts is None else code_tree(semantic_ids, texts)
    return Audit(
        levels=tuple(level_use(semantic_ids)),
        errors=() if embeddings is None else tuple(error_by_depth(semantic_ids, embeddings, quantizer)),
        stable=None if quantizer is None else stable_share(semantic_ids, quantizer),
        collisions=count_collisions(semantic_ids, embeddings, texts, item_ids),
        neighbours=() if embeddings is None else tuple(check_neighbours(semantic_ids, embeddings)),
        branches=branches,
        themes=themes,
    )
