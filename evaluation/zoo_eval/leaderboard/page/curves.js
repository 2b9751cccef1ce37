// Training curves: one chart for each series, all runs on one axis, with names and units of both axes.

const LINES = ["var(--blue)", "var(--vermillion)", "var(--green)", "var(--purple)"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

// Series of a run: name -> [[step, value], ...].
function seriesOf(run) {
  const found = new Map();
  for (const { steps, series } of run.curves) {
    for (const [name, values] of series) found.set(name, steps.map((step, k) => [step, values[k]]).filter(([, v]) => v !== null));
  }
  return found;
}

// lines: [{ label, points, style }], drawn over one another. A log axis is chosen where positive values span 50-fold.
function curveChart(name, lines, { width = 300, height = 170, key = true } = {}) {
  const values = lines.flatMap(({ points }) => points.map(([, v]) => v));
  const steps = lines.flatMap(({ points }) => points.map(([s]) => s));
  if (!values.length) return null;
  const [low, high] = extent(values);
  const log = low > 0 && high / low > 50;
  const y = makeAxis({ values, kind: log ? "log" : "linear", from: height - 30, to: 8, format: tickText, apart: 34 });
  const left = 12 + y.ticks.reduce((most, tick) => Math.max(most, textWidth(tick.text, 11)), 8);
  const [first, last] = extent(steps);
  const px = (s) => left + ((width - left - 10) * (s - first)) / (last - first || 1);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} against the training step, ${lines.map((one) => one.label).join(", ")}` });
  for (const { at, text } of y.ticks) {
    chart.append(svg("line", { class: "rule", x1: left, x2: width - 10, y1: at, y2: at }), svg("text", { class: "tick-text small end", x: left - 5, y: at + 4 }, text));
  }
  for (const s of [first, last]) chart.append(svg("text", { class: `tick-text small ${s === last ? "end" : ""}`, x: px(s), y: height - 16 }, s.toLocaleString("en")));
  chart.append(svg("text", { class: "tick-text small middle", x: (left + width - 10) / 2, y: height - 4 }, "step"));
  for (const { points, style } of lines) {
    const d = points.map(([s, v], k) => `${k ? "L" : "M"}${px(s).toFixed(1)} ${y.scale(v).toFixed(1)}`).join("");
    chart.append(svg("path", { class: "line", d, stroke: LINES[style % LINES.length], "stroke-dasharray": DASHES[style % DASHES.length] }));
  }
  return el("figure", { class: "curve" },
    el("figcaption", {}, bdi(name), log ? " (log)" : ""), chart,
    key && lines.length > 1 ? el("p", { class: "key" }, ...lines.map((one) => lineKey(one.label, one.style))) : null);
}

const lineKey = (label, style) =>
  el("span", {}, svg("svg", { width: 22, height: 8, "aria-hidden": "true" }, svg("line", { class: "line", x1: 0, x2: 22, y1: 4, y2: 4, stroke: LINES[style % LINES.length], "stroke-dasharray": DASHES[style % DASHES.length] })), bdi(label));

// Learning rates come last: they were chosen, not found.
const curveOrder = (names) => [...names].sort((a, b) => a.startsWith("lr/") - b.startsWith("lr/"));
