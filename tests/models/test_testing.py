"""The contract tests see parts that break the contract: a plug-in's author reads one plain sentence."""

from typing import Literal

import pytest
import torch
from pydantic import Field
from torch import nn

from h2rec.errors import ConfigError
from h2rec.losses import RANKING_LOSSES
from h2rec.losses.named import BPR
from h2rec.losses.protocol import RankingSettings
from h2rec.models import MODELS
from h2rec.models.backbones import BACKBONES, Backbone
from h2rec.models.backbones.dropout import Dropout
from h2rec.models.backbones.registry import BackboneSettings
from h2rec.models.branch_items import DenseItems
from h2rec.models.branches import BRANCHES
from h2rec.models.branches.ids import IdsBranch
from h2rec.models.branches.popularity import PopularityBranch
from h2rec.models.branches.protocol import Branch, BranchRead
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.protocol import SequenceModel, UserStates, positions_read, read
from h2rec.models.reasons import Reason
from h2rec.models.settings import ModelSettings
from h2rec.testing import check_backbone, check_branch, check_model, check_ranking_loss


@pytest.fixture
def register(monkeypatch):
    """Register a part for one test, under the name `mine`."""

    def register(registry, part):
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
        monkeypatch.setattr(registry, "_installed", {})
        return registry.register("mine")(part)

    return register


# -- backbones ---------------------------------------------------------------------------------------


class ConvSettings(BackboneSettings):
    width: int = Field(3, ge=1)


class Conv(Backbone):
    """A causal convolution: a backbone of somebody else's."""

    settings_class = ConvSettings

    def __init__(self, sizes, settings):
        super().__init__(sizes, settings)
        self.dropout = Dropout(sizes.dropout)
        self.width = settings.width
        self.conv = nn.Conv1d(sizes.dim, sizes.dim, settings.width)
        self.out = nn.Linear(sizes.dim, sizes.dim)

    def forward(self, vectors, lengths):
        before = nn.functional.pad(self.dropout(vectors).transpose(1, 2), (self.width - 1, 0))
        return self.out(torch.relu(self.conv(before).transpose(1, 2)))


def test_a_backbone_of_another_package_passes(register):
    register(BACKBONES, Conv)
    check_backbone({"name": "mine", "width": 2})
    with pytest.raises(ConfigError, match=r"model\.backbone: unknown key 'widht', did you mean 'width'"):
        check_backbone({"name": "mine", "widht": 2})


class SeesLater(Conv):
    def forward(self, vectors, lengths):
        return super().forward(vectors.flip(1), lengths).flip(1)


class ReadsPadding(Conv):
    def forward(self, vectors, lengths):
        return super().forward(vectors, lengths) + vectors.mean(1, keepdim=True).detach()


class ReadsTheBatch(Conv):
    def forward(self, vectors, lengths):
        return super().forward(vectors, lengths) + lengths.float().mean()


class GivesTheLast(Conv):
    def forward(self, vectors, lengths):
        return super().forward(vectors, lengths)[:, -1]


class NeverStill(Conv):
    def forward(self, vectors, lengths):
        return super().forward(vectors, lengths) + torch.randn(1)


class Half(Conv):
    def forward(self, vectors, lengths):
        encoded = super().forward(vectors, lengths)
        return encoded.bfloat16() if self.mixed else encoded


class NoDropout(Conv):
    def forward(self, vectors, lengths):
        return self.out(self.conv(nn.functional.pad(vectors.transpose(1, 2), (2, 0))).transpose(1, 2))


class Unused(Conv):
    def __init__(self, sizes, settings):
        super().__init__(sizes, settings)
        self.spare = nn.Linear(2, 2)


class Bidirectional(Conv):
    causal = False


class LearnsNothing(Conv):
    def forward(self, vectors, lengths):
        return 0 * super().forward(vectors, lengths) + self.out(self.dropout(torch.ones_like(vectors)))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (SeesLater, "what stands at padding changes|depends on something later than its position"),
        (ReadsPadding, "what stands at padding changes a real position"),
        (ReadsTheBatch, "encoded otherwise in a batch than alone"),
        (GivesTheLast, r"\[B, T, d\] of \(3, 6, 8\) is encoded to \(3, 8\)"),
        (NeverStill, "in evaluation, two passes differ"),
        (Half, r"training in bfloat16 gives torch\.bfloat16, not float32"),
        (NoDropout, "in training, dropout changes nothing"),
        (Unused, r"no gradient reaches spare\.weight"),
        (Bidirectional, "its objective must be 'cloze'"),
        (LearnsNothing, r"no gradient reaches|among the first 3; at least 85% should be"),
    ],
)
def test_a_backbone_that_breaks_the_contract_is_told_how(register, part, message):
    register(BACKBONES, part)
    with pytest.raises(AssertionError, match=message):
        check_backbone("mine")


