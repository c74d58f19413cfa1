"""Where images come from. A config names a data set by its class: `class_path: datamodules.Embedded`."""

from datamodules.base import ImageDataModule
from datamodules.coco import COCO
from datamodules.embedded import Embedded
from datamodules.embedded_classes import EmbeddedClasses
from datamodules.embedded_people import EmbeddedPeople
from datamodules.ffhq import FFHQ
from datamodules.folder import Folder
from datamodules.imagenet import ImageNet
from datamodules.med_mnist import MedMNIST
from datamodules.rendered_text import RenderedText
from datamodules.stare import STARE
from datamodules.token_cache import TokenCache
from datamodules.whu_rs19 import WHURS19

__all__ = [
    "COCO",
    "FFHQ",
    "STARE",
    "WHURS19",
    "Embedded",
    "EmbeddedClasses",
    "EmbeddedPeople",
    "Folder",
    "ImageDataModule",
    "ImageNet",
    "MedMNIST",
    "RenderedText",
    "TokenCache",
]
