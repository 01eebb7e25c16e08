"""Where the time of one epoch on Beauty goes: torch's operations, and Python's functions.

Writes `results/profile-MODEL-LABEL.txt`: the seconds of an undisturbed epoch, the operations by their own time
(torch.profiler, a share of the batches), and the functions by cumulative time (cProfile, one epoch).

Run: python benchmarks/training/profile_epoch.py --label before [--model sasrec --model h2rec]
"""

import argparse
import cProfile
import io
import pstats
import re
import time
from itertools import count

from beauty import RESULTS, ROOT, SEED, VARIANTS, trainer
from torch.profiler import ProfilerActivity, profile, schedule

from h2rec.files import write_text
from h2rec.run.provenance import provenance
from h2rec.training.trainer import Trainer

PROFILED_BATCHES, FROM_BATCH = 20, 10
ROWS = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--label", required=True, help="Which state of the code this is, such as before.")
    parser.add_argument("--model", action="append", choices=list(VARIANTS))
    options = parser.parse_args()
    for name in options.model or ["sasrec", "h2rec"]:
        profiled = trainer(name)
        profiled.fit()  # the first epoch warms caches up
        cpu = time.process_time()
        seconds = profiled.fit().progress.log[-1]["seconds"]
        cpu = time.process_time() - cpu
        origin = provenance(SEED)
        head = (
            f"{VARIANTS[name].says}, Beauty, one epoch\n"
            f"{seconds:.2f} s ({cpu:.2f} s of CPU), {profiled.batches.windows.target_count:,} targets, "
            f"commit {origin['commit']}, {origin['date'][:10]}, torch {origin['machine']['torch']}, one thread\n"
            f"command: python benchmarks/training/{origin['command']}\n"
        )
        text = f"{head}\n{operations(profiled)}\n{functions(profiled)}"
        path = RESULTS / f"profile-{name}-{options.label}.txt"
        write_text(path, text)
        print(head, path.name)


def operations(profiled: Trainer) -> str:
    """Table of torch's operations in some batches in the middle of an epoch, by their own time."""
    watched = profile(
        activities=[ProfilerActivity.CPU],
        schedule=schedule(wait=FROM_BATCH, warmup=1, active=PROFILED_BATCHES, repeat=1),
    )
    steps = count()
    step = profiled.optimizer.step

    def stepped(*arguments: object) -> None:
        step(*arguments)
        if next(steps) < FROM_BATCH + 1 + PROFILED_BATCHES:
            watched.step()

    profiled.optimizer.step = stepped  # type: ignore[method-assign]
    try:
        with watched:
            profiled.fit()
    finally:
        profiled.optimizer.step = step  # type: ignore[method-assign]
    table = watched.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=ROWS, max_name_column_width=50
    )
    return f"torch.profiler, {PROFILED_BATCHES} batches\n{table}"


def functions(profiled: Trainer) -> str:
    """Table of Python functions by cumulative time over one epoch."""
    watched = cProfile.Profile()
    watched.runcall(profiled.fit)
    stream = io.StringIO()
    pstats.Stats(watched, stream=stream).sort_stats("cumulative").print_stats(ROWS)
    # No paths of one machine: from the package's own or the library's name on.
    text = stream.getvalue().replace(f"{ROOT}/", "")
    return "cProfile, one epoch\n" + re.sub(r"(?<=\s)/\S*?/(?:site-packages|python3\.\d+)/", "", text)


if __name__ == "__main__":
    main()
