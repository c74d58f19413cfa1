"""`gpstoken fit` as one command that starts, resumes and finishes: the folder of a run and how it gets there."""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import NoReturn

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from gpstoken.files.writing import replacing
from gpstoken.provenance import commit, machine, versions
from gpstoken.training.files import CHECKPOINT_FILE, ORIGIN_FILE
from gpstoken.training.messages import one_line
from gpstoken.training.preflight import announce, check_checkpoint, finished
from gpstoken.training.quiet import quiet
from gpstoken.training.trainer_limits import check_trainer

SCRATCH = Path(os.environ.get("GPSTOKEN_SCRATCH", "scratch"))


class RunParser(LightningArgumentParser):
    """The parser of LightningCLI, which says in one line what it does not accept."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises a ValueError of one line; parsers inside a parser complain to that one."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ValueError(one_line(message)) from None


class RunCLI(LightningCLI):
    """LightningCLI whose `fit` works in a scratch folder named after its configuration.

    A pipeline deletes a stage's outputs before it runs again, so a killed fit must not keep its checkpoint there. It
    keeps it in scratch/<hash of the configuration>, where the same command finds it and goes on; when training ends the
    folder is renamed to `--output`.
    """

    def __init__(self, args: ArgsType = None, run: bool = True) -> None:
        """Parses `args` (default: the command line) and, with `run`, executes the subcommand."""
        # Lightning 2.6 calls a tree function that torch 2.14 deprecates: nothing a user of ours could mend.
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")
        quiet()
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=None,
            seed_everything_default=0,
            parser_class=RunParser,
            parser_kwargs={"description": "GPSToken experiments: one YAML a row of the paper's tables."},
            args=args,
            run=run,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds --output and ties the data's seed to --seed_everything."""
        parser.add_argument("--output", type=str, default=None, help="Folder the finished run is moved to.")
        parser.add_argument(
            "--allow_large", type=bool, default=False, help="Train what does not fit into the memory that is free."
        )
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses `args` where they are given; LightningCLI warns of that whenever sys.argv is not empty."""
        if isinstance(args, list):
            self.config = parser.parse_args(args)
        else:
            super().parse_arguments(parser, args)

    def before_instantiate_classes(self) -> None:
        """Chooses the scratch folder of a fit."""
        config = self.config.get(self.subcommand) if self.subcommand else self.config
        check_trainer(config.trainer, config.model if self.subcommand == "fit" else None)
        if self.subcommand != "fit":
            return
        config = self.config.fit.clone()
        self.output, self.allow_large = config.pop("output", None), config.pop("allow_large", False)
        for argument in ("ckpt_path", "weights_only"):  # of Trainer.fit, not of the experiment
            config.pop(argument, None)
        text = self._parser("fit").dump(config, skip_check=True, skip_none=False)
        self.scratch = SCRATCH / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.config_text = text
        if self.config.fit.trainer.default_root_dir is None:
            self.config.fit.trainer.default_root_dir = str(self.scratch)

    def instantiate_classes(self) -> None:
        """Makes the parts; jsonargparse adds the whole configuration to what a constructor says, which is left out."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise (error.__cause__ if isinstance(error.__cause__, ValueError) else error) from None

    def before_fit(self) -> None:
        """Writes config.yaml and picks up the checkpoint of an earlier, killed run of the same configuration."""
        check_checkpoint(self.config_init.fit.ckpt_path, self.model)
        if self.output is not None:  # a place that cannot be written is an error before the training, not after it
            Path(self.output).parent.mkdir(parents=True, exist_ok=True)
        announce(self.model, self.datamodule, self.trainer, self.scratch, self.output, self.allow_large)
        self.scratch.mkdir(parents=True, exist_ok=True)
        with replacing(self.scratch / "config.yaml") as part:
            part.write_text(self.config_text)
        origin = {"commit": commit(), "versions": versions(), "machine": machine(self.trainer.strategy.root_device)}
        with replacing(self.scratch / ORIGIN_FILE) as part:
            part.write_text(json.dumps(origin, indent=1) + "\n")
        checkpoint = self.scratch / CHECKPOINT_FILE
        if checkpoint.exists() and self.config_init.fit.ckpt_path is None:
            print(f"going on from {checkpoint}")
            self.config_init.fit.ckpt_path = str(checkpoint)

    def after_fit(self) -> None:
        """Moves the finished run to --output; an older run there is replaced whole."""
        if self.output is None or not self.trainer.is_global_zero or self.trainer.interrupted:
            return
        output = Path(self.output)
        output.parent.mkdir(parents=True, exist_ok=True)
        old = output.with_name(output.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if output.exists():
            os.replace(output, old)
        try:
            os.replace(self.scratch, output)
        except OSError:  # another file system
            part = output.with_name(output.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(self.scratch, part)
            os.replace(part, output)
            shutil.rmtree(self.scratch)
        shutil.rmtree(old, ignore_errors=True)
        measured = {name: value.item() for name, value in self.trainer.callback_metrics.items()}
        print(finished(output, measured))
