"use strict";
// Draws the plots of a suite's report from the evidence that the page carries.
const results = JSON.parse(document.getElementById("evidence").textContent);
const rows = Object.keys(results.rows);
const tested = results.tested;
const scheme = window.matchMedia("(prefers-color-scheme: dark)");
const dark = scheme.matches;
const PALETTE = dark
  ? ["#2dd4bf", "#fbbf24", "#a78bfa", "#f472b6", "#a3e635", "#22d3ee", "#fb7185", "#facc15", "#94a3b8", "#4ade80", "#fb923c", "#c4b5fd"]
  : ["#0d9488", "#d97706", "#7c3aed", "#db2777", "#65a30d", "#0891b2", "#9f1239", "#a16207", "#475569", "#16a34a", "#c2410c", "#6d28d9"];
// Colours that the page has, too.
const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const ACCENT = tone("accent");
const others = rows.filter((row) => row !== tested);
const colour = (row) => (row === tested ? ACCENT : PALETTE[others.indexOf(row) % PALETTE.length]);
const SLICES = ["overall", "head", "tail"];
const SLICE_COLOURS = { overall: dark ? "#cbd5e1" : "#334155", head: ACCENT, tail: "#d97706" };
const WEIGHTED_COLOUR = dark ? "#a78bfa" : "#7c3aed";
const chosen = {};

const narrow = () => window.innerWidth < 640;
const sorted = (values) => [...values].sort((a, b) => a - b);
const present = (names) => rows.filter((row) => names.includes(row));

function record(row, part, metric = chosen.metric) {
  return results.records.find((r) => r.data === chosen.data && r.protocol === chosen.protocol && r.model === row && r.slice === part && r.metric === metric);
}

