// Lines, bands, points and bars over two axes; each may be logarithmic.

const MARGIN = { left: 54, right: 14, top: 28, bottom: 44 };

function makeChart(parent, read) {
  const root = make("div", parent, { className: "chart" });
  const legend = make("div", root, { className: "legend" });
  const drawing = sheet(root, (width) => read().height ?? Math.max(220, Math.min(340, width * 0.5)), draw);
  const { canvas } = drawing;
  const readout = make("p", root, { className: "readout" });
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  let at = null; // the x that is read out, in pixels
  let plan = null; // how the last drawing laid numbers out
  let said = -1000, saying = 0;

  const point = (event) => {
    at = event.offsetX;
    show();
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => { at = null; show(); });
  canvas.addEventListener("blur", () => { at = null; show(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    if (!step || !plan) return;
    event.preventDefault();
    const reach = (event.shiftKey ? 40 : 8) * step;
    at = Math.min(plan.right, Math.max(plan.left, (at ?? plan.left) + reach));
    show();
    readout.setAttribute("aria-live", "polite");
  });

  function show() {
    drawing.again();
    readout.textContent = at === null || !plan ? "" : plan.says(at);
  }

  function update() {
    // Not with every frame: a screen reader would never come to the end of it.
    if (!saying) saying = setTimeout(describe, Math.max(0, said + 1000 - performance.now()));
    drawing.again();
    if (at !== null && plan) readout.textContent = plan.says(at);
  }

  function describe() {
    saying = 0;
    said = performance.now();
    canvas.setAttribute("aria-label", described(read()));
  }

  function draw(context, width, height, colours) {
    const spec = read();
    writeLegend(legend, spec.series, colours);
    const series = spec.series.map(decoded).filter((one) => one.x.length);
    const axes = series.length ? [spec.x, spec.y] : [spec.x, spec.y].map((one) => ({ ...one, ticks: [] }));
    const left = MARGIN.left, right = width - MARGIN.right;
    const top = MARGIN.top, bottom = height - MARGIN.bottom;
    const x = axis(axes[0], extent(series, "x", spec.x), left, right);
    const y = axis(axes[1], extent(series, "y", spec.y, spec.marks), bottom, top);
    grid(context, x, y, { left, right, top, bottom }, spec, colours);
    context.save();
    context.beginPath();
    context.rect(left, top - 2, right - left, bottom - top + 4);
    context.clip();
    for (const one of series) paintSeries(context, one, x, y, colours, bottom);
    context.restore();
    if (!series.length && spec.empty) {
      context.fillStyle = colours.ink(0.6);
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(spec.empty, (left + right) / 2, top + 0.72 * (bottom - top));
    }
    paintMarks(context, spec.marks ?? [], x, y, { left, right, top, bottom }, colours);
    plan = { left, right, says: (pixel) => reading(series, x, spec, pixel) };
    if (at === null) return;
    context.strokeStyle = colours.ink(0.5);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(at, top);
    context.lineTo(at, bottom);
    context.stroke();
  }

  update();
  const end = () => {
    clearTimeout(saying);
    drawing.end();
  };
  return { update, end, say: () => { said = -1000; clearTimeout(saying); saying = 0; update(); } };
}

function decoded(one) {
  const arrays = {};
  for (const name of ["x", "y", "low", "high"]) arrays[name] = floats(one[name]);
  return { ...one, ...arrays };
}

// The least and the largest number along an axis, from all that is drawn.
function extent(series, name, wanted, marks = []) {
  let low = Infinity, high = -Infinity;
  const take = (value) => {
    if (!Number.isFinite(value) || (wanted.log && value <= 0)) return;
    if (value < low) low = value;
    if (value > high) high = value;
  };
  for (const one of series) {
    for (const value of one[name]) take(value);
    if (name === "y") {
      for (const value of one.low) take(value);
      for (const value of one.high) take(value);
      if (one.kind === "bars") take(0);
    }
  }
  if (name === "y") for (const mark of marks) if (mark.axis === "y") take(mark.value);
  if (low > high) [low, high] = wanted.log ? [1, 10] : [0, 1];
  low = wanted.low ?? low;
  high = wanted.high ?? high;
  if (low === high) [low, high] = wanted.log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  if (name === "y" && wanted.log) [low, high] = [low * (wanted.low ? 1 : 0.93), high * (wanted.high ? 1 : 1.07)];
  else if (name === "x" && !wanted.log && series.some((one) => one.kind === "dots") && wanted.low === undefined) {
    const room = 0.04 * (high - low);
    [low, high] = [low - room, high + room];
  } else if (name === "y") {
    const room = 0.06 * (high - low);
    high += wanted.high === undefined || wanted.high === null ? room : 0;
    low -= low === 0 || (wanted.low !== undefined && wanted.low !== null) ? 0 : room;
  }
  return [low, high];
}

function axis(wanted, [low, high], from, to) {
  const log = Boolean(wanted.log);
  const [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const scale = (to - from) / (b - a);
  const place = (value) => from + ((log ? Math.log10(value) : value) - a) * scale;
  const back = (pixel) => {
    const value = a + (pixel - from) / scale;
    return log ? 10 ** value : value;
  };
  const room = Math.abs(to - from);
  const ticks = wanted.ticks ?? (log ? logTicks(low, high, room) : evenTicks(low, high, room / (wanted.wide ? 110 : from > to ? 38 : 64)));
  return { place, back, ticks, log };
}

function evenTicks(low, high, most) {
  const rough = (high - low) / Math.max(2, Math.min(8, most));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((unit) => unit * power).find((unit) => unit >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
    const value = Number((k * step).toPrecision(12));
    ticks.push([value, written(value, 6)]);
  }
  return ticks;
}

function logTicks(low, high, room) {
  const decades = Math.log10(high / low);
  const each = decades < 1 ? [1, 1.5, 2, 3, 4, 5, 7] : decades < 2.5 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil((decades * 34) / room));
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    if (((power % every) + every) % every) continue;
    for (const unit of each) {
      const value = Number((unit * 10 ** power).toPrecision(12));
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push([value, written(value, 3)]);
    }
  }
  return ticks.length > 1 ? ticks : evenTicks(low, high, room / 64);
}

