// Symbols at two coordinates each, with the way they have come.
export default {
  render({ model, el }) {
    const root = make("div", el, { className: "letters" });
    let reach = 0;
    const drawing = sheet(root, (width) => Math.min(width * 0.78, 380), (context, width, height, colours) => {
      const symbols = model.get("symbols"), places = floats(model.get("places"));
      let largest = 1e-6;
      for (const value of places) largest = Math.max(largest, Math.abs(value));
      // Axes that only grow: what moves are the letters.
      if (model.get("step") === 0) reach = 0;
      reach = Math.max(reach, largest * 1.12);
      const scale = Math.min(width, height * 1.25) / 2 / reach;
      const tall = Math.min(height, width) / 2 / reach;
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
        context.fillText(symbol, width / 2 + scale * places[2 * k], height / 2 - tall * places[2 * k + 1]);
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
