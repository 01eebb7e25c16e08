import sys
from types import ModuleType

from h2rec.progress import progress_bar


def test_a_notebook_shows_a_bar_without_its_widgets(monkeypatch):
    shown = []
    display = ModuleType("IPython.display")

    class Handle:
        update = staticmethod(shown.append)

    def begin(what, display_id):
        shown.append(what)
        return Handle() if display_id else None

    display.display = begin
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    with progress_bar("training", 300, "cases") as advance:
        for _ in range(200):
            advance(1)
    assert len(shown) == 2  # not at every step: a notebook keeps up with few changes a second
    assert "training" in (html := shown[-1]._repr_mimebundle_([], [])["text/html"])
    assert "200/300" in html


def test_others_are_left_in_peace(capfd):
    with progress_bar("training", 3) as advance:
        advance(3)
    assert capfd.readouterr() == ("", "")
