// marimo tells a screen reader which of a slider's steps it is on, and not the value there.
document.addEventListener("focusin", (event) => {
  const thumb = event.composedPath()[0];
  const steps = JSON.parse(thumb.getRootNode().host?.dataset?.steps ?? "null");
  if (thumb.getAttribute("role") !== "slider" || !steps || thumb.toldBy) return;
  const tell = () => thumb.setAttribute("aria-valuetext", steps[thumb.getAttribute("aria-valuenow")]);
  thumb.toldBy = new MutationObserver(tell);
  thumb.toldBy.observe(thumb, { attributeFilter: ["aria-valuenow"] });
  tell();
}, true);

// marimo's menu in the corner has no name, and its radio buttons are all called "Radio Group".
const named = () => {
  const menu = document.querySelector('[data-testid="notebook-actions-dropdown"] button');
  if (menu && !menu.ariaLabel) menu.ariaLabel = "Menu of the page";
  for (const radio of document.querySelectorAll("marimo-radio")) {
    const group = radio.shadowRoot?.querySelector('[role="radiogroup"]');
    const legend = radio.closest("fieldset")?.querySelector("legend");
    if (group && legend) group.ariaLabel = legend.textContent;
  }
};
new MutationObserver(named).observe(document, { childList: true, subtree: true });
