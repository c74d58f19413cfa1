"""The paper's released partition, ported from its description: the reference of the partition benchmark.

It follows the release where the release is slow: every region is rescaled, resized and filtered by OpenCV on its own,
the histogram is NumPy's, and the whole list is sorted before every split. Only the silent duplicates, which the
release returns when it runs out of regions to split, are left out.
"""

import cv2
import numpy as np


def complexity(grey: np.ndarray, lambda_: float) -> float:
    """Complexity of one region as the release computes it.

    Args:
        grey: float32[h, w], the region of the grey image in [-1, 1].
        lambda_: exponent of the entropy.

    Returns:
        entropy ** lambda_ * h * w, the entropy in bits.
    """
    height, width = grey.shape
    resized = cv2.resize((grey + 1) / 2, (64, 64), interpolation=cv2.INTER_LINEAR)
    gradient_x = cv2.Sobel(resized, cv2.CV_64F, 1, 0, ksize=3, borderType=cv2.BORDER_REPLICATE)
    gradient_y = cv2.Sobel(resized, cv2.CV_64F, 0, 1, ksize=3, borderType=cv2.BORDER_REPLICATE)
    magnitude = np.sqrt(gradient_x**2 + gradient_y**2)
    counts, _ = np.histogram(magnitude, bins=512, range=(-5.5, 5.5))
    share = counts / (counts.sum() + 1e-5)
    entropy = -np.sum(share * np.log2(share + 1e-10))
    return float(entropy**lambda_ * height * width)


def partition(
    image: np.ndarray,
    num_tokens: int,
    lambda_: float = 2.5,
    min_region_size: int = 8,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    """Splits one image into regions.

    Args:
        image: float32[3, H, W] in [-1, 1].
        num_tokens: number of regions.
        lambda_: exponent of the entropy.
        min_region_size: a region whose sides are both at most this plus one stays whole.
        bias: float[H, W], added as its sum over a region to the region's complexity.

    Returns:
        int64[N, 4], half-open boxes (x0, y0, x1, y1); all but the last two in descending order of complexity.

    Raises:
        ValueError: if the image has fewer splittable regions than asked for.
    """
    grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]

    def measured(x0: int, y0: int, x1: int, y1: int) -> tuple[float, tuple[int, int, int, int]]:
        value = complexity(grey[y0:y1, x0:x1], lambda_)
        if bias is not None:
            value += float(bias[y0:y1, x0:x1].sum())
        return value, (x0, y0, x1, y1)

    regions = [measured(0, 0, grey.shape[1], grey.shape[0])]
    while len(regions) < num_tokens:
        regions.sort(key=lambda region: -region[0])
        for region in regions:
            x0, y0, x1, y1 = region[1]
            if x1 - x0 - 1 > min_region_size or y1 - y0 - 1 > min_region_size:
                break
        else:
            raise ValueError(f"num_tokens: asked for {num_tokens}, the image only splits into {len(regions)}")
        width, height = x1 - x0, y1 - y0
        middle_x, middle_y = x0 + width // 2, y0 + height // 2
        cuts = []
        if width >= height:
            cuts.append([measured(x0, y0, middle_x, y1), measured(middle_x, y0, x1, y1)])
        if height >= width:
            cuts.append([measured(x0, y0, x1, middle_y), measured(x0, middle_y, x1, y1)])
        # On a square, left/right must hold the strictly simplest of the four children to win.
        if len(cuts) == 2 and min(cuts[0])[0] < min(cuts[1])[0]:
            cuts.pop()
        regions.remove(region)
        regions.extend(cuts[-1])
    return np.array([box for _, box in regions], dtype=np.int64)
