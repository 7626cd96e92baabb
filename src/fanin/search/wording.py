"""What a search has shown, in sentences: the same in the terminal and in the files."""

from collections.abc import Sequence

from fanin.search.results import Compared, SearchResults


def search_notes(results: SearchResults) -> tuple[str, ...]:
    """What was tried and spent, and what the search's own losses are worth."""
    plan = results.plan
    count = len(plan.pool)
    found = [
        f"A run is one network trained for all {plan.options.steps:,} steps; a shorter training "
        f"counts for its share. Spent: {results.spent:,.1f} of {plan.budget:,} runs"
        + (f", {results.spent_on_check:,} of them on the check." if results.checked else "."),
        (
            f"Tried: {count:,} candidates, {plan.named:,} by name and {count - plan.named:,} drawn "
            f"from seed {plan.seed}. Dev losses chose among them, so that the first one's is the "
            "least of many and flatters it: only test losses on other seeds decide."
        ),
    ]
    if (fell := _reference(results)) is not None:
        found.append(fell)
    return tuple(found)


def check_notes(results: SearchResults, compared: Sequence[Compared]) -> tuple[str, ...]:
    """What was checked and how; or why not."""
    plan, winner = results.plan, results.winner
    if winner is None:
        if results.leader is None:
            return ("Interim: no rung is through, so there is no winner.",)
        through = f"{len(results.rungs)} of {len(plan.rungs)} rungs are through"
        return (f"Interim: {through}; {results.leader.name} leads, and nothing was checked.",)
    if results.is_reference:
        return (
            "First came fanin itself: nothing better was found, and there is nothing to check.",
        )
    if not compared:
        return (f"Interim: {winner.name} was not checked on test yet.",)
    count, level = len(compared), 100 * compared[0].level
    tested = "test losses" if results.checked else "dev losses"
    how = (
        f"Checked on {tested} of {len(plan.seeds)} seeds that neither the search nor tuning used, "
        "paired by seed, in nats per symbol. Intervals are over initialisation and mini-batch "
        f"order; words and split are fixed; t intervals at level {level:.5g} % "
        f"({count} comparison{'s' * (count > 1)})."
    )
    found = [how]
    if not results.checked:
        found.append("Interim: the check is not through, and test losses are not yet looked at.")
    if plan.tuning is None:
        found.append(f"All trained at a learning rate of {plan.options.rate:g}.")
    elif results.checked:
        checked, others = results.checked, len(plan.tuning.seeds)
        rates = zip(checked.lanes, checked.rates, strict=True)
        grid = ", ".join(f"{rate:g}" for rate in sorted(plan.tuning.rates))
        found.append(
            f"Learning rates: {', '.join(f'{name} {rate:g}' for name, rate in rates)}; each the "
            f"best of {grid} on dev, with {others} other seed{'s' * (others > 1)}."
        )
        edges = [name for name, edge in zip(checked.lanes, checked.edges, strict=True) if edge]
        if edges:
            found.append(
                f"The best rate of {' and of '.join(edges)} is at the edge of the grid; one beyond "
                "it may be better (--rates)."
            )
    return tuple(found)


def _reference(results: SearchResults) -> str | None:
    """Where `fanin` in its own network fell out, if it was tried and did."""
    placed = results.placed_reference()
    if not placed or (results.winner is not None and results.is_reference):
        return None
    last = placed[-1]
    if last.rung < len(results.rungs) or results.winner is not None:
        return f"fanin itself came to place {last.place:,} of {last.of:,} on rung {last.rung}."
    return None
