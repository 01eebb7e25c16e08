"""What branches and ties compute, by hand."""

import numpy as np
import pytest
import torch
from model_forms import BACKBONES, THREE, TWO, branches
from torch import nn

from h2rec.data.histories import Histories
from h2rec.models.backbones.dropout import Dropout
from h2rec.models.branches import codes as codes_branch
from h2rec.models.branches.codes import reasons_by_codes
from h2rec.models.branches.protocol import Sequences
from h2rec.models.build import _Unfilled
from h2rec.models.protocol import branch_scores
from h2rec.models.reasons import Reason
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.weights import weights_of

HISTORIES = Histories.from_lists([[3, 7, 9], [11], [2, 5, 30, 31, 8]])
ROWS = torch.arange(3).numpy()


def encode(model, items, reads=None):
    items = torch.as_tensor(items)
    lengths = (items > 0).sum(1)
    with torch.no_grad():
        return model(items, lengths, items > 0 if reads is None else torch.as_tensor(reads))


def parts(model):
    return model.branches


# -- scores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("temperature", [0.08, None])
@pytest.mark.parametrize("fusion", ["adaptive", "mean_history", "equal"])
def test_the_score_is_the_product_with_the_static_item_vector_of_the_spec(
    make_model, backbone, temperature, fusion
):
    """``y = <u^S, sum_l alpha_l e^l> + <u^H, h>``, each branch a cosine over a temperature if asked."""
    named = {"codes": {"kind": "codes", "weight": 0.3}, "ids": {"kind": "ids"}}
    model = make_model(branches=named, backbone=backbone, temperature=temperature, ties={"fusion": fusion})
    states = encode(model, [[3, 7, 9]], [[False, False, True]])
    tau = temperature or 1.0

    def unit(x):
        return x / x.norm() if temperature else x

    table, ids = parts(model)["codes"].table, parts(model)["ids"].table
    with torch.no_grad():
        sid, hid = branch_scores(states.vectors, model.item_vectors(torch.arange(1, 41)))
        levels = table.by_level(table.vectors)
        alpha = states.alpha[0, 2]
        assert alpha.sum().item() == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close(alpha, states.read_alpha[0])
        for item in (1, 17, 40):
            codes = table.item_rows[item] - table.starts
            fused = sum(a * unit(level[code]) for a, level, code in zip(alpha, levels, codes, strict=True))
            expected = 0.3 * float(unit(states.encoded["codes"][0]) @ fused) / tau
            assert sid[0, item - 1].item() == pytest.approx(expected, abs=1e-4)
            expected = float(unit(states.encoded["ids"][0]) @ unit(ids.vectors.weight[item])) / tau
            assert hid[0, item - 1].item() == pytest.approx(expected, abs=1e-4)


def test_an_item_is_the_sum_of_the_prefixes_of_its_codes_and_its_own_leaf(make_model, features):
    named = THREE["branches"] | {"prefixes": {"kind": "prefixes", "weight": 0.5}}
    model = make_model(branches=named, temperature=0.08)
    states = encode(model, [[3, 7, 9]], [[False, False, True]])
    table = parts(model)["prefixes"].table
    of_prefix = {}
    for item, codes in enumerate(features.semantic_ids.codes.tolist(), start=1):
        for length, row in zip((1, 2), table.nodes.rows[item].tolist(), strict=True):
            # A prefix has one row and a row is of one prefix, whichever item asks.
            assert of_prefix.setdefault(row, tuple(codes[:length])) == tuple(codes[:length])
    assert len(set(of_prefix.values())) == len(of_prefix) == len(table.nodes.vectors.weight) - 2
    seen = (features.train_counts > 0).tolist()
    assert len(set(seen[1:])) == 2
    with torch.no_grad():
        scores = branch_scores(states.vectors, model.item_vectors(torch.arange(1, 41)))[1]
        user = states.encoded["prefixes"][0]
        for item in (1, 17, 40, seen.index(True), seen.index(False, 1)):
            # An item that training never saw has no leaf of its own.
            whole = table.nodes.vectors.weight[table.nodes.rows[item]].sum(0)
            whole = whole + table.leaves.weight[item] * float(seen[item])
            expected = 0.5 / 0.08 * (user / user.norm()) @ (whole / whole.norm())
            assert scores[0, item - 1].item() == pytest.approx(float(expected), abs=1e-4)


