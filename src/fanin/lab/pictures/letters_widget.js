// Symbols at two coordinates each.
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

export default {
  render({ model, el }) {
    const root = make("div", el, { className: "letters" });
    let reach = 0;
    const drawing = sheet(root, (width) => Math.max(240, Math.min(width * 0.62, 400)), (context, width, height, colours) => {
      const symbols = model.get("symbols"), places = floats(model.get("places"));
      // Rare letters may stand far out; on an asinh scale around the crowd it can still be told apart.
      const centre = [0, 1].map((axis) => median(symbols.map((_, k) => places[2 * k + axis])));
      const away = symbols.map((_, k) => [places[2 * k] - centre[0], places[2 * k + 1] - centre[1]]);
      const radii = away.map(([x, y]) => Math.hypot(x, y));
      const unit = 0.5 * median(radii) || 1;
      const drawn = radii.map((radius) => (radius ? (unit * Math.asinh(radius / unit)) / radius : 0));
      const wanted = 1.12 * Math.max(1e-6, ...radii.map((radius, k) => radius * drawn[k]));
      reach = model.get("step") === 0 || !reach ? wanted : reach + 0.2 * (wanted - reach);
      if (Math.abs(reach / wanted - 1) > 0.01) requestAnimationFrame(() => drawing.again());
      const scale = (Math.min(width, 1.7 * height) / 2 - 12) / reach, tall = (height / 2 - 12) / reach;
      context.strokeStyle = colours.ink(0.13);
      context.beginPath();
      context.moveTo(0, height / 2);
      context.lineTo(width, height / 2);
      context.moveTo(width / 2, 0);
      context.lineTo(width / 2, height);
      context.stroke();
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.font = `600 16px ${FONT.slice(5)}`;
      symbols.forEach((symbol, k) => {
        const kind = "aeiou".includes(symbol) ? 1 : symbol === "·" ? 6 : symbol === "y" ? 4 : 0;
        context.fillStyle = colours.tone(kind);
        context.fillText(symbol, width / 2 + scale * drawn[k] * away[k][0], height / 2 - tall * drawn[k] * away[k][1]);
      });
    });
    drawing.canvas.setAttribute("role", "img");
    const caption = make("p", root, { className: "caption" });
    const says = () => {
      caption.textContent = model.get("caption");
      drawing.canvas.setAttribute("aria-label", model.get("label"));
    };
    says();
    model.on("change:places", drawing.again);
    model.on("change:symbols", drawing.again);
    model.on("change:caption", says);
    return drawing.end;
  },
};
