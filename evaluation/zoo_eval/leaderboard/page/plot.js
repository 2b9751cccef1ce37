// Quality against cost: one dot an entry, the Pareto front of those that a score places, read by pointer or arrow keys.

const LABELS = 14; // this many entries or fewer are all named; of more, those of the front
const NEAR = 24; // pixels from a dot within which the pointer means it

// An axis from values to pixels. On a log axis a 0 has a lane of its own at the start.
function makeAxis(values, log, from, to, format, apart, unit) {
  const positive = log ? values.filter((v) => v > 0) : values;
  const zeros = log && positive.length < values.length;
  const lane = zeros ? Math.sign(to - from) * 34 : 0;
  let low = positive.reduce((a, b) => Math.min(a, b), Infinity);
  let high = positive.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!positive.length) [low, high] = [1, 10];
  if (log) [low, high] = [low / 1.25, high * 1.25];
  else {
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    low = low >= 0 && low < (high - low) * 0.5 ? Math.min(0, low) : low - margin;
    high += margin;
  }
  const f = log ? Math.log : (v) => v;
  const [a, b] = [f(low), f(high)];
  const start = from + lane;
  const scale = (v) => (log && v <= 0 ? from + lane / 4 : start + ((to - start) * (f(v) - a)) / (b - a));
  const wanted = Math.max(2, Math.abs(to - from) / apart);
  const spaced = !log ? linearTicks : unit === "s" ? clockTicks : logTicks;
  const ticks = spaced(low, high, wanted).map((v) => ({ v, text: format(v) }));
  return { scale, ticks: zeros ? [{ v: 0, text: "0" }, ...ticks] : ticks };
}

const tickText = (value) => (Math.abs(value) >= 1e4 ? number(value) : minus(String(value)));

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

// Place names beside their dots where they cover neither each other nor a dot; names that do not fit are left out.
function placeLabels(points, width, height) {
  const taken = points.map((p) => ({ x: p.px - 4, y: p.py - 4, w: 8, h: 8 }));
  const placed = [];
  for (const p of points) {
    const text = p.name.length > 22 ? p.name.slice(0, 21) + "\u2026" : p.name;
    const w = text.length * 6.6 + 4;
    const spots = [[8, -7], [-8 - w, -7], [-w / 2, -22], [-w / 2, 8]].map(([dx, dy]) => ({ x: p.px + dx, y: p.py + dy, w, h: 14 }));
    const free = spots.find((s) => s.x >= 0 && s.x + w <= width && s.y >= 0 && s.y + 14 <= height && !taken.some((t) => overlap(s, t)));
    if (!free) continue;
    taken.push(free);
    placed.push({ text, x: free.x + 2, y: free.y + 11, point: p });
  }
  return placed;
}

// Dots of one family as one path: 10,000 of them need no more elements than ten.
const dotPath = (points) => points.map((p) => `M${p.px.toFixed(1)} ${p.py.toFixed(1)}h0`).join("");

function drawPlot(holder, points, options) {
  const { costHeading, costUnit, metric, direction, logX, logY, color, open } = options;
  holder.replaceChildren();
  if (!points.length) {
    holder.append(el("p", { class: "empty" }, "Nothing to draw: no entry shown has both values."));
    return;
  }
  const width = Math.max(holder.clientWidth, 280);
  const height = width < 560 ? 270 : 320;
  const y = makeAxis(points.map((p) => p.y), logY, height - 40, 12, tickText, 44);
  const left = 16 + 7 * y.ticks.reduce((most, tick) => Math.max(most, tick.text.length), 2);
  const x = makeAxis(points.map((p) => p.x), logX, left, width - 14, (v) => inUnit(v, costUnit), 90, costUnit);
  for (const p of points) [p.px, p.py] = [x.scale(p.x), y.scale(p.y)];

  const plot = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const { v, text } of y.ticks) {
    const at = y.scale(v);
    plot.append(svg("line", { class: "grid", x1: left, x2: width - 14, y1: at, y2: at }), svg("text", { class: "tick-text end", x: left - 8, y: at + 4 }, text));
  }
  for (const { v, text } of x.ticks) {
    const at = x.scale(v);
    plot.append(svg("line", { class: "grid", x1: at, x2: at, y1: 12, y2: height - 40 }), svg("text", { class: "tick-text middle", x: at, y: height - 24 }, text));
  }
  plot.append(svg("text", { class: "axis-name end", x: width - 14, y: height - 5 }, `${costHeading} \u2192`));

  const front = paretoFront(points.filter((p) => p.ranked), direction);
  if (front.length > 1) {
    const steps = front.map((p, k) => (k === 0 ? `M${p.px} ${p.py}` : `H${p.px}V${p.py}`)).join("");
    plot.append(svg("path", { class: "front", d: steps }));
  }
  const families = new Map();
  for (const p of points) {
    if (!families.has(p.family)) families.set(p.family, []);
    families.get(p.family).push(p);
  }
  const many = points.length > 600;
  for (const [family, members] of families) {
    if (!many) {
      const bars = members.filter((p) => p.ends).map((p) => {
        const [low, high] = p.ends.map((v) => Math.min(Math.max(logY && v <= 0 ? height - 40 : y.scale(v), 12), height - 40));
        return `M${p.px.toFixed(1)} ${low.toFixed(1)}V${high.toFixed(1)}`;
      });
      plot.append(svg("path", { class: "bars", d: bars.join(""), stroke: color(family) }));
    }
    const ranked = members.filter((p) => p.ranked);
    const rest = members.filter((p) => !p.ranked);
    plot.append(svg("path", { class: many ? "dots many" : "dots", d: dotPath(ranked), stroke: color(family) }));
    if (rest.length) {
      plot.append(svg("path", { class: "dots hollow", d: dotPath(rest), stroke: color(family) }), svg("path", { class: "holes", d: dotPath(rest) }));
    }
  }
  const named = points.length <= LABELS ? points : front.slice(0, LABELS);
  for (const label of placeLabels(named, width, height - 40)) {
    plot.append(svg("text", { class: "name", x: label.x, y: label.y }, label.text));
  }
  const ring = svg("circle", { class: "ring", r: 8, visibility: "hidden" });
  plot.append(ring);
  const heading = el("p", { class: "plot-heading" }, bdi(metric), ` (${direction} is better)`);
  const tip = el("div", { class: "tip", role: "status", hidden: true });
  const stage = el("div", {
    class: "stage", tabindex: 0, role: "application", "aria-roledescription": "plot",
    "aria-label": `${metric} against ${costHeading}, ${points.length} entries. Left and right arrows move between them, Enter opens one.`,
  }, plot, tip);
  const key = el("p", { class: "key" }, front.length > 1 ? el("span", {}, el("span", { class: "dash" }), "Pareto front") : null,
    points.every((p) => p.ranked) ? null : el("span", {}, el("span", { class: "hollow-key" }), "not ranked"));
  holder.append(heading, stage, key);
  listen(stage, { ring, tip }, points, { width, metric, costHeading, costUnit, open });
}

