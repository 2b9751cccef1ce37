// What stands above the table: what is ranked, how sure it is, which models lead, and how to enter.

// How far the scores can be trusted: tested over seeds, or of one training run each.
function certainty(now) {
  if (now.rankings[view.metric].rank.every((rank) => rank === null)) {
    return now.seeds.every((count) => count === 1)
      ? ["Every score is of one training seed, with a 95\u202f% interval over its samples: ", term("rank", "no rank (?)"), " is given before a second seed. "]
      : [term("rank", "No rank (?)"), " could be tested. "];
  }
  return ["Scores are means over training seeds with 95\u202f% intervals; ", term("rank", "entries that share a rank (=)"), " do not differ significantly. "];
}

// The models that lead the metrics of the default columns.
function drawBest(now, main) {
  const parts = [main, ...shownBeside(now, main.name)].map((one) => [one, leadersOf(now, one.name)]).filter(([, rows]) => rows.length);
  if (!parts.length) return null;
  return el("span", { class: "leaders" }, el("strong", {}, "Best"), ...parts.map(([one, rows]) =>
    el("span", { class: "leader-of" }, term(one.name, bdi(one.heading)), " ", ...(leads(now, rows) ? namedLeaders(now, rows) : [`${rows.length} tied`]))));
}

const LEADERS = 3; // names of a tie that are written out

const namedLeaders = (now, rows) => [
  ...rows.slice(0, LEADERS).flatMap((row, k) => [k ? ", " : "",
    el("button", { type: "button", class: "named", onclick: () => openEntry(row) }, familyMark(now.family[row]), bdi(nameOf(now, row)))]),
  rows.length > LEADERS ? ` and ${rows.length - LEADERS} more, tied` : rows.length > 1 ? ", tied" : "",
];

function drawLead(now) {
  const one = metricOf(now, view.metric);
  document.title = `zoo leaderboard: ${now.data}`;
  byId("title").textContent = `zoo leaderboard: ${now.data}`;
  const models = new Set(now.plugin).size;
  byId("lead").replaceChildren(
    `Generative models trained on ${now.data}, ranked by `, term(view.metric, bdi(view.metric)), ` (${one.better} is better). ${now.about} `, ...certainty(now),
    drawBest(now, one),
    el("span", { class: "facts" }, `${plural(now.plugin.length, "entry", "entries")} of ${plural(models, "model", "models")} \u00b7 written ${BOARD.date} \u00b7 `,
      el("a", { href: "#enter", onclick: (event) => { event.preventDefault(); byId("enter").open = true; byId("enter").scrollIntoView(); byId("enter").querySelector("summary").focus(); } }, "how to enter")));
  byId("enter").querySelector("div").replaceChildren(
    el("p", {}, "Train one of the models, or one of your own, and score it under this protocol:"), commandBox(`zoo run plugin=NAME data=${now.data}${now.task === "unconditional" ? "" : ` data.task=${now.task.split(" ")[0]}`} seed=0,1,2`),
    el("p", {}, "Or score samples that any other program made:"), commandBox(`zoo score samples.npz data=${now.data}`),
    el("p", {}, "Then write the result for this board, or write the board again:"), commandBox("zoo submit RUN --out FOLDER"), commandBox("zoo leaderboard --html DIR"),
    BOARD.docs ? el("p", {}, docsLink("submitting/")) : el("p", { class: "dim" }, "docs: submitting"));
}
