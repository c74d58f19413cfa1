import numpy as np
import pytest
from PIL import Image

from gpstoken.metrics.facts import balanced, class_counts, image_facts


def noise(n, seed=0):
    return np.random.default_rng(seed).integers(10, 200, (n, 6, 5, 3), dtype=np.uint8)


def test_a_folder_by_hand(tmp_path):
    images = noise(5)
    images[1] = images[0]  # repeated
    images[2, ..., 1:] = images[2, ..., :1]  # grey
    images[3, 0, 0] = (7, 50, 230)  # the lowest and the highest level
    for number, image in enumerate(images[:4]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    Image.fromarray(images[4]).save(tmp_path / "4.png", format="JPEG", quality=100)  # under a false name
    (tmp_path / "labels.csv").write_text("index,label\n0,3\n1,3\n2,1\n3,1\n4,3\n")
    facts = image_facts(tmp_path, batch_size=2)
    assert (facts.images, facts.size, facts.formats) == (5, (6, 5), {"PNG": 4, "JPEG": 1})
    assert (facts.repeated, facts.grey, facts.levels) == (1, 1, (7, 230))
    assert facts.classes == (2, 3)
    assert facts.names == set("01234") and len(facts.digests) == 4


def test_an_npz_has_the_same_pixels_as_a_folder(tmp_path):
    images = noise(7)
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number}.png")
    np.savez(tmp_path / "a.npz", images, np.array([0, 0, 0, 2, 2, 5, 5]))
    np.save(tmp_path / "a.npy", images)
    folder, archive, plain = (image_facts(tmp_path / name, 3) for name in ("folder", "a.npz", "a.npy"))
    assert folder.digests == archive.digests == plain.digests
    assert (archive.classes, archive.formats, archive.names) == ((3, 2, 2), {"npz": 1}, None)
    assert (plain.classes, folder.classes) == (None, None)


@pytest.mark.parametrize("labels", [np.zeros(3), np.zeros((4, 1), int), np.zeros(4), np.array([None] * 4)])
def test_what_is_no_label_of_each_image_counts_as_none(tmp_path, labels):
    np.savez(tmp_path / "a.npz", noise(4), labels)
    assert class_counts(tmp_path / "a.npz") is None
    (tmp_path / "labels.csv").write_text("index;label\n")
    assert class_counts(tmp_path) is None


def test_labels_that_were_dealt_out():
    assert balanced((50,) * 1000) and balanced((4, 5, 4))
    assert not balanced((43, 61, 50)) and not balanced((12,)) and not balanced((1, 1, 1))
