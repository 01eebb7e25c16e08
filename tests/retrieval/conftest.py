import pytest

from h2rec.retrieval.recommender import Recommender
from made_bundles import make_bundle


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="session")
def recommender(bundle_folder):
    return Recommender.load(bundle_folder)
