// The table: a page of rows, sorted by any column, opened by a button in each row.

const PAGE = 100;
const MOST_COMPARED = 4;

const isNarrow = () => matchMedia("(max-width: 40rem)").matches;

const missing = () => [el("span", { class: "dim" }, "n/a")];

// Spaces as wide as digits, so that the decimal points of a column are in line.
function aligned(one, row, most) {
  const digits = digitsOf(one, row);
  return digits >= most ? "" : "\u2007".repeat(most - digits) + (digits ? "" : "\u2008");
}

function rankedCell(group, metric, row, most) {
  const one = metricOf(group, metric);
  if (one.mean[row] === null) return missing();
  return [valueText(one, row), el("span", { class: "width" }, spreadText(one, row), el("span", { class: "pad" }, aligned(one, row, most)))];
}

// A value beside the one that ranks, without its interval: no more digits than the column has.
function besideCell(one, row) {
  if (one.mean[row] === null) return missing();
  const digits = Math.min(digitsOf(one, row), one.decimals);
  return [boundSign(one, row) + fixed(scaled(one, one.mean[row]), digits), el("span", { class: "pad" }, aligned(one, row, one.decimals))];
}

// The tightest likelihood of a row in a unit, with its kind: kinds share a column, never a rank.
function likelihoodCell(group, unit, row) {
  const found = group.metrics.filter((one) => one.unit === unit && one.mean[row] !== null);
  if (!found.length) return missing();
  const best = found.reduce((a, b) => (better[b.better](b.mean[row], a.mean[row]) ? b : a));
  return [boundSign(best, row) + fixed(best.mean[row], 3), el("span", { class: "kind", title: kindOf(best.name) }, " ", bdi(cut(kindOf(best.name), 8)))];
}

const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "\u2026" : text);

const kindOf = (name) => name.slice(name.indexOf("[") + 1, -1);

// A row's mean and interval on one scale for all rows, so that what overlaps is seen to overlap.
function intervalCell(group, metric, row, axis) {
  const one = metricOf(group, metric);
  const mean = one.mean[row];
  if (mean === null || axis === null) return [];
  const [low, high] = (endsOf(one, row) ?? [mean, mean]).map((v) => axis.at(v).toFixed(1));
  return [
    svg("svg", { class: "interval", width: INTERVAL, height: 16, viewBox: `0 0 ${INTERVAL} 16`, role: "img", "aria-label": `${valueText(one, row)}${spreadText(one, row)}` },
      ...axis.ticks.map((tick) => svg("line", { x1: tick.at.toFixed(1), x2: tick.at.toFixed(1), y1: 0, y2: 16, class: "rail" })),
      svg("line", { x1: low, x2: high, y1: 8, y2: 8, class: "span" }),
      svg("path", { d: markPath(group.family[row], axis.at(mean), 8, 3.6), fill: familyColor(group.family[row]) })),
  ];
}

const INTERVAL = 96;

function intervalAxis(group, metric, all) {
  const one = metricOf(group, metric);
  const placed = all.filter((row) => isPlaced(group.rankings[metric], row));
  const rows = placed.length ? placed : all; // what is unranked may lie beyond the scale, and is at its end
  const means = rows.map((row) => one.mean[row]).filter((v) => v !== null);
  if (!means.length) return null;
  const ends = rows.flatMap((row) => (one.mean[row] === null ? [] : (endsOf(one, row) ?? [])));
  const axis = makeAxis({ values: means, ends, kind: axisKind(means), from: 5, to: INTERVAL - 5, format: (v) => tickText(scaled(one, v)), apart: 34, textWidth: (text) => 5.5 * text.length });
  const at = (v) => Math.min(INTERVAL - 4, Math.max(4, axis.scale(v)));
  return { at, ticks: axis.ticks.filter((tick) => tick.at >= 4 && tick.at <= INTERVAL - 4) };
}

function intervalHead(axis) {
  if (!axis) return [el("span", {}, "95 % interval")];
  return [el("span", { class: "plain" }, "95 % interval"),
    svg("svg", { width: INTERVAL, height: 12, viewBox: `0 0 ${INTERVAL} 12`, "aria-hidden": "true" },
      ...axis.ticks.map((tick) => svg("text", { x: tick.at, y: 10, class: "middle small" }, tick.text)))];
}

function stateCell(state) {
  const sign = { audited: "\u2713\u2713 ", consistent: "\u2713 ", reproduced: "\u2713 ", resampled: "\u21bb " }[state] ?? "";
  return [el("span", { class: `state ${state}` }, sign + state)];
}

const besideOf = (group, metric) => group.metrics.filter((one) => one.name !== metric && !one.unit);

// The metrics that stand beside the one that ranks: those of the task, or the first that have a direction.
function shownBeside(group, metric) {
  const beside = besideOf(group, metric);
  const named = beside.filter((one) => one.shown && one.better);
  return (named.length ? named : beside.filter((one) => one.better)).slice(0, 3);
}

