// Examples by units: which outputs are at an end of the activation, and at which.
export default {
  render({ model, el }) {
    const root = make("div", el, { className: "grid" });
    const key = make("div", root, { className: "legend" });
    key.style.marginLeft = "0";
    const drawing = sheet(root, (width) => Math.max(96, Math.min(260, (width * model.get("rows")) / model.get("columns"))), draw);
    drawing.canvas.setAttribute("role", "img");
    function draw(context, width, height, colours) {
      const rows = model.get("rows"), columns = model.get("columns");
      const codes = new Int8Array(model.get("codes").buffer.slice(model.get("codes").byteOffset));
      const wide = width / columns, tall = height / rows;
      const fills = { 1: colours.tone(1), "-1": colours.tone(0) };
      context.fillStyle = colours.ink(0.06);
      context.fillRect(0, 0, width, height);
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++) {
          const fill = fills[codes[row * columns + column]];
          if (!fill) continue;
          context.fillStyle = fill;
          const x = Math.floor(column * wide), y = Math.floor(row * tall);
          context.fillRect(x, y, Math.ceil((column + 1) * wide) - x - (wide > 5 ? 1 : 0), Math.ceil((row + 1) * tall) - y - (tall > 5 ? 1 : 0));
        }
      writeLegend(key, [
        { name: model.get("high"), kind: "dots", tone: 1 },
        { name: model.get("low"), kind: "dots", tone: 0 },
      ], colours);
    }
    const says = () => drawing.canvas.setAttribute("aria-label", model.get("label"));
    says();
    for (const name of ["codes", "rows", "columns"]) model.on(`change:${name}`, drawing.again);
    model.on("change:label", says);
    return drawing.end;
  },
};
