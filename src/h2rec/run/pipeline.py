"""The pipeline: data, text, semantic IDs, training, evaluation, bundle.

Each is a stage that is reused when nothing it depends on changed.
"""

import logging
import shutil
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch

from h2rec.batching.pair_counts import PairCounts
from h2rec.errors import BundleError, DataError
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.files import atomic_folder, read_json, sweep, write_json
from h2rec.frames import write_parquet
from h2rec.models.neighbours import text_directions
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.bundle import BundleParts, write_bundle
from h2rec.retrieval.log import TrainingLog, reference_items
from h2rec.retrieval.manifest import FORMAT_VERSION, LOG, Lineage, is_bundle, read_manifest
from h2rec.run.baselines import Baselines
from h2rec.run.examples import examples
from h2rec.run.learning import EVALUATION_SEED
from h2rec.run.new_events import Learned
from h2rec.run.provenance import provenance
from h2rec.run.refit import Refit
from h2rec.run.report import write_report
from h2rec.run.run_folder import publish
from h2rec.run.stages import Stage

logger = logging.getLogger(__name__)


class Pipeline(Refit, Baselines):
    """One configuration, carried out as far as asked; see `Learning`."""

    @property
    def evaluate_settings(self) -> EvaluateSettings:
        """How the final evaluation is done, with the rule for repeats that holds here."""
        return self.config.evaluate.model_copy(update={"repeats": self.repeats.rule})

    @cached_property
    def evaluation_stage(self) -> Stage:
        """Ranks and metrics of validation and test."""
        depends = self._scored_by(self.model_settings) | {
            "evaluate": self.evaluate_settings.model_dump(mode="json"),
            "groups": self._sliced_by,
            # Any model's cases are grouped by how many items share the target's codes.
            "semantic_ids": self._key_of_codes,
            "columns": "with item ids",  # of the ranks: those of an earlier version are not reused
        }

        model = self.model  # what it counts and compares is made before the time of ranking is taken

        def work(folder: Path) -> None:
            metrics, ranks = {}, []
            for name, cases in (("test", self.split.test), ("valid", self.split.valid)):
                evaluation = self._evaluate(model, cases, self.evaluate_settings, progress=f"ranking {name}")
                metrics[name] = evaluation.metrics
                ranks.append(evaluation.ranks.with_columns(pl.lit(name).alias("split")))
            write_parquet(pl.concat(ranks), folder / "ranks.parquet")
            write_json(folder / "metrics.json", metrics)

        return self.stage("evaluate", depends, work)

    def evaluated(self, *, baselines: bool = False) -> dict[str, Any]:
        """Carry the pipeline out up to the metrics, publish them, and return the content of `metrics.json`.

        `baselines`: whether to measure popularity and item-to-item counts as well; see `Baselines.beside`.
        """
        stage = self.evaluation_stage
        beside = self.beside(self.evaluate_settings, stage) if baselines else {}
        training = read_json(self.train_stage.folder / "training.json")
        training.pop("log")
        metrics: dict[str, Any] = read_json(stage.folder / "metrics.json")
        if beside:
            metrics["baselines"] = beside
        metrics["timing"] = {stage.name: stage.seconds for stage in self.stages.values()}
        metrics["timing"]["seconds_per_epoch"] = training["seconds"] / max(1, training["epochs"])
        metrics["training"] = {name: value for name, value in training.items() if name != "seconds"}
        metrics["cost"] = self._cost()
        if self.blend is not None:
            metrics["blend"] = self.blend
        metrics["data"] = self.dataset.report
        metrics["repeats"] = self.repeats.as_json()
        metrics["provenance"] = provenance(self.config.train.seed) | {
            "settings": self.asked.key,
            "stages": {stage.name: stage.key for stage in self.stages.values()},
            "made": {stage.name: dict(stage.origin) for stage in self.stages.values()},
        }
        log = self.training_log
        audited = None if self.semantic_ids is None else read_json(self.audit_stage.folder / "audit.json")
        shown = list(
            examples(
                CatalogueScorer(self.model),
                self.dataset,
                self.split.test,
                head=self.head,
                settings=self.evaluate_settings,
                seed=EVALUATION_SEED,
            )
        )
        figures = self.out / "metrics.json"
        with self.alone():
            if _evaluation_in(figures) != stage.key:
                figures.unlink(missing_ok=True)  # ranks.parquet always matches metrics.json
            publish(stage.folder / "ranks.parquet", self.out / "ranks.parquet")
            write_json(self.out / "head.json", self.head.tolist())
            write_json(figures, metrics)
            write_report(self.out / "report.html", self.config, metrics, log, audited, examples=shown)
        return metrics

    def _cost(self) -> dict[str, float]:
        """What the model costs: CPU time of its training and of ranking all items for a user, and floats an item."""
        cases = len(self.split.test) + len(self.split.valid)
        with torch.inference_mode():
            vectors = self.model.item_vectors(torch.ones(1, dtype=torch.int64, device=self.device))
        return {
            "training_cpu_seconds": float(self.train_stage.origin["cpu_seconds"]),
            "cpu_milliseconds_per_user": 1000 * float(self.evaluation_stage.origin["cpu_seconds"]) / cases,
            "floats_per_item": float(sum(vector.shape[1] for vector in vectors)),
        }

    @property
    def _key_of_codes(self) -> str | None:
        stage = self.semantic_id_stage
        return None if stage is None else stage.key

    def bundled(self) -> Path:
        """Carry the whole pipeline out and return the folder of the bundle."""
        depends = self._scored_by(self.model_settings) | {"head": self.config.data.head_share}
        depends["served"] = self.served_stage.key
        depends |= {"semantic_ids": self._key_of_codes, "repeats": self.repeats.rule}
        known = self.embeddings
        # By which new items are placed, whether the model reads them or not.
        depends["text"] = None if known is None else self.stages["text"].key
        depends["format"] = FORMAT_VERSION

        def work(folder: Path) -> None:
            semantic_stage = self.semantic_id_stage
            quantizer = None if semantic_stage is None else semantic_stage.folder / "quantizer"
            events = self.served_log
            (folder / LOG).mkdir()
            model = self.served_model.cpu()
            vectors = CatalogueScorer(model).item_matrix.numpy()
            TrainingLog(
                events,
                PairCounts.of(events.histories, self.engine),
                self._learning(),
                vectors[reference_items(self.dataset.item_count)],
            ).save(folder / LOG)
            origin = provenance(self.config.train.seed)
            write_bundle(
                folder / "bundle",
                BundleParts(
                    model=model,
                    settings=self.model_settings,
                    items=self.dataset.items,
                    train_counts=self.served_counts,
                    head=self.served_head,
                    refit=self.config.bundle.refit,
                    semantic_ids=self.semantic_ids,
                    collisions=self.config.semantic_ids.collisions,
                    repeats=self.repeats.rule,
                    whole_number_ids=self.dataset.has_whole_number_ids,
                    encoder=None if known is None else known.encoder_folder,
                    text=None if known is None else text_directions(known.vectors, known.has_text),
                    text_fields=self.text_fields,
                    columns=self.config.data.columns,
                    quantizer=quantizer if quantizer is not None and quantizer.is_dir() else None,
                    log=folder / LOG,
                    lineage=Lineage(
                        trained=origin["date"],
                        events=len(events.times),
                        until=events.until,
                        items=self.dataset.item_count,
                    ),
                    provenance=origin,
                ),
            )
            shutil.rmtree(folder / LOG)

        stage = self.stage("bundle", depends, work)
        with self.alone():
            if _updates_since(self.out / "bundle", stage.folder / "bundle"):
                logger.warning(
                    "%s has taken in interactions since this training, and stays; delete it to have the former one",
                    self.out / "bundle",
                )
                return self.out / "bundle"
            sweep(self.out / "bundle")
            with atomic_folder(self.out / "bundle", is_bundle) as fresh:
                shutil.copytree(stage.folder / "bundle", fresh, dirs_exist_ok=True)
        return self.out / "bundle"

    def _learning(self) -> dict[str, Any]:
        config = self.config
        settings = Learned(
            loss=config.loss,
            train=config.train,
            epochs=int(read_json(self.served_stage.folder / "training.json")["epochs"]),
            head_share=config.data.head_share,
            time_order=str(self.dataset.report["time_order"]),
            columns=config.data.columns,
            separator=config.data.separator,
            time_format=config.data.time_format,
            min_rating=config.data.min_rating,
        )
        return settings.model_dump(mode="json")


def _updates_since(there: Path, trained: Path) -> int:
    """How many updates a bundle took in since the training that another one is of; 0 if it is no such bundle."""
    with suppress(BundleError):
        lineage, ours = read_manifest(there).lineage, read_manifest(trained).lineage
        if lineage is not None and ours is not None and lineage.trained == ours.trained:
            return len(lineage.updates)
    return 0


def _evaluation_in(figures: Path) -> str | None:
    """Key of the evaluation that made `metrics.json`; None if the file is missing or can't be read."""
    try:
        return str(read_json(figures)["provenance"]["stages"]["evaluate"])
    except (DataError, KeyError, TypeError):
        return None
