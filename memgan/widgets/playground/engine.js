// The playground's engine: an ordinary GAN and a MemoryGAN that learn the same points, step by step. It knows no document.
import { distributionOf, measured, pointsOf } from "./distributions.js";
import { Adam, perceptron } from "./layers.js";
import { Memory } from "./memory.js";
import { BATCH, KEY_DIM, MemoryGAN, NOISE_DIM, OrdinaryGAN } from "./models.js";
import { Random } from "./random.js";

// Those of notebook 7's memoryGAN in the plane, with names as in Python. Rates are Adam's.
export const DEFAULTS = {
  memory: true, // whether the discriminator has one
  update: "em", // or "average", the rule of Kaiser et al.
  mcgn: true, // whether the generator is told which slot was drawn
  information: "posterior", // or "density", the paper's, or "none"
  mi_weight: 1, // lambda
  kappa: 15,
  num_slots: 128, // N
  top_k: 8, // k
  correct_in_top: 8, // how many of the nearest slots may vouch for a label
  alpha: 0.9,
  replace_within_label: true,
  generator_lr: 1e-3,
  discriminator_lr: 1e-4,
  ordinary_lr: 2e-3, // of both networks of the ordinary GAN
  blur: 0.5, // noise on D's inputs at the first step, in units of the plane
};

export const SCHEDULE = 1500; // steps after which the rates are lowest
const DECAY_FROM = 0.6; // part of the schedule after which the rates fall
const BLUR_UNTIL = 0.7; // part of the schedule after which D's inputs have no noise
const LOWEST = 0.1; // part of the rates that is left after the schedule, so that learning goes on

// What the rates are multiplied by after `done` steps.
export function rateFactor(done) {
  const left = (1 - done / SCHEDULE) / (1 - DECAY_FROM);
  return Math.max(LOWEST, Math.min(1, left));
}

// What the noise on D's inputs is multiplied by after `done` steps.
export function blurFactor(done) {
  return Math.max(0, 1 - done / (BLUR_UNTIL * SCHEDULE));
}

// Both models on the distribution of a `state` { seed, distribution, painted, settings }.
export class Experiment {
  constructor({ seed, settings, ...state }) {
    this.seed = seed;
    this.settings = { ...DEFAULTS, ...settings };
    this.change(state);
    this.reset();
  }

  // Begin again: new networks, an empty memory, and the random numbers of the seed.
  reset() {
    this.done = 0; // steps
    this.ordinary = new OrdinaryGAN(this.seed);
    this.withMemory = new MemoryGAN(this.seed, this.settings);
    this.ofData = new Random(this.seed, 3);
    this.ofOrdinary = new Random(this.seed, 4);
    this.ofMemory = new Random(this.seed, 5);
    this.last = null; // what the last step says of both models
  }

  // Go on with another distribution: the models keep what they have learnt.
  change(state) {
    this.distribution = distributionOf(state);
  }

  // Go on with other settings; another number of slots begins with a new memory.
  set(settings) {
    Object.assign(this.settings, settings);
    if (this.settings.num_slots === this.withMemory.memory.numSlots) return;
    const learnt = this.withMemory;
    this.withMemory = new MemoryGAN(this.seed, this.settings);
    for (const part of ["encoder", "generator", "optimisers"]) this.withMemory[part] = learnt[part];
  }

  // One step of both models on the same real points.
  step() {
    const points = pointsOf(this.distribution, BATCH, this.ofData);
    const rate = rateFactor(this.done);
    const blur = this.settings.blur * blurFactor(this.done);
    const ordinary = { discriminator: rate * this.settings.ordinary_lr, generator: rate * this.settings.ordinary_lr };
    const rates = { discriminator: rate * this.settings.discriminator_lr, generator: rate * this.settings.generator_lr };
    this.last = {
      ordinary: this.ordinary.step(points, draws(this.ofOrdinary), ordinary, blur),
      withMemory: this.withMemory.step(points, draws(this.ofMemory), rates, blur),
    };
    this.done += 1;
    return this.last;
  }

  // Modes found and the share of points off all modes, of `number` generated points of each model.
  measure(number, random = new Random(0, 8)) {
    const of = (gan) => measured(this.distribution, gan.points(...latent(gan, number, random), number));
    return { ordinary: of(this.ordinary), withMemory: of(this.withMemory) };
  }
}

// Slots and noise for `number` points of a model.
export function latent(gan, number, random) {
  const noise = random.noise(number * NOISE_DIM);
  const uniforms = Float64Array.from({ length: number }, () => random.uniform());
  return [gan.sample(uniforms), noise];
}

// The random numbers of one step.
function draws(random) {
  const generated = () => ({
    noise: random.noise(BATCH * NOISE_DIM),
    uniforms: Float64Array.from({ length: BATCH }, () => random.uniform()),
    blur: random.normals(BATCH * 2),
  });
  return { real: { blur: random.normals(BATCH * 2) }, first: generated(), second: generated() };
}

export { Adam, BATCH, KEY_DIM, Memory, MemoryGAN, NOISE_DIM, OrdinaryGAN, perceptron, Random };
