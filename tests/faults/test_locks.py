"""One process at a time."""

import signal
import subprocess
import sys
import threading

import pytest

from gpstoken.files.locks import locked

HOLD = """
import sys, time
from gpstoken.files.locks import locked
with locked(sys.argv[1], "gpstoken fit"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_is_told_who_holds_it_and_a_kill_frees_it(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=rf"run: gpstoken fit \(process {holder.pid} on .*\) is writing there"):
            locked(tmp_path / "run", "gpstoken cache").__enter__()
        with locked(tmp_path / "other", "gpstoken fit"):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with locked(tmp_path / "run", "gpstoken fit"):
        assert (tmp_path / ".run.lock").read_text().startswith("gpstoken fit (process")
    assert list(tmp_path.iterdir()) == []


def test_of_many_at_once_one_holds_it_at_any_time(tmp_path):
    held, most, done = [], [], []

    def work():
        while len(done) < 200:
            try:
                with locked(tmp_path / "run", "test"):
                    held.append(None)
                    most.append(len(held))
                    held.pop()
                    done.append(None)
            except ValueError:
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
