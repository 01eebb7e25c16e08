import numpy as np
import polars as pl
import pytest
import torch

from h2rec.errors import BundleError, DataError
from h2rec.models.build import build_model, grown_model
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.neighbours import NEIGHBOURS, TEMPERATURE, Neighbours, nearest_in_text
from h2rec.models.weights import weights_of
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.recommender import Recommender
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.text.encoders import JoinedEncoder, TfidfEncoder, load_encoder
from h2rec.text.fields import item_texts
from made_bundles import FUSED, made_items, made_settings, make_bundle, rewrite_manifest

NEW = pl.DataFrame(
    {
        "item_id": ["new1", "i5", "new2", "new3", "new1"],
        "title": ["gentle shampoo dry", "changed", "strong razor travel", None, "again"],
        "category": ["shampoo", "changed", "razor", None, "again"],
        "price": ["1", "2", "3", "4", "5"],
    }
)
FRESH = NEW[[0, 2]].select("item_id", "title", "category")
"""The rows of it that are added."""


@pytest.fixture(scope="module")
def grown(bundle_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("grown") / "bundle"
    growth = add_items(Bundle.load(bundle_folder), NEW, out)
    return growth, Bundle.load(out)


def test_each_item_has_a_told_outcome(grown):
    growth, bundle = grown
    assert [item.item_id for item in growth.added] == ["new1", "new2"]
    assert growth.existing == ["i5"]
    assert growth.without_text == ["new3"]
    assert bundle.items["item_id"].to_list()[-2:] == ["new1", "new2"]
    assert bundle.items["train_count"].to_list()[-2:] == [0, 0]
    assert bundle.items["head"].to_list()[-2:] == [False, False]
    assert bundle.items.row(5, named=True)["title"] == made_items().row(5, named=True)["title"]
    assert bundle.manifest.provenance["items_added_after_training"] == 2


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"preset": "h2rec_two_branches"},
        {"preset": "sasrec"},
        {"preset": "bert4rec"},
        {"backbone": "bert4rec"},
        FUSED,
        FUSED | {"ties": {"cross_attention": "plain"}},
        {"preset": "transitions"},
        {"branches": {"ids": None}},
        {"temperature": None},
        {"preset": "two_hid", "branches": {"popularity": {"kind": "popularity", "weight": 0.3}}},
        {"preset": "sid_sum"},
        {"preset": "pg_sid", "branches": {"item": {"kind": "hashed_prefixes"}}},
        {"preset": "hid_sid_add"},
        {"preset": "hid_sid_concat"},
        {"preset": "sasrec_text"},
        {"preset": "llm_esr"},
        {"preset": "pop"},
    ],
    ids=str,
)
def test_old_items_keep_their_scores_to_the_bit(tmp_path, model):
    folder = make_bundle(tmp_path / "bundle", **model)
    add_items(Bundle.load(folder), NEW, tmp_path / "grown")
    before, after = Recommender.load(folder), Recommender.load(tmp_path / "grown")
    for history in (["i3"], ["i9", "i30", "i31", "i2", "i8", "i7", "i40"], []):
        old = {item.item_id: item.score for item in before.recommend(history, 60).items}
        new = {item.item_id: item.score for item in after.recommend(history, 62).items}
        assert set(new) - set(old) == {"new1", "new2"}
        assert {item: new[item] for item in old} == old


def test_a_model_that_keeps_the_text_keeps_that_of_new_items(tmp_path):
    folder = make_bundle(tmp_path / "bundle", preset="sasrec_text")
    twin = made_items().filter(pl.col("item_id") == "i7").with_columns(pl.lit("twin").alias("item_id"))
    add_items(Bundle.load(folder), twin, tmp_path / "grown")
    text = weights_of(Bundle.load(tmp_path / "grown").model)["branches.item.table.text"]
    torch.testing.assert_close(text[61], text[8])
    assert text[8].any()


