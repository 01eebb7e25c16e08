import json
import time

from h2rec.run.cost import metered, spent


def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_cpu_time_adds_up_over_blocks_and_leaves_idle_time_out(tmp_path):
    path = tmp_path / "cost.json"
    assert spent(path) == 0
    with metered(path):
        burn(0.2)
    first = spent(path)
    assert 0.2 <= first < 2
    time.sleep(0.3)
    with metered(path):
        burn(0.2)
    assert first + 0.2 <= spent(path) < first + 2


def test_it_is_kept_while_the_block_goes_on(tmp_path):
    path = tmp_path / "cost.json"
    with metered(path, interval=0.05):
        burn(0.3)
        # Long before the end: what a killed process leaves.
        assert json.loads(path.read_text())["cpu_seconds"] > 0
