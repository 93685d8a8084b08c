// Multilayer perceptrons with their backward passes, and Adam, as PyTorch computes them. Numbers are float64.
//
// A batch of vectors is one flat array, row after row. A layer keeps no values of a batch: what its backward pass needs
// lies in a `Tape`, so that one network can run on several batches before any of them runs backwards.

// A parameter and the gradient of the loss with respect to it.
class Parameter {
  constructor(length) {
    this.value = new Float64Array(length);
    this.gradient = new Float64Array(length);
  }
}

// y = x W^T + b. The weight is stored as PyTorch stores it, [outputs, inputs].
export class Linear {
  constructor(inputs, outputs, random) {
    this.inputs = inputs;
    this.outputs = outputs;
    this.weight = new Parameter(inputs * outputs);
    this.bias = new Parameter(outputs);
    const bound = 1 / Math.sqrt(inputs); // of PyTorch's default
    for (const { value } of this.parameters()) {
      for (let i = 0; i < value.length; i++) value[i] = bound * (2 * random.uniform() - 1);
    }
  }

  parameters() {
    return [this.weight, this.bias];
  }

  forward(x, y, rows) {
    let row = 0;
    for (; row + 1 < rows; row += 2) this.forwardOfTwo(x, y, row);
    if (row < rows) this.forwardOfOne(x, y, row);
  }

  forwardOfOne(x, y, row) {
    const { inputs, outputs } = this;
    const weight = this.weight.value;
    const bias = this.bias.value;
    for (let output = 0; output < outputs; output++) {
      let sum = bias[output];
      for (let input = 0; input < inputs; input++) sum += x[row * inputs + input] * weight[output * inputs + input];
      y[row * outputs + output] = sum;
    }
  }

  // Two rows and two outputs at once, because then each number is loaded once for two products.
  forwardOfTwo(x, y, row) {
    const { inputs, outputs } = this;
    const weight = this.weight.value;
    const bias = this.bias.value;
    const one = row * inputs;
    const two = one + inputs;
    const toOne = row * outputs;
    const toTwo = toOne + outputs;
    let output = 0;
    for (; output + 1 < outputs; output += 2) {
      const first = output * inputs;
      const second = first + inputs;
      let a = bias[output];
      let b = bias[output + 1];
      let c = a;
      let d = b;
      for (let input = 0; input < inputs; input++) {
        const ofOne = x[one + input];
        const ofTwo = x[two + input];
        const ofFirst = weight[first + input];
        const ofSecond = weight[second + input];
        a += ofOne * ofFirst;
        b += ofOne * ofSecond;
        c += ofTwo * ofFirst;
        d += ofTwo * ofSecond;
      }
      y[toOne + output] = a;
      y[toOne + output + 1] = b;
      y[toTwo + output] = c;
      y[toTwo + output + 1] = d;
    }
    if (output === outputs) return;
    let a = bias[output];
    let c = a;
    for (let input = 0; input < inputs; input++) {
      a += x[one + input] * weight[output * inputs + input];
      c += x[two + input] * weight[output * inputs + input];
    }
    y[toOne + output] = a;
    y[toTwo + output] = c;
  }

  // Adds to the gradients of weight and bias where `learns`, and writes that of the input into `dx` where there is one.
  backward(x, dy, dx, rows, learns) {
    const { inputs, outputs } = this;
    if (learns) {
      const dBias = this.bias.gradient;
      for (let row = 0; row < rows; row++) {
        for (let output = 0; output < outputs; output++) dBias[output] += dy[row * outputs + output];
      }
      addProducts(this.weight.gradient, outputs, x, inputs, dy, 1, outputs, rows); // dy^T x
    }
    if (!dx) return;
    dx.fill(0, 0, rows * inputs);
    addProducts(dx, rows, this.weight.value, inputs, dy, outputs, 1, outputs); // dy W
  }
}

