"""Settings of every model, in the paper's words."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from h2rec.models.baselines.settings import (
    LlmEsrSettings,
    PopSettings,
    PrefixNgramSettings,
    SubPieceSettings,
)
from h2rec.settings import Settings

BackboneName = Literal["sasrec", "bert4rec", "gru4rec"]
Normalise = Literal["level", "item"]


class WarmStartSettings(Settings):
    """Where the embeddings start from."""

    hid: bool = True
    """Start the HID table from a PCA of the items' text embeddings."""
    codes: bool = True
    """Start the code tables from the same PCA, level by level, so that codes add up to it."""
    std: float = Field(0.1, gt=0)
    """Standard deviation that the started tables are scaled to."""


class ScoreSettings(Settings):
    """How a user vector meets an item vector."""

    kind: Literal["inner", "cosine"] = "cosine"
    """inner product (the paper) or cosine over a temperature, branch by branch."""
    temperature: float = Field(0.08, gt=0)
    """Divides the cosine; unused by the inner product."""
    sid_temperature: float | None = Field(None, gt=0)
    """That of h2rec's branches of codes, and of the first branch of its controls, two_hid and three_hid; null:
    `temperature`."""
    normalise: Normalise = "level"
    """Cosine only: every level's code vector to unit length, or an item's codes together, which keeps the
    levels' own proportions. Either way the item vector stays static."""
    sid_weight: float = Field(0.3, ge=0)
    """Weight of the SID branch's score beside the HID branch's."""
    hid_weights: tuple[NonNegativeFloat, NonNegativeFloat] = (1.0, 1.0)
    """Weights of the first branch of two_hid and three_hid, and of the second of three_hid, beside the last one's."""
    popularity: float = 0.0
    """Beyond the paper: what is added for every unit of ``log(1 + training interactions)`` of an item, in the
    rankings of h2rec and of its controls, two_hid and three_hid, and in no loss. It moves weight between head and
    tail; the stage `blend` chooses it."""
    saturate_at: int | None = Field(None, ge=1)
    """Beyond the paper: the SID score stops growing at the user's own score of this rank, so that codes choose
    the region and identity orders inside it; null for the paper's plain sum."""
    maturity: bool = False
    """Beyond the paper: scale the branches by a learned function of the item's training count."""


UNTRAINED = ("popularity", "hid_weights")
"""Settings of the score that no loss knows: a branch with a loss of its own does not know what it will weigh."""


class ResidualSettings(Settings):
    """Beyond the paper: an item is its codes plus a residual of its own."""

    enabled: bool = False
    """Give every item a residual vector beside its codes."""
    branch: Literal["sid", "own"] = "sid"
    """Where items have it: in the SID branch, or in a third, hybrid branch, and the SID branch is of codes alone."""
    codes: Literal["levels", "prefixes"] = "levels"
    """What a hybrid branch of its own makes of the codes beside the residual: a vector for every code of every level,
    weighed by alpha; or one for every prefix of the codes, shared by the items that begin with it."""
    layers: int | None = Field(None, ge=1)
    """Layers of the hybrid branch's backbone, where it has one of its own; null: `sid_layers`."""
    weight: float = Field(0.3, ge=0)
    """Weight of the hybrid branch's score beside the HID branch's."""
    shrink: float = Field(5.0, ge=0)
    """An item with c training interactions keeps ``c / (c + shrink)`` of its residual."""


WITHOUT_CODES = frozenset(
    {"pop", "sasrec", "bert4rec", "gru4rec", "sasrec_text", "llm_esr", "two_hid", "three_hid"}
)
"""Models that know nothing of semantic IDs."""


WITH_POPULARITY = frozenset({"h2rec", "two_hid", "three_hid"})
"""Models whose score may have a weight of popularity."""


