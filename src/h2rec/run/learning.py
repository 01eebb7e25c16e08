"""The training of a run, the weights of its branches, and how a model is measured."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from h2rec.data.popularity import popularity_groups
from h2rec.data.splits import Holdout
from h2rec.engines import LOCAL, Engine
from h2rec.evaluation.evaluate import EXPOSURE_KS, Evaluation, evaluate
from h2rec.evaluation.metrics import metric_value
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.settings import EvaluateSettings, RepeatRule
from h2rec.files import read_json, write_json
from h2rec.models.branches import BRANCHES
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.models.weights import load_weights, weights_of
from h2rec.run.blend import fit_weights, has_choice, searched
from h2rec.run.config import RunConfig
from h2rec.run.held_out import check_held_out, undrawable
from h2rec.run.stages import Stage
from h2rec.run.tokenization import Tokenization
from h2rec.runtime import random_stream
from h2rec.training.jobs import TrainingJob
from h2rec.training.trainer import OnEpoch, Trainer, Validator

logger = logging.getLogger(__name__)

EVALUATION_SEED = 0
"""Seed of the sampled negatives: the same for every model and every training seed, so that ranks pair up."""


class Learning(Tokenization):
    """One configuration, carried out up to the trained model with the weights of its branches.

    `config`, `out`, `stages`, `engine`: see `Preparation`. `on_epoch`: called with the record of every epoch that is
    trained; it may end the training by raising.
    """

    def __init__(
        self,
        config: RunConfig,
        out: Path,
        stages: Path | None = None,
        on_epoch: OnEpoch | None = None,
        *,
        engine: Engine = LOCAL,
    ) -> None:
        super().__init__(config, out, stages, engine=engine)
        self.on_epoch = on_epoch

    @cached_property
    def train_stage(self) -> Stage:
        """The selected weights and the record of the training."""
        # Refuse impossible settings before the slow stages.
        self._leave_out_protocols()
        check_held_out(
            self.split,
            self.repeats,
            protocols=self.config.evaluate.protocols,
            select=self.config.train.select,
            head=self.head,
            user_ids=self.dataset.user_ids,
        )
        self.tokenized()
        config = self.config  # what the data decide is settled
        trained = config.model.for_training()
        depends: dict[str, Any] = {
            "model": trained.model_dump(mode="json"),
            "loss": config.loss.model_dump(mode="json"),
            "train": config.train.model_dump(mode="json"),
        }
        # How the final evaluation is done does not change a training; what picks the epoch does.
        depends["selection"] = {"repeats": self.repeats.data_rule}
        depends["data"] = self.data_stage.key
        depends["split"] = config.data.model_dump(mode="json", include={"split", "test_share"})
        depends |= self._read_by(trained)
        depends["device"] = self.device.type
        key = self.store.key("train", depends)

        def work(folder: Path) -> None:
            trainer = self.trainer(self.out / "checkpoints" / key)
            result = trainer.fit()
            assert result.weights is not None
            save_file(result.weights, folder / "model.safetensors")
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

    @property
    def training_log(self) -> list[dict[str, Any]]:
        """One record an epoch."""
        log: list[dict[str, Any]] = read_json(self.train_stage.folder / "training.json")["log"]
        return log

    def _read_by(self, settings: ModelSettings) -> dict[str, str]:
        """Keys of the stages that a model reads of."""
        # Without texts a warm start is one from codes.
        codes = settings.reads_codes or (settings.reads_text and "text" not in self.stages)
        read = {"text": settings.reads_text, "semantic_ids": codes}
        return {name: self.stages[name].key for name in read if read[name] and name in self.stages}

    def _scored_by(self, settings: ModelSettings) -> dict[str, Any]:
        """What decides a model's scores: a training knows nothing of the branches that learn nothing."""
        values = settings.model_dump(mode="json")
        forms = {name: BRANCHES.get(kind).form for name, kind in settings.kinds.items()}
        changed = {name: form for name, form in forms.items() if form > 1}
        depends = {"train": self.train_stage.key, "model": values, "read": self._read_by(settings)}
        return depends | ({"forms": changed} if changed else {})

    @property
    def _sliced_by(self) -> dict[str, Any]:
        """What decides the slices of the figures."""
        data = self.config.data
        weight = {} if data.columns.weight is None else {"weight": data.columns.weight}
        return data.model_dump(mode="json", include={"head_share", "popularity_groups"}) | weight

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
        job = TrainingJob(
            config.model.for_training(),
            self.features,
            config.loss,
            config.train,
            self.device,
            self.head,
            checkpoint,
        )
        return job.start(lambda model: self._validator(model, self.repeats.data_rule), self.on_epoch)

    def _selecting_cases(self, rule: RepeatRule) -> Holdout:
        return sample_of(measured_cases(self.split.valid, rule), self.config.train.evaluate_users)

    def _validator(self, model: SequenceModel, rule: RepeatRule) -> Validator:
        select = self.config.train.select
        cases = self._selecting_cases(rule)
        settings = _selection_settings(self.config.evaluate, select, rule)

        def validate() -> dict[str, float]:
            metrics = self._evaluate(model, cases, settings, shown=False).metrics
            return {
                name: metric_value(metrics, name) for name in dict.fromkeys([select, "full.overall.hit@100"])
            }

        return validate

    def validation_value(self) -> float:
        """Carry the pipeline out up to the finished model and return its selection metric on validation."""
        if self.blend is not None:
            return float(self.blend["value"])
        value = read_json(self.train_stage.folder / "training.json")["best_value"]
        rule = self.repeats.rule
        # A model that is not trained was not validated on the way, and a training is by the data's own rule.
        if value is None or rule != self.repeats.data_rule:
            value = self._validator(self.model, rule)()[self.config.train.select]
        return float(value)

    @cached_property
    def blend(self) -> dict[str, Any] | None:
        """What each branch weighs, chosen on validation (see `fit_weights`); None where nothing is chosen."""
        _ = self.train_stage  # with it all is settled that the data decide
        config = self.config
        if not has_choice(config.model, config.blend):
            return None
        search = searched(self.dataset.item_count)
        depends = self._scored_by(config.model) | {
            "blend": config.blend.model_dump(mode="json") | search,
            "head": config.data.head_share,
            "repeats": self.repeats.rule,
        }

        def work(folder: Path) -> None:
            result = fit_weights(
                self._trained(config.model),
                config.model,
                sample_of(self._selecting_cases(self.repeats.rule), search["cases"]),
                select=config.train.select,
                head=self.head,
                repeats=self.repeats.rule,
                seed=EVALUATION_SEED,
            )
            write_json(folder / "blend.json", result)

        result: dict[str, Any] = read_json(self.stage("blend", depends, work).folder / "blend.json")
        return result

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
        return with_weights(model, self.train_stage, self.features).to(self.device).eval()

    def _evaluate(
        self,
        model: SequenceModel,
        cases: Holdout,
        settings: EvaluateSettings,
        *,
        shown: bool = True,
        progress: str | None = None,
    ) -> Evaluation:
        top_k = max(EXPOSURE_KS) if shown else 0
        return evaluate(
            rank(
                CatalogueScorer(model), cases, settings, seed=EVALUATION_SEED, top_k=top_k, progress=progress
            ),
            cases,
            settings=settings,
            head=self.head,
            popularity_group=popularity_groups(self.split.train_counts, self.config.data.popularity_groups),
            train_counts=self.split.train_counts,
            semantic_ids=self.semantic_ids,
            user_ids=self.dataset.user_ids,
            item_ids=self.dataset.items["item_id"],
            weight=self.config.data.columns.weight,
        )


def with_weights(model: SequenceModel, stage: Stage, features: ItemFeatures) -> SequenceModel:
    """Load the weights of a training into a new model; what is not trained, such as counts, stays as it was built."""
    load_weights(model, weights_of(model) | load_file(stage.folder / "model.safetensors"))
    model.eval().after_training(features)
    return model


def _selection_settings(settings: EvaluateSettings, select: str, rule: RepeatRule) -> EvaluateSettings:
    # Only what picks the state to keep is measured during training, and the depth of a recall stage beside it.
    cutoff = select.rpartition("@")[2]
    ks = {100, int(cutoff)} if cutoff.isdigit() else {100}
    changes = {
        "protocols": list({select.partition(".")[0]: None, "full": None}),
        "ks": sorted(ks),
        "repeats": rule,
    }
    return settings.model_copy(update=changes)


def sample_of(cases: Holdout, most: int | None) -> Holdout:
    """Cases drawn at random, `most` of them, the same ones whatever the seed of a training; None takes all."""
    if most is None or len(cases) <= most:
        return cases
    rows = np.sort(random_stream(EVALUATION_SEED, "validation").choice(len(cases), most, replace=False))
    return cases.select(rows)
