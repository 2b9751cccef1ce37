// Controls and canvases.

const byId = (id) => document.getElementById(id);

// A color of the style, as the browser has resolved it for the light or the dark scheme.
const colors = new Map();
function color(name) {
  if (!colors.has(name)) {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    colors.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colors.get(name);
}

// Context of a canvas with `width` by `height` units, at the resolution of the screen, cleared.
function cleared(canvas, width, height) {
  const pixels = Math.max(1, Math.round(canvas.clientWidth * Math.min(3, devicePixelRatio || 1)));
  canvas.width = pixels;
  canvas.height = Math.round((pixels * height) / width);
  const context = canvas.getContext("2d");
  context.scale(pixels / width, pixels / width);
  return context;
}

// Values of a form by name: numbers of sliders, texts of lists, and whether a box is ticked.
function valuesOf(form) {
  const found = {};
  for (const one of form.elements) {
    if (one.name) found[one.name] = one.type === "range" ? Number(one.value) : one.type === "checkbox" ? one.checked : one.value;
  }
  return found;
}

// Show the value of each slider beside its name, and call `changed` with the values after a change.
function onChange(form, changed) {
  const show = () => {
    for (const label of form.querySelectorAll("label")) {
      const output = label.querySelector("output");
      if (output) output.textContent = label.querySelector("input").value;
    }
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => { show(); changed(valuesOf(form), event.target.name); });
  show();
  return show;
}

// Paint gray images (n rows of 64 numbers in [-1, 1]) side by side, 8 by 8 pixels each, with a gap of one pixel.
function drawImages(canvas, images, columns, gap = 1) {
  const n = images.length / 64;
  const rows = Math.ceil(n / columns);
  canvas.width = columns * (8 + gap) - gap;
  canvas.height = rows * (8 + gap) - gap;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let k = 0; k < image.data.length; k += 4) image.data.set([110, 114, 120, 255], k);
  for (let k = 0; k < n; k += 1) {
    const [left, top] = [(k % columns) * (8 + gap), Math.floor(k / columns) * (8 + gap)];
    for (let pixel = 0; pixel < 64; pixel += 1) {
      const level = Math.round(127.5 * (1 + Math.min(1, Math.max(-1, images[64 * k + pixel]))));
      const at = 4 * ((top + Math.floor(pixel / 8)) * canvas.width + left + (pixel % 8));
      image.data.set([level, level, level, 255], at);
    }
  }
  context.putImageData(image, 0, 0);
}

const range = (n) => Array.from({ length: n }, (_, k) => k);
const digits2 = (x) => (x >= 10 ? x.toFixed(0) : x >= 1 ? x.toFixed(1) : x > 0 ? x.toPrecision(2) : "0");
