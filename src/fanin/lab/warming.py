"""What the lesson begins with, loaded and compiled before anybody asks for it."""


def warm_up() -> None:
    """Spare the first reader most of the wait: JAX, the words, a start and a look inside."""
    from fanin.race.devices import use_all_cores

    use_all_cores()  # for the race; it can be said only before JAX has begun
    from fanin.lab import within
    from fanin.trainer import prepare
    from fanin.training import TrainingOptions

    options = TrainingOptions(schedule="constant")
    for normalisation in (None, "batch"):
        run = prepare(
            start="normal",
            options=options,
            embedding=3,
            block=4,
            hidden=(100,),
            normalisation=normalisation,
        )
        examples = run.corpus.train.contexts[:1024], run.corpus.train.targets[:1024]
        within(run.network, run.state.parameters, *examples)
