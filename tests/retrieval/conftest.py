import pytest

from h2rec.retrieval.recommender import Recommender
from made_bundles import FUSED, make_bundle


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="session")
def fused_folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("fused") / "bundle", **FUSED)


@pytest.fixture(scope="session")
def recommender(bundle_folder):
    return Recommender.load(bundle_folder)


@pytest.fixture(scope="session")
def fused(fused_folder):
    return Recommender.load(fused_folder)
