// What the widgets on a circle or a sphere draw with: the sign of a slot, texts, paths and angles.
import { svg } from "memgan/controls.js";

// A drawing from -size to size with y upward: `flip` what is put in with its numbers negated.
export function canvasOf(size, label) {
  return svg("svg", { viewBox: `${-size} ${-size} ${2 * size} ${2 * size}`, class: "circle", role: "application", tabindex: 0, "aria-label": label });
}

export const kindOf = (value) => (value === 1 ? "real" : "generated");

// A disc for real and a square for generated, so that colour is not alone; its radius grows with the count h.
export function slotSign(value, radius, attributes = {}) {
  const more = { class: `sign ${kindOf(value)}`, ...attributes };
  if (value === 1) return svg("circle", { r: radius, ...more });
  return svg("rect", { x: -0.9 * radius, y: -0.9 * radius, width: 1.8 * radius, height: 1.8 * radius, ...more });
}

export const radiusOf = (count) => Math.min(0.16, 0.05 * Math.sqrt(1 + 0.7 * count));

export function textAt(x, y, text, size = 0.12) {
  const node = svg("text", { x, y: -y, "font-size": size, "text-anchor": "middle", "dominant-baseline": "central" });
  node.textContent = text;
  return node;
}

export const pathOf = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(4)} ${(-y).toFixed(4)}`).join("");

export const turnOf = ([x, y]) => Math.atan2(y, x);

export const pointAt = (turn, radius = 1) => [radius * Math.cos(turn), radius * Math.sin(turn)];

export const degrees = (turn) => ((((turn * 180) / Math.PI) % 360) + 360) % 360;

// A count with as many digits as one can use.
export const countText = (count) => (count === 0 ? "0" : count < 0.01 ? count.toExponential(0) : count.toFixed(count < 10 ? 2 : 1));
