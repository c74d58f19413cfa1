"""`gpstoken released-layouts`: the layouts by class of the paper's release, out of their pickle without running it."""

from gpstoken.commands.parser import Parser
from gpstoken.files.released_layouts import convert


def main(arguments: list[str]) -> int:
    """Converts a pickle to safetensors.

    Returns:
        0.

    Raises:
        FileNotFoundError: without the pickle.
        ValueError: for a file that is not one of layouts.
    """
    parser = Parser("released-layouts", __doc__)
    parser.add_argument("pickle", help="the released initg.pickle")
    parser.add_argument("safetensors", help="the file to write")
    options = parser.parse_args(arguments)
    layouts = convert(options.pickle, options.safetensors)
    print(f"{options.safetensors}: {sum(map(len, layouts.values()))} layouts of {len(layouts)} classes")
    return 0
