"""The profile of fanin's compiled step: microseconds of a step, by what they are spent on."""

import re
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import jax
from benchmarks.step_contenders import Fanin

from fanin.training.step import train_steps

BATCHES = "random numbers, batches looked up"
# By the function of fanin that an instruction came from; the first that fits.
KINDS = (
    (r"draw_examples|^advance\.<locals>\.<lambda>$", BATCHES),
    (r"^softmax_cross_entropy", "softmax and loss"),
    (r"^tanh", "tanh and its derivative"),
    (r"^gather\.", "scatter (gradient of the embedding)"),
    (r"^gather", "gather (look-up of the embedding)"),
    (r"^reshape", "scatter (gradient of the embedding)"),
    (r"unbroadcast|^matmul_bias", "biases"),
    (r"^matmul", "operands laid out for the products"),
    (r"advance\.<locals>\.step|learning_rate", "update, losses, batch"),
)
PRODUCTS = "matrix products"
COPIES = "copies of parameters"


class Profile(Fanin):
    """Its facts are the microseconds of a step by kind: medians over the steps of one call."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        text = train_steps.lower(*self.arguments(self.at_once)).compile().as_text()
        self.run(2 * self.at_once)
        self.facts = shares(text, events(self), self.at_once)


def events(work: Fanin) -> dict[str, list[float]]:
    """Microseconds of each event of one call, by the instruction's name."""
    from jax.profiler import ProfileData

    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            work.run(work.at_once)
        (file,) = Path(folder).rglob("*.xplane.pb")
        for plane in ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    found[event.name].append(event.duration_ns / 1e3)
    return found


def shares(text: str, events: dict[str, list[float]], steps: int) -> dict[str, float]:
    """Sort the events of a program by what its text says of them."""
    kind_of = kinds(text)
    entry = text[text.index("\nENTRY ") :]
    top = set(re.findall(r"^  (?:ROOT )?%(\S+) = ", entry, re.MULTILINE))
    loops = [name for name in top if name in events and name.startswith("while")]
    main = max(loops, key=lambda name: sum(events[name]))
    found: dict[str, float] = defaultdict(float)
    for name, durations in events.items():
        if name in top and name != main:
            # Once a call: batches are drawn for all of its steps.
            found[BATCHES] += sum(durations) / steps
        elif name in kind_of and len(durations) == steps:
            found[kind_of[name]] += statistics.median(durations)
    return dict(found)


def kinds(text: str) -> dict[str, str]:
    """What each instruction of a compiled program is for, by its name."""
    functions = dict(re.findall(r'^(\d+) "(.*)"$', _section(text, "FunctionNames"), re.MULTILINE))
    locations = dict(
        re.findall(
            r"^(\d+) \{.*function_name_id=(\d+)", _section(text, "FileLocations"), re.MULTILINE
        )
    )
    frames = dict(
        re.findall(r"^(\d+) \{file_location_id=(\d+)", _section(text, "StackFrames"), re.MULTILINE)
    )
    found: dict[str, str] = {}
    for name, rest in re.findall(r"^\s+(?:ROOT )?%(\S+) = (.*)$", text, re.MULTILINE):
        frame = re.search(r"stack_frame_id=(\d+)", rest)
        function = functions[locations[frames[frame[1]]]] if frame else ""
        if re.search(r'op_name="[^"]*dot_general"', rest):
            found[name] = PRODUCTS
        elif not function:
            found[name] = COPIES if name.startswith("copy") else "other"
        else:
            found[name] = next(
                (kind for pattern, kind in KINDS if re.search(pattern, function)), "other"
            )
    return found


def _section(text: str, name: str) -> str:
    begin = text.index(f"\n{name}\n") + len(name) + 2
    return text[begin : text.index("\n\n", begin)]
