import numpy as np
import polars as pl
import pytest

from h2rec.errors import ConfigError
from h2rec.text.embed import embed
from h2rec.text.noise import NOTHING, NoiseSettings, text_sources
from h2rec.text.settings import TextSettings

ITEMS = 50


def sources(kind, share):
    return text_sources(NoiseSettings(kind=kind, share=share), ITEMS)


@pytest.mark.parametrize("kind", ["drop", "swap", "replace"])
def test_the_share_loses_its_own_text_and_the_others_keep_it(kind):
    assert (sources(kind, 0.4) != np.arange(ITEMS)).sum() == 20
    assert (sources(kind, 0.0) == np.arange(ITEMS)).all()
    assert (sources(kind, 1.0) != np.arange(ITEMS)).all()


def test_what_each_kind_does():
    assert set(sources("drop", 0.4)) == {NOTHING, *np.flatnonzero(sources("drop", 0.4) != NOTHING)}
    assert sorted(sources("swap", 0.4)) == list(range(ITEMS))
    assert len(set(sources("replace", 0.4))) < ITEMS
    assert NOTHING not in sources("replace", 1.0)


def test_a_greater_share_spoils_more_of_the_same():
    spoiled = {share: set(np.flatnonzero(sources("swap", share) != np.arange(ITEMS))) for share in (0.2, 0.4)}
    assert spoiled[0.2] < spoiled[0.4]
    assert (sources("swap", 0.4) == sources("swap", 0.4)).all()


def items():
    return pl.DataFrame(
        {"item_id": [f"i{n}" for n in range(ITEMS)], "title": [f"word{n} thing{n % 7}" for n in range(ITEMS)]}
    )


def embedded(tmp_path, noise):
    settings = TextSettings(encoder="tfidf", dim=8, noise=noise)
    return embed(items(), settings, cache=tmp_path)


def test_embeddings_follow_the_texts(tmp_path):
    swapped = embedded(tmp_path, NoiseSettings(kind="swap", share=0.4))
    texts = items()["title"].to_list()
    expected = swapped.encoder.encode([texts[source] for source in sources("swap", 0.4)])
    np.testing.assert_allclose(swapped.vectors, expected, atol=1e-5)
    dropped = embedded(tmp_path, NoiseSettings(kind="drop", share=0.4))
    assert (dropped.has_text == (sources("drop", 0.4) != NOTHING)).all()


def test_ready_embeddings_are_spoiled_the_same_way(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 8)).astype(np.float32)
    np.save(tmp_path / "ready.npy", vectors)
    read = {}
    for kind in (None, "swap", "drop"):
        noise = None if kind is None else NoiseSettings(kind=kind, share=0.4)
        read[kind] = embed(items(), TextSettings(encoder=str(tmp_path / "ready.npy"), noise=noise))
    np.testing.assert_array_equal(read["swap"].vectors, read[None].vectors[sources("swap", 0.4)])
    assert (read["drop"].has_text == (sources("drop", 0.4) != NOTHING)).all()


def test_without_noise_nothing_is_told_of_it():
    # The keys of finished stages are made of this.
    assert "noise" not in TextSettings().model_dump(mode="json")
    told = TextSettings(noise=NoiseSettings(share=0.2)).model_dump(mode="json")
    assert told["noise"] == {"kind": "swap", "share": 0.2}
    assert TextSettings.parse(told).noise == NoiseSettings(share=0.2)
    # No share of the texts is no noise, of whatever kind.
    assert "noise" not in TextSettings(noise=NoiseSettings(kind="drop", share=0.0)).model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"noise\.share"):
        TextSettings.parse({"noise": {"share": 1.5}})
