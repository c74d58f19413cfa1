"""Draws of codes by the probabilities that a network gives them."""

from torch import Tensor


def draw_codes(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Draws one code for each of some logits.

    Args:
        logits: float[..., codes].
        uniform: float[...] in [0, 1]; one number decides a draw. Adding Gumbel noise to every logit has the same
            distribution, with a number for each code.
        temperature: divides the logits; 0: the likeliest code.

    Returns:
        long[...].
    """
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = (logits / temperature).softmax(-1).cumsum(-1)
    return (cumulative < uniform[..., None] * cumulative[..., -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)
