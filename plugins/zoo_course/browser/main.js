// The demos, the code that repeats them, and drawing again when the page changes its size or its colors.

const MODELS = JSON.parse(byId("models").textContent);
const IMPORTS = [
  "import torch", "from zoo_course.browser.chains import sample", "from zoo_course.browser.page import read_models",
  "from zoo_vae.decoders import DiscretizedLogistic", "", 'models = read_models("page.html")',
].join("\n");
const demos = [];

function showCode() {
  byId("code").textContent = [IMPORTS, ...demos.map((one) => one.code())].join("\n\n");
}

for (const make of [makePlane, makeLatents, makeDigits]) demos.push(make(MODELS, showCode));
showCode();

function redrawAll() {
  colors.clear();
  demos.forEach((one) => one.redraw());
}

let resting = 0;
addEventListener("resize", () => { clearTimeout(resting); resting = setTimeout(redrawAll, 100); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
