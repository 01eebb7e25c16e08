"""One rehearsal, as a user would start it, with its seconds, its verdict, and the truth beside the estimates.

    h2rec run shop.yaml --set preset=sasrec_warm --out runs/sasrec_warm
    h2rec run shop.yaml --out runs/h2rec
    python benchmarks/experiments/rehearsal.py runs/sasrec_warm/bundle runs/h2rec/bundle shop.yaml

`shop.yaml` is `configs/scientific.yaml` with `model.dim: 64` and `train.epochs: 4`.
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from h2rec.files import read_json, write_json
from h2rec.run.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "rehearsal.json"


def main() -> None:
    """Rehearse, and keep the figures."""
    control, treatment, data = sys.argv[1:]
    with TemporaryDirectory() as folder:
        out = Path(folder) / "rehearsal"
        words = ["rehearse", control, treatment, "--data", data, "--out", str(out)]
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "h2rec", *words], check=True)
        seconds = time.monotonic() - began
        known, analysed = read_json(out / "rehearsal.json"), read_json(out / "abtest" / "results.json")
    kept = {name: known[name] for name in ("rehearsal", "played", "same_lists", "metrics")}
    verdict = analysed["verdicts"]["treatment"]
    ratio = analysed["sample_ratio"]
    write_json(
        RESULTS,
        {"provenance": provenance(0), "seconds": seconds, "verdict": verdict, "sample_ratio": ratio} | kept,
    )


if __name__ == "__main__":
    main()
