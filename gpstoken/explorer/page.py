"""The explorer's page in the browser, on Gradio."""

import html
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import gradio
import numpy as np
import torch
from PIL import Image

from gpstoken.drawing import to_picture
from gpstoken.explorer.views import (
    SCALE,
    Settings,
    View,
    dropped,
    generated,
    measures,
    mixed,
    moved,
    nearest,
    pictures,
    view,
)
from gpstoken.generators.loading import Loaded, class_names
from gpstoken.images import load_image
from gpstoken.partition import max_regions
from gpstoken.tokenizer import GPSToken

INTRODUCTION = """# GPSToken explorer
The photograph is split into regions, small ones where it is busy. Each region becomes a Gaussian, and the
reconstruction is made from these Gaussians and their textures alone. Change the settings, paint with the brush where
tokens should go, and click a Gaussian to see what depends on it."""
CHOOSE, MOVE, DROP = "choose a Gaussian", "move the chosen one here", "drop a Gaussian"
BRUSH = "#ffd60a80"
Question = tuple[Path, tuple[float, ...], bytes | None] | None  # a photograph, the sliders and what is painted
# The pictures are drawn for reading, so they are sent without loss; Gradio's own choice is a lossy format.
PICTURE = {"interactive": False, "format": "png", "buttons": ["download", "fullscreen"]}
# One answer at a time, because two would only slow each other down; the pictures stay until the new ones are there.
ANSWER = {"show_progress": "minimal", "concurrency_limit": 1, "concurrency_id": "answer"}
FOLLOW = {"trigger_mode": "always_last"}  # of the values of a dragged slider only the last counts


