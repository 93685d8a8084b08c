// An ordinary GAN and a MemoryGAN on points of the plane, and one training step of each, as memgan.training has it.
import { Adam, perceptron } from "./layers.js";
import { Memory } from "./memory.js";
import { Random } from "./random.js";

export const BATCH = 64; // real points, and as many generated ones
export const NOISE_DIM = 2; // Z
const WIDTH = 64; // units of each hidden layer
export const KEY_DIM = 16; // M
const SIGMOID_EPSILON = 1e-6; // to which the ordinary GAN's D is clipped, as in notebook 1

// D of a GAN without a memory: the sigmoid of the first number that the network makes of a point, clipped.
class Sigmoid {
  constructor(dim, epsilon) {
    this.dim = dim;
    this.epsilon = epsilon;
  }

  // D of `rows` rows, and into `slopes`, where there are some, its derivative by each number.
  read(scores, rows, slopes = null) {
    if (slopes) slopes.fill(0, 0, rows * this.dim);
    return Float64Array.from({ length: rows }, (_, row) => {
      const mean = 1 / (1 + Math.exp(-scores[row * this.dim]));
      const isClipped = mean < this.epsilon || mean > 1 - this.epsilon;
      if (slopes && !isClipped) slopes[row * this.dim] = mean * (1 - mean);
      return Math.min(Math.max(mean, this.epsilon), 1 - this.epsilon);
    });
  }
}

// What both kinds of GAN share. A subclass says what reads the points (`discriminator`), and what G is given beside the
// noise (`codes`).
class GAN {
  constructor(encoder, generator, beta1) {
    this.encoder = encoder; // mu: points [B, 2] to queries
    this.generator = generator; // G: codes and noise to points [B, 2]
    this.optimisers = { discriminator: new Adam(encoder.parameters, beta1), generator: new Adam(generator.parameters, beta1) };
    this.forBoth = encoder.tape(2 * BATCH); // real and generated points in one batch
    this.forGenerated = encoder.tape(BATCH);
    this.made = generator.tape(BATCH);
    this.tapes = new Map();
  }

  // One step of (11-14) on real `points` [B, 2]: one of D, whose memory is written, and then one of G. `rates` are those
  // of D and G; `blur` is the standard deviation of the noise on D's inputs. Random numbers come as `draws`: for `real`
  // points the normal numbers `blur`; for the `first` and the `second` generated batch `noise`, `blur`, and either
  // `uniforms`, from which slots are drawn, or the `slots` themselves.
  step(points, draws, rates, blur) {
    // D: a batch of real points and one of generated ones
    const first = this.generate(draws.first);
    const { encoder, forBoth, forGenerated } = this;
    const queryDim = encoder.outputs;
    blurred(points, draws.real.blur, blur, forBoth.input, 0);
    blurred(first.points, draws.first.blur, blur, forBoth.input, 2 * BATCH);
    const queries = encoder.forward(forBoth, true);
    const slopes = forBoth.outputGradient;
    const d = this.discriminator.read(queries, 2 * BATCH, slopes);
    let lossD = 0;
    for (let row = 0; row < 2 * BATCH; row++) {
      const isReal = row < BATCH;
      lossD -= Math.log(isReal ? d[row] : 1 - d[row]) / BATCH; // (12)
      const slope = isReal ? -1 / (BATCH * d[row]) : 1 / (BATCH * (1 - d[row]));
      for (let i = row * queryDim; i < (row + 1) * queryDim; i++) slopes[i] *= slope;
    }
    const ofGenerated = queries.subarray(BATCH * queryDim);
    lossD += this.information(first.slots, ofGenerated, slopes.subarray(BATCH * queryDim));
    this.write(queries);
    encoder.clearGradients();
    encoder.backward(forBoth, { toInput: false });
    this.optimisers.discriminator.step(rates.discriminator);

    // G: a fresh batch, read but not written; the gradient passes through mu and stops at G's weights
    const second = this.generate(draws.second);
    blurred(second.points, draws.second.blur, blur, forGenerated.input, 0);
    const fresh = encoder.forward(forGenerated, true);
    const freshSlopes = forGenerated.outputGradient;
    const dOfFresh = this.discriminator.read(fresh, BATCH, freshSlopes);
    let lossG = 0;
    for (let row = 0; row < BATCH; row++) {
      lossG -= Math.log(dOfFresh[row]) / BATCH; // (13), non-saturating
      for (let i = row * queryDim; i < (row + 1) * queryDim; i++) freshSlopes[i] *= -1 / (BATCH * dOfFresh[row]);
    }
    lossG += this.information(second.slots, fresh, freshSlopes);
    encoder.backward(forGenerated, { learns: false });
    this.made.outputGradient.set(forGenerated.inputGradient);
    this.generator.clearGradients();
    this.generator.backward(this.made, { toInput: false });
    this.optimisers.generator.step(rates.generator);
    return { lossD, lossG, real: meanOf(d, 0, BATCH), generated: meanOf(d, BATCH, 2 * BATCH) };
  }

