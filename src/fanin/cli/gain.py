"""`fanin gain`."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fanin.cli.files import check_outputs
from fanin.cli.output import WHOLE, print_json, printable
from fanin.cli.train import activation_names

if TYPE_CHECKING:
    from fanin.theory.summary import Recursion, Summary

SCHEMA = "fanin.gain/1"


def gain(
    activation: Annotated[str, Parameter(completer=activation_names)],
    /,
    *,
    depth: Annotated[int, WHOLE] = 20,
    bias_variance: float = 0.0,
    plot: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """What theory says of an activation: its gains, and what deep networks make of them.

    Everything comes by quadrature from the function itself, none of it from a table.

    Parameters
    ----------
    activation
        identity, tanh, relu, gelu, silu, sigmoid, selu; or module:callable of one array, which
        JAX can trace.
    depth
        Layers of the recursions, up to 200.
    bias_variance
        That for which the critical weights are sought.
    plot
        Picture of the recursions to write: .svg or .png.
    json
        One JSON object on standard output, and nothing else there.
    """
    check_outputs([("--plot", plot)])
    from fanin.networks.activations import nonlinearity_of
    from fanin.theory.summary import summarise

    summary = summarise(nonlinearity_of(activation), depth, bias_variance)
    if plot is not None:
        from fanin.pictures.figures import write_figure
        from fanin.pictures.recursions import recursion_figure

        write_figure(recursion_figure(summary), plot, salt="recursions")
    if json:
        print_json(SCHEMA, _fields(summary, bias_variance, plot))
    else:
        _print(summary, bias_variance)
    return 0


def _fields(summary: "Summary", bias_variance: float, plot: str | None) -> dict[str, Any]:
    """The summary as JSON values; what has no theory is null, and `no_theory` has the reasons."""
    from dataclasses import asdict

    from fanin.theory import NoTheory

    reasons: dict[str, str] = {}

    def known(value: Any, path: str) -> Any:
        if isinstance(value, NoTheory):
            reasons[path] = value.reason
            return None
        return value if isinstance(value, int | float | str) else asdict(value)

    gains = summary.gains
    critical = known(summary.critical, "critical")
    if critical is not None:
        critical["gain"] = critical["weight_variance"] ** 0.5
    return {
        "activation": summary.activation,
        "forward_gain": gains.forward_gain,
        "backward_gain": known(gains.backward_gain, "backward_gain"),
        "slope": gains.slope,
        "chi": gains.chi,
        "stable": gains.stable,
        "stability": gains.stability,
        "bias_variance": bias_variance,
        "critical": critical,
        "recursions": [
            {
                **{name: value for name, value in vars(recursion).items() if name != "disturbed"},
                "settled": known(recursion.settled, f"recursions.{index}.settled"),
                "scales": known(recursion.scales, f"recursions.{index}.scales"),
            }
            for index, recursion in enumerate(summary.recursions)
        ],
        "plot": plot,
        "no_theory": reasons,
    }


def _print(summary: "Summary", bias_variance: float) -> None:
    from fanin.theory import NoTheory

    gains, critical = summary.gains, summary.critical
    unstable = "" if gains.stable else ": in deep networks the moments run away, whatever the gain"
    no_slope = isinstance(gains.backward_gain, NoTheory)
    rows = [
        ("forward gain", f"{gains.forward_gain:.5f}", "keeps the second moment: 1/√E[f(z)²]"),
        (
            "backward gain",
            "none" if no_slope else f"{gains.backward_gain:.5f}",
            "keeps the gradient's second moment: 1/√E[f′(z)²]",
        ),
        (
            "slope",
            f"{gains.slope:.5f}",
            f"of the second-moment map at 1; {gains.stability}{unstable}",
        ),
        (
            "χ",
            f"{gains.chi:.5f}",
            "a layer's factor on the gradient's second moment, at the forward gain",
        ),
    ]
    if isinstance(critical, NoTheory):
        rows.append(("critical gain", "none", critical.reason))
    else:
        note = f"χ = 1 at the fixed point q = {critical.q:.4g}, {critical.stability}"
        note += f"; weight variance {critical.weight_variance:.5f}, bias variance {bias_variance:g}"
        rows.append(("critical gain", f"{critical.weight_variance**0.5:.5f}", note))
    print(printable(summary.activation))
    for name, figure, note in rows:
        print(f"  {name:<15}{figure:>9}  {note}")
    layers = max(len(recursion.second_moments) for recursion in summary.recursions)
    print(f"\ndeep networks, from q = 1 and c = 0.5 in layer 1 to layer {layers}")
    print(f"  {'gain':<19}{'q':>10}{'c':>8}{'gradient':>11}  in the end")
    for recursion in summary.recursions:
        print(f"  {recursion.name:<9}{recursion.gain:>10.5f}{_ends(recursion, layers)}")


def _ends(recursion: "Recursion", layers: int) -> str:
    from fanin.theory import NoTheory

    reached = len(recursion.second_moments)
    figures = f"{recursion.second_moments[-1]:>10.4g}{recursion.correlations[-1]:>8.4f}"
    figures += f"{recursion.gradients[0]:>11.4g}  "
    early = f"in layer {reached}: " if reached < layers else ""
    settled, scales = recursion.settled, recursion.scales
    if isinstance(settled, NoTheory):
        return f"{figures}{early}{settled.reason}"
    if isinstance(scales, NoTheory):
        return f"{figures}{early}{scales.reason}"
    return (
        f"{figures}q* = {scales.q_star:.4g}, c* = {scales.c_star:.4g}, χ = {scales.chi:.4f} "
        f"({scales.phase}), ξ_q = {scales.xi_q:.3g}, ξ_c = {scales.xi_c:.3g}"
    )
