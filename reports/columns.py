"""The columns of numbers: how each is headed, rounded and read."""

from typing import NamedTuple


class Column(NamedTuple):
    """One column of numbers.

    Attributes:
        heading: as printed, without its arrow.
        digits: printed after the point.
        more_is_better: direction of the arrow.
        factor: the printed number is the measured one times this; the heading says so where it is not 1.
    """

    heading: str
    digits: int
    more_is_better: bool = False
    factor: float = 1.0


# Of each image. The paper does not say which network its LPIPS is of.
IMAGE_COLUMNS = {
    "psnr": Column("PSNR", 2, True),
    "psnr_inside": Column("PSNR inside", 2, True),
    "psnr_outside": Column("PSNR outside", 2, True),
    "ssim": Column("SSIM", 3, True),
    "lpips_alexnet": Column("LPIPS (AlexNet)", 3),
    "lpips_vgg16": Column("LPIPS (VGG)", 3),
    "lpips": Column("LPIPS (network not stated)", 3),
}
# Of Inception's features, and so by these names alone.
INCEPTION_COLUMNS = {
    "rec_fid": Column("rec. FID", 2),
    "rec_sfid": Column("rec. sFID", 2),
    "fid": Column("FID", 2),
    "sfid": Column("sFID", 2),
    "rec_kid": Column("KID-Inception x1000", 2, factor=1000),
}
# Of other networks, which the names say; `r`: against the same images, as in "rec. FID".
OTHER_COLUMNS = {
    f"{kind}_{network}": column
    for network, label in {"efficientnet_lite0": "EffLite0", "vgg16": "VGG16", "dinov2": "DINOv2"}.items()
    for kind, column in {
        "rfd": Column(f"rFD-{label}", 2),
        "fd": Column(f"FD-{label}", 2),
        "kid": Column(f"KID-{label} x1000", 2, factor=1000),
    }.items()
}
COLUMNS = IMAGE_COLUMNS | INCEPTION_COLUMNS | OTHER_COLUMNS
# What a claim is tested in unless it says otherwise: the metrics of whole images.
CLAIM_METRICS = ("psnr", "ssim", "lpips_alexnet", "lpips_vgg16")


def heading(name: str) -> str:
    """The heading of a column with its arrow: up where more is better."""
    return f"{COLUMNS[name].heading} {'↑' if COLUMNS[name].more_is_better else '↓'}"


def number(name: str, value: float, error: float | None = None, count: int | None = None) -> str:
    """A cell: the value, its standard error if there is one, and the number of images where it matters."""
    column = COLUMNS[name]
    text = f"{value * column.factor:.{column.digits}f}"
    if error is not None:
        text += f" ± {error * column.factor:.{column.digits}f}"
    return text if count is None else f"{text} (N = {count})"
