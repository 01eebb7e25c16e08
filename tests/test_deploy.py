"""What runs the server fits the server: variables, metrics, files; and the page on it does what it says."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import polars as pl
import pytest
import typer
import yaml
from fastapi.testclient import TestClient

import h2rec
from h2rec.cli.main import main, make_app
from h2rec.serving.app import create_app
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from made_bundles import made_items, make_bundle
from pages import ROOT, blocks, commands, text_of

DEPLOY = ROOT / "deploy"
FILES = [path for path in DEPLOY.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with the bundle that the page names."""
    folder = tmp_path_factory.mktemp("deploy")
    ids = ["1042", "77", "310", *(f"i{number}" for number in range(57))]
    make_bundle(
        folder / "runs" / "shop" / "bundle", items=made_items().with_columns(pl.Series("item_id", ids))
    )
    return folder


def serve_variables():
    """Environment variables of `h2rec serve`."""
    command = typer.main.get_group(make_app(["serve"])).commands["serve"]
    return {f"H2REC_{parameter.name.upper()}" for parameter in command.params if parameter.name != "help"} | {
        "H2REC_TOKEN"
    }


def test_the_page_tells_every_variable_of_the_server():
    table = re.findall(r"^\| (`H2REC_.*?) \|", text_of("deploy.md"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(table))) == serve_variables()


def test_the_files_set_variables_that_there_are():
    nightly = (DEPLOY / "nightly.sh").read_text()
    own = set(re.findall(r"^#.*?(H2REC_\w+)(?:.*?(H2REC_\w+))?", nightly, re.MULTILINE))
    known = serve_variables() | {name for names in own for name in names}
    for path in FILES:
        assert set(re.findall(r"\bH2REC_\w+", path.read_text())) <= known, path


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HOST": "0.0.0.0", "PORT": "9", "WORKERS": "3"}, ("0.0.0.0", 9, 3)),
        ({"HOST": "0.0.0.0", "PORT": "9", "THREADS": "2"}, ("0.0.0.0", 9, 1)),
    ],
)
def test_the_server_is_set_by_the_environment(variables, expected, monkeypatch, tmp_path):
    token = tmp_path / "token"
    token.write_text("secret\n")
    variables |= {"BUNDLE": "some/bundle", "TOKEN_FILE": str(token), "ALLOW_HOST": "a.example b.example"}
    for name, value in variables.items():
        monkeypatch.setenv(f"H2REC_{name}", value)
    found = []
    monkeypatch.setattr("h2rec.serving.run.serve", lambda folder, settings: found.append((folder, settings)))
    with pytest.raises(SystemExit):
        main(["serve"])
    ((folder, settings),) = found
    assert (settings.host, settings.port, settings.workers) == expected
    assert (str(folder), settings.token, settings.allowed_hosts) == (
        "some/bundle",
        "secret",
        ("a.example", "b.example"),
    )
    with pytest.raises(SystemExit):
        main(["serve", "other", "--port", "10"])
    assert (str(found[1][0]), found[1][1].port) == ("other", 10)


def test_an_open_address_without_a_token_starts_nothing(monkeypatch, capsys):
    monkeypatch.setenv("H2REC_HOST", "0.0.0.0")
    monkeypatch.delenv("H2REC_TOKEN", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["serve", "some/bundle"])
    assert ended.value.code == 2
    assert "a token is needed" in " ".join(capsys.readouterr().err.split())


def test_dashboard_and_alerts_ask_for_metrics_that_the_server_has(shop):
    service = Service(shop / "runs" / "shop" / "bundle", ServeSettings())
    with TestClient(create_app(service), "http://localhost:8000") as client:
        client.post("/recommend", json={"history": ["77", "nothing"], "k": 5})
        client.post("/reload")
        service.metrics.reloads.labels("refused").inc()
        service.metrics.impressions.labels("control").inc()
        service.metrics.events.labels("click").inc()
        text = client.get("/metrics").text
    exported = set(re.findall(r"^(h2rec_\w+)", text, re.MULTILINE))
    labels = set(re.findall(r"(\w+)=\"", text))
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "h2rec.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    asked += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    assert len(asked) > 12
    for expression in asked:
        named = set(re.findall(r"\bh2rec_\w+", expression))
        assert named <= exported, expression
        used = re.findall(r"[{,] *(\w+)=~?\"", expression) + re.findall(r"by \(([\w, ]+)\)", expression)
        assert {name for names in used for name in names.split(", ")} <= labels | {"job"}, expression
    told = {
        name.removesuffix("_created") for name in exported if "bucket" not in name and "created" not in name
    }
    shown = {name.replace("_bucket", "") for name in re.findall(r"\bh2rec_\w+", " ".join(asked))}
    assert {name for name in told if name.endswith(("_total", "_waiting", "_items"))} <= shown


