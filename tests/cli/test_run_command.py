"""The commands as a user runs them: results on standard output, mistakes told without a traceback."""

import json

import pytest

from h2rec.cli.main import COMMANDS, main
from made_shop import write_shop


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    with pytest.raises(SystemExit) as ended:
        main(["run", str(write_shop(folder)), "--out", str(folder / "out")])
    assert ended.value.code == 0
    return folder


def failed(capsys, *arguments):
    """Run a command that must fail; return what it said."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in arguments])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" not in said
    return " ".join(said.split())


def succeeded(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in arguments])
    assert ended.value.code == 0
    return capsys.readouterr()


def test_run_prints_a_table_for_each_protocol(run_folder, capsys):
    said = succeeded(capsys, "run", run_folder / "shop.yaml", "--out", run_folder / "out")
    for word in ("test, full", "test, sampled20", "overall", "head", "tail", "ndcg@10", "transitions", "pop"):
        assert word in said.out
    assert "h2rec: NDCG@10 " in said.out
    assert " of popularity (95% interval " in said.out
    assert "reused" in (run_folder / "out" / "run.log").read_text()


def test_recommend_answers_as_table_and_as_json(run_folder, capsys):
    bundle = run_folder / "out" / "bundle"
    table = succeeded(capsys, "recommend", bundle, "--history", "i1,i5", "--k", 3).out
    assert "number" in table
    answer = json.loads(succeeded(capsys, "recommend", bundle, "--history", "i1,i5", "--k", 3, "--json").out)
    assert len(answer["items"]) == 3
    assert not {"i1", "i5"} & {item["item_id"] for item in answer["items"]}


def test_an_unknown_item_is_reported_and_skipped(run_folder, capsys):
    said = succeeded(capsys, "recommend", run_folder / "out" / "bundle", "--history", "i1,nonsense")
    assert "nonsense" in said.err
    said = succeeded(capsys, "recommend", run_folder / "out" / "bundle", "--history", "i9999", "--json")
    assert "skipped unknown item 'i9999'" in said.err
    assert "nothing in the history is known: these are the most popular items" in said.err
    assert json.loads(said.out)["from_popularity"]


def test_stage_commands_stop_where_they_say(tmp_path, capsys):
    config = write_shop(tmp_path)
    succeeded(capsys, "tokenize", config, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "semantic_ids.json").exists()
    assert not any((tmp_path / "out" / "checkpoints").iterdir())
    succeeded(capsys, "train", config, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.json").exists()
    succeeded(capsys, "bundle", config, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "bundle" / "manifest.json").exists()


def test_every_mistake_is_told_plainly(tmp_path, capsys):
    config = write_shop(tmp_path)
    interactions = tmp_path / "interactions.csv"
    whole = interactions.read_text()

    def message():
        return failed(capsys, "run", config, "--out", tmp_path / "out")

    interactions.unlink()
    assert "interactions.csv" in message()
    interactions.write_text("")
    assert "empty" in message()
    interactions.write_text(whole.replace("item_id", "thing", 1))
    assert "thing" in message()
    interactions.write_text(whole + "u1,i2\n")
    assert f"interactions.csv:{len(whole.splitlines()) + 1}" in message()
    interactions.write_text("user_id,item_id,timestamp\nu1,i1,1\nu2,i2,1\n")
    assert "no user has enough interactions" in message()
    interactions.write_text(whole)
    assert "did you mean 'train.epochs'" in failed(capsys, "run", config, "--set", "train.epoch=1")
    assert "no such file" in failed(capsys, "run", tmp_path / "none.yaml")
    assert "not a bundle" in failed(capsys, "recommend", tmp_path, "--history", "i1")
    items = tmp_path / "items.csv"
    items.write_text(items.read_text().replace("title", "head", 1))
    assert "a text field can't be called 'head'" in message()
    # What the system refuses is a mistake like any other.
    assert f"{tmp_path}: Is a directory" in failed(capsys, "audit", tmp_path)
    assert "items.csv" in failed(capsys, "tune", config, "--trials", 1, "--out", items)
    assert "--seeds 3-1: 3-1 counts backwards" in failed(capsys, "cold-start", config, "--seeds", "3-1")


def test_ids_that_look_like_markup_are_printed_as_they_are(run_folder, capsys, tmp_path):
    items = tmp_path / "new.csv"
    items.write_text("item_id,title\na[/b],tea green leaf number 7\nc[bold],\n")
    said = succeeded(capsys, "add-items", run_folder / "out/bundle", items, "--out", tmp_path / "grown")
    assert "a[/b]" in said.out
    assert "c[bold]" in said.err


def test_version_and_help(capsys):
    assert succeeded(capsys, "--version").out.strip()
    overview = succeeded(capsys, "--help").out
    for command in COMMANDS:
        assert command in overview


def test_items_of_the_history_come_again_where_asked_for_and_short_answers_are_told(run_folder, capsys):
    bundle = run_folder / "out" / "bundle"
    asked = ("recommend", bundle, "--history", "i1,i5", "--k", 60, "--json")
    for option, count in (([], 58), (["--no-seen"], 58), (["--seen"], 60)):
        said = succeeded(capsys, *asked, *option)
        assert len(json.loads(said.out)["items"]) == count
        assert ("58 of 60 items: the history leaves no more" in said.err) == (count == 58)
    said = succeeded(capsys, *asked[:3], ",".join(f"i{item}" for item in range(60)))
    assert "0 of 10 items" in said.err
