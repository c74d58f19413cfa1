from collections import Counter

import pytest

from datamodules.splits import split_by_group


def test_groups_stay_whole_and_sizes_are_a_tenth():
    groups = [f"sitting {i // 2}" for i in range(154)]
    splits = split_by_group(groups)
    assert Counter(splits) == {"train": 122, "val": 16, "test": 16}
    assert all(len({splits[i] for i in range(154) if groups[i] == group}) == 1 for group in set(groups))


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, {}), (1, {"train": 1}), (2, {"train": 1, "test": 1}), (3, {"train": 1, "val": 1, "test": 1})],
)
def test_few_groups(count, expected):
    assert Counter(split_by_group([str(i) for i in range(count)])) == expected


def test_large_groups_train():
    groups = ["large"] * 30 + [str(i) for i in range(10)]
    splits = split_by_group(groups)
    assert set(splits[:30]) == {"train"}
    assert Counter(splits) == {"train": 32, "val": 4, "test": 4}


def test_order_of_input_and_other_domains_change_nothing():
    groups = [str(i) for i in range(40)]
    forward = dict(zip(groups, split_by_group(groups), strict=True))
    backward = dict(zip(groups[::-1], split_by_group(groups[::-1]), strict=True))
    assert forward == backward


def test_seed_changes_the_split():
    groups = [str(i) for i in range(40)]
    assert split_by_group(groups, seed=0) != split_by_group(groups, seed=1)
