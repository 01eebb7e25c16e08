"""Settings that every branch has."""

from pydantic import Field

from h2rec.settings import Settings


class BranchSettings(Settings):
    """One branch of a model; null takes the model's value."""

    kind: str
    """ids, codes, prefixes or popularity; of the tables alone: ids_and_codes, ids_and_text, code_sum, hashed_prefixes,
    code_pieces; or one of another package."""
    weight: float = 1.0
    """Weight of its score in the sum; of all trained branches but the last it is chosen on validation."""
    layers: int | None = Field(None, ge=1)
    """Layers of its backbone."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of its backbone."""
    temperature: float | None = Field(None, gt=0)
    """Temperature of its cosines."""
    learning_rate: float | None = Field(None, gt=0)
    """Learning rate of its weights; null: `train.learning_rate`."""
