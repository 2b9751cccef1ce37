// One entry: samples first, then its metrics, curves, config, provenance and the commands that repeat and verify it.

const NOTHING = "not recorded";

const pairs = (items) =>
  el("dl", { class: "pairs" }, ...items.flatMap(([key, text]) => [el("dt", {}, bdi(key)), el("dd", {}, bdi(text))]));

const section = (heading, ...children) => el("section", {}, el("h3", {}, heading), ...children);

const absent = () => el("p", { class: "absent" }, NOTHING);

// Every metric with its interval, its rank, and the value of each seed: the one that ranks first, then those that can.
function metricsTable(group, view, row, runs) {
  const several = runs.length > 1;
  const line = (one) => {
    const ranking = rankingOf(group, one.name);
    const each = runs.map((run) => run.metrics[one.name]).map((v) => (v === null || v === undefined ? "n/a" : fixed(scaled(one, v), one.decimals))).join("  ");
    return el("tr", {},
      el("th", { scope: "row" }, term(one.name, bdi(breakable(one.name))), factorText(one), one.unit ? ` ${one.unit}` : ""),
      el("td", {}, valueText(one, row), el("span", { class: "width" }, spreadText(one, row))),
      el("td", {}, ranking ? rankText(ranking, row) : ""),
      several ? el("td", { class: "each" }, each) : null);
  };
  const place = (one) => (one.name === view.metric ? 0 : one.better ? 1 : 2);
  const own = group.metrics.filter((one) => one.mean[row] !== null).sort((a, b) => place(a) - place(b));
  return el("div", { class: "scroll" }, el("table", { class: "metrics" },
    el("thead", {}, el("tr", {}, ...["Metric", "Mean", "Rank", ...(several ? ["Each seed"] : [])].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...own.map(line))));
}

// A name that a narrow column may break before its bracket.
const breakable = (name) => name.replace("[", "\u200b[");

function gridImage(source, alt) {
  return el("img", { class: "samples", src: source, alt, onload: (event) => {
    // Small images are enlarged by a whole factor, without smoothing.
    const image = event.target;
    const small = image.naturalWidth < 300;
    image.classList.toggle("pixels", small);
    if (small) image.width = image.naturalWidth * Math.max(1, Math.floor(340 / image.naturalWidth));
  } });
}

function samplesPart(run) {
  const grid = run.grid ? gridImage(run.grid, `samples of seed ${run.seed}`) : el("p", { class: "absent" }, run.grid_note || NOTHING);
  if (!run.worst) return section("Samples", grid);
  return section("Samples", el("div", { class: "beside" },
    el("figure", {}, el("figcaption", {}, `first samples of seed ${run.seed}`), grid),
    el("figure", {}, el("figcaption", {}, "worst samples: farthest from the data"), gridImage(run.worst, `worst samples of seed ${run.seed}`))));
}

// A command that can be copied.
function commandBox(words) {
  if (!words) return absent();
  const text = el("code", {}, words);
  if (!navigator.clipboard) return el("pre", { class: "command", tabindex: 0 }, text);
  const copy = el("button", { type: "button", class: "quiet", onclick: async () => {
    try {
      await navigator.clipboard.writeText(words);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text); // where the page may not write, the reader can
      copy.textContent = "Selected";
    }
  } }, "Copy");
  return el("div", { class: "command" }, el("pre", { tabindex: 0 }, text), copy);
}

// Every series, the seeds over one another.
function curvesPart(runs) {
  const all = runs.map(seriesOf);
  const names = curveOrder(new Set(all.flatMap((series) => [...series.keys()])));
  if (!names.length) return absent();
  const charts = names.map((name) => curveChart(name, all.map((series, k) => ({ label: `seed ${runs[k].seed}`, points: series.get(name) ?? [], style: k })), { key: false }));
  return el("div", {}, runs.length > 1 ? el("p", { class: "key" }, ...runs.map((run, k) => lineKey(`seed ${run.seed}`, k))) : null,
    el("div", { class: "curves" }, ...charts));
}

function verdict(group, view, row) {
  const ranking = group.rankings[view.metric];
  const rank = ranking.rank[row];
  const mark = ranking.mark[row];
  const total = ranking.rank.filter((one) => one !== null).length;
  const untested = group.family[row] === "baseline" ? "a baseline" : group.seeds[row] === 1 ? "one training seed" : "equal scores of all seeds, a score of 0, or no other row to test against";
  const why = { "?": `not ranked: not tested (${untested})`, memorizes: "not ranked: memorization detected", unchecked: "not ranked: memorization was not checked at every seed", unranked: `not ranked: its ${view.metric} is shown only`, below: `not ranked: its ${view.metric} is below half the noise floor`, "n/a": `not ranked: it has no ${view.metric}` }[mark] ?? "not ranked";
  const tie = { "=": ", not significantly different from the others of this rank", floor: ", within twice the noise floor: tied with real data" }[mark] ?? "";
  const value = ranking.p?.[row] ?? null;
  const p = value === null ? "" : ` (p ${value < 0.001 ? "< 0.001" : "= " + value.toPrecision(2)} against the tested row above, uncorrected)`;
  return rank === null ? why : `rank ${rankText(ranking, row)} of ${total} by ${view.metric}${tie}${p}`;
}

// What notes say, each once, with the seeds that say it.
function notesOf(runs) {
  const said = new Map();
  for (const run of runs) for (const text of run.notes) said.set(text, [...(said.get(text) ?? []), run.seed]);
  const whose = (seeds) => (seeds.length === runs.length ? "" : `seed ${seeds.join(", ")}: `);
  const list = el("ul", { class: "note" }, ...[...said].map(([text, seeds]) => el("li", {}, whose(seeds), bdi(text))));
  return said.size > MOST_NOTES ? el("details", {}, el("summary", {}, plural(said.size, "note", "notes")), list) : list;
}

