"""The stages of the benchmark on a card: what is made up, what is measured on it, what is compared."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.evaluation.metrics import summarize
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.evaluation.topk import top_items
from h2rec.files import read_json, write_json
from h2rec.losses.settings import LossSettings
from h2rec.models.backbones.protocol import Backbone
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import parse_model
from h2rec.models.weights import load_weights, weights_of
from h2rec.run.presets import merge, preset_values
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

HERE = Path(__file__).resolve().parent
PARITY = HERE.parent / "parity"
PRESETS = ("sasrec", "h2rec")
PRECISIONS = ("float32", "bfloat16")
KS = [10, 100]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    users: int
    items: int
    few_users: int
    """Users of the agreement with the CPU, which trains them, too."""
    dim: int | None
    """Hidden size; None for the presets' own."""
    batch_tokens: tuple[int, ...]
    many_items: int
    asked: int
    """Users that ask for the best of `many_items`."""
    peer_share: float
    """Share of RecBole's epoch that is measured."""
    compiled: tuple[tuple[str, str], ...]
    """Presets and precisions whose epoch is timed compiled, too, at the last batch: compiling takes a loan's time."""
    compiler: str
    """Backend of torch.compile."""


EVERY = tuple((preset, precision) for preset in PRESETS for precision in PRECISIONS)
SIZES = {
    "card": Sizes(22_363, 12_101, 2_000, None, (512, 8192), 1_000_000, 4096, 1.0, EVERY, "inductor"),
    "rehearsal": Sizes(60, 40, 30, 16, (64,), 2_000, 32, 1.0, EVERY[:1], "eager"),
}


