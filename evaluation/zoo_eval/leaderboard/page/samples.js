// Samples of entries, drawn from the one image that holds the first of every entry of the board.

let sheets = new Map(); // source -> image, decoded once

function sheetOf(group) {
  const source = group.sprite?.src;
  if (!source) return null;
  if (!sheets.has(source)) {
    const image = new Image();
    const sheet = { image, waiting: [], ready: false };
    image.addEventListener("load", () => { sheet.ready = true; sheet.waiting.splice(0).forEach((paint) => paint()); });
    image.src = source;
    sheets.set(source, sheet);
  }
  return sheets.get(source);
}

// How many samples of an entry there are.
const sampleCount = (group, row) => group.sprite?.at[row]?.[1] ?? 0;

function whenReady(sheet, paint) {
  if (sheet.ready) paint();
  else sheet.waiting.push(paint);
}

// Paint cells of an entry into a canvas context; side is the height of a cell there.
function paintCells(context, group, row, { left = 0, top = 0, side, columns, count, gap }) {
  const { cell: [w, h], across, at } = group.sprite;
  const place = at[row][0];
  const cells = Math.min(count, at[row][1]);
  const wide = (side * w) / h;
  context.imageSmoothingEnabled = Math.max(w, h) > 24;
  for (let k = 0; k < cells; k += 1) {
    const x = (place % across) * SPRITE_CELLS * w + k * w;
    const y = Math.floor(place / across) * h;
    context.drawImage(sheetOf(group).image, x, y, w, h, left + (k % columns) * (wide + gap), top + Math.floor(k / columns) * (side + gap), wide, side);
  }
}

const SPRITE_CELLS = 8;

// A canvas with the first samples of an entry; null where it has none.
function sampleStrip(group, row, { side = 30, columns = SPRITE_CELLS, count = SPRITE_CELLS, gap = 2 } = {}) {
  const has = Math.min(sampleCount(group, row), count);
  if (!has) return null;
  const { cell: [w, h] } = group.sprite;
  const scale = Math.min(2, Math.ceil(devicePixelRatio || 1));
  const wide = (side * w) / h;
  const [width, height] = [Math.min(has, columns) * (wide + gap) - gap, Math.ceil(has / columns) * (side + gap) - gap];
  const canvas = el("canvas", { class: "strip", width: Math.round(width * scale), height: Math.round(height * scale), role: "img",
    "aria-label": `${plural(has, "sample", "samples")} of ${nameOf(group, row)}` });
  canvas.style.width = `${Math.round(width)}px`;
  canvas.style.height = `${Math.round(height)}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  whenReady(sheetOf(group), () => paintCells(context, group, row, { side, columns, count: has, gap }));
  return canvas;
}
