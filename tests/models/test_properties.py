"""What must hold for every model on every backbone, on random weights."""

import pytest
import torch
from baseline_cases import BASELINES, ON_OTHER_BACKBONES

from h2rec.errors import ConfigError
from h2rec.models.backbones.dropout import Dropout
from h2rec.models.protocol import branch_scores, paired_branch_scores, scores_of_targets

BACKBONES = ["sasrec", "bert4rec", "gru4rec"]
HYBRID = {"enabled": True, "branch": "own", "shrink": 0.0}
TREE = {**HYBRID, "codes": "prefixes"}
MODELS = [{"name": name} for name in BACKBONES] + [
    {"name": "h2rec", "backbone": backbone, **extra}
    for backbone in BACKBONES
    for extra in (
        {},
        {"fusion": "mean_history"},
        {"fusion": "equal"},
        {"share_encoder": True},
        {"sid_layers": 2},
        {"residual": HYBRID},
        {"residual": TREE},
        {"score": {"kind": "inner"}},
    )
]
MODELS += BASELINES + ON_OTHER_BACKBONES
LAST = [
    {"name": "h2rec", "backbone": backbone, "intent": "last", **extra}
    for backbone in ("sasrec", "gru4rec")
    for extra in ({}, {"fusion": "mean_history"})
]
CAUSAL = [values for values in MODELS if "bert4rec" not in values.values()]


def name_of(values):
    return "-".join(str(value) for value in values.values())


def encode(model, items, lengths=None, reads=None):
    items = torch.as_tensor(items)
    lengths = (items > 0).sum(1) if lengths is None else lengths
    reads = items > 0 if reads is None else reads
    with torch.no_grad():
        return model(items, lengths, reads)


def joined(states):
    return torch.cat(states.vectors, dim=1)


@pytest.mark.parametrize("values", CAUSAL, ids=name_of)
def test_a_later_item_changes_no_earlier_output(make_model, values):
    model = make_model(**values)
    first = joined(encode(model, [[3, 7, 9, 11, 2]]))
    second = joined(encode(model, [[3, 7, 9, 30, 31]]))
    assert torch.equal(first[:3], second[:3])
    assert not torch.allclose(first[3:], second[3:])


@pytest.mark.parametrize("values", [v for v in MODELS if "bert4rec" in v.values()], ids=name_of)
def test_the_masked_target_leaks_nowhere(make_model, values):
    """A masked position's item is out of the input: what was there can't matter; its neighbours do, on both sides."""
    model = make_model(**values)
    masked = torch.tensor([[3, 7, model.mask_item, 11, 2]])
    reads = masked == model.mask_item
    plain = joined(encode(model, masked, reads=reads))
    for changed in ([[3, 8, model.mask_item, 11, 2]], [[3, 7, model.mask_item, 11, 5]]):
        assert not torch.allclose(plain, joined(encode(model, changed, reads=reads)))
    assert model.mask_item == model.item_count + 1


