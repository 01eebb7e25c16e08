"""Backbones, the two branches and H2Rec; every model maps histories and items to vectors that meet in a product."""
