"""What an experiment costs the server: CPU time and answers a second, side by side, with and without its log.

Servers of one bundle answer the same questions in turns, a round each: without an experiment, with one whose two arms
are the bundle itself, and with one that waits for the disk (`fsync`). CPU time is the server's own, so other work on
the machine disturbs it little.

    python benchmarks/serving/made_bundle.py made
    python benchmarks/serving/experiment_log.py made
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from load import questions
from provenance import write_results

USERS = 4
PAUSE = 0.05


class Server:
    """`h2rec serve` as a process of its own."""

    def __init__(self, bundle: Path, port: int, experiment: Path | None) -> None:
        words = [sys.executable, "-m", "h2rec", "serve", str(bundle), "--port", str(port)]
        self.port = port
        self.process = subprocess.Popen(
            words + ([] if experiment is None else ["--experiment", str(experiment)])
        )
        while True:
            try:
                self.ask(http.client.HTTPConnection("127.0.0.1", port, timeout=60), '{"history": []}')
                break
            except OSError:
                time.sleep(0.1)

    def ask(self, connection: http.client.HTTPConnection, body: str) -> int:
        """Status of an answer."""
        connection.request("POST", "/recommend", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def round(self, bodies: list[str]) -> dict[str, float]:
        """Answer all questions, asked by several users without a pause."""
        waiting, lock = list(bodies), threading.Lock()
        statuses: list[int] = []
        refused: list[int] = []

        def user() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            while True:
                with lock:
                    if not waiting:
                        return
                    body = waiting.pop()
                while (status := self.ask(connection, body)) == 503:
                    refused.append(status)
                    time.sleep(PAUSE)
                statuses.append(status)

        cpu, started = self.cpu(), time.perf_counter()
        threads = [threading.Thread(target=user) for _ in range(USERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        answered = statuses.count(200)
        return {
            "answered": answered,
            "refused": len(refused),
            "cpu_ms_an_answer": 1000 * (self.cpu() - cpu) / answered,
            "answers_a_second": answered / seconds,
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--port", type=int, default=18_400)
    arguments = parser.parse_args()
    asked = [
        json.dumps(json.loads(body) | {"user_id": f"u{number}"})
        for number, body in enumerate(questions(arguments.bundle, arguments.questions, 0))
    ]
    with tempfile.TemporaryDirectory() as scratch:
        files: dict[str, Path | None] = {"without": None}
        for name, fsync in (("logged", False), ("logged, fsync", True)):
            file = Path(scratch) / f"{name}.yaml"
            log = {"folder": name, "fsync": fsync}
            file.write_text(
                yaml.safe_dump({"name": name, "arms": {"control": {}, "treatment": {}}, "log": log})
            )
            files[name] = file
        servers = {
            name: Server(arguments.bundle, arguments.port + number, file)
            for number, (name, file) in enumerate(files.items())
        }
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for server in servers.values():
            server.round(asked[:200])
        for _ in range(arguments.rounds):
            for name, server in servers.items():
                rounds[name].append(server.round(asked))
        for server in servers.values():
            server.process.terminate()
            server.process.wait()
    results: dict[str, Any] = {"rounds": rounds}
    for figure in ("cpu_ms_an_answer", "answers_a_second"):
        medians = {name: sorted(row[figure] for row in rows)[len(rows) // 2] for name, rows in rounds.items()}
        results[figure] = medians
        results[f"{figure}, ratio"] = {name: value / medians["without"] for name, value in medians.items()}
    print(json.dumps({name: value for name, value in results.items() if name != "rounds"}, indent=1))
    write_results("experiment_log", 0, results)


if __name__ == "__main__":
    main()
