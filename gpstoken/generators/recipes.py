"""How flows are sampled: the options of their sampler, and the published settings of each system by name."""

from dataclasses import dataclass

from gpstoken.flow import Sampling


@dataclass(frozen=True)
class FlowSampling(Sampling):
    """The options of the sampler (see `Sampling`) and of classifier-free guidance.

    Attributes:
        guidance: scale of the guidance (release 1.5); 1 is no guidance.
        guidance_interval: times with guidance (release 0.2 to 1; 0 is noise, 1 data).
    """

    guidance: float = 1.5
    guidance_interval: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ValueError: naming the first invalid value.
        """
        super().__post_init__()
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"sampling: guidance_interval must be 0 <= LOW <= HIGH <= 1, got {low:g} {high:g}")


@dataclass(frozen=True)
class SiTSampling(FlowSampling):
    """SiT-XL/2 (Ma et al. 2024, arXiv 2401.08740, section 3.4): the SDE with D(t) = sigma, guided at all times."""

    diffusion: str = "sigma"
    diffusion_limit: float | None = None  # D dt is at most 1 / 250
    guidance_interval: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class REPASampling(SiTSampling):
    """REPA (Yu et al. 2025, arXiv 2410.06940): guidance where its own time, which is 0 for data, is at most 0.7."""

    guidance: float = 1.8
    guidance_interval: tuple[float, float] = (0.3, 1.0)


@dataclass(frozen=True)
class MAETokSampling(SiTSampling):
    """MAETok (Chen et al. 2025): guidance where its own time, which is 0 for data, is at most 0.7.

    SoftVQ-VAE, of the same authors, has guidance within an interval too; its numbers were not seen, these stand for
    them.
    """

    guidance: float = 1.75
    guidance_interval: tuple[float, float] = (0.3, 1.0)


RECIPES: dict[str, type[FlowSampling]] = {
    "gpstoken": FlowSampling,
    "sit": SiTSampling,
    "repa": REPASampling,
    "softvq": MAETokSampling,
    "maetok": MAETokSampling,
}
