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
    const { weight, bias, output, kernel, stride, padding } = layer;
    const [inputs, height, width] = layer.input;
    const [outputs, tall, wide] = layer.shape;
    for (let o = 0; o < outputs; o++) output.fill(bias[o], o * tall * wide, (o + 1) * tall * wide);
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) {
        for (let tap = 0; tap < kernel * kernel; tap++) {
          const w = weight[(o * inputs + i) * kernel * kernel + tap];
          const down = Math.floor(tap / kernel) - padding;
          const right = (tap % kernel) - padding;
          for (let y = 0; y < tall; y++) {
            const row = y * stride + down;
            if (row < 0 || row >= height) continue;
            const from = (i * height + row) * width + right;
            const to = (o * tall + y) * wide;
            for (let x = 0; x < wide; x++) {
              const column = x * stride;
              if (column + right >= 0 && column + right < width) output[to + x] += w * values[from + column];
            }
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
