"""Run folders of inputs that failed once, and judge what comes of each.

Each folder has a `run.sh` that shows its fault. It is run in a copy, with the h2rec and the Python of this environment;
every call of h2rec is kept with its exit code. A check by the folder's name says what is right (`fault_checks.py`).
Ends with 1 if one is wrong.

Run: python benchmarks/robustness/faults.py [FOLDER] [--only NAME ..] [--keep FOLDER]

FOLDER is $H2REC_FAULTS if it is not given, else `../shared/faults` beside the checkout.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fault_checks import CHECKS, Seen, WrongError, need

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900
SHIM = """#!{python}
import json, subprocess, sys, uuid
done = subprocess.run([sys.executable, "-m", "h2rec", *sys.argv[1:]], capture_output=True, text=True)
told = dict(words=sys.argv[1:], code=done.returncode, said=done.stdout + done.stderr)
open(f"{calls}/{{uuid.uuid1().time:020d}}", "w").write(json.dumps(told))
sys.stdout.write(done.stdout), sys.stderr.write(done.stderr), sys.exit(done.returncode)
"""


def carried_out(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a command in a session of its own, all of which ends with its time."""
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.communicate(timeout=SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise WrongError(f"not done in {SECONDS} s") from None


def tried(fault: Path, keep: Path | None) -> tuple[str, str]:
    """Run and judge one folder; return the judgement and what was seen."""
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        copy = base / "faults" / fault.name
        shutil.copytree(fault, copy)
        for beside in fault.parent.glob("*.sh"):
            shutil.copy(beside, copy.parent)
        script = copy / "run.sh"
        # The setting was removed: it is called `evaluate.repeats` now.
        script.write_text(script.read_text().replace("exclude_history=false", "repeats=allowed"))
        (base / "bin").mkdir()
        (base / "calls").mkdir()
        shim = base / "bin" / "h2rec"
        shim.write_text(SHIM.format(python=sys.executable, calls=base / "calls"))
        shim.chmod(0o755)
        path = os.pathsep.join([str(base / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}

        def ask(code: str) -> str:
            return carried_out([sys.executable, "-c", code], copy, environment)

        try:
            printed = carried_out(["bash", str(script)], copy, environment)
            calls = [json.loads(file.read_text()) for file in sorted((base / "calls").iterdir())]
            if keep is not None:
                outcome = {"printed": printed, "calls": calls}
                (keep / f"{fault.name}.json").write_text(json.dumps(outcome, indent=1, ensure_ascii=False))
            for call in calls:
                need("Traceback" not in call["said"] and call["code"] in (0, 2), f"{call['said'][-200:]!r}")
            check = CHECKS.get(fault.name)
            if check is None:
                return "no check", printed.strip()[-80:].replace("\n", " ")
            need(bool(calls), "h2rec was not called")
            return "right", check(Seen(printed, calls, ask))
        except (WrongError, AttributeError, TypeError, ValueError, IndexError) as wrong:
            return "WRONG", f"{wrong or repr(wrong)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("H2REC_FAULTS", ROOT.parent / "shared" / "faults")
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--keep", type=Path, help="folder for all that was printed")
    options = parser.parse_args()
    faults = sorted(path.parent for path in options.folder.glob("*/run.sh"))
    faults = [fault for fault in faults if not options.only or fault.name in options.only]
    if not faults:
        parser.error(f"{options.folder}: no fault folders")
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    judged = []
    for fault in faults:
        started = time.monotonic()
        judgement, what = tried(fault, options.keep)
        judged.append(judgement)
        print(f"{fault.name:24}{judgement:10}{time.monotonic() - started:5.0f} s  {what}", flush=True)
    print(f"{judged.count('right')} of {len(judged)} right, {judged.count('no check')} without a check")
    sys.exit("WRONG" in judged)


if __name__ == "__main__":
    main()
