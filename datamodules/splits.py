"""Which photographs train, which validate, which test: by whole groups, seeded, the same on every machine."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

SPLITS = ("train", "val", "test")


def split_by_group(groups: Sequence[str], seed: int = 0) -> list[str]:
    """80/10/10 by whole groups.

    The groups are put in an order of chance. Test takes those that fit into a tenth of the photographs (rounded up),
    none larger than a quarter of it, then val does, and train has the rest. Each takes one group at least: with two
    groups val has none, a single one trains.

    Args:
        groups: the group of each photograph (one sitting, person, eye or scene).
        seed: another seed gives another order.

    Returns:
        "train", "val" or "test" for each photograph.
    """
    sizes = Counter(groups)
    # A hash rather than a generator: the order of the rest stays when a group comes or goes.
    remaining = sorted(sizes, key=lambda group: (hashlib.sha256(f"{seed}/{group}".encode()).hexdigest(), group))
    split_of = dict.fromkeys(remaining, "train")
    for split in ("test", "val")[: max(len(sizes) - 1, 0)]:
        smallest = min(sizes[group] for group in remaining)
        room = max(math.ceil(len(groups) / 10), smallest)
        # Where smaller ones exist no group fills more than a quarter of a split: seven photos of a sitting say little.
        limit = max(room // 4, smallest)
        for group in tuple(remaining):
            if sizes[group] <= min(room, limit):
                split_of[group] = split
                remaining.remove(group)
                room -= sizes[group]
    return [split_of[group] for group in groups]
