// The playground's engine: an ordinary GAN and a MemoryGAN that learn the same points, step by step. It knows no document.
import { distributionOf, measured, pointsOf } from "./distributions.js";
import { Adam, perceptron } from "./layers.js";
import { Memory } from "./memory.js";
import { BATCH, KEY_DIM, MemoryGAN, NOISE_DIM, OrdinaryGAN } from "./models.js";
import { Random } from "./random.js";

const SCHEDULE = 1500; // steps after which the rates are lowest
const DECAY_FROM = 0.6; // part of the schedule after which the rates fall
const BLUR_UNTIL = 0.7; // part of the schedule after which D's inputs have no noise
const LOWEST = 0.1; // part of the rates that is left after the schedule, so that learning goes on

// What the rates are multiplied by after `done` steps.
function rateFactor(done) {
  const left = (1 - done / SCHEDULE) / (1 - DECAY_FROM);
  return Math.max(LOWEST, Math.min(1, left));
}

// What the noise on D's inputs is multiplied by after `done` steps.
function blurFactor(done) {
  return Math.max(0, 1 - done / (BLUR_UNTIL * SCHEDULE));
}

// Both models on the distribution of a `state` { seed, distribution, painted, settings }; settings.py says what is in it.
export class Experiment {
  constructor({ seed, settings, ...state }) {
    this.seed = seed;
    this.settings = { ...settings };
    this.done = 0; // steps
    this.change(state);
    this.reset();
  }

  // Begin again: new networks, an empty memory, and the random numbers of the seed.
  reset() {
    this.done = 0;
    this.begun = 0; // the step at which the schedule of rates and blur began
    this.ordinary = new OrdinaryGAN(this.seed);
    this.withMemory = new MemoryGAN(this.seed, this.settings);
    this.ofData = new Random(this.seed, 3);
    this.ofOrdinary = new Random(this.seed, 4);
    this.ofMemory = new Random(this.seed, 5);
    this.last = null; // what the last step says of both models
  }

  // Go on with another distribution: the models keep what they have learnt, and the schedule begins again.
  change(state) {
    this.distribution = distributionOf(state);
    this.begun = this.done;
  }

  // Go on with other settings; another number of slots begins with an empty memory.
  set(settings) {
    Object.assign(this.settings, settings);
    if (this.settings.num_slots === this.withMemory.memory.numSlots) return;
    this.withMemory.forget();
  }

  // One step of both models on the same real points.
  step() {
    const points = pointsOf(this.distribution, BATCH, this.ofData);
    const rate = rateFactor(this.done - this.begun);
    const blur = this.settings.blur * blurFactor(this.done - this.begun);
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
