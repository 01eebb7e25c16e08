"""Settings of models, in the paper's words."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator
from torch import nn

from h2rec.batching.sequences import Objective
from h2rec.models import MODELS
from h2rec.models.backbones.registry import BACKBONES, BackboneSettings, NamedBackbone
from h2rec.models.branches import BRANCHES
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.score import Score
from h2rec.models.ties.settings import TieSettings
from h2rec.settings import Settings

_TAKEN_NAMES = frozenset(dir(nn.ModuleDict()))


class ModelSettings(Settings):
    """Settings of the section `model` that every model has."""

    name: str
    """branches (a sum of branches, as nearly all presets are), llm_esr, tiger, or a model of another package."""

    @property
    def reads_codes(self) -> bool:
        """Whether the model knows items by their codes. If not, its training does not depend on them."""
        return False

    def without(self, *, codes: bool = False, text: bool = False) -> Self | None:
        """The model without what needs semantic IDs, texts, or vectors that none learns; None if not the same then."""
        return None if codes and self.reads_codes else self

    @property
    def reads_text(self) -> bool:
        """Whether the model starts from the items' text, or can't do without it."""
        return False

    @property
    def most_layers(self) -> int:
        """Most layers of any part of the model; checked for settings that come from elsewhere."""
        return 1

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each branch's score in the sum, by name."""
        return {}

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each branch, by name; empty for a model that names no branches."""
        return {}

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to learn."""
        return True

    @property
    def unsearched(self) -> frozenset[str]:
        """Dotted keys below `model` that a search skips because they have no effect here."""
        return frozenset()

    @property
    def trained_branches(self) -> tuple[str, ...]:
        """Branches that have something to learn, in order."""
        return tuple(self.weights)

    @property
    def counted_branches(self) -> tuple[str, ...]:
        """Branches that learn nothing, in order."""
        return ()

    @property
    def weighed_branches(self) -> tuple[str, ...]:
        """Branches whose weights are chosen on validation.

        The last trained branch is the measure of all others; without one, the first counted branch is. What is
        configured to weigh nothing, or less, stays as it is.
        """
        trained, counted = self.trained_branches, self.counted_branches
        others = (*trained[:-1], *counted) if trained else counted[1:]
        return tuple(name for name in others if self.weights[name] > 0)

    @property
    def popularity_branch(self) -> str | None:
        """The branch of popularity, which moves places between head and tail; None without one."""
        return None

    def with_weights(self, weights: Mapping[str, float]) -> Self:
        """Return the settings with other weights of the branches."""
        if unknown := set(weights) - set(self.weights):
            raise ValueError(f"no branches {', '.join(sorted(unknown))}")
        return self

    def only_branches(self, names: Collection[str]) -> Self:
        """Return the settings of the model with only some of its branches."""
        if set(names) != set(self.weights):
            raise ValueError("the model has no branches that stand alone")
        return self

    def for_training(self) -> Self:
        """Return the settings that decide the training; what no loss depends on is at its default."""
        return self


class EncoderSettings(ModelSettings):
    """Settings of models that read histories with a backbone."""

    backbone: NamedBackbone = BackboneSettings(name="convolution")
    """The sequence encoder: convolution (SASRec with a convolution beside attention), sasrec, bsarec, esasrec,
    bert4rec, gru4rec, or one of another package; a name, or a mapping of its name and its own settings."""
    dim: int = Field(256, ge=1)
    """Hidden size d."""
    layers: int = Field(2, ge=1)
    """Layers of the backbone."""
    heads: int = Field(2, ge=1)
    """Attention heads of the backbone."""
    dropout: float = Field(0.5, ge=0, lt=1, json_schema_extra={"search": {"low": 0.2, "high": 0.6}})
    """Dropout on the inputs and inside the backbone."""
    max_length: int = Field(50, ge=2)
    """Positions that the backbone sees; older history is cut."""
    mask_share: float = Field(0.3, gt=0, lt=1, json_schema_extra={"search": {"low": 0.1, "high": 0.6}})
    """Share of items masked in training (BERT4Rec)."""
    temperature: float | None = Field(
        0.07,
        gt=0,
        allow_inf_nan=False,
        json_schema_extra={"search": {"low": 0.05, "high": 0.15, "log": True}},
    )
    """Divides the cosine that a branch scores with; null: every branch scores with the inner product (the paper)."""
    warm_start: bool = True
    """Start the vectors of items from a PCA of their text embeddings, or from their codes where a file of codes is all
    that tells of them, and the vectors of codes so that they add up to it."""

    @property
    def reads_text(self) -> bool:
        return self.warm_start

    @property
    def most_layers(self) -> int:
        return self.layers

    @property
    def unsearched(self) -> frozenset[str]:
        no_mask = {"mask_share"} if self.objective != "cloze" else set()
        return frozenset(no_mask | ({"temperature"} if self.temperature is None else set()))

    @property
    def objective(self) -> Objective:
        """The backbone's training objective."""
        return BACKBONES.get(self.backbone.name).objective

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) is not divisible by heads ({self.heads})")
        return self


