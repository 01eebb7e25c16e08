"""One H2Rec epoch on 1 million items and 200,000 users, power-law, within 12 GiB: time and peak memory.

The default configuration, warm start from 384-d text vectors included. One thread, CPU.

Run: python benchmarks/training/million.py [--items 1000000 --users 200000 --batch-tokens 2048]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from beauty import RESULTS, SEED
from synthetic import Shop, make_codes, make_histories, make_text, one_epoch, power_law_lengths

from h2rec.files import write_json
from h2rec.run.provenance import provenance
from h2rec.runtime import set_threads

LIMIT_GIB = 12.0


def peak() -> float:
    # Linux counts in KiB; pages of mapped files that are in memory count too.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--mean-length", type=float, default=10.0)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--name", default="million", help="Name of the results file.")
    options = parser.parse_args()
    set_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lengths = power_law_lengths(options.users, options.mean_length, 200, SEED)
        histories = make_histories(options.users, options.items, lengths, SEED)
        text = make_text(Path(folder) / "text.npy", options.items, 384, SEED)
        shop = Shop(histories, options.items, make_codes(options.items, SEED), text)
        stages = {"data": peak()}
        started = time.process_time()
        trainer = one_epoch(
            shop,
            "h2rec_two_branches",
            seed=SEED,
            batch_tokens=options.batch_tokens,
            checkpoint=Path(folder) / "checkpoint",
        )
        start_seconds = time.process_time() - started
        stages["start"] = peak()
        print(f"started in {start_seconds:.0f} s, peak {stages['start']:.2f} GiB", flush=True)
        wall, cpu = time.perf_counter(), time.process_time()
        record = trainer.fit().progress.log[-1]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        stages["epoch"] = peak()
        written = sum(path.stat().st_size for path in Path(folder).glob("checkpoint/*/*")) / 2**30
    write_json(
        RESULTS / f"{options.name}.json",
        {
            "provenance": provenance(SEED),
            "items": options.items,
            "users": options.users,
            "interactions": len(histories.items),
            "targets": record["targets"],
            "batch_tokens": options.batch_tokens,
            "steps": int(trainer.optimizer.state_of(next(iter(trainer.model.parameters())))["step"]),
            "start_cpu_seconds": start_seconds,
            "epoch_seconds": record["seconds"],
            "fit_seconds": wall,
            "fit_cpu_seconds": cpu,
            "checkpoint_gib": written,
            "peak_gib": stages,
            "limit_gib": LIMIT_GIB,
            "within_limit": stages["epoch"] < LIMIT_GIB,
        },
    )
    print(RESULTS / f"{options.name}.json", stages, record["seconds"], cpu)


if __name__ == "__main__":
    main()
