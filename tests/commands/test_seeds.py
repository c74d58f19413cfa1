"""Which runs are seeds of one row, and what their training is as a whole."""

import pytest

from gpstoken.commands.seeds import as_one, same_but_seed


def described(teacher="a/teacher0", width=8, **training):
    arguments = {"width": width, "teacher": teacher}
    return {"tokenizer": {"class_path": "x.Y", "init_args": arguments}, "training": {"batch_size": 16} | training}


@pytest.mark.parametrize(
    ("second", "same"),
    [
        (described("a/teacher1", steps=1010, multiply_adds=9.9e9), True),
        (described(steps=1000, multiply_adds=1.1e10), False),
        (described(steps=1030, multiply_adds=1e10), False),
        (described(width=9, steps=1000, multiply_adds=1e10), False),
        (described(steps=1000, multiply_adds=1e10) | {"data": 1}, False),
    ],
    ids=["teacher", "multiply_adds", "steps", "width", "data"],
)
def test_seeds_differ_in_their_teacher_and_a_little_in_drawn_steps(second, same):
    assert same_but_seed(described(steps=1000, multiply_adds=1e10), second) == same


def test_steps_that_are_given_are_equal():
    assert not same_but_seed(described(steps=1000), described(steps=1001))


def test_the_training_of_a_row_is_the_mean_of_its_seeds():
    trainings = [described(steps=steps, multiply_adds=steps * 10)["training"] for steps in (253, 254, 255)]
    assert as_one(trainings) == {"batch_size": 16, "steps": 254, "multiply_adds": 2540}
    assert as_one([{"closed_form": True}]) == {"closed_form": True}
