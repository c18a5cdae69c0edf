"use strict";
// Without it the page is whole. With it, all parts are replaced together every so often, so that they are of one
// tick, and the servers can be sorted and filtered.
(() => {
  const every = 15000;
  const patience = 10000;
  const place = document.getElementById("refresh");
  if (!place) return;
  const button = document.createElement("button");
  const state = document.createElement("span");
  let paused = false;
  let asking = false;
  const parts = (root) => [...root.querySelectorAll("[data-part]")];
  const reachable = (part) => [...part.querySelectorAll("a, button, summary, input, [tabindex]")];
  const selected = () => !getSelection().isCollapsed && document.querySelector("main").contains(getSelection().anchorNode);
  const time = () => document.querySelector('[data-part="about"] time')?.textContent.split(" ")[1];
  const show = (answered) => {
    document.body.classList.toggle("unanswered", !answered);
    state.textContent = answered ? "" : time() ? `no answer since ${time()}` : "no answer";
    button.hidden = !answered;
    button.textContent = paused ? "Resume refresh" : "Pause refresh";
  };

  // A table that is wider than its room says so, and takes the focus to be scrolled.
  const measure = () => document.querySelectorAll(".table").forEach((one) => {
    const scrolls = one.scrollWidth > one.clientWidth;
    one.parentElement.classList.toggle("scrolls", scrolls);
    if (scrolls) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  });

  // The servers: by which column, in which direction, and which.
  const order = { column: 1, ascending: false, words: "" };
  const tools = document.getElementById("tools");
  const servers = () => document.querySelector('[data-part="servers"] table');
  const money = (dollars) => "$" + (Math.round(dollars * 1e9) / 1e9).toFixed(2).replace(/\B(?=(\d{3})+\.)/g, ",");
  const filter = document.createElement("input");
  const choice = document.createElement("select");
  const turn = document.createElement("button");
  const found = document.createElement("span");
  const hourly = (row) => Number(row.dataset.by.split(" ")[0]) || 0;
  // The first rows of the present order are above the fold; words look for rows below it too.
  const fold = (rows) => {
    const box = document.getElementById("unfolded");
    if (!box) return;
    const below = rows.slice(Number(box.dataset.above));
    rows.forEach((row) => row.classList.toggle("fold", !order.words && below.includes(row)));
    const sign = below.some((row) => row.cells[1].textContent.startsWith("\u2248")) ? "\u2248 " : "";
    box.nextElementSibling.textContent = sign + money(below.reduce((sum, row) => sum + hourly(row), 0));
    box.closest("p").hidden = order.words !== "";
  };
  const arrange = () => {
    const table = servers();
    tools.hidden = !table || table.tBodies[1].rows.length < 2;
    if (!table) return;
    const heads = [...table.tHead.rows[0].cells];
    if (choice.options.length !== heads.length) {
      choice.replaceChildren(...heads.map((head, at) => new Option(head.textContent, at)));
    }
    const body = table.tBodies[1];
    const value = (row) => {
      const figures = row.dataset.by.split(" ");
      if (order.column > 0 && order.column <= figures.length) {
        const figure = figures[order.column - 1];
        return figure === "-" ? null : Number(figure);
      }
      return row.cells[order.column].textContent.trim().toLowerCase();
    };
    const sign = order.ascending ? 1 : -1;
    const rows = [...body.rows].map((row, at) => ({ row, at, by: value(row) }));
    rows.sort((one, other) => {
      if (one.by === null || other.by === null) return (one.by === null) - (other.by === null) || one.at - other.at;
      return sign * ((one.by > other.by) - (one.by < other.by)) || one.at - other.at;
    });
    body.append(...rows.map((each) => each.row));
    let shown = 0;
    let dollars = 0;
    fold(rows.map((each) => each.row));
    for (const { row } of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(order.words);
      if (row.hidden) continue;
      shown += 1;
      dollars += hourly(row);
    }
    found.textContent = order.words ? `${shown} of ${rows.length} rows, ${money(dollars)} per hour` : "";
    heads.forEach((head, at) => {
      if (at === order.column) head.setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    table.classList.add("sortable");
    choice.value = order.column;
    measure();
  };
  const sort = (column, ascending) => {
    order.column = column;
    order.ascending = ascending;
    arrange();
  };
  const text = (column) => column === 0 || column > 8;

  const replace = (part, next) => {
    const open = [...part.querySelectorAll("details")].map((one) => one.open);
    const unfolded = part.querySelector("#unfolded")?.checked;
    const scrolled = [...part.querySelectorAll(".table")].map((one) => one.scrollLeft);
    const focused = reachable(part).indexOf(document.activeElement);
    const href = focused >= 0 && document.activeElement.getAttribute("href");
    part.replaceChildren(...next.childNodes);
    part.querySelectorAll("details").forEach((one, at) => { one.open = Boolean(open[at]); });
    part.querySelectorAll("#unfolded").forEach((one) => { one.checked = Boolean(unfolded); });
    if (part.dataset.part === "servers") arrange();
    measure();
    part.querySelectorAll(".table").forEach((one, at) => { one.scrollLeft = scrolled[at] ?? 0; });
    if (focused < 0) return;
    const now = reachable(part);
    (now.find((one) => href && one.getAttribute("href") === href) ?? now[focused])?.focus({ preventScroll: true });
  };
  const sent = new Map(parts(document).map((part) => [part.dataset.part, part.innerHTML]));
  const refresh = async () => {
    if (paused || asking || document.hidden || selected()) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(patience) });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = parts(new DOMParser().parseFromString(await answer.text(), "text/html"));
      const names = (found) => found.map((part) => part.dataset.part).join();
      if (names(fresh) !== names(parts(document))) return location.reload();
      if (paused || selected()) return;
      parts(document).forEach((part, at) => {
        const html = fresh[at].innerHTML;
        if (sent.get(part.dataset.part) === html) return;
        sent.set(part.dataset.part, html);
        replace(part, fresh[at]);
      });
      show(true);
    } catch {
      show(false);
    } finally {
      asking = false;
    }
  };
  state.setAttribute("role", "status");
  button.type = "button";
  button.addEventListener("click", () => { paused = !paused; show(true); });
  document.documentElement.classList.add("scripted");
  if (tools) {
    const labeled = (word, control) => {
      const label = document.createElement("label");
      label.append(word, control);
      return label;
    };
    filter.type = "search";
    filter.placeholder = "server, model, team";
    turn.type = "button";
    turn.textContent = "Reverse";
    found.setAttribute("role", "status");
    filter.addEventListener("input", () => { order.words = filter.value.trim().toLowerCase(); arrange(); });
    choice.addEventListener("change", () => sort(Number(choice.value), text(Number(choice.value))));
    turn.addEventListener("click", () => sort(order.column, !order.ascending));
    document.addEventListener("click", (event) => {
      const head = event.target.closest("table.sortable thead th");
      if (!head) return;
      const column = head.cellIndex;
      sort(column, column === order.column ? !order.ascending : text(column));
    });
    tools.append(labeled("Filter", filter), labeled("Sort by", choice), turn, found);
    arrange();
  }
  measure();
  show(true);
  place.append(state, button);
  addEventListener("resize", measure);
  document.addEventListener("toggle", measure, true);
  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
  addEventListener("pageshow", (event) => { if (event.persisted) refresh(); });
})();
