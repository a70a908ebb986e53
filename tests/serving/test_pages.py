"""The two pages: what the API serves, and what a real Chromium makes of it over real broker, store, worker and API."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import load
from serving.app import create_app
from serving.routes.pages import WEB
from store.workers import Present, renew
from tests import parts
from tests.serving.system import System, event, note
from tests.serving.test_edge import Breakable
from tools import topics
from tools.up import EMBEDDED, Child

OPS = {"UPWELL_API__DEMO_PAGE": "true"}

# ----------------------------------------------------------------------------------------------------------- over HTTP


def test_the_demo_page_is_off_and_the_ops_page_on_unless_set() -> None:
    """The demo page acts for whomever its reader names: nothing for production."""
    for environ, found in (({}, (404, 200)), ({"UPWELL_API__DEMO_PAGE": "true", "UPWELL_API__OPS_PAGE": "false"}, (200, 404))):
        system = System(environ)
        assert tuple(system.request("GET", path).status_code for path in ("/", "/ops")) == found
        assert system.request("GET", "/web/base.css").status_code == 200
        system.close()


def test_pages_let_nothing_else_in() -> None:
    """No script or style inside a page, none from elsewhere, no frame around it; and no page links to what is off."""
    system = System(OPS)
    for path in ("/", "/ops", "/docs"):
        response = system.request("GET", path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "style-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert path == "/docs" or ('href="/"' in response.text and 'href="/ops"' in response.text)
    system.close()
    alone = System()
    assert 'href="/"' not in alone.request("GET", "/ops").text
    alone.close()


def test_files_name_no_other_host_and_hold_no_inline_code() -> None:
    for path in WEB.iterdir():
        text = path.read_text()
        assert not re.search(r"(?:src|href|url|import|from)\s*[=(]?\s*[\"']?(?:https?:)?//", text), path.name
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]*src)|<style|\sstyle=|\son\w+=", text), path.name
        if path.suffix == ".js":
            assert "innerHTML" not in text, path.name
            assert "eval(" not in text, path.name


def test_a_file_that_was_read_before_is_not_sent_again(system: System) -> None:
    first = system.request("GET", "/web/base.css")
    assert first.headers["content-type"].startswith("text/css")
    again = system.request("GET", "/web/base.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_nothing_outside_of_the_folder_can_be_read(system: System) -> None:
    for path in ("/web/", "/web/../app.py", "/web/..%2fapp.py", "/web/ops.html", "/web/nothing.js", "/web/%2e%2e/app.py"):
        assert system.request("GET", path).status_code == 404, path


def test_with_keys_the_pages_are_open_and_what_they_show_is_not() -> None:
    system = System(OPS | {"UPWELL_API__KEYS": '["k"]'})
    system.run(system.app.state.watch.look())
    for path in ("/", "/ops", "/web/ops.js"):
        assert system.request("GET", path).status_code == 200
    assert system.request("GET", "/ops/data").status_code == 401
    assert system.request("GET", "/ops/data", headers={"X-API-Key": "k"}).status_code == 200
    system.close()


def test_the_documents_have_a_place_for_a_key_where_keys_are_asked_for() -> None:
    """And only there; probes take none."""
    for environ, asked in (({}, None), ({"UPWELL_API__KEYS": '["k"]'}, [{"key": []}])):
        system = System(environ)
        told = system.get("/openapi.json")
        assert told["paths"]["/v1/feed/{user_id}"]["get"].get("security") == asked
        assert not told["paths"]["/healthz"]["get"].get("security")
        assert ("securitySchemes" in told.get("components", {})) == bool(asked)
        system.close()


def test_before_the_first_look_there_is_nothing_to_tell(system: System) -> None:
    assert system.request("GET", "/ops/data").json()["code"] == "not_ready"


def test_what_is_told_is_what_is_there(town: System) -> None:
    """Pools and workers of the store, feeds and requests of this process, and that a worker's metrics cannot be read."""
    watch = town.app.state.watch
    town.run(watch.look())
    prefix = town.settings.kafka.prefix
    lost = Present("w1", town.clock / 1000, 0.0, "h", 1, "http://127.0.0.1:9/metrics", "0", {"users": [0, 1]})
    town.run(renew(town.local.store, prefix, lost))
    for _ in range(30):
        town.feed("u1")
    town.clock += 20_000
    town.run(watch.look())
    told = town.get("/ops/data")
    assert told["pools"][0]["notes"] == 80
    assert [(row["surface"], row["count"]) for row in told["feed"]["surfaces"]] == [("feed", 30)]
    assert any(row["route"] == "/v1/feed/{user_id}" and row["status"] == 200 for row in told["http"])
    [worker] = told["workers"]
    assert (worker["id"], worker["alive"]) == ("w1", False)
    assert {(row["stage"], p["owner"]) for row in told["lag"] for p in row["partitions"]} >= {("users", None), ("notes", None)}
    town.clock += 20_000
    town.run(watch.look())
    assert "UpwellNoWorker" in [alert["name"] for alert in town.get("/ops/data")["alerts"]]