def test_pieces_learned_on_the_catalogue_are_not_made_up_for_new_items(tmp_path):
    pytest.importorskip("sentencepiece")
    folder = make_bundle(tmp_path / "bundle", preset="spm_sid")
    with pytest.raises(BundleError, match="pieces of codes were learned on the catalogue"):
        add_items(Bundle.load(folder), NEW, tmp_path / "grown")


@pytest.mark.parametrize("collisions", ["keep", "suffix", "reassign"])
def test_new_items_are_told_apart_as_the_catalogue_was(tmp_path, collisions):
    folder = make_bundle(tmp_path / "bundle", collisions=collisions)
    twins = made_items()[:3].with_columns(pl.format("twin{}", "item_id").alias("item_id"))
    growth = add_items(Bundle.load(folder), twins, tmp_path / "grown")
    codes = Bundle.load(tmp_path / "grown").semantic_ids.codes
    as_their_twins = (codes[60:, :3] == codes[:3, :3]).all(1)
    assert as_their_twins.all() if collisions != "reassign" else not as_their_twins.any()
    if collisions == "reassign":
        assert len(np.unique(codes, axis=0)) == len(codes)
    assert {len(item.codes) for item in growth.added} == {4 if collisions == "suffix" else 3}


def test_loading_and_growing_leave_the_caller_s_random_numbers_alone(bundle_folder, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    add_items(Bundle.load(bundle_folder), NEW, tmp_path / "grown")
    assert torch.equal(torch.rand(3), expected)


def test_a_new_item_has_its_codes_vectors_and_the_mean_identity_of_its_neighbours(bundle_folder, grown):
    growth, bundle = grown
    old = Bundle.load(bundle_folder)
    name = "branches.ids.table.vectors.weight"
    tables = weights_of(old.model)[name], weights_of(bundle.model)[name]
    encoder = load_encoder(old.folder / "encoder")
    known, new = (encoder.encode(item_texts(items)) for items in (made_items(), FRESH))
    for place, item in enumerate(growth.added):
        cosines = torch.from_numpy(known @ new[place])
        nearest = torch.tensor([int(other.removeprefix("i")) for other in item.like])
        torch.testing.assert_close(cosines[nearest], cosines.topk(NEIGHBOURS).values, atol=1e-3, rtol=0)
        shares = (cosines[nearest] / TEMPERATURE).softmax(0)
        lent = (shares[:, None] * tables[0][nearest + 1]).sum(0)
        torch.testing.assert_close(tables[1][61 + place], lent, atol=2e-3, rtol=2e-3)  # text in 16 bits
        assert bundle.semantic_ids.codes[60 + place].tolist() == item.codes
    torch.testing.assert_close(tables[1][-1], tables[0][-1], rtol=0, atol=0)
    torch.testing.assert_close(tables[1][:61], tables[0][:61], rtol=0, atol=0)


def test_of_several_encoders_the_columns_of_the_first_are_told_apart(tmp_path, monkeypatch):
    told = []

    def nearest(known, new, leading):
        told.append(leading)
        return nearest_in_text(known, new, leading)

    monkeypatch.setattr("h2rec.retrieval.growth.nearest_in_text", nearest)
    for name, encoder in {
        "two": JoinedEncoder([TfidfEncoder(2), TfidfEncoder(12)]),
        "one": TfidfEncoder(14),
    }.items():
        add_items(
            Bundle.load(make_bundle(tmp_path / name, encoder=encoder)), FRESH, tmp_path / f"{name}_grown"
        )
    assert told == [2, None]


def test_items_without_text_need_no_encoder(bundle_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("h2rec.retrieval.growth.load_encoder", lambda folder: pytest.fail("loaded"))
    with pytest.raises(DataError, match="none of 1 items can be added"):
        add_items(Bundle.load(bundle_folder), NEW[[3]], tmp_path / "grown")


def test_a_new_item_shares_the_prefixes_that_others_have_and_adds_none():
    settings = made_settings("pg_sid", branches={"item": None, "prefixes": {"kind": "prefixes"}})
    codes, fresh = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0]], np.int32), np.array([[0, 2, 0]], np.int32)
    model = build_model(settings, ItemFeatures(3, SemanticIds(codes, (3, 3, 3))), seed=0)
    ids = SemanticIds(np.concatenate([codes, fresh]), (3, 3, 3))
    grown = grown_model(
        model, settings, ids, NewItems(Neighbours(np.array([[0]]), np.ones((1, 1), np.float32), 3))
    )
    before, after = model.branches["prefixes"].table, grown.branches["prefixes"].table
    old, new = before.nodes.vectors.weight, after.nodes.vectors.weight
    assert len(new) == len(old) + 1
    assert torch.equal(new[: len(old) - 1], old[:-1])
    assert torch.equal(new[-1], old[-1])
    # Of its first code it has the vector that others have, of the first two together, which are new, it has none;
    # nor has it a leaf.
    assert torch.equal(after(torch.tensor([4]))[0], old[before.nodes.rows[1, 0]])