class BranchModelSettings(EncoderSettings):
    """A sum of branches, and the ties between them."""

    name: Literal["branches"] = "branches"
    """branches: the score is a sum, each branch gives a part of it."""
    branches: dict[str, SerializeAsAny[BranchSettings]] = Field(min_length=1)
    """Branches by name, in order; null removes a branch of a preset."""
    ties: TieSettings = TieSettings()
    """Ties between the branches of codes and of hash IDs, if there are both."""

    @field_validator("branches", mode="before")
    @classmethod
    def _parse_branches(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name in value:
            if not re.fullmatch("[a-z][a-z0-9_]*", str(name)):
                raise ValueError(f"'{name}' can't be the name of a branch: use small letters, digits and _")
            if name in _TAKEN_NAMES:
                raise ValueError(f"'{name}' can't be the name of a branch: torch keeps it for itself")
        return {name: _branch(name, inner) for name, inner in value.items() if inner is not None}

    @property
    def most_layers(self) -> int:
        return max(branch.layers or self.layers for branch in self.branches.values())

    @property
    def reads_codes(self) -> bool:
        return any(BRANCHES.get(branch.kind).reads_codes for branch in self.branches.values())

    def without(self, *, codes: bool = False, text: bool = False) -> Self | None:
        # What is not trained adds to a model; what is learned makes it what it is. What learns of texts says so itself.
        kinds = {name: BRANCHES.get(kind) for name, kind in self.kinds.items()}
        vectors = any(kind.is_trained and kind.ranked for kind in kinds.values())
        lacking = {name for name, kind in kinds.items() if codes and kind.reads_codes}
        lacking |= {name for name, kind in kinds.items() if text and kind.reads_text and not kind.is_trained}
        lacking |= {name for name, kind in kinds.items() if not vectors and kind.reads_vectors}
        left = [name for name in self.branches if name not in lacking]
        return None if lacking & set(self.trained_branches) or not left else self.only_branches(left)

    @property
    def reads_text(self) -> bool:
        kinds = [BRANCHES.get(branch.kind) for branch in self.branches.values()]
        return any(kind.reads_text or (self.warm_start and kind.is_trained) for kind in kinds)

    @property
    def kinds(self) -> dict[str, str]:
        return {name: branch.kind for name, branch in self.branches.items()}

    @property
    def is_trained(self) -> bool:
        return bool(self.trained_branches)

    @property
    def unsearched(self) -> frozenset[str]:
        # A row without the alignment stays without.
        tied = {"ids", "codes"} <= set(self.kinds.values()) and self.ties.alignment.beta > 0
        keys = super().unsearched | (frozenset() if tied else {"ties.alignment.beta"})
        return keys if self.is_trained else keys | {"dropout", "temperature"}

    @property
    def weights(self) -> dict[str, float]:
        return {name: branch.weight for name, branch in self.branches.items()}

    @property
    def trained_branches(self) -> tuple[str, ...]:
        return tuple(n for n, branch in self.branches.items() if BRANCHES.get(branch.kind).is_trained)

    @property
    def counted_branches(self) -> tuple[str, ...]:
        return tuple(n for n, branch in self.branches.items() if not BRANCHES.get(branch.kind).is_trained)

    @property
    def popularity_branch(self) -> str | None:
        return next((name for name, kind in self.kinds.items() if kind == "popularity"), None)

    def with_weights(self, weights: Mapping[str, float]) -> Self:
        super().with_weights(weights)
        branches = {
            name: branch.model_copy(update={"weight": weights.get(name, branch.weight)})
            for name, branch in self.branches.items()
        }
        return self.model_copy(update={"branches": branches})

    def for_training(self) -> Self:
        # No loss depends on branches without anything to learn.
        return self.only_branches(self.trained_branches) if self.trained_branches else self

    def only_branches(self, names: Collection[str]) -> Self:
        kept = {name: branch for name, branch in self.branches.items() if name in names}
        return self.model_copy(update={"branches": kept})

    def score_of(self, branch: BranchSettings) -> Score:
        """How a branch scores. The only trained branch has the weight 1."""
        weight = branch.weight if len(self.trained_branches) > 1 else 1.0
        return Score(self.temperature, weight)

    @model_validator(mode="after")
    def _something_to_weigh_against(self) -> Self:
        if len(self.trained_branches) > 1 and self.weights[last := self.trained_branches[-1]] <= 0:
            raise ValueError(
                f"branches.{last}.weight: all others are weighed against it, so it must be above 0"
            )
        return self

    @model_validator(mode="after")
    def _intent_fits_objective(self) -> Self:
        if self.objective == "cloze" and self.ties.intent == "last" and self.reads_codes:
            raise ValueError(
                "ties.intent 'last' predicts one next item a sequence; "
                f"{self.backbone.name} predicts masked ones: use 'causal'"
            )
        return self


def _branch(name: str, value: Any) -> BranchSettings:
    if isinstance(value, BranchSettings):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise ValueError(f"{name}: expected a mapping with a kind, one of {', '.join(BRANCHES.names())}")
    return BRANCHES.get(value["kind"]).settings_class.parse(value, source=f"model.branches.{name}")


def parse_model(value: Any, *, default: str | None = None) -> Any:
    """Read a section `model` as the settings of the model that it names.

    Raises `ConfigError` if the model is unknown, or a key is none of its settings; `ValueError` if no model is named.
    """
    if isinstance(value, ModelSettings) or not isinstance(value, Mapping):
        return value
    name = value.get("name", default)
    if not isinstance(name, str):
        raise ValueError(f"name: expected the name of a model, one of {', '.join(MODELS.names())}")
    return MODELS.get(name).settings_class.parse(value, source="model")
