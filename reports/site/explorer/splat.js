// The renderer as gpstoken/splat/reference.py states it, in 64 bits. The sum over Gaussians is in their order.
"use strict";

// Eq. (3): the feature map, Float64Array[channels * height * width], is the plain sum of the features, each under the
// weight of its Gaussian; pixel i of n lies at 2 i / (n - 1) - 1 on the canvas.
//   geometry: [N * 5] numbers, sigma_x, sigma_y, rho, x, y of each Gaussian
//   features: [N * channels] numbers
//   supportFactor: half size of the box outside which a weight is 0, in standard deviations
function splat(geometry, features, channels, height, width, supportFactor) {
  const place = (i, n) => (n === 1 ? 0 : (2 * i) / (n - 1) - 1);
  const sums = new Float64Array(height * width * channels); // the channels of a pixel beside each other
  const [columns, u] = [new Int32Array(width), new Float64Array(width)];
  for (let n = 0; n < geometry.length / 5; n += 1) {
    const [sigmaX, sigmaY, rho, x, y] = geometry.subarray(5 * n, 5 * n + 5);
    const scale = 1 / Math.sqrt((1 - rho) * (1 + rho) * 2);
    let inside = 0;
    for (let column = 0; column < width; column += 1) {
      const dx = place(column, width) - x;
      if (Math.abs(dx) > supportFactor * sigmaX) continue; // not "<=", so that a NaN shows
      columns[inside] = column;
      u[inside] = dx / sigmaX;
      inside += 1;
    }
    for (let row = 0; row < height; row += 1) {
      const dy = place(row, height) - y;
      if (Math.abs(dy) > supportFactor * sigmaY) continue;
      const v = dy / sigmaY;
      for (let i = 0; i < inside; i += 1) {
        // Eq. (2) as a sum of squares, which keeps its digits as |rho| approaches 1.
        const skewed = scale * v - scale * rho * u[i];
        const weight = Math.exp(-(u[i] * u[i]) / 2 - skewed * skewed);
        const at = (row * width + columns[i]) * channels;
        for (let c = 0; c < channels; c += 1) sums[at + c] += weight * features[n * channels + c];
      }
    }
  }
  const map = new Float64Array(sums.length);
  for (let pixel = 0; pixel < height * width; pixel += 1) {
    for (let c = 0; c < channels; c += 1) map[c * height * width + pixel] = sums[pixel * channels + c];
  }
  return map;
}
