"""Other systems as rows of a suite: files of their ranks or lists, measured on the models' own cases."""

import csv
import io
import json
import random

import polars as pl
import pytest
import yaml
from rich.console import Console

from h2rec.data.readers import open_table
from h2rec.errors import ConfigError, DataError
from h2rec.research.suite.answers import placed_by_rank, placed_in_lists
from h2rec.research.suite.evidence import evidence
from h2rec.research.suite.report import write_suite_report
from h2rec.research.suite.suite import Suite
from h2rec.research.suite.terminal import comparison_table
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from made_shop import write_shop
from made_suite import rewritten

pytestmark = pytest.mark.usefixtures("in_this_process")


def ranks_of(suite, row):
    job = next(job for job in suite.jobs if job.model == row)
    return pl.read_parquet(job.folder / "ranks.parquet").filter(pl.col("split") == "test")


@pytest.fixture
def ranks(finished_suite):
    """Ranks of the row `weak`, by user id."""
    found = ranks_of(Suite.load(finished_suite, finished_suite.parent / "out"), "weak")
    return dict(found.select("user_id", "rank_full").iter_rows())


def write_rows(path, head, rows):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])


def compared(suite_file, **foreign):
    """Add foreign rows to a finished suite, run it, and return the suite and what it finds."""
    suite = Suite.load(rewritten(suite_file, foreign=foreign), suite_file.parent / "out")
    assert suite.run() == {}
    return suite, evidence(suite)


def figures(found, model, protocol="full"):
    return {
        (r["slice"], r["metric"]): r["mean"]
        for r in found["records"]
        if (r["model"], r["protocol"]) == (model, protocol)
    }


def test_ranks_of_another_system_are_measured_as_ours(finished_suite, ranks):
    write_rows(finished_suite.parent / "theirs.csv", ["customer", "rank"], ranks.items())
    suite, found = compared(finished_suite, theirs={"ranks": "theirs.csv"})
    assert figures(found, "theirs") == figures(found, "weak")
    assert figures(found, "theirs", "sampled20") == {}
    tests = [
        [r for r in found["records"] if r["model"] == m and r["protocol"] == "full"]
        for m in ("theirs", "weak")
    ]
    for one, other in zip(*tests, strict=True):
        assert one == other | {"model": "theirs"}
    blocks = [
        json.loads((job.folder / "metrics.json").read_text())["test"]["full"]
        for job in suite.jobs
        if job.model in ("theirs", "weak")
    ]
    assert blocks[0]["overall"] == blocks[1]["overall"]
    assert found["answers"][0]["told"] == f"{len(ranks)} of {len(ranks)} test users have an answer"
    # Of two rows with the same ranks neither is better, and a finished row is not read again.
    assert suite.finished() == suite.jobs
    (finished_suite.parent / "theirs.csv").unlink()
    assert [job.model for job in suite.stale()] == ["theirs"]


def test_a_changed_file_is_measured_anew(finished_suite, ranks):
    path = finished_suite.parent / "theirs.csv"
    write_rows(path, ["user", "rank"], ranks.items())
    suite, before = compared(finished_suite, theirs={"ranks": "theirs.csv"})
    write_rows(path, ["user", "rank"], dict.fromkeys(ranks, 1).items())
    assert [job.model for job in suite.stale()] == ["theirs"]
    _, after = compared(finished_suite, theirs={"ranks": "theirs.csv"})
    assert figures(before, "theirs") == figures(before, "weak")
    assert set(figures(after, "theirs").values()) == {1.0}


def test_users_without_a_rank_are_misses_and_nothing_is_told_beyond_the_last_rank(finished_suite, ranks):
    known = {user: 1 + place % 7 for place, user in enumerate(ranks) if place % 2}
    write_rows(finished_suite.parent / "theirs.csv", ["user_id", "rank"], known.items())
    suite, found = compared(finished_suite, theirs={"ranks": "theirs.csv"})
    own = figures(found, "theirs")
    assert own["overall", "hit@5"] == pytest.approx(sum(rank <= 5 for rank in known.values()) / len(ranks))
    assert own["overall", "ndcg@10"] is None
    # All others have that metric, and are tested in it as if the row were not there.
    without = evidence(Suite.load(rewritten(finished_suite, foreign={}), finished_suite.parent / "out"))
    told = [
        [r for r in of["records"] if (r["model"], r["metric"]) == ("weak", "ndcg@10")]
        for of in (found, without)
    ]
    assert [r["p_t"] for r in told[0]] == pytest.approx([r["p_t"] for r in told[1]])
    answers = found["answers"][0]["told"]
    assert f"{len(known)} of {len(ranks)} test users" in answers
    assert f"{len(ranks) - len(known)} have none, which counts as a miss; figures go to place 7" in answers
    metrics = json.loads((suite.jobs[0].folder / "metrics.json").read_text())["test"]["full"]
    assert set(metrics["overall"]) == {"cases", "hit@1", "hit@5", "ndcg@1", "ndcg@5"}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparison_table(found, "shop", "full"))
    write_suite_report(finished_suite.parent / "page.html", found)
    assert "which counts as a miss" in (finished_suite.parent / "page.html").read_text()
    assert "–" in console.export_text()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    config = RunConfig.load(write_shop(folder, users=30), ["data.items=null"])
    return Pipeline(config, folder / "out")


