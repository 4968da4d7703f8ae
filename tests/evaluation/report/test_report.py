"""The page in a browser, at the widths of a phone and of a desk."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from evaluation.report import write_report
from evaluation.report._words import MISSING

pytestmark = pytest.mark.slow

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PLACED = re.compile("--dx")
SMALL, PHONE, DESK = (360, 740), (390, 844), (1440, 900)
SECTIONS = ("summary", "leaderboard", "scores", "labels", "cost", "confusion", "gate")

# Of the visible elements that match, the pairs of the same parent whose boxes overlap.
OVERLAPS = """(selector) => {
  const boxes = [...document.querySelectorAll(selector)]
    .filter((e) => e.offsetParent !== null)
    .map((e) => ({ box: e.getBoundingClientRect(), parent: e.closest('.area, th, .chart'), e }));
  const found = [];
  for (const [i, a] of boxes.entries()) for (const b of boxes.slice(i + 1)) {
    if (a.parent === b.parent && a.box.left < b.box.right - 0.5 && b.box.left < a.box.right - 0.5
        && a.box.top < b.box.bottom - 0.5 && b.box.top < a.box.bottom - 0.5)
      found.push([a.e.textContent, b.e.textContent]);
  }
  return found;
}"""


def find_chromium():
    named = os.environ.get("CHROMIUM")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser():
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium: install Debian's package or set CHROMIUM to its path")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(raw_results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "results.json").write_text(json.dumps(raw_results))
    return write_report(folder / "results.json", folder / "report.html")


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """Where screenshots are kept: TERRAGUILD_SCREENSHOTS, or pytest's own folder."""
    named = os.environ.get("TERRAGUILD_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def open_page(browser, report):
    """Open the page in a new window; whatever it asks for or complains about is collected."""
    contexts = []

    def open_(size=DESK, scheme="light"):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("console", lambda message: page.complaints.append(message.text))

        def refuse(route):
            page.complaints.append(f"asked for {route.request.url}")
            route.abort()

        page.route(re.compile("^(?!file:|data:)"), refuse)
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", report.as_uri()))
                or page.complaints.append(f"asked for {request.url}")
            ),
        )
        page.goto(report.as_uri())
        expect(page.locator(".spot b").first).to_have_attribute("style", PLACED)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module", params=[PHONE, DESK], ids=["phone", "desk"])
def page(request, open_page):
    return open_page(request.param)


@pytest.fixture(scope="module")
def desk(open_page):
    return open_page(DESK)


def visible(page, selector):
    return page.locator(f"{selector}:visible")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [SMALL, PHONE, DESK], ids=["small", "phone", "desk"])
def test_fits_the_width_and_asks_for_nothing(open_page, size, scheme, screenshots):
    page = open_page(size, scheme)
    for section in SECTIONS:
        page.evaluate(f"document.getElementById('{section}').scrollIntoView()")
        page.screenshot(path=screenshots / f"{size[0]}-{scheme}-{section}.png")
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert page.complaints == []
    colors = page.evaluate("[getComputedStyle(document.body).backgroundColor]")
    assert (colors == ["rgb(255, 255, 255)"]) == (scheme == "light")


