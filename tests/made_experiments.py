"""Made logs of experiments, with effects that are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np

START = 1_700_006_400.0  # a midnight
DAY = 86_400.0


def made_rows(
    users: int = 200, days: int = 8, *, before: int = 0, lift: float = 0.0, seed: int = 0
) -> list[dict[str, Any]]:
    """An answer a user and active day, with clicks, conversions and dwell.

    `lift` is that of clicking in the arm `new`, which every second user is in, from day 0 on.
    """
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    activity, taste = random.beta(2, 2, users), random.beta(2, 12, users)
    for day in range(-before, days):
        for user in range(users):
            if random.random() > activity[user]:
                continue
            new = user % 2 and day >= 0
            arm = {"experiment": "x", "arm": "new" if new else "control"}
            request, time = f"r{user}.{day}", START + day * DAY + random.uniform(0, DAY - 700)
            items = [f"i{number}" for number in random.choice(30, 5, replace=False)]
            row = {"user_id": f"u{user}", "request_id": request}
            heads = [int(item[1:]) < 6 for item in items]
            shown = {"time": time, "bundle": "b", "items": items, "head": heads}
            rows.append({"event": "impressions", **row, **shown, **(arm if day >= 0 else {})})
            for item in items:
                if random.random() > taste[user] * (1 + lift * bool(new)):
                    continue
                row |= {"item_id": item, "event_id": f"{request}:{item}"}
                rows.append({"event": "click", **row, "time": time + 60, "spend": 0.1})
                rows.append({"event": "dwell", **row, "time": time + 90, "seconds": random.exponential(30)})
                if random.random() < 0.3:
                    sold = {"bid": float(random.integers(1, 9)), "spend": 0.5}
                    rows.append({"event": "conversion", **row, "time": time + 600, **sold})
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
