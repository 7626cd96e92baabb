import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanin.autograd import IndexRangeError, Value, evaluate
from fanin.errors import OptionError, ShapeError
from fanin.networks import (
    Bigram,
    CharacterMLP,
    Parameter,
    as_values,
    batch_statistics,
    initial_statistics,
    network_from,
)

PUBLISHED = CharacterMLP(27)

# Every way in which the parts go together, each with unequal sizes where they may be.
NETWORKS = {
    "linear": CharacterMLP(7, block=2, embedding=3, hidden=()),
    "shallow": CharacterMLP(7, block=2, embedding=3, hidden=(4,)),
    "deep": CharacterMLP(7, block=2, embedding=3, hidden=(4, 6, 5), activation="relu"),
    "batch": CharacterMLP(7, block=2, embedding=3, hidden=(4, 5), normalisation="batch"),
    "layer": CharacterMLP(7, block=2, embedding=3, hidden=(4, 5), normalisation="layer"),
    "residual": CharacterMLP(7, block=2, embedding=3, hidden=(4, 4, 4), residual=True),
    "residual batch": CharacterMLP(
        7, block=2, embedding=3, hidden=(4, 4, 4), normalisation="batch", residual=True
    ),
    "residual layer": CharacterMLP(
        7,
        block=2,
        embedding=3,
        hidden=(4, 4),
        activation="relu",
        normalisation="layer",
        residual=True,
    ),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def random_parameters(network, seed=0):
    """Numbers that leave no part without effect: gains are not 1, biases not 0."""
    generator = np.random.default_rng(seed)
    return {
        parameter.name: jnp.asarray(
            generator.normal("gain" in parameter.role, 0.5, parameter.shape), jnp.float32
        )
        for parameter in network.parameters
    }


def random_examples(network, count=9, seed=1):
    generator = np.random.default_rng(seed)
    contexts = generator.integers(0, network.vocabulary, (count, network.block))
    return contexts.astype(np.int32), generator.integers(0, network.vocabulary, count, np.int32)


def plain_logits(network, parameters, contexts, xp=np):
    """The whole network by hand, in NumPy or in JAX."""
    activation = {"tanh": xp.tanh, "relu": lambda x: xp.maximum(x, 0)}[network.activation]

    def linear(name, x):
        return x @ parameters[f"{name}.weight"] + parameters.get(f"{name}.bias", 0)

    def activated(name, x):
        name = f"{name}.normalisation"
        if network.normalisation is not None:
            axis = 0 if network.normalisation == "batch" else 1
            mean = x.mean(axis, keepdims=True)
            variance = ((x - mean) ** 2).mean(axis, keepdims=True)
            x = (x - mean) / xp.sqrt(variance + 1e-5)
            x = x * parameters[f"{name}.gain"] + parameters[f"{name}.bias"]
        return activation(x)

    x = parameters["embedding.weight"][contexts].reshape(len(contexts), -1)
    for index in range(len(network.hidden)):
        name = f"hidden.{index}"
        if not network.residual:
            x = activated(name, linear(name, x))
        elif index == 0:
            x = linear(name, x)
        else:
            x = x + linear(name, activated(name, x))
    return linear("output", activated("output", x) if network.residual else x)


def plain_loss(network, parameters, contexts, targets):
    logits = plain_logits(network, parameters, contexts, jnp)
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(targets)), targets])


def as_numpy(parameters):
    return {name: np.asarray(array, np.float64) for name, array in parameters.items()}


def test_declarations_of_the_published_network():
    assert PUBLISHED.parameters == (
        Parameter("embedding.weight", (27, 10), 1, 10, "embedding"),
        Parameter("hidden.0.weight", (30, 200), 30, 200, "hidden", None),
        Parameter("hidden.0.bias", (200,), 30, 200, "bias", None),
        Parameter("output.weight", (200, 27), 200, 27, "output", "tanh"),
        Parameter("output.bias", (27,), 200, 27, "output bias", "tanh"),
    )
    assert PUBLISHED.parameter_count == 11_897


def test_each_layer_knows_the_activation_before_it():
    network = CharacterMLP(5, block=2, embedding=3, hidden=(4, 6, 8), activation="gelu")
    weights = [p for p in network.parameters if p.name.endswith("weight")]
    assert [(p.name, p.fan_in, p.fan_out, p.role, p.nonlinearity) for p in weights] == [
        ("embedding.weight", 1, 3, "embedding", None),
        ("hidden.0.weight", 6, 4, "hidden", None),
        ("hidden.1.weight", 4, 6, "hidden", "gelu"),
        ("hidden.2.weight", 6, 8, "hidden", "gelu"),
        ("output.weight", 8, 5, "output", "gelu"),
    ]
    assert all(p.branches == 0 for p in network.parameters)


def test_without_hidden_layers_the_output_reads_the_embedding():
    output = CharacterMLP(5, block=2, embedding=3, hidden=()).parameters[1]
    assert output == Parameter("output.weight", (6, 5), 6, 5, "output", None)


