"""A large bundle with the shape of a trained one, for load tests: its catalogue is grown (`grown_catalogue.py`).

Hash IDs are those of the grown items, likeness is that of the real items they were made of, and counts those of real
histories that run through grown items. The encoder is the trained one.

python benchmarks/serving/grown_bundle.py runs/shop OUT --items 1000000
"""

import argparse
from pathlib import Path

import polars as pl
import torch
from grown_catalogue import GrownCatalogue, grown_catalogue, with_grown_likeness
from million_items import real_histories

from h2rec.data.popularity import head_items
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.retrieval.bundle import Bundle, BundleParts, write_bundle


def grown_model(bundle: Bundle, grown: GrownCatalogue, features: ItemFeatures, seed: int) -> SequenceModel:
    """The trained encoder over grown hash IDs and texts."""
    model = build_model(bundle.manifest.model, features, seed=seed)
    trained, base = bundle.model.state_dict(), torch.from_numpy(grown.base) + 1
    encoder = "branches.ids.encoder."
    model.load_state_dict({n: v for n, v in trained.items() if n.startswith(encoder)}, strict=False)
    ids, stop = model.branches["ids"].table.vectors.weight, model.settings.dim
    real = trained["branches.ids.table.vectors.weight"][base]
    with torch.no_grad():
        ids[1 : len(base) + 1] = torch.from_numpy(grown.vectors[1:, :stop]) * real.norm(dim=1, keepdim=True)
    return with_grown_likeness(model, bundle, grown)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, help="folder of a finished run of the default preset, with text")
    parser.add_argument("out", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10, help="count each real history this often")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    bundle, count = Bundle.load(asked.run / "bundle"), asked.items
    if count < 10 * len(bundle.items):
        parser.error(f"--items: ten for each of the {len(bundle.items):,} real ones at least")
    grown = grown_catalogue(bundle, count, asked.seed)
    train = grown.histories(real_histories(asked.run), asked.times, asked.seed)
    counts = train.counts(count)
    features = ItemFeatures(count, grown.ids, train_counts=counts, train=train)
    model = grown_model(bundle, grown, features, asked.seed)
    titles = bundle.items["title"].to_numpy()[grown.base]
    parts = BundleParts(
        model=model,
        settings=bundle.manifest.model,
        items=pl.DataFrame({"item_id": [f"i{row}" for row in range(count)], "title": titles}),
        train_counts=counts,
        head=head_items(counts),
        semantic_ids=grown.ids,
        collisions="keep",
        encoder=None,
        quantizer=None,
        text=None,
        text_fields=None,
        provenance={"made": f"grown from {len(bundle.items)} items, for load tests"},
        repeats=bundle.manifest.repeats,
    )
    write_bundle(asked.out, parts)


if __name__ == "__main__":
    main()
