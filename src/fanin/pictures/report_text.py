"""The words and numbers that every view of a report shares: signs and figures."""

from fanin.diagnosis.recording import Number
from fanin.diagnosis.report import Check, Report, Verdict

SIGNS: dict[Verdict, str] = {"good": "✓", "suspect": "!", "bad": "✗"}
PLAIN_SIGNS: dict[Verdict, str] = {"good": "+", "suspect": "!", "bad": "x"}
"""for a terminal that cannot write the others"""
NOTHING = "–"
_SMALL, _LARGE = 1e-3, 1e5


def number(value: Number) -> str:
    """Three significant digits: 0.926, 13.3, 1,440, 2.1e-05; a dash for what was not measured."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if not _SMALL <= abs(value) < _LARGE:
        return f"{value:.1e}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:#.3g}"


def share(value: Number) -> str:
    """A share in percent."""
    if value is None:
        return NOTHING
    percent = 100 * value
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def bounds(check: Check) -> str:
    """What was measured and where it would be good: "0.694, good up to 0.3"."""
    if check.value is None:
        return ""
    text = number(check.value)
    if check.low is not None and check.high is not None:
        return f"{text}, good from {check.low:.3g} to {check.high:.3g}"
    if check.high is not None:
        return f"{text}, good up to {check.high:.3g}"
    return f"{text}, good from {check.low:.3g}" if check.low is not None else text


def headline(report: Report) -> str:
    """The report in a sentence or two, without the verdict's own word."""
    counts = {
        verdict: sum(check.verdict == verdict for check in report.checks)
        for verdict in ("bad", "suspect", "good")
    }
    shown = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    text = f"{shown} of {len(report.checks)} checks." if shown else "nothing was judged."
    if report.recording.loss is not None:
        text += f" Loss at step 0: {number(report.loss)}"
        text += f", {number(report.expected_loss)} expected" if report.expected_loss else ""
        recorded = report.recording.loss
        if recorded.kind == "cross_entropy" and recorded.target_entropy is not None:
            text += f"; the targets' own entropy is {number(recorded.target_entropy)}"
        text += "."
    return text
