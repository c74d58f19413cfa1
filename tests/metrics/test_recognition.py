import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from gpstoken.metrics.recognition import SIDE, PartsOf, recognise, recognised

WHOLE = ((0.0, 0.0, 1.0, 1.0),)


class Known:
    """What a data set says of its pictures."""

    metric, boxes = "identity", WHOLE
    gallery = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
    gallery_labels = (np.arange(12) % 3)[:, None]
    labels, itself = gallery_labels[4:], np.arange(4, 12)


def parts(pictures: np.ndarray, boxes=WHOLE) -> np.ndarray:
    return PartsOf(boxes)(torch.from_numpy(pictures).permute(0, 3, 1, 2))["parts"].numpy()


def test_the_product_of_parts_is_the_correlation_of_their_grey_levels():
    # A box of exactly SIDE pixels is not resized: numpy's correlation, on BT.601's grey as Pillow rounds it to a level.
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    own = parts(images, ((0.25, 0.5, 0.75, 1.0),))[:, 0]
    levels = images[:, 16:48, 32:64].astype(float) @ [0.299, 0.587, 0.114]
    assert own.shape == (2, SIDE**2)
    # 1024 products of float32: an error of each of at most 1e-6 in all
    assert own[0] @ own[1] == pytest.approx(np.corrcoef(levels.reshape(2, -1))[0, 1], abs=1e-5)


def test_brightness_and_contrast_play_no_part():
    image = np.random.default_rng(2).integers(0, 120, (1, 20, 20, 3), dtype=np.uint8)
    assert (parts(image) * parts(2 * image + 10)).sum() == pytest.approx(1, abs=1e-5)


def test_the_nearest_of_the_others_as_sklearn_finds_it():
    generator = np.random.default_rng(3)
    labels = np.arange(40) % 4
    # noisy copies of a pattern for each label, so that some are recognised and some are not
    levels = generator.normal(size=(4, 30))[labels] + 3 * generator.normal(size=(40, 30))
    gallery = (levels / np.linalg.norm(levels, axis=1, keepdims=True)).astype(np.float32)[:, None]
    queries = gallery + generator.normal(size=gallery.shape).astype(np.float32) / 20
    # the nearest by the cosine is the nearest by the correlation, whatever the length of a query
    expected = [
        KNeighborsClassifier(1, metric="cosine")
        .fit(np.delete(gallery[:, 0], place, axis=0), np.delete(labels, place))
        .score(queries[place], labels[place : place + 1])
        for place in range(40)
    ]
    found = recognised(queries, labels[:, None], gallery, labels[:, None], np.arange(40))
    assert found.tolist() == expected and 0.2 < np.mean(expected) < 0.9


def test_each_part_is_sought_among_the_same_parts():
    one, other = np.eye(2, dtype=np.float32)
    gallery = np.stack([[one, other], [other, one]])  # the label 0 looks otherwise at each place
    labels = np.array([[0, 0], [1, 1]])
    queries = np.stack([[one, one], [other, one]])
    absent = np.full(2, -1)
    assert recognised(queries, labels, gallery, labels, absent).tolist() == [0.5, 1.0]


def test_a_flat_part_is_never_recognised():
    flat = np.full((1, 10, 10, 3), 77, dtype=np.uint8)
    assert not parts(flat).any()
    label = np.zeros((1, 1), dtype=int)
    assert recognised(parts(flat), label, parts(Known.gallery), Known.gallery_labels, np.array([-1])) == [0]


def test_of_exact_and_of_inverted_reconstructions():
    original = parts(Known.gallery[4:])
    for sign in (1, -1):
        sides = {"identity.parts.image": original, "identity.parts.reconstruction": sign * original}
        columns, originals = recognise(Known, dict.fromkeys(("image", "reconstruction"), sides.__getitem__))
        assert columns["parts_correlation"] == pytest.approx(np.full(8, sign), abs=1e-5)
        if sign == 1:
            assert columns["identity"].tolist() == originals.tolist()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="images of 3x3 pixels are too small for their parts"):
        PartsOf(((0.0, 0.0, 0.1, 0.1),))(torch.zeros(1, 3, 3, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="do not fit the gallery"):
        recognised(np.ones((2, 1, 4)), np.zeros((2, 3)), np.ones((2, 1, 4)), np.zeros((2, 1)), np.zeros(2))
