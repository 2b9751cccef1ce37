// A color and a shape per family: the same in every table and plot, for all datasets.
// Colors are those of Okabe and Ito, which remain distinct without red or green; shapes also without color.

const STYLES = {
  diffusion: ["var(--blue)", "circle"],
  gan: ["var(--vermillion)", "triangle"],
  vae: ["var(--green)", "square"],
  flow: ["var(--purple)", "diamond"],
  autoregressive: ["var(--orange)", "down"],
  "normalizing-flow": ["var(--sky)", "left"],
  "discrete-diffusion": ["var(--brown)", "cross"],
  outside: ["var(--ink)", "star"],
  baseline: ["var(--baseline)", "plus"],
};
const OTHERS = [["var(--purple)", "star"], ["var(--sky)", "diamond"], ["var(--orange)", "square"], ["var(--purple)", "down"], ["var(--sky)", "triangle"], ["var(--orange)", "star"]];

// A family that is not known here has the style that its name alone decides.
function familyStyle(family) {
  if (Object.hasOwn(STYLES, family)) return STYLES[family];
  const sum = [...family].reduce((total, letter) => (total * 31 + letter.codePointAt(0)) % 9973, 7);
  return OTHERS[sum % OTHERS.length];
}

const familyColor = (family) => familyStyle(family)[0];

const polygon = (x, y, r, corners) => {
  const points = corners.map(([a, b]) => `${(x + a * r).toFixed(1)} ${(y + b * r).toFixed(1)}`);
  return `M${points.join("L")}Z`;
};
const STAR = Array.from({ length: 10 }, (_, k) => {
  const [angle, size] = [(k * Math.PI) / 5 - Math.PI / 2, k % 2 ? 0.55 : 1.3];
  return [Math.cos(angle) * size, Math.sin(angle) * size];
});
const SHAPES = {
  circle: (x, y, r) => `M${(x - r).toFixed(1)} ${y.toFixed(1)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  square: (x, y, r) => polygon(x, y, r, [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]),
  triangle: (x, y, r) => polygon(x, y, r, [[0, -1.15], [1.1, 0.85], [-1.1, 0.85]]),
  down: (x, y, r) => polygon(x, y, r, [[0, 1.15], [1.1, -0.85], [-1.1, -0.85]]),
  left: (x, y, r) => polygon(x, y, r, [[-1.15, 0], [0.85, -1.1], [0.85, 1.1]]),
  cross: (x, y, r) => polygon(x, y, r, [[0, -0.5], [0.6, -1.1], [1.1, -0.6], [0.5, 0], [1.1, 0.6], [0.6, 1.1], [0, 0.5], [-0.6, 1.1], [-1.1, 0.6], [-0.5, 0], [-1.1, -0.6], [-0.6, -1.1]]),
  diamond: (x, y, r) => polygon(x, y, r, [[0, -1.3], [1.1, 0], [0, 1.3], [-1.1, 0]]),
  plus: (x, y, r) => polygon(x, y, r, [[-0.35, -1.1], [0.35, -1.1], [0.35, -0.35], [1.1, -0.35], [1.1, 0.35], [0.35, 0.35], [0.35, 1.1], [-0.35, 1.1], [-0.35, 0.35], [-1.1, 0.35], [-1.1, -0.35], [-0.35, -0.35]]),
  star: (x, y, r) => polygon(x, y, r, STAR),
};

const markPath = (family, x, y, r) => SHAPES[familyStyle(family)[1]](x, y, r);

const familyMark = (family) =>
  svg("svg", { class: "mark", width: 14, height: 14, viewBox: "0 0 14 14", "aria-hidden": "true" },
    svg("path", { d: markPath(family, 7, 7, 5), fill: familyColor(family) }));
