"""Our own parts under the contract tests that a plug-in's parts pass."""

import pytest
from model_forms import BACKBONES, FORMS, KINDS, name_of

from h2rec.losses import RANKING_LOSSES
from h2rec.models import MODELS
from h2rec.models.backbones import BACKBONES as ALL_BACKBONES
from h2rec.models.branches import BRANCHES
from h2rec.run.presets import preset_names, preset_values
from h2rec.testing import check_backbone, check_branch, check_model
from h2rec.testing import models as contract
from h2rec.testing.catalogue import parsed, random_model, small_catalogue
from h2rec.testing.training import check_gradients


def test_no_part_of_ours_is_left_out():
    assert ALL_BACKBONES.names() == BACKBONES
    assert BRANCHES.names() == list(KINDS)
    assert MODELS.names() == ["branches", "llm_esr", "tiger"]
    assert RANKING_LOSSES.names() == ["sampled_softmax", "softmax", "bpr", "bce", "gbce"]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone(name):
    check_backbone(name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_branch(kind):
    check_branch({"kind": kind, **KINDS[kind]})


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset(preset):
    values = preset_values(preset)["model"]
    # That one branch alone learns is seen with its kind, and with its backbone.
    learns = len(values.get("branches", ())) != 1
    check_model({**values, "dim": 16, "max_length": 12}, learns=learns)


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_every_form(form):
    """What every model promises before it learns, for the forms that no preset has."""
    values = {**form, "dim": 16, "max_length": 12}
    settings, features = parsed(values), small_catalogue()
    model = random_model(settings, features)
    contract.check_features(settings, features)
    for name in ("shapes", "padding", "rows", "causality", "scores", "reasons"):
        getattr(contract, f"check_{name}")(model)
    contract.check_stored(model, settings)
    contract.check_growth(model, settings)
    if form.get("ties", {}).get("fusion") != "equal":  # which leaves its network out of use
        check_gradients(settings, features)
