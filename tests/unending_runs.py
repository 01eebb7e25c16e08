"""A run of a suite that never ends; in a module of its own, for processes that are started anew."""

from h2rec.research.suite.runs import carry_out
from light_work import begin_and_never_end


def stop_at_h2rec(job, stages, threads):
    """Carry a run out, unless its row is H2Rec, which never comes to its end."""
    if job.model == "H2Rec":
        job.folder.mkdir(parents=True)
        begin_and_never_end(job.folder / "begun")
    carry_out(job, stages, threads)