class ModelSettings(Settings):
    """A model and its sizes; the paper's sections in brackets."""

    name: str = "h2rec"
    """h2rec, or a baseline: pop, sasrec, bert4rec, gru4rec, sasrec_text, llm_esr, sid_sum, pg_sid, spm_sid,
    hid_sid_add, hid_sid_concat, two_hid, three_hid."""
    backbone: BackboneName = "sasrec"
    """The sequence encoder under h2rec and under every baseline that is not a backbone itself."""
    dim: int = Field(64, ge=1)
    """Hidden size d."""
    layers: int = Field(2, ge=1)
    """Layers of the backbone."""
    sid_layers: int = Field(1, ge=1)
    """Layers of the SID branch's backbone in h2rec, where it has one of its own (the paper: as many as `layers`)."""
    heads: int = Field(2, ge=1)
    """Attention heads of the backbone."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout on the inputs and inside the backbone."""
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the attention weights of a transformer backbone; it slows attention down on CPUs."""
    sid_dropout: float | None = Field(None, ge=0, lt=1)
    """Beyond the paper: that of h2rec's branches of codes, where they have a backbone of their own, and of the first
    branch of its controls, two_hid and three_hid; null: `dropout`."""
    max_length: int = Field(50, ge=2)
    """Positions that the backbone sees; older history is cut."""
    share_encoder: bool = False
    """One backbone, of `layers`, for both branches instead of one each."""
    branches: Literal["both", "sid", "hid"] = "both"
    """Both, or one of them alone (ablation)."""
    intent: Literal["causal", "last"] = "causal"
    """Read alpha at each position (trains all positions), or once from the last item (the paper)."""
    fusion: Literal["adaptive", "equal", "mean_history"] = "adaptive"
    """alpha from the item (adaptive), fixed and equal (without fusion), or from the mean of the history."""
    mca: bool = True
    """Multi-granularity cross-attention in the HID branch."""
    mca_heads: int = Field(1, ge=1)
    """Heads of that cross-attention."""
    mca_residual: bool = True
    """Keep the HID beside what the cross-attention reads."""
    residual: ResidualSettings = ResidualSettings()
    """Identity in the SID branch too."""
    projection_heads: bool = False
    """Learned heads between the item vectors and the alignment loss."""
    score: ScoreSettings = ScoreSettings()
    """How users and items are compared."""
    warm_start: WarmStartSettings = WarmStartSettings()
    """Where the embeddings start from."""
    mask_share: float = Field(0.3, gt=0, lt=1)
    """Share of items masked in training (BERT4Rec)."""
    pop: PopSettings = PopSettings()
    """Of pop alone."""
    pg_sid: PrefixNgramSettings = PrefixNgramSettings()
    """Of pg_sid alone."""
    spm_sid: SubPieceSettings = SubPieceSettings()
    """Of spm_sid alone."""
    llm_esr: LlmEsrSettings = LlmEsrSettings()
    """Of llm_esr alone."""

    @property
    def of_codes(self) -> Self:
        """The settings as h2rec's branches of codes have them: with their own dropout and temperature."""
        dropout, temperature = self.sid_dropout, self.score.sid_temperature
        found = self if dropout is None else self.model_copy(update={"dropout": dropout})
        if temperature is None:
            return found
        score = found.score.model_copy(update={"temperature": temperature})
        return found.model_copy(update={"score": score})

    @property
    def reads_codes(self) -> bool:
        """Whether the model knows items by their codes; any other is trained alike whatever the codes are."""
        return self.name not in WITHOUT_CODES

    @property
    def of_others(self) -> frozenset[str]:
        """Names of the sections that belong to other models, and so decide nothing here."""
        return frozenset({"pop", "pg_sid", "spm_sid", "llm_esr"} - {self.name})

    def with_branch_weights(self, weights: Mapping[str, float]) -> Self:
        """Return the settings in which branches weigh something else.

        h2rec has ``sid`` and ``hybrid``, its controls ``first`` and ``second``, all of them ``popularity``. The last
        branch that reads histories (``hid`` in h2rec) always weighs 1.
        """
        score, residual = self.score, self.residual
        first, second = score.hid_weights
        of_hid = (weights.get("first", first), weights.get("second", second))
        score = score.model_copy(update={"hid_weights": of_hid})
        for branch, key in (("sid", "sid_weight"), ("popularity", "popularity")):
            if branch in weights:
                score = score.model_copy(update={key: weights[branch]})
        if "hybrid" in weights:
            residual = residual.model_copy(update={"weight": weights["hybrid"]})
        return self.model_copy(update={"score": score, "residual": residual})

    @model_validator(mode="after")
    def _parts_fit(self) -> "ModelSettings":
        if self.score.popularity and self.name not in WITH_POPULARITY:
            having = ", ".join(sorted(WITH_POPULARITY))
            raise ValueError(f"score.popularity is a weight of {having}, and name is '{self.name}'")
        by_name = {"heads": self.heads, "mca_heads": self.mca_heads}
        if self.name == "llm_esr":
            by_name["llm_esr.cross_heads"] = self.llm_esr.cross_heads
        for name, heads in by_name.items():
            if self.dim % heads:
                raise ValueError(f"dim ({self.dim}) is not divisible by {name} ({heads})")
        if self.residual.enabled and self.residual.branch == "own" and self.branches != "both":
            raise ValueError(
                f"residual.branch 'own' needs both other branches, and branches is '{self.branches}'"
            )
        if self.residual.enabled and self.residual.branch != "own":
            if self.residual.codes == "prefixes":
                raise ValueError(
                    "residual.codes 'prefixes' needs a hybrid branch: set residual.branch to 'own'"
                )
            if self.residual.layers is not None:
                raise ValueError("residual.layers needs a hybrid branch: set residual.branch to 'own'")
        if self.name == "h2rec" and self.backbone == "bert4rec" and self.intent == "last":
            raise ValueError(
                "intent 'last' predicts one next item a sequence; bert4rec predicts masked ones: use 'causal'"
            )
        return self