def test_workers_live_on_while_the_store_is_away() -> None:
    """Who cannot write his line may well live: his metrics are read on, so that what he misses is seen, and nobody starts another worker."""
    store = Breakable()
    system = System(store=store)
    try:
        watch, prefix = system.app.state.watch, system.settings.kafka.prefix
        line = Present("w1", system.clock / 1000, 0.0, "h", 1, "http://127.0.0.1:9/metrics", "0", {"users": [0, 1]})
        system.run(renew(store, prefix, line))
        system.run(watch.look())
        store.away = True
        for _ in range(2):
            system.clock += 40_000
            system.run(watch.look())
        told = system.get("/ops/data")
        [worker] = told["workers"]
        assert worker["alive"]
        assert "URLError" in worker["wrong"]
        held = {(row["stage"], p["owner"]) for row in told["lag"] for p in row["partitions"]}
        assert ("users", "w1") in held
        assert ("users", None) not in held
        assert "UpwellWorkerMetrics" in [alert["name"] for alert in told["alerts"]]
    finally:
        system.close()


def test_64_partitions_are_told_within_200_ms() -> None:
    """The answer lies ready; also the look in the background is short, since it shares a process with feeds."""
    system = System(partitions=64)
    watch, service = system.app.state.watch, system.service
    from config import metrics
    from store.lag import inputs

    for one in inputs(service.keys.manifest):
        for gauge in (metrics.LAG_SECONDS, metrics.LAG_RECORDS, metrics.LOG_END_OFFSET, metrics.CHECKPOINT_OFFSET):
            gauge.labels(*one.labels).set(one.partition / 10)
    for minute in range(61):
        system.clock += 60_000
        if minute % 20 == 0:
            system.run(watch.look())
    began = time.perf_counter()
    told = system.get("/ops/data")
    seconds = time.perf_counter() - began
    assert seconds < 0.2
    assert len(told["lag"][0]["partitions"]) == 64
    assert len(told["hour"]["lag"]["users/by-user"]) == 64
    assert watch.took_ms < 500
    print(f"{len(watch.body)} bytes in {seconds * 1000:.1f} ms; a look took {watch.took_ms:.0f} ms")
    for gauge in (metrics.LAG_SECONDS, metrics.LAG_RECORDS, metrics.LOG_END_OFFSET, metrics.CHECKPOINT_OFFSET):
        gauge.clear()
    system.close()


# ----------------------------------------------------------------------------------------------------- in a real browser


class Live:
    """Worker and API as processes of their own, over the shared broker and store."""

    def __init__(self, broker: str, redis: str, folder: Path) -> None:
        prefix, self.port = f"t{uuid.uuid4().hex[:10]}", parts.free_port()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("UPWELL_")}
        bounds = {"UPWELL_OPS__LAG_S": "4", "UPWELL_OPS__FRESH_S": "4", "UPWELL_OPS__SAMPLE_S": "1", "UPWELL_OPS__WORKER_SILENT_S": "8"}
        # Answers may be slow where two cores are shared with everybody else; a page is no benchmark.
        bounds |= {"UPWELL_OPS__FEED_P99_MS": "5000", "UPWELL_FEED__TIMEOUT_S": "5"}
        own = {"UPWELL_KAFKA": broker, "UPWELL_REDIS": redis, "UPWELL_KAFKA__PREFIX": prefix, "PYTHONPATH": str(parts.ROOT)}
        environ = clean | EMBEDDED | bounds | OPS | own | {"UPWELL_KAFKA__PARTITIONS": "2", "PYTHONUNBUFFERED": "1"}
        topics.create(load(environ={k: v for k, v in environ.items() if k.startswith("UPWELL_")}).kafka)
        self.url = f"http://127.0.0.1:{self.port}"
        self.worker = Child("worker", ["worker"], environ, folder)
        self.api = Child("api", ["api", "--port", str(self.port)], environ, folder)
        self.worker.start()
        self.api.start()
        until(lambda: self.answers("/readyz"), 90, "the API is ready")
        until(lambda: all(row["owner"] for row in self.partitions()), 90, "every partition has a worker")

    def answers(self, path: str) -> bool:
        assert not self.api.dead, self.api.last_words()
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def partitions(self) -> list[dict[str, Any]]:
        try:
            rows = [p for row in self.ask("/ops/data")["lag"] for p in row["partitions"]]
        except urllib.error.HTTPError:
            rows = []
        return rows or [{"owner": None}]

    def end(self) -> None:
        for child in (self.api, self.worker):
            child.ask_to_stop()
        for child in (self.api, self.worker):
            child.end(time.monotonic() + 12)


