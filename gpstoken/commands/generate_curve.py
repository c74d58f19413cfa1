"""`gpstoken generate-curve`: samples from every snapshot of a run, for the curve of quality over training steps."""

from pathlib import Path

from gpstoken.commands import generate
from gpstoken.commands.parser import Parser


def main(arguments: list[str]) -> int:
    """Generates DIR/step_N.npz for every snapshot of a run; a killed call resumes where it was.

    The k-th snapshot of the run is combined with the k-th snapshot of the layout stage's run, so that both stages have
    completed the same share of their training.

    Returns:
        0.

    Raises:
        ValueError: if a run has no snapshots, or the two runs have different numbers of snapshots.
    """
    parser = Parser("generate-curve", __doc__, epilog="Other options are those of gpstoken generate.")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the stage whose tokens are decoded")
    parser.add_argument("--layout", type=Path, metavar="RUN", help="folder of the layout stage")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--last", action="store_true", help="use only the last snapshot")
    options, rest = parser.parse_known_args(arguments)
    snapshots = _snapshots(options.run)
    layouts = [None] * len(snapshots) if options.layout is None else _snapshots(options.layout)
    if len(layouts) != len(snapshots):
        raise ValueError(f"{options.layout}: {len(layouts)} snapshots, but {options.run} has {len(snapshots)}")
    pairs = list(zip(snapshots, layouts, strict=True))
    options.output.mkdir(parents=True, exist_ok=True)
    for snapshot, layout in pairs[-1:] if options.last else pairs:
        command = [str(snapshot), "-o", str(options.output / f"{snapshot.stem}.npz"), *rest]
        generate.main(command if layout is None else [*command, "--layout", str(layout)])
    return 0


def _snapshots(run: Path) -> list[Path]:
    snapshots = sorted((run / "snapshots").glob("step_*.ckpt"))
    if not snapshots:
        raise ValueError(f"{run}: no snapshots/step_*.ckpt; the run of a generator's stage writes them")
    return snapshots
