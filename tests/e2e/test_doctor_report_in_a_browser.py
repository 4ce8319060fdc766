"""The doctor's page in a real browser: severities can be hidden, nothing is asked for, and it fits a phone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.doctor import diagnose
from pipelines.doctor.report import render, thumbnails
from tests.e2e.test_report_in_a_browser import FLAGS
from tests.unit.pipelines import faulty

pytestmark = pytest.mark.browser


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
    folder = tmp_path_factory.mktemp("doctor")
    faulty.write_faulty(folder / "set")
    config = faulty.config_of(folder / "set")
    diagnosis = diagnose(config)
    path = folder / "doctor.html"
    path.write_text(render(diagnosis, thumbnails(diagnosis, config), title="a <set> & more"))
    return path


def visible_severities(browser) -> set[str]:  # type: ignore[no-untyped-def]
    return set(
        browser.execute_script(
            "return [...document.querySelectorAll('section')].filter(s => s.checkVisibility())"
            ".map(s => s.dataset.severity)"
        )
    )


def test_each_severity_can_be_hidden_and_shown_again(browser, page: Path) -> None:  # type: ignore[no-untyped-def]
    browser.set_window_size(1200, 900)
    browser.get(page.as_uri())
    every = {"error", "warning", "note"}
    assert visible_severities(browser) == every
    for severity in every:
        box = browser.find_element("css selector", f"input[name={severity}]")
        box.click()
        assert visible_severities(browser) == every - {severity}
        box.click()
    assert visible_severities(browser) == every


def test_pictures_are_whole_and_both_sides_stand_side_by_side(browser, page: Path) -> None:  # type: ignore[no-untyped-def]
    browser.get(page.as_uri())
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    tops = browser.execute_script(
        "return [...document.querySelectorAll('[data-kind=turned_partner] .pictures')]"
        ".map(p => [...p.querySelectorAll('img')].map(i => i.getBoundingClientRect().top))"
    )
    assert [len(set(pair)) for pair in tops] == [1, 1]
    assert all(len(pair) == 2 for pair in tops)


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


def test_a_name_is_read_as_text(browser, page: Path) -> None:  # type: ignore[no-untyped-def]
    browser.get(page.as_uri())
    assert browser.find_element("tag name", "h1").text == "a <set> & more, examined"
