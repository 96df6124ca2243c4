// What the tests put before every document: how they find what a person would, and what must never happen.

(() => {
  // Kept before anything of the page could replace it.
  const report = console.error.bind(console);
  const spaced = (text) => text.replace(/\s+/g, " ").trim();

  /** What a screen reader would call it, as far as this page needs it. */
  function name(node) {
    if (node.hasAttribute("aria-label")) return node.getAttribute("aria-label");
    if (node.labels?.length > 0) return spaced([...node.labels].map((label) => label.textContent).join(" "));
    return spaced(node.textContent);
  }

  /** The first that is seen and called so, or begins so; in the dialog, where one is open. */
  function look(css, called) {
    const place = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document;
    const all = [...place.querySelectorAll(css)].filter((node) => node.checkVisibility({ visibilityProperty: true }));
    return all.find((node) => name(node) === called) ?? all.find((node) => name(node).startsWith(called)) ?? null;
  }

  Object.defineProperty(window, "tidingsLook", { value: look });
  addEventListener("securitypolicyviolation", (event) => report(`WATCHED violation ${event.effectiveDirective} ${event.blockedURI}`));
  for (const dialog of ["alert", "confirm", "prompt", "print"]) {
    Object.defineProperty(window, dialog, { value: (text) => report(`WATCHED dialog ${dialog} ${text}`) });
  }
})();
