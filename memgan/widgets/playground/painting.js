// A pad to paint a distribution on, with mouse, finger or keyboard.
import { button, element } from "../controls.js";
import { CELLS, cellAt, cellsOf, textOf } from "./distributions.js";
import { SIDE, drawPainting, pointAt } from "./draw.js";

// `changed(text)` is called with the painting after each stroke; `show(text)` puts one on the pad.
export function paintingPad(changed) {
  const canvas = element("canvas", { width: SIDE, height: SIDE, className: "plane" });
  const pad = element("div", { className: "pad", tabIndex: 0, role: "application", "aria-label": "painting: arrow keys move, space paints or erases" }, canvas);
  let cells = new Uint8Array(CELLS * CELLS);
  let cursor = null; // the keyboard's cell
  let brush = null; // while a stroke lasts: 1 paints, 0 erases

  const draw = () => drawPainting(canvas, cells, cursor);
  const finish = () => changed(textOf(cells));
  const clear = button("clear the painting", "clear", () => {
    cells = new Uint8Array(CELLS * CELLS);
    draw();
    finish();
  });
  const erases = element("input", { type: "checkbox" });

  // A brush two cells wide.
  function dab(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = pointAt(((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE);
    for (const [dx, dy] of [
      [-0.04, -0.04],
      [0.11, -0.04],
      [-0.04, 0.11],
      [0.11, 0.11],
    ]) {
      const cell = cellAt(x + dx, y + dy);
      if (cell >= 0) cells[cell] = brush;
    }
    draw();
  }
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    brush = erases.checked ? 0 : 1;
    cursor = null;
    dab(event);
  });
  pad.addEventListener("pointermove", (event) => {
    if (brush === null) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const each of all.length > 0 ? all : [event]) dab(each);
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
      cells[cursor] = 1 - cells[cursor];
      finish();
    }
    draw();
  });
  pad.addEventListener("blur", () => {
    cursor = null;
    draw();
  });

  const tools = element("div", { className: "controls" }, element("label", { className: "toggle" }, erases, element("span", {}, "erase")), clear);
  const caption = element("figcaption", {}, "Paint where the real points shall lie. Pieces that do not touch are its modes.");
  const show = (text) => {
    if (brush !== null) return; // in the middle of a stroke
    cells = cellsOf(text);
    draw();
  };
  return { node: element("figure", { className: "painting" }, pad, tools, caption), show };
}