// Every column of a group: key, heading, cells(row) -> nodes, and value(row) where it can sort.
function allColumns(group, metric) {
  const costs = group.costs.map((cost) => ({
    key: `cost ${cost.name}`, heading: cost.heading, term: BOARD.terms[cost.heading] ? cost.heading : null, about: cost.about,
    cells: (row) => (cost.value[row] === null ? missing() : [inUnit(cost.value[row], cost.unit)]), value: (row) => cost.value[row], shown: cost.shown,
  }));
  const beside = besideOf(group, metric);
  const first = shownBeside(group, metric);
  const others = beside.map((one) => ({
    key: one.name, heading: one.heading + factorText(one), term: one.name, sign: { lower: "\u2193", higher: "\u2191" }[one.better],
    cells: (row) => besideCell(one, row), value: (row) => one.mean[row],
    shown: first.includes(one), down: one.better === "higher", leaders: () => leadersOf(group, one.name),
  }));
  const units = [...new Set(group.metrics.map((one) => one.unit).filter(Boolean))];
  const likelihoods = units.filter((unit) => metricOf(group, metric).unit !== unit).map((unit) => ({
    key: `likelihood ${unit}`, heading: unit, term: group.metrics.find((one) => one.unit === unit).name,
    cells: (row) => likelihoodCell(group, unit, row), shown: true,
  }));
  const ranking = group.rankings[metric];
  const main = metricOf(group, metric);
  const has = group.sprite !== null;
  return [
    { key: "rank", heading: "#", term: "rank", cells: (row) => [rankText(ranking, row)], fixed: true, rank: true },
    { key: "model", heading: "Model", cells: null, value: (row) => nameOf(group, row).toLowerCase(), fixed: true },
    { key: metric, heading: metric + factorText(main), term: metric, sign: { lower: "\u2193", higher: "\u2191" }[main.better],
      cells: (row, context) => rankedCell(group, metric, row, context.digits), value: (row) => meanOf(group, metric, row), fixed: true, down: main.better === "higher", main: true },
    ...(has ? [{ key: "samples", heading: "Samples", cells: (row) => [sampleStrip(group, row, stripSize()) ?? ""], shown: true, samples: true }] : []),
    { key: "interval", heading: "95 % interval", term: "interval", cells: (row, context) => intervalCell(group, metric, row, context.axis), shown: true, interval: true },
    { key: "seeds", heading: "Seeds", term: "seeds", cells: (row) => [String(group.seeds[row])], value: (row) => group.seeds[row], shown: true },
    { key: "state", heading: "State", term: "state", text: true, cells: (row) => stateCell(group.state[row]),
      value: (row) => -BOARD.states.indexOf(group.state[row]), shown: true },
    { key: "task", heading: "Task", text: true, cells: () => [bdi(group.task)], shown: false },
    ...others, ...likelihoods, ...costs,
  ];
}

// Samples of a row: as many and as large as the window allows.
const stripSize = () => (view.tight ? { side: 24, count: view.tight > 1 ? 4 : 6 } : innerWidth < 1500 ? { side: 28, count: 6 } : { side: innerWidth < 1750 ? 34 : 40, count: 8 });

const columnClass = (column, view) =>
  [column.key === "rank" && "rank", column.key === "model" && "model", column.main && "main", column.text && "text", column.samples && "strips", column.interval && "ends",
    !column.fixed && "extra", column.key === view.sort.key && "sorted"].filter(Boolean).join(" ");

function headCell(column, view, sortBy, context) {
  const sortable = column.value || column.rank;
  const active = column.key === view.sort.key;
  const order = active ? (view.sort.down ? "descending" : "ascending") : "none";
  const arrow = active ? el("span", { class: "arrow", "aria-hidden": "true" }, view.sort.down ? "\u25be" : "\u25b4") : null;
  const sign = column.sign ? el("span", { class: "sign" }, ` ${column.sign}`) : null;
  const about = column.term && definitionOf(column.term) ? { "data-term": column.term, "data-title": column.heading } : { title: column.about };
  const inner = column.interval
    ? el("span", { ...about, tabindex: about["data-term"] ? 0 : null }, ...intervalHead(context.axis))
    : sortable
      ? el("button", { type: "button", onclick: () => sortBy(column), "aria-label": column.rank ? "rank" : null, ...about }, bdi(column.heading), sign, arrow)
      : el("span", { class: "plain", tabindex: about["data-term"] ? 0 : null, ...about }, bdi(column.heading));
  return el("th", { scope: "col", class: columnClass(column, view), "aria-sort": sortable ? order : null }, inner);
}

const givenBadge = (group) => (group.given ? el("span", { class: "given" }, `given: ${group.given}`) : null);

function compareBox(group, row, compare) {
  const box = el("input", { type: "checkbox", class: "pick", checked: compare.has(row), "aria-label": `Compare ${nameOf(group, row)}` });
  box.addEventListener("change", () => { if (!compare.set(row, box.checked)) box.checked = false; });
  return box;
}

