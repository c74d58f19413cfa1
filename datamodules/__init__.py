"""Where images come from. A config names a data set by its class: `class_path: datamodules.Embedded`."""

from datamodules.base import ImageDataModule
from datamodules.embedded import Embedded
from datamodules.folder import Folder

__all__ = ["Embedded", "Folder", "ImageDataModule"]
