// What every widget is made of: elements, sliders, pictures. They take their colours from the page around them.

export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && !name.includes("-")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// The widget's outermost element. Keys that it uses do not reach the notebook around it.
export function root(el, name, ...children) {
  const node = element("div", { className: "memgan", role: "group", "aria-label": name }, ...children);
  node.dataset.lmSuppressShortcuts = "true";
  node.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(node);
  return node;
}

// A labelled slider; `says(value)` is the text beside it. `show(value)` sets it without calling `changed`.
export function slider({ label, min, max, step, says = String, changed }) {
  const input = element("input", { type: "range", min, max, step });
  const output = element("output");
  const node = element("label", { className: "slider" }, element("span", {}, label), input, output);
  input.addEventListener("input", () => changed(Number(input.value)));
  const show = (value) => {
    input.value = value;
    output.textContent = says(value);
    input.setAttribute("aria-valuetext", says(value));
  };
  return { node, input, show };
}

export function button(label, text, clicked) {
  const node = element("button", { type: "button", textContent: text, title: label, "aria-label": label });
  node.addEventListener("click", clicked);
  return node;
}

// A labelled menu; `options` are [value, text].
export function menu(label, options, changed) {
  const select = element("select", { "aria-label": label }, ...options.map(([value, text]) => element("option", { value }, text)));
  select.addEventListener("change", () => changed(select.value));
  const node = element("label", { className: "menu" }, element("span", {}, label), select);
  return { node, select };
}

// A canvas of the image's own pixels, enlarged by the page. `alt` says what it shows; "" is for what another label says.
export function picture(shape, width, alt) {
  const [, height, wide] = shape;
  const canvas = element("canvas", { width: wide, height, className: "pixels" });
  const named = alt ? { role: "img", "aria-label": alt } : { "aria-hidden": "true" };
  for (const [name, value] of Object.entries(named)) canvas.setAttribute(name, value);
  canvas.style.width = `${width}px`;
  return canvas;
}

// Numbers in [-1, 1], [C, H, W] in a row, into a canvas at (left, top).
export function paint(canvas, numbers, [channels, height, width], left = 0, top = 0) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const area = height * width;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = (numbers[(channels === 3 ? c * area : 0) + i] + 1) * 127.5;
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, left, top);
}

// Play, a step either way and a slider for a trait that counts from 0 to `last()`. It plays only when asked to, a step
// each `pause` milliseconds. `show(text)` puts the controls where the model is; `stop` ends it.
export function player(model, trait, name, last, pause) {
  const range = element("input", { type: "range", min: 0, step: 1, "aria-label": name });
  const says = element("output");
  let timer = null;
  const play = button(`${name}: play or pause`, "play", () => (timer === null ? start() : halt()));
  const move = (to) => set(model, { [trait]: Math.max(0, Math.min(last(), to)) });
  const step = (by) => (halt(), move(model.get(trait) + by));
  range.addEventListener("input", () => (halt(), move(Number(range.value))));
  function halt() {
    clearInterval(timer);
    timer = null;
    play.textContent = "play";
  }
  function start() {
    if (model.get(trait) === last()) move(0);
    play.textContent = "pause";
    timer = setInterval(() => {
      move(model.get(trait) + 1);
      if (model.get(trait) === last()) halt();
    }, pause);
  }
  const show = (text) => {
    range.max = last();
    range.value = model.get(trait);
    range.setAttribute("aria-valuetext", text);
    says.textContent = text;
  };
  const back = button(`${name}: back`, "◀", () => step(-1));
  const forth = button(`${name}: forth`, "▶", () => step(1));
  return { node: element("div", { className: "controls" }, back, play, forth, range, says), step, show, stop: halt };
}

// Listen to traits of the model and call at once; returns what stops it.
export function follow(model, traits, draw) {
  const events = traits.map((trait) => `change:${trait}`).join(" ");
  model.on(events, draw);
  draw();
  return () => model.off(events, draw);
}

export function set(model, changes) {
  for (const [trait, value] of Object.entries(changes)) model.set(trait, value);
  model.save_changes();
}

// Tell Python that a view is there, and when it has gone. A page that is closed or loaded anew takes its views with it and
// ends none of them, so that each has to notice by itself; a page that the browser has kept may come back.
export function announce(model, view = String(Math.random())) {
  const come = () => model.send?.({ shown: view });
  const go = () => model.send?.({ gone: view });
  const comeBack = ({ persisted }) => persisted && come();
  window.addEventListener("pagehide", go);
  window.addEventListener("pageshow", comeBack);
  come();
  return () => {
    window.removeEventListener("pagehide", go);
    window.removeEventListener("pageshow", comeBack);
    go();
  };
}
