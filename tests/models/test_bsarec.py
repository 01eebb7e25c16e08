"""BSARec's filter against the Fourier transform that the paper takes it from."""

import pytest
import torch

from h2rec.models.backbones.bsarec import FREQUENCIES, low_pass_response


@pytest.mark.parametrize("length", [2, 5, 7, 50])
def test_the_last_position_is_that_of_the_published_filter(length):
    history = torch.randn(length, 3, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(history, dim=0, norm="ortho")
    spectrum[FREQUENCIES:] = 0
    low = torch.fft.irfft(spectrum, n=length, dim=0, norm="ortho")
    from_the_end = low_pass_response(length).flip(0)
    torch.testing.assert_close(from_the_end @ history, low[-1], atol=1e-5, rtol=1e-4)
