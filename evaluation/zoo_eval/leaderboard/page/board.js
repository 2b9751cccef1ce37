// The board as data: groups of entries that may be compared, and the view of one of them.
// Ranks, intervals and ties were computed when the page was written; here they are only looked up.

const BOARD = JSON.parse(byId("board").textContent);

let detailLines = null; // details are one JSON text a line, parsed when an entry is opened

function detail(place) {
  detailLines ??= byId("details").textContent.split("\n");
  return JSON.parse(detailLines[place]);
}

const rankingOf = (group, name) => (Object.hasOwn(group.rankings, name) ? group.rankings[name] : null);

function rankText(ranking, row) {
  const [rank, mark] = [ranking.rank[row], ranking.mark[row]];
  if (rank === null) return mark === "?" ? "?" : "\u2013";
  return mark === "=" ? `=${rank}` : `${rank}${mark === "floor" ? "~" : ""}`;
}

// Whether a row stands where its score puts it: ranked, or not tested.
const isPlaced = (ranking, row) => ranking.rank[row] !== null || ranking.mark[row] === "?";

// Entries that lead a column: all that share rank 1, or where nothing was tested the one whose score stands first.
function leadersOf(group, name) {
  const ranking = rankingOf(group, name);
  if (!ranking) return [];
  const models = ranking.order.filter((row) => group.family[row] !== "baseline" && isPlaced(ranking, row) && meanOf(group, name, row) !== null);
  const first = models.filter((row) => ranking.rank[row] === 1);
  return first.length ? first : models.slice(0, 1);
}

// Whether a tie says who leads: one that most entries share does not.
const leads = (group, rows) => rows.length <= Math.max(1, group.plugin.length / 3);

const metricOf = (group, name) => group.metrics.find((one) => one.name === name);

const meanOf = (group, name, row) => metricOf(group, name)?.mean[row] ?? null;

// The ends of a 95 % interval: over training seeds, or over the samples of a single run.
function endsOf(one, row) {
  const [mean, width] = [one.mean[row], one.width[row]];
  return width === null ? one.ends[row] : [mean - width, mean + width];
}

const SIGNS = { upper: "\u2264", lower: "\u2265" };

const boundSign = (one, row) => SIGNS[one.bound[row]] ?? "";

const scaled = (one, value) => value / 10 ** one.exponent;

// What a heading adds where values are shown times a power of ten.
const factorText = (one) => (one.exponent ? ` \u00d710${superscript(-one.exponent)}` : "");

const isRounding = (one, row) => one.width[row] !== null && one.width[row] <= 1e-9 * Math.abs(one.mean[row]);

// Digits of a value: as its interval allows, else the column's.
function digitsOf(one, row) {
  const ends = endsOf(one, row);
  if (one.width[row] === null && ends !== null && !one.exponent && [one.mean[row], ...ends].every(Number.isInteger)) return 0; // counts
  const half = ends === null || isRounding(one, row) ? null : (ends[1] - ends[0]) / 2;
  return half === null || half <= 1e-9 * Math.abs(one.mean[row]) ? one.decimals : decimalsOf(scaled(one, half));
}

const valueText = (one, row) =>
  one.mean[row] === null ? "n/a" : boundSign(one, row) + fixed(scaled(one, one.mean[row]), digitsOf(one, row));

function spreadText(one, row) {
  if (one.mean[row] === null) return "";
  if (one.width[row] !== null) {
    const half = scaled(one, one.width[row]);
    return ` \u00b1${isRounding(one, row) ? "0" : fixed(half, decimalsOf(half))}`;
  }
  return one.ends[row] === null ? "" : ` [${one.ends[row].map((end) => fixed(scaled(one, end), digitsOf(one, row))).join(", ")}]`;
}

const nameOf = (group, row) => group.name[row];

const better = { lower: (a, b) => a < b, higher: (a, b) => a > b };

function matches(group, row, view) {
  if (view.families.size && !view.families.has(group.family[row])) return false;
  if (view.standing && group.state[row] !== view.standing) return false;
  group.text ??= [];
  group.text[row] ??= `${group.plugin[row]} ${group.family[row]} ${group.config[row]} ${group.given} ${group.task}`.toLowerCase();
  return view.search.toLowerCase().split(/\s+/).every((word) => group.text[row].includes(word));
}

// Row numbers that pass the filters, in the order of the column that sorts; rows without a value come last.
function visible(group, view, columns) {
  const ranking = group.rankings[view.metric];
  const rows = ranking.order.filter((row) => matches(group, row, view));
  const column = columns.find((one) => one.key === view.sort.key);
  if (!column?.value) return view.sort.down ? rows.reverse() : rows;
  const sign = view.sort.down ? -1 : 1;
  return rows.sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return x < y ? -sign : x > y ? sign : 0;
  });
}

// Entries that no ranked entry beats in both cost and quality, cheapest first.
function paretoFront(points, direction) {
  const sorted = [...points].sort((a, b) => a.x - b.x || (better[direction](a.y, b.y) ? -1 : 1));
  const front = [];
  for (const point of sorted) {
    if (!front.length || better[direction](point.y, front[front.length - 1].y)) front.push(point);
  }
  return front;
}

// Whether two rows differ significantly by a column, as its ranks were tested: true, false, or why it is unknown.
function differs(group, name, a, b) {
  const ranking = rankingOf(group, name);
  const tests = ranking?.tests;
  if (!ranking) return "never ranked";
  if (!tests || tests.df[a] === null || tests.df[b] === null) return "not tested";
  const [tier, other] = [a, b].map((row) => BOARD.tiers[group.state[row]]);
  if (tier !== other) return `not tested: ${tier} and ${other}`;
  const far = Math.abs(ranking.scale === "log" ? Math.log(tests.center[a] / tests.center[b]) : tests.center[a] - tests.center[b]);
  const critical = tests.critical[tier][Math.min(tests.df[a], tests.df[b])];
  return far >= critical * Math.hypot(tests.error[a], tests.error[b]);
}
