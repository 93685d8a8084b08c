// The vMF memory: a mixture over N slots that tells real queries from generated ones. Numbers in brackets are
// equations of docs/notation.md; memgan.memory is the same in PyTorch, and the tests compare the two.

const FIRST_COUNT = 1e-5; // of every slot's histogram
const BETA = 1e-8; // prior smoothing, in counts of data
const EPSILON = 1e-3; // D is clipped to [EPSILON, 1 - EPSILON]
const NO_DIRECTION = 1e-6; // a sum of vectors that is shorter than this has no direction

export class Memory {
  // `settings` are read at every use, so that they may change while the memory learns: kappa, top_k, correct_in_top,
  // alpha, replace_within_label and update ("em" or "average").
  constructor(numSlots, keyDim, settings, random) {
    this.numSlots = numSlots;
    this.keyDim = keyDim;
    this.settings = settings;
    this.keys = random.normals(numSlots * keyDim); // [N, M], unit rows
    this.values = Int32Array.from({ length: numSlots }, (_, slot) => (slot < numSlots >> 1 ? 1 : 0));
    this.ages = new Int32Array(numSlots);
    this.histogram = new Float64Array(numSlots).fill(FIRST_COUNT);
    for (let slot = 0; slot < numSlots; slot++) normalise(this.keys, slot * keyDim, keyDim);
  }

  // log(h_i + beta), [N]. (1)
  logPrior() {
    return this.histogram.map((count) => Math.log(count + BETA));
  }

  // log p(c=i) p(x|c=i) of every slot up to a constant, for the unit query that begins at `at`. (1, 2)
  scores(queries, at, logPrior, into) {
    const { keys, keyDim, numSlots } = this;
    const { kappa } = this.settings;
    for (let slot = 0; slot < numSlots; slot++) {
      const from = slot * keyDim;
      let cosine = 0;
      for (let i = 0; i < keyDim; i++) cosine += keys[from + i] * queries[at + i];
      into[slot] = kappa * cosine + logPrior[slot];
    }
    return into;
  }

  // S: the k most probable slots, most probable first; with a `label`, the same among the slots that carry it. (5, 7)
  nearest(scores, label = null) {
    const most = Math.min(this.settings.top_k, this.numSlots);
    const found = [];
    for (let slot = 0; slot < this.numSlots; slot++) {
      if (label !== null && this.values[slot] !== label) continue;
      if (found.length === most && scores[slot] <= scores[found[most - 1]]) continue;
      let place = found.length < most ? found.length : most - 1;
      while (place > 0 && scores[slot] > scores[found[place - 1]]) {
        found[place] = found[place - 1];
        place -= 1;
      }
      found[place] = slot;
    }
    return found;
  }

  // For each of `rows` queries the most probable slot that carries `label`, or -1 where there is none.
  best(queries, rows, label) {
    const { keyDim, values } = this;
    const units = unitRows(queries, rows, keyDim).rows;
    const logPrior = this.logPrior().map((prior, slot) => (values[slot] === label ? prior : -Infinity));
    const scores = new Float64Array(this.numSlots);
    return Int32Array.from({ length: rows }, (_, row) => {
      this.scores(units, row * keyDim, logPrior, scores);
      let best = -1;
      scores.forEach((score, slot) => {
        if (score > (best < 0 ? -Infinity : scores[best])) best = slot;
      });
      return best;
    });
  }

  // p(c=i|x), [N], for one unit query. (4)
  posterior(query) {
    const scores = this.scores(query, 0, this.logPrior(), new Float64Array(this.numSlots));
    const every = scores.map((_, slot) => slot);
    return softmax(scores, every);
  }

