"""The pipeline: data, text, semantic IDs, training, evaluation, bundle.

Each is a stage that is reused when nothing it depends on changed.
"""

import logging
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.torch import load_file, save_file

from h2rec.data.dataset import Dataset
from h2rec.data.popularity import head_items, popularity_groups
from h2rec.data.prepare import input_fingerprint, prepare
from h2rec.data.splits import Holdout, Split, split
from h2rec.errors import ConfigError
from h2rec.evaluation.evaluate import Evaluation, evaluate
from h2rec.evaluation.metrics import metric_value
from h2rec.evaluation.negatives import draw_negatives
from h2rec.evaluation.settings import FULL, EvaluateSettings, sampled_negatives
from h2rec.experiments.blend import can_be_fitted, fit_weights
from h2rec.experiments.config import RunConfig
from h2rec.experiments.provenance import provenance
from h2rec.experiments.report import write_report
from h2rec.experiments.semantic_id_files import read_tokenized, write_audit, write_tokenized
from h2rec.experiments.stages import Stage, StageStore
from h2rec.files import atomic_folder, atomic_path, file_hash, read_json, write_json
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.retrieval.bundle import BundleParts, write_bundle
from h2rec.runtime import random_stream, select_device, set_threads
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.tokenize import tokenize
from h2rec.text.embed import embed
from h2rec.text.fields import item_texts
from h2rec.training.checkpoint import load_weights, weights_of
from h2rec.training.objective import TrainingObjective
from h2rec.training.trainer import Trainer, Validator, Watch

logger = logging.getLogger(__name__)

EVALUATION_SEED = 0
"""Seed of the sampled negatives: the same for every model and every training seed, so that ranks pair up."""
TOKENIZER_SEED = 0
"""Seed of the tokenizer: training seeds vary on the same codes."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Text embeddings of the catalogue, `[N, m]`, and the folder of the encoder that made them."""

    vectors: npt.NDArray[np.float32]
    encoder_folder: Path


