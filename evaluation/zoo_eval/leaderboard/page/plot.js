// Quality against cost: a mark for each entry, the Pareto front of those that a score places, read by pointer or keys.

const LABELS = 40; // this many entries or fewer are all named where there is space; of more, those of the front
const NEAR = 24; // pixels from a mark within which the pointer means it
const RADIUS = 5;

const tickText = (value) => (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-4) ? number(value) : minus(String(Number(value.toPrecision(6)))));

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

const measured = document.createElement("canvas").getContext("2d");

function textWidth(text, size = 12.5) {
  measured.font = `${size}px system-ui, sans-serif`;
  return measured.measureText(text).width;
}

// Names beside their marks, where they cover neither each other nor a mark nor an interval; farther off with a line
// to their mark; where there is no space they are left out.
function placeLabels(points, all, front, box) {
  const taken = all.map((p) => ({ x: p.px - 7, y: p.py - 7, w: 14, h: 14 }));
  front.slice(1).forEach((p, k) => { // the steps of the front
    const last = front[k];
    taken.push({ x: last.px, y: last.py - 2, w: p.px - last.px, h: 4 }, { x: p.px - 2, y: Math.min(p.py, last.py), w: 4, h: Math.abs(p.py - last.py) });
  });
  const bars = all.filter((p) => p.bar).map((p) => ({ x: p.px - 2, y: p.bar[0], w: 4, h: p.bar[1] - p.bar[0] }));
  const placed = [];
  for (const p of points) {
    const text = p.name.length > 22 ? p.name.slice(0, 21) + "\u2026" : p.name;
    const w = textWidth(text) + 6;
    const near = [[9, -8], [-9 - w, -8], [-w / 2, -25], [-w / 2, 9], [9, -20], [9, 5], [-9 - w, -20], [-9 - w, 5]];
    const far = [[22, -32], [-22 - w, -32], [22, 16], [-22 - w, 16], [34, -8], [-34 - w, -8]];
    const spots = [...near, ...far].map(([dx, dy], k) => ({ x: p.px + dx, y: p.py + dy, w, h: 16, far: k >= near.length }));
    const free = spots.find((s) => s.x >= box.left && s.x + w <= box.right && s.y >= box.top && s.y + 16 <= box.bottom
      && ![...taken, ...bars].some((t) => overlap(s, t)));
    if (!free) continue;
    taken.push(free);
    const line = free.far ? `M${p.px.toFixed(1)} ${p.py.toFixed(1)}L${(free.x > p.px ? free.x : free.x + w).toFixed(1)} ${(free.y + 9).toFixed(1)}` : null;
    placed.push({ text, x: free.x + 3, y: free.y + 12, line });
  }
  return placed;
}

