"""Draws the picture of the README: three starts of one network, trained on the same batches.

python scripts/readme_picture.py docs/pictures/starts.svg
"""

import sys

from fanin import TrainingOptions
from fanin.pictures.figures import BLACK, GREY, new_figure, write_figure
from fanin.pictures.losses import band
from fanin.trainer import fit

STEPS = 20_000
# Of Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = {"normal": "#d55e00", "uniform-logits": "#0072b2", "fanin": "#009e73"}
WHAT = {
    "normal": "normal: everything N(0, 1)",
    "uniform-logits": "uniform-logits: output ×0.01",
    "fanin": "fanin: and the exact gain on fan-in",
}


def main(path: str) -> None:
    figure, axes = new_figure(7.2, 3.6)
    uniform = 0.0
    for start, colour in COLOURS.items():
        model = fit(start=start, options=TrainingOptions(steps=STEPS, schedule="constant"))
        uniform = model.uniform_loss
        smooth = band(model.history.batch_losses, 400)
        first = model.history.batch_losses[0]
        axes.plot(
            [1, *smooth.steps], [first, *smooth.median], color=colour, label=WHAT[start], lw=1.6
        )
        print(f"{start:15} step 0: {first:6.2f}   dev after {STEPS}: {model.losses['dev']:.4f}")
    axes.axhline(uniform, color=GREY, linestyle="--", linewidth=1, label="log 27: a blind guess")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks([2, 2.5, 3.3, 5, 10, 20, 30], ["2", "2.5", "3.3", "5", "10", "20", "30"])
    axes.minorticks_off()
    axes.set_xlim(1, STEPS)
    axes.set_xlabel("step", color=BLACK)
    axes.set_ylabel("batch loss (nats per symbol)", color=BLACK)
    axes.legend(frameon=False, labelcolor=BLACK, fontsize=9)
    write_figure(figure, path, salt="starts")


if __name__ == "__main__":
    main(sys.argv[1])
