// The table: a page of rows, sorted by any column, opened by a button in each row.

const PAGE = 100;

function rankedCell(group, metric, row) {
  const one = metricOf(group, metric);
  if (one.mean[row] === null) return [el("span", { class: "dim" }, "n/a")];
  return [boundSign(one, row) + number(one.mean[row]), el("span", { class: "width" }, spreadText(one, row))];
}

// The tightest likelihood of a row in a unit, with its kind: kinds share a column, never a rank.
function likelihoodCell(group, unit, row) {
  const found = group.metrics.filter((one) => one.unit === unit && one.mean[row] !== null);
  if (!found.length) return [el("span", { class: "dim" }, "n/a")];
  const best = found.reduce((a, b) => (better[b.better](b.mean[row], a.mean[row]) ? b : a));
  return [boundSign(best, row) + best.mean[row].toFixed(3), el("span", { class: "kind" }, " ", bdi(best.name))];
}

// A row's mean and interval on one scale for all rows, so that what overlaps is seen to overlap.
function intervalCell(group, metric, row, scale) {
  const one = metricOf(group, metric);
  const mean = one.mean[row];
  if (mean === null || scale === null) return [];
  const [low, high] = (endsOf(one, row) ?? [mean, mean]).map((v) => scale(v).toFixed(1));
  return [
    svg("svg", { class: "interval", width: 96, height: 14, "aria-hidden": "true" },
      svg("line", { x1: 0, x2: 96, y1: 7, y2: 7, class: "rail" }),
      svg("line", { x1: low, x2: high, y1: 7, y2: 7, class: "span" }),
      svg("circle", { cx: scale(mean).toFixed(1), cy: 7, r: 3, fill: familyColor(group, group.family[row]) })),
  ];
}

function intervalScale(group, metric, all) {
  const one = metricOf(group, metric);
  const placed = all.filter((row) => isPlaced(group.rankings[metric], row));
  const rows = placed.length ? placed : all; // what is unranked may lie beyond the scale, and stands at its end
  const means = rows.map((row) => one.mean[row]).filter((v) => v !== null);
  if (!means.length) return null;
  const edges = rows.flatMap((row) => (one.mean[row] === null ? [] : (endsOf(one, row) ?? [one.mean[row]])));
  const smallest = means.reduce((a, b) => Math.min(a, b));
  let [low, high] = edges.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const log = smallest > 0 && high > 20 * smallest;
  if (log) low = Math.max(low, smallest / 2);
  const to = log ? (v) => Math.log(Math.max(v, low)) : (v) => v;
  const [a, b] = [to(low), to(high)];
  return (v) => (a === b ? 48 : 4 + (88 * (Math.min(Math.max(to(v), a), b) - a)) / (b - a));
}

function stateCell(state) {
  const sign = { reproduced: "\u2713 ", resampled: "\u21bb " }[state] ?? "";
  return [el("span", { class: `state ${state}` }, sign + state)];
}

// Every column of a group: key, heading, cells(row) -> nodes, and value(row) where it can sort.
function allColumns(group, metric) {
  const costs = group.costs.map((cost) => ({
    key: `cost ${cost.name}`, heading: cost.heading, about: cost.about,
    cells: (row) => [inUnit(cost.value[row], cost.unit)], value: (row) => cost.value[row], shown: cost.shown,
  }));
  const beside = group.metrics.filter((one) => one.name !== metric && !one.unit);
  const first = beside.filter((one) => one.better).slice(0, 3);
  const others = beside.map((one) => ({
    key: one.name, heading: one.name, about: one.better ? `${one.better} is better` : "shown, never ranked",
    cells: (row) => rankedCell(group, one.name, row).slice(0, 1), value: (row) => one.mean[row],
    shown: first.includes(one), down: one.better === "higher",
  }));
  const units = [...new Set(group.metrics.map((one) => one.unit).filter(Boolean))];
  const likelihoods = units.filter((unit) => metricOf(group, metric).unit !== unit).map((unit) => ({
    key: `likelihood ${unit}`, heading: unit, about: "the tightest likelihood, with its kind; ranked within a kind only",
    cells: (row) => likelihoodCell(group, unit, row), shown: true,
  }));
  const ranking = group.rankings[metric];
  const direction = metricOf(group, metric).better;
  return [
    { key: "rank", heading: "#", about: "rank", cells: (row) => [rankText(ranking, row)], fixed: true, rank: true },
    { key: "model", heading: "Model", cells: null, value: (row) => nameOf(group, row).toLowerCase(), fixed: true },
    { key: metric, heading: metric, about: `${direction} is better`, cells: (row) => rankedCell(group, metric, row),
      value: (row) => meanOf(group, metric, row), fixed: true, down: direction === "higher", main: true },
    { key: "interval", heading: "", about: "mean and 95 % interval", label: "interval, drawn",
      cells: (row, scale) => intervalCell(group, metric, row, scale), shown: true },
    { key: "seeds", heading: "Seeds", cells: (row) => [String(group.seeds[row])], value: (row) => group.seeds[row], shown: true },
    { key: "state", heading: "State", about: "whether its run was sampled and scored again", text: true, cells: (row) => stateCell(group.state[row]),
      value: (row) => -BOARD.states.findIndex(([name]) => name === group.state[row]), shown: true },
    ...others, ...likelihoods, ...costs,
  ];
}

