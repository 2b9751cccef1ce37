// Two to four entries beside one another: samples, metrics with their differences, curves on one axis, options that differ.

function relative(one, a, b) {
  const [x, y] = [one.mean[a], one.mean[b]];
  if (x === null || y === null) return "";
  const digits = Math.max(digitsOf(one, a), digitsOf(one, b));
  const by = scaled(one, y - x);
  const text = `${by > 0 ? "+" : ""}${fixed(by, digits)}`;
  return x > 0 && y > 0 ? `${text} (${y > x ? "+" : ""}${fixed((y / x - 1) * 100, 0)}\u202f%)` : text;
}

function differenceCell(group, one, first, row) {
  if (one.mean[row] === null) return missing();
  const found = differs(group, one.name, first, row);
  const sure = found === true ? "significant" : found === false ? "not significant" : found;
  const good = found === true && better[one.better]?.(one.mean[row], one.mean[first]);
  return [valueText(one, row), el("span", { class: "width" }, spreadText(one, row)), el("br"),
    el("span", { class: `change ${found === true ? (good ? "good" : "bad") : ""}` }, relative(one, first, row)),
    el("span", { class: "dim" }, ` ${sure}`)];
}

function comparedMetrics(group, rows) {
  const own = group.metrics.filter((one) => rows.some((row) => one.mean[row] !== null) && (one.better || one.unit));
  const costs = group.costs.filter((cost) => cost.shown && rows.some((row) => cost.value[row] !== null));
  const line = (one) => el("tr", {}, el("th", { scope: "row" }, term(one.name, bdi(one.name)), factorText(one), { lower: " \u2193", higher: " \u2191" }[one.better] ?? ""),
    ...rows.map((row, k) => el("td", {}, ...(k ? differenceCell(group, one, rows[0], row) : one.mean[row] === null ? missing() : [valueText(one, row), el("span", { class: "width" }, spreadText(one, row))]))));
  const costLine = (cost) => el("tr", {}, el("th", { scope: "row" }, cost.about), ...rows.map((row) => el("td", {}, inUnit(cost.value[row], cost.unit))));
  return el("div", { class: "scroll" }, el("table", { class: "metrics compared" }, comparedHead(group, rows, "Metric"), el("tbody", {}, ...own.map(line), ...costs.map(costLine))));
}

const comparedHead = (group, rows, first) =>
  el("thead", {}, el("tr", {}, el("th", { scope: "col" }, first), ...rows.map((row) => el("th", { scope: "col" }, familyMark(group.family[row]), " ", bdi(nameOf(group, row))))));

// Options whose values are not the same in all entries.
function differingOptions(group, rows, details) {
  const configs = details.map(({ config }) => new Map(config));
  const keys = [...new Set(configs.flatMap((config) => [...config.keys()]))];
  const differing = keys.filter((key) => !["seed", "plugin"].includes(key) && new Set(configs.map((config) => config.get(key) ?? null)).size > 1);
  if (!differing.length) return el("p", { class: "note" }, "no option differs");
  return el("div", { class: "scroll" }, el("table", { class: "metrics compared options" }, comparedHead(group, rows, "Option"),
    el("tbody", {}, ...differing.map((key) => el("tr", {}, el("th", { scope: "row" }, bdi(key)), ...configs.map((config) => el("td", {}, config.has(key) ? bdi(config.get(key)) : el("span", { class: "dim" }, "\u2014"))))))));
}

// Curves of the first seed of each entry; those with the same name share a chart.
function comparedCurves(group, rows, details) {
  const all = details.map(({ runs }) => (runs.length ? seriesOf(runs[0]) : new Map()));
  const counts = new Map();
  for (const series of all) for (const name of series.keys()) counts.set(name, (counts.get(name) ?? 0) + 1);
  const names = curveOrder([...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)));
  if (!names.length) return absent();
  const charts = names.map((name) => curveChart(name, all.flatMap((series, k) => (series.has(name) ? [{ label: nameOf(group, rows[k]), points: series.get(name), style: k }] : [])), { width: 420, height: 210 }));
  return el("div", { class: "curves wide" }, ...charts);
}

function comparedSamples(group, rows, details) {
  return el("div", { class: "compared-samples" }, ...rows.map((row, k) => {
    const run = details[k].runs[0];
    return el("figure", {}, el("figcaption", {}, familyMark(group.family[row]), " ", bdi(nameOf(group, row))),
      run?.grid ? gridImage(run.grid, `samples of ${nameOf(group, row)}`) : sampleStrip(group, row, { side: 48, columns: 4 }) ?? absent());
  }));
}

function drawCompare(dialog, group, rows) {
  const details = rows.map((row) => detail(group.detail[row]));
  dialog.replaceChildren(
    el("header", {}, dialogBar(dialog, el("h2", { id: "compare-name", tabindex: -1 }, `Compare ${plural(rows.length, "entry", "entries")}`)),
      el("p", { class: "under" }, `${group.data}, ${group.task}. Differences are from `, bdi(nameOf(group, rows[0])), ". Significance is that of the ranks: moderated t-test over training seeds, Holm\u2019s correction over all pairs of the table, 5\u202f%.")),
    el("div", { class: "entry-body" },
      section("Samples", comparedSamples(group, rows, details)),
      section("Metrics", comparedMetrics(group, rows)),
      section("Training curves of the first seed", comparedCurves(group, rows, details)),
      section("Options that differ", differingOptions(group, rows, details))));
  dialog.scrollTop = 0;
}

// The bar at the bottom of the window: which entries are chosen.
function drawChosen(group, rows, { start, drop, clear }) {
  const bar = byId("chosen");
  bar.hidden = !rows.length;
  bar.replaceChildren(
    ...rows.map((row) => el("span", { class: "chip" }, familyMark(group.family[row]), bdi(nameOf(group, row)),
      el("button", { type: "button", class: "drop", "aria-label": `Remove ${nameOf(group, row)}`, onclick: () => drop(row) }, "\u2715"))),
    el("button", { type: "button", class: "primary", disabled: rows.length < 2, onclick: start, id: "compare-start" }, rows.length < 2 ? "Compare: choose one more" : "Compare"),
    el("button", { type: "button", class: "quiet", onclick: clear }, "Clear"));
}