def until(true: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `true` says once it says something; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


@pytest.fixture(scope="module")
def live(broker: parts.EmbeddedBroker, valkey: parts.EmbeddedStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    one = Live(broker.address, valkey.url, tmp_path_factory.mktemp("live"))
    yield one
    one.end()


class Browser:
    """Chromium, and the few things these tests ask of a page."""

    def __init__(self, binary: str, folder: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = binary
        quiet = ("background-networking", "component-update", "sync", "gpu")
        for flag in ("headless=new", "no-sandbox", "no-first-run", f"user-data-dir={folder}", *(f"disable-{name}" for name in quiet)):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(30)
        self.size(1440, 900)

    def size(self, width: int, height: int) -> None:
        told = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", told)

    def prefers(self, **features: str) -> None:
        told = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": told})

    def open(self, url: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(url)

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)
        return found

    def text(self, selector: str) -> str:
        return " ".join(self.texts(selector))

    def press(self, selector: str) -> None:
        """A real click, in the middle of what is seen."""
        from selenium.webdriver.common.by import By

        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        self.js("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def notes(self) -> list[str]:
        found: list[str] = self.js("return [...document.querySelectorAll('.card')].map((e) => e.dataset.note)")
        return found

    def complaints(self) -> list[str]:
        """Of the console, since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]

    def elsewhere(self, url: str) -> list[str]:
        """What was asked of another host."""
        names = self.js("return performance.getEntries().filter((e) => e.name.includes('://')).map((e) => e.name)")
        return [name for name in names if not name.startswith(url)]


@pytest.fixture
def browser(chromium: str, tmp_path: Path) -> Iterator[Browser]:
    one = Browser(chromium, tmp_path / "profile")
    yield one
    one.driver.quit()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_heart_moves_a_weight_and_changes_the_feed(live: Live, browser: Browser) -> None:
    """From nothing: the page publishes its samples, creates a person, and shows what his first heart does."""
    browser.open(f"{live.url}/#nobody-yet")
    if until(lambda: browser.notes() or browser.texts(".empty"), 30, "a feed or the empty state") == browser.texts(".empty"):
        assert "No notes for this person" in browser.text(".empty")
        browser.press(".empty button")
    until(browser.notes, 60, "the published notes")

    browser.press("#new-person")
    until(lambda: browser.texts("dialog[open] #name"), 30, "the dialog, which first asks what interests there are")
    browser.js("document.getElementById('name').value = 'ida'")
    browser.press("dialog .main")
    until(lambda: browser.text("#feed-title") == "Feed of ida" and browser.notes(), 30, "ida's feed")
    first = browser.notes()
    chosen = first[1]
    item = next(item for item in live.ask("/v1/feed/somebody-else?n=50")["items"] if item["note_id"] == chosen)
    row = f'[data-weight="tag/{item["tags"][0]}"]'
    before = browser.js(
        "return Number(document.querySelector(arguments[0])?.querySelector('.value').textContent.replace('−', '-') ?? 0)", row
    )

    browser.press(f'[data-note="{chosen}"] .act.like')
    until(lambda: browser.text("#freshness").endswith(" ms"), 30, "the freshness of the click")
    assert browser.texts(row), browser.texts(".weight")
    moved = browser.js(
        "const row = document.querySelector(arguments[0]);"
        "return [Number(row.querySelector('.value').textContent), Number(row.querySelector('i').style.getPropertyValue('--at'))]",
        row,
    )
    assert moved[0] > max(before, 0.1)
    assert 0.1 < moved[1] <= 1.0
    assert browser.js("return document.querySelector(arguments[0]).getAttribute('aria-pressed')", f'[data-note="{chosen}"] .like') == "true"
    until(lambda: live.ask(f"/v1/notes/{chosen}")["counts"]["like"] == 1, 30, "the like is counted")

    time.sleep(1.5)  # what is half visible for a second is seen
    browser.press("#refresh")
    until(lambda: browser.notes() and browser.notes() != first and browser.notes(), 30, "the next feed")
    second = browser.notes()
    assert chosen not in second
    assert any(word in browser.text(".why") for word in (*item["tags"], item["channel"], item["author_id"])), browser.texts(".why")

    browser.press(f'[data-note="{second[0]}"] .open')
    until(lambda: "Why this" in browser.text("#note"), 30, "the note's panel")
    assert "In tier base" in browser.text("#note")
    assert browser.texts("#note .part")
    browser.press(f'[data-note="{second[0]}"] .act.hide')
    until(lambda: second[0] not in browser.notes(), 10, "the hidden note leaves")
    until(lambda: live.ask(f"/v1/notes/{second[0]}")["counts"]["click"] == 1, 30, "the click is counted")

    counted = live.ask(f"/v1/notes/{chosen}")
    assert counted["counts"]["impression"] >= 1
    assert browser.complaints() == []
    assert browser.elsewhere(live.url) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_worker_is_seen_and_that_it_is_over_too(live: Live, browser: Browser) -> None:
    """Lag grows, turns red and names who is missing; with a new worker it drains, and red goes."""
    browser.open(f"{live.url}/ops")
    until(lambda: browser.texts("#lag tbody tr"), 30, "the table of lag")
    until(lambda: "is well" in browser.text("#state") or "UpwellLag" not in browser.text("#alerts"), 60, "no lag at first")
    assert live.worker.process is not None
    os.kill(live.worker.process.pid, signal.SIGKILL)
    live.worker.process.wait()
    live.ask("/v1/events", [event("impression", f"u{i}", "n1") for i in range(50)])

    red = "[...document.querySelectorAll('#lag tr.bad')].map((row) => row.firstChild.textContent)"
    until(lambda: {"users", "intake"} & set(browser.js(f"return {red}")) and "UpwellLag" in browser.text("#alerts"), 60, "lag turns red")
    assert "wrong" in browser.text("#state")
    assert browser.js("return document.querySelector('[data-tile=\"Worst lag\"]').classList.contains('bad')")
    until(lambda: "UpwellNoWorker" in browser.text("#alerts"), 60, "nobody holds the partitions")
    grown = max(p["seconds"] or 0 for p in live.partitions())
    assert grown > 4
    assert "gone" in browser.text("#workers")

    live.worker.start()
    until(lambda: not browser.js(f"return {red}") and "UpwellLag" not in browser.text("#alerts"), 120, "lag has drained")
    until(lambda: "UpwellNoWorker" not in browser.text("#alerts"), 60, "the new worker is known")
    assert "alive" in browser.text("#workers")
    assert [message for message in browser.complaints() if "503" not in message] == []
    assert browser.elsewhere(live.url) == []


NAMELESS = """
const named = (e) => (e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim()
  || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent || "");
const found = [...document.querySelectorAll("button, a, input, select, summary, [role=region], [role=img], dialog")].filter((e) => !named(e));
return found.map((e) => e.outerHTML.slice(0, 120));
"""

STRUCTURE = """
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
const refs = [...document.querySelectorAll("[aria-labelledby],[aria-controls]")].flatMap((e) => [e.getAttribute("aria-labelledby"), e.getAttribute("aria-controls")]);
return {
  h1: document.querySelectorAll("h1").length, main: document.querySelectorAll("main").length, lang: document.documentElement.lang, title: document.title,
  twice: ids.filter((id, i) => ids.indexOf(id) !== i), nowhere: refs.filter((id) => id && !document.getElementById(id)),
  images: [...document.images].filter((e) => !e.hasAttribute("alt")).length,
  headless: [...document.querySelectorAll("tbody tr")].filter((row) => row.children.length > 1 && !row.querySelector("th[scope=row]")).length
    + [...document.querySelectorAll("thead th")].filter((e) => e.scope !== "col").length,
  wide: Math.max(0, document.documentElement.scrollWidth - innerWidth),
};
"""

CONTRAST = """
const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgb = (colour) => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1); return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3); };
const light = (colour) => { const [r, g, b] = rgb(colour).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const v = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const pairs = [["--ink", "--paper"], ["--ink", "--card"], ["--soft", "--paper"], ["--soft", "--card"], ["--soft", "--wash"], ["--accent", "--card"], ["--accent", "--paper"],
  ["--on-accent", "--accent"], ["--bad", "--bad-wash"], ["--bad", "--card"], ["--ink", "--accent-wash"]];
const told = Object.fromEntries(pairs.map(([a, b]) => [`${a} on ${b}`, ratio(v(a), v(b))]));
for (let hue = 0; hue < 360; hue += 15) {
  for (const ground of [`oklch(0.94 0.05 ${hue})`, `oklch(0.8 0.1 ${(hue + 45) % 360})`]) told[`title on ${ground}`] = ratio(`oklch(0.27 0.055 ${hue})`, ground);
}
return told;
"""


SMALL = ["Stage", "Reads", "Lag", "Freshness"]
"""Columns that a phone shows without a swipe."""
COLUMNS = "return [...document.querySelectorAll('#lag thead th')].map((head) => [head.textContent, head.getBoundingClientRect().right])"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everybody_can_read_the_pages(live: Live, browser: Browser) -> None:
    """Names for what can be used, tables with heads, contrast in light and dark, and no sideways scrolling on a phone."""
    live.ask("/v1/notes", [note(f"r{i}", f"a{i % 5}", ["tea"], "food", timestamp=int(time.time() * 1000)) for i in range(30)])
    for path, ready in (("/#reader", ".card"), ("/ops", "#lag tbody th")):
        for width, scheme in ((375, "light"), (375, "dark"), (1440, "dark"), (1440, "light")):
            browser.size(width, 812)
            browser.prefers(color_scheme=scheme, reduced_motion="reduce")
            browser.open(live.url + path)
            until(lambda ready=ready: browser.texts(ready), 60, f"{path} shows something")
            found = browser.js(STRUCTURE)
            assert found.pop("title")
            assert found == {"h1": 1, "main": 1, "lang": "en", "twice": [], "nowhere": [], "images": 0, "headless": 0, "wide": 0}, (
                path,
                width,
            )
            assert browser.js(NAMELESS) == [], (path, width)
            if path == "/ops" and width == 375:
                seen = [title for title, right in browser.js(COLUMNS) if 0 < right <= width]
                assert seen[:4] == SMALL
            poor = {pair: round(ratio, 2) for pair, ratio in browser.js(CONTRAST).items() if ratio < 4.5}
            assert poor == {}, (path, scheme)
            moving = browser.js("return document.getAnimations().filter((a) => a.effect.getTiming().duration > 1).length")
            assert moving == 0, path
    assert browser.complaints() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_documents_show_every_route_and_ask_nothing_outside(live: Live, browser: Browser) -> None:
    """An operator's network may lead nowhere. A route can be tried on the page."""
    browser.open(f"{live.url}/docs")
    until(lambda: browser.texts(".opblock-summary-path"), 60, "routes")
    shown = {text.replace("\u200b", "") for text in browser.texts(".opblock-summary-path")}
    assert shown == set(live.ask("/openapi.json")["paths"])
    browser.press("[id$=healthz_get] .opblock-summary-control")
    until(lambda: browser.texts(".try-out__btn"), 30, "the route is open")
    browser.press(".try-out__btn")
    browser.press(".execute")
    until(lambda: "200" in browser.text(".live-responses-table .response-col_status"), 30, "its answer")
    assert browser.elsewhere(live.url) == []
    assert browser.complaints() == []
    assert live.answers("/docs")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_phone_has_what_is_behind_the_feed_in_a_sheet(live: Live, browser: Browser) -> None:
    """It opens and closes by touch and by keyboard, and says which it is."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    live.ask("/v1/notes", [note(f"s{i}", f"a{i % 5}", ["tea"], "food", timestamp=int(time.time() * 1000)) for i in range(20)])
    browser.size(375, 812)
    browser.open(f"{live.url}/#phone")
    until(browser.notes, 60, "a feed")
    shown = "return [document.getElementById('sheet').getAttribute('aria-expanded'), document.getElementById('behind').offsetHeight > 0]"
    assert browser.js(shown) == ["false", False]
    browser.press("#sheet")
    assert browser.js(shown) == ["true", True]
    ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
    assert browser.js(shown) == ["false", False]
    browser.press(".card .open")
    until(lambda: "Why this" in browser.text("#note"), 30, "the note's panel")
    assert browser.js(shown) == ["true", True]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_api_that_goes_away_is_said_and_found_again(live: Live, browser: Browser) -> None:
    browser.open(f"{live.url}/ops")
    until(lambda: browser.texts("#lag tbody tr"), 30, "the table")
    live.api.ask_to_stop()
    live.api.end(time.monotonic() + 12)
    until(lambda: "does not answer" in browser.text("#state"), 30, "it is said")
    live.api.start()
    until(lambda: live.answers("/readyz"), 90, "the API is back")
    until(lambda: "does not answer" not in browser.text("#state"), 30, "it is found again")


def test_an_application_without_a_page_has_no_watch_in_the_background() -> None:
    settings = load(environ={"UPWELL_API__OPS_PAGE": "false"})
    app = create_app(settings, store=System().local.store, producer=System().producer)
    assert app.state.watch.run not in app.state.service.background
