import math

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gpstoken.metrics import METRICS, paired_difference, reconstruction, reconstruction_metrics, summarise, to_uint8


def pictures():
    """Three pairs of 8-bit pictures [48, 40, 3]: a photograph, each time further from it."""
    photo = astronaut()[100:148, 200:240]
    noise = np.random.default_rng(0).normal(size=photo.shape)
    noisy = [np.clip(np.round(photo + scale * noise), 0, 255).astype(np.uint8) for scale in (1, 10, 60)]
    return noisy, [photo] * 3


def as_tensor(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).double() / 127.5 - 1


def test_rounding_to_8_bits():
    # -1 is level 0, 1 is level 255; half way rounds to even, beyond the ends is clamped.
    values = torch.tensor([-1.0, -3.0, 1.0, 1.2, 0.0, 99.6 / 127.5 - 1, 99.4 / 127.5 - 1])
    assert to_uint8(values).tolist() == [0, 0, 255, 255, 128, 100, 99]
    levels = torch.arange(256)
    assert torch.equal(to_uint8(levels.float() / 127.5 - 1), levels.to(torch.uint8))


def test_psnr_is_scikit_images():
    first, second = pictures()
    rows = reconstruction_metrics(as_tensor(first), as_tensor(second))
    expected = [peak_signal_noise_ratio(*pair, data_range=255) for pair in zip(second, first, strict=True)]
    # float32 mean of 5,760 squares: 1e-6 of the mean is 5e-6 dB.
    np.testing.assert_allclose(rows["psnr"], expected, rtol=0, atol=5e-5)


def test_ssim_is_scikit_images():
    first, second = pictures()
    rows = reconstruction_metrics(as_tensor(first), as_tensor(second))
    # torchmetrics mirrors the picture by five pixels (edge not repeated) and averages over all of it. scikit-image
    # averages without the five outer pixels, which the same mirroring, done before, makes those that it has added.
    expected = [
        structural_similarity(
            *(np.pad(x / 255, [(5, 5), (5, 5), (0, 0)], "reflect") for x in pair),
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=-1,
        )
        for pair in zip(first, second, strict=True)
    ]  # fmt: skip
    # float32 variances E[x^2] - E[x]^2 are off by 1e-7 against constants of 9e-4: 1e-4 in a flat pixel, of either sign.
    np.testing.assert_allclose(rows["ssim"], expected, rtol=0, atol=1e-5)


def test_psnr_by_hand():
    image = -torch.ones(2, 3, 16, 16)
    reconstruction = image.clone()
    reconstruction[0] += 2 * 51 / 255  # 51 of 255 levels: mean square 1/25, 10 log10 25
    reconstruction[1, 0, 0, 0] = 1  # 0 to 255 in one of 768 values
    psnr = reconstruction_metrics(reconstruction, image)["psnr"]
    assert psnr[0].item() == pytest.approx(10 * math.log10(25), abs=1e-4)
    assert psnr[1].item() == pytest.approx(10 * math.log10(768), abs=1e-4)


def test_each_image_stands_alone():
    first, second = (as_tensor(x) for x in pictures())
    together = reconstruction_metrics(first, second)
    for index in range(3):
        alone = reconstruction_metrics(first[index : index + 1], second[index : index + 1])
        for name in ("psnr", "ssim"):
            torch.testing.assert_close(alone[name][0], together[name][index])


def test_an_exact_reconstruction():
    image = as_tensor(pictures()[0])
    rows = reconstruction_metrics(image, image)
    assert rows["psnr"].tolist() == [math.inf] * 3
    torch.testing.assert_close(rows["ssim"], torch.ones(3))


def test_differences_below_a_level_do_not_count():
    image = as_tensor(pictures()[0])
    assert reconstruction_metrics(image + 0.4 / 127.5, image)["psnr"].isinf().all()


def test_distances_see_8_bit_pictures_in_their_range():
    image = as_tensor(pictures()[0])

    class MeanDistance(torch.nn.Module):
        def forward(self, first, second):
            return (first - second).abs().mean(dim=(1, 2, 3), keepdim=True)

    bright, grey = torch.full_like(image, 7.0), torch.full_like(image, -0.3 / 127.5)  # levels 255 and 127
    rows = reconstruction_metrics(bright, grey, {"x": MeanDistance()})
    torch.testing.assert_close(rows["x"], torch.full((3,), 2 * 128 / 255))


