"""The cores that a process may use, and how its threads wait."""

import os
import subprocess
import sys

import pytest

from h2rec import cores
from h2rec.runtime import set_threads

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_NUM_THREADS")


def machine(folder, mounts, groups, files):
    """A made `/proc/self` and the folders that it tells of."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    lines = [f"30 23 0:26 {root} {folder / point} rw - {kind}" for root, point, kind in mounts]
    (folder / "mountinfo").write_text("\n".join(["1 0 8:1 / / rw - ext4 /dev/sda rw", *lines]))
    (folder / "cgroup").write_text("\n".join(groups))
    return folder


V1 = "cgroup cgroup rw,cpu,cpuacct"
V2 = "cgroup2 cgroup2 rw"


@pytest.mark.parametrize(
    ("mounts", "groups", "files", "quota"),
    [
        ([("/", "v2", V2)], ["0::/"], {"v2/cpu.max": "150000 100000\n"}, 1.5),
        ([("/", "v2", V2)], ["0::/"], {"v2/cpu.max": "max 100000\n"}, None),
        # The group above is the tighter one.
        (
            [("/", "v2", V2)],
            ["0::/a/b"],
            {"v2/a/b/cpu.max": "400000 100000", "v2/a/cpu.max": "200000 100000"},
            2,
        ),
        (
            [("/", "v1", V1)],
            ["4:cpu,cpuacct:/a"],
            {"v1/a/cpu.cfs_quota_us": "50000", "v1/a/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        (
            [("/", "v1", V1)],
            ["4:cpu,cpuacct:/"],
            {"v1/cpu.cfs_quota_us": "-1", "v1/cpu.cfs_period_us": "100000"},
            None,
        ),
        # A container: the mount begins at its own group.
        (
            [("/docker/x", "v1", V1)],
            ["4:cpu,cpuacct:/docker/x"],
            {"v1/cpu.cfs_quota_us": "300000", "v1/cpu.cfs_period_us": "100000"},
            3,
        ),
        # Both versions side by side; the newer one has no CPU controller.
        (
            [("/", "v1", V1), ("/", "v1/unified", V2)],
            ["4:cpu,cpuacct:/", "0::/"],
            {"v1/cpu.cfs_quota_us": "200000", "v1/cpu.cfs_period_us": "100000", "v1/unified/x": ""},
            2,
        ),
        ([], ["0::/"], {}, None),
    ],
)
def test_the_quota_of_a_container_is_read(tmp_path, mounts, groups, files, quota):
    assert cores.cpu_quota(machine(tmp_path, mounts, groups, files)) == quota


@pytest.mark.parametrize(("quota", "found"), [(None, 4), (0.5, 1), (1.5, 2), (3, 3), (64, 4)])
def test_a_quota_bounds_the_cores_and_is_rounded_up(monkeypatch, quota, found):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert cores.available_cores() == found


@pytest.mark.parametrize(("asked", "found"), [("3", 3), ("3,2", 3), ("", 4), ("0", 4), ("many", 4)])
def test_null_takes_the_number_of_threads_that_the_environment_names(monkeypatch, asked, found):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(cores, "available_cores", lambda: 4)
    assert cores.default_threads() == found


def test_threads_are_those_of_the_settings_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert set_threads(1) == 1


def environment_after(code, **given):
    """OpenMP's variables as they are after some code, in a process that was started with the given ones."""
    own = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    told = f"import os; {code}; print([os.environ.get(n) for n in {VARIABLES[:2]}])"
    ended = subprocess.run(
        [sys.executable, "-c", told], env=own | given, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def test_threads_wait_passively_unless_the_user_says_otherwise():
    assert environment_after("import h2rec") == "['PASSIVE', None]"
    assert environment_after("import h2rec", OMP_WAIT_POLICY="ACTIVE") == "['ACTIVE', None]"
    assert environment_after("import h2rec", GOMP_SPINCOUNT="5") == "[None, '5']"
    assert environment_after("import h2rec, sys; assert 'torch' not in sys.modules") == "['PASSIVE', None]"
