"""`h2rec serve` as a process of its own."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families


class Served:
    """`h2rec serve` on a free port, set by options or by the environment."""

    def __init__(self, bundle, **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = [sys.executable, "-m", "h2rec", "serve", str(bundle), "--port", str(self.port)]
        environment = os.environ | environment
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, env=environment)
        deadline = time.monotonic() + 180
        while True:
            try:
                self.ask("GET", "/readyz")
                return
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    def figures(self):
        """What a scrape reads, by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }

    def workers(self):
        """Its processes that answer."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        mine = [int(number) for number in children.split()]
        return [number for number in mine if b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()]

    def end(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


def until(true, seconds=180):
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if true():
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)
