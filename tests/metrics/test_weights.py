import hashlib

import pytest

from gpstoken.metrics import find_weights, weights, weights_record

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A machine without any weights; the folders where they may lie."""
    for variable in ("GPSTOKEN_INCEPTION_WEIGHTS", "GPSTOKEN_VGG16_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    names = {"weights-12345678.pth": DIGEST[:8], "converted.safetensors": DIGEST, "unknown.pth": None}
    monkeypatch.setitem(weights.FILES, "inception", names)
    folders = [tmp_path / "data/networks", tmp_path / "torch_home/hub/checkpoints",
               tmp_path / "home/.cache/torch/hub/checkpoints"]  # fmt: skip
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def write(path, content=CONTENT):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("name", ["weights-12345678.pth", "converted.safetensors", "unknown.pth"])
def test_usual_folders(places, place, name):
    path = write(places[place] / name)
    assert find_weights("inception").resolve() == path


def test_an_explicit_path_wins_over_the_environment_over_folders(places, tmp_path, monkeypatch):
    folder = write(places[0] / "weights-12345678.pth")
    environment, explicit = write(tmp_path / "environment.pth"), write(tmp_path / "explicit.pth")
    assert find_weights("inception").resolve() == folder
    monkeypatch.setenv("GPSTOKEN_INCEPTION_WEIGHTS", str(environment))
    assert find_weights("inception") == environment
    assert find_weights("inception", explicit) == explicit


def test_a_wrong_hash_under_a_known_name(places, tmp_path, monkeypatch):
    for place, name in ((places[0], "converted.safetensors"), (tmp_path, "weights-12345678.pth")):
        path = write(place / name, b"<html>404</html>")
        with pytest.raises(ValueError, match=rf"{name}: sha256 .*, expected {DIGEST[:8]}.*; delete it and download"):
            find_weights("inception", path)
    with pytest.raises(ValueError, match=r"converted\.safetensors: sha256"):
        find_weights("inception")
    monkeypatch.setenv("GPSTOKEN_INCEPTION_WEIGHTS", str(tmp_path / "weights-12345678.pth"))
    with pytest.raises(ValueError, match=r"weights-12345678\.pth: sha256"):
        find_weights("inception")


def test_a_file_of_ones_own_is_taken_and_recorded(tmp_path):
    path = write(tmp_path / "mine.pth", b"other")
    assert find_weights("inception", path) == path
    # sha256 of "other", from coreutils' sha256sum
    digest = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"
    assert weights_record(path) == {"file": "mine.pth", "sha256": digest}


def test_nothing_found_says_where_and_how(places, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as caught:
        find_weights("inception")
    message = str(caught.value)
    assert "\n" not in message and "weights-12345678.pth or converted.safetensors" in message
    for part in ("data/networks", str(places[1]), str(places[2]), "https://", "set GPSTOKEN_INCEPTION_WEIGHTS"):
        assert part in message
    with pytest.raises(FileNotFoundError, match=r"lpips_vgg16\.safetensors .* run `python -m datamodules\.prepare"):
        find_weights("vgg16")
    with pytest.raises(FileNotFoundError, match=r"none\.pth not found: download"):
        find_weights("inception", tmp_path / "none.pth")
    monkeypatch.setenv("GPSTOKEN_INCEPTION_WEIGHTS", "none.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pth \(from \$GPSTOKEN_INCEPTION_WEIGHTS\) not found"):
        find_weights("inception")


def test_unknown_networks():
    with pytest.raises(ValueError, match=r"expected one of inception, .*, got 'resnet'"):
        find_weights("resnet")
