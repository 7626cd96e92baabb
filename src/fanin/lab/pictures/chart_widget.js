export default {
  render({ model, el }) {
    const names = ["series", "x", "y", "marks", "label", "height", "empty"];
    const read = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));
    const chart = makeChart(el, read);
    for (const name of names) model.on(`change:${name}`, chart.update);
    return chart.end;
  },
};