def test_the_files_fit_together():
    files = {
        path: list(yaml.safe_load_all(path.read_text())) for path in FILES if path.suffix in (".yml", ".yaml")
    }
    ((compose,), (prometheus,)) = (
        files[DEPLOY / "compose.yaml"],
        files[DEPLOY / "prometheus" / "prometheus.yml"],
    )
    server = compose["services"]["h2rec"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).samefile(
        DEPLOY / "Dockerfile"
    )
    job = prometheus["scrape_configs"][0]
    assert job["static_configs"][0]["targets"] == ["h2rec:8000"]
    assert job["authorization"]["credentials_file"] == server["environment"]["H2REC_TOKEN_FILE"]
    assert [(DEPLOY / "prometheus" / name).exists() for name in prometheus["rule_files"]] == [True]
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or source == "./bundles" or (DEPLOY / source).is_dir()
    (provider,) = files[DEPLOY / "grafana" / "dashboards" / "h2rec.yaml"][0]["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
    (source,) = files[DEPLOY / "grafana" / "datasources" / "prometheus.yaml"][0]["datasources"]
    dashboard = (DEPLOY / "grafana" / "dashboards" / "h2rec.json").read_text()
    assert set(re.findall(r'"uid": "(\w+)"', dashboard)) == {source["uid"], "h2rec"}


def test_the_image_is_built_of_files_that_are_sent():
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        name
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    assert {"src", "pyproject.toml"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in sent)
    assert lines[-2:] == ['ENTRYPOINT ["h2rec"]', 'CMD ["serve"]']
    assert "USER 10001" in lines


def test_the_health_check_of_the_image_tells_whether_the_server_answers(monkeypatch):
    line = next(
        line
        for line in (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
        if "HEALTH" in line
    )
    program = json.loads(line.partition(" CMD ")[2])
    assert program[0] == "python"
    script = "from http.server import *\nimport sys\nclass H(BaseHTTPRequestHandler):\n"
    script += " def do_GET(self):\n"
    script += "  print(self.path, flush=True); self.send_response(int(sys.argv[1])); self.end_headers()\n"
    script += "s = HTTPServer(('127.0.0.1', 0), H); print(s.server_port, flush=True); s.handle_request()"
    for status in ("200", "503"):
        server = subprocess.Popen(
            [sys.executable, "-c", script, status],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        port = server.stdout.readline().strip()
        answer = subprocess.run(
            [sys.executable, *program[1:]],
            check=False,
            env=os.environ | {"H2REC_PORT": port},
            capture_output=True,
        )
        assert (answer.returncode == 0) == (status == "200"), answer.stderr
        assert server.stdout.read() == "/readyz\n"
        server.wait(30)
        server.stdout.close()


def test_the_units_are_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    for path in (DEPLOY / "systemd").iterdir():
        text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    assert len(units) == 3
    answer = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    if "Failed to initialize" in answer.stderr:
        pytest.skip("systemd-analyze does not run here")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_deployment_has_no_field_that_kubernetes_does_not_know():
    """What kubectl reads, and writes again, has all that stands in the file; it needs no cluster for that."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here")
    path = DEPLOY / "kubernetes" / "h2rec.yaml"
    words = ["kubectl", "set", "image", "--local", "-f", str(path), "h2rec=h2rec:checked", "-o", "json"]
    # It fails at what has no image: the deployment alone is told.
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    given = {document["kind"]: document for document in yaml.safe_load_all(path.read_text())}
    read = json.loads(answer.stdout.replace("h2rec:checked", "h2rec:latest"))
    assert holds(read, given["Deployment"]) == []
    assert set(given) == {"PersistentVolumeClaim", "Deployment", "Service"}


def holds(whole, part, at=""):
    """Places of `part` that `whole` does not have."""
    if isinstance(part, dict):
        return [
            place
            for key, value in part.items()
            for place in (holds(whole[key], value, f"{at}.{key}") if key in whole else [f"{at}.{key}"])
        ]
    if isinstance(part, list):
        pairs = enumerate(zip(whole, part, strict=True))
        return [place for number, (one, other) in pairs for place in holds(one, other, f"{at}[{number}]")]
    return [] if whole == part else [at]


def test_compose_takes_its_file():
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not here")
    words = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_the_nightly_job_does_one_thing_after_the_other(tmp_path):
    """With stand-ins for `h2rec` and `curl` that write down what they are asked."""
    for name in ("h2rec", "curl"):
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            f'#!/bin/sh\necho "{name} $*" >> "$LOG"\n[ {name} = h2rec ] || cat >> "$LOG"\n[ "$1" != "$FAILS" ]\n'
        )
        script.chmod(0o755)
    (tmp_path / "token").write_text("secret")
    variables = {
        "CONFIG": "shop.yaml",
        "RUN": "runs/shop",
        "HISTORIES": "orders.parquet",
        "URL": "http://localhost:8000",
    }
    variables |= {"VECTORS": "qdrant://db/shop", "TOKEN_FILE": str(tmp_path / "token")}
    environment = {f"H2REC_{name}": value for name, value in variables.items()}

    def night(fails, **changed):
        log = tmp_path / "log"
        log.write_text("")
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        env = environment | changed | {"LOG": str(log), "PATH": path, "FAILS": fails}
        code = subprocess.run([DEPLOY / "nightly.sh"], env=env, check=False).returncode
        return code, log.read_text().splitlines()

    code, lines = night("")
    assert code == 0
    assert [" ".join(line.split()[:2]) for line in lines[:3]] == [
        "h2rec run",
        "h2rec recommend",
        "h2rec export",
    ]
    assert lines[3].endswith("--request POST http://localhost:8000/reload")
    assert lines[4] == 'header = "authorization: Bearer secret"'
    assert "secret" not in lines[3]
    # What h2rec does not know would fail at night.
    top = typer.main.get_group(make_app(["--help"]))
    for line in lines[:3]:
        words = shlex.split(line)
        known = {option for parameter in top.commands[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
    # Nothing takes over what was not made.
    assert night("run") == (1, lines[:1])
    # With the orders of a day a bundle takes these in; where there is none yet, it is trained.
    run = tmp_path / "shop"
    orders = {"H2REC_ORDERS": "today.parquet", "H2REC_ITEMS": "items.csv", "H2REC_RUN": str(run)}
    days = tmp_path / "bin" / "date"
    days.write_text("#!/bin/sh\necho ${DAY}\n")
    days.chmod(0o755)
    assert night("", DAY="1", **orders)[1][0].startswith("h2rec run ")
    (run / "bundle").mkdir(parents=True)
    updates = f"h2rec update {run}/bundle today.parquet --items items.csv --out {run}/bundle"
    assert night("", DAY="1", **orders)[1][0] == updates
    assert night("update", DAY="1", **orders) == (1, [updates])
    assert night("", DAY="7", **orders)[1][0].startswith("h2rec run ")
    assert night("export")[1] == lines[:3]
    assert len(night("", H2REC_HISTORIES="", H2REC_VECTORS="", H2REC_URL="")[1]) == 1


def test_the_page_does_what_it_says(shop, monkeypatch):
    monkeypatch.chdir(shop)
    monkeypatch.syspath_prepend(str(DEPLOY))
    pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    exports = [words for words in commands("deploy.md") if words[:2] == ["h2rec", "export"]]
    assert len(exports) == 2
    for words in exports:
        with pytest.raises(SystemExit) as ended:
            main(words[1:])
        assert ended.value.code == 0
    names = {}
    first, second = blocks("deploy.md", "python")
    exec(first, names)
    assert names["scores"].shape == (2, 60)
    *lines, last = second.strip().splitlines()
    exec("\n".join(lines), names)
    listed = eval(last, names)
    expected = h2rec.load("runs/shop/bundle").recommend(["1042", "77"], k=10).items
    assert [item for item, _ in listed] == [item.item_id for item in expected]


def test_every_column_of_an_export_is_told(shop, monkeypatch):
    monkeypatch.chdir(shop)
    h2rec.load("runs/shop/bundle").export_vectors("columns.parquet")
    page = text_of("deploy.md")
    for name in set(pl.read_parquet_schema("columns.parquet")) - {"title", "category"}:
        assert f"`{name}`" in page