@pytest.mark.parametrize("values", MODELS + LAST, ids=name_of)
def test_padding_changes_nothing(make_model, values):
    model = make_model(**values)
    short = joined(encode(model, [[3, 7, 9]]))
    padded = joined(encode(model, [[3, 7, 9, 0, 0, 0]]))
    torch.testing.assert_close(short, padded, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("values", MODELS + LAST, ids=name_of)
def test_a_batch_equals_its_rows_one_by_one(make_model, values):
    model = make_model(**values)
    rows = [[3, 7, 9, 4], [1], [8, 8, 2]]
    batch = torch.zeros(3, 4, dtype=torch.long)
    for place, row in enumerate(rows):
        batch[place, : len(row)] = torch.tensor(row)
    together = joined(encode(model, batch))
    alone = torch.cat([joined(encode(model, [row])) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("values", [v for v in MODELS + LAST if v["name"] == "h2rec"], ids=name_of)
def test_the_score_is_the_product_with_the_static_item_vector_of_the_spec(make_model, values):
    """``y = <u^S, sum_l alpha_l e^l> + <u^H, h>``, each branch a cosine over a temperature if asked."""
    model = make_model(**values)
    items = torch.tensor([[3, 7, 9]])
    reads = torch.tensor([[False, False, True]])
    states = encode(model, items, reads=reads)
    catalogue = torch.arange(1, model.item_count + 1)
    with torch.no_grad():
        sid, *_, hid = branch_scores(states.vectors, model.item_vectors(catalogue))
        alpha = states.alpha[0, 2]
        u_s = states.sid_state[0]
        tables = model.codes.by_level(model.codes.vectors)
        cosine = model.settings.score.kind == "cosine"

        def unit(x):
            return x / x.norm() if cosine else x

        tau = model.settings.score.temperature if cosine else 1.0
        for item in (1, 17, 40):
            codes = model.codes.item_rows[item] - model.codes.starts
            fused = sum(a * unit(table[code]) for a, table, code in zip(alpha, tables, codes, strict=True))
            expected = model.settings.score.sid_weight * float(unit(u_s) @ fused) / tau
            assert sid[0, item - 1].item() == pytest.approx(expected, abs=1e-4)
            vector = unit(model.hid.weight[item])
            own = states.vectors[-1][0]
            assert hid[0, item - 1].item() == pytest.approx(float(own @ vector), abs=1e-4)


@pytest.mark.parametrize(("extra", "times"), [({}, 2), ({"residual": HYBRID}, 3)])
def test_alpha_is_computed_once_and_all_branches_use_that_tensor(make_model, monkeypatch, extra, times):
    from h2rec.models import code_branch

    model = make_model(name="h2rec", **extra)
    seen, used = [], []
    intent, weighted_sum, attend = model.intent, code_branch.weighted_sum, model.mca.forward
    monkeypatch.setattr(model, "intent", lambda *a: seen.append(intent(*a)) or seen[-1])
    monkeypatch.setattr(
        code_branch, "weighted_sum", lambda rows, w, m: used.append(w) or weighted_sum(rows, w, m)
    )
    monkeypatch.setattr(
        model.mca, "forward", lambda h, r, alpha, t: used.append(alpha) or attend(h, r, alpha, t)
    )
    states = encode(model, [[3, 7, 9]])
    assert len(seen) == 1
    assert len(used) == times
    assert all(tensor is seen[0] for tensor in [*used, states.alpha])


def test_the_hybrid_branch_scores_codes_and_residual_as_one_item_of_unit_length(make_model):
    model = make_model(name="h2rec", residual={**HYBRID, "weight": 0.5})
    with torch.no_grad():
        model.residual.table.weight.normal_(generator=torch.Generator().manual_seed(1))
        model.residual.kept.fill_(1)
    states = encode(model, [[3, 7, 9]], reads=torch.tensor([[False, False, True]]))
    catalogue = torch.arange(1, model.item_count + 1)
    assert model.branches == ("sid", "hybrid", "hid")
    with torch.no_grad():
        _, hybrid, _ = branch_scores(states.vectors, model.item_vectors(catalogue))
        user, alpha = states.code_states[1][0], states.alpha[0, 2]
        for item in (1, 17, 40):
            codes, residual = (
                model.hybrid_codes.vectors[model.codes.item_rows[item]],
                model.residual.table.weight[item],
            )
            fused = alpha @ codes + residual
            expected = 0.5 / 0.08 * (user / user.norm()) @ fused / (codes.mean(0) + residual).norm()
            assert hybrid[0, item - 1].item() == pytest.approx(float(expected), abs=1e-4)


def test_an_item_is_the_sum_of_the_prefixes_of_its_codes_and_its_own_leaf(make_model, features):
    model = make_model(name="h2rec", residual={**TREE, "weight": 0.5})
    states = encode(model, [[3, 7, 9]], reads=torch.tensor([[False, False, True]]))
    catalogue = torch.arange(1, model.item_count + 1)
    of_prefix = {}
    for item, codes in enumerate(features.semantic_ids.codes.tolist(), start=1):
        for length, row in zip((1, 2), model.nodes.rows[item].tolist(), strict=True):
            # A prefix has one row and a row is of one prefix, whichever item asks.
            assert of_prefix.setdefault(row, tuple(codes[:length])) == tuple(codes[:length])
    assert len(set(of_prefix.values())) == len(of_prefix) == len(model.nodes.vectors.weight) - 2
    with torch.no_grad():
        hybrid = branch_scores(states.vectors, model.item_vectors(catalogue))[1]
        user = states.code_states[1][0]
        for item in (1, 17, 40):
            shared = model.nodes.vectors.weight[model.nodes.rows[item]].sum(0)
            whole = shared + model.residual.table.weight[item] * model.residual.kept[item]
            expected = 0.5 / 0.08 * (user / user.norm()) @ (whole / whole.norm())
            assert hybrid[0, item - 1].item() == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"branches": "sid", "residual": HYBRID}, "needs both other branches"),
        ({"residual": {**TREE, "branch": "sid"}}, "codes 'prefixes' needs a hybrid branch"),
        ({"residual": {**HYBRID, "branch": "sid", "layers": 2}}, "layers needs a hybrid branch"),
    ],
    ids=["one branch", "prefixes without it", "layers without it"],
)
def test_a_hybrid_branch_that_can_not_be_is_refused(make_model, values, complaint):
    with pytest.raises(ConfigError, match=complaint):
        make_model(name="h2rec", **values)


