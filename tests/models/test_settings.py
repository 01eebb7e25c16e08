"""Sections `model` and `loss` as a person writes them."""

import pytest
from model_forms import BACKBONES, FORMS, TWO, branches

from h2rec.errors import ConfigError
from h2rec.losses.settings import LossSettings
from h2rec.models import MODELS
from h2rec.models.build import build_model
from h2rec.models.settings import BranchModelSettings, ModelSettings
from h2rec.run.presets import preset_names, preset_values


def parse(**values):
    return BranchModelSettings.parse({**TWO, **values}, source="model")


def settings_of(values):
    return MODELS.get(values.get("name", "branches")).settings_class.parse(values)


PRESETS = [preset_values(name)["model"] for name in preset_names()]


@pytest.mark.parametrize("values", [*FORMS, *PRESETS], ids=str)
def test_settings_come_back_from_their_plain_values(values):
    settings = settings_of(values)
    assert settings_of(settings.model_dump(mode="json")) == settings
    for name, branch in values.get("branches", {}).items():
        plain = settings.model_dump()["branches"][name]
        assert branch.items() <= plain.items()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"branches": {"a": {"kind": "codes", "layer": 2}}}, r"model\.branches\.a: .*'layer'.*mean 'layers'"),
        ({"branches": {"a": {"kind": "ids", "rows": 5}}}, r"model\.branches\.a: unknown key 'rows'"),
        (
            {"branches": {"b": {"kind": "ids_and_codes", "joint": "add"}}},
            r"model\.branches\.b: .*mean 'join'",
        ),
        ({"branches": {"b": {"kind": "ids_and_codes", "join": "sum"}}}, r"model\.branches\.b: join: "),
        ({"branches": {"p": {"kind": "popularity", "window": 1.5}}}, r"model\.branches\.p: window: "),
        ({"branches": {"a": {"kind": "ids", "layers": 0}}}, r"model\.branches\.a: layers: "),
        ({"branches": {"a": {"kind": "prefix"}}}, r"unknown kind of branch 'prefix'.*\n.*mean 'prefixes'"),
        ({"branches": {"a": {"kind": "os:system"}}}, r"unknown kind of branch 'os:system'"),
        (
            {"branches": {"a": {"layers": 2}}},
            r"branches: a: expected a mapping with a kind, one of ids, codes",
        ),
        ({"branches": {"a": "ids"}}, r"branches: a: expected a mapping with a kind"),
        ({"branches": {"a": {"kind": ["ids"]}}}, r"branches: a: expected a mapping with a kind"),
        ({"branches": ["ids"]}, r"branches: "),
        ({"branches": {}}, r"branches: "),
        ({"branches": {"a": None}}, r"branches: "),
        ({"backbone": "sasrek"}, r"unknown backbone 'sasrek'.*\n.*did you mean 'sasrec'"),
        ({"backbone": {"name": "gru4rec", "layer": 2}}, r"model\.backbone: unknown key 'layer'"),
        ({"backbone": {"layers": 2}}, r"backbone: expected the name of a backbone"),
        ({"backbone": 3}, r"backbone: expected the name of a backbone"),
        ({"layer": 2}, r"unknown key 'layer', did you mean 'layers'"),
        ({"ties": {"alignment": {"bta": 1}}}, r"unknown key 'ties\.alignment\.bta', did you mean"),
        ({"ties": {"beta": 1}}, r"unknown key 'ties\.beta', did you mean 'ties\.alignment\.beta'"),
        ({"dim": 9}, r"dim \(9\) is not divisible by heads \(2\)"),
        (
            {"backbone": "bert4rec", "ties": {"intent": "last"}},
            r"bert4rec predicts masked ones: use 'causal'",
        ),
        ({"temperature": float("inf")}, r"temperature"),
    ],
)
def test_mistakes_are_named_with_their_place_and_the_nearest_key(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse(**values)
    assert str(caught.value).startswith(("model", "unknown"))


@pytest.mark.parametrize(
    "name", ["Codes", "a.b", "a-b", "1st", "", "a b", "é", 3, "items", "keys", "values", "training", "type"]
)
def test_names_of_branches_are_plain_and_none_of_torch_s(name):
    with pytest.raises(ConfigError, match=f"'{name}' can't be the name of a branch"):
        parse(branches={name: {"kind": "ids"}})


@pytest.mark.parametrize("name", ["item", "ids_2", "settings", "weights", "table", "encoder", "branches"])
def test_any_other_name_does(build, name):
    assert build(branches={name: {"kind": "ids"}}).branch_names == (name,)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_is_a_name_or_a_mapping_with_it(backbone):
    plain, mapping = parse(backbone=backbone), parse(backbone={"name": backbone})
    assert plain == mapping
    assert plain.backbone.name == backbone
    assert plain.objective == ("cloze" if backbone == "bert4rec" else "next")


def test_null_drops_a_branch_and_the_order_is_that_of_the_settings(build):
    three = {"zeta": {"kind": "ids"}, "gone": None, "alpha": {"kind": "codes"}, "mid": {"kind": "prefixes"}}
    assert list(parse(branches=three).branches) == ["zeta", "alpha", "mid"]
    model = build(branches=three)
    assert model.branch_names == ("zeta", "alpha", "mid")
    assert [type(branch).__name__ for branch in model.branch_list()] == [
        "IdsBranch",
        "CodesBranch",
        "PrefixesBranch",
    ]


def test_weights_go_by_name():
    settings = parse(**branches("popularity", codes={"kind": "codes", "weight": 0.3}, ids={"kind": "ids"}))
    assert settings.weights == {"popularity": 1.0, "codes": 0.3, "ids": 1.0}
    other = settings.with_weights({"codes": 0.7, "popularity": -0.1})
    assert other.weights == {"popularity": -0.1, "codes": 0.7, "ids": 1.0}
    assert settings.weights["codes"] == 0.3
    assert other.with_weights({"codes": 0.3, "popularity": 1.0}) == settings
    with pytest.raises(ValueError, match="no branches wrong"):
        settings.with_weights({"wrong": 1.0})
    esr = settings_of({"name": "llm_esr"})
    assert (esr.weights, esr.with_weights({})) == ({}, esr)


@pytest.mark.parametrize(
    ("kinds", "weighed"),
    [
        (("codes", "ids"), ("codes",)),
        (("codes", "prefixes", "ids"), ("codes", "prefixes")),
        (("ids", "popularity"), ("popularity",)),
        (("transitions", "codes", "ids", "popularity"), ("codes", "transitions", "popularity")),
        (("ids", "transitions", "code_transitions"), ("transitions", "code_transitions")),
        (("transitions", "code_transitions"), ("code_transitions",)),
        (("popularity",), ()),
    ],
    ids=str,
)
def test_all_but_the_last_trained_branch_are_weighed_on_validation(kinds, weighed):
    assert parse(**branches(*kinds)).weighed_branches == weighed


def test_settings_tell_which_branches_learn_and_which_is_popularity():
    settings = parse(**branches("codes", "ids", tail={"kind": "popularity"}))
    assert settings.trained_branches == ("codes", "ids")
    assert settings.popularity_branch == "tail"
    assert parse(**TWO).popularity_branch is None
    esr = settings_of({"name": "llm_esr"})
    assert (esr.trained_branches, esr.popularity_branch) == ((), None)


def test_training_knows_no_branch_that_has_nothing_to_learn():
    with_popularity = parse(**branches("popularity", "codes", "ids"))
    assert with_popularity.for_training() == parse(**TWO)
    # Two popularities, and no trained branch: there is nothing else.
    alone = parse(**branches("popularity"))
    assert alone.for_training() == alone
    assert settings_of({"name": "llm_esr"}).for_training() == settings_of({"name": "llm_esr"})


def test_a_branch_left_out_of_training_leaves_the_others_weights_as_they_are(build):
    whole = build(**branches("popularity", "codes", "ids"))
    trained = build(**TWO)
    names = dict(trained.named_parameters())
    assert names.keys() == dict(whole.named_parameters()).keys()


@pytest.mark.parametrize(
    ("form", "codes", "text"),
    [
        ({**branches("ids"), "warm_start": False}, False, False),
        (branches("ids"), False, True),
        ({**branches("ids_and_text"), "warm_start": False}, False, True),
        ({**TWO, "warm_start": False}, True, False),
        (branches("popularity"), False, False),
        (branches("popularity", "code_sum"), True, True),
        ({"name": "llm_esr", "warm_start": False}, False, True),
    ],
    ids=str,
)
def test_settings_tell_what_the_model_reads(form, codes, text):
    settings = settings_of(form)
    assert (settings.reads_codes, settings.reads_text) == (codes, text)


@pytest.mark.parametrize(
    "name", ["sasrek", "branchs", "os:system", "h2rec.models.branch_model:BranchModel", "../llm_esr", ""]
)
def test_an_unknown_model_is_an_error_and_nothing_is_imported_for_it(features, name):
    with pytest.raises(ConfigError, match=r"unknown model '.*'\n.*known are: branches, llm_esr") as caught:
        build_model(ModelSettings(name=name), features, seed=0)
    assert ("did you mean 'branches'" in str(caught.value)) == (name == "branchs")


def test_a_model_has_its_own_section():
    with pytest.raises(ConfigError, match=r"unknown key 'branches'"):
        settings_of({"name": "llm_esr", **TWO})
    with pytest.raises(ConfigError, match=r"unknown key 'distillation'"):
        settings_of({**TWO, "distillation": 0.1})
    with pytest.raises(ConfigError, match="distillation"):
        settings_of({"name": "llm_esr", "distillation": -1})


def test_a_ranking_loss_is_a_name_or_a_mapping_with_its_own_settings():
    assert LossSettings.parse({"ranking": "bpr"}) == LossSettings.parse({"ranking": {"name": "bpr"}})
    for values, message in (
        ({"ranking": "bppr"}, r"unknown ranking loss 'bppr'\n.*did you mean 'bpr'"),
        ({"ranking": {"name": "bpr", "t": 0.2}}, r"loss\.ranking: unknown key 't'"),
        ({"ranking": 7}, "expected the name of a ranking loss"),
        ({"joint": 1.5}, "joint"),
    ):
        with pytest.raises(ConfigError, match=message):
            LossSettings.parse(values)
