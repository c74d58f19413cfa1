"""SLURM: checks the number of processes of a job, and requeues the job."""

import os
import subprocess
import sys
from typing import Any

import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only


def check_tasks(trainer: Any) -> None:
    """Checks that srun has started the expected number of processes: otherwise each would wait, or train alone.

    Args:
        trainer: the Trainer's arguments, a namespace.

    Raises:
        ValueError: naming the option, what is expected and what was given, in the first process.
        SystemExit: in the other processes, because one message is enough.
    """
    interactive = SLURMEnvironment.job_name() in (
        "bash",
        "interactive",
    )  # here Lightning starts the processes
    if "SLURM_NTASKS" not in os.environ or interactive or TorchElasticEnvironment.detect():
        return
    tasks, hosts = (int(os.environ.get(name, "1")) for name in ("SLURM_NTASKS", "SLURM_NNODES"))
    devices, wrong = _count(trainer.devices, trainer.accelerator), None
    if trainer.num_nodes != hosts:
        wrong = f"--trainer.num_nodes: expected {hosts}, as many as SLURM_NNODES says, got {trainer.num_nodes}"
    elif devices * hosts != tasks:
        started = f"since srun has started {tasks} tasks on {hosts} host{'s' * (hosts > 1)}"
        wrong = f"--trainer.devices: expected {tasks / hosts:g}, {started}, got {devices}"
    elif tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        wrong = f"srun: expected the option --ntasks-per-node={devices}, got --ntasks={tasks} alone"
    if wrong:
        raise ValueError(wrong) if rank_zero_only.rank == 0 else SystemExit(2)


def requeue() -> None:
    """Requeues this job if it is a SLURM job; the same command then resumes."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None:
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
        message = f"SLURM restarts job {job}"
    except (OSError, subprocess.CalledProcessError) as error:
        reason = " ".join((getattr(error, "stderr", None) or str(error)).split())
        message = f"SLURM does not restart job {job} ({reason}); submit the same command again"
    print(f"gpstoken: {message}", file=sys.stderr, flush=True)


def _count(devices: Any, accelerator: str) -> int:
    """The number of devices per host that Lightning will use."""
    if isinstance(devices, str) and "," in devices:
        return len([device for device in devices.split(",") if device.strip()])
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        return max(1, torch.cuda.device_count()) if accelerator != "cpu" else 1
    return int(devices)
