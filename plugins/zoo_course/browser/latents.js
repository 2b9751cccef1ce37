// The latent plane of a VAE: a cross that is dragged, and the image at it.

const REACH = 4; // the plane goes from -REACH to REACH
const GRID = 17; // decoded images along a side of the background
const CLASS_COLORS = ["blue", "vermillion", "green", "purple", "orange", "sky", "bad", "good", "accent", "ink"];

function makeLatents(models, said) {
  const form = byId("latents-form");
  const plane = byId("latents-plane");
  const layers = readLayers(models.latents.layers);
  const codes = numbers(models.latents.codes);
  const { labels } = models.latents;
  const tile = document.createElement("canvas");
  let [values, sampled] = [valuesOf(form), -1];

  function drawBackground(context) {
    const unit = (2 * REACH) / GRID;
    if (values.background === "images") {
      if (tile.dataset.made === undefined) {
        const places = range(GRID).map((k) => (k + 0.5) * unit - REACH);
        const z = [...places].reverse().flatMap((b) => places.flatMap((a) => [a, b]));
        drawImages(tile, decodeLatents(layers, Float64Array.from(z)), GRID, 0);
        tile.dataset.made = "";
      }
      context.imageSmoothingEnabled = false;
      context.drawImage(tile, -REACH, -REACH, 2 * REACH, 2 * REACH);
      return;
    }
    context.strokeStyle = color("line");
    context.lineWidth = 0.02;
    for (const radius of [1, 2, 3]) { context.beginPath(); context.arc(0, 0, radius, 0, 7); context.stroke(); }
    context.font = "600 0.19px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    labels.forEach((label, k) => {
      context.fillStyle = color(CLASS_COLORS[label]);
      context.fillText(String(label), codes[2 * k], -codes[2 * k + 1]);
    });
  }

  function draw() {
    const context = cleared(plane, 2 * REACH, 2 * REACH);
    context.translate(REACH, REACH);
    drawBackground(context);
    const [x, y] = [values.z1, -values.z2];
    const cross = (style, width) => {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      for (const [a, b] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { context.moveTo(x + 0.17 * a, y + 0.17 * b); context.lineTo(x + 0.6 * a, y + 0.6 * b); }
      context.moveTo(x + 0.17, y);
      context.arc(x, y, 0.17, 0, 7);
      context.stroke();
    };
    cross(color("card"), 0.16);
    cross(color("ink"), 0.07);
    drawImages(byId("latents-image"), decodeLatents(layers, [values.z1, values.z2]), 1);
    byId("latents-note").textContent = sampled < 0 ? "" : `sample ${sampled} of seed 0: z = (${values.z1.toFixed(3)}, ${values.z2.toFixed(3)})`;
    said();
  }

  function put(z1, z2, k = -1) {
    const inside = (x) => Math.min(REACH, Math.max(-REACH, x));
    form.elements.z1.value = inside(z1);
    form.elements.z2.value = inside(z2);
    show();
    sampled = k;
    values = { ...valuesOf(form), ...(k < 0 ? {} : { z1, z2 }) };
    draw();
  }

  const drag = (event) => {
    const box = plane.getBoundingClientRect();
    const at = (x, start, size) => ((x - start) / size) * 2 * REACH - REACH;
    put(at(event.clientX, box.left, box.width), -at(event.clientY, box.top, box.height));
  };
  plane.addEventListener("pointerdown", (event) => { plane.setPointerCapture(event.pointerId); drag(event); });
  plane.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  byId("latents-sample").addEventListener("click", () => {
    const [z1, z2] = randn(0, [sampled + 1], "", 0, 2);
    put(z1, z2, sampled + 1);
  });
  const show = onChange(form, (given, name) => {
    if (name !== "background") sampled = -1;
    values = sampled < 0 ? given : { ...values, background: given.background };
    draw();
  });
  whenSeen(plane, draw);
  const float = (x) => (Number.isInteger(x) ? x.toFixed(1) : String(x));
  const code = () => `decoder = models.latents.decoder  # latents (n, 2) to parameters of the pixels (n, 128)\n`
    + `out = decoder(torch.tensor([[${float(values.z1)}, ${float(values.z2)}]])).reshape(-1, 2, 1, 8, 8)\n`
    + `image = DiscretizedLogistic(17, components=1).mean(out)`;
  return { redraw: draw, code };
}
