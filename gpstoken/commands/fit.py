"""`gpstoken fit` as one command that starts, resumes and finishes a run, and moves the run's folder to its place."""

import hashlib
import json
import os
import signal
import sys
import warnings
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from gpstoken import early_signals
from gpstoken.commands.classes import take_classes
from gpstoken.commands.configurations import check_files
from gpstoken.commands.messages import OneLine
from gpstoken.commands.preflight import announce, finished
from gpstoken.files.checkpoints import check, read_plain
from gpstoken.files.locks import locked
from gpstoken.files.provenance import record
from gpstoken.files.writing import (
    check_replaceable,
    check_writable,
    move_folder,
    remove_abandoned,
    remove_abandoned_within,
    replacing,
)
from gpstoken.training.files import CHECKPOINT_FILE, CONFIG_FILE, ORIGIN_FILE, LastCheckpoint, is_run
from gpstoken.training.lost import lost_connections, watch_processes
from gpstoken.training.origins import read_origin
from gpstoken.training.quiet import quiet
from gpstoken.training.stopping import Stopped
from gpstoken.training.trainer_limits import check_trainer

# The identity of a run in origin.json; it does not influence the training.
NAMED = {"row": "Name of the row.", "group": "Group of the report.", "scale": "Scale of the run."}
SCRATCH = Path(os.environ.get("GPSTOKEN_SCRATCH", "scratch"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class RunParser(OneLine, LightningArgumentParser):
    """The parser of LightningCLI, with error messages of one line."""


class RunCLI(LightningCLI):
    """LightningCLI whose `fit` works in a scratch folder named after its configuration and output.

    A pipeline deletes a stage's outputs before it runs again, so `fit` must not keep its checkpoint there. The
    checkpoint is kept in scratch/<hash of both>, where the same command finds it and resumes; when training ends, the
    folder is renamed to `--output`. Both places are locked during the run.
    """

    def __init__(self, args: ArgsType = None, run: bool = True) -> None:
        """Parses `args` (default: the command line) and, with `run`, executes the subcommand."""
        # Lightning 2.6 calls a tree function that torch 2.14 deprecates: users of this package cannot change that.
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")
        quiet()
        words = sys.argv[1:] if args is None else args
        self.asked = words[0] if isinstance(words, list) and words else None
        watched = lost_connections("training") if run else nullcontext()  # else the caller watches
        with watched, ExitStack() as self.held:  # holds locks while the subcommand runs
            try:
                super().__init__(
                    LightningModule,
                    LightningDataModule,
                    subclass_mode_model=True,
                    subclass_mode_data=True,
                    auto_configure_optimizers=False,
                    save_config_callback=None,
                    seed_everything_default=0,
                    parser_class=RunParser,
                    parser_kwargs={"description": "GPSToken experiments: one YAML for each row of the paper's tables."},
                    args=args,
                    run=run,
                )
            except SIGTERMException:  # before the first step; Lightning would end with exit code 0
                raise Stopped(signal.SIGTERM) from None
            except SystemExit as stop:  # Lightning's reaction to Ctrl-C before the first step
                raise (Stopped(signal.SIGINT) if isinstance(stop.__context__, KeyboardInterrupt) else stop) from None

    def subcommands(self) -> dict[str, set[str]]:
        """Only the requested subcommand, if there is one: building each parser takes a tenth of a second."""
        known, asked = super().subcommands(), self.asked
        return {asked: known[asked]} if asked in known else known

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds --output and ties the data's seed to --seed_everything."""
        parser.add_argument("--output", type=str, default=None, help="Folder to which the finished run is moved.")
        parser.add_argument(
            "--allow_large", type=bool, default=False, help="Train even if the estimate exceeds the free memory."
        )
        for name, description in NAMED.items():
            parser.add_argument(f"--{name}", type=str, default=None, help=description)
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses `args` if given, without the warning that LightningCLI gives whenever sys.argv is not empty."""
        check_files(sys.argv[1:] if args is None else args)
        if isinstance(args, list):
            self.config = parser.parse_args(args)
        else:
            super().parse_arguments(parser, args)

    def before_instantiate_classes(self) -> None:
        """Chooses the scratch folder of a fit, and locks it and --output before anything is built.

        Raises:
            ValueError: if --output is something other than a run, a folder cannot be written, or another process
                works there.
        """
        given = self.config if self.subcommand is None else self.config[self.subcommand]
        check_trainer(given.trainer, given.model if self.subcommand == "fit" else None)
        take_classes(given)
        if self.subcommand != "fit":
            return
        config = self.config.fit.clone()
        self.output, self.allow_large = config.pop("output", None), config.pop("allow_large", False)
        config.pop("weights_only", None)
        self.named = {name: value for name in NAMED if (value := config.pop(name, None)) is not None}
        start = config.pop("ckpt_path", None)
        text = self._parser("fit").dump(config, skip_check=True, skip_none=False)
        # A run that starts from other weights is another run, and so is one that ends elsewhere: two rows may train
        # equal teachers at the same time.
        start = None if start in (None, "last", "best") else Path(start).absolute()
        identity = f"{text}\n{start}\n{self.output}"
        self.scratch = SCRATCH / hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.config_text = text
        if self.config.fit.trainer.default_root_dir is None:
            self.config.fit.trainer.default_root_dir = str(self.scratch)
        places = [self.scratch] if self.output is None else [self.scratch, Path(self.output)]
        if rank_zero_only.rank == 0:  # the other processes of a training run the same command
            for place in places:
                check_writable(place)
            if self.output is not None:
                check_replaceable(self.output, is_run)
            for place in places:
                place.parent.mkdir(parents=True, exist_ok=True)
                self.held.enter_context(locked(place, "gpstoken fit"))

    def instantiate_classes(self) -> None:
        """Builds model and data, without the whole configuration that jsonargparse appends to a constructor's error."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise (error.__cause__ if isinstance(error.__cause__, ValueError) else error) from None

    def before_fit(self) -> None:
        """Writes config.yaml and picks up the checkpoint of an earlier, killed run of the same configuration.

        Raises:
            ValueError: if the checkpoint is missing, damaged, or does not fit; the message says what to do.
        """
        checkpoint = self._checkpoint()
        if rank_zero_only.rank == 0:
            announce(self.model, self.datamodule, self.trainer, self.scratch, self.output, self.allow_large)
            self.scratch.mkdir(parents=True, exist_ok=True)
            remove_abandoned_within(self.scratch)
            with replacing(self.scratch / CONFIG_FILE) as part:
                part.write_text(self.config_text)
            device = self.trainer.strategy.root_device
            # A resumed training keeps the time of its first start.
            started = read_origin(self.scratch).get("started", _now()) if checkpoint else _now()
            self._origin = self.named | {"started": started} | record(device)
            self._write_origin()
            if checkpoint is not None:
                print(f"resuming from {checkpoint}")
        advice = f"the same command resumes from the last checkpoint in {self.trainer.default_root_dir}"
        watch_processes(self.trainer, "training", advice)
        if not any(isinstance(callback, LastCheckpoint) for callback in self.trainer.callbacks):
            early_signals.forget()
        self.config_init.fit.ckpt_path = None if checkpoint is None else str(checkpoint)

    def _write_origin(self) -> None:
        with replacing(self.scratch / ORIGIN_FILE) as part:
            part.write_text(json.dumps(self._origin, indent=1) + "\n")

    def _checkpoint(self) -> Path | None:
        """The checkpoint to resume from, checked: that of a killed run takes precedence over --ckpt_path."""
        ours, asked = self.scratch / CHECKPOINT_FILE, self.config_init.fit.ckpt_path
        if asked == "best":
            raise ValueError("--ckpt_path best: a run keeps only its last checkpoint; use last, or a path")
        if ours.exists():
            path, advice = ours, f"delete {ours} to start again"
        elif asked not in (None, "last"):
            path, advice = Path(asked), "give another path"
        elif asked is None:
            return None
        else:
            path, advice = Path(self.output or self.scratch) / CHECKPOINT_FILE, "leave --ckpt_path out to start again"
        if not path.is_file():
            raise ValueError(f"--ckpt_path {asked}: there is no {path}; {advice}")
        try:
            content = read_plain(path)
            weights = content.get("state_dict") if isinstance(content, dict) else None
            if not isinstance(weights, dict):
                raise ValueError(f"{path}: not a checkpoint of a training (it has no weights)")
            check(path, weights, self.model.state_dict())
        except ValueError as error:
            raise ValueError(f"{error}; {advice}") from error
        return path

    def after_fit(self) -> None:
        """Moves the finished run to --output, replacing an older run there as a whole."""
        if self.output is None or not self.trainer.is_global_zero or self.trainer.interrupted:
            return
        self._origin["finished"] = _now()
        self._write_origin()
        remove_abandoned(self.output)
        move_folder(self.scratch, self.output, is_run)
        measured = {name: value.item() for name, value in self.trainer.callback_metrics.items()}
        print(finished(Path(self.output), measured))
