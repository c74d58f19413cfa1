"""`gpstoken score --explain`: what was compared, each known reason for other numbers, and the expected spread."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from gpstoken.files.provenance import file_hash
from gpstoken.metrics.deviations import Comparison, found, protocol
from gpstoken.metrics.facts import ImageFacts, image_facts
from gpstoken.metrics.generation import FeatureSet
from gpstoken.metrics.samples import contents
from gpstoken.metrics.spread import expected_spread
from gpstoken.metrics.weights import FILES


def explain(
    result: Mapping[str, Any],
    sources: Mapping[str, Path],
    features: Mapping[str, FeatureSet],
    network: nn.Module,
    batch_size: int,
) -> dict[str, Any]:
    """Explains a result of `gpstoken.metrics.generation.measure`; reads every image once more.

    Args:
        result: the result.
        sources: what was compared, "samples" and "reference".
        features: their features, which `measure` handed out.
        network: the network of the features.
        batch_size: images that are held at once.

    Returns:
        {"protocol": its name; "samples" and "reference": facts of their images, None without images; "deviations": see
        `gpstoken.metrics.deviations.found`; "spread": by the name of the score "bias", "standard_error" and "how", see
        `gpstoken.metrics.spread.Spread`}, for JSON.
    """
    held = contents(sources["reference"])
    facts = {
        side: image_facts(source, batch_size) if side == "samples" or "images" in held else None
        for side, source in sources.items()
    }
    comparison = Comparison(
        samples=facts["samples"],
        reference=facts["reference"],
        statistics="statistics" in held,
        count=result["reference"]["statistics"],
        network=network.name,
        known_weights=_is_published(network),
    )
    spread = expected_spread(
        result["metrics"],
        features["samples"],
        features["reference"],
        not comparison.statistics,
        result["kernel"],
        comparison.paired,
    )
    return {
        "protocol": protocol(comparison),
        **{side: None if entry is None else _record(entry) for side, entry in facts.items()},
        "deviations": found(comparison),
        "spread": {name: asdict(entry) for name, entry in spread.items()},
    }


def print_explained(result: Mapping[str, Any], network: nn.Module) -> None:
    """Prints what `explain` found in a result that also has its "files", in whole sentences to stdout."""
    explained, reference = result["explained"], result["reference"]
    print("\ncompared")
    for side, file in result["files"].items():
        parts = [] if explained[side] is None else [_images(explained[side])]
        if side == "reference" and (explained[side] is None or reference["statistics"] != reference["images"]):
            number = reference["statistics"]
            parts.insert(0, f"statistics of {'an unknown number of' if number is None else f'{number:,}'} images")
        print(f"  {side:9}  {file['file']} (sha256 {file['sha256'][:8]}): {'; '.join(parts)}")
    print(f"  {'network':9}  {network.label} ({network.path.name})")
    print(f"  {'protocol':9}  {explained['protocol']}")
    for state, title in (
        ("seen", "known reasons for other numbers, seen in the files"),
        ("hidden", "known reasons for other numbers, which no file shows"),
    ):
        entries = [entry for entry in explained["deviations"] if entry["state"] == state]
        print(f"\n{title}{'' if entries else ': none'}")
        for entry in entries:
            source = f" [{entry['source']}]" if entry["source"] else ""
            print(f"  {entry['name']}: {entry['finding']}. Worth: {entry['worth']}{source}. Do: {entry['remedy']}.")
    print("\nexpected spread at this number of images: score, bias, standard error")
    for name, entry in explained["spread"].items():
        bias, error = ("unknown" if entry[key] is None else f"{entry[key]:.3g}" for key in ("bias", "standard_error"))
        print(f"  {name}: {result['metrics'][name]:.6g}, bias {bias}, ± {error} ({entry['how']})")


def _record(facts: ImageFacts) -> dict[str, Any]:
    record = {key: getattr(facts, key) for key in ("images", "size", "formats", "repeated", "grey", "levels")}
    classes = facts.classes
    record["classes"] = classes and {"number": len(classes), "fewest": min(classes), "most": max(classes)}
    return record


def _images(facts: Mapping[str, Any]) -> str:
    height, width = facts["size"]
    formats = ", ".join(f"{number:,} {name}" for name, number in facts["formats"].items())
    classes = facts["classes"]
    labels = (
        f", {classes['fewest']:,} to {classes['most']:,} of each of {classes['number']:,} classes" if classes else ""
    )
    return f"{facts['images']:,} images of {height} x {width} pixels ({formats}){labels}"


def _is_published(network: nn.Module) -> bool:
    """Whether the weights have the hash of a known file; True as well if none is known."""
    expected = [digest for digest in FILES[network.name].values() if digest]
    return not expected or file_hash(Path(network.path)).startswith(tuple(expected))
