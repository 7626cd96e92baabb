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
