import shutil
from contextlib import ExitStack
from functools import cache

import pytest
from fastapi.testclient import TestClient
from served import Served

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


def started(stack, folder, settings):
    app = create_app(Service(folder, ServeSettings.parse(settings)))
    return stack.enter_context(TestClient(app, "http://localhost:8000", raise_server_exceptions=False))


@pytest.fixture
def make_client(bundle_folder):
    """A client of a server with given settings."""
    with ExitStack() as stack:
        yield lambda **settings: started(stack, bundle_folder, settings)


@pytest.fixture(scope="session")
def shared_client(made_bundle):
    """The same for tests that leave the bundle as it is: one server for all that ask for the same settings."""
    with ExitStack() as stack:
        yield cache(lambda **settings: started(stack, made_bundle, settings))


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def serve():
    started = []

    def start(bundle, **environment):
        started.append(Served(bundle, **environment))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.end()
