"""The command line: `gpstoken fit | validate | test | predict | evaluate | score | encode | decode`, or `lightning`."""

import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Runs one subcommand; returns the exit code, 2 for bad input with one line that says what and where."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Photo commands answer in a second or two: they do not wait for Lightning to be imported.
    try:
        if arguments[:1] in (["encode"], ["decode"]):
            from gpstoken import photos

            return photos.main(arguments)
        if arguments[:1] == ["score"]:
            from gpstoken import score

            return score.main(arguments[1:])
        if arguments[:1] == ["evaluate"]:
            from gpstoken.training import evaluate

            return evaluate.main(arguments[1:])
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