// To each of the first `rows` rows of `sums`, add the first `number` rows of `vectors`, each multiplied by a factor. Rows have
// `length` numbers. The factor of row j of `vectors` for row i of `sums` is factors[i * pitch + j * stride].
function addProducts(sums, rows, vectors, length, factors, pitch, stride, number) {
  let row = 0;
  for (; row + 1 < rows; row += 2) {
    let vector = 0;
    for (; vector + 3 < number; vector += 4) {
      // two rows and four vectors at once, because then each number is loaded once for several products
      const from = row * pitch + vector * stride;
      const a = factors[from];
      const b = factors[from + stride];
      const c = factors[from + 2 * stride];
      const d = factors[from + 3 * stride];
      const e = factors[from + pitch];
      const f = factors[from + pitch + stride];
      const g = factors[from + pitch + 2 * stride];
      const h = factors[from + pitch + 3 * stride];
      const at = row * length;
      const below = at + length;
      const one = vector * length;
      const two = one + length;
      const three = two + length;
      const four = three + length;
      for (let i = 0; i < length; i++) {
        const v = vectors[one + i];
        const w = vectors[two + i];
        const x = vectors[three + i];
        const y = vectors[four + i];
        sums[at + i] += a * v + b * w + c * x + d * y;
        sums[below + i] += e * v + f * w + g * x + h * y;
      }
    }
    for (; vector < number; vector++) {
      addMultiple(sums, row * length, vectors, vector * length, length, factors[row * pitch + vector * stride]);
      addMultiple(sums, (row + 1) * length, vectors, vector * length, length, factors[(row + 1) * pitch + vector * stride]);
    }
  }
  if (row === rows) return;
  for (let vector = 0; vector < number; vector++) {
    addMultiple(sums, row * length, vectors, vector * length, length, factors[row * pitch + vector * stride]);
  }
}

function addMultiple(sums, at, vectors, from, length, factor) {
  for (let i = 0; i < length; i++) sums[at + i] += factor * vectors[from + i];
}

// ReLU for a leak of 0.
export class LeakyReLU {
  constructor(size, leak) {
    this.inputs = size;
    this.outputs = size;
    this.leak = leak;
  }

  parameters() {
    return [];
  }

  forward(x, y, rows) {
    const length = rows * this.inputs;
    for (let i = 0; i < length; i++) y[i] = x[i] > 0 ? x[i] : this.leak * x[i];
  }

  backward(x, dy, dx, rows) {
    const length = rows * this.inputs;
    for (let i = 0; i < length; i++) dx[i] = x[i] > 0 ? dy[i] : this.leak * dy[i];
  }
}

// Batch normalisation: by the batch's own mean and variance in training, by their running averages otherwise.
export class BatchNorm {
  constructor(size) {
    this.inputs = size;
    this.outputs = size;
    this.epsilon = 1e-5;
    this.momentum = 0.1;
    this.weight = new Parameter(size);
    this.bias = new Parameter(size);
    this.weight.value.fill(1);
    this.runningMean = new Float64Array(size);
    this.runningVariance = new Float64Array(size).fill(1);
  }

  parameters() {
    return [this.weight, this.bias];
  }

  forward(x, y, rows, isTraining, kept) {
    const size = this.inputs;
    for (let column = 0; column < size; column++) {
      const [mean, variance] = isTraining ? this.statistics(x, rows, column) : [this.runningMean[column], this.runningVariance[column]];
      const inverse = 1 / Math.sqrt(variance + this.epsilon);
      const scale = this.weight.value[column] * inverse;
      const offset = this.bias.value[column] - scale * mean;
      for (let i = column; i < rows * size; i += size) y[i] = scale * x[i] + offset;
      kept[column] = mean;
      kept[size + column] = inverse;
    }
  }

  // Mean and variance of a column, which the running averages follow (with the unbiased variance, as in PyTorch).
  statistics(x, rows, column) {
    const size = this.inputs;
    let mean = 0;
    for (let i = column; i < rows * size; i += size) mean += x[i];
    mean /= rows;
    let variance = 0;
    for (let i = column; i < rows * size; i += size) variance += (x[i] - mean) ** 2;
    variance /= rows;
    this.runningMean[column] += this.momentum * (mean - this.runningMean[column]);
    this.runningVariance[column] += this.momentum * ((variance * rows) / (rows - 1) - this.runningVariance[column]);
    return [mean, variance];
  }