# -- branches ----------------------------------------------------------------------------------------


class Recency(Branch):
    """How late in the history an item occurs; nothing to learn."""

    is_trained = False

    def __init__(self, settings, item_count):
        super().__init__()
        self.settings, self.item_count = settings, item_count
        self.register_buffer("weight", torch.tensor(1.0))

    @classmethod
    def build(cls, settings, model, features):
        return cls(settings, features.item_count)

    def forward(self, sequences, intent):
        steps = sequences.items.shape[1]
        row, place = sequences.at // steps, sequences.at % steps
        seen = torch.arange(steps) <= place[:, None]
        back = place[:, None] - torch.arange(steps)
        share = torch.where(seen, 0.5 ** back.float(), 0.0)
        # In a space as wide as the catalogue could ever be here: one place an item.
        user = torch.zeros(len(row), 64).scatter_add(1, sequences.items[row] % 64, share)
        return BranchRead(user * self.settings.weight)

    def items(self, items):
        return DenseItems(nn.functional.one_hot(items % 64, 64).float())

    def grow(self, smaller, new):
        pass

    def reasons(self, items, history):
        return [[Reason(item, "codes", 0)] if item in history else [] for item in items]


def test_a_branch_of_another_package_passes(register):
    register(BRANCHES, Recency)
    check_branch("mine")


class ForgetsItsWeight(Recency):
    def forward(self, sequences, intent):
        return BranchRead(super().forward(sequences, intent).user / self.settings.weight)


class ScoresOtherwise(IdsBranch):
    def scores(self, read, intent, targets, items):
        own, others = super().scores(read, intent, targets, items)
        return own, 2 * others


class Shuffles(PopularityBranch):
    def grow(self, smaller, new):
        super().grow(smaller, new)
        self.log_count += 1


class SaysItIsTrained(PopularityBranch):
    is_trained = True


class DrawsWhatItForgets(IdsBranch):
    """Has a part beside its weights that a stored model can't bring back."""

    def __init__(self, settings, model, table):
        super().__init__(settings, model, table)
        self.shift = torch.randn(1, 16)

    def items(self, items):
        return DenseItems(self.score.item_side(self.table(items) + self.shift))


class ReadsCodesInSecret(IdsBranch):
    @classmethod
    def build(cls, settings, model, features):
        branch = super().build(settings, model, features)
        if features.semantic_ids is not None:
            with torch.no_grad():
                branch.table.vectors.weight += 1
        return branch


class SaysItReadsCodes(IdsBranch):
    reads_codes = True


class NamesAnything(Recency):
    def reasons(self, items, history):
        return [[Reason(item, "follows", 0)] for item in items]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (ForgetsItsWeight, "not three times the score"),
        (ScoresOtherwise, "score_targets scores otherwise than the vectors"),
        (Shuffles, "item vectors of branch 'own' change when the model grows"),
        (SaysItIsTrained, "is_trained of the branch is True, and it has 0 tensors to learn"),
        (DrawsWhatItForgets, "a model that was stored and read scores otherwise"),
        (ReadsCodesInSecret, "reads_codes of the settings is false, and the weights depend on the codes"),
        (SaysItReadsCodes, "reads_codes of the settings is true, and the model is made without codes"),
        (NamesAnything, "an empty history is given as a reason|are not all of the history"),
    ],
)
def test_a_branch_that_breaks_the_contract_is_told_how(register, part, message):
    register(BRANCHES, part)
    with pytest.raises(AssertionError, match=message):
        check_branch("mine")


def test_a_branch_that_does_not_look_at_the_history_need_not_learn_from_it(register):
    class Bias(PopularityBranch):
        """A learned popularity."""

        is_trained = True

        def __init__(self, settings, counts):
            super().__init__(settings, counts)
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, sequences, intent):
            return BranchRead(super().forward(sequences, intent).user * self.scale)

        def grow(self, smaller, new):
            super().grow(smaller, new)
            self.scale.data.copy_(smaller.scale.data)

    register(BRANCHES, Bias)
    check_branch("mine", learns=False)
    with pytest.raises(AssertionError, match="of the next items are among the first 3"):
        check_branch("mine")


# -- models ------------------------------------------------------------------------------------------


class MineSettings(ModelSettings):
    name: Literal["mine"] = "mine"
    size: int = 16


