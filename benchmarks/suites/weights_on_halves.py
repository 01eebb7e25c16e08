"""Branch weights chosen on half of the validation cases, measured on the other half: what the tail's say is worth.

Among weights that lack at most a given share of the best value, `fit_weights` takes those that are best in the tail.
For each share: how the other half's metric differs from that of the best weights (a share of 0), overall, in head and
tail.

Run: python -m benchmarks.suites.weights_on_halves RUN.. --stages FOLDER    (finished runs of a suite; no training)
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from benchmarks.keeping import without_paths

from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.repeats import measured_cases
from h2rec.files import write_json
from h2rec.run import blend
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import provenance
from h2rec.run.reranking import Candidates

SHARES = (0.0, 0.001, 0.002)
SPLITS = 1
"""Random cuts into halves; each half of each chooses once."""
RESULTS = Path(__file__).parent / "results" / "weights_on_halves.json"


def changes(run: Path, stages: Path) -> dict[str, dict[str, float]]:
    """Relative change of the selected metric on the other half, by share and slice; means of all halves."""
    config = RunConfig.load(run / "config.yaml", ["blend.fit=false"])
    select, model_settings = config.train.select, config.model
    if not select.startswith("full.overall."):
        raise SystemExit(f"{run}: it selects by {select}, not by a metric of the full ranking overall")
    metric = select.split(".")[2]
    with tempfile.TemporaryDirectory() as out:
        pipeline = Pipeline(config, Path(out), stages)
        rule = pipeline.repeats.rule
        cases, model, head = measured_cases(pipeline.split.valid, rule), pipeline.model, pipeline.head
    random = np.random.default_rng(0)
    found: dict[float, list[list[float]]] = {share: [] for share in SHARES}
    for _ in range(SPLITS):
        order = random.permutation(len(cases))
        halves = [cases.select(np.sort(part)) for part in np.array_split(order, 2)]
        for own, other in (halves, halves[::-1]):
            chosen = []
            for share in SHARES:
                blend.AS_GOOD = share
                fitted = blend.fit_weights(model, model_settings, own, select=select, head=head, repeats=rule)
                chosen.append(fitted["weights"])
            candidates = Candidates(model, other, model_settings, None, metric=metric, repeats=rule)
            values = np.stack([per_case(ranks, metric) for ranks in candidates.ranks(chosen)])
            in_head = head[other.targets]
            slices = np.stack([values.mean(1), values[:, in_head].mean(1), values[:, ~in_head].mean(1)])
            for share, change in zip(SHARES, (slices / slices[:, :1] - 1).T, strict=True):
                found[share].append(change.tolist())
            print(run, "chosen", flush=True)
    return {
        str(share): dict(zip(("overall", "head", "tail"), np.mean(rows, axis=0).tolist(), strict=True))
        for share, rows in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="Folders of finished runs, DATA/ROW/SEED.")
    parser.add_argument("--stages", type=Path, required=True, help="Where their stages are.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {"/".join(run.parts[-3:]): changes(run, options.stages) for run in options.runs}
    made_by = provenance(0)
    made_by["command"] = without_paths(made_by["command"])
    write_json(RESULTS, {"splits": SPLITS, "change": results, "provenance": made_by})


if __name__ == "__main__":
    main()
