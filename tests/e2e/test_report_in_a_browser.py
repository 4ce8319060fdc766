"""The report in a real browser: the sliders slide, nothing is asked for, and it fits a phone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.report import ReportImage, preview, render
from tests.unit.pipelines.pictures import photograph

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver on this machine")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [
        ReportImage(
            f"folder/{n}.png", preview(photograph(300, 500, seed=n) // 3), preview(photograph(300, 500, seed=n))
        )
        for n in range(3)
    ]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(
        render(
            title="holiday.zip", model_uri="models:/demo/1", seconds=12.3, images=images, num_restored=3,
            quarantined=[("torn.png", "it is truncated; expected a whole file; replace the file or leave it out")],
        )
    )  # fmt: skip
    return path


def test_the_sliders_show_before_and_after(browser, page: Path) -> None:  # type: ignore[no-untyped-def]
    from selenium.webdriver.common.keys import Keys

    browser.set_window_size(1200, 900)
    browser.get(page.as_uri())
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    slider = browser.find_element("css selector", ".pair input")
    seen = set()
    for key in (Keys.HOME, Keys.ARROW_RIGHT, Keys.END):
        slider.send_keys(key)
        seen.add(browser.execute_script("return getComputedStyle(document.querySelector('.before')).clipPath"))
    assert len(seen) == 3
    assert slider.get_attribute("aria-label")
    assert browser.find_element("id", "restored").text == "3"
    assert browser.find_element("id", "quarantined").text == "1"
    assert "torn.png" in browser.find_element("tag name", "table").text


def test_it_asks_for_nothing_and_says_nothing(browser, page: Path) -> None:  # type: ignore[no-untyped-def]
    browser.get(page.as_uri())
    requested = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in requested if not name.startswith("data:")] == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_phones_and_desks(browser, page: Path, width: int) -> None:  # type: ignore[no-untyped-def]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
