"""Settings that one baseline alone has."""

from typing import Literal

from pydantic import Field

from h2rec.settings import Settings


class PopSettings(Settings):
    """Most popular items."""

    window: float | None = Field(None, gt=0, le=1)
    """Count only the latest share of every user's training interactions; null counts them all."""


class PrefixNgramSettings(Settings):
    """PG-SID: prefixes of the code tuple, hashed to one table."""

    depth: int | None = Field(None, ge=1)
    """Longest prefix; null for all levels."""
    rows: int = Field(262_144, ge=2)
    """Rows of the table that prefixes are hashed to; several for each prefix, or many share a row by accident."""


class SubPieceSettings(Settings):
    """SPM-SID: sub-pieces of the code sequence, learned by SentencePiece."""

    vocabulary: int | None = Field(None, ge=2)
    """Pieces to learn, at most; null for half the number of items. As many pieces as items would be hash IDs."""
    weighting: Literal["interactions", "items"] = "interactions"
    """Count an item's code sequence as often as it is interacted with in training, or once."""


class LlmEsrSettings(Settings):
    """LLM-ESR: dual view and distillation from similar users."""

    cross_attention: bool = True
    """Let the two views attend to each other."""
    cross_heads: int = Field(2, ge=1)
    """Heads of that cross-attention."""
    residual: bool = True
    """Keep each view beside what it reads from the other; the paper replaces it."""
    share_encoder: bool = True
    """One backbone for both views (as the paper), or one each."""
    distillation: float = Field(0.1, ge=0)
    """Weight of the self-distillation."""
    similar_users: int = Field(10, ge=1)
    """Users whose mean is the teacher."""
    sequences: int = Field(16, ge=1)
    """Sequences of a batch that are distilled, at most; the teacher costs `similar_users` forward passes for each."""
