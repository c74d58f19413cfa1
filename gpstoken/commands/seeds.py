"""What the runs of a row, one per seed, have in common."""

import math
from typing import Any

# Relative difference of two trainings' multiply-adds, or steps, that counts as none: a number of steps is whole, a step
# may draw its number of tokens, and networks of one size differ by their first and last layers.
SAME_BUDGET = 0.02
DRAWN = ("steps", "multiply_adds")  # of a training with a budget


def same_but_seed(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two runs have the same tokenizer, data and protocol, and trainings of equal budget.

    Teachers may differ, because each seed has its own.

    Args:
        first: what an evaluation says of one run, `Evaluated.described`.
        second: the same of another run.
    """
    trainings = [described["training"] for described in (first, second)]
    budgets = ([training[name] for training in trainings] for name in DRAWN if all(name in each for each in trainings))
    alike = all(math.isclose(*pair, rel_tol=SAME_BUDGET) for pair in budgets)
    return alike and _without_seed(first) == _without_seed(second)


def as_one(trainings: list[dict[str, Any]]) -> dict[str, Any]:
    """The training of a row: that of its first seed, with the mean of all seeds where they differ."""
    count = len(trainings)
    return trainings[0] | {
        name: round(sum(training[name] for training in trainings) / count) for name in DRAWN if name in trainings[0]
    }


def _without_seed(described: dict[str, Any]) -> dict[str, Any]:
    tokenizer, training = described["tokenizer"], described["training"]
    arguments = {name: value for name, value in tokenizer["init_args"].items() if name != "teacher"}
    budget = DRAWN if "multiply_adds" in training else ()
    rest = {name: value for name, value in training.items() if name not in budget}
    return described | {"tokenizer": tokenizer | {"init_args": arguments}, "training": rest}
