"""The pictures of the README, taken from a running `upwell up` with Debian's Chromium.

python docs/pictures/take.py http://127.0.0.1:8780
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

HERE = Path(__file__).parent
LIKE_TWO = """
const cards = [...document.querySelectorAll(".card")];
cards[1].querySelector(".act.like").click();
setTimeout(() => cards[2].querySelector(".act.collect").click(), 700);
"""
OPEN = "document.querySelectorAll('.card .open')[0].click()"
SHOTS = (
    # name, page, width, height, scheme, script
    ("feed", "/#mia-0", 1440, 1000, "light", LIKE_TWO),
    ("feed-dark", "/#lina-2", 1440, 1000, "dark", LIKE_TWO),
    ("feed-phone", "/#ben-5", 375, 812, "light", LIKE_TWO),
    ("note-phone", "/#ben-5", 375, 812, "light", OPEN + "; setTimeout(() => { document.getElementById('behind').scrollTop = 560 }, 2500)"),
    ("ops", "/ops", 1440, 1180, "light", ""),
    ("ops-dark", "/ops", 1440, 1180, "dark", ""),
    ("ops-phone", "/ops", 375, 812, "dark", ""),
)


def main(address: str, names: list[str]) -> None:
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "hide-scrollbars", f"user-data-dir={tempfile.mkdtemp()}"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        for name, page, width, height, scheme, script in SHOTS:
            if names and name not in names:
                continue
            size = {"width": width, "height": height, "deviceScaleFactor": 2 if width < 600 else 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            browser.get("about:blank")
            browser.get(address + page)
            time.sleep(4)
            if script:
                browser.execute_script(script)
                time.sleep(4)
            browser.save_screenshot(str(HERE / f"{name}.png"))
    finally:
        browser.quit()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8780", sys.argv[2:])
