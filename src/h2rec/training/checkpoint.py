"""Checkpoints that are whole or absent: tensors as safetensors, everything else as JSON."""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from h2rec.errors import H2RecError
from h2rec.files import atomic_folder, read_json, write_json
from h2rec.training.optimizer import Optimizer

Tensors = dict[str, torch.Tensor]


@dataclass
class Progress:
    """Where a training stands after an epoch.

    Parameters
    ----------
    epoch
        Epochs done.
    step
        Optimiser steps done.
    best_value, best_epoch
        Best validation value so far and its epoch; None before the first validation.
    stale
        Validations since the best one.
    log
        One record an epoch: losses, validation, diagnosis.
    seconds
        Time spent in training, validation apart, over all sessions.
    threads
        CPU threads that the last epoch was trained with: another number of them adds up in another order.
    """

    epoch: int = 0
    step: int = 0
    best_value: float | None = None
    best_epoch: int | None = None
    stale: int = 0
    seconds: float = 0.0
    threads: int | None = None
    log: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, best: Tensors | None, progress: Progress
) -> None:
    """Write the present state as the newest checkpoint in `folder`, then drop older ones.

    A checkpoint appears under a name of its own: at no moment is there none. The best state changes now and then
    only; while it does not, its file is the older checkpoint's under a second name.
    """
    older_best = None if progress.best_epoch is None else _written_best(folder, progress.best_epoch)
    newest = folder / f"epoch-{progress.epoch:06d}"
    with atomic_folder(newest) as fresh:
        save_file(weights_of(model), fresh / "model.safetensors")
        save_file(_optimizer_tensors(model, optimizer), fresh / "optimizer.safetensors")
        if older_best is not None:
            _link(older_best, fresh / "best.safetensors")
        elif best is not None:
            save_file(best, fresh / "best.safetensors")
        write_json(fresh / "progress.json", asdict(progress))
    for older in folder.iterdir():
        if older != newest:
            shutil.rmtree(older, ignore_errors=True)


def _written_best(folder: Path, best_epoch: int) -> Path | None:
    """The file of the best state in the newest checkpoint, if it is the state of that epoch."""
    newest = max(folder.glob("epoch-*"), default=None)
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
    """Restore the newest state saved in `folder` into model and optimiser; None if there is none.

    Raises
    ------
    H2RecError
        If the checkpoint belongs to another model or is damaged.
    """
    newest = max(folder.glob("epoch-*"), default=None)
    if newest is None:
        return None
    folder = newest
    try:
        load_weights(model, load_file(folder / "model.safetensors"))
        _restore_optimizer(model, optimizer, load_file(folder / "optimizer.safetensors"))
        best = load_file(folder / "best.safetensors") if (folder / "best.safetensors").exists() else None
        progress = Progress(**read_json(folder / "progress.json"))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, H2RecError) as error:
        raise H2RecError(
            f"{folder}: this checkpoint can't be resumed ({str(error).splitlines()[0]})",
            "delete the folder to train from the start",
        ) from None
    return progress, best


def weights_of(model: nn.Module) -> Tensors:
    """Copy of the weights, on the CPU, each tensor once (shared modules keep one name)."""
    seen: dict[int, str] = {}
    return {
        name: tensor.detach().cpu().clone()
        for name, tensor in model.state_dict().items()
        if seen.setdefault(tensor.data_ptr(), name) == name or tensor.numel() == 0
    }


def load_weights(model: nn.Module, weights: Tensors) -> None:
    """Put weights from `weights_of` into a model of the same shape.

    Raises
    ------
    H2RecError
        If names or shapes differ.
    """
    expected = set(weights_of(model))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if expected != set(weights) or any(weights[name].shape != shapes[name] for name in expected):
        raise H2RecError("the weights belong to a model of other sizes")
    model.load_state_dict(weights, strict=False)


def _optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> Tensors:
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state_of(parameter).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    return tensors


def _restore_optimizer(model: nn.Module, optimizer: Optimizer, tensors: Tensors) -> None:
    for name, parameter in model.named_parameters():
        state = {
            key.removeprefix(f"{name}/"): value
            for key, value in tensors.items()
            if key.rpartition("/")[0] == name
        }
        if state:
            restored = {
                key: value if key == "step" and parameter.device.type == "cpu" else value.to(parameter.device)
                for key, value in state.items()
            }
            optimizer.restore(parameter, restored)
