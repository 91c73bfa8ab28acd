// Keys, and pages that are renewed while a run goes on. Everything else works without.
"use strict";

const follow = (rel) => document.querySelector(`a[rel="${rel}"]`)?.click();

function choose(step) {
  const links = [...document.querySelectorAll(".rows a")];
  const place = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, place < 0 ? 0 : place + step))]?.focus();
}

const list = () => document.querySelector(".rows") !== null;
const keys = {
  j: () => (list() ? choose(1) : follow("next")),
  k: () => (list() ? choose(-1) : follow("prev")),
  ArrowRight: () => follow("next"),
  ArrowLeft: () => follow("prev"),
  u: () => follow("up"),
  Escape: () => follow("up"),
  "/": () => {
    const field = document.querySelector('input[type="search"]');
    if (field) field.select();
    else location.href = "/rows";
  },
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (typing && event.key === "Escape") typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
});

let was = document.getElementById("live").innerHTML;

function renew(page) {
  const now = document.getElementById("live");
  const next = page.getElementById("live");
  if (!next) return 0;
  const busy = !document.getSelection().isCollapsed || now.querySelector("details[open] pre:hover");
  if (!busy && next.innerHTML !== was) {
    const open = [...now.querySelectorAll("details")].map((one) => one.open);
    const at = document.activeElement?.getAttribute("href");
    was = next.innerHTML;
    now.replaceChildren(...document.importNode(next, true).childNodes);
    [...now.querySelectorAll("details")].forEach((one, place) => { one.open = open[place] ?? one.open; });
    if (at) [...now.querySelectorAll("a")].find((one) => one.getAttribute("href") === at)?.focus();
    document.body.className = page.body.className;
    document.title = page.title;
  }
  return Number(next.dataset.live);
}

async function live(seconds) {
  while (seconds > 0) {
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    if (document.hidden) continue;
    try {
      const reply = await fetch(location.href);
      document.getElementById("gone").hidden = true;
      if (reply.ok) seconds = renew(new DOMParser().parseFromString(await reply.text(), "text/html"));
    } catch {
      document.getElementById("gone").hidden = false;
      seconds = 5;
    }
  }
}

live(Number(document.getElementById("live").dataset.live));
