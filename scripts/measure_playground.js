// What the playground's models reach, run by run, for scripts/measure_playground.py: runs come in, a line of JSON goes out for
// each measurement. Runs under Node, from the engine's own module.
import { readFileSync } from "node:fs";

const { Experiment, frameOf, shownPoints } = await import(process.argv[2]);

for (const { name, state, at, number, skipsOrdinary, draws } of JSON.parse(readFileSync(0, "utf-8"))) {
  const experiment = new Experiment(state);
  if (skipsOrdinary) experiment.ordinary.step = () => null;
  const start = process.cpuUsage().user;
  let spent = 0; // microseconds on looking
  for (let step = 1; step <= at.at(-1); step++) {
    experiment.step();
    if (!at.includes(step)) continue;
    const looking = process.cpuUsage().user;
    const { ordinary, withMemory } = experiment.measure(number);
    const line = { name, seed: state.seed, step, memory: withMemory };
    if (!skipsOrdinary) line.ordinary = ordinary;
    if (draws) {
      line.frame = plain(frameOf(experiment));
      line.real = plain(shownPoints(experiment.distribution, 400));
    }
    spent += process.cpuUsage().user - looking;
    line.milliseconds = (process.cpuUsage().user - start - spent) / 1000 / step; // of CPU time, for each step
    console.log(JSON.stringify(line));
  }
}

// Typed arrays as lists.
function plain(value) {
  if (ArrayBuffer.isView(value)) return Array.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
}
