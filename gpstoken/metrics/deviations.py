"""Why a score differs from a published one: how each known reason shows; deviations.yaml says what it is worth."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from gpstoken.metrics.facts import ImageFacts, balanced

PUBLISHED = 50_000  # samples of published scores
LOSSY = ("JPEG", "WEBP", "AVIF", "GIF")  # WebP and AVIF may be lossless, GIF keeps 256 colours
DEVIATIONS = yaml.safe_load(Path(__file__).with_name("deviations.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Comparison:
    """What was compared with what.

    Attributes:
        samples: facts of the samples.
        reference: facts of the reference's images; None if it has only statistics.
        statistics: whether Fréchet distances use statistics from the reference's file.
        count: number of images of the reference's statistics; None if the file does not state it.
        network: the feature network, a key of `gpstoken.metrics.networks.FEATURES`.
        known_weights: whether the weights are the published file of that network, by their hash.
    """

    samples: ImageFacts
    reference: ImageFacts | None
    statistics: bool
    count: int | None
    network: str
    known_weights: bool

    @property
    def inception(self) -> bool:
        """Whether the scores may be compared with published ones, which use Inception."""
        return self.network == "inception"

    @property
    def paired(self) -> bool:
        """Whether samples and reference are folders of pictures with the same names: reconstructions of images."""
        names = [facts.names for facts in self.sides.values()]
        return len(names) == 2 and names[0] is not None and names[0] == names[1]

    @property
    def sides(self) -> dict[str, ImageFacts]:
        """Both sets of images, or the samples alone."""
        return {"samples": self.samples} | ({} if self.reference is None else {"reference": self.reference})


def found(comparison: Comparison) -> list[dict[str, str | None]]:
    """The deviations that apply to a comparison or cannot be ruled out, those that the files show first.

    Returns:
        For each "name", "state" ("seen" in the files, or "hidden"), "finding", "worth", its "source" if there is one,
        and "remedy".
    """
    matters = {
        "always": True,
        "inception": comparison.inception,
        "generated": comparison.inception and not comparison.paired,
        "unlabelled": comparison.inception and not comparison.paired and comparison.samples.classes is None,
    }
    states: dict[str, list[dict[str, str | None]]] = {"seen": [], "hidden": []}
    for name, entry in DEVIATIONS.items():
        finding, state = SEEN[name](comparison) if name in SEEN else None, "seen"
        if finding is None and "hidden" in entry and matters[entry["hidden"]["when"]]:
            finding, state = entry["hidden"]["finding"], "hidden"
        if finding is not None:
            about = {key: entry[key] for key in ("worth", "source", "remedy")}
            states[state].append({"name": name, "state": state, "finding": finding} | about)
    return states["seen"] + states["hidden"]


def protocol(comparison: Comparison) -> str:
    """The name of the protocol that a comparison follows."""
    reference = comparison.reference
    if not comparison.inception:
        return f"features of {comparison.network}: no published protocol; the distance is not FID"
    if comparison.statistics and reference is not None:
        return "ADM's (gFID): FID and sFID against the file's statistics, the other scores against its images"
    if comparison.statistics:
        return "FID against statistics, as ADM's training statistics (FID in tables of reconstruction, gFID)"
    if comparison.paired:
        return "rec. FID (rFID): reconstructions against their own images"
    return "FID between two sets of images, as rec. FID (rFID) is"


def _number_of_samples(comparison: Comparison) -> str | None:
    n = comparison.samples.images
    return f"{n:,} samples; published scores take {PUBLISHED:,}" if n < PUBLISHED else None


def _number_of_references(comparison: Comparison) -> str | None:
    n = comparison.count
    if n is None or n >= PUBLISHED:
        return None
    return f"the reference has {n:,} images for {comparison.samples.images:,} samples"


def _no_count(comparison: Comparison) -> str | None:
    if comparison.statistics and comparison.count is None:
        return "the statistics do not say of how many images they are"
    return None


def _other_network(comparison: Comparison) -> str | None:
    return None if comparison.inception else f"the network is {comparison.network}, not Inception"


def _unknown_weights(comparison: Comparison) -> str | None:
    if comparison.known_weights:
        return None
    return f"the weights of {comparison.network} are not the published file, whose hash is known"


def _two_references(comparison: Comparison) -> str | None:
    if not comparison.statistics or comparison.reference is None:
        return None
    number = comparison.reference.images
    return f"Fréchet distances use the file's statistics, precision, recall and KID its {number:,} images"


def _sizes(comparison: Comparison) -> str | None:
    sizes = {side: facts.size for side, facts in comparison.sides.items()}
    if len(set(sizes.values())) == 1:
        return None
    shown = [f"the {side} {height} x {width}" for side, (height, width) in sizes.items()]
    return f"{' and '.join(shown)} pixels"


def _formats(comparison: Comparison) -> str | None:
    shown = [
        f"{number:,} of the {facts.images:,} files of the {side} are {name}"
        for side, facts in comparison.sides.items()
        for name, number in facts.formats.items()
        if name in LOSSY
    ]
    return "; ".join(shown) or None


def _repeated(comparison: Comparison) -> str | None:
    number, n = comparison.samples.repeated, comparison.samples.images
    return f"{number:,} of {n:,} samples repeat an earlier one, pixel by pixel" if number else None


def _shared(comparison: Comparison) -> str | None:
    if comparison.reference is None:
        return None
    number = len(comparison.samples.digests & comparison.reference.digests)
    return f"{number:,} pictures are among the samples and in the reference" if number else None


def _grey(comparison: Comparison) -> str | None:
    sides = comparison.sides.items()
    if not any(facts.grey >= facts.images / 10 for _, facts in sides):  # of ordinary photographs a few are grey
        return None
    return ", ".join(f"{facts.grey:,} of {facts.images:,} {side}" for side, facts in sides) + " images are grey"


def _levels(comparison: Comparison) -> str | None:
    shown = [
        f"no level of the {side} is above {facts.levels[1]} of 255"
        for side, facts in comparison.sides.items()
        if facts.levels[1] < 128
    ]
    return "; ".join(shown) or None


def _balanced(comparison: Comparison) -> str | None:
    classes = comparison.samples.classes
    if classes is None or not balanced(classes):
        return None
    return f"{min(classes):,} samples of each of {len(classes):,} classes: labels were dealt out, not drawn at random"


# The sentence that says what the files show of a deviation, or None if they show nothing.
SEEN = {
    "another network": _other_network,
    "weights": _unknown_weights,
    "number of samples": _number_of_samples,
    "number of reference images": _number_of_references,
    "statistics without a number": _no_count,
    "two references": _two_references,
    "size": _sizes,
    "lossy files": _formats,
    "repeated samples": _repeated,
    "samples in the reference": _shared,
    "grey images": _grey,
    "range of levels": _levels,
    "class balance": _balanced,
}
