"""Memory that one alignment loss and its gradient take, by items compared in a batch, at 10,000 and 1,000,000 items.

Every case runs in a process of its own: the model, the codes and the training histories are there first, then the
resident set's high-water mark is set back (Linux), and one loss with its gradient is computed.

Run: python benchmarks/training/alignment_memory.py
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from beauty import RESULTS, SEED
from synthetic import make_codes, make_histories, power_law_lengths

from h2rec.batching.sequences import Batch
from h2rec.files import write_json
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import UserStates
from h2rec.models.settings import parse_model
from h2rec.models.ties import alignment
from h2rec.run.presets import merge, preset_values
from h2rec.run.provenance import provenance
from h2rec.runtime import set_threads

CATALOGUES, BATCHES, USERS = (10_000, 1_000_000), (512, 1024, 2048, 4096), 100_000


def resident(name: str) -> float:
    """One of Linux's figures of this process's memory, MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) / 1024


def measure(item_count: int, compared: int) -> dict[str, float]:
    """Build everything, then take the peak of one loss and its gradient."""
    set_threads(1)
    lengths = power_law_lengths(USERS, 10.0, 200, SEED)
    histories = make_histories(USERS, item_count, lengths, SEED)
    codes = make_codes(item_count, SEED)
    counts = histories.counts(item_count)
    section = merge(preset_values("h2rec_two_branches")["model"], {"warm_start": False})
    features = ItemFeatures(item_count, codes, train_counts=counts, train=histories)
    model = build_model(parse_model(section, default="branches"), features, seed=SEED)
    # As in training, a lookup in a large table leaves a gradient of the rows that it touched.
    model.branches["ids"].table.vectors.sparse = True
    alignment.MOST_ITEMS = compared
    loss = next(loss for loss in model.own_losses(features) if loss.name == "alignment")
    stream = np.random.default_rng(SEED)
    targets = torch.from_numpy(stream.choice(item_count, (1, compared), replace=False) + 1)
    batch = Batch(targets, torch.tensor([compared]), targets)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    term = loss(batch, UserStates(()), stream)
    term.value.backward()
    positives = term.figures["positives_per_item"]
    return {"model_mib": before, "alignment_mib": resident("VmHWM") - before, "positives": positives}


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
        return
    rows = []
    for compared in BATCHES:
        for item_count in CATALOGUES:
            words = [sys.executable, __file__, str(item_count), str(compared)]
            outcome = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            rows.append({"items": item_count, "compared": compared, **outcome})
            print(rows[-1], flush=True)
    write_json(RESULTS / "alignment_memory.json", {"provenance": provenance(SEED), "rows": rows})


if __name__ == "__main__":
    main()
