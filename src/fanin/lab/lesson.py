# The lesson of `fanin lab`, a marimo notebook: prose, controls, and calls of fanin's public API.
import marimo

app = marimo.App(width="full", app_title="How to start a neural network", css_file="lesson.css")


@app.cell(hide_code=True)
def _():
    import math
    from dataclasses import replace

    import jax
    import marimo as mo
    import numpy as np

    import fanin
    from fanin import lab, theory
    from fanin.lab import controls, figure

    as_program = mo.app_meta().mode == "script"
    return as_program, controls, fanin, figure, jax, lab, math, mo, np, replace, theory


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
def _(lab, mo):
    file = mo.ui.file(filetypes=[".txt"], kind="button", label="Your own list: one word a line")
    seed = mo.ui.number(0, 2**32 - 1, value=0, step=1, label="seed", debounce=True)
    mo.vstack(
        [
            mo.md(
                r"""
## <span class="number" id="names">1</span>The names

The network's work is to make up given names. It is shown names letter by letter and guesses each
letter from the few before it; once it guesses well, it can be left to go on alone.
"""
            ),
            lab.controls(file, seed, legend="words and chance"),
        ]
    )
    return file, seed


@app.cell(hide_code=True)
def _(fanin, file, lab, mo):
    try:
        words = lab.uploaded_words(file.value) or fanin.bundled_names()
        _complaint = None
    except fanin.FaninError as error:
        words, _complaint = fanin.bundled_names(), lab.complaint(error)
    _complaint if _complaint is not None else mo.Html("")
    return (words,)


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
    mo.vstack(
        [
            mo.md(
                r"""
The hyper-parameters of the whole page. Change one and everything below follows: each symbol
becomes `embedding` numbers, `block` symbols are read to guess the next, one layer of `hidden` tanh
units weighs them, and each step of training looks at `batch` examples.
"""
            ),
            controls(embedding, block, hidden, batch, rate, legend="hyper-parameters"),
        ]
    )
    return batch, block, embedding, hidden, rate


