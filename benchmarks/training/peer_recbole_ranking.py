"""Time RecBole's full-sort evaluation of given test cases. Runs in RecBole's own environment, started by `ranking.py`.

Twice: with its own SASRec of the same size, and with a model that looks up given user vectors and item vectors, so that
its metrics can be compared with ours.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import recbole
import torch
from exchange import read_cases
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from run_recbole import configured, write_atomic


def looked_up(dataset, users: np.ndarray, items: np.ndarray):
    """Return a `full_sort_predict` over given vectors: users in the order of the cases, items by our numbers."""
    tokens = dataset.field2id_token["item_id"]
    matrix = np.zeros((len(tokens), items.shape[1]), dtype=np.float32)
    for column, token in enumerate(tokens):
        matrix[column] = 0 if token == "[PAD]" else items[int(token)]
    case_of = np.array(
        [0 if token == "[PAD]" else int(token[1:]) for token in dataset.field2id_token["user_id"]]
    )
    vectors, matrix = torch.from_numpy(users[case_of]), torch.from_numpy(matrix)
    return lambda interaction: vectors[interaction["user_id"]] @ matrix.T


def main() -> None:
    cases_path, settings_path, out = (Path(argument).resolve() for argument in sys.argv[1:4])
    settings = json.loads(settings_path.read_text())
    torch.set_num_threads(1)
    folder = out / "cases"
    folder.mkdir()
    write_atomic(read_cases(cases_path), folder, settings["max_length"])
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    (out / "ready").touch()
    record: dict = {"rows": [], "versions": {"recbole": recbole.__version__, "torch": torch.__version__}}
    vectors = np.load(out.parent / "vectors.npz")
    for asked in settings["asked"]:
        config = configured(settings, folder)
        # RecBole's default batch is 4096 users; its default metrics are those at 10.
        for name in ("metrics", "topk", "eval_batch_size"):
            config[name] = asked[name]
        config["metric_decimal_place"] = 12
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        train_data, _, test_data = data_preparation(config, dataset)
        model = get_model(config["model"])(config, train_data.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        if asked["vectors"] == "given":
            model.full_sort_predict = looked_up(dataset, vectors["users"], vectors["items"])
        with torch.no_grad():
            wall, cpu = time.perf_counter(), time.process_time()
            found = trainer.evaluate(test_data, load_best_model=False)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        record["rows"].append(
            {**asked, "seconds": wall, "cpu_seconds": cpu, "peak_gib": peak, "found": dict(found)}
        )
        print(record["rows"][-1], flush=True)
    (out / "outcome.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
