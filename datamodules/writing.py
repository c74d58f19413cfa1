"""Files that take their name only when they are whole."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, then renames it; several processes may do so at once, the last one stays.

    Args:
        path: the file; its folder is made.
        content: all of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
