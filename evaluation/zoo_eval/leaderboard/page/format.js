// Numbers, units and elements. Every text reaches the page as a text node, so that no name becomes markup.

const minus = (text) => text.replace("-", "\u2212");

function fixed(value, digits) {
  const text = value.toFixed(digits);
  return minus(Number(text) === 0 ? text.replace("-", "") : text);
}

// Digits after the point with which a half-width has two significant ones, as in the terminal.
function decimalsOf(half) {
  if (!(half > 0)) return 0;
  return Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(Number(half.toExponential(1))))));
}

// A single value outside a column: three significant digits.
function number(value) {
  if (value === null || value === undefined) return "n/a";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e-3 && size < 1e6) return minus(size < 100 ? String(Number(value.toPrecision(3))) : Math.round(value).toLocaleString("en"));
  const [mantissa, power] = value.toExponential(1).split("e");
  return `${minus(mantissa)}\u00d710${superscript(Number(power))}`;
}

const superscript = (power) => [...String(power)].map((c) => (c === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[Number(c)])).join("");

function withPrefix(value, prefixes, unit) {
  let place = 0;
  let scaled = value;
  while (Math.abs(scaled) >= 999.5 && place < prefixes.length - 1) {
    scaled /= 1000;
    place += 1;
  }
  const text = place === 0 && Number.isInteger(scaled) ? String(scaled) : String(Number(scaled.toPrecision(3)));
  return minus(text) + (prefixes[place] || unit ? "\u202f" : "") + prefixes[place] + unit;
}

// A duration as 0:07, 1:45 or 1:02:03.
function clock(value) {
  const whole = Math.round(value);
  const pad = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

function seconds(value) {
  if (value === 0) return "0\u202fs";
  if (value < 1e-3) return `${Number((value * 1e6).toPrecision(3))}\u202fµs`;
  if (value < 1) return `${Number((value * 1e3).toPrecision(3))}\u202fms`;
  return value < 60 ? `${Number(value.toPrecision(3))}\u202fs` : clock(value);
}

const UNITS = {
  s: seconds,
  clock: (value) => (value > 0 && value < 1 ? seconds(value) : clock(value)),
  count: (value) => withPrefix(value, ["", "k", "M", "G", "T", "P", "E"], ""),
  B: (value) => withPrefix(value, ["", "k", "M", "G", "T"], "B"),
};

const inUnit = (value, unit) => (value === null || value === undefined ? "n/a" : UNITS[unit](value));

const plural = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, properties = {}, ...children) => fill(document.createElement(tag), properties, children);

const svg = (tag, properties = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);

const byId = (id) => document.getElementById(id);

// A third party's text in its own direction: right-to-left letters in a name reorder nothing around it.
const bdi = (text, properties = {}) => el("bdi", properties, text);

// A link to another site, opened beside the page; an address of another kind is a text.
const link = (address, text) =>
  /^https:\/\//.test(address ?? "") ? el("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, text) : el("span", {}, text);
