// What is shown as a file: the rows of the table as CSV, JSON or LaTeX, and the plot or the gallery as PNG.

function save(name, content, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

const fileName = (now, ending) => `zoo-${now.data}-${now.task}-${view.metric}.${ending}`.replace(/[^A-Za-z0-9.-]+/g, "-");

// The rows that are shown, as plain data with full precision.
function plainRows(now, rows) {
  const ranking = now.rankings[view.metric];
  return rows.map((row) => ({
    data: now.data, task: now.task, given: now.given, protocol: now.protocol.hash, ranked_by: view.metric,
    rank: ranking.rank[row], mark: ranking.mark[row], name: nameOf(now, row), plugin: now.plugin[row], family: now.family[row],
    config_hash: now.config[row], seeds: now.seeds[row], state: now.state[row],
    metrics: Object.fromEntries(now.metrics.map((one) => [one.name, { mean: one.mean[row], half_width: one.width[row], bound: one.bound[row] }])),
    cost: Object.fromEntries(now.costs.map((cost) => [cost.name, cost.value[row]])),
  }));
}

// A cell of a CSV: quoted where needed, and no text that a spreadsheet takes for a formula.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@]/.test(value) ? `'${value}` : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvText(now, rows) {
  const lines = plainRows(now, rows).map(({ metrics, cost, ...own }) => ({
    ...own, ...Object.fromEntries(Object.entries(metrics).flatMap(([name, one]) => [[name, one.mean], [`${name} half-width`, one.half_width]])), ...cost }));
  const head = Object.keys(lines[0] ?? {});
  return [head, ...lines.map((line) => head.map((name) => line[name]))].map((cells) => cells.map(csvCell).join(",")).join("\n") + "\n";
}

const LATEX = { "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", $: "\\$", "&": "\\&", "#": "\\#", "%": "\\%", _: "\\_", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}" };
const latexText = (text) => [...text].map((letter) => LATEX[letter] ?? letter).join("");

function latexTable(now, rows) {
  const ranking = now.rankings[view.metric];
  const main = metricOf(now, view.metric);
  const columns = [main, ...now.metrics.filter((one) => one.better && one !== main).slice(0, 3)];
  const math = (text) => text.replaceAll("\u2212", "-").replace("\u2264", "\\leq ").replace("\u2265", "\\geq ").replace("\u00b1", "\\pm ").trim();
  const cell = (one, row) => (one.mean[row] === null ? "--" : `$${math(valueText(one, row))}${one === main && one.width[row] !== null ? ` ${math(spreadText(one, row))}` : ""}$`);
  const heads = columns.map((one) => `${latexText(one.name)}${one.exponent ? ` $\\times 10^{${-one.exponent}}$` : ""} $\\${one.better === "lower" ? "down" : "up"}arrow$`);
  const body = rows.map((row) => [rankText(ranking, row).replace("\u2013", "--").replace("~", "\\textasciitilde{}"), latexText(nameOf(now, row)), ...columns.map((one) => cell(one, row))].join(" & ") + " \\\\");
  return ["% \\usepackage{booktabs}", "\\begin{table}", "\\centering",
    `\\caption{${latexText(`${now.data}, ${now.task}, protocol ${now.title}`)}; mean over training seeds $\\pm$ half of a 95\\,\\% interval. Ties share a rank (=).}`,
    `\\begin{tabular}{rl${"r".repeat(columns.length)}}`, "\\toprule", ["", "Model", ...heads].join(" & ") + " \\\\", "\\midrule", ...body, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""].join("\n");
}

const STYLED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "font-size", "font-weight", "text-anchor", "paint-order"];

// The plot as an image, in the colors that are shown.
function plotPng() {
  const drawn = byId("drawing").querySelector("svg");
  if (!drawn) return Promise.resolve(null);
  const copy = drawn.cloneNode(true);
  const [own, copied] = [drawn.querySelectorAll("*"), copy.querySelectorAll("*")];
  own.forEach((node, k) => {
    const style = getComputedStyle(node);
    for (const name of STYLED) copied[k].setAttribute(name, style.getPropertyValue(name));
    copied[k].setAttribute("font-family", "system-ui, sans-serif");
  });
  const [width, height] = [Number(drawn.getAttribute("width")), Number(drawn.getAttribute("height"))];
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const image = new Image();
  return new Promise((done) => {
    image.addEventListener("load", () => done(painted(width, height, 30, (context) => context.drawImage(image, 0, 30, width, height))));
    image.addEventListener("error", () => done(null));
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  });
}

// A PNG with a heading, at twice the size.
function painted(width, height, above, paint) {
  const canvas = el("canvas", { width: width * 2, height: (height + above) * 2 });
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.body);
  context.scale(2, 2);
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, width, height + above);
  context.fillStyle = style.color;
  context.font = "600 14px system-ui, sans-serif";
  context.fillText(`${group().data}, ${group().task}: ${view.metric}`, 12, 20);
  paint(context, style);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// Samples of the entries in the order of the table, each with its rank and its name.
function galleryPng(now, rows) {
  const shown = rows.filter((row) => sampleCount(now, row)).slice(0, 60);
  if (!shown.length) return Promise.resolve(null);
  const [across, side, gap] = [Math.min(6, shown.length), 44, 2];
  const wide = (side * now.sprite.cell[0]) / now.sprite.cell[1];
  const [w, h] = [4 * (wide + gap) + 22, 2 * (side + gap) + 40];
  return painted(across * w + 12, Math.ceil(shown.length / across) * h, 34, (context, style) => shown.forEach((row, k) => {
    const [left, top] = [12 + (k % across) * w, 40 + Math.floor(k / across) * h];
    context.fillStyle = style.color;
    context.font = "12px system-ui, sans-serif";
    context.fillText(`${rankText(now.rankings[view.metric], row)}  ${nameOf(now, row)}`.slice(0, 30), left, top + 8, w - 14);
    paintCells(context, now, row, { left, top: top + 16, side, columns: 4, count: 8, gap });
  }));
}

async function savePng(now, rows) {
  if (view.show === "table") { // the plot is drawn where it is seen
    view.show = "plot";
    draw();
  }
  const image = view.show === "gallery" ? await galleryPng(now, rows) : await plotPng();
  if (image) save(fileName(now, "png"), image);
}

function drawExport(now, rows) {
  const button = (text, act) => el("button", { type: "button", class: "quiet", onclick: act }, text);
  byId("export").querySelector("div").replaceChildren(
    button("CSV", () => save(fileName(now, "csv"), csvText(now, rows()), "text/csv")),
    button("JSON", () => save(fileName(now, "json"), JSON.stringify(plainRows(now, rows()), null, 1), "application/json")),
    button("LaTeX", () => save(fileName(now, "tex"), latexTable(now, rows()), "application/x-tex")),
    button(view.show === "gallery" ? "PNG of the gallery" : "PNG of the plot", () => savePng(now, rows())));
}
