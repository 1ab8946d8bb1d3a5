// Keeps a page up to date in place. It reads the same addresses as a reload would, and sends nothing.
"use strict";
(() => {
  const main = document.getElementById("main");
  if (!main || main.dataset.live === undefined) return;
  const address = main.dataset.live || location.pathname + location.search;
  const offline = document.getElementById("offline");
  const changed = document.getElementById("changed");
  const SOON = 3000, LATER = 15000, LATEST = 60000;

  // Makes one tree like another. What is the same stays, with what is open, chosen, scrolled to or typed in it.
  const morph = (old, next) => {
    if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName) {
      old.replaceWith(document.importNode(next, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
      return;
    }
    for (const { name, value } of next.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
    }
    const from = [...old.childNodes], to = [...next.childNodes];
    to.forEach((child, at) => {
      if (at < from.length) morph(from[at], child);
      else old.append(document.importNode(child, true));
    });
    from.slice(to.length).forEach((child) => child.remove());
  };

  // What a part says, whatever the time is and whatever was typed into it.
  const said = (part) => {
    const copy = part.cloneNode(true);
    copy.querySelectorAll("time").forEach((time) => { time.textContent = ""; });
    copy.querySelectorAll("textarea").forEach((field) => { field.textContent = ""; });
    copy.querySelectorAll("input:not([type=hidden])").forEach((field) => field.removeAttribute("value"));
    copy.querySelectorAll("option").forEach((option) => option.removeAttribute("selected"));
    copy.querySelectorAll("details").forEach((details) => details.removeAttribute("open"));
    copy.querySelectorAll("button").forEach((button) => button.removeAttribute("disabled"));
    return copy.outerHTML;
  };

  // Parts with an answer are not replaced under the hands of a person: a press must not meet what was not there before it.
  const fixed = [...document.querySelectorAll("[data-fixed]")];
  const shown = new Map(fixed.map((part) => [part.id, said(part)]));
  let newest = null;

  const hold = (held) => {
    if (!changed) return;
    changed.hidden = !held;
    for (const part of fixed) {
      part.querySelectorAll("form button:not([hidden])").forEach((button) => { button.disabled = held; });
    }
  };

  const update = (text) => {
    newest = new DOMParser().parseFromString(text, "text/html");
    document.querySelectorAll("[data-part]").forEach((part) => {
      const next = newest.getElementById(part.id);
      if (next) morph(part, next);
    });
    hold(fixed.some((part) => {
      const next = newest.getElementById(part.id);
      return !next || said(next) !== shown.get(part.id);
    }));
  };

  if (changed) {
    changed.querySelector("button").addEventListener("click", () => {
      for (const part of fixed) {
        const next = newest && newest.getElementById(part.id);
        if (!next) continue;
        morph(part, next);
        shown.set(part.id, said(next));
      }
      hold(false);
      main.querySelector("h1").scrollIntoView();
    });
  }

  let tag = null, wait = SOON, timer = null;
  const poll = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    let reached = false;
    try {
      const headers = tag ? { "If-None-Match": tag } : {};
      const answer = await fetch(address, { headers, cache: "no-store", credentials: "same-origin", redirect: "error" });
      reached = answer.ok || answer.status === 304;
      if (answer.ok) {
        tag = answer.headers.get("ETag");
        update(await answer.text());
        wait = SOON;
      } else {
        wait = Math.min(wait * 1.3, reached ? LATER : LATEST);
      }
    } catch {
      wait = Math.min(wait * 2, LATEST);
    }
    if (offline) offline.hidden = reached;
    timer = setTimeout(poll, wait);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { wait = SOON; poll(); } });
  timer = setTimeout(poll, SOON);

  // Times say how far they are from now, in the words of the page.
  const span = (s) => s < 120 ? `${s} s` : s < 7200 ? `${Math.floor(s / 60)} min`
    : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
  setInterval(() => {
    document.querySelectorAll("time[datetime]").forEach((time) => {
      const s = Math.trunc((Date.parse(time.dateTime) - Date.now()) / 1000);
      if (Number.isNaN(s)) return;
      const words = Math.abs(s) < 5 ? "now" : s > 0 ? `in ${span(s)}` : `${span(-s)} ago`;
      if (time.textContent !== words) time.textContent = words;
    });
  }, 10000);
})();
