"""Checkpoints that are whole or absent: tensors as safetensors, everything else as JSON."""

import logging
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from h2rec.claims import files_in, holds_nothing_but
from h2rec.errors import DataError, H2RecError
from h2rec.files import atomic_folder, differing, folder_hashes, left_overs, read_json, write_json
from h2rec.models.row_shards import load_whole_weights, shards_of, whole_weights
from h2rec.models.weights import Tensors
from h2rec.training.optimizer import Optimizer

logger = logging.getLogger(__name__)

HASHES = "hashes.json"
"""File with the hashes of the other files of a checkpoint."""
FILES = ("model.safetensors", "optimizer.safetensors", "best.safetensors", "progress.json", HASHES)
_NAME = re.compile(r"epoch-\d{6,}")


@dataclass
class Progress:
    """State of a training after an epoch."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Optimiser steps done."""
    best_value: float | None = None
    best_epoch: int | None = None
    """Best validation value so far and its epoch; None before the first validation."""
    stale: int = 0
    """Validations since the best one."""
    seconds: float = 0.0
    """Time spent in training, validation apart, over all sessions."""
    threads: int | None = None
    """CPU threads of the last epoch; another number sums in another order."""
    workers: int = 1
    """Workers of the last epoch; another number sums in another order, too."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """One record an epoch: losses, validation, diagnosis."""


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, best: Tensors | None, progress: Progress
) -> None:
    """Write the present state as the newest checkpoint in `folder`, then drop older ones; the first worker does.

    Each checkpoint has a name of its own, so that there is always one. While the best state does not change, its file
    is a hard link to that of the older checkpoint.
    """
    weights, state = whole_weights(model), _optimizer_tensors(model, optimizer)
    if weights is None:
        return
    older_best = None if progress.best_epoch is None else _written_best(folder, progress.best_epoch)
    newest = folder / f"epoch-{progress.epoch:06d}"
    with atomic_folder(newest, _is_checkpoint) as fresh:
        save_file(weights, fresh / "model.safetensors")
        save_file(state, fresh / "optimizer.safetensors")
        if older_best is not None:
            _link(older_best, fresh / "best.safetensors")
        elif best is not None:
            save_file(best, fresh / "best.safetensors")
        write_json(fresh / "progress.json", asdict(progress))
        write_json(fresh / HASHES, folder_hashes(fresh))
    for older in [*_checkpoints(folder), *left_overs(folder)]:
        if older != newest:
            shutil.rmtree(older, ignore_errors=True)


def _is_checkpoint(folder: Path) -> bool:
    return holds_nothing_but(folder, FILES)


def _checkpoints(folder: Path) -> list[Path]:
    """Folders of checkpoints, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def _written_best(folder: Path, best_epoch: int) -> Path | None:
    """The file of the best state in the newest checkpoint, if it is the state of that epoch."""
    newest = max(_checkpoints(folder), default=None)
    if newest is None or not (newest / "best.safetensors").exists():
        return None
    written: int | None = read_json(newest / "progress.json")["best_epoch"]
    return newest / "best.safetensors" if written == best_epoch else None


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer
) -> tuple[Progress, Tensors | None] | None:
    """Restore the newest whole state saved in `folder` into model and optimiser; None if there is none.

    A damaged one is skipped with a warning. The training then continues from an earlier one or starts anew, with the
    same result.

    Raises `H2RecError` if the checkpoint belongs to another model.
    """
    for newest in reversed(_checkpoints(folder)):
        if (damage := _damage(newest)) is not None:
            logger.warning("%s: this checkpoint is passed over: %s", newest, damage)
            continue
        try:
            load_whole_weights(model, load_file(newest / "model.safetensors"))
            _restore_optimizer(model, optimizer, load_file(newest / "optimizer.safetensors"))
            path = newest / "best.safetensors"
            best = load_file(path) if path.exists() else None
            return Progress(**read_json(newest / "progress.json")), best
        except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, H2RecError) as error:
            raise H2RecError(
                f"{newest}: this checkpoint can't be resumed ({str(error).splitlines()[0]})",
                "delete the folder to train from the start",
            ) from None
    return None


def _damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files; None if nothing is."""
    try:
        hashes = read_json(checkpoint / HASHES)
    except DataError as error:
        return error.message
    if not isinstance(hashes, dict) or not {"model.safetensors", "optimizer.safetensors"} <= hashes.keys():
        return f"{HASHES} is damaged"
    if extra := files_in(checkpoint) - {*hashes, HASHES}:
        return f"{min(extra)} is none of its files"
    name = differing(checkpoint, hashes)
    return None if name is None else f"{name} is missing, or was changed after it was written"


def _optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> Tensors:
    tensors, shards = {}, shards_of(model)
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state_of(parameter).items():
            tensor = torch.as_tensor(value).detach()
            if name in shards and tensor.shape == parameter.shape:
                tensor = shards[name].whole(tensor)
            tensors[f"{name}/{key}"] = tensor.cpu().contiguous()
    return tensors


def _restore_optimizer(model: nn.Module, optimizer: Optimizer, tensors: Tensors) -> None:
    shards = shards_of(model)
    for name, parameter in model.named_parameters():
        state = {
            key.removeprefix(f"{name}/"): value
            for key, value in tensors.items()
            if key.rpartition("/")[0] == name
        }
        if name in shards:
            state = {key: shards[name].cut(value) if value.dim() else value for key, value in state.items()}
        if state:
            restored = {
                key: value if key == "step" and parameter.device.type == "cpu" else value.to(parameter.device)
                for key, value in state.items()
            }
            optimizer.restore(parameter, restored)
