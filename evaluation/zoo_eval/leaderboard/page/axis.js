// Axes: linear, log, or symlog where values below zero matter; on a log axis what is not positive has a lane.

const LANE = 30; // pixels of the lane

// The kind of axis that shows values best: log where they span more than 20-fold.
function axisKind(values, wanted = null) {
  const positive = values.filter((v) => v > 0);
  if (wanted === false || !positive.length) return "linear";
  const [low, high] = extent(positive);
  const negative = values.filter((v) => v < 0).length;
  if (wanted === null && high / low <= 20) return "linear";
  return negative > 0.2 * values.length ? "symlog" : "log"; // a few that are not positive get a lane
}

const extent = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);

// An axis from values to pixels. ends: values of intervals, which the range includes.
function makeAxis({ values, ends = [], kind, from, to, format, apart, unit, textWidth = () => 0 }) {
  const log = kind === "log";
  const usable = log ? values.filter((v) => v > 0) : values;
  const lane = log && usable.length < values.length;
  let [low, high] = usable.length ? extent(usable) : [1, 10];
  // An interval that reaches far below the values on a log axis is cut, with an arrow.
  const within = ends.filter((v) => !log || v > low / 10);
  [low, high] = extent([low, high, ...within]);
  const [least] = extent(usable.filter((v) => v > 0));
  const negatives = Math.max(0, -extent(values)[0]);
  const knee = Math.max(negatives, Number.isFinite(least) ? least : 1) || 1;
  const f = { log: Math.log, linear: (v) => v, symlog: (v) => Math.asinh(v / knee) }[kind];
  if (log) [low, high] = [low / 1.25, high * 1.25];
  else if (kind === "linear") {
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    low = low >= 0 && low < (high - low) * 0.5 ? 0 : low - margin;
    high += margin;
  } else [low, high] = [low - knee / 2, high * 1.25];
  const [a, b] = [f(low), f(high)];
  const start = from + (lane ? Math.sign(to - from) * LANE : 0);
  const nothing = from + Math.sign(to - from) * (lane ? LANE / 2 : -LANE); // without a lane it is beyond the axis
  const scale = (v) => (log && v <= 0 ? nothing : start + ((to - start) * (f(v) - a)) / (b - a));
  const wanted = Math.max(2, Math.abs(to - start) / apart);
  const make = kind === "symlog" ? symlogTicks : kind === "linear" ? linearTicks : unit === "clock" || unit === "s" ? clockTicks : logTicks;
  const ticks = distinct(make(low, high, wanted, knee).map((v) => ({ v, at: scale(v), text: format(v) })), textWidth, apart);
  if (lane) ticks.unshift({ v: 0, at: scale(0), text: values.some((v) => v < 0) ? "\u2264\u202f0" : "0", lane: start });
  return { scale, ticks, kind, low, high, start };
}

// Ticks that differ in text and do not overlap.
function distinct(ticks, textWidth, apart) {
  const kept = [];
  for (const tick of ticks) {
    const last = kept[kept.length - 1];
    const space = last ? Math.max(apart * 0.25, (textWidth(last.text) + textWidth(tick.text)) / 2 + 8) : 0;
    if (!last || (last.text !== tick.text && Math.abs(tick.at - last.at) >= space)) kept.push(tick);
  }
  return kept;
}

// Ascending ticks for [low, high]: 1, 2, 5 times powers of ten.
function linearTicks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = [0.5, 1, 2, 5, 10].map((k) => k * power);
  const ticksOf = (step) => {
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) ticks.push(Number((k * step).toPrecision(12)));
    return ticks;
  };
  const place = steps.findIndex((s, k) => k > 0 && s >= rough);
  const ticks = ticksOf(steps[place]);
  return ticks.length > 1 ? ticks : ticksOf(steps[place - 1]); // a single tick shows no scale
}

function logTicks(low, high, wanted) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const decades = last - first;
  const span = Math.log10(high / low);
  for (let stride = Math.max(1, Math.ceil(decades / wanted)); stride > 0; stride -= 1) {
    const within = span <= 1.6 ? [1, 2, 5] : span <= 3 && stride === 1 && wanted >= 4 ? [1, 3] : [1];
    const ticks = [];
    for (let power = first; power <= last; power += stride) {
      for (const k of within) {
        const tick = Number((k * 10 ** power).toPrecision(3));
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
      }
    }
    if (ticks.length > 1) return ticks;
  }
  return linearTicks(low, high, wanted);
}

function symlogTicks(low, high, wanted, knee) {
  const first = Math.ceil(Math.log10(knee));
  const up = [];
  for (let power = first; 10 ** power <= high; power += 1) up.push(10 ** power);
  const down = up.filter((v) => -v >= low).map((v) => -v).reverse();
  return [...down, 0, ...up];
}

// Ticks of a log axis of time: decades up to 10 s, then minutes and hours.
function clockTicks(low, high, wanted) {
  if (high <= 20) return logTicks(low, high, wanted);
  const all = [0.001, 0.01, 0.1, 1, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 36000, 86400, 360000, 864000, 3600000];
  const inside = all.filter((v) => v >= low && v <= high);
  return inside.length > 1 ? inside : linearTicks(low, high, wanted).filter((v) => v > 0);
}
