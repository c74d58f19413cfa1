from dataclasses import replace

import pytest

from gpstoken.metrics.deviations import DEVIATIONS, SEEN, Comparison, found, protocol
from gpstoken.metrics.facts import ImageFacts


def facts(**others):
    told = {
        "images": 50_000, "size": (256, 256), "formats": {"PNG": 50_000}, "repeated": 0, "grey": 400,
        "levels": (0, 255), "classes": (43, 57, 50), "names": None, "digests": frozenset({b"a"}),
    }  # fmt: skip
    return ImageFacts(**told | others)


def comparison(**others):
    reference = facts(digests=frozenset({b"b"}))
    told = {"samples": facts(), "reference": reference, "statistics": False, "count": 50_000, "network": "inception"}
    return Comparison(**told | {"known_weights": True} | others)


def names(of, state):
    return {entry["name"] for entry in found(of) if entry["state"] == state}


HIDDEN = {"reference set", "crop and resizing", "rounding to 8 bits", "evaluator", "sampling"}


def test_a_published_protocol_leaves_only_what_no_file_shows():
    assert names(comparison(), "seen") == set()
    assert names(comparison(), "hidden") == HIDDEN


@pytest.mark.parametrize(
    ("changes", "name", "finding"),
    [
        ({"samples": facts(images=5000)}, "number of samples", "5,000 samples; published scores take 50,000"),
        ({"count": 12}, "number of reference images", "the reference has 12 images for 50,000 samples"),
        (
            {"count": None, "statistics": True, "reference": None},
            "statistics without a number",
            "the statistics do not say of how many images they are",
        ),
        ({"network": "dinov2"}, "another network", "the network is dinov2, not Inception"),
        ({"known_weights": False}, "weights", "the weights of inception are not the published file"),
        (
            {"statistics": True, "reference": facts(images=10_000, digests=frozenset())},
            "two references",
            "precision, recall and KID its 10,000 images",
        ),
        ({"samples": facts(size=(64, 32))}, "size", "the samples 64 x 32 and the reference 256 x 256 pixels"),
        (
            {"samples": facts(formats={"JPEG": 9, "PNG": 49_991})},
            "lossy files",
            "9 of the 50,000 files of the samples are JPEG",
        ),
        ({"samples": facts(repeated=7)}, "repeated samples", "7 of 50,000 samples repeat an earlier one"),
        ({"samples": facts(digests=frozenset({b"b"}))}, "samples in the reference", "1 pictures are among the samples"),
        ({"samples": facts(grey=5000)}, "grey images", "5,000 of 50,000 samples, 400 of 50,000 reference images"),
        ({"samples": facts(levels=(0, 1))}, "range of levels", "no level of the samples is above 1 of 255"),
        ({"samples": facts(classes=(50,) * 1000)}, "class balance", "50 samples of each of 1,000 classes"),
    ],
)
def test_what_the_files_show(changes, name, finding):
    (entry,) = (entry for entry in found(comparison(**changes)) if entry["state"] == "seen")
    assert entry["name"] == name and finding in entry["finding"]
    assert entry["worth"] and entry["remedy"]


def test_without_labels_their_balance_is_hidden():
    assert names(comparison(samples=facts(classes=None)), "hidden") == HIDDEN | {"class balance"}


def test_another_network_and_reconstructions_leave_out_what_cannot_matter():
    assert names(comparison(network="vgg16"), "hidden") == {"crop and resizing"}
    pair = {"samples": facts(names=frozenset("ab"), classes=None), "reference": facts(names=frozenset("ab"))}
    paired = comparison(**pair)
    assert paired.paired and names(paired, "hidden") == HIDDEN - {"sampling"}
    assert not replace(paired, reference=facts(names=frozenset("ac"))).paired
    assert not comparison().paired  # two files have no names


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "vgg16"}, "not FID"),
        ({"statistics": True}, "ADM's (gFID)"),
        ({"statistics": True, "reference": None}, "FID against statistics"),
        ({"samples": facts(names=frozenset("a")), "reference": facts(names=frozenset("a"))}, "rec. FID (rFID): recon"),
        ({}, "FID between two sets of images"),
    ],
)
def test_names_of_protocols(changes, said):
    assert said in protocol(comparison(**changes))


def test_every_deviation_has_a_worth_and_a_way_to_be_found():
    assert set(SEEN) <= set(DEVIATIONS)
    for name, entry in DEVIATIONS.items():
        assert set(entry) - {"hidden"} == {"worth", "source", "remedy"} and entry["worth"] and entry["remedy"], name
        assert name in SEEN or entry["hidden"]["finding"], name
        # a figure without a source would be invented
        assert entry["source"] or not any(sign.isdigit() for sign in entry["worth"]), name
