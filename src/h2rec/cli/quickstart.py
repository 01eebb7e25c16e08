"""``h2rec quickstart``: the main job on the built-in data set."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from h2rec.cli.recommend import recommendation_table
from h2rec.cli.run import log_to, print_verdicts
from h2rec.retrieval.recommender import Recommender
from h2rec.run.quickstart import NAMES, PRESETS, example_users, quickstart_pipelines, what_was_gained
from h2rec.run.tables import LEADING, metrics_table, with_baselines
from h2rec.run.words import telling
from h2rec.terminal import result_console


def quickstart(
    out: Annotated[Path, typer.Option("--out", help="Folder for one run a model.")] = Path("runs/quickstart"),
) -> None:
    """Train SASRec and H2Rec on MovieLens-100k, compare them, and recommend films to three users."""
    console = result_console()
    found, bundles = {}, {}
    pipelines = quickstart_pipelines(out)
    for name, pipeline in pipelines.items():
        log_to(out / name / "run.log")
        found[name] = telling(pipeline.evaluated(baselines=True))
        bundles[name] = pipeline.bundled()
    tests, last = {NAMES[name]: metrics["test"] for name, metrics in found.items()}, found[PRESETS[-1]]
    for protocol in last["test"]:
        title = f"MovieLens-100k, test, protocol {protocol}"
        rows = with_baselines(tests, last, protocol)
        console.print(metrics_table(rows, protocol, LEADING, title=title))
    for sentence in what_was_gained(pipelines):
        console.print(f"H2Rec: {sentence}", soft_wrap=True, highlight=False)
    print_verdicts(NAMES["h2rec"], last)
    recommender = Recommender.load(bundles["h2rec"])
    for user, history in example_users(pipelines["h2rec"]):
        titles = [next(iter(recommender.fields(item).values()), None) or item for item in history[-5:]]
        console.print(
            f"\n[bold]user {user}[/], last of {len(history)} films: {escape('; '.join(titles))}",
            highlight=False,
        )
        console.print(recommendation_table(recommender.recommend(history, 5)))
    example = ",".join(history[-3:])
    console.print(
        f"\nreports: {', '.join(str(out / name / 'report.html') for name in PRESETS)}", soft_wrap=True
    )
    console.print(
        f"try: h2rec recommend {bundles['h2rec']} --history {example}", soft_wrap=True, highlight=False
    )