class Pipeline:
    """One configuration, carried out as far as asked.

    Parameters
    ----------
    config
        The resolved configuration.
    out
        Folder of the run; its files follow the contract of the documentation.
    stages
        Folder of finished stages; by default ``stages`` inside `out`. Runs that share it share work.
    watch
        Told every validation of the training, which it may end by what it raises.
    """

    def __init__(
        self, config: RunConfig, out: Path, stages: Path | None = None, watch: Watch | None = None
    ) -> None:
        self.config = config
        self.watch = watch
        self.out = out
        self.store = StageStore(stages or out / "stages")
        self.stages: dict[str, Stage] = {}
        set_threads(config.runtime.threads)
        self.device = select_device(config.runtime.device)
        config.save(out / "config.yaml")

    # -- data ------------------------------------------------------------------------------------

    @cached_property
    def data_stage(self) -> Stage:
        """Interactions and items, cleaned and indexed."""
        settings = self.config.data
        return self._run("data", input_fingerprint(settings), lambda folder: prepare(settings).save(folder))

    @cached_property
    def dataset(self) -> Dataset:
        """The prepared data set."""
        return Dataset.load(self.data_stage.folder)

    @cached_property
    def split(self) -> Split:
        """Training histories and held-out cases."""
        return split(self.dataset, self.config.data.split, test_share=self.config.data.test_share)

    @cached_property
    def head(self) -> npt.NDArray[np.bool_]:
        """Which items are head items, `[N + 1]`, by training counts alone."""
        return head_items(self.split.train_counts, self.config.data.head_share)

    # -- text ------------------------------------------------------------------------------------

    @cached_property
    def embeddings(self) -> Embeddings | None:
        """Text embeddings, or None for a catalogue without any text."""
        items = self.dataset.items
        texts = item_texts(items, self.config.text.fields)
        settings = self.config.text
        if not any(texts) and not settings.precomputed:
            logger.warning("no item has text: text embeddings and warm starts are left out")
            return None
        depends = {"data": self.data_stage.key, "text": settings.model_dump(mode="json")}
        if settings.precomputed:
            depends["file"] = _hash_of(Path(settings.encoder), "text.encoder")

        def work(folder: Path) -> None:
            rows = self.dataset.item_file_index
            embedded = embed(items, settings, item_file_index=None if rows is None else rows.to_numpy())
            np.save(folder / "vectors.npy", embedded.vectors)
            (folder / "encoder").mkdir()
            embedded.encoder.save(folder / "encoder")

        folder = self._run("text", depends, work).folder
        return Embeddings(np.load(folder / "vectors.npy", allow_pickle=False), folder / "encoder")

    # -- semantic IDs ----------------------------------------------------------------------------

    @cached_property
    def semantic_id_stage(self) -> Stage | None:
        """Codes, the fitted quantizer and the audit; None without text and without a code file."""
        settings = self.config.semantic_ids
        embeddings = self.embeddings
        from_file = settings.quantizer.endswith(".json")
        if embeddings is None and not from_file:
            if self.config.model.name == "h2rec":
                raise ConfigError(
                    "the items have no text to make semantic IDs from",
                    "give data.items a file with text columns, or semantic_ids.quantizer a file of codes",
                )
            return None
        depends: dict[str, Any] = {
            "data": self.data_stage.key,
            "semantic_ids": settings.model_dump(mode="json"),
        }
        if from_file:
            depends["file"] = _hash_of(Path(settings.quantizer), "semantic_ids.quantizer")
        if embeddings is not None:
            depends["text"] = self.stages["text"].key

        vectors = None if embeddings is None else embeddings.vectors
        item_ids = self.dataset.items["item_id"].to_list()
        key = self.store.key("semantic_ids", depends)
        checkpoint = self.out / "checkpoints" / f"semantic_ids-{key}.safetensors"

        def work(folder: Path) -> None:
            found = tokenize(vectors, item_ids, settings, seed=TOKENIZER_SEED, checkpoint=checkpoint)
            write_tokenized(folder, found, item_ids)

        stage = self._run("semantic_ids", depends, work)
        checkpoint.unlink(missing_ok=True)
        return stage

    @cached_property
    def audit_stage(self) -> Stage:
        """The audit of the semantic IDs, as figures and as a page."""
        made = self.semantic_id_stage
        assert made is not None
        fields = self.config.text.fields
        embeddings = self.embeddings

        def work(folder: Path) -> None:
            vectors = None if embeddings is None else embeddings.vectors
            write_audit(
                folder, made.folder, self.dataset.items, item_texts(self.dataset.items, fields), vectors
            )

        return self._run("audit", {"semantic_ids": made.key, "fields": fields}, work)

    @cached_property
    def semantic_ids(self) -> SemanticIds | None:
        """The codes of the catalogue."""
        stage = self.semantic_id_stage
        if stage is None:
            return None
        return read_tokenized(stage.folder)

    def tokenized(self) -> Path | None:
        """Carry the pipeline out up to the semantic IDs and their audit, publish them, and return the codes' file."""
        stage = self.semantic_id_stage
        if stage is None:
            return None
        _publish(stage.folder / "semantic_ids.json", self.out / "semantic_ids.json")
        for name in ("audit.json", "audit.html"):
            _publish(self.audit_stage.folder / name, self.out / name)
        return self.out / "semantic_ids.json"

    # -- training --------------------------------------------------------------------------------

    @cached_property
    def features(self) -> ItemFeatures:
        """What the model may know of the items beforehand."""
        text = None if self.embeddings is None else self.embeddings.vectors
        return ItemFeatures(
            self.dataset.item_count, self.semantic_ids, text, self.split.train_counts, self.split.train
        )

    @cached_property
    def train_stage(self) -> Stage:
        """The selected weights and the record of the training."""
        self._check_evaluation()
        self.tokenized()
        config = self.config
        sections = ("model", "loss", "train", "evaluate")
        depends = {name: getattr(config, name).model_dump(mode="json") for name in sections}
        del depends["model"]["score"]["popularity"]  # no loss knows it
        # Protocols and groups of the final evaluation do not change a training; the selection metric does.
        depends["evaluate"] = {"exclude_history": config.evaluate.exclude_history}
        depends["data"] = self.data_stage.key
        depends["split"] = config.data.model_dump(mode="json", include={"split", "test_share"})
        depends |= {name: self.stages[name].key for name in ("text", "semantic_ids") if name in self.stages}
        depends["device"] = self.device.type
        key = self.store.key("train", depends)

        def work(folder: Path) -> None:
            trainer = self.trainer(self.out / "checkpoints" / key)
            result = trainer.fit()
            save_file(weights_of(trainer.model), folder / "model.safetensors")
            progress = result.progress
            write_json(
                folder / "training.json",
                {
                    "epochs": progress.epoch,
                    "stopped_early": result.stopped_early,
                    "best_epoch": progress.best_epoch,
                    "best_value": progress.best_value,
                    "selected_by": config.train.select,
                    "seconds": progress.seconds,
                    "parameters": sum(p.numel() for p in trainer.model.parameters()),
                    "log": progress.log,
                },
            )

        return self._run("train", depends, work)

    def _check_evaluation(self) -> None:
        # What can't be evaluated is refused before the slow stages, not after them.
        split = self.split
        for protocol in self.config.evaluate.protocols:
            if protocol != FULL:
                negatives = sampled_negatives(protocol)
                for cases in (split.valid, split.test):
                    draw_negatives(cases, self.dataset.item_count, negatives, EVALUATION_SEED)

    def trainer(self, checkpoint: Path | None) -> Trainer:
        """A trainer of the configured model with its starting weights; None for a training without checkpoints."""
        config = self.config
        settings = config.model.with_branch_weights({"popularity": 0.0})
        model = build_model(settings, self.features, seed=config.train.seed).to(self.device)
        codes = None if self.semantic_ids is None else self.semantic_ids.padded()
        objective = TrainingObjective(config.loss, self.split.train, self.dataset.item_count, codes)
        return Trainer(
            model,
            objective,
            self.split.train,
            config.train,
            validate=self._validator(model),
            checkpoint=checkpoint,
            head=self.head,
            watch=self.watch,
        )

    def _validator(self, model: Any) -> Validator:
        select = self.config.train.select
        cases = _sample(self.split.valid, self.config.train.evaluate_users)
        settings = _selection_settings(self.config.evaluate, select)

        def validate() -> dict[str, float]:
            found = self._evaluate(model, cases, settings).metrics
            return {
                name: metric_value(found, name) for name in dict.fromkeys([select, "full.overall.hit@100"])
            }

        return validate

    def validation_value(self) -> float:
        """Carry the pipeline out up to the finished model and return its selection metric on validation."""
        if self.blend is not None:
            return float(self.blend["value"])
        found = read_json(self.train_stage.folder / "training.json")["best_value"]
        if found is None:  # a model that is not trained was not validated on the way
            found = self._validator(self.model)()[self.config.train.select]
        return float(found)

    @cached_property
    def blend(self) -> dict[str, Any] | None:
        """What each branch weighs, chosen on validation (see `fit_weights`); None where nothing is chosen."""
        config = self.config
        if not config.blend.fit:
            return None
        trained = self._trained(config.model.with_branch_weights({"popularity": 0.0}))
        if not can_be_fitted(trained):
            return None
        cases = _sample(self.split.valid, config.train.evaluate_users)
        depends = {
            "train": self.train_stage.key,
            "blend": config.blend.model_dump(mode="json"),
            "head": config.data.head_share,
        }

        def work(folder: Path) -> None:
            found = fit_weights(
                trained,
                cases,
                config.blend,
                select=config.train.select,
                head=self.head,
                train_counts=self.split.train_counts,
                exclude_history=config.evaluate.exclude_history,
                seed=EVALUATION_SEED,
            )
            write_json(folder / "blend.json", found)

        found: dict[str, Any] = read_json(self._run("blend", depends, work).folder / "blend.json")
        return found

    @property
    def model_settings(self) -> ModelSettings:
        """The model's settings, with the weights that were chosen for its branches."""
        settings = self.config.model
        return settings if self.blend is None else settings.with_branch_weights(self.blend["weights"])

    @cached_property
    def model(self) -> Any:
        """The trained model with its selected weights."""
        return self._trained(self.model_settings)

    def _trained(self, settings: ModelSettings) -> Any:
        model = build_model(settings, self.features, seed=self.config.train.seed)
        weights = load_file(self.train_stage.folder / "model.safetensors")
        if settings.score.popularity:
            weights |= {name: t for name, t in weights_of(model).items() if name.startswith("popularity.")}
        load_weights(model, weights)
        return model.to(self.device).eval()

    # -- evaluation ------------------------------------------------------------------------------

    def _evaluate(
        self, model: Any, cases: Holdout, settings: Any, *, progress: str | None = None
    ) -> Evaluation:
        return evaluate(
            CatalogueScorer(model),
            cases,
            settings=settings,
            head=self.head,
            popularity_group=popularity_groups(self.split.train_counts, self.config.data.popularity_groups),
            train_counts=self.split.train_counts,
            semantic_ids=self.semantic_ids,
            user_ids=self.dataset.user_ids,
            seed=EVALUATION_SEED,
            progress=progress,
        )

    @cached_property
    def evaluation_stage(self) -> Stage:
        """Ranks and metrics of validation and test."""
        depends = {
            "train": self.train_stage.key,
            "evaluate": self.config.evaluate.model_dump(mode="json"),
            "groups": self.config.data.model_dump(mode="json", include={"head_share", "popularity_groups"}),
        }
        if self.blend is not None:
            depends["weights"] = self.blend["weights"]

        def work(folder: Path) -> None:
            metrics, ranks = {}, []
            for name, cases in (("test", self.split.test), ("valid", self.split.valid)):
                found = self._evaluate(self.model, cases, self.config.evaluate, progress=f"ranking {name}")
                metrics[name] = found.metrics
                ranks.append(found.ranks.with_columns(pl.lit(name).alias("split")))
            pl.concat(ranks).write_parquet(folder / "ranks.parquet")
            write_json(folder / "metrics.json", metrics)

        return self._run("evaluate", depends, work)

    def evaluated(self) -> dict[str, Any]:
        """Carry the pipeline out up to the metrics, publish them, and return the content of `metrics.json`."""
        stage = self.evaluation_stage
        _publish(stage.folder / "ranks.parquet", self.out / "ranks.parquet")
        training = read_json(self.train_stage.folder / "training.json")
        training.pop("log")
        metrics: dict[str, Any] = read_json(stage.folder / "metrics.json")
        metrics["timing"] = {stage.name: stage.seconds for stage in self.stages.values()}
        metrics["timing"]["seconds_per_epoch"] = training["seconds"] / max(1, training["epochs"])
        metrics["training"] = {name: value for name, value in training.items() if name != "seconds"}
        if self.blend is not None:
            metrics["blend"] = self.blend
        metrics["data"] = self.dataset.report
        metrics["provenance"] = provenance(self.config.train.seed) | {
            "stages": {stage.name: stage.key for stage in self.stages.values()}
        }
        write_json(self.out / "head.json", self.head.tolist())
        write_json(self.out / "metrics.json", metrics)
        log = read_json(self.train_stage.folder / "training.json")["log"]
        audited = read_json(self.out / "audit.json") if self.semantic_ids is not None else None
        write_report(self.out / "report.html", self.config, metrics, log, audited)
        return metrics

    # -- bundle ----------------------------------------------------------------------------------

    def bundled(self) -> Path:
        """Carry the whole pipeline out and return the folder of the bundle."""
        depends: dict[str, Any] = {"train": self.train_stage.key, "head": self.config.data.head_share}
        if self.blend is not None:
            depends["weights"] = self.blend["weights"]

        def work(folder: Path) -> None:
            semantic_stage = self.semantic_id_stage
            quantizer = None if semantic_stage is None else semantic_stage.folder / "quantizer"
            write_bundle(
                folder / "bundle",
                BundleParts(
                    model=self.model.cpu(),
                    settings=self.model_settings,
                    items=self.dataset.items,
                    train_counts=self.split.train_counts,
                    head=self.head,
                    semantic_ids=self.semantic_ids,
                    encoder=None if self.embeddings is None else self.embeddings.encoder_folder,
                    text_fields=self.config.text.fields,
                    quantizer=quantizer if quantizer is not None and quantizer.is_dir() else None,
                    provenance=provenance(self.config.train.seed),
                ),
            )

        stage = self._run("bundle", depends, work)
        with atomic_folder(self.out / "bundle") as fresh:
            shutil.copytree(stage.folder / "bundle", fresh, dirs_exist_ok=True)
        return self.out / "bundle"

    def _run(self, name: str, depends_on: dict[str, Any], work: Any) -> Stage:
        stage = self.store.run(name, depends_on, work)
        self.stages[name] = stage
        return stage


def _selection_settings(settings: EvaluateSettings, select: str) -> EvaluateSettings:
    # Only what picks the state to keep is measured during training, and the depth of a recall stage beside it.
    cutoff = select.rpartition("@")[2]
    ks = {100, int(cutoff)} if cutoff.isdigit() else {100}
    changes = {
        "protocols": list({select.partition(".")[0]: None, "full": None}),
        "ks": sorted(ks),
        "exposure_ks": [],
    }
    return settings.model_copy(update=changes)


def _sample(cases: Holdout, most: int | None) -> Holdout:
    if most is None or len(cases) <= most:
        return cases
    rows = np.sort(random_stream(EVALUATION_SEED, "validation").choice(len(cases), most, replace=False))
    return Holdout(cases.users[rows], cases.histories.select(rows), cases.targets[rows])


def _publish(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _hash_of(path: Path, key: str) -> str:
    if not path.is_file():
        raise ConfigError(f"{key}: {path}: no such file")
    return file_hash(path)
