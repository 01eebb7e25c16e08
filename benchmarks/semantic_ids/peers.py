"""Side by side in one run with vector-quantize-pytorch and semantic-id: same embeddings, 4x128, one thread.

Both are given their k-means start. ResidualVQ has no fitting loop of its own: batch size and dead-code threshold
are those of least error on `scientific` out of (2048, 2), (1024, 1) and (256, 0). RQ-VAEs get our number of
passes and layer widths; semantic-id's also runs with its own defaults. Ours also run with colliding items
reassigned to free tuples, which is part of their time.

Run: pip install vector-quantize-pytorch semantic-id, then python benchmarks/semantic_ids/peers.py
"""

import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import semantic_id
import torch
from catalogues import NAMES, RESULTS, catalogue, figures
from torch import nn
from vector_quantize_pytorch import ResidualVQ

from h2rec.files import write_json
from h2rec.run.provenance import provenance
from h2rec.runtime import set_threads
from h2rec.semantic_ids.embeddings import Embeddings
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.semantic_ids.tokenize import tokenize

SEED, LEVELS, CODES = 0, 4, 128
EPOCHS, BATCH, HIDDEN, LATENT = 30, 256, 512, 32
LAYER_BATCH = 1024

Fitted = tuple[np.ndarray, Embeddings]
"""Codes `[N, L]` and reconstructions `[N, m]` of the catalogue."""


def ours(**changes: object) -> Callable[[Embeddings], Fitted]:
    settings = SemanticIdSettings.parse({"levels": LEVELS, "codebook_size": CODES, **changes})

    def fit(embeddings: Embeddings) -> Fitted:
        item_ids = [str(row) for row in range(len(embeddings))]
        tokenized = tokenize(embeddings, item_ids, settings, seed=SEED)
        assert tokenized.quantizer is not None
        codes = tokenized.semantic_ids.codes
        return codes, tokenized.quantizer.decode(codes)

    return fit


def residual_vq(embeddings: Embeddings) -> Fitted:
    """The layer on the embeddings themselves, trained by its moving averages."""
    torch.manual_seed(SEED)
    layer = ResidualVQ(
        dim=embeddings.shape[1],
        num_quantizers=LEVELS,
        codebook_size=CODES,
        kmeans_init=True,
        threshold_ema_dead_code=1,
    )
    points = torch.from_numpy(embeddings)
    with torch.no_grad():
        layer(points[torch.randperm(len(points))[:8192]][None])  # k-means on a large first batch
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(points)).split(LAYER_BATCH):
                layer(points[rows][None])
        layer.eval()
        quantized, codes, _ = layer(points[None])
    return codes[0].numpy(), quantized[0].numpy()


def residual_vq_autoencoder(embeddings: Embeddings) -> Fitted:
    """The layer between an encoder and a decoder of our widths."""
    torch.manual_seed(SEED)
    m = embeddings.shape[1]
    encoder, decoder = _layers(m, LATENT), _layers(LATENT, m)
    layer = ResidualVQ(
        dim=LATENT, num_quantizers=LEVELS, codebook_size=CODES, kmeans_init=True, threshold_ema_dead_code=0
    )
    spread = float(embeddings.std(axis=0).mean())
    mean = torch.from_numpy(embeddings.mean(axis=0))
    points = (torch.from_numpy(embeddings) - mean) / spread
    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    steps = EPOCHS * -(-len(points) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(points)).split(BATCH):
            quantized, _, commitment = layer(encoder(points[rows])[None])
            loss = nn.functional.mse_loss(decoder(quantized[0]), points[rows]) + commitment.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    layer.eval()
    with torch.no_grad():
        quantized, codes, _ = layer(encoder(points)[None])
        decoded = decoder(quantized[0]) * spread + mean
    return codes[0].numpy(), decoded.numpy()


def _layers(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, outputs)
    )


def semantic_id_kmeans(embeddings: Embeddings) -> Fitted:
    model = semantic_id.RQKMeans(n_levels=LEVELS, n_clusters=CODES, random_state=SEED)
    codes = model.fit(embeddings).encode(embeddings)
    return codes, model.decode(codes)


def semantic_id_rqvae(**settings: object) -> Callable[[Embeddings], Fitted]:
    def fit(embeddings: Embeddings) -> Fitted:
        torch.manual_seed(SEED)
        model = semantic_id.RQVAE(
            in_dim=embeddings.shape[1], num_emb_list=[CODES] * LEVELS, kmeans_init=True, **settings
        )
        codes = model.fit(embeddings).encode(embeddings)
        return codes, model.decode(codes)

    return fit


SAME_STEPS = {"e_dim": LATENT, "layers": [HIDDEN, HIDDEN], "lr": 1e-3, "batch_size": BATCH, "epochs": EPOCHS}
TOKENIZERS: dict[str, Callable[[Embeddings], Fitted]] = {
    "h2rec RQ-VAE": ours(),
    "h2rec RQ-VAE, reassigned": ours(collisions="reassign"),
    "h2rec RQ-k-means": ours(quantizer="rqkmeans"),
    "h2rec RQ-k-means, reassigned": ours(quantizer="rqkmeans", collisions="reassign"),
    "vector-quantize-pytorch ResidualVQ": residual_vq,
    "vector-quantize-pytorch ResidualVQ, autoencoder": residual_vq_autoencoder,
    "semantic-id RQKMeans": semantic_id_kmeans,
    "semantic-id RQVAE, its defaults": semantic_id_rqvae(),
    "semantic-id RQVAE, our steps and widths": semantic_id_rqvae(**SAME_STEPS),
}


def main() -> None:
    set_threads(1)
    catalogues = [catalogue(name) for name in NAMES]
    origin = provenance(SEED)  # before the results file changes: it belongs to the state of the code
    packages = {name: version(name) for name in ("vector-quantize-pytorch", "semantic-id")}
    rows = []
    for data in catalogues:
        for label, fit in TOKENIZERS.items():
            wall, processor = time.perf_counter(), time.process_time()
            codes, reconstruction = fit(data.embeddings)
            took = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}
            record = figures(data, np.asarray(codes), np.asarray(reconstruction, dtype=np.float32), CODES)
            rows.append({"data": data.name, "tokenizer": label, **record, **took})
            print(rows[-1], flush=True)
            content = {"provenance": origin | {"packages": packages}, "rows": rows}
            write_json(RESULTS / "peers.json", content)


if __name__ == "__main__":
    main()
