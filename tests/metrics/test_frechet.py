import math

import numpy as np
import pytest
import scipy.linalg
import torch

from gpstoken.metrics import Statistics, frechet_distance, read_statistics, write_statistics


def rotation(d, seed=0):
    return torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))[0]


def covariance(n, d, seed):
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.cov(x.T)


def test_one_dimension_by_hand():
    # (m1 - m2)² + (s1 - s2)²: 3² + (5 - 2)²
    parts = ([1.0], [[25.0]], [4.0], [[4.0]])
    assert frechet_distance(*(torch.tensor(part) for part in parts)) == pytest.approx(18, rel=1e-14)


def test_diagonal_covariances_in_any_basis():
    # Matrices that commute: sum of squared differences of the standard deviations, zeros included.
    first, second = torch.tensor([4.0, 1, 0, 9, 0, 1e-8]).double(), torch.tensor([1.0, 0, 16, 9, 0, 1e-4]).double()
    expected = 1 + 1 + 16 + 0 + 0 + (1e-4 - 1e-2) ** 2
    zero, basis = torch.zeros(6), rotation(6)
    for turn in (torch.eye(6).double(), basis):
        distance = frechet_distance(zero, turn @ first.diag() @ turn.T, zero, turn @ second.diag() @ turn.T)
        # A zero eigenvalue turns into 1e-16 of the largest by rounding; kept, its root would give 1e-8.
        assert distance == pytest.approx(expected, rel=1e-12)


def test_a_line_and_a_line_across():
    # Rank one each: root1 root2 = |u·v| s1 s2. Lines at 60 degrees, deviations 2 and 3: 4 + 9 - 2 * 6 / 2 = 7.
    u, v = (torch.tensor(x, dtype=torch.float64) for x in ([1.0, 0], [0.5, math.sqrt(3) / 2]))
    distance = frechet_distance(torch.zeros(2), 4 * torch.outer(u, u), torch.zeros(2), 9 * torch.outer(v, v))
    assert distance == pytest.approx(7, rel=1e-14)
    across = torch.tensor([0.0, 1]).double()
    # at right angles nothing overlaps
    assert frechet_distance(u, 4 * torch.outer(u, u), u, torch.outer(across, across)) == pytest.approx(5, rel=1e-14)


def test_points():
    # Without spread it is the squared distance of the means; against a spread its trace.
    zero, point = torch.zeros(3, 3), torch.tensor([1.0, 2.0, 2.0])
    assert frechet_distance(point, zero, torch.zeros(3), zero) == 9
    assert frechet_distance(point, torch.eye(3), torch.zeros(3), zero) == 12


@pytest.mark.parametrize("n", [200, 12])  # of full rank, and of rank 11 in 30 dimensions
def test_against_scipys_square_root_and_itself(n):
    first, second, mean = covariance(n, 30, 1), covariance(150, 30, 2), torch.ones(30)
    # scipy's sqrtm is well-behaved on the second factor, which has full rank
    root = torch.from_numpy(scipy.linalg.sqrtm(second.numpy()))
    eigenvalues = torch.linalg.eigvalsh(root @ first @ root)
    expected = 30 + first.trace() + second.trace() - 2 * eigenvalues.clamp(min=0).sqrt().sum()
    distance = frechet_distance(mean, first, torch.zeros(30), second)
    # The oracle takes the root of eigenvalues that are zero but for rounding, 2^-52 of the largest: 19 of rank 11.
    roundings = 2 * max(0, 30 - (n - 1)) * float(2**-52 * eigenvalues[-1]) ** 0.5
    assert distance == pytest.approx(float(expected), rel=1e-12, abs=roundings)
    assert distance == pytest.approx(frechet_distance(torch.zeros(30), second, mean, first), rel=1e-12)
    assert frechet_distance(mean, first, mean, first) == pytest.approx(0, abs=1e-12 * first.trace().item())


def test_no_small_difference_is_lost_in_deficient_covariances():
    # The same 11 directions, 1 % wider: sum of (0.01 s)² over the eigenvalues, 1e-4 of the trace.
    first = covariance(12, 300, 3)
    distance = frechet_distance(torch.zeros(300), first, torch.zeros(300), first * 1.01**2)
    assert distance == pytest.approx(1e-4 * first.trace().item(), rel=1e-9)


