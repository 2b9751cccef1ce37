// One entry: its figures, samples, curves, config, provenance and the command that repeats it.

const NOTHING = "not recorded";

const pairs = (items) =>
  el("dl", { class: "pairs" }, ...items.flatMap(([key, text]) => [el("dt", {}, bdi(key)), el("dd", {}, bdi(text))]));

const section = (heading, ...children) => el("section", {}, el("h3", {}, heading), ...children);

const absent = () => el("p", { class: "absent" }, NOTHING);

// Every figure with its interval, its rank, and each seed's own value.
function figuresTable(group, row, runs) {
  const line = (one) => {
    const ranking = Object.hasOwn(group.rankings, one.name) ? group.rankings[one.name] : null;
    const each = runs.length > 1 ? runs.map((run) => number(run.figures[one.name] ?? null)).join("  ") : "";
    return el("tr", {},
      el("th", { scope: "row" }, bdi(one.name), one.unit ? ` ${one.unit}` : ""),
      el("td", {}, boundSign(one, row) + number(one.mean[row]), el("span", { class: "width" }, spreadText(one, row))),
      el("td", {}, ranking ? rankText(ranking, row) : ""),
      el("td", { class: "each" }, each));
  };
  const own = group.figures.filter((one) => one.mean[row] !== null);
  return el("div", { class: "scroll" }, el("table", { class: "figures" },
    el("thead", {}, el("tr", {}, ...["Figure", "Mean", "Rank", runs.length > 1 ? "Each seed" : ""].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...own.map(line))));
}

function sheet(run) {
  if (!run.sheet) return el("p", { class: "absent" }, run.sheet_note || NOTHING);
  return el("img", { class: "sheet", src: `data:image/png;base64,${run.sheet}`, alt: `samples of seed ${run.seed}` });
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
    section("Samples", sheet(run)),
    section("Training curves", curves(run)),
    section("To repeat it", command(run)),
    section("Sampled and scored with", run.entry.length ? pairs(run.entry) : absent()),
    section("Provenance", run.provenance.length ? pairs(run.provenance) : absent()),
  ];
}

function verdict(group, view, row) {
  const ranking = group.rankings[view.metric];
  const rank = ranking.rank[row];
  const mark = ranking.mark[row];
  const total = ranking.rank.filter((one) => one !== null).length;
  const why = { memorises: "not ranked: it memorises its training set", "n/a": `not ranked: it has no ${view.metric}` }[mark] ?? "not ranked";
  const tie = { "=": ", not to be told from the one above, nor from the first of its rank", "?": ", a single seed: whether it differs from the one above is not known", floor: ", within twice the floor: tied with real data" }[mark] ?? "";
  const p = ranking.p[row] === null ? "" : ` (Welch's p ${ranking.p[row] < 0.001 ? "< 0.001" : "= " + ranking.p[row].toPrecision(2)})`;
  return rank === null ? why : `rank ${rank} of ${total} by ${view.metric}${tie}${p}`;
}

function drawEntry(dialog, group, view, row, { step, place, total }) {
  const { runs, config, published } = detail(group.detail[row]);
  const parts = el("div", { class: "run" });
  const choose = (run) => parts.replaceChildren(...runParts(run));
  if (runs.length) choose(runs[0]);
  else parts.append(el("p", { class: "note" }, "Measured beside another entry's run and recorded in its result; run the baseline by itself for samples and provenance."));
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
      section("Figures", figuresTable(group, row, runs), ...runs.flatMap((run) => run.notes.map((text) => el("p", { class: "note" }, runs.length > 1 ? `seed ${run.seed}: ` : "", bdi(text))))),
      picker, parts,
      section("Cost", costs.length ? pairs(costs) : absent()),
      section("Config", config.length ? pairs(config) : absent()),
      published.length ? section("Published elsewhere, under other protocols", el("ul", { class: "note" }, ...published.map((one) =>
        el("li", {}, bdi(`${one.data} ${one.metric} ${one.value}`), ": ", bdi(one.protocol), " \u2014 ", bdi(one.source), one.read ? "" : " (passed on, its source not read)")))) : null));
  dialog.scrollTop = 0;
}
