// Numbers, units and elements. Every text reaches the page as a text node, so that no name becomes markup.

const minus = (text) => text.replace("-", "\u2212");

// Three significant digits, two decimals from 10 on: as in the terminal.
function number(value) {
  if (value === null || value === undefined) return "n/a";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e-3 && size < 9.995) return minus(value.toPrecision(3));
  if (size >= 1e-3 && size < 1e4) return minus(value.toFixed(2));
  return minus(value.toExponential(1).replace("e+", "e"));
}

function withPrefix(value, prefixes, unit) {
  let place = 0;
  let scaled = value;
  while (Math.abs(scaled) >= 999.5 && place < prefixes.length - 1) {
    scaled /= 1000;
    place += 1;
  }
  const whole = place === 0 && Number.isInteger(scaled);
  const text = whole ? String(scaled) : Math.abs(scaled) < 1e3 ? String(Number(scaled.toPrecision(3))) : scaled.toExponential(1);
  return minus(text) + (prefixes[place] || unit ? "\u202f" : "") + prefixes[place] + unit;
}

function seconds(value) {
  if (value === 0) return "0\u202fs";
  if (value < 1e-3) return `${Number((value * 1e6).toPrecision(3))}\u202fµs`;
  if (value < 1) return `${Number((value * 1e3).toPrecision(3))}\u202fms`;
  if (value < 100) return `${Number(value.toPrecision(3))}\u202fs`;
  return value < 3600 ? `${(value / 60).toFixed(0)}\u202fmin` : `${Number((value / 3600).toPrecision(3))}\u202fh`;
}

const UNITS = {
  s: seconds,
  count: (value) => withPrefix(value, ["", "k", "M", "G", "T", "P", "E"], ""),
  B: (value) => withPrefix(value, ["", "k", "M", "G", "T"], "B"),
};

const inUnit = (value, unit) => (value === null || value === undefined ? "n/a" : UNITS[unit](value));

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, properties = {}, ...children) => fill(document.createElement(tag), properties, children);

const svg = (tag, properties = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);

const byId = (id) => document.getElementById(id);

// A third party's text in its own direction: right-to-left letters in a name reorder nothing around it.
const bdi = (text, properties = {}) => el("bdi", properties, text);

// Ascending ticks for [low, high]: 1, 2, 5 times powers of ten.
function linearTicks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

// Ticks of a log axis of time: decades up to 10 s, then minutes and hours.
function clockTicks(low, high, wanted) {
  if (high <= 20) return logTicks(low, high, wanted);
  const inside = (list) => list.filter((v) => v >= low && v <= high);
  const coarse = inside([1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 360000, 3600000]);
  if (coarse.length > 3) return coarse;
  const fine = inside([0.1, 0.3, 1, 3, 10, 20, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 36000, 108000, 360000, 1080000]);
  const unit = high < 7200 ? 60 : 3600;
  return fine.length > 2 ? fine : linearTicks(low / unit, high / unit, wanted).map((v) => v * unit);
}

function logTicks(low, high, wanted) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const decades = last - first;
  const span = Math.log10(high / low);
  const stride = Math.max(1, Math.ceil(decades / wanted));
  const within = span <= 1.6 ? [1, 2, 5] : span <= 3 && stride === 1 ? [1, 3] : [1];
  const ticks = [];
  for (let power = first; power <= last; power += stride) {
    for (const k of within) {
      const tick = Number((k * 10 ** power).toPrecision(3));
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : linearTicks(low, high, wanted);
}