  // Backwards through training mode, where mean and variance depend on the batch.
  backward(x, dy, dx, rows, learns, kept) {
    const size = this.inputs;
    for (let column = 0; column < size; column++) {
      const mean = kept[column];
      const inverse = kept[size + column];
      let sum = 0;
      let sumWithInput = 0;
      for (let i = column; i < rows * size; i += size) {
        sum += dy[i];
        sumWithInput += dy[i] * (x[i] - mean) * inverse;
      }
      if (learns) {
        this.bias.gradient[column] += sum;
        this.weight.gradient[column] += sumWithInput;
      }
      const scale = this.weight.value[column] * inverse;
      for (let i = column; i < rows * size; i += size) {
        const normalised = (x[i] - mean) * inverse;
        dx[i] = scale * (dy[i] - sum / rows - (normalised * sumWithInput) / rows);
      }
    }
  }
}

// What a network computed on one batch: the values before and after each layer, and their gradients.
class Tape {
  constructor(layers, rows) {
    this.rows = rows;
    this.isTraining = false;
    this.values = [new Float64Array(rows * layers[0].inputs)];
    this.gradients = [new Float64Array(rows * layers[0].inputs)];
    this.kept = layers.map((layer) => new Float64Array(2 * layer.outputs));
    for (const { outputs } of layers) {
      this.values.push(new Float64Array(rows * outputs));
      this.gradients.push(new Float64Array(rows * outputs));
    }
  }

  get input() {
    return this.values[0];
  }

  get output() {
    return this.values.at(-1);
  }

  get inputGradient() {
    return this.gradients[0];
  }

  get outputGradient() {
    return this.gradients.at(-1);
  }
}

// Layers one after another.
export class Network {
  constructor(layers) {
    this.layers = layers;
    this.parameters = layers.flatMap((layer) => layer.parameters());
  }

  get inputs() {
    return this.layers[0].inputs;
  }

  get outputs() {
    return this.layers.at(-1).outputs;
  }

  // A tape for batches of so many rows, to be used again and again.
  tape(rows) {
    return new Tape(this.layers, rows);
  }

  // From `tape.input` to `tape.output`.
  forward(tape, isTraining) {
    tape.isTraining = isTraining;
    this.layers.forEach((layer, i) => layer.forward(tape.values[i], tape.values[i + 1], tape.rows, isTraining, tape.kept[i]));
    return tape.output;
  }

  // From `tape.outputGradient` to the gradients of the parameters, where the network `learns`, and to `tape.inputGradient`.
  backward(tape, { learns = true, toInput = true } = {}) {
    for (let i = this.layers.length - 1; i >= 0; i--) {
      const into = i > 0 || toInput ? tape.gradients[i] : null;
      this.layers[i].backward(tape.values[i], tape.gradients[i + 1], into, tape.rows, learns, tape.kept[i]);
    }
  }

  clearGradients() {
    for (const { gradient } of this.parameters) gradient.fill(0);
  }
}

// Two hidden layers of `width` units, with ReLU or, for a leak, LeakyReLU behind each.
export function perceptron(inputs, width, outputs, random, { normalise = false, leak = 0 } = {}) {
  const layers = [];
  for (const size of [inputs, width]) {
    layers.push(new Linear(size, width, random));
    if (normalise) layers.push(new BatchNorm(width));
    layers.push(new LeakyReLU(width, leak));
  }
  layers.push(new Linear(width, outputs, random));
  return new Network(layers);
}

// Adam (Kingma & Ba 2015) with PyTorch's epsilon.
export class Adam {
  constructor(parameters, beta1 = 0.5, beta2 = 0.999) {
    this.parameters = parameters;
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.steps = 0;
    this.means = parameters.map(({ value }) => new Float64Array(value.length));
    this.squares = parameters.map(({ value }) => new Float64Array(value.length));
  }

  step(rate) {
    this.steps += 1;
    const size = rate / (1 - this.beta1 ** this.steps);
    const correction = Math.sqrt(1 - this.beta2 ** this.steps);
    this.parameters.forEach(({ value, gradient }, number) => {
      const mean = this.means[number];
      const square = this.squares[number];
      for (let i = 0; i < value.length; i++) {
        const slope = gradient[i];
        mean[i] += (1 - this.beta1) * (slope - mean[i]);
        square[i] = this.beta2 * square[i] + (1 - this.beta2) * slope * slope;
        value[i] -= (size * mean[i]) / (Math.sqrt(square[i]) / correction + 1e-8);
      }
    });
  }
}
