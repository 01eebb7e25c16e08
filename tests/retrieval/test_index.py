from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.errors import MissingExtraError
from h2rec.evaluation.topk import top_items
from h2rec.models.sparse_scores import ItemScores
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.index import IndexSettings, ItemIndex
from h2rec.retrieval.indexes.in_process import Flat, IvfSettings
from h2rec.retrieval.indexes.protocol import IndexedItems
from h2rec.retrieval.lookup import LookUp
from h2rec.retrieval.quota import with_tail_quota
from h2rec.retrieval.scan import Question, best_of
from h2rec.retrieval.scoring import ItemScorer

ITEMS, SIZE, USERS = 3000, 24, 20


def clustered(random, rows, scale=0.4):
    centres = random.normal(size=(40, SIZE))
    return (centres[random.integers(0, 40, rows)] + scale * random.normal(size=(rows, SIZE))).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def made():
    """Items of very different lengths, so that nearest and largest inner product differ."""
    random = np.random.default_rng(0)
    items = clustered(random, ITEMS + 1) * random.uniform(0.3, 2, size=(ITEMS + 1, 1)).astype(np.float32)
    return items, torch.from_numpy(clustered(random, USERS))


def by_hand(items, users, k, banned=()):
    scores = users.double().numpy() @ items.astype(np.float64).T
    scores[:, [0, *banned]] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k], scores


@pytest.mark.parametrize(("count", "chosen"), [(200_000, "exact"), (200_001, "ivf"), (10_000_000, "ivf")])
def test_the_size_chooses_the_index(count, chosen):
    assert IndexSettings().kind_for(count).name == chosen
    assert IndexSettings(kind="exact").kind_for(count).name == "exact"


@pytest.mark.parametrize("sizes", [(SIZE,), (16, 8)])
def test_exact_search_is_a_full_sort(made, sizes):
    items, users = made
    index = ItemIndex(ItemScorer(items, sizes))
    found, values = index.search(users, 30)
    expected, scores = by_hand(items, users, 30)
    np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_allclose(values.numpy(), np.take_along_axis(scores, expected, 1), rtol=1e-4)


APPROXIMATE = IndexSettings(kind=IvfSettings(probes=20))


def test_approximate_search_finds_the_largest_inner_products_with_exact_scores(made):
    items, users = made
    found, values = ItemIndex(ItemScorer(items, (SIZE,)), APPROXIMATE).search(users, 50)
    expected, scores = by_hand(items, users, 50)
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), expected.tolist(), strict=True)]
    assert np.mean(shared) / 50 >= 0.95
    np.testing.assert_allclose(values.numpy(), np.take_along_axis(scores, found.numpy(), 1), rtol=1e-4)
    assert (values[:, :-1] >= values[:, 1:]).all()


@pytest.mark.parametrize("settings", [IndexSettings(kind="exact"), APPROXIMATE], ids=lambda s: s.kind.name)
@pytest.mark.parametrize("share", [0.01, 0.6])
def test_every_index_keeps_to_histories_and_filters(made, settings, share):
    items, users = made
    settings = settings.model_copy(update={"exact_up_to": 10_000})
    random = np.random.default_rng(1)
    allowed = random.random(ITEMS + 1) < share
    best, _ = by_hand(items, users, 40, np.flatnonzero(~allowed))
    seen = Histories.from_lists(best[:, :5].tolist())
    found, values = ItemIndex(ItemScorer(items, (SIZE,)), settings).search(users, 35, seen, Allowed(allowed))
    for row in range(USERS):
        real = found[row][found[row] > 0].tolist()
        assert len(set(real)) == len(real)
        assert allowed[real].all()
        assert not set(real) & set(best[row, :5].tolist())
        wanted = [item for item in best[row, 5:40].tolist() if allowed[item]]
        assert len(set(real) & set(wanted)) >= (
            1.0 if share < 0.1 or settings.kind.name == "exact" else 0.9
        ) * len(wanted)
    assert torch.isinf(values[found == 0]).all()


