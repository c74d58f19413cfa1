"""Training steps of a generator and of a tokenizer, and the best place to partition the tokenizer's images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.networks import released_form, unfused
from benchmarks.partition import photographs
from benchmarks.timing import compare
from gpstoken import GPSToken, partition
from gpstoken.flow import flow_loss
from gpstoken.sit import PRESETS, SiT

LAPTOP = Path(__file__).parent.parent / "experiments" / "laptop" / "gpstoken.yaml"
STEPS = 8  # training steps of the tokenizer per timed call


def run(device: str = "cpu") -> list[dict]:
    """Times whole steps: forward, backward and Adam, without losses that have networks of their own.

    On a GPU these are steps of the paper's SiT-XL/2 on 128 tokens and of GPSToken-M128 on 256 pixels; on a CPU, where
    torch chooses the number of threads, of the paper's layout generator (33 M parameters) and of the laptop scale's
    tokenizer. bfloat16 is timed only on a GPU: a CPU without such instructions takes minutes.

    Returns:
        Rows as `benchmarks.timing.compare` makes them, in milliseconds per image.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _generator(device) + _tokenizer(device) + (_where_to_partition() if device == "cpu" else [])


def _generator(device: str) -> list[dict]:
    name, batch = ("gpstoken_layout", 4) if device == "cpu" else ("gpstoken_texture", 64)
    networks = {"as it is": SiT(**PRESETS[name]).to(device).train()}
    networks["compiled"] = torch.compile(SiT(**PRESETS[name]).to(device).train())
    if device == "cuda":
        networks["compiled, bfloat16"] = torch.compile(SiT(**PRESETS[name]).to(device).train())
    channels, layout_channels = PRESETS[name]["channels"], PRESETS[name].get("layout_channels", 0)
    data, noise = torch.randn(2, batch, 128, channels, device=device)
    t, label = torch.rand(batch, device=device), torch.arange(batch, device=device)
    layout = (torch.rand(batch, 128, layout_channels, device=device),) if layout_channels else ()

    def loss(network: nn.Module) -> Tensor:
        return flow_loss(lambda x, t: network(x, t, label, *layout).float(), data, noise, t).mean()

    variants = {
        variant: _step(network, partial(loss, network), torch.optim.AdamW, device, variant)
        for variant, network in networks.items()
    }
    parameters = sum(parameter.numel() for parameter in networks["as it is"].parameters())
    case = f"SiT, training, {parameters / 1e6:.0f} M parameters, 128 tokens, batch {batch}"
    return compare(case, variants, "cuda" if device == "cuda" else "wall", 7, batch)


def _tokenizer(device: str) -> list[dict]:
    batch, side = (16, 64) if device == "cpu" else (8, 256)
    ours = _tokenizer_of(device)
    networks = {"released form": released_form(ours), "as it is": ours}
    networks["recomputed"] = GPSToken(**ours.config | {"recompute": True}).to(device)
    networks["compiled"] = GPSToken(**ours.config).to(device)
    if device == "cuda":
        networks["compiled, bfloat16"] = GPSToken(**ours.config).to(device)
    for variant, network in networks.items():
        if variant.startswith("compiled"):
            for part in network.networks():
                part.compile()
    (images,) = next(iter(DataLoader(_Crops(side, batch), batch)))
    images = images.to(device)
    losses = {variant: partial(_l2, network.train(), images) for variant, network in networks.items()}
    losses["released form"] = unfused(losses["released form"])
    variants = {
        variant: _step(network, losses[variant], torch.optim.Adam, device, variant)
        for variant, network in networks.items()
    }
    case = f"GPSToken, training without losses, {side} px, batch {batch}"
    return compare(case, variants, "cuda" if device == "cuda" else "wall", 7, batch)


def _tokenizer_of(device: str) -> GPSToken:
    if device == "cuda":
        return GPSToken.from_preset("gpstoken_m128").to(device)
    small = yaml.safe_load(LAPTOP.read_text())["model"]["init_args"]["tokenizer"]["init_args"]
    return GPSToken(**small)


def _l2(tokenizer: GPSToken, images: Tensor, regions: Tensor | None = None) -> Tensor:
    return F.mse_loss(tokenizer.decode(tokenizer.encode(images, regions=regions)).float(), images)


def _step(
    network: nn.Module, loss: Callable[..., Tensor], optimizer: type[torch.optim.Optimizer], device: str, variant: str
) -> Callable[..., None]:
    update = optimizer((p for p in network.parameters() if p.requires_grad), lr=1e-4)

    def step(*given: Tensor) -> None:
        with torch.autocast(device, torch.bfloat16, enabled="bfloat16" in variant):
            value = loss(*given)
        value.backward()
        update.step()
        update.zero_grad()

    return step


def _where_to_partition() -> list[dict]:
    """Times some steps with a new loader, whose one worker cuts the images and, in one variant, partitions them too."""
    tokenizer, batch = _tokenizer_of("cpu").train(), 16
    step = _step(tokenizer, partial(_l2, tokenizer), torch.optim.Adam, "cpu", "")

    def steps(in_worker: bool) -> None:
        crops = _Crops(64, STEPS * batch, tokenizer.config if in_worker else None)
        for given in DataLoader(crops, batch, num_workers=1):
            step(*given)

    variants = {"in the step": partial(steps, False), "in a worker of the loader": partial(steps, True)}
    return compare(f"partition of 64 px, training, batch {batch}", variants, "wall", 7, STEPS * batch)


class _Crops(Dataset):
    """Random squares of photographs, (float[3, side, side] in [-1, 1],); with a tokenizer's config, regions too."""

    def __init__(self, side: int, count: int, config: dict | None = None) -> None:
        self.photographs, self.side, self.count, self.config = photographs(), side, count, config

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(index)
        room = self.photographs.shape[-1] - self.side + 1
        y, x = torch.randint(room, (2,), generator=generator).tolist()
        crop = self.photographs[index % len(self.photographs), :, y : y + self.side, x : x + self.side]
        if self.config is None:
            return (crop,)
        count, smallest = self.config["num_tokens"], self.config["min_region_size"]
        return crop, partition(crop[None], count, self.config["lambda_"], smallest)[0]
