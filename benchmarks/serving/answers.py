"""What an answer costs by its form: whole items, ids with scores, ids alone. Asked in turns of one running server.

CPU milliseconds are the server's own, all of its threads: on a shared machine they compare, and the clock does not.

    python benchmarks/serving/answers.py runs/shop/bundle
"""

import argparse
import atexit
import http.client
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from load import Server, questions
from provenance import load_average, write_results

FORMS: dict[str, dict[str, Any]] = {
    "items": {},
    "ids and scores": {"fields": ["item_id", "score"]},
    "ids": {"fields": ["item_id"]},
}
TURN = 25


def cpu_ms(server: Server) -> float:
    """CPU milliseconds of a server so far."""
    values = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--k", nargs="+", type=int, default=[10, 100])
    parser.add_argument("--turns", type=int, default=12, help="turns of each form")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    asked = [json.loads(body) for body in questions(arguments.bundle, 500, arguments.seed)]
    server = Server(arguments.bundle)
    atexit.register(server.process.kill)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    measured: dict[tuple[int, str], dict[str, list[float]]] = {}

    def turn(k: int, form: str, bodies: list[dict[str, Any]]) -> None:
        kept = measured.setdefault((k, form), {"ms": [], "cpu_ms": [], "bytes": []})
        busy = cpu_ms(server)
        for body in bodies:
            text = json.dumps(body | FORMS[form] | {"k": k})
            started = time.perf_counter()
            connection.request("POST", "/recommend", text, {"content-type": "application/json"})
            answer = connection.getresponse().read()
            kept["ms"].append(1000 * (time.perf_counter() - started))
            kept["bytes"].append(len(answer))
        kept["cpu_ms"].append((cpu_ms(server) - busy) / len(bodies))

    for number in range(-1, arguments.turns):
        start = (number * TURN) % (len(asked) - TURN)
        for k in arguments.k:
            for form in FORMS:
                turn(k, form, asked[start : start + TURN])
        if number < 0:
            measured.clear()  # the first ones warm up
    rows = [
        {
            "k": k,
            "form": form,
            "bytes": float(np.mean(kept["bytes"])),
            "cpu_ms": float(np.mean(kept["cpu_ms"])),
            "p50_ms": float(np.quantile(kept["ms"], 0.5)),
            "p99_ms": float(np.quantile(kept["ms"], 0.99)),
        }
        for (k, form), kept in measured.items()
    ]
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(30)
    write_results("answers", arguments.seed, {"load_average": load_average(), "measured": rows})


if __name__ == "__main__":
    main()
