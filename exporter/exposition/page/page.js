"use strict";
// Without it the page is whole; with it the parts that changed are replaced every so often.
(() => {
  const every = 15000;
  const place = document.getElementById("refresh");
  if (!place) return;
  const button = document.createElement("button");
  let paused = false;
  const tell = () => { button.textContent = paused ? "Go on refreshing" : "Pause refreshing"; };
  button.type = "button";
  button.addEventListener("click", () => { paused = !paused; tell(); });
  tell();
  place.append(button);
  const used = (part) => part.contains(document.activeElement) ||
    (!getSelection().isCollapsed && part.contains(getSelection().anchorNode));
  const refresh = async () => {
    if (paused || document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
        if (!next || used(part) || part.innerHTML === next.innerHTML) continue;
        const open = [...part.querySelectorAll("details")].map((one) => one.open);
        part.replaceChildren(...next.childNodes);
        part.querySelectorAll("details").forEach((one, at) => { one.open = Boolean(open[at]); });
      }
    } catch { /* the daemon restarts: the time of the last reading stands there */ }
  };
  setInterval(refresh, every);
})();
