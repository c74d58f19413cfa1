"""Who and what there is to recognise: the faces as prepared, and rendered text against matplotlib's own letters."""

from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font
from PIL import Image

from datamodules import Embedded, EmbeddedPeople, RenderedText
from datamodules.rendered_text import FONTS, LETTERS, boxes, ink

ROOT = str(Path(__file__).parents[2] / "data" / "embedded")


@pytest.fixture
def people(tmp_path):
    return lambda **options: EmbeddedPeople(ROOT, image_size=24, prepared=str(tmp_path), **options)


@pytest.fixture
def text(tmp_path):
    return RenderedText(ROOT, image_size=64, prepared=str(tmp_path))


def pictures(data) -> np.ndarray:
    samples = data.dataset("test").prepared
    return np.stack([samples.read(i) for i in range(len(samples))])


def test_ten_faces_of_forty_people(people):
    known = people().recognition("test")
    assert Counter(known.labels[:, 0].tolist()) == dict.fromkeys(range(40), 10)
    assert known.gallery.shape == (400, 24, 24, 3) and known.boxes == ((0.0, 0.0, 1.0, 1.0),)
    assert len(set(people().sources("test"))) == 40
    assert people().recognition("train") is None and Embedded(ROOT, "faces").recognition("test") is None


@pytest.mark.parametrize("held_out", [False, True])
def test_each_picture_is_where_it_is_said_to_be_in_the_gallery(people, held_out):
    data = people(held_out=held_out)
    known = data.recognition("test")
    assert (known.gallery[known.itself] == pictures(data)).all()
    assert (known.gallery_labels[known.itself] == known.labels).all()
    assert known.labels[:, 0].tolist() == data.dataset("test").prepared.labels
    if held_out:
        # those whom the domain "faces" trains on are not among them
        trained = set(Embedded(ROOT, "faces").photos("train").labels)
        assert len(trained) == 32 and set(known.labels[:, 0]) == set(range(40)) - trained


def test_text_is_the_same_each_time_and_different_letters_each_picture(text, tmp_path):
    again = RenderedText(ROOT, image_size=64, prepared=str(tmp_path / "again"))
    assert text.fingerprint("test") == again.fingerprint("test")
    known = text.recognition("test")
    assert known.labels.shape == (60, 14) and all(len(set(letters)) == 14 for letters in known.labels)
    assert known.gallery.shape == (156, 64, 64, 3) and set(known.itself) == {-1}
    # 30 pictures on colours, the others on sixteen photographs
    sources = text.sources("test")
    assert len({source for source in sources if source.startswith("flat-")}) == 30 and len(set(sources)) == 46
    assert text.photos("train").pictures == [] and text.recognition("train") is None


def test_letters_stay_in_their_boxes():
    covered = np.zeros((200, 200), dtype=bool)  # at this size every border lies between two pixels
    for box in boxes():
        top, left, bottom, right = np.multiply(box, 200).round(6).astype(int)
        assert not covered[top:bottom, left:right].any()
        covered[top:bottom, left:right] = True
    for font in FONTS:
        for letter in range(26):
            assert not ink([letter] * len(boxes()), font, 200)[~covered].any(), (font, LETTERS[letter])


def cut(mask: np.ndarray) -> np.ndarray:
    """Where there is ink, cut to it and brought to 32 x 32 pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    image = Image.fromarray(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return np.asarray(image.resize((32, 32), Image.Resampling.NEAREST))


@pytest.mark.parametrize("name", FONTS)
def test_each_letter_looks_as_matplotlib_draws_it(name):
    top, left, bottom, right = (round(200 * border) for border in boxes()[0])
    font = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"))
    font.set_size(80, 72)
    ours, theirs = [], []
    for number, letter in enumerate(LETTERS):
        ours.append(cut(ink([number] * len(boxes()), name, 200)[top:bottom, left:right] > 0.5))
        font.set_text(letter)
        font.draw_glyphs_to_bitmap()
        theirs.append(cut(font.get_image() > 127))
    agreement = (np.stack(ours)[:, None] == np.stack(theirs)).mean(axis=(2, 3))
    assert agreement.argmax(axis=1).tolist() == list(range(26))