def test_the_layers_of_the_hybrid_branch_are_its_own(make_model):
    def depth(**residual):
        model = make_model(name="h2rec", sid_layers=3, residual={**TREE, **residual})
        return len(model.hid_encoder.blocks), len(model.sid_encoder.blocks), len(model.hybrid_encoder.blocks)

    assert depth() == (2, 3, 3)
    assert depth(layers=1) == (2, 3, 1)


def test_last_intent_is_the_last_items_alpha_everywhere(make_model):
    last = make_model(name="h2rec", intent="last")
    causal = make_model(name="h2rec", intent="causal")
    items = [[3, 7, 9, 0]]
    alpha = encode(last, items).alpha
    expected = encode(causal, items).alpha[0, 2]
    for step in range(3):
        torch.testing.assert_close(alpha[0, step], expected)


def test_mean_history_intent_is_the_mlp_of_the_mean(make_model):
    model = make_model(name="h2rec", fusion="mean_history")
    alpha = encode(model, [[3, 7]]).alpha[0, 1]
    with torch.no_grad():
        rows = model.codes.rows(torch.tensor([3, 7]))
        concatenated = model.codes.vectors[rows].mean(0)  # [L, d]
        hidden = torch.relu(
            torch.einsum("ld,ldh->h", concatenated, model.fusion.level_weights) + model.fusion.bias
        )
        torch.testing.assert_close(alpha, model.fusion.out(hidden).softmax(-1), rtol=1e-5, atol=1e-5)


def test_zero_values_give_exactly_the_hid_only_input(make_model):
    model = make_model(name="h2rec")
    with torch.no_grad():
        model.mca.value.weight.zero_()
    items = torch.tensor([[3, 7, 9]])
    with torch.no_grad():
        rows = model.codes.rows(items)
        entry, _ = model._enrich(model.hid(items), rows, model.intent(items, torch.tensor([3]), rows))
    assert torch.equal(entry, model.hid(items))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_cross_attention_is_textbook_attention_over_the_levels(make_model, heads):
    model = make_model(name="h2rec", mca_heads=heads)
    items = torch.tensor([[3, 7, 9]])
    with torch.no_grad():
        rows = model.codes.rows(items)
        alpha = model.intent(items, torch.tensor([3]), rows)
        fast = model.mca(model.hid(items), rows, alpha, model.codes)
        for step in range(3):
            memory = alpha[0, step][:, None] * model.codes.vectors[rows[0, step]]  # [L, d]
            query = model.mca.query(model.hid.weight[items[0, step]]).view(heads, -1)
            keys = model.mca.key(memory).view(-1, heads, query.shape[1])
            values = model.mca.value(memory).view(-1, heads, query.shape[1])
            weights = (torch.einsum("hd,lhd->hl", query, keys) * query.shape[1] ** -0.5).softmax(-1)
            slow = model.mca.out(torch.einsum("hl,lhd->hd", weights, values).flatten())
            torch.testing.assert_close(fast[0, step], slow, rtol=1e-4, atol=1e-5)


