"""The folder of a run: which files are written there, whose it is, and who writes there now."""

import logging
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from h2rec.claims import claim_folder, claim_names
from h2rec.errors import ConfigError
from h2rec.files import atomic_path, read_yaml
from h2rec.locks import locked_by_process
from h2rec.retrieval.manifest import is_bundle

FILES = (
    "config.yaml", "semantic_ids.json", "audit.json", "audit.html", "ranks.parquet", "metrics.json", "head.json",
    "report.html", "intent.json", "shares.json", "run.log", "stages.json", "checkpoints", "bundle", "tensorboard",
    "wandb",
)  # fmt: skip
"""What a run writes into its folder."""
SECTIONS = {"data", "text", "semantic_ids", "model", "loss", "train", "blend", "evaluate", "runtime"}
"""What every resolved configuration holds, also one that was written before there were other keys beside them."""


def claim_run(out: Path) -> None:
    """Refuse a folder in which a run would overwrite what h2rec did not write.

    Raises `H2RecError`, naming what is there.
    """
    claim_names(out, FILES, is_run_folder)
    claim_folder(out / "bundle", is_bundle)


def lock_of_run(out: Path) -> AbstractContextManager[bool]:
    """Hold a run's folder alone; other processes wait and say so."""
    return locked_by_process(out / ".lock", f"run {out}", logging.WARNING)


def is_run_folder(folder: Path) -> bool:
    """Whether runs write into a folder: it has a configuration with every section, as any version leaves it."""
    try:
        return read_yaml(folder / "config.yaml").keys() >= SECTIONS
    except ConfigError:
        return False


def publish(source: Path, target: Path) -> None:
    """Copy a file of a stage to its place in the run's folder."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
