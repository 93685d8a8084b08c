// The state of a playground as text: in the address of a page and as JSON. settings.py has the same checks for Python.
import { CELLS, cellsOf } from "./distributions.js";

const MARK = "#playground=";

// A whole state from what `state` says and defaults for what it does not. Throws an Error that says what is wrong.
export function checkedState(state, { controls, distributions, speeds, initial }) {
  if (!isDictionary(state)) throw new Error("a state is written in braces: { }");
  refuseUnknown("the state", state, initial);
  const { settings = {} } = state;
  if (!isDictionary(settings)) throw new Error("settings are written in braces: { }");
  refuseUnknown("settings", settings, initial.settings);
  const whole = { ...initial, ...state, settings: { ...initial.settings, ...settings } };
  if (!Number.isInteger(whole.seed) || whole.seed < 0 || whole.seed >= 2 ** 31) throw new Error("seed must be a whole number from 0 on");
  if (!Object.keys(distributions).includes(whole.distribution)) throw new Error(`distribution must be one of ${Object.keys(distributions).join(", ")}`);
  if (!speeds.includes(whole.speed)) throw new Error(`speed must be one of ${speeds.join(", ")}`);
  if (!isBase64(whole.painted)) throw new Error("painted must be text in base64");
  if (whole.painted.length > Math.ceil((CELLS * CELLS) / 6)) throw new Error("painted is too long");
  for (const control of controls) checkSetting(control, whole.settings[control.name]);
  return whole;
}

function isDictionary(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Text of 2, 3 or 4 letters for 1, 2 or 3 bytes. A single letter is left over by no number of bytes.
function isBase64(text) {
  return typeof text === "string" && /^[\w-]*$/.test(text) && text.length % 4 !== 1;
}

function checkSetting({ name, default: initial, options, low, high, whole }, value) {
  if (typeof initial === "boolean") {
    if (typeof value !== "boolean") throw new Error(`${name} must be true or false`);
  } else if (options.length > 0) {
    if (!options.includes(value)) throw new Error(`${name} must be one of ${options.join(", ")}`);
  } else if (typeof value !== "number" || !(value >= low && value <= high) || (whole && !Number.isInteger(value))) {
    throw new Error(`${name} must be a ${whole ? "whole " : ""}number from ${low} to ${high}`);
  }
}

function refuseUnknown(what, given, known) {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(known, name));
  if (unknown.length > 0) throw new Error(`${what} has no ${unknown.join(", ")}`);
}

// What of a state differs from the initial one.
export function differences(state, initial) {
  const changed = {};
  for (const [name, value] of Object.entries(state)) {
    if (name === "settings") {
      const settings = differences(value, initial.settings);
      if (Object.keys(settings).length > 0) changed.settings = settings;
    } else if (value !== initial[name]) {
      changed[name] = value;
    }
  }
  return changed;
}

// The part of an address, from # on, that says a state.
export function fragmentOf(state, initial) {
  return MARK + encodeURIComponent(JSON.stringify(differences(state, initial)));
}

// The state that a fragment says, not checked yet; null where it says none.
export function stateIn(fragment) {
  return fragment.startsWith(MARK) ? JSON.parse(decodeURIComponent(fragment.slice(MARK.length))) : null;
}

export function isEmpty({ distribution, painted }) {
  return distribution === "painted" && !cellsOf(painted).some((cell) => cell === 1);
}