def test_fusion_is_an_mlp_of_the_concatenated_codes(make_model):
    model = make_model(name="h2rec")
    with torch.no_grad():
        rows = model.codes.rows(torch.tensor([5]))
        concatenated = model.codes.vectors[rows[0]].flatten()
        weight = model.fusion.level_weights.flatten(0, 1)  # [L d, d]
        slow = model.fusion.out(torch.relu(concatenated @ weight + model.fusion.bias)).softmax(-1)
        fast = model.fusion(model.fusion.features(model.codes, rows))[0]
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_with_the_sid_branch_off_the_model_is_the_backbone_to_the_bit(features, backbone):
    from h2rec.models.build import build_model
    from h2rec.models.settings import ModelSettings

    sizes = {"dim": 8, "heads": 2, "max_length": 12}
    off = build_model(
        ModelSettings(name="h2rec", backbone=backbone, branches="hid", **sizes), features, seed=3
    )
    plain = build_model(ModelSettings(name=backbone, **sizes), features, seed=3)
    assert off.objective == plain.objective
    for left, right in zip(off.parameters(), plain.parameters(), strict=True):
        assert torch.equal(left, right)
    items = torch.tensor([[3, 7, 9, 0]])
    assert torch.equal(joined(encode(off.eval(), items)), joined(encode(plain.eval(), items)))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_masking_hides_one_granularity_at_all_positions(make_model, level):
    """Items that differ in the masked level alone look the same in the masked view."""
    model = make_model(name="h2rec")
    codes = model.codes.item_rows
    codes[4] = codes[3]
    codes[4, level] = (codes[3, level] - model.codes.starts[level] + 1) % 6 + model.codes.starts[level]
    alpha = encode(model, [[3, 7, 9]]).alpha
    arguments = (torch.tensor([3]), alpha, torch.tensor([level]), torch.tensor([2]))
    with torch.no_grad():
        one = model.masked_view(torch.tensor([[3, 7, 9]]), *arguments)
        other = model.masked_view(torch.tensor([[4, 7, 9]]), *arguments)
        plain = encode(model, [[3, 7, 9]]).sid_state[2:]
    assert torch.equal(one, other)
    assert not torch.allclose(one, plain)


def test_a_shared_encoder_is_one_encoder(make_model):
    shared = make_model(name="h2rec", share_encoder=True)
    assert shared.sid_encoder is shared.hid_encoder
    own = make_model(name="h2rec")
    assert own.sid_encoder is not own.hid_encoder


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_sid_branch_has_its_own_number_of_layers(make_model, backbone):
    model = make_model(name="h2rec", backbone=backbone, layers=2, sid_layers=3)

    def size(encoder):
        return sum(parameter.numel() for parameter in encoder.parameters())

    assert size(model.sid_encoder) > size(model.hid_encoder)


