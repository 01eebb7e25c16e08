"""Time RecBole's full-sort evaluation of given test cases. Runs in RecBole's own environment, started by `ranking.py`.

Twice: with its own SASRec of the same size, and with a model that looks up given user vectors and item vectors, so that
its metrics can be compared with ours.
"""

import json
import resource
import time

import numpy as np
import torch
from run_recbole import arguments, prepared, versions, written


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
    given = arguments()
    settings, out, folder = given.settings, given.out, written(given)
    (out / "ready").touch()
    record: dict = {"rows": [], "versions": versions()}
    vectors = np.load(out.parent / "vectors.npz")
    for asked in settings["asked"]:
        # RecBole's default batch is 4096 users; its default metrics are those at 10.
        changes = {name: asked[name] for name in ("metrics", "topk", "eval_batch_size")}
        experiment = prepared(settings, folder, **changes, metric_decimal_place=12)
        if asked["vectors"] == "given":
            experiment.model.full_sort_predict = looked_up(
                experiment.dataset, vectors["users"], vectors["items"]
            )
        with torch.no_grad():
            wall, cpu = time.perf_counter(), time.process_time()
            metrics = experiment.trainer.evaluate(experiment.test_data, load_best_model=False)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        record["rows"].append(
            {**asked, "seconds": wall, "cpu_seconds": cpu, "peak_gib": peak, "found": dict(metrics)}
        )
        print(record["rows"][-1], flush=True)
    (out / "outcome.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