def test_an_item_of_the_same_text_ranks_right_beside_its_twin(tmp_path):
    """With text as the only difference there is none: same codes, same code vectors."""
    folder = make_bundle(tmp_path / "bundle", preset="h2rec_two_branches", branches={"ids": None})
    twin = made_items().filter(pl.col("item_id") == "i7").with_columns(pl.lit("twin").alias("item_id"))
    add_items(Bundle.load(folder), twin, tmp_path / "grown")
    answer = Recommender.load(tmp_path / "grown").recommend(["i3"], 61)
    scores = {item.item_id: item.score for item in answer.items}
    assert scores["twin"] == pytest.approx(scores["i7"], rel=1e-5)


def test_a_grown_bundle_grows_again_and_serves_new_items_in_histories(grown, tmp_path):
    _, bundle = grown
    more = pl.DataFrame({"item_id": ["new4"], "title": ["mild lipstick"]})
    growth = add_items(bundle, more, tmp_path / "again")
    assert [item.item_id for item in growth.added] == ["new4"]
    again = Recommender.load(tmp_path / "again")
    answer = again.recommend(["new4", "new1"], 5)
    assert answer.unknown == []
    assert not answer.from_popularity
    assert len(answer.items) == 5


def test_items_added_one_after_the_other_are_where_they_are_when_added_together(
    bundle_folder, grown, tmp_path
):
    first = add_items(Bundle.load(bundle_folder), FRESH[:1], tmp_path / "first")
    second = add_items(Bundle.load(tmp_path / "first"), FRESH[1:], tmp_path / "second")
    assert first.added + second.added == grown[0].added
    again = Bundle.load(tmp_path / "second")
    for name in ("model.safetensors", "item_vectors.npy", "codes.npy", "text.npy"):
        assert again.manifest.files[name] == grown[1].manifest.files[name]
    # What was added later lends nothing, not even to its twin.
    twin = FRESH[1:].with_columns(pl.lit("twin").alias("item_id"))
    added = add_items(again, twin, tmp_path / "third").added
    assert added[0].like == second.added[0].like


def test_text_is_kept_of_the_items_that_training_knew(bundle_folder, grown):
    text = np.load(bundle_folder / "text.npy", mmap_mode="r")
    assert (text.shape, text.dtype) == ((60, 12), np.float16)
    np.testing.assert_allclose(np.linalg.norm(text.astype(np.float32), axis=1), 1, atol=2e-3)
    assert (grown[1].folder / "text.npy").read_bytes() == (bundle_folder / "text.npy").read_bytes()