  // Points of a batch in training mode, from the numbers in `draws`.
  generate({ noise, uniforms, slots = this.sample(uniforms) }) {
    this.fill(this.made.input, slots, noise, BATCH);
    return { points: this.generator.forward(this.made, true), slots };
  }

  // G's inputs: for each row the code of its slot, and then its noise.
  fill(input, slots, noise, rows) {
    const width = this.generator.inputs;
    for (let row = 0; row < rows; row++) {
      this.writeCode(input, row * width, slots[row]);
      for (let j = 0; j < NOISE_DIM; j++) input[(row + 1) * width - NOISE_DIM + j] = noise[row * NOISE_DIM + j];
    }
  }

  // Points [n, 2] in evaluation mode, which changes nothing.
  points(slots, noise, rows) {
    const tape = this.tapeFor(this.generator, rows);
    this.fill(tape.input, slots, noise, rows);
    return this.generator.forward(tape, false).slice();
  }

  // The queries that mu makes of `points` [n, 2], without blur.
  queries(points, rows) {
    const tape = this.tapeFor(this.encoder, rows);
    tape.input.set(points);
    return this.encoder.forward(tape, false).slice();
  }

  // The tape that batches of so many rows are looked at with: pictures ask for the same few sizes again and again.
  tapeFor(network, rows) {
    const name = `${network === this.encoder} ${rows}`;
    if (!this.tapes.has(name)) this.tapes.set(name, network.tape(rows));
    return this.tapes.get(name);
  }

  // D(x) of `points` [n, 2], without blur.
  discriminate(points, rows) {
    return this.discriminator.read(this.queries(points, rows), rows);
  }
}

// A GAN whose latent space is in one piece.
export class OrdinaryGAN extends GAN {
  constructor(seed) {
    const random = new Random(seed, 1);
    const encoder = perceptron(2, WIDTH, 1, random, { leak: 0.2 });
    super(encoder, perceptron(NOISE_DIM, WIDTH, 2, random), 0.5);
    this.discriminator = new Sigmoid(1, SIGMOID_EPSILON);
  }

  sample(uniforms) {
    return new Int32Array(uniforms.length);
  }

  writeCode() {}

  information() {
    return 0;
  }

  write() {}
}

// MemoryGAN: D(x) = memory.read(mu(x)), x = G(K_c, z). (6, 11)
// `settings` may change at any step, all but the number of slots.
export class MemoryGAN extends GAN {
  constructor(seed, settings) {
    const random = new Random(seed, 2);
    const encoder = perceptron(2, WIDTH, KEY_DIM, random, { leak: 0.2 });
    super(encoder, perceptron(KEY_DIM + NOISE_DIM, WIDTH, 2, random, { normalise: true }), 0.5);
    this.settings = settings;
    this.random = random;
    this.forget();
    this.sigmoid = new Sigmoid(KEY_DIM, SIGMOID_EPSILON);
    this.labels = Int32Array.from({ length: 2 * BATCH }, (_, row) => (row < BATCH ? 1 : 0));
    this.replaced = []; // slots, in the last step
  }

  // Begin with an empty memory.
  forget() {
    this.memory = new Memory(this.settings.num_slots, KEY_DIM, this.settings, this.random);
  }

  // What decides whether a point is real: the memory, or where it is turned off a sigmoid.
  get discriminator() {
    return this.settings.memory ? this.memory : this.sigmoid;
  }

  // Whether the generator is told which slot was drawn.
  get isConditional() {
    return this.settings.memory && this.settings.mcgn;
  }

  sample(uniforms) {
    return this.memory.sample(uniforms);
  }

  // The slot's key, scaled so that each of its numbers weighs about as much as one of the noise; zeros without MCGN.
  writeCode(input, at, slot) {
    const scale = this.isConditional ? Math.sqrt(KEY_DIM) : 0;
    for (let j = 0; j < KEY_DIM; j++) input[at + j] = scale * this.memory.keys[slot * KEY_DIM + j];
  }

  // lambda times the information term (14 or 15), whose derivative by the queries is added to `slopes`.
  information(slots, queries, slopes) {
    const { information, mi_weight: weight } = this.settings;
    if (!this.isConditional || information === "none" || weight === 0) return 0;
    if (information === "density") return weight * this.memory.densityInformation(slots, queries, BATCH, weight, slopes);
    return weight * this.memory.posteriorInformation(slots, queries, BATCH, weight, slopes);
  }

  write(queries) {
    this.replaced = this.settings.memory ? this.memory.write(queries, 2 * BATCH, this.labels) : [];
  }
}

// `points` plus `blur` times the normal numbers `normals`, into `input` from `at` on.
function blurred(points, normals, blur, input, at) {
  for (let i = 0; i < 2 * BATCH; i++) input[at + i] = points[i] + blur * normals[i];
}

function meanOf(numbers, from, to) {
  let sum = 0;
  for (let i = from; i < to; i++) sum += numbers[i];
  return sum / (to - from);
}
