// The state of the view in the page's address: everything that was chosen, and nothing that is at its default.

const view = { group: 0, metric: "", search: "", families: new Set(), standing: "", page: 0, entry: null, compare: [], comparing: false,
  sort: { key: "rank", down: false }, cost: "", logX: null, logY: null, columns: new Map(), show: "table", tight: false };

const VIEWS = ["table", "gallery", "plot"];

const group = () => BOARD.groups[view.group];

// What names an entry in an address: model and config, and of several such rows the beginning of a file's hash.
function entryName(row) {
  const now = group();
  const name = `${now.plugin[row]}/${now.config[row]}`;
  const again = now.plugin.filter((plugin, k) => plugin === now.plugin[row] && now.config[k] === now.config[row]).length;
  return again > 1 ? `${name}@${now.key[row]}` : name;
}

function entryOf(name) {
  const now = group();
  const [base, key] = name.split("@");
  return now.plugin.findIndex((plugin, row) => `${plugin}/${now.config[row]}` === base && (!key || now.key[row] === key));
}

const logText = () => [["x", view.logX], ["y", view.logY]].filter(([, on]) => on !== null).map(([axis, on]) => (on ? axis : `-${axis}`)).join(",");

function addressText() {
  const now = group();
  const said = new URLSearchParams({ data: now.data, task: now.task, protocol: now.protocol.hash, metric: view.metric });
  const add = (name, value, usual) => { if (value !== usual) said.set(name, value); };
  add("sort", `${view.sort.down ? "-" : ""}${view.sort.key}`, "rank");
  for (const family of view.families) said.append("family", family);
  add("state", view.standing, "");
  add("axis", view.cost, defaultCost(now));
  add("log", logText(), "");
  for (const [key, on] of view.columns) said.append("column", `${on ? "+" : "-"}${key}`);
  add("view", view.show, "table");
  add("page", String(view.page + 1), "1");
  add("search", view.search, "");
  if (view.entry !== null) said.set("entry", entryName(view.entry));
  for (const row of view.compare) said.append("compare", entryName(row));
  if (view.comparing) said.set("open", "compare");
  return `#${said}`;
}

function remember() {
  history.replaceState(null, "", addressText());
}

const defaultCost = (now) => (now.costs.some((cost) => cost.name === now.axis) ? now.axis : now.costs[0]?.name ?? "");

const largestGroup = () => BOARD.groups.reduce((best, one, at) => (one.plugin.length > BOARD.groups[best].plugin.length ? at : best), 0);

// Take over what the address names; names of nothing are ignored. Returns the entry to open, or -1.
function recall() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const fits = (one) => ["data", "task"].every((name) => [null, one[name]].includes(wanted.get(name)));
  const exact = BOARD.groups.findIndex((one) => fits(one) && one.protocol.hash === wanted.get("protocol"));
  const named = wanted.has("data") || wanted.has("task") ? BOARD.groups.findIndex(fits) : -1;
  setGroup(exact >= 0 ? exact : named >= 0 ? named : largestGroup());
  const now = group();
  const metric = wanted.get("metric") ?? "";
  view.metric = rankingOf(now, metric) ? metric : now.metric;
  view.search = wanted.get("search") ?? "";
  view.families = new Set(wanted.getAll("family").filter((name) => now.families.includes(name)));
  view.standing = BOARD.states.includes(wanted.get("state")) ? wanted.get("state") : "";
  if (now.costs.some((cost) => cost.name === wanted.get("axis"))) view.cost = wanted.get("axis");
  const logs = (wanted.get("log") ?? "").split(",");
  const logOf = (axis) => (logs.includes(axis) ? true : logs.includes(`-${axis}`) ? false : null);
  [view.logX, view.logY] = [logOf("x"), logOf("y")];
  view.columns = new Map(wanted.getAll("column").map((text) => [text.slice(1), text[0] !== "-"]));
  view.show = VIEWS.includes(wanted.get("view")) ? wanted.get("view") : "table";
  const sort = wanted.get("sort") ?? "rank";
  view.sort = { key: sort.replace(/^-/, ""), down: sort.startsWith("-") };
  if (!allColumns(now, view.metric).some((column) => column.key === view.sort.key)) view.sort = { key: "rank", down: false };
  view.page = Math.max(0, (Number.parseInt(wanted.get("page"), 10) || 1) - 1);
  view.compare = [...new Set(wanted.getAll("compare").map(entryOf).filter((row) => row >= 0))].slice(0, MOST_COMPARED);
  view.comparing = wanted.get("open") === "compare" && view.compare.length > 1;
  return wanted.has("entry") ? entryOf(wanted.get("entry")) : -1;
}

function setGroup(at) {
  view.group = at;
  view.metric = rankingOf(group(), view.metric) ? view.metric : group().metric;
  view.families.clear();
  view.standing = "";
  view.entry = null;
  view.compare = [];
  view.logX = view.logY = null;
  if (!group().costs.some((cost) => cost.name === view.cost)) view.cost = defaultCost(group());
  resetSort();
}

function resetSort() {
  view.sort = { key: "rank", down: false };
  view.page = 0;
}
