"""The network of RQ-VAE: encoder, residual codebooks, decoder, and how gradients pass the codes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from h2rec.semantic_ids.residual import nearest_codes, residual_codes, sum_of_codes


class Pass(NamedTuple):
    """What one pass over a batch gives the losses.

    Parameters
    ----------
    reconstruction
        `[B, m]`.
    residuals
        What each level had to quantize, `[B, L, d]`, with gradients to the encoder.
    chosen
        The codes' vectors that it chose, `[B, L, d]`, with gradients to the codebooks.
    codes
        int64 `[B, L]`.
    """

    reconstruction: Tensor
    residuals: Tensor
    chosen: Tensor
    codes: Tensor


class LinearWithCorrection(nn.Module):
    """A linear map plus a small MLP that starts at zero.

    With the linear part set to the principal components, an untrained RQ-VAE is exactly residual k-means
    behind a PCA: training starts from there and improves on it.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.correction = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, outputs),
        )
        last = self.correction[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, points: Tensor) -> Tensor:
        """Map `[n, inputs]` to `[n, outputs]`."""
        mapped: Tensor = self.linear(points) + self.correction(points)
        return mapped


class RQVAENetwork(nn.Module):
    """Encoder, `L` codebooks `[K, d]` and decoder, with the scaling of the embeddings built in.

    Parameters
    ----------
    dimension, latent, hidden
        Sizes of the embeddings `m`, of the codes' vectors `d`, and of the MLPs.
    levels, codebook_size
        `L` and `K`.
    """

    mean: Tensor
    scale: Tensor
    biases: Tensor

    def __init__(self, dimension: int, latent: int, hidden: int, levels: int, codebook_size: int) -> None:
        super().__init__()
        self.encoder = LinearWithCorrection(dimension, hidden, latent)
        self.decoder = LinearWithCorrection(latent, hidden, dimension)
        self.codebooks = nn.Parameter(torch.zeros(levels, codebook_size, latent))
        self.register_buffer("biases", torch.zeros(levels, codebook_size))
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
        return residual_codes(self.encoder(self.standardize(embeddings)), self.codebooks, self.biases)

    def decode(self, codes: Tensor) -> Tensor:
        """Embeddings `[n, m]` of codes `[n, p]`."""
        decoded: Tensor = self.decoder(sum_of_codes(codes, self.codebooks)) / self.scale + self.mean
        return decoded

    def forward(self, points: Tensor, rotation_trick: bool = False) -> Pass:
        """Encode, quantize and decode standardized embeddings `[B, m]`."""
        latent = self.encoder(points)
        residual, residuals, chosen, codes = latent, [], [], []
        for codebook, bias in zip(self.codebooks, self.biases, strict=True):
            code = nearest_codes(residual.detach(), codebook.detach(), bias)
            # Its gradient is summed in a fixed order whatever the threads; that of plain indexing need not be.
            vector = nn.functional.embedding(code, codebook)
            residuals.append(residual)
            chosen.append(vector)
            codes.append(code)
            # A level's own vector is fixed for the next one, so that each codebook fits its own residuals.
            residual = residual - vector.detach()
        total = torch.stack(chosen, dim=1)
        quantized = pass_gradient(latent, total.sum(dim=1), rotation_trick)
        return Pass(self.decoder(quantized), torch.stack(residuals, 1), total, torch.stack(codes, 1))


def pass_gradient(latent: Tensor, quantized: Tensor, rotation_trick: bool = False) -> Tensor:
    """Return `quantized` `[n, d]`, through which the decoder's gradient reaches encoder and codebooks.

    The codebooks take the gradient as it is. The encoder takes it straight through (van den Oord et al. 2017)
    or, with the rotation trick (Fifty et al. 2024, section 4), turned and scaled as `latent` turns into
    `quantized`.
    """
    if not rotation_trick:
        return quantized + (latent - latent.detach())
    tiny = torch.finfo(latent.dtype).eps
    target = quantized.detach()
    length = latent.detach().norm(dim=1, keepdim=True).clamp_min(tiny)
    target_length = target.norm(dim=1, keepdim=True).clamp_min(tiny)
    source_direction, target_direction = latent.detach() / length, target / target_length
    mirror: Tensor = nn.functional.normalize(source_direction + target_direction, dim=1)
    rotated = (
        latent
        - 2 * (latent * mirror).sum(dim=1, keepdim=True) * mirror
        + 2 * (latent * source_direction).sum(dim=1, keepdim=True) * target_direction
    )
    turned: Tensor = rotated * (target_length / length)
    passed: Tensor = quantized + (turned - turned.detach())
    return passed
