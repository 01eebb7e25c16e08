import shutil

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from h2rec.errors import BundleError
from h2rec.files import file_hash
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.weights import weights_of
from h2rec.retrieval.bundle import Bundle
from made_bundles import FUSED, made_items, make_bundle, rewrite_manifest


@pytest.fixture
def copied(bundle_folder, tmp_path):
    return shutil.copytree(bundle_folder, tmp_path / "copied")


@pytest.fixture
def copied_fused(fused_folder, tmp_path):
    return shutil.copytree(fused_folder, tmp_path / "copied")


@pytest.mark.parametrize(
    # None for transitions and likeness; those of hash IDs; codes of three levels, prefixes and hash IDs.
    ("made", "columns"),
    [("bundle_folder", 8), ("fused_folder", 3 * 8 + 8 + 8)],
)
def test_what_was_written_is_read(made, columns, request):
    bundle = Bundle.load(request.getfixturevalue(made))
    items = made_items()
    assert bundle.items.select(items.columns).equals(items)
    assert bundle.items["train_count"].to_list() == list(range(60, 0, -1))
    assert bundle.items["head"].sum() == 12
    assert bundle.manifest.provenance == {"made": "by a test"}
    assert bundle.item_vectors.shape == (61, columns)
    recomputed = CatalogueScorer(bundle.model).item_matrix.numpy()
    np.testing.assert_array_equal(np.asarray(bundle.item_vectors), recomputed)


def test_writing_again_gives_the_same_bytes(bundle_folder, tmp_path):
    again = make_bundle(tmp_path / "bundle")
    assert (again / "manifest.json").read_bytes() == (bundle_folder / "manifest.json").read_bytes()


POPULARITY = {"popularity": {"kind": "popularity", "weight": 0.3}}
MODELS = [
    {},
    {"preset": "h2rec_two_branches"},
    {"preset": "light"},
    {"preset": "sasrec"},
    {"preset": "bert4rec"},
    {"preset": "gru4rec"},
    {"backbone": "gru4rec"},
    {"backbone": "bert4rec"},
    FUSED,
    {"preset": "h2rec_two_branches", "branches": {"ids": None}},
    {"preset": "h2rec_two_branches", "branches": {"codes": {"layers": 3}, **POPULARITY}},
    {"preset": "transitions"},
    {"branches": {"ids": None}},
    {"branches": {"prefixes": {"kind": "prefixes", "layers": 2}, "kinds": {"levels": 3}}},
    {"temperature": None},
    {"preset": "two_hid", "branches": POPULARITY},
]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_every_model_comes_back_with_its_weights(tmp_path, model):
    """Of a model of random numbers: what is made anew, or started again, would differ."""
    folder = make_bundle(tmp_path / "first", **model)
    network, stored = Bundle.load(folder).model, load_file(folder / "model.safetensors")
    loaded, learned = weights_of(network), dict(network.named_parameters())
    assert learned.keys() <= loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)
    other = load_file(make_bundle(tmp_path / "second", seed=1, **model) / "model.safetensors")
    for name in learned:
        assert "norm" in name or not torch.equal(loaded[name], other[name]), name


FILES = [
    "model.safetensors",
    "items.parquet",
    "item_vectors.npy",
    "codes.npy",
    "text.npy",
    "encoder/encoder.json",
    "quantizer/quantizer.safetensors",
]


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_refused(copied, name):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(bytes(data))
    with pytest.raises(BundleError, match=rf"'{name}' was changed or cut"):
        Bundle.load(copied)


