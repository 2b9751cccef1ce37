// A player of chains: computes one state a frame, and shows any state that was computed.

const LASTS = 2600; // milliseconds of a whole chain

// chains(): { running, steps }, generators of samplers.js and their number of steps.
// show(states, history): draws the states of one step; history holds those of all steps up to it.
// told(states): text beside the slider.
function makePlayer(root, { chains, show, told }) {
  const [button, slider, output] = [root.querySelector("button"), root.querySelector("input"), root.querySelector("output")];
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let [running, steps, history, at, playing, timer, waiting] = [[], 0, [], 0, false, 0, 0];

  function draw() {
    slider.max = steps;
    slider.value = at;
    button.textContent = playing ? "Pause" : at < steps ? "Play" : "Again";
    output.textContent = `step ${at} of ${steps}, σ ${digits2(history[at][0].sigma)}${told(history[at])}`;
    root.setAttribute("aria-busy", playing);
    show(history[at], history.slice(0, at + 1));
  }

  function go(step) {
    at = Math.min(steps, step);
    while (history.length <= at) history.push(running.map((one) => one.next().value));
    if (at === steps) playing = false;
    draw();
  }

  function tick() {
    clearTimeout(timer);
    if (!playing) return;
    go(at + 1);
    timer = setTimeout(tick, Math.min(300, Math.max(16, LASTS / steps)));
  }

  function restart() {
    clearTimeout(timer);
    ({ running, steps } = chains());
    history = [];
    playing = !calm.matches;
    go(calm.matches ? steps : 0);
    if (playing) timer = setTimeout(tick, 250);
  }

  button.addEventListener("click", () => {
    if (at === steps) {
      playing = true;
      at = -1;
      tick();
      return;
    }
    playing = !playing;
    if (playing) tick();
    else draw();
  });
  slider.addEventListener("input", () => { playing = false; go(Number(slider.value)); });
  return {
    // Start again once the controls have rested for a moment.
    restart: () => { root.setAttribute("aria-busy", true); clearTimeout(waiting); waiting = setTimeout(restart, history.length ? 120 : 0); },
    redraw: () => { if (history.length) draw(); },
  };
}

// Call `begin` when an element is first seen.
function whenSeen(element, begin) {
  const observer = new IntersectionObserver((entries) => {
    if (entries.some((one) => one.isIntersecting)) { observer.disconnect(); begin(); }
  }, { rootMargin: "100px" });
  observer.observe(element);
}
