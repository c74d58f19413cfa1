"""Finds the files of the photo commands, and reports each file that cannot be processed."""

import glob
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from gpstoken.files.pictures import printable


def find_inputs(names: list[str], endings: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Finds the files that the names refer to.

    Args:
        names: files, folders (their visible files with one of `endings`, without subfolders) or glob patterns.
        endings: in lower case, with the dot.

    Returns:
        (the files, each once, in the order of the names; an error message for each name without a file).
    """
    paths: dict[Path, Path] = {}
    complaints = []
    for name in names:
        if Path(name).is_dir():
            matches = [path for path in _glob(f"{glob.escape(name)}/*") if path.suffix.lower() in endings]
        else:
            # A file may have brackets in its name: an existing path is not taken as a pattern.
            matches = [Path(name)] if Path(name).exists() else _glob(name)
        if not matches:
            expected = f"no such file, nor a folder or pattern that contains one ({' '.join(endings)})"
            complaints.append(f"{printable(name)}: {expected}")
        for path in matches:
            paths.setdefault(path.resolve(), path)
    return list(paths.values()), complaints


def work_on_each(
    inputs: list[Path], folder: Path, suffixes: tuple[str, ...], work: Callable[[Path, list[Path]], str], quiet: bool
) -> bool:
    """Calls work(path, outputs) on every input and prints the line it returns; True if all went well.

    No input and no new output is overwritten. A file that cannot be processed gives one line on stderr, and the others
    are still processed.

    Args:
        inputs: the files.
        folder: folder of the outputs; an output's name is the input's with one of `suffixes` instead of its ending.
        suffixes: endings of the outputs of one input.
        work: the function to call.
        quiet: print no line for files that succeed.
    """
    well = True
    owners = {path.resolve(): path for path in inputs}
    for path in tqdm(inputs, unit="file", disable=None):
        # The readers of token files accept only names in UTF-8.
        stem = path.stem if path.stem.isprintable() else printable(path.stem)
        outputs = [folder / f"{stem}{suffix}" for suffix in suffixes]
        try:
            for output in outputs:
                if output.resolve() in owners:
                    raise ValueError(f"skipped, {output} already belongs to {owners[output.resolve()]}")
            line = work(path, outputs)
            if not quiet:
                tqdm.write(f"{printable(path)}: {line}")
            owners |= {output.resolve(): path for output in outputs}
        except (ValueError, OSError, RuntimeError) as error:  # torch raises a RuntimeError when it is out of memory
            well = False
            reason = printable(" ".join(str(error).split())).replace("\\\\", "\\")
            tqdm.write(f"gpstoken: {printable(path)}: {reason.removeprefix(f'{printable(path)}: ')}", file=sys.stderr)
    return well


def _glob(pattern: str) -> list[Path]:
    return sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())
