import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import jax
import numpy as np
import pytest
from matplotlib.image import imread

from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.of_network import diagnose
from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.pictures.inline_svg import inline_svg
from fanin.pictures.report_figures import FigureName
from fanin.pictures.report_html import page, write_page
from fanin.pictures.saturation_map import MOST_UNITS, saturation_png
from fanin.starts import find_start

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A browser that asks nobody anything by itself; as root it cannot have its sandbox.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEPTH = 20


@pytest.fixture(scope="module")
def examples():
    corpus = Corpus.of(bundled_names())
    return corpus.train.contexts[:1024], corpus.train.targets[:1024]


def measured(examples, start, **sizes):
    network = CharacterMLP(27, **sizes)
    parameters = find_start(start)(network, jax.random.key(0), examples[0])
    return diagnose(network, parameters, *examples)


@pytest.fixture(scope="module")
def bad(examples):
    """The lesson's bad start, with what the prescriptions make of it."""
    report = measured(examples, "normal")
    report.fixed()
    return report


@pytest.fixture(scope="module")
def deep(examples):
    """Twenty layers, nearly all of them saturated, and what the prescriptions make of them."""
    report = measured(examples, "normal", hidden=(200,) * DEPTH)
    report.fixed()
    return report


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no browser here: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as playing:
        opened = playing.chromium.launch(executable_path=path, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Writes a report's page, once, and gives its path."""
    paths = {}

    def write(report):
        if report not in paths:
            paths[report] = tmp_path_factory.mktemp("pages") / "report.html"
            write_page(report, paths[report])
        return paths[report]

    return write


@pytest.fixture
def visit(browser, written):
    """Opens a report in the browser, and holds against it whatever it asks for or complains of."""
    complaints, contexts, requests = [], [], []

    def open_page(report, *, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(120_000)  # milliseconds, on a machine with much else to do
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("request", lambda request: requests.append(request.url))
        shown.goto(written(report).as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert sum(url.startswith("file:") for url in requests) == len(contexts)


# In a browser.


@pytest.mark.parametrize("name", ["bad", "deep"])
def test_a_page_loads_nothing_and_shows_all_its_pictures(name, request, visit):
    report = request.getfixturevalue(name)
    shown = visit(report)
    assert shown.title().startswith("✗ bad")
    assert shown.locator("figure svg").count() == 2 * len(get_args(FigureName))
    maps = shown.locator("img.map")
    flagged = [each for each in report.recording.layers if each.map]
    assert maps.count() >= len([each for each in flagged if report.verdict_of(each.name) != "good"])
    for place in range(maps.count()):
        assert maps.nth(place).evaluate("image => image.complete && image.naturalWidth") == 200


def test_a_page_cannot_load_anything(bad, visit):
    shown = visit(bad)
    policy = shown.locator("meta[http-equiv]").get_attribute("content")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


SMALLEST_TEXT = """() => Math.min(...[...document.querySelectorAll("svg text")].map(text =>
  parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getBoundingClientRect().width
    / text.ownerSVGElement.viewBox.baseVal.width))"""


@pytest.mark.parametrize("name", ["bad", "deep"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_is_as_wide_as_the_screen_and_its_smallest_text_can_be_read(
    name, width, request, visit
):
    shown = visit(request.getfixturevalue(name), width=width)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate(SMALLEST_TEXT) >= 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_by_day_and_by_night(scheme, bad, visit):
    shown = visit(bad, color_scheme=scheme)
    ground = luminance(imread(io.BytesIO(shown.screenshot()))[-1, -1, :3])
    assert (ground < 0.1) == (scheme == "dark")
    for element in ("p", ".check .bad", ".check .suspect", "summary .good", "figure text", "td"):
        colour = shown.locator(element).first.evaluate(
            "e => getComputedStyle(e)[e instanceof SVGElement ? 'fill' : 'color']"
        )
        ink = luminance([int(part) / 255 for part in re.findall(r"\d+", colour)[:3]])
        low, high = sorted((ink, ground))
        # The bounds of the web's accessibility guidelines: 4.5 for text, 3 for text in bold.
        assert (high + 0.05) / (low + 0.05) >= (4.5 if element in ("p", "td") else 3), element


def luminance(colour):
    """Of an sRGB colour with components from 0 to 1, as WCAG 2 defines it."""
    parts = np.asarray(colour, float)
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_on_paper_nothing_is_folded_or_cut_off_and_it_is_day(bad, visit):
    shown = visit(bad, width=700, color_scheme="dark")
    folded = shown.locator("details .check").first
    assert not folded.is_visible()
    shown.emulate_media(media="print")
    assert folded.is_visible()
    assert shown.evaluate("document.documentElement.scrollWidth") <= 700
    overflowing = shown.evaluate(
        "[...document.querySelectorAll('pre, .scroll')]"
        ".filter(box => box.scrollWidth > box.clientWidth + 1).length"
    )
    assert overflowing == 0
    assert luminance(imread(io.BytesIO(shown.screenshot()))[0, -1, :3]) > 0.99


# Its text.


def test_a_page_of_twenty_layers_is_smaller_than_500_kilobytes(deep, written):
    assert len(deep.recording.layers) == DEPTH + 2
    assert written(deep).stat().st_size < 500_000


def test_a_page_tells_what_the_report_says(bad, written):
    text = written(bad).read_text(encoding="utf-8").replace("<wbr>", "")
    for check in bad.checks:
        assert f"<b>{check.name}</b>" in text
    for prescription in bad.prescriptions:
        assert f"<code>{escaped(prescription.code)}</code>" in text
    assert text.index("Verdicts") < text.index("Prescriptions") < text.index("Layers")
    before, after = text.split("After the prescriptions")
    assert "hidden.0.weight" in before
    assert "hidden.0.weight" in after
    assert re.search(r"loss 2\d\.\d → 3\.3\d", after)


def escaped(text):
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("'", "&#x27;")


def test_names_cannot_become_markup(bad):
    evil = '<script>alert(1)</script>&"'
    layers = tuple(replace(each, name=f"{evil}{each.name}") for each in bad.recording.layers)
    recording = replace(bad.recording, layers=layers, subject=evil, not_seen=(evil,))
    checks = tuple(
        replace(each, name=evil, text=evil, source=evil, layers=tuple(n.name for n in layers))
        for each in bad.checks
    )
    predictions = tuple(replace(p, layer=f"{evil}{p.layer}") for p in bad.predictions)
    made = tuple(
        replace(each, parameter=evil, code=evil, reason=evil) for each in bad.prescriptions
    )
    renamed = replace(
        bad, recording=recording, checks=checks, predictions=predictions, prescriptions=made
    )
    text = page(renamed)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


@pytest.fixture(scope="module")
def in_a_notebook(bad):
    return bad._repr_html_()


def test_a_report_shows_itself_in_a_notebook_and_touches_nothing_else_there(
    bad, in_a_notebook, written
):
    shown = in_a_notebook
    assert shown in written(bad).read_text(encoding="utf-8")
    assert "<html" not in shown
    style = re.search(r"<style>(.*?)</style>", shown, re.DOTALL)[1]
    assert shown.count("<style") == 1
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    for selectors in re.findall(r"(?:^|[{};])\s*([^{};]+)\{", style):
        for selector in selectors.split(","):
            assert selector.strip().startswith((".fanin-report", "@media")), selector


def test_no_identifier_is_there_twice_and_all_that_are_referred_to_are_there(in_a_notebook):
    shown = in_a_notebook
    identifiers = re.findall(r'\bid="([^"]*)"', shown)
    assert len(identifiers) == len(set(identifiers)) > 0
    assert set(re.findall(r'(?:url\(|href=")#([^")]*)', shown)) == set(identifiers)


def test_diagnosis_draws_without_having_loaded_matplotlib_before():
    program = (
        "import sys\nfrom fanin.diagnosis.report import Report\n"
        "assert not {'matplotlib', 'fanin.pictures'} & set(sys.modules)\n"
        "from fanin.diagnosis.recording import Recording\n"
        "empty = Report(Recording('fanin', 'nothing', 1, (), None), (), (), ())\n"
        "assert 'fanin-report' in empty._repr_html_()\n"
        "assert empty.html().startswith('<!DOCTYPE html>')\n"
        "assert empty.figure('moments').axes\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Figures.


def lines(report, name):
    """The lines of a figure by their labels."""
    (axes,) = report.figure(name).axes
    return {line.get_label(): line.get_xydata().T for line in axes.lines}


def test_histograms_are_of_the_numbers_that_were_measured(bad):
    values, density = lines(bad, "activations")["✗ hidden.0"]
    assert density.sum() * (values[2] - values[1]) == pytest.approx(1)
    assert density[np.abs(values) < 0.9].max() < density[np.abs(values) > 0.9].max() / 5
    drawn = lines(bad, "preactivations")
    assert set(drawn) == {"✗ hidden.0", "✗ output"}
    values, density = drawn["✗ hidden.0"]
    std = np.sqrt(np.trapezoid(density * values**2, values))
    assert std == pytest.approx(bad.recording.layer("hidden.0").preactivation.std, rel=0.05)
    assert len(lines(bad, "gradients")) == 3


def test_a_layer_has_one_colour_in_every_histogram(bad):
    colours = {}
    for name in ("preactivations", "activations", "gradients"):
        (axes,) = bad.figure(name).axes
        for line in axes.lines:
            colours.setdefault(line.get_label(), set()).add(line.get_color())
    assert colours.keys() == {"embedding", "✗ hidden.0", "✗ output"}
    assert len(set.union(*colours.values())) == 3
    (axes,) = bad.after.figure("gradients").axes
    assert axes.get_xlabel().startswith("logarithmic beyond ±")


def test_moments_over_the_depth_are_measured_and_predicted(deep):
    drawn = lines(deep, "moments")
    stds = [layer.activation.std for layer in deep.recording.layers]
    marked = {x: y for label in drawn if "measured" in label for x, y in drawn[label].T}
    assert [marked[place + 1] for place in range(len(stds))] == pytest.approx(stds)
    expected = [each.activation_std.from_input for each in deep.predictions[1:]]
    assert drawn["theory, from the input"][1, 1:] == pytest.approx(expected)
    ahead = [each.activation_std.ahead for each in deep.predictions[1:]]
    assert drawn["theory, one layer ahead"][1, 1:] == pytest.approx(ahead)


def test_gradients_are_predicted_from_the_last_layer_back(deep):
    drawn = lines(deep, "gradient moments")
    measured = [layer.gradient.second_moment for layer in deep.recording.layers]
    growth = [each.gradient_growth for each in deep.predictions]
    at = 18
    from_output = measured[-1] * np.prod([g.from_input for g in growth[at + 1 :]])
    assert drawn["theory, from the input"][1, at] == pytest.approx(from_output)
    one_ahead = measured[at + 1] * growth[at + 1].ahead
    assert drawn["theory, one layer ahead"][1, at] == pytest.approx(one_ahead)
    # And it fits: over many orders of magnitude theory is right about these saturated layers.
    ratio = drawn["theory, from the input"][1, 1:-1] / measured[1:-1]
    assert np.all((ratio > 0.05) & (ratio < 20))
    assert measured[1] / measured[-1] > 1e10


def test_a_network_with_nothing_finite_still_has_its_figures(examples):
    network = CharacterMLP(27, hidden=(8,))
    parameters = dict(find_start("fanin")(network, jax.random.key(0), examples[0]))
    parameters["hidden.0.weight"] = parameters["hidden.0.weight"] * np.nan
    broken = diagnose(network, parameters, *examples)
    assert "not finite" in page(broken)


def test_a_figure_that_is_not_there(bad):
    with pytest.raises(OptionError, match="no figure 'weights'; it has preactivations, act"):
        bad.figure("weights")


def test_an_inline_svg_is_short_and_rounds_nothing_that_is_read(bad):
    def drawn():
        figure = bad.figure("moments")
        figure.axes[0].set_title("0.12345 <&>")
        return inline_svg(figure, 'a "label"', salt="x")

    svg = drawn()
    assert svg == drawn()
    assert "0.12345 &lt;&amp;&gt;" in svg
    assert svg.startswith("<svg ")
    assert 'aria-label="a &quot;label&quot;"' in svg
    assert not re.search(r'd="[^"]*\d\.\d{3}', svg)
    for unwanted in ("<metadata", "<style", "font-family", "\n", "#010101"):
        assert unwanted not in svg
    assert "currentColor" in svg


# The saturation map.


def test_a_map_shows_both_ends_and_zeros_each_in_its_place():
    rows = ("+-0.", "...-", "0+.+")
    pixels = (imread(io.BytesIO(saturation_png(rows))) * 255).round().astype(int)
    assert pixels.shape == (3, 4, 4)
    colours = {"+": (217, 112, 42), "-": (47, 127, 208), "0": (128, 128, 128)}
    for row, line in zip(rows, pixels, strict=True):
        for character, pixel in zip(row, line, strict=True):
            if character == ".":
                assert pixel[3] == 0
            else:
                assert tuple(pixel) == (*colours[character], 255)


@pytest.mark.parametrize("units", [1, 2, 3, 5, 1000])
def test_a_map_of_any_width_is_a_whole_picture(units):
    generator = np.random.default_rng(units)
    rows = tuple("".join(generator.choice(list("+-0."), units)) for _ in range(5))
    pixels = imread(io.BytesIO(saturation_png(rows)))
    assert pixels.shape == (5, min(units, MOST_UNITS), 4)
    empty = [[character == "." for character in row[:MOST_UNITS]] for row in rows]
    assert ((pixels[..., 3] == 0) == np.array(empty)).all()
