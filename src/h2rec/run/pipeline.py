"""The pipeline: data, text, semantic IDs, training, evaluation, bundle.

Each is a stage that is reused when nothing it depends on changed.
"""

import logging
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.torch import load_file, save_file

from h2rec.data.popularity import popularity_groups
from h2rec.data.splits import Holdout
from h2rec.errors import DataError
from h2rec.evaluation.evaluate import Evaluation, evaluate
from h2rec.evaluation.metrics import metric_value
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.settings import EvaluateSettings, RepeatRule
from h2rec.files import atomic_folder, read_json, sweep, write_json
from h2rec.frames import write_parquet
from h2rec.models.build import build_model
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.models.weights import load_weights, weights_of
from h2rec.retrieval.bundle import BundleParts, write_bundle
from h2rec.retrieval.manifest import is_bundle
from h2rec.run.blend import fit_weights, has_choice
from h2rec.run.config import RunConfig
from h2rec.run.held_out import check_held_out, undrawable
from h2rec.run.preparation import Preparation
from h2rec.run.provenance import provenance
from h2rec.run.report import write_report
from h2rec.run.run_folder import publish
from h2rec.run.stages import Stage
from h2rec.runtime import random_stream
from h2rec.training.objective import TrainingObjective
from h2rec.training.trainer import Trainer, Validator, Watch

logger = logging.getLogger(__name__)

EVALUATION_SEED = 0
"""Seed of the sampled negatives: the same for every model and every training seed, so that ranks pair up."""