def test_batch_normalisation_takes_the_place_of_the_bias_before_it():
    names = [p.name for p in NETWORKS["batch"].parameters]
    assert "hidden.0.bias" not in names
    assert "output.bias" in names
    assert "hidden.0.bias" in [p.name for p in NETWORKS["layer"].parameters]
    gain, bias = NETWORKS["batch"].parameters[2:4]
    assert (gain.name, gain.shape, gain.role) == (
        "hidden.0.normalisation.gain",
        (4,),
        "normalisation gain",
    )
    assert (bias.name, bias.shape, bias.role) == (
        "hidden.0.normalisation.bias",
        (4,),
        "normalisation bias",
    )


def test_residual_branches_are_declared():
    network = CharacterMLP(7, hidden=(4,) * 5, residual=True)
    branches = {p.name: p.branches for p in network.parameters if p.branches}
    assert branches == {f"hidden.{index}.weight": 4 for index in (1, 2, 3, 4)}
    by_name = {p.name: p for p in network.parameters}
    assert by_name["hidden.0.weight"].role == "hidden"
    assert by_name["hidden.0.weight"].nonlinearity is None
    assert by_name["hidden.1.weight"].role == "residual"
    assert by_name["hidden.1.weight"].nonlinearity == "tanh"
    assert by_name["output.weight"].nonlinearity == "tanh"


@every_network
def test_logits_are_those_of_numpy(network):
    parameters = random_parameters(network)
    contexts, _ = random_examples(network)
    expected = plain_logits(network, as_numpy(parameters), contexts)
    logits = network.logits_of(parameters, contexts)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert logits.dtype == np.float32


@every_network
def test_loss_and_gradients_are_those_of_jax(network):
    parameters = random_parameters(network)
    contexts, targets = random_examples(network)
    values = as_values(parameters)
    loss = network.loss(values, contexts, targets)
    evaluation = evaluate(loss)
    by_jax = jax.jit(jax.value_and_grad(plain_loss, argnums=1), static_argnums=0)
    expected, gradients = by_jax(network, parameters, contexts, targets)
    np.testing.assert_allclose(evaluation.data[loss], expected, rtol=1e-6)
    for name, value in values.items():
        np.testing.assert_allclose(
            evaluation.gradient[value], gradients[name], rtol=1e-4, atol=1e-6, err_msg=name
        )


def test_loss_and_gradients_under_jit_are_those_of_eager_evaluation():
    network = NETWORKS["residual batch"]
    parameters = random_parameters(network)
    examples = random_examples(network)

    def loss_and_gradients(parameters, contexts, targets):
        values = as_values(parameters)
        loss = network.loss(values, contexts, targets)
        evaluation = evaluate(loss)
        return evaluation.data[loss], {n: evaluation.gradient[v] for n, v in values.items()}

    eager, eager_gradients = loss_and_gradients(parameters, *examples)
    with jax.checking_leaks():
        compiled, compiled_gradients = jax.jit(loss_and_gradients)(parameters, *examples)
    np.testing.assert_allclose(compiled, eager, rtol=1e-6)
    for name, gradient in eager_gradients.items():
        np.testing.assert_allclose(compiled_gradients[name], gradient, rtol=1e-5, atol=1e-7)


def test_each_layer_leaves_its_output_in_the_pass_in_order():
    network = NETWORKS["residual layer"]
    _, run = network.run(as_values(random_parameters(network)), random_examples(network)[0])
    assert list(run.outputs) == [
        "embedding",
        "flatten",
        "hidden.0",
        "hidden.1.normalisation",
        "hidden.1.activation",
        "hidden.1",
        "hidden.1.sum",
        "output.normalisation",
        "output.activation",
        "output",
    ]
    assert run.outputs["embedding"].shape == (9, 2, 3)
    assert run.outputs["flatten"].shape == (9, 6)


def test_statistics_take_the_place_of_the_batch():
    network = NETWORKS["batch"]
    parameters = random_parameters(network)
    contexts, _ = random_examples(network, 50)
    statistics = initial_statistics(network, parameters, contexts)
    assert set(statistics) == {
        f"hidden.{index}.normalisation.{moment}"
        for index in (0, 1)
        for moment in ("mean", "variance")
    }
    # A few contexts alone give the same as among the others whose moments were taken.
    among_others = plain_logits(network, as_numpy(parameters), contexts)[:3]
    alone = jax.jit(network.logits_of)(parameters, contexts[:3], statistics)
    np.testing.assert_allclose(alone, among_others, rtol=1e-4, atol=1e-5)
    by_their_own = plain_logits(network, as_numpy(parameters), contexts[:3])
    assert np.abs(alone - by_their_own).max() > 0.1


