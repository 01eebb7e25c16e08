"""Keep what `h2rec tune-suite` found: settings under `configs/tuned`, and all trials by data set beside this file.

Run:  python -m benchmarks.suites.keep_tuning runs/tune-main
"""

import shutil
from pathlib import Path

from benchmarks.keeping import asked_folders, without_paths

from h2rec.files import read_json, write_json

TRIALS = Path(__file__).parent / "tuning"
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "tuned"


def main() -> None:
    TRIALS.mkdir(exist_ok=True)
    found_in = [
        (folder, data) for folder in asked_folders(__doc__) for data in sorted((folder / "tuned").iterdir())
    ]
    for folder, data in found_in:
        (CONFIGS / data.name).mkdir(parents=True, exist_ok=True)
        kept = TRIALS / f"{data.name}.json"
        # Rows that were searched elsewhere stay.
        searches = read_json(kept) if kept.exists() else {}
        for settings in sorted(data.glob("*.yaml")):
            shutil.copyfile(settings, CONFIGS / data.name / settings.name)
            search = read_json(folder / "search" / data.name / settings.stem / "trials.json")
            search["provenance"]["command"] = without_paths(search["provenance"]["command"])
            searches[settings.stem] = search
        write_json(kept, searches)
        print(f"{data.name}: {len(searches)} rows")


if __name__ == "__main__":
    main()
