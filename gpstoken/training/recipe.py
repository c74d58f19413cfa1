"""What a recipe may add to the released training: a learning rate over time, and drawn numbers of tokens."""

import math

import torch


def rate_share(schedule: str, warmup_steps: int, step: int, steps: float) -> float:
    """Share of the highest learning rate at a step.

    Args:
        schedule: "constant", or "cosine", which falls from 1 at step 0 to 0 at step `steps`.
        warmup_steps: steps over which the rate rises linearly; step 0 already has 1 / `warmup_steps` of it.
        step: number of the step, from 0.
        steps: number of steps of the run.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: for a cosine over a run without a last step.
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "constant":
        return warmup
    if not math.isfinite(steps):
        raise ValueError("schedule: cosine needs a number of steps; set --trainer.max_steps")
    return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def drawn_count(token_range: tuple[int, int], step: int, area: float = 1.0) -> int:
    """A number of tokens, uniform in log scale; a function of the step alone, so that a resumed run draws the same.

    Args:
        token_range: fewest and most tokens of an image of the tokenizer's size.
        step: number of the step, from 0.
        area: area of the image over that of an image of the tokenizer's size; the tokens are in proportion.

    Raises:
        ValueError: for a range whose first number exceeds the second.
    """
    fewest, most = token_range
    if fewest > most:
        raise ValueError(f"token_range: expected the fewest tokens, then the most, got {fewest} and {most}")
    chance = torch.rand((), generator=torch.Generator().manual_seed(step)).item()
    return max(1, round(fewest * (most / fewest) ** chance * area))
