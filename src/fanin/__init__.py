"""fanin gets neural networks started right: the public names, each imported when it is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanin.autograd import Evaluation, TraceError, Value, evaluate
    from fanin.corpus import Corpus, Vocabulary, Words, bundled_names, read_words
    from fanin.diagnosis.of_network import diagnose
    from fanin.errors import FaninError
    from fanin.model_file import Model, load_model, save_model
    from fanin.networks import Bigram, CharacterMLP
    from fanin.resumption import resume
    from fanin.sampling import new_words, sample
    from fanin.starts import Rule, Scheme, find_start, load_scheme, save_scheme
    from fanin.trainer import fit, prepare
    from fanin.training import TrainingOptions, find_learning_rate, mean_loss, train

_HOMES = {
    "autograd": ("Evaluation", "TraceError", "Value", "evaluate"),
    "corpus": ("Corpus", "Vocabulary", "Words", "bundled_names", "read_words"),
    "diagnosis.of_network": ("diagnose",),
    "errors": ("FaninError",),
    "model_file": ("Model", "load_model", "save_model"),
    "networks": ("Bigram", "CharacterMLP"),
    "resumption": ("resume",),
    "sampling": ("new_words", "sample"),
    "starts": ("Rule", "Scheme", "find_start", "load_scheme", "save_scheme"),
    "trainer": ("fit", "prepare"),
    "training": ("TrainingOptions", "find_learning_rate", "mean_loss", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Bigram",
    "CharacterMLP",
    "Corpus",
    "Evaluation",
    "FaninError",
    "Model",
    "Rule",
    "Scheme",
    "TraceError",
    "TrainingOptions",
    "Value",
    "Vocabulary",
    "Words",
    "bundled_names",
    "diagnose",
    "evaluate",
    "find_learning_rate",
    "find_start",
    "fit",
    "load_model",
    "load_scheme",
    "mean_loss",
    "new_words",
    "prepare",
    "read_words",
    "resume",
    "sample",
    "save_model",
    "save_scheme",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"fanin has no name {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"fanin.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