function grid(context, x, y, box, spec, colours) {
  context.lineWidth = 1;
  context.strokeStyle = colours.ink(0.1);
  context.fillStyle = colours.ink(0.72);
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const [value, text] of y.ticks) {
    const place = Math.round(y.place(value)) + 0.5;
    context.beginPath();
    context.moveTo(box.left, place);
    context.lineTo(box.right, place);
    context.stroke();
    context.fillText(text, box.left - 8, place);
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  let taken = -Infinity;
  for (const [value, text] of x.ticks) {
    const place = Math.round(x.place(value)) + 0.5;
    if (!spec.x.ticks) {
      context.beginPath();
      context.moveTo(place, box.bottom);
      context.lineTo(place, box.bottom + 4);
      context.stroke();
    }
    const half = context.measureText(text).width / 2;
    const middle = Math.min(place, box.right + MARGIN.right - half - 1);
    if (middle - half < taken + (spec.x.ticks ? -2 : 6)) continue;
    taken = middle + half;
    context.fillText(text, middle, box.bottom + 7);
  }
  context.strokeStyle = colours.ink(0.35);
  context.beginPath();
  context.moveTo(box.left, box.bottom + 0.5);
  context.lineTo(box.right, box.bottom + 0.5);
  context.stroke();
  context.textAlign = "right";
  context.textBaseline = "bottom";
  context.fillText(spec.x.label ?? "", box.right, box.bottom + 40);
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  const label = spec.y.label ?? "";
  const fits = context.measureText(label).width < box.right - box.left;
  context.fillText(label, fits ? box.left : 2, 13);
}

