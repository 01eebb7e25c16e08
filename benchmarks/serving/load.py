"""A server under load, reloaded under load, and killed: constant rates from wrk2, on the same machine over loopback.

wrk2 (github.com/giltene/wrk2) sends at a constant rate and counts latency from when a request was due, not from
when it could be sent: a server that stalls is charged for every request that waited (no coordinated omission). Its
first ten seconds calibrate and are not counted. Each question is a history of its own, of 1 to 50 items drawn by
popularity.

    h2rec run shop.yaml --out runs/shop                  # or: python benchmarks/serving/made_bundle.py made
    python benchmarks/serving/load.py runs/shop/bundle --wrk PATH/TO/wrk2
    python benchmarks/serving/load.py runs/shop/bundle --wrk PATH/TO/wrk2 --steady 400 --workers 2
"""

import argparse
import atexit
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
from provenance import load_average, write_results

CALIBRATION = 10
CONNECTIONS = 20
OVERLOAD = 5
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Server:
    """`h2rec serve` as a process of its own."""

    def __init__(self, bundle: Path, workers: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._words = [str(bundle), "--port", str(self.port), "--workers", str(workers)]
        self.start()

    def start(self) -> None:
        """Start it; seconds from the command to the first answer are kept in `seconds_to_ready`."""
        command = [sys.executable, "-c", "from h2rec.cli.main import main; main()"]
        started = time.perf_counter()
        self.process = subprocess.Popen([*command, "serve", *self._words])
        while True:
            try:
                self.get("/readyz")
                break
            except OSError:
                if self.process.poll() is not None or time.perf_counter() - started > 120:
                    raise
                time.sleep(0.02)
        self.seconds_to_ready = time.perf_counter() - started

    def get(self, path: str) -> bytes:
        """Body of an answer."""
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return answer.read()

    def post(self, path: str, body: str) -> bytes:
        """Body of an answer to JSON."""
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.address + path, body.encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def statuses(self) -> dict[str, int]:
        """Answers of `/recommend` so far, by status."""
        line = re.compile(r'h2rec_requests_total\{route="/recommend",status="(\d+)"\} ([\d.e+]+)')
        return {code: int(float(count)) for code, count in line.findall(self.get("/metrics").decode())}

    def memory_mb(self) -> int:
        """Resident memory of all its processes; what they share counts once for each."""
        whole = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in [whole, *whole.children()]) // 2**20


