"""A small shop: users who walk through themes, items whose titles tell the theme."""

import csv
from pathlib import Path

import numpy as np

THEMES = ("tea green leaf", "chess wooden board", "garden rose soil", "bike chain wheel")
ITEMS = 60


def write_shop(folder: Path, users: int = 80, seed: int = 0) -> Path:
    """Write interactions, items and a small configuration; return the configuration."""
    random = np.random.default_rng(seed)
    with (folder / "items.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["item_id", "title"])
        rows.writerows([f"i{item}", f"{THEMES[item % len(THEMES)]} number {item}"] for item in range(ITEMS))
    with (folder / "interactions.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["user_id", "item_id", "timestamp"])
        for user in range(users):
            start = int(random.integers(ITEMS))
            for step in range(int(random.integers(4, 9))):
                rows.writerow([f"u{user}", f"i{(start + len(THEMES) * step) % ITEMS}", step])
    config = folder / "shop.yaml"
    config.write_text(
        """
data: {interactions: interactions.csv, items: items.csv}
text: {encoder: tfidf, dim: 16}
semantic_ids: {quantizer: rqkmeans, levels: 2, codebook_size: 8}
model: {name: h2rec, dim: 16, layers: 1}
loss: {negatives: {count: 20}}
train: {epochs: 3, evaluate_every: 1, learning_rate: 0.01, schedule: constant}
evaluate: {protocols: [full, sampled20], ks: [1, 5, 10]}
runtime: {threads: 1, device: cpu}
"""
    )
    return config
