// The networks of the page. A batch is a flat array: n rows of D numbers.

// Float32Array of an encoded array { shape, data }; data are its bytes, little-endian, in base64.
function numbers({ data }) {
  const text = atob(data);
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

const readLayers = (layers) => layers.map(({ weight, bias }) => ({ weight: numbers(weight), bias: numbers(bias) }));

const silu = (x) => x / (1 + Math.exp(-x));
const relu = (x) => Math.max(0, x);
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// A linear layer: weight (outputs, inputs), as in torch.
function linear({ weight, bias }, x, n) {
  const [outputs, inputs] = [bias.length, weight.length / bias.length];
  const y = new Float64Array(n * outputs);
  for (let row = 0; row < n; row += 1) {
    for (let j = 0; j < outputs; j += 1) {
      let sum = bias[j];
      for (let i = 0, w = j * inputs, at = row * inputs; i < inputs; i += 1) sum += weight[w + i] * x[at + i];
      y[row * outputs + j] = sum;
    }
  }
  return y;
}

// Linear layers with an activation between each two.
function perceptron(layers, activation, x, n) {
  return layers.reduce((h, layer, place) => {
    const y = linear(layer, h, n);
    return place < layers.length - 1 ? y.map(activation) : y;
  }, x);
}

function readDenoiser(plain) {
  return { ...plain, dims: plain.mean.shape[0], mean: numbers(plain.mean), basis: numbers(plain.basis),
    std: numbers(plain.std), layers: readLayers(plain.layers) };
}

// E[x0 | x] as in zoo_course.browser.networks: x (n, D) at one noise level; labels has n entries, or is null.
function denoise(model, x, sigma, labels) {
  const { dims, classes, mean, basis, std, rates } = model;
  const n = x.length / dims;
  const width = dims + 2 * rates.length + (classes ? classes + 1 : 0);
  const y = new Float64Array(n * dims);
  const input = new Float64Array(n * width);
  const angles = rates.map((rate) => rate * Math.log(sigma));
  const features = [...angles.map(Math.sin), ...angles.map(Math.cos)];
  const scale = Array.from(std, (s) => Math.sqrt(sigma * sigma + s * s));
  for (let row = 0; row < n; row += 1) {
    for (let j = 0; j < dims; j += 1) {
      let sum = 0;
      for (let i = 0; i < dims; i += 1) sum += (x[row * dims + i] - mean[i]) * basis[i * dims + j];
      y[row * dims + j] = sum;
      input[row * width + j] = sum / scale[j];
    }
    features.forEach((value, k) => { input[row * width + dims + k] = value; });
    if (classes) input[row * width + dims + features.length + (labels ? labels[row] : classes)] = 1;
  }
  const residual = perceptron(model.layers, silu, input, n);
  const out = new Float64Array(n * dims);
  for (let row = 0; row < n; row += 1) {
    const inner = residual.subarray(row * dims, (row + 1) * dims)
      .map((f, j) => (std[j] / scale[j]) ** 2 * y[row * dims + j] + ((sigma * std[j]) / scale[j]) * f);
    for (let i = 0; i < dims; i += 1) {
      let sum = mean[i];
      for (let j = 0; j < dims; j += 1) sum += inner[j] * basis[i * dims + j];
      out[row * dims + i] = sum;
    }
  }
  return out;
}

// Classifier-free guidance, s D(x; label) + (1 - s) D(x; null), clamped to [-1, 1]; s = 1 needs one evaluation.
function guided(model, x, sigma, labels, scale) {
  const conditional = denoise(model, x, sigma, labels);
  const without = scale === 1 ? conditional : denoise(model, x, sigma, null);
  return conditional.map((value, k) => Math.min(1, Math.max(-1, scale * value - (scale - 1) * without[k])));
}

// Means of the pixels of decoded latents (n, 2): a logistic of 17 levels for each of 64 pixels.
function decodeLatents(layers, z) {
  const n = z.length / 2;
  const out = perceptron(layers, relu, z, n);
  const images = new Float64Array(n * 64);
  for (let row = 0; row < n; row += 1) {
    for (let pixel = 0; pixel < 64; pixel += 1) {
      const mean = Math.min(3, Math.max(-3, out[row * 128 + pixel]));
      const rate = Math.exp(-Math.min(7, Math.max(-7, out[row * 128 + 64 + pixel])));
      let above = 0;
      for (let edge = 1; edge < 17; edge += 1) above += sigmoid((mean - ((2 * edge - 1) / 16 - 1)) * rate);
      images[row * 64 + pixel] = above / 8 - 1;
    }
  }
  return images;
}
