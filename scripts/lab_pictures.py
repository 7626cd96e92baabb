"""Pictures of the lesson, step by step, into docs/lab: `python scripts/lab_pictures.py docs/lab`.

Needs the extra `lab`, Playwright and a Chromium. Prints how quick the page was, too.
"""

import io
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
WIDTH, TALL = 1120, 19_000
STEPS = [
    *("names", "network", "training", "loss", "logits", "saturation"),
    *("depth", "scale", "normalisation", "together", "words"),
]
PATIENCE = 120_000


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fanin", "lab", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    try:
        with sync_playwright() as playing:
            path = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playing.chromium.launch(executable_path=path, args=QUIET)
            for scheme, width in (("light", WIDTH), ("dark", WIDTH), ("light", 390)):
                size = {"width": width, "height": 900}
                page = browser.new_page(viewport=size, color_scheme=scheme)
                page.set_default_timeout(PATIENCE)
                began = time.monotonic()
                page.goto(address)
                page.locator("h1").wait_for()
                title = time.monotonic() - began
                page.get_by_text("what tanh sees").wait_for()
                whole = time.monotonic() - began
                print(f"{scheme}, {width} px: title after {title:.1f} s, all after {whole:.1f} s")
                use(page, timed=(scheme, width) == ("light", WIDTH))
                take(page, folder, scheme, width)
                page.close()
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


def use(page: Page, *, timed: bool) -> None:
    """Do what a reader would, so that there is something to see."""
    widgets = page.locator(".training")
    first = widgets.nth(0)
    if timed:
        frames(first)
        train(first, "20000")
        told = first.evaluate("() => window.frames")
        rate = 1000 * (len(told) - 1) / (told[-1] - told[0])
        print(f"frames while training: {rate:.0f} a second")
        first.get_by_role("button", name="Rewind").click()
        first.get_by_role("button", name="Forget").click()
        train(first, "1000")
        first.get_by_role("button", name="Rewind").click()
        first.get_by_role("button", name="Forget").click()
    train(first, "5000")
    second = widgets.nth(1)
    starts = {
        "everything N(0, 1)": "everything N(0, 1), lr",
        "all hidden units equal": "equal units, lr",
        "as set above": "output × 0.01, lr",
    }
    for start, legend in starts.items():
        page.get_by_role("radio", name=start, exact=True).click()
        second.locator(".legend").filter(has_text=legend).wait_for()
        train(second, "5000")
    train(widgets.nth(2), "5000")
    slider = page.locator("marimo-slider").filter(has_text="W").nth(1).get_by_role("slider")
    slider.focus()
    line = page.locator(".number-line").filter(has_text="Saturated:")
    waits = [moved(slider, line) for _ in range(6)]
    if timed:
        print(f"a slider was answered in {median(waits):.0f} ms (median), at most {max(waits):.0f}")
    page.wait_for_timeout(300)
    train(widgets.nth(2), "5000")
    page.get_by_role("button", name="Sweep the rates").click()
    page.get_by_text("Half of that is a safe choice").wait_for()
    race = widgets.nth(3)
    race.get_by_role("button", name="Race").click()
    race.locator(".status").filter(has_text="100%").wait_for()
    train(widgets.nth(4), "20000")
    page.get_by_role("button", name="Make names").click()
    page.locator(".names").wait_for()
    page.get_by_role("button", name="Diagnose", exact=True).click()
    page.locator(".fanin-report").wait_for()


def frames(widget: Locator) -> None:
    """Notes in the page when the status changed."""
    widget.locator(".status").evaluate("""status => {
        window.frames = [];
        new MutationObserver(() => window.frames.push(performance.now()))
            .observe(status, { childList: true, characterData: true, subtree: true });
    }""")


def train(widget: Locator, steps: str) -> None:
    widget.scroll_into_view_if_needed()
    widget.locator("select").select_option(steps)
    widget.get_by_role("button", name=re.compile("^(Train|Continue)$")).click()
    widget.locator(".status").filter(has_text=f"step {int(steps):,}").wait_for()
    widget.get_by_role("button", name="Continue").wait_for()


def moved(slider: Locator, line: Locator) -> float:
    """Milliseconds from a key on the slider to the numbers' change."""
    line.evaluate("""line => {
        const before = line.innerText;
        window.answered = new Promise(done => {
            const began = performance.now();
            const look = () => {
                const now = [...document.querySelectorAll('.number-line')]
                    .find(each => each.innerText.startsWith('Saturated:'));
                if (now && now.innerText !== before) done(performance.now() - began);
                else setTimeout(look, 2);
            };
            look();
        });
    }""")
    slider.press("ArrowLeft")
    return float(line.page.evaluate("window.answered"))


def take(page: Page, folder: Path, scheme: str, width: int) -> None:
    """The steps one by one in light and wide; the page's beginning and one step in the others."""
    page.set_viewport_size({"width": width, "height": TALL})
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur(); document.querySelector('#App').scrollTop = 0")
    page.wait_for_timeout(1500)
    whole = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    tops = page.locator("h2").evaluate_all(
        "all => all.filter(h => h.querySelector('.number')).map(h => h.getBoundingClientRect().top)"
    )
    report = page.locator(".fanin-report").bounding_box()
    assert report is not None
    ends = [*tops[1:], report["y"] + 900]
    if (scheme, width) == ("light", WIDTH):
        save(whole, 0, tops[0], folder / "00-beginning.png")
        for place, name in enumerate(STEPS):
            save(whole, tops[place], ends[place], folder / f"{place + 1:02}-{name}.png")
    elif width == WIDTH:
        save(whole, tops[2], ends[2], folder / "dark.png")
    else:
        save(whole, tops[5], tops[5] + 1900, folder / "narrow.png")


def save(whole: Image.Image, top: float, bottom: float, path: Path) -> None:
    part = whole.crop((0, int(top), whole.width, int(bottom)))
    part.quantize(256, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
