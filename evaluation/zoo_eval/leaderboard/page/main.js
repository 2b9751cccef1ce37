// The page: what is chosen, where it is remembered (in the address), and what happens when it changes.

const view = { group: 0, metric: "", search: "", families: new Set(), standing: "", page: 0, entry: null,
  sort: { key: "rank", down: false }, cost: "", logX: true, logY: null, columns: new Map() };

const group = () => BOARD.groups[view.group];

const columnShown = (column) => column.fixed || (view.columns.get(column.heading || column.key) ?? column.shown);

let listed = []; // rows that pass the filters, in order

function setOptions(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

function remember() {
  const now = new URLSearchParams({ data: group().data, task: group().task, protocol: group().protocol.hash, metric: view.metric });
  if (view.search) now.set("search", view.search);
  if (view.entry !== null) now.set("entry", `${group().plugin[view.entry]}/${group().config[view.entry]}`);
  history.replaceState(null, "", `#${now}`);
}

// Open what the address names; names of nothing are ignored.
function recall() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const at = BOARD.groups.findIndex((one) => one.data === wanted.get("data") && one.protocol.hash === wanted.get("protocol") && [null, one.task].includes(wanted.get("task")));
  setGroup(Math.max(at, 0));
  if (Object.hasOwn(group().rankings, wanted.get("metric") ?? "")) view.metric = wanted.get("metric");
  view.search = wanted.get("search") ?? "";
  const entry = wanted.get("entry");
  return entry === null ? -1 : group().plugin.findIndex((plugin, row) => `${plugin}/${group().config[row]}` === entry);
}

function setGroup(at) {
  view.group = at;
  view.metric = Object.hasOwn(group().rankings, view.metric) ? view.metric : group().metric;
  view.families.clear();
  view.standing = "";
  view.entry = null;
  view.logY = null;
  if (!group().costs.some((cost) => cost.name === view.cost)) view.cost = group().costs[0]?.name ?? "";
  resetSort();
}

function resetSort() {
  view.sort = { key: "rank", down: false };
  view.page = 0;
}

function drawChoices() {
  const now = group();
  setOptions(byId("data"), [...new Set(BOARD.groups.map((one) => one.data))].map((name) => [name, name]), now.data);
  const beside = BOARD.groups.map((one, at) => [one, at]).filter(([one]) => one.data === now.data);
  setOptions(byId("task"), [...new Set(beside.map(([one]) => one.task))].map((name) => [name, name]), now.task);
  const same = beside.filter(([one]) => one.task === now.task);
  setOptions(byId("protocol"), same.map(([one, at]) => [String(at), one.title]), String(view.group));
  const ranked = now.metrics.filter((one) => Object.hasOwn(now.rankings, one.name));
  setOptions(byId("metric"), ranked.map((one) => [one.name, one.unit ? `${one.name} (${one.unit})` : one.name]), view.metric);
  setOptions(byId("standing"), [["", "any"], ...BOARD.states.map(([name]) => [name, name])], view.standing);
  setOptions(byId("cost"), now.costs.map((cost) => [cost.name, cost.about]), view.cost);
  byId("said").textContent = now.said;
  byId("fields").querySelector("dl").replaceWith(pairs(now.protocol.fields));
  byId("search").value = view.search;
  byId("families").replaceChildren(...now.families.map((family) => {
    const dot = el("span", { class: "dot" });
    dot.style.background = familyColor(now, family);
    return el("button", { type: "button", class: "chip", "aria-pressed": String(view.families.has(family)), onclick: (event) => {
      if (!view.families.delete(family)) view.families.add(family);
      event.currentTarget.setAttribute("aria-pressed", String(view.families.has(family)));
      view.page = 0;
      draw();
    } }, dot, bdi(family));
  }));
  byId("columns").querySelector("div").replaceChildren(...allColumns(now, view.metric).filter((column) => !column.fixed).map((column) =>
    el("label", { class: "tick" }, el("input", { type: "checkbox", checked: columnShown(column), onchange: (event) => {
      view.columns.set(column.heading || column.key, event.target.checked);
      draw();
    } }), " ", bdi(column.label ?? column.heading))));
}

function draw() {
  const now = group();
  const columns = allColumns(now, view.metric).filter(columnShown);
  listed = visible(now, view, columns);
  view.page = Math.min(view.page, Math.max(0, Math.ceil(listed.length / PAGE) - 1));
  drawTable(now, view, columns, listed, { sortBy, open: openEntry });
  drawPager(view, listed.length, (page) => { view.page = page; draw(); byId("board-table").scrollIntoView(); byId("rows").querySelector("button.open")?.focus(); });
  const all = now.plugin.length;
  const counted = (n) => n.toLocaleString("en");
  byId("count").textContent = listed.length === all ? `${counted(all)} ${all === 1 ? "entry" : "entries"}` : `${counted(listed.length)} of ${counted(all)} entries`;
  byId("notes").replaceChildren(...now.rankings[view.metric].notes.map((text) => el("li", {}, text)));
  const scroll = byId("scroll");
  const wide = scroll.scrollWidth > scroll.clientWidth + 1;
  scroll.toggleAttribute("data-wide", wide);
  for (const [name, value] of Object.entries({ tabindex: "0", role: "region", "aria-label": "Entries, scrolls sideways" })) {
    if (wide) scroll.setAttribute(name, value);
    else scroll.removeAttribute(name);
  }
  drawQuality();
  remember();
}

