import numpy as np
import pytest

from gpstoken.metrics.codebook import codebook_usage


def test_codes_of_two_images_counted_by_hand():
    # 7 six times, 0 and 1023 once each: entropy 3/4 log 4/3 + 1/4 log 8
    codes = np.array([[[7, 7], [0, 7]], [[7, 1023], [7, 7]]])
    assert codebook_usage(codes) == {"codes_used": 3, "perplexity": pytest.approx((4 / 3) ** 0.75 * 8**0.25)}


def test_perplexity_of_codes_used_equally_often_is_their_number():
    assert codebook_usage(np.array([[4, 2], [9, 4], [2, 9]])) == {"codes_used": 3, "perplexity": pytest.approx(3)}
    assert codebook_usage(np.array([[5, 5, 5]])) == {"codes_used": 1, "perplexity": 1}
