"""Presets: a name stands for a whole run, and what the user's file says wins."""

import pytest
import yaml

from h2rec.cli.main import main
from h2rec.errors import ConfigError
from h2rec.run.config import RunConfig
from h2rec.run.presets import DEFAULT, merge, preset_names, preset_text, preset_title, preset_values

DATA = {"interactions": "interactions.csv"}


def parse(**values):
    return RunConfig.parse({"data": DATA, **values})


def printed(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["presets", *words])
    said = capsys.readouterr()
    return ended.value.code, said.out, " ".join(said.err.split())


# -- the presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_configuration_with_what_it_says(name):
    config = parse(preset=name)
    assert config.preset == name
    assert contains(config.model_dump(mode="json"), preset_values(name))
    assert preset_title(name)
    assert "preset" not in preset_values(name)
    assert "data" not in preset_values(name)


@pytest.mark.parametrize("name", ["paper", "tiger"])
def test_published_methods_read_texts_as_published(name):
    assert parse(preset=name).text.encoder == "minilm"
    assert parse(preset=name, text={"dim": 64}).text.encoder == "minilm"
    assert parse(preset=name, text={"encoder": "tfidf"}).text.encoder == "tfidf"


def contains(whole, part):
    """Whether all that a mapping says stands in another one; a name may stand for a mapping with it."""
    if isinstance(part, dict):
        return all(contains(whole[key], value) for key, value in part.items())
    return part == (whole["name"] if isinstance(whole, dict) else whole)


def test_what_most_users_want_is_named_first():
    assert preset_names()[:3] == ["h2rec", "paper", "light"]
    assert len(set(preset_names())) == len(preset_names())


def test_data_alone_is_the_default_preset():
    assert DEFAULT == "h2rec"
    assert parse() == parse(preset="h2rec")
    assert list(parse().model.branches) == [
        "ids",
        "followers",
        "predecessors",
        "kinds",
        "similar_text",
        "similar_vectors",
    ]
    assert parse().model.trained_branches == ("ids",)


def test_presets_differ():
    keys = {parse(preset=name).key: name for name in preset_names()}
    # The light one is the default, smaller.
    light, cheaper = parse(preset="light"), parse(model={"dim": 64, "layers": 1})
    assert (light.model, light.loss, light.train) == (cheaper.model, cheaper.loss, cheaper.train)
    assert len(keys) == len(preset_names())


# -- over a preset -----------------------------------------------------------------------------------


def test_the_users_values_win_and_all_others_stay():
    preset = parse(preset="h2rec")
    mine = parse(
        preset="h2rec",
        model={"dim": 32, "branches": {"kinds": {"levels": 3}}, "ties": {"alignment": {"beta": 0.1}}},
        train={"epochs": 3},
        text={"encoder": "tfidf"},
    )
    kinds = mine.model.branches["kinds"]
    assert (mine.model.dim, mine.train.epochs, mine.text.encoder) == (32, 3, "tfidf")
    assert (kinds.levels, kinds.weight) == (3, 0.8)
    assert mine.model.ties.alignment.beta == 0.1
    assert mine.model.ties.alignment.shared_levels == preset.model.ties.alignment.shared_levels == 3
    assert mine.train.batch_tokens == preset.train.batch_tokens == 512
    assert mine.model.branches["followers"] == preset.model.branches["followers"]


def test_a_file_and_what_is_set_beside_it_win_over_the_preset(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "preset: paper\ndata: {interactions: i.csv}\nmodel: {temperature: 0.2}\nloss: {joint: 0.5}\n"
    )
    config = RunConfig.load(tmp_path / "a.yaml", ["loss.ranking=bce", "model.branches.codes.weight=0.7"])
    assert (config.preset, config.model.temperature, config.loss.joint) == ("paper", 0.2, 0.5)
    assert config.loss.ranking.name == "bce"
    assert config.model.weights == {"codes": 0.7, "ids": 1.0}
    assert config.semantic_ids.quantizer.name == "rqvae"
    assert RunConfig.load(tmp_path / "a.yaml", ["preset=sasrec"]).model.weights == {"ids": 1.0}


def test_a_branch_is_added_behind_those_of_the_preset():
    own = {"branches": {"popularity": {"kind": "popularity", "weight": 0.2}}}
    config = parse(preset="h2rec_two_branches", model=own)
    assert config.model.weights == {"codes": 0.3, "ids": 1.0, "popularity": 0.2}