const MOST_NOTES = 3; // more of them are folded

function configPart(config, changed) {
  if (!config.length) return absent();
  const own = config.filter(([key]) => changed.some((name) => key === name || key.startsWith(`${name}.`)));
  const rest = config.filter((pair) => !own.includes(pair));
  return el("div", {}, own.length ? pairs(own) : el("p", { class: "note" }, "every option is at its default"),
    rest.length ? el("details", {}, el("summary", {}, plural(rest.length, "other option", "other options")), pairs(rest)) : null);
}

const PROVENANCE = [["distribution", "package"], ["distribution_version", "package version"], ["source_sha256", "SHA-256 of the source"], ["git.commit", "git commit"], ["git.changed", "uncommitted changes"], ["hardware.", "hardware: "], ["versions.", "version of "], ["notes.", "note: "], ["samples.", "samples: "], ["weights_sha256", "SHA-256 of the weights"], ["samples_sha256", "SHA-256 of the samples"], ["config_hash", "config hash"], ["train_seed", "training seed"], ["sample_seed", "sampling seed"]];
const YES_NO = { True: "yes", False: "no" };

function readable([key, text]) {
  const found = PROVENANCE.find(([start]) => key === start || (start.endsWith(".") && key.startsWith(start)));
  return [found ? key.replace(found[0], found[1]) : key.replaceAll("_", " "), Object.hasOwn(YES_NO, text) ? YES_NO[text] : text];
}

function originOf(model, now, row) {
  const family = term(now.family[row], bdi(now.family[row]));
  const paper = model?.paper;
  return el("p", { class: "under" }, family, model?.package ? [" \u00b7 package ", bdi(model.package)] : "",
    paper ? [" \u00b7 paper: ", link(paper.link, bdi(`${paper.title} (${paper.year})`))] : "");
}

const publishedPart = (published) => section("Published elsewhere, under other protocols", el("ul", { class: "note" }, ...published.map((one) =>
  el("li", {}, bdi(`${one.data} ${one.metric} ${one.value}`), ": ", bdi(one.protocol), " \u2014 ", bdi(one.source), one.read ? "" : " (unverified: its source was not read)"))));

const dialogBar = (dialog, ...children) =>
  el("div", { class: "entry-bar" }, ...children, el("button", { type: "button", class: "quiet close", onclick: () => dialog.close(), "aria-label": "Close" }, "\u2715"));

function drawEntry(dialog, now, view, row, { step, place, total, compare }) {
  const { runs, config, changed, repeat, verify } = detail(now.detail[row]);
  const model = Object.hasOwn(BOARD.models, now.plugin[row]) ? BOARD.models[now.plugin[row]] : null;
  const parts = el("div", { class: "run" });
  const choose = (run) => parts.replaceChildren(samplesPart(run));
  if (runs.length) choose(runs[0]);
  else parts.append(el("p", { class: "note" }, "Its files changed while the page was written."));
  const origin = el("div", {});
  const chooseOrigin = (run) => origin.replaceChildren(
    section("Sampling", run.sampling.length ? pairs(run.sampling.map(readable)) : absent()),
    section("Provenance", run.provenance.length ? el("details", {}, el("summary", {}, "Code, machine and hashes"), pairs(run.provenance.map(readable))) : absent()));
  if (runs.length) chooseOrigin(runs[0]);
  const picker = runs.length < 2 ? null : el("label", { class: "seed-picker" }, "Seed ",
    el("select", { onchange: (event) => { choose(runs[event.target.value]); chooseOrigin(runs[event.target.value]); } }, ...runs.map((run, k) => el("option", { value: k }, String(run.seed)))));
  const costs = now.costs.filter((cost) => cost.value[row] !== null).map((cost) => [cost.about, inUnit(cost.value[row], cost.unit)]);
  const turn = (text, by, label) => el("button", { type: "button", class: "quiet", disabled: place + by < 0 || place + by >= total, onclick: () => step(by), "aria-label": label }, text);
  dialog.replaceChildren(
    el("header", {},
      dialogBar(dialog, turn("\u2190", -1, "Previous entry"), turn("\u2192", 1, "Next entry"),
        el("span", { class: "numerals dim" }, `${place + 1} of ${total}`),
        el("label", { class: "tick" }, compareBox(now, row, compare), " compare")),
      el("h2", { id: "entry-name", tabindex: -1 }, bdi(nameOf(now, row))),
      el("p", { class: "under" }, verdict(now, view, row)),
      originOf(model, now, row),
      el("p", { class: "under" }, ...stateCell(now.state[row]), `: ${BOARD.terms[now.state[row]]?.[0] ?? ""}`),
      now.given ? el("p", { class: "under" }, el("strong", {}, `given: ${now.given}. `), now.about) : null),
    el("div", { class: "entry-body" },
      parts, picker,
      section("Repeat it", commandBox(repeat)),
      section("Verify it", commandBox(verify), el("p", { class: "note" }, "Draws the samples again from the run's checkpoint and computes every value again. Paths are relative to the folder of the runs.")),
      section("Metrics", metricsTable(now, view, row, runs), notesOf(runs)),
      section("Training curves", curvesPart(runs)),
      section("Cost", costs.length ? pairs(costs) : absent()),
      section("Options that differ from the defaults", configPart(config, changed)),
      origin,
      model?.published.length ? publishedPart(model.published) : null));
  dialog.scrollTop = 0;
}
