// The page: what is drawn when something is chosen, and which keys and clicks choose it.

const columnShown = (column) => column.fixed || (view.columns.get(column.key) ?? column.shown);

let listed = []; // rows that pass the filters, in order

const compareActs = {
  has: (row) => view.compare.includes(row),
  // Returns whether the entry could be chosen: not more than four can.
  set: (row, on) => {
    if (on && view.compare.length >= MOST_COMPARED) return false;
    view.compare = on ? [...new Set([...view.compare, row])] : view.compare.filter((one) => one !== row);
    drawCompareBar();
    return true;
  },
};

const acts = { open: (row) => openEntry(row), sortBy: (column) => sortBy(column), compare: compareActs };

function setOptions(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

// The menu of metrics in groups; the values are columns that can rank.
function drawMetricMenu(now) {
  const ranked = now.metrics.filter((one) => rankingOf(now, one.name));
  const groups = [...new Set(ranked.map((one) => one.group))];
  byId("metric").replaceChildren(...groups.map((label) => el("optgroup", { label }, ...ranked.filter((one) => one.group === label).map((one) =>
    el("option", { value: one.name, selected: one.name === view.metric, title: one.about }, `${one.name}${one.unit ? ` (${one.unit})` : ""}${one.better === "lower" ? " \u2193" : " \u2191"}`)))));
}

function drawChoices() {
  const now = group();
  setOptions(byId("data"), [...new Set(BOARD.groups.map((one) => one.data))].map((name) => [name, name]), now.data);
  const beside = BOARD.groups.map((one, at) => [one, at]).filter(([one]) => one.data === now.data);
  const counted = (task) => Math.max(...beside.filter(([one]) => one.task === task).map(([one]) => one.plugin.length));
  setOptions(byId("task"), [...new Set(beside.map(([one]) => one.task))].map((name) => [name, `${name} (${counted(name)})`]), now.task);
  const same = beside.filter(([one]) => one.task === now.task);
  setOptions(byId("protocol"), same.map(([one, at]) => [String(at), one.title]), String(view.group));
  drawMetricMenu(now);
  setOptions(byId("standing"), [["", "any"], ...BOARD.states.map((name) => [name, name])], view.standing);
  setOptions(byId("cost"), now.costs.map((cost) => [cost.name, cost.about]), view.cost);
  byId("said").textContent = now.said;
  byId("fields").querySelector("dl").replaceWith(pairs(now.protocol.fields));
  byId("search").value = view.search;
  drawLead(now);
  drawGlossary(now);
  byId("families").replaceChildren(...now.families.map((family) =>
    el("button", { type: "button", class: "chip", "aria-pressed": String(view.families.has(family)), onclick: (event) => {
      if (!view.families.delete(family)) view.families.add(family);
      event.currentTarget.setAttribute("aria-pressed", String(view.families.has(family)));
      view.page = 0;
      draw();
    } }, familyMark(family), bdi(family))));
  byId("columns").querySelector("div").replaceChildren(...allColumns(now, view.metric).filter((column) => !column.fixed).map((column) =>
    el("label", { class: "tick" }, el("input", { type: "checkbox", checked: columnShown(column), onchange: (event) => {
      if (event.target.checked === column.shown) view.columns.delete(column.key);
      else view.columns.set(column.key, event.target.checked);
      draw();
    } }), " ", bdi(column.heading))));
}

function draw() {
  hideTip();
  const now = group();
  const columns = allColumns(now, view.metric).filter(columnShown);
  listed = visible(now, view, columns);
  view.page = Math.min(view.page, Math.max(0, Math.ceil(listed.length / PAGE) - 1));
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === view.show));
  for (const [id, name] of [["entries", "table"], ["gallery", "gallery"], ["plot", "plot"]]) byId(id).hidden = view.show !== name;
  byId("columns").hidden = view.show !== "table";
  byId("skip").href = { table: "#board-table", gallery: "#gallery", plot: "#drawing" }[view.show];
  view.tight = 0;
  if (view.show === "table") drawTable(now, view, columns, listed, acts);
  if (view.show === "gallery") drawGallery(now, view, listed, acts);
  drawPager(view, listed.length, turnPage);
  const all = now.plugin.length;
  byId("count").textContent = listed.length === all ? plural(all, "entry", "entries") : `${listed.length.toLocaleString("en")} of ${plural(all, "entry", "entries")}`;
  byId("notes").replaceChildren(...[...now.rankings[view.metric].notes, "bold: best of its column, with those tied with it"].map((text) => el("li", {}, text)));
  drawQuality();
  drawExport(now, () => listed);
  while (view.show === "table" && view.tight < 2 && isWide() && !isNarrow()) { // smaller and fewer samples leave space for the numbers
    view.tight += 1;
    drawTable(now, view, columns, listed, acts);
  }
  fitTable();
  drawCompareBar();
}

function isWide() {
  byId("scroll").removeAttribute("data-wide");
  return byId("board-table").scrollWidth > byId("scroll").clientWidth + 1;
}

// A table that fits scrolls with the page, and its heading stays at the window's top; a wider one scrolls in a frame.
function fitTable() {
  const scroll = byId("scroll");
  const wide = isWide();
  scroll.toggleAttribute("data-wide", wide);
  for (const [name, value] of Object.entries({ tabindex: "0", role: "region", "aria-label": "Entries, scrolls sideways" })) {
    if (wide) scroll.setAttribute(name, value);
    else scroll.removeAttribute(name);
  }
  const model = byId("board-table").querySelector("th.model");
  if (model) byId("board-table").style.setProperty("--model", `${model.offsetWidth}px`);
}

