"""A headless Chromium of the system, driven by playwright; its pages and what they complain of."""

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# A page that takes longer is broken, even on a machine with much other work: MLflow's took over a minute on one.
PATIENCE = 600_000  # milliseconds

# Text whose colour is nearer than 4.5 : 1 to what lies behind it (WCAG 2.2, 1.4.3).
FAINT = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(18, 18, 18)" : "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *")].filter((element) => {
    if (!element.getClientRects().length) return false;
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) return false;
    const pair = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05) < 4.5;
  }).map((element) => element.outerHTML);
})()"""


class Chrome:
    """One tab. Gathers every request and everything that the page complains of."""

    def __init__(self, profile: Path) -> None:
        self._playwright = sync_playwright().start()
        # No sandbox of its own: as root, where tests run in a container, Chromium starts with none.
        self._context = self._playwright.chromium.launch_persistent_context(
            str(profile), executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            reduced_motion="reduce", viewport={"width": 1280, "height": 900},
        )  # fmt: skip
        self._page = self._context.pages[0]
        self._page.set_default_timeout(PATIENCE)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._page.on("request", lambda request: self.requests.append(request.url))
        self._page.on("requestfailed", self._note_failure)
        self._page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._page.on("console", self._note)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _note_failure(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # left for another page
            self.complaints.append(f"not loaded: {request.failure}")

    def width(self, pixels: int, height: int = 900) -> None:
        """The width of the window."""
        self._page.set_viewport_size({"width": pixels, "height": height})

    def media(self, **features: str | None) -> None:
        """What the page is shown on: `media` "print" or None, `color_scheme` "light" or "dark"."""
        self._page.emulate_media(**features)

    def open(self, address: str) -> None:
        """Opens a page and waits until it and its pictures are loaded."""
        self._page.goto(address, wait_until="load")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self._page.evaluate(expression)

    def wait_for(self, expression: str) -> Any:
        """The value of the expression as soon as there is one."""
        return self._page.wait_for_function(expression).json_value()

    def press(self, key: str) -> None:
        """A key, as from a keyboard."""
        self._page.keyboard.press(key)

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """The mouse with its left button down, from one place in the window to another."""
        self._page.mouse.move(*start)
        self._page.mouse.down()
        self._page.mouse.move(*stop, steps=5)
        self._page.mouse.up()

    def upload(self, selector: str, path: Path) -> None:
        """A file for the first input of that kind."""
        self._page.locator(selector).first.set_input_files(path)

    def picture(self, path: Path, whole: bool = True) -> Path:
        """A screenshot as a PNG: of the whole page, or of what the window shows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._page.screenshot(path=path, full_page=whole)
        return path

    def close(self) -> None:
        """Ends the browser."""
        self._context.close()
        self._playwright.stop()
