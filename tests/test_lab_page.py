"""The lesson in a real browser: a page that trains, answers, and keeps to itself."""

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("marimo", reason="marimo is not installed: pip install 'fanin[lab]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

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
PATIENCE = 120_000  # milliseconds, for a machine that has much else to do
STEPS = 11

pytestmark = pytest.mark.filterwarnings("ignore")  # of other people's packages


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no browser here: none of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playing:
        opened = playing.chromium.launch(executable_path=path, args=list(QUIET))
        yield opened
        opened.close()


class Server:
    """`fanin lab` in a process of its own, and the address that it printed."""

    def __init__(self, folder, *options):
        source = str(Path(__file__).parents[1] / "src")
        environment = {**os.environ, "PYTHONPATH": source, "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fanin", "lab", "--no-browser", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        self.folder = folder
        self.address = self.process.stdout.readline().strip()

    @property
    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            _, told = self.process.communicate()
        assert "Traceback" not in told, told
        assert self.process.returncode in (0, 130)  # marimo takes an interrupt for an answer


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    served = Server(tmp_path_factory.mktemp("lab"))
    yield served
    served.end()


def opened(browser, address, **settings):
    """A tab of the lesson, with what it asked of whom and what it complained of."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, **settings)
    page.set_default_timeout(PATIENCE)
    page.requests, page.complaints = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: page.complaints.append(message.text) if message.type == "error" else None,
    )
    page.goto(address, timeout=PATIENCE)
    return page


def settled(page):
    """The page when every cell has run: four trainings and the race have said where they are."""
    page.wait_for_function("""() => {
        const all = [];
        const look = root => root.querySelectorAll('*').forEach(each => {
            if (each.matches('.status')) all.push(each);
            if (each.shadowRoot) look(each.shadowRoot);
        });
        look(document);
        const told = document.querySelectorAll('.number-line').length >= 6;
        return told && all.length === 5 && all.every(each => each.textContent);
    }""")
    return page


@pytest.fixture(scope="module")
def page(server, browser):
    tab = settled(opened(browser, server.address))
    yield tab
    tab.close()


def training(page, place=0):
    """The training widget at a place on the page: its buttons, status and canvas."""
    return page.locator(".training").nth(place)


def wait_for_step(page, widget, step):
    widget.locator(".status").filter(has_text=re.compile(rf"^step {step}\b")).wait_for()
    widget.get_by_role("button", name="Continue").wait_for()


def first_losses(widget):
    """What the chart reads out at its left end."""
    canvas = widget.locator("canvas")
    canvas.focus()
    canvas.press("Home")
    return widget.locator(".readout").inner_text()


def pixels(locator):
    return locator.evaluate("canvas => canvas.toDataURL()")


def test_the_page_comes_whole_and_asks_nobody_else(page, server):
    host = server.address.partition("/?")[0]
    foreign = [u for u in page.requests if not u.startswith((host, "data:", "blob:"))]
    assert foreign == []
    assert page.complaints == []
    headings = page.locator("h2").all_inner_texts()
    assert [int(re.match(r"\d+", text)[0]) for text in headings] == list(range(1, STEPS + 1))
    assert "Traceback" not in page.content()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_training_moves_the_graph_and_a_rewind_goes_back_to_the_same_start(page):
    widget = training(page)
    widget.locator("select").select_option("5000")
    before = pixels(widget.locator("canvas"))
    # Noted in the page itself, so that the test's own pace does not count.
    widget.locator(".status").evaluate("""status => {
        window.seen = [];
        new MutationObserver(() => window.seen.push([performance.now(), status.textContent]))
            .observe(status, { childList: true, characterData: true, subtree: true });
    }""")
    widget.get_by_role("button", name="Train", exact=True).click()
    wait_for_step(page, widget, "5,000")
    assert pixels(widget.locator("canvas")) != before
    seen = page.evaluate("window.seen.filter(([_, text]) => text.startsWith('step'))")
    assert len({text for _, text in seen}) >= 5
    reading = first_losses(widget)
    assert re.search(r"dev loss, lr 0\.1.* 1[0-9]\.\d", reading)
    widget.get_by_role("button", name="Rewind to the start").click()
    widget.locator(".status").filter(has_text="at the start").wait_for()
    widget.locator("select").select_option("1000")
    widget.get_by_role("button", name="Train", exact=True).click()
    wait_for_step(page, widget, "1,000")
    both = re.findall(r"dev loss[^·]* (\d+\.\d+)", first_losses(widget))
    assert len(both) == 2  # the earlier curve is kept
    assert both[0] == both[1]
    # Going on is in the same curve.
    widget.get_by_role("button", name="Continue").click()
    wait_for_step(page, widget, "2,000")


def test_a_slider_moves_histogram_map_and_the_printed_share(page):
    slider = page.locator("marimo-slider").filter(has_text="W").nth(1).get_by_role("slider")
    slider.scroll_into_view_if_needed()
    line = page.locator(".number-line").filter(has_text="Saturated:")
    panel = page.locator("figure").filter(has=page.locator(".grid"))
    before = line.inner_text(), [pixels(canvas) for canvas in panel.locator("canvas").all()]
    share = float(re.search(r"Saturated: ([\d.]+)%", before[0])[1])
    slider.focus()
    for _ in range(8):
        slider.press("ArrowLeft")
    page.wait_for_function(
        "([line, text]) => line.innerText !== text", arg=[line.element_handle(), before[0]]
    )
    page.wait_for_timeout(500)
    after = line.inner_text(), [pixels(canvas) for canvas in panel.locator("canvas").all()]
    assert float(re.search(r"Saturated: ([\d.]+)%", after[0])[1]) < share / 4
    assert all(old != new for old, new in zip(before[1], after[1], strict=True))


def test_wrong_input_is_answered_beside_its_control(page):
    field = page.get_by_placeholder("z * sigmoid(1.702 * z)")
    field.fill("open(z)")
    field.press("Enter")
    complaint = page.locator(".complaint")
    complaint.wait_for()
    assert "'open(z)' is not known in a formula" in complaint.inner_text()
    field.fill("z * sigmoid(1.702 * z)")
    field.press("Enter")
    page.locator(".number-line").filter(has_text="Forward gain 1.539459").wait_for()
    assert complaint.count() == 0
    assert page.complaints == []


def test_an_activation_that_no_theory_can_follow_is_drawn_as_far_as_it_goes(page):
    field = page.get_by_placeholder("z * sigmoid(1.702 * z)")
    field.fill("z^2 - 1")
    field.press("Enter")
    page.locator(".number-line").filter(has_text="z^2 - 1: forward gain 0.707107").wait_for()


def test_the_graph_has_the_time_of_each_operation(page):
    assert page.locator(".wide svg").get_by_text("time").count() == 0
    page.get_by_role("button", name="Time each operation").click()
    page.get_by_text("Each alone; a call that does nothing").wait_for()
    assert page.locator(".wide svg text").filter(has_text=re.compile(r"^time .* µs")).count() == 6


def test_the_sweep_finds_a_rate_and_every_control_has_a_name(page):
    page.get_by_role("button", name="Sweep the rates").click()
    found = page.locator(".number-line").filter(has_text="before the sweep")
    found.wait_for()
    assert 0.01 < float(re.search(r"safe choice: ([\d.]+)\.", found.inner_text())[1]) < 1
    told = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = ("button", "checkbox", "combobox", "radiogroup", "slider", "textbox", "image")
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in told
        if not node["ignored"] and node["role"]["value"] in controls
    ]
    assert len(named) > 60
    assert [each for each in named if not each[1] or each[1] == "Radio Group"] == []


def test_a_module_of_ones_own_is_diagnosed_or_what_it_takes_is_said(page):
    assert page.get_by_text("def own_module").count() > 0
    page.get_by_role("button", name="Diagnose the module").click()
    told = "Sequential (11,627 parameters" if find_spec("torch") else "PyTorch is not installed"
    page.get_by_text(told).first.wait_for()


def test_another_tab_is_dark_and_narrow_and_closing_it_ends_its_training(page, server, browser):
    kept = page.locator(".training").first.locator(".status").inner_text()
    tab = opened(browser, server.address, color_scheme="dark")
    tab.set_viewport_size({"width": 390, "height": 800})
    settled(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.evaluate("document.querySelector('#App').scrollWidth") <= 390
    red, green, blue = re.findall(
        r"[\d.]+", tab.evaluate("getComputedStyle(document.querySelector('#App')).backgroundColor")
    )[:3]
    assert max(map(float, (red, green, blue))) < 80
    widget = training(tab)
    assert widget.locator(".status").inner_text() == "at the start"
    widget.locator("select").select_option("100000")
    widget.get_by_role("button", name="Train", exact=True).click()
    widget.locator(".status").filter(has_text=re.compile(r"^step \d+,")).wait_for()
    assert page.locator(".training").first.locator(".status").inner_text() == kept
    tab.close()
    closed = time.monotonic()
    while True:
        before = server.cpu_seconds
        time.sleep(0.5)
        if server.cpu_seconds - before < 0.15:
            break
        assert time.monotonic() - closed < 6  # 5, and what it takes to see it


def test_words_of_ones_own_take_the_place_of_the_names(page):
    def give(name, text):
        given = {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
        page.locator("input[type=file]").first.set_input_files(given)

    give("few.txt", "ada")
    complaint = page.locator(".complaint")
    complaint.filter(has_text="few.txt: 1 different word is too few").wait_for()
    assert page.get_by_text("30,460").count() > 0  # and goes on with the names
    give("own.txt", "\n".join(a + b for a in ("na", "lo", "mi", "re", "su") for b in "abcdefgh"))
    page.get_by_text("own.txt").first.wait_for()
    complaint.wait_for(state="hidden")
    # Losses on other words would be no comparison.
    widget = training(page)
    widget.get_by_role("button", name="Forget earlier curves").wait_for(state="hidden")
    widget.locator(".status").filter(has_text="at the start").wait_for()
    settled(page)
    assert page.get_by_text("internal error").count() == 0


def test_nobody_gets_in_without_the_token(server, browser):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(server.address.partition("?")[0])
    assert "How to start" not in tab.content()
    assert "/auth/login" in tab.url
    context.close()


def test_nothing_outside_the_page_is_read(server):
    """Neither by `..`, however it is written, nor by a link in the folder that it runs in."""
    place = urlsplit(server.address)
    (server.folder.parent / "secret.txt").write_text("the secret of the disk")
    (server.folder / "link.txt").symlink_to(server.folder.parent / "secret.txt")
    (server.folder / "public").symlink_to(server.folder.parent)
    secret = str(server.folder.parent / "secret.txt")
    # With the page's own cookie, as a tab has it.
    asked = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    asked.request("GET", f"/?{place.query}")
    known = {"Cookie": asked.getresponse().headers["Set-Cookie"].partition(";")[0]}
    up = ("../", "..%2f", "%2e%2e/", "..\\", "....//", "%252e%252e%252f")
    paths = [f"{each * 12}{secret[1:]}" for each in up]
    paths += ["link.txt", "public/secret.txt", secret, "secret.txt", "../secret.txt"]
    for path in paths:
        for base in ("/", "/assets/", "/public/", "/@file/", "/files/", "/api/", "//", "/static/"):
            connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
            connection.request("GET", f"{base}{path}", headers=known)
            answer = connection.getresponse().read()
            connection.close()
            assert b"the secret of the disk" not in answer, (base, path)


def test_editing_runs_a_changed_cell(browser, tmp_path):
    # As far as the network from values: the rest would only take its time.
    from fanin.lab.server import copy_lesson

    notebook = tmp_path / "fanin_lesson.py"
    copy_lesson(notebook)
    cells = notebook.read_text(encoding="utf-8").split("@app.cell")
    last = next(k for k, cell in enumerate(cells) if "def train_by_hand" in cell)
    notebook.write_text("@app.cell".join(cells[: last + 1]), encoding="utf-8")
    served = Server(tmp_path, "--edit")
    try:
        tab = opened(browser, served.address)
        cell = tab.locator(".marimo-cell").filter(has_text="def train_by_hand").first
        cell.scroll_into_view_if_needed()
        editor = cell.locator(".cm-content")
        editor.click()
        tab.keyboard.press("Control+End")
        # The last expression is what a cell shows; the name is of this cell's own program.
        tab.keyboard.insert_text("\nmo.md(f'changed, with {len(by_hand) - 18} losses')")
        tab.keyboard.press("Control+Enter")
        tab.get_by_text("changed, with 42 losses").wait_for()
        tab.close()
    finally:
        served.end()


def test_the_exported_file_opens_from_disk(browser, tmp_path):
    path = tmp_path / "lesson.html"
    source = f"from fanin.lab.export import export_lesson; export_lesson({str(path)!r}, steps=200)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    subprocess.run([sys.executable, "-c", source], check=True, env=environment)
    tab = opened(browser, path.as_uri(), offline=True)
    assert tab.locator("h2 .number").count() == STEPS
    tab.wait_for_function("document.querySelectorAll('[data-picture]').length > 15")
    tab.wait_for_timeout(1000)
    drawn = tab.evaluate("""() => [...document.querySelectorAll('[data-picture]')].map(place => {
        const canvas = place.shadowRoot.querySelector('canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return data.some(value => value > 0);
    })""")
    assert all(drawn)
    assert tab.locator("math").count() > 10
    assert "Saturated:" in tab.locator("body").inner_text()
    assert tab.complaints == []
    assert [u for u in tab.requests if not u.startswith(("file:", "data:"))] == []
    tab.close()
