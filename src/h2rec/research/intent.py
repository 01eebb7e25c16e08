"""Which granularity a trained model attends to: mean alpha by level, for head and for tail items."""

from typing import Any

import numpy as np
import torch

from h2rec.batching.sequences import history_batch
from h2rec.files import read_json, write_json
from h2rec.run.pipeline import Pipeline
from h2rec.run.stages import Stage

_AT_ONCE = 256


def intent_by_popularity(pipeline: Pipeline) -> dict[str, list[float]] | None:
    """Mean alpha of the test users, `L` weights each, written to `intent.json` of the run.

    Returns
    -------
    dict or None
        ``last_head``, ``last_tail``: by whether the last item, which alpha is read from, is a head item;
        ``target_head``, ``target_tail``: by whether the item to come is one. A slice of no users is left out.
        None for a model without alpha.
    """

    def work(folder: Any) -> None:
        write_json(folder / "intent.json", _measure(pipeline))

    stage: Stage = pipeline.store.run(
        "intent", {"train": pipeline.train_stage.key, "head": pipeline.config.data.head_share}, work
    )
    intent: dict[str, list[float]] | None = read_json(stage.folder / "intent.json")
    write_json(pipeline.out / "intent.json", intent)
    return intent


def _measure(pipeline: Pipeline) -> dict[str, list[float]] | None:
    model, cases, head = pipeline.model, pipeline.split.test, pipeline.head
    histories = cases.histories
    batches: list[np.ndarray[Any, Any]] = []
    for start in range(0, len(cases), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(cases)))
        items, lengths = history_batch(histories, rows, model.max_length, model.mask_item)
        items, lengths = items.to(pipeline.device), lengths.to(pipeline.device)
        last = torch.arange(items.shape[1], device=items.device) == (lengths - 1)[:, None]
        with torch.inference_mode():
            alpha = model(items, lengths, last).alpha
        if alpha is None:
            return None
        batches.append(alpha[last].cpu().numpy())
    alphas = np.concatenate(batches)
    last_items = histories.items[histories.offsets[1:] - 1]
    slices = {
        "last_head": head[last_items],
        "last_tail": ~head[last_items],
        "target_head": head[cases.targets],
        "target_tail": ~head[cases.targets],
    }
    return {name: alphas[chosen].mean(axis=0).tolist() for name, chosen in slices.items() if chosen.any()}