  // D(x) of `rows` queries of any length, and, where `slopes` is given, its derivative by each query. (6)
  // By the unit query it is kappa sum over S of p_i (v_i - D) K_i, and 0 where D is clipped.
  read(queries, rows, slopes = null) {
    const { keys, keyDim, values } = this;
    const { kappa } = this.settings;
    const units = unitRows(queries, rows, keyDim);
    const logPrior = this.logPrior();
    const scores = new Float64Array(this.numSlots);
    const probabilities = new Float64Array(rows);
    for (let row = 0; row < rows; row++) {
      const at = row * keyDim;
      this.scores(units.rows, at, logPrior, scores);
      const slots = this.nearest(scores);
      const posterior = softmax(scores, slots);
      let mean = 0;
      slots.forEach((slot, i) => (mean += posterior[i] * values[slot]));
      probabilities[row] = Math.min(Math.max(mean, EPSILON), 1 - EPSILON);
      if (!slopes) continue;
      slopes.fill(0, at, at + keyDim);
      if (mean < EPSILON || mean > 1 - EPSILON) continue;
      slots.forEach((slot, i) => {
        const pull = kappa * posterior[i] * (values[slot] - mean);
        for (let j = 0; j < keyDim; j++) slopes[at + j] += pull * keys[slot * keyDim + j];
      });
      throughNormalisation(slopes, units, row, keyDim);
    }
    return probabilities;
  }

  // The mean of -log p(c|x, v=1) over `rows` queries that were generated from `slots`, the posterior among the real slots.
  // Adds `weight` times its derivative by each query to `slopes`: that of a row is kappa (sum of p_i K_i - K_c). (15)
  posteriorInformation(slots, queries, rows, weight, slopes) {
    const { keys, keyDim } = this;
    const { kappa } = this.settings;
    const units = unitRows(queries, rows, keyDim);
    const logPrior = this.logPrior();
    const scores = new Float64Array(this.numSlots);
    const real = [];
    for (let slot = 0; slot < this.numSlots; slot++) if (this.values[slot] === 1) real.push(slot);
    const slope = new Float64Array(rows * keyDim);
    let loss = 0;
    for (let row = 0; row < rows; row++) {
      const at = row * keyDim;
      this.scores(units.rows, at, logPrior, scores);
      const posterior = softmax(scores, real);
      const factor = (weight * kappa) / rows;
      real.forEach((slot, i) => {
        const pull = factor * (posterior[i] - (slot === slots[row] ? 1 : 0));
        for (let j = 0; j < keyDim; j++) slope[at + j] += pull * keys[slot * keyDim + j];
      });
      loss -= logOfSoftmax(scores, real, slots[row]) / rows;
      throughNormalisation(slope, units, row, keyDim);
    }
    for (let i = 0; i < slope.length; i++) slopes[i] += slope[i];
    return loss;
  }

  // The paper's term: the mean of -kappa K_c . q. Adds `weight` times its derivative by each query to `slopes`. (14)
  densityInformation(slots, queries, rows, weight, slopes) {
    const { keys, keyDim } = this;
    const { kappa } = this.settings;
    const units = unitRows(queries, rows, keyDim);
    const slope = new Float64Array(rows * keyDim);
    let loss = 0;
    for (let row = 0; row < rows; row++) {
      const at = row * keyDim;
      for (let j = 0; j < keyDim; j++) {
        const key = keys[slots[row] * keyDim + j];
        loss -= (kappa * key * units.rows[at + j]) / rows;
        slope[at + j] = (-weight * kappa * key) / rows;
      }
      throughNormalisation(slope, units, row, keyDim);
    }
    for (let i = 0; i < slope.length; i++) slopes[i] += slope[i];
    return loss;
  }

  // p(c=i|v=1), [N]: how often the generator is given each slot. (11)
  slotProbabilities() {
    const mass = this.histogram.map((count, slot) => count * this.values[slot]);
    const total = mass.reduce((sum, part) => sum + part, 0);
    return mass.map((part) => part / total);
  }

