// Pictures of a frame on canvases. The plane goes from -REACH to REACH both ways, y upward.
import { CELLS, REACH } from "./distributions.js";
import { HEAT } from "./frame.js";

export const SIDE = 704; // pixels of a canvas; the page shows it at half that size or less
const REAL = [0, 114, 178];
const GENERATED = [230, 159, 0];
const SIZE = SIDE / (2 * REACH); // pixels of a unit of the plane

const placeOf = (x, y) => [(x + REACH) * SIZE, (REACH - y) * SIZE];
export const pointAt = (left, top) => [left / SIZE - REACH, REACH - top / SIZE];
export const colourOf = (slot) => `hsl(${(slot * 137.5) % 360} 75% 60%)`; // of neighbouring slots, colours far apart

// One GAN: D as the ground, the real points, the grid of noise as the generator maps it, and the generated points, those
// of the slots in `chosen` in front where there are some.
export function drawPanel(canvas, { seen, real, bySlot, chosen = null }) {
  const context = cleared(canvas);
  drawHeat(context, seen.heat);
  drawDots(context, real, 2.6, "rgb(110 110 110 / 0.75)");
  context.lineWidth = 1.2;
  for (const { slot, side, points } of seen.grids) {
    context.strokeStyle = bySlot ? colourOf(slot) : inkOf(canvas);
    context.globalAlpha = bySlot ? 0.9 : 0.55;
    drawGrid(context, side, points);
  }
  context.globalAlpha = 1;
  for (let i = 0; i < seen.slots.length; i++) {
    const isFaint = chosen !== null && !chosen(i);
    context.globalAlpha = isFaint ? 0.15 : 1;
    drawDot(context, seen.points, i, 4.4, bySlot ? colourOf(seen.slots[i]) : "rgb(230 159 0)", "#000");
  }
  context.globalAlpha = 1;
}

// The slots in the plane: circles for real ones, squares for generated ones, as large as their histogram says; rings around
// those that were replaced of late. With a `probe`, lines to its slots, as wide as the posterior says.
export function drawMemory(canvas, { memory, real, flashes, chosen, probe }) {
  const context = cleared(canvas);
  drawDots(context, real, 2.6, "rgb(110 110 110 / 0.75)");
  if (!memory) return;
  const { values, places } = memory;
  if (probe) drawProbe(context, canvas, memory, probe);
  const inOrder = [...values.keys()].sort((one, other) => values[one] - values[other]); // real slots in front
  for (const slot of inOrder) {
    if (Number.isNaN(places[2 * slot])) continue;
    const [left, top] = placeOf(places[2 * slot], places[2 * slot + 1]);
    const radius = radiusOf(memory, slot);
    drawMark(context, values[slot], left, top, radius);
    const flash = flashes.get(slot) ?? 0;
    if (flash > 0) {
      context.globalAlpha = flash;
      context.strokeStyle = inkOf(canvas);
      context.lineWidth = 3;
      context.beginPath();
      context.arc(left, top, radius + 8, 0, 2 * Math.PI);
      context.stroke();
      context.globalAlpha = 1;
    }
  }
  if (chosen !== null && !Number.isNaN(places[2 * chosen])) {
    const [left, top] = placeOf(places[2 * chosen], places[2 * chosen + 1]);
    context.strokeStyle = inkOf(canvas);
    context.lineWidth = 4;
    context.setLineDash([10, 6]);
    context.beginPath();
    context.arc(left, top, radiusOf(memory, chosen) + 12, 0, 2 * Math.PI);
    context.stroke();
    context.setLineDash([]);
  }
}

// The slot whose mark is nearest to a place, within reach of a finger; null where there is none.
export function slotAt(memory, left, top) {
  let nearest = null;
  let distance = 24;
  for (let slot = 0; slot < memory.values.length; slot++) {
    const [x, y] = placeOf(memory.places[2 * slot], memory.places[2 * slot + 1]);
    const away = Math.hypot(left - x, top - y); // NaN for a slot without a place, which is never nearer
    if (away < distance) [nearest, distance] = [slot, away];
  }
  return nearest;
}

