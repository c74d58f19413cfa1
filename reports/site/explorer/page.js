// The page of explorer.html: its photographs, sliders and brush, and what the worker answers. Everything that a server
// would send stands in the scripts before this one, in EXPLORER, because a page that was opened as a file may read none.
"use strict";

const SIDE = EXPLORER.config.image_size;
const FOCUS = 100; // what a painted pixel adds to the complexity of its region; a busy pixel has about 50
const SCALE = 2; // pixels of a canvas along one of the photograph
const find = (id) => document.getElementById(id);
const form = find("explorer");
const canvases = ["paint", "gaussians", "reconstruction"].map(find);
const [paint, gaussians, reconstruction] = canvases.map((canvas) => canvas.getContext("2d"));
const sliders = ["tokens", "lambda", "support", "brush"].map(find);

let chosen = null; // the photograph: its name and its pixels
let worker = null;
let focus = new Float64Array(SIDE * SIDE);
let cursor = null; // the middle of the brush, while it is over the photograph or moved by keys
let asked = { number: 0, at: 0 }; // the last question, and when it was sent

// What base64 of gzip holds, as an ArrayBuffer.
async function unpacked(text) {
  const packed = await fetch(`data:application/octet-stream;base64,${text}`);
  return new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function start() {
  const parts = ["wasm", "encoder", "decoder", "terms"];
  const buffers = await Promise.all(parts.map((name) => unpacked(EXPLORER[name])));
  worker = new Worker(URL.createObjectURL(new Blob([EXPLORER.worker], { type: "text/javascript" })));
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => receive({ error: event.message });
  const opened = Object.fromEntries(parts.map((name, i) => [name, buffers[i]]));
  worker.postMessage({ start: { ...opened, module: EXPLORER.module, config: EXPLORER.config } }, buffers);
}

function receive({ ready, error, tokens, picture }) {
  if (error) {
    form.dataset.state = "failed";
    find("status").textContent = `This browser cannot run the page: ${error}`;
  } else if (ready) {
    form.dataset.state = "ready";
    find("status").textContent = "";
    ask();
  } else if ((tokens ?? picture).name === chosen.name) {
    if (tokens) drawGaussians(tokens);
    else drawPicture(picture);
  }
}

function ask() {
  if (form.dataset.state !== "ready" && form.dataset.state !== "answered") return;
  form.dataset.state = "ready";
  asked = { number: asked.number + 1, at: performance.now() };
  const [numTokens, lambda, supportFactor] = sliders.map((slider) => slider.valueAsNumber);
  const painted = focus.some(Boolean) ? focus : null;
  worker.postMessage({ question: { ...chosen, number: asked.number, numTokens, lambda, supportFactor, focus: painted } });
}

function drawPhotograph(context) {
  const small = new OffscreenCanvas(SIDE, SIDE);
  small.getContext("2d").putImageData(new ImageData(chosen.pixels, SIDE, SIDE), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, SIDE * SCALE, SIDE * SCALE);
}

// The one-sigma ellipse and the centre of every Gaussian: the Cholesky factor of its covariance on the unit circle.
function drawGaussians({ regions, geometry, times }) {
  EXPLORER.tokens = { regions, geometry };
  drawPhotograph(gaussians);
  gaussians.save();
  gaussians.scale(((SIDE - 1) / 2) * SCALE, ((SIDE - 1) / 2) * SCALE);
  gaussians.translate(1 + 1 / (SIDE - 1), 1 + 1 / (SIDE - 1)); // pixel 0 has its centre at half a pixel
  gaussians.lineWidth = 2 / SIDE;
  gaussians.strokeStyle = "rgb(255 214 10)";
  gaussians.fillStyle = "rgb(230 57 70)";
  for (let n = 0; n < geometry.length / 5; n += 1) {
    const [sigmaX, sigmaY, rho, x, y] = geometry.subarray(5 * n, 5 * n + 5);
    gaussians.save();
    gaussians.transform(sigmaX, sigmaY * rho, 0, sigmaY * Math.sqrt(1 - rho * rho), x, y);
    gaussians.beginPath();
    gaussians.arc(0, 0, 1, 0, 2 * Math.PI);
    gaussians.restore();
    gaussians.stroke();
    gaussians.beginPath();
    gaussians.arc(x, y, 2.5 / SIDE, 0, 2 * Math.PI);
    gaussians.fill();
  }
  gaussians.restore();
  showTimes(times);
}

function drawPicture({ number, pixels, psnr, numTokens, times }) {
  EXPLORER.picture = { pixels, psnr, numTokens, times, delay: performance.now() - asked.at };
  const small = new OffscreenCanvas(SIDE, SIDE);
  small.getContext("2d").putImageData(new ImageData(pixels, SIDE, SIDE), 0, 0);
  reconstruction.imageSmoothingEnabled = false;
  reconstruction.drawImage(small, 0, 0, SIDE * SCALE, SIDE * SCALE);
  find("psnr").textContent = `${numTokens} tokens, PSNR ${psnr.toFixed(2)} dB`;
  showTimes(times);
  if (number === asked.number) form.dataset.state = "answered";
}

function showTimes(times) {
  const words = Object.entries(times).map(([step, time]) => `${step} ${time < 10 ? time.toFixed(1) : time.toFixed(0)} ms`);
  find("times").textContent = words.join(", ");
}

function drawFocus() {
  drawPhotograph(paint);
  const veil = new ImageData(SIDE, SIDE);
  focus.forEach((value, i) => value && veil.data.set([255, 214, 10, 110], 4 * i));
  const small = new OffscreenCanvas(SIDE, SIDE);
  small.getContext("2d").putImageData(veil, 0, 0);
  paint.drawImage(small, 0, 0, SIDE * SCALE, SIDE * SCALE);
  if (!cursor) return;
  for (const [width, colour] of [[4, "rgb(0 0 0 / .7)"], [2, "#fff"]]) {
    paint.beginPath();
    paint.arc((cursor[0] + 0.5) * SCALE, (cursor[1] + 0.5) * SCALE, find("brush").valueAsNumber * SCALE, 0, 2 * Math.PI);
    [paint.lineWidth, paint.strokeStyle] = [width, colour];
    paint.stroke();
  }
}

function dab() {
  const radius = find("brush").valueAsNumber;
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) {
      if (Math.hypot(x - cursor[0], y - cursor[1]) <= radius) focus[y * SIDE + x] = FOCUS;
    }
  }
  ask();
}

