export default {
  render({ model, el }) {
    const root = make("div", el, { className: "training" });
    const bar = make("div", root, { className: "bar" });
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "race");
    const button = (text, wish, className = "") => {
      const made = make("button", bar, { type: "button", textContent: text, className });
      made.addEventListener("click", () => model.send({ wish }));
      return made;
    };
    const go = button("Race", "go", "main"), stop = button("Stop", "stop");
    const wrong = make("p", root, { className: "wrong" });
    wrong.setAttribute("role", "alert");
    const place = make("div", root);
    const status = make("p", root, { className: "status" });
    status.setAttribute("role", "status");
    const standings = make("div", root, { className: "standings" });
    const read = () => ({
      series: model.get("series"),
      x: { label: "step", low: 0, wide: true },
      y: { label: "dev loss, nats per symbol", log: true },
      marks: model.get("marks"),
      empty: "Press Race",
      label: "Dev losses of the starts: the median over the seeds, and a band from the best to the worst",
    });
    const chart = makeChart(place, read);
    const controls = () => {
      go.disabled = model.get("running");
      go.textContent = model.get("running") ? "Racing …" : "Race";
      stop.disabled = !model.get("running");
      wrong.textContent = model.get("wrong");
      status.setAttribute("aria-live", model.get("running") ? "off" : "polite");
      chart.say();
    };
    const says = () => { status.textContent = model.get("status"); };
    const table = () => {
      standings.replaceChildren();
      const rows = model.get("standings");
      if (!rows.length) return;
      const made = make("table", standings);
      rows.forEach((cells, k) => {
        const row = make("tr", make(k ? "tbody" : "thead", made));
        cells.forEach((text, column) =>
          make(k && column ? "td" : "th", row, { textContent: text, scope: k ? "row" : "col" }));
      });
    };
    for (const name of ["running", "wrong"]) model.on(`change:${name}`, controls);
    model.on("change:status", says);
    model.on("change:standings", table);
    model.on("change:series", chart.update);
    if (model.still) bar.remove();
    controls();
    says();
    table();
    return chart.end;
  },
};
