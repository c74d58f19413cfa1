"""The columns of numbers: how each is headed, rounded and read."""

from typing import NamedTuple


class Column(NamedTuple):
    """One column of numbers.

    Attributes:
        heading: as printed, without its arrow.
        digits: printed after the point.
        more_is_better: direction of the arrow.
        factor: the printed number is the measured one times this; the heading or the unit says so where it is not 1.
        unit: printed in brackets after the heading.
    """

    heading: str
    digits: int
    more_is_better: bool = False
    factor: float = 1.0
    unit: str = ""


# Of each image. The paper does not say which network its LPIPS is of.
IMAGE_COLUMNS = {
    "psnr": Column("PSNR", 2, True, unit="dB"),
    "psnr_inside": Column("PSNR inside", 2, True, unit="dB"),
    "psnr_outside": Column("PSNR outside", 2, True, unit="dB"),
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
LABELS = {"efficientnet_lite0": "EffLite0", "vgg16": "VGG16", "dinov2": "DINOv2"}
OTHER_COLUMNS = {
    f"{kind}_{network}": column
    for network, label in LABELS.items()
    for kind, column in {
        "rfd": Column(f"rFD-{label}", 2),
        "fd": Column(f"FD-{label}", 2),
        "kid": Column(f"KID-{label} x1000", 2, factor=1000),
    }.items()
}
COLUMNS = IMAGE_COLUMNS | INCEPTION_COLUMNS | OTHER_COLUMNS
# Scores of generated samples; the first three are of Inception's logits and features, and so by these names alone.
INCEPTION_SCORES = {"fid": COLUMNS["fid"], "sfid": COLUMNS["sfid"], "is": Column("IS", 1, True)}
ACCURACY = "class_accuracy"
SCORES = {
    **INCEPTION_SCORES,
    **{name: column for name, column in OTHER_COLUMNS.items() if not name.startswith("rfd_")},
    "kid_inception": Column("KID-Inception x1000", 2, factor=1000),
    **{
        f"{kind}_{network}": Column(f"{kind}-{label}", 3, True)
        for kind in ("precision", "recall")
        for network, label in {"inception": "Inception", **LABELS}.items()
    },
    ACCURACY: Column("class accuracy", 1, True, 100, "%"),
}
# What a claim is tested in unless it says otherwise: the metrics of whole images.
CLAIM_METRICS = ("psnr", "ssim", "lpips_alexnet", "lpips_vgg16")
DASH = "-"


def column_of(name: str) -> Column:
    """The column of a metric of images or of a score of samples."""
    return COLUMNS[name] if name in COLUMNS else SCORES[name]


def heading(name: str) -> str:
    """The heading of a column with its unit and its arrow: up where more is better."""
    column = column_of(name)
    return f"{column.heading}{f' ({column.unit})' * bool(column.unit)} {'↑' if column.more_is_better else '↓'}"


def rounded(name: str, value: float, sign: str = "", more_digits: int = 0) -> str:
    """A number as its column prints it; `sign` "+" for differences."""
    column = column_of(name)
    return f"{value * column.factor:{sign}.{column.digits + more_digits}f}"


def number(name: str, value: float, error: float | None = None, count: int | None = None) -> str:
    """A cell: the value, its standard error if there is one, and the number of images where it matters."""
    text = rounded(name, value) if error is None else f"{rounded(name, value)} ± {rounded(name, error)}"
    return text if count is None else f"{text} (N = {count})"
