"""The bar: RQ-VAE at 4x128 on two cores in under 60 s, 95% of every level used, no worse than residual k-means.

Run: python benchmarks/semantic_ids/bar.py
"""

import time

from catalogues import NAMES, RESULTS, Catalogue, catalogue, figures

from h2rec.files import write_json
from h2rec.run.provenance import provenance
from h2rec.runtime import set_threads
from h2rec.semantic_ids.quantizers import create
from h2rec.semantic_ids.settings import SemanticIdSettings

SEED = 0


def measure(data: Catalogue, quantizer: str) -> dict[str, object]:
    settings = SemanticIdSettings(quantizer=quantizer, levels=4, codebook_size=128)
    started, processor = time.perf_counter(), time.process_time()
    fitted = create(settings).fit(data.embeddings, seed=SEED)
    codes = fitted.encode(data.embeddings)
    took = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - processor}
    return {**figures(data, codes, fitted.decode(codes), 128), **took}


def main() -> None:
    set_threads(2)
    rows = []
    for name in NAMES:
        data = catalogue(name)
        learned, clustered = measure(data, "rqvae"), measure(data, "rqkmeans")
        held = {
            "under 60 s": learned["seconds"] < 60,
            "every level at least 95% used": min(learned["utilisation"]) >= 0.95,
            "error no worse": learned["error"] <= clustered["error"],
            "avoidable collisions no worse": learned["avoidable"] <= clustered["avoidable"],
        }
        rows.append(
            {"data": name, "items": len(data.texts), "rqvae": learned, "rqkmeans": clustered, "held": held}
        )
        print(rows[-1], flush=True)
    write_json(RESULTS / "bar.json", {"provenance": provenance(SEED), "rows": rows})


if __name__ == "__main__":
    main()
