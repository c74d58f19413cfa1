// The entropy-driven partition as gpstoken/partition/reference.py states it, with every number rounded at the same
// points: float32 where the reference has float32 (Math.fround), else the 64 bits that every number here has. It gives
// the same regions in the same order. Only `**` is the browser's own, so two regions whose complexities agree in all
// but the last bit could be ordered otherwise.
"use strict";

const MEASURED_SIZE = 64; // every region is measured at 64 x 64 pixels
const BINS = 256;
const BIN_WIDTH = 11 / 512;

// Luma in [0, 1], Float32Array[H * W], of 8-bit pixels in `step` channels: red, green, blue and perhaps alpha.
function greyOf(pixels, step = 3) {
  const [red, green, blue] = [0.299, 0.587, 0.114].map(Math.fround);
  const level = Float32Array.from({ length: 256 }, (_, value) => Math.fround(value / 127.5) - 1);
  const grey = new Float32Array(pixels.length / step);
  for (let i = 0, at = 0; i < grey.length; i += 1, at += step) {
    const first = Math.fround(red * level[pixels[at]]) + Math.fround(green * level[pixels[at + 1]]);
    const sum = Math.fround(first) + Math.fround(blue * level[pixels[at + 2]]);
    grey[i] = Math.fround(Math.fround(sum) + 1) / 2;
  }
  return grey;
}

// A float64 and its two halves, the lower one first as on every processor that runs a browser.
const NUMBER = new Float64Array(1);
const WORDS = new Uint32Array(NUMBER.buffer);

// start + weight * (stop - start) of float32 numbers: the difference is rounded, then the sum, once (a fused
// multiply-add). The product is exact in float64, the sum is not; rounding it again to float32 gives the right number
// unless it lies half-way between two of them. Then the error of the sum decides.
function lerp(start, stop, weight) {
  const product = weight * Math.fround(stop - start);
  const total = product + start;
  NUMBER[0] = total;
  if ((WORDS[0] & 0x1fffffff) !== 0x10000000) return Math.fround(total); // the 29 bits that float32 does not have
  const added = total - product;
  const lost = product - (total - added) + (start - added);
  if (lost !== 0) WORDS[0] += lost > 0 === total > 0 ? 1 : -1;
  return Math.fround(NUMBER[0]);
}

// For each of 64 samples at half-pixel centres along a side: the pixels before and after it, its place between them.
const POINTS = new Map();
function samplePoints(length) {
  if (POINTS.has(length)) return POINTS.get(length);
  const [before, after] = [new Int32Array(MEASURED_SIZE), new Int32Array(MEASURED_SIZE)];
  const weight = new Float32Array(MEASURED_SIZE);
  for (let i = 0; i < MEASURED_SIZE; i += 1) {
    const position = Math.fround((i + 0.5) * (length / MEASURED_SIZE) - 0.5);
    const pixel = Math.floor(position);
    if (pixel >= 0 && pixel < length - 1) weight[i] = position - pixel;
    before[i] = Math.min(Math.max(pixel, 0), length - 1);
    after[i] = Math.min(Math.max(pixel, 0) + 1, length - 1);
  }
  POINTS.set(length, { before, after, weight });
  return POINTS.get(length);
}

// A region of grey[H * W] at 64 x 64, first across, then down, within a border that repeats its outermost pixels.
const PADDED = MEASURED_SIZE + 2;
const NARROW = [0, 1].map(() => new Float32Array(MEASURED_SIZE));
function resized(grey, width, [x0, y0, x1, y1], padded) {
  const [across, down] = [samplePoints(x1 - x0), samplePoints(y1 - y0)];
  const narrow = (row, target) => {
    const start = (y0 + row) * width + x0;
    for (let j = 0; j < MEASURED_SIZE; j += 1) {
      target[j] = lerp(grey[start + across.before[j]], grey[start + across.after[j]], across.weight[j]);
    }
  };
  let [upper, lower, upperRow, lowerRow] = [...NARROW, -1, -1];
  for (let i = 0; i < MEASURED_SIZE; i += 1) {
    if (down.before[i] === lowerRow) [upper, lower, upperRow, lowerRow] = [lower, upper, lowerRow, upperRow];
    if (down.before[i] !== upperRow) narrow((upperRow = down.before[i]), upper);
    if (down.after[i] !== lowerRow) narrow((lowerRow = down.after[i]), lower);
    const at = (i + 1) * PADDED;
    for (let j = 0; j < MEASURED_SIZE; j += 1) padded[at + j + 1] = lerp(upper[j], lower[j], down.weight[i]);
    padded[at] = padded[at + 1];
    padded[at + PADDED - 1] = padded[at + PADDED - 2];
  }
  padded.copyWithin(0, PADDED, 2 * PADDED);
  padded.copyWithin((PADDED - 1) * PADDED, (PADDED - 2) * PADDED, (PADDED - 1) * PADDED);
  return padded;
}

