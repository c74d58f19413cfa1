"""The command line: `gpstoken COMMAND ...`; fit, validate, test and predict are LightningCLI (also `lightning`)."""

import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from gpstoken import early_signals, freed_memory
from gpstoken.commands import by_row
from gpstoken.limits import did_you_mean

LIGHTNING = "gpstoken.commands.fit"
# Group -> command -> (module whose `main` runs it, description). A module is imported when its command is called: the
# photo commands answer in a second or two without importing Lightning, and only the generators' commands import timm.
GROUPS = {
    "your photographs": {
        "demo": ("gpstoken.commands.demo", "reconstruct photographs with the tokenizer that comes with the package"),
        "explore": ("gpstoken.commands.explore", "look at the tokens of photographs in the browser, and change them"),
        "encode": ("gpstoken.commands.photos", "encode photographs to files of tokens"),
        "decode": ("gpstoken.commands.photos", "decode files of tokens to pictures"),
        "export": ("gpstoken.commands.export", "write a trained tokenizer as one file to give away"),
    },
    "tokenizers": {
        "rows": ("gpstoken.commands.rows", "list every row of experiments/rows.yaml and its commands"),
        "fit": (LIGHTNING, "train a row of a table, or a generator's stage; resumes where it was killed"),
        "evaluate": ("gpstoken.commands.evaluate", "PSNR, SSIM, LPIPS, rec. FID of finished runs, one run per seed"),
        "profile": ("gpstoken.commands.profile", "parameters, multiply-adds, memory and latency of a row"),
        "speed": ("gpstoken.commands.speed", "seconds and multiply-adds of trained tokenizers, timed side by side"),
        "published": ("gpstoken.commands.published", "turn published weights of another system into a run"),
        "study": (
            "gpstoken.commands.evaluate",
            "evaluate trained rows on other images, with other tokens, at other sizes",
        ),
    },
    "generators": {
        "cache": ("gpstoken.commands.cache", "store the tokens of a data set, to train generators on"),
        "generate": ("gpstoken.commands.generate", "generate new images"),
        "evaluate-generator": (
            "gpstoken.commands.evaluate_generator",
            "FID and related metrics of a generator's samples",
        ),
        "generate-curve": (
            "gpstoken.commands.generate_curve",
            "generate samples with every snapshot of a training run",
        ),
        "cost": ("gpstoken.commands.cost", "cost of training a generator and of sampling from it"),
        "published-generator": (
            "gpstoken.commands.published_generator",
            "turn published weights of any generator into a checkpoint",
        ),
        "released-generator": (
            "gpstoken.commands.released_generator",
            "turn the paper's texture generator into a checkpoint",
        ),
        "released-layouts": (
            "gpstoken.commands.released_layouts",
            "extract the paper's layouts by class from their pickle",
        ),
    },
    "sets of images": {
        "score": ("gpstoken.commands.score", "FID, sFID, IS, precision, recall, KID of a folder or npz file"),
        "images": ("gpstoken.commands.images", "write the images of a data set to an archive"),
        "features": (
            "gpstoken.commands.features",
            "compute the features of an archive, from which scores are computed",
        ),
    },
    "Lightning's own": {
        "validate": (LIGHTNING, "the validation metrics of a checkpoint"),
        "test": (LIGHTNING, "the test metrics of a checkpoint"),
        "predict": (LIGHTNING, "the module's predictions"),
    },
}
COMMANDS = {name: module for group in GROUPS.values() for name, (module, _) in group.items()}
OPTIONS_FIRST = ("-c", "--config", "--print_config")  # of LightningCLI


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0; 2 for bad input or a failed write, with one line that says what failed and where; 130 after Ctrl-C.
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
    """The help text: all commands, one per line, in groups."""
    lines = ["usage: gpstoken COMMAND [options]", "", "GPSToken: images as 2-D Gaussians."]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:<20}{words}" for name, (_, words) in commands.items())]
    lines += ["", "gpstoken COMMAND ROW --scale SCALE runs the command with the files and options of a row of"]
    lines += ["experiments/rows.yaml, as in gpstoken fit gpstoken_m128 --scale laptop --seeds 0 1 2."]
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
    if by_row.is_row_form(arguments):
        return _run_row(arguments, module)
    freed_memory.keep()
    if command == "fit":
        early_signals.note()
    if module in (None, LIGHTNING):
        from gpstoken.commands.fit import RunCLI
        from gpstoken.commands.fit_help import show

        if module and {"--help", "-h"} & set(arguments):
            return show(arguments)
        RunCLI(args=arguments)
        return 0
    # encode and decode share a parser, which reads the command's name itself
    return importlib.import_module(module).main(arguments if module == "gpstoken.commands.photos" else arguments[1:])


def _run_row(arguments: list[str], module: str) -> int:
    """Runs the command of a row: several seeds in parallel, several evaluations of a study one after the other."""
    groups, side_by_side = by_row.parse(arguments)
    for lines in groups:
        if side_by_side and len(lines) > 1:
            importlib.import_module(module)  # once, before the processes start
            from gpstoken.commands.side_by_side import run_all

            code = run_all(main, lines)
        else:
            code = max(map(_run, lines))
        if code:
            break
    return code


def _line(error: Exception) -> str | None:
    """The line to print for an error of the input or the machine; None for a bug of this program."""
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
