"""What the README shows in Python runs as it stands, on fewer words and steps."""

import re
from pathlib import Path

import pytest

from fanin import bundled_names

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_blocks():
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("\n".join(bundled_names().words[:500]))
    fewer = block.replace("20_000", "40").replace("2_000", "40").replace("range(100)", "range(3)")
    exec(compile(fewer, str(README), "exec"), {})
    assert capsys.readouterr().out
