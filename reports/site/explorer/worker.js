// partition -> encoder.onnx -> splat -> decoder.onnx, in a worker, so that the page can be used meanwhile. It stands
// after onnxruntime-web, partition.js and splat.js in one script, because a page without a server may import no file.
"use strict";

let networks = null; // the sessions and the tokenizer's arguments
let newest = null; // the question to answer next: one that came later takes its place
let busy = false;
const photographs = new Map(); // by name: the image as the encoder takes it, and the entropies of its regions

onmessage = async ({ data }) => {
  try {
    if (data.start) {
      networks = await started(data.start);
      postMessage({ ready: true });
    } else {
      newest = data.question;
      if (!busy) await answerAll();
    }
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};

async function started({ wasm, module, encoder, decoder, terms, config }) {
  ort.env.wasm.numThreads = 1; // a browser gives threads only to pages that a server isolates
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([module], { type: "text/javascript" })) };
  const [first, second] = [await session(encoder), await session(decoder)];
  return { encoder: first, decoder: second, terms: new Float64Array(terms), config };
}

function session(model) {
  return ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
}

async function answerAll() {
  busy = true;
  try {
    while (newest) {
      const question = newest;
      newest = null;
      await answer(question);
    }
  } finally {
    busy = false;
  }
}

async function answer({ number, name, pixels, numTokens, lambda, supportFactor, focus }) {
  const { encoder, decoder, config } = networks;
  const [side, grid, channels] = [config.image_size, config.grid_size, config.feature_channels];
  const clock = stopwatch();
  const photograph = prepared(name, pixels, side);
  const steering = focus ? { focus: summed(focus, side, side) } : {};
  const limits = { lambda, minRegionSize: config.min_region_size, ...steering };
  const regions = partition(photograph.entropy, side, side, numTokens, limits);
  clock.lap("partition");
  const boxes = new ort.Tensor("int64", BigInt64Array.from(regions.flat(), BigInt), [1, numTokens, 4]);
  const { geometry, features } = await encoder.run({ image: photograph.image, regions: boxes });
  clock.lap("encoder");
  postMessage({ tokens: { name, regions, geometry: geometry.data, times: { ...clock.times } } });
  await new Promise((resolve) => setTimeout(resolve)); // lets a newer question in
  if (newest) return;
  const map = Float32Array.from(splat(geometry.data, features.data, channels, grid, grid, supportFactor));
  clock.lap("renderer");
  const { image } = await decoder.run({ feature_map: new ort.Tensor("float32", map, [1, channels, grid, grid]) });
  clock.lap("decoder");
  const picture = levels(image.data, side);
  const answered = { number, name, numTokens, times: clock.times };
  postMessage({ picture: { ...answered, pixels: picture, psnr: psnr(pixels, picture) } });
}

function prepared(name, pixels, side) {
  if (!photographs.has(name)) {
    const image = new Float32Array(3 * side * side);
    for (let i = 0; i < side * side; i += 1) {
      for (let c = 0; c < 3; c += 1) image[c * side * side + i] = Math.fround(pixels[4 * i + c] / 127.5) - 1;
    }
    photographs.set(name, {
      image: new ort.Tensor("float32", image, [1, 3, side, side]),
      entropy: measured(greyOf(pixels, 4), side, networks.terms),
    });
  }
  return photographs.get(name);
}

// float[3 * side * side], about [-1, 1], to 8 bits of red, green, blue, alpha; a clamped array rounds as torch does.
function levels(image, side) {
  const pixels = new Uint8ClampedArray(4 * side * side).fill(255);
  for (let i = 0; i < side * side; i += 1) {
    for (let c = 0; c < 3; c += 1) pixels[4 * i + c] = 127.5 * (image[c * side * side + i] + 1);
  }
  return pixels;
}

// Peak signal-to-noise ratio in dB of 8-bit pixels of red, green, blue, alpha.
function psnr(before, after) {
  let error = 0;
  for (let i = 0; i < before.length; i += 1) if (i % 4 < 3) error += (before[i] - after[i]) ** 2;
  return 10 * Math.log10(255 ** 2 / (error / ((before.length * 3) / 4)));
}

// Milliseconds of the steps since it was started.
function stopwatch() {
  const times = {};
  let last = performance.now();
  const lap = (step) => {
    times[step] = performance.now() - last;
    last = performance.now();
  };
  return { times, lap };
}
