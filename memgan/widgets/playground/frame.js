// A frame: everything that the page draws of an experiment at one moment, as typed arrays that a worker can hand over.
import { REACH, measured } from "./distributions.js";
import { latent } from "./engine.js";
import { unitRows } from "./memory.js";
import { KEY_DIM, NOISE_DIM } from "./models.js";
import { Random } from "./random.js";

export const HEAT = 28; // cells of the heat map along each side
const POINTS = 400; // generated points, always from the same noise, so that they move smoothly
const LINES = 15; // of the ordinary GAN's grid, each way
const SLOT_LINES = 5; // of the grid of one slot
const GRIDS = 10; // slots that have a grid: the most used
const LEAST = 1e-4; // a slot is in use if the generator is given it at least this often

// The centres of the heat map's cells, row by row, from the lowest up.
const CENTRES = Float64Array.from({ length: 2 * HEAT * HEAT }, (_, i) => {
  const place = i % 2 === 0 ? (i >> 1) % HEAT : Math.floor((i >> 1) / HEAT);
  return ((place + 0.5) / HEAT) * 2 * REACH - REACH;
});

// A square grid of noise, `side` x `side`, from -1 to 1, row by row.
function lattice(side) {
  return Float64Array.from({ length: side * side * NOISE_DIM }, (_, i) => {
    const place = i % 2 === 0 ? (i >> 1) % side : Math.floor((i >> 1) / side);
    return (place / (side - 1)) * 2 - 1;
  });
}
const WIDE = lattice(LINES);
const NARROW = lattice(SLOT_LINES);
const CORNERS = Float64Array.of(-0.5, -0.5, 0.5, -0.5, -0.5, 0.5, 0.5, 0.5); // four noises whose mean place is a slot's

export function frameOf(experiment, probe = null) {
  const { ordinary, withMemory, done, last } = experiment;
  const everywhere = new Int32Array(LINES * LINES);
  const frame = {
    done,
    ordinary: seen(experiment, ordinary, last?.ordinary),
    withMemory: seen(experiment, withMemory, last?.withMemory),
  };
  frame.ordinary.grids = [{ slot: 0, side: LINES, points: ordinary.points(everywhere, WIDE, LINES * LINES) }];
  if (withMemory.isConditional) {
    frame.withMemory.grids = mostUsed(withMemory.memory).map((slot) => {
      const slots = new Int32Array(SLOT_LINES * SLOT_LINES).fill(slot);
      return { slot, side: SLOT_LINES, points: withMemory.points(slots, NARROW, slots.length) };
    });
  } else {
    frame.withMemory.grids = [{ slot: 0, side: LINES, points: withMemory.points(everywhere, WIDE, LINES * LINES) }];
  }
  frame.memory = withMemory.settings.memory ? memoryOf(withMemory, frame.withMemory) : null;
  frame.probe = probe && withMemory.settings.memory ? probed(withMemory, probe) : null;
  return frame;
}

// Generated points, D on the plane, and the numbers under a panel.
function seen(experiment, gan, last) {
  const [slots, noise] = latent(gan, POINTS, new Random(0, 8));
  const points = gan.points(slots, noise, POINTS);
  return {
    points,
    slots,
    heat: gan.discriminate(CENTRES, HEAT * HEAT),
    ...measured(experiment.distribution, points),
    real: last?.real ?? null,
    generated: last?.generated ?? null,
  };
}

function mostUsed(memory) {
  const probabilities = memory.slotProbabilities();
  const slots = Array.from(probabilities, (_, slot) => slot).filter((slot) => probabilities[slot] >= LEAST);
  return slots.sort((one, other) => probabilities[other] - probabilities[one]).slice(0, GRIDS);
}

// The slots, and where they lie in the plane: a real slot at the mean of what it generates, a generated slot at the mean
// of the generated points that are most probably of it. A slot that has no such place has NaN.
function memoryOf(gan, { points, slots }) {
  const { memory } = gan;
  const { numSlots, keys, values, ages, histogram } = memory;
  const places = new Float64Array(2 * numSlots).fill(NaN);
  const owners = generatedSlots(gan, points);
  const sums = new Map();
  owners.forEach((slot, i) => {
    if (slot < 0) return;
    const of = sums.get(slot) ?? [0, 0, 0];
    sums.set(slot, [of[0] + points[2 * i], of[1] + points[2 * i + 1], of[2] + 1]);
  });
  for (const [slot, [x, y, number]] of sums) places.set([x / number, y / number], 2 * slot);
  const probabilities = memory.slotProbabilities();
  const used = Array.from(probabilities, (_, slot) => slot).filter((slot) => probabilities[slot] >= LEAST);
  const each = CORNERS.length / NOISE_DIM;
  const codes = Int32Array.from({ length: used.length * each }, (_, i) => used[Math.floor(i / each)]);
  const noise = Float64Array.from({ length: codes.length * NOISE_DIM }, (_, i) => CORNERS[i % CORNERS.length]);
  const made = gan.isConditional ? inParts(gan, codes, noise) : null;
  used.forEach((slot, number) => {
    if (!made) return;
    let x = 0;
    let y = 0;
    for (let i = number * each; i < (number + 1) * each; i++) {
      x += made[2 * i] / each;
      y += made[2 * i + 1] / each;
    }
    places.set([x, y], 2 * slot);
  });
  return { keyDim: KEY_DIM, keys: keys.slice(), values: values.slice(), ages: ages.slice(), histogram: histogram.slice(), probabilities, places, owners, slots };
}

// The points of any number of rows, always 64 at a time: one size of tape whatever the number of slots in use.
function inParts(gan, codes, noise) {
  const rows = 64;
  const points = new Float64Array(2 * codes.length);
  for (let start = 0; start < codes.length; start += rows) {
    const slots = new Int32Array(rows);
    slots.set(codes.subarray(start, start + rows));
    const z = new Float64Array(rows * NOISE_DIM);
    z.set(noise.subarray(start * NOISE_DIM, (start + rows) * NOISE_DIM));
    points.set(gan.points(slots, z, rows).subarray(0, 2 * Math.min(rows, codes.length - start)), 2 * start);
  }
  return points;
}

// For each point the most probable of the generated slots, or -1 where there are none.
function generatedSlots(gan, points) {
  const number = points.length / 2;
  return gan.memory.best(gan.queries(points, number), number, 0);
}

// D and the most probable slots of a point, with their posterior. (4, 6)
function probed(gan, point) {
  const posterior = gan.memory.posterior(unitRows(gan.queries(point, 1), 1, KEY_DIM).rows);
  const slots = Array.from(posterior, (_, slot) => slot);
  slots.sort((one, other) => posterior[other] - posterior[one]);
  return { point, posterior, slots: slots.slice(0, gan.settings.top_k), d: gan.discriminate(Float64Array.from(point), 1)[0] };
}
