"""The Triton kernels compile for an H100 without one, and spill no registers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
PROGRAM = """
import json, re, subprocess, sys, tempfile
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from gpstoken.partition import triton as partition
from gpstoken.splat import triton as splat

INTEGERS = set("num_tokens channels height width regions total squares splittable side smallest".split())
INTEGER_ARRAYS = {"boxes", "before", "after", "ages"}
DOUBLES = {"terms", "entropy", "complexity", "keys"}

def kind(name, kernel):
    if name in INTEGERS:
        return "i32"
    if name == "support":
        return "fp32"
    if name == "histograms":
        return "*i32"
    if name in DOUBLES:
        return "*fp64"
    return "*i32" if name in INTEGER_ARRAYS and kernel.__module__ == partition.__name__ else "*fp32"

def registers(kernel, warps, **constants):
    signature = {name: "constexpr" if name in constants else kind(name, kernel) for name in kernel.arg_names}
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=values)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    assembler = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder, "kernel.ptx")
        ptx.write_text(compiled.asm["ptx"])
        command = [assembler, "-v", "--gpu-name=sm_90a", ptx, "-o", Path(folder, "kernel.cubin")]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    spills = sum(int(number) for number in re.findall(r"(\\d+) bytes spill", told))
    return {"registers": int(re.search(r"Used (\\d+) registers", told)[1]), "spilled_bytes": spills}

tile = {"TILE": splat.TILE}
told = {}
for lanes in (16, 32):
    forward = tile | {"LANES": lanes, "CHUNK": splat.CHUNK, "BLOCK": splat.BLOCK}
    told[f"splat forward, C {lanes}"] = registers(splat._paint, splat.WARPS, **forward)
    told[f"splat backward, C {lanes}"] = registers(splat._differentiate, splat.WARPS, **tile, LANES=lanes)
sizes = {"SIDE": partition.MEASURED_SIZE, "BINS": partition._BINS}
sizes |= {"LAST": partition.LAST_BIN, "BIN": partition.BIN_WIDTH, "PARTS": partition.PARTS}
told["partition, entropies"] = registers(partition._measure, partition.MEASURE_WARPS, **sizes)
told["partition, sums"] = registers(partition._sum_terms, 1, BINS=partition._BINS)
for slots in (128, 1024):
    told[f"partition, selection of {slots}"] = registers(partition._select, partition.SELECT_WARPS, SLOTS=slots)
print(json.dumps(told))
"""


def test_kernels_compile_for_sm_90_without_spills():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600, env=environment,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    told = json.loads(run.stdout)
    print(told)
    assert len(told) == 8
    assert {name: each for name, each in told.items() if each["spilled_bytes"]} == {}
