"""The explorer's page in the browser, on Gradio."""

import threading
from pathlib import Path
from time import perf_counter
from typing import Any

import gradio
import numpy as np
import torch
from PIL import Image

from gpstoken.explorer.views import (
    SCALE,
    Settings,
    View,
    edited,
    measures,
    mixed,
    moved,
    nearest,
    pictures,
    view,
    without,
)
from gpstoken.images import load_image
from gpstoken.tokenizer import GPSToken

MAGNIFIED = "The error is shown four times as strong, and black where there is none."


def page(
    tokenizer: GPSToken, photographs: list[Path], distances: dict[str, torch.nn.Module] | None = None
) -> gradio.Blocks:
    """Builds the page.

    Args:
        tokenizer: the tokenizer to explore.
        photographs: photographs to start from; one's own can be uploaded.
        distances: LPIPS networks by name.
    """
    side, lock = tokenizer.image_size, threading.Lock()  # two requests at a time would only slow each other down

    def square(photo: Image.Image | None) -> torch.Tensor:
        if photo is None:
            raise gradio.Error("Choose a photograph first.")
        return load_image(photo, side)

    def answer(make: Any, chosen: int | None = None) -> list[Any]:
        """What the page shows of a view, with the time that it took to make."""
        with lock:
            started = perf_counter()
            try:
                shown = make()
            except ValueError as error:  # such as more tokens than a photograph splits into
                raise gradio.Error(str(error)) from error
            seconds = perf_counter() - started
            return [shown, chosen, *pictures(shown, chosen), _sentence(shown, distances, seconds)]

    def encode(editor: dict[str, Any], *sliders: float) -> list[Any]:
        photo = editor["background"] if editor else None
        image = square(photo and photo.convert("RGB"))
        count, lambda_, smallest, support, strength = sliders
        settings = Settings(round(count), lambda_, round(smallest), support, strength)
        return answer(lambda: view(tokenizer, image, settings, _painted(editor["layers"], side)))

    def click(shown: View | None, chosen: int | None, action: str, event: gradio.SelectData) -> list[Any]:
        if shown is None:
            raise gradio.Error("Encode a photograph first.")
        x, y = (2 * value / (SCALE * side - 1) - 1 for value in event.index)
        if action == "move it here" and chosen is not None:
            return answer(lambda: edited(tokenizer, shown, moved(shown.tokens, chosen, x, y)), chosen)
        found = nearest(shown.tokens, x, y)
        if action == "drop it":
            return answer(lambda: edited(tokenizer, shown, without(shown.tokens, found)))
        return answer(lambda: shown, found)

    def mix(shown: View | None, other: Image.Image | None) -> list[Any]:
        if shown is None:
            raise gradio.Error("Encode a photograph first.")
        image = square(other)
        return answer(lambda: mixed(tokenizer, shown, view(tokenizer, image, shown.settings)))

    def load(photo: str) -> dict[str, Any]:
        picture = Image.fromarray(((load_image(photo, side)[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
        return {"background": picture, "layers": [], "composite": picture}

    with gradio.Blocks(title="GPSToken explorer") as blocks:
        gradio.Markdown(
            "# GPSToken explorer\nA photograph as Gaussians: choose one or bring your own, change the settings, paint "
            "where the tokens should go, then click a Gaussian to drop or move it."
        )
        shown, chosen = gradio.State(None), gradio.State(None)
        with gradio.Row():
            with gradio.Column():
                brush = gradio.Brush(default_size=24, colors=["#ffd60a80"], default_color="#ffd60a80")
                editor = gradio.ImageEditor(
                    type="pil", image_mode="RGBA", brush=brush, layers=False, transforms=(), height=420,
                    label="photograph; the brush paints the focus map", elem_id="photograph",
                )  # fmt: skip
                names = [path.name for path in photographs]
                start = gradio.Dropdown(names, value=names[0] if names else None, label="photographs", elem_id="names")
                count = gradio.Slider(16, 1024, 256, step=1, label="tokens", elem_id="tokens")
                with gradio.Accordion("partition and renderer", open=False):
                    lambda_ = gradio.Slider(0, 5, tokenizer.lambda_, step=0.1, label="λ, weight of the entropy")
                    smallest = gradio.Slider(
                        2, 32, tokenizer.min_region_size, step=1, label="s_min, smallest region, px"
                    )
                    support = gradio.Slider(0.5, 6, tokenizer.support_factor, step=0.1, label="s, support in sigmas")
                    strength = gradio.Slider(0, 200, 50, step=1, label="strength of the focus map")
                encode_button = gradio.Button("encode", variant="primary", elem_id="encode")
            with gradio.Column():
                refined = gradio.Image(label="refined Gaussians; click one", interactive=False, elem_id="refined")
                action = gradio.Radio(
                    ["choose it", "move it here", "drop it"], value="choose it", label="a click will", elem_id="action"
                )
                initial = gradio.Image(label="initial Gaussians", interactive=False)
            with gradio.Column():
                result = gradio.Image(label="reconstruction", interactive=False, elem_id="reconstruction")
                text = gradio.Markdown(elem_id="measures")
                error = gradio.Image(label="error", interactive=False)
                gradio.Markdown(MAGNIFIED)
        with gradio.Accordion("textures of another photograph in this layout", open=False):
            other = gradio.Image(type="pil", label="the other photograph", elem_id="other")
            mix_button = gradio.Button("mix", elem_id="mix")
        sliders = [count, lambda_, smallest, support, strength]
        outputs = [shown, chosen, initial, refined, result, error, text]
        paths = dict(zip(names, map(str, photographs), strict=True))
        encode_button.click(encode, [editor, *sliders], outputs)
        for slider in sliders:
            slider.release(encode, [editor, *sliders], outputs)
        start.change(lambda name: load(paths[name]), start, editor).then(encode, [editor, *sliders], outputs)
        refined.select(click, [shown, chosen, action], outputs)
        mix_button.click(mix, [shown, other], outputs)
        if names:
            blocks.load(lambda: load(paths[names[0]]), None, editor).then(encode, [editor, *sliders], outputs)
    return blocks


def _painted(layers: list[Image.Image], side: int) -> np.ndarray | None:
    """bool[side, side], where a layer of the brush is opaque; None where nothing is painted."""
    painted = np.zeros((side, side), bool)
    for layer in layers:
        painted |= np.asarray(layer.convert("RGBA").resize((side, side), Image.Resampling.NEAREST))[..., 3] > 0
    return painted if painted.any() else None


def _sentence(shown: View, distances: dict[str, torch.nn.Module] | None, seconds: float) -> str:
    values = measures(shown, distances)
    parts = [f"**PSNR {values['psnr']:.2f} dB**", f"SSIM {values['ssim']:.3f}"]
    parts += [f"{name.replace('lpips_', 'LPIPS ')} {value:.3f}" for name, value in values.items() if "lpips" in name]
    parts += [
        f"{len(shown.tokens)} tokens",
        f"{values['bytes']:,} bytes in float16 ({values['bits']:.2f} bits per pixel)",
    ]
    return ", ".join([*parts, f"{seconds:.2f} s"])
