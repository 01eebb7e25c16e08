"""Hostile text encoders against one release of sentence-transformers: whether any of them runs code.

PYTHON benchmarks/safety/foreign_encoders.py [PYTHON ..]

Each Python brings its own release and whatever h2rec imports. For every hostile model three outcomes are told: what the
release does with it by itself, what h2rec does with it in a bundle, and as a user's own folder. The exit code is 1
where a trap snapped under h2rec, or where a bundle was not refused.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    failed = False
    for python in sys.argv[1:] or [sys.executable]:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([python, __file__, "--one", folder], check=False)
        failed |= done.returncode != 0
    sys.exit(failed)


def one(folder: Path) -> None:
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    import logging

    import sentence_transformers
    import torch
    import transformers

    from h2rec.errors import H2RecError
    from h2rec.text.encoders import load_encoder
    from h2rec.text.encoders.sentence import SentenceEncoder
    from hostile_encoders import HOSTILE, hostile_encoder, tiny_model

    logging.disable()
    transformers.logging.set_verbosity(100)
    print(
        f"sentence-transformers {sentence_transformers.__version__}, transformers {transformers.__version__}, "
        f"torch {torch.__version__}"
    )
    honest = SentenceEncoder(str(tiny_model(folder / "honest")))
    print(f"  {'an honest model':32} embeds {honest.encode(['red shoe']).shape}")
    failed = 0
    for name in HOSTILE:
        outcomes = []
        for by in ("release", "bundle", "folder"):
            place, trap = folder / f"{by} {name}", folder / f"{by} {name} trap"
            hostile_encoder(place, name, trap)
            sys.modules.pop("trap", None)
            sys.path.insert(0, str(place))  # a program that runs where the bundle lies
            try:
                if by == "release":
                    model = sentence_transformers.SentenceTransformer(
                        str(place / "model"), local_files_only=True
                    )
                elif by == "bundle":
                    model = load_encoder(place)
                    model._expected = None  # what a stranger writes fits together
                else:
                    model = SentenceEncoder(str(place / "model"))
                model.encode(["red"])
                outcome = "loaded"
            except H2RecError as error:
                outcome = f"refused ({error.message.rpartition(' refused: ')[2][:60]})"
            except BaseException as error:
                outcome = type(error).__name__
            sys.path.remove(str(place))
            ran = trap.exists()
            failed += (by != "release" and ran) or (by == "bundle" and not outcome.startswith("refused"))
            outcomes.append(f"{by}: {'CODE RAN, ' if ran else ''}{outcome}")
        print(f"  {name}\n      " + "\n      ".join(outcomes))
    print(f"  {failed} failures in {len(HOSTILE)} models")
    sys.exit(failed > 0)


if __name__ == "__main__":
    one(Path(sys.argv[2])) if sys.argv[1:2] == ["--one"] else main()
