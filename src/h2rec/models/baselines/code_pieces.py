"""SPM-SID: sub-pieces of the code sequences, learned by SentencePiece; an item is the sum of its pieces' vectors.

Singh et al., "Better Generalization with Semantic IDs", RecSys 2024 (arXiv 2306.08121), section on SentencePiece:
an item's codes are a word, and the pieces that the items' words are made of follow the training distribution, so
that popular tuples become pieces of their own and rare items are put together from shorter, shared ones.
"""

import io
from typing import Self

import numpy as np

from h2rec.data.histories import IntArray
from h2rec.errors import ConfigError, needs_extra
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.tables import TableBranch
from h2rec.models.features import ItemFeatures
from h2rec.models.row_sum import RowArray, RowSum
from h2rec.models.settings import BranchModelSettings
from h2rec.semantic_ids.codes import SemanticIds

FIRST_LETTER = 0xF0000
"""Start of a private plane of 65,534 characters: one letter for every code of every level."""

MOST_WORDS = 2_000_000
"""About how many words pieces are learned from; more cost time and change the shares little."""


class CodePiecesBranch(TableBranch):
    """A backbone over sums of learned pieces of code sequences."""

    reads_codes = True
    refuses_new_items = "pieces of codes were learned on the catalogue that the model was trained on"

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        # Stored weights already contain the pieces.
        ids = features.require_codes("a branch of code pieces")
        if "table.rows" in features.stored:
            rows = features.stored["table.rows"][1:-1].numpy()
            count = len(features.stored["table.vectors.weight"]) - 2
        else:
            rows, pieces = learned_pieces(ids, features.train_counts)
            count = len(pieces)
        return cls(settings, model, RowSum(rows, count, model.dim, stored=True))


def learned_pieces(
    semantic_ids: SemanticIds, train_counts: IntArray | None, most: int | None = None
) -> tuple[RowArray, list[str]]:
    """Learn pieces and cut every item's codes into them.

    `train_counts`: training interactions of each item, `[N + 1]`, padding first: a sequence counts as often as its
    item is met. None counts every item once.
    `most`: pieces to learn, at most, more than there are codes; None for half the number of items (as many as items
    would be hash IDs).

    Returns
    -------
    rows, pieces
        Pieces of each item as rows counted from 1, `[N, P]`, 0 where an item has fewer; and the letters of each
        row's piece, ``pieces[row - 1]``.

    Raises `MissingExtraError` if the sentencepiece library is not installed; `ConfigError` if the codes are more than
    there are letters.
    """
    with needs_extra("a branch of code pieces", "spm"):
        import sentencepiece
    words = code_words(semantic_ids)
    letters = sorted(set("".join(words)))
    vocabulary = most or max(2 * len(letters), len(words) // 2)
    counts: IntArray = np.ones(len(words), dtype=np.int64)
    if train_counts is not None:
        # An item that never occurs in training still has to be cut into pieces.
        counts = np.maximum(train_counts[1:], 1)
    counts = scaled_to(counts, MOST_WORDS)
    corpus = (word for word, count in zip(words, counts.tolist(), strict=True) for _ in range(count))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus,
        model_writer=model,
        # The unigram trainer of 0.2.3 ignores frequencies and finds few pieces beyond ASCII.
        model_type="bpe",
        vocab_size=vocabulary + 1,  # one for the unknown piece, which never occurs
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        split_by_unicode_script=False,
        split_by_whitespace=False,
        split_by_number=False,
        max_sentencepiece_length=max(2, semantic_ids.levels),
        input_sentence_size=0,
        shuffle_input_sentence=False,
        num_threads=1,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    encoded: list[list[int]] = processor.encode(words)
    rows = np.zeros((len(words), max(map(len, encoded))), dtype=np.int64)
    for item, pieces in enumerate(encoded):
        rows[item, : len(pieces)] = pieces  # piece 0 is the unknown one: rows count from 1
    return rows, [processor.id_to_piece(piece) for piece in range(1, processor.get_piece_size())]


def scaled_to(counts: IntArray, most: int) -> IntArray:
    """Counts in the same proportions that add up to about `most`, where they add up to more; none falls below one."""
    total = int(counts.sum())
    return counts if total <= most else np.maximum(counts * most // total, 1)


def code_words(semantic_ids: SemanticIds) -> list[str]:
    """Spell every item's codes as a word of `L` letters; a letter stands for one code of one level.

    Raises `ConfigError` if there are more codes than letters.
    """
    total = sum(semantic_ids.codebook_sizes)
    if total > 65_534:
        raise ConfigError(f"pieces of codes are spelled with at most 65534 codes, the codebooks have {total}")
    starts = np.cumsum([0, *semantic_ids.codebook_sizes[:-1]])
    letters = (semantic_ids.codes + starts + FIRST_LETTER).tolist()
    return ["".join(map(chr, row)) for row in letters]
