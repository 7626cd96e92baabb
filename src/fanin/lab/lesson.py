# The lesson of `fanin lab`, a marimo notebook: prose, controls, and calls of fanin's public API.
#
# /// script
# [tool.marimo.display]
# theme = "system"
# ///
import marimo

app = marimo.App(width="full", app_title="How to start a neural network", css_file="lesson.css")


@app.cell(hide_code=True)
def _():
    import marimo as mo

    as_program = mo.app_meta().mode == "script"
    return as_program, mo


@app.cell(hide_code=True)
def _(mo):
    _steps = [
        ("names", "The names"),
        ("network", "A network in a dozen lines"),
        ("training", "Training, with everything N(0, 1)"),
        ("loss", "What should the first loss be?"),
        ("logits", "Logits near uniform"),
        ("saturation", "tanh, too saturated"),
        ("depth", "Vanishing and exploding"),
        ("scale", "What scale, then?"),
        ("normalisation", "Batch normalisation, and the learning rate"),
        ("together", "All of it together"),
        ("words", "New names, and a report"),
    ]
    _list = "".join(
        f'<li><a href="#{name}"><span class="number">{place}</span><span>{title}</span></a></li>'
        for place, (name, title) in enumerate(_steps, 1)
    )
    mo.md(
        f"""
# How to start a neural network

<div class="lede">

Before its first step a network is nothing but random numbers. How large they are decides whether
it learns at once, after thousands of wasted steps, or never.

</div>

On this page you start a small network badly and see what that costs. Then you look inside it, find
each fault, put it right, and let the repaired network race the broken one. All of it is computed
on your machine while you read: move a slider, and what you see is a network being measured or
trained, not a film of one. Every random number comes from a seed that you can see and change.

<nav aria-label="Steps"><ol class="lesson-steps">{_list}</ol></nav>
"""
    )
    return


@app.cell(hide_code=True)
def _():
    shown_steps = 5_000  # of each training, where the lesson runs as a program and nobody watches
    return (shown_steps,)


@app.cell(hide_code=True)
def _():
    import math
    from dataclasses import replace

    import numpy as np
    from scipy.special import softmax

    import fanin
    from fanin import lab, theory
    from fanin.lab import controls, figure

    return controls, fanin, figure, lab, math, np, replace, softmax, theory


@app.cell(hide_code=True)
def _(lab, mo):
    file = mo.ui.file(filetypes=[".txt"], kind="button", label="Your own list: one word a line")
    seed = lab.seed_field()
    lab.stack(
        mo.md(
            r"""
## <span class="number" id="names">1</span>The names

The network’s work is to make up given names. It is shown names letter by letter and guesses each
letter from the few before it; once it guesses well, it can be left to go on alone.
"""
        ),
        lab.controls(file, seed, legend="words and chance"),
    )
    return file, seed


@app.cell(hide_code=True)
def _(fanin, file, lab, seed):
    try:
        given_words = lab.uploaded_words(file.value) or fanin.bundled_names()
        _wrong_words = None
    except fanin.FaninError as error:
        given_words, _wrong_words = fanin.bundled_names(), lab.complaint(error)
    page_seed, _wrong_seed = lab.seed_of(seed)
    lab.stack(_wrong_words, _wrong_seed)
    return given_words, page_seed


@app.cell(hide_code=True)
def _(controls, mo):
    embedding = mo.ui.slider(1, 16, value=3, label="embedding", show_value=True, debounce=True)
    block = mo.ui.slider(1, 8, value=4, label="block", show_value=True, debounce=True)
    hidden = mo.ui.slider(
        steps=[10, 20, 50, 100, 200, 400], value=100, label="hidden", show_value=True, debounce=True
    )
    batch = mo.ui.slider(
        steps=[8, 16, 32, 64, 128, 256], value=32, label="batch", show_value=True, debounce=True
    )
    rate = mo.ui.slider(
        steps=[0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0],
        value=0.1,
        label="learning rate",
        show_value=True,
        debounce=True,
    )
    lab.stack(
        mo.md(
            r"""
The hyper-parameters of the whole page. Change one and everything below follows: each symbol
becomes `embedding` numbers, `block` symbols are read to guess the next, one layer of `hidden` tanh
units weighs them, and each step of training looks at `batch` examples.
"""
        ),
        controls(embedding, block, hidden, batch, rate, legend="hyper-parameters"),
    )
    return batch, block, embedding, hidden, rate


@app.cell(hide_code=True)
def _(batch, block, embedding, fanin, given_words, hidden, lab, page_seed, rate):
    sizes = {
        "embedding": embedding.value,
        "block": block.value,
        "hidden": (hidden.value,),
    }
    options = fanin.TrainingOptions(
        batch=batch.value, lr=rate.value, schedule="constant", seed=page_seed
    )
    _wrong = None
    try:
        # One corpus for the whole page: every comparison is on the same words and the same split.
        base = fanin.prepare(given_words, start="normal", options=options, **sizes)
    except fanin.FaninError as error:
        _wrong = lab.complaint(error)
        base = fanin.prepare(start="normal", options=options, **sizes)
    corpus, network, words = base.corpus, base.network, base.corpus.words
    V = len(corpus.vocabulary)
    # What the pictures of the network's inside are drawn from, all of them.
    examined = corpus.train.contexts[:1024], corpus.train.targets[:1024]
    _wrong
    return V, base, corpus, examined, network, options, sizes, words