class Bench:
    """The stages, on one device."""

    NO_PEER = "RecBole is not there"

    def __init__(self, sizes: Sizes, device: str, recbole: Path | None, seed: int) -> None:
        self.sizes = sizes
        self.device = torch.device(device)
        self.seed = seed
        self.peer = recbole
        if recbole is None and importlib.util.find_spec("recbole") is not None:
            self.peer = Path(sys.executable)
        self.train, self.cases = made_up(sizes.users, sizes.items, seed)
        random = np.random.default_rng([seed, 1])
        # Codes and texts that follow the items' numbers, as neighbours are what often follows.
        places = np.arange(sizes.items) / sizes.items
        codes = np.stack([(places * size).astype(np.int32) % 16 for size in (16, 256, 4096)], axis=1)
        self.codes = SemanticIds(codes, (16, 16, 16))
        waves = np.outer(places, np.arange(1, 33)) * 2 * np.pi
        text = np.concatenate([np.sin(waves), np.cos(waves)], axis=1)
        self.text = (text + 0.1 * random.standard_normal(text.shape)).astype(np.float32)

    def trainer(
        self,
        preset: str,
        device: torch.device,
        *,
        users: int | None = None,
        loss: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        **train: Any,
    ) -> Trainer:
        """Return the trainer of a preset on some of the users."""
        histories = self.train if users is None else self.train.select(np.arange(users))
        counts = histories.counts(self.sizes.items)
        features = ItemFeatures(self.sizes.items, self.codes, self.text, train_counts=counts, train=histories)
        values = preset_values(preset)
        sizes = {} if self.sizes.dim is None else {"dim": self.sizes.dim, "layers": 1, "max_length": 8}
        section = merge(merge(values["model"], sizes), model or {})
        settings = parse_model(section, default="branches").for_training()
        built = build_model(settings, features, seed=self.seed).to(device)
        return Trainer(
            built,
            features,
            LossSettings.parse(merge(values.get("loss", {}), loss or {})),
            TrainSettings.parse({"epochs": 2, "seed": self.seed, "patience": None} | train),
        )

    def agreement(self) -> dict[str, Any]:
        """Losses on both devices, and ranks of the same weights on both."""
        few = self.cases.select(np.arange(self.sizes.few_users))
        settings = EvaluateSettings(protocols=["full"], repeats="allowed")
        found: dict[str, Any] = {}
        for preset in PRESETS:
            asked = {
                "users": self.sizes.few_users,
                "model": {"dropout": 0.0},
                "precision": "float32",
                "batch_tokens": self.sizes.batch_tokens[-1],
            }
            made = {
                place: self.trainer(preset, torch.device(place), **asked)
                for place in ("cpu", self.device.type)
            }
            losses = {
                place: [record["loss"] for record in trainer.fit().progress.log]
                for place, trainer in made.items()
            }
            ours, theirs = made[self.device.type].model, made["cpu"].model
            load_weights(theirs, weights_of(ours))
            ranks = [
                rank(CatalogueScorer(model), few, settings).by_protocol["full"] for model in (ours, theirs)
            ]
            pairs = zip(losses[self.device.type], losses["cpu"], strict=True)
            figures = [summarize(some, KS)["ndcg@100"] for some in ranks]
            found[preset] = {
                "losses": losses,
                "largest_relative_difference": max(abs(a - b) / b for a, b in pairs),
                "equal_ranks": float((ranks[0] == ranks[1]).mean()),
                "ndcg@100": figures,
            }
        found["agrees"] = all(
            one["largest_relative_difference"] < 1e-3
            and one["equal_ranks"] > 0.98
            and abs(one["ndcg@100"][0] - one["ndcg@100"][1]) < 1e-3
            for one in found.values()
        )
        return found

    def epochs(self) -> dict[str, Any]:
        """Seconds of a second epoch, for every preset, precision and batch, compiled or not."""
        rows = []
        for preset in PRESETS:
            for tokens in self.sizes.batch_tokens:
                for precision in PRECISIONS:
                    last = tokens == self.sizes.batch_tokens[-1]
                    both = last and (preset, precision) in self.sizes.compiled
                    for compiled in (False, True) if both else (False,):
                        made = self.trainer(preset, self.device, precision=precision, batch_tokens=tokens)
                        if compiled:
                            self._compile(made.model)
                        rows.append(
                            {"preset": preset, "batch_tokens": tokens, "precision": precision}
                            | {"compiled": compiled, **self._epoch(made)}
                        )
                        print(rows[-1], flush=True)
        return {"rows": rows}

    def _compile(self, model: SequenceModel) -> None:
        torch._dynamo.reset()
        for module in model.modules():
            if isinstance(module, Backbone):
                module.compile(dynamic=True, backend=self.sizes.compiler)

    def _epoch(self, trainer: Trainer) -> dict[str, float]:
        """The second epoch; the first one warms up, and compiles."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        first, second = trainer.fit().progress.log
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else None
        return {
            "seconds": second["seconds"],
            "first_seconds": first["seconds"],
            "targets_a_second": second["targets"] / second["seconds"],
            "loss": second["loss"],
            "peak_gib": peak,
        }

    def ranking(self) -> dict[str, Any]:
        """All test cases against all items."""
        settings = EvaluateSettings(protocols=["full"], repeats="allowed")
        found = {}
        for preset in PRESETS:
            model = self.trainer(preset, self.device).model
            seconds = self._timed(lambda model=model: rank(CatalogueScorer(model), self.cases, settings))
            found[preset] = {"seconds": seconds, "users_a_second": len(self.cases) / seconds}
        return {"users": len(self.cases), "items": self.sizes.items, **found}

    def million(self) -> dict[str, Any]:
        """The best hundred of many items by an exact scan, asked by some users at once."""
        count, dim = self.sizes.many_items, self.sizes.dim or 256
        generator = torch.Generator().manual_seed(self.seed)
        items = torch.nn.functional.normalize(torch.randn(count + 1, dim, generator=generator), dim=1)
        users = torch.nn.functional.normalize(torch.randn(self.sizes.asked, dim, generator=generator), dim=1)
        rows = []
        of_cpu = top_items(users[:16] @ items.T, KS[-1])[0]
        for precision in (torch.float32, torch.bfloat16):
            on_card, asking = items.to(self.device, precision), users.to(self.device, precision)
            few = top_items((asking[:16] @ on_card.T).float(), KS[-1])[0].cpu()
            shared = [
                len(set(a) & set(b)) / KS[-1] for a, b in zip(few.tolist(), of_cpu.tolist(), strict=True)
            ]
            for at_once in (1, 32, 256):
                some = asking[: min(len(asking), 64 * at_once)]

                def scan(at_once: int = at_once, some: torch.Tensor = some, on_card: torch.Tensor = on_card):
                    for part in some.split(at_once):
                        top_items((part @ on_card.T).float(), KS[-1])

                rows.append(
                    {"precision": str(precision).removeprefix("torch."), "at_once": at_once}
                    | {"users_a_second": len(some) / self._timed(scan)}
                    | {"recall@100_of_the_cpu": float(np.mean(shared))}
                )
        return {"items": count, "columns": dim, "rows": rows}

    def recbole(self) -> dict[str, Any]:
        """RecBole's SASRec between two measurements of ours, at equal sizes and on the same sequences."""
        if self.peer is None:
            return {"missing": f"{self.NO_PEER}: give --recbole the Python of an environment that has it"}
        dim = self.sizes.dim or 64
        sizes = {"dim": dim, "layers": 2, "heads": 2, "dropout": 0.3, "max_length": 50, "seed": self.seed}
        ours = [*self._beside_recbole(sizes)]
        with tempfile.TemporaryDirectory() as name:
            theirs = self._peer(Path(name), sizes | {"learning_rate": 1e-3, "batch_targets": 2048})
        if "rows" not in theirs:
            return theirs
        ours += self._beside_recbole(sizes)
        best = min(row["epoch_seconds"] for row in theirs["rows"])
        ratios = {
            loss: best / median(row["seconds"] for row in ours if row["loss_name"] == loss)
            for loss in ("sampled_softmax", "softmax")
        }
        return {"settings": sizes, "ours": ours, "theirs": theirs, "times_ours": ratios}

    def _beside_recbole(self, sizes: dict[str, Any]) -> list[dict[str, Any]]:
        model = {name: sizes[name] for name in ("dim", "layers", "heads", "dropout", "max_length")}
        rows = []
        for name in ("sampled_softmax", "softmax"):
            made = self.trainer(
                "sasrec",
                self.device,
                model=model,
                loss={"ranking": name},
                precision="float32",
                batch_tokens=self.sizes.batch_tokens[-1],
            )
            rows.append({"loss_name": name, **self._epoch(made)})
        return rows

    def _peer(self, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
        histories = self.cases.histories
        np.savez(
            folder / "cases.npz",
            item_count=self.sizes.items,
            train_offsets=self.train.offsets,
            train_items=self.train.items,
            history_offsets=histories.offsets,
            history_items=histories.items,
            targets=self.cases.targets,
        )
        own = {"model": "sasrec", "epochs": 1, "mask_share": 0.3, "share": self.sizes.peer_share}
        own |= {"device": self.device.type, "batches": [256, 2048, 8192] if self.sizes.dim is None else [64]}
        write_json(folder / "settings.json", settings | own)
        ended = subprocess.run(
            [
                str(self.peer),
                HERE / "peer_recbole.py",
                *(folder / n for n in ("cases.npz", "settings.json")),
                folder,
            ],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(PARITY)},
        )
        if ended.returncode:
            reason = ended.stderr.strip().splitlines()[-1] if ended.stderr.strip() else "no word"
            missing = "No module named 'recbole'" in reason
            return {"missing": f"{self.NO_PEER if missing else 'RecBole failed'} in {self.peer}: {reason}"}
        outcome: dict[str, Any] = read_json(folder / "outcome.json")
        return outcome

    def _timed(self, work: Callable[[], object]) -> float:
        """Median seconds of three times, after one to warm up."""
        seconds = []
        for _ in range(4):
            self._wait()
            started = time.perf_counter()
            work()
            self._wait()
            seconds.append(time.perf_counter() - started)
        return median(seconds[1:])

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def made_up(users: int, items: int, seed: int) -> tuple[Histories, Holdout]:
    """Histories in which an item is often followed by its neighbour, and the last item of each as a test case.

    Lengths have the mean and the long tail of Beauty's.
    """
    random = np.random.default_rng([seed, 2])
    lengths = np.minimum(4 + (4.9 * random.pareto(2.0, users)).astype(np.int64), 200)
    popular = 1 / np.arange(1, items + 1)
    drawn = random.choice(items, (users, int(lengths.max())), p=random.permutation(popular / popular.sum()))
    follows = random.random(drawn.shape) < 0.5
    for step in range(1, drawn.shape[1]):
        drawn[:, step] = np.where(follows[:, step], (drawn[:, step - 1] + 1) % items, drawn[:, step])
    walks = [row[:length] + 1 for row, length in zip(drawn, lengths, strict=True)]
    train = Histories.from_lists([walk[:-1].tolist() for walk in walks])
    targets = np.array([walk[-1] for walk in walks], dtype=np.int32)
    return train, Holdout(np.arange(users), train, targets)
