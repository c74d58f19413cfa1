"""The card that travels with the data set: what it is, whose it is, what may be claimed with it."""

from collections import Counter

from datamodules.preparation.catalogue import DOMAINS
from datamodules.preparation.photographs import Photograph
from datamodules.splits import SPLITS

CLAIMS = """\
# Embedded photographs

Real photographs that arrive inside ordinary Python packages, extracted by `python -m datamodules.prepare`.

## What may be claimed
Networks train on, and reconstruct held-out, real photographs; configurations are ranked on them. Numbers taken here are
never ImageNet, COCO or FFHQ numbers. The retina, satellite and aerial test sets hold a few photos each: they
demonstrate and prove nothing. The `labelled` photos check classifiers and are never trained on.

## How it was made
Files keep their bytes where they are plain 8-bit RGB or grey JPEG or PNG. Near-duplicates (256-bit difference hash,
distance at most 12) are removed. Photos of one sitting, person, eye or scene share a `group_id`, and a group lies
wholly in one split (80/10/10 by photos). Landsat scenes: bands 4, 3, 2, stretched from the 0.5 to the 99.5 percentile,
gamma 0.8, pixels without data black; ground that both scenes show is cut from the second.
The pixels belong to their makers: do not redistribute this folder, run the command again instead.
"""


def write_card(photographs: list[Photograph], splits: list[str]) -> str:
    """The text of CARD.md.

    Args:
        photographs: all photographs.
        splits: the split of each.

    Returns:
        Markdown: claims, counts, and a line of attribution for each package and credit.
    """
    counts = Counter((item.domain, split) for item, split in zip(photographs, splits, strict=True))
    lines = [CLAIMS, "## Counts", f"| domain | {' | '.join(SPLITS)} | shortest side, px |", "|---|---|---|---|---|"]
    for domain in DOMAINS:
        sides = sorted(min(item.size) for item in photographs if item.domain == domain)
        cells = [str(counts[domain, split]) for split in SPLITS]
        extent = f"{sides[0]} / {sides[len(sides) // 2]} / {sides[-1]}" if sides else "-"
        lines.append(f"| {domain} | {' | '.join(cells)} | {extent} |")
    lines += ["", "## Attribution", "| domain | package | photos | licence | credit |", "|---|---|---|---|---|"]
    owners = Counter((item.domain, item.package, item.licence, item.credit) for item in photographs)
    for (domain, package, licence, credit), number in sorted(owners.items()):
        lines.append(f"| {domain} | {package} | {number} | {licence} | {credit} |")
    return "\n".join(lines) + "\n"
