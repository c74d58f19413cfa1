import pytest
import torch

from gpstoken.metrics.focus import disc, region_psnr


def test_disc_typed_by_hand():
    inside = disc((5, 7), 0.35)  # radius 1.75 pixels about row 2, column 3
    expected = ["0000000", "0011100", "0011100", "0011100", "0000000"]
    assert ["".join(str(int(x)) for x in row) for row in inside] == expected


def test_even_sides_have_their_centre_between_pixels():
    assert disc((4, 4), 0.25).sum() == 4  # the four pixels at distance sqrt(.5) < 1


@pytest.mark.parametrize("radius", [0.01, 0.8])
def test_nothing_on_one_side(radius):
    with pytest.raises(
        ValueError, match=f"focus: radius {radius} leaves no pixel inside or none outside in 4x4 pixels"
    ):
        disc((4, 4), radius)


def test_psnr_by_hand_on_either_side():
    inside = disc((8, 8), 0.3)
    image = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    reconstruction = image.clone()
    reconstruction[0, :, inside] = 110  # error 10 on all channels
    reconstruction[1, 0, inside] = 97  # error 3 on one of three channels: mean square 3
    reconstruction[:, :, ~inside] = 90
    columns = region_psnr(reconstruction, image, inside)
    # 10 log10(255^2 / 100) and 10 log10(255^2 / 3)
    assert columns["psnr_inside"].tolist() == pytest.approx([28.1308, 43.3596], abs=1e-4)
    assert columns["psnr_outside"].tolist() == pytest.approx([28.1308, 28.1308], abs=1e-4)


def test_exact_is_infinite():
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    assert all(value.isinf().all() for value in region_psnr(image, image, disc((8, 8), 0.3)).values())