def test_the_index_is_built_for_where_users_lie():
    """Items differ most in columns that users do not look at; codes are then better spent elsewhere."""
    random = np.random.default_rng(2)
    items = np.concatenate(
        [clustered(random, ITEMS + 1), 30 * random.normal(size=(ITEMS + 1, 40)).astype(np.float32)], axis=1
    )
    basis = np.zeros((6, SIZE + 40), np.float32)
    basis[:, :SIZE] = random.normal(size=(6, SIZE))
    users, sample = (
        torch.from_numpy((random.normal(size=(n, 6)) @ basis).astype(np.float32)) for n in (USERS, 500)
    )
    scorer = ItemScorer(items, (SIZE + 40,))
    expected, _ = by_hand(items, users, 50)

    def recall(sample_users):
        found, _ = ItemIndex(scorer, APPROXIMATE, sample_users).search(users, 50)
        return (
            np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), expected.tolist(), strict=True)])
            / 50
        )

    assert recall(lambda: sample) >= 0.95
    assert recall(None) < 0.8


def every_score(scorer, users):
    # The next part may stand in the same memory.
    return torch.cat([scores[:, 1:].clone() for _, scores in scorer.score_chunks(users)], dim=1)


def test_a_catalogue_that_grew_keeps_its_scores_to_the_bit():
    """A plain product of these shapes does not: the rounding depends on the number of rows."""
    generator = torch.Generator().manual_seed(0)
    grown = torch.randn(20_009, 320, generator=generator)
    old = grown[:20_001].clone()
    users = torch.randn(2, 320, generator=generator)
    for count in (1, 2):
        before = every_score(ItemScorer(old.numpy(), (256, 64)), users[:count])
        after = every_score(ItemScorer(grown.numpy(), (256, 64)), users[:count])
        assert torch.equal(after[:, :20_001], before)
        torch.testing.assert_close(before, users[:count] @ old.T, rtol=1e-4, atol=1e-4)


def test_a_scan_in_parts_lists_what_one_product_lists(monkeypatch):
    monkeypatch.setattr("h2rec.retrieval.scoring._BLOCKS_AT_ONCE", 2)
    random = np.random.default_rng(3)
    # Whole numbers: many equal scores, within parts and across them.
    items = random.integers(-2, 3, size=(20_001, 6)).astype(np.float32)
    users = torch.from_numpy(random.integers(-2, 3, size=(70, 6)).astype(np.float32))
    seen = Histories.from_lists([random.integers(1, 20_001, 8).tolist() for _ in range(70)])
    allowed = random.random(20_001) < 0.7
    index = ItemIndex(ItemScorer(items, (6,)), IndexSettings(kind="exact"))
    for exclude, mask in ((None, None), (seen, None), (seen, allowed)):
        scores = users @ torch.from_numpy(items).T
        if mask is not None:
            scores[:, torch.from_numpy(~mask)] = -torch.inf
        expected = top_items(scores, 300, exclude)
        found = index.search(users, 300, exclude, None if mask is None else Allowed(mask))
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
    few = index.search(users, 30, None, Allowed(np.arange(20_001) % 4000 == 3))
    assert torch.equal((few[0] > 0).sum(1), torch.full((70,), 5))
    assert torch.isinf(few[1][:, 5:]).all()


def test_scores_are_the_sum_of_what_each_branch_adds(made):
    items, users = made
    scorer = ItemScorer(items, (16, 8))
    parts = [
        users[:, :16] @ torch.from_numpy(items[:, :16]).T,
        users[:, 16:] @ torch.from_numpy(items[:, 16:]).T,
    ]
    expected = parts[0] + parts[1]
    torch.testing.assert_close(every_score(scorer, users), expected, rtol=1e-4, atol=1e-4)
    chosen = torch.arange(1, 50).expand(USERS, -1)
    torch.testing.assert_close(scorer.chosen(users, chosen), expected[:, 1:50], rtol=1e-4, atol=1e-4)
    for found, part in zip(scorer.branches(users, chosen), parts, strict=True):
        torch.testing.assert_close(found, part[:, 1:50], rtol=1e-4, atol=1e-4)


