"""Settings that every branch has."""

from pydantic import Field

from h2rec.settings import Settings


class BranchSettings(Settings):
    """One branch of a model; null takes the model's value."""

    kind: str
    """ids, codes, prefixes, generative, transitions, code_transitions, similar_text, similar_vectors or popularity; for
    comparisons: ids_and_codes, ids_and_text, code_sum, hashed_prefixes, code_pieces; or one of another package."""
    weight: float = 1.0
    """Weight of its score in the sum; of all branches but the last trained one it is chosen on validation."""
    layers: int | None = Field(None, ge=1)
    """Layers of its own backbone; null takes `model.layers`."""