def test_items_of_the_same_codes_tie_where_codes_are_all_that_tells_them_apart(make_model):
    model = make_model(**branches("codes"))
    rows = parts(model)["codes"].table.item_rows
    rows[5] = rows[17]
    scores = CatalogueScorer(model).score(HISTORIES, ROWS)
    assert torch.equal(scores[:, 5], scores[:, 17])


@pytest.mark.parametrize("form", [TWO, THREE, branches("codes"), branches("ids_and_codes")])
def test_a_scorer_keeps_the_items_as_they_were_when_it_was_made(make_model, form):
    model = make_model(**form)
    scorer = CatalogueScorer(model)
    before = scorer.item_matrix
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3)
    assert torch.equal(scorer.item_matrix, before)


# -- weights and settings of a branch ----------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["codes", "ids", "prefixes"])
def test_a_branch_alone_weighs_one_whatever_it_would_weigh_beside_another(make_model, backbone, kind):
    def users(weight, *beside):
        own = {"kind": kind, "weight": weight}
        model = make_model(backbone=backbone, **branches(*beside, own=own))
        return model.branch_weights[-1], encode(model, [[3, 7, 9]]).vectors[-1]

    one, other = users(0.3), users(1.0)
    assert one[0] == other[0] == 1.0
    torch.testing.assert_close(one[1], other[1])
    # Popularity is no branch that another is weighed against in training.
    torch.testing.assert_close(users(0.3, "popularity")[1], users(1.0)[1])
    (weight, one), (_, other) = users(0.3, "code_sum"), users(1.0, "code_sum")
    assert weight == 0.3
    torch.testing.assert_close(one, 0.3 * other)


def test_branches_have_their_own_layers_and_the_models_dropout(make_model):
    deep, plain = {"kind": "codes", "layers": 3}, {"kind": "codes"}
    model, without = (
        make_model(dropout=0.2, **branches(codes=codes, ids={"kind": "ids"})) for codes in (deep, plain)
    )

    def shares(branch):
        return {part.p for part in branch.encoder.modules() if isinstance(part, Dropout)}

    assert {name: shares(branch) for name, branch in parts(model).items()} == {"codes": {0.2}, "ids": {0.2}}
    depths = [len(parts(m)[name].encoder.blocks) for m in (model, without) for name in ("codes", "ids")]
    assert depths == [3, 2, 2, 2]


def test_the_temperature_divides_the_score_of_every_branch(make_model):
    sharp, even = (make_model(temperature=temperature, **TWO) for temperature in (0.04, 0.08))
    for own, other in zip(*(encode(model, [[3, 7]]).vectors for model in (sharp, even)), strict=True):
        torch.testing.assert_close(own, 2 * other)


