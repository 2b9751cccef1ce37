// Digits with a label: forty samples, ten in a row.

const ROWS = 4;
const NULL_LABEL = 10;

// Square root of the mean over classes and pixels of the variance within a class; images (n, 64).
function withinClassStd(images, labels) {
  let [sum, count] = [0, 0];
  for (const label of new Set(labels)) {
    const rows = range(labels.length).filter((k) => labels[k] === label);
    for (let pixel = 0; pixel < 64; pixel += 1) {
      const values = rows.map((k) => images[64 * k + pixel]);
      const mean = values.reduce((a, b) => a + b) / values.length;
      sum += values.reduce((total, value) => total + (value - mean) ** 2, 0) / (values.length - 1);
      count += 1;
    }
  }
  return Math.sqrt(sum / count);
}

function makeDigits(models, said) {
  const form = byId("digits-form");
  const net = readDenoiser(models.digits.denoiser);
  const options = [["each", "each digit"], ...range(10).map((k) => [String(k), String(k)]), ["none", "none"]];
  form.elements.label.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  let values = valuesOf(form);

  const labels = () => range(10 * ROWS).map((k) => (values.label === "each" ? k % 10 : values.label === "none" ? NULL_LABEL : Number(values.label)));

  const player = makePlayer(byId("digits-player"), {
    chains: () => {
      const { seed, sampler, steps, eta, scale } = values;
      return { running: [chain(net, { indices: range(10 * ROWS), seed, sampler, steps, eta, labels: labels(), scale })], steps };
    },
    show: ([{ x, x0, sigma }]) => {
      const size = Math.sqrt(1 + (sigma / 0.75) ** 2);
      drawImages(byId("digits-images"), values.shown === "x0" ? x0 : x.map((value) => value / size), 10);
      const spread = `spread within a class ${withinClassStd(x, labels()).toFixed(2)} (training digits ${models.digits.spread.toFixed(2)})`;
      byId("digits-note").textContent = sigma === 0 && values.label === "each" ? spread : `samples 0 to ${10 * ROWS - 1} of seed ${values.seed}`;
    },
    told: ([{ calls }]) => `, ${calls * (values.scale === 1 ? 1 : 2)} evaluations`,
  });
  const limit = () => { form.elements.eta.disabled = values.sampler !== "ddim"; };
  onChange(form, (given, name) => {
    values = given;
    limit();
    said();
    if (name === "shown") player.redraw();
    else player.restart();
  });
  limit();
  whenSeen(byId("digits-images"), player.restart);
  const code = () => `label = ${values.label === "each" ? `torch.arange(${10 * ROWS}) % 10` : `torch.full((${10 * ROWS},), ${labels()[0]})`}\n`
    + `digits = sample(models.digits.denoise, range(${10 * ROWS}), seed=${values.seed}, sampler="${values.sampler}", steps=${values.steps},\n`
    + `                eta=${values.eta}, label=label, guidance_scale=${values.scale})  # (${10 * ROWS}, 64)`;
  return { redraw: player.redraw, code };
}