function listen(stage, { ring, tip }, points, { width, metric, costHeading, costUnit, open }) {
  const order = [...points].sort((a, b) => a.px - b.px || a.py - b.py);
  let at = -1;
  const show = (place) => {
    at = place;
    const p = order[place];
    stage.classList.toggle("over", Boolean(p));
    ring.setAttribute("visibility", p ? "visible" : "hidden");
    tip.hidden = !p;
    if (!p) return;
    ring.setAttribute("cx", p.px);
    ring.setAttribute("cy", p.py);
    tip.replaceChildren(
      el("strong", {}, bdi(p.name)), el("span", { class: "rank-text" }, ` ${p.rankText}`), el("br"),
      bdi(metric), ` ${number(p.y)}${p.spread}`, el("br"), `${costHeading} ${inUnit(p.x, costUnit)}`);
    tip.style.left = `${Math.min(Math.max(p.px - tip.offsetWidth / 2, 0), width - tip.offsetWidth)}px`;
    tip.style.top = `${p.py - tip.offsetHeight - 12 < 0 ? p.py + 14 : p.py - tip.offsetHeight - 12}px`;
  };
  const nearest = (event) => {
    const box = stage.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [-1, NEAR ** 2];
    order.forEach((p, k) => {
      const far = (p.px - px) ** 2 + (p.py - py) ** 2;
      if (far < least) [best, least] = [k, far];
    });
    return best;
  };
  stage.addEventListener("pointermove", (event) => show(nearest(event)));
  stage.addEventListener("pointerleave", () => show(-1));
  stage.addEventListener("blur", () => show(-1));
  stage.addEventListener("click", (event) => { const k = nearest(event); if (k >= 0) open(order[k].row); });
  stage.addEventListener("keydown", (event) => {
    const to = { ArrowRight: Math.min(at + 1, order.length - 1), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: order.length - 1 }[event.key];
    if (to !== undefined) show(to);
    else if (event.key === "Escape") show(-1);
    else if ((event.key === "Enter" || event.key === " ") && at >= 0) open(order[at].row);
    else return;
    event.preventDefault();
  });
}

// A training curve: steps to the right, its own range upwards, log where it falls a hundredfold.
function drawCurve(name, series) {
  const [width, height] = [260, 92];
  const values = series.map(([, v]) => v);
  const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const log = low > 0 && high / low > 100;
  const f = log ? Math.log : (v) => v;
  const [first, last] = [series[0][0], series[series.length - 1][0]];
  const px = (s) => 2 + ((width - 4) * (s - first)) / (last - first || 1);
  const py = (v) => (high === low ? height / 2 : 4 + ((height - 8) * (f(high) - f(v))) / (f(high) - f(low)));
  const d = series.map(([s, v], k) => `${k ? "L" : "M"}${px(s).toFixed(1)} ${py(v).toFixed(1)}`).join("");
  return el("figure", { class: "curve" },
    el("figcaption", {}, bdi(name), log ? " (log)" : "", el("span", { class: "last" }, number(values[values.length - 1]))),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} from ${number(values[0])} to ${number(values[values.length - 1])}` },
      svg("path", { d })),
    el("div", { class: "ends" }, el("span", {}, `${number(low)}\u2026${number(high)}`), el("span", {}, `steps ${first.toLocaleString("en")}\u2013${last.toLocaleString("en")}`)));
}
