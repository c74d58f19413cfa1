"""The sampler of all masked generators: it fills in masked codes in a few steps, the surest first."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from gpstoken.flow import SampleNoise
from gpstoken.generators.code_draws import draw_codes
from gpstoken.limits import Limit, at_least, limits, number, one_of

# The share of codes that are masked, by the progress from 0 to 1; in training, by a uniform random number.
MASK_SCHEDULES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "cosine": lambda progress: math.cos(math.pi / 2 * progress),
        "arccos": lambda progress: math.acos(progress) / (math.pi / 2),
    }
)
# The weight of the guidance, by its highest value and the progress.
GUIDANCE_SCHEDULES: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {
        "constant": lambda highest, progress: highest,
        "linear": lambda highest, progress: highest * progress,
        "cosine": lambda highest, progress: highest * _late(progress),
        "power-cosine": lambda highest, progress: 1 + (highest - 1) * _late(progress),
    }
)
POWER = 3  # of the progress, in both of the last schedules (`scale_pow` of MaskBit's configuration)


def _late(progress: float) -> float:
    return (1 - math.cos(math.pi * progress**POWER)) / 2


@limits(steps=at_least(1), temperature=number(0))
@dataclass(frozen=True)
class MaskedSampling:
    """The options of filling in codes; the defaults are MaskGIT's (Chang et al. 2022, section 3.2).

    Attributes:
        steps: evaluations of the network (published: 8 to 16).
        temperature: scale of the noise; it decreases to 0 at the last step.
        mask_schedule: the share of codes that stay masked after a step, a name of `MASK_SCHEDULES`.
        noise: what the noise is added to. "confidence": codes are drawn by their probability, and Gumbel noise is
            added to the logarithms of these probabilities when the surest are chosen. "codes": it is added to the
            logits, and the code with the largest sum is taken, that is, codes are drawn at this temperature; the
            surest are chosen by their logits.
    """

    steps: int = 12
    temperature: float = 4.5
    mask_schedule: ClassVar[str] = "cosine"
    noise: ClassVar[str] = "confidence"

    def guidance_at(self, progress: float) -> float:
        """The weight w of the guidance, (1 + w) conditional - w unconditional: none."""
        return 0.0


GUIDED: dict[str, Limit] = {
    "steps": at_least(1),
    "temperature": number(0),
    "guidance": number(0),
    "guidance_schedule": one_of(*GUIDANCE_SCHEDULES),
}


@limits(**GUIDED)
@dataclass(frozen=True)
class GuidedMaskedSampling(MaskedSampling):
    """The options of filling in codes with classifier-free guidance; the defaults are TiTok-B64's (Yu et al. 2024).

    Attributes:
        guidance: highest weight w of the guidance in (1 + w) conditional - w unconditional logits, as the authors of
            the masked generators count it; 0 is no guidance.
        guidance_schedule: how the weight grows with the share of the steps that are done: "constant", "linear" from 0,
            "cosine" from 0, late, or "power-cosine", the same from 1.
    """

    steps: int = 8
    temperature: float = 11.0
    guidance: float = 3.0
    guidance_schedule: str = "linear"
    mask_schedule: ClassVar[str] = "arccos"
    noise: ClassVar[str] = "codes"

    def guidance_at(self, progress: float) -> float:
        """The weight w of the guidance when a share `progress` of the steps is done."""
        return GUIDANCE_SCHEDULES[self.guidance_schedule](self.guidance, progress) if self.guidance else 0.0


def fill_in(
    predict: Callable[[Tensor, float], Tensor], words: Tensor, mask: int, noise: SampleNoise, options: Any
) -> Tensor:
    """Fills in masked codes.

    In each step every masked code is drawn from the network's prediction. Then the codes with the least confidence are
    masked again: as many as the schedule says, and at least one before the last step.

    Source: MaskGIT (Chang et al., arXiv 2202.04200), section 3.2.

    Args:
        predict: (words long[B, N], weight of the guidance) -> logits float[B, N, codes].
        words: long[B, N], the codes to begin with, `mask` for those to fill in.
        mask: the word that stands for a masked code.
        noise: standard normal numbers of each sample, of shape (2, N).
        options: a `MaskedSampling`.

    Returns:
        long[B, N], codes.
    """
    length = words.shape[1]
    for step in range(options.steps):
        progress = (step + 1) / options.steps
        temperature = options.temperature * (1 - progress)
        logits = predict(words, options.guidance_at(step / options.steps)).double()
        uniform = torch.special.ndtr(noise(step).double())
        drawn = draw_codes(logits, uniform[:, 0], temperature if options.noise == "codes" else 1.0)
        masked = words == mask
        words = torch.where(masked, drawn, words)
        if step + 1 == options.steps:
            break
        surety = logits if options.noise == "codes" else logits.log_softmax(-1)
        surety = surety.gather(-1, words[..., None])[..., 0]
        if options.noise == "confidence":
            surety -= temperature * (-uniform[:, 1].log()).log()  # Gumbel noise
        surety[~masked] = math.inf
        again = math.floor(length * MASK_SCHEDULES[options.mask_schedule](progress))
        count = torch.full((len(words), 1), again, device=words.device)
        count = count.minimum(masked.sum(1, keepdim=True) - 1).clamp(min=1)
        words = torch.where(surety.argsort(1).argsort(1) < count, mask, words)
    return words