def test_branches_of_one_kind_differ_by_their_draws_and_add_up_by_their_weights(build):
    form = branches(
        first={"kind": "ids", "weight": 0.5}, second={"kind": "ids", "weight": 2.0}, third={"kind": "ids"}
    )
    model = build(**form).eval()
    tables = [parts(model)[name].table.vectors.weight[1:-1] for name in form["branches"]]
    assert torch.equal(tables[0], tables[1])  # both are the text's
    first, second, third = CatalogueScorer(model).branch_scores(HISTORIES, ROWS)
    assert not torch.allclose(first / 0.5, second / 2)
    scores = CatalogueScorer(model).score(HISTORIES, ROWS)
    torch.testing.assert_close(scores, first + second + third, rtol=1e-5, atol=1e-5)
    even = build(**branches(**{name: {"kind": "ids"} for name in form["branches"]})).eval()
    expected = CatalogueScorer(even).branch_scores(HISTORIES, ROWS)
    for found, plain, weight in zip((first, second, third), expected, (0.5, 2.0, 1.0), strict=True):
        torch.testing.assert_close(found, weight * plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_hash_ids_start_the_same_whichever_branches_stand_beside_them(build, backbone):
    alone = weights_of(build(backbone=backbone, **branches("ids")))
    for form in (TWO, THREE, branches("popularity", "prefixes", "ids")):
        beside = weights_of(build(backbone=backbone, **form))
        assert all(torch.equal(beside[name], weight) for name, weight in alone.items())


# -- fusion ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "times"), [(TWO, 2), (THREE, 2), (branches("codes", "ids_and_codes"), 1)])
def test_alpha_is_computed_once_and_all_branches_use_that_tensor(make_model, monkeypatch, form, times):
    model = make_model(**form)
    computed, used = [], []
    fusion, weighted_sum = parts(model)["codes"].fusion, codes_branch.weighted_sum
    alpha = fusion.alpha
    monkeypatch.setattr(fusion, "alpha", lambda *a: computed.append(alpha(*a)) or computed[-1])
    monkeypatch.setattr(
        codes_branch, "weighted_sum", lambda rows, w, m: used.append(w) or weighted_sum(rows, w, m)
    )
    if "ids" in form["branches"]:
        attention = parts(model)["ids"].cross_attention.attention
        attend = attention.forward
        monkeypatch.setattr(attention, "forward", lambda h, r, a, t: used.append(a) or attend(h, r, a, t))
    states = encode(model, [[3, 7, 9]])
    assert len(computed) == 1
    assert len(used) == times
    assert all(tensor is computed[0] for tensor in [*used, states.alpha])


def test_fusion_is_an_mlp_of_the_concatenated_codes(make_model):
    branch = parts(make_model())["codes"]
    fusion, table = branch.fusion, branch.table
    with torch.no_grad():
        rows = table.rows(torch.tensor([5]))
        concatenated = table.vectors[rows[0]].flatten()
        weight = fusion.level_weights.flatten(0, 1)  # [L d, d]
        slow = fusion.out(torch.relu(concatenated @ weight + fusion.bias)).softmax(-1)
        fast = fusion(fusion.features(table, rows))[0]
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


def test_last_intent_is_the_last_items_alpha_everywhere(make_model):
    last, causal = (make_model(ties={"intent": intent}) for intent in ("last", "causal"))
    assert (last.objective, causal.objective) == ("last", "next")
    alpha = encode(last, [[3, 7, 9, 0]]).alpha
    expected = encode(causal, [[3, 7, 9, 0]]).alpha[0, 2]
    for step in range(3):
        torch.testing.assert_close(alpha[0, step], expected)


def test_mean_history_intent_is_the_mlp_of_the_mean(make_model):
    model = make_model(ties={"fusion": "mean_history"})
    branch = parts(model)["codes"]
    alpha = encode(model, [[3, 7]]).alpha[0, 1]
    with torch.no_grad():
        mean = branch.table.vectors[branch.table.rows(torch.tensor([3, 7]))].mean(0)  # [L, d]
        hidden = torch.relu(torch.einsum("ld,ldh->h", mean, branch.fusion.level_weights) + branch.fusion.bias)
        torch.testing.assert_close(alpha, branch.fusion.out(hidden).softmax(-1), rtol=1e-5, atol=1e-5)


def test_a_masked_position_asks_by_the_last_item_that_is_seen_before_it(make_model):
    model = make_model(backbone="bert4rec")
    plain = encode(model, [[3, 7, 9, 4]]).alpha[0]
    masked = encode(model, [[3, model.mask_item, model.mask_item, 4]]).alpha[0]
    torch.testing.assert_close(masked, plain[[0, 0, 0, 3]])
    first = encode(model, [[model.mask_item, 7]]).alpha[0]
    assert not torch.allclose(first[0], first[1])


@pytest.mark.parametrize("form", [branches("ids"), THREE, {"name": "llm_esr"}], ids=str)
def test_a_masked_position_is_read_from_both_sides(make_model, form):
    model = make_model(backbone="bert4rec", **form)
    masked = model.mask_item
    plain, *changed = (
        torch.cat(encode(model, row, torch.as_tensor(row) == masked).vectors, dim=1)
        for row in ([[3, 7, masked, 11, 2]], [[3, 8, masked, 11, 2]], [[3, 7, masked, 11, 5]])
    )
    for other in changed:
        assert not torch.allclose(plain, other)


# -- cross-attention ---------------------------------------------------------------------------------


def test_cross_attention_is_textbook_attention_over_the_levels(make_model):
    model = make_model()
    table, ids = parts(model)["codes"].table, parts(model)["ids"]
    attention = ids.cross_attention.attention
    items = torch.tensor([[3, 7, 9]])
    with torch.no_grad():
        rows, hid, alpha = table.rows(items), ids.table(items), encode(model, items).alpha
        fast = attention(hid, rows, alpha, table)
        for step in range(3):
            memory = alpha[0, step][:, None] * table.vectors[rows[0, step]]  # [L, d]
            weights = (attention.key(memory) @ attention.query(hid[0, step]) * 8**-0.5).softmax(0)
            slow = attention.out(weights @ attention.value(memory))
            torch.testing.assert_close(fast[0, step], slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["none", "plain", "residual"])
def test_a_hash_id_stays_beside_what_it_reads_or_is_replaced_by_it_or_reads_nothing(
    make_model, monkeypatch, how
):
    model = make_model(ties={"cross_attention": how})
    ids = parts(model)["ids"]
    items, entries = torch.tensor([[3, 7, 9]]), []
    encoder = ids.encoder.forward
    monkeypatch.setattr(ids.encoder, "forward", lambda x, n: entries.append(x) or encoder(x, n))
    states = encode(model, items)
    with torch.no_grad():
        hid = ids.table(items)
        if how == "none":
            assert ids.cross_attention is None
            assert states.norms is None
            assert torch.equal(entries[0], hid)
            return
        rows = parts(model)["codes"].table.rows(items)
        read = ids.cross_attention.attention(hid, rows, states.alpha, parts(model)["codes"].table)
    torch.testing.assert_close(entries[0], hid + read if how == "residual" else read)
    expected = hid.norm(dim=-1).mean(), read.norm(dim=-1).mean()
    torch.testing.assert_close(states.norms, expected)


def test_zero_values_give_exactly_the_hid_only_input(make_model):
    model = make_model()
    ids = parts(model)["ids"]
    with torch.no_grad():
        ids.cross_attention.attention.value.weight.zero_()
        tied = encode(model, [[3, 7, 9]]).vectors[1]
        ids.cross_attention = None
        assert torch.equal(encode(model, [[3, 7, 9]]).vectors[1], tied)


# -- masking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2])
def test_masking_hides_one_granularity_at_all_positions(make_model, level):
    """Items that differ in the masked level alone look the same in the masked view."""
    model = make_model()
    branch = parts(model)["codes"]
    rows, start = branch.table.item_rows, branch.table.starts[level]
    rows[4] = rows[3]
    rows[4, level] = (rows[3, level] - start + 1) % 6 + start
    states = encode(model, [[3, 7, 9]])
    one, other = (
        branch.masked(
            Sequences(torch.tensor([[first, 7, 9]]), torch.tensor([3]), torch.tensor([2])),
            states.alpha,
            torch.tensor([level]),
        )
        for first in (3, 4)
    )
    assert torch.equal(one, other)
    assert not torch.allclose(one, states.encoded["codes"][2:])


# -- reasons -----------------------------------------------------------------------------------------


def test_reasons_are_the_items_that_share_most_leading_codes_latest_first():
    codes = np.random.default_rng(0).integers(0, 3, (40, 3)).astype(np.int32)
    random = np.random.default_rng(1)
    for length in (1, 2, 5, 30):
        history, items = random.integers(1, 41, length).tolist(), random.integers(1, 41, 10).tolist()
        for item, reasons in zip(items, reasons_by_codes(codes, items, history), strict=True):
            # What was interacted with twice is one reason, as late as its last time; the item itself is one, too.
            latest = list(dict.fromkeys(reversed(history)))
            same = codes[np.array(latest) - 1] == codes[item - 1]
            shared = np.cumprod(same, axis=1).sum(axis=1).tolist()
            order = sorted(range(len(latest)), key=lambda place: (-shared[place], place))
            expected = [Reason(latest[place], "codes", shared[place]) for place in order[:3] if shared[place]]
            assert reasons == expected


def test_without_a_history_or_anything_shared_there_are_no_reasons():
    codes = np.array([[1, 1, 1], [2, 1, 1]], np.int32)
    assert reasons_by_codes(codes, [1, 1], [2]) == reasons_by_codes(codes, [1, 2], []) == [[], []]
    assert reasons_by_codes(codes, [], [1]) == []


def test_what_two_branches_say_is_said_once(make_model, features):
    history = list(range(2, 41))
    (expected,) = reasons_by_codes(features.semantic_ids.codes, [1], history)
    assert expected
    for form in (TWO, THREE, branches("prefixes", "ids")):
        assert make_model(**form).reasons([1], history) == [expected]
    for form in (branches("ids"), branches("popularity"), {"name": "llm_esr"}):
        assert make_model(**form).reasons([1], history) == [[]]


def test_what_stored_weights_replace_is_not_filled_at_random():
    """Of a large catalogue random starts take as long as all else in loading."""
    before = torch.get_rng_state()
    with _Unfilled():
        nn.init.normal_(nn.Embedding(5, 3).weight, std=0.02)
        nn.Linear(3, 3)
    assert torch.equal(torch.get_rng_state(), before)
    nn.Linear(3, 3)
    assert not torch.equal(torch.get_rng_state(), before)
