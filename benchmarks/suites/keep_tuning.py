"""Keep what `h2rec tune-suite` found: settings under `configs/tuned`, and all trials by data set beside this file.

Run:  python -m benchmarks.suites.keep_tuning runs/tune-main
"""

import argparse
import shutil
from pathlib import Path

from benchmarks.suites.keep import without_paths

from h2rec.files import read_json, write_json

TRIALS = Path(__file__).parent / "tuning"
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "tuned"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="Folder of the searches.")
    folder = parser.parse_args().folder
    TRIALS.mkdir(exist_ok=True)
    for data in sorted(path for path in (folder / "tuned").iterdir() if path.is_dir()):
        (CONFIGS / data.name).mkdir(parents=True, exist_ok=True)
        searches = {}
        for settings in sorted(data.glob("*.yaml")):
            shutil.copyfile(settings, CONFIGS / data.name / settings.name)
            found = read_json(folder / "search" / data.name / settings.stem / "trials.json")
            found["provenance"]["command"] = without_paths(found["provenance"]["command"])
            searches[settings.stem] = found
        write_json(TRIALS / f"{data.name}.json", searches)
        print(f"{data.name}: {len(searches)} rows")


if __name__ == "__main__":
    main()