// The entropy in bits of the gradient magnitudes (Sobel) of a resized region. `terms[n]` is what a bin of n pixels adds,
// a table of ours, as libraries differ in the last bit of a logarithm; the sum is in NumPy's order.
function entropyOf(padded, terms) {
  const counts = new Int32Array(BINS);
  for (let i = 0; i < MEASURED_SIZE; i += 1) {
    for (let j = 0; j < MEASURED_SIZE; j += 1) {
      const above = i * PADDED + j;
      const middle = above + PADDED;
      const below = middle + PADDED;
      const x =
        padded[above + 2] - padded[above] +
        2 * (padded[middle + 2] - padded[middle]) +
        (padded[below + 2] - padded[below]);
      const y =
        padded[below] - padded[above] +
        2 * (padded[below + 1] - padded[above + 1]) +
        (padded[below + 2] - padded[above + 2]);
      counts[Math.min(Math.floor(Math.sqrt(x * x + y * y) / BIN_WIDTH), BINS - 1)] += 1;
    }
  }
  let total = 0;
  for (let half = 0; half < BINS; half += BINS / 2) {
    const sums = new Float64Array(8);
    for (let i = 0; i < BINS / 2; i += 1) sums[i % 8] += terms[counts[half + i]];
    total += sums[0] + sums[1] + (sums[2] + sums[3]) + (sums[4] + sums[5] + (sums[6] + sums[7]));
  }
  return total;
}

// A function from a box to the entropy of that region of grey[H * W], which measures each box once.
function measured(grey, width, terms) {
  const [known, padded] = [new Map(), new Float64Array(PADDED * PADDED)];
  return (box) => {
    const key = box.join();
    if (!known.has(key)) known.set(key, entropyOf(resized(grey, width, box, padded), terms));
    return known.get(key);
  };
}

// A function from a box to the sum of a map over it. The map is rounded to multiples of a power of two, 2^-52 of its
// largest value times the number of pixels, so that no sum is: otherwise the order of a sum would decide between regions.
function summed(map, width, height) {
  NUMBER[0] = map.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const largest = NUMBER[0] ? ((WORDS[1] >>> 20) & 0x7ff) - 1022 : 0;
  const exponent = largest + (32 - Math.clz32(width * height - 1)) - 52;
  const unit = 2 ** Math.min(Math.max(exponent, -1000), 960);
  const even = 1.5 * 2 ** 52; // adding and subtracting it rounds to whole numbers, halves to even ones
  const sums = new Float64Array((width + 1) * (height + 1));
  for (let y = 0; y < height; y += 1) {
    let row = 0;
    for (let x = 0; x < width; x += 1) {
      row += (map[y * width + x] / unit + even - even) * unit;
      sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
    }
  }
  const at = (x, y) => sums[y * (width + 1) + x];
  return ([x0, y0, x1, y1]) => at(x1, y1) - at(x0, y1) - (at(x1, y0) - at(x0, y0));
}

// Halves a region across its longer side; for a square, the cut with the least complex child is taken.
function cut([x0, y0, x1, y1], complexity) {
  const [width, height] = [x1 - x0, y1 - y0];
  const [x, y] = [x0 + Math.floor(width / 2), y0 + Math.floor(height / 2)];
  const children = (...boxes) => boxes.map((box) => ({ box, complexity: complexity(box) }));
  const least = (pair) => Math.min(pair[0].complexity, pair[1].complexity);
  const leftRight = width >= height ? children([x0, y0, x, y1], [x, y0, x1, y1]) : null;
  const topBottom = height >= width ? children([x0, y0, x1, y], [x0, y, x1, y1]) : null;
  return !topBottom || (leftRight && least(leftRight) < least(topBottom)) ? leftRight : topBottom;
}

// Halves the most complex region that is large enough until there are numTokens: boxes [x0, y0, x1, y1], half-open,
// in the release's order. `entropy` is what `measured` gives, `focus` what `summed` gives.
function partition(entropy, width, height, numTokens, { lambda = 2.5, minRegionSize = 8, focus = () => 0 } = {}) {
  const complexity = (box) => {
    const [x0, y0, x1, y1] = box;
    return entropy(box) ** lambda * (y1 - y0) * (x1 - x0) + focus(box);
  };
  const divisible = ({ box: [x0, y0, x1, y1] }) => Math.max(x1 - x0, y1 - y0) > minRegionSize + 1;
  const whole = [0, 0, width, height];
  const regions = [{ box: whole, complexity: complexity(whole) }];
  while (regions.length < numTokens) {
    regions.sort((first, second) => second.complexity - first.complexity); // stable: of equals the older one first
    const chosen = regions.findIndex(divisible);
    if (chosen < 0) throw new RangeError(`partition: at most ${regions.length} regions, got ${numTokens}`);
    regions.push(...cut(regions.splice(chosen, 1)[0].box, complexity));
  }
  return regions.map(({ box }) => box);
}
