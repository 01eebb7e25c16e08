"""The first look at vectors of 8 bits: its bound holds, and lists are those of the whole scan."""

import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.models.sparse_scores import Groups, GroupScores, ItemScores
from h2rec.retrieval.eight_bits import EightBits, _Part
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.scan import Question, Scan, largest
from h2rec.retrieval.scoring import ItemScorer

ITEMS, SIZE, USERS = 5000, 40, 8


def made(kind, seed=0):
    """Item vectors, padding first, and users."""
    random = np.random.default_rng(seed)
    items, users = random.normal(size=(ITEMS + 1, SIZE)), random.normal(size=(USERS, SIZE))
    if kind == "uneven":
        items *= random.lognormal(0, 2, size=(ITEMS + 1, 1))
        users *= random.lognormal(0, 3, size=(1, SIZE))
    if kind == "sparse":
        items *= random.random(items.shape) < 0.05
        users[0] = 0
    if kind == "twins":
        items[1:] = items[1 + np.arange(ITEMS) % 3]
    if kind == "tiny":
        items, users = items * 1e-12, users * 1e-3
    if kind == "short":  # the squares of these are 0 in 32 bits
        items, users = 1 + 0.002 * items, users * 1e-24
    items[0] = 0
    return items.astype(np.float32), torch.from_numpy(users.astype(np.float32))


@pytest.fixture(autouse=True)
def _as_an_index_calls_it():
    with torch.inference_mode():
        yield


KINDS = ["even", "uneven", "sparse", "twins", "tiny", "short"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_score_is_further_off_than_it_says(kind):
    items, users = made(kind)
    made_small = EightBits.of(torch.from_numpy(items))
    scores, error = (
        torch.cat([of for _, of in made_small.score_chunks(users)], dim=1),
        made_small.error(users),
    )
    off = np.abs(scores.numpy() - users.double().numpy() @ items.T.astype(np.float64)).max(axis=1)
    assert (off <= error.numpy()).all()
    lengths = np.linalg.norm(users, axis=1) * np.linalg.norm(items, axis=1).max()
    assert (error.numpy() <= 0.04 * lengths + 1e-18).all()  # it says something


@pytest.mark.parametrize("broken", ["items", "users"])
@pytest.mark.parametrize("largest_last", [False, True])
def test_the_bound_is_reached_where_errors_lie_as_the_other_vector_does(broken, largest_last, monkeypatch):
    """Beside 127, what is 5.4 is read as 5; vectors of the same direction feel the whole of it."""
    monkeypatch.setattr("h2rec.retrieval.eight_bits._ROWS", 16)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (32, SIZE))
    signs[:, 0] = 0
    exact, off = 5 * signs, 5.4 * signs
    off[:, 0] = 127
    items, users = (off, exact) if broken == "items" else (exact, off)
    items[slice(16) if largest_last else slice(16, 32)] = 0  # a part without lengths and errors
    made_small = EightBits.of(torch.from_numpy(items.astype(np.float32)))
    asked = torch.from_numpy(users.astype(np.float32))
    scores = torch.cat([of for _, of in made_small.score_chunks(asked)], dim=1).double().numpy()
    wrong = np.abs(scores - users @ items.T).max(axis=1)
    error = made_small.error(asked).numpy()
    assert (wrong > 0).any()
    assert (wrong <= error).all()
    assert (wrong[wrong > 0] > 0.2 * error[wrong > 0]).any()


def counts(random):
    rows, chosen = (torch.from_numpy(random.integers(0, n, 400)) for n in (USERS, ITEMS))
    keys = torch.unique(rows * (ITEMS + 1) + chosen + 1)
    values = torch.from_numpy(random.exponential(2, len(keys)).astype(np.float32))
    single = ItemScores(keys // (ITEMS + 1), keys % (ITEMS + 1), values)
    of_item = torch.from_numpy(np.concatenate([[0], random.integers(1, 50, ITEMS)]))
    order = of_item[1:].argsort() + 1
    offsets = torch.searchsorted(of_item[order], torch.arange(51))
    table = torch.from_numpy(random.exponential(1, (USERS, 50)).astype(np.float32))
    table[:, 0] = 0
    return [single, GroupScores(table, Groups(of_item, order, offsets))]


class Plain(Scan):
    """A scan of everything."""

    def _widths(self, k):
        return []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("k", "rows"), [(1, 65_536), (10, 1000), (10, 100), (100, 1700)])
