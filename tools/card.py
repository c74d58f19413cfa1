"""`python tools/card.py`: fills the table of gpstoken/weights/small.md from results/laptop/studies/small."""

import json
import re
from pathlib import Path
from typing import Any

from gpstoken.files.writing import replacing
from gpstoken.metrics import Estimate

CARD, RESULTS = Path("gpstoken/weights/small.md"), Path("results/laptop/studies/small")
DOMAINS, COUNTS = ("natural", "faces", "retina", "overhead"), (64, 128, 256, 512)
METRICS = {"psnr": 1, "ssim": 3, "lpips_alexnet": 3, "lpips_vgg16": 3}  # digits after the point
HEAD = "| domain | images | tokens | PSNR, dB | SSIM | LPIPS (AlexNet) | LPIPS (VGG) | rFD |"


def table(results: Path) -> str:
    """The lines of the table: means with half of their 95 % intervals over photographs."""
    lines = [HEAD, "|---" * 8 + "|"]
    for domain in DOMAINS:
        for count in COUNTS:
            record = json.loads((results / f"small_{domain}_{count}.json").read_text())
            cells = [domain, str(record["data"]["images"]), str(count)]
            cells += [_cell(record["metrics"][metric], digits) for metric, digits in METRICS.items()]
            cells.append(f"{record['scores']['rfd_efficientnet_lite0']['mean']:.0f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def filled(card: str, results: Path) -> str:
    """The text of a card with the table of these results in place of its own."""
    return re.sub(rf"{re.escape(HEAD)}\n(\|.*\n)+", lambda _: table(results) + "\n", card)


def _cell(metric: dict[str, Any], digits: int) -> str:
    return f"{metric['mean']:.{digits}f} ± {Estimate(**metric).half_width:.{digits}f}"


if __name__ == "__main__":
    with replacing(CARD) as part:
        part.write_text(filled(CARD.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