function paintSeries(context, one, x, y, colours, floor) {
  const colour = colours.tone(one.tone ?? 0);
  context.strokeStyle = context.fillStyle = colour;
  context.lineJoin = "round";
  context.setLineDash([]);
  const strength = one.faint ? 0.42 : 1;
  if (one.low.length) {
    context.globalAlpha = 0.2 * strength;
    context.beginPath();
    one.x.forEach((value, k) => context.lineTo(x.place(value), y.place(one.high[k])));
    for (let k = one.x.length - 1; k >= 0; k--) context.lineTo(x.place(one.x[k]), y.place(one.low[k]));
    context.fill();
  }
  context.globalAlpha = strength;
  if (one.kind === "bars") {
    // x are the edges: one more than there are bars.
    context.globalAlpha = 0.85 * strength;
    one.y.forEach((value, k) => {
      const from = x.place(one.x[k]), to = x.place(one.x[k + 1]);
      const gap = to - from > 4 ? 1 : 0, zero = Math.min(floor, y.place(0)), tip = y.place(value);
      context.fillRect(from, Math.min(zero, tip), to - from - gap, Math.abs(zero - tip));
    });
  } else if (one.kind === "dots") {
    one.x.forEach((value, k) => {
      context.beginPath();
      context.arc(x.place(value), y.place(one.y[k]), 3.4, 0, 7);
      context.fill();
    });
  } else if (one.y.length) {
    context.lineWidth = one.wide ?? 1.8;
    context.setLineDash(one.dashed ? DASHES[one.dashed % DASHES.length] : []);
    context.beginPath();
    let drawing = false;
    one.x.forEach((value, k) => {
      const place = y.place(one.y[k]);
      if (!Number.isFinite(place) || !Number.isFinite(x.place(value))) drawing = false;
      else if (drawing) context.lineTo(x.place(value), place);
      else { context.moveTo(x.place(value), place); drawing = true; }
    });
    context.stroke();
    if (one.x.length === 1) {
      context.beginPath();
      context.arc(x.place(one.x[0]), y.place(one.y[0]), 3.4, 0, 7);
      context.fill();
    }
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
}

function paintMarks(context, marks, x, y, box, colours) {
  context.lineWidth = 1;
  for (const mark of marks) {
    const upright = mark.axis === "x";
    const place = Math.round((upright ? x : y).place(mark.value)) + 0.5;
    if (upright ? place < box.left || place > box.right : place < box.top || place > box.bottom) continue;
    context.strokeStyle = colours.ink(0.55);
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(upright ? place : box.left, upright ? box.top : place);
    context.lineTo(upright ? place : box.right, upright ? box.bottom : place);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = colours.ink(0.8);
    const width = context.measureText(mark.label).width;
    if (upright) {
      const fits = place + 6 + width < box.right;
      context.textAlign = fits ? "left" : "right";
      context.textBaseline = "top";
      context.fillText(mark.label, place + (fits ? 6 : -6), box.top + 10);
    } else {
      context.textAlign = "right";
      context.textBaseline = place - 16 < box.top ? "top" : "bottom";
      context.fillText(mark.label, box.right - 4, place + (place - 16 < box.top ? 4 : -3));
    }
  }
}

// What stands at a place along the x axis, in words.
function reading(series, x, spec, pixel) {
  const value = x.back(pixel);
  const parts = [];
  let where = value;
  for (const one of series) {
    if (!one.name || !one.y.length) continue;
    const nearest = nearestTo(one, value);
    if (nearest === null) continue;
    if (one.kind !== "bars") where = one.x[nearest];
    parts.push(`${one.name} ${written(one.y[nearest])}`);
  }
  if (!parts.length) return "";
  const tick = (spec.x.ticks ?? []).find(([place]) => Math.abs(place - where) < 0.5);
  const named = tick ? tick[1] : written(where, 3);
  return `${spec.x.label ? `${spec.x.label} ` : ""}${named}: ${parts.join(" · ")}`;
}

function nearestTo(one, value) {
  if (one.kind === "bars") {
    for (let k = 0; k < one.y.length; k++) if (value >= one.x[k] && value < one.x[k + 1]) return k;
    return null;
  }
  let best = null;
  for (let k = 0; k < one.x.length; k++)
    if (best === null || Math.abs(one.x[k] - value) < Math.abs(one.x[best] - value)) best = k;
  return best;
}

function writeLegend(legend, series, colours) {
  const named = series.filter((one) => one.name && !one.unlisted);
  const wanted = JSON.stringify([colours.dark, named.map((one) => [one.name, one.tone, one.kind, one.dashed, one.faint, one.wide])]);
  if (legend.dataset.shown === wanted) return;
  legend.dataset.shown = wanted;
  legend.replaceChildren();
  if (named.length < 2 && !named.some((one) => one.listed)) return;
  for (const one of named) {
    const entry = make("span", legend, { className: one.faint ? "entry faint" : "entry" });
    const colour = colours.tone(one.tone ?? 0);
    const dash = one.dashed ? DASHES[one.dashed % DASHES.length].join(" ") : "";
    entry.innerHTML =
      one.kind === "bars" || one.kind === "dots"
        ? `<svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="4.5" fill="${colour}"/></svg>`
        : `<svg width="26" height="12" aria-hidden="true"><path d="M1 6h24" stroke="${colour}" stroke-width="${one.wide ?? 1.8}" stroke-dasharray="${dash}"/></svg>`;
    make("span", entry, { textContent: one.name });
  }
}

function described(spec) {
  const parts = [spec.label ?? ""];
  for (const one of spec.series.map(decoded)) {
    if (!one.name || !one.y.length) continue;
    const first = written(one.y[0]), last = written(one.y[one.y.length - 1]);
    const highest = () => written(one.y.reduce((a, b) => Math.max(a, b)));
    parts.push(one.kind === "bars" ? `${one.name}: ${one.y.length} bars, the highest ${highest()}` : `${one.name}: from ${first} to ${last}`);
  }
  for (const mark of spec.marks ?? []) parts.push(`${mark.label} is marked`);
  return `${parts.filter(Boolean).join(". ")}. Arrow keys read values out.`;
}
