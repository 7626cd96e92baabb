"""A report as the lines that GitHub's runner shows beside a commit."""

import re

from fanin.diagnosis.naming import layer_list
from fanin.diagnosis.report import Check, Report
from fanin.pictures.report_text import bounds

_COMMANDS = {"bad": "error", "suspect": "warning"}
_PLACE = re.compile(r"(?P<file>[^:]+\.py):(?P<line>\d+)")


def annotations(report: Report) -> list[str]:
    """A workflow command for each check that is not good; the worst first."""
    return [_annotation(report, check) for check in report.checks if check.verdict in _COMMANDS]


def _annotation(report: Report, check: Check) -> str:
    order = [layer.name for layer in report.recording.layers]
    layers = layer_list(check.layers, order)
    title = f"fanin: {check.name}" + (f" ({layers})" if layers else "")
    properties = {"title": title, **_place(report, check)}
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    text = " ".join(filter(None, (check.text, f"[{bounds(check)}]" if bounds(check) else "")))
    return f"::{_COMMANDS[check.verdict]} {listed}::{_data(text)}"


def _place(report: Report, check: Check) -> dict[str, str]:
    """The line that made the first layer at fault, where the framework tells."""
    for layer in report.recording.layers:
        if layer.name in check.layers and (found := _PLACE.search(layer.place)):
            return found.groupdict()
    return {}


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
