// Definitions: shown beside a word on hover and on keyboard focus, and all together at the end of the page.

const definitionOf = (term) => {
  if (Object.hasOwn(BOARD.terms, term)) return BOARD.terms[term];
  const one = BOARD.groups.length ? metricOf(group(), term) : null;
  return one?.about ? [one.better ? `${one.about} ${one.better === "lower" ? "Lower" : "Higher"} is better.` : one.about, one.see] : null;
};

const docsLink = (see) => (BOARD.docs && see ? link(BOARD.docs + see, "Documentation") : null);

// A word with a definition, which the keyboard reaches.
const term = (name, text = name, properties = {}) =>
  definitionOf(name) ? el("span", { class: "term", tabindex: 0, "data-term": name, ...properties }, text) : el("span", properties, text);

let tipFor = null;
let closing = 0;

function showTip(target) {
  const found = definitionOf(target.dataset.term);
  if (!found) return;
  clearTimeout(closing);
  if (tipFor === target) return;
  hideTip();
  tipFor = target;
  const tip = byId("tip");
  (target.closest("dialog") ?? document.body).append(tip); // a dialog is above everything outside it
  tip.replaceChildren(el("strong", {}, bdi(target.dataset.title ?? target.dataset.term)), el("p", {}, found[0]), docsLink(found[1]) ?? "");
  tip.hidden = false;
  const box = target.getBoundingClientRect();
  const width = tip.offsetWidth;
  tip.style.left = `${Math.max(8, Math.min(box.left, document.documentElement.clientWidth - width - 8))}px`;
  const above = box.bottom + tip.offsetHeight + 12 > innerHeight;
  tip.style.top = `${above ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
  target.setAttribute("aria-describedby", "tip");
}

function hideTip() {
  clearTimeout(closing);
  byId("tip").hidden = true;
  document.body.append(byId("tip")); // out of a dialog that will be drawn again
  tipFor?.removeAttribute("aria-describedby");
  tipFor = null;
}

function listenToTerms() {
  const target = (event) => event.target.closest?.("[data-term]");
  document.addEventListener("pointerover", (event) => {
    if (event.target.closest?.("#tip")) clearTimeout(closing);
    else if (target(event)) showTip(target(event));
  });
  document.addEventListener("pointerout", (event) => {
    if (!target(event) && !event.target.closest?.("#tip")) return;
    clearTimeout(closing);
    closing = setTimeout(hideTip, 250);
  });
  document.addEventListener("focusin", (event) => (target(event) ? showTip(target(event)) : event.target.closest?.("#tip") ? null : hideTip()));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || byId("tip").hidden) return;
    if (tipFor.matches(":focus")) event.preventDefault(); // the dialog below stays open
    hideTip();
  }, true);
  addEventListener("scroll", () => { if (tipFor && !tipFor.matches(":focus")) hideTip(); }, { passive: true, capture: true });
}

// Every definition of this board, with its section of the documentation.
function drawGlossary(now) {
  const metrics = now.metrics.filter((one) => one.about).map((one) => [one.name, definitionOf(one.name)]);
  const terms = Object.entries(BOARD.terms);
  byId("glossary").querySelector("dl").replaceChildren(...[...metrics, ...terms].flatMap(([name, [about, see]]) =>
    [el("dt", {}, bdi(name)), el("dd", {}, about, " ", BOARD.docs ? docsLink(see) ?? "" : see ? el("span", { class: "dim" }, `docs: ${see}`) : "")]));
}
