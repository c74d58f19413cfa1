"""The command line: `gpstoken COMMAND ...`; fit, validate, test and predict are LightningCLI (also `lightning`)."""

import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from gpstoken import early_signals
from gpstoken.limits import did_you_mean

LIGHTNING = "gpstoken.training.run"
# Group -> command -> (module whose `main` runs it, what it does). A module is imported when it is called: photo
# commands answer in a second or two and do not wait for Lightning, and only the generator's wait for timm.
GROUPS = {
    "your photographs": {
        "encode": ("gpstoken.photos", "photographs to files of tokens"),
        "decode": ("gpstoken.photos", "files of tokens to pictures"),
    },
    "tokenizers": {
        "fit": (LIGHTNING, "train one row of a table, or a generator's stage; goes on where it was if killed"),
        "evaluate": ("gpstoken.training.evaluate", "PSNR, SSIM, LPIPS, rec. FID of finished runs, one a seed"),
        "profile": ("gpstoken.profiling.command", "parameters, multiply-adds, memory and latency of a row"),
        "published": ("gpstoken.training.published", "published weights of another system as a run"),
        "seeds": ("gpstoken.seeds", "one command for several seeds, side by side"),
    },
    "generators": {
        "cache": ("gpstoken.training.cache", "the tokens of a data set, to train generators on"),
        "generate": ("gpstoken.generate", "new images"),
        "evaluate-generator": ("gpstoken.evaluate_generator", "FID and its relatives of the samples of a generator"),
        "generate-curve": ("gpstoken.generate_curve", "samples of every snapshot of a training"),
        "cost": ("gpstoken.training.cost", "what training and sampling of a generator take"),
    },
    "sets of images": {
        "score": ("gpstoken.score", "FID, sFID, IS, precision, recall, KID of a folder or an npz"),
        "images": ("gpstoken.training.real_images", "the images of a data set as an archive"),
        "features": ("gpstoken.features", "features of an archive, which scores are made of"),
    },
    "Lightning's own": {
        "validate": (LIGHTNING, "the validation metrics of a checkpoint"),
        "test": (LIGHTNING, "the test metrics of a checkpoint"),
        "predict": (LIGHTNING, "what the module predicts"),
    },
}
COMMANDS = {name: module for group in GROUPS.values() for name, (module, _) in group.items()}
OPTIONS_FIRST = ("-c", "--config", "--print_config")  # of LightningCLI


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0; 2 for bad input or a disk that does not take it, with one line that says what and where; 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("gpstoken: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        line = _line(error)
        if line is None or os.environ.get("GPSTOKEN_TRACEBACK"):
            raise
        print(f"gpstoken: {line}", file=sys.stderr)
        return 2


def help_text() -> str:
    """All commands, one a line, in groups."""
    lines = ["usage: gpstoken COMMAND [options]", "", "GPSToken: images as 2-D Gaussians."]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:<20}{words}" for name, (_, words) in commands.items())]
    return "\n".join([*lines, "", "gpstoken COMMAND --help shows its options, gpstoken --version the version."])


def _run(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("--help", "-h"):
        print(help_text())
        return 0
    if command == "--version":
        print(f"gpstoken {_version()}")
        return 0
    module = COMMANDS.get(command)
    if module is None and command.split("=")[0] not in OPTIONS_FIRST:
        raise ValueError(f"{command}: no such command{did_you_mean(command, COMMANDS)}; gpstoken --help lists them")
    if command == "fit":
        early_signals.note()
    if module in (None, LIGHTNING):
        from gpstoken.training.fit_help import show
        from gpstoken.training.run import RunCLI

        if module and {"--help", "-h"} & set(arguments):
            return show(arguments)
        RunCLI(args=arguments)
        return 0
    # encode and decode share a parser that reads which of them it is
    return importlib.import_module(module).main(arguments if module == "gpstoken.photos" else arguments[1:])


def _line(error: Exception) -> str | None:
    """What to print of an error that is bad input or the machine's; None for one that is ours."""
    if isinstance(error, OSError) and error.strerror:
        places = " -> ".join(str(place) for place in (error.filename, error.filename2) if place is not None)
        return f"{places}: {error.strerror}" if places else error.strerror
    if (
        isinstance(error, OSError | ValueError | FloatingPointError)
        or type(error).__name__ == "MisconfigurationException"
    ):
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _version() -> str:
    try:
        return version("gpstoken")
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
