// One entry: its metrics, samples, curves, config, provenance and the command that repeats it.

const NOTHING = "not recorded";

const pairs = (items) =>
  el("dl", { class: "pairs" }, ...items.flatMap(([key, text]) => [el("dt", {}, bdi(key)), el("dd", {}, bdi(text))]));

const section = (heading, ...children) => el("section", {}, el("h3", {}, heading), ...children);

const absent = () => el("p", { class: "absent" }, NOTHING);

// Every metric with its interval, its rank, and the value of each seed.
function metricsTable(group, row, runs) {
  const line = (one) => {
    const ranking = Object.hasOwn(group.rankings, one.name) ? group.rankings[one.name] : null;
    const each = runs.length > 1 ? runs.map((run) => number(run.metrics[one.name] ?? null)).join("  ") : "";
    return el("tr", {},
      el("th", { scope: "row" }, bdi(one.name), one.unit ? ` ${one.unit}` : ""),
      el("td", {}, boundSign(one, row) + number(one.mean[row]), el("span", { class: "width" }, spreadText(one, row))),
      el("td", {}, ranking ? rankText(ranking, row) : ""),
      el("td", { class: "each" }, each));
  };
  const own = group.metrics.filter((one) => one.mean[row] !== null);
  return el("div", { class: "scroll" }, el("table", { class: "metrics" },
    el("thead", {}, el("tr", {}, ...["Metric", "Mean", "Rank", runs.length > 1 ? "Each seed" : ""].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...own.map(line))));
}

function grid(run) {
  if (!run.grid) return el("p", { class: "absent" }, run.grid_note || NOTHING);
  return el("img", { class: "samples", src: `data:image/png;base64,${run.grid}`, alt: `samples of seed ${run.seed}` });
}

function command(run) {
  if (!run.command) return absent();
  const text = el("code", {}, run.command);
  if (!navigator.clipboard) return el("pre", { class: "command", tabindex: 0 }, text);
  const copy = el("button", { type: "button", class: "quiet", onclick: async () => {
    try {
      await navigator.clipboard.writeText(run.command);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text); // where the page may not write, the reader can
      copy.textContent = "Selected";
    }
  } }, "Copy");
  return el("div", { class: "command" }, el("pre", { tabindex: 0 }, text), copy);
}

function curves(run) {
  if (!run.curves.length) return absent();
  return el("div", { class: "curves" }, ...run.curves.map(([name, series]) => drawCurve(name, series)));
}

function runParts(run) {
  return [
    section("Samples", grid(run)),
    section("Training curves", curves(run)),
    section("Command", command(run)),
    section("Sampling", run.sampling.length ? pairs(run.sampling) : absent()),
    section("Provenance", run.provenance.length ? pairs(run.provenance) : absent()),
  ];
}

function verdict(group, view, row) {
  const ranking = group.rankings[view.metric];
  const rank = ranking.rank[row];
  const mark = ranking.mark[row];
  const total = ranking.rank.filter((one) => one !== null).length;
  const why = { "?": "not ranked: not tested (one training seed, a baseline, equal scores of all seeds, a score of 0, or no other row to test against)", memorizes: "not ranked: memorization detected", unranked: `not ranked: its ${view.metric} is shown only`, below: `not ranked: its ${view.metric} is below half the noise floor`, "n/a": `not ranked: it has no ${view.metric}` }[mark] ?? "not ranked";
  const tie = { "=": ", not significantly different from the others of this rank", floor: ", within twice the noise floor: tied with real data" }[mark] ?? "";
  const p = ranking.p[row] === null ? "" : ` (p ${ranking.p[row] < 0.001 ? "< 0.001" : "= " + ranking.p[row].toPrecision(2)} against the tested row above, uncorrected)`;
  return rank === null ? why : `rank ${rank} of ${total} by ${view.metric}${tie}${p}`;
}

function drawEntry(dialog, group, view, row, { step, place, total }) {
  const { runs, config, published } = detail(group.detail[row]);
  const parts = el("div", { class: "run" });
  const choose = (run) => parts.replaceChildren(...runParts(run));
  if (runs.length) choose(runs[0]);
  else parts.append(el("p", { class: "note" }, "Its files changed while the page was written."));
  const picker = runs.length < 2 ? null : el("label", { class: "seed-picker" }, "Seed ",
    el("select", { onchange: (event) => choose(runs[event.target.value]) }, ...runs.map((run, k) => el("option", { value: k }, String(run.seed)))));
  const costs = group.costs.filter((cost) => cost.value[row] !== null).map((cost) => [cost.about, inUnit(cost.value[row], cost.unit)]);
  const about = BOARD.states.find(([name]) => name === group.state[row])?.[1] ?? "";
  const turn = (text, by, label) => el("button", { type: "button", class: "quiet", disabled: place + by < 0 || place + by >= total, onclick: () => step(by), "aria-label": label }, text);
  dialog.replaceChildren(
    el("header", {},
      el("div", { class: "entry-bar" },
        turn("\u2190", -1, "Previous entry"), turn("\u2192", 1, "Next entry"),
        el("span", { class: "numerals dim" }, `${place + 1} of ${total}`),
        el("button", { type: "button", class: "quiet close", onclick: () => dialog.close(), "aria-label": "Close" }, "\u2715")),
      el("h2", { id: "entry-name", tabindex: -1 }, bdi(nameOf(group, row))),
      el("p", { class: "under" }, bdi(group.family[row]), " \u00b7 ", verdict(group, view, row)),
      el("p", { class: "under" }, ...stateCell(group.state[row]), about ? `: ${about}` : "")),
    el("div", { class: "entry-body" },
      section("Metrics", metricsTable(group, row, runs), ...runs.flatMap((run) => run.notes.map((text) => el("p", { class: "note" }, runs.length > 1 ? `seed ${run.seed}: ` : "", bdi(text))))),
      picker, parts,
      section("Cost", costs.length ? pairs(costs) : absent()),
      section("Config", config.length ? pairs(config) : absent()),
      published.length ? section("Published elsewhere, under other protocols", el("ul", { class: "note" }, ...published.map((one) =>
        el("li", {}, bdi(`${one.data} ${one.metric} ${one.value}`), ": ", bdi(one.protocol), " \u2014 ", bdi(one.source), one.read ? "" : " (unverified: its source was not read)")))) : null));
  dialog.scrollTop = 0;
}
