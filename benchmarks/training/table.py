"""Write the tables of docs/speed.md from the results files.

Run:  python -m benchmarks.training.table [--check]
"""

from pathlib import Path
from typing import Any

from benchmarks.pages import command_in, cores, markdown, update

from h2rec.files import read_json

RESULTS = Path(__file__).parent / "results"
PEERS = {
    "recbole": "RecBole {recbole}, SASRec, full softmax",
    "rectools": "RecTools {rectools}, SASRec, sampled softmax, 512 negatives a target",
}


def epochs() -> str:
    results = read_json(RESULTS / "epochs.json")
    base = results["ours"]["sasrec"]["cpu_seconds"]
    rows = [
        [one["says"], f"{one['cpu_seconds']:.1f}", f"{one['cpu_seconds'] / base:.2f}"]
        for one in results["ours"].values()
    ]
    for key, batch in (("peers", "its fastest batch"), ("peers_at_default_batches", "its default batch")):
        for name, one in (results[key] or {}).items():
            says = PEERS[name].format(**one["versions"])
            seconds = one["epoch_cpu_seconds"]
            share = f"{one['measured_batches']} of {one['batches']} batches"
            rows.append([f"{says}; {batch}, {share}", f"{seconds:.0f}", f"{seconds / base:.1f}"])
    return markdown(["one epoch", "CPU s", "times our SASRec"], rows) + origin(results)


def ranking() -> str:
    results = read_json(RESULTS / "ranking.json")
    says = {"own": "model and ranking", "given": "ranking alone, same vectors"}
    rows = [
        [
            says[one["vectors"]],
            f"{one['users_at_once']} users at once, {one['cut_offs']} cut-off{'s' if one['cut_offs'] > 1 else ''}",
            f"{one['recbole_cpu_seconds']:.1f}",
            f"{results['ours'][one['vectors']]:.1f}",
            f"{one['ratio']:.1f}",
        ]
        for one in results["ratios"]
    ]
    heads = ["what", "RecBole's settings", "RecBole, CPU s", "ours, CPU s", "ratio"]
    theirs = results["recbole"]["rows"][-1]["peak_gib"]
    peaks = f"Peak memory {results['ours_peak_gib']:.2f} GiB, RecBole's {theirs:.2f} GiB."
    agree = f"Largest difference of a metric: {results['largest_difference']:.0e}. {peaks}\n"
    return markdown(heads, rows, text_columns=2) + f"\n{agree}" + origin(results)


def quality() -> str:
    results = read_json(RESULTS / "time_to_quality-scientific.json")
    theirs, goal = results["recbole"], results["goal"]
    says = f"RecBole {theirs['versions']['recbole']}, SASRec, full softmax"
    rows = [[says, str(theirs["epochs"]), f"{theirs['cpu_seconds']:.0f}", "1"]]
    for name, one in results["ours"].items():
        first = one["reached"]
        reached = (
            [str(first["epoch"]), f"{first['cpu_seconds']:.1f}", f"{one['times_faster']:.0f}"]
            if first
            else ["not reached", "", ""]
        )
        rows.append([name, *reached])
    heads = [f"validation NDCG@10 of {goal:.4f}", "epochs", "CPU s", "times faster"]
    return markdown(heads, rows) + origin(results)


def alignment() -> str:
    results = read_json(RESULTS / "alignment_memory.json")
    catalogues = sorted({row["items"] for row in results["rows"]})
    by_size: dict[int, dict[int, float]] = {}
    for row in results["rows"]:
        by_size.setdefault(row["compared"], {})[row["items"]] = row["alignment_mib"]
    rows = [[f"{compared:,}", *(f"{of[n]:.0f}" for n in catalogues)] for compared, of in by_size.items()]
    heads = ["items compared in a batch", *(f"MiB, {n:,} items" for n in catalogues)]
    return markdown(heads, rows) + origin(results)


def million() -> str:
    results = read_json(RESULTS / "million.json")
    rows = [
        [
            "items, users, interactions",
            f"{results['items']:,}, {results['users']:,}, {results['interactions']:,}",
        ],
        ["warm start, CPU s", f"{results['start_cpu_seconds']:.0f}"],
        ["one epoch and its checkpoint, CPU s", f"{results['fit_cpu_seconds']:.0f}"],
        ["checkpoint, GiB", f"{results['checkpoint_gib']:.2f}"],
        ["peak memory, GiB", f"{results['peak_gib']['epoch']:.2f}"],
    ]
    return markdown(["H2Rec, default losses", ""], rows) + origin(results)


def killed() -> str:
    results = read_json(RESULTS / "kill_resume.json")
    rows = [
        ["kills while the command ran", str(results["kills_while_running"])],
        ["of them while a checkpoint was being written", str(results["kills_while_writing"])],
        ["last epoch seen at a kill", f"{results['kills'][-1]['epoch_after']} of {results['epochs']}"],
        ["weights byte-equal to an unbroken run", "yes" if results["same_bytes"] else "NO"],
    ]
    return markdown(["one training", ""], rows) + origin(results)


def origin(results: dict[str, Any]) -> str:
    provenance = results["provenance"]
    machine = provenance["machine"]
    command = command_in("training", provenance["command"])
    return (
        f"\n`{command}`, commit `{provenance['commit']}`, seed {provenance['seed']}, {provenance['date'][:10]}, "
        f"{cores(machine)}, torch {machine['torch']}.\n"
    )


if __name__ == "__main__":
    update(
        {"speed.md": {one.__name__: one for one in (epochs, quality, ranking, million, alignment, killed)}}
    )
