"""The network of RQ-VAE: encoder, residual codebooks, decoder, and how gradients pass the codes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from h2rec.semantic_ids.residual import nearest_codes, residual_codes, sum_of_codes

HIDDEN = 512
"""Width of the two hidden layers of encoder and decoder."""


class Pass(NamedTuple):
    """Result of one pass over a batch, for the losses."""

    reconstruction: Tensor
    """`[B, m]`."""
    residuals: Tensor
    """Input of each level, `[B, L, d]`, with gradients to the encoder."""
    chosen: Tensor
    """Vectors of the chosen codes, `[B, L, d]`, with gradients to the codebooks."""
    codes: Tensor
    """int64 `[B, L]`."""


class LinearWithCorrection(nn.Module):
    """A linear map plus a small MLP that starts at zero.

    With the linear part set to the principal components, an untrained RQ-VAE is exactly residual k-means after a PCA.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        last = nn.Linear(HIDDEN, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.correction = nn.Sequential(
            nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), last
        )

    def forward(self, points: Tensor) -> Tensor:
        """Map `[n, inputs]` to `[n, outputs]`."""
        return self.linear(points) + self.correction(points)  # type: ignore[no-any-return]


class RQVAENetwork(nn.Module):
    """Encoder, `L` codebooks `[K, d]` and decoder, with the scaling of the embeddings `[n, m]` built in.

    `dimension` is `m`, `latent` `d`, `levels` `L` and `codebook_size` `K`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dimension: int, latent: int, levels: int, codebook_size: int) -> None:
        super().__init__()
        self.encoder = LinearWithCorrection(dimension, latent)
        self.decoder = LinearWithCorrection(latent, dimension)
        self.codebooks = nn.Parameter(torch.zeros(levels, codebook_size, latent))
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(()))

    def start_from(self, mean: Tensor, components: Tensor, scale: Tensor) -> None:
        """Set the linear parts to a PCA with the given mean `[m]` and directions `[d, m]`."""
        with torch.no_grad():
            self.mean.copy_(mean)
            self.scale.copy_(scale)
            for module, weight in ((self.encoder, components), (self.decoder, components.T)):
                module.linear.weight.copy_(weight)
                module.linear.bias.zero_()

    def standardize(self, embeddings: Tensor) -> Tensor:
        """Centre embeddings `[n, m]` and scale them to unit variance a dimension, on average."""
        return (embeddings - self.mean) * self.scale

    def encode(self, embeddings: Tensor) -> Tensor:
        """Codes of embeddings `[n, m]`, int64 `[n, L]`."""
        return residual_codes(self.encoder(self.standardize(embeddings)), self.codebooks)

    def decode(self, codes: Tensor) -> Tensor:
        """Embeddings `[n, m]` of codes `[n, p]`."""
        return self.decoder(sum_of_codes(codes, self.codebooks)) / self.scale + self.mean  # type: ignore[no-any-return]

    def forward(self, points: Tensor) -> Pass:
        """Encode, quantize and decode standardized embeddings `[B, m]`."""
        latent = self.encoder(points)
        residual, residuals, chosen, codes = latent, [], [], []
        for codebook in self.codebooks:
            code = nearest_codes(residual.detach(), codebook.detach())
            # Not plain indexing: the order in which its gradient is summed may depend on the threads.
            vector = nn.functional.embedding(code, codebook)
            residuals.append(residual)
            chosen.append(vector)
            codes.append(code)
            # Detached for the next level, so that each codebook fits its own residuals.
            residual = residual - vector.detach()
        total = torch.stack(chosen, dim=1)
        # Straight through: codebooks and encoder get the decoder's gradient unchanged (van den Oord et al. 2017).
        quantized = total.sum(dim=1) + (latent - latent.detach())
        return Pass(self.decoder(quantized), torch.stack(residuals, 1), total, torch.stack(codes, 1))
