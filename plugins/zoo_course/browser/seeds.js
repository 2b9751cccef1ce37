// The noise of zoo_core.seeds, version 2: Philox4x32-10 of (block, step, sample) under a key of (seed, name).
// Normals of sample k depend on (seed, k, name, step) alone and are those of Python.

const IV = [0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n];
const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
const COLUMNS = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15], [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];

// BLAKE2b (RFC 7693) of at most 128 bytes, with a digest of 8 bytes, as a 64-bit number in little-endian order.
function blake2b64(bytes) {
  const u64 = (x) => BigInt.asUintN(64, x);
  const turned = (x, n) => u64((x >> n) | (x << (64n - n)));
  const block = new Uint8Array(128);
  block.set(bytes);
  const words = new DataView(block.buffer);
  const m = Array.from({ length: 16 }, (_, k) => words.getBigUint64(8 * k, true));
  const first = IV[0] ^ 0x01010008n;
  const v = [first, ...IV.slice(1), ...IV];
  v[12] ^= BigInt(bytes.length);
  v[14] = u64(~v[14]);
  for (let round = 0; round < 12; round += 1) {
    const order = SIGMA[round % 10];
    COLUMNS.forEach(([a, b, c, d], k) => {
      v[a] = u64(v[a] + v[b] + m[order[2 * k]]);
      v[d] = turned(v[d] ^ v[a], 32n);
      v[c] = u64(v[c] + v[d]);
      v[b] = turned(v[b] ^ v[c], 24n);
      v[a] = u64(v[a] + v[b] + m[order[2 * k + 1]]);
      v[d] = turned(v[d] ^ v[a], 16n);
      v[c] = u64(v[c] + v[d]);
      v[b] = turned(v[b] ^ v[c], 63n);
    });
  }
  return first ^ v[0] ^ v[8];
}

// The two words of 32 bits that key the draws of a purpose.
function purposeKey(seed, name) {
  const hash = blake2b64(new TextEncoder().encode(`${seed}\0${name}`));
  return [Number(hash & 0xffffffffn), Number(hash >> 32n)];
}

// High 32 bits of the product of two numbers of 32 bits, by halves of 16.
function highProduct(a, b) {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const rest = a0 * b1 + (middle % 0x10000);
  return (a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(rest / 0x10000)) >>> 0;
}

function philox(counter, key) {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round += 1) {
    const [high0, low0] = [highProduct(c0, 0xd2511f53), Math.imul(c0, 0xd2511f53) >>> 0];
    const [high1, low1] = [highProduct(c2, 0xcd9e8d57), Math.imul(c2, 0xcd9e8d57) >>> 0];
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

// Standard normals of samples `indices`, dims numbers each, one after the other (Box and Muller's transform).
function randn(seed, indices, name, step, dims) {
  const key = purposeKey(seed, name);
  const found = new Float64Array(indices.length * dims);
  indices.forEach((k, row) => {
    for (let block = 0; 4 * block < dims; block += 1) {
      const words = philox([block, step, k >>> 0, Math.floor(k / 2 ** 32)], key);
      for (let place = 0; place < 4 && 4 * block + place < dims; place += 1) {
        const pair = place & 2;
        const radius = Math.sqrt(-2 * Math.log((words[pair] + 0.5) * 2 ** -32));
        const angle = (words[pair + 1] + 0.5) * 2 * Math.PI * 2 ** -32;
        found[row * dims + 4 * block + place] = Math.fround(radius * (place & 1 ? Math.sin(angle) : Math.cos(angle)));
      }
    }
  });
  return found;
}
