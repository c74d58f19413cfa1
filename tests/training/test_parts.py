import numpy as np
import pytest

from gpstoken.files.parts import Parts


def columns(*indices: int) -> dict[str, np.ndarray]:
    return {"index": np.array(indices), "psnr": np.array(indices) * 10.0, "net.pool.image": np.ones((len(indices), 4))}


def test_nothing_is_done_at_the_start(tmp_path):
    parts = Parts(tmp_path / ".row.parts")
    assert (parts.done(), parts.columns(), parts.files()) == (set(), [], [])
    assert not parts.folder.exists()


def test_images_of_all_processes_come_back_by_index(tmp_path):
    for indices in ([4, 0], [3], [1, 2]):  # each process opens the folder for itself
        Parts(tmp_path).write(columns(*indices))
    parts = Parts(tmp_path)
    assert parts.done() == {0, 1, 2, 3, 4}
    assert parts.sorted(["psnr"])["psnr"].tolist() == [0, 10, 20, 30, 40]
    assert set(parts.columns()) == {"index", "psnr", "net.pool.image"}


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    parts = Parts(tmp_path)
    parts.write(columns(0))

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        parts.write(columns(1))
    assert len(list(tmp_path.iterdir())) == 1
    assert parts.done() == {0}


def test_what_a_kill_left_of_a_write_is_not_read(tmp_path):
    parts = Parts(tmp_path)
    parts.write(columns(0))
    (tmp_path / ".000001-7-abcdef01.npz.7.part").write_bytes(b"half")
    assert parts.done() == {0}


def test_two_evaluations_at_once_are_noticed(tmp_path):
    parts = Parts(tmp_path)
    parts.write(columns(0, 1))
    parts.write(columns(1))
    with pytest.raises(ValueError, match="two evaluations have run at once"):
        parts.done()


def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "000000-1-x.npz", index=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="it holds Python objects"):
        Parts(tmp_path).done()
