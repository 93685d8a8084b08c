// What the two models learn: distributions in the plane. Each has modes, pieces that do not touch each other.
import { Random } from "./random.js";

export const REACH = 3; // the plane that is shown and painted on goes from -REACH to REACH, both ways
export const CELLS = 40; // of a painting, along each side
const SIGMAS = 4; // a point belongs to a mode if it lies within so many standard deviations of it
const FOUND = 1 / 4; // a mode is found if it gets this part of its share of the points

// A distribution has `shares` [modes], how much of it lies in each mode; `sample(random)` draws a point, and
// `modeOf(x, y)` is the number of the mode that a point belongs to, or -1.

// Gaussians of one width around `centres`.
function gaussians(centres, sigma, weights = centres.map(() => 1)) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const shares = weights.map((weight) => weight / total);
  return {
    shares,
    sample(random) {
      const [x, y] = centres[drawn(shares, random)];
      return [x + sigma * random.normal(), y + sigma * random.normal()];
    },
    modeOf(x, y) {
      return centres.findIndex(([a, b]) => Math.hypot(x - a, y - b) <= SIGMAS * sigma);
    },
  };
}

// Curves, each a list of `arcs` { centre, radius, from, to } in radians, with normal noise of one width around them.
function curves(arcs, sigma) {
  const lengths = arcs.map(({ radius, from, to }) => radius * (to - from));
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const shares = lengths.map((length) => length / total);
  return {
    shares,
    sample(random) {
      const arc = arcs[drawn(shares, random)];
      const angle = arc.from + (arc.to - arc.from) * random.uniform();
      const [x, y] = on(arc, angle);
      return [x + sigma * random.normal(), y + sigma * random.normal()];
    },
    modeOf(x, y) {
      return arcs.findIndex((arc) => distanceTo(arc, x, y) <= SIGMAS * sigma);
    },
  };
}

function on({ centre, radius }, angle) {
  return [centre[0] + radius * Math.cos(angle), centre[1] + radius * Math.sin(angle)];
}

function distanceTo(arc, x, y) {
  const turn = 2 * Math.PI;
  const angle = Math.atan2(y - arc.centre[1], x - arc.centre[0]);
  const past = (((angle - arc.from) % turn) + turn) % turn;
  if (past <= arc.to - arc.from) return Math.abs(Math.hypot(x - arc.centre[0], y - arc.centre[1]) - arc.radius);
  const ends = [on(arc, arc.from), on(arc, arc.to)];
  return Math.min(...ends.map(([a, b]) => Math.hypot(x - a, y - b)));
}

const RING = Array.from({ length: 8 }, (_, i) => [2 * Math.cos((i * Math.PI) / 4), 2 * Math.sin((i * Math.PI) / 4)]);
const GRID = Array.from({ length: 25 }, (_, i) => [(i % 5) - 2, Math.floor(i / 5) - 2]);
const TURN = 2 * Math.PI;

const BUILT_IN = {
  ring: () => gaussians(RING, 0.1),
  grid: () => gaussians(GRID, 0.05),
  rings: () =>
    curves(
      [
        { centre: [0, 0], radius: 1, from: 0, to: TURN },
        { centre: [0, 0], radius: 2.2, from: 0, to: TURN },
      ],
      0.06,
    ),
  unequal: () => gaussians(RING, 0.1, [3, 1, 3, 1, 3, 1, 3, 1]),
  moons: () =>
    curves(
      [
        { centre: [-0.75, -0.4], radius: 1.5, from: 0, to: Math.PI },
        { centre: [0.75, 0.4], radius: 1.5, from: Math.PI, to: TURN },
      ],
      0.08,
    ),
};

// The distribution of a state: a built-in one by its name, or "painted", the cells of its `painted`.
export function distributionOf({ distribution, painted }) {
  return distribution === "painted" ? paintedDistribution(cellsOf(painted)) : BUILT_IN[distribution]();
}

// ---------------------------------------------------------------- what a reader paints

// The cells [CELLS x CELLS] of a painting, 1 where it is painted, from its text; row by row, from the lowest up.
export function cellsOf(text) {
  const cells = new Uint8Array(CELLS * CELLS);
  const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  for (let i = 0; i < cells.length; i++) cells[i] = (bytes.charCodeAt(i >> 3) >> (i & 7)) & 1;
  return cells;
}

