"""onnxruntime-web, which runs ONNX models in a browser, out of npm's registry and checked against its hash."""

import base64
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

NAME, VERSION = "onnxruntime-web", "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # as npm states it
REASON = re.compile(r"^npm (?:error|ERR!) (?!code |syscall |errno )(.+)$", re.MULTILINE)
PATIENCE = 600  # seconds for a download of 33 MB
# The library, and its WebAssembly without a GPU, with the loader that belongs to it.
SCRIPT, LOADER, WASM = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"


def runtime() -> dict[str, bytes]:
    """The three files of onnxruntime-web by name; npm keeps the package in its own cache.

    Raises:
        RuntimeError: if npm is missing or cannot fetch the package.
        ValueError: if the package is not the pinned one.
    """
    if (npm := shutil.which("npm")) is None:
        raise RuntimeError(f"{NAME} comes from npm, which is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{NAME}@{VERSION}", "--prefer-offline", "--ignore-scripts", "--fetch-retries=1"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"npm did not get {NAME} {VERSION} in {PATIENCE} seconds") from None
        if done.returncode:
            reasons = REASON.findall(done.stderr) or [f"exit code {done.returncode}"]
            raise RuntimeError(f"npm could not get {NAME} {VERSION}: {reasons[0]}")
        return read_archive(next(Path(folder).glob("*.tgz")))


def read_archive(path: Path) -> dict[str, bytes]:
    """The files of the package in an archive; nothing is unpacked to disk.

    Raises:
        ValueError: if its hash is not the pinned one.
    """
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if digest != SHA512:
        raise ValueError(f"{path.name} has sha512 {digest}, expected {SHA512}")
    with tarfile.open(path) as archive:
        return {name: archive.extractfile(f"package/dist/{name}").read() for name in (SCRIPT, LOADER, WASM)}
