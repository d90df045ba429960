"""Draw `report.webp`, the first thing that the README shows: a page of the demo's report.

`jaxattr audit`, then `python docs/guide/report_picture.py jaxattr-audit`: the image page of the
first image of the first finding, in a Chromium that is installed (extra `browser`).
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name("report.webp")
WIDTH, HEIGHT = 1100, 625


def main(folder: Path) -> None:
    found = json.loads((folder / "findings.json").read_text(encoding="utf-8"))["findings"][0]
    page = f"{(folder / 'report.html').resolve().as_uri()}#/image/{found['images'][0]['index']}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(f"{page}?from=finding/1")
        tab.wait_for_timeout(1000)
        shot = tab.screenshot()
        browser.close()
    Image.open(io.BytesIO(shot)).convert("RGB").save(PICTURE, quality=92, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
