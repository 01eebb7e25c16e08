"""Every quantizer at every size on every catalogue: error, use, collisions, time.

Run: python benchmarks/semantic_ids/quantizers.py [--threads 1]
"""

import argparse
import time

import numpy as np
from catalogues import NAMES, RESULTS, Catalogue, catalogue, figures

from h2rec.experiments.provenance import provenance
from h2rec.files import write_json
from h2rec.runtime import set_threads
from h2rec.semantic_ids.embeddings import squared_errors, variance
from h2rec.semantic_ids.quantizers import create
from h2rec.semantic_ids.settings import SemanticIdSettings

SEED = 0
SIZES = ((4, 128), (4, 64), (4, 256), (3, 256), (8, 128))
QUANTIZERS = {
    "rqvae": {},
    "rqkmeans": {"quantizer": "rqkmeans"},
    "rqkmeans, pca 32": {"quantizer": "rqkmeans", "pca": 32},
    "rqkmeans, balanced": {"quantizer": "rqkmeans", "kmeans": {"balanced": True}},
    "pq": {"quantizer": "pq"},
    "opq": {"quantizer": "opq"},
}


def measure(data: Catalogue, values: dict, levels: int, codebook_size: int) -> dict[str, object]:
    """Fit one quantizer on a whole catalogue; at 4x128 also on nine tenths, judged on the tenth it never saw."""
    settings = SemanticIdSettings.parse({"levels": levels, "codebook_size": codebook_size, **values})
    wall, processor = time.perf_counter(), time.process_time()
    quantizer = create(settings).fit(data.embeddings, seed=SEED)
    codes = quantizer.encode(data.embeddings)
    took = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}
    found = figures(data, codes, quantizer.decode(codes), codebook_size) | took
    if (levels, codebook_size) == (4, 128):
        unseen = np.random.default_rng(SEED).random(len(codes)) < 0.1
        partly = create(settings).fit(data.embeddings[~unseen], seed=SEED)
        errors = squared_errors(partly, data.embeddings[unseen])
        found["unseen_error"] = float(errors.mean()) / variance(data.embeddings)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    set_threads(parser.parse_args().threads)
    catalogues = [catalogue(name) for name in NAMES]
    rows = []
    for levels, codebook_size in SIZES:
        for data in catalogues:
            for label, values in QUANTIZERS.items():
                found = measure(data, values, levels, codebook_size)
                size = {"levels": levels, "codebook_size": codebook_size}
                rows.append(
                    {"data": data.name, "items": len(data.texts), "quantizer": label, **size, **found}
                )
                print(rows[-1], flush=True)
                write_json(RESULTS / "quantizers.json", {"provenance": provenance(SEED), "rows": rows})


if __name__ == "__main__":
    main()