@pytest.mark.parametrize("name", FILES)
def test_a_cut_or_missing_file_is_refused(copied, name):
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data[:-1])
    with pytest.raises(BundleError, match="changed or cut"):
        Bundle.load(copied)
    (copied / name).unlink()
    with pytest.raises(BundleError, match=rf"'{name}' is missing"):
        Bundle.load(copied)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "items.parquet", "item_vectors.npy", "codes.npy", "text.npy"]
)
def test_a_cut_file_is_refused_even_under_a_matching_hash(copied, name):
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data[: len(data) // 2])
    rewrite_manifest(copied, lambda manifest: None, rehash=[name])
    with pytest.raises(BundleError):
        Bundle.load(copied)


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/hostname", "encoder/../../outside.txt"])
def test_a_path_out_of_the_folder_is_refused(copied, path):
    outside = copied.parent / "outside.txt"
    outside.write_text("secret")
    rewrite_manifest(copied, lambda manifest: manifest["files"].update({path: file_hash(outside)}))
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Bundle.load(copied)


def test_a_link_out_of_the_folder_is_refused(copied):
    outside = copied.parent / "outside.npy"
    outside.write_bytes((copied / "codes.npy").read_bytes())
    (copied / "codes.npy").unlink()
    (copied / "codes.npy").symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Bundle.load(copied)


@pytest.mark.parametrize("version", [0, 4, "5", None])
def test_another_format_version_is_refused(copied, version):
    rewrite_manifest(copied, lambda manifest: manifest.update(format_version=version))
    with pytest.raises(BundleError, match="format version"):
        Bundle.load(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": 3}', "\xff"])
def test_a_manifest_that_is_none_is_refused(copied, text):
    (copied / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError):
        Bundle.load(copied)


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.load(tmp_path)
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.load(tmp_path / "nowhere")


def test_an_array_of_objects_is_refused_and_not_unpickled(copied):
    class Trap:
        def __reduce__(self):
            return (print, ("unpickled",))

    np.save(copied / "codes.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    rewrite_manifest(copied, lambda manifest: None, rehash=["codes.npy"])
    with pytest.raises(BundleError, match="Python objects"):
        Bundle.load(copied)


def test_a_core_file_that_the_manifest_leaves_out_is_refused(copied):
    rewrite_manifest(copied, lambda manifest: manifest["files"].pop("model.safetensors"))
    with pytest.raises(BundleError, match=r"does not list.*model\.safetensors"):
        Bundle.load(copied)


def test_codes_that_do_not_fit_the_codebooks_are_refused(copied):
    codes = np.load(copied / "codes.npy")
    codes[3, 1] = 99
    np.save(copied / "codes.npy", codes)
    rewrite_manifest(copied, lambda manifest: None, rehash=["codes.npy"])
    with pytest.raises(BundleError, match="code 99 is outside"):
        Bundle.load(copied)


def test_weights_of_another_model_are_refused(copied_fused):
    rewrite_manifest(copied_fused, lambda manifest: manifest["model"]["ties"].update(cross_attention="none"))
    with pytest.raises(BundleError, match="do not fit together"):
        Bundle.load(copied_fused)


def test_a_file_that_the_manifest_does_not_cover_is_refused(copied):
    (copied / "encoder" / "extra.json").write_text("{}")
    with pytest.raises(BundleError, match=r"'encoder/extra\.json' is no part"):
        Bundle.load(copied)


@pytest.mark.parametrize(
    "claim",
    [
        {"dim": 1 << 40},
        {"layers": 1 << 40},
        {"max_length": 1 << 40},
        {"dim": 4096},
        {"layers": 10_000},
    ],
    ids=str,
)
def test_sizes_beyond_the_file_are_refused_before_memory_is_given_to_them(copied, claim):
    rewrite_manifest(copied, lambda manifest: manifest["model"].update(claim))
    with pytest.raises(BundleError, match="claims sizes"):
        Bundle.load(copied)


@pytest.mark.parametrize("branch", ["codes", "prefixes", "ids"])
def test_layers_of_a_branch_beyond_the_file_are_refused_too(copied_fused, branch):
    many = {"layers": 10_000}
    rewrite_manifest(copied_fused, lambda manifest: manifest["model"]["branches"][branch].update(many))
    with pytest.raises(BundleError, match="claims sizes"):
        Bundle.load(copied_fused)


def test_an_item_count_beyond_the_files_is_refused(copied):
    rewrite_manifest(copied, lambda manifest: manifest.update(item_count=1 << 50))
    with pytest.raises(BundleError, match=r"item_vectors\.npy: it holds float32 \[61, 8\]"):
        Bundle.load(copied)


@pytest.mark.parametrize(("size", "told"), [(1 << 40, "have 1 to"), (1 << 19, "claims sizes")])
def test_codebooks_beyond_the_file_are_refused(copied_fused, size, told):
    rewrite_manifest(copied_fused, lambda manifest: manifest.update(codebook_sizes=[4, 4, size]))
    with pytest.raises(BundleError, match=told):
        Bundle.load(copied_fused)


def test_an_array_that_claims_more_than_its_file_holds_is_refused(copied):
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (61, 99999999999), }"
    (copied / "item_vectors.npy").write_bytes(header.ljust(127) + b"\n" + bytes(64))
    rewrite_manifest(copied, lambda manifest: None, rehash=["item_vectors.npy"])
    with pytest.raises(BundleError, match="64 bytes of numbers, where its header claims"):
        Bundle.load(copied)


def test_vectors_of_another_width_are_refused(copied):
    np.save(copied / "item_vectors.npy", np.zeros((61, 5), np.float32))
    rewrite_manifest(copied, lambda manifest: None, rehash=["item_vectors.npy"])
    with pytest.raises(BundleError, match="5 columns"):
        Bundle.load(copied)


def test_two_items_of_one_id_are_refused(copied):
    items = pl.read_parquet(copied / "items.parquet")
    items[1, "item_id"] = items[0, "item_id"]
    items.write_parquet(copied / "items.parquet")
    rewrite_manifest(copied, lambda manifest: None, rehash=["items.parquet"])
    with pytest.raises(BundleError, match="not unique"):
        Bundle.load(copied)
