import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gpstoken.metrics.samples import contents, count, read_batches


def noise(n, height=6, width=5):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def write(kind, folder, images):
    """`images` in one of the layouts that users have."""
    path = folder / {"stored": "s.npz", "deflated": "d.npz", "npy": "s.npy", "folder": "pictures"}[kind]
    if kind == "folder":
        for number, image in enumerate(images):
            (path / f"class{number // 4}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path / f"class{number // 4}" / f"{number:06}.png")
    elif kind == "npy":
        np.save(path, images)
    else:
        labels = np.arange(len(images))
        {"stored": np.savez, "deflated": np.savez_compressed}[kind](path, images, labels)  # arr_0, arr_1, as ADM's
    return path


KINDS = ["stored", "deflated", "npy", "folder"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_comes_once_in_order(kind, tmp_path):
    images = noise(11)
    path = write(kind, tmp_path, images)
    batches = list(read_batches(path, 4))
    assert count(path) == 11 and contents(path) == {"images"}
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert all(batch.is_contiguous() for batch in batches)
    assert torch.equal(torch.cat(batches), torch.from_numpy(images.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_processes_share_the_batches(kind, tmp_path):
    path = write(kind, tmp_path, noise(11))
    whole = list(read_batches(path, 2))
    for world in (2, 4, 7):  # of seven processes one has no batch
        parts = [list(read_batches(path, 2, rank, world)) for rank in range(world)]
        assert sum(map(len, parts)) == 6
        for number, batch in enumerate(whole):
            assert torch.equal(parts[number % world][number // world], batch)


@pytest.mark.parametrize("kind", ["stored", "deflated", "npy"])
def test_an_array_is_never_in_memory(kind, tmp_path):
    # 48 MiB of images. Every allocation of Python and numpy counts; the pages of a mapped file do not, which the kernel
    # takes back as it likes.
    path = write(kind, tmp_path, np.broadcast_to(noise(1, 256, 256), (256, 256, 256, 3)))
    tracemalloc.start()
    try:
        assert sum(len(batch) for batch in read_batches(path, 4)) == 256
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20  # a batch has 0.75 MiB: once as it was read and once rearranged, and the next one


def test_pictures_of_other_modes_become_rgb(tmp_path):
    grey = noise(1)[0, :, :, 0]
    Image.fromarray(grey).save(tmp_path / "0.png")
    Image.fromarray(np.dstack([noise(1)[0], np.full((6, 5), 255, np.uint8)])).save(tmp_path / "1.webp", lossless=True)
    Image.fromarray(grey).convert("P").save(tmp_path / "2.PNG")
    (tmp_path / ".3.png").write_bytes(b"hidden")
    (tmp_path / "labels.json").write_text("{}")
    (images,) = read_batches(tmp_path, 8)
    assert torch.equal(images[0], torch.from_numpy(grey).expand(3, 6, 5))
    assert torch.equal(images[1], torch.from_numpy(noise(1)[0].transpose(2, 0, 1)))
    assert torch.equal(images[2], images[0])


def broken(case, folder):
    """A source of 6 images that is broken at its end, so that reading the first batch says nothing."""
    images, path = noise(6), folder / "broken.npz"
    if case in ("size", "picture", "cut picture", "32 bits"):
        path = write("folder", folder, images)
        last = path / "class1" / "000005.png"
        if case == "size":
            Image.fromarray(noise(1, 7, 5)[0]).save(last)
        elif case == "picture":
            last.write_bytes(b"not a picture")
        elif case == "cut picture":
            Image.fromarray(noise(1, 60, 50)[0]).save(last)
            last.write_bytes(last.read_bytes()[:2000])
        else:
            Image.fromarray(np.zeros((6, 5), np.int32)).save(last.with_suffix(".tif"))
    elif case == "empty folder":
        path = folder / "none"
        path.mkdir()
    elif case == "flipped byte":
        np.savez(path, images)
        raw = bytearray(path.read_bytes())
        raw[raw.index(images[5].tobytes()) + 3] ^= 1
        path.write_bytes(raw)
    elif case == "cut npz":
        np.savez(path, images)
        path.write_bytes(path.read_bytes()[:-300])
    elif case in ("other key", "nothing"):
        np.savez(path, **({"mu": np.zeros(3)} if case == "other key" else {}))
    elif case in ("float", "channels first", "no images", "fortran", "objects"):
        array = {
            "float": images / 255,
            "channels first": images.transpose(0, 3, 1, 2),
            "no images": images[:0],
            "fortran": np.asfortranarray(images),
            "objects": np.array([images, None], dtype=object),
        }[case]
        np.savez(path, array)
    elif case == "short member":
        np.save(folder / "a.npy", images)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("arr_0.npy", (folder / "a.npy").read_bytes()[:-1])
    elif case == "pickle npz":
        path.write_bytes(pickle.dumps(images))
    else:
        path = folder / "broken.npy"
        if case == "npy objects":
            np.save(path, np.array([images, None], dtype=object))
        elif case == "pickle npy":
            path.write_bytes(pickle.dumps(images))
        elif case == "cut npy":
            np.save(path, images)
            path.write_bytes(path.read_bytes()[:-1])
        else:
            np.save(path, images[0])
    return path


SAID = {
    "size": "000005.png: 5x7 pixels, but 000000.png has 5x6",
    "picture": "000005.png: cannot be read as a picture: empty, or not a known format",
    "cut picture": "000005.png: cannot be read as a picture: image file is truncated",
    "32 bits": r"000005.tif: cannot be read as a picture: mode I \(32 bits per pixel\) has no known range",
    "empty folder": "none: no pictures in the folder",
    "flipped byte": "broken.npz: Bad CRC-32",
    "cut npz": "broken.npz: File is not a zip file",
    "other key": "broken.npz: no images: expected the key arr_0, found mu",
    "nothing": "broken.npz: no images: expected the key arr_0, found nothing",
    "float": r"broken.npz: expected images uint8\[N, H, W, 3\], got float64\[6, 6, 5, 3\]",
    "channels first": r"got uint8\[6, 3, 6, 5\]",
    "no images": r"got uint8\[0, 6, 5, 3\]",
    "fortran": "broken.npz: arr_0 is in Fortran order",
    "objects": "broken.npz: .* got pickled objects",
    "short member": "broken.npz: arr_0 has 539 bytes, but its header says 540",
    "pickle npz": "broken.npz: File is not a zip file",
    "npy objects": "broken.npy: ",
    "pickle npy": "broken.npy: ",
    "cut npy": "broken.npy: ",
    "one image": r"broken.npy: expected images uint8\[N, H, W, 3\], got uint8\[6, 5, 3\]",
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_broken_is_one_line_with_its_name(case, tmp_path):
    path = broken(case, tmp_path)
    with pytest.raises(ValueError, match=SAID[case]) as caught:
        list(read_batches(path, 2))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_nothing_there():
    for call in (count, contents, lambda path: next(read_batches(path, 1))):
        with pytest.raises(FileNotFoundError, match="no/such: no such file or folder"):
            call("no/such")


def test_contents_of_reference_files(tmp_path):
    statistics = {"mu": np.zeros(2), "sigma": np.eye(2)}
    np.savez(tmp_path / "s.npz", **statistics)
    np.savez(tmp_path / "both.npz", noise(1), **statistics)
    np.savez(tmp_path / "other.npz", weights=np.zeros(2))
    assert contents(tmp_path / "s.npz") == {"statistics"}
    assert contents(tmp_path / "both.npz") == {"images", "statistics"}
    with pytest.raises(ValueError, match=r"other.npz: expected arr_0 .* found weights"):
        contents(tmp_path / "other.npz")