def test_statistics_are_mean_and_population_variance():
    network = replace(NETWORKS["batch"], hidden=(4,))
    parameters = random_parameters(network)
    contexts, _ = random_examples(network, 20)
    logits, run = network.run(as_values(parameters), contexts)
    found = batch_statistics(run, evaluate(logits, gradients=False))
    weights = as_numpy(parameters)
    read = weights["embedding.weight"][contexts].reshape(20, -1) @ weights["hidden.0.weight"]
    np.testing.assert_allclose(found["hidden.0.normalisation.mean"], read.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["hidden.0.normalisation.variance"], read.var(0), rtol=1e-5)


def test_without_batch_normalisation_there_are_no_statistics():
    network = NETWORKS["layer"]
    contexts, _ = random_examples(network)
    assert initial_statistics(network, random_parameters(network), contexts) == {}


def test_statistics_that_are_missing_are_named():
    network = NETWORKS["batch"]
    with pytest.raises(OptionError, match=r"hidden\.0\.normalisation has no running statistics"):
        network.logits_of(random_parameters(network), random_examples(network)[0], {})


def test_bigram_is_a_table_read_at_the_last_symbol():
    network = Bigram(5, block=3)
    parameters = random_parameters(network)
    contexts, targets = random_examples(network)
    table = np.asarray(parameters["output.weight"], np.float64)
    np.testing.assert_allclose(network.logits_of(parameters, contexts), table[contexts[:, -1]])
    assert network.parameters == (Parameter("output.weight", (5, 5), 1, 5, "output"),)
    rows = table[contexts[:, -1]]
    losses = np.log(np.exp(rows).sum(1)) - rows[np.arange(9), targets]
    loss = network.loss(as_values(parameters), contexts, targets)
    assert evaluate(loss).data[loss] == pytest.approx(losses.mean(), rel=1e-6)


@pytest.mark.parametrize(
    "network", [*NETWORKS.values(), Bigram(5, block=2)], ids=[*NETWORKS, "bigram"]
)
def test_a_description_goes_through_json_and_back(network):
    text = json.dumps(network.describe())
    again = network_from(json.loads(text))
    assert again == network
    assert hash(again) == hash(network)
    assert again.parameters == network.parameters


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": 1}, "vocabulary must be a whole number of 2 or more; found 1"),
        ({"block": 0}, "block must be a whole number of 1 or more; found 0"),
        ({"embedding": -3}, "embedding must be a whole number of 1 or more; found -3"),
        ({"hidden": (5, 0)}, "hidden must be a whole number of 1 or more; found 0"),
        ({"hidden": (5, True)}, "hidden must be a whole number of 1 or more; found True"),
        ({"residual": True, "hidden": (5, 6)}, "all hidden sizes must be equal; found 5, 6"),
        ({"residual": True, "hidden": ()}, "all hidden sizes must be equal; found none"),
        ({"activation": "tahn"}, r"activation 'tahn' is not known; did you mean tanh\? Choose one"),
    ],
)
def test_sizes_that_cannot_be(settings, message):
    with pytest.raises(OptionError, match=message):
        network_from({"kind": "character-mlp", "vocabulary": 27, **settings})


@pytest.mark.parametrize("settings", [{"vocabulary": 1}, {"vocabulary": 5, "block": 0}])
def test_sizes_of_a_bigram_that_cannot_be(settings):
    with pytest.raises(OptionError, match=r"must be a whole number of . or more"):
        Bigram(**settings)


def test_a_description_of_another_kind():
    with pytest.raises(OptionError, match=r"kind 'transformer' .* character-mlp and bigram"):
        network_from({"kind": "transformer", "vocabulary": 27})
    with pytest.raises(OptionError, match="kind None"):
        network_from({"vocabulary": 27})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"vocabulary": 27, "width": 5},
        {"vocabulary": "27"},
        {"vocabulary": 27, "hidden": (5, 2.5)},
        {"vocabulary": 27, "normalisation": "group"},
    ],
)
def test_a_description_that_does_not_fit(settings):
    with pytest.raises(OptionError):
        network_from({"kind": "character-mlp", **settings})


def test_contexts_that_do_not_fit_are_refused_outside_a_compiled_program():
    network = NETWORKS["shallow"]
    parameters = random_parameters(network)
    with pytest.raises(IndexRangeError, match="the index 7 is outside 0 to 6"):
        network.logits_of(parameters, np.array([[0, 7]]))
    with pytest.raises(ShapeError, match="matmul_bias"):
        network.logits_of(parameters, np.array([[0, 1, 2]]))


def test_a_parameter_that_lacks_is_named():
    network = CharacterMLP(vocabulary=5, block=2, embedding=2, hidden=(3,))
    values = {p.name: Value(np.zeros(p.shape, np.float32)) for p in network.parameters[:-1]}
    with pytest.raises(OptionError, match=r"no values for output\.bias; found embedding\.weight,"):
        network.run(values, np.zeros((1, 2), np.int32))
