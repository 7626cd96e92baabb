"""Whether the processes of a race or map are all about the same one, before any of it is done."""

from collections.abc import Mapping
from typing import Any

import msgspec

from fanin.errors import OptionError
from fanin.race.machine import Machine
from fanin.race.processes import Processes


class _Plan(msgspec.Struct):
    options: dict[str, Any]
    machine: Machine


def agree(processes: Processes, options: Mapping[str, Any], machine: Machine) -> dict[int, Machine]:
    """Raises OptionError on all processes where the options or versions of one are not the others'.

    Process 0 is told of those whose machine is another kind of machine than its own.
    """
    plans = [
        msgspec.json.decode(plan, type=_Plan)
        for plan in processes.gather(msgspec.json.encode(_Plan(dict(options), machine)))
    ]
    why = ""
    for place, plan in enumerate(plans):
        found = difference(_whole(plans[0]), _whole(plan))
        if found is not None:
            name, here, there = found
            why = (
                f"process {place} has another task than process 0: {name} is {there} there, and "
                f"{here} on process 0; give all the same words, options and versions"
            )
            break
    if told := processes.tell(why.encode()).decode():
        raise OptionError(told)
    return {
        place: plan.machine
        for place, plan in enumerate(plans)
        if (plan.machine.cpu, plan.machine.system) != (machine.cpu, machine.system)
    }


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first option that is not the same: its name, and what it is in each, as messages say it.

    Options are as JSON has them, one within the other. None where all are the same.
    """
    here, there = _leaves(one), _leaves(other)
    for name in here | there:
        if here.get(name) != there.get(name):
            return name, _shown(here.get(name)), _shown(there.get(name))
    return None


def _whole(plan: _Plan) -> dict[str, Any]:
    return {**plan.options, **plan.machine.versions}


def _leaves(options: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """The innermost options by their path, as in "lane fanin, training, lr"."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        path = f"{within}, {name}" if within else name
        found |= _leaves(value, path) if isinstance(value, dict) else {path: value}
    return found


def _shown(value: object) -> str:
    """An option as a message has it."""
    if value is None:
        return "not set"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 120 else f"{text[:120]}…"
