"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
# ranx would spend a minute on compiling what runs for milliseconds here; numba reads this at its import.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")


@pytest.fixture(scope="session")
def datasets_folder() -> Path:
    """Folder of the development data sets; tests that need it skip, and say so, where it is not there."""
    default = Path(__file__).parents[1].parent / "shared" / "datasets"
    folder = Path(os.environ.get("H2REC_DATASETS", default))
    if not folder.is_dir():
        pytest.skip(f"the development data sets are not at {folder}: set H2REC_DATASETS to their folder")
    return folder
