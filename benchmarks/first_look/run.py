"""H2Rec against SASRec, cold and warm-started, same epochs, one seed: a first look at overall, head and tail.

Run:  python benchmarks/first_look/run.py [--data scientific] [--data beauty] [--only NAME]

Each run is a pipeline of its own below `runs/first_look`; finished runs and stages are reused, so that the script goes
on where it was stopped. The development data sets are looked for in the folder that H2REC_DATASETS names, by default
beside the checkout. One results file a data set and model is written to `results/`.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from h2rec.experiments.config import RunConfig
from h2rec.experiments.pipeline import Pipeline
from h2rec.files import write_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
DATASETS = Path(os.environ.get("H2REC_DATASETS", ROOT.parent / "shared" / "datasets"))

COLD = {"warm_start": {"hid": False, "codes": False}}
PLAIN = {"beta": 0.0, "gamma": 0.0}
SASREC = {"name": "sasrec", "score": {"temperature": 0.07}}
H2REC = {"name": "h2rec", "score": {"temperature": 0.08}}
MODELS: dict[str, dict[str, Any]] = {
    "SASRec, warm": {"model": SASREC},
    "H2Rec, warm": {"model": H2REC},
    "H2Rec, warm, no alignment": {"model": H2REC, "loss": PLAIN},
    "SASRec, cold": {"model": SASREC | COLD},
    "H2Rec, cold": {"model": H2REC | COLD},
}


def config(data: str, name: str, epochs: int) -> RunConfig:
    folder = DATASETS / data
    values = {
        "data": {"interactions": str(folder / f"{data}.inter"), "items": str(folder / f"{data}.item")},
        # All epochs are trained; the state with the best validation NDCG@10 is kept.
        "train": {"epochs": epochs, "patience": None, "select": "full.overall.ndcg@10"},
        "runtime": {"threads": 1},
        **MODELS[name],
    }
    return RunConfig.parse(values)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", choices=["scientific", "beauty", "yelp"])
    parser.add_argument("--only", action="append", choices=list(MODELS))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "first_look")
    options = parser.parse_args()
    for data in options.data or ["scientific", "beauty"]:
        for name in options.only or list(MODELS):
            slug = name.lower().replace(", ", "-").replace(" ", "-")
            pipeline = Pipeline(
                config(data, name, options.epochs), options.out / data / slug, options.out / "stages"
            )
            metrics = pipeline.evaluated()
            kept = {"data": data, "model": name, "test": metrics["test"], "training": metrics["training"]}
            kept |= {"timing": metrics["timing"], "provenance": metrics["provenance"]}
            write_json(RESULTS / f"{data}-{slug}.json", kept)
            print(
                data,
                name,
                {k: round(v, 4) for k, v in metrics["test"]["full"]["overall"].items()},
                flush=True,
            )


if __name__ == "__main__":
    main()
