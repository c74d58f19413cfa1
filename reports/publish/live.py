"""Trainings as MLflow runs while they run: what their scratch folders hold, looked at again and again.

A finished training is published under its key, and its live run deleted: that has the same name and no key.
"""

import socket
import time
from pathlib import Path

from reports.publish.mirrored import read_training
from reports.publish.store import TRAININGS, begin, log_metrics, open_store

SILENCE = 1800  # seconds after which a training that writes nothing is taken for killed; longer than a validation


def mirror(scratch: Path, uri: str) -> bool:
    """Makes a run of each named training that runs, adds its new metrics, and marks those that have stopped as KILLED.

    Args:
        scratch: folder of the trainings. `make repro SCALE=quick` works in a copy, scratch/quick, with one of its own.
        uri: of the store.

    Returns:
        Whether the folder of one has gone since the last look: it has ended, and may be published.
    """
    client, experiments = open_store(uri)
    here = f"{socket.gethostname()}:{scratch.resolve()}/"  # other machines follow their own trainings
    runs = client.search_runs([experiments[TRAININGS]], "tags.scratch != ''")
    live = {run.data.tags["scratch"]: run for run in runs if run.data.tags["scratch"].startswith(here)}
    for folder in sorted([*scratch.glob("*/"), *scratch.glob("*/scratch/*/")]):
        place = here + folder.relative_to(scratch).as_posix()
        try:
            training, written = read_training(folder), max(path.stat().st_mtime for path in folder.rglob("*"))
        except (OSError, ValueError):  # it has just begun, or is being moved to its output
            continue
        run, silent = live.pop(place, None), time.time() - written > SILENCE
        if training.tags["scale"] == "none" or (run is None and silent):
            continue
        if run is None:
            training.tags |= {"scratch": place, "rows": "0"}
            run = client.get_run(begin(client, experiments[TRAININGS], training))
        mirrored = int(run.data.tags["rows"])
        if len(training.metrics) > mirrored:  # else nothing is new, or a resumed training repeats what a kill cut off
            log_metrics(client, run.info.run_id, training, mirrored)
            client.set_tag(run.info.run_id, "rows", str(len(training.metrics)))
        if silent and run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED", int(written * 1000))
        elif not silent and run.info.status != "RUNNING":
            client.update_run(run.info.run_id, "RUNNING")
    gone = [run.info.run_id for run in live.values() if run.info.status == "RUNNING"]
    for run_id in gone:
        client.set_terminated(run_id)  # a training that was killed leaves its folder
    return bool(gone)
