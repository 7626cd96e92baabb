import json

from fanin.cli import main
from fanin.starts import OPTIONS, SCHEMES


def test_a_line_for_each_start_with_its_source(capsys):
    assert main(["starts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, (name, scheme) in zip(lines, SCHEMES.items(), strict=False):
        assert line.split()[0] == name
        assert line.endswith(f"{scheme.summary} ({scheme.source})")
    assert [line.split()[0] for line in lines[-len(OPTIONS) :]] == list(OPTIONS)


def test_json_has_the_rules_of_each(capsys):
    assert main(["starts", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [scheme["name"] for scheme in found["starts"]] == list(SCHEMES)
    glorot = next(s for s in found["starts"] if s["name"] == "glorot-uniform")
    assert glorot["hidden"] == {"distribution": "uniform", "gain": 1.0, "mode": "average"}
    assert set(found["options"]) == set(OPTIONS)
