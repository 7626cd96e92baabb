import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/report_schema.py"
DOCS = SCRIPT.parents[1] / "docs"


def test_the_reports_schema_and_its_page_are_current():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["report.md", "report-schema.json"])
def test_a_file_that_is_not_current_is_found(tmp_path, name):
    for path in (SCRIPT, DOCS / "report.md", DOCS / "report-schema.json"):
        copy = tmp_path / path.relative_to(SCRIPT.parents[1])
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    script, stale = tmp_path / "scripts/report_schema.py", tmp_path / "docs" / name
    current = stale.read_text()
    stale.write_text(current.replace("verdict", "sentence"))
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == f"{name} is not current; run python scripts/report_schema.py\n"
    subprocess.run([sys.executable, script], check=True)
    assert stale.read_text() == current


def test_the_schema_names_the_version_and_what_a_report_has():
    schema = json.loads((DOCS / "report-schema.json").read_text())
    report = schema["$defs"]["ReportDocument"]
    assert report["properties"]["schema"] == {"enum": ["fanin.diagnose/1"]}
    assert {"verdict", "loss", "layers", "checks", "prescriptions"} <= set(report["required"])
    assert "after" not in report["required"]


def test_every_field_of_a_layer_is_on_the_page():
    page = (DOCS / "report.md").read_text()
    schema = json.loads((DOCS / "report-schema.json").read_text())
    for definition in schema["$defs"].values():
        for name in definition["properties"]:
            assert f"| `{name}` |" in page