@app.cell(hide_code=True)
def _(batch, block, embedding, fanin, hidden, lab, mo, rate, seed, words):
    sizes = {
        "embedding": embedding.value,
        "block": block.value,
        "hidden": (hidden.value,),
    }
    options = fanin.TrainingOptions(
        batch=batch.value, lr=rate.value, schedule="constant", seed=seed.value or 0
    )
    _wrong = mo.Html("")
    try:
        # One corpus for the whole page: every comparison is on the same words and the same split.
        base = fanin.prepare(words, start="normal", options=options, **sizes)
    except fanin.FaninError as error:
        _wrong = lab.complaint(error)
        base = fanin.prepare(start="normal", options=options, **sizes)
    corpus, network = base.corpus, base.network
    V = len(corpus.vocabulary)
    _wrong
    return V, base, corpus, network, options, sizes


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
    mo.vstack(
        [
            mo.md(
                f"""
There are **{len(corpus.words.words):,}** words ({corpus.words.source}) of **{V - 1}** different
symbols; with the boundary `·`, which stands before and after every word, the vocabulary has
**V = {V}**. The word *{_word}* gives these examples. Eight words in ten are for training; the dev
words tell whether what was learnt holds for others, and the test words are left alone until the
end. The network has **{network.parameter_count:,}** numbers to learn.
"""
            ),
            lab.columns(
                lab.table(_rows, ("context", "next")),
                lab.table(_counts, ("split", "words", "examples")),
                lab.table(_sizes, ("parameter", "shape", "numbers")),
            ),
        ]
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


@app.cell(hide_code=True)
def _(base, batch, corpus, jax, lab, mo, np, rate):
    from fanin import Value

    parameters = {name: Value(array, name=name) for name, array in base.state.parameters.items()}

    def loss_of(parameters, contexts, targets):
        x = parameters["embedding.weight"].gather(contexts).reshape(lambda s: (s[0], -1))
        h = x.matmul_bias(parameters["hidden.0.weight"], parameters["hidden.0.bias"]).tanh()
        logits = h.matmul_bias(parameters["output.weight"], parameters["output.bias"])
        return logits.softmax_cross_entropy(targets)

    def train_by_hand(parameters, examples, steps, batch, rate, seed=0):
        losses, rng = [], np.random.default_rng(seed)
        for _ in range(steps):
            some = rng.integers(0, len(examples), batch)
            loss = loss_of(parameters, examples.contexts[some], examples.targets[some])
            loss.backward()
            for parameter in parameters.values():
                parameter.data = parameter.data - rate * parameter.grad
            losses.append(float(loss.data))
        return losses, loss

    by_hand, last_loss = train_by_hand(parameters, corpus.train, 60, batch.value, rate.value)
    mo.vstack(
        [
            lab.code(loss_of, train_by_hand),
            mo.md(
                f"Run just now, from a start with everything N(0, 1): the loss was "
                f"**{by_hand[0]:.2f}** in the first step and **{by_hand[-1]:.2f}** in the "
                f"{len(by_hand)}th. Below is the graph of that last step: every node with its "
                "shape, and mean ± standard deviation of its data and of its gradient."
            ),
            lab.wide(last_loss.graph().svg()),
        ]
    )
    return (last_loss,)


@app.cell(hide_code=True)
def _(mo):
    time_it = mo.ui.run_button(label="Time each operation")
    time_it
    return (time_it,)


@app.cell(hide_code=True)
def _(as_program, lab, last_loss, mo, time_it):
    mo.stop(not (time_it.value or as_program))
    _profile = last_loss.profile(rounds=20)
    _rows = [
        (
            timing.operation,
            str(list(timing.result.shape)),
            f"{timing.forward * 1e6:.0f} µs",
            f"{timing.backward * 1e6:.0f} µs",
        )
        for timing in _profile.timings
    ]
    mo.vstack(
        [
            lab.table(_rows, ("operation", "result", "forward", "backward")),
            mo.md(
                f"Each alone; a call that does nothing takes {_profile.empty_call * 1e6:.0f} µs of "
                f"each. As the one compiled program that `backward()` runs, all of it takes "
                f"{_profile.together * 1e6:.0f} µs."
            ),
        ]
    )
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
    first_view, letters_view = mo.ui.anywidget(first), mo.ui.anywidget(letters)
    return first, first_view, letters, letters_view


@app.cell(hide_code=True)
def _(V, as_program, base, corpus, first, lab, letters, math, options, sizes):
    first.marks = [{"axis": "y", "value": math.log(V), "label": f"log {V} = {math.log(V):.3f}"}]
    first.watchers = [
        lambda state: letters.show(
            corpus.vocabulary.symbols, state.parameters["embedding.weight"], state.step
        )
    ]
    first.load(base, lab.said(options, sizes))
    if as_program:
        first.finish(5_000)
    return


@app.cell(hide_code=True)
def _(figure, first_view, letters_view, mo):
    mo.vstack(
        [
            figure(first_view),
            figure(
                letters_view,
                caption="The embedding: each symbol where the network has put it. Letters that are "
                "used alike move together; the vowels find each other first.",
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
        ]
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
    four_view = mo.ui.anywidget(four)
    figure(four_view)
    return (four,)


@app.cell(hide_code=True)
def _(four, lab, logit, math, mo, np):
    _z = np.array(logit.value)
    _p = np.exp(_z - _z.max())
    _p /= _p.sum()
    four.series = [lab.bars("probability", np.arange(5) - 0.5, _p)]
    four.marks = [{"axis": "y", "value": 0.25, "label": "1/4"}]
    mo.Html(
        f'<p class="number-line">loss −log p₃ = <b>{-math.log(_p[2]):.4f}</b>, '
        f"and log 4 = {math.log(4):.4f}</p>"
    )
    return


@app.cell(hide_code=True)
def _(controls, mo):
    example = mo.ui.slider(0, 31, value=0, label="example", show_value=True)
    mo.vstack(
        [
            mo.md(
                r"""
Now the logits of *this* network, at the start of step 3 and before any training. They ought to be
a flat row of small numbers. They are a mountain range: on most examples some symbol has nearly all
the probability, for no reason but chance, and mostly it is the wrong one.
"""
            ),
            controls(example, legend="which of the first 32 training examples"),
        ]
    )
    return (example,)


@app.cell(hide_code=True)
def _(base, corpus, figure, lab, mo):
    start_within = lab.within(
        base.network,
        base.state.parameters,
        corpus.train.contexts[:1024],
        corpus.train.targets[:1024],
    )
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
    figure(mo.ui.anywidget(logits_chart), mo.ui.anywidget(chances_chart))
    return chances_chart, logits_chart, start_within, symbols


@app.cell(hide_code=True)
def _(V, chances_chart, corpus, example, lab, logits_chart, math, mo, np, start_within, symbols):
    _z = start_within.logits[example.value].astype(float)
    _p = np.exp(_z - _z.max())
    _p /= _p.sum()
    _edges = np.arange(V + 1) - 0.5
    logits_chart.series = [lab.bars("logit", _edges, _z)]
    chances_chart.series = [lab.bars("probability", _edges, _p, tone=1)]
    chances_chart.marks = [{"axis": "y", "value": 1 / V, "label": f"1/{V}"}]
    _right = int(corpus.train.targets[example.value])
    _context = " ".join(symbols[i] for i in corpus.train.contexts[example.value])
    mo.Html(
        f'<p class="number-line">After <b>{_context}</b> comes <b>{symbols[_right]}</b>, to which '
        f"the network gives p = {_p[_right]:.3g}: a loss of <b>{-math.log(max(_p[_right], 1e-300)):.2f}</b>. "
        f"Over 1,024 examples: logits of standard deviation {start_within.logits.std():.2f}, mean loss "
        f"<b>{start_within.loss:.2f}</b>; it could be {math.log(V):.2f}.</p>"
    )
    return


if __name__ == "__main__":
    app.run()