class Probe(threading.Thread):
    """One patient user beside the load: a question every 50 ms; what it got, and how fast."""

    def __init__(self, port: int, bodies: list[str]) -> None:
        super().__init__(daemon=True)
        self._port, self._bodies = port, bodies
        self._stop_asking = threading.Event()
        self.seen: dict[int, list[float]] = {}

    def run(self) -> None:
        """Ask until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        for body in self._bodies:
            started = time.perf_counter()
            connection.request("POST", "/recommend", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.seen.setdefault(answer.status, []).append(1000 * (time.perf_counter() - started))
            if self._stop_asking.wait(0.05):
                return

    def result(self) -> dict[str, Any]:
        """Stop asking; counts and latencies by status."""
        self._stop_asking.set()
        self.join()
        return {
            str(status): {
                "count": len(values),
                "p50_ms": float(np.quantile(values, 0.5)),
                "p99_ms": float(np.quantile(values, 0.99)),
            }
            for status, values in sorted(self.seen.items())
        }


def wrk2(
    wrk: str, address: str, bodies: Path, *, rate: int, seconds: int, connections: int, threads: int
) -> dict[str, Any]:
    """One run: latencies in milliseconds, and what failed."""
    script = Path(__file__).with_name("requests.lua")
    command = [wrk, "--latency", "-t", str(threads), "-c", str(connections), "-R", str(rate)]
    command += ["-d", f"{seconds + CALIBRATION}s", "--timeout", "10s", "-s", str(script)]
    command += [f"{address}/recommend", "--", str(bodies)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    corrected = text.partition("Recorded Latency")[2].partition("Detailed")[0]
    latencies = {
        f"p{float(name):g}_ms": round(float(value) * UNITS[unit], 2)
        for name, value, unit in re.findall(r"([\d.]+)%\s+([\d.]+)(us|ms|s|m)\s", corrected)
    }
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: (.*)", text)
    return {
        "answers_a_second": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
        **latencies,
        "refused": int(failed.group(1)) if failed else 0,
        "socket_errors": sockets.group(1) if sockets else "none",
    }


def questions(bundle: Path, count: int, seed: int) -> list[str]:
    """Bodies of requests, histories drawn by popularity."""
    items = pl.read_parquet(bundle / "items.parquet")
    random = np.random.default_rng(seed)
    weights = items["train_count"].to_numpy() + 1.0
    ids = items["item_id"].to_numpy()
    lengths = random.integers(1, 51, count)
    return [
        json.dumps({"history": list(random.choice(ids, length, p=weights / weights.sum())), "k": 10})
        for length in lengths
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--wrk", required=True, help="the program built from wrk2")
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument(
        "--steady",
        type=int,
        nargs="+",
        help="rates of a steady load, one after the other, instead of all phases",
    )
    parser.add_argument("--name", help="file of the results")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--short", type=int, default=15, help="seconds of the other phases")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rate = arguments.rate
    asked = questions(arguments.bundle, 2000, arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(shutil.copytree(arguments.bundle, Path(scratch) / "bundle"))
        bodies = Path(scratch) / "bodies.txt"
        bodies.write_text("\n".join(asked))
        server = Server(bundle, arguments.workers)
        atexit.register(server.process.kill)
        state = json.loads(server.get("/healthz"))
        results: dict[str, Any] = {
            "items": state["items"],
            "workers": arguments.workers,
            "packages": {name: version(name) for name in ("uvicorn", "uvloop", "httptools", "fastapi")},
            "seconds_to_ready": server.seconds_to_ready,
            "phases": [],
        }

        def phase(
            name: str,
            rate: int,
            seconds: int,
            *,
            threads: int = 1,
            connections: int = CONNECTIONS,
            meanwhile: Callable[[], Any] | None = None,
        ) -> None:
            before = server.statuses()
            probe = Probe(server.port, asked[::-1])
            probe.start()
            other: list[Any] = []
            beside = threading.Thread(target=lambda: other.append(meanwhile() if meanwhile else None))
            beside.start()
            load = load_average()
            measured = wrk2(
                arguments.wrk,
                server.address,
                bodies,
                rate=rate,
                seconds=seconds,
                connections=connections,
                threads=threads,
            )
            beside.join()
            after = server.statuses()
            results["phases"].append(
                {
                    "phase": name,
                    "asked_a_second": rate,
                    "seconds": seconds,
                    "connections": connections,
                    **measured,
                    "statuses": {code: count - before.get(code, 0) for code, count in after.items()},
                    "beside_it": probe.result(),
                    "meanwhile": other[0],
                    "server_memory_mb": server.memory_mb(),
                    "load_average_before": load,
                }
            )
            print(results["phases"][-1], flush=True)

        def reloads() -> dict[str, Any]:
            seconds = []
            for _ in range(4):
                time.sleep((CALIBRATION + arguments.short) / 5)
                started = time.perf_counter()
                server.post("/reload", "{}")
                seconds.append(time.perf_counter() - started)
            return {"reloads": len(seconds), "slowest_reload_s": max(seconds)}

        short = arguments.short
        # A connection asks one thing at a time: 100 of them can't overrun the queue, 400 can.
        phases: list[tuple[str, int, int, dict[str, Any]]] = [
            ("steady", rate, arguments.seconds, {}),
            ("in bursts", rate, short, {"threads": 2}),
            ("overload, 100 connections", OVERLOAD * rate, short, {"connections": 100}),
            ("overload, 400 connections", OVERLOAD * rate, short, {"connections": 400}),
            ("after the overload", rate, short, {}),
            ("four reloads", rate, short, {"meanwhile": reloads}),
        ]
        if arguments.steady:
            phases = [("steady", steady, arguments.seconds, {}) for steady in arguments.steady]
        for name, of_phase, seconds, how in phases:
            phase(name, of_phase, seconds, **how)
        if not arguments.steady:
            results["killed"] = killed(server, asked[:50])
        server.process.send_signal(signal.SIGTERM)
        results["exit_after_sigterm"] = server.process.wait(30)
    write_results(arguments.name or ("load_steady" if arguments.steady else "load"), arguments.seed, results)


def killed(server: Server, asked: list[str]) -> dict[str, Any]:
    """Kill it with SIGKILL, start it again, and compare what it answers."""
    before = [server.post("/recommend", body) for body in asked]
    server.process.kill()
    server.process.wait()
    server.start()
    same = sum(server.post("/recommend", body) == old for body, old in zip(asked, before, strict=True))
    return {"asked": len(asked), "same_answers": same, "seconds_to_answer_again": server.seconds_to_ready}


if __name__ == "__main__":
    main()
