"""What the README and the pages show in Python runs as it stands, on fewer words and steps, and the
pages are built from files of the repository alone."""

import importlib.util
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from benchmarks.lost_processes import free_port

from fanin import bundled_names

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [
    pytest.param(page, code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, (language, code) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")))
    if language == "python"
]
# What the blocks of a page go on from; what they must print is theirs, or nothing is.
BEFORE = {
    "pytorch.md": """
import torch
from torch import nn

torch.manual_seed(0)


def make_model():
    made = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 5))
    nn.init.normal_(made[0].weight, std=20**-0.5)
    nn.init.normal_(made[2].weight, std=0.01)
    return made


module, inputs, targets = make_model(), torch.randn(256, 20), torch.randint(5, (256,))
"""
}
AFTER = {
    "pytorch.md-0": "assert report.verdict == report.after.verdict == 'good'; print(fixed)",
    "pytorch.md-1": "assert str(started).startswith('2.bias')",
    "pytorch.md-2": "print(test_the_model_starts_well())",
    "pytorch.md-3": "print(trainer.callbacks)",
}


def test_there_are_blocks():
    assert len(BLOCKS) >= 8


@pytest.mark.filterwarnings("ignore:Starting from v1.9.0:UserWarning")  # of Lightning's logger
@pytest.mark.parametrize(("page", "code"), BLOCKS)
def test_a_block_runs(page, code, tmp_path, monkeypatch, capsys, request):
    if "torch" in code:
        pytest.importorskip("torch")
    if "lightning" in code:
        pytest.importorskip("lightning")
    name = request.node.callspec.id
    code = "\n".join((BEFORE.get(page.name, ""), code, AFTER.get(name, "")))
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("\n".join(bundled_names().words[:500]))
    fewer = code.replace("20_000", "40").replace("2_000", "40").replace("range(100)", "range(3)")
    if "Value.operation" in code:
        # An operation stays for the whole process.
        done = subprocess.run([sys.executable, "-c", fewer], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout
        return
    if "with join(" in code:
        Path("shared.py").write_text(fewer.replace("9876", str(free_port())))
        command = [sys.executable, "shared.py"]
        both = [subprocess.Popen([*command, place], stdout=subprocess.PIPE) for place in "01"]
        said = [process.communicate(timeout=120)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert said[0].startswith(b"fanin ")
        assert said[1] == b""
        return
    exec(compile(fewer, str(page), "exec"), {})
    assert capsys.readouterr().out


class Links(HTMLParser):
    """What a page loads, what it links to, and the places in it that can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.places = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.places |= {named[key] for key in ("id", "name") if named.get(key)}
        if named.get("src"):
            self.loads.append(named["src"])
        if tag == "link" and named.get("href"):
            self.loads.append(named["href"])
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed")
    root = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", root / "docs")
    (root / "src").symlink_to(ROOT / "src")
    settings = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    (root / "zensical.toml").write_text(settings.replace(".venv/docs", "built"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {page.resolve(): Links(page.read_text()) for page in (root / "built").rglob("*.html")}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_links_of_what_stands_beside_the_pages_lead_somewhere(name):
    text = FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        parts = urlsplit(address)
        if not parts.netloc and parts.path:
            assert (ROOT / unquote(parts.path)).exists(), f"{name} links to {address}"


def test_every_page_is_in_the_contents(site):
    contents = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f'"{page.name}"' in contents
        assert any(built.stem == page.stem for built in site)


def test_nothing_is_loaded_from_another_host(site):
    for page, found in site.items():
        for address in found.loads:
            # The address that a page is to be known by is no address that it loads.
            assert not urlsplit(address).netloc, f"{page.name} loads {address}"


def test_every_link_leads_somewhere(site):
    for page, found in site.items():
        if page.name == "404.html":
            continue
        for address in (*found.links, *found.loads):
            parts = urlsplit(address)
            if parts.netloc or parts.scheme in ("mailto", "data"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.name} links to {address}"
            if parts.fragment and target in site and not parts.fragment.startswith("__"):
                place = unquote(parts.fragment)
                assert place in site[target].places, f"{page.name} links to {address}"


def test_every_public_name_is_in_the_reference(site):
    import fanin

    reference = next(found for page, found in site.items() if page.name == "api.html")
    missing = {f"fanin.{name}" for name in fanin.__all__} - reference.places
    assert not missing