  // Slots c ~ p(c=i|v=1), one for each of `uniforms` in [0, 1). (11)
  sample(uniforms) {
    const cumulative = this.slotProbabilities();
    for (let slot = 1; slot < this.numSlots; slot++) cumulative[slot] += cumulative[slot - 1];
    return Int32Array.from(uniforms, (uniform) => {
      let low = 0; // the first slot whose cumulated probability is above the number
      let high = this.numSlots - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (cumulative[middle] > uniform * cumulative[this.numSlots - 1]) high = middle;
        else low = middle + 1;
      }
      return low;
    });
  }

  // Write a batch as one step: replacement of the oldest slot, or EM on S_y, for each sample. Returns the slots that
  // were replaced. A sample for which no slot is left to replace is not written. (7-10)
  write(queries, rows, labels) {
    const { keyDim } = this;
    const units = unitRows(queries, rows, keyDim).rows;
    const logPrior = this.logPrior();
    const scores = new Float64Array(this.numSlots);
    const samples = []; // of each: its label, S_y and its slots' log-likelihoods, or null where it replaces
    const replacing = [];
    for (let row = 0; row < rows; row++) {
      this.scores(units, row * keyDim, logPrior, scores);
      const lookedAt = this.nearest(scores).slice(0, this.settings.correct_in_top);
      if (!lookedAt.some((slot) => this.values[slot] === labels[row])) {
        replacing.push(row);
        continue;
      }
      const matching = this.nearest(scores, labels[row]);
      samples.push({ row, matching, logLikelihood: matching.map((slot) => scores[slot] - logPrior[slot]) });
    }
    const writer = this.assignReplacements(units, labels, replacing);
    const meanCount = this.histogram.reduce((sum, count) => sum + count, 0) / this.numSlots;

    for (let slot = 0; slot < this.numSlots; slot++) this.ages[slot] += 1;
    for (const { matching } of samples) this.ages[matching[0]] = 0;
    if (this.settings.update === "average") this.average(units, samples, writer);
    else this.expectationMaximisation(units, samples, writer);
    for (const [slot, row] of writer) {
      this.keys.set(units.subarray(row * keyDim, (row + 1) * keyDim), slot * keyDim);
      this.values[slot] = labels[row];
      this.ages[slot] = 0;
      this.histogram[slot] = meanCount;
    }
    return [...writer.keys()];
  }

  // Which sample overwrites which slot: the oldest slot of its own label, or of all, each sample another one. Samples take
  // turns by q . (1, sqrt 2, sqrt 3, ...), an order that does not depend on that of the batch. (7)
  assignReplacements(units, labels, replacing) {
    const { keyDim } = this;
    const position = (row) => {
      let sum = 0;
      for (let j = 0; j < keyDim; j++) sum += units[row * keyDim + j] * Math.sqrt(j + 1);
      return sum;
    };
    const inTurn = replacing.map((row) => ({ row, position: position(row) }));
    inTurn.sort((one, other) => one.position - other.position || one.row - other.row);
    const oldestFirst = Array.from(this.ages, (_, slot) => slot);
    oldestFirst.sort((one, other) => this.ages[other] - this.ages[one] || one - other);
    const writer = new Map(); // from slot to sample
    for (const { row } of inTurn) {
      const mayOverwrite = (slot) => !this.settings.replace_within_label || this.values[slot] === labels[row];
      const slot = oldestFirst.find((candidate) => mayOverwrite(candidate) && !writer.has(candidate));
      if (slot !== undefined) writer.set(slot, row);
    }
    return writer;
  }

  // One step of incremental EM from alpha h, on the summed statistics of all samples. (8-10)
  expectationMaximisation(units, samples, writer) {
    const { keyDim, histogram, keys } = this;
    const moving = new Set();
    for (const { matching } of samples) {
      for (const slot of matching) if (!writer.has(slot)) moving.add(slot);
    }
    for (const slot of moving) histogram[slot] *= this.settings.alpha;
    const mass = new Map(); // of each slot: the sum of its responsibilities, and of the queries weighted by them
    for (const slot of moving) mass.set(slot, { count: 0, pull: new Float64Array(keyDim) });
    for (const { row, matching, logLikelihood } of samples) {
      const scores = logLikelihood.map((likelihood, i) => likelihood + Math.log(histogram[matching[i]] + BETA));
      const responsibilities = softmax(scores, scores.map((_, i) => i)); // E-step (8)
      matching.forEach((slot, i) => {
        if (!moving.has(slot)) return;
        const of = mass.get(slot);
        of.count += responsibilities[i];
        for (let j = 0; j < keyDim; j++) of.pull[j] += responsibilities[i] * units[row * keyDim + j];
      });
    }
    for (const [slot, { count, pull }] of mass) {
      const before = histogram[slot];
      histogram[slot] += count; // M-step (9)
      if (!(histogram[slot] > 0)) continue;
      const moved = pull.map((part, j) => (before * keys[slot * keyDim + j] + part) / histogram[slot]); // M-step (10)
      if (length(moved, 0, keyDim) < NO_DIRECTION) continue;
      normalise(moved, 0, keyDim);
      keys.set(moved, slot * keyDim);
    }
  }

  // The rule of Kaiser et al. (2017) in the place of (8-10): a slot becomes the average of its key and the mean of the
  // queries that it matches best, however much it has counted.
  average(units, samples, writer) {
    const { keyDim, histogram, keys } = this;
    const matched = new Map(); // from slot to the rows of its samples
    for (const { row, matching } of samples) {
      const best = matching[0];
      if (writer.has(best)) continue;
      if (!matched.has(best)) matched.set(best, []);
      matched.get(best).push(row);
    }
    for (const [slot, rows] of matched) {
      const moved = keys.slice(slot * keyDim, (slot + 1) * keyDim);
      for (const row of rows) {
        for (let j = 0; j < keyDim; j++) moved[j] += units[row * keyDim + j] / rows.length;
      }
      normalise(moved, 0, keyDim);
      keys.set(moved, slot * keyDim);
      histogram[slot] = this.settings.alpha * histogram[slot] + rows.length;
    }
  }
}