class Markov(SequenceModel):
    """An item's successor, by a bilinear form: a whole model of somebody else's."""

    settings_class = MineSettings
    branch_names, branch_weights = ("pairs",), (1.0,)
    objective, max_length = "next", 10

    def __init__(self, settings, item_count):
        super().__init__()
        self.settings, self.item_count = settings, item_count
        self.first, self.second = (nn.Embedding(item_count + 1, settings.size) for _ in range(2))

    @classmethod
    def build(cls, settings, features):
        return cls(settings, features.item_count)

    def forward(self, items, lengths, reads):
        return UserStates((read(self.first(items), positions_read(reads)),))

    def item_vectors(self, items):
        return (self.second(items),)


def test_a_model_of_another_package_passes(register):
    register(MODELS, Markov)
    check_model("mine")
    check_model({"name": "mine", "size": 20})
    with pytest.raises(ConfigError, match="unknown key 'sise', did you mean 'size'"):
        check_model({"name": "mine", "sise": 20})


class TwoNames(Markov):
    branch_names = ("pairs", "others")


class LooksAhead(Markov):
    def forward(self, items, lengths, reads):
        vectors = self.first(items)
        return UserStates((read(vectors + vectors[:, -1:], positions_read(reads)),))


class Meaningless(Markov):
    def forward(self, items, lengths, reads):
        return UserStates((super().forward(items, lengths, reads).vectors[0] / 0,))


class NoReason(Markov):
    refuses_new_items = " "


class OtherItems(Markov):
    def branch_items(self, items):
        return (DenseItems(self.second(items) + 1),)


class NoMask(Markov):
    objective = "cloze"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (TwoNames, "2 branches, and 1 weights"),
        (LooksAhead, "padding on the right changes|its batch|a later item changes"),
        (Meaningless, "user vectors of branch 'pairs' are not finite"),
        (NoReason, "refuses_new_items says no reason"),
        (OtherItems, "branch_items of 'pairs' score otherwise than its vectors"),
        (NoMask, "only a cloze has a masked item"),
    ],
)
def test_a_model_that_breaks_the_contract_is_told_how(register, part, message):
    register(MODELS, part)
    with pytest.raises(AssertionError, match=message):
        check_model("mine")


# -- losses ------------------------------------------------------------------------------------------


class MarginSettings(RankingSettings):
    margin: float = 1.0


class Margin(BPR):
    settings_class = MarginSettings

    def per_position(self, scores):
        kept = torch.ones_like(scores.others)
        kept[scores.hit[0], scores.hit[1]] = 0
        lead = scores.positive[:, None] - scores.others - self.settings.margin
        return (nn.functional.softplus(-lead) * kept).mean(1)

    def __call__(self, scores):
        return self.per_position(scores).mean()


def test_a_ranking_loss_of_another_package_passes(register):
    register(RANKING_LOSSES, Margin)
    check_ranking_loss({"name": "mine", "margin": 0.3})


class Sum(Margin):
    def __call__(self, scores):
        return self.per_position(scores).sum()


class EachPosition(Margin):
    def __call__(self, scores):
        return self.per_position(scores)


class WrongWay(Margin):
    def __call__(self, scores):
        return -super().__call__(scores)


class CountsHits(Margin):
    def __call__(self, scores):
        return nn.functional.softplus(scores.others - scores.positive[:, None]).mean()


class Overflows(Margin):
    def __call__(self, scores):
        return (scores.others - scores.positive[:, None]).mul(40).exp().mean()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Sum, "the loss is not the mean over the positions"),
        (EachPosition, r"the loss has the shape \(3,\), and should be a scalar"),
        (WrongWay, "a higher score of the target does not lower the loss"),
        (CountsHits, "a negative that is the target itself has a gradient"),
        (Overflows, "scores as large as .* make the loss inf"),
    ],
)
def test_a_ranking_loss_that_breaks_the_contract_is_told_how(register, part, message):
    register(RANKING_LOSSES, part)
    with pytest.raises(AssertionError, match=message):
        check_ranking_loss("mine")


def test_a_setting_that_does_not_come_back_is_told(register):
    class Forgetful(RankingSettings):
        margin: float = Field(1.0, exclude=True)

    class Loss(Margin):
        settings_class = Forgetful

    register(RANKING_LOSSES, Loss)
    with pytest.raises(AssertionError, match="come back from their plain values"):
        check_ranking_loss({"name": "mine", "margin": 0.5})


def test_a_branchs_settings_class_is_its_own(register):
    class DecaySettings(BranchSettings):
        decay: float = 0.5

    class Decayed(Recency):
        settings_class = DecaySettings

    register(BRANCHES, Decayed)
    with pytest.raises(ConfigError, match=r"model\.branches\.own: unknown key 'decai', did you mean 'decay'"):
        check_branch({"kind": "mine", "decai": 0.2})
