"""What every data set shares: splits, crops, the batch contract and loaders that resume bit for bit.

The contract with `gpstoken` is one batch dict:
`{"image": float[B, 3, H, W] in [-1, 1], "label": long[B], "index": long[B]}`, index = stable position in the split.
"""

import functools
import hashlib
from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Literal

from torch.utils.data import DataLoader

from datamodules.crops import CROPS, mirrored_centre
from datamodules.loaders import SampleLoaders
from datamodules.prepared import EvaluationSamples, Prepared, prepare
from datamodules.recognition import Recognition
from datamodules.samples import Photos, TrainingSamples, View
from datamodules.sampling import GroupSampler
from gpstoken.limits import at_least, limits, one_of, optional, text

STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


class ImageDataModule(SampleLoaders):
    """A data set. A subclass says which pictures a split has; everything else is done here.

    Args:
        image_size: side of the images in pixels.
        batch_size: images in a batch (per device). Training drops the last, incomplete batch of an epoch.
        num_workers: processes that prepare samples; their number never changes the samples.
        seed: determines the order and the views of the training samples, >= 0.
        epoch_length: training samples per epoch; None: `views_per_photo` for each photo. Training views are random, so
            the length of an epoch is a convention; a sample's index is its number within the epoch.
        crop: how the centre square is cut: "adm" is the pinned protocol, "release" that of the paper's released code.
        on_error: an unreadable picture is an error that names it ("stop"), or is reported once and left out ("skip");
            in training the next readable one takes its place.
        prepared: folder in which prepared evaluation sets are kept.

    Attributes:
        name: what results call the data set.
        licence: terms of the pictures.
        citation: whom to cite.
        evaluation_group: images that a tokenizer is evaluated on together, whatever `batch_size` is.
        obtain: a sentence that says how to get the data; {root} stands for the requested folder.

    Raises:
        ValueError: for a size below 1, a negative number, or a word that is not among the choices.
    """

    licence: ClassVar[str]
    citation: ClassVar[str]
    obtain: ClassVar[str]
    views_per_photo: ClassVar[int] = 1
    training_view: ClassVar[View] = staticmethod(mirrored_centre)
    evaluation_group: ClassVar[int] = 16

    @limits(
        image_size=at_least(1, 65536),
        batch_size=at_least(1),
        num_workers=at_least(0),
        seed=at_least(0),
        epoch_length=optional(at_least(1)),
        crop=one_of(*CROPS),
        on_error=one_of("stop", "skip"),
        prepared=text(),
    )
    def __init__(
        self,
        image_size: int = 64,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        epoch_length: int | None = None,
        crop: Literal["adm", "release"] = "adm",
        on_error: Literal["stop", "skip"] = "stop",
        prepared: str = "data/prepared",
    ) -> None:
        """See the class."""
        super().__init__()
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.epoch_length = epoch_length
        self.crop = crop
        self.on_error = on_error
        self.prepared = Path(prepared)
        self.name = type(self).__name__
        self._datasets: dict[str, TrainingSamples | EvaluationSamples] = {}

    @abstractmethod
    def photos(self, split: str) -> Photos:
        """The pictures of a split, possibly none.

        Args:
            split: "train", "val" or "test".

        Raises:
            ValueError: if the data is missing; the message says how to get it (`missing`).
        """

    def missing(self, found: str) -> ValueError:
        """The error that `photos` raises where the data is not at `self.root`.

        Args:
            found: what is there instead, such as "nothing" or "a folder without val/".
        """
        root = self.root
        return ValueError(f"{type(self).__name__}: found {found} at {root}; {self.obtain.replace('{root}', str(root))}")

    def prepare_data(self) -> None:
        """Prepares the evaluation split of the trainer's stage; Lightning calls it on one process of each machine."""
        stage = self.trainer.state.fn if self.trainer else None
        for split in STAGES.get(stage, ()):
            if split != "train":
                self.dataset(split)

    def setup(self, stage: str) -> None:
        """Loads the splits of a stage (fit, validate, test, predict), so that missing data is an error at the start."""
        for split in STAGES[stage]:
            self.dataset(split)

    def dataset(self, split: str) -> TrainingSamples | EvaluationSamples:
        """The samples of a split, loaded once; "val" and "test" are prepared first if they have not been.

        Args:
            split: "train", "val" or "test".

        Raises:
            ValueError: if "train" or "test" is empty, no picture of "val" or "test" can be read, or an epoch is shorter
                than a batch. An empty "val" only means that nothing is validated.
        """
        if split not in self._datasets:
            photos = self.photos(split)
            if not photos and split != "val":
                raise ValueError(f"{type(self).__name__}: the split {split!r} has no picture")
            self._datasets[split] = self._training(photos) if split == "train" else self._evaluation(split, photos)
        return self._datasets[split]

    def sources(self, split: str) -> list[str]:
        """Name of the photograph behind each index of a split: samples of one photo are not independent."""
        if split != "train":
            return self._prepared(split).sources
        dataset = self.dataset(split)
        return [dataset.photos.sources[i % len(dataset.photos)] for i in range(len(dataset))]

    def fingerprint(self, split: str) -> str:
        """Hexadecimal sha256 over the prepared pixels of "val" or "test".

        Raises:
            ValueError: for "train", whose views are random.
        """
        return self._prepared(split).fingerprint

    def skipped(self, split: str) -> list[str]:
        """Sources of the pictures of "val" or "test" that could not be read and were left out (`on_error="skip"`).

        Raises:
            ValueError: for "train", whose pictures are read only while training runs.
        """
        return self._prepared(split).skipped

    def recognition(self, split: str) -> Recognition | None:
        """What there is to recognise in the pictures of a split, for `gpstoken evaluate`; None: nothing.

        Args:
            split: "train", "val" or "test".
        """
        return None

    def evaluation_groups(self, split: str, done: Collection[int] = ()) -> list[int]:
        """Numbers of the groups of `evaluation_group` images that still hold an image to evaluate.

        Args:
            split: "val" or "test".
            done: indices of the images that an interrupted evaluation has finished.

        Raises:
            ValueError: if `done` belongs to another set.
        """
        total = len(self._prepared(split))
        left = set(range(total)) - set(done)
        if len(left) != total - len(set(done)):
            raise ValueError(f"{type(self).__name__}: {split} has {total} images, but {max(done)} is marked as done")
        return sorted({index // self.evaluation_group for index in left})

    def evaluation_loader(self, split: str, done: Collection[int] = ()) -> DataLoader:
        """The views of a split in groups that never change (`GroupSampler`), each on one of the trainer's devices.

        A device for which no group is left gets a group of another device, because Lightning makes all devices wait
        for each other and a device without a batch would not. Such a group must not be recorded; see `is_company`.

        Args:
            split: "val" or "test".
            done: see `evaluation_groups`; a group is left out when all its images are done.

        Raises:
            ValueError: if `done` belongs to another set.
        """
        samples, groups = self.dataset(split), self.evaluation_groups(split, done)
        rank, devices = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        share = groups[rank::devices] or groups[rank % max(1, len(groups)) :][:1]
        sampler = GroupSampler(len(samples), self.evaluation_group, share)
        return DataLoader(samples, batch_sampler=sampler, **self._loading() | {"batch_size": 1})

    def is_company(self, split: str, done: Collection[int] = ()) -> bool:
        """Whether `evaluation_loader` gives this device a group that belongs to another device."""
        return self.trainer is not None and self.trainer.global_rank >= len(self.evaluation_groups(split, done))

    def val_dataloader(self) -> DataLoader | list:
        """The views of "val" in order; where there are none, an empty list, and Lightning skips validation."""
        samples = self.dataset("val")
        return self.in_order(samples, "images of val") if len(samples) else []

    def test_dataloader(self) -> DataLoader:
        """The views of "test" in order."""
        return self.in_order(self.dataset("test"), "images of test")

    def predict_dataloader(self) -> DataLoader:
        """The same as `test_dataloader`."""
        return self.test_dataloader()

    def _training(self, photos: Photos) -> TrainingSamples:
        length = self.epoch_length or self.views_per_photo * len(photos)
        if length < self.batch_size:
            raise ValueError(
                f"{type(self).__name__}: an epoch of {length} images is below batch_size {self.batch_size}; lower "
                "it, or raise --data.init_args.epoch_length (training views of a photograph are random)"
            )
        view = type(self).training_view
        if view is mirrored_centre:
            view = functools.partial(mirrored_centre, crop=CROPS[self.crop])
        return TrainingSamples(photos, self.image_size, self.seed, length, view, self.on_error == "skip")

    def _evaluation(self, split: str, photos: Photos) -> EvaluationSamples:
        if not photos:
            return EvaluationSamples(Prepared(self.prepared, [], [], hashlib.sha256().hexdigest(), []))
        name = f"{type(self).__name__}-{split}"
        skip = self.on_error == "skip"
        return EvaluationSamples(prepare(photos, self.prepared, name, self.crop, self.image_size, skip))

    def _prepared(self, split: str) -> Prepared:
        if split not in ("val", "test"):
            raise ValueError(f"{type(self).__name__}: only the splits val and test are prepared, not {split!r}")
        return self.dataset(split).prepared