// A painting as text that fits into an address: eight cells in a byte, base64 with - and _.
export function textOf(cells) {
  const bytes = new Uint8Array(Math.ceil(cells.length / 8));
  cells.forEach((cell, i) => (bytes[i >> 3] |= cell << (i & 7)));
  const last = bytes.findLastIndex((byte) => byte !== 0);
  const letters = Array.from(bytes.subarray(0, last + 1), (byte) => String.fromCharCode(byte)).join("");
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// The cell at a point, or -1 where it lies outside.
export function cellAt(x, y) {
  const column = Math.floor(((x + REACH) / (2 * REACH)) * CELLS);
  const row = Math.floor(((y + REACH) / (2 * REACH)) * CELLS);
  const isInside = column >= 0 && column < CELLS && row >= 0 && row < CELLS;
  return isInside ? row * CELLS + column : -1;
}

// Equally dense on all painted cells. The modes are the pieces that hang together; a point belongs to one if it lies in
// it or in a cell beside it.
function paintedDistribution(cells) {
  const mode = new Int16Array(cells.length).fill(-1);
  const painted = [];
  cells.forEach((cell, i) => cell && painted.push(i));
  const sizes = [];
  for (const start of painted) {
    if (mode[start] >= 0) continue;
    const piece = [start];
    mode[start] = sizes.length;
    for (const cell of piece) {
      for (const other of around(cell)) {
        if (!cells[other] || mode[other] >= 0) continue;
        mode[other] = sizes.length;
        piece.push(other);
      }
    }
    sizes.push(piece.length);
  }
  return {
    shares: sizes.map((size) => size / painted.length),
    sample(random) {
      const cell = painted[Math.floor(random.uniform() * painted.length)];
      const column = (cell % CELLS) + random.uniform();
      const row = Math.floor(cell / CELLS) + random.uniform();
      return [(column / CELLS) * 2 * REACH - REACH, (row / CELLS) * 2 * REACH - REACH];
    },
    modeOf(x, y) {
      const cell = cellAt(x, y);
      if (cell < 0) return -1;
      if (mode[cell] >= 0) return mode[cell];
      const beside = around(cell).find((other) => mode[other] >= 0);
      return beside === undefined ? -1 : mode[beside];
    },
  };
}

// The up to eight cells around one.
function around(cell) {
  const [column, row] = [cell % CELLS, Math.floor(cell / CELLS)];
  const cells = [];
  for (let y = Math.max(0, row - 1); y <= Math.min(CELLS - 1, row + 1); y++) {
    for (let x = Math.max(0, column - 1); x <= Math.min(CELLS - 1, column + 1); x++) {
      if (y * CELLS + x !== cell) cells.push(y * CELLS + x);
    }
  }
  return cells;
}

// ---------------------------------------------------------------- points

// `number` points, [number, 2] in a row.
export function pointsOf(distribution, number, random) {
  const points = new Float64Array(2 * number);
  for (let i = 0; i < number; i++) points.set(distribution.sample(random), 2 * i);
  return points;
}

// How many modes get at least a quarter of their share of `points`, and which part of them belongs to no mode.
export function measured(distribution, points) {
  const number = points.length / 2;
  const counts = distribution.shares.map(() => 0);
  let off = 0;
  for (let i = 0; i < number; i++) {
    const mode = distribution.modeOf(points[2 * i], points[2 * i + 1]);
    if (mode < 0) off += 1;
    else counts[mode] += 1;
  }
  const modes = counts.filter((count, mode) => count >= FOUND * distribution.shares[mode] * number).length;
  return { modes, of: counts.length, off: off / number };
}

function drawn(shares, random) {
  let left = random.uniform();
  for (let i = 0; i < shares.length - 1; i++) {
    if (left < shares[i]) return i;
    left -= shares[i];
  }
  return shares.length - 1;
}

// Points to look at: the same for every seed, so that pictures of two runs can be compared.
export function shownPoints(distribution, number) {
  return pointsOf(distribution, number, new Random(0, 9));
}
