// The gallery: samples of every entry, large, in the order of the table.

function galleryCard(group, view, row, { open, compare }) {
  const ranking = group.rankings[view.metric];
  const one = metricOf(group, view.metric);
  const name = nameOf(group, row);
  return el("article", { class: isPlaced(ranking, row) ? "tile" : "tile unranked" },
    el("header", {},
      el("span", { class: "tile-rank" }, rankText(ranking, row)), familyMark(group.family[row]),
      el("button", { type: "button", class: "open", "data-row": row, title: name, onclick: () => open(row) }, bdi(name)),
      compareBox(group, row, compare)),
    sampleStrip(group, row, { side: 64, columns: 4, gap: 4 }) ?? el("p", { class: "absent" }, "no samples recorded"),
    el("p", { class: "tile-score" }, valueText(one, row), el("span", { class: "width" }, spreadText(one, row))),
    el("p", { class: "under" }, bdi(group.family[row]), group.given ? ` \u00b7 given: ${group.given}` : ""));
}

function drawGallery(group, view, rows, acts) {
  const shown = rows.slice(view.page * PAGE, (view.page + 1) * PAGE);
  byId("gallery").replaceChildren(...(shown.length ? shown.map((row) => galleryCard(group, view, row, acts)) : [el("p", { class: "empty" }, "No entry fits the search and the filters.")]));
}