def test_lists_are_those_of_the_whole_scan(kind, k, rows, monkeypatch):
    monkeypatch.setattr("h2rec.retrieval.eight_bits._ROWS", rows)
    items, users = made(kind, seed=k)
    random = np.random.default_rng(k)
    scorer = ItemScorer(items, (SIZE,))
    seen = Histories.from_lists([random.integers(1, ITEMS + 1, n).tolist() for n in range(USERS)])
    marks = random.random(ITEMS + 1) < 0.7
    marks[0] = False
    looks, held = Scan(scorer), 0
    for exclude in (None, seen):
        for allowed in (None, Allowed(marks)):
            for counted in ([], counts(random)):
                asked = (users, k, exclude, allowed, counted)
                expected, values = Plain(scorer).search(Question(*asked))
                found, theirs = looks.search(Question(*asked))
                widths = looks._widths(k)
                held += bool(widths) and bool(looks._by_first_look(Question(*asked), widths[-1])[2].all())
                np.testing.assert_allclose(theirs.numpy(), values.numpy(), rtol=1e-5, atol=1e-18)
                # Where scores are the same but for their last digits, either may come first.
                differ = (found != expected).numpy()
                gaps = np.abs(np.diff(values.double().numpy(), axis=1, prepend=np.inf, append=-np.inf))
                near = np.minimum(gaps[:, :-1], gaps[:, 1:]) <= 1e-5 * np.abs(values.numpy())
                assert not (differ & ~near).any()
                assert kind != "twins" or not differ.any()
    assert held == 8 if kind == "even" and k < 100 else held >= 0


def test_equal_scores_come_by_index_and_are_not_missed():
    items, users = made("twins")
    found, _ = Scan(ItemScorer(items, (SIZE,))).search(Question(users, 10))
    # A third of all items scores the same: the first ten of them, whatever was looked at.
    assert all(row.tolist() == list(range(int(row[0]), 31, 3))[:10] for row in found)


def test_where_the_bound_never_helps_it_is_not_asked_for_ever():
    items, users = made("twins")
    scan = Scan(ItemScorer(items, (SIZE,)))
    looked, first_look = [], scan._by_first_look

    def look(asked, width):
        if width == scan._widths(10)[0]:
            looked.append(width)
        return first_look(asked, width)

    scan._by_first_look = look
    for _ in range(50):
        scan.search(Question(users, 10))
    before = len(looked)
    assert 10 < before < 20
    for _ in range(101):
        scan.search(Question(users, 10))
    assert before < len(looked) < before + 3  # once more, as things may have changed


def test_lists_that_are_too_long_for_a_first_look_say_nothing_of_others():
    items, users = made("even")
    scan = Scan(ItemScorer(items, (SIZE,)))
    for _ in range(40):
        scan.search(Question(users, 1000))
    looked, first_look = [], scan._by_first_look
    scan._by_first_look = lambda *asked: looked.append(1) or first_look(*asked)
    scan.search(Question(users, 10))
    assert looked


