// A box that scrolls sideways (formula, table, diagram) can be reached and scrolled with the keyboard.
const scrolling = ".formula, .md-typeset__scrollwrap, figure.diagram, .md-typeset pre > code";

function mark() {
  for (const box of document.querySelectorAll(scrolling)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// The theme's search is a dialog without a name.
addEventListener("load", () => document.querySelector(".md-search")?.setAttribute("aria-label", "Search"));
addEventListener("load", mark);
addEventListener("resize", mark);
