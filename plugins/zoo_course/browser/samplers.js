// The samplers of zoo_core.diffusion, from noise at sigmas[0] to data at 0. Each is a generator of the states
// { step, sigma, x, x0, calls }; the last one is the sample at sigma 0.

// Levels evenly spaced in sigma^(1/7), and then 0.
function karras(first, last, steps) {
  const [a, b] = [first ** (1 / 7), last ** (1 / 7)];
  const sigmas = Array.from({ length: steps }, (_, k) => (steps > 1 ? (a + ((b - a) * k) / (steps - 1)) ** 7 : first));
  sigmas[0] = first;
  return [...sigmas, 0];
}

// x <- x0 + keep (x - x0) + std z in every step; the last adds no noise.
function* walk(model, x, sigmas, keep, std, noise) {
  const steps = sigmas.length - 1;
  for (let step = 0; step < steps; step += 1) {
    const x0 = model(x, sigmas[step]);
    yield { step, sigma: sigmas[step], x, x0, calls: step + 1 };
    const [share, spread] = [keep(sigmas[step], sigmas[step + 1]), step < steps - 1 ? std(sigmas[step], sigmas[step + 1]) : 0];
    const z = spread > 0 ? noise("step", step) : null;
    x = x.map((value, k) => x0[k] + share * (value - x0[k]) + (z ? spread * z[k] : 0));
  }
  yield { step: steps, sigma: 0, x, x0: x, calls: steps };
}

// Heun's method for the probability flow dx/dsigma = (x - x0) / sigma; the step to 0 is Euler's.
function* heun(model, x, sigmas) {
  const steps = sigmas.length - 1;
  for (let step = 0; step < steps; step += 1) {
    const [t, s] = [sigmas[step], sigmas[step + 1]];
    const x0 = model(x, t);
    yield { step, sigma: t, x, x0, calls: 2 * step + 1 };
    const slope = x.map((value, k) => (value - x0[k]) / t);
    const ahead = x.map((value, k) => value + (s - t) * slope[k]);
    if (s === 0) {
      x = ahead;
    } else {
      const next = model(ahead, s);
      x = x.map((value, k) => value + ((s - t) * (slope[k] + (ahead[k] - next[k]) / s)) / 2);
    }
  }
  yield { step: steps, sigma: 0, x, x0: x, calls: 2 * steps - 1 };
}

const posteriorStd = (t, s) => (s * Math.sqrt(t * t - s * s)) / t;

const SAMPLERS = {
  ddim: (model, x, sigmas, noise, eta) => walk(model, x, sigmas,
    (t, s) => Math.sqrt(s * s - (eta * posteriorStd(t, s)) ** 2) / t, (t, s) => eta * posteriorStd(t, s), noise),
  ancestral: (model, x, sigmas, noise) => walk(model, x, sigmas, (t, s) => (s / t) ** 2, posteriorStd, noise),
  euler: (model, x, sigmas, noise) => walk(model, x, sigmas, (t, s) => s / t, () => 0, noise),
  heun: (model, x, sigmas) => heun(model, x, sigmas),
};

// The states of samples `indices` of a seed, as zoo_course.browser.chains.sample makes them.
function chain(net, { indices, seed = 0, sampler = "ddim", steps = 20, eta = 0, labels = null, scale = 1 }) {
  const noise = (name, step) => randn(seed, indices, name, step, net.dims);
  const model = labels ? (x, sigma) => guided(net, x, sigma, labels, scale) : (x, sigma) => denoise(net, x, sigma, null);
  const start = noise("start", 0).map((value) => value * net.sigmaMax);
  return SAMPLERS[sampler](model, start, karras(net.sigmaMax, net.sigmaMin, steps), noise, eta);
}
