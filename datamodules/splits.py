"""Splits photographs into train, val and test by whole groups: seeded, and the same on every machine."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

SPLITS = ("train", "val", "test")


def split_by_group(groups: Sequence[str], seed: int = 0) -> list[str]:
    """80/10/10 by whole groups.

    The groups are shuffled. Test takes groups that fit into a tenth of the photographs (rounded up), none larger than a
    quarter of that tenth; val then does the same, and train gets the rest. Test and val each take at least one group,
    but of two groups val gets none, and a single group goes to train.

    Args:
        groups: the group of each photograph (one sitting, person, eye or scene).
        seed: another seed gives another order.

    Returns:
        "train", "val" or "test" for each photograph.
    """
    sizes = Counter(groups)
    # A hash rather than a random generator: the order of the other groups stays when a group is added or removed.
    remaining = sorted(sizes, key=lambda group: (hashlib.sha256(f"{seed}/{group}".encode()).hexdigest(), group))
    split_of = dict.fromkeys(remaining, "train")
    for split in ("test", "val")[: max(len(sizes) - 1, 0)]:
        smallest = min(sizes[group] for group in remaining)
        room = max(math.ceil(len(groups) / 10), smallest)
        # Where smaller groups exist, none fills more than a quarter of a split: seven photos of one sitting say little.
        limit = max(room // 4, smallest)
        for group in tuple(remaining):
            if sizes[group] <= min(room, limit):
                split_of[group] = split
                remaining.remove(group)
                room -= sizes[group]
    return [split_of[group] for group in groups]
