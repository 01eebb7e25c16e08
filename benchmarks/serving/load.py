"""Load on a running server from `hey` (Debian package `hey`), on the same machine, over loopback.

First 200 requests/s, then five times as many, then 200 again: latencies, statuses, and whether it recovers.

    python benchmarks/serving/made_bundle.py made --items 20000
    h2rec serve made --port 8000 &
    python benchmarks/serving/load.py http://127.0.0.1:8000 --seconds 60
"""

import argparse
import json
import re
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
from provenance import load_average, write_results

CLIENTS = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--history", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with urllib.request.urlopen(f"{arguments.address}/healthz") as answer:
        items = json.load(answer)["items"]
    random = np.random.default_rng(arguments.seed)
    body = {"history": [f"i{row}" for row in random.integers(0, items, arguments.history)], "k": 10}
    results = {"items": items, "history": arguments.history, "clients": CLIENTS, "phases": []}
    for factor, seconds in ((1, arguments.seconds), (5, 15), (1, 15)):
        rate = factor * arguments.rate
        # At an overload clients must not wait for each other's answers, or the rate is never reached.
        clients = CLIENTS * factor
        results["phases"].append(
            {
                "asked_requests_a_second": rate,
                "seconds": seconds,
                "load_average_before": load_average(),
                **hey(arguments.address, body, rate, seconds, clients),
            }
        )
    write_results("load", arguments.seed, results)


def hey(address: str, body: dict, rate: int, seconds: int, clients: int) -> dict:
    """One run: latencies in milliseconds, answers by status."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        Path(file.name).write_text(json.dumps(body))
        command = ["hey", "-z", f"{seconds}s", "-c", str(clients), "-q", f"{rate / clients:g}", "-m", "POST"]
        command += ["-T", "application/json", "-D", file.name, f"{address}/recommend"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    latencies = {
        f"p{name}_ms": 1000 * float(value) for name, value in re.findall(r"(\d+)%+ in ([\d.]+) secs", text)
    }
    statuses = {status: int(count) for status, count in re.findall(r"\[(\d{3})\]\s+(\d+) responses", text)}
    slowest = re.search(r"Slowest:\s+([\d.]+)", text)
    achieved = re.search(r"Requests/sec:\s+([\d.]+)", text)
    failures = text.partition("Error distribution:")[2].strip()
    return {
        "requests_a_second": float(achieved.group(1)) if achieved else 0.0,
        **latencies,
        "slowest_ms": 1000 * float(slowest.group(1)) if slowest else None,
        "statuses": statuses,
        "failures": failures,
    }


if __name__ == "__main__":
    main()