def lists_of(shop, length=12):
    """Lists of random items, the users' own among them, by user id; some are shorter."""
    random.seed(0)
    items = shop.dataset.items["item_id"].to_list()
    return {
        user: random.sample(items, length - place % 3) for place, user in enumerate(shop.dataset.user_ids)
    }


def written(folder, lists, form):
    long = [(user, item, place + 1) for user, listed in lists.items() for place, item in enumerate(listed)]
    path = folder / f"lists.{form.partition('-')[0]}"
    if form == "csv-long":
        random.shuffle(long)
        write_rows(path, ["user_id", "item_id", "rank"], long)
    elif form == "csv-commas":
        write_rows(path, ["user_id", "items"], [(user, ",".join(listed)) for user, listed in lists.items()])
    elif form == "tsv-blanks":
        path.write_text(
            "user\titems\n" + "\n".join(f"{u}\t{' '.join(listed)}" for u, listed in lists.items())
        )
    elif form == "jsonl-lists":
        path.write_text("\n".join(json.dumps({"user": u, "items": listed}) for u, listed in lists.items()))
    else:
        pl.DataFrame({"user_id": list(lists), "recommendations": list(lists.values())}).write_parquet(path)
    return open_table(path)


@pytest.mark.parametrize("rule", ["allowed", "excluded"])
@pytest.mark.parametrize("form", ["csv-long", "csv-commas", "tsv-blanks", "jsonl-lists", "parquet-lists"])
def test_a_target_stands_where_the_list_has_it_after_what_is_not_to_be_listed(shop, tmp_path, form, rule):
    lists = lists_of(shop)
    absent = shop.dataset.user_ids[3]
    del lists[absent]
    lists[shop.dataset.user_ids[4]] = lists[shop.dataset.user_ids[4]][:1]
    cases, ids = shop.split.test, ["", *shop.dataset.items["item_id"]]
    placed = placed_in_lists(written(tmp_path, lists, form), shop.dataset, cases, rule)
    depth = 0
    for case, user in enumerate(shop.dataset.user_ids.gather(cases.users)):
        own = {ids[item] for item in cases.histories[case]} if rule == "excluded" else set()
        left = [item for item in lists.get(user, []) if item not in own]
        depth = max(depth, len(left))
        target = ids[cases.targets[case]]
        assert placed.ranks[case] == (left.index(target) + 1 if target in left else 0)
        assert [ids[item] for item in placed.lists[case] if item] == left
        assert placed.answered[case] == (user != absent)
    assert placed.depth == depth == placed.lists.shape[1]
    assert placed.ranks.any()


def test_a_user_with_an_empty_list_has_an_answer(shop, tmp_path):
    lists = lists_of(shop) | {shop.dataset.user_ids[0]: []}
    for form in ("csv-commas", "parquet-lists"):
        assert placed_in_lists(
            written(tmp_path, lists, form), shop.dataset, shop.split.test, "allowed"
        ).answered.all()


def test_lists_have_figures_and_exposure_up_to_their_length(finished_suite, ranks):
    items = [f"i{item}" for item in range(60)]
    lists = [(user, " ".join(items[:7])) for user in ranks]
    write_rows(finished_suite.parent / "same.csv", ["user", "items"], lists)
    suite, found = compared(finished_suite, same={"lists": {"shop": "same.csv"}})
    assert figures(found, "same")["overall", "ndcg@10"] is None
    assert {record["model"] for record in found["exposure"]} == {"weak", "H2Rec"}
    assert "lists end before place 7 without the target" in found["answers"][0]["told"]
    (job,) = (job for job in suite.jobs if job.model == "same")
    block = json.loads((job.folder / "metrics.json").read_text())["test"]["full"]
    assert "exposure" not in block
    assert "mrr" not in block["groups"][0]
    # Of all lists of the same items a twelfth of the catalogue is found, but where it is taken out of the list.
    assert 0 < block["overall"]["hit@5"] < 0.5


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["u1,i2,1", "nobody,i2,1"], "bad.csv:3: the user 'nobody' is not in the data set"),
        (["u1,i2,1", ",i2,1"], "bad.csv:3: no user"),
        (["u1,i2,1", "u2,i77,1"], "bad.csv:3: the item 'i77' is not in the catalogue"),
        (["u1,i2,1", "u1,i3,0"], "bad.csv:3: rank '0' is no whole number from 1 on"),
        (["u1,i2,1", "u1,i3,1.5"], "bad.csv:3: rank '1.5' is no whole number from 1 on"),
        (["u1,i2,1", "u1,i3,"], "bad.csv:3: rank '' is no whole number from 1 on"),
        (["u1,i2,1", "u1,i2,2"], "bad.csv:3: item i2 stands twice in the list of user 'u1'"),
        (["u1,i2,1", "u1,i3,1"], "bad.csv:3: rank 1 stands twice in the list of user 'u1'"),
        ([], "bad.csv: a header and no rows"),
    ],
)
def test_what_can_not_be_right_is_named_with_its_place(shop, tmp_path, rows, told):
    (tmp_path / "bad.csv").write_text("\n".join(["user,item,rank", *rows]) + "\n")
    with pytest.raises(DataError) as failed:
        placed_in_lists(open_table(tmp_path / "bad.csv"), shop.dataset, shop.split.test, "allowed")
    assert failed.value.message.endswith(told)


