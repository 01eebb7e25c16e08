"""What a results file says of itself: command, commit, seed, hardware."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from h2rec.files import write_json
from h2rec.runtime import describe_machine

RESULTS = Path(__file__).parent / "results"


def write_results(name: str, seed: int | None, values: dict[str, Any]) -> None:
    """Write a results file and print it."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "src/h2rec/retrieval", "src/h2rec/serving", "src/h2rec/models"],
        capture_output=True,
        text=True,
        check=True,
    )
    words = ["/".join(Path(word).parts[-2:]) if word.startswith("/") else word for word in sys.argv[1:]]
    record = {
        "command": f"python benchmarks/serving/{Path(sys.argv[0]).name} {' '.join(words)}".strip(),
        "commit": commit.stdout.strip() + (" with changes" if changed.stdout.strip() else ""),
        "seed": seed,
        "hardware": describe_machine() | {"processor": processor()},
        **values,
    }
    write_json(RESULTS / f"{name}.json", record)
    print(RESULTS / f"{name}.json", values)


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def load_average() -> float:
    """Processes that wanted a core in the last minute: above the number of cores a timing is disturbed."""
    return float(Path("/proc/loadavg").read_text().split()[0])