function layout(extra, height = 420) {
  const axis = { gridcolor: tone("line"), zerolinecolor: tone("soft"), linecolor: tone("line"), automargin: true, title: { standoff: 10 } };
  const { xaxis = {}, yaxis = {}, ...rest } = extra;
  return {
    height, margin: { l: 60, r: 16, t: 16, b: 50 }, paper_bgcolor: tone("page"), plot_bgcolor: tone("page"), hovermode: "closest",
    font: { family: "Inter, ui-sans-serif, system-ui, sans-serif", size: 12, color: tone("ink") },
    legend: { orientation: "h", y: narrow() ? -0.22 : -0.2, yanchor: "top", font: { size: 11 } },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

function draw(id, traces, extra, height) {
  const figure = document.querySelector(`[data-plot="${id}"]`);
  if (!figure) return;
  figure.hidden = traces.length === 0;
  if (figure.hidden) return;
  const config = { responsive: true, displaylogo: false, displayModeBar: !narrow(), modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const whole = layout(extra, height);
  if (narrow()) {
    // As many columns as names allow, and room for all of them: a legend that takes half of the height is cut.
    const named = traces.filter((trace) => trace.name && trace.showlegend !== false).map((trace) => trace.name.length);
    const columns = Math.min(3, Math.max(1, Math.floor(310 / (6 * Math.max(0, ...named) + 45))));
    whole.legend = { ...whole.legend, x: 0, font: { size: 10 }, entrywidthmode: "fraction", entrywidth: 0.99 / columns };
    whole.height += 19 * Math.ceil(named.length / columns);
  }
  document.getElementById(id).style.minHeight = `${whole.height}px`;
  Plotly.react(id, traces, whole, config);
}

// Labels of near points above, below and beside them by turns, so that fewer lie on each other.
function labelled(points) {
  const turns = ["top center", "bottom center", "middle right", "middle left"];
  const order = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  order.forEach((point, place) => { point.position = turns[place % turns.length]; });
  return order;
}

// A frame around the better half and the tested row, if a few rows far below would squeeze the others; else none.
function framed(values, own) {
  const order = sorted(values), low = order[0], high = order[order.length - 1];
  const middle = Math.min(order[Math.floor(order.length / 2)], own === undefined ? Infinity : own);
  const start = middle - 1.5 * (high - middle) - 0.02 * high;
  return order.length > 3 && start > low + 0.3 * (high - low) ? [start, high + 0.12 * (high - start)] : undefined;
}

function scatter(id, points, x, y, lines) {
  const shown = labelled(points.filter((p) => p.x != null && p.y != null));
  const traces = shown.map((p) => ({
    type: "scatter", mode: narrow() ? "markers" : "markers+text", name: p.row, x: [p.x], y: [p.y], text: [p.row === tested ? `<b>${p.row}</b>` : p.row], textposition: p.position, showlegend: narrow(),
    textfont: { size: 11, color: colour(p.row) }, marker: { size: p.row === tested ? 14 : 10, color: colour(p.row), symbol: p.row === tested ? "star" : "circle" },
    error_x: { array: [p.sx || 0], thickness: 1, width: 0, color: `${colour(p.row)}66` }, error_y: { array: [p.sy || 0], thickness: 1, width: 0, color: `${colour(p.row)}66` },
    hovertemplate: `<b>${p.row}</b><br>${x} %{x:.4f}<br>${y} %{y:.4f}<extra></extra>`,
  }));
  const own = shown.find((p) => p.row === tested);
  const frames = { xaxis: framed(shown.map((p) => p.x), own && own.x), yaxis: framed(shown.map((p) => p.y), own && own.y) };
  const inside = (p) => [["xaxis", p.x], ["yaxis", p.y]].every(([axis, v]) => !frames[axis] || (v >= frames[axis][0] && v <= frames[axis][1]));
  const outside = shown.filter((p) => !inside(p)).length;
  const annotations = outside ? [{ text: `${outside} ${outside === 1 ? "row lies" : "rows lie"} outside: double-click shows all`, xref: "paper", yref: "paper", x: 0, y: 0, xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 11, color: tone("soft") } }] : [];
  const dashed = { line: { color: ACCENT, width: 1, dash: "dot" }, layer: "below" };
  const shapes = own && lines ? [{ type: "line", xref: "x", yref: "paper", x0: own.x, x1: own.x, y0: 0, y1: 1, ...dashed }, { type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: own.y, y1: own.y, ...dashed }] : [];
  draw(id, traces, { xaxis: { title: { text: x }, range: frames.xaxis }, yaxis: { title: { text: y }, range: frames.yaxis }, shapes, annotations, ...(narrow() ? { legend: { orientation: "h", y: -0.2, yanchor: "top" } } : {}) }, narrow() ? 560 : 520);
}

function headTail() {
  const points = rows.map((row) => [row, record(row, "head"), record(row, "tail")]).filter(([, h, t]) => h && t)
    .map(([row, h, t]) => ({ row, x: h.mean, y: t.mean, sx: h.spread, sy: t.spread }));
  scatter("head-tail", points, `head ${chosen.metric}`, `tail ${chosen.metric}`, true);
}

function lead(count) {
  const best = others.map((row) => [row, record(row, "overall")]).filter(([, r]) => r && r.mean != null).sort((a, b) => b[1].mean - a[1].mean);
  return new Set([tested, ...best.slice(0, count).map(([row]) => row)]);
}

function groups(kind) {
  return results.groups.filter((g) => g.data === chosen.data && g.protocol === chosen.protocol && g.kind === kind && g[chosen.metric] != null);
}

function popularity() {
  const all = groups("popularity");
  const visible = lead(5);
  const names = [...new Set(all.map((g) => g.name))];
  const label = (name, place) => (place === 0 ? "least popular" : place === names.length - 1 ? "most popular" : String(place + 1));
  const lines = (shown, told) => present(shown.map((g) => g.model)).map((row) => {
    const own = shown.filter((g) => g.model === row);
    return { type: "scatter", mode: "lines+markers", name: row, x: own.map((g) => label(g.name, names.indexOf(g.name))), y: own.map((g) => g.shown), customdata: own.map((g) => g.cases),
      visible: visible.has(row) ? true : "legendonly", line: { color: colour(row), width: row === tested ? 3.5 : 1.8 }, hovertemplate: `<b>${row}</b><br>%{y:${told}}, %{customdata:,} cases<extra></extra>` };
  });
  draw("popularity", lines(all.map((g) => ({ ...g, shown: g[chosen.metric] })), ".4f"), { xaxis: { type: "category" }, yaxis: { title: { text: chosen.metric }, rangemode: "tozero" } }, narrow() ? 520 : 460);
  // The head has many times the tail's figures: only against each other do rows differ visibly in every group.
  const base = Object.fromEntries(all.filter((g) => g.model === tested).map((g) => [g.name, g[chosen.metric]]));
  const against = all.filter((g) => base[g.name]).map((g) => ({ ...g, shown: 100 * (g[chosen.metric] / base[g.name] - 1) }));
  const seen = against.filter((g) => visible.has(g.model)).map((g) => g.shown);
  const frame = [1.15 * Math.min(-5, ...seen), 1.15 * Math.max(5, ...seen)];
  draw("popularity-gains", against.length > names.length ? lines(against, "+.1f") : [], { xaxis: { type: "category" }, yaxis: { title: { text: `% against ${tested}` }, ticksuffix: " %", range: frame } }, narrow() ? 520 : 460);
}

function gains() {
  // Beside these, cases weighted by a column.
  const weighted = results.records.map((r) => r.slice).find((part) => part.startsWith("weighted by ") && (record(tested, part) || {}).mean);
  const parts = weighted ? [...SLICES, weighted] : SLICES;
  const own = Object.fromEntries(parts.map((part) => [part, record(tested, part)]));
  if (parts.some((part) => !own[part] || !own[part].mean)) return draw("gains", []);
  const names = others.filter((row) => parts.every((part) => (record(row, part) || {}).difference != null)).reverse();
  const traces = parts.map((part) => {
    const base = own[part].mean;
    const records = names.map((row) => record(row, part));
    const value = records.map((r) => -100 * r.difference / base);
    return { type: "bar", orientation: "h", name: part, y: names, x: value, marker: { color: SLICE_COLOURS[part] || WEIGHTED_COLOUR },
      // The interval is that of the tested row's lead; seen from this row it is mirrored.
      error_x: { type: "data", symmetric: false, array: records.map((r, i) => -100 * r.low / base - value[i]), arrayminus: records.map((r, i) => value[i] + 100 * r.high / base), thickness: 1, width: 2, color: "#64748b" },
      customdata: records.map((r) => [Math.max(r.p_bootstrap, r.p_t), r.effect_size]),
      hovertemplate: `%{y}, ${part}<br>%{x:+.2f} %<br>p %{customdata[0]:.4f}, d<sub>z</sub> %{customdata[1]:.3f}<extra></extra>` };
  });
  // One hopeless row would squeeze all others: what lies far outside is cut by the frame, and told on hover.
  const sizes = sorted(traces.flatMap((t) => t.x.map(Math.abs)));
  const edge = Math.max(2, 4 * (sizes[Math.floor(sizes.length / 2)] || 0));
  const frame = sizes.length && sizes[sizes.length - 1] > edge ? { range: [-edge, Math.min(edge, Math.max(2, 1.5 * Math.max(...traces.flatMap((t) => t.x))))] } : {};
  draw("gains", traces, { barmode: "group", bargap: 0.35, xaxis: { title: { text: `% against ${tested}` }, ticksuffix: " %", ...frame }, yaxis: { tickfont: { size: narrow() ? 9 : 11 } }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", traceorder: "normal" } }, 130 + 18 * parts.length * names.length);
}

function sweeps() {
  const keys = [...new Set(rows.map((row) => results.rows[row].key).filter((key) => key))];
  keys.forEach((key, place) => {
    const own = rows.filter((row) => results.rows[row].key === key);
    const models = [...new Set(own.map((row) => results.rows[row].model))];
    // The order of the sweep, whatever of it the first model has.
    const values = [...new Set(own.map((row) => String(results.rows[row].value)))];
    const traces = [];
    SLICES.forEach((part, panel) => models.forEach((model, number) => {
      const points = own.filter((row) => results.rows[row].model === model).map((row) => [results.rows[row].value, record(row, part)]).filter(([, r]) => r && r.mean != null);
      const line = models.length > 1 ? PALETTE[number % PALETTE.length] : ACCENT;
      traces.push({ type: "scatter", mode: "lines+markers", name: model, legendgroup: model, showlegend: panel === 0 && models.length > 1, x: points.map(([v]) => String(v)), y: points.map(([, r]) => r.mean), xaxis: panel ? `x${panel + 1}` : "x", yaxis: panel ? `y${panel + 1}` : "y",
        line: { color: line, width: 2.2 }, error_y: { array: points.map(([, r]) => r.spread || 0), thickness: 1, width: 3, color: line }, hovertemplate: `${model}, ${part}<br>%{x}: %{y:.4f}<extra></extra>` });
    }));
    const stacked = narrow();
    const axes = {};
    SLICES.forEach((part, panel) => {
      const suffix = panel ? String(panel + 1) : "";
      axes[`xaxis${suffix}`] = { type: "category", categoryorder: "array", categoryarray: values, title: { text: part }, gridcolor: tone("line"), automargin: true, anchor: `y${suffix}`, domain: stacked ? [0, 1] : [panel / 3 + (panel ? 0.05 : 0), (panel + 1) / 3 - 0.01] };
      axes[`yaxis${suffix}`] = { gridcolor: tone("line"), automargin: true, anchor: `x${suffix}`, domain: stacked ? [1 - (panel + 1) / 3 + 0.09, 1 - panel / 3] : [0, 1] };
    });
    draw(`sweep-${place}`, traces, { ...axes, legend: { orientation: "h", y: stacked ? -0.06 : -0.25 } }, stacked ? 760 : 360);
  });
}

function exposure() {
  const own = results.exposure.filter((e) => e.data === chosen.data);
  const name = own.length ? Object.keys(own[0]).find((key) => key.startsWith("tail_share@")) : undefined;
  const points = name ? own.map((e) => ({ row: e.model, x: e[name], y: (record(e.model, "tail") || {}).mean })) : [];
  scatter("exposure", points, `tail's share of places @${(name || "@").split("@")[1]}`, `tail ${chosen.metric}`, true);
}

function sharing() {
  const all = groups("code_collision");
  const sides = { alone: "#94a3b8", shared: ACCENT };
  draw("sharing", Object.entries(sides).map(([side, fill]) => {
    const own = all.filter((g) => g.name === side);
    // Rows on other codes have other cases on each side.
    const counts = [...new Set(own.map((g) => g.cases.toLocaleString("en")))];
    return { type: "bar", name: counts.length === 1 ? `${side} (${counts[0]} cases)` : side, x: own.map((g) => g.model), y: own.map((g) => g[chosen.metric]), customdata: own.map((g) => g.cases), marker: { color: fill }, hovertemplate: `%{x}, ${side}<br>%{y:.4f}, %{customdata:,} cases<extra></extra>` };
  }).filter((t) => t.x.length), { barmode: "group", showlegend: true, yaxis: { title: { text: chosen.metric } }, xaxis: { tickfont: { size: narrow() ? 9 : 11 } }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" } }, 420);
}

function alpha() {
  const own = results.intent.filter((i) => i.data === chosen.data);
  const traces = [];
  ["last_head", "last_tail"].forEach((part) => {
    const with_part = own.filter((i) => i.alpha[part]);
    const x = [[], []], y = [];
    with_part.forEach((i) => i.alpha[part].forEach((value, level) => { x[0].push(i.model); x[1].push(String(level + 1)); y.push(value); }));
    if (y.length) traces.push({ type: "bar", name: part === "last_head" ? "head item" : "tail item", x, y, marker: { color: SLICE_COLOURS[part.slice(5)] }, hovertemplate: "%{x}<br>alpha %{y:.3f}<extra></extra>" });
  });
  draw("alpha", traces, { barmode: "group", yaxis: { title: { text: "mean alpha" }, rangemode: "tozero" }, xaxis: { type: "multicategory", tickfont: { size: 10 } }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" } }, 420);
}

function shares(id, kind, label) { // rows of one branch have nothing to share
  const own = results.shares.filter((s) => s.data === chosen.data && Object.keys(s[kind]).length);
  const names = [...new Set(own.flatMap((s) => s.branches))];
  draw(id, names.map((branch, number) => {
    const x = [[], []], y = [];
    own.filter((s) => s.branches.includes(branch)).forEach((s) => Object.entries(s[kind]).forEach(([place, values]) => { x[0].push(s.model); x[1].push(label(place)); y.push(100 * values[s.branches.indexOf(branch)]); }));
    return { type: "bar", name: branch, x, y, marker: { color: PALETTE[number % PALETTE.length] }, hovertemplate: `%{x}, ${branch}<br>%{y:.1f} %<extra></extra>` };
  }), { barmode: "relative", bargap: 0.25, yaxis: { ticksuffix: " %" }, xaxis: { type: "multicategory", tickfont: { size: 10 } }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" } }, 420);
}

function codes() {
  // Rows on the same codes are one bar.
  const distinct = new Map();
  results.codes.filter((c) => c.data === chosen.data).forEach((c) => {
    const key = JSON.stringify(c.levels);
    distinct.set(key, [...(distinct.get(key) || []), c]);
  });
  const x = [[], []], used = [], even = [], told = [];
  [...distinct.values()].forEach((same) => {
    const name = distinct.size === 1 ? "all rows" : same.length > 1 ? `${same[0].model} +${same.length - 1}` : same[0].model;
    same[0].levels.forEach((level) => {
      x[0].push(name); x[1].push(String(level.level)); used.push(100 * level.used / level.codebook_size); even.push(100 * level.perplexity / level.codebook_size);
      told.push(`level ${level.level}: ${level.used} of ${level.codebook_size} used, perplexity ${level.perplexity.toFixed(1)}; ${(100 * same[0].colliding_share).toFixed(1)} % of items collide`);
    });
  });
  const bar = (name, y, fill) => ({ type: "bar", name, x, y, text: told, textposition: "none", marker: { color: fill }, hovertemplate: "%{text}<extra></extra>" });
  draw("codes", used.length ? [bar("used", used, dark ? "#33426b" : "#c7d7fb"), bar("perplexity", even, ACCENT)] : [], { barmode: "overlay", bargap: 0.3, yaxis: { range: [0, 102], ticksuffix: " %" }, xaxis: { type: "multicategory", tickfont: { size: 10 } }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" } }, 380);
}

function curves(id, part, title) {
  const own = results.curves.filter((c) => c.data === chosen.data && c[part].length > 1);
  const visible = lead(5), seen = new Set();
  draw(id, own.map((c) => {
    const first = !seen.has(c.model);
    seen.add(c.model);
    return { type: "scatter", mode: "lines", name: c.model, legendgroup: c.model, showlegend: first, visible: visible.has(c.model) ? true : "legendonly", x: c[part].map(([epoch]) => epoch), y: c[part].map(([, value]) => value),
      line: { color: colour(c.model), width: c.model === tested ? 2.4 : 1.3 }, hovertemplate: `<b>${c.model}</b>, seed ${c.seed}<br>epoch %{x}: %{y:.4f}<extra></extra>` };
  }), { xaxis: { title: { text: "epoch" } }, yaxis: { title: { text: title(own[0]) } } }, narrow() ? 480 : 420);
}

function show() {
  for (const name of ["data", "protocol", "metric"]) chosen[name] = document.getElementById(`choose-${name}`).value;
  document.querySelectorAll(".block").forEach((block) => {
    block.hidden = block.dataset.data !== chosen.data || (block.dataset.protocol !== undefined && block.dataset.protocol !== chosen.protocol);
  });
  headTail(); popularity(); gains(); sweeps(); exposure(); sharing(); alpha(); codes();
  shares("shares-rank", "by_rank", (place) => place);
  shares("shares-popularity", "by_popularity", (place) => String(Number(place) + 1));
  curves("training", "valid", (c) => (c ? `validation ${c.selected_by}` : ""));
  curves("loss", "loss", () => "loss");
  document.body.dataset.drawn = `${chosen.data} ${chosen.protocol} ${chosen.metric}`;
}

document.querySelectorAll("select").forEach((select) => select.addEventListener("change", show));
let width = window.innerWidth;
window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; show(); } });
scheme.addEventListener("change", () => location.reload());
show();
