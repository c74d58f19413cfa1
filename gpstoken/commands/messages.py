"""Error messages of the command line's parser in one line: the option, what is wrong with it, what is allowed."""

import importlib
import inspect
import re
from collections.abc import Iterable
from typing import NoReturn

from lightning import Trainer

from gpstoken.limits import did_you_mean

WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"}


class OneLine:
    """A base class for parsers of jsonargparse that gives them error messages of one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises a ValueError of one line; nested parsers report their errors to the outer one."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ValueError(one_line(message)) from None


def one_line(message: str) -> str:
    """The innermost cause of an error of jsonargparse, which nests its messages over dozens of lines.

    Args:
        message: 'Parser key "model": ... Problem with given class_path ...: Option "num_tokenz" is not accepted ...'.

    Returns:
        "--model.init_args.tokenizer.init_args.num_tokenz: no such option of GPSToken; did you mean num_tokens?"
    """
    if match := re.match(r"unrecognized arguments: (.*)|Subcommand '\w+' does not accept option '([^']+)'", message):
        option = (match[1] or match[2]).split()[0].lstrip("-").split("=")[0]
        known = [f"trainer.{name}" for name in inspect.signature(Trainer).parameters]
        return f"--{option}: no such option{did_you_mean(option, known)}"
    key, kind, causes = _innermost(message)
    option = f"--{'.'.join(key)}" if key else ""
    if refused := next(iter(re.findall(r"Option '([^']+)' is not accepted", message)), None):
        known, name = _arguments(kind), kind.rpartition(".")[2]
        return f"{option}.{refused}: no such option of {name}{did_you_mean(refused, known)}"
    if match := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message):
        known = getattr(importlib.import_module(match[1]), "__all__", [])
        return f"{option}: there is no {match[1]}.{match[2]}{did_you_mean(match[2], known)}"
    cause = "; ".join(dict.fromkeys(causes)) or " ".join(message.split())
    value = re.search(r"Given value: (.*)", message)
    if value and "Got value" not in cause and "NestedArg" not in value[1]:
        cause += f". Got value: {value[1]}"
    cause = re.sub(r"<class '([\w.]+)'>", lambda kind: WORDS.get(kind[1].rpartition(".")[2], kind[1]), cause)
    cause = re.sub(r"Expected an? (?:typing\.)?(?:Literal)?", "expected ", cause).replace(". Got value:", ", got")
    cause = re.sub(r"; expected (?=[^;]*)", " or ", cause)
    return f"{option}: {cause}" if option else cause


def _innermost(message: str) -> tuple[list[str], str, list[str]]:
    """(parts of the option's name, class whose argument it is, causes in the parser's words)."""
    key: list[str] = []
    kind = ""
    causes: list[str] = []
    for line in message.splitlines():
        text = line.strip().removeprefix("- ")
        if match := re.match(r'Parser key "([^"]+)":\s*(.*)', text):
            key += [*(["init_args"] if kind and key else []), match[1]]
            causes = [match[2]] if match[2] else []
        elif match := re.match(r"Problem with given class_path '([^']+)'", text):
            kind, causes = match[1], []
        elif text.startswith(("Expected a", "Problems parsing", "File does not", "Given value type", "Unable to")):
            if text.startswith("Given value type"):
                break
            if not (kind and "NoneType" in text):
                causes.append(text)
        elif causes and not text.startswith(("Does not validate", "Subtypes", "Errors")):
            causes.append(text)
    return [*key, "init_args"] if "is not accepted" in message and key else key, kind, causes


def _arguments(class_path: str) -> Iterable[str]:
    """Arguments of a class's constructor, and of the base classes to which it passes its other options."""
    module, _, name = class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    arguments = [argument for base in kind.__mro__ for argument in inspect.signature(base.__init__).parameters]
    return [argument for argument in arguments if argument not in ("self", "args", "kwargs", "options")]
