"use strict";
// Everything works without a script. This adds keys, toggles, the moving slider and new alerts without reloading.
(function () {
  const POLL_MS = 2000;
  const list = document.getElementById("list");

  function lines() {
    return list ? Array.from(list.querySelectorAll("a.open")) : [];
  }

  function step(direction) {
    const all = lines();
    const line = document.activeElement && document.activeElement.closest(".entry");
    const at = line ? all.indexOf(line.querySelector("a.open")) : -1;
    const next = all[Math.min(all.length - 1, Math.max(0, at + direction))];
    if (!next) return;
    next.focus();
    next.closest(".entry").scrollIntoView({ block: "nearest" });
  }

  function onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = event.target.matches("input, select, textarea");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const verdict = document.querySelector('button[data-key="' + CSS.escape(event.key) + '"]');
    const search = document.querySelector('input[type="search"]');
    if (verdict) verdict.click();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "u" && !list) goBack();
    else if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
    }
  }

  function goBack() {
    const view = sessionStorage.getItem("view");
    // only a query of the list, whatever else is stored there
    location.assign("/" + (view && view.startsWith("?") ? view : ""));
  }

  function shade(button) {
    for (const other of document.querySelectorAll("button[data-shade]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    for (const text of document.querySelectorAll("[data-shaded]")) {
      text.hidden = text.dataset.shaded !== button.dataset.shade;
    }
  }

  async function copy(button) {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  }

  function showCopy() {
    for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = !navigator.clipboard;
  }

  async function fetched(address) {
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  }

  function slide(form) {
    const range = form.elements.namedItem("t");
    let asked = 0;
    let timer = 0;
    range.addEventListener("input", () => {
      document.getElementById("chosen").textContent = range.value;
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const mine = (asked += 1);
        const page = await fetched(form.action + "?" + new URLSearchParams(new FormData(form)));
        if (!page || mine !== asked) return;
        document.getElementById("what-if").replaceWith(page.getElementById("what-if"));
        showCopy();
      }, 100);
    });
  }

  async function refresh() {
    const page = await fetched(location.href);
    const fresh = page && page.getElementById("list");
    if (!fresh) return;
    const line = document.activeElement && document.activeElement.closest(".entry");
    list.replaceChildren(...fresh.childNodes);
    list.dataset.newest = fresh.dataset.newest;
    const chart = document.querySelector(".chart");
    const drawn = page.querySelector(".chart");
    if (chart && drawn) chart.replaceWith(drawn);
    if (line) {
      const again = list.querySelector('.entry[data-id="' + CSS.escape(line.dataset.id) + '"] a.open');
      if (again) again.focus({ preventScroll: true });
    }
  }

  async function poll() {
    if (document.hidden) return;
    const answer = await fetch("/newest").catch(() => null);
    if (!answer || !answer.ok) return;
    const found = await answer.json();
    if (String(found.newest) !== list.dataset.newest) await refresh();
  }

  document.addEventListener("keydown", onKey);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.dataset.shade) shade(button);
    if (button && button.dataset.copy) copy(button);
  });
  const slider = document.getElementById("slider");
  if (slider) slide(slider);
  showCopy();
  if (list) {
    sessionStorage.setItem("view", location.search);
    const filters = document.getElementById("filters");
    // an address without empty filters is shorter to keep
    filters.addEventListener("submit", () => {
      for (const field of filters.elements) if (field.name && !field.value) field.disabled = true;
    });
    if (list.dataset.live === "yes") {
      let waiting = false;
      setInterval(async () => {
        if (waiting) return;
        waiting = true;
        await poll();
        waiting = false;
      }, POLL_MS);
    }
  }
})();
