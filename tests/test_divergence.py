"""A run whose numbers are no longer finite says when, where, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanin.corpus import Corpus, Words, bundled_names
from fanin.networks import Bigram, CharacterMLP
from fanin.starts import find_start
from fanin.training import Diverged, TrainingOptions, train
from fanin.training.loop import batch_key
from fanin.training.step import draw_examples


@pytest.fixture(scope="module")
def corpus():
    return Corpus.of(Words.of(bundled_names().words[::40]))


def plain_relu_loss(parameters, contexts, targets):
    x = parameters["embedding.weight"][contexts].reshape(len(contexts), -1)
    for layer in ("hidden.0", "hidden.1"):
        x = jax.nn.relu(x @ parameters[f"{layer}.weight"] + parameters[f"{layer}.bias"])
    logits = x @ parameters["output.weight"] + parameters["output.bias"]
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(targets)), targets])


def first_bad_step(parameters, corpus, options):
    """The first step whose loss or update is not finite, by a plain loop, and the state before."""
    by_jax = jax.jit(jax.value_and_grad(plain_relu_loss))
    for t in range(options.steps):
        examples = np.asarray(draw_examples(batch_key(0), t, options.batch, len(corpus.train)))
        loss, gradients = by_jax(
            parameters,
            corpus.train.contexts[examples].astype(np.int32),
            corpus.train.targets[examples].astype(np.int32),
        )
        after = {name: parameters[name] - options.lr * gradients[name] for name in parameters}
        if not all(np.isfinite(array).all() for array in (loss, *after.values())):
            return t, parameters
        parameters = after
    return options.steps, parameters


def test_a_rate_that_is_far_too_high_stops_the_run_at_the_step_where_it_began(corpus):
    network = CharacterMLP(27, embedding=4, hidden=(12, 12), activation="relu")
    start = find_start("fanin")(network, jax.random.key(0))
    options = TrainingOptions(steps=50, batch=8, lr=1000.0, schedule="constant")
    step, before = first_bad_step(start, corpus, options)
    assert 1 < step < 10
    with pytest.raises(Diverged, match=f"in step {step}: .* learning rate than 1000,") as caught:
        list(train(network, start, corpus, options))
    error = caught.value
    assert error.step == error.state.step == step
    assert error.place == "the layer hidden.0 gave the first value that is not finite"
    assert error.place in str(error)
    for name, array in before.items():
        np.testing.assert_allclose(
            error.state.parameters[name], array, rtol=1e-3, atol=1e-3 * np.abs(array).max()
        )


def test_the_place_is_the_first_layer_whose_output_is_not_finite(corpus):
    network = CharacterMLP(27, embedding=2, hidden=(4, 4), activation=jnp.log)
    start = find_start("normal")(network, jax.random.key(0))
    with pytest.raises(Diverged, match=r"step 0: the layer hidden\.0\.activation gave the first"):
        list(train(network, start, corpus, TrainingOptions(steps=9, batch=8)))


def root_of_positive(x):
    """Finite everywhere; its gradient is 0 · ∞ on the left of 0."""
    return jnp.sqrt(jnp.maximum(x, 0))


def test_the_place_is_the_last_layer_whose_gradient_is_not_finite(corpus):
    network = CharacterMLP(27, embedding=2, hidden=(4, 4), activation=root_of_positive)
    start = find_start("normal")(network, jax.random.key(0))
    with pytest.raises(Diverged, match=r"the gradient of what the layer hidden\.1 gave is the fir"):
        list(train(network, start, corpus, TrainingOptions(steps=9, batch=8)))


def linear_network():
    network = CharacterMLP(27, embedding=2, hidden=())
    return network, dict(find_start("fanin")(network, jax.random.key(0)))


ADAM = TrainingOptions(steps=5, batch=8, optimiser="adam")


def test_a_start_that_is_not_finite_is_named_by_its_parameter(corpus):
    network, start = linear_network()
    start["output.bias"] = start["output.bias"].at[3].set(jnp.nan)
    with pytest.raises(Diverged, match=r"step 0: the parameter output\.bias was not finite"):
        list(train(network, start, corpus, ADAM))


def test_what_the_optimiser_remembers_must_be_finite_too(corpus):
    # Gradients of 1e20 are finite; their squares, which Adam keeps, are not.
    network, start = linear_network()
    start["embedding.weight"] = start["embedding.weight"] * 1e20
    start["output.weight"] = start["output.weight"] * 1e-20
    with pytest.raises(Diverged, match="step 0: the update overflowed while all gradients were fi"):
        list(train(network, start, corpus, ADAM))


def test_a_parameter_lost_long_before_a_loss_is_found_at_its_own_step(corpus):
    network = Bigram(27, block=3)
    steps = np.arange(100)
    draw = jax.jit(jax.vmap(lambda t: draw_examples(batch_key(0), t, 1, len(corpus.train))))
    read = corpus.train.contexts[np.asarray(draw(steps))[:, 0], -1]
    row = max(set(read.tolist()), key=lambda symbol: np.argmax(read == symbol))
    step = int(np.argmax(read == row))
    assert 20 < step < 99
    # At the edge of float32 the first update overflows; until then nobody reads that row, and
    # thereafter the others' losses are as finite as before.
    table = np.zeros((27, 27), np.float32)
    table[row] = -3.402e38
    options = TrainingOptions(steps=1000, batch=1, lr=1e37, schedule="constant", eval_every=1000)
    with pytest.raises(Diverged, match=f"step {step}: the update overflowed while all") as error:
        list(train(network, {"output.weight": jnp.asarray(table)}, corpus, options))
    assert np.isfinite(error.value.state.parameters["output.weight"]).all()


def test_a_dev_loss_that_is_not_finite_stops_a_run_with_finite_batch_losses(corpus):
    network = CharacterMLP(27, embedding=4, hidden=(12,))
    start = find_start("normal")(network, jax.random.key(0))
    options = TrainingOptions(steps=40, batch=8, lr=1e36, eval_every=1)
    with pytest.raises(Diverged, match=r"seen in the dev loss\)\. Try a lower"):
        list(train(network, start, corpus, options))