function modelCell(group, row, { open, compare }) {
  const name = nameOf(group, row);
  const narrow = isNarrow();
  return [
    el("div", { class: "model-line" }, compareBox(group, row, compare), familyMark(group.family[row]),
      el("div", { class: "names" },
        el("button", { type: "button", class: "open", "data-row": row, title: name, onclick: () => open(row) }, bdi(name)),
        el("span", { class: "under-name" }, el("bdi", { class: "family" }, group.family[row]), el("span", { class: "small-state" }, ` \u00b7 ${group.state[row]}`)),
        givenBadge(group))),
    narrow ? sampleStrip(group, row, { side: 22, count: 6, columns: 6 }) : null,
  ];
}

function bodyRow(group, row, columns, view, context, acts) {
  const unranked = !isPlaced(group.rankings[view.metric], row);
  const line = el("tr", { class: unranked ? "unranked" : "" });
  for (const column of columns) {
    const isModel = column.key === "model";
    const best = context.leaders.get(column.key)?.has(row) ? " best" : "";
    line.append(el(isModel ? "th" : "td", { class: columnClass(column, view) + best, scope: isModel ? "row" : null }, ...(isModel ? modelCell(group, row, acts) : column.cells(row, context))));
  }
  line.addEventListener("click", (event) => { if (!event.target.closest("button, input, a")) acts.open(row); });
  return line;
}

// A published value: its protocol and source are beside it, or on a phone, whose rows are short, under it.
function publishedRows(one, columns) {
  const origin = () => [bdi(one.protocol), " \u2014 ", bdi(one.source), one.read ? null : el("em", {}, " (unverified: its source was not read)")];
  return [
    el("tr", { class: "published" },
      el("td", { class: "rank" }, "ref"),
      el("th", { class: "model", scope: "row" }, bdi(one.name)),
      el("td", { class: "main" }, number(one.value)),
      el("td", { class: "source text beside", colspan: Math.max(columns.length - 3, 1) }, ...origin())),
    el("tr", { class: "below" }, el("td", { class: "source text", colspan: 3 }, ...origin())),
  ];
}

function drawTable(group, view, columns, rows, acts) {
  const shown = rows.slice(view.page * PAGE, (view.page + 1) * PAGE);
  const main = metricOf(group, view.metric);
  const digits = shown.filter((row) => main.mean[row] !== null).reduce((most, row) => Math.max(most, digitsOf(main, row)), 0);
  const leaders = new Map(columns.filter((column) => column.leaders).map((column) => [column.key, new Set(column.leaders())]).filter(([, found]) => leads(group, [...found])));
  const context = { axis: intervalAxis(group, view.metric, rows), digits, leaders };
  const head = el("thead", {}, el("tr", {}, ...columns.map((column) => headCell(column, view, acts.sortBy, context))));
  const body = el("tbody", { id: "rows" }, ...shown.map((row) => bodyRow(group, row, columns, view, context, acts)));
  if (!rows.length) body.append(el("tr", {}, el("td", { colspan: columns.length, class: "empty" }, "No entry fits the search and the filters.")));
  const spreads = shown.map((row) => spreadText(main, row).length + aligned(main, row, digits).length);
  body.style.setProperty("--spread", `${spreads.reduce((a, b) => Math.max(a, b), 0)}ch`); // so that the means are in line
  const caption = el("caption", { class: "unseen" }, `Entries of ${group.data}, ${group.task}, ranked by ${view.metric}`);
  const table = byId("board-table");
  table.classList.toggle("tight", view.tight > 0);
  table.replaceChildren(caption, head, body);
  const { published } = group.rankings[view.metric];
  if (published.length) {
    table.append(el("tbody", { class: "elsewhere" },
      el("tr", {}, el("th", { colspan: columns.length, scope: "rowgroup", class: "text" },
        el("span", {}, "Published elsewhere, each under a protocol of its own: never ranked with these"))),
      ...published.flatMap((one) => publishedRows(one, columns))));
  }
}

// Up, Down, Home and End walk the entries' buttons; Enter and Space press them.
function moveRows(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button.open")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (at < 0 || to === undefined || !buttons[to]) return;
  event.preventDefault();
  buttons[to].focus();
}

function drawPager(view, total, turn) {
  const last = Math.max(0, Math.ceil(total / PAGE) - 1);
  const pager = byId("pager");
  pager.hidden = last === 0 || view.show === "plot";
  const button = (text, page) => el("button", { type: "button", disabled: page < 0 || page > last || page === view.page, onclick: () => turn(page) }, text);
  const first = view.page * PAGE + 1;
  pager.replaceChildren(
    button("First", 0), button("Previous", view.page - 1),
    el("span", { class: "numerals" }, `${first.toLocaleString("en")}\u2013${Math.min(total, first + PAGE - 1).toLocaleString("en")} of ${total.toLocaleString("en")}`),
    button("Next", view.page + 1), button("Last", last));
}
