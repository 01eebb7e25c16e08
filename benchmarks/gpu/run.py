"""On one card, in under ten minutes: does it agree with the CPU, and how fast is it, beside RecBole on the same card.

Everything is made up here, in the sizes of Amazon Beauty: no file is read. Stages, each written to the results file as
soon as it is measured; the same command goes on with those that are missing or failed:

- agreement: two epochs of SASRec and of the default preset on the CPU and on the card, float32 without dropout: losses,
  and the ranks that the same weights give.
- epochs: an epoch of both, in float32 and bfloat16, compiled (torch.compile of the encoders) and not.
- ranking: all test cases against all items.
- million: the best hundred of a million items, exact.
- recbole: an epoch of RecBole's SASRec on the same data and card between two of ours, and its full ranking. `--recbole`
  is the Python of an environment with `benchmarks/parity/requirements-recbole.txt`, its torch built for the card.

Run: python benchmarks/gpu/run.py [--recbole ENV/bin/python] [--seconds 540]
     python benchmarks/gpu/run.py --cpu-rehearsal   # tiny, on the CPU: whether it all works
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured import SIZES, Bench

from h2rec.errors import H2RecError
from h2rec.files import read_json, write_json
from h2rec.run.provenance import provenance

HERE = Path(__file__).resolve().parent
SEED = 0
ROOM = {"agreement": 90, "epochs": 180, "ranking": 20, "million": 60, "recbole": 120}
"""Seconds that a stage may take on a card; it is not begun with less of them left."""


def main() -> None:
    options = _options()
    sizes = SIZES["rehearsal" if options.cpu_rehearsal else "card"]
    bench = Bench(sizes, "cpu" if options.cpu_rehearsal else "cuda", options.recbole, SEED)
    began = time.monotonic()
    # As a file has them: lists, no tuples.
    record: dict[str, Any] = {
        "provenance": provenance(SEED),
        "sizes": json.loads(json.dumps(vars(sizes))),
        "stages": {},
    }
    if options.out.exists():
        known = read_json(options.out)
        same = [known.get("sizes"), _where(known)] == [record["sizes"], _where(record)]
        record["stages"] = known["stages"] if same else {}
    stages: dict[str, Callable[[], dict[str, Any]]] = {
        "agreement": bench.agreement,
        "epochs": bench.epochs,
        "ranking": bench.ranking,
        "million": bench.million,
        "recbole": bench.recbole,
    }
    for name, measure in stages.items():
        if "missing" not in record["stages"].get(name, {"missing": ""}):
            print(f"{name}: measured before")
            continue
        if time.monotonic() - began > options.seconds - ROOM[name]:
            record["stages"][name] = {"missing": "no time was left; run the command again"}
        else:
            started = time.monotonic()
            try:
                found = measure()
            except Exception as error:  # the other stages are worth having
                traceback.print_exc()
                found = {"missing": f"failed: {str(error).splitlines()[0] if str(error) else type(error)}"}
            record["stages"][name] = found | {"took_seconds": round(time.monotonic() - started, 1)}
        write_json(options.out, record)
        print(f"{name}: {record['stages'][name]}", flush=True)
    missing = {name: found["missing"] for name, found in record["stages"].items() if "missing" in found}
    for name, why in missing.items():
        print(f"NOT MEASURED: {name}: {why}")
    print(options.out)
    failed = [name for name, why in missing.items() if not why.startswith(Bench.NO_PEER)]
    wrong = record["stages"].get("agreement", {}).get("agrees") is False
    sys.exit(1 if failed or wrong else 0)


def _where(record: dict[str, Any]) -> list[Any]:
    made = record["provenance"]
    return [made["commit"], made["machine"]["gpu"], made["machine"]["torch"]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recbole", type=Path, help="Python in whose environment RecBole is installed.")
    parser.add_argument("--seconds", type=float, default=540, help="Time for all stages together.")
    parser.add_argument("--cpu-rehearsal", action="store_true", help="Tiny sizes on the CPU.")
    parser.add_argument(
        "--out", type=Path, help="Results file; by default results/gpu.json beside this script."
    )
    options = parser.parse_args()
    if options.out is None:
        options.out = HERE / "results" / ("rehearsal.json" if options.cpu_rehearsal else "gpu.json")
    if not options.cpu_rehearsal:
        import torch

        if not torch.cuda.is_available():
            raise H2RecError("torch sees no card here", "--cpu-rehearsal tells whether the rest works")
    return options


if __name__ == "__main__":
    main()