const columnClass = (column, view) =>
  [column.key === "rank" && "rank", column.key === "model" && "model", column.main && "main", column.text && "text",
    !column.fixed && "extra", column.key === view.sort.key && "sorted"].filter(Boolean).join(" ");

// The extractor of a figure, "[digits]", is the same in every heading: shown in full where the figure ranks.
function headingText(column) {
  const [name, bracket] = column.heading.split(/(?=\[)/, 2);
  const rest = column.heading.slice(name.length);
  return rest ? [bdi(name), bdi(rest, { class: "of" })] : [bdi(name)];
}

function headCell(column, view, sortBy) {
  const sortable = column.value || column.rank;
  const active = column.key === view.sort.key;
  const order = active ? (view.sort.down ? "descending" : "ascending") : "none";
  const arrow = active ? el("span", { class: "arrow", "aria-hidden": "true" }, view.sort.down ? "\u25be" : "\u25b4") : null;
  return el("th", { scope: "col", class: columnClass(column, view), "aria-sort": sortable ? order : null, title: column.about },
    sortable
      ? el("button", { type: "button", onclick: () => sortBy(column), "aria-label": column.rank ? "rank" : null }, ...headingText(column), arrow)
      : el("span", { class: "plain" }, ...headingText(column)));
}

function modelCell(group, row, open) {
  const name = nameOf(group, row);
  return [
    el("span", { class: "dot", "data-family": group.family[row] }),
    el("button", { type: "button", class: "open", "data-row": row, title: name, onclick: () => open(row) }, bdi(name)),
    el("span", { class: "under-name" }, el("bdi", { class: "family" }, group.family[row]), el("span", { class: "small-state" }, ` \u00b7 ${group.state[row]}`)),
  ];
}

function bodyRow(group, row, columns, view, scale, open) {
  const unranked = !isPlaced(group.rankings[view.metric], row);
  const line = el("tr", { class: unranked ? "unranked" : "" });
  for (const column of columns) {
    const cells = column.key === "model" ? modelCell(group, row, open) : column.cells(row, scale);
    line.append(el(column.key === "model" ? "th" : "td", { class: columnClass(column, view), scope: column.key === "model" ? "row" : null }, ...cells));
  }
  const dot = line.querySelector(".dot");
  dot.style.background = familyColor(group, group.family[row]);
  line.addEventListener("click", (event) => { if (!event.target.closest("button")) open(row); });
  return line;
}

// A published figure: its protocol and source stand beside it, or on a phone, whose rows are short, under it.
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

function drawTable(group, view, columns, rows, { sortBy, open }) {
  const shown = rows.slice(view.page * PAGE, (view.page + 1) * PAGE);
  const scale = intervalScale(group, view.metric, rows);
  const head = el("thead", {}, el("tr", {}, ...columns.map((column) => headCell(column, view, sortBy))));
  const body = el("tbody", { id: "rows" }, ...shown.map((row) => bodyRow(group, row, columns, view, scale, open)));
  if (!rows.length) body.append(el("tr", {}, el("td", { colspan: columns.length, class: "empty" }, "No entry fits the search and the filters.")));
  const spreads = shown.map((row) => spreadText(metricOf(group, view.metric), row).length);
  body.style.setProperty("--spread", `${spreads.reduce((a, b) => Math.max(a, b), 0)}ch`); // so that the means stand in line
  const caption = el("caption", { class: "unseen" }, `Entries of ${group.data} ranked by ${view.metric}`);
  const table = byId("board-table");
  table.replaceChildren(caption, head, body);
  const { published } = group.rankings[view.metric];
  if (published.length) {
    table.append(el("tbody", { class: "elsewhere" },
      el("tr", {}, el("th", { colspan: columns.length, scope: "rowgroup", class: "text" },
        el("span", {}, "Published elsewhere, each under a protocol of its own: never ranked with these"))),
      ...published.flatMap((one) => publishedRows(one, columns))));
  }
}

// Up, Down, Home and End walk the rows' buttons; Enter and Space press them.
function moveRows(event) {
  const buttons = [...byId("rows").querySelectorAll("button.open")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (at < 0 || to === undefined || !buttons[to]) return;
  event.preventDefault();
  buttons[to].focus();
}

function drawPager(view, total, turn) {
  const last = Math.max(0, Math.ceil(total / PAGE) - 1);
  const pager = byId("pager");
  pager.hidden = last === 0;
  const button = (text, page) => el("button", { type: "button", disabled: page < 0 || page > last || page === view.page, onclick: () => turn(page) }, text);
  const first = view.page * PAGE + 1;
  pager.replaceChildren(
    button("First", 0), button("Previous", view.page - 1),
    el("span", { class: "numerals" }, `${first.toLocaleString("en")}\u2013${Math.min(total, first + PAGE - 1).toLocaleString("en")}`),
    button("Next", view.page + 1), button("Last", last));
}