function drawQuality() {
  const now = group();
  const cost = now.costs.find((one) => one.name === view.cost);
  const one = metricOf(now, view.metric);
  const ranking = now.rankings[view.metric];
  byId("plot").hidden = !cost;
  if (!cost || !byId("plot").open) return;
  const points = listed.filter((row) => cost.value[row] !== null && one.mean[row] !== null).map((row) => ({
    row, x: cost.value[row], y: one.mean[row], ends: endsOf(one, row), spread: spreadText(one, row), family: now.family[row], name: nameOf(now, row),
    ranked: isPlaced(ranking, row), rankText: ranking.rank[row] !== null ? `rank ${rankText(ranking, row)}` : isPlaced(ranking, row) ? "not tested" : "not ranked",
  }));
  const ranked = points.filter((p) => p.ranked).map((p) => p.y);
  const lowest = points.reduce((least, p) => Math.min(least, p.y), Infinity);
  const span = ranked.reduce((a, b) => Math.max(a, b), 0) / ranked.reduce((a, b) => Math.min(a, b), Infinity);
  const logY = lowest > 0 && (view.logY ?? span > 20);
  byId("log-x").checked = view.logX;
  byId("log-y").checked = logY;
  byId("log-y").disabled = !(lowest > 0);
  drawPlot(byId("drawing"), points, { costHeading: cost.about, costUnit: cost.unit, metric: view.metric, direction: one.better,
    logX: view.logX, logY, color: (family) => familyColor(now, family), open: openEntry });
  const left = listed.length - points.length;
  byId("undrawn").textContent = left ? `${left.toLocaleString("en")} of the entries shown lack one of the two and are not drawn.` : "";
}

function sortBy(column) {
  const again = view.sort.key === column.key;
  view.sort = { key: column.key, down: again ? !view.sort.down : Boolean(column.down) };
  view.page = 0;
  draw();
  byId("board-table").querySelector("th.sorted button")?.focus();
}

let opener = null; // the row that was open first: closed again there, the browser itself returns the focus

function openEntry(row) {
  const dialog = byId("entry");
  if (!dialog.open) opener = row;
  view.entry = row;
  const place = listed.indexOf(row);
  drawEntry(dialog, group(), view, row, { place, total: listed.length, step: (by) => openEntry(listed[place + by]) });
  if (!dialog.open) dialog.showModal();
  byId("entry-name").focus();
  remember();
}

function entryClosed() {
  const row = view.entry;
  view.entry = null;
  remember();
  if (row !== opener || document.activeElement === document.body) byId("rows").querySelector(`button.open[data-row="${row}"]`)?.focus();
}

const THEMES = { auto: "light dark", light: "light", dark: "dark" };

function setTheme(name) {
  document.documentElement.style.colorScheme = THEMES[name];
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = `Theme: ${name}`;
  try {
    localStorage.setItem("zoo-theme", name);
  } catch {
    // a page opened from disk may have no storage: the choice then lasts as long as the page
  }
}

function startTheme() {
  let kept = "auto";
  try {
    kept = localStorage.getItem("zoo-theme") ?? "auto";
  } catch {
    // as above
  }
  setTheme(Object.hasOwn(THEMES, kept) ? kept : "auto");
  byId("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    setTheme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
  });
}

function drawBad() {
  byId("bad").hidden = !BOARD.bad.length;
  byId("bad").querySelector("summary").textContent = `Left out: ${BOARD.bad.length} ${BOARD.bad.length === 1 ? "file or conflict" : "files or conflicts"}`;
  byId("bad").querySelector("ul").replaceChildren(...BOARD.bad.map(([path, reason]) => el("li", {}, bdi(path), ": ", bdi(reason))));
}

function listenToChoices() {
  const change = (id, act, kind = "change") => byId(id).addEventListener(kind, (event) => { act(event.target); drawChoices(); draw(); });
  change("data", (select) => setGroup(BOARD.groups.findIndex((one) => one.data === select.value)));
  change("task", (select) => setGroup(BOARD.groups.findIndex((one) => one.data === group().data && one.task === select.value)));
  change("protocol", (select) => setGroup(Number(select.value)));
  change("metric", (select) => { view.metric = select.value; view.logY = null; resetSort(); });
  change("standing", (select) => { view.standing = select.value; view.page = 0; });
  change("cost", (select) => { view.cost = select.value; });
  change("log-x", (box) => { view.logX = box.checked; });
  change("log-y", (box) => { view.logY = box.checked; });
  byId("search").addEventListener("input", (event) => { view.search = event.target.value.trim(); view.page = 0; draw(); });
  byId("plot").addEventListener("toggle", drawQuality);
  byId("board-table").addEventListener("keydown", moveRows);
  const dialog = byId("entry");
  dialog.addEventListener("close", entryClosed);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.closest("select, pre, .scroll")) return;
    const to = listed[listed.indexOf(view.entry) + by];
    if (to !== undefined) openEntry(to);
  });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawQuality(); } });
}

function start() {
  startTheme();
  byId("foot").textContent = BOARD.foot;
  drawBad();
  if (!BOARD.groups.length) {
    document.querySelector("main").replaceChildren(el("p", { class: "empty" }, "No results yet. Next: zoo run plugin=NAME"), byId("bad"));
    return;
  }
  byId("plot").open = innerWidth >= 640;
  const entry = recall();
  listenToChoices();
  drawChoices();
  draw();
  if (entry >= 0) openEntry(entry);
}

start();
