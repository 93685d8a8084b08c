// A network in the page: the layers that `memgan.widgets.export` wrote, computed in plain loops over typed arrays.

export function halfToSingle(bytes) {
  // a DataView of little-endian float16, as Float32Array
  const single = new Float32Array(bytes.byteLength / 2);
  for (let i = 0; i < single.length; i++) {
    const half = bytes.getUint16(2 * i, true);
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
    single[i] = half & 0x8000 ? -size : size;
  }
  return single;
}

export class Network {
  // `layers`: kind, input and output shape, what the kind needs, and what it `reads` if not just the layer before it
  // (0: the input, 1: the first layer); `weights`: float16, each layer's weight and bias
  constructor({ layers, weights }) {
    const numbers = halfToSingle(weights);
    let at = 0;
    const take = (count) => numbers.subarray(at, (at += count));
    this.layers = layers.map((layer, before) => {
      const [weight, bias] = (layer.parameters ?? [0, 0]).map(take);
      return { reads: [before], ...layer, weight, bias, output: new Float32Array(size(layer.shape)) };
    });
  }

  // the output of the last layer for one input; it is overwritten by the next call
  forward(input) {
    const results = [input];
    for (const layer of this.layers) {
      results.push(LAYERS[layer.kind](layer, ...layer.reads.map((number) => results[number])));
    }
    return results.at(-1);
  }
}

const size = (shape) => shape.reduce((product, length) => product * length, 1);

const LAYERS = {
  Linear({ weight, bias, output }, values) {
    const inputs = values.length;
    for (let o = 0; o < output.length; o++) {
      let sum = bias[o];
      for (let i = 0, w = o * inputs; i < inputs; i++, w++) sum += weight[w] * values[i];
      output[o] = sum;
    }
    return output;
  },

  ConvTranspose2d(layer, values) {
    const { weight, bias, output, kernel, stride, padding } = layer;
    const [inputs, height, width] = layer.input;
    const [outputs, tall, wide] = layer.shape;
    for (let o = 0; o < outputs; o++) output.fill(bias[o], o * tall * wide, (o + 1) * tall * wide);
    for (let i = 0; i < inputs; i++) {
      for (let o = 0; o < outputs; o++) {
        for (let tap = 0; tap < kernel * kernel; tap++) {
          const w = weight[(i * outputs + o) * kernel * kernel + tap];
          const down = Math.floor(tap / kernel) - padding;
          const right = (tap % kernel) - padding;
          for (let y = 0; y < height; y++) {
            const row = y * stride + down;
            if (row < 0 || row >= tall) continue;
            const from = (i * height + y) * width;
            const to = (o * tall + row) * wide;
            for (let x = Math.max(0, Math.ceil(-right / stride)); x < width; x++) {
              const column = x * stride + right;
              if (column >= wide) break;
              output[to + column] += w * values[from + x];
            }
          }
        }
      }
    }
    return output;
  },

  Conv2d(layer, values) {
    // a row of pixels at a time: what each of them sees, side by side, times the weights of each output
    const { weight, bias, output } = layer;
    const [outputs, tall, wide] = layer.shape;
    const length = weight.length / outputs;
    layer.seen ??= new Float32Array(wide * length);
    const sums = new Float64Array(8);
    for (let y = 0; y < tall; y++) {
      look(layer, values, y);
      for (let o = 0; o < outputs; o += 4) {
        for (let x = 0; x < wide; x += 2) {
          multiply(sums, weight, o, outputs - 1, layer.seen, x, wide - 1, length);
          for (let each = 0; each < 8; each++) {
            const row = o + (each & 3);
            const column = x + (each >> 2);
            if (row < outputs && column < wide) output[(row * tall + y) * wide + column] = sums[each] + bias[row];
          }
        }
      }
    }
    return output;
  },

  MaxPool2d({ input, shape, kernel, stride, output }, values) {
    const [channels, tall, wide] = shape;
    const [, height, width] = input;
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < tall; y++) {
        for (let x = 0; x < wide; x++) {
          let most = -Infinity;
          for (let tap = 0; tap < kernel * kernel; tap++) {
            const row = y * stride + Math.floor(tap / kernel);
            most = Math.max(most, values[(c * height + row) * width + x * stride + (tap % kernel)]);
          }
          output[(c * tall + y) * wide + x] = most;
        }
      }
    }
    return output;
  },

  LayerNorm({ weight, bias, eps, output }, values) {
    let mean = 0;
    for (let i = 0; i < values.length; i++) mean += values[i] / values.length;
    let variance = 0;
    for (let i = 0; i < values.length; i++) variance += (values[i] - mean) ** 2 / values.length;
    const scale = 1 / Math.sqrt(variance + eps);
    const pixels = values.length / weight.length;
    for (let i = 0; i < values.length; i++) {
      const channel = Math.floor(i / pixels);
      output[i] = (values[i] - mean) * scale * weight[channel] + bias[channel];
    }
    return output;
  },

  Upsample({ shape, output }, values) {
    // each pixel becomes four
    const [channels, tall, wide] = shape;
    for (let row = 0; row < channels * tall; row++) {
      const from = (row >> 1) * (wide / 2);
      for (let x = 0; x < wide; x++) output[row * wide + x] = values[from + (x >> 1)];
    }
    return output;
  },

  Add({ output }, values, others) {
    for (let i = 0; i < values.length; i++) output[i] = values[i] + others[i];
    return output;
  },

  ReLU: ({ output }, values) => each(output, values, (value) => Math.max(0, value)),
  LeakyReLU: ({ output, slope }, values) => each(output, values, (value) => (value > 0 ? value : slope * value)),
  ELU: ({ output, slope }, values) => each(output, values, (value) => (value > 0 ? value : slope * Math.expm1(value))),
  Tanh: ({ output }, values) => each(output, values, Math.tanh),
};