def test_null_drops_a_branch_also_in_what_is_saved_and_read_again(tmp_path):
    own = {"branches": {"kinds": None, "tail": {"kind": "popularity"}}}
    config = parse(model=own)
    kept = [name for name in parse().model.branches if name != "kinds"]
    assert list(config.model.branches) == [*kept, "tail"]
    config = config.resolved(tmp_path)
    config.save(tmp_path / "config.yaml")
    assert "kinds" not in (tmp_path / "config.yaml").read_text()
    again = RunConfig.load(tmp_path / "config.yaml")
    assert again == config
    assert (again.key, again.training_key) == (config.key, config.training_key)
    # And a suite's row may drop one more.
    fewer = RunConfig.load(tmp_path / "config.yaml", ["model.branches.kinds=null"])
    assert list(fewer.model.branches) == [*(name for name in kept if name != "kinds"), "tail"]


@pytest.mark.parametrize("name", preset_names())
def test_a_saved_configuration_is_the_same_when_it_is_read_again(name, tmp_path):
    config = parse(preset=name).resolved(tmp_path)
    config.save(tmp_path / "config.yaml")
    written = (tmp_path / "config.yaml").read_bytes()
    again = RunConfig.load(tmp_path / "config.yaml")
    assert again == config
    again.save(tmp_path / "config.yaml")
    assert (tmp_path / "config.yaml").read_bytes() == written


def test_a_model_without_branches_is_saved_and_read_too(tmp_path):
    config = parse(model={"name": "llm_esr", "dim": 16}).resolved(tmp_path)
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path / "config.yaml") == config


def test_a_saved_configuration_does_not_change_with_the_presets(tmp_path, monkeypatch):
    config = parse().resolved(tmp_path)
    config.save(tmp_path / "config.yaml")
    usual = preset_values("h2rec")
    for branches in ({}, usual["model"]["branches"] | {"new": {"kind": "popularity"}}):
        other = usual | {"train": {"learning_rate": 0.9}, "model": {"dim": 8, "branches": branches}}
        for place in ("presets", "config"):
            monkeypatch.setattr(f"h2rec.run.{place}.preset_values", lambda name, other=other: other)
        assert RunConfig.load(tmp_path / "config.yaml") == config
    # What is asked for beside it is put in.
    assert (
        "new" in RunConfig.load(tmp_path / "config.yaml", ["model.branches.new={weight: 2}"]).model.branches
    )


def test_a_run_that_leaves_out_a_branch_by_null_is_run_again_in_its_folder(tmp_path):
    """Also one that was written when a configuration named what it left out."""
    config = parse(model={"branches": {"kinds": None}}).resolved(tmp_path)
    own = tmp_path / "config.yaml"
    config.save(own)
    own.write_text(own.read_text().replace("  branches:\n", "  branches:\n    kinds: null\n"))
    assert RunConfig.load(own) == config


# -- names of models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "gru4rec", "pop", "h2rec", "two_hid", "pg_sid"])
def test_a_models_name_is_short_for_its_preset(name):
    config = parse(model={"name": name, "dim": 16})
    assert config.preset == name
    assert config == parse(preset=name, model={"dim": 16})
    assert parse(preset=name, model={"name": name}) == parse(preset=name)


def test_sasrec_by_its_name_is_sasrec_from_cold_hash_ids():
    model = parse(model={"name": "sasrec"}).model
    assert (model.name, model.backbone.name, model.warm_start) == ("branches", "sasrec", False)
    assert {name: branch.kind for name, branch in model.branches.items()} == {"ids": "ids"}
    assert parse(preset="sasrec_warm").model.warm_start


def test_a_class_of_model_may_be_named_and_its_preset_beside_it():
    esr = parse(model={"name": "llm_esr"})
    assert (esr.preset, esr.model.name) == ("llm_esr", "llm_esr")
    assert parse(preset="llm_esr") == esr
    assert parse(model={"name": "branches"}) == parse()
    assert parse(preset="sasrec", model={"name": "branches"}) == parse(preset="sasrec")


