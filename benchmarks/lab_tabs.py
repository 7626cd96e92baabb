"""Ten tabs of the lab that train at once: how fast the server answers meanwhile.

`python -m benchmarks.lab_tabs` opens them in a browser (chromium, playwright), all of which run the
whole lesson, and asks for the page every quarter of a second until each has trained all its
networks. The figures are in docs/reliability.md.
"""

import argparse
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from playwright.sync_api import sync_playwright

_TRAINED = """() => {
    const all = [];
    const look = root => root.querySelectorAll('*').forEach(each => {
        if (each.matches('.status')) all.push(each);
        if (each.shadowRoot) look(each.shadowRoot);
    });
    look(document);
    return all.length === 5 && all.every(each => each.textContent);
}"""
_ALL_IN_FRONT = (
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
PATIENCE = 1_500_000  # milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tabs", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-m", "fanin", "lab", "--no-browser"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
        )
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            alone = [_answer(address) for _ in range(20)]
            print(f"with no tab: {_summary(alone)}")
            with sync_playwright() as playing:
                browser = playing.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", *_ALL_IN_FRONT]
                )
                began = time.perf_counter()
                seconds: list[float] = []
                done = threading.Event()
                asking = threading.Thread(target=_ask, args=(address, done, seconds))
                asking.start()
                tabs = [browser.new_context().new_page() for _ in range(asked.tabs)]
                for tab in tabs:
                    tab.goto(address, timeout=PATIENCE, wait_until="commit")
                for tab in tabs:
                    tab.wait_for_function(_TRAINED, timeout=PATIENCE)
                done.set()
                asking.join()
                print(f"{asked.tabs} tabs trained after {time.perf_counter() - began:.0f} s")
                print(f"meanwhile: {_summary(seconds)}")
                browser.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def _ask(address: str, done: threading.Event, seconds: list[float]) -> None:
    while not done.wait(0.25):
        seconds.append(_answer(address))


def _answer(address: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(address, timeout=120) as answer:
        assert answer.status == 200
        answer.read()
    return time.perf_counter() - began


def _summary(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    worst = ordered[-1]
    return (
        f"{len(ordered)} answers, median {statistics.median(ordered):.3f} s, "
        f"95 % below {ordered[int(0.95 * (len(ordered) - 1))]:.3f} s, longest {worst:.3f} s"
    )


if __name__ == "__main__":
    main()