def page(
    tokenizer: GPSToken,
    photographs: dict[str, Path],
    distances: dict[str, torch.nn.Module] | None = None,
    generator: Loaded | None = None,
) -> gradio.Blocks:
    """Builds the page.

    Args:
        tokenizer: the tokenizer to explore.
        photographs: photographs to choose from by name, at least one; others can be uploaded.
        distances: LPIPS networks by name.
        generator: a two-stage generator of its tokens; None: the page offers none.
    """
    side, device = tokenizer.image_size, next(tokenizer.parameters()).device

    @lru_cache(maxsize=64)
    def square(path: Path) -> torch.Tensor:
        return load_image(path, side).to(device)

    def answer(
        make: Callable[[], View], question: Question, chosen: int | None = None, compared: str | None = None
    ) -> list[Any]:
        """What the page shows of a view, and the time that it took to make; a mistake leaves the pictures alone."""
        started = perf_counter()
        try:
            shown = make()
        except ValueError as error:  # such as more tokens than a photograph splits into
            message = html.escape(str(error))
            gradio.Warning(message)  # in view wherever the page is scrolled to, but only for some seconds
            mistake = {asked: question, text: f"**Not possible:** {message} The pictures are those of before."}
            return [mistake.get(each, gradio.skip()) for each in outputs]
        drawn = pictures(shown, chosen)
        drawings = [drawn.initial, drawn.refined, drawn.reconstruction]
        changed = gradio.Image(drawn.change, visible=drawn.change is not None)
        error = gradio.Image(drawn.error, visible=drawn.error is not None)
        sentence = _sentence(shown, chosen, distances, compared)
        sentence += f"\n\nAnswered in {perf_counter() - started:.2f} s."
        return [shown, question, chosen, *drawings, sentence, changed, error]

    def encode(
        before: Question, name: str, paths: dict[str, Path], editor: dict[str, Any] | None, *sliders: float
    ) -> list[Any]:
        focus = _painted(editor["layers"] if editor else [], side)
        question = (paths[name], sliders, None if focus is None else focus.tobytes())
        if question == before or None in sliders:  # None: the number beside a slider was deleted, to type another
            return [gradio.skip()] * len(outputs)
        count, lambda_, smallest, support, strength = sliders
        settings = Settings(round(count), lambda_, round(smallest), support, strength)
        return answer(lambda: view(tokenizer, square(paths[name]), settings, focus), question)

    def paint(
        before: Question, name: str, paths: dict[str, Path], editor: dict[str, Any], *sliders: float
    ) -> list[Any]:
        focus = _painted(editor["layers"], side)
        # Gradio also calls this some time after a photograph has been laid under the brush, with sliders of that time.
        if before is not None and before[2] == (None if focus is None else focus.tobytes()):
            return [gradio.skip()] * len(outputs)
        return encode(before, name, paths, editor, *sliders)

    def click(before: Question, shown: View, chosen: int | None, action: str, event: gradio.SelectData) -> list[Any]:
        x, y = (2 * value / (SCALE * side - 1) - 1 for value in event.index)
        if action == MOVE and chosen is not None:
            return answer(lambda: moved(tokenizer, shown, chosen, x, y), _edited(before), chosen)
        found = nearest(shown.tokens, x, y)
        if action == DROP:
            return answer(lambda: dropped(tokenizer, shown, found), _edited(before))
        if action == MOVE:
            gradio.Info("This Gaussian is chosen now. Click again where it should go.")
        return answer(lambda: shown, _edited(before), found)

    def mix(before: Question, shown: View | None, name: str, other: str, paths: dict[str, Path]) -> list[Any]:
        if shown is None:  # before the first answer
            return [gradio.skip()] * len(outputs)
        words = f"{other} in the layout of {name}, compared with {other}"
        return answer(lambda: mixed(tokenizer, shown, square(paths[other])), _edited(before), compared=words)

    def generate(before: Question, label: int, number: float) -> list[Any]:
        words = f"a generated image of class {labels[label]}, number {round(number)}"
        make = partial(generated, generator.generator, tokenizer, label, round(number))
        return answer(make, _edited(before), compared=words)

    def upload(file: str, paths: dict[str, Path]) -> list[Any]:
        name = Path(file).name
        try:
            square(Path(file))
        except ValueError as error:
            raise gradio.Error(html.escape(str(error).replace(file, name)), print_exception=False) from error
        paths = paths | {name: Path(file)}
        return [paths, gradio.Dropdown(list(paths), value=name), gradio.Dropdown(list(paths))]

    def load(name: str, paths: dict[str, Path]) -> dict[str, Any]:
        picture = to_picture(square(paths[name])[0])
        return {"background": picture, "layers": [], "composite": picture}

    names, largest = list(photographs), max_regions(side, side, 2)
    labels = [] if generator is None else class_names(generator)
    # Seconds: looks every hour for uploads and drawings of a day ago; all end with the page.
    keep = (3600, 24 * 3600)
    with gradio.Blocks(title="GPSToken explorer", analytics_enabled=False, delete_cache=keep) as blocks:
        gradio.Markdown(INTRODUCTION)
        shown, asked, chosen, paths = (gradio.State(value) for value in (None, None, None, photographs))
        with gradio.Row():
            with gradio.Column():
                start = gradio.Dropdown(names, value=names[0], label="photograph", elem_id="names")
                own = gradio.UploadButton(
                    "use a photograph of your own", file_types=["image"], size="sm", elem_id="own"
                )
                editor = gradio.ImageEditor(
                    type="pil", image_mode="RGBA", format="png", sources=(), transforms=(), layers=False, height=420,
                    brush=gradio.Brush(default_size=24, colors=[BRUSH], default_color=BRUSH, color_mode="fixed"),
                    label="paint", buttons=[], elem_id="photograph",
                )  # fmt: skip
                count = gradio.Slider(
                    16, min(1024, largest), tokenizer.num_tokens, step=1, label="tokens", elem_id="tokens"
                )
                strength = gradio.Slider(0, 200, 50, step=1, label="strength of the paint", elem_id="strength")
                lambda_ = gradio.Slider(
                    0, 5, tokenizer.lambda_, step=0.1, label="λ: how much the content counts", elem_id="lambda"
                )
                smallest = gradio.Slider(
                    2, min(32, side // 2), tokenizer.min_region_size, step=1, label="s_min: smallest region, pixels",
                    elem_id="smallest",
                )  # fmt: skip
                support = gradio.Slider(
                    0.5, 6, tokenizer.support_factor, step=0.1, label="s: where a Gaussian is cut off, sigmas",
                    elem_id="support",
                )  # fmt: skip
                other = gradio.Dropdown(names, value=names[-1], label="textures of another photograph", elem_id="other")
                mix_button = gradio.Button("put these textures into this layout", size="sm", elem_id="mix")
                with gradio.Row(visible=generator is not None):
                    label = gradio.Dropdown(labels, value=labels[0] if labels else None, type="index", label="class",
                                            elem_id="class")  # fmt: skip
                    number = gradio.Number(0, label="number", precision=0, minimum=0, elem_id="number")
                    generate_button = gradio.Button("generate an image", size="sm", elem_id="generate")
            with gradio.Column():
                refined = gradio.Image(label="refined Gaussians: click one", elem_id="refined", **PICTURE)
                action = gradio.Radio([CHOOSE, MOVE, DROP], value=CHOOSE, label="a click will", elem_id="action")
                again = gradio.Button("undo all clicks and mixing", size="sm", elem_id="again")
                initial = gradio.Image(label="initial Gaussians", elem_id="initial", **PICTURE)
            with gradio.Column():
                result = gradio.Image(label="reconstruction", elem_id="reconstruction", **PICTURE)
                text = gradio.Markdown(elem_id="measures")
                changed = gradio.Image(
                    label="what the last click changed, four times as strong",
                    visible=False,
                    elem_id="changed",
                    **PICTURE,
                )
                error = gradio.Image(label="error, four times as strong", elem_id="error", **PICTURE)
        outputs = [shown, asked, chosen, initial, refined, result, text, changed, error]
        sliders = [count, lambda_, smallest, support, strength]
        inputs = [asked, start, paths, editor, *sliders]
        laid = [
            blocks.load(load, [start, paths], editor),
            start.input(load, [start, paths], editor),
            own.upload(upload, [own, paths], [paths, start, other], show_progress="hidden").success(
                load, [start, paths], editor
            ),
        ]
        for event in laid:
            event.then(encode, inputs, outputs, **ANSWER)
        gradio.on([each.change for each in sliders], encode, inputs, outputs, **ANSWER, **FOLLOW)
        editor.input(paint, inputs, outputs, **ANSWER, **FOLLOW)
        again.click(encode, inputs, outputs, **ANSWER)
        refined.select(click, [asked, shown, chosen, action], outputs, **ANSWER)
        mix_button.click(mix, [asked, shown, start, other, paths], outputs, **ANSWER)
        generate_button.click(generate, [asked, label, number], outputs, **ANSWER)
    return blocks


def _edited(before: Question) -> Question:
    """After an edit: no photograph, so that undoing encodes again, but the same paint, so that its event does not."""
    return Path(), (), None if before is None else before[2]


def _painted(layers: list[Image.Image], side: int) -> np.ndarray | None:
    """bool[side, side], where a layer of the brush is opaque; None where nothing is painted."""
    painted = np.zeros((side, side), bool)
    for layer in layers:
        painted |= np.asarray(layer.convert("RGBA").resize((side, side), Image.Resampling.NEAREST))[..., 3] > 0
    return painted if painted.any() else None


def _sentence(
    shown: View, chosen: int | None, distances: dict[str, torch.nn.Module] | None, compared: str | None
) -> str:
    """The measures of a view, and the Gaussian that is chosen."""
    values = measures(shown, distances)
    change = f" ({round(values['change'], 2) + 0:+.2f} dB by the last click)" if "change" in values else ""
    parts = [f"**PSNR {values['psnr']:.2f} dB**{change}", f"SSIM {values['ssim']:.3f}"] if "psnr" in values else []
    parts += [f"{name.replace('lpips_', 'LPIPS ')} {value:.3f}" for name, value in values.items() if "lpips" in name]
    size = f"{len(shown.tokens)} tokens: {values['bytes']:,} bytes in float16, {values['bits']:.2f} bits per pixel"
    lines = [line for line in (html.escape(compared or ""), ", ".join(parts), size) if line]
    if chosen is not None:
        gaussians, last = shown.tokens.gaussians, shown.image.shape[-1] - 1
        (x, y), (width, height) = gaussians.mu[0, chosen].tolist(), gaussians.sigma[0, chosen].tolist()
        lines.append(
            f"chosen: centre ({(x + 1) / 2 * last:.0f}, {(y + 1) / 2 * last:.0f}), sigmas {width / 2 * last:.1f} and "
            f"{height / 2 * last:.1f} pixels, correlation {gaussians.rho[0, chosen].item():.2f}"
        )
    return "\n\n".join(lines)