def test_users_whose_list_is_not_sure_are_looked_at_again_alone():
    items, users = made("even")
    # Half of the items are alike to users who know the first columns alone.
    items[1 : ITEMS // 2, :20] = items[1, :20]
    items[:, 20:] *= 0.01
    items[ITEMS // 2 :, 20:] *= 100
    users[[1, 6], 20:] = 0
    users[[0, 2, 3, 4, 5, 7], :20] = 0
    users[[1, 6], :20] = torch.from_numpy(items[1, :20])
    random = np.random.default_rng(3)
    seen = Histories.from_lists([random.integers(1, ITEMS + 1, 30).tolist() for _ in range(USERS)])
    scan, looks, wholes = Scan(ItemScorer(items, (SIZE,))), [], []
    first_look, by_all = scan._by_first_look, scan._by_all
    scan._by_first_look = lambda asked, width: looks.append(len(asked.users)) or first_look(asked, width)
    scan._by_all = lambda asked: wholes.append(len(asked.users)) or by_all(asked)
    asked = (users, 100, seen, None, counts(random)[:1])
    found, values = scan.search(Question(*asked))
    assert (looks, wholes) == ([USERS, 2], [2])
    assert scan._held == pytest.approx(1 - 0.05 * 2 / USERS)
    expected, theirs = Plain(scan.scorer).search(Question(*asked))
    assert torch.equal(found, expected)
    torch.testing.assert_close(values, theirs)


@pytest.mark.parametrize("k", [5, 21])
def test_a_twin_at_the_end_of_the_catalogue_scores_the_same(k):
    random = np.random.default_rng(0)
    for _ in range(20):
        items = random.normal(size=(3000, 64)).astype(np.float32)
        users = torch.from_numpy(random.normal(size=(1, 64)).astype(np.float32))
        best = int((users @ torch.from_numpy(items).T)[0, 1:-1].argmax()) + 1
        items[-1] = items[best]
        found, values = Scan(ItemScorer(items, (64,))).search(Question(users, k))
        assert found[0, :2].tolist() == [best, 2999]
        assert values[0, 0] == values[0, 1]


def test_users_that_are_no_numbers_get_nothing():
    items, users = made("even")
    users[0] = torch.nan
    marks = np.zeros(ITEMS + 1, dtype=bool)
    marks[1:50] = True
    found, values = Scan(ItemScorer(items, (SIZE,))).search(Question(users, 10, None, Allowed(marks)))
    assert found[0].tolist() == [0] * 10
    assert values[0].tolist() == [-torch.inf] * 10


def test_infinite_scores_are_not_taken_for_barred_items():
    items, users = made("even")
    users[1, 0] = torch.inf
    marks = np.zeros(ITEMS + 1, dtype=bool)
    marks[5:8] = True
    asked = (users, 10, None, Allowed(marks), [])
    scan = Scan(ItemScorer(items, (SIZE,)))
    found, values = scan.search(Question(*asked))
    expected, theirs = Plain(scan.scorer).search(Question(*asked))
    assert torch.equal(found, expected)
    assert torch.equal(values[1], theirs[1])
    # The others had so few items that all were looked at.
    assert scan._held == pytest.approx(1 - 0.05 / USERS)


@pytest.mark.parametrize("rows", [1000, 65_536])
def test_sums_that_large_counts_round_are_those_of_the_whole_scan(rows, monkeypatch):
    """With a count of 1e9 sums are multiples of 64: the same item may have one sum by 8 bits, another exactly."""
    monkeypatch.setattr("h2rec.retrieval.eight_bits._ROWS", rows)
    items, users = made("even")
    users *= 15 / users.norm(dim=1, keepdim=True)
    ones = Groups(
        torch.ones(ITEMS + 1, dtype=torch.int64), torch.arange(1, ITEMS + 1), torch.tensor([0, 0, ITEMS])
    )
    large = GroupScores(torch.full((USERS, 2), 1e9), ones)
    scan = Scan(ItemScorer(items, (SIZE,)))
    found, _ = scan.search(Question(users, 40, counted=[large]))
    assert torch.equal(found, Plain(scan.scorer).search(Question(users, 40, counted=[large]))[0])


def test_there_is_none_without_columns_or_where_sums_overflow(monkeypatch):
    assert EightBits.of(torch.zeros(5, 0)) is None
    items = torch.from_numpy(made("even")[0])
    plain = _Part.products
    # As of processors that add pairs of products in 16 bits.
    monkeypatch.setattr(_Part, "products", lambda self, rows: plain(self, rows).clamp(max=400))
    assert EightBits.of(items) is None
    monkeypatch.undo()

    def missing(*_):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(torch.ops.onednn, "qlinear_prepack", missing)
    assert EightBits.of(items) is None
    users = made("even")[1]
    found, _ = Scan(ItemScorer(items.numpy(), (SIZE,))).search(Question(users, 5))
    assert found.shape == (USERS, 5)


@pytest.mark.parametrize("columns", [3000, 3200, 3231, 100])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_largest_of_long_rows_are_found_by_blocks(columns, rows):
    random = np.random.default_rng(columns)
    scores = torch.from_numpy(random.normal(size=(rows, columns)).astype(np.float32))
    scores[:, -5:] += 3  # behind the last whole block
    scores[0, random.permutation(columns)[: columns // 2]] = -torch.inf
    for count in (1, 7, 20):
        values, places = largest(scores, count)
        best = scores.topk(count, dim=1).values
        assert torch.equal(values, best)
        assert torch.equal(scores.gather(1, places), values)
        for bound in (best[:, -1:], best[:, :1], best[:, :1] + 1, best[:, :1] - torch.inf):
            values, places = largest(scores, count, bound)
            assert torch.equal(scores.gather(1, places), values)
            for row, least in enumerate(bound):
                assert torch.equal(values[row][values[row] > least], best[row][best[row] > least])
                assert len(set(places[row].tolist())) == len(places[row])