def test_float32_rounding_is_no_error():
    first, second = (covariance(12, 40, seed) for seed in (1, 2))
    exact = frechet_distance(torch.zeros(40), first, torch.zeros(40), second)
    rounded = frechet_distance(torch.zeros(40), first.float(), torch.zeros(40), second.float())
    # Eigenvalues of zero become 1e-8 of the largest and their roots 1e-4, in up to 29 directions
    assert rounded == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.tensor([math.nan, 0])}, "mean 1 has 1 values that are not finite"),
        ({3: torch.full((2, 2), math.inf)}, "covariance 2 has 4 values that are not finite"),
        ({1: torch.tensor([[1.0, 0], [0, -1e-3]])}, r"covariance 1 has the eigenvalue -0\.001, but the largest is 1"),
        ({3: torch.tensor([[1.0, 0.5], [0, 1]])}, "covariance 2 is not symmetric"),
        ({2: torch.zeros(3)}, r"got \[\(2,\), \(2, 2\), \(3,\), \(2, 2\)\]"),
        ({1: -torch.eye(2)}, "covariance 1 has the eigenvalue -1"),
    ],
)
def test_what_is_no_gaussian(change, message):
    parts = [torch.zeros(2), torch.eye(2), torch.zeros(2), torch.eye(2)]
    for index, value in change.items():
        parts[index] = value
    with pytest.raises(ValueError, match=message):
        frechet_distance(*parts)


def test_statistics_come_back(tmp_path):
    pool = Statistics(torch.randn(4).double(), covariance(9, 4, 0), 9)
    spatial = Statistics(torch.randn(3).double(), covariance(9, 3, 0), 9)
    write_statistics(tmp_path / "reference.npz", {"pool": pool, "spatial": spatial})
    found = read_statistics(tmp_path / "reference.npz")
    assert list(found) == ["pool", "spatial"] and found["pool"].count == found["spatial"].count == 9
    for name, each in (("pool", pool), ("spatial", spatial)):
        assert torch.equal(found[name].mean, each.mean) and torch.equal(found[name].covariance, each.covariance)
    write_statistics(tmp_path / "reference.npz", {"pool": Statistics(pool.mean, pool.covariance)})
    assert read_statistics(tmp_path / "reference.npz").keys() == {"pool"}
    assert read_statistics(tmp_path / "reference.npz")["pool"].count is None
    assert [path.name for path in tmp_path.iterdir()] == ["reference.npz"]


def test_adms_file_with_images_beside(tmp_path):
    # as in VIRTUAL_imagenet256_labeled.npz: float32 means, float64 covariances, images, no count
    arrays = {"mu": np.ones(2, np.float32), "sigma": np.eye(2), "mu_s": np.zeros(3, np.float32), "sigma_s": np.eye(3)}
    np.savez(tmp_path / "adm.npz", arr_0=np.zeros((4, 8, 8, 3), np.uint8), **arrays)
    found = read_statistics(tmp_path / "adm.npz")
    assert found["pool"].mean.tolist() == [1, 1] and found["pool"].mean.dtype == torch.float64
    assert found["spatial"].covariance.shape == (3, 3) and found["spatial"].count is None


def test_files_that_are_no_statistics(tmp_path):
    path = tmp_path / "file.npz"
    with pytest.raises(FileNotFoundError, match=r"file\.npz not found: `gpstoken score IMAGES --write-statistics"):
        read_statistics(path)
    np.savez(path, arr_0=np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"file\.npz: holds images \(arr_0\), not statistics"):
        read_statistics(path)
    np.savez(path, mean=np.zeros(2))
    with pytest.raises(ValueError, match=r"holds \['mean'\], not mu and sigma"):
        read_statistics(path)
    np.savez(path, mu=np.zeros(2), sigma=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"mu and sigma have the shapes \(2,\) and \(3, 3\)"):
        read_statistics(path)
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2), mu_s=np.zeros(2))
    with pytest.raises(ValueError, match=r"mu_s and sigma_s have the shapes \(2,\) and None"):
        read_statistics(path)
    np.savez(path, mu=np.array([None, 1]), sigma=np.eye(2))
    with pytest.raises(ValueError, match=r"file\.npz: not a readable npz \(it holds Python objects"):
        read_statistics(path)
    np.savez(path, mu=np.array(["a", "b"]), sigma=np.eye(2))
    with pytest.raises(ValueError, match="mu and sigma are not floating-point numbers"):
        read_statistics(path)
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2), count=np.ones(2))
    with pytest.raises(ValueError, match=r"count is float64\[2\], not one whole number"):
        read_statistics(path)
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"file\.npz: not a readable npz"):
        read_statistics(path)
    np.save(tmp_path / "array.npy", np.zeros(2))
    (tmp_path / "array.npy").rename(path)
    with pytest.raises(ValueError, match=r"file\.npz: not a readable npz"):
        read_statistics(path)
    part = Statistics(torch.zeros(2), torch.eye(2), 3)
    with pytest.raises(ValueError, match="expected 'pool' and 'spatial' with one count"):
        write_statistics(path, {"spatial": part})
