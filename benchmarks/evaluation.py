"""Evaluation without the networks: photographs to prepared squares, squares to batches, batches to PSNR and SSIM.

The photographs are embedded ones at ImageNet's usual size (500 pixels wide, JPEG), read from files; a slightly changed
copy of each square stands for its reconstruction. Two processes of one thread share the images, as with
`gpstoken evaluate --devices 2`.
"""

import csv
import multiprocessing
import tempfile
from pathlib import Path
from time import perf_counter

import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmarks.timing import compare
from datamodules import Folder
from gpstoken.metrics import reconstruction_metrics
from gpstoken.metrics.reconstruction import ssim

EMBEDDED = Path("data/embedded")
SIZE, IMAGES, BATCH = 256, 480, 16


def photographs(folder: Path) -> None:
    """Writes IMAGES JPEG files of about 500 x 375 pixels; too few photographs are repeated under other names."""
    with (EMBEDDED / "index.csv").open(newline="", encoding="utf-8") as file:
        paths = [EMBEDDED / row["path"] for row in csv.DictReader(file) if row["domain"] == "natural"]
    folder.mkdir()
    for number in range(IMAGES):
        target = folder / f"{number:04d}.jpg"
        if number < len(paths):
            with Image.open(paths[number]) as image:
                image.convert("RGB").resize((500, round(500 * image.height / image.width))).save(target, quality=92)
        else:
            target.write_bytes((folder / f"{number % len(paths):04d}.jpg").read_bytes())


def data(root: Path, prepared: Path) -> Folder:
    """The photographs, all of them test images."""
    return Folder(str(root), image_size=SIZE, batch_size=BATCH, prepared=str(prepared))


def pass_over(images: Folder, rank: int, metrics: bool) -> None:
    """Loads every second batch and, with `metrics`, compares it with its changed copy."""
    indices = [index for index in range(len(images.dataset("test"))) if index // BATCH % 2 == rank]
    for batch in DataLoader(Subset(images.dataset("test"), indices), batch_size=BATCH):
        if metrics:
            reconstruction_metrics(batch["image"] * 0.98, batch["image"])


def on_two_cores(root: Path, prepared: Path, metrics: bool) -> None:
    """Runs `pass_over` in two processes, after preparing the images where they are not prepared yet."""
    images = data(root, prepared)
    images.dataset("test")
    fork = multiprocessing.get_context("fork")  # a fresh interpreter would take longer than what is measured
    processes = [fork.Process(target=pass_over, args=(images, rank, metrics)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process ended with exit code {process.exitcode}")


def run() -> list[dict]:
    """Images per second of each stage and of all together, and our SSIM beside that of torchmetrics."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        root.mkdir()
        photographs(root / "test")
        place = Path(folder)
        stages = {
            "prepare: decode, crop, write": lambda turn: data(root, place / f"prepared{turn}").sources("test"),
            "read prepared": lambda _: on_two_cores(root, place / "prepared0", metrics=False),
            "read prepared, PSNR and SSIM": lambda _: on_two_cores(root, place / "prepared0", metrics=True),
            "prepare, read, PSNR and SSIM": lambda turn: on_two_cores(root, place / f"whole{turn}", metrics=True),
        }
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        times: dict[str, list[float]] = {name: [] for name in stages}
        for turn in range(5):
            for name, stage in stages.items():
                start = perf_counter()
                stage(turn)
                times[name].append((perf_counter() - start) * 1e3 / IMAGES)
        for name, numbers in times.items():
            numbers.sort()
            row = {
                "case": f"{IMAGES} photographs at {SIZE} px, 2 cores",
                "variant": name,
                "reference": "",
                "clock": "wall",
            }
            row |= {
                "ms": numbers[2],
                "ms_min": numbers[0],
                "ms_max": numbers[-1],
                "images_per_second": 1e3 / numbers[2],
            }
            rows.append(row)
        batch = next(iter(data(root, place / "prepared0").test_dataloader()))["image"] / 2 + 0.5
        variants = {
            "torchmetrics": lambda: structural_similarity_index_measure(
                batch * 0.98, batch, data_range=1.0, reduction="none"
            ),
            "ours": lambda: ssim(batch * 0.98, batch),
        }
        rows += compare(f"SSIM, {SIZE} px, 1 thread", variants, images=BATCH)
        torch.set_num_threads(before)
    return rows
