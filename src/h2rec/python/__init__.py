"""H2Rec for people who import: models that are fitted, asked, kept fresh and saved."""