class Pipeline(Preparation):
    """One configuration, carried out as far as asked.

    Parameters
    ----------
    config, out, stages
        See `Preparation`.
    watch
        Told every validation of the training, which it may end by what it raises.
    """

    def __init__(
        self, config: RunConfig, out: Path, stages: Path | None = None, watch: Watch | None = None
    ) -> None:
        super().__init__(config, out, stages)
        self.watch = watch

    # -- training --------------------------------------------------------------------------------

    @cached_property
    def train_stage(self) -> Stage:
        """The selected weights and the record of the training."""
        # What can't be built or evaluated is refused before the slow stages, not after them.
        self._leave_out_protocols()
        config = self.config
        check_held_out(
            self.split,
            self.repeats,
            protocols=config.evaluate.protocols,
            select=config.train.select,
            head=self.head,
            user_ids=self.dataset.user_ids,
        )
        self.tokenized()
        depends: dict[str, Any] = {
            "model": config.model.for_training().model_dump(mode="json"),
            "loss": config.loss.model_dump(mode="json"),
            "train": config.train.model_dump(mode="json"),
        }
        # How the final evaluation is done does not change a training; what picks the epoch does.
        depends["selection"] = {"repeats": self.repeats.of_data}
        depends["data"] = self.data_stage.key
        depends["split"] = config.data.model_dump(mode="json", include={"split", "test_share"})
        read = {"text": config.model.reads_text, "semantic_ids": config.model.reads_codes}
        depends |= {name: self.stages[name].key for name in read if read[name] and name in self.stages}
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

        return self.stage("train", depends, work)

    def _leave_out_protocols(self) -> None:
        """Leave sampled protocols out that the catalogue is too small for, unless they were asked for."""
        settings = self.config.evaluate
        if "protocols" in settings.model_fields_set:
            return
        left_out = undrawable(self.split, self.repeats.rule, settings.protocols)
        for protocol in left_out:
            logger.warning(
                "the protocol %s is left out: of %d items no user leaves so many to draw from (name it in "
                "evaluate.protocols to insist)",
                protocol,
                self.dataset.item_count,
            )
        if left_out:
            kept = [protocol for protocol in settings.protocols if protocol not in left_out]
            self.settle(evaluate=settings.model_copy(update={"protocols": kept}))

    def trainer(self, checkpoint: Path | None) -> Trainer:
        """A trainer of the configured model with its starting weights; None for a training without checkpoints."""
        config = self.config
        settings = config.model.for_training()
        model = build_model(settings, self.features, seed=config.train.seed).to(self.device)
        objective = TrainingObjective(config.loss, model, self.features)
        return Trainer(
            objective,
            self.split.train,
            config.train,
            validate=self._validator(model, self.repeats.of_data),
            checkpoint=checkpoint,
            head=self.head,
            watch=self.watch,
        )

    def _selecting_cases(self, rule: RepeatRule) -> Holdout:
        return sample_of(measured_cases(self.split.valid, rule), self.config.train.evaluate_users)

    def _validator(self, model: SequenceModel, rule: RepeatRule) -> Validator:
        select = self.config.train.select
        cases = self._selecting_cases(rule)
        settings = _selection_settings(self.config.evaluate, select, rule)

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
        rule = self.repeats.rule
        # A model that is not trained was not validated on the way, and a training is by the data's own rule.
        if found is None or rule != self.repeats.of_data:
            found = self._validator(self.model, rule)()[self.config.train.select]
        return float(found)

    @cached_property
    def blend(self) -> dict[str, Any] | None:
        """What each branch weighs, chosen on validation (see `fit_weights`); None where nothing is chosen."""
        config = self.config
        if not has_choice(config.model, config.blend):
            return None
        depends = {
            "train": self.train_stage.key,
            "weights": config.model.weights,
            "blend": config.blend.model_dump(mode="json"),
            "head": config.data.head_share,
            "repeats": self.repeats.rule,
        }

        def work(folder: Path) -> None:
            # What weighs nothing has no scores that could be weighed.
            popularity = config.model.popularity_branch
            weighed = config.model.with_weights({popularity: 1.0} if popularity else {})
            found = fit_weights(
                self._trained(weighed),
                config.model,
                self._selecting_cases(self.repeats.rule),
                config.blend,
                select=config.train.select,
                head=self.head,
                repeats=self.repeats.rule,
                seed=EVALUATION_SEED,
            )
            write_json(folder / "blend.json", found)

        found: dict[str, Any] = read_json(self.stage("blend", depends, work).folder / "blend.json")
        return found

    @property
    def model_settings(self) -> ModelSettings:
        """The model's settings, with the weights that were chosen for its branches."""
        settings = self.config.model
        return settings if self.blend is None else settings.with_weights(self.blend["weights"])

    @cached_property
    def model(self) -> SequenceModel:
        """The trained model with its selected weights."""
        return self._trained(self.model_settings)

    def _trained(self, settings: ModelSettings) -> SequenceModel:
        model = build_model(settings, self.features, seed=self.config.train.seed)
        # What is not trained, such as counts, is as it was made.
        load_weights(model, weights_of(model) | load_file(self.train_stage.folder / "model.safetensors"))
        return model.to(self.device).eval()

    # -- evaluation ------------------------------------------------------------------------------

    @property
    def evaluate_settings(self) -> EvaluateSettings:
        """How the final evaluation is done, with the rule for repeats that holds here."""
        return self.config.evaluate.model_copy(update={"repeats": self.repeats.rule})

    def _evaluate(
        self, model: SequenceModel, cases: Holdout, settings: EvaluateSettings, *, progress: str | None = None
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
            "evaluate": self.evaluate_settings.model_dump(mode="json"),
            "groups": self.config.data.model_dump(mode="json", include={"head_share", "popularity_groups"}),
            # Any model's cases are grouped by how many items share the target's codes.
            "semantic_ids": self._key_of_codes,
        }
        depends["weights"] = self.model_settings.weights

        def work(folder: Path) -> None:
            metrics, ranks = {}, []
            for name, cases in (("test", self.split.test), ("valid", self.split.valid)):
                found = self._evaluate(self.model, cases, self.evaluate_settings, progress=f"ranking {name}")
                metrics[name] = found.metrics
                ranks.append(found.ranks.with_columns(pl.lit(name).alias("split")))
            write_parquet(pl.concat(ranks), folder / "ranks.parquet")
            write_json(folder / "metrics.json", metrics)

        return self.stage("evaluate", depends, work)

    def evaluated(self) -> dict[str, Any]:
        """Carry the pipeline out up to the metrics, publish them, and return the content of `metrics.json`."""
        stage = self.evaluation_stage
        training = read_json(self.train_stage.folder / "training.json")
        training.pop("log")
        metrics: dict[str, Any] = read_json(stage.folder / "metrics.json")
        metrics["timing"] = {stage.name: stage.seconds for stage in self.stages.values()}
        metrics["timing"]["seconds_per_epoch"] = training["seconds"] / max(1, training["epochs"])
        metrics["training"] = {name: value for name, value in training.items() if name != "seconds"}
        if self.blend is not None:
            metrics["blend"] = self.blend
        metrics["data"] = self.dataset.report
        metrics["repeats"] = self.repeats.as_json()
        metrics["provenance"] = provenance(self.config.train.seed) | {
            "settings": self.asked.key,
            "stages": {stage.name: stage.key for stage in self.stages.values()},
            "made": {stage.name: dict(stage.made) for stage in self.stages.values()},
        }
        log = read_json(self.train_stage.folder / "training.json")["log"]
        audited = None if self.semantic_ids is None else read_json(self.audit_stage.folder / "audit.json")
        figures = self.out / "metrics.json"
        with self.alone():
            if _evaluation_in(figures) != stage.key:
                figures.unlink(missing_ok=True)  # ranks.parquet always matches metrics.json
            publish(stage.folder / "ranks.parquet", self.out / "ranks.parquet")
            write_json(self.out / "head.json", self.head.tolist())
            write_json(figures, metrics)
            write_report(self.out / "report.html", self.config, metrics, log, audited)
        return metrics

    @property
    def _key_of_codes(self) -> str | None:
        stage = self.semantic_id_stage
        return None if stage is None else stage.key

    # -- bundle ----------------------------------------------------------------------------------

    def bundled(self) -> Path:
        """Carry the whole pipeline out and return the folder of the bundle."""
        depends: dict[str, Any] = {"train": self.train_stage.key, "head": self.config.data.head_share}
        depends["semantic_ids"] = self._key_of_codes
        depends["repeats"] = self.repeats.rule
        depends["weights"] = self.model_settings.weights

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
                    collisions=self.config.semantic_ids.collisions,
                    repeats=self.repeats.rule,
                    encoder=None if self.embeddings is None else self.embeddings.encoder_folder,
                    text_fields=self.text_fields,
                    quantizer=quantizer if quantizer is not None and quantizer.is_dir() else None,
                    provenance=provenance(self.config.train.seed),
                ),
            )

        stage = self.stage("bundle", depends, work)
        with self.alone():
            sweep(self.out / "bundle")
            with atomic_folder(self.out / "bundle", is_bundle) as fresh:
                shutil.copytree(stage.folder / "bundle", fresh, dirs_exist_ok=True)
        return self.out / "bundle"


def _evaluation_in(figures: Path) -> str | None:
    """Key of the evaluation that figures are of; None where there are none, or none that can be read."""
    try:
        return str(read_json(figures)["provenance"]["stages"]["evaluate"])
    except (DataError, KeyError, TypeError):
        return None


def _selection_settings(settings: EvaluateSettings, select: str, rule: RepeatRule) -> EvaluateSettings:
    # Only what picks the state to keep is measured during training, and the depth of a recall stage beside it.
    cutoff = select.rpartition("@")[2]
    ks = {100, int(cutoff)} if cutoff.isdigit() else {100}
    changes = {
        "protocols": list({select.partition(".")[0]: None, "full": None}),
        "ks": sorted(ks),
        "exposure_ks": [],
        "repeats": rule,
    }
    return settings.model_copy(update=changes)


def sample_of(cases: Holdout, most: int | None) -> Holdout:
    """Cases drawn at random, `most` of them, the same ones whatever the seed of a training; None takes all."""
    if most is None or len(cases) <= most:
        return cases
    rows = np.sort(random_stream(EVALUATION_SEED, "validation").choice(len(cases), most, replace=False))
    return cases.select(rows)
