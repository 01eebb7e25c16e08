"""Contract tests that a part of your own passes like ours: give each check what a configuration would say.

::

    import h2rec_conv  # registers the backbone 'conv', or your package's entry point does
    from h2rec.testing import check_backbone

    def test_contract():
        check_backbone({"name": "conv", "width": 3})

Every check raises an `AssertionError` that says in one sentence what does not hold. They take some seconds each, need
no test framework, and make their own small data.
"""

from h2rec.testing.backbones import check_backbone
from h2rec.testing.branches import check_branch
from h2rec.testing.losses import check_ranking_loss
from h2rec.testing.models import check_model

__all__ = ["check_backbone", "check_branch", "check_model", "check_ranking_loss"]
