"""Reads the description of a token cache, cache.json, and checks every value that is used."""

from pathlib import Path, PurePosixPath
from typing import Any

from gpstoken.files.plain_text import read_json
from gpstoken.files.records import MAPPING, check_code, check_statistics, check_tokenizer
from gpstoken.limits import Limit, at_least, each, optional, text

FORMAT, VERSION = "gpstoken.cache", 2
LONGEST = 1000  # characters of a shard's name; systems allow 255 to 4096


def read_record(root: Path) -> dict[str, Any]:
    """The cache.json of a token cache: tokenizer, code, data, statistics, num_classes, shards.

    Args:
        root: folder written by `gpstoken cache`.

    Raises:
        ValueError: if the file is missing, has another format, or holds an impossible value.
    """
    path = root / "cache.json"
    make = f"run `gpstoken cache --tokenizer RUN/last.ckpt --data DATA.yaml --views 1 -o {root}`"
    if not path.is_file():
        what = "a folder without cache.json" if root.is_dir() else "nothing"
        raise ValueError(f"TokenCache: found {what} at {root}; {make}")
    try:
        record = read_json(path)
        form = record["format"], record["version"]
        if form == (FORMAT, VERSION):
            _check(record)
    except KeyError as error:
        raise ValueError(f"{path}: damaged, or not a token cache's description (no {error} in it); {make}") from error
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: damaged, or not a token cache's description ({reason}); {make}") from error
    if form != (FORMAT, VERSION):
        shown = " ".join(" ".join(str(part).split())[:40] for part in form)
        raise ValueError(f"{path}: has format {shown}, but this code reads {FORMAT} {VERSION}; {make}")
    return record


def _check(record: dict[str, Any]) -> None:
    text().check("identity", record["identity"])
    at_least(1).check("num_classes", record["num_classes"])
    optional(each(text())).check("classes", record.get("classes"))
    check_tokenizer("tokenizer", record["tokenizer"])
    check_code("code", record["code"])
    MAPPING.check("statistics", record["statistics"])
    for part, statistics in record["statistics"].items():
        check_statistics(f"statistics.{part}", statistics)
    MAPPING.check("splits", record["splits"])
    for split, described in record["splits"].items():
        MAPPING.check(f"splits.{split}", described)
        if not isinstance(described["shards"], list):
            raise ValueError(f"splits.{split}.shards: expected a list, got a {type(described['shards']).__name__}")
        for number, shard in enumerate(described["shards"]):
            MAPPING.check(f"splits.{split}.shards[{number}]", shard)
            at_least(1).check(f"splits.{split}.shards[{number}].samples", shard["samples"])
            INSIDE.check(f"splits.{split}.shards[{number}].file", shard["file"])


def _is_inside(name: Any) -> bool:
    if not isinstance(name, str) or not name or len(name) > LONGEST or not name.isprintable() or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


INSIDE = Limit("the name of a file in the cache's folder", _is_inside)