def test_a_user_who_stands_twice_and_missing_columns_are_refused(shop, tmp_path):
    path = tmp_path / "bad.csv"
    for head, rows, read, told in (
        ("user,rank", "u1,1\nu1,2", placed_by_rank, "bad.csv:3: the user 'u1' stands twice"),
        ("user,score", "u1,1", placed_by_rank, "none of the columns is obviously the rank: user, score"),
        ("user,items", "u1,i1 i2\nu1,i3", placed_in_lists, "bad.csv:3: the user 'u1' stands twice"),
        ("user,thing", "u1,i1 i2", placed_in_lists, "none of the columns is obviously the item: user, thing"),
    ):
        path.write_text(f"{head}\n{rows}\n")
        more = () if read is placed_by_rank else ("allowed",)
        with pytest.raises(DataError) as failed:
            read(open_table(path), shop.dataset, shop.split.test, *more)
        assert failed.value.message.endswith(told)


def test_answers_that_are_too_short_for_any_figure_fail_and_leave_the_others(finished_suite, ranks):
    write_rows(finished_suite.parent / "none.csv", ["user", "items"], [(user, "") for user in ranks])
    foreign = {"none": {"lists": "none.csv"}}
    suite = Suite.load(rewritten(finished_suite, foreign=foreign), finished_suite.parent / "out")
    (error,) = suite.run().values()
    assert "the answers are 0 deep, and no k of evaluate.ks is so small" in error
    assert {record["model"] for record in evidence(suite)["records"]} == {"weak", "H2Rec"}


@pytest.mark.parametrize(
    ("foreign", "told"),
    [
        ({"theirs": {}}, "foreign.theirs: expected a file of ranks or of lists"),
        ({"theirs": {"ranks": "a.csv", "lists": "b.csv"}}, "expected a file of ranks or of lists"),
        ({"theirs": {"rank": "a.csv"}}, "did you mean 'foreign.theirs.ranks'"),
        ({"weak": {"ranks": "a.csv"}}, "foreign.weak: a model has that name already"),
        ({"theirs": {"ranks": {"other": "a.csv"}}}, "foreign.theirs: no file for any data set of shop"),
    ],
)
def test_a_row_that_can_not_be_read_is_refused_at_once(suite_file, foreign, told):
    with pytest.raises(ConfigError) as failed:
        Suite.load(rewritten(suite_file, foreign=foreign), suite_file.parent / "out")
    assert told in str(failed.value)


def test_of_several_data_sets_each_has_a_file_of_its_own(suite_file):
    data = yaml.safe_load(suite_file.read_text())["data"]["shop"]
    both = {"shop": data, "kiosk": data}
    with pytest.raises(ConfigError, match=r"foreign.theirs: name a file for each data set, shop, kiosk"):
        Suite.load(
            rewritten(suite_file, data=both, foreign={"theirs": {"ranks": "a.csv"}}), suite_file.parent
        )
    foreign = {"theirs": {"ranks": {"kiosk": "a.csv"}}}
    suite = Suite.load(rewritten(suite_file, data=both, foreign=foreign), suite_file.parent / "out")
    own = [job for job in suite.jobs if job.answers is not None]
    assert [(job.data, job.answers.path) for job in own] == [("kiosk", suite_file.parent / "a.csv")]
    with pytest.raises(ConfigError, match=r"a\.csv: no such file"):
        suite.run()


def test_a_foreign_row_may_be_the_reference_and_has_no_search(suite_file):
    foreign = {"theirs": {"ranks": "a.csv"}}
    suite = Suite.load(
        rewritten(suite_file, foreign=foreign, reference="theirs", seeds=[0, 1]), suite_file.parent / "out"
    )
    assert suite.settings.tested == "theirs"
    assert [job.seed for job in suite.jobs if job.model == "theirs"] == [0]
    from h2rec.research.suite.tuning import _is_searched

    assert {job.model for job in suite.jobs if _is_searched(job, suite)} == {"weak", "H2Rec"}
