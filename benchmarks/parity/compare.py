"""Our backbones against RecBole's and RecTools' at equal settings: metrics and seconds an epoch.

All sides train on the same sequences with full softmax, the same sizes, learning rate and epochs, and rank the same
targets among all items outside the history; no text, no warm start, inner products, the state after the last epoch.
Each peer runs in a virtual environment of its own, made on first use.

Run: python benchmarks/parity/compare.py --interactions scientific.inter --out runs/parity [--epochs 30]
"""

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
from exchange import write_cases

from h2rec.evaluation.metrics import per_case, summarize
from h2rec.evaluation.paired_tests import paired_tests
from h2rec.evaluation.ranking import NO_RANK
from h2rec.files import read_json, write_json
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import provenance

HERE = Path(__file__).parent
PEERS = {"recbole": ("sasrec", "gru4rec", "bert4rec"), "rectools": ("sasrec", "bert4rec")}
MODELS = ("sasrec", "gru4rec", "bert4rec")
KS = [10, 100, 500]


def main() -> None:
    options = _options()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(options, name) for name in SETTINGS}

    def pipeline(model: str) -> Pipeline:
        return Pipeline(ours(options, model), out / "h2rec" / model, out / "stages")

    save_cases(pipeline("sasrec"), out / "cases.npz")
    rows = []
    for model in options.models:
        ranks, took = our_figures(pipeline(model))
        first_time = ranks != NO_RANK
        ranks = ranks[first_time]
        rows.append({"library": "h2rec", "model": model, **summarize(ranks, KS), **took})
        print(rows[-1], flush=True)
        for peer in options.peers:
            if model in PEERS[peer]:
                theirs, took = peer_figures(peer, model, settings, out, options.envs.resolve())
                theirs = theirs[first_time]
                found = {**summarize(theirs, KS), **took, **against(theirs, ranks)}
                rows.append({"library": peer, "model": model, **found})
                print(rows[-1], flush=True)
    record = {
        "data": options.interactions.name,
        # Told where they are not all.
        **({} if set(options.models) == set(MODELS) else {"models": options.models}),
        "settings": settings,
        "rows": rows,
    }
    write_json(out / "parity.json", {"provenance": provenance(options.seed), **record})


SETTINGS = {
    "epochs": 30,
    "seed": 0,
    "dim": 64,
    "layers": 2,
    "heads": 2,
    "dropout": 0.3,
    "max_length": 50,
    "learning_rate": 1e-3,
    "batch_targets": 2048,
    "mask_share": 0.3,
    "threads": 1,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interactions", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--envs", type=Path, default=Path("runs/parity-envs"), help="Where the peers' environments are."
    )
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    for name, value in SETTINGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def ours(options: argparse.Namespace, model: str) -> RunConfig:
    """The peers' settings in our words; they draw their batches at random, ours hold histories of like length."""
    sizes = {
        name: getattr(options, name)
        for name in ("dim", "layers", "heads", "dropout", "max_length", "mask_share")
    }
    return RunConfig.parse(
        {
            "data": {"interactions": str(options.interactions.resolve())},
            "preset": model,
            "model": {**sizes, "temperature": None},
            "loss": {"ranking": "softmax"},
            "train": {
                "epochs": options.epochs,
                "seed": options.seed,
                "learning_rate": options.learning_rate,
                "schedule": "constant",
                "batch_tokens": options.batch_targets,
                # One validation, after the last epoch: nothing is selected.
                "evaluate_every": options.epochs,
                "patience": None,
            },
            "evaluate": {"protocols": ["full"], "ks": KS, "repeats": "excluded"},
            "runtime": {"threads": options.threads, "device": "cpu"},
        },
        source="parity",
    )


def save_cases(pipeline: Pipeline, path: Path) -> None:
    """Write our split for the peers."""
    split = pipeline.split
    if len(split.test) != len(split.train):
        sys.exit("every user must have a test case: use 5-core data")
    pairs = ((np.asarray(h.offsets), np.asarray(h.items)) for h in (split.train, split.test.histories))
    write_cases(path, split.item_count, *pairs, np.asarray(split.test.targets))


def our_figures(pipeline: Pipeline) -> tuple[np.ndarray, dict[str, object]]:
    """Ranks of the test cases, none for a target in its history, and what an epoch took, whenever it was trained."""
    stage, epochs = pipeline.train_stage, pipeline.config.train.epochs
    took = {
        "seconds_per_epoch": stage.seconds / epochs,
        "cpu_seconds_per_epoch": stage.origin["cpu_seconds"] / epochs,
    }
    pipeline.evaluated()
    ranks = pl.read_parquet(pipeline.out / "ranks.parquet").filter(split="test")["rank_full"]
    return ranks.fill_null(NO_RANK).to_numpy(), took


def against(theirs: np.ndarray, ours: np.ndarray) -> dict[str, object]:
    """Test our difference to a peer, user by user, in every metric shown."""
    metrics = [f"{name}@{k}" for name, k in itertools.product(("hit", "ndcg"), KS)]
    differences = np.stack([per_case(ours, m) - per_case(theirs, m) for m in metrics], axis=1)
    tests = paired_tests(differences)
    pairs = zip(metrics, differences.mean(axis=0), tests.p_t, tests.p_bootstrap, strict=True)
    return {
        "ours_minus_theirs": {
            metric: {"difference": float(mean), "p": float(max(p_t, p_bootstrap))}
            for metric, mean, p_t, p_bootstrap in pairs
        }
    }


def peer_figures(
    peer: str, model: str, settings: dict[str, object], out: Path, envs: Path
) -> tuple[np.ndarray, dict[str, object]]:
    """Train a peer's model in its own environment, unless that was done already; its ranks, and what it took."""
    folder = out / peer / model
    asked = json.dumps({"model": model, **settings}, indent=1)
    path = folder / "settings.json"
    if not (folder / "outcome.json").exists() or path.read_text() != asked:
        python = environment(peer, envs)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(asked)
        script = [str(python), str(HERE / f"run_{peer}.py"), str(out / "cases.npz"), str(path), str(folder)]
        with (folder / "log.txt").open("w") as log:
            done = subprocess.run(script, check=False, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        if done.returncode:
            sys.exit(f"{peer} failed on {model}: see {folder / 'log.txt'}")
    return np.load(folder / "ranks.npy"), read_json(folder / "outcome.json")


def environment(peer: str, envs: Path) -> Path:
    """Python of the peer's environment, made if it is not there; it pins libraries that ours must not have."""
    folder, done = envs / peer, envs / f"{peer}.installed"
    python = folder / "bin" / "python"
    requirements = HERE / f"requirements-{peer}.txt"
    if not done.exists() or done.read_text() != requirements.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = ["-m", "pip", "install", "--quiet", "-r", str(requirements)]
        subprocess.run([str(python), *install], check=True)
        done.write_text(requirements.read_text())
    return python


if __name__ == "__main__":
    main()
