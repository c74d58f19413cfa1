"""`gpstoken released-layouts`: extracts the paper's layouts by class from their pickle, without executing it."""

from gpstoken.commands.parser import Parser
from gpstoken.files.released_layouts import convert


def main(arguments: list[str]) -> int:
    """Converts a pickle to safetensors.

    Returns:
        0.

    Raises:
        FileNotFoundError: if the pickle is missing.
        ValueError: if the file does not hold layouts.
    """
    parser = Parser("released-layouts", __doc__)
    parser.add_argument("pickle", help="the released initg.pickle")
    parser.add_argument("safetensors", help="the file to write")
    options = parser.parse_args(arguments)
    layouts = convert(options.pickle, options.safetensors)
    print(f"{options.safetensors}: {sum(map(len, layouts.values()))} layouts of {len(layouts)} classes")
    return 0
