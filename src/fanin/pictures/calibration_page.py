"""A calibration as a page in Markdown: does the verdict of step zero predict training?"""

from collections.abc import Iterable, Sequence

from fanin.race.calibrated import CalibrationDocument, Table
from fanin.race.calibration import MEASURED_ON
from fanin.race.draws import DEEPEST, RATE_FACTOR, WIDTHS
from fanin.race.judgement import JUDGED_ON
from fanin.race.limits import BAD_SHARE, SUSPECT_SHARE
from fanin.race.reliability import BEHIND, LEFT, OUTCOMES

AIM = 0.95

PAGE = """# Does the verdict of step zero predict training?

{networks:,} networks drawn at random were judged before their first step, each was trained for
{steps:,} steps of gradient descent, and the verdict is set beside what came of it. Made by

    fanin race --calibrate --out FOLDER > docs/calibration.md

The trainings took {minutes:.0f} minutes of wall time. FOLDER holds how they ended: with a whole
record the command judges the networks anew, by the checks as they are by then, and trains none.

**{answer}**

## What was drawn

{families} families, each one network: {widths} units wide, 1 to {deepest} hidden layers (even by
the logarithm), any of seven activations, no normalisation, batch or layer normalisation. Its
members differ in the start (half of them any by name; half of one of four distributions with gains
of hidden and output layers drawn between a tenth and ten, and for some biases and embeddings too),
in the seed, and in the learning rate: within a factor of {factor:g} of what the finder suggests for
that very network, in either direction, even by the logarithm.

Judged on {judged:,} training examples. Dev losses after training are of {measured:,} examples. How
a network ended:

- *diverged*: not finite, or worse than a uniform guess;
- *unigrams*: not {left:g} nats better than the symbols' frequencies, {unigrams:.3f};
- *behind*: {behind:g} nats or more behind the best of its family;
- *trained*: none of these. The other three are called hindered: {hindered:,}, {share:.0%} of all.

## Verdict and outcome

{table}

As an area under the ROC curve, of the verdict's score (the worst number's distance from its limits)
for telling the hindered from the trained: **{area}**. Aim: {aim} or more.

Of the best tenth of each family that trained, {best} networks, {bad_best} were called bad (beside
each, how many of its family trained at all){bad_list}

## Where the rate is to blame

Most of what the verdict misses is the learning rate, which it sees by the size of the first update
alone: nothing at step 0 is wrong with a good start that is then trained too fast or too slowly.

{rates}

The last column is of the score that is set on the even families, on the odd ones: see below.

## Where it was wrong, by check

Networks that a check called bad; those that no other check called bad; and how many of them
trained all the same.

{checks}

## Limits set on one half

What the families of even number set is reported on those of odd number, which have other shapes,
and the other way round. Each side of a number is taken by itself: the share of networks that were
hindered, by the number's size, made never to fall as things get worse (isotonic regression). A
network's score is the share on its worst side. A number is suspect from where {suspect_share:.0%}
were hindered, bad from where {bad_share:.0%} were and none was among the best tenth.

{reported}

With the rate over the finder's as one more number, which is not known at step 0, the areas are
{with_rate}.

{table_half}

The limits that the even families set ("never" where no size has such a share); of those as they
are, the lower ones of the least update and the upper end of the loss came from these networks:

{limits}
"""


def calibration_page(document: CalibrationDocument) -> str:
    """The page; every number in it is the document's."""
    first = document.halves[0]
    return PAGE.format(
        networks=document.networks,
        steps=document.steps,
        minutes=document.seconds / 60,
        answer=_answer(document),
        families=document.families,
        widths=" or ".join(map(str, WIDTHS)),
        deepest=DEEPEST,
        factor=RATE_FACTOR,
        judged=JUDGED_ON,
        measured=MEASURED_ON,
        left=LEFT,
        unigrams=document.unigram_loss,
        behind=BEHIND,
        hindered=document.hindered,
        share=document.hindered / max(1, document.networks),
        table=_verdicts({"": document.table}),
        area=_number(document.area),
        aim=AIM,
        best=document.best,
        bad_best=len(document.bad_among_best) or "none",
        bad_list=_list(document.bad_among_best),
        rates=_rates(document),
        checks=_checks(document),
        suspect_share=SUSPECT_SHARE,
        bad_share=BAD_SHARE,
        reported=_halves(document),
        with_rate=" and ".join(_number(half.area_set_with_rate) for half in document.halves),
        table_half=_verdicts({", limits as they are": first.table, ", as set": first.table_set}),
        limits=_limits(document),
    )


def _answer(document: CalibrationDocument) -> str:
    """Whether the aims are met, made of the numbers."""
    met = document.area is not None and document.area >= AIM
    set_areas = " and ".join(_number(half.area_set) for half in document.halves)
    best = len(document.bad_among_best)
    return (
        f"The aim of {AIM} is {'met' if met else 'missed'}: the area is {_number(document.area)};\n"
        f"set on one half and reported on the other, {set_areas}.\n"
        f"{best or 'No'} network{'' if best == 1 else 's'} of the best tenth "
        f"({document.best}) {'was' if best == 1 else 'were'} called bad."
    )


def _halves(document: CalibrationDocument) -> str:
    heads = ["reported on", "area, limits as they are", "area, as set", "best tenth"]
    rows = [
        [
            name,
            _number(half.area),
            _number(half.area_set),
            f"{half.best:,}",
            f"{half.bad_among_best:,}",
            f"{half.bad_among_best_set:,}",
        ]
        for name, half in zip(("odd families", "even families"), document.halves, strict=True)
    ]
    return _table([*heads, "of them called bad", "as set"], rows)


def _verdicts(tables: dict[str, Table]) -> str:
    rows = [
        [f"{verdict}{name}"]
        + [f"{of_verdict[outcome]:,}" for outcome in OUTCOMES]
        + [_share(sum(of_verdict.values()) - of_verdict["trained"], sum(of_verdict.values()))]
        for name, table in tables.items()
        for verdict, of_verdict in table.items()
    ]
    return _table(["verdict", *OUTCOMES, "hindered"], rows)


def _rates(document: CalibrationDocument) -> str:
    heads = ["rate over the finder's", "networks", "hindered", "called good", "area", "as set"]
    rows = [
        [
            f"{each.low:.2g} to {each.high:.2g}",
            f"{each.networks:,}",
            _share(each.hindered, each.networks),
            f"{each.missed:,}",
            _number(each.area),
            _number(each.area_set),
        ]
        for each in document.rates
    ]
    return _table(heads, rows)


def _checks(document: CalibrationDocument) -> str:
    heads = ["check", "bad", "trained", "bad alone", "trained", "among the best tenth"]
    rows = [
        [
            each.check,
            f"{each.bad:,}",
            f"{each.bad_and_trained:,}",
            f"{each.alone:,}",
            f"{each.alone_and_trained:,}",
            f"{each.bad_among_best:,}",
        ]
        for each in document.checks
        if each.bad
    ]
    return _table(heads, rows)


def _limits(document: CalibrationDocument) -> str:
    rows = [
        [each.name, *map(_limit, (each.suspect, each.bad, each.set_suspect, each.set_bad))]
        for each in document.limits
    ]
    return _table(["number", "suspect", "bad", "suspect as set", "bad as set"], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(names: Sequence[str]) -> str:
    return "." if not names else ":\n\n" + "\n".join(f"- {name}" for name in names)


def _number(number: float | None) -> str:
    return "not defined" if number is None else f"{number:.3f}"


def _limit(number: float | None) -> str:
    return "never" if number is None else f"{number:.3g}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""
