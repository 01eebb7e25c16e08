"""The semantic IDs of a run: codes, their audit, and what a model may know of the items."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from h2rec.batching.pair_counts import PairCounts
from h2rec.data.histories import Histories
from h2rec.engines import LOCAL
from h2rec.errors import ConfigError, SemanticIdError
from h2rec.files import read_json
from h2rec.models.features import ItemFeatures
from h2rec.run.preparation import Embeddings, Preparation, hash_of, refuse_replaced
from h2rec.run.run_folder import publish
from h2rec.run.semantic_id_files import read_tokenized, write_audit, write_tokenized
from h2rec.run.stages import Stage
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import distinct_embeddings
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.semantic_ids.tokenize import tokenize
from h2rec.text.fields import item_texts

logger = logging.getLogger(__name__)

TOKENIZER_SEED = 0
"""Seed of the tokenizer: training seeds vary on the same codes."""

HARDLY_USED = 0.1
"""Share of a level's codes in use below which a codebook counts as collapsed."""

_LEFT_OUT = "figures by shared codes are left out, and the bundle takes no new items"


class Tokenization(Preparation):
    """One configuration, carried out up to what a model starts from; see `Preparation`."""

    @cached_property
    def semantic_id_stage(self) -> Stage | None:
        """Codes, the fitted quantizer and the audit; None without text and without a code file."""
        settings = self.config.semantic_ids
        embeddings = self.embeddings
        if embeddings is None:
            self._go_without_texts(codes=settings.file is None)
            if settings.file is None:
                return None
        depends: dict[str, Any] = {
            "data": self.data_stage.key,
            "semantic_ids": settings.model_dump(mode="json"),
        }
        if settings.file is not None:
            depends["file"] = hash_of(settings.file, "semantic_ids.quantizer")
        elif embeddings is not None:
            settings = self._fitting_codebooks(embeddings)
            depends["semantic_ids"] = settings.model_dump(mode="json")
        if embeddings is not None:
            depends["text"] = self.stages["text"].key

        vectors = None if embeddings is None else embeddings.vectors
        item_ids = self.dataset.items["item_id"].to_list()
        key = self.store.key("semantic_ids", depends)
        checkpoint = self.out / "checkpoints" / f"semantic_ids-{key}.safetensors"

        def work(folder: Path) -> None:
            tokenized = tokenize(
                vectors,
                item_ids,
                settings,
                seed=TOKENIZER_SEED,
                checkpoint=checkpoint,
                engine=self.engine,
                stored=None if embeddings is None else embeddings.file,
            )
            if settings.file is not None:
                refuse_replaced(settings.file, depends["file"], "semantic_ids.quantizer")
            write_tokenized(folder, tokenized, item_ids)

        try:
            stage = self.stage("semantic_ids", depends, work)
        except SemanticIdError as error:
            # There are texts: what can't be made of them is a mistake in the settings.
            if settings.file is not None or self.config.model.reads_codes:
                raise
            logger.warning("no semantic IDs: %s; %s", error.message, _LEFT_OUT)
            return None
        checkpoint.unlink(missing_ok=True)
        return stage

    def _go_without_texts(self, *, codes: bool) -> None:
        """Leave out what only adds to the model by texts, or by their codes; refuse a model that learns of codes.

        `codes`: whether there are no codes either.
        """
        model = self.config.model.without(codes=codes, text=True)
        if model is None:
            raise ConfigError(
                "the items have no text to make semantic IDs from",
                "give data.items a file with text columns, or semantic_ids.quantizer a file of codes",
            )
        if codes:
            logger.warning("no semantic IDs: the items have no text; %s", _LEFT_OUT)
        if left_out := [name for name in self.config.model.weights if name not in model.weights]:
            logger.warning("left out of the model, as the items have no text: %s", ", ".join(left_out))
            self.settle(model=model)

    def _fitting_codebooks(self, embeddings: Embeddings) -> SemanticIdSettings:
        """Settings whose codebooks the catalogue can fill: smaller ones than by default, never than asked for."""
        settings = self.config.semantic_ids
        if "codebook_size" in settings.model_fields_set:
            return settings
        distinct = distinct_embeddings(embeddings.vectors, settings.codebook_size)
        if distinct >= settings.codebook_size:
            return settings
        # A power of two, which every quantizer takes, and two items a code or more.
        size = max(2, 1 << (max(2, distinct // 2).bit_length() - 1))
        # A model that reads no codes has them for new items and for groups of figures alone.
        logger.log(
            logging.WARNING if self.config.model.reads_codes else logging.INFO,
            "the items have %d different texts, too few for codebooks of %d: they get %d codes (set "
            "semantic_ids.codebook_size for another number)",
            distinct,
            settings.codebook_size,
            size,
        )
        self.settle(semantic_ids=settings.model_copy(update={"codebook_size": size}))
        return self.config.semantic_ids

    @cached_property
    def audit_stage(self) -> Stage:
        """The audit of the semantic IDs, as figures and as a page."""
        stage = self.semantic_id_stage
        assert stage is not None
        fields = self.text_fields
        embeddings = self.embeddings

        def work(folder: Path) -> None:
            vectors = None if embeddings is None else embeddings.vectors
            write_audit(
                folder, stage.folder, self.dataset.items, item_texts(self.dataset.items, fields), vectors
            )

        return self.stage("audit", {"semantic_ids": stage.key, "fields": fields}, work)

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
        audited = self.audit_stage.folder
        with self.alone():
            publish(stage.folder / "semantic_ids.json", self.out / "semantic_ids.json")
            for name in ("audit.json", "audit.html"):
                publish(audited / name, self.out / name)
        for level in read_json(audited / "audit.json")["levels"]:
            if level["used"] < HARDLY_USED * level["codebook_size"]:
                logger.warning(
                    "level %d uses %d of its %d codes, so that items of nothing in common share them: lower "
                    "semantic_ids.codebook_size, or try the quantizer rqkmeans",
                    level["level"],
                    level["used"],
                    level["codebook_size"],
                )
        return self.out / "semantic_ids.json"

    @cached_property
    def features(self) -> ItemFeatures:
        """What the measured model may know of the items beforehand: nothing of held-out cases."""
        return self.features_from(self.split.train)

    def features_from(self, histories: Histories) -> ItemFeatures:
        """What a model may know of the items, given the histories that it is trained on, `[U]` rows."""
        text = None if self.embeddings is None else self.embeddings.vectors
        return ItemFeatures(
            self.dataset.item_count,
            self.semantic_ids,
            text,
            leading=None if self.embeddings is None else self.embeddings.leading,
            has_text=None if self.embeddings is None else self.embeddings.has_text,
            train_counts=histories.counts(self.dataset.item_count),
            train=histories,
            pairs=None if self.engine is LOCAL else PairCounts.of(histories, self.engine),
            coded_by_text=self.embeddings is not None and self.config.semantic_ids.file is None,
        )