@app.cell(hide_code=True)
def _(V, corpus, lab, mo, network, np):
    _word = corpus.splits.train[0]
    _ids = np.concatenate([np.zeros(corpus.block, int), corpus.vocabulary.encode(_word), [0]])
    _names = ["·", *corpus.vocabulary.symbols]
    _rows = [
        (
            " ".join(_names[i] for i in _ids[k : k + corpus.block]),
            _names[_ids[k + corpus.block]],
        )
        for k in range(len(_word) + 1)
    ]
    _counts = [
        (name, f"{len(split):,}", f"{len(examples):,}")
        for name, split, examples in (
            ("train", corpus.splits.train, corpus.train),
            ("dev", corpus.splits.dev, corpus.dev),
            ("test", corpus.splits.test, corpus.test),
        )
    ]
    _sizes = [
        (p.name, " × ".join(map(str, p.shape)), f"{int(np.prod(p.shape)):,}")
        for p in network.parameters
    ]
    lab.stack(
        mo.md(
            f"""
There are **{len(corpus.words.words):,}** words ({lab.literal(corpus.words.source)}) of **{V - 1}**
different symbols; with the boundary `·`, which stands before and after every word, the vocabulary
has **V&nbsp;=&nbsp;{V}**. The word *{lab.literal(_word)}* gives these examples. Eight words in ten,
drawn with seed {corpus.split_seed}, are for training; the dev words tell whether what was learnt
holds for others, and the test words are left alone until the end. The network has
**{network.parameter_count:,}** numbers to learn.
"""
        ),
        lab.columns(
            lab.table(_rows, ("context", "next")),
            lab.table(_counts, ("split", "words", "examples")),
            lab.table(_sizes, ("parameter", "shape", "numbers")),
        ),
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(
        r"""
## <span class="number" id="network">2</span>A network in a dozen lines

Here is that network with nothing hidden. A `Value` is a number, or an array of them, that
remembers how it was made; `backward()` walks that memory in reverse and leaves in every value the
gradient of the loss. The rest is what one would write by hand. (`fanin lab --edit` opens this page
as a notebook in which you can change these lines and run them.)
"""
    )
    return


@app.cell
def _(base, batch, corpus, lab, mo, np, page_seed, rate):
    from fanin import Value

    parameters = {name: Value(array, name=name) for name, array in base.state.parameters.items()}

    def loss_of(parameters, contexts, targets):
        x = parameters["embedding.weight"].gather(contexts).reshape(lambda s: (s[0], -1))
        h = x.matmul_bias(parameters["hidden.0.weight"], parameters["hidden.0.bias"]).tanh()
        logits = h.matmul_bias(parameters["output.weight"], parameters["output.bias"])
        return logits.softmax_cross_entropy(targets)

    def train_by_hand(parameters, examples, steps, batch, rate, seed):
        losses, rng = [], np.random.default_rng(seed)
        for _ in range(steps):
            some = rng.integers(0, len(examples), batch)
            loss = loss_of(parameters, examples.contexts[some], examples.targets[some])
            loss.backward()
            for parameter in parameters.values():
                parameter.data = parameter.data - rate * parameter.grad
            losses.append(float(loss.data))
        return losses, loss

    by_hand, last_loss = train_by_hand(
        parameters, corpus.train, 60, batch.value, rate.value, page_seed
    )
    lab.stack(
        lab.code(loss_of, train_by_hand),
        mo.md(
            f"Run just now, from a start with everything N(0, 1): the loss was "
            f"**{by_hand[0]:.2f}** in the first step and **{by_hand[-1]:.2f}** in the "
            f"{len(by_hand)}th. Below is the graph of that last step: every node with its "
            "shape, and mean ± standard deviation of its data and of its gradient. *Time each "
            "operation* writes into it how long each takes, forward + backward."
        ),
    )
    return (last_loss,)


@app.cell(hide_code=True)
def _(controls, mo):
    time_it = mo.ui.run_button(label="Time each operation")
    controls(time_it, legend="the graph")
    return (time_it,)


@app.cell(hide_code=True)
def _(as_program, lab, last_loss, mo, time_it):
    if time_it.value or as_program:
        lab.say("Timing each operation …")
        _profile = last_loss.profile(rounds=20)
        _timed = mo.md(
            f"Each alone; a call that does nothing takes {_profile.empty_call * 1e6:.0f} µs of "
            f"each. As the one compiled program that `backward()` runs, all of it takes "
            f"{_profile.together * 1e6:.0f} µs."
        )
    else:
        _profile = _timed = None
    lab.stack(lab.wide(last_loss.graph(_profile).svg()), _timed)
    return


@app.cell(hide_code=True)
def _(V, math, mo):
    mo.md(
        rf"""
## <span class="number" id="training">3</span>Training, with everything N(0, 1)

The most thoughtless start: draw every number from the standard normal distribution. Press *Train*
and watch. Loss is in nats per symbol, on a logarithmic axis; the pale band holds the losses of
single batches, the bold line is the loss on the dev words, measured every hundred steps. The
dashed line across is $\log V = {math.log(V):.3f}$: what a network would lose that knew nothing and
said so.
"""
    )
    return


@app.cell(hide_code=True)
def _(lab, mo):
    first = lab.LiveTraining(label="Losses from a start with everything N(0, 1)")
    letters = lab.Letters()
    return first, letters


@app.cell(hide_code=True)
def _(V, as_program, base, corpus, first, lab, letters, math, options, shown_steps, sizes):
    first.marks = [{"axis": "y", "value": math.log(V), "label": f"log {V} = {math.log(V):.3f}"}]
    first.watchers = [
        lambda state: letters.show(
            corpus.vocabulary.symbols, state.parameters["embedding.weight"], state.step
        )
    ]
    first.load(base, lab.said(options, sizes))
    if as_program:
        first.finish(shown_steps)
    return


@app.cell(hide_code=True)
def _(figure, first, lab, letters, mo):
    lab.stack(
        figure(first),
        figure(
            letters,
            caption="The embedding: each symbol where the network has put it. Letters that are "
            "used alike come to stand together: watch the vowels, in orange. Distances from the "
            "middle are on an asinh scale.",
        ),
        mo.md(
            r"""
The curve falls off a cliff and then creeps: an **ice-hockey stick**. The fall is no achievement.
The network began by being very sure of wrong answers, and it spends its first steps, sometimes
thousands of them, unlearning that, squashing logits that should never have been large. Only where
the curve reaches the dashed line does learning begin. *Continue* goes on from where the training
stands, in the same curve; *Rewind* goes back to the same start, bit for bit, and keeps the curve,
so that you can change one thing above and compare.
"""
        ),
    )
    return


@app.cell(hide_code=True)
def _(V, math, mo):
    mo.md(
        rf"""
## <span class="number" id="loss">4</span>What should the first loss be?

Before training, nothing is known about which symbol comes next, so each of the {V} deserves the
same probability. The loss of that honest guess is

$$-\log \tfrac{{1}}{{V}} = \log {V} = {math.log(V):.4f} .$$

The network does not give probabilities but logits, and softmax makes the one of the other:
$p_i = e^{{z_i}} / \sum_j e^{{z_j}}$. Try it with four. Equal logits, whatever their common value,
give the uniform distribution; and the loss soon grows once one of them stands out, unless the
right one happens to.
"""
    )
    return


@app.cell(hide_code=True)
def _(controls, mo):
    logit = mo.ui.array(
        [
            mo.ui.slider(-5, 5, 0.1, value=value, label=f"$z_{place}$", show_value=True)
            for place, value in enumerate((0.0, 0.0, 0.0, 0.0), 1)
        ]
    )
    controls(*logit.elements, legend="four logits; the third is the right one")
    return (logit,)


@app.cell(hide_code=True)
def _(figure, lab, mo):
    four = lab.Chart(
        label="Four probabilities",
        x=lab.categories(["p₁", "p₂", "p₃ (right)", "p₄"]),
        y={"label": "probability", "low": 0, "high": 1},
        height=200,
    )
    figure(four)
    return (four,)


@app.cell(hide_code=True)
def _(four, lab, logit, math, mo, np, softmax):
    _p = softmax(np.array(logit.value))
    four.series = [lab.bars("probability", np.arange(5) - 0.5, _p)]
    four.marks = [{"axis": "y", "value": 0.25, "label": "1/4"}]
    lab.result(f"loss −log p₃ = <b>{-math.log(_p[2]):.4f}</b>, and log 4 = {math.log(4):.4f}")
    return


@app.cell(hide_code=True)
def _(controls, mo):
    example = mo.ui.slider(0, 31, value=0, label="example", show_value=True)
    lab.stack(
        mo.md(
            r"""
Now the logits of *this* network, at the start of step 3 and before any training. They ought to be
a flat row of small numbers. They are a mountain range: on most examples one symbol has most of the
probability, for no reason but chance, and it is nearly always the wrong one.
"""
        ),
        controls(example, legend="which of the first 32 training examples"),
    )
    return (example,)


@app.cell(hide_code=True)
def _(base, corpus, examined, figure, lab, mo):
    start_within = lab.within(base.network, base.state.parameters, *examined)
    symbols = ["·", *corpus.vocabulary.symbols]
    logits_chart = lab.Chart(
        label="Logits of one example", x=lab.categories(symbols), y={"label": "logit"}, height=230
    )
    chances_chart = lab.Chart(
        label="Their probabilities",
        x=lab.categories(symbols),
        y={"label": "probability", "low": 0, "high": 1},
        height=230,
    )
    figure(logits_chart, chances_chart)
    return chances_chart, logits_chart, start_within, symbols


@app.cell(hide_code=True)
def _(
    V,
    chances_chart,
    corpus,
    example,
    lab,
    logits_chart,
    math,
    mo,
    np,
    softmax,
    start_within,
    symbols,
):
    _place = min(example.value, len(start_within.logits) - 1)
    _z = start_within.logits[_place].astype(float)
    _p = softmax(_z)
    _edges = np.arange(V + 1) - 0.5
    logits_chart.series = [lab.bars("logit", _edges, _z)]
    chances_chart.series = [lab.bars("probability", _edges, _p, tone=1)]
    chances_chart.marks = [{"axis": "y", "value": 1 / V, "label": f"1/{V}"}]
    _right = int(corpus.train.targets[_place])
    _context = " ".join(symbols[i] for i in corpus.train.contexts[_place])
    _loss = -math.log(max(_p[_right], 1e-300))
    lab.result(
        f"After <b>{lab.literal(_context)}</b> comes <b>{lab.literal(symbols[_right])}</b>, to "
        f"which the network gives p = {lab.small(_p[_right])}: a loss of <b>{_loss:.2f}</b>. "
        f"Over the first {len(start_within.logits):,} examples: logits of standard deviation "
        f"{start_within.logit_variance**0.5:.2f} over the symbols, mean loss "
        f"<b>{start_within.loss:.2f}</b>; it could be {math.log(V):.2f}."
    )
    return


@app.cell(hide_code=True)
def _(V, mo):
    mo.md(
        rf"""
## <span class="number" id="logits">5</span>Logits near uniform

The logits are $z = h W_2 + b_2$. To make them small, make $W_2$ small and $b_2$ zero; the rest of
the network stays as it was, number for number. For small logits one can even say beforehand what
is lost:

$$
\text{{loss}} \approx \log V + \tfrac12 \left(1 - \tfrac1V\right) \operatorname{{Var}}(z),
\qquad V = {V}.
$$
"""
    )
    return


@app.cell(hide_code=True)
def _(controls, mo):
    output_scale = mo.ui.slider(
        steps=[0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        value=0.01,
        label="$W_2$ ×",
        show_value=True,
    )
    zero_bias = mo.ui.checkbox(True, label="b₂ = 0")
    controls(output_scale, zero_bias, legend="the output layer of the network above")
    return output_scale, zero_bias


@app.cell(hide_code=True)
def _(V, base, examined, lab, math, mo, output_scale, start_within, zero_bias):
    small_output = lab.scaled(
        base.state.parameters,
        {
            "output.weight": output_scale.value,
            "output.bias": 0.0 if zero_bias.value else 1.0,
        },
    )
    _after = lab.within(base.network, small_output, *examined)

    def _row(name, seen):
        spread = seen.logit_variance**0.5
        said = math.log(V) + 0.5 * (1 - 1 / V) * seen.logit_variance
        return name, f"{spread:.3g}", f"{seen.loss:.4f}", f"{said:.4f}" if spread < 0.5 else "–"

    lab.table(
        [_row("before", start_within), _row("after", _after)],
        ("the same network", "logits’ std", "loss", "by the formula"),
    )
    return (small_output,)


@app.cell(hide_code=True)
def _(controls, mo):
    output_start = mo.ui.radio(
        ["everything N(0, 1)", "as set above", "output layer zero", "all hidden units equal"],
        value="as set above",
        label="start",
    )
    lab.stack(
        mo.md(
            r"""
Train it, and the cliff is gone: the curve begins where the other one arrived. Then try the others;
earlier curves stay for comparison.

If small is good, is **zero** better? For the output layer it is harmless: the loss is exactly
$\log V$, and since the hidden units differ from each other, so do the gradients of their output
weights; after one step the layer is no longer zero. What never recovers is a layer of **equal
hidden units**. Equal units give equal outputs, receive equal gradients and take equal steps: a
hundred units that are one, for ever. Randomness is there to break that symmetry.
"""
        ),
        controls(output_start, legend="the network above, started anew"),
    )
    return (output_start,)


@app.cell(hide_code=True)
def _(figure, lab, mo):
    second = lab.LiveTraining(label="Losses from starts that differ in the output layer")
    units = lab.Chart(
        label="Every hidden unit, placed by two of its weights",
        x={"label": "first weight of a unit"},
        y={"label": "second weight of the unit"},
        height=300,
    )
    lab.stack(
        figure(second),
        figure(
            units,
            caption="Every hidden unit, placed by its first two weights. Equal units are one "
            "point, however long they train.",
        ),
    )
    return second, units


@app.cell(hide_code=True)
def _(
    V,
    as_program,
    base,
    lab,
    math,
    mo,
    options,
    output_scale,
    output_start,
    second,
    shown_steps,
    small_output,
    units,
):
    _zero = lab.scaled(base.state.parameters, {"output.weight": 0.0, "output.bias": 0.0})
    _starts = {
        "everything N(0, 1)": (base.state.parameters, "everything N(0, 1)"),
        "as set above": (small_output, f"output × {output_scale.value:g}"),
        "output layer zero": (_zero, "output zero"),
        "all hidden units equal": (lab.with_equal_units(small_output), "equal units"),
    }
    _parameters, _name = _starts[output_start.value]
    second.marks = [{"axis": "y", "value": math.log(V), "label": f"log {V}"}]
    second.watchers = [lambda state: lab.show_units(units, state.parameters["hidden.0.weight"])]
    if as_program:
        for _other in ("everything N(0, 1)", "all hidden units equal"):
            second.load(lab.started(base, _starts[_other][0]), _starts[_other][1])
            second.finish(shown_steps)
    second.load(
        lab.started(base, _parameters), f"{_name}, lr {options.rate:g}, seed {options.seed}"
    )
    if as_program:
        second.finish(shown_steps)
    return


@app.cell(hide_code=True)
def _(controls, mo):
    hidden_scale = mo.ui.slider(
        steps=[0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0],
        value=1.0,
        label="$W_1$ ×",
        show_value=True,
    )
    lab.stack(
        mo.md(
            r"""
## <span class="number" id="saturation">6</span>tanh, too saturated

The first loss is right, and yet something is wrong further in. The hidden layer’s
pre-activations are sums of many products, so they are large, and tanh presses them against its
ends. There it is flat. The gradient that goes back through it is multiplied by

$$\frac{d \tanh z}{dz} = 1 - \tanh^2 z,$$

which is nearly nothing at ±1: whatever the loss would have a saturated output change, the weights
before it do not hear of it. Drag the scale of $W_1$ and see all of it move, in the same network on
the same examples.
"""
        ),
        controls(hidden_scale, legend="the hidden layer of the network above, its biases zero"),
    )
    return (hidden_scale,)


@app.cell(hide_code=True)
def _(figure, lab, mo):
    outputs_chart = lab.Chart(
        label="Histogram of the hidden layer's outputs",
        x={"label": "output of tanh", "low": -1, "high": 1},
        y={"label": "share of outputs, %", "low": 0},
        height=270,
    )
    saturated = lab.SaturationMap()
    figure(
        outputs_chart,
        saturated,
        caption="Left, the outputs of all units on the examples of step 4. Right, the first 32 of "
        "them, a row for each, and the units, a column for each: coloured where the output is "
        "beyond ±0.97. A full column would be a unit that learns next to nothing from any of them.",
    )
    return outputs_chart, saturated


@app.cell(hide_code=True)
def _(base, examined, hidden_scale, lab, mo, outputs_chart, saturated, small_output):
    scaled_hidden = lab.scaled(
        small_output, {"hidden.0.weight": hidden_scale.value, "hidden.0.bias": 0.0}
    )
    _seen = lab.within(base.network, scaled_hidden, *examined)
    _z, _h = _seen.outputs["hidden.0"], _seen.outputs["hidden.0.activation"]
    outputs_chart.series = lab.output_histogram(_h)
    saturated.show(_h[:32])
    _through = lab.let_through(_seen, "hidden.0")
    lab.result(
        f"Saturated: <b>{(abs(_h) > 0.97).mean():.1%}</b> of the outputs. "
        f"Pre-activations of standard deviation <b>{_z.std():.2f}</b>, outputs {_h.std():.2f}; "
        f"1&nbsp;−&nbsp;tanh² is {(1 - _h**2).mean():.2f} on average, and <b>{_through:.0%}</b> "
        f"of the gradient (root mean square) gets through."
    )
    return (scaled_hidden,)


@app.cell(hide_code=True)
def _(lab, mo):
    third = lab.LiveTraining(label="Losses from starts that differ in the hidden layer's scale")
    lab.stack(
        mo.md(
            r"""
Does it matter? Train with this scale, choose another, and train again. The differences are
smaller than those of step 5, and they stay: with one hidden layer the network learns in spite of
them. With many it will not, as the next step shows.
"""
        ),
        lab.figure(third),
    )
    return (third,)


@app.cell(hide_code=True)
def _(
    V,
    as_program,
    base,
    hidden_scale,
    lab,
    math,
    mo,
    options,
    scaled_hidden,
    shown_steps,
    small_output,
    third,
):
    third.marks = [{"axis": "y", "value": math.log(V), "label": f"log {V}"}]
    if as_program:
        _other = lab.scaled(small_output, {"hidden.0.weight": 0.2, "hidden.0.bias": 0.0})
        third.load(lab.started(base, _other), "W₁ × 0.2")
        third.finish(shown_steps)
    third.load(
        lab.started(base, scaled_hidden),
        f"W₁ × {hidden_scale.value:g}, lr {options.rate:g}, seed {options.seed}",
    )
    if as_program:
        third.finish(shown_steps)
    return


@app.cell(hide_code=True)
def _(controls, mo):
    depth = mo.ui.slider(1, 24, value=20, label="depth", show_value=True)
    deep_gain = mo.ui.slider(
        steps=[0.5, 0.8, 1.0, 1.2, 1.4142, 1.4674, 1.5925, 1.6667, 1.8, 2.0, 2.5, 3.0],
        value=1.0,
        label="gain",
        show_value=True,
    )
    deep_activation = mo.ui.dropdown(
        ["tanh", "relu", "gelu", "silu", "selu", "sigmoid", "identity"],
        value="tanh",
        label="activation",
        allow_select_none=False,
    )
    deep_seed = lab.seed_field()
    lab.stack(
        mo.md(
            r"""
## <span class="number" id="depth">7</span>Vanishing and exploding

One layer that shrinks its signal by a tenth does no harm. Twenty of them leave an eighth of it,
and fifty a two-hundredth. What matters in a deep network is the factor from layer to layer: on the
way forward for the activations, on the way back for the gradients.

Here are layers of 200 units with weights $\mathcal N(0, g^2/200)$ and no biases, for a gain $g$ of
your choice. The inputs are Gaussian with variance 1, and any two of them are half alike. The points
are measured in one such network; the lines are what theory expects of a very wide one, by
integration and without drawing a single weight.
"""
        ),
        controls(depth, deep_gain, deep_activation, deep_seed, legend="a deep network"),
    )
    return deep_activation, deep_gain, deep_seed, depth


@app.cell(hide_code=True)
def _(figure, lab, mo):
    deep = lab.DepthPictures()
    figure(
        deep.activations,
        deep.gradients,
        deep.correlations,
        caption="Root mean squares on logarithmic axes; the gradient is 1 at the last layer. The "
        "correlation tells whether different inputs are still different: at 1 the network has made "
        "one of them all.",
    )
    return (deep,)


@app.cell(hide_code=True)
def _(as_program, deep, deep_activation, deep_gain, deep_seed, depth, lab, mo, theory):
    _seed, _wrong = lab.seed_of(deep_seed)
    _signals = deep.show(
        theory.find_nonlinearity(deep_activation.value),
        deep_gain.value,
        depth.value,
        seed=_seed,
        wait=as_program,
    )
    lab.stack(
        _wrong,
        lab.result(
            f"From layer to layer the activations are multiplied by "
            f"<b>{lab.by_layer(_signals.activations):.3f}</b> and, on the way back, the gradients "
            f"by <b>{lab.by_layer(_signals.gradients[::-1]):.3f}</b>. After {depth.value} layers "
            f"two examples that were half alike have a correlation of "
            f"<b>{_signals.correlations[-1]:.2f}</b>."
        ),
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(
        r"""
Things to try. *tanh at gain 1*: activations fade away slowly. *tanh at 5/3* (1.6667): activations
settle, but look at the gradients. *relu at √2* (1.4142): both hold, and yet all examples become
alike. *sigmoid*: at none of these gains does anything get back. *gelu and silu*: no gain holds for
long, for the fixed point is unstable.
"""
    )
    return


@app.cell(hide_code=True)
def _(controls, mo):
    fan_in = mo.ui.slider(
        steps=[1, 2, 5, 10, 20, 50, 100, 200, 400], value=10, label="fan-in n", show_value=True
    )
    divided = mo.ui.checkbox(False, label="divide W by √n")
    lab.stack(
        mo.md(
            r"""
## <span class="number" id="scale">8</span>What scale, then?

Each output of a layer is a sum of $n$ products, $y = \sum_{i=1}^n x_i w_i$. If weights and inputs
are independent and the weights have mean zero, the variances add up:

$$\mathbb E[y^2] = n \, \mathbb E[w^2] \, \mathbb E[x^2].$$

So the standard deviation grows by $\sqrt n$, and weights of standard deviation $1/\sqrt n$ keep it.
"""
        ),
        controls(
            fan_in, divided, legend="y = x W, both drawn from N(0, 1) with the seed of step 1"
        ),
    )
    return divided, fan_in


@app.cell(hide_code=True)
def _(figure, lab, mo):
    product = lab.Chart(
        label="Histograms of a layer's inputs and outputs",
        x={"label": "value", "low": -40, "high": 40},
        y={"label": "share, %", "low": 0},
        height=240,
    )
    figure(product)
    return (product,)


@app.cell(hide_code=True)
def _(divided, fan_in, lab, mo, np, page_seed, product):
    _rng = np.random.default_rng(page_seed)
    _x = _rng.standard_normal((500, fan_in.value))
    _w = _rng.standard_normal((fan_in.value, 200)) / (fan_in.value**0.5 if divided.value else 1)
    _y = _x @ _w
    _edges = np.linspace(-40, 40, 161) if not divided.value else np.linspace(-5, 5, 101)
    product.x = {"label": "value", "low": float(_edges[0]), "high": float(_edges[-1])}
    product.series = [
        lab.bars("outputs y", _edges, 100 * np.histogram(_y, _edges)[0] / _y.size, tone=1),
        lab.line(
            "inputs x",
            0.5 * (_edges[1:] + _edges[:-1]),
            100 * np.histogram(_x, _edges)[0] / _x.size,
        ),
    ]
    lab.result(
        f"Standard deviation of x <b>{_x.std():.3f}</b>, of y "
        f"<b>{_y.std():.3f}</b>; √n = {fan_in.value**0.5:.3f}."
    )
    return


@app.cell(hide_code=True)
def _(controls, mo):
    gain_activation = mo.ui.dropdown(
        ["tanh", "relu", "gelu", "silu", "selu", "sigmoid", "identity"],
        value="tanh",
        label="activation",
        allow_select_none=False,
    )
    gain_formula = mo.ui.text(
        placeholder="z * sigmoid(1.702 * z)", label="or write one in z", debounce=True
    )
    lab.stack(
        mo.md(
            r"""
Between two layers stands an activation, and it shrinks what goes through. The **gain** makes up for
that: weights $\mathcal N(0, g^2/n)$ with

$$g = \frac{1}{\sqrt{\mathbb E[f(z)^2]}}, \qquad z \sim \mathcal N(0, 1),$$

hand on a unit second moment; for the gradient it is $1/\sqrt{\mathbb E[f'(z)^2]}$. For relu half of
the second moment is gone, hence $\sqrt 2$ (He et al. 2015, *Delving Deep into Rectifiers*). The
customary $5/3$ for tanh is a round number on the large side; the exact one is 1.5925. A first layer
that reads inputs of unit variance has no activation before it, so its gain is **1**, as He et al.
say of theirs.
"""
        ),
        controls(gain_activation, gain_formula, legend="an activation"),
    )
    return gain_activation, gain_formula


@app.cell(hide_code=True)
def _(fanin, gain_activation, gain_formula, lab, mo, theory):
    try:
        nonlinearity, gains = lab.gains_of(gain_activation.value, gain_formula.value)
        _output = None
    except fanin.FaninError as error:
        nonlinearity = theory.find_nonlinearity(gain_activation.value)
        gains, _output = theory.exact_gains(nonlinearity), lab.complaint(error)
    _output
    return gains, nonlinearity


@app.cell(hide_code=True)
def _(figure, lab, mo):
    shape = lab.Chart(
        label="The activation and its slope",
        x={"label": "z", "low": -4, "high": 4},
        y={"label": "f(z) and its slope"},
        height=270,
    )
    settle = lab.Chart(
        label="Root mean square of activations over the depth, by theory, at different gains",
        x={"label": "layer", "low": 0},
        y={"label": "activations, root mean square", "log": True},
        height=270,
    )
    figure(
        shape,
        settle,
        caption="Left, the activation with its slope. Right, what a deep network of it does to the "
        "size of its activations, by theory, at three gains.",
    )
    return settle, shape


@app.cell(hide_code=True)
def _(gains, lab, mo, nonlinearity, np, settle, shape, theory):
    _z = np.linspace(-4, 4, 161)
    shape.series = [
        lab.line("f(z)", _z, nonlinearity.values(_z), wide=2.4),
        lab.line("slope f′(z)", _z, nonlinearity.slopes(_z), tone=1, dashed=1),
    ]
    _named = {
        "gain 1": 1.0,
        "5/3": 5 / 3,
        f"forward gain {gains.forward_gain:.4f}": gains.forward_gain,
    }
    settle.series = [
        lab.line(
            name,
            np.arange(21),
            lab.expected_signals(nonlinearity, gain, 20).activations,
            tone=place,
            dashed=place,
        )
        for place, (name, gain) in enumerate(_named.items())
    ]
    _backward = (
        f"no backward gain ({lab.literal(gains.backward_gain.reason)})"
        if isinstance(gains.backward_gain, theory.NoTheory)
        else f"backward gain <b>{gains.backward_gain:.6f}</b>"
    )
    lab.result(
        f"{lab.literal(nonlinearity.name)}: forward gain <b>{gains.forward_gain:.6f}</b>, "
        f"{_backward}. At the forward gain the second moment’s fixed point is "
        f"<b>{gains.stability}</b> (slope {round(gains.slope, 4) + 0.0:.4f}), and each layer "
        f"multiplies the gradient’s second moment by {gains.chi:.4f}."
    )
    return


@app.cell(hide_code=True)
def _(lab, mo, theory):
    _rows = [
        (
            name,
            f"{(found := theory.exact_gains(activation)).forward_gain:.5f}",
            f"{found.backward_gain:.5f}",
            f"{found.slope:.3f}",
            f"{found.chi:.4f}",
            found.stability,
        )
        for name, activation in theory.ACTIVATIONS.items()
    ]
    lab.stack(
        lab.table(_rows, ("activation", "forward", "backward", "slope", "χ", "fixed point")),
        mo.md(
            "All by integration over a Gaussian. Where the slope is above 1 (gelu, silu) no gain "
            "holds for many layers, and where χ is not 1 forward and backward cannot both hold."
        ),
    )
    return


@app.cell(hide_code=True)
def _(controls, mo):
    normalised_scale = mo.ui.slider(
        steps=[0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0],
        value=1.0,
        label="$W_1$ ×",
        show_value=True,
    )
    lab.stack(
        mo.md(
            r"""
## <span class="number" id="normalisation">9</span>Batch normalisation, and the learning rate

One can also do without all this care. Batch normalisation takes each unit’s pre-activation, takes
off its mean over the batch and divides by its standard deviation there; then a learnt gain and bias
move it where it should be. Whatever the scale of the weights, what tanh gets to see has a standard
deviation of one. Drag the scale, and compare with step 6: weights and examples
are the same on both sides.
"""
        ),
        controls(
            normalised_scale, legend="the network of step 5, without and with batch normalisation"
        ),
    )
    return (normalised_scale,)


@app.cell(hide_code=True)
def _(figure, lab, mo):
    bare, normed = (
        lab.Chart(
            label=f"Histogram of the outputs {kind} batch normalisation",
            x={"label": f"output of tanh, {kind} normalisation", "low": -1, "high": 1},
            y={"label": "share of outputs, %", "low": 0},
            height=230,
        )
        for kind in ("without", "with")
    )
    figure(bare, normed)
    return bare, normed


@app.cell(hide_code=True)
def _(fanin, options, sizes, words):
    normed_base = fanin.prepare(
        words, start="uniform-logits", options=options, normalisation="batch", **sizes
    )
    return (normed_base,)


@app.cell(hide_code=True)
def _(bare, base, examined, lab, normalised_scale, normed, normed_base, small_output):
    _scales = {"hidden.0.weight": normalised_scale.value}
    _same = {
        name: small_output[name] for name in normed_base.state.parameters if name in small_output
    }
    _without = lab.within(
        base.network, lab.scaled(small_output, {**_scales, "hidden.0.bias": 0.0}), *examined
    )
    _with = lab.within(
        normed_base.network,
        lab.scaled({**normed_base.state.parameters, **_same}, _scales),
        *examined,
    )

    def _seen(seen, before):
        z, h = seen.outputs[before], seen.outputs["hidden.0.activation"]
        return (
            f"{seen.loss:.4f}",
            f"{z.std():.3f}",
            f"{(abs(h) > 0.97).mean():.1%}",
            f"{lab.let_through(seen, before):.0%}",
        )

    lab.show_output_histograms(
        (bare, normed), [each.outputs["hidden.0.activation"] for each in (_without, _with)]
    )
    lab.table(
        list(
            zip(
                ("loss", "std of what tanh sees", "saturated", "gradient through tanh"),
                _seen(_without, "hidden.0"),
                _seen(_with, "hidden.0.normalisation"),
                strict=True,
            )
        ),
        ("batch normalisation", "without", "with"),
    )
    return


@app.cell(hide_code=True)
def _(controls, fanin, mo):
    sweep_start = mo.ui.dropdown(
        ["normal", "uniform-logits", "published", "fanin"],
        value="fanin",
        label="start",
        allow_select_none=False,
    )
    sweep_normalised = mo.ui.checkbox(False, label="batch normalisation")
    sweep = mo.ui.run_button(label="Sweep the rates")
    lab.stack(
        mo.md(
            r"""
What is left to choose is the **learning rate**. A sweep finds it: train a copy with rates that rise
from step to step, measure the loss after each on the same examples, and look where it is
lowest and where it goes to ruin. Each loss is paired with the rate that caused it. Batch
normalisation moves the ruin to higher rates. From everything N(0, 1) and without it, even the best
rate leaves the loss above the place where a good start begins.
"""
        ),
        controls(
            sweep_start, sweep_normalised, sweep, legend="a thousand steps, from 0.0001 to 10"
        ),
    )
    return sweep, sweep_normalised, sweep_start


@app.cell(hide_code=True)
def _(figure, lab, mo):
    sweep_chart = lab.Chart(
        label="Loss after a step with each learning rate",
        x={"label": "learning rate", "log": True, "low": 1e-4, "high": 10, "wide": True},
        y={"label": "loss, nats per symbol", "log": True},
        height=280,
        empty="Press Sweep the rates",
    )
    figure(sweep_chart)
    return (sweep_chart,)


@app.cell(hide_code=True)
def _(
    as_program,
    fanin,
    lab,
    mo,
    options,
    sizes,
    sweep,
    sweep_chart,
    sweep_normalised,
    sweep_start,
    words,
):
    mo.stop(not (sweep.value or as_program))
    from fanin.training import learning_rate_sweep

    _run = fanin.prepare(
        words,
        start=sweep_start.value,
        options=options,
        normalisation="batch" if sweep_normalised.value else None,
        **sizes,
    )
    sweep_chart.series, sweep_chart.marks = [], []
    lab.say("Sweeping …")
    try:
        for _found in learning_rate_sweep(
            _run.network, _run.state.parameters, _run.corpus, _run.options
        ):
            sweep_chart.series = [
                lab.line("loss after a step", _found.rates, _found.losses, faint=True, wide=1),
                lab.line("running mean", _found.rates, _found.smoothed, tone=1, wide=2.4),
            ]
        sweep_chart.marks = [
            {"axis": "x", "value": _found.suggestion, "label": f"suggested {_found.suggestion:g}"}
        ]
        _output = lab.result(
            f"Loss {_found.first_loss:.3f} before the sweep and {_found.smoothed.min():.3f} at its "
            f"best, at a rate of {_found.best_rate:.3g}. Half of that is a safe choice: "
            f"<b>{_found.suggestion:g}</b>."
        )
    except fanin.FaninError as error:
        _output = lab.complaint(error)
    _output
    return


@app.cell(hide_code=True)
def _(controls, mo):
    race_seeds = mo.ui.slider(
        steps=[2, 4, 8, 16], value=4, label="seeds", show_value=True, debounce=True
    )
    race_steps = mo.ui.slider(
        steps=[1_000, 2_000, 5_000, 10_000, 20_000],
        value=2_000,
        label="steps",
        show_value=True,
        debounce=True,
    )
    lab.stack(
        mo.md(
            r"""
## <span class="number" id="together">10</span>All of it together

The starts you have met, side by side, each from the same seeds and on the same batches, so that
nothing but the start differs. The line is the median over the seeds, the band reaches from the
best seed to the worst. One training each would prove little: the verdict below the curves takes
the differences seed by seed, gives an interval for each, and says *undecided* where they do not
suffice.
"""
        ),
        controls(race_seeds, race_steps, legend="the race"),
    )
    return race_seeds, race_steps


@app.cell(hide_code=True)
def _(figure, lab, mo):
    contest = lab.LiveRace()
    figure(contest)
    return (contest,)


@app.cell(hide_code=True)
def _(
    as_program,
    contest,
    corpus,
    fanin,
    mo,
    network,
    options,
    race_seeds,
    race_steps,
    replace,
    shown_steps,
):
    from fanin.race import Lane, Race

    _steps = min(race_steps.value, shown_steps) if as_program else race_steps.value
    _settings = replace(options, steps=_steps)
    _named = {
        "fanin": "fanin",
        "everything N(0, 1)": "normal",
        "output × 0.01": "uniform-logits",
        "published, 5/3": "published",
    }
    _lanes = [
        Lane(name, network, fanin.find_start(start), _settings) for name, start in _named.items()
    ]
    _lanes.append(
        Lane(
            "output × 0.01, batch norm.",
            replace(network, normalisation="batch"),
            fanin.find_start("uniform-logits"),
            _settings,
        )
    )
    _first = options.seed
    contest.load(
        Race(
            tuple(_lanes),
            tuple(range(_first, _first + race_seeds.value)),
            corpus,
            evaluate_every=max(50, _steps // 40),
        )
    )
    if as_program:
        contest.finish()
    return


@app.cell(hide_code=True)
def _(lab, mo):
    last = lab.LiveTraining(label="Losses from fanin's own start", steps=20_000)
    lab.stack(
        mo.md(
            r"""
## <span class="number" id="words">11</span>New names, and a report

Everything repaired: weights by the exact gain for what stands before them, 1 for the first layer, a
near-uniform output, zero biases. Train it, and let it speak.
"""
        ),
        lab.figure(last),
    )
    return (last,)


@app.cell(hide_code=True)
def _(V, as_program, fanin, lab, last, math, mo, options, shown_steps, sizes, words):
    good = fanin.prepare(words, start="fanin", options=options, **sizes)
    last.marks = [{"axis": "y", "value": math.log(V), "label": f"log {V}"}]
    last.load(good, f"fanin, {lab.said(options, sizes)}")
    if as_program:
        last.finish(4 * shown_steps)
    return (good,)


@app.cell(hide_code=True)
def _(controls, mo):
    temperature = mo.ui.slider(0.0, 2.0, 0.1, value=1.0, label="temperature", show_value=True)
    prefix = mo.ui.text(label="begin with", max_length=20)
    sample_seed = lab.seed_field()
    speak = mo.ui.run_button(label="Make names")
    controls(
        temperature, prefix, sample_seed, speak, legend="names from the model above, as it stands"
    )
    return prefix, sample_seed, speak, temperature


@app.cell(hide_code=True)
def _(as_program, fanin, lab, last, mo, prefix, sample_seed, speak, temperature):
    mo.stop(not (speak.value or as_program))
    _seed, _wrong = lab.seed_of(sample_seed)
    try:
        _names = fanin.sample(
            last.model(),
            40,
            temperature=temperature.value,
            prefix=prefix.value,
            seed=_seed,
        )
        _output = lab.names(_names, last.step)
    except fanin.FaninError as error:
        _output = lab.complaint(error)
    lab.stack(_wrong, _output)
    return


@app.cell(hide_code=True)
def _(controls, mo):
    report_start = mo.ui.dropdown(
        ["normal", "uniform-logits", "published", "fanin"],
        value="normal",
        label="start",
        allow_select_none=False,
    )
    examine = mo.ui.run_button(label="Diagnose")
    lab.stack(
        mo.md(
            r"""
All that you have found by eye, `fanin diagnose` finds in one pass before the first step: it
measures a network, lays the numbers beside what theory expects, says what is wrong and by how
much, and prescribes what to change.
"""
        ),
        controls(report_start, examine, legend="the network of this page"),
    )
    return examine, report_start


@app.cell(hide_code=True)
def _(as_program, examine, fanin, lab, mo, options, report_start, sizes, words):
    mo.stop(not (examine.value or as_program))
    from fanin.diagnosis.of_run import diagnose_run

    lab.say("Diagnosing …")
    _run = fanin.prepare(words, start=report_start.value, options=options, **sizes)
    lab.wide(diagnose_run(_run)._repr_html_())
    return


@app.cell
def _():
    # Yours to change, with `fanin lab --edit`: any module, and a batch for it.
    def own_module():
        import torch
        from torch import nn

        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, 27))
        nn.init.normal_(module[0].weight)
        inputs, targets = torch.randn(512, 30), torch.randint(27, (512,))
        return module, inputs, targets

    return (own_module,)


@app.cell(hide_code=True)
def _(controls, lab, mo, own_module):
    examine_own = mo.ui.run_button(label="Diagnose the module")
    lab.stack(
        mo.md(
            r"""
The same for a module of your own in PyTorch. `fanin lab --edit` opens a copy of this page whose
cells can be changed: put your module and a batch into this function.
"""
        ),
        lab.code(own_module),
        controls(examine_own, legend="what own_module gives"),
    )
    return (examine_own,)


@app.cell(hide_code=True)
def _(as_program, examine_own, fanin, lab, mo, own_module):
    mo.stop(not (examine_own.value or as_program))
    try:
        from fanin.torch import diagnose as _diagnose
    except ModuleNotFoundError:
        _output = mo.md(
            "PyTorch is not installed beside fanin, so there is no module to look at: "
            "`pip install 'fanin[torch]'`, and open the page again."
        )
    else:
        lab.say("Diagnosing …")
        try:
            _output = lab.wide(_diagnose(*own_module())._repr_html_())
        except Exception as error:  # whatever one's own module does
            _output = lab.complaint(error)
    _output
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(
        r"""
That is all there is to a start: logits near uniform, activations where they bend and do not break,
each layer’s scale by its fan-in and the exact gain, and a race to be sure. The same from Python:
`fanin.prepare`, `fanin.fit`, `fanin.race`; on the command line `fanin train`, `fanin diagnose`,
`fanin race`.
"""
    )
    return


if __name__ == "__main__":
    app.run()