function drawPlot(holder, points, options) {
  const { costHeading, costUnit, metric, direction, kindX, kindY, factor, shownValue, open } = options;
  holder.replaceChildren();
  if (!points.length) {
    holder.append(el("p", { class: "empty" }, "Nothing to draw: no entry shown has both values."));
    return;
  }
  const width = Math.max(holder.clientWidth, 280);
  const height = width < 560 ? 320 : Math.min(620, Math.max(400, Math.round(width * 0.42)));
  const [top, bottom] = [14, height - 46];
  const placed = points.filter((p) => p.ranked);
  const base = placed.length ? placed : points;
  // What is not ranked does not decide the range: beyond it, it is at its edge, or in the lane of what is not positive.
  const beneath = points.filter((p) => p.y <= 0).map((p) => p.y);
  const y = makeAxis({ values: [...base.map((p) => p.y), ...(kindY === "log" ? beneath : [])], ends: base.flatMap((p) => p.ends ?? []), kind: kindY, from: bottom, to: top, format: (v) => tickText(shownValue(v)), apart: 44 });
  const left = 18 + y.ticks.reduce((most, tick) => Math.max(most, textWidth(tick.text, 12)), 14);
  const x = makeAxis({ values: points.map((p) => p.x), kind: kindX, from: left, to: width - 18, format: (v) => inUnit(v, costUnit), apart: 90, unit: costUnit, textWidth: (text) => textWidth(text, 12) });
  for (const p of points) {
    [p.px, p.py] = [x.scale(p.x), Math.min(bottom - 1, Math.max(top, y.scale(p.y)))];
    p.beyond = p.py !== y.scale(p.y);
  }
  const plot = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  drawAxes(plot, x, y, { left, right: width - 18, top, bottom, costHeading, height });

  const front = paretoFront(points.filter((p) => p.ranked), direction);
  if (front.length > 1) {
    const steps = front.map((p, k) => (k === 0 ? `M${p.px} ${p.py}` : `H${p.px}V${p.py}`)).join("");
    plot.append(svg("path", { class: "front", d: steps }));
  }
  const many = points.length > 600;
  const named = points.length <= LABELS ? [...points].sort((a, b) => b.ranked - a.ranked || front.includes(b) - front.includes(a)) : front.slice(0, LABELS);
  const labels = placeLabels(named, many ? named : points, front.length > 1 ? front : [], { left: left + 2, right: width - 4, top: 0, bottom });
  for (const label of labels) { // below the marks and their intervals: a name hides nothing but the grid
    if (label.line) plot.append(svg("path", { class: "leader", d: label.line }));
    plot.append(svg("text", { class: "name", x: label.x, y: label.y }, label.text));
  }
  if (!many) drawBars(plot, points, y, { top, bottom });
  for (const [family, members] of byFamily(points)) {
    const path = (chosen) => chosen.map((p) => markPath(family, p.px, p.py, many ? 3 : RADIUS)).join("");
    const [ranked, rest] = [members.filter((p) => p.ranked), members.filter((p) => !p.ranked)];
    if (ranked.length) plot.append(svg("path", { class: many ? "dots many" : "dots", d: path(ranked), fill: familyColor(family) }));
    if (rest.length) plot.append(svg("path", { class: "dots hollow", d: path(rest), stroke: familyColor(family) }));
  }
  const ring = svg("circle", { class: "ring", r: 9, visibility: "hidden" });
  plot.append(ring);
  const heading = el("p", { class: "plot-heading" }, el("strong", {}, bdi(metric + factor)), ` (${direction} is better) against ${costHeading}`);
  const tip = el("div", { class: "tip", role: "status", hidden: true });
  const stage = el("div", {
    class: "stage", tabindex: 0, role: "application", "aria-roledescription": "plot",
    "aria-label": `${metric} against ${costHeading}, ${points.length} entries. Left and right arrows move between them, Enter opens one.`,
  }, plot, tip);
  const key = el("p", { class: "key" },
    ...[...byFamily(points).keys()].map((family) => el("span", {}, familyMark(family), bdi(family))),
    front.length > 1 ? el("span", {}, el("span", { class: "dash" }), term("Pareto front")) : null,
    placed.length === points.length ? null : el("span", {}, el("span", { class: "hollow-key" }), "outline: not ranked"),
    points.some((p) => p.beyond) ? el("span", {}, "at the edge: beyond the axis") : null,
    many ? null : el("span", {}, el("span", { class: "bar-key" }), "95 % interval"),
    points.length - labels.length && !many ? el("span", { class: "dim" }, `${plural(points.length - labels.length, "name", "names")} left out for space: point at a mark`) : null);
  holder.append(heading, stage, key);
  listen(stage, { ring, tip }, points, { width, metric, costHeading, costUnit, open });
}

function byFamily(points) {
  const families = new Map();
  for (const p of points) families.set(p.family, [...(families.get(p.family) ?? []), p]);
  return families;
}

function drawAxes(plot, x, y, { left, right, top, bottom, costHeading, height }) {
  for (const { at, text, lane } of y.ticks) {
    plot.append(svg("line", { class: "rule", x1: left, x2: right, y1: at, y2: at }), svg("text", { class: "tick-text end", x: left - 8, y: at + 4 }, text));
    if (lane !== undefined) plot.append(svg("line", { class: "lane", x1: left, x2: right, y1: lane, y2: lane }));
  }
  for (const { at, text, lane } of x.ticks) {
    plot.append(svg("line", { class: "rule", x1: at, x2: at, y1: top, y2: bottom }), svg("text", { class: "tick-text middle", x: at, y: bottom + 18 }, text));
    if (lane !== undefined) plot.append(svg("line", { class: "lane", x1: lane, x2: lane, y1: top, y2: bottom }));
  }
  plot.append(svg("text", { class: "axis-name end", x: right, y: height - 6 }, `${costHeading} \u2192`));
}

// Intervals as bars; one that reaches beyond the axis ends in an arrow.
function drawBars(plot, points, y, { top, bottom }) {
  for (const p of points.filter((one) => one.ends && !one.beyond)) {
    const pixels = p.ends.map((v) => y.scale(v)).sort((a, b) => a - b);
    const [up, down] = [Math.max(pixels[0], top), Math.min(pixels[1], bottom)];
    p.bar = [up, down];
    const arrows = (pixels[0] < top ? `M${p.px - 3.5} ${top + 5}L${p.px} ${top}L${p.px + 3.5} ${top + 5}` : "") + (pixels[1] > bottom ? `M${p.px - 3.5} ${bottom - 5}L${p.px} ${bottom}L${p.px + 3.5} ${bottom - 5}` : "");
    if (down > up) plot.append(svg("path", { class: p.ranked ? "bars" : "bars faint", d: `M${p.px.toFixed(1)} ${up.toFixed(1)}V${down.toFixed(1)}${arrows}`, stroke: familyColor(p.family) }));
  }
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
      bdi(metric), ` ${p.text}`, el("br"), `${costHeading} ${inUnit(p.x, costUnit)}`, el("br"), sampleStrip(group(), p.row, { side: 28, count: 6, columns: 6 }) ?? "");
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
