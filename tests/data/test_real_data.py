"""The development data read as their README tells."""

import numpy as np
import pytest

from h2rec.data.prepare import prepare
from h2rec.data.settings import DataSettings
from h2rec.data.splits import split

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize(
    ("name", "counts", "fields"),
    [
        ("beauty", (22_363, 12_101, 198_502), ["title", "keywords"]),
        ("scientific", (8_442, 4_385, 59_384), ["title"]),
        ("yelp", (30_431, 20_033, 316_354), ["title", "categories"]),
        ("instruments", (24_772, 9_922, 206_153), []),
    ],
)
def test_counts(datasets_folder, name, counts, fields):
    folder = datasets_folder / name
    item_file = folder / f"{name}.item" if fields else None
    data = prepare(DataSettings(interactions=folder / f"{name}.inter", items=item_file))
    assert (data.user_count, data.item_count, len(data.histories.items)) == counts
    assert data.items.columns == ["item_id", *fields]
    assert data.report["items_without_text"] == (0 if fields else counts[1])


def test_beauty_against_the_file_read_line_by_line(datasets_folder):
    folder = datasets_folder / "beauty"
    data = prepare(DataSettings(interactions=folder / "beauty.inter", items=folder / "beauty.item", k_core=5))
    lines = (folder / "beauty.inter").read_text().splitlines()[1:]
    expected: dict[str, list[tuple[float, str]]] = {}
    for line in lines:
        user, item, time = line.split("\t")
        expected.setdefault(user, []).append((float(time), item))
    ids = np.array(["", *data.items["item_id"]], dtype=object)
    assert list(data.user_ids) == list(expected)  # the published slice is a 5-core already
    for row in (0, 1, 11_111, 22_362):
        told = [item for _, item in sorted(expected[data.user_ids[row]], key=lambda pair: pair[0])]
        assert ids[data.histories[row]].tolist() == told
    texts = [line.split("\t") for line in (folder / "beauty.item").read_text().splitlines()[1:]]
    assert data.items["title"].fill_null("").to_list() == [text[1] for text in texts]
    made = split(data)
    assert len(made.test) == 22_363
    assert len(made.train.items) == 198_502 - 2 * 22_363
