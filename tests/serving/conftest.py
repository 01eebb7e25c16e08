import shutil

import pytest
from fastapi.testclient import TestClient

from h2rec.serving.app import create_app
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from made_bundles import make_bundle


@pytest.fixture(scope="session")
def made_bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("served") / "bundle")


@pytest.fixture
def bundle_folder(made_bundle, tmp_path):
    """A copy of the bundle that a test may grow."""
    return shutil.copytree(made_bundle, tmp_path / "bundle")


@pytest.fixture
def make_client(bundle_folder):
    """A client of a server with given settings."""
    opened = []

    def make(**settings):
        app = create_app(Service(bundle_folder, ServeSettings.parse(settings)))
        client = TestClient(app, "http://localhost:8000", raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client):
    return make_client()