def test_without_faiss_a_large_catalogue_is_scanned_unless_an_index_was_asked_for(made, monkeypatch, caplog):
    monkeypatch.setattr("h2rec.retrieval.index.find_spec", lambda name: None)
    index = ItemIndex(ItemScorer(made[0], (SIZE,)), IndexSettings(exact_up_to=10))
    assert index.kind.name == "exact"
    assert "faiss is not installed" in caplog.text


def test_without_faiss_the_extra_is_named(made, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"h2rec\[faiss\]"):
        ItemIndex(ItemScorer(made[0], (SIZE,)), IndexSettings(kind="ivf"))


def test_the_quota_exchanges_the_last_head_items():
    head = np.array([False, True, True, True, True, False, False, False])
    best = np.array([1, 2, 3, 5, 4]), np.array([9, 8, 7, 6, 5], np.float32)
    tail = np.array([5, 6, 7, 0, 0]), np.array([6, 4, 3, -np.inf, -np.inf], np.float32)
    items, values = with_tail_quota(best, tail, head, 0.4)
    assert (items.tolist(), values.tolist()) == ([1, 2, 3, 5, 6], [9, 8, 7, 6, 4])
    assert with_tail_quota(best, tail, head, 0.5)[0].tolist() == [1, 2, 5, 6, 7]
    assert with_tail_quota(best, tail, head, 1.0)[0].tolist() == [1, 2, 5, 6, 7]
    assert with_tail_quota(best, tail, head, 0.2)[0].tolist() == [1, 2, 3, 5, 4]


def lists_for(items, users, probes=None):
    """Inverted lists, built for half of the users, and what the others find of the best 100, by score."""
    half = len(users) // 2
    index = ItemIndex(
        ItemScorer(items, (SIZE,)), IndexSettings(kind=IvfSettings(probes=probes)), lambda: users[:half]
    )
    _, values = index.search(users[half:], 100)
    best = (users[half:].double() @ torch.from_numpy(items[1:]).double().T).topk(100, dim=1).values[:, -1:]
    return index.vector_index, float((values >= best - 1e-4).double().mean())