// ---------------------------------------------------------------- vectors

function length(numbers, at, dim) {
  let sum = 0;
  for (let i = at; i < at + dim; i++) sum += numbers[i] * numbers[i];
  return Math.sqrt(sum);
}

function normalise(numbers, at, dim) {
  const norm = length(numbers, at, dim);
  if (norm === 0) return;
  for (let i = at; i < at + dim; i++) numbers[i] /= norm;
}

// Unit rows, and how long the rows were.
export function unitRows(queries, rows, dim) {
  const unit = Float64Array.from(queries.subarray(0, rows * dim));
  const lengths = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    lengths[row] = length(unit, row * dim, dim);
    normalise(unit, row * dim, dim);
  }
  return { rows: unit, lengths };
}

// The derivative by the unit row, in place turned into that by the row itself: (g - (g . q) q) / length.
function throughNormalisation(slopes, units, row, dim) {
  const at = row * dim;
  let along = 0;
  for (let j = 0; j < dim; j++) along += slopes[at + j] * units.rows[at + j];
  for (let j = 0; j < dim; j++) slopes[at + j] = (slopes[at + j] - along * units.rows[at + j]) / units.lengths[row];
}

// exp(score) of each of `slots`, as shares of their sum.
function softmax(scores, slots) {
  let highest = -Infinity;
  for (const slot of slots) highest = Math.max(highest, scores[slot]);
  const shares = new Float64Array(slots.length);
  let sum = 0;
  for (let i = 0; i < slots.length; i++) {
    shares[i] = Math.exp(scores[slots[i]] - highest);
    sum += shares[i];
  }
  for (let i = 0; i < slots.length; i++) shares[i] /= sum;
  return shares;
}

// log of the softmax over `slots`, of one of them.
function logOfSoftmax(scores, slots, slot) {
  let highest = -Infinity;
  for (const other of slots) highest = Math.max(highest, scores[other]);
  let sum = 0;
  for (const other of slots) sum += Math.exp(scores[other] - highest);
  return scores[slot] - highest - Math.log(sum);
}
