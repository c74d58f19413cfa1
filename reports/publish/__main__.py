"""`python -m reports.publish`: training runs, results and tables from their files into MLflow.

MLflow is a mirror, never a source: a stage that DVC takes from its cache logs nothing, so that every run is made here,
from its files, once. A second call finds the runs by their key and adds nothing.
"""

import argparse
import json
import logging
import os
import re
import sys
import time
from pathlib import Path

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from gpstoken.files.writing import replace_file
from reports.publish.live import mirror
from reports.publish.mirrored import evaluations, reports, trainings
from reports.publish.store import SQLITE, publish


def main(arguments: list[str] | None = None) -> int:
    """Publishes everything under --runs, --results and --report; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.publish", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder to search for runs")
    parser.add_argument("--results", type=Path, default=Path("results"), help="searched for result files")
    report = "folder of a scale's tables/ and figures/, or of such folders"
    parser.add_argument("--report", type=Path, default=Path("reports/generated"), help=report)
    parser.add_argument("--tracking-uri", default=f"{SQLITE}mlruns.db", help="MLFLOW_TRACKING_URI overrides it")
    parser.add_argument("--stamp", type=Path, help="JSON file that gets the key and the run id of everything published")
    follow = "show the trainings in scratch/ while they run, looked at as often (default: 10), until this is ended"
    parser.add_argument("--follow", type=float, nargs="?", const=10, metavar="SECONDS", help=follow)
    options = parser.parse_args(arguments)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or options.tracking_uri
    # MLflow's own are seven tries of two minutes each.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # its tracebacks, of errors that take one line below
    while True:
        code = _publish(options, uri)
        if options.follow is None:
            return code
        time.sleep(max(options.follow, 1))


def _publish(options: argparse.Namespace, uri: str) -> int:
    """Publishes all, with --follow once a training has ended; a damaged file or a store that fails is one line."""
    try:
        if options.follow is not None and not mirror(Path(os.environ.get("GPSTOKEN_SCRATCH", "scratch")), uri):
            return 0
        wanted = [*trainings(options.runs), *evaluations(options.results)]
        wanted += reports(options.report, wanted)
        published, new = publish(wanted, uri)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except (MlflowException, SQLAlchemyError) as error:
        message = f"{uri}: cannot publish ({_reason(error)}); nothing is lost, and the same command resumes"
        print(message, file=sys.stderr)
        return 2
    print(f"{len(wanted)} runs in {uri}, {new} of them new", flush=True)
    if options.stamp:
        stamp = json.dumps({"runs": len(published), "published": published}, indent=1) + "\n"
        replace_file(options.stamp, stamp.encode())
    return 0


def _reason(error: Exception) -> str:
    """What is wrong with a store, in a few words: MLflow's own have the whole chain of exceptions."""
    match = re.search(r"\[Errno -?\d+\] ([^'\")]+)|\(sqlite3\.\w+\) ([^\n]+)", str(error))
    return (match[1] or match[2]) if match else str(error).splitlines()[0][:200]


if __name__ == "__main__":
    sys.exit(main())
