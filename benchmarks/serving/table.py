"""Write the tables of docs/serving_tables.md from the results files.

Run:  python -m benchmarks.serving.table [--check]
"""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.pages import cores, markdown, update

from h2rec.files import read_json

RESULTS = Path(__file__).parent / "results"


def source(result: dict[str, Any]) -> str:
    machine = result["hardware"]
    return (
        f"`{result['command']}`, commit {result['commit'][:12]}, seed {result['seed']}, {cores(machine)} "
        f"({machine['processor']}), torch {machine['torch']}.\n"
    )


def load() -> str:
    result = read_json(RESULTS / "load.json")
    heads = [
        "phase",
        "asked/s",
        "answered 200",
        "503",
        "other",
        "p50",
        "p99",
        "p99.9",
        "beside it, 200: p99",
        "503: p50",
    ]
    rows = []
    for phase in result["phases"]:
        counts = phase["statuses"]
        other = sum(count for status, count in counts.items() if status not in ("200", "503"))
        beside = phase["beside_it"]
        rows.append(
            [
                phase["phase"],
                str(phase["asked_a_second"]),
                f"{counts.get('200', 0):,}",
                f"{counts.get('503', 0):,}",
                f"{other}, sockets {phase['socket_errors']}",
                *(f"{phase[name]:.1f} ms" for name in ("p50_ms", "p99_ms", "p99.9_ms")),
                f"{beside['200']['p99_ms']:.0f} ms" if "200" in beside else "–",
                f"{beside['503']['p50_ms']:.1f} ms" if "503" in beside else "–",
            ]
        )
    killed = result["killed"]
    return (
        markdown(heads, rows)
        + f"\n{result['items']:,} items; latencies from wrk2, from when a request was due. Ready "
        f"{result['seconds_to_ready']:.1f} s after the command; after `kill -9` again after "
        f"{killed['seconds_to_answer_again']:.1f} s, {killed['same_answers']} of {killed['asked']} answers the same to "
        f"the byte; {result['phases'][-1]['server_memory_mb']} MB resident.\n\n{source(result)}"
    )


def steady(file: str = "load_steady") -> str:
    result = read_json(RESULTS / f"{file}.json")
    heads = ["asked/s", "answered/s", "p50", "p90", "p99", "p99.9", "beside it: p99", "refused"]
    rows = [
        [
            str(phase["asked_a_second"]),
            f"{phase['answers_a_second']:.0f}",
            *(f"{phase[name]:.1f} ms" for name in ("p50_ms", "p90_ms", "p99_ms", "p99.9_ms")),
            f"{phase['beside_it']['200']['p99_ms']:.1f} ms",
            str(phase["refused"]),
        ]
        for phase in result["phases"]
    ]
    connections = result["phases"][0]["connections"]
    told = f"\n{result['items']:,} items, {result['workers']} workers, {connections} connections.\n\n"
    return markdown(heads, rows) + told + source(result)


def million(file: str = "million_items") -> str:
    result = read_json(RESULTS / f"{file}.json")
    k, exact = result["k"], result["exact"]
    heads = [
        "index",
        f"recall@{k}",
        "users/s, 32 at once",
        "one by one",
        "times exact",
        "one by one",
        "memory",
        "built in",
    ]
    vectors = f"{result['item_vectors_mb']:,} MB"
    first_look = f"{vectors} + {result['item_vectors_mb'] // 4:,} MB"
    rows = [
        [
            "exact scan",
            "1",
            f"{exact['users_a_second_in_32s']:.0f}",
            f"{exact['users_a_second_one_by_one']:.0f}",
            "1",
            "1",
            first_look,
            "–",
        ],
        [
            "exact scan of faiss",
            "1",
            f"{result['faiss_flat']['users_a_second_in_32s']:.0f}",
            "–",
            "–",
            "–",
            vectors,
            "–",
        ],
    ]
    names = {
        "ivf": "inverted lists",
        "ivf_without_users": "inverted lists, users not looked at",
    }
    for kind, name in names.items():
        for row in result.get(kind, {"measured": []})["measured"]:
            setting = next(iter(row))
            rows.append(
                [
                    f"{name}, {setting.replace('_', ' ')} {row[setting]}",
                    f"{row[f'recall@{k}']:.3f}",
                    f"{row['users_a_second_in_32s']:.0f}",
                    f"{row['users_a_second_one_by_one']:.0f}",
                    f"{row['times_the_exact_scan']:.1f}",
                    f"{row['times_the_exact_scan_one_by_one']:.1f}",
                    f"+ {result[kind]['index_mb']} MB",
                    f"{result[kind]['seconds_to_build']:.0f} s",
                ]
            )
    return (
        markdown(heads, rows)
        + f"\n{result['items']:,} items of {result['columns']} columns, one thread; peak of the whole process, "
        f"catalogue made in it, {result['peak_memory_mb']:,} MB.\n\n{source(result)}"
    )


if __name__ == "__main__":
    tables = {
        "load": load,
        "steady": steady,
        "steady million": partial(steady, "load_steady_million"),
        "million items": million,
        "transitions": partial(million, "million_items_transitions"),
    }
    update({"serving_tables.md": tables})