def test_distances_see_a_limited_number_of_pixels(monkeypatch):
    monkeypatch.setattr(reconstruction, "TOGETHER", 2 * 48 * 40)
    first, second = (as_tensor(each) for each in pictures())
    seen = []

    def distance(x, y):
        seen.append(len(x))
        return (x - y).square().mean(dim=(1, 2, 3), keepdim=True)

    rows = reconstruction_metrics(first, second, {"distance": distance})
    assert seen == [2, 1]
    # Levels are whole numbers, so the pairs are what they are before rounding; float32 against float64.
    torch.testing.assert_close(
        rows["distance"].double(), (first - second).square().mean(dim=(1, 2, 3)), rtol=1e-5, atol=0
    )
    monkeypatch.setattr(reconstruction, "TOGETHER", 1)
    assert torch.equal(reconstruction_metrics(first, second, {"distance": distance})["distance"], rows["distance"])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        reconstruction_metrics(torch.zeros(1, 3, 16, 16), torch.zeros(2, 3, 16, 16))


def test_larger_is_better_of_the_ones_that_say_so():
    (nearer, _, further), image = (as_tensor(x) for x in pictures())
    near, far = (reconstruction_metrics(x[None], image[:1]) for x in (nearer, further))
    assert METRICS["psnr"] and METRICS["ssim"] and not METRICS["lpips_alexnet"] and not METRICS["lpips_vgg16"]
    assert all((near[name] > far[name]).all() for name in near)


def test_summary_by_hand():
    # Two seeds, three images of two photographs.
    estimate = summarise(np.array([[1.0, 3.0, 8.0], [3.0, 5.0, 10.0]]), ["a", "a", "b"])
    assert estimate.mean == 5 and estimate.per_seed == (4.0, 6.0)
    assert (estimate.count, estimate.clusters, estimate.seeds) == (3, 2, 2)
    # Means over seeds 2, 4, 9 less 5: photograph a -3 - 1 = -4, b 4; (16 + 16) / 3^2 * 2 / 1 = 64 / 9.
    # Seeds: variance of (4, 6) is 2, over two seeds 1.
    assert estimate.standard_error == pytest.approx(math.sqrt(64 / 9 + 1), rel=1e-12)
    low, high = estimate.interval
    # Degrees of freedom: (64 / 9 + 1)^2 / ((64 / 9)^2 / 1 + 1^2 / 1).
    freedom = (73 / 9) ** 2 / ((64 / 9) ** 2 + 1)
    assert estimate.degrees_of_freedom == pytest.approx(freedom) == pytest.approx(1.2758, abs=1e-4)
    assert (low + high) / 2 == pytest.approx(5)
    # 97.5 % of t lie below the bound: its distribution function, integrated by hand
    x = np.linspace(-4000, (high - 5) / estimate.standard_error, 8_000_001)
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    density *= math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    assert np.trapezoid(density, x) == pytest.approx(0.975, abs=1e-3)


def test_images_of_their_own_photographs_give_the_textbook_error():
    values = np.random.default_rng(1).normal(size=40)
    estimate = summarise(values[None], [str(index) for index in range(40)])
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(40), rel=1e-12)


def test_crops_of_a_photograph_count_as_their_mean():
    # Photographs with equally many crops: the error of the mean of photograph means, however alike their crops are.
    values = np.random.default_rng(2).normal(size=(12, 1)) + 0.1 * np.random.default_rng(3).normal(size=(12, 5))
    estimate = summarise(values.reshape(1, -1), [f"photo {index}" for index in range(12) for _ in range(5)])
    assert estimate.standard_error == pytest.approx(values.mean(axis=1).std(ddof=1) / math.sqrt(12), rel=1e-12)


def test_one_photograph_one_seed_has_no_known_error():
    estimate = summarise(np.array([[1.0, 2.0]]), ["a", "a"])
    assert (estimate.mean, estimate.standard_error, estimate.clusters, estimate.seeds) == (1.5, 0.0, 1, 1)


def test_what_both_share_drops_out_of_a_difference():
    first = np.array([[20.0, 30.0, 40.0]])
    estimate = paired_difference(first, first - np.array([[1.0, 2.0, 3.0]]), ["a", "b", "c"])
    assert estimate.mean == 2 and estimate.standard_error == pytest.approx(math.sqrt(1 / 3), rel=1e-12)
    assert paired_difference(first, first, ["a", "b", "c"]).standard_error == 0


def test_bad_values():
    with pytest.raises(ValueError, match="seed 1, image 0 is inf"):
        summarise(np.array([[1.0, 2.0], [math.inf, 2.0]]), ["a", "b"])
    with pytest.raises(ValueError, match="seed 0, image 1 is nan"):
        summarise(np.array([[1.0, math.nan]]), ["a", "b"])
    with pytest.raises(ValueError, match=r"values\[seeds, 2 images\], got shape \(1, 3\)"):
        summarise(np.ones((1, 3)), ["a", "b"])
    with pytest.raises(ValueError, match="got shape"):
        summarise(np.ones((0, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="shapes differ"):
        paired_difference(np.ones((1, 3)), np.ones((2, 3)), ["a", "b", "c"])