def test_two_presets_are_refused():
    with pytest.raises(
        ConfigError, match=r"preset is 'paper' and model\.name 'sasrec': two presets\n.*name one"
    ):
        parse(preset="paper", model={"name": "sasrec"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "h2rek"}, r"unknown preset 'h2rek'\n.*did you mean 'h2rec'\? h2rec presets lists them"),
        ({"preset": "zzzzz"}, r"unknown preset 'zzzzz'\n *hint: h2rec presets lists them"),
        ({"preset": "../config"}, r"unknown preset '\.\./config'"),
        ({"preset": ["h2rec"]}, r"preset: expected a name, found \['h2rec'\]"),
        ({"model": {"name": "sasrek"}}, r"unknown model 'sasrek'"),
        ({"model": "sasrec"}, r"model"),
        (
            {"model": {"name": "sasrec", "branches": {"ids": {"layer": 2}}}},
            "unknown key 'layer'.*mean 'layers'",
        ),
        ({"presets": "h2rec"}, r"unknown key 'presets', did you mean 'preset'"),
    ],
)
def test_mistakes_are_told_with_what_is_nearest(values, message):
    with pytest.raises(ConfigError, match=message):
        parse(**values)


# -- merging -----------------------------------------------------------------------------------------


def test_a_mapping_of_another_kind_replaces_and_is_not_mixed():
    # A branch of another kind has none of the settings that the preset gives the one of its name.
    preset = "h2rec_two_branches"
    config = parse(preset=preset, model={"branches": {"codes": {"kind": "ids"}}})
    codes = config.model.branches["codes"]
    assert (codes.kind, codes.weight, codes.layers) == ("ids", 1.0, None)
    config = parse(preset=preset, model={"branches": {"codes": {"kind": "codes", "layers": 3}}})
    codes = config.model.branches["codes"]
    assert (codes.kind, codes.weight, codes.layers) == ("codes", 0.3, 3)
    # Nor is a model of another class mixed with a sum of branches.
    assert parse(preset="h2rec", model={"name": "llm_esr"}).model == parse(model={"name": "llm_esr"}).model
    # Nor a loss that has settings of its own with another one.
    assert merge({"ranking": {"name": "gbce", "t": 0.2}}, {"ranking": {"name": "bpr"}}) == {
        "ranking": {"name": "bpr"}
    }


@pytest.mark.parametrize(
    ("under", "over", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": {"b": 1}}, {"a": "name"}, {"a": "name"}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"kind": "x", "a": 1}, {"kind": "y", "b": 2}, {"kind": "y", "b": 2}),
        ({"kind": "x", "a": 1}, {"kind": "x", "b": 2}, {"kind": "x", "a": 1, "b": 2}),
        ({"name": "x", "a": 1}, {"b": 2}, {"name": "x", "a": 1, "b": 2}),
        ({"branches": {}, "a": 1}, {"name": "branches"}, {"branches": {}, "a": 1, "name": "branches"}),
        ({"branches": {}, "a": 1}, {"name": "llm_esr"}, {"name": "llm_esr"}),
    ],
)
def test_mappings_are_merged_key_by_key(under, over, merged):
    kept = [repr(under), repr(over)]
    assert merge(under, over) == merged
    assert [repr(under), repr(over)] == kept


# -- the command -------------------------------------------------------------------------------------


def test_the_command_lists_them_all_and_marks_the_default(capsys):
    code, out, _ = printed(capsys)
    assert code == 0
    lines = [line for line in out.splitlines() if line.strip()]
    assert [line[2:].split()[0] for line in lines[:-1]] == preset_names()
    assert [line[2:].split()[0] for line in lines[:-1] if line.startswith("*")] == [DEFAULT]
    assert all(preset_title(name) in out for name in preset_names())


@pytest.mark.parametrize("name", ["h2rec", "paper", "llm_esr"])
def test_the_command_prints_a_whole_configuration_that_is_the_preset(capsys, name):
    code, out, _ = printed(capsys, name)
    assert code == 0
    assert out.startswith(f"# {preset_title(name)}\n")
    values = yaml.safe_load(out)
    assert RunConfig.parse_resolved(values) == parse(preset=name)
    assert RunConfig.parse(values) == parse(preset=name)


def test_the_command_names_the_nearest_of_one_that_there_is_not(capsys):
    code, out, said = printed(capsys, "h2rek")
    assert (code, out) == (2, "")
    assert "unknown preset 'h2rek'" in said
    assert "did you mean 'h2rec'?" in said
    assert "Traceback" not in said


def test_a_preset_says_in_its_first_lines_what_it_is():
    for name in preset_names():
        assert preset_text(name).startswith("# ")
        assert preset_title(name).endswith("."), name
