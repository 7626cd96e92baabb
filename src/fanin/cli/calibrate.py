"""`fanin race --calibrate`."""

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from fanin.cli.output import print_json
from fanin.errors import OptionError
from fanin.interrupts import INTERRUPTED, worth_keeping

SCHEMA = "fanin.calibration/1"
RECORD = "calibration.jsonl"


def refuse(**options: Any) -> None:
    """Complains of the options of a race that were given, since networks are drawn here."""
    for name, value in options.items():
        if value is not None and value is not False and value != ():
            option = name.replace("_", "-")
            raise OptionError(f"--{option} is not for --calibrate, which draws networks itself")


def calibrate_and_print(
    words: str | None,
    block: int,
    split_seed: int,
    settings: dict[str, Any],
    out: str | None,
    *,
    json: bool,
    quiet: bool,
) -> int:
    """Trains networks at random, judges them, and prints the page, or with `json` one object.

    Ctrl-C while they train gives the page of the families that are through.
    """
    from fanin.race.devices import use_all_cores

    use_all_cores()  # before anything has made JAX begin
    import msgspec

    from fanin.corpus import Corpus, bundled_names, read_words
    from fanin.pictures.calibration_page import calibration_page
    from fanin.race.calibrated import document_of
    from fanin.race.calibration import Calibration, TrainedFamily, calibrate
    from fanin.race.judgement import judge_families
    from fanin.race.record import folder_for

    corpus = Corpus.of(
        bundled_names() if words is None else read_words(words), block=block, split_seed=split_seed
    )
    wanted = Calibration(**settings)
    path: Path | None = None if out is None else folder_for(out) / RECORD
    families: list[TrainedFamily] = []
    interrupted = False
    try:
        # Closed at the end, so that the record is whole on the disk before anything is printed.
        with closing(calibrate(corpus, wanted, path)) as through:
            for family in through:
                families.append(family)
                worth_keeping()
                count = f"trained {len(families)} of {wanted.families} families"
                _tell(quiet, count, family.seconds)
    except KeyboardInterrupt:
        if not families:
            raise
        interrupted = True
        print(f"fanin: interrupted after {len(families)} families", file=sys.stderr)
    judgements: list[Any] = []
    began = time.perf_counter()
    for judged in judge_families(families, corpus, wanted):
        judgements.append(judged)
        spent = time.perf_counter() - began
        _tell(quiet, f"judged {len(judgements)} of {len(families)} families", spent)
    document = document_of(families, judgements, corpus, wanted)
    if json:
        fields = msgspec.to_builtins(document)
        del fields["schema"]
        print_json(SCHEMA, fields | {"folder": out, "interim": interrupted})
    else:
        print(calibration_page(document), end="")
    return INTERRUPTED if interrupted else 0


def _tell(quiet: bool, text: str, seconds: float) -> None:
    if not quiet:
        print(f"{text}, {seconds:.0f} s", file=sys.stderr, flush=True)