// A painting: painted cells, and the cell under the keyboard's cursor.
export function drawPainting(canvas, cells, cursor) {
  const context = cleared(canvas);
  const side = SIDE / CELLS;
  context.fillStyle = `rgb(${REAL.join(" ")})`;
  const box = (cell) => [(cell % CELLS) * side, SIDE - (Math.floor(cell / CELLS) + 1) * side, side, side];
  cells.forEach((cell, i) => cell && context.fillRect(...box(i)));
  context.strokeStyle = inkOf(canvas);
  context.lineWidth = 4;
  if (cursor !== null) context.strokeRect(...box(cursor));
}

// ---------------------------------------------------------------- parts

function cleared(canvas) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, SIDE, SIDE);
  return context;
}

// The colour of the text around a canvas: dark on a light page, light on a dark one.
function inkOf(canvas) {
  return getComputedStyle(canvas).color;
}

// D as a colour: blue where it says real, orange where it says generated, nothing where it cannot tell.
function drawHeat(context, heat) {
  const small = new OffscreenCanvas(HEAT, HEAT);
  const image = new ImageData(HEAT, HEAT);
  for (let row = 0; row < HEAT; row++) {
    for (let column = 0; column < HEAT; column++) {
      const d = heat[row * HEAT + column];
      const at = 4 * ((HEAT - 1 - row) * HEAT + column);
      image.data.set(d > 0.5 ? REAL : GENERATED, at);
      image.data[at + 3] = 255 * 0.6 * Math.abs(2 * d - 1);
    }
  }
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, SIDE, SIDE);
}

function drawDots(context, points, radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  for (let i = 0; i < points.length / 2; i++) {
    const [left, top] = placeOf(points[2 * i], points[2 * i + 1]);
    context.moveTo(left + radius, top);
    context.arc(left, top, radius, 0, 2 * Math.PI);
  }
  context.fill();
}

function drawDot(context, points, i, radius, colour, rim) {
  const [left, top] = placeOf(points[2 * i], points[2 * i + 1]);
  context.beginPath();
  context.arc(left, top, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.strokeStyle = rim;
  context.lineWidth = 1;
  context.stroke();
}

function drawGrid(context, side, points) {
  context.beginPath();
  for (let along = 0; along < side; along++) {
    for (let across = 0; across < side; across++) {
      lineTo(context, points, along * side + across, across === 0);
    }
    for (let across = 0; across < side; across++) {
      lineTo(context, points, across * side + along, across === 0);
    }
  }
  context.stroke();
}

function lineTo(context, points, i, isFirst) {
  const [left, top] = placeOf(points[2 * i], points[2 * i + 1]);
  if (isFirst) context.moveTo(left, top);
  else context.lineTo(left, top);
}

// Its area grows with the slot's count.
function radiusOf(memory, slot) {
  return 4 + 3.2 * Math.sqrt(Math.min(memory.histogram[slot], 36));
}

function drawMark(context, value, left, top, radius) {
  context.beginPath();
  if (value === 1) context.arc(left, top, radius, 0, 2 * Math.PI);
  else context.rect(left - 0.9 * radius, top - 0.9 * radius, 1.8 * radius, 1.8 * radius);
  context.fillStyle = `rgb(${(value === 1 ? REAL : GENERATED).join(" ")} / 0.8)`;
  context.fill();
  context.strokeStyle = "#000";
  context.lineWidth = 1;
  context.stroke();
}

function drawProbe(context, canvas, memory, { point, posterior, slots }) {
  const [left, top] = placeOf(...point);
  slots.forEach((slot) => {
    const probability = posterior[slot];
    if (probability < 0.01 || Number.isNaN(memory.places[2 * slot])) return;
    const [x, y] = placeOf(memory.places[2 * slot], memory.places[2 * slot + 1]);
    context.strokeStyle = `rgb(${(memory.values[slot] === 1 ? REAL : GENERATED).join(" ")})`;
    context.lineWidth = 2 + 14 * probability;
    context.beginPath();
    context.moveTo(left, top);
    context.lineTo(x, y);
    context.stroke();
  });
  context.strokeStyle = inkOf(canvas);
  context.lineWidth = 5;
  context.beginPath();
  for (const [dx, dy] of [
    [14, 14],
    [14, -14],
  ]) {
    context.moveTo(left - dx, top - dy);
    context.lineTo(left + dx, top + dy);
  }
  context.stroke();
}