def test_nothing_sticks_out_of_its_panel(page):
    sticking = page.evaluate(
        """() => [...document.querySelectorAll('.panel *')]
          .filter((e) => !e.closest('.scroll') && e.offsetParent && e.getBoundingClientRect().right
            > e.closest('.panel').getBoundingClientRect().right)
          .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert sticking == []


def test_labels_of_axes_do_not_overlap(page):
    assert page.locator(".axis span:visible").count() > 50
    assert page.evaluate(OVERLAPS, ".axis span:not(.out), .tick") == []


def test_headings_stay_in_their_columns(page):
    wide = page.evaluate(
        """() => [...document.querySelectorAll('.numbers thead th')]
          .filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1)
          .map((e) => e.textContent)"""
    )
    assert wide == []


def test_labels_of_scatters_do_not_overlap(page):
    show = "(hidden) => document.querySelectorAll('#cost figure').forEach((figure, number) => {"
    show += " figure.hidden = hidden && number > 0; })"
    page.evaluate(show, False)
    expect(page.locator(".spot b:not([style*='--dx'])")).to_have_count(0)
    labels = page.locator("#cost .spot b:visible").all_text_contents()
    listed = page.locator("#cost .key tbody td:first-child:visible").all_text_contents()
    assert len(labels) > 200
    assert {label.split()[0] for label in labels} <= set(listed)
    assert page.evaluate(OVERLAPS, "#cost .spot b") == []
    page.evaluate(show, True)


def test_dots_stand_where_the_axis_says(page, raw_results):
    """Read each dot and whisker against the labels of the axis, and compare with its number."""
    measured = visible(page, "#scores figure").first.evaluate(
        """(figure) => {
          const middle = (box) => (box.left + box.right) / 2;
          const ticks = [...figure.querySelectorAll('.axis span:not(.out)')]
            .map((e) => [middle(e.getBoundingClientRect()), Number(e.textContent)]);
          const rows = [...figure.querySelectorAll('tbody tr')].map((row) => {
            const mark = row.querySelector('i:not([class])');
            if (!mark) return null;
            const box = mark.getBoundingClientRect();
            const [whisker, dot] = ['::before', '::after'].map((part) => {
              const style = getComputedStyle(mark, part);
              return [parseFloat(style.left), parseFloat(style.width)].map((x) => x + box.left);
            });
            const right = whisker[0] + whisker[1] - box.left;
            const numbers = row.lastElementChild.textContent.match(/[0-9.]+/g).map(Number);
            return { shown: [dot[0], whisker[0], right], numbers };
          });
          return { ticks, rows: rows.filter((row) => row) };
        }"""
    )
    (left, low), (right, high) = measured["ticks"][0], measured["ticks"][-1]
    assert len(measured["rows"]) >= 8
    for row in measured["rows"]:
        read = [low + (x - left) / (right - left) * (high - low) for x in row["shown"]]
        expected = [min(max(number, low), high) for number in row["numbers"]]
        assert read == pytest.approx(expected, abs=(high - low) / 100)


def test_a_floor_beyond_the_axis_is_an_arrow(desk):
    arrow = desk.locator("#scores figure:visible i.off-left").first
    row = arrow.locator("xpath=ancestor::tr")
    assert row.locator("th").text_content().strip() == "majority"
    style = (
        "(e) => { const s = getComputedStyle(e, '::after'); return [s.content, s.borderWidth]; }"
    )
    assert arrow.evaluate(style) == ['"◀"', "0px"]
    assert "0.100" in row.locator("td").last.text_content()


def test_sorts_by_click_and_by_key(desk):
    button = visible(desk, "#leaderboard button:has-text('Average rank')")
    heading = desk.locator("#leaderboard figure:visible th:has-text('Average rank')")
    column = visible(desk, "#leaderboard tbody tr td:nth-child(3)")

    def ranks():
        return [None if text == MISSING else float(text) for text in column.all_text_contents()]

    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    found = ranks()
    assert found[:-1] == sorted(found[:-1], reverse=True)
    assert found[-1] is None  # without a number: last in either order
    button.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    found = ranks()
    assert found[:-1] == sorted(found[:-1])
    assert found[-1] is None
    name = visible(desk, "#leaderboard button:has-text('Encoder')")
    name.focus()
    name.press("Space")
    assert heading.get_attribute("aria-sort") is None
    names = visible(desk, "#leaderboard tbody th").all_text_contents()
    assert names == sorted(names, key=str.casefold)


def test_shows_the_protocol_and_metric_that_were_chosen(desk):
    panel = desk.locator("#scores .panel").first
    protocol, metric = panel.locator("select").nth(0), panel.locator("select").nth(1)
    protocol.select_option("5 nearest neighbours")
    metric.select_option("Calibration error (ECE)")
    figure = panel.locator("figure:visible")
    assert figure.count() == 1
    assert figure.locator("caption").text_content() == (
        "Calibration error (ECE) on EuroSAT, 13 bands, 5 nearest neighbours; lower is better"
    )


def test_encoders_get_colour_by_choice(desk):
    button = desk.locator(".legend button:has-text('dofa-nano')")
    series = desk.locator(".series[data-encoder='dofa-nano']").first
    assert "on" not in series.get_attribute("class").split()
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert "on" in series.get_attribute("class").split()


def test_confusion_of_another_encoder(desk, raw_results):
    figure = desk.locator(".confusion:visible")
    figure.locator("select").select_option("majority")
    shown = figure.locator("tbody tr").first.locator("td").all_text_contents()
    cells = [
        cell["confusion"][0]
        for cell in raw_results["cells"]
        if (cell["encoder"], cell["data"], cell["protocol"]) == ("majority", "eurosat_ms", "linear")
    ]
    counts = [sum(column) for column in zip(*cells, strict=True)]
    expected = [round(100 * count / sum(counts)) for count in counts]
    assert [int(text or 0) for text in shown] == pytest.approx(expected, abs=1)
    figure.locator("tbody td").first.hover()
    status = figure.locator(".status").text_content()
    assert f"{counts[0]} of {sum(counts)}" in status


def test_copies_a_command(desk, raw_results):
    button = desk.locator("#repeat .copy").first
    button.click()
    expect(button).not_to_have_text("Copy")
    copied = desk.evaluate("getSelection().toString()")
    assert button.text_content() == "Copied" or raw_results["command"] in copied


def test_turns_dark_by_a_button(open_page):
    page = open_page()
    page.locator(".theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def test_rows_keep_their_meaning_as_a_table(page):
    """On a phone they are laid out as grids, which takes the meaning of table elements."""
    row = page.locator("#scores .panel figure:visible tbody tr").first
    assert row.get_attribute("role") == "row"
    assert page.get_by_role("rowheader", name="guild-top2").count() > 10
