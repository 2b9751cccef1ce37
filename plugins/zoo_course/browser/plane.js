// Points of the plane: the probability flow and the reverse SDE from one start.

const SAMPLES = 240;
const TRAILS = 12;
const HALF = 1.75; // half the side of the drawing, in units of data
const NEAR = 3; // noise level below which straightness is measured
const TRAIL_COLORS = ["blue", "vermillion", "green", "purple", "orange", "sky"];

// Mean of (distance from start to end) / (length of the path) over all samples, below the level NEAR.
function straightness(states) {
  const near = states.filter((one) => one.sigma <= NEAR);
  const n = near[0].x.length / 2;
  const apart = (a, b, k) => Math.hypot(a.x[2 * k] - b.x[2 * k], a.x[2 * k + 1] - b.x[2 * k + 1]);
  let sum = 0;
  for (let k = 0; k < n; k += 1) {
    let length = 0;
    for (let i = 1; i < near.length; i += 1) length += apart(near[i - 1], near[i], k);
    sum += apart(near[0], near.at(-1), k) / length;
  }
  return sum / n;
}

function makePlane(models, said) {
  const form = byId("plane-form");
  const nets = Object.fromEntries(Object.entries(models.planes).map(([name, one]) => [name, { net: readDenoiser(one.denoiser), points: numbers(one.points) }]));
  let values = valuesOf(form);

  function drawSide(canvas, state, states, { net, points }) {
    const context = cleared(canvas, 2 * HALF, 2 * HALF);
    context.translate(HALF, HALF);
    context.scale(1, -1);
    const std = Math.sqrt(net.std.reduce((sum, s) => sum + s * s, 0) / net.std.length);
    const shrink = (sigma) => 1 / Math.sqrt(1 + (sigma / std) ** 2);
    const dot = (x, y, radius) => { context.beginPath(); context.arc(x, y, radius, 0, 7); context.fill(); };
    context.fillStyle = color("dim");
    context.globalAlpha = 0.22;
    for (let k = 0; k < points.length; k += 2) dot(points[k], points[k + 1], 0.014);
    context.globalAlpha = 1;
    if (values.field) drawField(context, net, Math.max(state.sigma, net.sigmaMin), shrink);
    context.lineWidth = 0.014;
    context.lineJoin = "round";
    for (let k = 0; k < TRAILS; k += 1) {
      context.strokeStyle = color(TRAIL_COLORS[k % TRAIL_COLORS.length]);
      context.beginPath();
      for (const { x, sigma } of states) context.lineTo(x[2 * k] * shrink(sigma), x[2 * k + 1] * shrink(sigma));
      context.stroke();
    }
    const f = shrink(state.sigma);
    for (let k = SAMPLES - 1; k >= 0; k -= 1) {
      context.fillStyle = color(k < TRAILS ? TRAIL_COLORS[k % TRAIL_COLORS.length] : "ink");
      dot(state.x[2 * k] * f, state.x[2 * k + 1] * f, k < TRAILS ? 0.042 : 0.021);
    }
  }

  // Arrows from x towards D(x), in the drawn scale.
  function drawField(context, net, sigma, shrink) {
    const f = shrink(sigma);
    const places = range(13).map((k) => (k - 6) * 0.26);
    const x = places.flatMap((b) => places.flatMap((a) => [a / f, b / f]));
    const x0 = denoise(net, Float64Array.from(x), sigma, null);
    context.strokeStyle = color("accent");
    context.lineWidth = 0.011;
    context.globalAlpha = 0.7;
    for (let k = 0; k < x.length; k += 2) {
      const [dx, dy] = [x0[k] - x[k] * f, x0[k + 1] - x[k + 1] * f];
      const size = Math.hypot(dx, dy) || 1;
      const [length, angle] = [Math.min(0.2, 0.5 * size), Math.atan2(dy, dx)];
      const [a, b] = [x[k] * f, x[k + 1] * f];
      const [c, d] = [a + length * Math.cos(angle), b + length * Math.sin(angle)];
      context.beginPath();
      context.moveTo(a, b);
      context.lineTo(c, d);
      for (const turn of [2.6, -2.6]) {
        context.moveTo(c, d);
        context.lineTo(c + 0.3 * length * Math.cos(angle + turn), d + 0.3 * length * Math.sin(angle + turn));
      }
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  const player = makePlayer(byId("plane-player"), {
    chains: () => {
      const { net } = nets[values.data];
      const shared = { indices: range(SAMPLES), seed: values.seed, steps: values.steps };
      const running = [chain(net, { ...shared, sampler: values.solver }), chain(net, { ...shared, sampler: "ddim", eta: values.eta })];
      return { running, steps: values.steps };
    },
    show: (states, history) => {
      ["ode", "sde"].forEach((side, place) => {
        const one = history.map((both) => both[place]);
        drawSide(byId(`plane-${side}`), states[place], one, nets[values.data]);
        const near = one.filter((state) => state.sigma <= NEAR).length;
        byId(`plane-${side}-note`).textContent = states[place].sigma === 0 && near > 1 ? `straightness ${straightness(one).toFixed(2)}` : "";
      });
    },
    told: ([ode, sde]) => `, ${ode.calls} and ${sde.calls} evaluations`,
  });
  onChange(form, (given, name) => {
    values = given;
    said();
    if (name === "field") player.redraw();
    else player.restart();
  });
  whenSeen(byId("plane-ode"), player.restart);
  const code = () => `plane = models.planes["${values.data}"].denoise\n`
    + `ode = sample(plane, range(${SAMPLES}), seed=${values.seed}, sampler="${values.solver}", steps=${values.steps})\n`
    + `sde = sample(plane, range(${SAMPLES}), seed=${values.seed}, sampler="ddim", steps=${values.steps}, eta=${values.eta})`;
  return { redraw: player.redraw, code };
}
