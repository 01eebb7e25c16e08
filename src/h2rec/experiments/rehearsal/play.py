"""The real server, and users who ask it over HTTP."""

import http.client
import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from h2rec.errors import H2RecError
from h2rec.experiments.rehearsal.market import Market
from h2rec.experiments.rehearsal.world import Floats, Ints, World
from h2rec.files import write_text
from h2rec.progress import progress_bar

NAME = "rehearsal"
ARMS = ("control", "treatment")
_QUESTIONS = 64
_EVENTS = 500
_PATIENCE = 180.0
_APART = 0.002
"""Seconds between two days, more than the log's clock is fine: no row of one has a time of the other."""


@dataclass(frozen=True)
class Played:
    """What was played."""

    began: list[float]
    """When each day began, and when the last one ended, seconds since 1970."""
    answers: int
    events: int
    seconds: float


class Server:
    """`h2rec serve` with an experiment, as a process of its own."""

    def __init__(self, control: Path, experiment: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        words = [sys.executable, "-m", "h2rec", "--quiet", "serve", str(control), "--port", str(self._port)]
        self._process = subprocess.Popen([*words, "--experiment", str(experiment)])
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Answer of the server. Raises `H2RecError` if it refuses."""
        text = None if body is None else json.dumps(body)
        method = "GET" if body is None else "POST"
        while True:
            try:
                self._connection.request(method, path, text, {"content-type": "application/json"})
                answer = self._connection.getresponse()
                values = json.loads(answer.read())
            except http.client.RemoteDisconnected:  # it had waited too long for a question
                self._connection.close()
                continue
            if answer.status == 503:
                time.sleep(0.1)
                continue
            if answer.status != 200:
                raise H2RecError(f"the server refuses {path}: {values}")
            return values

    def wait(self, enabled: bool) -> None:
        """Wait until it answers and its experiment is switched so. Raises `H2RecError` if it ends or never does."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise H2RecError("the server ended before it answered")
            try:
                if self.ask("/healthz")["experiment"]["enabled"] == enabled:
                    return
            except OSError:
                self._connection.close()
            time.sleep(0.1)
        raise H2RecError(f"the server did not answer within {_PATIENCE:g} s")

    def stop(self) -> None:
        """Stop it as an operator does, so that it finishes its log."""
        self._connection.close()
        self._process.terminate()
        self._process.wait(_PATIENCE)


@contextmanager
def served(control: Path, treatment: Path, folder: Path) -> Iterator["Switchable"]:
    """Serve two bundles half and half, switched off; the log is in ``folder/served``."""
    switch = Switchable(folder, control, treatment)
    try:
        switch.server.wait(enabled=False)
        yield switch
    finally:
        switch.server.stop()


class Switchable:
    """A server and the file of its experiment."""

    def __init__(self, folder: Path, control: Path, treatment: Path) -> None:
        self._file = folder / "experiment.yaml"
        self._values: dict[str, Any] = {
            "name": NAME,
            "arms": {
                "control": {"share": 0.5},
                "treatment": {"bundle": str(treatment.absolute()), "share": 0.5},
            },
            "log": {"folder": "served", "outside": True},
        }
        self._write(enabled=False)
        self.server = Server(control, self._file)

    def switch_on(self) -> None:
        """Begin the experiment: change the file, and wait until the server has seen it."""
        self._write(enabled=True)
        self.server.wait(enabled=True)

    def _write(self, *, enabled: bool) -> None:
        write_text(self._file, yaml.safe_dump(self._values | {"enabled": enabled}, sort_keys=False))


def play(
    world: World, switch: Switchable, came: np.ndarray, *, before: int, budgets: Floats, k: int, seed: int
) -> Played:
    """Live through the days: users come, see, click, stay, buy, and advertisers pay.

    `came`: who comes on which day, bool `[before + days, n]`. `before`: days before the experiment is switched on.
    `budgets`: of a day, of each advertiser, for all users together.
    """
    random = np.random.default_rng([seed, 4])
    visitors = Visitors(world, switch.server, random, k)
    # Before it begins all are in one arm.
    markets: dict[str | None, Market] = {None: Market(budgets)}
    markets |= {arm: Market(budgets / len(ARMS)) for arm in ARMS}
    started, began = time.monotonic(), []
    with progress_bar("days", len(came), "days") as advance:
        for day, users in enumerate(came):
            if day == before and before:
                switch.switch_on()
            began.append(_a_moment_later())
            visitors.come(random.permutation(np.flatnonzero(users)), markets)
            for market in markets.values():
                market.next_day()
            advance(1, note=f"{visitors.answers:,} answers")
    began.append(_a_moment_later())
    return Played(began, visitors.answers, visitors.events, time.monotonic() - started)


class Visitors:
    """Users who come, and what they do with what they are shown."""

    def __init__(self, world: World, server: Server, random: np.random.Generator, k: int) -> None:
        self._world, self._server, self._random, self._k = world, server, random, k
        self.answers = self.events = 0

    def come(self, users: Ints, markets: Mapping[str | None, Market]) -> None:
        """Let users come, some at once."""
        for start in range(0, len(users), _QUESTIONS):
            some = users[start : start + _QUESTIONS]
            queries = [
                {"history": self._world.histories[user], "k": self._k, "user_id": self._world.users[user]}
                for user in some
            ]
            answers = self._server.ask("/recommend/batch", {"queries": queries})["answers"]
            self.answers += len(answers)
            events = self._react(some, answers, markets)
            for first in range(0, len(events), _EVENTS):
                self._server.ask("/events", {"events": events[first : first + _EVENTS]})
            self.events += len(events)

    def _react(
        self, users: Ints, answers: Sequence[Mapping[str, Any]], markets: Mapping[str | None, Market]
    ) -> list[dict[str, Any]]:
        world, random = self._world, self._random
        lists = [[item["item_id"] for item in answer["items"]] for answer in answers]
        shown = world.shown(users, world.numbered(lists, self._k))
        clicked = random.random(shown.click.shape) < shown.click
        bought = clicked & (random.random(shown.buy.shape) < shown.buy)
        stayed = shown.seconds * random.exponential(size=shown.seconds.shape)
        events: list[dict[str, Any]] = []
        for row, place in zip(*(axis.tolist() for axis in np.nonzero(clicked)), strict=True):
            answer = answers[row]
            of_item = {
                "request_id": answer["request_id"],
                "user_id": world.users[users[row]],
                "item_id": lists[row][place],
                "position": place + 1,
            }
            name = f"{answer['request_id']}-{place + 1}"
            events.append(of_item | {"event": "click", "event_id": f"{name}-click"})
            seconds = round(float(stayed[row, place]), 3)
            events.append(of_item | {"event": "dwell", "event_id": f"{name}-dwell", "seconds": seconds})
            if bought[row, place]:
                number = int(shown.items[row, place])
                bid = float(world.bids[number])
                spend = markets[answer["arm"]].charge(number, bid)
                events.append(
                    of_item
                    | {"event": "conversion", "event_id": f"{name}-conversion", "bid": bid, "spend": spend}
                )
        return events


def _a_moment_later() -> float:
    time.sleep(_APART)
    return math.floor(1000 * time.time()) / 1000
