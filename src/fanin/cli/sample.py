"""`fanin sample`."""

import sys
from typing import Annotated

from cyclopts import Parameter

from fanin.cli.output import WHOLE, print_json, printable

SCHEMA = "fanin.sample/1"
_KNOWN = {"new": "new", "train": "in the training data", "held out": "held out (dev or test)"}


def sample(
    model: str,
    /,
    *,
    count: Annotated[int, WHOLE, Parameter(name=["--count", "-n"])] = 20,
    temperature: float = 1.0,
    prefix: str = "",
    seed: Annotated[int, WHOLE] = 0,
    activation: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make words with a trained model, and say which are new and which it has seen.

    Parameters
    ----------
    model
        File that fanin train wrote.
    count
        Number of words.
    temperature
        Below 1 the likelier letters gain, above 1 the others; 0 always takes the likeliest.
    prefix
        What every word begins with.
    seed
        The same seed gives the same words, and the first of many are those of few.
    activation
        The module:callable that the model was trained with, if it was; this runs its code.
    json
        One JSON object on standard output, and nothing else there.
    """
    from rich.cells import cell_len

    from fanin.model_file import load_model
    from fanin.sampling import sample as make

    trained = load_model(model, activation=activation)
    made = make(trained, count, temperature=temperature, prefix=prefix, seed=seed)
    counts = {known: sum(word.known == known for word in made) for known in _KNOWN}
    if json:
        options = {"count": count, "temperature": temperature, "prefix": prefix, "seed": seed}
        words = [
            {"word": word.word, "known": word.known, "complete": word.complete} for word in made
        ]
        print_json(SCHEMA, {"file": model, "options": options, "words": words, "counts": counts})
        return 0
    shown = [printable(word.word) + ("" if word.complete else "…") for word in made]
    width = max(map(cell_len, shown))
    for text, word in zip(shown, made, strict=True):
        print(f"{text}{' ' * (width - cell_len(text))}  {_KNOWN[word.known]}")
    sys.stdout.flush()
    summary = ", ".join(f"{number:,} {_KNOWN[known]}" for known, number in counts.items() if number)
    print(f"{count:,} words: {summary}", file=sys.stderr)
    return 0
