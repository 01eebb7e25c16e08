"""Load, ask and grow damaged and hostile bundles, each in a process of its own with little memory.

python benchmarks/robustness/damaged_bundles.py [--only WORD] [--memory 400]

Right is: refused by a BundleError, or loaded and answered; any other error, a crash, a hang or more memory is a fault.
Ends with 1 if there was a fault.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "2")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "tests")]

from damages import damages, rehash  # noqa: E402

SECONDS = 60


def make(folder: Path, only: str) -> None:
    """Write one sound bundle and all damaged ones; in a process of its own, as it uses thread pools."""
    from made_bundles import make_bundle

    sound = make_bundle(folder / "sound")
    for place, (name, damage, again, _) in enumerate(damages()):
        if only in name:
            copy = shutil.copytree(sound, folder / f"{place:04d}")
            damage(copy)
            if again:
                rehash(copy)


def use(folder: Path) -> str:
    """Load a bundle and do all that one does with it; tell what came of it."""
    import polars as pl

    from h2rec.errors import BundleError, H2RecError
    from h2rec.retrieval.filters import ItemFilter
    from h2rec.retrieval.growth import add_items
    from h2rec.retrieval.recommender import Recommender

    try:
        recommender = Recommender.load(folder)
    except BundleError as error:
        return f"refused: {str(error).encode('ascii', 'backslashreplace').decode()}"
    recommender.recommend(["i3", "i17", "x"], 5, explain=True)
    recommender.recommend([], 5, tail_share=0.5)
    recommender.catalogue.find("shampoo", 5)
    for ask in (
        lambda: recommender.recommend(["i3"], 5, filter=ItemFilter.make(where={"title": ["mild"]})),
        lambda: recommender.similar(recommender.item_ids[0], 5),
    ):
        with suppress(H2RecError):
            ask()
    items = pl.DataFrame({"item_id": ["new1"], "title": ["gentle shampoo dry"]})
    try:
        add_items(recommender.bundle, items, folder.with_name(f"{folder.name}.grown"))
    except H2RecError as error:
        return f"loaded, not grown: {type(error).__name__}: {error}"
    Recommender.load(folder.with_name(f"{folder.name}.grown")).recommend(["i3", "new1"], 5)
    return "loaded and grown"


def in_child(folder: Path, megabytes: int) -> tuple[str, int]:
    """What `use` tells, and how many MB its process took at most beyond what it began with."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = Path("/proc/self/status").read_text()
        began = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmSize"))
        limit = (began << 10) + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(SECONDS)
        try:
            outcome = use(folder)
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            outcome = f"FAULT {type(error).__name__} at {last.filename}:{last.lineno}: {str(error)[:200]}"
        os.write(writer, outcome.encode("utf-8", "backslashreplace")[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        outcome = stream.read().decode()
    _, status, usage = os.wait4(child, 0)
    if status:
        outcome = (
            f"FAULT ended by signal {status & 127}" if status & 127 else f"FAULT ended with {status >> 8}"
        )
    return outcome, usage.ru_maxrss >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="word in the name of a damage")
    parser.add_argument("--memory", type=int, default=400, help="MB of address space a process may add")
    arguments = parser.parse_args()
    # Imported, not used: children are forked from here, and take no thread pools along.
    import polars  # noqa: F401

    import h2rec.retrieval.growth
    import h2rec.retrieval.recommender  # noqa: F401

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, arguments.only))
        maker.start()
        maker.join()
        sound, memory = in_child(folder / "sound", arguments.memory)
        print(f"sound: {sound}, {memory} MB")
        counts, largest, started = {"refused": 0, "loaded": 0, "FAULT": 0}, 0, time.time()
        for place, (what, _, _, must) in enumerate(damages()):
            copy = folder / f"{place:04d}"
            if not copy.exists():
                continue
            outcome, taken = in_child(copy, arguments.memory)
            if must and outcome.startswith("loaded"):
                outcome = f"FAULT not refused ({outcome})"
            counts[outcome.split()[0].strip(":,")] += 1
            largest = max(largest, taken - memory)
            if outcome.startswith("FAULT") or arguments.only:
                print(f"{what}: {outcome} [{taken - memory:+} MB]", flush=True)
        sys.setrecursionlimit(10_000)  # to remove folders in folders
    print(
        f"{sum(counts.values())} damaged bundles: {counts['refused']} refused, {counts['loaded']} loaded and "
        f"answered, {counts['FAULT']} faults; at most {largest} MB beyond a sound one's {memory} MB; "
        f"{time.time() - started:.0f} s"
    )
    sys.exit(1 if counts["FAULT"] or not sound.startswith("loaded and grown") else 0)


if __name__ == "__main__":
    main()
