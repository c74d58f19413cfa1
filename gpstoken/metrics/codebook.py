"""How much of its codebook a tokenizer uses."""

import numpy as np
from scipy.stats import entropy


def codebook_usage(codes: np.ndarray) -> dict[str, float]:
    """How many entries of a codebook the tokens of all images are, and how evenly.

    Args:
        codes: int[...], the entry that each token is.

    Returns:
        {"codes_used": distinct entries; "perplexity": so many entries, used equally often, have the same entropy}.
    """
    _, counts = np.unique(codes, return_counts=True)
    return {"codes_used": len(counts), "perplexity": float(np.exp(entropy(counts)))}
