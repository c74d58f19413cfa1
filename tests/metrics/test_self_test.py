import pytest
import torch

from gpstoken.metrics import Statistics, frechet_distance
from gpstoken.metrics import self_test as module
from gpstoken.metrics.moments import mean_and_covariance
from gpstoken.metrics.self_test import check_file, check_halves, check_identity, check_statistics, coordinates


def features(n=40, d=60, seed=0):
    """Correlated, with a mean far from zero, as pooled features are; fewer of them than dimensions."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(n, 8, generator=chance) @ torch.randn(8, d, generator=chance) + 3


ORDER = (torch.arange(20), torch.arange(20, 40))


def test_right_scores_pass(tmp_path):
    x = features()
    shifted = {"as it was": x[:20], "shifted (checked)": x[:20] + 2}
    checks = [*check_file(x, tmp_path), check_identity(x), *check_halves(x, shifted, ORDER)]
    assert [check.passed for check in checks] == [True, True, True, True, None, True, None, True]
    assert "the same half, as it was: Fréchet distance +0, kernel distance +0" in checks[-2].text


def test_statistics_in_float32_pass_and_no_covariance_is_an_error():
    mean, covariance = mean_and_covariance(features(d=200))
    rounded = Statistics(mean.float().double(), covariance.float().double(), 40)
    assert check_statistics(rounded, "they").passed
    with pytest.raises(ValueError, match="not symmetric"):
        check_statistics(Statistics(mean, covariance.triu(), 40), "they")


def test_a_change_that_does_not_show_fails():
    x = features()
    assert check_halves(x, {"nothing (checked)": x[:20]}, ORDER)[-1].passed is False


def test_other_images_in_one_half_fail():
    x = features()
    x[ORDER[0]] += 5  # the given halves are no random ones
    assert check_halves(x, {}, ORDER)[-1].passed is False


@pytest.mark.parametrize("wrong", ["biased", "scaled", "off"])
def test_wrong_scores_fail(monkeypatch, tmp_path, wrong):
    """Mistakes that people make: the pairs of an image with itself kept, a factor, a constant."""
    x = features()

    def distance(first, second):
        kernels = [((a.double() @ b.double().T / 60 + 1) ** 3) for a, b in ((first, first), (second, second))]
        within = sum(float(kernel.mean()) for kernel in kernels)
        return {"mean": within - 2 * float(((first.double() @ second.double().T / 60 + 1) ** 3).mean())}

    if wrong == "biased":
        monkeypatch.setattr(module, "kernel_distance", distance)
        assert not check_identity(x).passed and not check_halves(x, {}, ORDER)[0].passed
    else:
        change = {"scaled": lambda *sides: 2 * sides[1].trace(), "off": lambda *s: frechet_distance(*s) + 1e-3}[wrong]
        monkeypatch.setattr(module, "frechet_distance", change)
        assert not check_file(x, tmp_path)[1].passed


def test_lost_digits_of_a_file_fail(monkeypatch, tmp_path):
    def written(path, statistics):
        (entry,) = statistics.values()
        rounded = Statistics(entry.mean, entry.covariance.float().double(), entry.count)
        write(path, {"pool": rounded})

    write = module.write_statistics
    monkeypatch.setattr(module, "write_statistics", written)
    assert not check_file(features(), tmp_path)[0].passed


def test_coordinates_keep_distances():
    # A rotation: products, and with them distances, are the same up to rounding.
    x, y = features(), features(seed=1)
    rows = coordinates(torch.cat([x, y]))
    assert rows.shape[1] <= 60 and coordinates(features(100, 60)).shape == (100, 60)
    few = coordinates(features(9, 60))
    assert few.shape == (9, 9)
    gram = features(9, 60).double()
    torch.testing.assert_close(few @ few.T, gram @ gram.T, rtol=1e-10, atol=1e-10)
    ours = frechet_distance(*mean_and_covariance(few[:4]), *mean_and_covariance(few[4:]))
    theirs = frechet_distance(*mean_and_covariance(gram[:4]), *mean_and_covariance(gram[4:]))
    assert ours == pytest.approx(theirs, rel=1e-9)
