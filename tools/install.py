"""Installs the project into the environment this runs in: `python tools/install.py ARGUMENTS OF pip install`.

Tries uv, which resolves and installs several times faster, with pip's own indexes and local files; falls back to pip.
"""

import os
import subprocess
import sys


def pip(*arguments: str) -> str:
    """Runs pip and returns its output."""
    return subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Installs; returns the exit code."""
    environment = dict(os.environ)
    # Without pip's local files and extra indexes uv would fetch several gigabytes that lie on the disk already.
    for variable, pip_variable, key in [
        ("UV_FIND_LINKS", "PIP_FIND_LINKS", "global.find-links"),
        ("UV_INDEX", "PIP_EXTRA_INDEX_URL", "global.extra-index-url"),
        ("UV_DEFAULT_INDEX", "PIP_INDEX_URL", "global.index-url"),
    ]:
        value = os.environ.get(pip_variable) or pip("config", "get", key)
        if value and variable not in environment:
            environment[variable] = " ".join(value.split())
    # uv stops at the first index that knows a name; pip looks at all of them.
    environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    fast = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, *sys.argv[1:]]
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", "uv"]).returncode == 0:
        if subprocess.run(fast, env=environment).returncode == 0:
            return 0
        print("uv could not install; trying pip", file=sys.stderr)
    return subprocess.run([sys.executable, "-m", "pip", "install", *sys.argv[1:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
