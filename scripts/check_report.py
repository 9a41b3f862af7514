#!/usr/bin/env python3
"""Opens a report page from disk in headless Chromium, at desktop and phone width, in light and dark, and uses it.

Of a fusion's page: that the divider moves by pointer and keyboard, that the band slider changes the images, that a click
on a pixel changes the spectrum. Of an experiment's page: that figures, tables and settings are there and can be read. Of
both: that nothing is wider than the window, that the console has no error and that no request leaves the page. Run it as

    apt-get install chromium && python3 -m venv .venv && .venv/bin/pip install playwright
    hsr-gpu demo --out demo --steps 200
    .venv/bin/python scripts/check_report.py demo/report.html [FOLDER FOR SCREENSHOTS]
    hsr-gpu experiment convergence --epochs 5 --out convergence --report convergence
    .venv/bin/python scripts/check_report.py convergence/report.html

playwright only drives the browser; the browser is the system's own (`chromium`, or what CHROMIUM names).
"""

import os
import pathlib
import shutil
import sys
import tempfile

from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]
WINDOWS = [
    ("desktop-light", dict(viewport=dict(width=1280, height=900), color_scheme="light")),
    ("desktop-dark", dict(viewport=dict(width=1280, height=900), color_scheme="dark")),
    ("phone-light", dict(viewport=dict(width=390, height=844), color_scheme="light", has_touch=True, is_mobile=True)),
    ("phone-dark", dict(viewport=dict(width=390, height=844), color_scheme="dark", has_touch=True, is_mobile=True)),
]


def not_wider_than_the_window(page, name):
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{name}: the page is {wide} pixels wider than the window"


def screenshots(page, name, folder):
    if folder:
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=folder / f"report-{name}.png")
        page.screenshot(path=folder / f"report-{name}-whole.png", full_page=True)


def read(page, name, folder):
    """Reads an experiment's page; returns nothing, fails loudly."""
    not_wider_than_the_window(page, name)
    assert page.locator("table tbody tr").count() > 0, f"{name}: no table"
    for dark in page.locator(".plot svg").all():
        small = dark.evaluate("s => Math.min(...[...s.querySelectorAll('text')].map(t => t.getBoundingClientRect().height))")
        assert small > 8, f"{name}: text of a figure is {small:.1f} pixels high"
        assert dark.evaluate("s => getComputedStyle(s.parentElement).backgroundColor") == "rgb(255, 255, 255)"
    for box in page.locator(".scroll").all():
        assert box.get_attribute("aria-label"), f"{name}: a scrolled box without a label"
    details = page.locator("details")
    if details.count():
        details.locator("summary").click()
        assert "[training]" in details.locator("pre").inner_text(), f"{name}: no settings"
        details.locator("summary").click()
    screenshots(page, name, folder)


def use(page, name, folder):
    """Uses the page as a reader would; returns nothing, fails loudly."""
    page.wait_for_selector("html[data-ready=yes]", timeout=120_000)

    not_wider_than_the_window(page, name)
    small = page.evaluate(
        "[...document.querySelectorAll('.chart svg')].map(s => 12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width)"
    )
    assert small and min(small) > 11, f"{name}: text of charts is {min(small):.1f} pixels high"

    divider = page.locator("#divider")
    divider.scroll_into_view_if_needed()
    box = page.locator("#compare").bounding_box()
    clip = lambda: page.locator("#left-image").evaluate("e => getComputedStyle(e).clipPath")
    before = clip()
    handle = divider.bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    assert divider.get_attribute("aria-valuenow") == "25", f"{name}: dragged to {divider.get_attribute('aria-valuenow')}"
    assert clip() != before, f"{name}: the left image was not clipped anew"
    divider.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "27"
    divider.press("End")
    assert divider.get_attribute("aria-valuenow") == "100"
    divider.press("Home")
    assert divider.get_attribute("aria-valuenow") == "0"
    for _ in range(5):
        divider.press("PageUp")
    assert divider.get_attribute("aria-valuenow") == "50"

    source = page.locator("#left-image").get_attribute("src")
    options = page.locator("#left option").count()
    assert options >= 3
    page.select_option("#left", index=1)
    assert page.locator("#left-image").get_attribute("src") != source, f"{name}: the left image did not change"
    page.select_option("#left", index=0)

    spectrum = lambda: page.locator("#spectrum path").first.get_attribute("d")
    before = spectrum()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.8 * box["height"])
    rows, columns = page.evaluate("[+document.getElementById('row').max + 1, +document.getElementById('column').max + 1]")
    row, column = int(page.input_value("#row")), int(page.input_value("#column"))
    assert abs(row - 0.8 * rows) <= 2 and abs(column - 0.9 * columns) <= 2, f"{name}: clicked ({row}, {column})"
    assert spectrum() != before, f"{name}: the spectrum did not change"
    page.fill("#row", "0")
    page.press("#row", "Enter")
    assert page.locator("#spectrum-text").inner_text().startswith("Row 0,")
    numbers = page.locator("#spectrum-text").inner_text()
    assert "fused" in numbers and "NaN" not in numbers, numbers

    pixels = lambda: page.locator("#band-images canvas").nth(1).evaluate("c => c.toDataURL()")
    before = pixels()
    slider = page.locator("#band")
    slider.focus()
    slider.press("Home")
    assert page.locator("#band-text").inner_text().startswith("band 0")
    assert pixels() != before, f"{name}: the band did not change"
    slider.press("ArrowRight")
    assert page.locator("#band-text").inner_text().startswith("band 1")
    last = page.evaluate("document.getElementById('band').max")
    slider.press("End")
    assert page.locator("#band-text").inner_text().split()[1] == last
    page.evaluate("b => { b = document.getElementById('band'); b.value = b.max >> 2; b.dispatchEvent(new Event('input')); }")
    tile = page.locator("#band-images canvas").nth(1)
    tile.scroll_into_view_if_needed()
    area = tile.bounding_box()
    page.mouse.click(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    assert abs(int(page.input_value("#row")) - rows // 2) <= rows / 50 + 1

    unlabelled = page.evaluate(
        "[...document.querySelectorAll('input, select, img, canvas, [role=slider]')]"
        ".filter(e => !(e.labels?.length || e.alt || e.getAttribute('aria-label'))).map(e => e.outerHTML.slice(0, 80))"
    )
    assert not unlabelled, f"{name}: without a label: {unlabelled}"

    screenshots(page, name, folder)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    report = pathlib.Path(sys.argv[1]).resolve()
    folder = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or sys.exit("check_report.py: no chromium here")
    for name, window in WINDOWS:
        with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(
                profile, executable_path=chromium, headless=True, args=FLAGS, **window
            )
            page = context.new_page()
            errors, requests = [], []
            page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda e: errors.append(str(e)))
            page.on("request", lambda r: requests.append(r.url[:100]) if not r.url.startswith("data:") else None)
            page.goto(report.as_uri())
            experiment = page.evaluate("document.documentElement.dataset.page") == "experiment"
            (read if experiment else use)(page, name, folder)
            assert not errors, f"{name}: console: {errors}"
            assert requests == [report.as_uri()], f"{name}: requests: {requests}"
            context.close()
        print(f"{name}: good")
    print(f"{report.name}: {report.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
