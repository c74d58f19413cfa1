"""The command line: `gpstoken fit | validate | test | predict` (LightningCLI; also `lightning`) and COMMANDS."""

import importlib
import os
import sys

# Subcommand -> module whose `main` runs it. Each is imported when it is called: photo commands answer in a second or
# two and do not wait for Lightning, and only the generator's wait for timm.
COMMANDS = {
    "encode": "gpstoken.photos",
    "decode": "gpstoken.photos",
    "score": "gpstoken.score",
    "evaluate": "gpstoken.training.evaluate",
    "cache": "gpstoken.training.cache",
    "images": "gpstoken.training.real_images",
    "features": "gpstoken.features",
    "generate": "gpstoken.generate",
    "generate-curve": "gpstoken.generate_curve",
    "evaluate-generator": "gpstoken.evaluate_generator",
    "cost": "gpstoken.training.cost",
    "seeds": "gpstoken.seeds",
    "published": "gpstoken.training.published",
    "profile": "gpstoken.profiling.command",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one subcommand; returns the exit code, 2 for bad input with one line that says what and where."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = arguments[0] if arguments else ""
        if command in COMMANDS:
            module = importlib.import_module(COMMANDS[command])
            # encode and decode share a parser that reads which of them it is
            return module.main(arguments if COMMANDS[command] == "gpstoken.photos" else arguments[1:])
        from gpstoken.training.run import RunCLI

        RunCLI(args=arguments)
    except (ValueError, FileNotFoundError) as error:
        if os.environ.get("GPSTOKEN_TRACEBACK"):
            raise
        print(f"gpstoken: {str(error).strip()}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
