// A pad to paint a distribution on, with mouse, finger or keyboard.
import { button, element } from "../controls.js";
import { CELLS, cellAt, cellsOf, textOf } from "./distributions.js";
import { SIDE, drawPainting, pointAt } from "./draw.js";

// `changed(text)` is called with the painting after each stroke; `show(text)` puts one on the pad.
export function paintingPad(changed) {
  const canvas = element("canvas", { width: SIDE, height: SIDE, className: "plane" });
  const pad = element("div", { className: "pad", tabIndex: 0, role: "application", "aria-label": "painting: arrow keys move, the space bar paints, or erases where erase is ticked" }, canvas);
  let cells = new Uint8Array(CELLS * CELLS);
  let cursor = null; // the keyboard's cell
  let brush = null; // while a stroke lasts: 1 paints, 0 erases
  let last = null; // where the stroke was last

  const draw = () => drawPainting(canvas, cells, cursor);
  const finish = () => changed(textOf(cells));
  const clear = button("clear the painting", "clear", () => {
    cells = new Uint8Array(CELLS * CELLS);
    draw();
    finish();
  });
  const erases = element("input", { type: "checkbox" });

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return pointAt(((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE);
  }
  // From where the stroke was last, in steps of half a cell, so that a quick hand leaves no gaps.
  function strokeTo(event) {
    const [x, y] = place(event);
    const [fromX, fromY] = last ?? [x, y];
    const pieces = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY) / 0.075));
    for (let piece = 1; piece <= pieces; piece++) {
      dab(fromX + ((x - fromX) * piece) / pieces, fromY + ((y - fromY) * piece) / pieces);
    }
    last = [x, y];
    draw();
  }
  // A brush two cells wide.
  function dab(x, y) {
    for (const [dx, dy] of [
      [-0.04, -0.04],
      [0.11, -0.04],
      [-0.04, 0.11],
      [0.11, 0.11],
    ]) {
      const cell = cellAt(x + dx, y + dy);
      if (cell >= 0) cells[cell] = brush;
    }
  }
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    brush = erases.checked ? 0 : 1;
    cursor = null;
    last = null;
    strokeTo(event);
  });
  pad.addEventListener("pointermove", (event) => {
    if (brush === null) return;
    strokeTo(event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    pad.addEventListener(end, () => {
      if (brush === null) return;
      brush = null;
      finish();
    });
  }
  pad.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1], " ": [0, 0] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    cursor ??= (CELLS / 2) * CELLS + CELLS / 2;
    const [dx, dy] = steps[event.key];
    const column = Math.max(0, Math.min(CELLS - 1, (cursor % CELLS) + dx));
    const row = Math.max(0, Math.min(CELLS - 1, Math.floor(cursor / CELLS) + dy));
    cursor = row * CELLS + column;
    if (event.key === " ") {
      cells[cursor] = erases.checked ? 0 : 1;
      finish();
    }
    draw();
  });
  pad.addEventListener("blur", () => {
    cursor = null;
    draw();
  });

  const tools = element("div", { className: "controls" }, element("label", { className: "toggle" }, erases, element("span", {}, "erase")), clear);
  const caption = element("figcaption", {}, "Paint where the real points should lie. Pieces that do not touch are its modes.");
  const show = (text) => {
    if (brush !== null) return; // in the middle of a stroke
    cells = cellsOf(text);
    draw();
  };
  return { node: element("figure", { className: "painting" }, pad, tools, caption), show };
}