function turnPage(page) {
  view.page = page;
  draw();
  byId(view.show === "table" ? "board-table" : "gallery").scrollIntoView();
  document.querySelector("main button.open")?.focus();
}

function drawQuality() {
  const now = group();
  const cost = now.costs.find((one) => one.name === view.cost);
  const one = metricOf(now, view.metric);
  const ranking = now.rankings[view.metric];
  document.querySelector('[data-view="plot"]').hidden = !cost;
  if (!cost || view.show !== "plot") return;
  const points = listed.filter((row) => cost.value[row] !== null && one.mean[row] !== null).map((row) => ({
    row, x: cost.value[row], y: one.mean[row], ends: endsOf(one, row), text: valueText(one, row) + spreadText(one, row), family: now.family[row], name: nameOf(now, row),
    ranked: isPlaced(ranking, row), rankText: ranking.rank[row] !== null ? `rank ${rankText(ranking, row)}` : isPlaced(ranking, row) ? "not tested" : "not ranked",
  }));
  const placed = points.filter((p) => p.ranked);
  const deciding = placed.length ? placed : points; // what is not ranked has no part in the choice of an axis
  const kindX = axisKind(points.map((p) => p.x), view.logX ?? true);
  const kindY = axisKind(deciding.map((p) => p.y), view.logY);
  byId("log-x").checked = kindX !== "linear";
  byId("log-y").checked = kindY !== "linear";
  byId("log-y").nextElementSibling.textContent = kindY === "symlog" ? "symlog quality" : "log quality";
  drawPlot(byId("drawing"), points, { costHeading: cost.about + ({ clock: " (h:mm:ss)" }[cost.unit] ?? ""), costUnit: cost.unit, metric: view.metric, direction: one.better,
    kindX, kindY, factor: factorText(one), shownValue: (v) => scaled(one, v), open: openEntry });
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
  hideTip();
  const place = listed.indexOf(row);
  drawEntry(dialog, group(), view, row, { place, total: listed.length, step: (by) => openEntry(listed[place + by]), compare: compareActs });
  if (!dialog.open) dialog.showModal();
  byId("entry-name").focus();
  remember();
}

function entryClosed() {
  const row = view.entry;
  if (byId("entry").open || row === null) return; // opened again by an address
  view.entry = null;
  remember();
  for (const box of document.querySelectorAll("#rows .pick, #gallery .pick")) box.checked = compareActs.has(Number(box.closest("tr, article").querySelector("button.open").dataset.row));
  if (row !== opener || document.activeElement === document.body) document.querySelector(`main button.open[data-row="${row}"]`)?.focus();
}

function drawCompareBar() {
  const rows = view.compare;
  const again = () => { draw(); document.querySelector("#compare-start")?.focus(); };
  drawChosen(group(), rows, {
    start: startCompare,
    drop: (row) => { compareActs.set(row, false); again(); },
    clear: () => { view.compare = []; again(); },
  });
  remember();
}

function startCompare() {
  const dialog = byId("compare");
  hideTip();
  view.comparing = true;
  drawCompare(dialog, group(), view.compare);
  if (!dialog.open) dialog.showModal();
  byId("compare-name").focus();
  remember();
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
  const change = (id, act) => byId(id).addEventListener("change", (event) => { act(event.target); drawChoices(); draw(); });
  change("data", (select) => setGroup(BOARD.groups.reduce((best, one, at) => (one.data === select.value && (best < 0 || one.plugin.length > BOARD.groups[best].plugin.length) ? at : best), -1)));
  change("task", (select) => setGroup(BOARD.groups.findIndex((one) => one.data === group().data && one.task === select.value)));
  change("protocol", (select) => setGroup(Number(select.value)));
  change("metric", (select) => { view.metric = select.value; view.logY = null; resetSort(); });
  change("standing", (select) => { view.standing = select.value; view.page = 0; });
  change("cost", (select) => { view.cost = select.value; });
  change("log-x", (box) => { view.logX = box.checked; });
  change("log-y", (box) => { view.logY = box.checked; });
  byId("search").addEventListener("input", (event) => { view.search = event.target.value.trim(); view.page = 0; draw(); });
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => { view.show = button.dataset.view; draw(); });
  }
  byId("board-table").addEventListener("keydown", moveRows);
  byId("gallery").addEventListener("keydown", moveRows);
  byId("compare").addEventListener("close", () => {
    if (byId("compare").open) return;
    view.comparing = false;
    remember();
    byId("compare-start")?.focus();
  });
  const dialog = byId("entry");
  dialog.addEventListener("close", entryClosed);
  for (const one of [dialog, byId("compare")]) one.addEventListener("click", (event) => { if (event.target === one) one.close(); });
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.closest("select, pre, .scroll")) return;
    const to = listed[listed.indexOf(view.entry) + by];
    if (to !== undefined) openEntry(to);
  });
  document.addEventListener("click", (event) => { // a menu closes when something else is used
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  addEventListener("hashchange", show);
}

// Show what the address names.
function show() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  const entry = recall();
  drawChoices();
  draw();
  if (entry >= 0) openEntry(entry);
  else if (view.comparing) startCompare();
}

function start() {
  startTheme();
  byId("foot").textContent = BOARD.foot;
  drawBad();
  if (!BOARD.groups.length) {
    document.querySelector("main").replaceChildren(el("p", { class: "empty" }, "No results yet. Next: zoo run plugin=NAME"), byId("bad"));
    return;
  }
  listenToTerms();
  listenToChoices();
  show();
}

start();