@pytest.mark.parametrize("kind", ["inner", "cosine"])
@pytest.mark.parametrize("normalise", ["level", "item"])
def test_with_the_residual_at_zero_the_extended_model_is_the_papers_to_the_bit(make_model, kind, normalise):
    score = {"kind": kind, "normalise": normalise}
    plain = make_model(name="h2rec", score=score)
    extended = make_model(name="h2rec", score={**score, "maturity": True}, residual={"enabled": True})
    with torch.no_grad():
        for name, parameter in extended.named_parameters():
            parameter.copy_(plain.state_dict().get(name, torch.zeros_like(parameter)))
    one, other = encode(plain, [[3, 7, 9]]), encode(extended, [[3, 7, 9]])
    assert torch.equal(one.sid_state, other.sid_state)
    catalogue = torch.arange(1, plain.item_count + 1)
    with torch.no_grad():
        left = branch_scores(one.vectors, plain.item_vectors(catalogue))
        right = branch_scores(other.vectors, extended.item_vectors(catalogue))
    # The residual's own columns are zero; a longer sum may round the last bit.
    torch.testing.assert_close(left[0], right[0], rtol=1e-6, atol=1e-6)
    assert torch.equal(left[1], right[1])


def test_the_residual_shrinks_with_what_is_known(features):
    import dataclasses

    import numpy as np

    from h2rec.models.build import build_model
    from h2rec.models.settings import ModelSettings

    counts = np.zeros(features.item_count + 1, np.int64)
    counts[2], counts[3] = 5, 45
    known = dataclasses.replace(features, train_counts=counts)
    model = build_model(
        ModelSettings(name="h2rec", dim=8, residual={"enabled": True, "shrink": 5.0}), known, seed=0
    )
    assert model.residual.kept[[1, 2, 3]].tolist() == pytest.approx([0.0, 0.5, 0.9])
    # Warm-started, codes by equal weights and residual add up to the warm hash ID, in its proportion.
    with torch.no_grad():
        rows = model.codes.rows(torch.tensor([3]))
        whole = model.codes.vectors[rows].mean(1) + model.residual.table.weight[3]
        torch.testing.assert_close(whole * model.codes.levels, model.hid.weight[3:4], rtol=1e-4, atol=1e-5)


def test_prefixes_and_leaf_start_as_the_warm_hash_id(features):
    from h2rec.models.build import build_model
    from h2rec.models.settings import ModelSettings

    model = build_model(ModelSettings(name="h2rec", dim=8, residual=TREE), features, seed=0)
    items = torch.arange(1, features.item_count + 1)
    with torch.no_grad():
        shared = model.nodes(items)
        assert shared.norm() > 0.3 * model.hid(items).norm()
        whole = shared + model.residual.table(items)
        torch.testing.assert_close(whole, model.hid(items), rtol=1e-5, atol=1e-6)


def test_an_extended_models_score_stays_an_inner_product(make_model):
    model = make_model(name="h2rec", residual={"enabled": True}, score={"maturity": True})
    states = encode(model, [[3, 7, 9]])
    with torch.no_grad():
        vectors = model.item_vectors(torch.arange(1, model.item_count + 1))
    assert [v.shape[1] for v in vectors] == [v.shape[1] for v in states.vectors]
    assert vectors[0].shape[1] == (model.codes.levels + 1) * 8


@pytest.mark.parametrize(
    "values",
    [
        {"name": "h2rec"},
        {"name": "h2rec", "score": {"kind": "inner"}},
        {"name": "h2rec", "score": {"normalise": "item"}},
        {"name": "h2rec", "score": {"maturity": True}},
        {"name": "h2rec", "residual": {"enabled": True}},
        {"name": "h2rec", "residual": {"enabled": True}, "score": {"kind": "inner"}},
        {"name": "h2rec", "residual": HYBRID},
        {"name": "h2rec", "residual": HYBRID, "score": {"kind": "inner", "maturity": True}},
        {"name": "h2rec", "residual": TREE},
        {"name": "h2rec", "branches": "sid"},
        {"name": "h2rec", "branches": "hid"},
        {"name": "h2rec", "backbone": "bert4rec"},
        {"name": "sasrec"},
        {"name": "two_hid"},
    ],
    ids=name_of,
)
def test_scores_by_codes_are_those_of_the_static_item_vectors_with_their_gradients(make_model, values):
    model = make_model(**values)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "residual" in name or "fusion.out" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    items = torch.tensor([[3, 7, 9, 4], [8, 8, 2, 0]])
    lengths, reads = torch.tensor([4, 3]), items > 0
    targets, shared = torch.tensor([7, 9, 4, 12, 8, 2, 40]), torch.tensor([1, 9, 9, 30, 40])

    def ask(scored):
        model.zero_grad()
        states = model(items, lengths, reads)
        own, others = scored(states)
        weights = torch.linspace(-1, 2, 7)
        sum(
            ((x * weights).sum() + (y * weights[:, None]).pow(2).sum())
            for x, y in zip(own, others, strict=True)
        ).backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return (*own, *others), gradients

    def naive(states):
        return paired_branch_scores(states.vectors, model.item_vectors(targets)), branch_scores(
            states.vectors, model.item_vectors(shared)
        )

    expected, its_gradients = ask(naive)
    found, gradients = ask(lambda states: scores_of_targets(model, states, targets, shared))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == its_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient, its_gradients[name], rtol=1e-3, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec", "gru4rec"])
