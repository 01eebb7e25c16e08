"""What the runs of a suite have cost, and where their figures come from."""

from collections.abc import Iterable, Mapping

from h2rec.research.columns import Record
from h2rec.research.suite.runs import Job


def cost_of(rows: Iterable[str], runs: Mapping[Job, Record]) -> Record:
    """CPU hours of all stages that the runs use; a stage that rows share counts for the first of them."""
    seconds = dict.fromkeys(rows, 0.0)
    counted = set()
    for job, metrics in runs.items():
        origin = metrics["provenance"]
        for name, key in origin["stages"].items():
            if (name, key) not in counted:
                counted.add((name, key))
                seconds[job.model] += origin["made"][name]["cpu_seconds"]
    return {
        "runs_finished": len(runs),
        "cpu_hours": sum(seconds.values()) / 3600,
        "cpu_hours_by_row": {row: value / 3600 for row, value in seconds.items()},
    }


def origin_of(runs: Mapping[Job, Record]) -> Record:
    """Distinct values of each fact about the stages that decide the figures.

    They describe how the stages were made, not the command that collected them.
    """
    origins = [metrics["provenance"] for metrics in runs.values()]
    stages = [
        origin["made"][name]
        for origin in origins
        for name in ("train", "blend", "evaluate")
        if name in origin["made"]
    ]
    dates = sorted(stage["date"] for stage in stages)
    machines = {tuple(stage["machine"].items()) for stage in stages}
    return {
        "commands": sorted({stage["command"] for stage in stages}),
        "commits": sorted({str(stage["commit"]) for stage in stages}),
        "h2rec": sorted({stage["h2rec"] for stage in stages}),
        "seeds": sorted({origin["seed"] for origin in origins}),
        "machines": [dict(facts) for facts in sorted(machines, key=str)],
        "first": dates[0] if dates else None,
        "last": dates[-1] if dates else None,
    }
