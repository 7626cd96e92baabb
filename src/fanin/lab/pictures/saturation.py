"""The saturation map: examples by units, and which outputs are at an end of the activation."""

import anywidget
import numpy as np
import traitlets
from jaxtyping import Float, Int8

from fanin.lab.pictures.source import program, style


class SaturationMap(anywidget.AnyWidget):
    """A cell for each output: at the upper end, at the lower end, or between them."""

    _esm = program("frame.js", "chart.js", "saturation_widget.js")
    _css = style()
    codes = traitlets.Bytes(b"").tag(sync=True)
    rows = traitlets.Int(1).tag(sync=True)
    columns = traitlets.Int(1).tag(sync=True)
    low = traitlets.Unicode("below −0.97").tag(sync=True)
    high = traitlets.Unicode("above 0.97").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)

    def show(self, outputs: Float[np.ndarray, "examples units"], threshold: float = 0.97) -> None:
        """Draw the outputs of some examples, saturated beyond ±`threshold`."""
        codes = saturation_codes(outputs, threshold)
        with self.hold_sync():
            self.rows, self.columns = codes.shape
            self.codes = codes.tobytes()
            self.label = (
                f"Saturation map of {codes.shape[0]} examples by {codes.shape[1]} units: "
                f"{(codes > 0).mean():.1%} of the outputs above {threshold:g}, "
                f"{(codes < 0).mean():.1%} below −{threshold:g}."
            )


def saturation_codes(
    outputs: Float[np.ndarray, "examples units"], threshold: float
) -> Int8[np.ndarray, "examples units"]:
    """1 above the threshold, −1 below its negative, 0 between."""
    return (outputs > threshold).astype(np.int8) - (outputs < -threshold).astype(np.int8)