def test_a_branch_alone_is_as_sharp_as_its_temperature_whatever_it_would_weigh_beside_another(
    make_model, backbone
):
    def users(branches, weight):
        model = make_model(name="h2rec", backbone=backbone, branches=branches, score={"sid_weight": weight})
        return encode(model, [[3, 7, 9]]).vectors[0]

    torch.testing.assert_close(users("sid", 0.3), users("sid", 1.0))
    torch.testing.assert_close(users("both", 0.3), 0.3 * users("both", 1.0))


@pytest.mark.parametrize(
    ("values", "others"),
    [
        ({"name": "h2rec"}, ["hid", "hid_encoder", "mca"]),
        ({"name": "h2rec", "residual": HYBRID}, ["hid", "hid_encoder", "mca"]),
        (
            {"name": "h2rec", "residual": TREE, "projection_heads": True},
            ["hid", "hid_encoder", "hid_head", "mca"],
        ),
        ({"name": "h2rec", "share_encoder": True}, ["hid", "hid_encoder", "mca"]),
        ({"name": "h2rec", "branches": "sid"}, []),
        ({"name": "three_hid"}, ["second", "third"]),
    ],
    ids=str,
)
def test_a_model_tells_which_of_its_parts_learn_as_codes(make_model, values, others):
    model = make_model(**values)
    of_codes = {id(p) for module in model.modules_of_codes for p in module.parameters()}
    found = {n.partition(".")[0] for n, p in model.named_parameters() if id(p) not in of_codes}
    assert sorted(found) == others


@pytest.mark.parametrize("values", [{"name": "h2rec", "residual": HYBRID}, {"name": "two_hid"}], ids=name_of)
def test_branches_of_codes_have_their_own_dropout_and_temperature(make_model, values):
    def model(**score):
        return make_model(**values, dropout=0.5, sid_dropout=0.2, score={"temperature": 0.1} | score)

    plain, sharp = model(), model(sid_temperature=0.05)
    encoders = [part for name, part in plain.named_modules() if name.endswith("encoder")]
    shares = [{part.p for part in encoder.modules() if isinstance(part, Dropout)} for encoder in encoders]
    if values["name"] == "h2rec":
        by_name = dict(
            zip([name for name, _ in plain.named_children() if name.endswith("encoder")], shares, strict=True)
        )
        assert by_name == {"hid_encoder": {0.5}, "sid_encoder": {0.2}, "hybrid_encoder": {0.2}}
    else:
        assert shares == [{0.2}, {0.5}]
    items = torch.arange(1, 20)
    before, after = (
        branch_scores(encode(m, [[3, 7, 9]]).vectors, m.item_vectors(items)) for m in (plain, sharp)
    )
    for one, other in zip(before[:-1], after[:-1], strict=True):
        torch.testing.assert_close(2 * one, other)
    torch.testing.assert_close(before[-1], after[-1])
