"""Contract tests for parts of other packages; each check takes what a configuration says.

::

    import h2rec_conv  # registers the backbone 'conv', or your package's entry point does
    from h2rec.testing import check_backbone

    def test_contract():
        check_backbone({"name": "conv", "width": 3})

Every check raises an `AssertionError` that says in one sentence what does not hold, or a `ConfigError` for a name or
settings that do not exist. A check takes some seconds, needs no test framework, and makes its own small data.
"""

from h2rec.testing.backbones import check_backbone
from h2rec.testing.branches import check_branch
from h2rec.testing.losses import check_ranking_loss
from h2rec.testing.models import check_model
from h2rec.testing.quantizers import check_quantizer

__all__ = ["check_backbone", "check_branch", "check_model", "check_quantizer", "check_ranking_loss"]
