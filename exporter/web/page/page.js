"use strict";
// Without it the page is whole; with it all parts are replaced together every so often, so that they are of one tick.
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
  const reachable = (part) => [...part.querySelectorAll("a, button, summary, [tabindex]")];
  const selected = () => !getSelection().isCollapsed && document.querySelector("main").contains(getSelection().anchorNode);
  const time = () => document.querySelector('[data-part="about"] time')?.textContent.split(" ")[1];
  const show = (answered) => {
    document.body.classList.toggle("unanswered", !answered);
    state.textContent = answered ? "" : time() ? `no answer since ${time()}` : "no answer";
    button.hidden = !answered;
    button.textContent = paused ? "Go on refreshing" : "Pause refreshing";
  };
  const replace = (part, next) => {
    const open = [...part.querySelectorAll("details")].map((one) => one.open);
    const scrolled = [...part.querySelectorAll(".table")].map((one) => one.scrollLeft);
    const focused = reachable(part).indexOf(document.activeElement);
    part.replaceChildren(...next.childNodes);
    part.querySelectorAll("details").forEach((one, at) => { one.open = Boolean(open[at]); });
    part.querySelectorAll(".table").forEach((one, at) => { one.scrollLeft = scrolled[at] ?? 0; });
    if (focused >= 0) reachable(part)[focused]?.focus({ preventScroll: true });
  };
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
        if (part.innerHTML !== fresh[at].innerHTML) replace(part, fresh[at]);
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
  show(true);
  place.append(state, button);
  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
  addEventListener("pageshow", (event) => { if (event.persisted) refresh(); });
})();
