// The playground's worker: it trains while the page stays free to answer its reader.
//
// The page sends { start: state }, { run: { playing, speed } }, { advance: steps }, { set: settings },
// { change: { distribution, painted } }, { probe: [x, y] or null }, and, when it has drawn the last frame,
// { wants: milliseconds }, how long that took. It gets { frame } when there is something new to draw and it has asked for it.
import { Experiment } from "./engine.js";
import { frameOf } from "./frame.js";

const CHUNK = 25; // milliseconds of training between two looks at the messages
const BETWEEN_FRAMES = 80; // milliseconds, at least
const SHARE = 1 / 6; // of the time that making and drawing frames may take while it trains
const PAUSES = { slow: 250, medium: 33, fast: 0 }; // milliseconds from one step to the next

let experiment = null;
let playing = false;
let speed = "fast";
let probe = null;
let isWanted = true; // whether the page waits for a frame
let isNew = false; // whether there is something to see that the page has not seen
let shown = -Infinity; // when the last frame was sent
let cost = 0; // milliseconds that the last frame took, here and on the page
let timer = null;
let replaced = new Set(); // slots, since the last frame

function step() {
  experiment.step();
  for (const slot of experiment.withMemory.replaced) replaced.add(slot);
  isNew = true;
}

function show() {
  if (!experiment || !isWanted || !isNew) return;
  const now = performance.now();
  const pause = playing ? Math.max(BETWEEN_FRAMES, cost / SHARE) : BETWEEN_FRAMES;
  if (now - shown < pause) {
    if (!playing) setTimeout(show, BETWEEN_FRAMES);
    return;
  }
  shown = now; // if the frame cannot be made, the next attempt waits as long
  const frame = frameOf(experiment, probe);
  frame.replaced = [...replaced];
  replaced = new Set();
  postMessage({ frame });
  shown = performance.now();
  cost = shown - now;
  isWanted = false;
  isNew = false;
}

function loop() {
  timer = null;
  if (!playing || !experiment) return;
  const until = performance.now() + CHUNK;
  do step();
  while (speed === "fast" && performance.now() < until);
  timer = setTimeout(loop, PAUSES[speed]); // before the frame, so that the models go on learning where one cannot be made
  show();
}

const answers = {
  start(state) {
    experiment = new Experiment(state);
    replaced = new Set();
  },
  run(wanted) {
    playing = wanted.playing;
    speed = wanted.speed;
    clearTimeout(timer);
    if (playing) timer = setTimeout(loop, 0);
  },
  advance(steps) {
    for (let i = 0; i < steps; i++) step();
  },
  set(settings) {
    experiment.set(settings);
  },
  change(distribution) {
    experiment.change(distribution);
  },
  probe(point) {
    probe = point;
  },
  wants(milliseconds) {
    isWanted = true;
    cost += milliseconds;
  },
};

onmessage = ({ data }) => {
  for (const [name, content] of Object.entries(data)) {
    answers[name](content);
    if (name !== "wants" && name !== "run") isNew = true;
  }
  show();
};
