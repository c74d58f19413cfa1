"""Usage of a tokenizer's codebook."""

import numpy as np
from scipy.stats import entropy


def codebook_usage(codes: np.ndarray) -> dict[str, float]:
    """How many entries of a codebook the tokens of all images use, and how evenly.

    Args:
        codes: int[...], the entry of each token.

    Returns:
        {"codes_used": distinct entries; "perplexity": the number of equally frequent entries with the same entropy}.
    """
    _, counts = np.unique(codes, return_counts=True)
    return {"codes_used": len(counts), "perplexity": float(np.exp(entropy(counts)))}
