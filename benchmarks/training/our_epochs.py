"""Time epochs of ours on Beauty, variant after variant, some rounds. Started by `epochs.py`.

Run: python our_epochs.py OUT ROUNDS VARIANT..
"""

import sys
import time
from pathlib import Path

from beauty import trainer

from h2rec.files import write_json


def main() -> None:
    out, rounds, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    trainers = {name: trainer(name) for name in dict.fromkeys(names)}
    (out / "ready").touch()
    while not (out.parent / "go").exists():
        time.sleep(0.1)
    rows = []
    for number in range(rounds):
        for name in names:
            cpu = time.process_time()
            record = trainers[name].fit().progress.log[-1]
            cpu = time.process_time() - cpu
            rows.append(
                {
                    "variant": name,
                    "round": number,
                    "seconds": record["seconds"],
                    "cpu_seconds": cpu,
                    "targets": record["targets"],
                }
            )
    write_json(out / "outcome.json", rows)


if __name__ == "__main__":
    main()
