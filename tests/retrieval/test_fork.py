"""A bundle that was loaded before a fork: the child says so at once, where it would hang."""

import os
import signal

import pytest

from h2rec.errors import H2RecError
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.filters import ItemFilter


@pytest.mark.parametrize("ask", ["recommend", "filter", "similar", "load"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_to_load_for_itself(recommender, ask):
    def question():
        if ask == "load":
            Bundle.load(recommender.bundle.folder)
        elif ask == "similar":
            recommender.similar("i3")
        else:
            where = {"category": ["razor"]} if ask == "filter" else {}
            recommender.recommend(["i3"], filter=ItemFilter.make(where=where))

    question()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            question()
        except H2RecError as error:
            os._exit(0 if "after the fork" in str(error) else 2)
        os._exit(3)
    assert os.waitpid(child, 0)[1] == 0
    question()