def test_a_twin_in_text_follows_what_its_twin_follows_and_is_followed_by_the_same(bundle_folder, tmp_path):
    """By counts of single items alone: nobody ever bought it."""
    others = dict.fromkeys(("predecessors", "kinds", "close_kinds"))
    folder = make_bundle(tmp_path / "bundle", preset="transitions", branches=others)
    twin = made_items().filter(pl.col("item_id") == "i10").with_columns(pl.lit("twin").alias("item_id"))
    growth = add_items(Bundle.load(folder), twin, tmp_path / "grown")
    assert growth.added[0].like[0] == "i10"  # which follows i3 in training, and i17 follows it
    after = Recommender.load(tmp_path / "grown")
    led = {item.item_id: item for item in after.recommend(["i3"], 61, explain=True).items}
    assert 0.5 * led["i10"].score < led["twin"].score < led["i10"].score
    reasons = {item: [reason.sentence() for reason in led[item].explanation.reasons] for item in led}
    assert reasons["i10"] == ["often follows i3"]
    assert reasons["twin"] == ["items like it often go with items like i3"]
    follow = {item.item_id: item for item in after.recommend(["twin"], 61, explain=True).items}
    known = {item.item_id: item.score for item in after.recommend(["i10"], 61).items}
    assert 0.5 * known["i17"] < follow["i17"].score < known["i17"]
    assert follow["i17"].explanation.reasons[0].kind == "like_goes_with"


def test_the_same_items_give_the_same_bundle(bundle_folder, grown, tmp_path):
    add_items(Bundle.load(bundle_folder), NEW, tmp_path / "again")
    first, again = (folder / "manifest.json" for folder in (grown[1].folder, tmp_path / "again"))
    assert again.read_bytes() == first.read_bytes()


def test_nothing_to_add_is_an_error_and_writes_nothing(bundle_folder, tmp_path):
    bundle = Bundle.load(bundle_folder)
    with pytest.raises(DataError, match="1 are known already, 0 have no text"):
        add_items(bundle, made_items()[:1], tmp_path / "out")
    with pytest.raises(DataError, match="none of the text fields title, category"):
        add_items(bundle, pl.DataFrame({"item_id": ["a"], "name": ["b"]}), tmp_path / "out")
    with pytest.raises(DataError, match="1 have no text"):
        add_items(bundle, pl.DataFrame({"item_id": ["a"], "title": ["zzz qqq"]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_encoder_says_so(bundle_folder, tmp_path):
    bundle = Bundle.load(make_bundle(tmp_path / "bundle"))
    (bundle.folder / "encoder").rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="carries no text encoder"):
        add_items(bundle, NEW, tmp_path / "out")


def test_a_bundle_without_its_items_text_serves_and_says_so(tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    (folder / "text.npy").unlink()
    rewrite_manifest(folder, lambda manifest: manifest["files"].pop("text.npy"))
    bundle = Bundle.load(folder)
    with pytest.raises(BundleError, match=r"no text of its items \(text.npy\)"):
        add_items(bundle, NEW, tmp_path / "out")


@pytest.mark.parametrize(
    ("array", "message", "loads"),
    [
        (np.ones((61, 12), np.float16), "61 rows, the items are 60", False),
        (np.ones((0, 12), np.float16), "0 rows", False),
        (np.ones((60, 12), np.float32), "float32", False),
        (np.array([[{}]]), "Python objects", False),
        (np.ones((60, 5), np.float16), "text.npy", True),
        (np.full((60, 12), np.nan, np.float16), "NaN", True),
    ],
    ids=["long", "empty", "kind", "pickle", "narrow", "nan"],
)
def test_text_of_items_that_does_not_fit_is_refused(tmp_path, array, message, loads):
    folder = make_bundle(tmp_path / "bundle")
    np.save(folder / "text.npy", array, allow_pickle=True)
    rewrite_manifest(folder, lambda manifest: None, rehash=["text.npy"])
    if not loads:
        with pytest.raises(BundleError, match=message):
            Bundle.load(folder)
        return
    with pytest.raises(BundleError, match=message):
        add_items(Bundle.load(folder), NEW, tmp_path / "out")


def test_text_that_was_changed_is_seen(tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    bundle = Bundle.load(folder)
    np.save(folder / "text.npy", np.ones((60, 12), np.float16))
    with pytest.raises(BundleError, match=r"'text.npy' was changed"):
        add_items(bundle, NEW, tmp_path / "out")
    with pytest.raises(BundleError, match=r"'text.npy' was changed"):
        Bundle.load(folder)
