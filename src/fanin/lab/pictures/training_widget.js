export default {
  render({ model, el }) {
    const root = make("div", el, { className: "training" });
    const bar = make("div", root, { className: "bar" });
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", model.get("label"));
    const button = (text, wish, className = "") => {
      const made = make("button", bar, { type: "button", textContent: text, className });
      made.addEventListener("click", () => model.send({ wish, steps: Number(steps.value) }));
      return made;
    };
    const go = button("Train", "go", "main");
    const stop = button("Stop", "stop");
    const rewind = button("Rewind to the start", "rewind");
    const forget = button("Forget earlier curves", "forget");
    make("span", bar, { className: "room" });
    const label = make("label", bar, { textContent: "steps" });
    const steps = make("select", label);
    for (const count of model.get("choices"))
      make("option", steps, { value: count, textContent: GROUPED.format(count), selected: count === model.get("steps") });
    const wide = make("label", bar, { textContent: "log steps" });
    const logarithmic = make("input", null, { type: "checkbox", checked: false });
    wide.prepend(logarithmic);
    const wrong = make("p", root, { className: "wrong" });
    wrong.setAttribute("role", "alert");
    const place = make("div", root);
    const status = make("p", root, { className: "status" });
    status.setAttribute("role", "status");
    status.setAttribute("aria-live", "off");

    const read = () => ({
      series: model.get("series"),
      x: { label: "step", log: logarithmic.checked, low: logarithmic.checked ? 1 : 0, wide: true },
      y: { label: "loss, nats per symbol", log: true },
      marks: model.get("marks"),
      empty: "Press Train",
      label: model.get("label"),
    });
    const chart = makeChart(place, read);
    logarithmic.addEventListener("change", chart.update);

    const controls = () => {
      const running = model.get("running"), step = model.get("step");
      go.textContent = running ? "Training …" : step ? "Continue" : "Train";
      go.disabled = running;
      stop.disabled = !running;
      rewind.disabled = running || !step;
      forget.disabled = !model.get("kept");
      forget.hidden = !model.get("kept");
      wrong.textContent = model.get("wrong");
      status.setAttribute("aria-live", running ? "off" : "polite");
    };
    const says = () => { status.textContent = model.get("status"); };
    for (const name of ["running", "kept", "wrong"]) model.on(`change:${name}`, () => { controls(); chart.say(); });
    model.on("change:step", controls);
    model.on("change:status", says);
    model.on("change:series", chart.update);
    model.on("change:marks", chart.update);
    // In a file there is nobody to train.
    if (model.still) for (const one of [go, stop, rewind, forget, label]) one.remove();
    controls();
    says();
    return chart.end;
  },
};