function each(output, values, compute) {
  for (let i = 0; i < values.length; i++) output[i] = compute(values[i]);
  return output;
}

// into `seen`, [wide, inputs, kernel, kernel]: the part of the image under the kernel at each pixel of row y
function look({ seen, input, shape, kernel, stride, padding }, values, y) {
  const [inputs, height, width] = input;
  let at = 0;
  for (let x = 0; x < shape[2]; x++) {
    for (let i = 0; i < inputs; i++) {
      for (let row = y * stride - padding, down = 0; down < kernel; row++, down++) {
        for (let column = x * stride - padding, right = 0; right < kernel; column++, right++) {
          const inside = row >= 0 && row < height && column >= 0 && column < width;
          seen[at++] = inside ? values[(i * height + row) * width + column] : 0;
        }
      }
    }
  }
}

// inner products of four rows of `a` with two of `b`, all at once: a number that is read serves several of them.
// Rows beyond the last stand for the last.
function multiply(sums, a, row, lastOfA, b, other, lastOfB, length) {
  const [a0, a1, a2, a3] = [0, 1, 2, 3].map((next) => Math.min(row + next, lastOfA) * length);
  const [b0, b1] = [0, 1].map((next) => Math.min(other + next, lastOfB) * length);
  let [s00, s10, s20, s30, s01, s11, s21, s31] = [0, 0, 0, 0, 0, 0, 0, 0];
  for (let k = 0; k < length; k++) {
    const left = b[b0 + k];
    const right = b[b1 + k];
    const w0 = a[a0 + k];
    const w1 = a[a1 + k];
    const w2 = a[a2 + k];
    const w3 = a[a3 + k];
    s00 += w0 * left;
    s10 += w1 * left;
    s20 += w2 * left;
    s30 += w3 * left;
    s01 += w0 * right;
    s11 += w1 * right;
    s21 += w2 * right;
    s31 += w3 * right;
  }
  sums.set([s00, s10, s20, s30, s01, s11, s21, s31]);
}