def test_as_many_lists_are_looked_into_as_the_users_need():
    random = np.random.default_rng(3)
    items = clustered(random, 20_001)
    items[0] = 100  # the padding item, which nobody looks for
    near = torch.from_numpy(items[random.integers(1, len(items), 128)])
    far = torch.from_numpy(random.normal(size=(128, SIZE)).astype(np.float32))
    (few, found_near), (more, found_far) = lists_for(items, near), lists_for(items, far)
    assert few.probes < more.probes < more.index.nlist
    for index, users, found in ((few, near, found_near), (more, far, found_far)):
        assert found >= 0.93
        assert lists_for(items, users, probes=max(1, index.probes // 2))[1] < min(found, 0.95)
    assert lists_for(items, near, probes=7)[0].probes == 7


def test_items_that_are_the_same_ask_for_no_more_lists():
    random = np.random.default_rng(4)
    items = clustered(random, 20_001)
    items[1:] = items[1:101].repeat(200, axis=0)
    index, found = lists_for(items, torch.from_numpy(items[random.integers(1, len(items), 128)]))
    assert found >= 0.93
    assert index.probes <= 10


@pytest.mark.parametrize("count", [5, 500, 2000])
@pytest.mark.parametrize("width", [1, 2, 15, 16, 64, 200])
def test_lists_of_any_width_and_size(width, count):
    random = np.random.default_rng(5)
    items = random.normal(size=(count, width)).astype(np.float32)
    users = torch.from_numpy(random.normal(size=(30, width)).astype(np.float32))
    for sample in (None, lambda: users):
        index = ItemIndex(ItemScorer(items, (width,)), IndexSettings(kind=IvfSettings(probes=100)), sample)
        found, _ = index.search(users, 5)
        np.testing.assert_array_equal(found.numpy(), by_hand(items, users, 5)[0])


def recalled(items, users, k=100):
    """What lists built for half of the users find of the best of the others, by score."""
    half, size = len(users) // 2, items.shape[1]
    users = torch.from_numpy(users)
    index = ItemIndex(ItemScorer(items, (size,)), IndexSettings(kind=IvfSettings()), lambda: users[:half])
    _, values = index.search(users[half:], k)
    best = (users[half:].double() @ torch.from_numpy(items[1:]).double().T).topk(k, dim=1).values[:, -1:]
    return index.vector_index, float((values >= best - 1e-4 * best.abs()).double().mean())


def drawn_users(random, items, count=256):
    return items[random.integers(1, len(items), (count, 3))].mean(axis=1)


@pytest.mark.parametrize("shared", [0, 2, 5])
def test_what_all_items_have_in_common_costs_no_recall(shared):
    random = np.random.default_rng(6)
    items = clustered(random, 20_001) + np.float32(shared)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    index, found = recalled(items, drawn_users(random, items))
    assert found >= 0.93
    assert index.probes < index.index.nlist / 2
    assert index.columns >= SIZE - 2


def test_a_column_of_popularity_costs_no_recall():
    random = np.random.default_rng(7)
    items = clustered(random, 20_001)
    users = drawn_users(random, items)
    items[:, 0], users[:, 0] = 20 + random.normal(size=len(items)), 1
    assert recalled(items, users)[1] >= 0.93


def test_a_few_long_items_are_found_and_spoil_no_list():
    random = np.random.default_rng(8)
    items = clustered(random, 20_001)
    users = drawn_users(random, items)
    items[1:21] *= 50
    index, found = recalled(items, users, k=10)
    assert found >= 0.93
    proposed = np.sort(index.search(users, 10), axis=1)
    assert ((proposed[:, 1:] > proposed[:, :-1]) | (proposed[:, 1:] == 0)).all()
    assert not np.isin(index.search(users, 10, Allowed(np.arange(len(items)) > 20)), np.arange(1, 21)).any()
    scorer = ItemScorer(items[:20_001], (SIZE,))
    before = ItemIndex(scorer, IndexSettings(kind="ivf"), lambda: torch.from_numpy(users))
    grown = np.concatenate([items, 10 * clustered(random, 50)])
    after = ItemIndex(ItemScorer(grown, (SIZE,)), IndexSettings(kind="ivf"), before=before)
    asked = torch.from_numpy(grown[-20:])
    assert (after.search(asked, 1)[0][:, 0] == by_hand(grown, asked, 1)[0][:, 0]).all()


@pytest.mark.parametrize("count", [500, 3000])
def test_where_nothing_tells_items_apart_lists_are_full_all_the_same(count):
    random = np.random.default_rng(9)
    items = clustered(random, count + 1)
    users = torch.from_numpy(drawn_users(random, items, 20))
    same, none = np.repeat(items[1:2], count + 1, axis=0), np.zeros_like(items)
    marks = np.arange(count + 1) % 2 == 1
    for catalogue, asked in ((items, torch.zeros(3, SIZE)), (same, users), (none, users)):
        index = ItemIndex(
            ItemScorer(catalogue, (SIZE,)), IndexSettings(kind="ivf", exact_up_to=10), lambda: users
        )
        for allowed in (None, Allowed(marks)):
            found, _ = index.search(asked, 30, None, allowed)
            assert (found > 0).all()
            assert all(len(set(row)) == 30 for row in found.tolist())
            assert allowed is None or marks[found.numpy()].all()


def test_lists_that_are_too_short_are_joined_by_the_others():
    random = np.random.default_rng(10)
    items = clustered(random, 3001)
    users = torch.from_numpy(drawn_users(random, items, 8))
    index = ItemIndex(ItemScorer(items, (SIZE,)), IndexSettings(kind=IvfSettings(probes=1)), lambda: users)
    _, values = index.search(users, 1000)
    best = by_hand(items, users, 1000)[1]
    assert (values.numpy() >= np.sort(best, axis=1)[:, -1000, None] - 1e-4).mean() >= 0.95


@pytest.mark.parametrize(("width", "rank", "codes"), [(64, 64, 66), (300, 300, 150), (300, 20, 22)])
def test_lists_hold_codes_of_what_differs_from_their_centres(width, rank, codes):
    random = np.random.default_rng(11)
    items = random.normal(size=(3001, rank)) @ np.eye(rank, width)
    users = torch.from_numpy(items[1:1001].astype(np.float32))
    scorer = ItemScorer(items.astype(np.float32), (width,))
    lists = ItemIndex(scorer, IndexSettings(kind="ivf"), lambda: users).vector_index.index
    assert isinstance(lists, faiss.IndexIVFPQFastScan)
    assert lists.by_residual
    assert lists.metric_type == faiss.METRIC_INNER_PRODUCT
    assert (lists.pq.M, lists.pq.nbits) == (codes, 4)
    lifted = ItemIndex(scorer, IndexSettings(kind="ivf")).vector_index._lift(scorer.vectors[1:].numpy())
    assert (np.linalg.norm(lifted, axis=1) < 1.5).all()
    assert np.median(np.linalg.norm(lifted, axis=1)) == pytest.approx(1, abs=1e-3)


def test_beside_counts_spare_items_are_asked_for(made):
    items, users = made

    class Asked(Flat):
        def search(self, users, count, allowed=None, *, spare=0):
            asked.append((count, spare))
            return super().search(users, count, allowed, spare=spare)

    asked = []
    scorer = ItemScorer(items, (SIZE,))
    flat = Asked.build(IndexedItems(items), None, None)
    assert flat.search(users.numpy(), 5, spare=7).shape[1] == 12
    look_up = LookUp(scorer, flat, scan_up_to=0)
    counts = ItemScores(torch.zeros(1, dtype=torch.int64), torch.tensor([3]), torch.ones(1))
    look_up.search(Question(users[:1], 5))
    look_up.search(Question(users[:1], 5, counted=[counts]))
    assert asked[1:] == [(5, 0), (5, 300)]


class Forgetful(Flat):
    """Proposes what it is told to, and remembers what was scored."""

    def search(self, users, count, allowed=None, *, spare=0):
        return np.array([self.proposed])

    def scores(self, scorer, users, items):
        self.scored.append(sorted(items[0].tolist()))
        return super().scores(scorer, users, items)


def forgetful(vectors, proposed):
    index = Forgetful.build(IndexedItems(vectors), None, None)
    index.proposed, index.scored = proposed, []
    return index, LookUp(ItemScorer(vectors, (1,)), index, scan_up_to=0)


def test_what_an_index_missed_is_found_where_counts_lift_it_from_the_last_that_is_sure():
    vectors = np.array([0, 10, 9, 8, 7, 6, 5.9, 5.8], np.float32)[:, None]
    index, look_up = forgetful(vectors, [5, 3, 2, 1])
    # The list of one ends at 10; an index is sure of three, down to 8. Its last proposal is 6.
    lifts = ItemScores(
        torch.zeros(3, dtype=torch.int64), torch.tensor([4, 6, 7]), torch.tensor([3.5, 2.5, 1.5])
    )
    items, values = look_up.search(Question(torch.ones(1, 1), 1, counted=[lifts]))
    assert items.tolist() == [[4]]
    assert values.tolist() == [[10.5]]
    assert index.scored == [[1, 2, 3, 5], [4, 6]]


def test_where_proposals_end_early_any_count_is_looked_up():
    vectors = np.array([0, 10, 9, 8, 7, 6], np.float32)[:, None]
    _, look_up = forgetful(vectors, [1, 2, 0, 0])
    lifts = ItemScores(torch.zeros(2, dtype=torch.int64), torch.tensor([4, 5]), torch.tensor([0.25, 0.5]))
    items, _ = look_up.search(Question(torch.ones(1, 1), 4, counted=[lifts]))
    assert items.tolist() == [[1, 2, 4, 5]]


def test_a_long_item_hides_nothing_that_counts_lift():
    """It is proposed to everybody, also where it scores far below all others."""
    random = np.random.default_rng(9)
    items = random.normal(size=(20_001, SIZE)).astype(np.float32)
    items[7] *= 50
    users = random.normal(size=(32, SIZE)).astype(np.float32)
    counted = torch.from_numpy(np.stack([random.choice(20_000, 200, replace=False) + 1 for _ in users]))
    rows = torch.arange(len(users)).repeat_interleave(200)
    lifts = ItemScores(rows, counted.sort(dim=1).values.flatten(), 25 * torch.rand(len(rows)))
    scorer = ItemScorer(items, (SIZE,))
    asked = torch.from_numpy(users)
    exact = ItemIndex(scorer, IndexSettings(kind="exact")).search(asked, 20, counted=[lifts])[1]
    lists = ItemIndex(scorer, IndexSettings(kind="ivf"), lambda: asked)
    found = lists.search(asked, 20, counted=[lifts])[1]
    assert (found >= exact[:, -1:] - 1e-3).double().mean() > 0.97


def test_faiss_takes_as_many_threads_as_torch_in_any_thread(made):
    items, users = made
    flat = Flat.build(IndexedItems(items), None, None)

    def asked():
        flat.search(users.numpy(), 3)
        return faiss.omp_get_max_threads()

    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 2)
    try:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(asked).result() == threads + 2
    finally:
        torch.set_num_threads(threads)


def test_scores_beside_an_index_are_read_where_vectors_lie(made, tmp_path):
    items, users = made
    np.save(tmp_path / "items.npy", items)
    scorer = ItemScorer(np.load(tmp_path / "items.npy", mmap_mode="c"), (SIZE,))
    flat = Flat.build(IndexedItems(items), None, None)
    every_other = users.repeat_interleave(2, dim=1)[:, ::2]  # neither these nor those lie side by side
    chosen = torch.tensor([0, 7, ITEMS, 7]).expand(USERS, -1)
    found = flat.scores(scorer, every_other, chosen)
    torch.testing.assert_close(found, scorer.chosen(users, chosen), rtol=1e-5, atol=1e-5)
    assert flat.scores(scorer, users, chosen[:, :0]).shape == (USERS, 0)
    for some, few in (
        (users[:, 1:], chosen),
        (users[:1], chosen),
        (users[:1], torch.tensor([[3, -1]])),
        (users[:1], torch.tensor([[3, ITEMS + 1]])),
    ):
        with pytest.raises(IndexError, match=r"are not of \(3001, 24\) vectors"):
            flat.scores(scorer, some, few)


@pytest.mark.parametrize("k", [1, 4, 30])
def test_the_best_candidates_are_those_of_a_sort_each_once(k):
    random = np.random.default_rng(k)
    for _ in range(20):
        items = random.integers(0, 12, (3, 17))
        of_item = random.choice([1.0, 2.0, np.nan, -np.inf, 3.0], (3, 12)).astype(np.float32)
        sums = np.take_along_axis(of_item, items, axis=1)
        found, values = best_of(torch.from_numpy(items), torch.from_numpy(sums), k)
        for row in range(3):
            known = [i for i in set(items[row].tolist()) - {0} if of_item[row, i] > -np.inf]
            best = sorted(known, key=lambda i: (-of_item[row, i], i))[:k]
            assert found[row].tolist() == best + [0] * (k - len(best))
            assert values[row].tolist() == [*of_item[row, best].tolist(), *[-np.inf] * (k - len(best))]


def test_a_catalogue_without_vectors_is_scanned():
    scorer = ItemScorer(np.zeros((11, 0), np.float32), ())
    assert ItemIndex(scorer, IndexSettings(kind="ivf")).kind.name == "exact"


def test_under_a_filter_more_lists_are_looked_into():
    random = np.random.default_rng(12)
    items = clustered(random, 20_001)
    users = torch.from_numpy(random.normal(size=(256, SIZE)).astype(np.float32))
    settings = IndexSettings(kind=IvfSettings(probes=8), exact_up_to=10)
    index = ItemIndex(ItemScorer(items, (SIZE,)), settings, lambda: users)
    marks = np.arange(len(items)) % 4 == 1
    _, values = index.search(users, 100, None, Allowed(marks))
    best = by_hand(items, users, 100, np.flatnonzero(~marks))[1]
    assert (values.numpy() >= np.sort(best, axis=1)[:, -100, None] - 1e-4).mean() >= 0.95


def test_users_of_whom_nothing_is_known_build_lists_of_the_items_alone(made):
    items, users = made
    index = ItemIndex(
        ItemScorer(items, (SIZE,)), IndexSettings(kind=IvfSettings(probes=100)), lambda: torch.zeros(50, SIZE)
    )
    assert (index.search(users, 5)[0].numpy() == by_hand(items, users, 5)[0]).all()
