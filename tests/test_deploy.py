"""What stands in deploy/: written from the names in the code, valid, tried, and true of a running system."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from config import metrics
from config import settings as config
from deploy import generate
from tests import parts
from tests.chaos import Process
from tests.parts import LOOPBACK, PROMETHEUS, ROOT, Prometheus, free_port, program


def promtool() -> str:
    parts.need(lambda: program("promtool", "prometheus"))
    return program("promtool", "prometheus")


def test_nothing_was_changed_by_hand() -> None:
    """`python -m deploy.generate` would write what stands there."""
    assert generate.main(["--check"]) == 0


def test_rules_and_scrape_are_valid_and_every_alert_fires_and_is_silent_as_it_should() -> None:
    """By Prometheus's own tool."""
    for words in (["check", "config", "scrape.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([promtool(), *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tried = (PROMETHEUS / "alerts_test.yml").read_text()
    assert all(tried.count(f"alertname: {alert.name}") >= 2 for alert in generate.ALERTS)


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    """Somebody was woken up for it."""
    book = (ROOT / "docs" / "operations.md").read_text()
    sections = {found[0]: found[1] for found in re.findall(r"^### (Upwell\w+)\n(.*?)(?=^##|\Z)", book, re.MULTILINE | re.DOTALL)}
    assert set(sections) == {alert.name for alert in generate.ALERTS} | {"UpwellDegraded"}
    assert all(word in text for text in sections.values() for word in ("**Means.**", "**Look.**", "**Do.**"))


def test_compose_starts_commands_of_ours_with_settings_of_ours() -> None:
    """No engine here to run it: every name in it is held to what it names."""
    told = yaml.safe_load((ROOT / "deploy" / "compose.yml").read_text())
    services = told["services"]
    assert set(services) == {"kafka", "redis", "topics", "worker", "api", "prometheus", "grafana"}
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            condition = wanted["condition"]
            assert condition != "service_healthy" or "healthcheck" in services[other], (name, other)
            assert condition != "service_completed_successfully" or services[other]["restart"] == "no", (name, other)
        for volume in service.get("volumes", ()):
            place = volume.partition(":")[0]
            assert (ROOT / "deploy" / place).exists() if place.startswith(".") else place in told["volumes"], (name, volume)
        if service["image"] == "upwell":
            assert (ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).exists()
            environ = {k: '["0123456789abcdef"]' if k == "UPWELL_API__KEYS" else v for k, v in service["environment"].items()}
            settings = config.load(environ=environ)
            assert settings.kafka.servers.partition(":")[0] in services
            assert parts_of(settings.redis.url) in services
            done = subprocess.run(
                [sys.executable, "-m", "upwell", *service["command"][: 2 if name == "topics" else 1], "--help"],
                cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert all(word in done.stdout for word in service["command"] if word.startswith("--")), (name, done.stdout)
        else:
            assert re.search(r":v?\d", service["image"]), f"{name}: {service['image']} names no version"
    scraped = re.findall(r'"(\w+)(?::(\d+))?"', (PROMETHEUS / "scrape.yml").read_text())
    assert {host for host, _ in scraped} <= set(services)
    assert ("api", services["api"]["ports"][0].rpartition(":")[2]) in scraped
    assert services["worker"]["environment"]["UPWELL_ENGINE__METRICS_PORT"] in (PROMETHEUS / "scrape.yml").read_text()


def parts_of(url: str) -> str:
    """The host of a store's address."""
    return urllib.parse.urlsplit(url).hostname or ""


def test_the_image_holds_every_package() -> None:
    """What the Dockerfile copies is there, and is all that the project installs."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]}
    assert [word for word in copied if not (ROOT / word).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages | {"upwell.py", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"} == copied


def exprs() -> list[tuple[str, str]]:
    """(panel, expression) of the dashboard as it stands in the file."""
    told = json.loads((ROOT / "deploy" / "grafana" / "upwell.json").read_text())
    return [(panel["title"], target["expr"]) for panel in told["panels"] for target in panel.get("targets", ())]


def test_every_name_in_the_dashboard_is_a_metric_of_ours() -> None:
    """And every metric of the contract that can be seen over time is shown."""
    known = {f.name for v in vars(metrics).values() if isinstance(v, MetricWrapperBase) for f in v.describe()}
    used = {re.sub("_(total|bucket|count)$", "", found) for _, expr in exprs() for found in re.findall(r"upwell_\w+", expr)}
    assert used <= known
    unseen = {"upwell_build", "upwell_checkpoint_offset", "upwell_log_end_offset",
              "upwell_feed_dropped", "upwell_feed_component_errors", "upwell_feed_state_age_seconds"}  # fmt: skip
    assert known - used <= unseen


@pytest.fixture
def system(tmp_path: Path) -> Iterator[tuple[Prometheus, httpx.Client]]:
    """Broker, store, worker, API, and a Prometheus that scrapes them."""
    parts.need(lambda: (program("prometheus", "prometheus"), parts.broker_program(), parts.store_program()))
    with parts.EmbeddedBroker(tmp_path / "broker") as broker, parts.EmbeddedStore(tmp_path / "store") as store:
        ports = free_port(), free_port()
        variables = {
            "UPWELL_KAFKA": broker.address, "UPWELL_REDIS": store.url, "UPWELL_KAFKA__PARTITIONS": "2",
            "UPWELL_KAFKA__FETCH_WAIT_MS": "20", "UPWELL_ENGINE__METRICS_PORT": str(ports[1]),
        }  # fmt: skip
        created = Process("topics", tmp_path / "topics", ["topics", "create"], variables).start()
        assert created.process is not None
        assert created.process.wait(60) == 0, created.last_words()
        with (
            Process("worker", tmp_path / "worker", ["worker"], variables),
            Process("api", tmp_path / "api", ["api", "--port", str(ports[0])], variables, ports[0]) as api,
            Prometheus(tmp_path / "prometheus", api.address, [f"{LOOPBACK}:{ports[1]}"]) as prometheus,
            httpx.Client(base_url=f"http://{api.address}", timeout=10) as http,
        ):
            yield prometheus, http


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_expression_of_the_dashboard_returns_data_and_no_alert_fires(system: tuple[Prometheus, httpx.Client]) -> None:
    """A real Prometheus scrapes a real system, on which a little of everything happens."""
    prometheus, http = system
    http.post("/v1/notes", json=[{"note_id": f"n{i}", "author_id": "ann", "tags": ["t"], "channel": "c"} for i in range(20)])
    silent = dict.fromkeys(exprs())
    deadline, round_ = time.monotonic() + 150, 0
    while silent and time.monotonic() < deadline:
        round_ += 1
        # Somebody new each round, who answers what the feed showed him: without a slate there is nothing to learn from.
        person = f"u{round_}"
        feed = http.get(f"/v1/feed/{person}").json()
        events = [
            {"type": kind, "user_id": person, "note_id": item["note_id"], "request_id": feed["request_id"], "position": item["position"]}
            for item in feed["items"]
            for kind in ("impression", "click", "like")
        ]
        http.post("/v1/events", json=[*events, {"type": "nonsense", "user_id": "u", "note_id": "n1"}])
        for path in ("/v1/hot", "/v1/notes/n1"):
            http.get(path)
        time.sleep(1)
        silent = dict.fromkeys(one for one in silent if not prometheus.ask(one[1]))
    assert not silent, sorted(silent)
    firing = {one["metric"]["alertname"] for one in prometheus.ask('ALERTS{alertstate="firing"}')}
    assert not firing - {"UpwellFeedSlow", "UpwellLag", "UpwellStale"}, "a busy machine may be slow, and that is all"
