"""Whatever lies in a bundle's folder, loading it works or raises a BundleError, and nothing else."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h2rec.errors import BundleError
from h2rec.files import file_hash
from h2rec.retrieval.bundle import Bundle

FILES = ("model.safetensors", "items.parquet", "item_vectors.npy", "codes.npy")
FUZZED = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(bundle_folder, tmp_path_factory):
    return shutil.copytree(bundle_folder, tmp_path_factory.mktemp("fuzzed") / "bundle")


def load(folder):
    try:
        Bundle.load(folder)
    except BundleError as error:
        return str(error)
    return None


@FUZZED
@given(
    name=st.sampled_from(FILES),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_files_under_matching_hashes(folder, bundle_folder, name, edits, kept):
    data = bytearray((bundle_folder / name).read_bytes())
    for place, value in edits:
        # Half of the edits hit the head, where the formats describe themselves.
        position = int(place * 2 * 300) if place < 0.5 else int(place * len(data))
        data[min(position, len(data) - 1)] = value
    (folder / name).write_bytes(bytes(data[: int(kept * len(data))]))
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    manifest["files"][name] = file_hash(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        load(folder)
    finally:
        shutil.copy(bundle_folder / name, folder / name)


@FUZZED
@given(data=st.data())
def test_manifests_with_other_values(folder, bundle_folder, data):
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    model = manifest["model"]
    sections = [
        manifest,
        model,
        model["ties"],
        model["ties"]["alignment"],
        model["branches"],
        *model["branches"].values(),
    ]
    section = data.draw(st.sampled_from(sections))
    section[data.draw(st.sampled_from(sorted(section)))] = data.draw(json_values)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    load(folder)


@FUZZED
@given(text=st.binary(max_size=200))
def test_manifests_of_any_bytes(folder, text):
    (folder / "manifest.json").write_bytes(text)
    assert load(folder) is not None
