"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const body = byId("all").tBodies[0];
  const rows = [...body.rows];

  function filter() {
    const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcome = byId("outcome").value;
    const experiment = byId("experiment").value;
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word))
        && (!outcome || row.querySelector(".outcome").textContent === outcome)
        && (!experiment || row.cells[0].textContent === experiment);
      row.hidden = !fits;
      row.style.display = fits ? "" : "none";
      shown += fits;
    }
    byId("count").textContent = `${shown} of ${rows.length}`;
  }
  for (const id of ["words", "outcome", "experiment"]) byId(id).addEventListener("input", filter);
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());

  // a link may say what is shown: ?words=copy&outcome=undecided&experiment=break_even&sort=2
  const asked = new URLSearchParams(location.search);
  for (const id of ["words", "outcome", "experiment"]) {
    if (asked.has(id)) byId(id).value = asked.get(id);
  }

  const buttons = [...document.querySelectorAll("#all thead button")];
  buttons.forEach((button, column) => button.addEventListener("click", () => {
    const order = button.dataset.order === "1" ? -1 : 1;
    for (const other of buttons) delete other.dataset.order;
    button.dataset.order = order;
    rows.sort((a, b) => order * a.cells[column].textContent.localeCompare(b.cells[column].textContent));
    body.append(...rows);
  }));
  buttons[Number(asked.get("sort") ?? -1)]?.click();
  filter();

  // the explorer
  const data = JSON.parse(byId("explored").textContent);
  if (!data.length) {
    byId("explorer").remove();
    return;
  }
  const groups = ["cell", "radius", "training"];
  const chosen = {};
  for (const group of groups) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.id = `by-${group}`;
    const values = data.map((row) => row[group]);
    const count = (value) => values.filter((other) => other === value).length;
    const distinct = [...new Set(values)];
    for (const value of distinct) select.add(new Option(value));
    select.value = distinct.reduce((most, value) => (count(value) > count(most) ? value : most));
    select.addEventListener("input", draw);
    chosen[group] = select;
    label.append(`${group} `, select);
    byId("setting").append(label);
  }
  const NAMES = "http://www.w3.org/2000/svg";
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a00", "#7a5195", "#a05a2c"];
  const methods = [...new Set(data.map((row) => row.method))];
  const LOW = -10, HIGH = 8, WIDTH = 640, HEIGHT = 420, EDGE = 48;
  const place = (value) => Math.min(HIGH, Math.max(LOW, value > 0 ? Math.log10(value) : LOW));
  const x = (value) => EDGE + (place(value) - LOW) / (HIGH - LOW) * (WIDTH - EDGE - 12);
  const y = (value) => HEIGHT - EDGE + 10 - (place(value) - LOW) / (HIGH - LOW) * (HEIGHT - EDGE - 12);

  function add(parent, name, attributes, text) {
    const element = document.createElementNS(NAMES, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  function draw() {
    const shown = data.filter((row) => groups.every((group) => String(row[group]) === chosen[group].value));
    const svg = document.createElementNS(NAMES, "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("role", "img");
    for (let power = LOW; power <= HIGH; power += 3) {
      const at = 10 ** power;
      add(svg, "line", { class: "axis", x1: x(at), x2: x(at), y1: 8, y2: HEIGHT - EDGE + 10 });
      add(svg, "line", { class: "axis", x1: EDGE, x2: WIDTH - 12, y1: y(at), y2: y(at) });
      add(svg, "text", { x: x(at), y: HEIGHT - 22, "text-anchor": "middle" }, `1e${power}`);
      add(svg, "text", { x: EDGE - 6, y: y(at) + 4, "text-anchor": "end" }, `1e${power}`);
    }
    add(svg, "text", { x: WIDTH / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "bias² / ‖g‖²");
    add(svg, "text", { x: -HEIGHT / 2, y: 11, transform: "rotate(-90)", "text-anchor": "middle" }, "variance / ‖g‖²");
    for (const method of methods) {
      const line = shown.filter((row) => row.method === method);
      const colour = COLOURS[methods.indexOf(method) % COLOURS.length];
      if (line.length > 1) {
        const sorted = [...line].sort((a, b) => a.estimator.localeCompare(b.estimator, "en", { numeric: true }));
        const points = sorted.map((row) => `${x(row.bias)},${y(row.variance)}`).join(" ");
        add(svg, "polyline", { points, fill: "none", stroke: colour, "stroke-opacity": 0.5 });
      }
      for (const row of line) {
        const said = `${row.estimator}: bias² ${row.bias.toPrecision(3)}, variance ${row.variance.toPrecision(3)}, `
          + `${row.networks} networks`;
        const point = add(svg, "circle", { cx: x(row.bias), cy: y(row.variance), r: 5, fill: colour, tabindex: 0 });
        add(point, "title", {}, said);
        for (const event of ["mouseenter", "focus"]) {
          point.addEventListener(event, () => { byId("hover").textContent = said; });
        }
      }
    }
    const legend = document.createElement("p");
    legend.className = "small legend";
    for (const method of methods.filter((name) => shown.some((row) => row.method === name))) {
      const entry = document.createElement("span");
      entry.textContent = method;
      entry.style.setProperty("--dot", COLOURS[methods.indexOf(method) % COLOURS.length]);
      legend.append(entry);
    }
    byId("plot").replaceChildren(svg, legend);
  }
  draw();
})();