function follow(event) {
  const box = paint.canvas.getBoundingClientRect();
  cursor = [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  if (event.buttons & 1) dab();
  drawFocus();
}

paint.canvas.addEventListener("pointerdown", (event) => {
  paint.canvas.setPointerCapture(event.pointerId);
  follow(event);
});
paint.canvas.addEventListener("pointermove", follow);
for (const name of ["pointerleave", "blur"]) {
  paint.canvas.addEventListener(name, () => {
    cursor = null;
    drawFocus();
  });
}
paint.canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8], " ": [0, 0] }[event.key];
  if (!step) return;
  event.preventDefault();
  cursor = (cursor ?? [SIDE / 2, SIDE / 2]).map((value, axis) => Math.min(Math.max(value + step[axis], 0), SIDE));
  if (event.key === " ") dab();
  drawFocus();
});

find("clear").addEventListener("click", () => {
  focus = new Float64Array(SIDE * SIDE);
  drawFocus();
  ask();
});
for (const slider of sliders) {
  slider.addEventListener("input", () => {
    slider.nextElementSibling.value = slider.value;
    if (slider.id !== "brush") ask();
  });
}

async function choose(photograph) {
  const image = new Image();
  image.src = photograph.source;
  await image.decode();
  const context = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  chosen = { name: photograph.name, pixels: context.getImageData(0, 0, SIDE, SIDE).data };
  focus = new Float64Array(SIDE * SIDE);
  drawFocus();
  drawPhotograph(gaussians);
  reconstruction.clearRect(0, 0, SIDE * SCALE, SIDE * SCALE);
  ask();
}

EXPLORER.photographs.forEach((photograph, index) => {
  const [label, radio, image] = ["label", "input", "img"].map((tag) => document.createElement(tag));
  Object.assign(radio, { type: "radio", name: "photograph", value: photograph.name, checked: index === 0 });
  radio.addEventListener("change", () => choose(photograph));
  Object.assign(image, { src: photograph.source, alt: photograph.name });
  label.append(radio, image);
  find("photographs").append(label);
});
form.addEventListener("submit", (event) => event.preventDefault());
for (const canvas of canvases) canvas.width = canvas.height = SIDE * SCALE;
choose(EXPLORER.photographs[0]).then(start).catch((error) => receive({ error: error.message }));
