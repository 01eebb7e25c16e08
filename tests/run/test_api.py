import h2rec
from made_shop import write_shop


def test_every_public_name_is_there():
    for name in h2rec.__all__:
        assert getattr(h2rec, name) is not None
    assert set(h2rec._HOMES) == set(h2rec.__all__)


def test_fit_and_recommend(tmp_path):
    recommender = h2rec.fit(write_shop(tmp_path), tmp_path / "out")
    answer = recommender.recommend(["i1", "i5"], k=3)
    assert len(answer.items) == 3
    assert (tmp_path / "out" / "metrics.json").exists()
    values = {
        "data": {"interactions": str(tmp_path / "interactions.csv")},
        "model": {"name": "sasrec", "dim": 8},
    }
    values |= {"train": {"epochs": 1}, "evaluate": {"protocols": ["full"]}}
    assert len(h2rec.fit(values, tmp_path / "plain").recommend(["i1"], k=2).items) == 2
