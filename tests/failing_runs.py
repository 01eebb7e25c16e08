"""Runs of a suite that end as they should not; in a module of its own, for processes that are started anew."""

import os
import signal
import time
from pathlib import Path

from h2rec.errors import MissingExtraError
from h2rec.research.suite.runs import carry_out


def run(job, stages, threads):
    """Carry a run out, unless its row is one that ends badly."""
    if job.model == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.model == "odd":
        raise ValueError("nobody expected this")
    if job.model == "bare":
        raise MissingExtraError("tune", "tune")
    if job.model == "slow":
        begin_and_never_end(job)
    carry_out(job, stages, threads)


def stop_at_h2rec(job, stages, threads):
    """Carry a run out, unless its row is H2Rec, which never comes to its end."""
    if job.model == "H2Rec":
        begin_and_never_end(job)
    carry_out(job, stages, threads)


def begin_and_never_end(job):
    job.folder.mkdir(parents=True)
    (job.folder / "begun").touch()
    time.sleep(600)
